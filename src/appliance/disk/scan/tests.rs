use super::*;

#[test]
fn words_of_blkid_are_understood() {
    let luks = "TYPE=crypto_LUKS\nVERSION=2\nLABEL=understudy-data\nSUBSYSTEM=understudy-tpm2\n";
    assert_eq!(of_signature(luks), Some(Content::Luks(Key::Tpm2)));
    let foreign = |t: &str| Some(Content::Foreign(t.to_owned()));
    assert_eq!(of_signature(&luks.replace("understudy-data", "x")), foreign("crypto_LUKS"));
    assert_eq!(of_signature(&luks.replace("-tpm2", "-other")), foreign("crypto_LUKS"));
    assert_eq!(of_signature("LABEL=understudy-data\nTYPE=ext4\n"), Some(Content::Ext4));
    assert_eq!(of_signature("LABEL=root\nTYPE=ext4\n"), foreign("ext4"));
    let raid = "UUID=a:b\nLABEL=box:understudy-data\nTYPE=linux_raid_member\n";
    assert_eq!(of_signature(raid), Some(Content::Member("a:b".to_owned())));
    assert_eq!(of_signature("PTTYPE=dos\n"), foreign("partition table dos"));
    assert_eq!(of_signature("DEVNAME=x\nPART_ENTRY_NAME=data\nPART_ENTRY_TYPE=y\n"), None);
}

#[test]
fn files_are_told_apart_as_devices_are() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(8 << 20).unwrap();
    assert_eq!(content(file.path()), Content::Blank);
    // The middle does not count, both ends do.
    file.as_file().write_all_at(b"x", 4 << 20).unwrap();
    assert_eq!(content(file.path()), Content::Blank);
    file.as_file().write_all_at(b"x", (8 << 20) - 1).unwrap();
    assert_eq!(content(file.path()), Content::Unknown);
    assert_eq!(content(Path::new("/nonexistent")), Content::Foreign("unreadable".to_owned()));
}

/// Whatever machine runs this: the scan ends and names no disk twice.
#[test]
fn this_machine_can_be_looked_at() {
    let inventory = all(KernelArguments::default(), false);
    let mut names: Vec<_> = inventory.disks.iter().map(|d| &d.name).collect();
    names.dedup();
    assert_eq!(names.len(), inventory.disks.len());
}
