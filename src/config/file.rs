//! What may be written in the configuration file, key by key.
//!
//! Invariants: a key's doc comment, type, default and example stand in one place, and everything
//! else (defaults, the check for unknown keys, the example file) is made from it. Nothing here is
//! validated: see [`super::resolved`]. Numbers are `i64`, so that a range error is ours to word.
//!
//! Deliberately absent: anything that is not in the file.

use serde::{Deserialize, Serialize};

/// What is known about a key.
pub struct KeyDoc {
    /// Its name.
    pub name: &'static str,
    /// Its meaning, line by line.
    pub doc: &'static [&'static str],
    /// How the example shows it.
    pub show: Show,
    /// The value that the example shows; also tells the key's type.
    pub value: fn() -> Option<toml::Value>,
}

/// How the example shows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// With its default.
    Default,
    /// With a value of the example: every appliance has its own.
    Example,
    /// As a comment: absent by default.
    Optional,
}

/// How often a section may stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// `[name]`, with defaults when it is absent.
    One,
    /// `[name]`, and its absence means something.
    Optional,
    /// The same; the example shows it as a comment.
    Unusual,
    /// `[[name]]`, any number.
    Many,
}

/// What is known about a section.
pub struct SectionDoc {
    /// Its name.
    pub name: &'static str,
    /// Its meaning, line by line.
    pub doc: &'static [&'static str],
    /// How often it may stand.
    pub times: Times,
    /// Its keys, in the order of the example.
    pub keys: &'static [KeyDoc],
    /// The sections inside it: `[name.inner]`.
    pub sections: &'static [SectionDoc],
}

/// Declares a section: the serde type, its defaults, and its description for check and example.
/// A key is `name: type = default;`, or `= default, example: value;` or `= default, optional: value;`.
macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $name:ident { $( $(#[doc = $key_doc:literal])+ $key:ident: $ty:ty = $default:expr $(, $show:ident: $shown:expr)?; )* }
        $( sections { $( $section:ident: $section_ty:ty = $times:ident $inner:ident; )* } )?
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $( $(#[doc = $key_doc])+ pub $key: $ty, )*
            $( $( #[doc = concat!("`[", stringify!($section), "]`")] pub $section: $section_ty, )* )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )* $( $( $section: Default::default(), )* )? }
            }
        }

        impl $name {
            /// What the section is for.
            pub const DOC: &'static [&'static str] = &[$($doc),+];
            /// Its keys.
            pub const KEYS: &'static [KeyDoc] = &[ $( KeyDoc {
                name: stringify!($key),
                doc: &[$($key_doc),+],
                show: section!(@show $($show)?),
                value: || {
                    let value: $ty = section!(@value $default $(, $shown)?);
                    toml::Value::try_from(value).ok()
                },
            } ),* ];
            /// The sections inside it.
            pub const SECTIONS: &'static [SectionDoc] = &[ $( $( SectionDoc {
                name: stringify!($section),
                doc: $inner::DOC,
                times: Times::$times,
                keys: $inner::KEYS,
                sections: $inner::SECTIONS,
            } ),* )? ];
        }
    };
    (@show) => { Show::Default };
    (@show example) => { Show::Example };
    (@show optional) => { Show::Optional };
    (@value $default:expr) => { $default };
    (@value $default:expr, $shown:expr) => { $shown };
}

section! {
    /// One appliance. Everything about tenants is data: see `understudy tenant --help`.
    File {
        /// Where all data lies. Nothing else may write there.
        data_dir: String = "/var/lib/understudy".into();
        /// The name that this appliance greets with (SMTP, IMAP) and has in its certificate.
        /// Both appliances of a pair carry the same: clients must not see who answers.
        hostname: String = String::new(), example: "mx.example.net".into();
        /// How much is logged: error, warn, info, debug or trace.
        log_level: String = "info".into();
    }
    sections {
        listen: Listen = One Listen;
        management: Management = One Management;
        console: Console = One Console;
        tls: Tls = One Tls;
        smtp: Smtp = One Smtp;
        imap: Imap = One Imap;
        store: Store = One Store;
        pair: Option<Pair> = Optional Pair;
        vrrp: Vec<Vrrp> = Many Vrrp;
    }
}

