//! The end of a play: both appliances show their mailboxes through the floating address, and the
//! result is held against the books.

use crate::appliance::Pair;
use crate::count::{self, Copy, Totals, Verdict};
use crate::imap::{Item, Reader};
use crate::mime::{self, PEOPLE};
use crate::net::{self, Host};
use crate::probe::ms;
use crate::stage::{Access, Books};
use crate::timeline::{Timeline, Tone, print};
use crate::{Result, fail, now, wait_for};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;

/// Messages of each mailbox that are compared byte for byte, on each appliance.
const SAMPLE: usize = 10;
/// How long a server may need to list everything.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long signing in may fail after a handover.
const SIGN_IN_MAX: Duration = Duration::from_secs(15);
/// Most examples of something wrong that are printed.
const EXAMPLES_MAX: usize = 8;

/// One appliance's copy, and what the comparison of bodies said.
struct Shown {
    host: Host,
    copy: Copy,
    compared: usize,
    different: Vec<u32>,
    uid_validities: Vec<u32>,
}

/// Counts on both appliances and prints the table. Says whether all is well.
///
/// # Errors
/// A mailbox cannot be read, or the pair does not hand over.
pub(crate) fn take(
    pair: &mut Pair,
    access: &Access,
    tale: &Timeline,
    books: &Books,
) -> Result<bool> {
    pair.settle("the pair is whole before the count")?;
    let Some(first) = pair.primary() else { return fail("nobody is primary") };
    let one = show(first, access)?;
    tale.say(
        Tone::Plain,
        format!("{first} has shown its mailboxes; handover for the second count"),
    );
    let at = now();
    pair.of(first).cli(&["handover"])?;
    pair.wait_primary(first.peer())?;
    let took = at.elapsed();
    let two = show(first.peer(), access)?;
    let second = first.peer();
    tale.say(
        Tone::Plain,
        format!("{second} has shown its mailboxes ({} for the handover)", ms(took)),
    );
    pair.settle("the pair is whole after the count")?;
    let (a, b) = if first == Host::A { (one, two) } else { (two, one) };
    Ok(report(pair, books, &a, &b))
}

fn show(host: Host, access: &Access) -> Result<Shown> {
    let access = access.clone();
    let thread = net::thread(Host::Client, "count", move || {
        let mut shown = Shown {
            host,
            copy: Copy::default(),
            compared: 0,
            different: Vec::new(),
            uid_validities: Vec::new(),
        };
        for (person, password) in PEOPLE.iter().zip(&access.passwords) {
            let mut reader = sign_in(&access.tls, person.address, password)?;
            shown.uid_validities.push(reader.uid_validity());
            let items = reader.items(1)?;
            for item in count::sample(&items, SAMPLE) {
                compare(&mut reader, item, &mut shown)?;
            }
            shown.copy.mailboxes.insert(*person, items);
        }
        Ok(shown)
    })?;
    net::join(thread)?
}

fn sign_in(tls: &Arc<ClientConfig>, name: &str, password: &str) -> Result<Reader> {
    let mut reader = None;
    let mut last = String::new();
    let signed_in = wait_for("sign in", SIGN_IN_MAX, || {
        match Reader::open(tls, name, password, PATIENCE) {
            Ok(session) => reader = Some(session),
            Err(e) => last = e.to_string(),
        }
        Ok(reader.is_some())
    });
    match (signed_in, reader) {
        (Ok(()), Some(reader)) => Ok(reader),
        _ => fail(format!("{name} cannot sign in: {last}")),
    }
}

fn compare(reader: &mut Reader, item: Item, shown: &mut Shown) -> Result<()> {
    let Some(number) = item.number else { return Ok(()) };
    let body = reader.body(item.uid)?;
    shown.compared += 1;
    if !count::is_what_was_sent(&body, number) {
        shown.different.push(number);
    }
    Ok(())
}

fn report(pair: &Pair, books: &Books, a: &Shown, b: &Shown) -> bool {
    let totals = count::totals(&books.records);
    let verdicts = [a, b].map(|s| count::judge(&books.records, &s.copy));
    let same = a.copy == b.copy && a.uid_validities == b.uid_validities;
    let [ada, _] = PEOPLE;
    let vanished: Vec<u32> = [a, b]
        .iter()
        .filter_map(|s| s.copy.mailboxes.get(&ada))
        .flat_map(|items| count::vanished(&books.seen, items))
        .collect();
    print_counts(books, totals, &verdicts, same, [a, b]);
    print_open(totals, &verdicts);
    print_reader(books, &vanished);
    print_events(books);
    print_state(pair);
    let different = !a.different.is_empty() || !b.different.is_empty();
    let good = verdicts.iter().all(Verdict::is_good)
        && totals.accepted > 0
        && totals.rejected == 0
        && same
        && !different
        && vanished.is_empty()
        && books.seen.complaints.is_empty();
    print(if good {
        "\n  Nothing that was accepted is missing or double on either appliance.\n"
    } else {
        "\n  THIS IS NOT RIGHT: see above.\n"
    });
    good
}

