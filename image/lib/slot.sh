# The initrd, which is the whole system, and the slot image with it and the kernel.
# shellcheck shell=bash

readonly SLOT_MAX=$((512 * 1024 * 1024))

# archive ROOT: a cpio whose bytes depend on the files alone. Its first entry is the folder itself: without
# it the root of the running system has the mode of a fresh tmpfs, which everybody may write to.
archive() {
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$1" && find . -print0 | LC_ALL=C sort -z |
        cpio --null --create --format=newc --reproducible --owner=+0:+0 --quiet)
}

# Microcode of the processor: read by the kernel before everything else, so not packed.
microcode() {
    local into=$WORK/early/kernel/x86/microcode from=$EXTRACT/intel-microcode/usr/lib/firmware/intel-ucode
    local without name hash
    local -A seen=()
    without=$(list "$HERE/microcode" | awk '{ gsub(/\*/, ".*", $1); print $1 }' | paste -sd'|')
    rm -rf "$WORK/early"
    mkdir -p "$into"
    # Steppings that share a file are there more than once.
    (cd "$from" && LC_ALL=C sha256sum -- *) | LC_ALL=C sort -k2 >"$WORK/microcode.list"
    while read -r hash name; do
        if [[ ${name%.initramfs} =~ ^($without)$ ]]; then continue; fi
        if [ -n "${seen[$hash]:-}" ]; then continue; fi
        seen[$hash]=yes
        cat "$from/$name" >>"$into/GenuineIntel.bin"
    done <"$WORK/microcode.list"
    cat "$EXTRACT"/amd64-microcode/usr/lib/firmware/amd-ucode/*.bin >"$into/AuthenticAMD.bin"
    archive "$WORK/early" >"$WORK/early.cpio"
}

initrd() {
    microcode
    archive "$ROOT" >"$WORK/root.cpio"
    # -T0 gives the same bytes on any number of cores. 2^27 bytes are the widest window that the kernel
    # unpacks (lib/decompress_unzstd.c).
    zstd -q -f --ultra "-$LEVEL" --long=27 -T0 "$WORK/root.cpio" -o "$WORK/root.cpio.zst"
    cat "$WORK/early.cpio" "$WORK/root.cpio.zst" >"$WORK/initrd"
    cp "$EXTRACT/$KERNEL_PACKAGE/boot/vmlinuz-$KERNEL" "$WORK/vmlinuz"
}

# field NAME: a number out of image/data-format.
field() { list "$HERE/data-format" | awk -v name="$1" '$1 == name { print $2 }'; }

hash_of() { sha256sum "$1" | cut -d' ' -f1; }

manifest() {
    cat <<JSON
{
  "version": "$VERSION",
  "commit": "$COMMIT",
  "data_format": $(field data_format),
  "data_format_least": $(field data_format_least),
  "kernel": "$KERNEL",
  "files": {
    "vmlinuz": { "size": $(stat -c %s "$WORK/vmlinuz"), "sha256": "$(hash_of "$WORK/vmlinuz")" },
    "initrd": { "size": $(stat -c %s "$WORK/initrd"), "sha256": "$(hash_of "$WORK/initrd")" }
  }
}
JSON
}

# fat FILE BYTES LABEL SERIAL: an empty file system whose bytes depend on nothing else.
fat() {
    rm -f "$1"
    truncate -s "$2" "$1"
    mkfs.fat -F 32 --invariant -i "$4" -n "$3" "$1" >/dev/null
}

# put IMAGE FILE-OR-FOLDER: copies it into the top of a FAT image, with the time of the commit.
put() {
    find "$2" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    TZ=UTC mcopy -s -m -i "$1" "$2" ::
}

slot() {
    local bytes
    manifest >"$WORK/manifest.json"
    bytes=$(cat "$WORK/vmlinuz" "$WORK/initrd" | wc -c)
    # Two tables, the folder and round numbers.
    bytes=$(((bytes / 1048576 + 6) * 1048576))
    [ "$bytes" -le "$SLOT_MAX" ] || die "the slot has $bytes bytes; a partition holds $SLOT_MAX"
    fat "$WORK/slot" "$bytes" SLOT 51075107
    put "$WORK/slot" "$WORK/vmlinuz"
    put "$WORK/slot" "$WORK/initrd"
    put "$WORK/slot" "$WORK/manifest.json"
}
