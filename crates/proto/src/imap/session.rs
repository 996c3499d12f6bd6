//! A session's state, and its view of the selected mailbox.
//!
//! The [`View`] is what the client believes: which message has which sequence number. It changes
//! only when the client is told ([`View::news`]), so that a number means the same to both sides.
//! Invariants: rows ascend by uid; `told` rows are known to the client, those after are not yet;
//! a gone row keeps its number until its EXPUNGE is sent, which never happens while a FETCH, STORE
//! or SEARCH by sequence number is answered (RFC 9051 7.5.1).

use super::command::Command;
use super::response::{self, Code};
use super::sequence::{Ranges, SeqNum, Target};
use crate::id::{MailboxId, ModSeq, Uid};
use crate::mailbox::{Entry, Flags};
use std::collections::BTreeSet;
use std::ops::Range;

/// RFC 9051 3: where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody is logged in.
    NotAuthenticated,
    /// Somebody is.
    Authenticated,
    /// And has a mailbox open; `read_only` after EXAMINE.
    Selected {
        /// Nothing may change.
        read_only: bool,
    },
}

/// Why a command does not fit the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// RFC 9051 3: BAD.
    #[error("{0}")]
    Bad(&'static str),
    /// NO [PRIVACYREQUIRED]: a password must not travel in the clear.
    #[error("use TLS first: STARTTLS, or port 993")]
    NeedsTls,
    /// NO [READ-ONLY].
    #[error("the mailbox is open for reading only")]
    ReadOnly,
}

impl State {
    /// Whether somebody is logged in.
    #[must_use]
    pub fn authenticated(self) -> bool {
        self != Self::NotAuthenticated
    }

    /// Whether `command` may be executed now; `secure` is whether TLS protects the connection.
    pub fn admits(self, command: &Command, secure: bool) -> Result<(), Misfit> {
        match command {
            Command::Capability | Command::Noop | Command::Logout | Command::Id(_) => Ok(()),
            Command::StartTls => match self {
                _ if secure => Err(Misfit::Bad("TLS is active already")),
                Self::NotAuthenticated => Ok(()),
                _ => Err(Misfit::Bad("STARTTLS comes before the log-in")),
            },
            Command::Login { .. } | Command::Authenticate { .. } => match self {
                Self::NotAuthenticated if secure => Ok(()),
                Self::NotAuthenticated => Err(Misfit::NeedsTls),
                _ => Err(Misfit::Bad("somebody is logged in already")),
            },
            _ if !self.authenticated() => Err(Misfit::Bad("log in first")),
            Command::Check
            | Command::Close
            | Command::Unselect
            | Command::Search(_)
            | Command::Fetch(_)
            | Command::Copy { .. } => match self {
                Self::Selected { .. } => Ok(()),
                _ => Err(Misfit::Bad("select a mailbox first")),
            },
            Command::Expunge(_) | Command::Store(_) | Command::Move { .. } => match self {
                Self::Selected { read_only: false } => Ok(()),
                Self::Selected { read_only: true } => Err(Misfit::ReadOnly),
                _ => Err(Misfit::Bad("select a mailbox first")),
            },
            _ => Ok(()),
        }
    }
}

/// RFC 9051 7.5.1: whether EXPUNGE responses may be sent before this command's end.
#[must_use]
pub fn may_expunge(command: &Command) -> bool {
    match command {
        Command::Fetch(fetch) => fetch.target.is_uid(),
        Command::Store(store) => store.target.is_uid(),
        Command::Search(search) => search.uid,
        _ => true,
    }
}

#[derive(Clone, Debug)]
struct Row {
    entry: Entry,
    gone: bool,
}

/// The selected mailbox as the client knows it.
#[derive(Clone, Debug)]
pub struct View {
    /// Which mailbox.
    pub mailbox: MailboxId,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// Opened by EXAMINE.
    pub read_only: bool,
    /// Changes up to here are in the view.
    pub modseq: ModSeq,
    rows: Vec<Row>,
    /// How many rows the client knows.
    told: usize,
    gone: usize,
    /// Rows whose flags the client must be told.
    stale: BTreeSet<Uid>,
    /// Keywords in use, sorted; at most [`KEYWORDS_MAX`].
    keywords: Vec<String>,
    keywords_told: usize,
}

