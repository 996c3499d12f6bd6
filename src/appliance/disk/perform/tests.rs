use super::*;
use crate::appliance::disk::inventory::Content;
use crate::appliance::disk::scan::content;

fn file(mib: u64) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(mib << 20).unwrap();
    file
}

fn is_here(program: &str) -> bool {
    let here = Path::new(program).exists();
    if !here {
        eprintln!("skipped: no {program} here");
    }
    here
}

#[test]
fn what_is_made_is_recognised_and_clean() {
    if !is_here(MKE2FS) {
        return;
    }
    let file = file(16);
    assert_eq!(content(file.path()), Content::Blank);
    file_system(file.path()).unwrap();
    assert_eq!(content(file.path()), Content::Ext4);
    check(file.path(), LONG).unwrap();
    // Both copies of the superblock and the group descriptors.
    file.as_file().write_all_at(&[0xff; 1 << 20], 4096).unwrap();
    assert!(matches!(check(file.path(), LONG), Err(StepError::Unclean(_))));
}

#[test]
fn an_encrypted_one_says_what_opens_it() {
    if !is_here(CRYPTSETUP) {
        return;
    }
    for key in [Key::Tpm2, Key::File] {
        let file = file(32);
        encrypt(file.path(), key, &Secret::new(vec![7; KEY_LEN])).unwrap();
        assert_eq!(content(file.path()), Content::Luks(key));
    }
}

/// The tables of a flashed disk's file, rewritten as the steps do it.
#[test]
fn a_table_is_rewritten_on_a_file() {
    let geometry = Geometry { sector: 512, sectors: 1 << 20 };
    let file = file(512);
    let table = own_table(geometry, fresh_guid).unwrap();
    write(file.as_file(), file.path(), geometry, &table).unwrap();
    let found = gpt::read(geometry, |at, len| read(file.as_file(), at, len)).unwrap();
    assert_eq!((found.primary.as_ref(), found.backup.as_ref()), (Ok(&table), Ok(&table)));
    let entry = table.entry(1).unwrap();
    assert_eq!((entry.name(), entry.attributes), (OWN_DATA.to_owned(), UNFINISHED));
    assert!(entry.sectors() > geometry.sectors - 3 * 2048 - 34);
    // A disk with a table is not empty, to us and to others.
    assert!(matches!(content(file.path()), Content::Foreign(_)));
}
