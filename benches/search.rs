//! How fast is a search, and what does the index cost? One mailbox of 100,000 generated messages in
//! German and English, indexed in the background as in life, then asked; everything in one process.
//!
//! `cargo bench --bench search [-- MESSAGES]`. Nothing is left behind.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement: it fails where it stands, and its clock decides nothing"
)]

use nix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use understudy::base::metric;
use understudy::directory::{Directory, Login};
use understudy::mail::{Envelope, Field, Leaf, Mail};
use understudy::store::disk::RealDisk;
use understudy::store::{PrimaryLease, Store, StoreOptions};
use understudy_proto::directory::DirectoryRules;
use understudy_proto::id::{Epoch, NodeId};
use understudy_proto::mailbox::MailboxRules;
use understudy_proto::queue::QueueRules;
use understudy_proto::rule::Registry;
use understudy_proto::time::Mono;

const MESSAGES: u64 = 100_000;
/// Deliveries at once.
const SENDERS: u64 = 16;
/// Turns of deliveries without and beside the indexer, a tenth of the messages each.
const TURNS: usize = 3;
/// Searches per case.
const ROUNDS: usize = 200;

const FREQUENT: &str = "die der und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es \
    an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war \
    the of and to in is that for it was on are as with his they at be this from have or by one had not but";
const TOPICS: &str = "Rechnung Angebot Vertrag Besprechung Protokoll Lieferung Mahnung Urlaub Projekt Termin \
    Bestellung Kündigung Überweisung Straße Büro Müller Schröder Bestätigung Versicherung Unterlagen Anlage \
    invoice offer contract meeting minutes delivery reminder vacation project appointment order notice \
    transfer street office confirmation insurance documents attachment budget review release deployment";

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 1).unwrap() % n
    }
}

/// A word: frequent ones half of the time, topics and their compounds, and 60,000 rare ones.
fn word(random: &mut Random, frequent: &[&str], topics: &[&str]) -> String {
    match random.below(20) {
        0..10 => frequent[random.below(frequent.len())].to_owned(),
        10..13 => topics[random.below(topics.len())].to_owned(),
        13 => format!("{}s{}", topics[random.below(20)], topics[random.below(20)].to_lowercase()),
        14 => format!("{}", random.below(1_000_000)),
        _ => {
            const SYLLABLES: [&str; 16] = [
                "ka", "len", "dor", "mi", "tra", "gen", "ves", "ton", "schu", "ber", "fin", "gar",
                "ent", "zu", "ro", "wal",
            ];
            // The square makes some of them more frequent than others, as words are.
            let n = random.below(245) * random.below(245);
            [n % 16, n / 16 % 16, n / 256 % 16, n / 4_096].map(|at| SYLLABLES[at % 16]).concat()
        }
    }
}

fn message(n: u64) -> String {
    let (frequent, topics): (Vec<&str>, Vec<&str>) =
        (FREQUENT.split_whitespace().collect(), TOPICS.split_whitespace().collect());
    let mut random = Random(n);
    let subject: Vec<String> =
        (0..3).map(|_| topics[random.below(topics.len())].to_owned()).collect();
    let mut text = format!(
        "From: Person {0} <person{0}@firma{1}.example>\r\nTo: Ada <ada@example.org>\r\nMessage-ID: <{n}@bench.example>\r\n\
         Content-Type: text/plain; charset=utf-8\r\nSubject: {2} {n}\r\n\r\n",
        random.below(2_000),
        random.below(300),
        subject.join(" ")
    );
    for i in 0..60 + random.below(240) {
        text.push_str(&word(&mut random, &frequent, &topics));
        text.push_str(if i % 12 == 11 { ".\r\n" } else { " " });
    }
    text
}

fn dir_len(dir: &Path) -> u64 {
    let mut len = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        len += if meta.is_dir() { dir_len(&entry.path()) } else { meta.len() };
    }
    len
}

