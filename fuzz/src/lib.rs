//! Every parser that reads what others send, as a function of bytes that must not panic.
//!
//! The same list serves two doors: `tests/fuzz` runs all saved inputs and a seeded number of
//! mutations on each build, and one binary per parser (`src/bin`) searches for longer:
//!
//! ```text
//! cd fuzz && cargo run --release --bin config -- --seconds 600
//! cargo run --bin config -- corpus/config/some-file       # replays one input
//! ```
//!
//! An input that panics is written to `fuzz/crashes/<target>/`; once fixed, it moves to
//! `fuzz/corpus/<target>/` and stays. Deliberately absent: coverage guidance, which needs nightly.
//! The functions have libFuzzer's shape, so that `cargo fuzz` can call them where it is at hand.

use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use understudy::appliance::slot::env::Env;
use understudy::appliance::slot::package;
use understudy::base::clock;
use understudy_proto::imap::command::Command;
use understudy_proto::imap::input::{self as imap_input, Input};
use understudy_proto::jmap;
use understudy_proto::jmap::email::{HeaderProperty, parse_condition, parse_sort};
use understudy_proto::jmap::filter::Filter;
use understudy_proto::message::Scanner;
use understudy_proto::objects::ObjectType;
use understudy_proto::pair::witness::{self as witness_wire, WitnessReply, WitnessRequest};
use understudy_proto::pair::{Beacon, Frame};
use understudy_proto::smtp::{self, Service};
use understudy_proto::vrrp;

/// A parser: any bytes in, no panic out.
pub type Entry = fn(&[u8]);

/// All parsers. A new one is a line here, a file in `src/bin` and a first input in `corpus/`.
pub const TARGETS: &[(&str, Entry)] = &[
    ("config", config),
    ("imap", imap),
    ("jmap", jmap),
    ("message", message),
    ("pair_frame", pair_frame),
    ("smtp", smtp),
    ("update", update),
    ("vrrp", vrrp),
    ("witness", witness),
];

/// Longest input that a mutation makes, in bytes.
const INPUT_LEN_MAX: usize = 64 * 1024;

fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(e) = understudy::config::parse(text) {
        assert!(!e.to_string().is_empty());
    }
}

/// A client's side of an IMAP connection, in two pieces, before and after the log-in.
fn imap(bytes: &[u8]) {
    for authenticated in [false, true] {
        let mut input = Input::new(1_000_000);
        if authenticated {
            input.log_in();
        }
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        for piece in [head, tail] {
            input.handle_input(piece);
            while let Some(event) = input.poll_output() {
                match event {
                    imap_input::Event::AppendStart { .. } => drop(input.accept_append()),
                    imap_input::Event::Command { command: Command::Idle, .. } => {
                        input.expect_line()
                    }
                    _ => {}
                }
            }
        }
    }
}

/// A request as it comes, and whatever is read in the arguments of its calls, be it meant for that or not.
fn jmap(bytes: &[u8]) {
    if let Ok(name) = std::str::from_utf8(bytes) {
        let (name, raw) = name.split_once('\n').unwrap_or((name, "From: a@example.org\r\n\r\n"));
        if let Some(property) = HeaderProperty::parse(name) {
            drop(property.value(raw.as_bytes()));
        }
        drop(jmap::pointer::steps(name));
        if let Some(blob) = jmap::BlobId::parse(name) {
            assert_eq!(blob.to_string(), name);
        }
    }
    let Ok(request) = jmap::Request::parse(bytes) else { return };
    let mut responses = Vec::new();
    for call in request.calls {
        let Ok(arguments) = jmap::resolve(call.arguments, &responses) else { continue };
        read_arguments(&call.name, &arguments);
        responses.push((call.name, Value::Object(arguments), call.id));
    }
}

fn read_arguments(name: &str, arguments: &jmap::Map) {
    for value in arguments.values() {
        drop(Filter::parse(value, &mut parse_condition));
        drop(parse_sort(Some(value)));
        drop(jmap::objects::filter(value));
        drop(jmap::objects::Comparator::parse(value));
        let Some(object) = value.as_object() else { continue };
        for (pointer, inner) in object {
            drop(jmap::pointer::evaluate(value, pointer));
            let Some(inner) = inner.as_object() else { continue };
            drop(jmap::patch::apply(arguments, inner));
            let kind = name.split_once('/').map_or(name, |(kind, _)| kind);
            if let Some(kind) = ObjectType::by_name(kind) {
                check(kind, inner);
            }
        }
    }
}

