//! Firmware that a driver asked for and did not get, from the kernel's messages.
//!
//! A card without its firmware is there, and does nothing; without this nobody is told why. Read once, when
//! the disks are there: a driver that asks only when its interface is turned on is not seen.
//!
//! Invariants: what is read is bounded, and only the kernel's own records count. A name in it may come
//! from a device, so it is made harmless.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

/// The kernel's messages, one record for each read.
const MESSAGES: &str = "/dev/kmsg";
/// Most records that are read, and the longest; the kernel makes none that is longer.
const RECORDS_MAX: usize = 16_384;
const RECORD_LEN_MAX: usize = 8 * 1024;
/// Most names that are told; who lacks more lacks a kind of machine.
const NAMES_MAX: usize = 8;
/// Longest name that is told, in characters.
const NAME_LEN_MAX: usize = 64;
/// What drivers try first and do without, by how it begins.
const OPTIONAL: &[&str] = &[
    // Rules of wireless networks; there are none here.
    "regulatory.db",
    // ice asks for a package of the one card, by its serial number, before the one for all (`ice.pkg`).
    "intel/ice/ddp/ice-",
    // ast: a display port beside the VGA port of a server's management chip.
    "ast_dp501_fw.bin",
];

/// Names of firmware that was asked for and is not there, each once, at most [`NAMES_MAX`].
pub(super) fn missing() -> Vec<String> {
    match records() {
        Ok(records) => names(records.iter().map(Vec::as_slice)),
        Err(e) => {
            log::warn!(err:% = e, path = MESSAGES; "the kernel's messages cannot be read");
            Vec::new()
        }
    }
}

fn records() -> io::Result<Vec<Vec<u8>>> {
    let mut options = OpenOptions::new();
    // At their end nobody waits for the next one.
    let mut file = options.read(true).custom_flags(nix::libc::O_NONBLOCK).open(MESSAGES)?;
    let (mut records, mut buffer) = (Vec::new(), vec![0; RECORD_LEN_MAX]);
    for _ in 0..RECORDS_MAX {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => records.extend(buffer.get(..len).map(<[u8]>::to_vec)),
            // Overwritten while it was read: it goes on with the oldest that is left.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(records)
}

fn names<'a>(records: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in records.filter_map(asked_for) {
        let known = OPTIONAL.iter().any(|start| name.starts_with(start)) || names.contains(&name);
        if !known && names.len() < NAMES_MAX {
            names.push(name);
        }
    }
    names
}

/// The firmware that a record says is missing: `4,812,5600,-;ice 0000:3b:00.0: Direct firmware load for
/// NAME failed with error -2`, or `… firmware: failed to load NAME (-2)` as Debian's kernels have it.
fn asked_for(record: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(record);
    let (head, message) = text.lines().next()?.split_once(';')?;
    // Priority and facility; programs write here, too, but never as the kernel (facility 0).
    let kernel = head.split(',').next()?.parse::<u32>().is_ok_and(|number| number < 8);
    let between = |start: &str, end: &str| {
        let (_, rest) = message.split_once(start)?;
        Some(rest.rsplit_once(end)?.0)
    };
    let name = between("Direct firmware load for ", " failed with error -")
        .or_else(|| between("firmware: failed to load ", " (-"))?;
    (kernel && !name.is_empty()).then(|| harmless(name))
}

/// Without anything that a screen or a log could take for more than a name.
fn harmless(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-+/".contains(c) { c } else { '?' };
    name.chars().take(NAME_LEN_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[&str]) -> Vec<String> {
        names(records.iter().map(|r| r.as_bytes()))
    }

    fn failed(head: &str, name: &str) -> String {
        format!("{head};x: Direct firmware load for {name} failed with error -2")
    }

    #[test]
    fn both_ways_of_saying_it_are_understood_and_each_name_is_told_once() {
        let found = of(&[
            "6,1,0,-;Linux version 6.12.0\n",
            "4,2,5,-;cxgb4 0000:02:00.4: Direct firmware load for cxgb4/t5fw.bin failed with error -2\n \
             SUBSYSTEM=pci\n DEVICE=+pci:0000:02:00.4\n",
            "3,3,5,-;cxgb4 0000:02:00.4: firmware: failed to load cxgb4/t5fw.bin (-2)\n",
            "3,4,5,-;bnx2 0000:03:00.0: firmware: failed to load bnx2/bnx2-mips-06-9.fw (-2)\n",
            "6,5,5,-;tg3 0000:04:00.0: firmware: direct-loading firmware tigon/tg3.bin\n",
        ]);
        assert_eq!(found, ["cxgb4/t5fw.bin", "bnx2/bnx2-mips-06-9.fw"]);
    }

    #[test]
    fn what_drivers_do_without_is_not_told() {
        let failed = |name| failed("4,2,5,-", name);
        assert_eq!(of(&[&failed("intel/ice/ddp/ice-0123456789abcdef.pkg")]), [""; 0]);
        assert_eq!(of(&[&failed("regulatory.db")]), [""; 0]);
        assert_eq!(of(&[&failed("intel/ice/ddp/ice.pkg")]), ["intel/ice/ddp/ice.pkg"]);
    }

    #[test]
    fn hostile_messages_give_short_plain_names_or_none() {
        assert_eq!(of(&[&failed("30,2,5,-", "a.bin")]), [""; 0], "of a program, not the kernel");
        assert_eq!(of(&[&failed("x", "a.bin")]), [""; 0]);
        assert_eq!(of(&[&failed("4,2,5,-", "")]), [""; 0]);
        assert_eq!(of(&["", ";", "4;", "4,1;Direct firmware load for x"]), [""; 0]);
        assert_eq!(of(&[&failed("4,2,5,-", "a\u{1b}[2J b\u{202e}")]), ["a??2J?b?"]);
        assert_eq!(of(&[&failed("4,2,5,-", &"x".repeat(5_000))]), ["x".repeat(NAME_LEN_MAX)]);
        assert_eq!(
            names([&b"4,1,1,-;firmware: failed to load \xff\xfe (-2)"[..]].into_iter()),
            ["??"]
        );
        let many: Vec<String> = (0..99).map(|n| failed("4,2,5,-", &format!("f{n}"))).collect();
        assert_eq!(names(many.iter().map(|r| r.as_bytes())).len(), NAMES_MAX);
    }
}
