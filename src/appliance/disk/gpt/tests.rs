use super::*;
use proptest::prelude::*;
use std::process::Command;

const GEOMETRY: Geometry = Geometry { sector: 512, sectors: 131_072 };

fn named(number: u32, first: u64, last: u64, name: &str) -> Entry {
    let mut units = [0; 36];
    for (unit, c) in units.iter_mut().zip(name.encode_utf16()) {
        *unit = c;
    }
    let id = Guid::random([u8::try_from(number).unwrap(); 16]);
    Entry { number, kind: Guid::LINUX, id, first, last, attributes: 0, name: units }
}

fn table(geometry: Geometry) -> Table {
    let mut table =
        Table { disk: Guid([7; 16]), usable: 0..=0, room: 128, backup: 0, entries: Vec::new() };
    table.stretch(geometry).unwrap();
    table.entries = vec![named(1, 2048, 4095, "UNDERSTUDY"), named(6, 4096, 6143, "data")];
    table
}

fn apply(disk: &mut Vec<u8>, writes: &[Write]) {
    for write in writes {
        let at = usize::try_from(write.at).unwrap();
        if disk.len() < at + write.bytes.len() {
            disk.resize(at + write.bytes.len(), 0);
        }
        disk[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
    }
}

fn scan(geometry: Geometry, disk: &[u8]) -> Found {
    read(geometry, |at, len| {
        let at = usize::try_from(at).unwrap();
        Ok(disk.get(at..at + len).map_or_else(|| vec![0; len], <[u8]>::to_vec))
    })
    .unwrap()
}

#[test]
fn guids_read_and_print_as_everywhere() {
    let text = "0fc63daf-8483-4772-8e79-3d69d8477de4";
    assert_eq!(Guid::parse(&text.to_uppercase()), Some(Guid::LINUX));
    assert_eq!(Guid::LINUX.to_string(), text);
    for wrong in [
        "",
        "0fc63daf",
        "0fc63daf-8483-4772-8e79-3d69d8477de",
        "+fc63daf-8483-4772-8e79-3d69d8477de4",
    ] {
        assert_eq!(Guid::parse(wrong), None, "{wrong}");
    }
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn what_is_written_is_read() {
    for sector in [512, 4096] {
        let geometry = Geometry { sector, sectors: 16_384 };
        let (table, mut disk) = (table(geometry), vec![]);
        apply(&mut disk, &table.writes(geometry));
        let found = scan(geometry, &disk);
        assert_eq!(found.primary, Ok(table.clone()));
        assert_eq!(found.backup, Ok(table));
    }
}

/// From a small disk's table to a large one's, with new GUIDs: after each sector that reached the
/// disk there is a whole copy, and what a loader that checks nothing has seen is found.
#[test]
fn a_power_cut_at_any_sector_leaves_a_table() {
    let small = Geometry { sectors: 16_384, ..GEOMETRY };
    let old = table(small);
    let mut disk = vec![];
    apply(&mut disk, &old.writes(small));
    let mut new = old.clone();
    new.disk = Guid([9; 16]);
    new.entries.iter_mut().for_each(|e| e.id = Guid([0x55; 16]));
    new.stretch(GEOMETRY).unwrap();
    new.grow(GEOMETRY, 6);
    let mut sectors = Vec::new();
    for write in new.writes(GEOMETRY) {
        for (at, bytes) in (write.at..).step_by(512).zip(write.bytes.chunks(512)) {
            sectors.push(Write { at, bytes: bytes.to_vec() });
        }
    }
    for sector in sectors {
        apply(&mut disk, std::slice::from_ref(&sector));
        let found = scan(GEOMETRY, &disk);
        let counted = found.table().unwrap();
        assert!(*counted == old || *counted == new, "{found:?}");
        let shown = Guid(disk[1024 + 16..1024 + 32].try_into().unwrap());
        assert!(found.has(shown));
    }
    assert_eq!(scan(GEOMETRY, &disk).primary, Ok(new));
}

#[test]
fn only_the_last_partition_grows_and_only_to_the_end() {
    let mut grown = table(GEOMETRY);
    grown.grow(GEOMETRY, 1);
    assert_eq!(grown, table(GEOMETRY));
    grown.grow(GEOMETRY, 6);
    let end = grown.entry(6).unwrap().last;
    assert!((end + 1).is_multiple_of(2048) && end <= *grown.usable.end());
    assert!(grown.usable.end() - end < 2048);
}

#[test]
fn a_disk_that_is_smaller_than_its_table_is_told_apart() {
    let (table, mut disk) = (table(GEOMETRY), vec![]);
    apply(&mut disk, &table.writes(GEOMETRY));
    let small = Geometry { sectors: 8_192, ..GEOMETRY };
    let found = scan(small, &disk);
    assert_eq!((found.primary, found.backup), (Err(Fault::TooSmall), Err(Fault::None)));
    assert_eq!(found.loose.len(), 2);
    assert!(table.clone().stretch(Geometry { sectors: 6_000, ..GEOMETRY }).is_none());
}

#[test]
fn the_protective_partition_covers_the_disk_and_keeps_the_loader() {
    let mut sector = vec![0xab; 512];
    let made = protective(GEOMETRY, &sector).unwrap();
    assert_eq!(made[..446], sector[..446]);
    assert_eq!(protective(GEOMETRY, &made), None);
    sector = made;
    let larger = Geometry { sectors: 1 << 40, ..GEOMETRY };
    let made = protective(larger, &sector).unwrap();
    assert_eq!(made[458..462], [0xff; 4]);
}

/// The tool of the image agrees, where this machine has it.
#[test]
fn sfdisk_reads_and_verifies_what_we_write() {
    let Ok(version) = Command::new("/usr/sbin/sfdisk").arg("--version").output() else {
        eprintln!("skipped: no sfdisk here");
        return;
    };
    assert!(version.status.success());
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut disk = vec![0; usize::try_from(GEOMETRY.sectors * 512).unwrap()];
    let mut table = table(GEOMETRY);
    table.grow(GEOMETRY, 6);
    apply(&mut disk, &table.writes(GEOMETRY));
    let first = protective(GEOMETRY, &disk[..512]).unwrap();
    apply(&mut disk, &[Write { at: 0, bytes: first }]);
    std::fs::write(file.path(), &disk).unwrap();
    let verified =
        Command::new("/usr/sbin/sfdisk").arg("--verify").arg(file.path()).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && said.contains("No errors detected"), "{said}");
    let dump = Command::new("/usr/sbin/sfdisk").arg("--dump").arg(file.path()).output().unwrap();
    let dump = String::from_utf8_lossy(&dump.stdout).to_lowercase();
    assert!(dump.contains(&table.disk.to_string()) && dump.contains("name=\"data\""), "{dump}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_it_panic(
        noise in proptest::collection::vec((0..200_usize, any::<u8>()), 0..12),
        fields in proptest::collection::vec((0..92_usize, any::<u64>()), 0..3),
    ) {
        let geometry = Geometry { sectors: 7_000, ..GEOMETRY };
        let table = table(geometry);
        let mut disk = vec![];
        apply(&mut disk, &table.writes(geometry));
        for (at, byte) in noise {
            disk[512 + at * 7 % 1200] ^= byte;
        }
        for (at, value) in fields {
            apply(&mut disk, &[Write { at: 512 + at as u64, bytes: value.to_le_bytes().to_vec() }]);
            // A header with a right checksum and senseless fields.
            disk[528..532].fill(0);
            let crc = crc32(&disk[512..604]);
            disk[528..532].copy_from_slice(&crc.to_le_bytes());
        }
        let found = scan(geometry, &disk);
        if let Ok(read) = found.primary {
            prop_assert!(read.entries.iter().all(|e| e.first <= e.last && e.last < 7_000));
        }
    }

    #[test]
    fn any_sound_table_survives(
        disk in any::<[u8; 16]>(),
        sizes in proptest::collection::vec(1..500_u64, 0..20),
        sectors in 12_100..14_000_u64,
    ) {
        let geometry = Geometry { sector: 512, sectors };
        let mut table = Table { disk: Guid(disk), ..table(geometry) };
        table.entries.clear();
        let mut at = 2048;
        for (number, size) in (1..).zip(sizes) {
            table.entries.push(named(number, at, at + size - 1, "x"));
            at += size;
        }
        let writes = table.writes(geometry);
        let found = read(geometry, |at, len| {
            let of = |w: &&Write| w.at <= at && at < w.at + w.bytes.len() as u64;
            let write = writes.iter().find(of).unwrap();
            let from = usize::try_from(at - write.at).unwrap();
            Ok(write.bytes[from..from + len].to_vec())
        });
        prop_assert_eq!(found.unwrap().primary, Ok(table));
    }
}
