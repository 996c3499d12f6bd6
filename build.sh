#!/usr/bin/env bash
# One door for people and CI. `./build.sh` alone says what it can do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly TARGET=x86_64-unknown-linux-gnu          # as in .cargo/config.toml
readonly BIN=target/$TARGET/release
readonly TOOLS=$PWD/target/tools                  # what we install for ourselves
readonly SIZE_MAX=$((34 * 1024 * 1024))             # bytes of dist/understudy; the image has the harder limit
readonly RUST_LEAST=1.95
# command:package of Debian
readonly BUILD_NEEDS=(gcc:gcc make:make ld:binutils file:file ip:iproute2 unshare:util-linux)
readonly TEST_NEEDS=(postfix:postfix keepalived:keepalived mutt:mutt mbsync:isync swaks:swaks
    tcpdump:tcpdump openssl:openssl curl:curl pebble:pebble
    grub-editenv:grub-common)
readonly CHECK_NEEDS=(shellcheck:shellcheck systemd-analyze:systemd nft:nftables python3:python3)
readonly DEB_NEEDS=(dpkg-deb:dpkg lintian:lintian)
readonly IMAGE_NEEDS=(dpkg-deb:dpkg zstd:zstd xz:xz-utils cpio:cpio depmod:kmod mkfs.fat:dosfstools
    mcopy:mtools sfdisk:fdisk grub-mkimage:grub-common readelf:binutils python3:python3 openssl:openssl)
readonly BOOT_NEEDS=(qemu-system-x86_64:qemu-system-x86 mcopy:mtools)
readonly UI_NEEDS=(node:nodejs npm:npm chromium:chromium firefox-esr:firefox-esr curl:curl pip3:python3-pip)
readonly CLIENT_NEEDS=(thunderbird:thunderbird xmllint:libxml2-utils named-checkzone:bind9-utils openssl:openssl
    python3:python3)
readonly JMAPC=jmapc==0.4.0
readonly NODE_LEAST=20                             # 20.10 or newer
readonly FAULT_NEEDS=(curl:curl ssh-keygen:openssh-client debugfs:e2fsprogs swtpm:swtpm)