section! {
    /// Where mail and the web are served. A port of 0 turns that listener off.
    Listen {
        /// Addresses: the pair's floating ones, or "0.0.0.0" for an appliance alone.
        addresses: Vec<String> = vec!["0.0.0.0".into()], example: vec!["10.0.0.100".into()];
        /// SMTP, from other mail systems.
        smtp: i64 = 25;
        /// Submission with TLS from the first byte.
        submissions: i64 = 465;
        /// Submission with STARTTLS.
        submission: i64 = 587;
        /// IMAP with STARTTLS.
        imap: i64 = 143;
        /// IMAP with TLS from the first byte.
        imaps: i64 = 993;
        /// The web, with TLS.
        https: i64 = 443;
        /// Tells browsers to use HTTPS, and answers certificate authorities.
        http: i64 = 80;
    }
}

section! {
    /// Health and metrics (/healthz, /metrics) for monitoring. Plain HTTP: keep it internal.
    Management {
        /// Address and port.
        address: String = "127.0.0.1:9100".into();
    }
}

section! {
    /// The web console of operators (HTTPS), with a certificate of the pair's own authority. Keep it
    /// internal. Who may use it: see `understudy operator --help`.
    Console {
        /// Addresses and ports; none turns it off.
        address: Vec<String> = Vec::new(), optional: vec!["10.9.0.1:9443".into()];
    }
}

section! {
    /// The certificate that clients see. Without one, the pair's own CA makes one for `hostname`.
    Tls {
        /// Certificate chain, PEM.
        certificate: Option<String> = None, optional: Some("/etc/understudy/tls.pem".into());
        /// Its private key, PEM.
        key: Option<String> = None, optional: Some("/etc/understudy/tls.key".into());
    }
    sections {
        acme: Option<Acme> = Unusual Acme;
    }
}

section! {
    /// Certificates of a public authority, by ACME, shown before the one above. Leave the section out to do
    /// without. The authority must reach this appliance at the names and addresses, on port 80 or 443.
    Acme {
        /// The authority's directory.
        directory: String = "https://acme-v02.api.letsencrypt.org/directory".into();
        /// Whether you agree to the authority's terms of service: nothing is asked of it without.
        agree_terms: bool = false, example: true;
        /// Where the authority may write to.
        contact: Option<String> = None, optional: Some("mailto:postmaster@example.net".into());
        /// The names.
        names: Vec<String> = Vec::new(), example: vec!["mx.example.net".into()];
        /// Floating addresses that people reach from outside, for those who come by address.
        addresses: Vec<String> = Vec::new(), optional: vec!["203.0.113.7".into()];
        /// A certificate, PEM, that the authority's own web server may have: for private ones.
        root: Option<String> = None, optional: Some("/etc/understudy/acme-root.pem".into());
    }
}

section! {
    /// SMTP, submission and the outbound queue.
    Smtp {
        /// Largest message accepted, in bytes; also the limit of IMAP APPEND.
        message_size_max: i64 = 52_428_800;
        /// Most recipients of one message.
        recipients_max: i64 = 1_000;
        /// A session that says nothing for so long is closed, in milliseconds.
        idle_timeout_ms: i64 = 300_000;
        /// "host:port" that takes all mail for others; without it, their MX is asked.
        relay: Option<String> = None, optional: Some("smarthost.example.net:25".into());
        /// First pause before a failed delivery is tried again, in milliseconds; doubles each time.
        queue_retry_ms: i64 = 60_000;
        /// Hours after which an undeliverable message is returned to its sender.
        queue_give_up_hours: i64 = 120;
    }
}

