# What is published: dist/.
# shellcheck shell=bash

readonly COMPRESSED_MAX=$((60 * 1000 * 1000))
readonly TRUSTED=$WORK/update-keys

# The keys that the image trusts: those of image/update-keys, or, in a build that is not released and
# where there are none, one that is made here, so that updates can be tried.
update_keys() {
    local key
    rm -rf "$TRUSTED"
    mkdir -p "$TRUSTED"
    for key in "$HERE"/update-keys/*.pub; do
        if [ -e "$key" ]; then cp "$key" "$TRUSTED/"; fi
    done
    UPDATE_KEY=${UNDERSTUDY_UPDATE_KEY:-}
    if [ -n "$(ls "$TRUSTED")" ]; then return; fi
    [ "$RELEASE" = no ] || die 'a release needs the public keys that sign updates, in image/update-keys'
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
    awk -F'"' '
        $1 == "name = " { name = $2 }
        $1 == "version = " { version = $2 }
        $1 == "checksum = " { print name, version, $2, "pkg:cargo/" name "@" version }' Cargo.lock
}

# SPDX 2.3: Debian packages, and the crates of Cargo.lock (those of tests, too).
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
            printf "      \"checksums\": [{ \"algorithm\": \"SHA256\", \"checksumValue\": \"%s\" }],\n", $3
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
    local base=$DIST/understudy-$VERSION bytes
    rm -f "$base".{img.zst,slot,json,update,vmlinuz,initrd,spdx.json,licences.tar.zst} "$DIST/SHA256SUMS"
    # What is in it is packed already, but for the microcode; the rest are zeros.
    zstd -q -9 -T0 "$WORK/disk" -o "$base.img.zst"
    cp "$WORK/slot" "$base.slot"
    cp "$WORK/vmlinuz" "$base.vmlinuz"
    cp "$WORK/initrd" "$base.initrd"
    update "$base"
    sbom >"$base.spdx.json"
    licence_archive >"$base.licences.tar.zst"
    (cd "$DIST" && sha256sum -- "understudy-$VERSION".* >SHA256SUMS)
    bytes=$(stat -c %s "$base.img.zst")
    if [ "$bytes" -gt "$COMPRESSED_MAX" ] && [ "$LEVEL" = 19 ]; then
        die "${base##*/}.img.zst has $bytes bytes; at most $COMPRESSED_MAX are allowed"
    fi
    (cd "$DIST" && du -h --apparent-size -- "understudy-$VERSION".* SHA256SUMS)
}
