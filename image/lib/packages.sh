# The packages: apt resolves and fetches them into a folder of ours, as an ordinary user, without
# touching the packages of this machine. Nothing of them is ever run.
# shellcheck shell=bash

readonly SUITE=trixie
readonly COMPONENTS='main non-free-firmware'
readonly APT=$WORK/apt
readonly KEYRING=${UNDERSTUDY_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}

# The lines of a list, without comments and empty ones.
list() {
    sed 's/#.*//; s/[[:space:]]*$//; /^$/d' "$@"
}

# mirror LABEL: where this machine gets its own Debian packages from (a mirror of the name need not
# stand in any file of ours). LABEL is that of the Release file: Debian or Debian-Security.
mirror() {
    # shellcheck disable=SC2016 # apt's own fields
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v label="$1" '$1 == label { sub("/$", "", $2); print $2; exit }'
}

apt_sources() {
    local main security
    main=${UNDERSTUDY_MIRROR:-$(mirror Debian)}
    security=${UNDERSTUDY_MIRROR_SECURITY:-}
    if [ -z "$security" ]; then
        if [ -n "${UNDERSTUDY_MIRROR:-}" ]; then
            security=${main%/}-security
        else
            security=$(mirror Debian-Security)
        fi
    fi
    if [ -z "$main" ] || [ -z "$security" ]; then
        die 'this machine knows no Debian mirror (its own apt sources name none, or apt-get update
never ran); set UNDERSTUDY_MIRROR=http://MIRROR/debian'
    fi
    local suite
    for suite in "$SUITE" "$SUITE-updates"; do
        echo "deb [arch=amd64 signed-by=$KEYRING] $main $suite $COMPONENTS"
    done
    echo "deb [arch=amd64 signed-by=$KEYRING] $security $SUITE-security $COMPONENTS"
}

# A configuration of apt's own: our folders, and from this machine only how it reaches its mirrors
# (proxies, whether their lists may be old).
apt_prepare() {
    mkdir -p "$APT"/{etc/parts,etc/preferences.d,etc/trusted.gpg.d,lists/partial,cache,debs/partial}
    : >"$APT/status"
    {
        apt-config dump | grep -E '^Acquire::(https?|Check-[^:]*)[: ]' || true
        cat <<CONF
Dir::Etc "$APT/etc";
Dir::Etc::main "$APT/etc/apt.conf";
Dir::Etc::parts "$APT/etc/parts";
Dir::Etc::trustedparts "$APT/etc/trusted.gpg.d";
Dir::State "$APT";
Dir::State::status "$APT/status";
Dir::State::lists "$APT/lists";
Dir::Cache "$APT/cache";
Dir::Cache::archives "$APT/debs";
Dir::Log "$APT";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::Assume-Yes "true";
APT::Sandbox::User "root";
APT::Keep-Downloaded-Packages "true";
Debug::NoLocking "true";
Acquire::Languages "none";
Acquire::Retries "3";
quiet "1";
CONF
    } >"$APT/conf"
    [ -r "$KEYRING" ] || die "no $KEYRING: apt-get install debian-archive-keyring"
    apt_sources >"$APT/etc/sources.list"
}

# ours TOOL ARGUMENT…: one of apt's tools with our configuration, which it reads before this machine's.
ours() {
    APT_CONFIG=$APT/conf "$@"
}

apt_update() {
    if ! ours apt-get update >"$APT/update.log" 2>&1; then
        cat "$APT/update.log" >&2
        if grep -q NO_PUBKEY "$APT/update.log"; then
            die "$KEYRING does not know the keys of $SUITE: install a newer debian-archive-keyring"
        fi
        die 'apt cannot read its mirrors'
    fi
}

# The package that holds the kernel: linux-image-amd64 only names it.
kernel_package() {
    ours apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }'
}

# The names of all packages, as apt resolves them on an empty machine.
resolve() {
    local wanted
    mapfile -t wanted < <(list "$HERE/packages")
    ours apt-get install --simulate "${wanted[@]}" 2>"$APT/resolve.log" |
        awk '$1 == "Inst" { print $2 }' | grep -vxFf <(list "$HERE/packages.without")
    list "$HERE/packages.extract" | sed "s/^linux-image-amd64\$/$(<"$WORK/kernel.name")/"
}