section! {
    /// IMAP.
    Imap {
        /// A session that says nothing for so long is closed, in milliseconds.
        idle_timeout_ms: i64 = 1_800_000;
        /// How often an idling client hears from us, so that no firewall forgets it, in
        /// milliseconds.
        keepalive_ms: i64 = 120_000;
    }
}

section! {
    /// How data is kept.
    Store {
        /// Size of one segment of the log, in MiB.
        segment_mib: i64 = 64;
        /// Log kept for an absent peer, in MiB; past it the peer needs a whole copy.
        log_keep_mib: i64 = 8_192;
        /// Longest time between a tenant's change and its checkpoint, in milliseconds.
        checkpoint_ms: i64 = 2_000;
        /// Memory for the indexes of all tenants, in MiB.
        cache_mib: i64 = 16;
        /// Disk space that stays free, in MiB: below it, new mail is put off (452).
        reserve_mib: i64 = 1_024;
    }
}

section! {
    /// The other appliance. Leave the section out for an appliance alone. Keys and trust come from
    /// `understudy pair init` and `understudy pair join`.
    Pair {
        /// This appliance's own addresses for the link, the cross-link first.
        listen: Vec<String> = Vec::new(), example: vec!["10.0.1.1:7400".into(), "10.0.0.1:7400".into()];
        /// The peer's addresses, in the same order.
        peer: Vec<String> = Vec::new(), example: vec!["10.0.1.2:7400".into(), "10.0.0.2:7400".into()];
        /// Pause between two heartbeats on each path, in milliseconds.
        heartbeat_ms: i64 = 25;
        /// Heartbeats in a row that may be missing before a path counts as dead.
        heartbeats_missed_max: i64 = 4;
        /// Heartbeats in a row that may be missing on the session before it is over, 4 to 200; the
        /// same on both appliances.
        session_silence_heartbeats: i64 = 10;
        /// How long the primary may serve after the peer's last answer, in milliseconds.
        lease_ms: i64 = 75;
        /// How long a change waits for the peer before this appliance goes on alone (SOLO), in
        /// milliseconds.
        ack_timeout_ms: i64 = 1_000;
        /// How long a returning peer must hold before it counts again, in milliseconds.
        stability_ms: i64 = 30_000;
        /// How long a booting appliance waits for its peer, in milliseconds.
        boot_wait_ms: i64 = 120_000;
        /// How long a booting appliance that was alone before listens for its peer, in
        /// milliseconds.
        solo_boot_wait_ms: i64 = 3_000;
        /// When a standby without a session decides whether it still hears its primary, in
        /// milliseconds; at most a quarter of `ack_timeout_ms` counts.
        stale_after_ms: i64 = 250;
        /// With a witness: how long after the standby's session has ended the primary asks it
        /// whether it may go on alone, in milliseconds.
        solo_after_ms: i64 = 250;
        /// An appliance that did not run for so long trusts nothing that it heard before, in
        /// milliseconds. Less than a takeover takes.
        nap_ms: i64 = 200;
        /// A handover that is not taken up within this time is over, in milliseconds.
        handover_ms: i64 = 2_000;
        /// A fault of the service network that is over within this time moves nothing, in milliseconds.
        fault_hold_ms: i64 = 200;
        /// An appliance that has begun to serve, or has tried to hand over for its health, does not
        /// hand over for a fault of its service network within this time, in milliseconds; where such
        /// handovers follow each other, within twice that, and so on up to `room_pause_ms`,
        fault_pause_ms: i64 = 5_000;
        /// nor for a full disk within this time, in milliseconds.
        room_pause_ms: i64 = 600_000;
        /// How long one attempt to connect to the peer may take, in milliseconds.
        connect_timeout_ms: i64 = 1_000;
        /// Pause between two attempts to connect, in milliseconds.
        reconnect_ms: i64 = 25;
        /// Most that a full copy for the peer takes of disk and link, in MiB a second; a quarter of
        /// it while clients are busy.
        resync_mib_per_s: i64 = 50;
    }
    sections {
        witness: Option<PairWitness> = Optional PairWitness;
    }
}

