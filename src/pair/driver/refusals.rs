//! What the two appliances refuse each other on a session that stands: a sentence on each side.
//!
//! Invariant: what is refused is the machine's and the log's decision; this only tells people, and
//! the peer. Absent on purpose: refusals before a session (`link`).

use super::run::Driver;
use crate::base::clock;
use std::time::Duration;
use understudy_proto::id::Epoch;
use understudy_proto::pair::{Sorry, State, VERSION};
use understudy_proto::time::Mono;

/// Least time between two lines about reigns that are over.
const SAID_EVERY: Duration = Duration::from_secs(1);
/// Least time between two lines about a certificate that has expired.
const EXPIRY_SAID_EVERY: Duration = Duration::from_hours(24);
/// A refused reign or release is shown for so long after the last refusal.
const SHOWN_FOR: Duration = Duration::from_secs(10);

impl Driver {
    /// Invariant 4: we refuse what the peer says for a reign that is over.
    pub(super) fn refuse_reign(&mut self, seen: Epoch) {
        let why = format!(
            "the peer speaks for a reign that is over and is refused: the newest is epoch {seen}; it \
             follows by itself, and if this stays, restart the peer"
        );
        if self.may_speak() {
            log::warn!(epoch:% = seen, reason = why, runbook = "pair-refused"; "an old reign is refused");
        }
        self.problems.insert("epoch", why);
    }

    /// The peer refuses what we say for a reign that is over.
    pub(super) fn reign_refused(&mut self, seen: Epoch) {
        let own = self.machine.status().epoch;
        let why = format!(
            "the peer refuses this appliance's reign, epoch {own}: it has seen epoch {seen}; this one \
             follows by itself, and if this stays, restart this one"
        );
        if self.may_speak() {
            log::warn!(epoch:% = seen, reason = why, runbook = "pair-refused"; "our reign is refused");
        }
        self.problems.insert("epoch", why);
    }

    /// Reigns cross at every takeover: the lines about them are counted.
    fn may_speak(&mut self) -> bool {
        may_say(&mut self.refused_at, clock::mono())
    }

    /// The peer's records do not continue our log. The worker has logged it.
    pub(super) fn refuse_log(&mut self) {
        let after = self.log.last().lsn;
        self.problems.insert(
            "chain",
            format!(
                "the peer's log does not continue ours after record {after}: it is refused, and \
                 nothing is thrown away; see `understudy branches` on the one that serves"
            ),
        );
        self.last_word = Some(Sorry::Chain { after });
    }

    /// The peer's Hello is of another release.
    pub(super) fn refuse_version(&mut self, theirs: u16) {
        self.last_word = Some(Sorry::Version { version: VERSION });
        self.other_version(theirs);
        self.lose_session("the peer is of another release");
    }

    fn other_version(&mut self, theirs: u16) {
        let why = format!(
            "the peer speaks version {theirs} of the pair's protocol, this appliance version \
             {VERSION}: bring both to the same release"
        );
        if self.problems.get("version") != Some(&why) {
            log::error!(reason = why, runbook = "pair-refused"; "the peer is of another release");
        }
        self.problems.insert("version", why);
        self.other_release_at = Some(clock::mono());
    }

    /// The peer does not say what its file says. The session stays, and so does the sentence.
    pub(super) fn refuse_release(&mut self) {
        let why = "the other appliance runs another release and does not say what its file says: \
                   bring both to the same";
        if !self.problems.contains_key("release") {
            log::error!(reason = why, runbook = "pair-refused"; "the peer is of another release");
        }
        self.problems.insert("release", why.to_owned());
        self.other_release_at = Some(clock::mono());
    }

    /// The peer has ended the session, and says why.
    pub(super) fn refused(&mut self, sorry: Sorry) {
        match sorry {
            Sorry::Chain { after } => {
                let why = format!(
                    "the peer refuses our log: it does not continue its own after record {after}; \
                     nothing is thrown away, see `understudy branches` on the one that serves"
                );
                if self.problems.get("chain there") != Some(&why) {
                    log::error!(lsn:% = after, reason = why, runbook = "branched"; "our log is refused");
                }
                self.problems.insert("chain there", why);
            }
            Sorry::Keyring => {
                let why = "the peer cannot take our keyring in: see its log and status".to_owned();
                if self.problems.get("keyring there") != Some(&why) {
                    log::error!(reason = why, runbook = "pair-keyring"; "our keyring is refused");
                }
                self.problems.insert("keyring there", why);
            }
            Sorry::Version { version } => self.other_version(version),
        }
    }

    /// An expired certificate keeps nobody apart: pins count. People are told once a day.
    pub(super) fn watch_certificate(&mut self, now: Mono) {
        let over = self.certificate_expires.is_some_and(|at| at <= clock::now_ms());
        let said = self.expiry_said.is_some_and(|at| now.since(at) < EXPIRY_SAID_EVERY);
        if over && !said {
            self.expiry_said = Some(now);
            log::warn!(runbook = "pair-certificate"; "a certificate of the pair's link has expired");
        }
    }

    /// What the two have settled is no problem any more.
    pub(super) fn forget_refusals(&mut self, now: Mono) {
        let status = self.machine.status();
        if status.state == State::Pair {
            // The full copy came through, too, where the log was not enough.
            for settled in ["chain", "chain there", "version", "release", "log"] {
                self.problems.remove(settled);
            }
        }
        // Where the peer has gone, nobody refuses anything any more; where it is there, it stays
        // until the two have settled it.
        let over = |at: Option<Mono>| at.is_none_or(|at| now.since(at) >= SHOWN_FOR);
        if over(self.refused_at) && (status.state == State::Pair || !status.linked) {
            self.problems.remove("epoch");
        }
        if over(self.other_release_at) {
            self.problems.remove("version");
            if !self.is_meeting() {
                self.problems.remove("release");
            }
        }
    }
}

/// Whether a line may follow the last one, and moves its time. Only what is said moves it: refusals
/// that follow each other closely would otherwise be said once, and never again.
fn may_say(last: &mut Option<Mono>, now: Mono) -> bool {
    let speaks = last.is_none_or(|at| now.since(at) >= SAID_EVERY);
    if speaks {
        *last = Some(now);
    }
    speaks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_without_end_are_said_once_a_second() {
        let mut last = None;
        let at = |n: u64| Mono::default().after(Duration::from_millis(n * 100));
        let said = (0..100).filter(|n| may_say(&mut last, at(*n))).count();
        assert_eq!(said, 10);
    }
}