# Reads names, writes "name version sha256 file", sorted; an epoch's colon is %3a.
describe() {
    local names
    mapfile -t names
    ours apt-get download --print-uris "${names[@]}" 2>>"$APT/resolve.log" |
        sed -nE "s/^'[^']*' (([^_ ]+)_([^_ ]+)_[^_ ]+\.deb) [0-9]+ SHA256:([0-9a-f]{64}) *\$/\2 \3 \4 \1/p" |
        LC_ALL=C sort -u
}

# The lines of the lock file: "name version sha256".
lock_lines() {
    awk '{ gsub("%3a", ":", $2); print $1, $2, $3 }' "$1"
}

# Compares what apt resolves with the lock file. A release is made of exactly what is locked; other
# builds say what differs, as mirrors drop old versions.
lock_check() {
    local lock=$HERE/packages.lock differ
    differ=$(diff <(list "$lock") <(lock_lines "$WORK/packages.list") | grep '^[<>]' || true)
    if [ -z "$differ" ]; then
        echo "packages: $(wc -l <"$WORK/packages.list"), as locked"
        return
    fi
    printf 'packages differ from image/packages.lock (< locked, > now):\n%s\n' "$differ" >&2
    if [ "$RELEASE" = yes ]; then
        die 'a release is made of the locked packages: image/lock --update, test, commit'
    fi
    echo 'warning: building from the current ones; image/lock --update renews the lock file' >&2
}

# Fetches what is not there yet, and checks every package against its hash, old ones too.
fetch() {
    local name version file missing=()
    while read -r name version _ file; do
        if ! [ -f "$APT/debs/$file" ]; then missing+=("$name=${version//%3a/:}"); fi
    done <"$WORK/packages.list"
    if [ ${#missing[@]} -gt 0 ]; then
        (cd "$APT/debs" && ours apt-get download "${missing[@]}" >"$APT/fetch.log" 2>&1) || {
            cat "$APT/fetch.log" >&2
            die 'packages cannot be fetched'
        }
    fi
    awk '{ print $3 "  " $4 }' "$WORK/packages.list" >"$WORK/packages.sha256"
    (cd "$APT/debs" && sha256sum --quiet -c "$WORK/packages.sha256") ||
        die "a package is not what the mirror's signed list says; remove it from $APT/debs"
}

# Whether only the named files of a package are used.
is_extract() {
    [ "$1" = "$(<"$WORK/kernel.name")" ] || list "$HERE/packages.extract" | grep -qxF -- "$1"
}

# Unpacks all: the system into $WORK/unpacked, each of the others into $WORK/extract/NAME. base-files
# comes first: it has the links /bin, /lib and /sbin.
unpack() {
    local name file into stamp
    stamp=$(cat "$WORK/packages.list" "$HERE/lib/packages.sh" | sha256sum)
    if [ "$(cat "$WORK/unpacked.stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
    rm -rf "$WORK/unpacked" "$WORK/extract" "$WORK/unpacked.stamp"
    mkdir -p "$WORK/unpacked"
    while read -r name _ _ file; do
        into=$WORK/unpacked
        if is_extract "$name"; then into=$WORK/extract/$name; fi
        mkdir -p "$into"
        dpkg-deb --fsys-tarfile "$APT/debs/$file" |
            tar -x --keep-directory-symlink --no-same-owner -p -C "$into"
    done < <(grep '^base-files ' "$WORK/packages.list"; grep -v '^base-files ' "$WORK/packages.list")
    echo "$stamp" >"$WORK/unpacked.stamp"
}

packages() {
    apt_prepare
    if [ -z "${UNDERSTUDY_OFFLINE:-}" ]; then apt_update; fi
    kernel_package >"$WORK/kernel.name"
    resolve | describe >"$WORK/packages.list"
    local name
    while read -r name; do
        [ "$name" = linux-image-amd64 ] || grep -q "^$name " "$WORK/packages.list" ||
            die "Debian $SUITE has no package $name"
    done < <(list "$HERE/packages" "$HERE/packages.extract")
}
