//! A tenant moves from one appliance to another, by the command line, while its mail goes on.
//!
//! One sender and one IMAP client work in order and know what was acknowledged. So what arrives must
//! be as it was after one of their steps: none earlier than the last that was acknowledged before the
//! export began, none later than the last that was begun before it ended.

use super::appliance::{ALICE, Appliance, BOB, PASSWORD};
use super::wire::{Lines, tls};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Messages, by UID: their number and flags.
type Inbox = BTreeMap<u32, (u32, BTreeSet<String>)>;

/// Steps that were acknowledged before the export begins.
const BEFORE: usize = 30;
/// Most steps of each: the export is over long before.
const STEPS_MAX: usize = 5_000;

const PASSPHRASE: &str = "a passphrase that nobody guesses";

fn signed_in(appliance: &Appliance, account: &str) -> Lines {
    let mut imap = Lines::over(tls(appliance.imaps));
    imap.expect("* OK");
    command(&mut imap, &format!("LOGIN {account} {PASSWORD}"));
    imap
}

/// Says a command; gives all lines of the answer.
#[track_caller]
fn command(imap: &mut Lines, text: &str) -> Vec<String> {
    imap.say(&format!("x {text}"));
    let (mut lines, mut blank) = (Vec::new(), 0);
    loop {
        let line = imap.line();
        blank = if line.is_empty() { blank + 1 } else { 0 };
        assert!(blank < 3, "closed during {text:?}: {lines:?}");
        let last = line.starts_with("x ");
        assert!(!last || line.starts_with("x OK"), "{text:?}: {line:?}");
        lines.push(line);
        if last {
            return lines;
        }
    }
}

