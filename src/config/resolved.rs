//! The configuration as the program uses it: parsed addresses, durations, sizes within bounds.
//!
//! Invariants: a value of these types is usable as it is. Every bound is checked here and nowhere
//! else, and all problems are collected before the file is refused.
//!
//! Deliberately absent: whether files exist, names resolve or addresses are ours; that is found out
//! where they are used, and `understudy config check` asks.

use super::check::{ConfigError, Places, Problem, header, invalid};
use super::file::{self, File, Times};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// One appliance's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where all data lies.
    pub data_dir: PathBuf,
    /// The name that this appliance greets with.
    pub hostname: String,
    /// How much is logged.
    pub log_level: log::LevelFilter,
    /// Where mail and the web are served.
    pub listen: Listen,
    /// Health and metrics.
    pub management: Management,
    /// The operators' console.
    pub console: Console,
    /// The certificate that clients see.
    pub tls: Tls,
    /// SMTP, submission, queue.
    pub smtp: Smtp,
    /// IMAP.
    pub imap: Imap,
    /// How data is kept.
    pub store: Store,
    /// The other appliance; `None` for an appliance alone.
    pub pair: Option<Pair>,
    /// Groups of floating addresses.
    pub vrrp: Vec<Vrrp>,
}

/// Where mail and the web are served. A port of `None` is turned off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// At least one address.
    pub addresses: Vec<IpAddr>,
    /// SMTP.
    pub smtp: Option<u16>,
    /// Submission with TLS from the first byte.
    pub submissions: Option<u16>,
    /// Submission with STARTTLS.
    pub submission: Option<u16>,
    /// IMAP with STARTTLS.
    pub imap: Option<u16>,
    /// IMAP with TLS from the first byte.
    pub imaps: Option<u16>,
    /// The web, with TLS.
    pub https: Option<u16>,
    /// Tells browsers to use HTTPS.
    pub http: Option<u16>,
}

/// Health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// Where they are served.
    pub address: SocketAddr,
}

/// The operators' console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Where it is served; nowhere when there are none.
    pub addresses: Vec<SocketAddr>,
}

/// The certificate that clients see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// An own certificate; without one the pair's CA makes one.
    pub own: Option<TlsFiles>,
    /// Certificates of a public authority.
    pub acme: Option<Acme>,
}

/// Certificates of a public authority. Its terms of service are agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// Its directory: https.
    pub directory: String,
    /// Where it may write to.
    pub contact: Option<String>,
    /// Names; with `addresses` at least one.
    pub names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// What its web server's certificate may rest on besides public authorities.
    pub root: Option<PathBuf>,
}

/// An own certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// SMTP, submission and the outbound queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// Largest message in bytes.
    pub message_size_max: u64,
    /// Most recipients of one message.
    pub recipients_max: usize,
    /// Longest silence of a session.
    pub idle_timeout: Duration,
    /// Takes all mail for others.
    pub relay: Option<Relay>,
    /// First pause before a failed delivery is tried again.
    pub queue_retry: Duration,
    /// Age at which an undeliverable message is returned.
    pub queue_give_up: Duration,
}

/// A mail system that takes all mail for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// IMAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imap {
    /// Longest silence of a session.
    pub idle_timeout: Duration,
    /// Pause between two signs of life to an idling client.
    pub keepalive: Duration,
}

/// How data is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Size of one log segment in bytes.
    pub segment_len: u64,
    /// Log kept for an absent peer, in bytes.
    pub log_keep_bytes: u64,
    /// Longest time between a change and its checkpoint.
    pub checkpoint_every: Duration,
    /// Memory for all indexes, in bytes.
    pub cache_bytes: u64,
    /// Disk space that stays free, in bytes.
    pub reserve_bytes: u64,
}