/// Most keywords of a mailbox that are announced; more are shown with their messages only.
const KEYWORDS_MAX: usize = 512;

impl View {
    /// A view of `entries`, which ascend by uid, as of `modseq`. The caller tells the client all
    /// that SELECT tells ([`View::exists`], [`View::keywords`]).
    #[must_use]
    pub fn new(
        mailbox: MailboxId,
        uid_validity: u32,
        read_only: bool,
        modseq: ModSeq,
        entries: Vec<Entry>,
    ) -> Self {
        let told = entries.len();
        let rows = entries.into_iter().map(|entry| Row { entry, gone: false }).collect();
        let mut view = Self {
            mailbox,
            uid_validity,
            read_only,
            modseq,
            rows,
            told,
            gone: 0,
            stale: BTreeSet::new(),
            keywords: Vec::new(),
            keywords_told: 0,
        };
        for i in 0..view.rows.len() {
            view.learn_keywords(i);
        }
        view.keywords_told = view.keywords.len();
        view
    }

    /// Number of messages that the client knows.
    #[must_use]
    pub fn exists(&self) -> u32 {
        u32::try_from(self.told).unwrap_or(u32::MAX)
    }

    /// Keywords in use.
    #[must_use]
    pub fn keywords(&self) -> &[String] {
        &self.keywords
    }

    /// The first message without \Seen.
    #[must_use]
    pub fn first_unseen(&self) -> Option<SeqNum> {
        self.known().iter().position(|r| !r.entry.flags.has(Flags::SEEN)).map(seq_of)
    }

    /// The highest uid that the client knows, zero without messages.
    #[must_use]
    pub fn last_uid(&self) -> Uid {
        self.known().last().map(|r| r.entry.uid).unwrap_or_default()
    }

    /// Positions of the messages that `target` names: ascending, disjoint ranges. Numbers that the
    /// view does not have are passed over (RFC 9051 6.4.9 for uids; for sequence numbers it saves
    /// clients that race with an EXPUNGE).
    #[must_use]
    pub fn positions(&self, target: &Target) -> Vec<Range<usize>> {
        let known = self.known();
        let ranges: Vec<Range<usize>> = match target {
            Target::Seq(set) => {
                let clip = |n: u32| usize::try_from(n).unwrap_or(usize::MAX).min(known.len());
                let ranges = set.resolve(self.exists());
                ranges.iter().map(|(from, to)| clip(from.saturating_sub(1))..clip(to)).collect()
            }
            Target::Uid(set) => {
                let ranges = set.resolve(self.last_uid().0);
                let uid_ranges = ranges.iter();
                uid_ranges
                    .map(|(from, to)| {
                        known.partition_point(|r| r.entry.uid.0 < from)
                            ..known.partition_point(|r| r.entry.uid.0 <= to)
                    })
                    .collect()
            }
        };
        ranges.into_iter().filter(|r| !r.is_empty()).collect()
    }