fn number_after(text: &str, label: &str) -> Option<u32> {
    let digits = text.split_once(label)?.1;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// UIDVALIDITY of the account's INBOX, and what is in it.
fn read(appliance: &Appliance, account: &str) -> (u32, Inbox) {
    let mut imap = signed_in(appliance, account);
    let selected = command(&mut imap, "SELECT INBOX");
    let validity = selected.iter().find_map(|line| number_after(line, "[UIDVALIDITY ")).unwrap();
    let fetch = "UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])";
    let (mut messages, mut uid_and_flags) = (Inbox::new(), None);
    for line in command(&mut imap, fetch) {
        if let Some(uid) = number_after(&line, "UID ").filter(|_| line.contains(" FETCH (")) {
            let (_, flags) = line.split_once("FLAGS (").unwrap();
            let flags = flags.split_once(')').unwrap().0.split_whitespace();
            uid_and_flags = Some((uid, flags.map(str::to_owned).collect::<BTreeSet<_>>()));
        } else if let Some(number) = number_after(&line, "Subject: ") {
            let (uid, mut flags) = uid_and_flags.take().unwrap();
            flags.remove("\\Recent");
            assert!(messages.insert(uid, (number, flags)).is_none(), "UID {uid} twice");
        }
    }
    (validity, messages)
}

/// Steps of one client.
#[derive(Default)]
struct Steps {
    begun: AtomicUsize,
    acknowledged: AtomicUsize,
}

impl Steps {
    fn wait_for(&self, count: usize) {
        while self.acknowledged.load(SeqCst) < count {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sends numbered messages to Bob, one after another.
fn send(appliance: &Appliance, steps: &Steps, stop: &AtomicBool) {
    let mut lines = appliance.mx();
    lines.ask("EHLO sender.far.example", "250 ");
    for number in 1..STEPS_MAX {
        if stop.load(SeqCst) {
            return;
        }
        steps.begun.store(number, SeqCst);
        lines.ask("MAIL FROM:<carol@far.example>", "250 ");
        lines.ask(&format!("RCPT TO:<{BOB}>"), "250 ");
        lines.ask("DATA", "354 ");
        lines.ask(&format!("Subject: {number}\r\n\r\nx\r\n."), "250 ");
        steps.acknowledged.store(number, SeqCst);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Files, flags and expunges in Alice's INBOX; gives what it held after each step.
fn file(appliance: &Appliance, steps: &Steps, stop: &AtomicBool) -> Vec<Inbox> {
    let mut imap = signed_in(appliance, ALICE);
    command(&mut imap, "SELECT INBOX");
    let mut states = vec![Inbox::new()];
    for step in 1..STEPS_MAX {
        if stop.load(SeqCst) {
            break;
        }
        let mut now = states.last().unwrap().clone();
        steps.begun.store(step, SeqCst);
        let first = now.keys().next().copied().unwrap_or_default();
        let last = now.keys().next_back().copied().unwrap_or_default();
        match step % 5 {
            1 | 2 => {
                let message = format!("Subject: {step}\r\n\r\nx\r\n");
                let text = format!("APPEND INBOX {{{}+}}\r\n{message}", message.len());
                let said = command(&mut imap, &text);
                let code = said.last().unwrap().split_once("[APPENDUID ").unwrap().1;
                let uid = code.split_once(' ').and_then(|(_, uid)| number_after(uid, "")).unwrap();
                now.insert(uid, (u32::try_from(step).unwrap(), BTreeSet::new()));
            }
            3 => {
                command(&mut imap, &format!("UID STORE {last} +FLAGS (\\Flagged)"));
                now.get_mut(&last).unwrap().1.insert("\\Flagged".into());
            }
            4 => {
                command(&mut imap, &format!("UID STORE {first} +FLAGS (\\Deleted)"));
                now.get_mut(&first).unwrap().1.insert("\\Deleted".into());
            }
            _ => {
                command(&mut imap, &format!("UID EXPUNGE {first}"));
                now.remove(&first);
            }
        }
        states.push(now);
        steps.acknowledged.store(step, SeqCst);
        std::thread::sleep(Duration::from_millis(5));
    }
    states
}

#[test]
fn a_tenant_moves_while_its_mail_goes_on() {
    let (one, two) = (Appliance::start(), Appliance::empty("message_size_max = 1048576"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acme.tenant");
    let path = path.to_str().unwrap();
    let (sent, filed, stop) = (Steps::default(), Steps::default(), AtomicBool::new(false));
    let (before, after, states) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&one, &sent, &stop));
        let client = scope.spawn(|| file(&one, &filed, &stop));
        [&sent, &filed].iter().for_each(|steps| steps.wait_for(BEFORE));
        let before = [&sent, &filed].map(|steps| steps.acknowledged.load(SeqCst));
        one.tell(&["tenant", "export", "acme", path], PASSPHRASE);
        let after = [&sent, &filed].map(|steps| steps.begun.load(SeqCst));
        // It went on all the while, and goes on after it.
        sent.wait_for(after[0] + 5);
        filed.wait_for(after[1] + 5);
        stop.store(true, SeqCst);
        sender.join().unwrap();
        (before, after, client.join().unwrap())
    });
    two.tell(&["tenant", "import", path], PASSPHRASE);

    // Alice's: as it was after one step, with UIDs and flags, and nothing else.
    let ((validity, is), (its, last)) = (read(&two, ALICE), read(&one, ALICE));
    assert_eq!(validity, its);
    assert_eq!(Some(&last), states.last(), "the client's own books");
    let step = (before[1]..=after[1]).find(|step| states[*step] == is);
    assert!(step.is_some(), "{is:?}\nis none of {:#?}", &states[before[1]..=after[1]]);

    // Bob's: the first messages, each once, under the UIDs that they have where they came from.
    one.wait_for(BOB, sent.acknowledged.load(SeqCst));
    let ((validity, is), (its, all)) = (read(&two, BOB), read(&one, BOB));
    assert_eq!(validity, its);
    assert!((before[0]..=after[0]).contains(&is.len()), "{} of {before:?} to {after:?}", is.len());
    let numbers: Vec<u32> = is.values().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=u32::try_from(is.len()).unwrap()).collect::<Vec<_>>());
    assert!(is.iter().all(|(uid, message)| all.get(uid) == Some(message)));

    // It lives there: mail arrives and is numbered on.
    let mut lines = two.mx();
    lines.ask("EHLO sender.far.example", "250 ");
    lines.ask("MAIL FROM:<carol@far.example>", "250 ");
    lines.ask(&format!("RCPT TO:<{BOB}>"), "250 ");
    lines.ask("DATA", "354 ");
    lines.ask("Subject: 999999\r\n\r\nx\r\n.", "250 ");
    two.wait_for(BOB, is.len() + 1);
    let (_, now) = read(&two, BOB);
    let (uid, (number, _)) = now.last_key_value().unwrap();
    assert_eq!(*number, 999_999);
    assert!(Some(uid) > is.keys().next_back());
}