fn row(label: &str, cells: &[String]) {
    let cells: String = cells.iter().map(|c| format!("{c:>12}")).collect();
    print(&format!("  {label:<46}{cells}"));
}

fn print_counts(
    books: &Books,
    totals: Totals,
    verdicts: &[Verdict; 2],
    same: bool,
    shown: [&Shown; 2],
) {
    print("");
    row("", &["accepted".into(), "on A".into(), "on B".into()]);
    let [a, b] = verdicts;
    let label = format!("messages, exactly once ({})", mime::bytes(books.bytes));
    row(&label, &[totals.accepted.to_string(), a.once.to_string(), b.once.to_string()]);
    let both = |f: fn(&Verdict) -> usize| [String::new(), f(a).to_string(), f(b).to_string()];
    row("missing", &both(|v| v.missing.len()));
    row("double", &both(|v| v.double.len()));
    row("there, and nobody knows why", &both(|v| v.strange.len()));
    let [sa, sb] = shown.map(|s| s.compared.saturating_sub(s.different.len()).to_string());
    row("bodies read again: byte for byte as sent", &[String::new(), sa, sb]);
    print(&format!(
        "  {:<46}{:>24}",
        "both show the same UIDs for the same messages",
        if same { "yes" } else { "NO" }
    ));
    for (v, s) in verdicts.iter().zip(shown) {
        let host = s.host;
        examples(&format!("missing on {host}"), &v.missing);
        examples(&format!("double on {host}"), &v.double);
        examples(&format!("strange on {host}"), &v.strange);
        examples(&format!("not as sent on {host}"), &s.different);
    }
    let rejected =
        books.records.iter().filter_map(|(n, r)| Some(format!("{n}: {}", r.rejected.as_ref()?)));
    examples("rejected", &rejected.collect::<Vec<_>>());
}

fn examples<T: ToString>(label: &str, all: &[T]) {
    if !all.is_empty() {
        let some: Vec<String> = all.iter().take(EXAMPLES_MAX).map(T::to_string).collect();
        let more = if all.len() > EXAMPLES_MAX { ", …" } else { "" };
        print(&format!("    {label}: {}{more}", some.join(", ")));
    }
}

fn print_open(totals: Totals, verdicts: &[Verdict; 2]) {
    let there = verdicts.iter().map(|v| v.open_there.to_string()).collect::<Vec<_>>().join(" and ");
    let left = match totals.open_for_good {
        0 => String::new(),
        n => format!("; {n} left open, of which {there} are there"),
    };
    print(&format!(
        "\n  open transactions (the answer never came): {}; of their messages {} were accepted later{left}",
        totals.open, totals.open_then_accepted
    ));
    if totals.given_up > 0 {
        print(&format!("  given up, never taken: {}", totals.given_up));
    }
}

fn print_reader(books: &Books, vanished: &[u32]) {
    print(&format!(
        "  Ada saw {} messages in {} sessions; {} of them vanished or changed",
        books.seen.messages.len(),
        books.seen.sessions,
        vanished.len(),
    ));
    examples("UIDs", vanished);
    examples("complaints", &books.seen.complaints);
}

fn print_events(books: &Books) {
    print("");
    row("interruption", &[String::new(), "SMTP".into(), "IMAP".into()]);
    for e in &books.events {
        row(&e.what, &[String::new(), ms(e.smtp), ms(e.imap)]);
    }
}

fn print_state(pair: &Pair) {
    let host = pair.primary();
    let status = host.and_then(|h| pair.of(h).control().status().ok());
    let words = match (host, status) {
        (Some(host), Some(s)) => {
            let rpo = if s.rpo_zero { "yes" } else { "NO" };
            format!("{}, primary {host}, epoch {}, RPO 0: {rpo}", s.state, s.epoch)
        }
        _ => "nobody is primary".to_owned(),
    };
    print(&format!("\n  state: {words}"));
}