    /// The message at a position, and whether it is gone already.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<(SeqNum, &Entry, bool)> {
        self.known().get(position).map(|r| (seq_of(position), &r.entry, r.gone))
    }

    /// The flags of a message as the view has them.
    #[must_use]
    pub fn flags(&self, uid: Uid) -> Option<&Flags> {
        self.find(uid).ok().and_then(|at| self.rows.get(at)).map(|r| &r.entry.flags)
    }

    /// The uids at `positions` that are not gone, ascending, and whether any is gone.
    #[must_use]
    pub fn uids(&self, positions: &[Range<usize>]) -> (Vec<Uid>, bool) {
        let mut any_gone = false;
        let mut uids = Vec::new();
        for row in positions.iter().filter_map(|p| self.rows.get(p.clone())).flatten() {
            any_gone |= row.gone;
            if !row.gone {
                uids.push(row.entry.uid);
            }
        }
        (uids, any_gone)
    }

    /// The uids among `ranges`, gone or not.
    #[must_use]
    pub fn uids_in(&self, ranges: &Ranges) -> Vec<Uid> {
        let uids = self.known().iter().map(|r| r.entry.uid);
        uids.filter(|u| ranges.contains(u.0)).collect()
    }

    /// Takes in what changed up to `modseq`. The client learns of it by [`View::news`].
    pub fn apply(&mut self, changed: Vec<Entry>, expunged: &[Uid], modseq: ModSeq) {
        for entry in changed {
            match self.find(entry.uid) {
                Ok(at) => self.replace(at, entry, true),
                Err(at) if at == self.rows.len() => {
                    self.rows.push(Row { entry, gone: false });
                    self.learn_keywords(at);
                }
                // Its EXPUNGE was sent before: a uid never comes back.
                Err(_) => {}
            }
        }
        for uid in expunged {
            if let Ok(at) = self.find(*uid)
                && let Some(row) = self.rows.get_mut(at)
                && !row.gone
            {
                row.gone = true;
                self.gone += 1;
            }
        }
        self.modseq = self.modseq.max(modseq);
    }

    /// Takes in what the session's own STORE made of a message. `expected` is what the client
    /// believes anyway after a silent one; it is told when the truth differs.
    pub fn stored(&mut self, entry: Entry, expected: Option<&Flags>) {
        if let Ok(at) = self.find(entry.uid) {
            let tell = expected != Some(&entry.flags);
            self.replace(at, entry, false);
            if tell && let Some(row) = self.rows.get(at) {
                self.stale.insert(row.entry.uid);
            }
        }
    }

    /// The client was just told this message's flags.
    pub fn told_flags(&mut self, uid: Uid) {
        self.stale.remove(&uid);
    }

    fn replace(&mut self, at: usize, entry: Entry, tell: bool) {
        if let Some(row) = self.rows.get_mut(at) {
            if tell && row.entry.flags != entry.flags {
                self.stale.insert(entry.uid);
            }
            row.entry = entry;
            self.learn_keywords(at);
        }
    }

    /// What the client must be told now; EXPUNGE only with `expunge`. From this call on the new
    /// numbers hold, so all of it must be sent before anything else.
    #[must_use = "the view counts on the client being told"]
    pub fn news(&mut self, expunge: bool) -> News {
        let mut news = News::default();
        if self.gone > 0 {
            let told = self.told;
            let mut position = 0;
            let mut removed = 0u32;
            let expunged = &mut news.expunged;
            let stale = &mut self.stale;
            self.rows.retain(|row| {
                let known = position < told;
                position += 1;
                if !row.gone || (known && !expunge) {
                    return true;
                }
                if known {
                    expunged.push(seq_of(position - 1).0.saturating_sub(removed));
                    removed = removed.saturating_add(1);
                }
                stale.remove(&row.entry.uid);
                false
            });
            self.told -= news.expunged.len();
            self.gone = self.rows.iter().filter(|r| r.gone).count();
        }
        if self.keywords.len() > self.keywords_told {
            news.keywords.clone_from(&self.keywords);
            self.keywords_told = self.keywords.len();
        }
        let before = self.told;
        if self.rows.len() > before {
            self.told = self.rows.len();
            news.exists = Some(self.exists());
        }
        for uid in std::mem::take(&mut self.stale) {
            if let Ok(at) = self.find(uid)
                && at < before
            {
                news.flags.push(uid);
            }
        }
        news
    }

    fn learn_keywords(&mut self, at: usize) {
        let Some(row) = self.rows.get(at) else { return };
        for keyword in &row.entry.flags.keywords {
            let wanted = keyword.to_ascii_lowercase();
            let place = self.keywords.binary_search_by(|k| k.to_ascii_lowercase().cmp(&wanted));
            if let Err(place) = place
                && self.keywords.len() < KEYWORDS_MAX
            {
                self.keywords.insert(place, keyword.clone());
            }
        }
    }

    fn known(&self) -> &[Row] {
        self.rows.get(..self.told).unwrap_or_default()
    }

    fn find(&self, uid: Uid) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&uid, |r| r.entry.uid)
    }
}

fn seq_of(position: usize) -> SeqNum {
    SeqNum(u32::try_from(position).unwrap_or(u32::MAX).saturating_add(1))
}

/// Untagged responses that a client must be told, written piece by piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// EXPUNGE responses, in this order.
    expunged: Vec<u32>,
    /// All keywords, when there are new ones.
    keywords: Vec<String>,
    /// EXISTS.
    exists: Option<u32>,
    /// Messages with changed flags, ascending.
    flags: Vec<Uid>,
    done: usize,
}

