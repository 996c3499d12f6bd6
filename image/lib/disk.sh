# The disk image: partition table, loaders, the partition that any laptop can edit, slot A.
# shellcheck shell=bash

readonly SECTOR=512
readonly MIB=1048576
# Partitions: number, name, MiB, type, GUID. The GUIDs are the same in each image, for the sake of the
# same bytes; the first start of a machine replaces them (pitfall: two disks that were flashed alike).
readonly DISK_GUID=7b0f5a10-51ba-4d10-8d3e-756e64657273
readonly PARTITIONS='
1 UNDERSTUDY 64  ebd0a0a2-b9e5-4433-87c0-68b6b72699c7 7b0f5a11-51ba-4d10-8d3e-756e64657273
2 esp        64  c12a7328-f81f-11d2-ba4b-00a0c93ec93b 7b0f5a12-51ba-4d10-8d3e-756e64657273
3 bios       1   21686148-6449-6e6f-744e-656564454649 7b0f5a13-51ba-4d10-8d3e-756e64657273
4 slot-a     512 0fc63daf-8483-4772-8e79-3d69d8477de4 7b0f5a14-51ba-4d10-8d3e-756e64657273
5 slot-b     512 0fc63daf-8483-4772-8e79-3d69d8477de4 7b0f5a15-51ba-4d10-8d3e-756e64657273
6 data       16  0fc63daf-8483-4772-8e79-3d69d8477de4 7b0f5a16-51ba-4d10-8d3e-756e64657273
'
# Quiet, as the status page is shown on both consoles: what fails is said.
readonly ARGUMENTS='panic=10 loglevel=4 systemd.show_status=error systemd.machine_id=firmware console=tty0 console=ttyS0,115200'

# start_of NUMBER: the first MiB of a partition; the first one begins at 1 MiB.
start_of() {
    awk -v wanted="$1" 'BEGIN { at = 1 } NF { if ($1 == wanted) { print at; exit } at += $3 }' <<<"$PARTITIONS"
}

partition_table() {
    echo "label: gpt"
    echo "label-id: $DISK_GUID"
    echo "unit: sectors"
    echo "first-lba: 2048"
    local number name mib type guid
    while read -r number name mib type guid; do
        [ -n "$number" ] || continue
        echo "start=$(($(start_of "$number") * MIB / SECTOR)), size=$((mib * MIB / SECTOR))," \
            "type=$type, uuid=$guid, name=$name"
    done <<<"$PARTITIONS"
}

# write FILE NUMBER: a file to the start of a partition.
write() {
    dd if="$1" of="$WORK/disk" bs=$MIB seek="$(start_of "$2")" conv=notrunc,sparse status=none
}

# le NUMBER BYTES: little-endian, as escapes of printf.
le() {
    local n=$1 i
    for ((i = 0; i < $2; i++)); do
        printf '\\x%02x' $((n & 255))
        n=$((n >> 8))
    done
}

# patch FILE OFFSET NUMBER BYTES
patch() {
    # shellcheck disable=SC2059 # the format is the bytes
    printf "$(le "$3" "$4")" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

grubenv() {
    {
        printf '# GRUB Environment Block\nactive=a\n'
        head -c 1024 /dev/zero | tr '\0' '#'
    } | head -c 1024
}

loader_files() {
    local tree=$WORK/esp.tree
    rm -rf "$tree"
    mkdir -p "$tree"/EFI/{BOOT,debian}
    cp "$EXTRACT/shim-signed/usr/lib/shim/shimx64.efi.signed" "$tree/EFI/BOOT/BOOTX64.EFI"
    cp "$EXTRACT/shim-helpers-amd64-signed/usr/lib/shim/mmx64.efi.signed" "$tree/EFI/BOOT/mmx64.efi"
    cp "$EXTRACT/grub-efi-amd64-signed/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" \
        "$tree/EFI/BOOT/grubx64.efi"
    sed "s|@ARGUMENTS@|$ARGUMENTS|" "$HERE/grub.cfg" >"$tree/EFI/debian/grub.cfg"
    grubenv >"$tree/EFI/debian/grubenv"
}

# For BIOS: boot.img in the first sector knows where core.img begins, core.img knows where it goes on.
bios() {
    local grub=$EXTRACT/grub-pc-bin/usr/lib/grub/i386-pc lba
    lba=$(($(start_of 3) * MIB / SECTOR))
    grub-mkimage -O i386-pc -d "$grub" -p '(,gpt2)/EFI/debian' -o "$WORK/core.img" \
        biosdisk part_gpt fat normal configfile linux loadenv test echo regexp probe serial terminal \
        reboot sleep minicmd
    [ "$(stat -c %s "$WORK/core.img")" -le $MIB ] || die 'core.img does not fit its partition'
    patch "$WORK/core.img" 500 $((lba + 1)) 8
    write "$WORK/core.img" 3
    cp "$grub/boot.img" "$WORK/boot.img"
    patch "$WORK/boot.img" 92 "$lba" 8
    dd if="$WORK/boot.img" of="$WORK/disk" bs=1 count=440 conv=notrunc status=none
}

site_files() {
    local tree=$WORK/site.tree
    rm -rf "$tree"
    mkdir -p "$tree"
    # Windows shows these on any laptop: line ends that each editor of it can read.
    sed 's/$/\r/' "$HERE/README.txt" >"$tree/README.txt"
    local name
    for name in site.example.toml site.beispiel.toml; do
        sed 's/$/\r/' "configs/$name" >"$tree/$name"
    done
}

disk() {
    local end file
    end=$(($(start_of 6) + 16 + 1))
    rm -f "$WORK/disk"
    truncate -s $((end * MIB)) "$WORK/disk"
    partition_table | sfdisk -q "$WORK/disk"
    loader_files
    fat "$WORK/esp" $((64 * MIB)) ESP 51075102
    put "$WORK/esp" "$WORK/esp.tree/EFI"
    write "$WORK/esp" 2
    site_files
    fat "$WORK/site" $((64 * MIB)) UNDERSTUDY 51075101
    for file in "$WORK"/site.tree/*; do put "$WORK/site" "$file"; done
    write "$WORK/site" 1
    bios
    write "$WORK/slot" 4
}