/// The link to the other appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Own addresses, cross-link first; as many as `peer`, at least one.
    pub listen: Vec<SocketAddr>,
    /// The peer's addresses in the same order.
    pub peer: Vec<SocketAddr>,
    /// Pause between two heartbeats on each path.
    pub heartbeat: Duration,
    /// Heartbeats in a row that may be missing before a path counts as dead.
    pub heartbeats_missed_max: u32,
    /// Heartbeats in a row that may be missing on the session before it is over.
    pub session_silence_heartbeats: u32,
    /// How long the primary may serve after the peer's last answer.
    pub lease: Duration,
    /// How long a change waits for the peer before SOLO.
    pub ack_timeout: Duration,
    /// How long a returning peer must hold before it counts.
    pub stability: Duration,
    /// How long a booting appliance waits for its peer.
    pub boot_wait: Duration,
    /// How long a booting appliance that was alone before listens for its peer.
    pub solo_boot_wait: Duration,
    /// When a standby without a session decides whether it still hears its primary.
    pub stale_after: Duration,
    /// With a witness: how long after the session's end the primary asks to go on alone.
    pub solo_after: Duration,
    /// An appliance that did not run for so long trusts nothing that it heard before.
    pub nap: Duration,
    /// A handover that is not taken up within this time is over.
    pub handover: Duration,
    /// A fault of the service network that is over earlier moves nothing.
    pub fault_hold: Duration,
    /// Shortest time between two handovers for a fault of the service network,
    pub fault_pause: Duration,
    /// and for a full disk.
    pub room_pause: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// Pause between two attempts to connect.
    pub reconnect: Duration,
    /// Most bytes a second of a full copy for the peer.
    pub resync_bytes_per_s: u64,
    /// The third vote, if there is one.
    pub witness: Option<PairWitness>,
    /// Shortest pause between two adverts of the pair's own floating addresses, if it has any.
    pub advert: Option<Duration>,
}

/// Where the pair's witness is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairWitness {
    /// Where it listens.
    pub address: SocketAddr,
    /// SHA-256 of its certificate.
    pub pin: [u8; 32],
    /// How long a question may wait for its answer.
    pub answer_timeout: Duration,
    /// After so long without an answer the pair does without it.
    pub gone: Duration,
    /// How often it is asked what it holds when nothing is to be decided.
    pub look: Duration,
}

/// A group of floating addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrrp {
    /// Network interface, 1 to 15 bytes.
    pub interface: String,
    /// Virtual router id, 1 to 255.
    pub vrid: u8,
    /// The addresses, at least one.
    pub addresses: Vec<Cidr>,
    /// Pause between two adverts: 10 ms to 40.95 s, whole centiseconds (RFC 9568 5.2.7).
    pub advert: Duration,
    /// How adverts are summed.
    pub checksum: VrrpChecksum,
    /// What operators call the group.
    pub name: String,
    /// Version 2 (RFC 3768); otherwise version 3.
    pub version_2: bool,
    /// Version 2: 1 to 8 bytes.
    pub password: Option<String>,
    /// Groups with the same word move as one.
    pub sync: Option<String>,
    /// Unicast peers of the addresses' family; none for multicast.
    pub unicast: Vec<IpAddr>,
    /// Unicast: whether adverts are accepted of the peers only.
    pub check_source: bool,
    /// Unicast: the TTL that an advert must have left.
    pub ttl_min: u8,
    /// Whether the addresses have an Ethernet address of their own.
    pub virtual_mac: bool,
    /// A command that must succeed.
    pub track: Option<VrrpTrack>,
    /// `None` for the pair's own addresses.
    pub origin: Option<VrrpOrigin>,
}

/// A command that must succeed for this appliance to have a group's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpTrack {
    /// The program and its arguments; at least the program.
    pub command: Vec<String>,
    /// Pause between two runs.
    pub every: Duration,
    /// How long a run may take.
    pub timeout: Duration,
}

/// A group of addresses that a tenant's own machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpOrigin {
    /// Ours, 1 to 254.
    pub priority: u8,
    /// What the origin's silence means.
    pub takeover: VrrpTakeover,
    /// Whose it is; empty when it was not said.
    pub tenant: String,
}

/// What an origin's silence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VrrpTakeover {
    /// Nothing.
    Never,
    /// An alarm.
    Confirm,
    /// Its address is taken.
    Automatic,
}

/// An address with its network's prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Prefix length, 0 to 32 or 128.
    pub prefix: u8,
}

/// How the checksum of a VRRPv3 advert over IPv4 is made. Both are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VrrpChecksum {
    /// With the pseudo-header, as keepalived.
    Keepalived,
    /// Without it, as RFC 9568 5.2.8 says for IPv4.
    Rfc9568,
}

/// Most addresses to listen on.
const LISTEN_ADDRESSES_MAX: usize = 64;
/// Most names, and most addresses, of a certificate by ACME.
const ACME_NAMES_MAX: usize = 25;
/// Most paths between the two appliances.
const PATHS_MAX: usize = 4;
/// Most floating addresses in one group, so that an advert fits every MTU.
const VRRP_ADDRESSES_MAX: usize = 64;
/// Most groups of floating addresses.
const VRRP_GROUPS_MAX: usize = 32;
/// Most unicast peers of one group.
const VRRP_PEERS_MAX: usize = 8;
/// Longest tracking command with its arguments, in bytes.
const VRRP_TRACK_LEN_MAX: usize = 512;
/// Longest name of a group, in bytes.
const VRRP_NAME_LEN_MAX: usize = 64;
const MIB: u64 = 1024 * 1024;