impl News {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Appends responses until all are written or `out` is longer than `len`; whether all are.
    #[must_use = "until it returns true, there is more to write"]
    pub fn write(&mut self, view: &View, out: &mut Vec<u8>, len: usize) -> bool {
        while out.len() <= len {
            let at = self.done;
            let after = at.checked_sub(self.expunged.len());
            if let Some(seq) = self.expunged.get(at) {
                put!(out, "* {seq} EXPUNGE\r\n");
            } else if after == Some(0) {
                self.write_head(view, out);
            } else {
                let flag = after.and_then(|a| a.checked_sub(1));
                let Some(uid) = flag.and_then(|f| self.flags.get(f)) else { return true };
                if let Ok(position) = view.find(*uid)
                    && let Some((seq, entry, _)) = view.get(position)
                {
                    response::fetch_open(out, seq);
                    put!(out, "UID {uid} ");
                    response::flags_item(out, &entry.flags);
                    response::fetch_close(out);
                }
            }
            self.done += 1;
        }
        false
    }

    fn write_head(&self, view: &View, out: &mut Vec<u8>) {
        if let Some(exists) = self.exists {
            put!(out, "* {exists} EXISTS\r\n* 0 RECENT\r\n");
        }
        if !self.keywords.is_empty() {
            response::flags_known(out, &self.keywords);
            let code = Code::PermanentFlags(&self.keywords, !view.read_only);
            if !view.read_only {
                response::status(out, "*", response::Status::Ok, Some(&code), "new keywords");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EmailId;
    use crate::imap::sequence::SequenceSet;
    use crate::time::UnixMs;
    use proptest::prelude::*;

    fn entry(uid: u32, bits: u8) -> Entry {
        Entry {
            uid: Uid(uid),
            email: EmailId(u64::from(uid)),
            flags: Flags::system(bits),
            modseq: ModSeq(1),
            internal_date: UnixMs(0),
            size: 1,
        }
    }

    fn view(uids: &[u32]) -> View {
        let entries = uids.iter().map(|&u| entry(u, 0)).collect();
        View::new(MailboxId(1), 1, false, ModSeq(1), entries)
    }

    fn told(view: &mut View, expunge: bool) -> String {
        let mut news = view.news(expunge);
        let mut out = Vec::new();
        // A small limit, so that writing is resumed at every response.
        let mut limit = 0;
        while !news.write(view, &mut out, limit) {
            limit = out.len();
        }
        String::from_utf8(out).unwrap().replace("\r\n", "|")
    }

    #[test]
    fn targets_name_what_the_client_knows() {
        let mut v = view(&[3, 5, 9, 10]);
        v.apply(vec![entry(20, 0)], &[], ModSeq(2));
        let at = |t: &Target| v.positions(t).into_iter().flatten().collect::<Vec<_>>();
        let set = |s: &str| SequenceSet::parse(s.as_bytes()).unwrap();
        for (target, expected) in [
            (Target::Seq(set("1:2")), vec![0, 1]),
            (Target::Seq(set("4:4294967295")), vec![3]),
            (Target::Seq(set("*")), vec![3]),
            (Target::Seq(set("9")), vec![]),
            (Target::Uid(set("4:9")), vec![1, 2]),
            (Target::Uid(set("*")), vec![3]),
            (Target::Uid(set("11:*")), vec![3]),
            (Target::Uid(set("20")), vec![]),
            (Target::Uid(set("10,3,3")), vec![0, 3]),
        ] {
            assert_eq!(at(&target), expected, "{target:?}");
        }
    }

    #[test]
    fn numbers_change_only_when_told() {
        let mut v = view(&[1, 2, 3, 4]);
        v.apply(vec![entry(4, Flags::SEEN), entry(5, 0)], &[Uid(1), Uid(3)], ModSeq(2));
        assert_eq!(told(&mut v, false), "* 5 EXISTS|* 0 RECENT|* 4 FETCH (UID 4 FLAGS (\\Seen))|");
        assert_eq!(v.exists(), 5);
        assert_eq!(told(&mut v, true), "* 1 EXPUNGE|* 2 EXPUNGE|");
        assert_eq!(v.exists(), 3);
        assert_eq!(told(&mut v, true), "");
    }

    #[test]
    fn a_message_that_came_and_went_is_never_told() {
        let mut v = view(&[1]);
        v.apply(vec![entry(2, 0), entry(3, 0)], &[Uid(2)], ModSeq(2));
        assert_eq!(told(&mut v, false), "* 2 EXISTS|* 0 RECENT|");
    }

    #[test]
    fn a_silent_store_is_told_only_when_it_surprises() {
        let mut v = view(&[1, 2]);
        v.stored(entry(1, Flags::SEEN), Some(&Flags::system(Flags::SEEN)));
        v.stored(entry(2, Flags::SEEN | Flags::DRAFT), Some(&Flags::system(Flags::SEEN)));
        v.apply(vec![entry(1, Flags::SEEN)], &[], ModSeq(2));
        assert_eq!(told(&mut v, false), "* 2 FETCH (UID 2 FLAGS (\\Seen \\Draft))|");
    }

    #[test]
    fn new_keywords_are_announced_once() {
        let mut v = view(&[1]);
        let mut e = entry(1, 0);
        e.flags.add_keyword("$Junk");
        v.apply(vec![e], &[], ModSeq(2));
        let text = told(&mut v, false);
        assert!(text.starts_with("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Junk)|"));
        assert!(text.ends_with("* 1 FETCH (UID 1 FLAGS ($Junk))|"));
        assert_eq!(told(&mut v, false), "");
    }

    #[test]
    fn commands_need_their_state() {
        let selected = State::Selected { read_only: true };
        let set = SequenceSet::parse(b"1").unwrap();
        let copy = Command::Move { target: Target::Seq(set), mailbox: "x".into() };
        assert_eq!(selected.admits(&copy, true), Err(Misfit::ReadOnly));
        assert!(State::Authenticated.admits(&Command::Close, true).is_err());
        assert!(State::NotAuthenticated.admits(&Command::Idle, true).is_err());
        assert!(State::NotAuthenticated.admits(&Command::StartTls, false).is_ok());
        assert!(State::NotAuthenticated.admits(&Command::StartTls, true).is_err());
        let login = Command::Login {
            name: "a".into(),
            password: super::super::command::Password(Vec::new()),
        };
        assert_eq!(State::NotAuthenticated.admits(&login, false), Err(Misfit::NeedsTls));
    }

    proptest! {
        /// A client that only believes what it is told always agrees with the server.
        #[test]
        fn client_and_server_agree(steps in prop::collection::vec((0u8..3, 1u32..30, any::<bool>()), 0..60)) {
            let mut v = view(&[]);
            let mut client: Vec<Option<u32>> = Vec::new(); // uid where told
            let mut real: BTreeSet<u32> = BTreeSet::new();
            let mut next = 1;
            for (what, n, expunge) in steps {
                match what {
                    0 => { real.insert(next); v.apply(vec![entry(next, 0)], &[], ModSeq(2)); next += 1; }
                    1 => if let Some(&uid) = real.iter().nth(n as usize % real.len().max(1)) {
                        real.remove(&uid);
                        v.apply(vec![], &[Uid(uid)], ModSeq(2));
                    },
                    _ => {
                        for line in told(&mut v, expunge).split('|').filter(|l| !l.is_empty()) {
                            let words: Vec<&str> = line.split(' ').collect();
                            let n: usize = words[1].parse().unwrap();
                            match words[2] {
                                "EXPUNGE" => { prop_assert!(expunge); client.remove(n - 1); }
                                "EXISTS" => { prop_assert!(n >= client.len()); client.resize(n, None); }
                                _ => {}
                            }
                        }
                        prop_assert_eq!(client.len(), v.exists() as usize);
                        for (i, slot) in client.iter_mut().enumerate() {
                            let uid = v.get(i).unwrap().1.uid.0;
                            prop_assert!(slot.is_none_or(|s| s == uid));
                            *slot = Some(uid);
                        }
                        if expunge {
                            let all: Vec<u32> = real.iter().copied().collect();
                            let seen: Vec<u32> = client.iter().map(|s| s.unwrap()).collect();
                            prop_assert_eq!(seen, all);
                        }
                    }
                }
            }
        }
    }
}