/// What may be made can be changed by any patch, or not; and it can be shown.
fn check(kind: ObjectType, object: &jmap::Map) {
    let defaults = jmap::objects::defaults(kind);
    drop(jmap::objects::show(kind, "x", &defaults, None));
    drop(jmap::objects::show(kind, "x", object, None));
    drop(jmap::patch::apply(&defaults, object));
}

/// A message as it streams in; the pieces must not matter.
fn message(bytes: &[u8]) {
    let summary = |pieces: &[&[u8]]| {
        let mut scanner = Scanner::new();
        for piece in pieces {
            scanner.feed(piece);
        }
        scanner.finish()
    };
    let (head, tail) = bytes.split_at(bytes.len() / 3);
    assert_eq!(summary(&[bytes]), summary(&[head, tail]));
}

/// A frame of the pair link, after its length; and a heartbeat's datagram.
fn pair_frame(bytes: &[u8]) {
    if let Ok(frame) = Frame::decode(bytes) {
        let again = frame.encode();
        assert_eq!(Frame::decode(again.get(4..).unwrap_or_default()), Ok(frame));
    }
    let key = [7; 32];
    if let Some(beacon) = Beacon::decode(bytes, &key) {
        assert_eq!(Beacon::decode(&beacon.encode(&key), &key), Some(beacon));
    }
}

/// A sender's side of an SMTP connection; the first byte says how large the pieces are.
fn smtp(bytes: &[u8]) {
    for service in [Service::Mx, Service::Submission] {
        // What one side sends is bounded by what the other sent.
        assert!(smtp::explore(service, bytes) <= 60 + bytes.len() * 40);
    }
}

/// The file of an update as if it were signed, and the loader's block.
fn update(bytes: &[u8]) {
    const ROOM: u64 = 1024 * 1024;
    assert!(package::explore(bytes, ROOM) <= ROOM);
    if let Some(env) = Env::read(bytes) {
        let again = Env::read(&env.write());
        assert_eq!(
            again.map(|e| (e.active, e.trial, e.tries)),
            Some((env.active, env.trial, env.tries))
        );
    }
}

/// An advert, as it came and with a checksum that holds, so that mutations get past it.
/// As it comes from an IPv4 and an IPv6 socket, and with a checksum that lets it in: version 2 and
/// version 3 over IPv4 are told apart by the first octet.
fn vrrp(bytes: &[u8]) {
    if let Some((_, payload)) = vrrp::split_ip(bytes) {
        assert!(payload.len() < bytes.len());
    }
    let arrives =
        |source: IpAddr| vrrp::Arrival { source, destination: vrrp::group_of(source), ttl: 255 };
    let v4 = arrives(IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1)));
    let v6 = arrives(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)));
    for arrival in [v4, v6] {
        if let Ok(decoded) = vrrp::decode(bytes, arrival, 255) {
            reencodes(&decoded.advert, arrival);
        }
    }
    let mut summed = bytes.to_vec();
    if let Some(slot) = summed.get_mut(6..8) {
        slot.fill(0);
        let sum = checksum(&summed);
        if let Some(slot) = summed.get_mut(6..8) {
            slot.copy_from_slice(&sum.to_be_bytes());
        }
    }
    if let Ok(decoded) = vrrp::decode(&summed, v4, 255) {
        reencodes(&decoded.advert, v4);
    }
    // Over IPv6 the checksum covers the addresses, too.
    let covered = [
        &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..],
        &[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12],
        &[0, 112],
        &u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes(),
    ]
    .concat();
    if let Some(slot) = summed.get_mut(6..8) {
        slot.fill(0);
    }
    let sum = checksum(&[&covered[..], &summed].concat());
    if let Some(slot) = summed.get_mut(6..8) {
        slot.copy_from_slice(&sum.to_be_bytes());
    }
    if let Ok(decoded) = vrrp::decode(&summed, v6, 255) {
        reencodes(&decoded.advert, v6);
    }
}

fn reencodes(advert: &vrrp::Advert, arrival: vrrp::Arrival) {
    let form = vrrp::Checksum::MessageOnly;
    let again = vrrp::encode(advert, arrival.source, arrival.destination, form);
    assert_eq!(vrrp::decode(&again, arrival, 255).map(|d| d.advert).as_ref(), Ok(advert));
}