async fn fill(mail: &Mail, lease: &PrimaryLease, login: &Login, all: u64) {
    let mut tasks = Vec::new();
    for sender in 0..SENDERS {
        let (mail, lease, login) = (mail.clone(), lease.clone(), login.clone());
        tasks.push(tokio::spawn(async move {
            for n in (sender..all).step_by(usize::try_from(SENDERS).unwrap()) {
                let mut ingest = mail.begin(&lease, &[login.tenant]).await.unwrap();
                ingest.write(message(n).as_bytes()).await.unwrap();
                let local = vec![(login.tenant, login.account)];
                let envelope = Envelope { local, ..Envelope::default() };
                mail.deliver(&lease, &envelope, ingest.finish()).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

fn main() {
    let all = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(MESSAGES);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(all));
}

async fn run(all: u64) {
    let dir = tempfile::tempdir().unwrap();
    let rules = Registry::default().with(DirectoryRules).with(MailboxRules).with(QueueRules);
    let options = StoreOptions::new(dir.path().join("data"), NodeId(0));
    let store = Store::open(Arc::new(RealDisk), options, rules).unwrap();
    store.log().begin_epoch(Epoch(1)).await.unwrap();
    store.log().commit_alone(true);
    store.keyring().mark_replicated(u64::MAX);
    let (lease, control) = PrimaryLease::mint(Epoch(1));
    control.extend(Mono(u64::MAX));
    let directory = Directory::new(store.clone());
    let tenant = directory.create_tenant(&lease, "bench").await.unwrap();
    directory.add_domain(&lease, tenant, "example.org").await.unwrap();
    let login = directory.create_account(&lease, "ada@example.org", "Ada").await.unwrap();
    let mail = Mail::new(store.clone());

    let began = Instant::now();
    fill(&mail, &lease, &login, all).await;
    println!("delivered {all} messages, {:.0} per s, no indexer running", rate(all, began));

    // Turn by turn, since a machine is not the same from one minute to the next. The indexer is in the
    // midst of all that came before.
    let (part, mut there) = (all / 20, all);
    for _ in 0..TURNS {
        let began = Instant::now();
        fill(&mail, &lease, &login, part).await;
        let without = rate(part, began);
        let indexer = mail.start_indexer();
        let before = metric::SEARCH_INDEXED.get();
        while metric::SEARCH_INDEXED.get() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (began, before) = (Instant::now(), metric::SEARCH_INDEXED.get());
        fill(&mail, &lease, &login, part).await;
        let (with, indexed) = (rate(part, began), metric::SEARCH_INDEXED.get() - before);
        println!(
            "delivered {part} twice: {without:.0} per s, and {with:.0} while {:.0} per s are indexed",
            rate(indexed, began)
        );
        drop(indexer);
        there += 2 * part;
    }

    let (began, cpu) = (Instant::now(), cpu_ms(ClockId::CLOCK_PROCESS_CPUTIME_ID));
    let before = metric::SEARCH_INDEXED.get();
    let indexer = mail.start_indexer();
    // What was indexed and not committed when an indexer ended is indexed again.
    let leaf = [Leaf { field: Field::Subject, text: "Besprechung".to_owned() }];
    while metric::SEARCH_INDEXED.get() < there || mail.search(&login, &leaf).unwrap().partial {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let indexed = metric::SEARCH_INDEXED.get() - before;
    println!("indexed {:.0} per s at nice 10, a fifth of it rest", rate(indexed, began));
    let cpu = cpu_ms(ClockId::CLOCK_PROCESS_CPUTIME_ID) - cpu;
    println!("  CPU ms per message {:.3}", cpu / f64::from(u32::try_from(indexed.max(1)).unwrap()));
    drop(indexer);
    let texts: u64 = (0..all).map(|n| message(n).len() as u64).sum();
    let index = dir_len(&store.dir().join("search"));
    println!("index {} MB for {there} messages ({all}: {} MB)", index >> 20, texts >> 20);

    let cases = [
        ("rare word", Field::Text, "kalendortra"),
        ("number", Field::Text, "4711"),
        ("word in a tenth", Field::Text, "invoice"),
        ("word as a prefix", Field::Text, "Rechnung"),
        ("in almost all", Field::Text, "und"),
        ("three letters typed", Field::Text, "ver"),
        ("two letters typed", Field::Text, "ka"),
        ("two words", Field::Text, "Müller Rechnung"),
        ("phrase", Field::Body, "\"der invoice\""),
        ("address", Field::From, "person17@firma"),
        ("subject", Field::Subject, "Besprechung"),
    ];
    println!("{:<22}{:>8}{:>9}{:>9}{:>9}", "search", "found", "p50 ms", "p95 ms", "CPU ms");
    for (name, field, text) in cases {
        let leaf = [Leaf { field, text: text.to_owned() }];
        let mut times = Vec::new();
        let mut count = 0;
        let cpu = cpu_ms(ClockId::CLOCK_THREAD_CPUTIME_ID);
        for _ in 0..ROUNDS {
            let at = Instant::now();
            let found = mail.search(&login, &leaf).unwrap();
            times.push(at.elapsed());
            assert!(!found.partial);
            count = found.leaves[0].len();
        }
        let cpu = (cpu_ms(ClockId::CLOCK_THREAD_CPUTIME_ID) - cpu)
            / f64::from(u32::try_from(ROUNDS).unwrap());
        times.sort();
        let ms = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e3;
        println!("{name:<22}{count:>8}{:>9.2}{:>9.2}{cpu:>9.2}", ms(50), ms(95));
    }
    drop(mail);
    store.close();
}

fn cpu_ms(clock: ClockId) -> f64 {
    Duration::from(clock_gettime(clock).unwrap()).as_secs_f64() * 1e3
}

fn rate(n: u64, since: Instant) -> f64 {
    f64::from(u32::try_from(n).unwrap()) / since.elapsed().as_secs_f64()
}