/// Checks `file` as a whole.
pub(super) fn resolve(file: &File, places: &Places<'_>) -> Result<Config, ConfigError> {
    let mut r = Resolver { places, section: "", index: 0, problems: Vec::new() };
    let mut config = Config {
        data_dir: r.path("data_dir", &file.data_dir),
        hostname: r.hostname(&file.hostname),
        log_level: r.log_level(&file.log_level),
        listen: r.within("listen", |r| r.listen(&file.listen)),
        management: r.within("management", |r| r.management(&file.management)),
        console: r.within("console", |r| r.console(&file.console)),
        tls: {
            let tls = r.within("tls", |r| r.tls(&file.tls));
            let acme = file.tls.acme.as_ref();
            Tls { acme: acme.map(|acme| r.within("tls.acme", |r| r.acme(acme))), ..tls }
        },
        smtp: r.within("smtp", |r| r.smtp(&file.smtp)),
        imap: r.within("imap", |r| r.imap(&file.imap)),
        store: r.within("store", |r| r.store(&file.store)),
        pair: file.pair.as_ref().map(|pair| {
            let resolved = r.within("pair", |r| r.pair(pair));
            let witness = pair.witness.as_ref();
            let witness = witness.map(|w| r.within("pair.witness", |r| r.witness(w)));
            Pair { witness, ..resolved }
        }),
        vrrp: r.within("vrrp", |r| r.vrrp_groups(&file.vrrp)),
    };
    if let Some(pair) = &mut config.pair {
        // An origin's adverts say nothing about the peer.
        let ours = config.vrrp.iter().filter(|group| group.origin.is_none());
        pair.advert = ours.map(|group| group.advert).min();
        if let Err(misfit) = pair.timers().check(pair.advert) {
            r.within("pair", |r| r.problem(misfit.setting, misfit.why));
        }
    }
    if r.problems.is_empty() { Ok(config) } else { Err(invalid(r.problems)) }
}