section! {
    /// The witness: a third machine that decides who serves when the two cannot hear each other. The
    /// same on both appliances. Leave the section out to do without one: then both may serve while
    /// every path between them is cut, and what they did is merged afterwards.
    PairWitness {
        /// Its address and port.
        address: String = String::new(), example: "192.0.2.7:7401".into();
        /// The pin of its key: `understudy witness init` prints it there.
        pin: String = String::new(), example: "00".repeat(32);
        /// How long a question may wait for its answer, in milliseconds.
        answer_timeout_ms: i64 = 200;
        /// After so long without an answer the two agree to do without the witness, in
        /// milliseconds, until it is back.
        gone_ms: i64 = 60_000;
        /// How often it is asked what it holds when nothing is to be decided, in milliseconds.
        look_ms: i64 = 5_000;
    }
}

section! {
    /// A group of floating addresses. The pair's own are where the primary is: their VRRP priority is
    /// derived from the state of the pair and cannot be set.
    Vrrp {
        /// Network interface.
        interface: String = String::new(), example: "eth0".into();
        /// Virtual router id, 1 to 255; the same on both appliances, unique in the network.
        vrid: i64 = 0, example: 51;
        /// The floating addresses with their prefix lengths; the same on both appliances. IPv4 or
        /// IPv6: for both write two groups with the same `sync`.
        address: Vec<String> = Vec::new(), example: vec!["10.0.0.100/24".into()];
        /// Pause between two adverts, in milliseconds: 10 to 40950, a multiple of 10; in version 2
        /// whole seconds up to 255000.
        advert_ms: i64 = 100;
        /// Checksum of adverts: "keepalived" (with pseudo-header) or "rfc9568" (without).
        checksum: String = "keepalived".into();
        /// What `understudy address` calls the group; without it interface and vrid ("eth0.51").
        name: Option<String> = None, optional: Some("front".into());
        /// Version of VRRP: 3, or 2 for old routers (IPv4 only).
        version: i64 = 3;
        /// Password of version 2, 1 to 8 characters, or none; it crosses the network in the clear.
        password: String = String::new();
        /// Groups with the same word here move as one: all of them are here, or none.
        sync: Option<String> = None, optional: Some("front".into());
        /// Own addresses of the other routers, for networks that lose multicast.
        unicast: Vec<String> = Vec::new(), optional: vec!["10.0.0.2".into()];
        /// Unicast: whether adverts are accepted of those addresses only.
        check_source: bool = true;
        /// Unicast: the TTL that an advert must have left, 1 to 255. Less than 255 lets routed ones in.
        ttl_min: i64 = 255;
        /// Whether the addresses move with an Ethernet address of their own (00:00:5e:00:01:VRID).
        virtual_mac: bool = false;
        /// A program with its arguments that must succeed for this appliance to have the addresses.
        /// It runs as the appliance's user, without any capability, and cannot gain one.
        track: Vec<String> = Vec::new(), optional: vec!["/usr/local/bin/uplink-works".into()];
        /// Pause between two runs of it, in milliseconds.
        track_every_ms: i64 = 2_000;
        /// How long a run may take, in milliseconds.
        track_timeout_ms: i64 = 1_000;
        /// Whose addresses: "pair", or "origin" for those of a tenant's own machine, which the
        /// primary stands in for.
        kind: String = "pair".into();
        /// Origin: our priority, below that of the origin's routers.
        priority: i64 = 50;
        /// Origin: what its silence means: "never" (claim by hand), "confirm" (an alarm asks) or
        /// "automatic".
        takeover: String = "never".into();
        /// Origin: the tenant, for people.
        tenant: Option<String> = None, optional: Some("example.org".into());
    }
}