usage() {
    cat <<'END'
./build.sh COMMAND

  demo [--stay]      two appliances, real mail, faults, and the count at the end
  test               everything that CI runs; ends with a summary
  check              formatting, lints, licences and sources, the rules of the tree
  release            the static binary: dist/understudy
  bench [takeover | steady | web]
                     measures
  soak [PART] [--for 60m] [--from-seed N]
                     the long runs, for as long as they are told; alone it lists them
  deb                dist/understudy_VERSION_amd64.deb, of dist/understudy
  image [--release] [--quick] [--twice]
                     the flashable image and the update, in dist/ (docs/image.md)
  boot [serves | matrix | OPTIONS]
                     boots that image in an emulated machine; --help lists the options
  boot faults [NAME...]
                     what may go wrong with such a machine

Environment: FUZZ_MUTATIONS, SIM_SEEDS lengthen what they name. A missing test peer (postfix, mutt, …)
is an error.
END
}

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
die() { printf '\nbuild.sh: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# ensure_packages COMMAND:PACKAGE…: installs with apt what is missing. Where that is not possible it
# says so and goes on: the step that needs the command then fails, or skips and counts it.
ensure_packages() {
    local need missing=()
    local PATH=$PATH:/usr/sbin:/sbin
    for need in "$@"; do
        command -v "${need%%:*}" >/dev/null || missing+=("${need##*:}")
    done
    if [ ${#missing[@]} -eq 0 ]; then return; fi
    say "installing ${missing[*]}"
    if ! command -v apt-get >/dev/null || { [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; }; then
        printf 'cannot install them here; please install: %s\n' "${missing[*]}" >&2
        return
    fi
    # Postfix without a configuration starts nothing: the tests run their own in a namespace.
    echo 'postfix postfix/main_mailer_type select No configuration' |
        as_root debconf-set-selections 2>/dev/null || true
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
        "${missing[@]}"
}

ensure_rust() {
    export PATH=$PATH:$HOME/.cargo/bin
    if ! command -v cargo >/dev/null; then
        say "installing Rust with rustup (https://rustup.rs)"
        ensure_packages curl:curl update-ca-certificates:ca-certificates
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y --no-modify-path --profile minimal --component clippy,rustfmt
    fi
    local have
    have=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n' "$RUST_LEAST" "$have" | sort -V | head -1)" != "$RUST_LEAST" ]; then
        say "Rust $have is older than $RUST_LEAST, updating"
        rustup update stable || die "Rust $RUST_LEAST or newer is needed: rustup update stable"
    fi
}

prepare() {
    ensure_packages "${BUILD_NEEDS[@]}"
    ensure_rust
}

# --- check ------------------------------------------------------------------------------------

licences() {
    # Built once into target/tools (about four minutes on two cores); CI caches the folder.
    if ! [ -x "$TOOLS/bin/cargo-deny" ]; then
        (cd / && cargo install cargo-deny --locked --root "$TOOLS")
    fi
    "$TOOLS/bin/cargo-deny" --all-features check bans licenses sources
    # The advisory database lies on GitHub: without a way there, say so and go on.
    if ! "$TOOLS/bin/cargo-deny" --all-features fetch db 2>/dev/null; then
        echo 'SKIP advisories: their database cannot be reached from here'
    else
        "$TOOLS/bin/cargo-deny" --all-features check advisories
    fi
}

scripts() {
    if command -v shellcheck >/dev/null; then
        shellcheck -x build.sh .ci/run ui/check.sh image/build image/lock image/twice image/variant image/test-release \
            image/boot-test image/fault-test systemd/check packaging/deb/build packaging/deb/scripts/*
    else
        echo 'SKIP shellcheck: it is not installed'
    fi
}

fuzz_binaries() {
    # A workspace of its own with our versions: its lock file is ours, plus itself.
    cp Cargo.lock fuzz/Cargo.lock
    cargo fmt --manifest-path fuzz/Cargo.toml --check
    (cd fuzz && cargo clippy --all-targets --target-dir ../target -- -D warnings)
}

check() {
    step 'formatting' cargo fmt --all --check
    step 'lints' cargo clippy --workspace --all-targets -- -D warnings
    step 'rules of the tree' cargo test -q --test integration tidy::
    step 'fuzz binaries' fuzz_binaries
    step 'scripts' scripts
    step 'units' systemd/check
    step 'packet filter' image/check-firewall
    step 'licences and sources' licences
}

# --- the web app --------------------------------------------------------------------------------

# Node of Debian, or a newer one from the registry for ourselves.
ensure_node() {
    ensure_packages "${UI_NEEDS[@]}"
    export PATH=$TOOLS/node/node_modules/node/bin:$PATH
    if [ "$(node --version | sed 's/^v//; s/\..*//')" -lt "$NODE_LEAST" ]; then
        npm install --silent --prefix "$TOOLS/node" "node@$NODE_LEAST"
        hash -r
    fi
}

# What is embedded is what its source makes: built anew and compared.
web_app() {
    ui/check.sh
}

# The app in a real browser, on the appliance that was just built: journeys, and rules of access; the main
# journey in another browser; a JMAP library that is not ours; and a mail program that sets itself up.
browser() {
    local dir status=0
    dir=$(mktemp -d)
    sed "s#^data_dir.*#data_dir = \"$dir/data\"#" configs/dev.toml >"$dir/understudy.toml"
    dist/understudy run --config "$dir/understudy.toml" 2>"$dir/log" &
    local appliance=$!
    export UNDERSTUDY_CONFIG=$dir/understudy.toml
    for _ in $(seq 100); do
        if curl -sko /dev/null https://127.0.0.1:2443/; then break; fi
        sleep 0.2
    done
    dist/understudy tenant create acme
    dist/understudy domain add acme example.org
    dist/understudy account create anna@example.org
    echo correct-horse-battery | dist/understudy credential password anna@example.org
    dist/understudy account administrator anna@example.org --on
    (cd ui && UI_CONSOLE_URL=https://127.0.0.1:9443 UI_OPERATOR=otto \
        UI_OPERATOR_PASSWORD="$(../dist/understudy operator add otto)" UI_BASE_URL=https://127.0.0.1:2443 UI_USER=anna@example.org \
        UI_PASSWORD=correct-horse-battery npx playwright test) || status=$?
    # Node 20 has WebSocket behind an option.
    UI_BASE_URL=https://127.0.0.1:2443 UI_USER=anna@example.org UI_PASSWORD=correct-horse-battery \
        timeout 180 node --experimental-websocket --no-warnings ui/firefox/smoke.mjs || status=$?
    pip3 install --quiet --disable-pip-version-check --target "$TOOLS/jmapc" "$JMAPC"
    PYTHONPATH=$TOOLS/jmapc REQUESTS_CA_BUNDLE=$dir/data/tls/ca.pem timeout 120 python3 tests/web/library.py \
        127.0.0.1:2443 anna@example.org correct-horse-battery || status=$?
    # The domain is the appliance's own name, so that its certificate is good for what Thunderbird asks.
    dist/understudy domain add acme mx.localhost
    dist/understudy account create anna@mx.localhost
    echo correct-horse-battery | dist/understudy credential password anna@mx.localhost
    timeout 120 python3 -B tests/clients/check.py "$dir/data" anna@mx.localhost correct-horse-battery || status=$?
    kill "$appliance"
    wait "$appliance" || true
    if [ "$status" != 0 ]; then tail -50 "$dir/log"; fi
    rm -r "$dir"
    return "$status"
}

# --- release ----------------------------------------------------------------------------------

release() {
    say 'release'
    cargo build --release -p understudy
    mkdir -p dist
    install -m 755 "$BIN/understudy" dist/understudy
    file -b dist/understudy | grep -Eq 'static(ally|-pie) linked' ||
        die "dist/understudy is not static: $(file -b dist/understudy)"
    local size
    size=$(stat -c %s dist/understudy)
    [ "$size" -le "$SIZE_MAX" ] || die "dist/understudy has $size bytes; at most $SIZE_MAX are allowed"
    empty_chroot
    printf 'dist/understudy: static, %s.%s MiB, runs in an empty chroot\n' \
        $((size / 1048576)) $((size % 1048576 * 10 / 1048576))
}

# Runs it where there is nothing else: no libc, no /etc, no /proc.
empty_chroot() {
    local root version
    root=$(mktemp -d)
    cp dist/understudy "$root/"
    if [ "$(id -u)" = 0 ]; then
        version=$(chroot "$root" /understudy --version) || version=
    else
        version=$(unshare -r chroot "$root" /understudy --version) || version=
    fi
    rm -r "$root"
    [ -n "$version" ] || die 'dist/understudy does not run in an empty chroot'
    echo "$version"
}

# The package for people with a Debian of their own; the same binary and commit give the same file.
deb() {
    local package
    if ! [ -x dist/understudy ]; then release; fi
    packaging/deb/build
    package=dist/understudy_$(dist/understudy --version | cut -d' ' -f2)_amd64.deb
    deb_holds "$package"
    if command -v lintian >/dev/null; then
        lintian --allow-root --fail-on error "$package"
    else
        echo 'SKIP lintian: it is not installed'
    fi
}

# deb_holds PACKAGE: the program and each unit, root's and with the modes that they need.
deb_holds() {
    local has unit line wanted=('-rwxr-xr-x root/root ./usr/bin/understudy')
    has=$(dpkg-deb -c "$1" | awk '{ print $1, $2, $6 }')
    for unit in systemd/*.service; do
        wanted+=("-rw-r--r-- root/root ./usr/lib/systemd/system/${unit##*/}")
    done
    for line in "${wanted[@]}"; do
        grep -qxF -- "$line" <<<"$has" || die "$1 does not hold: $line"
    done
    dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/bin/understudy | cmp - dist/understudy ||
        die "$1 holds another program than dist/understudy"
    printf '%s: the program and %s units are in it\n' "$1" $((${#wanted[@]} - 1))
}

# --- the image --------------------------------------------------------------------------------

image() {
    ensure_packages "${IMAGE_NEEDS[@]}"
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
        ensure_packages debian-archive-keyring:debian-archive-keyring
    local argument script=image/build arguments=()
    for argument in "$@"; do
        if [ "$argument" = --twice ]; then script=image/twice; else arguments+=("$argument"); fi
    done
    "$script" "${arguments[@]}"
}

boot_packages() {
    ensure_packages "${BOOT_NEEDS[@]}"
    [ -d /usr/share/OVMF ] || ensure_packages ovmf:ovmf
}

boot() {
    boot_packages
    if [ "${1:-}" = faults ]; then
        ensure_packages "${FAULT_NEEDS[@]}"
        image/fault-test "${@:2}"
    else
        image/boot-test "$@"
    fi
}

# --- the lab ----------------------------------------------------------------------------------

build_lab() {
    prepare
    cargo build --release -p understudy -p understudy-lab
}

lab() {
    "$BIN/understudy-lab" "$@"
}

# --- soak -------------------------------------------------------------------------------------

readonly SOAK=target/soak                         # tallies: several runs add up
readonly SIM_CHUNK=10000                          # seeds of one run of the simulator
readonly STORM_CHUNK=9                            # seeds of one run of the storm
readonly CHAOS_RUN=25                             # faults of one pair, each kind; then a fresh one
readonly SPLIT_RUN=10                             # splits of one pair
readonly STAMPEDE_MAX=10                          # seconds until the last of 2,000 clients is back
readonly STREAM_MAX=2                             # seconds from the address to the app's stream

soak_usage() {
    cat <<'END'
./build.sh soak PART [--for 60m] [--from-seed N]
./build.sh soak sums

  sim      the pair's simulator, 10,000 seeds at a time on each core (without --for: 1,000,000 seeds)
  storm    real stores, logs and links whose disks lose power and whose way is cut, until two branches
           are merged, 9 seeds at a time (without --for: 180 seeds)
  chaos    real processes under faults, 25 to a pair, without a witness and with one, then 10 splits of a
           pair, likewise: without one both sides serve and are merged, with one only one may serve
           (without --for: 12 pairs, 210 faults)
  stampede 2,000 IMAP clients lose their node: all are back within 10 s, and no password is hashed for it
           (without --for: once)
  browser  somebody writes in a browser while the node behind it goes, in each of three ways, without a witness
           and with one: no character is lost, and the app's stream comes back
           (without --for: once, a minute and a half)
  resync   a full copy of 1 GiB under load and kill -9, again and again (without --for: once)
  image    the image built twice and compared, then started by each way, then each fault of one machine,
           in emulation (without --for: once, about an hour and a half)
  machines the image on two emulated machines: power loss, an update of both under mail, a bad one, a dead
           machine replaced; nothing accepted is lost (without --for: once, about an hour)
  model    the model of the pair, complete (ends when it has seen every state)
  fuzz     mutations of every parser's inputs (without --for: 1,000,000 each)

Each run goes on where the last one ended: target/soak/PART.tally keeps what was done. What counts are
seeds, each once; `sums` says how many this commit has done, and how many others did.
END
}

# seconds 90 | 90s | 60m | 2h
seconds() {
    local n=${1%[smh]}
    [[ $n =~ ^[0-9]+$ ]] || die "--for $1: write 90s, 60m or 2h"
    case $1 in
    *m) echo $((n * 60)) ;;
    *h) echo $((n * 3600)) ;;
    *) echo "$n" ;;
    esac
}

# The commit that is tested; with a mark where files differ from it, in whatever way.
commit() {
    local name
    name=$(git rev-parse --short=12 HEAD 2>/dev/null || echo none)
    if [ -n "$(git status --porcelain --untracked-files=no 2>/dev/null)" ]; then name+=+; fi
    echo "$name"
}

# Reads a tally on stdin; prints the first seed that is missing, how many there are, each counted once,
# and the seconds. A line: date, first seed, seeds, seconds, commit (those of before have none).
union() {
    sort -n -k2,2 | awk '
        {
            time += $4
            from = $2 > end ? $2 : end + 1
            last = $2 + $3 - 1
            if (!gap && from > end + 1) gap = end + 1
            if (last >= from) { seeds += last - from + 1; end = last }
        }
        END { print (gap ? gap : end + 1), seeds + 0, time + 0 }'
}

# The lines of a PART that this commit wrote.
ours() {
    if [ -f "$SOAK/$1.tally" ]; then
        awk -v commit="$COMMIT" '$5 == commit' "$SOAK/$1.tally"
    fi
}

# The first seed that this commit has not done.
next_seed() {
    ours "$1" | union | cut -d' ' -f1
}

# sum PART: what this commit has done, and what all have.
sum() {
    local next seeds time all
    read -r next seeds time < <(ours "$1" | union)
    read -r _ all _ < <(union <"$SOAK/$1.tally")
    printf '%s: %s seeds in %s s by this commit (%s), next %s; %s seeds with those of other commits\n' \
        "$1" "$seeds" "$time" "$COMMIT" "$next" "$all"
}

sums() {
    local tally
    for tally in "$SOAK"/*.tally; do
        if [ -f "$tally" ]; then sum "$(basename "$tally" .tally)"; fi
    done
}

# tally PART FROM SEEDS SECONDS
tally() {
    printf '%s %s %s %s %s\n' "$(date -u +%FT%TZ)" "$2" "$3" "$4" "$COMMIT" >>"$SOAK/$1.tally"
}

# Runs `soak_PART FROM` until the time is over, or until it has done enough; the first failure ends
# it. soak_PART sets DONE to the number of seeds that it has done.
soak() {
    local part=${1:-} time='' from='' began=$SECONDS at all=0
    COMMIT=$(commit)
    if [ $# -gt 0 ]; then shift; fi
    case $part in
    sim | storm | chaos | stampede | browser | resync | image | machines | model | fuzz) ;;
    sums)
        sums
        return
        ;;
    '')
        soak_usage
        return
        ;;
    *)
        soak_usage >&2
        die "there is no part \`$part\`"
        ;;
    esac
    while [ $# -gt 0 ]; do
        case $1 in
        --for) time=$(seconds "${2:?--for needs a time}") ;;
        --from-seed) from=${2:?--from-seed needs a number} ;;
        *) die "soak knows no $1" ;;
        esac
        shift 2
    done
    mkdir -p "$SOAK"
    prepare
    "soak_${part}_begin"
    from=${from:-$(next_seed "$part")}
    while true; do
        at=$SECONDS
        DONE=0
        "soak_$part" "$from"
        tally "$part" "$from" "$DONE" $((SECONDS - at))
        from=$((from + DONE))
        all=$((all + DONE))
        say "soak $part: $all seeds in $((SECONDS - began)) s; next: --from-seed $from"
        if [ "$part" = model ]; then break; fi
        if [ -n "$time" ]; then
            if [ $((SECONDS - began)) -ge "$time" ]; then break; fi
        elif [ "$all" -ge "$ENOUGH" ]; then
            break
        fi
    done
    sum "$part"
}

soak_sim_begin() {
    ENOUGH=1000000
    # The simulator is optimised in this profile, too.
    cargo test -p understudy-proto --lib --no-run
}

soak_sim() {
    local core cores pids=() status=0
    cores=$(nproc)
    for ((core = 0; core < cores; core++)); do
        SIM_FROM=$(($1 + core * SIM_CHUNK)) SIM_SEEDS=$SIM_CHUNK cargo test -q -p understudy-proto \
            --lib pair::sim::no_acknowledged -- --nocapture >"$SOAK/sim.$core.log" 2>&1 &
        pids+=($!)
    done
    for core in "${!pids[@]}"; do
        if ! wait "${pids[$core]}"; then
            status=1
            cat "$SOAK/sim.$core.log"
        fi
    done
    [ "$status" = 0 ] || die "a history from seed $1 on breaks a promise"
    DONE=$((cores * SIM_CHUNK))
}

soak_storm_begin() {
    ENOUGH=180
    cargo test -p understudy --lib --no-run
}

soak_storm() {
    STORM_FROM=$1 STORM_SEEDS=$STORM_CHUNK cargo test -q -p understudy --lib -- --nocapture \
        --test-threads=1 storm::nothing_acknowledged storm::split >"$SOAK/storm.log" 2>&1 || {
        cat "$SOAK/storm.log"
        die "a history from seed $1 on loses something; see $SOAK/storm.log"
    }
    DONE=$STORM_CHUNK
}

soak_chaos_begin() {
    ENOUGH=12
    build_lab
}

soak_chaos() {
    local seed=$1
    case $((seed % 4)) in
    0) lab chaos --rounds "$CHAOS_RUN" --seed "$seed" --arbitration witness ;;
    1) lab chaos --rounds "$CHAOS_RUN" --seed "$seed" ;;
    2) lab chaos --rounds "$SPLIT_RUN" --seed "$seed" --split ;;
    3) lab chaos --rounds "$SPLIT_RUN" --seed "$seed" --split --arbitration witness ;;
    esac
    DONE=1
}

soak_stampede_begin() {
    ENOUGH=1
    build_lab
}

soak_stampede() {
    lab stampede --clients 2000 --within "$STAMPEDE_MAX"
    DONE=1
}

soak_browser_begin() {
    ENOUGH=1
    build_lab
    ensure_node
    ensure_packages nft:nftables
    (cd ui && npm ci --ignore-scripts)
}

soak_browser() {
    lab browser --within "$STREAM_MAX"
    lab browser --within "$STREAM_MAX" --arbitration witness
    DONE=1
}

soak_resync_begin() {
    ENOUGH=1
    build_lab
}

soak_resync() {
    lab resync --mib 1024 --seed "$1"
    DONE=1
}

# fresh_image OPTION: the image of this tree, and what boots it.
fresh_image() {
    if [ -z "${UNDERSTUDY_BINARY:-}" ]; then release; fi
    image "$1"
    boot_packages
}

soak_image_begin() {
    ENOUGH=1
    fresh_image --twice
    ensure_packages "${FAULT_NEEDS[@]}"
}

soak_image() {
    image/boot-test matrix --power
    image/fault-test
    DONE=1
}

soak_machines_begin() {
    ENOUGH=1
    build_lab
    fresh_image --quick
    ensure_packages ssh-keygen:openssh-client
    local version bad=$SOAK/bad
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
    readonly MACHINES=(--image "dist/understudy-$version.img.zst" --update "$SOAK/next.update" --bad "$SOAK/bad.update")
    image/variant "${version%.*}.$((${version##*.} + 1))" "$SOAK/next.update"
    # A program that does not serve. Its trial need not last as long as one of real machines.
    rm -rf "$bad"
    mkdir -p "$bad"/etc/systemd/system/understudy{,-settle}.service.d
    printf '[Service]\nExecStart=\nExecStart=/usr/bin/busybox false\n' \
        >"$bad/etc/systemd/system/understudy.service.d/bad.conf"
    printf '[Service]\nExecStart=\nExecStart=/usr/bin/understudy appliance settle --within 60\n' \
        >"$bad/etc/systemd/system/understudy-settle.service.d/bad.conf"
    image/variant "${version%.*}.$((${version##*.} + 2))" "$SOAK/bad.update" "$bad"
}

soak_machines() {
    lab machines "${MACHINES[@]}"
    DONE=1
}

soak_model_begin() {
    ENOUGH=1
    # Ten times as fast: a quarter of an hour.
    ensure_packages pypy3:pypy3
}

soak_model() {
    pypy3 docs/model/ha_model.py
    DONE=1
}

soak_fuzz_begin() {
    ENOUGH=10
    cargo test --test integration --no-run
}

soak_fuzz() {
    FUZZ_SEED=$1 FUZZ_MUTATIONS=100000 cargo test -q --test integration fuzz::
    DONE=1
}

# --- test -------------------------------------------------------------------------------------

STEPS=()
LOGS=target/test-log

# step NAME COMMAND…: runs it, keeps its output and its time; the first failure ends everything.
step() {
    local name=$1 began=$SECONDS status
    shift
    say "$name"
    mkdir -p "$LOGS"
    # bash ignores -e in everything that is part of a condition, so the status is taken afterwards.
    set +e
    (
        set -e
        "$@"
    ) 2>&1 | tee "$LOGS/${name// /-}.log"
    status=${PIPESTATUS[0]}
    set -e
    STEPS+=("$(printf '%-24s %5ss  %s' "$name" $((SECONDS - began)) \
        "$([ "$status" = 0 ] && echo ok || echo FAILED)")")
    if [ "$status" != 0 ]; then
        summary
        die "$name failed; its output is in $LOGS/${name// /-}.log"
    fi
}

summary() {
    say 'summary'
    printf '%s\n' "${STEPS[@]}"
    local skipped
    skipped=$(grep -hE '(^|[^A-Za-z])SKIP ' "$LOGS"/*.log 2>/dev/null | sort -u || true)
    if [ -n "$skipped" ]; then
        printf '\nskipped:\n%s\n' "$skipped"
    fi
    printf '\ntotal %s min %s s\n' $((SECONDS / 60)) $((SECONDS % 60))
}

run_tests() {
    SIM_TABLE=$PWD/$LOGS/mutants.txt cargo test --workspace
    cat "$LOGS/mutants.txt" # each invariant of the pair, and what shows that the simulator checks it
}

run_demo() {
    cargo build --release -p understudy-lab
    lab demo --quick
}

# Each kind of fault, a few under a witness; splits in which both sides serve, and only one may.
run_chaos() {
    lab chaos --rounds "$CHAOS_RUN" --seed 1
    lab chaos --rounds 6 --seed 2 --arbitration witness
    lab chaos --rounds 2 --seed 3 --split
    lab chaos --rounds 2 --seed 4 --split --arbitration witness
}

run_resync() {
    lab resync --mib 32
}

# The image, and what a release of it refuses: that reads the packages' lists, which are there then.
run_image() {
    image --quick
    image/test-release
}

# Everybody comes back after a takeover, and no password is hashed for it. No times are judged.
run_stampede() {
    lab stampede --clients 200
}

everything() {
    prepare
    ensure_packages "${TEST_NEEDS[@]}" "${CHECK_NEEDS[@]}" "${DEB_NEEDS[@]}" "${IMAGE_NEEDS[@]}" \
        "${CLIENT_NEEDS[@]}"
    boot_packages
    ensure_node
    rm -rf "$LOGS"
    check
    step 'tests' run_tests
    step 'release' release
    step 'deb' deb
    step 'web app' web_app
    step 'browser' browser
    step 'demo' run_demo
    step 'chaos' run_chaos
    step 'full copy' run_resync
    step 'stampede' run_stampede
    step 'image' run_image
    step 'machine' image/boot-test serves
    summary
    echo 'everything is green'
}

main() {
    local command=${1:-}
    if [ $# -gt 0 ]; then shift; fi
    # No && here: bash would ignore failures inside the functions.
    case $command in
    demo)
        build_lab
        lab demo "$@"
        ;;
    test) everything ;;
    check)
        prepare
        ensure_packages "${CHECK_NEEDS[@]}"
        check
        summary
        ;;
    release)
        prepare
        release
        ;;
    bench)
        build_lab
        lab "${1:-takeover}" "${@:2}"
        ;;
    soak) soak "$@" ;;
    deb)
        prepare
        ensure_packages "${DEB_NEEDS[@]}"
        deb
        ;;
    image)
        # Cargo says which crates the program is linked of, whoever has built it.
        prepare
        if [ -z "${UNDERSTUDY_BINARY:-}" ]; then release; fi
        say 'image'
        image "$@"
        ;;
    boot) boot "$@" ;;
    '' | -h | --help | help) usage ;;
    *)
        usage >&2
        die "there is no command \`$command\`"
        ;;
    esac
}

main "$@"
