# What is published: dist/.
# shellcheck shell=bash

# Bytes of .img.zst: what is published, and what --quick packs less well, so that growth is seen there.
readonly COMPRESSED_MAX=$((60 * 1000 * 1000))
readonly QUICK_MAX=$((67500 * 1000))
readonly TRUSTED=$WORK/update-keys
# One that signs, and one in a safe: an image that trusts one alone is lost with it.
readonly RELEASE_KEYS_LEAST=2
# What is signed is this, the key's id and the manifest (src/appliance/slot/package.rs).
readonly SIGNED_DOMAIN='understudy update manifest 1\0'

# key_id: reads a public key as `understudy update keygen` writes it, says what updates call it.
key_id() {
    local bytes
    bytes=$(sed '/^-----/d' | base64 -d 2>/dev/null | od -An -v -tx1 | tr -d ' \n')
    # Of RFC 8410, or the 32 bytes alone.
    bytes=${bytes#302a300506032b6570032100}
    [[ $bytes =~ ^[0-9a-f]{64}$ ]] || return 1
    printf %b "$(sed 's/../\\x&/g' <<<"$bytes")" | sha256sum | cut -c1-16
}

# The keys that the image trusts: those of image/update-keys, or, in a build that is not released and
# where there are none, one that is made here, so that updates can be tried.
update_keys() {
    local key id ids=()
    rm -rf "$TRUSTED"
    mkdir -p "$TRUSTED"
    for key in "$HERE"/update-keys/*.pub; do
        if ! [ -e "$key" ]; then continue; fi
        id=$(key_id <"$key") || die "$key is no public Ed25519 key"
        [[ " ${ids[*]} " != *" $id "* ]] || die "$key is a key that is there under another name, too"
        ids+=("$id")
        cp "$key" "$TRUSTED/"
    done
    UPDATE_KEY=${UNDERSTUDY_UPDATE_KEY:-}
    if [ "$RELEASE" = yes ]; then
        [ ${#ids[@]} -ge $RELEASE_KEYS_LEAST ] ||
            die "a release trusts $RELEASE_KEYS_LEAST keys or more; image/update-keys has ${#ids[@]}"
        [ -n "$UPDATE_KEY" ] || die 'a release is signed: UNDERSTUDY_UPDATE_KEY names the private key'
    fi
    if [ -n "$UPDATE_KEY" ]; then
        id=$(openssl pkey -in "$UPDATE_KEY" -pubout 2>/dev/null | key_id) ||
            die 'UNDERSTUDY_UPDATE_KEY is no private Ed25519 key'
        [[ " ${ids[*]} " == *" $id "* ]] ||
            die "UNDERSTUDY_UPDATE_KEY is the key $id, which image/update-keys does not have"
        return
    fi
    if [ ${#ids[@]} -gt 0 ]; then return; fi
    if ! "$BINARY" update pack --help >/dev/null 2>&1; then
        echo 'warning: this binary signs no updates: the image trusts no key' >&2
        return
    fi
    if ! [ -e "$WORK/update.key" ]; then "$BINARY" update keygen --out "$WORK/update.key" >/dev/null; fi
    cp "$WORK/update.key.pub" "$TRUSTED/build.pub"
    UPDATE_KEY=$WORK/update.key
    echo 'warning: no keys in image/update-keys; this image trusts target/image/update.key' >&2
}

# The update: the slot and what is said about it, signed. Where the private key lies elsewhere, it is
# made there, from the .slot and the .json.
update() {
    cat >"$1.json" <<JSON
{
  "version": "$VERSION",
  "data_format": $(field data_format),
  "data_format_least": $(field data_format_least),
  "built": $SOURCE_DATE_EPOCH
}
JSON
    if [ -z "$UPDATE_KEY" ]; then
        echo "not signed: understudy update pack --slot ${1##*/}.slot --manifest ${1##*/}.json" \
            "--key KEY --out ${1##*/}.update"
        return
    fi
    "$BINARY" update pack --slot "$1.slot" --manifest "$1.json" --key "$UPDATE_KEY" \
        --out "$1.update" >/dev/null
    update_check "$1"
}

# part FILE FROM LENGTH: bytes of a file.
part() { dd if="$1" iflag=skip_bytes,count_bytes skip="$2" count="$3" status=none; }

# Looks at the update with other tools than those that made it: one of the keys that this image trusts has
# signed it, and it holds the slot. Appliances of before trust what their own image does.
update_check() {
    local file=$1.update head=$WORK/update.head id length key public=
    id=$(part "$file" 8 8 | od -An -v -tx1 | tr -d ' \n')
    length=$(part "$file" 80 4 | od -An -v -tu4 --endian=little | tr -d ' ')
    for key in "$TRUSTED"/*.pub; do
        if [ "$(key_id <"$key")" = "$id" ]; then public=$key; fi
    done
    [ -n "$public" ] || die "the update is signed with the key $id, which this image does not trust"
    part "$file" 16 64 >"$head.signature"
    part "$file" 84 "$length" >"$head.json"
    {
        printf %b "$SIGNED_DOMAIN"
        part "$file" 8 8
        cat "$head.json"
    } >"$head.signed"
    openssl pkeyutl -verify -pubin -inkey "$public" -rawin -in "$head.signed" -sigfile "$head.signature" \
        >/dev/null || die "the signature of ${file##*/} does not hold"
    grep -q "\"sha256\":\"$(hash_of "$1.slot")\"" "$head.json" ||
        die "the manifest of ${file##*/} speaks of another slot"
    tail -c +$((85 + length)) "$file" | zstd -q -dc | cmp - "$1.slot" ||
        die "${file##*/} does not hold the slot"
}