/// A node's messages to a witness, one after the other, with what they lead to; and a reply.
fn witness(bytes: &[u8]) {
    let (mut rest, mut held) = (bytes, None);
    while let Ok(Some((request, whole))) = WitnessRequest::decode(rest) {
        rest = rest.get(whole..).unwrap_or_default();
        let again = request.encode();
        assert_eq!(WitnessRequest::decode(&again), Ok(Some((request, again.len()))));
        if let WitnessRequest::Ask { ask, .. } = request
            && let witness_wire::Verdict::Hold(new) = witness_wire::decide(held, ask)
        {
            assert!(held.is_none_or(|old| old.epoch <= new.epoch));
            held = Some(new);
        }
    }
    if let Ok(Some((reply, _))) = WitnessReply::decode(bytes) {
        let again = reply.encode();
        assert_eq!(WitnessReply::decode(&again), Ok(Some((reply, again.len()))));
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([high, low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// The parser called `name`.
#[must_use]
pub fn entry(name: &str) -> Option<Entry> {
    TARGETS.iter().find(|(n, _)| *n == name).map(|(_, entry)| *entry)
}

/// The saved inputs of `target`, in the order of their names.
pub fn corpus(root: &Path, target: &str) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root.join("corpus").join(target))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    files.into_iter().map(|f| std::fs::read(&f).map(|bytes| (f, bytes))).collect()
}

/// Makes new inputs out of saved ones, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Mutator(u64);

impl Mutator {
    /// A source of mutations.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// xorshift64*: good enough to wander, and reproducible.
    fn next(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap_or(0)
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() % n.max(1)
    }

    /// One mutation of one input, or a splice of two.
    #[must_use]
    pub fn mutate(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.pick(inputs);
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + 1 + self.below(16)).min(bytes.len());
            match self.below(7) {
                0 => bytes.insert(at, self.byte()),
                1 => drop(bytes.drain(at.min(end)..end)),
                2 => bytes.truncate(at),
                3 => {
                    let copy: Vec<u8> =
                        bytes.iter().skip(at).take(end - at.min(end)).copied().collect();
                    drop(bytes.splice(at..at, copy));
                }
                4 => {
                    let other = self.pick(inputs);
                    let from = self.below(other.len() + 1);
                    bytes.truncate(at);
                    bytes.extend(other.into_iter().skip(from));
                }
                _ => {
                    let byte = self.byte();
                    if let Some(slot) = bytes.get_mut(at) {
                        *slot = byte;
                    }
                }
            }
        }
        bytes.truncate(INPUT_LEN_MAX);
        bytes
    }

    fn pick(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let at = self.below(inputs.len());
        inputs.get(at).cloned().unwrap_or_default()
    }

    /// Any byte, but more often one that means something to a protocol.
    fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"\0\r\n\t \"'\\(){}[]<>@:;,.*%=~+-0129AZaz\x7f\x80\xff";
        let at = self.below(TELLING.len() * 2);
        TELLING.get(at).copied().unwrap_or_else(|| u8::try_from(self.below(256)).unwrap_or(0))
    }
}

/// What a binary of `src/bin` does: replays the files that it is given, or searches for
/// `--seconds N` (10 by default). Gives the number of inputs that were tried.
pub fn run(target: &str) -> Result<u64, String> {
    let entry = entry(target).ok_or_else(|| format!("there is no target `{target}`"))?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => 10,
        ["--seconds", n] => n.parse().map_err(|e| format!("--seconds {n}: {e}"))?,
        files => {
            for file in files {
                entry(&std::fs::read(file).map_err(|e| format!("{file}: {e}"))?);
            }
            return Ok(u64::try_from(files.len()).unwrap_or(u64::MAX));
        }
    };
    search(target, entry, Duration::from_secs(seconds))
}

fn search(target: &str, entry: Entry, time: Duration) -> Result<u64, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let saved = corpus(root, target).map_err(|e| format!("corpus of {target}: {e}"))?;
    let inputs: Vec<Vec<u8>> = saved.into_iter().map(|(_, bytes)| bytes).collect();
    let start = clock::mono();
    let mut mutator = Mutator::new(u64::from(std::process::id()) << 20);
    let mut tried = 0_u64;
    while clock::mono().since(start) < time {
        let input = mutator.mutate(&inputs);
        if std::panic::catch_unwind(|| entry(&input)).is_err() {
            let folder = root.join("crashes").join(target);
            let file = folder.join(format!("{tried:08x}"));
            std::fs::create_dir_all(&folder)
                .and_then(|()| std::fs::write(&file, &input))
                .map_err(|e| e.to_string())?;
            return Err(format!("a panic, with the input in {}", file.display()));
        }
        tried += 1;
    }
    Ok(tried)
}
