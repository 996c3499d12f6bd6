//! Counters and gauges of the whole process, rendered for Prometheus.
//!
//! Invariants: every metric is a static in the list below, with a name, a unit in the name and a
//! help text (its doc comment), so that `/metrics` is complete by construction. Reading and writing
//! are single atomic operations: metrics work when the runtime is stuck.
//!
//! Deliberately absent: labels other than a limit's name, histograms, anything per tenant.

use crate::base::limit;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    help: &'static str,
    value: AtomicU64,
}

impl Counter {
    /// A counter at zero. `name` ends in `_total`.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, value: AtomicU64::new(0) }
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`; wraps at 2^64, as Prometheus expects.
    pub fn add(&self, n: u64) {
        self.value.fetch_add(n, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug)]
pub struct Gauge {
    name: &'static str,
    help: &'static str,
    value: AtomicI64,
}

impl Gauge {
    /// A gauge at zero.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, value: AtomicI64::new(0) }
    }

    /// Sets the value; past the end of `i64` it stays at the end.
    pub fn set(&self, n: u64) {
        self.value.store(i64::try_from(n).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.value.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.value.fetch_sub(1, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// One entry of the list.
enum Metric {
    Counter(&'static Counter),
    Gauge(&'static Gauge),
}

/// Declares the statics and the list of them at once, so that none can be forgotten.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $kind:ident $ident:ident = $name:literal;)+) => {
        $($(#[doc = $help])+ pub static $ident: $kind = $kind::new($name, concat!($($help),+));)+
        static ALL: &[Metric] = &[$(Metric::$kind(&$ident)),+];
    };
}

metrics! {
    /// Tasks that panicked and were ended.
    Counter TASK_PANICS = "understudy_task_panics_total";
    /// Log lines that could not be written to stderr.
    Counter LOG_LINES_LOST = "understudy_log_lines_lost_total";

    /// Messages accepted by SMTP (port 25): committed and answered 250.
    Counter SMTP_ACCEPTED = "understudy_smtp_accepted_total";
    /// Recipients and messages refused by SMTP for good (5xx).
    Counter SMTP_REFUSED = "understudy_smtp_refused_total";
    /// Recipients and messages put off by SMTP (4xx).
    Counter SMTP_DEFERRED = "understudy_smtp_deferred_total";
    /// Messages accepted by submission.
    Counter SUBMISSION_ACCEPTED = "understudy_submission_accepted_total";
    /// Logins that succeeded, all protocols.
    Counter LOGINS = "understudy_logins_total";
    /// Logins that failed, all protocols.
    Counter LOGINS_FAILED = "understudy_logins_failed_total";
    /// Logins whose password was checked in full a short while ago, on either node.
    Counter LOGINS_RECENT = "understudy_logins_recent_total";
    /// Logins put off because too many wait for their check, in all or from one source.
    Counter LOGINS_PUT_OFF = "understudy_logins_put_off_total";
    /// Passwords that were hashed to check them.
    Counter PASSWORD_HASHES = "understudy_password_hashes_total";
    /// Commands answered by IMAP.
    Counter IMAP_COMMANDS = "understudy_imap_commands_total";
    /// Requests answered by HTTP.
    Counter HTTP_REQUESTS = "understudy_http_requests_total";

    /// Messages in the outbound queue.
    Gauge QUEUE_DEPTH = "understudy_queue_depth";
    /// Messages delivered from the outbound queue.
    Counter QUEUE_DELIVERED = "understudy_queue_delivered_total";
    /// Delivery attempts of the outbound queue that will be repeated.
    Counter QUEUE_DEFERRED = "understudy_queue_deferred_total";

    /// Records appended to the log.
    Counter LOG_RECORDS = "understudy_log_records_total";
    /// Bytes appended to the log.
    Counter LOG_BYTES = "understudy_log_bytes_total";
    /// Batches of the log, one fdatasync each.
    Counter LOG_SYNCS = "understudy_log_syncs_total";
    /// Time spent in the log's fdatasync, in microseconds.
    Counter LOG_SYNC_MICROSECONDS = "understudy_log_sync_microseconds_total";
    /// Checkpoints of tenants' views.
    Counter CHECKPOINTS = "understudy_checkpoints_total";
    /// Last lsn that is durable on this node.
    Gauge LSN_DURABLE = "understudy_lsn_durable";
    /// Last lsn that is durable on every insync node.
    Gauge LSN_COMMITTED = "understudy_lsn_committed";
    /// Last lsn whose change is in the views.
    Gauge LSN_APPLIED = "understudy_lsn_applied";

    /// The pair's epoch.
    Gauge EPOCH = "understudy_epoch";
    /// 1 while this node is primary.
    Gauge PRIMARY = "understudy_primary";
    /// 1 while everything acknowledged is durable on both nodes: losing one loses nothing.
    Gauge RPO_ZERO = "understudy_rpo_zero";
    /// Nodes that every acknowledged change is durable on.
    Gauge INSYNC_NODES = "understudy_insync_nodes";
    /// Records of the log that the peer lacks.
    Gauge PEER_LAG_RECORDS = "understudy_peer_lag_records";
    /// 1 while the witness answers; 0 also where none is configured.
    Gauge WITNESS_REACHABLE = "understudy_witness_reachable";

    /// Floating addresses that this node holds.
    Gauge ADDRESSES_HELD = "understudy_addresses_held";
    /// VRRP adverts sent.
    Counter VRRP_SENT = "understudy_vrrp_adverts_sent_total";
    /// VRRP packets received, good or not.
    Counter VRRP_RECEIVED = "understudy_vrrp_packets_received_total";
}

/// Everything in Prometheus' text format, version 0.0.4.
#[must_use]
pub fn render() -> String {
    let mut text = String::with_capacity(16 * 1024);
    for metric in ALL {
        match metric {
            Metric::Counter(c) => head(&mut text, c.name, c.help, "counter", c.get()),
            Metric::Gauge(g) => head(&mut text, g.name, g.help, "gauge", g.get()),
        }
    }
    limits(&mut text);
    text
}

fn limits(text: &mut String) {
    type Read = fn(&limit::Limit) -> u64;
    let families: [(&str, &str, &str, Read); 3] = [
        ("understudy_limit_size", "Places of a limit.", "gauge", |l| u64::from(l.size())),
        ("understudy_limit_used", "Places taken.", "gauge", |l| u64::from(l.used())),
        ("understudy_limit_refused_total", "Refusals of a limit.", "counter", |l| l.refusals()),
    ];
    for (name, help, kind, read) in families {
        push(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for limit in limit::ALL {
            push(text, format_args!("{name}{{limit=\"{}\"}} {}\n", limit.name(), read(limit)));
        }
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str, value: impl std::fmt::Display) {
    let help = help.trim();
    push(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(line);
    debug_assert!(written.is_ok(), "writing into a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_rendered_once_with_help_and_type() {
        TASK_PANICS.inc();
        let text = render();
        assert!(text.contains(
            "# TYPE understudy_task_panics_total counter\nunderstudy_task_panics_total "
        ));
        assert!(text.contains("# HELP understudy_rpo_zero 1 while everything acknowledged is"));
        assert!(text.contains("understudy_limit_size{limit=\"smtp_sessions\"} 1000\n"));
        let mut names: Vec<_> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        for metric in ALL {
            if let Metric::Counter(c) = metric {
                assert!(c.name.ends_with("_total"), "{}", c.name);
            }
        }
    }
}