# purl: the name by which scanners know a package.
sbom_packages() {
    local name version hash file
    while read -r name version hash file; do
        version=${version//%3a/:}
        file=${file##*_}
        printf '%s %s %s %s\n' "$name" "$version" "$hash" \
            "pkg:deb/debian/$name@${version//+/%2B}?arch=${file%.deb}&distro=debian-13"
    done <"$WORK/packages.list"
    awk '{ version = $2; gsub(/\+/, "%2B", version); print $0, "pkg:cargo/" $1 "@" version }' "$CRATES/list"
    # Of the web app and the console; a scope's @ is %40 in a purl.
    sort -u ui/dist/.parts ui/dist/.parts-console |
        awk '{ name = $1; sub(/^@/, "%40", name); print $0, "pkg:npm/" name "@" $2 }'
}

# SPDX 2.3: Debian packages, the crates that the program is linked of, and what its web app is made of.
sbom() {
    local created
    created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)
    sbom_packages | awk -v version="$VERSION" -v commit="$COMMIT" -v created="$created" '
        BEGIN {
            print "{"
            print "  \"spdxVersion\": \"SPDX-2.3\","
            print "  \"dataLicense\": \"CC0-1.0\","
            print "  \"SPDXID\": \"SPDXRef-DOCUMENT\","
            print "  \"name\": \"understudy-" version "\","
            print "  \"documentNamespace\": \"https://understudy.invalid/spdx/" version "-" commit "\","
            print "  \"creationInfo\": { \"created\": \"" created "\", \"creators\": [\"Tool: image/build\"] },"
            print "  \"packages\": ["
            print "    {"
            print "      \"SPDXID\": \"SPDXRef-image\", \"name\": \"understudy\","
            print "      \"versionInfo\": \"" version "\", \"downloadLocation\": \"NOASSERTION\","
            print "      \"filesAnalyzed\": false"
            printf "    }"
        }
        {
            printf ",\n    {\n"
            printf "      \"SPDXID\": \"SPDXRef-%d\", \"name\": \"%s\", \"versionInfo\": \"%s\",\n", NR, $1, $2
            printf "      \"downloadLocation\": \"NOASSERTION\", \"filesAnalyzed\": false,\n"
            algorithm = length($3) == 128 ? "SHA512" : "SHA256"
            printf "      \"checksums\": [{ \"algorithm\": \"%s\", \"checksumValue\": \"%s\" }],\n", algorithm, $3
            printf "      \"externalRefs\": [{ \"referenceCategory\": \"PACKAGE-MANAGER\",\n"
            printf "        \"referenceType\": \"purl\", \"referenceLocator\": \"%s\" }]\n    }", $4
        }
        END {
            print "\n  ],\n  \"relationships\": ["
            print "    { \"spdxElementId\": \"SPDXRef-DOCUMENT\", \"relationshipType\": \"DESCRIBES\","
            printf "      \"relatedSpdxElement\": \"SPDXRef-image\" }"
            for (i = 1; i <= NR; i++) {
                printf ",\n    { \"spdxElementId\": \"SPDXRef-image\", \"relationshipType\": \"CONTAINS\","
                printf "\n      \"relatedSpdxElement\": \"SPDXRef-%d\" }", i
            }
            print "\n  ]\n}"
        }'
}

licence_archive() {
    (cd "$WORK" && tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        --mtime="@$SOURCE_DATE_EPOCH" -c licences) | zstd -q -19
}

dist() {
    local base=$DIST/understudy-$VERSION bytes max=$COMPRESSED_MAX
    rm -f "$base" "$base".{img.zst,slot,json,update,vmlinuz,initrd,spdx.json,licences.tar.zst} "$DIST/SHA256SUMS"
    # What is in it is packed already, but for the microcode; the rest are zeros.
    zstd -q -9 -T0 "$WORK/disk" -o "$base.img.zst"
    cp "$WORK/slot" "$base.slot"
    cp "$WORK/vmlinuz" "$base.vmlinuz"
    cp "$WORK/initrd" "$base.initrd"
    # For whoever flashes: it makes and checks the site files.
    install -m 755 "$BINARY" "$base"
    update "$base"
    sbom >"$base.spdx.json"
    licence_archive >"$base.licences.tar.zst"
    (cd "$DIST" && sha256sum -- "understudy-$VERSION"{,.*} >SHA256SUMS)
    bytes=$(stat -c %s "$base.img.zst")
    if [ "$LEVEL" != 22 ]; then max=$QUICK_MAX; fi
    [ "$bytes" -le "$max" ] || die "${base##*/}.img.zst has $bytes bytes; at most $max are allowed"
    (cd "$DIST" && du -h --apparent-size -- "understudy-$VERSION"{,.*} SHA256SUMS)
}