/// Where we are in the file, and what was wrong so far. A wrong value is replaced by any right one:
/// the result is thrown away.
struct Resolver<'a> {
    places: &'a Places<'a>,
    section: &'static str,
    index: usize,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn within<T>(&mut self, section: &'static str, f: impl FnOnce(&mut Self) -> T) -> T {
        self.section = section;
        let result = f(self);
        (self.section, self.index) = ("", 0);
        result
    }

    fn problem(&mut self, key: &str, text: impl std::fmt::Display) {
        let place = self.places.of(self.section, self.index, key);
        let times = if self.section == "vrrp" { Times::Many } else { Times::One };
        let section = match self.section {
            "" => String::new(),
            name => format!("{} ", header(name, times)),
        };
        self.problems.push(Problem { place, text: format!("{section}`{key}` {text}") });
    }

    fn number(&mut self, key: &str, value: i64, range: RangeInclusive<u64>, unit: &str) -> u64 {
        match u64::try_from(value) {
            Ok(n) if range.contains(&n) => n,
            _ => {
                let (least, most) = range.into_inner();
                let space = if unit.is_empty() { "" } else { " " };
                self.problem(
                    key,
                    format_args!("is {value}: it must be {least} to {most}{space}{unit}"),
                );
                least
            }
        }
    }

    fn ms(&mut self, key: &str, value: i64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(key, value, range, "milliseconds"))
    }

    fn mib(&mut self, key: &str, value: i64, range: RangeInclusive<u64>) -> u64 {
        self.number(key, value, range, "MiB").saturating_mul(MIB)
    }

    fn port(&mut self, key: &str, value: i64) -> Option<u16> {
        match u16::try_from(value) {
            Ok(0) => None,
            Ok(port) => Some(port),
            Err(_) => {
                self.problem(
                    key,
                    format_args!("is {value}: a port is 1 to 65535, and 0 turns it off"),
                );
                None
            }
        }
    }

    fn path(&mut self, key: &str, value: &str) -> PathBuf {
        if value.is_empty() || value.contains('\0') {
            self.problem(key, "must be a path");
        }
        PathBuf::from(value)
    }

    fn socket(&mut self, key: &str, value: &str) -> SocketAddr {
        match value.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => address,
            _ => {
                self.problem(
                    key,
                    format_args!("has {value:?}: write address and port, as in \"10.0.1.1:7400\" or \"[fd00::1]:7400\""),
                );
                SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
            }
        }
    }

    fn hostname(&mut self, name: &str) -> String {
        if name.is_empty() {
            self.problem(
                "hostname",
                "is missing: write the name that clients use, as in hostname = \"mx.example.net\"",
            );
        } else if !is_domain(name) {
            self.problem("hostname", format_args!("is {name:?}: that is not a host name"));
        }
        name.to_ascii_lowercase()
    }

    fn log_level(&mut self, level: &str) -> log::LevelFilter {
        level.parse().unwrap_or_else(|_| {
            self.problem(
                "log_level",
                format_args!("is {level:?}: it must be error, warn, info, debug or trace"),
            );
            log::LevelFilter::Info
        })
    }

    fn listen(&mut self, file: &file::Listen) -> Listen {
        if file.addresses.is_empty() || file.addresses.len() > LISTEN_ADDRESSES_MAX {
            self.problem(
                "addresses",
                format_args!("must name 1 to {LISTEN_ADDRESSES_MAX} addresses"),
            );
        }
        let mut addresses: Vec<IpAddr> = Vec::new();
        for text in file.addresses.iter().take(LISTEN_ADDRESSES_MAX) {
            match text.parse() {
                Ok(address) if addresses.contains(&address) => {
                    self.problem("addresses", format_args!("names {address} twice"));
                }
                Ok(address) => addresses.push(address),
                Err(_) => self.problem(
                    "addresses",
                    format_args!("has {text:?}: write an IP address without a port"),
                ),
            }
        }
        let listen = Listen {
            addresses,
            smtp: self.port("smtp", file.smtp),
            submissions: self.port("submissions", file.submissions),
            submission: self.port("submission", file.submission),
            imap: self.port("imap", file.imap),
            imaps: self.port("imaps", file.imaps),
            https: self.port("https", file.https),
            http: self.port("http", file.http),
        };
        self.no_port_twice(&listen);
        listen
    }

    fn no_port_twice(&mut self, listen: &Listen) {
        let ports = [
            ("smtp", listen.smtp),
            ("submissions", listen.submissions),
            ("submission", listen.submission),
            ("imap", listen.imap),
            ("imaps", listen.imaps),
            ("https", listen.https),
            ("http", listen.http),
        ];
        for (i, (key, port)) in ports.iter().enumerate() {
            let earlier = ports.iter().take(i).find(|(_, p)| p.is_some() && p == port);
            if let (Some(port), Some((other, _))) = (port, earlier) {
                self.problem(key, format_args!("is {port}, which `{other}` has already"));
            }
        }
    }

    fn management(&mut self, file: &file::Management) -> Management {
        Management { address: self.socket("address", &file.address) }
    }

    fn console(&mut self, file: &file::Console) -> Console {
        if file.address.len() > LISTEN_ADDRESSES_MAX {
            self.problem("address", format_args!("must name at most {LISTEN_ADDRESSES_MAX}"));
        }
        let mut addresses = Vec::new();
        for text in file.address.iter().take(LISTEN_ADDRESSES_MAX) {
            let address = self.socket("address", text);
            if addresses.contains(&address) {
                self.problem("address", format_args!("names {address} twice"));
            }
            addresses.push(address);
        }
        Console { addresses }
    }

    fn tls(&mut self, file: &file::Tls) -> Tls {
        let own = match (&file.certificate, &file.key) {
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate: self.path("certificate", certificate),
                key: self.path("key", key),
            }),
            (None, None) => None,
            (Some(_), None) => {
                self.problem("certificate", "needs `key` beside it");
                None
            }
            (None, Some(_)) => {
                self.problem("key", "needs `certificate` beside it");
                None
            }
        };
        Tls { own, acme: None }
    }

    fn acme(&mut self, file: &file::Acme) -> Acme {
        if !file.directory.starts_with("https://") || file.directory.contains(char::is_whitespace) {
            self.problem("directory", "must be an address that begins with https://");
        }
        if !file.agree_terms {
            self.problem(
                "agree_terms",
                "must be true: read the authority's terms of service, or leave the section out",
            );
        }
        if file.contact.as_ref().is_some_and(|c| !c.starts_with("mailto:") || !c.contains('@')) {
            self.problem("contact", "must be as in \"mailto:postmaster@example.net\"");
        }
        if file.names.is_empty() && file.addresses.is_empty() {
            self.problem("names", "is empty, and so is `addresses`: for whom is the certificate?");
        }
        if file.names.len() > ACME_NAMES_MAX || file.addresses.len() > ACME_NAMES_MAX {
            self.problem(
                "names",
                format_args!("and `addresses` have at most {ACME_NAMES_MAX} each"),
            );
        }
        let mut names: Vec<String> = Vec::new();
        for name in &file.names {
            let name = name.to_ascii_lowercase();
            if !is_domain(&name) || !name.contains('.') || name.parse::<IpAddr>().is_ok() {
                self.problem("names", format_args!("has {name:?}: that is not a host name"));
            } else if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut addresses: Vec<IpAddr> = Vec::new();
        for text in &file.addresses {
            match text.parse::<IpAddr>() {
                Ok(address) if address.is_unspecified() || addresses.contains(&address) => {
                    self.problem("addresses", format_args!("names {address} twice, or no host"));
                }
                Ok(address) => addresses.push(address),
                Err(_) => self.problem(
                    "addresses",
                    format_args!("has {text:?}: write an IP address without a port"),
                ),
            }
        }
        Acme {
            directory: file.directory.clone(),
            contact: file.contact.clone(),
            names,
            addresses,
            root: file.root.as_deref().map(|root| self.path("root", root)),
        }
    }

    fn smtp(&mut self, file: &file::Smtp) -> Smtp {
        // RFC 5321 4.5.3.1.7 asks for 64 KiB at least, 4.5.3.1.8 for 100 recipients at least.
        let size = 64 * 1024..=1024 * MIB;
        let recipients = self.number("recipients_max", file.recipients_max, 100..=10_000, "");
        let hours = self.number("queue_give_up_hours", file.queue_give_up_hours, 1..=720, "hours");
        Smtp {
            message_size_max: self.number("message_size_max", file.message_size_max, size, "bytes"),
            recipients_max: usize::try_from(recipients).unwrap_or(usize::MAX),
            idle_timeout: self.ms("idle_timeout_ms", file.idle_timeout_ms, 1_000..=3_600_000),
            relay: file.relay.as_deref().and_then(|relay| self.relay(relay)),
            queue_retry: self.ms("queue_retry_ms", file.queue_retry_ms, 100..=86_400_000),
            queue_give_up: Duration::from_secs(hours.saturating_mul(3_600)),
        }
    }

    fn relay(&mut self, text: &str) -> Option<Relay> {
        let parsed = text.rsplit_once(':').and_then(|(host, port)| {
            let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
            let port = port.parse::<u16>().ok().filter(|p| *p != 0)?;
            match bare {
                Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok().map(|_| (v6, port)),
                None => is_domain(host).then_some((host, port)),
            }
        });
        if parsed.is_none() {
            self.problem(
                "relay",
                format_args!(
                    "is {text:?}: write host and port, as in \"smarthost.example.net:25\""
                ),
            );
        }
        parsed.map(|(host, port)| Relay { host: host.to_owned(), port })
    }

    fn imap(&mut self, file: &file::Imap) -> Imap {
        Imap {
            // RFC 9051 5.4: at least 30 minutes; tests shorten it.
            idle_timeout: self.ms("idle_timeout_ms", file.idle_timeout_ms, 1_000..=86_400_000),
            keepalive: self.ms("keepalive_ms", file.keepalive_ms, 1_000..=1_740_000),
        }
    }

    fn store(&mut self, file: &file::Store) -> Store {
        let store = Store {
            segment_len: self.mib("segment_mib", file.segment_mib, 1..=1_024),
            log_keep_bytes: self.mib("log_keep_mib", file.log_keep_mib, 16..=16_777_216),
            checkpoint_every: self.ms("checkpoint_ms", file.checkpoint_ms, 50..=60_000),
            cache_bytes: self.mib("cache_mib", file.cache_mib, 1..=1_048_576),
            reserve_bytes: self.mib("reserve_mib", file.reserve_mib, 1..=1_048_576),
        };
        if store.log_keep_bytes < store.segment_len.saturating_mul(2) {
            self.problem("log_keep_mib", "must be at least twice `segment_mib`");
        }
        // A standby leaves with room for fewer: what warns of little room must come before.
        if store.reserve_bytes < store.segment_len.saturating_mul(4) {
            self.problem("reserve_mib", "must be at least four times `segment_mib`");
        }
        store
    }

    fn pair(&mut self, file: &file::Pair) -> Pair {
        // Within their bounds, or the file is refused.
        let heartbeats = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let pair = Pair {
            listen: self.paths("listen", &file.listen),
            peer: self.paths("peer", &file.peer),
            // The addresses are held for 200 ms at a time, from one heartbeat to the next.
            heartbeat: self.ms("heartbeat_ms", file.heartbeat_ms, 5..=100),
            heartbeats_missed_max: heartbeats(self.number(
                "heartbeats_missed_max",
                file.heartbeats_missed_max,
                1..=100,
                "",
            )),
            session_silence_heartbeats: heartbeats(self.number(
                "session_silence_heartbeats",
                file.session_silence_heartbeats,
                4..=200,
                "",
            )),
            lease: self.ms("lease_ms", file.lease_ms, 10..=60_000),
            ack_timeout: self.ms("ack_timeout_ms", file.ack_timeout_ms, 50..=60_000),
            stability: self.ms("stability_ms", file.stability_ms, 0..=3_600_000),
            boot_wait: self.ms("boot_wait_ms", file.boot_wait_ms, 0..=3_600_000),
            solo_boot_wait: self.ms("solo_boot_wait_ms", file.solo_boot_wait_ms, 0..=600_000),
            stale_after: self.ms("stale_after_ms", file.stale_after_ms, 10..=60_000),
            solo_after: self.ms("solo_after_ms", file.solo_after_ms, 0..=60_000),
            nap: self.ms("nap_ms", file.nap_ms, 60..=60_000),
            handover: self.ms("handover_ms", file.handover_ms, 100..=60_000),
            fault_hold: self.ms("fault_hold_ms", file.fault_hold_ms, 0..=60_000),
            fault_pause: self.ms("fault_pause_ms", file.fault_pause_ms, 1_000..=3_600_000),
            room_pause: self.ms("room_pause_ms", file.room_pause_ms, 1_000..=86_400_000),
            connect_timeout: self.ms("connect_timeout_ms", file.connect_timeout_ms, 50..=60_000),
            reconnect: self.ms("reconnect_ms", file.reconnect_ms, 10..=60_000),
            resync_bytes_per_s: self.mib("resync_mib_per_s", file.resync_mib_per_s, 1..=10_000),
            witness: None,
            advert: None,
        };
        if pair.listen.len() != pair.peer.len() {
            self.problem("peer", "must name as many addresses as `listen`, in the same order");
        }
        for (ours, theirs) in pair.listen.iter().zip(&pair.peer) {
            if ours.is_ipv4() != theirs.is_ipv4() {
                self.problem(
                    "peer",
                    format_args!(
                        "has {theirs} where `listen` has {ours}: a path has one address family"
                    ),
                );
            } else if ours == theirs {
                self.problem(
                    "peer",
                    format_args!("has {theirs}, which is this appliance's own address"),
                );
            }
        }
        if pair.fault_pause > pair.room_pause {
            self.problem(
                "fault_pause_ms",
                "must not be more than `room_pause_ms`, up to which it grows",
            );
        }
        if pair.lease < pair.heartbeat {
            self.problem("lease_ms", "must be at least `heartbeat_ms`: heartbeats renew the lease");
        }
        pair
    }

    fn witness(&mut self, file: &file::PairWitness) -> PairWitness {
        let pin = hex(&file.pin).unwrap_or_else(|| {
            self.problem(
                "pin",
                format_args!(
                    "is {:?}: write the 64 hexadecimal digits that `understudy witness init` \
                     prints on the witness",
                    file.pin
                ),
            );
            [0; 32]
        });
        PairWitness {
            address: self.socket("address", &file.address),
            pin,
            answer_timeout: self.ms("answer_timeout_ms", file.answer_timeout_ms, 10..=10_000),
            gone: self.ms("gone_ms", file.gone_ms, 1_000..=3_600_000),
            look: self.ms("look_ms", file.look_ms, 50..=600_000),
        }
    }

    fn paths(&mut self, key: &str, texts: &[String]) -> Vec<SocketAddr> {
        if texts.is_empty() || texts.len() > PATHS_MAX {
            self.problem(
                key,
                format_args!(
                    "must name 1 to {PATHS_MAX} addresses with ports, the cross-link first"
                ),
            );
        }
        let mut paths = Vec::new();
        for text in texts.iter().take(PATHS_MAX) {
            let address = self.socket(key, text);
            if paths.contains(&address) {
                self.problem(key, format_args!("names {address} twice"));
            }
            paths.push(address);
        }
        paths
    }

    fn vrrp_groups(&mut self, files: &[file::Vrrp]) -> Vec<Vrrp> {
        if files.len() > VRRP_GROUPS_MAX {
            self.problem("vrid", format_args!("there may be at most {VRRP_GROUPS_MAX} groups"));
        }
        let mut groups: Vec<Vrrp> = Vec::new();
        for (index, file) in files.iter().take(VRRP_GROUPS_MAX).enumerate() {
            self.index = index;
            let group = self.vrrp(file);
            let family = |g: &Vrrp| g.addresses.first().is_some_and(|c| c.address.is_ipv6());
            // RFC 9568 5.2.3: the id is scoped to interface and family.
            if groups.iter().any(|g| {
                g.vrid == group.vrid
                    && g.interface == group.interface
                    && family(g) == family(&group)
            }) {
                self.problem(
                    "vrid",
                    format_args!(
                        "is {}, which another group on {} has",
                        group.vrid, group.interface
                    ),
                );
            }
            if groups.iter().any(|g| g.name == group.name && family(g) == family(&group)) {
                self.problem("name", format_args!("is {:?}, which another group has", group.name));
            }
            if groups.iter().any(|g| g.sync.is_some() && g.sync == group.sync && differ(g, &group))
            {
                self.problem("sync", "names a group of another `kind`, priority or `takeover`");
            }
            for cidr in &group.addresses {
                if groups.iter().any(|g| g.addresses.iter().any(|c| c.address == cidr.address)) {
                    self.problem(
                        "address",
                        format_args!("has {}, which another group has", cidr.address),
                    );
                }
            }
            groups.push(group);
        }
        groups
    }

    fn vrrp(&mut self, file: &file::Vrrp) -> Vrrp {
        let name = &file.interface;
        // The kernel's IFNAMSIZ is 16 with the final zero.
        if name.is_empty()
            || name.len() > 15
            || name.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':'))
        {
            self.problem(
                "interface",
                format_args!("is {name:?}: write a network interface's name, as in \"eth0\""),
            );
        }
        let vrid = self.number("vrid", file.vrid, 1..=255, "");
        let version_2 = self.number("version", file.version, 2..=3, "") == 2;
        let longest = if version_2 { 255_000 } else { 40_950 };
        let advert = self.number("advert_ms", file.advert_ms, 10..=longest, "milliseconds");
        if version_2 && !advert.is_multiple_of(1_000) {
            self.problem("advert_ms", "must be whole seconds in version 2 (RFC 3768 5.3.7)");
        } else if !advert.is_multiple_of(10) {
            self.problem(
                "advert_ms",
                "must be a multiple of 10: adverts carry centiseconds (RFC 9568 5.2.7)",
            );
        }
        let addresses = self.floating(&file.address);
        let ipv6 = addresses.first().is_some_and(|c| c.address.is_ipv6());
        if version_2 && ipv6 {
            self.problem("version", "must be 3 for IPv6 addresses");
        }
        let vrid = u8::try_from(vrid).unwrap_or(1);
        Vrrp {
            interface: name.clone(),
            vrid,
            addresses,
            advert: Duration::from_millis(advert),
            checksum: self.checksum(&file.checksum),
            name: self.group_name(file, vrid),
            version_2,
            password: self.password(&file.password, version_2),
            sync: self.word("sync", file.sync.as_deref()),
            unicast: self.unicast(&file.unicast, ipv6),
            check_source: file.check_source,
            ttl_min: u8::try_from(self.number("ttl_min", file.ttl_min, 1..=255, ""))
                .unwrap_or(u8::MAX),
            virtual_mac: file.virtual_mac,
            track: self.track(file),
            origin: self.origin(file),
        }
    }

    fn group_name(&mut self, file: &file::Vrrp, vrid: u8) -> String {
        let Some(name) = &file.name else { return format!("{}.{vrid}", file.interface) };
        if name.is_empty()
            || name.len() > VRRP_NAME_LEN_MAX
            || name.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            self.problem(
                "name",
                format_args!("must be 1 to {VRRP_NAME_LEN_MAX} bytes without spaces"),
            );
        }
        name.clone()
    }

    fn word(&mut self, key: &'static str, text: Option<&str>) -> Option<String> {
        let text = text?;
        if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
            self.problem(key, "must be 1 to 255 bytes of text");
        }
        Some(text.to_owned())
    }

    fn password(&mut self, text: &str, version_2: bool) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        if !version_2 {
            self.problem("password", "is for version 2: version 3 has none (RFC 9568 9)");
        } else if text.len() > 8 || !text.is_ascii() {
            self.problem("password", "must be 1 to 8 ASCII characters (RFC 2338 5.3.10)");
        }
        Some(text.to_owned())
    }

    fn unicast(&mut self, texts: &[String], ipv6: bool) -> Vec<IpAddr> {
        if texts.len() > VRRP_PEERS_MAX {
            self.problem("unicast", format_args!("may name {VRRP_PEERS_MAX} addresses at most"));
        }
        let mut peers: Vec<IpAddr> = Vec::new();
        for text in texts.iter().take(VRRP_PEERS_MAX) {
            match text.parse::<IpAddr>() {
                Ok(peer) if peer.is_ipv6() != ipv6 => {
                    self.problem("unicast", format_args!("has {text:?}: not as `address` is"));
                }
                Ok(peer) if peer.is_multicast() || peer.is_unspecified() => {
                    self.problem("unicast", format_args!("has {text:?}, which is no router's"));
                }
                Ok(peer) if peers.contains(&peer) => {
                    self.problem("unicast", format_args!("names {peer} twice"));
                }
                Ok(peer) => peers.push(peer),
                Err(_) => self.problem(
                    "unicast",
                    format_args!("has {text:?}: write an address, as in \"10.0.0.2\""),
                ),
            }
        }
        peers
    }

    fn track(&mut self, file: &file::Vrrp) -> Option<VrrpTrack> {
        let every = self.number("track_every_ms", file.track_every_ms, 100..=3_600_000, "ms");
        let timeout = self.number("track_timeout_ms", file.track_timeout_ms, 10..=60_000, "ms");
        let program = file.track.first()?;
        if file.track.iter().map(String::len).sum::<usize>() > VRRP_TRACK_LEN_MAX {
            self.problem(
                "track",
                format_args!("is longer than {VRRP_TRACK_LEN_MAX} bytes: write a script"),
            );
        }
        if !program.starts_with('/') {
            self.problem("track", format_args!("begins with {program:?}: write its whole path"));
        }
        Some(VrrpTrack {
            command: file.track.clone(),
            every: Duration::from_millis(every),
            timeout: Duration::from_millis(timeout),
        })
    }

    fn origin(&mut self, file: &file::Vrrp) -> Option<VrrpOrigin> {
        let priority = self.number("priority", file.priority, 1..=254, "");
        let takeover = match file.takeover.as_str() {
            "never" => VrrpTakeover::Never,
            "confirm" => VrrpTakeover::Confirm,
            "automatic" => VrrpTakeover::Automatic,
            other => {
                self.problem(
                    "takeover",
                    format_args!(
                        "is {other:?}: it must be \"never\", \"confirm\" or \"automatic\""
                    ),
                );
                VrrpTakeover::Never
            }
        };
        match file.kind.as_str() {
            "origin" => Some(VrrpOrigin {
                priority: u8::try_from(priority).unwrap_or(1),
                takeover,
                tenant: self.word("tenant", file.tenant.as_deref()).unwrap_or_default(),
            }),
            "pair" => None,
            other => {
                self.problem(
                    "kind",
                    format_args!("is {other:?}: it must be \"pair\" or \"origin\""),
                );
                None
            }
        }
    }

    fn checksum(&mut self, text: &str) -> VrrpChecksum {
        match text {
            "keepalived" => VrrpChecksum::Keepalived,
            "rfc9568" => VrrpChecksum::Rfc9568,
            _ => {
                self.problem(
                    "checksum",
                    format_args!("is {text:?}: it must be \"keepalived\" or \"rfc9568\""),
                );
                VrrpChecksum::Keepalived
            }
        }
    }

    fn floating(&mut self, texts: &[String]) -> Vec<Cidr> {
        if texts.is_empty() || texts.len() > VRRP_ADDRESSES_MAX {
            self.problem("address", format_args!("must name 1 to {VRRP_ADDRESSES_MAX} addresses"));
        }
        let mut addresses: Vec<Cidr> = Vec::new();
        for text in texts.iter().take(VRRP_ADDRESSES_MAX) {
            match Cidr::parse(text) {
                Some(c) if addresses.iter().any(|a| a.address == c.address) => {
                    self.problem("address", format_args!("names {} twice", c.address));
                }
                Some(c) => addresses.push(c),
                None => self.problem(
                    "address",
                    format_args!("has {text:?}: write an address with its prefix length, as in \"10.0.0.100/24\""),
                ),
            }
        }
        let ipv6 = addresses.first().is_some_and(|c| c.address.is_ipv6());
        if addresses.iter().any(|c| c.address.is_ipv6() != ipv6) {
            self.problem("address", "has IPv4 and IPv6: write two groups with the same `sync`");
        }
        addresses
    }
}

/// Exactly `N` bytes in hexadecimal digits.
pub(super) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    if digits.len() != N * 2 {
        return None;
    }
    for (to, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let value = pair.iter().fold(0, |value, digit| value << 4 | digit);
        *to = u8::try_from(value).ok()?;
    }
    Some(bytes)
}

/// Whether two groups cannot move as one.
fn differ(a: &Vrrp, b: &Vrrp) -> bool {
    let how = |g: &Vrrp| g.origin.as_ref().map(|origin| (origin.priority, origin.takeover));
    how(a) != how(b)
}

impl Cidr {
    /// An address with its prefix length, as in `10.0.0.1/24`, that one machine can have.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.parse().ok().filter(|p| *p <= longest)?;
        let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        let usable = !(address.is_unspecified()
            || address.is_multicast()
            || address.is_loopback()
            || broadcast);
        usable.then_some(Self { address, prefix })
    }
}

/// Whether `name` is a host name: RFC 5321 4.1.2 Domain, RFC 1035 2.3.4 lengths; IPv4 addresses pass as well.
#[must_use]
pub fn is_domain(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
