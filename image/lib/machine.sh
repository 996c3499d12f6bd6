# One machine in QEMU: a scratch disk with the image, and what can be done to it. KVM is not used: a
# host that offers it may not be able to run it. Each machine gets no way to any network but its
# forwarded ports, and a deadline; it is always ended.
# shellcheck shell=bash disable=SC2034,SC2054 # used by who sources it; commas belong to QEMU's options

readonly WORK=${HERE%/*}/target/image
readonly OVMF=/usr/share/OVMF
# The data disk, grown: in the image it has 16 MiB.
readonly MOUNTED='Data: /dev/[^ ]+, ([0-9]{4,} MiB|[0-9]+ GiB)'
readonly MULTI_USER='Reached target .*multi-user.target'
# How the machine's network is: QEMU's user network answers as 10.0.2.2.
readonly CARD=52:54:00:75:6e:01
readonly OWN=10.0.2.15
readonly FLOATING=10.0.2.100

IMAGE=${UNDERSTUDY_IMAGE:-$WORK/disk}
FIRMWARE=uefi
BUS=nvme
DEADLINE=900
MEMORY=1024
GROW=2G
LOUD=no
KEEP=no
RESTARTS=no
FORWARD=()  # HOST-PORT=ADDRESS:PORT
EXTRA=()    # further options of QEMU
NETWORK=(-device "e1000e,netdev=n,id=card,mac=$CARD")

VM=
QEMU=
BEGAN=$SECONDS

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# power_cut: its power goes.
power_cut() {
    if [ -n "$QEMU" ] && kill -0 "$QEMU" 2>/dev/null; then kill -9 "$QEMU"; fi
    if [ -n "$QEMU" ]; then wait "$QEMU" 2>/dev/null || true; fi
    QEMU=
}

end() {
    local status=$?
    power_cut
    if [ -n "$TPM" ]; then kill "$TPM" 2>/dev/null || true; fi
    if [ -n "$VM" ] && [ "$KEEP" = no ]; then rm -rf "$VM"; fi
    exit $status
}
TPM=
trap end EXIT

said() { printf '%5s s  %s\n' $((SECONDS - BEGAN)) "$1"; }

# A port that nothing listens on now.
free_port() {
    local port
    while true; do
        port=$((20000 + RANDOM % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

# The place of a partition in the image in MiB, for mtools and dd: as in lib/disk.sh.
at() {
    case $1 in
    site) echo 1 ;;
    esp) echo 65 ;;
    slot-a) echo 130 ;;
    slot-b) echo 642 ;;
    data) echo 1154 ;;
    esac
}

# --- the disk -----------------------------------------------------------------------------------

# flash: a fresh machine.
flash() {
    [ -r "$IMAGE" ] || die "there is no $IMAGE: ./build.sh image"
    VM=$(mktemp -d "$WORK/vm.XXXXXX")
    cp --sparse=always "$IMAGE" "$VM/disk"
    truncate -s "+$GROW" "$VM/disk"
    # On a busy host the emulated timer is too late for the kernel's look at it.
    mcopy -n -i "$VM/disk@@$(at esp)M" ::EFI/debian/grub.cfg "$VM/grub.cfg"
    sed -i 's/panic=10/no_timer_check &/; s/show_status=error/show_status=1/' "$VM/grub.cfg"
    if [ "$LOUD" = yes ]; then sed -i 's/loglevel=4/loglevel=7/' "$VM/grub.cfg"; fi
    mcopy -o -i "$VM/disk@@$(at esp)M" "$VM/grub.cfg" ::EFI/debian/grub.cfg
}

# site FILE: becomes site.toml.
site() { mcopy -o -i "$VM/disk@@$(at site)M" "$1" ::site.toml; }

# site_alone [LINES [FIRST]]: one appliance without a pair, with these lines at the end, and those before
# its tables.
site_alone() {
    cat >"$VM/site.toml" <<TOML
name = "mail-a"
hostname = "mx.example.net"
${2:-}
[service]
interface = "$CARD"
address = ["$OWN/24"]
gateway = ["10.0.2.2"]
${1:-}
TOML
    site "$VM/site.toml"
}

# site_pair: the first of a pair, whose other one is not there.
site_pair() {
    site_alone "[floating]
address = [\"$FLOATING\"]
vrid = 51
[pair]
node = \"a\"
peer = [\"10.0.2.16\"]
secret = \"pair-AAAAAAAAAAAAAAAAAAAAAAAAAABgexr_\""
}

# loader LINE…: the loader's block, one variable a line.
loader() {
    {
        printf '# GRUB Environment Block\n'
        printf '%s\n' "$@"
        head -c 1024 /dev/zero | tr '\0' '#'
    } | head -c 1024 >"$VM/grubenv"
    mcopy -o -i "$VM/disk@@$(at esp)M" "$VM/grubenv" ::EFI/debian/grubenv
}

# zero env|slot-a|slot-b
zero() {
    case $1 in
    env)
        head -c 1024 /dev/zero >"$VM/grubenv"
        mcopy -o -i "$VM/disk@@$(at esp)M" "$VM/grubenv" ::EFI/debian/grubenv
        ;;
    slot-a | slot-b) dd if=/dev/zero of="$VM/disk" bs=1M seek="$(at "$1")" count=8 conv=notrunc status=none ;;
    *) die "--zero $1?" ;;
    esac
}

# fill SLOT FILE [MIB]: writes a slot, or the beginning of it.
fill() { dd if="$2" of="$VM/disk" bs=1M seek="$(at "$1")" ${3:+count=$3} conv=notrunc status=none; }

# what STATUS.txt says now, in one line; nothing while the machine has not written it.
status_text() { mtype -i "$VM/disk@@$(at site)M" ::STATUS.txt 2>/dev/null | tr -s '\r\n ' ' '; }

loader_text() { mtype -i "$VM/disk@@$(at esp)M" ::EFI/debian/grubenv | tr '\n' ' '; }

# --- the machine --------------------------------------------------------------------------------

firmware_options() {
    local vars=$OVMF/OVMF_VARS_4M.fd
    case $FIRMWARE in
    uefi)
        OPTIONS+=(-machine q35 -drive "if=pflash,format=raw,readonly=on,file=$OVMF/OVMF_CODE_4M.fd"
            -drive "if=pflash,format=raw,file=$VM/vars")
        ;;
    secureboot)
        vars=$OVMF/OVMF_VARS_4M.ms.fd
        OPTIONS+=(-machine q35,smm=on -global driver=cfi.pflash01,property=secure,value=on
            -drive "if=pflash,format=raw,readonly=on,file=$OVMF/OVMF_CODE_4M.secboot.fd"
            -drive "if=pflash,format=raw,file=$VM/vars")
        ;;
    bios) OPTIONS+=(-machine q35) ;;
    *) die "--firmware $FIRMWARE?" ;;
    esac
    [ -e "$VM/vars" ] || cp "$vars" "$VM/vars"
}

disk_options() {
    OPTIONS+=(-drive "if=none,id=d,format=raw,cache=unsafe,file.locking=off,file=$VM/disk")
    case $BUS in
    nvme) OPTIONS+=(-device nvme,drive=d,serial=understudy,bootindex=0) ;;
    ahci) OPTIONS+=(-device ide-hd,drive=d,bus=ide.0,bootindex=0) ;;
    virtio) OPTIONS+=(-device virtio-blk-pci,drive=d,bootindex=0) ;;
    megasas) OPTIONS+=(-device megasas -device scsi-hd,drive=d,bootindex=0) ;;
    usb) OPTIONS+=(-device qemu-xhci -device usb-storage,drive=d,bootindex=0) ;;
    *) die "--disk $BUS?" ;;
    esac
}

network_options() {
    local forward net=user,id=n,restrict=on
    for forward in "${FORWARD[@]}"; do net+=,hostfwd=tcp:127.0.0.1:${forward%%=*}-${forward#*=}; done
    OPTIONS+=(-netdev "$net" "${NETWORK[@]}")
}

# anew: what the serial line has said so far does not count any more.
anew() { SINCE=$(stat -c %s "$VM/serial"); }

# start: its power comes. What it says on the serial line follows what it said before in $VM/serial;
# says() looks only at what came since.
start() {
    MONITOR=$(free_port)
    SERIAL=$(free_port)
    OPTIONS=(-accel "tcg,thread=multi" -cpu max -smp 2 -m "$MEMORY" -display none
        -uuid 7b0f5a1e-51ba-4d10-8d3e-756e64657201 -device virtio-rng-pci
        -chardev "socket,id=s,host=127.0.0.1,port=$SERIAL,server=on,wait=off,logfile=$VM/serial,logappend=on"
        -serial chardev:s -monitor "tcp:127.0.0.1:$MONITOR,server=on,wait=off")
    if [ "$RESTARTS" = no ]; then OPTIONS+=(-no-reboot); fi
    firmware_options
    disk_options
    network_options
    OPTIONS+=("${EXTRA[@]}")
    touch "$VM/serial"
    mdel -i "$VM/disk@@$(at site)M" ::STATUS.txt 2>/dev/null || true
    anew
    BEGAN=$SECONDS
    # There, so that names of sockets are short whatever the folder's name is.
    (cd "$VM" && exec qemu-system-x86_64 "${OPTIONS[@]}" >"$VM/qemu.log" 2>&1 3>&-) &
    QEMU=$!
}

# monitor COMMAND: QEMU's own console.
monitor() {
    local answer
    exec 3<>"/dev/tcp/127.0.0.1/$MONITOR"
    printf '%s\n' "$1" >&3
    answer=$(timeout 2 cat <&3 || true)
    exec 3>&-
    printf '%s\n' "$answer" >>"$VM/qemu.log"
}

# type TEXT: somebody types at the serial line.
type_in() {
    exec 3<>"/dev/tcp/127.0.0.1/$SERIAL"
    printf '%s' "$1" >&3
    timeout 3 cat <&3 >/dev/null || true
    exec 3>&-
}

gone() { ! kill -0 "$QEMU" 2>/dev/null; }

# console: what the serial line said since the last start, without colours and moves of the cursor.
console() {
    tail -c "+$((SINCE + 1))" "$VM/serial" | tr -d '\r' | sed 's/\x1b\[[0-9;?]*[A-Za-z]/ /g'
}

says() { console | grep -aqE -- "$1"; }
reports() { [[ $(status_text) =~ $1 ]]; }

# greets PORT REGEX: whether what listens there says so within a moment.
greets() {
    local line
    line=$( (exec 3<>"/dev/tcp/127.0.0.1/$1" && read -r -t 3 line <&3 && echo "$line") 2>/dev/null) || return 1
    [[ $line =~ $2 ]]
}

# fail WHY: with the console's last lines and what STATUS.txt says.
fail() {
    console | grep -av '^ *$' | tail -25 | cut -c1-300
    printf 'STATUS.txt: %s\n' "$(status_text)"
    if [ -e "$VM/curl.log" ]; then tail -12 "$VM/curl.log"; fi
    die "$1"
}

# await WHAT COMMAND…: until it holds, or the deadline is over.
await() {
    local what=$1
    shift
    until "$@"; do
        if gone; then fail "QEMU ended before: $what"; fi
        if [ $((SECONDS - BEGAN)) -ge "$DEADLINE" ]; then fail "not within $DEADLINE s: $what"; fi
        sleep 0.5
    done
    said "$what"
}

# expect REGEX: a line of the serial console must come.
expect() {
    await "$1" says "$1"
    # systemd goes on without one of the units then: which, it says nowhere else.
    if says 'Ordering cycle found'; then fail 'units wait for each other: Ordering cycle found'; fi
}

# status REGEX: STATUS.txt must come to say so.
status() { await "STATUS.txt: $1" reports "$1"; }

# forward ADDRESS:PORT: it can be reached from here from the next start on; sets PORT.
forward() {
    PORT=$(free_port)
    FORWARD+=("$PORT=$1")
}

# banner ADDRESS:PORT=REGEX: what was forwarded greets so.
banner() {
    local forward
    for forward in "${FORWARD[@]}"; do
        if [ "${forward#*=}" = "${1%%=*}" ]; then
            await "${1%%=*} greets: ${1#*=}" greets "${forward%%=*}" "${1#*=}"
            return
        fi
    done
    die "$1 is not forwarded"
}

# button: the power button; it must turn itself off. Who presses it before anybody listens presses it again.
button() {
    local before=$SECONDS pressed=-60
    until gone; do
        if [ $((SECONDS - pressed)) -ge 60 ]; then
            monitor system_powerdown
            pressed=$SECONDS
        fi
        [ $((SECONDS - before)) -lt "$DEADLINE" ] || fail "the power button does not turn it off within $DEADLINE s"
        sleep 0.5
    done
    said "turned off by its power button, in $((SECONDS - before)) s"
    power_cut
}
