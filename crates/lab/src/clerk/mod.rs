//! A clerk: one IMAP client that files messages all day, and knows exactly what must be there.
//!
//! Each clerk is alone in two mailboxes, so what they must show is known to the last flag: every
//! change that was acknowledged, none that was refused, and of those whose answer never came, each
//! wholly or not at all, now or later. After every reconnection both are read and held against that;
//! an auditor with a session of its own looks in between, so that no read goes back in time.
//!
//! Invariants: a message in doubt is left alone until the doubt is over; a UID names one message for
//! the whole run. Absent on purpose: modification sequences (RFC 7162), which the server does not
//! show.

pub(crate) mod sides;

use crate::imap::{Change, Flag, Marked, Reader};
use crate::mime::{self, Rng};
use crate::net::{self, Host};
use crate::{Result, fail, lock, now, wait_for};
use rustls::ClientConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The account of all clerks.
pub(crate) const ADDRESS: &str = "clerk@customer.example";
/// How many work at once.
const CLERKS: u32 = 3;
/// Pause between two changes.
const PAUSE: Duration = Duration::from_millis(60);
/// Pause between two looks of the auditor.
const AUDIT: Duration = Duration::from_millis(150);
/// Pause before a new connection.
const RECONNECT: Duration = Duration::from_millis(30);
/// How long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a change without answer may still be carried out: longer than any queue of the server.
const DOUBT: Duration = Duration::from_secs(20);
/// Messages in a mailbox from which on more go than come.
const FULL: usize = 60;
/// Most complaints that are kept.
const COMPLAINTS_MAX: usize = 10;
/// Numbers of filed messages begin here, apart from those that are sent.
const NUMBERS_FROM: u32 = 1_000_000_000;
/// Numbers of one clerk.
const NUMBERS: u32 = 10_000_000;
/// How long the last look may take to succeed.
const VERIFY_MAX: Duration = Duration::from_secs(30);

/// One of the two mailboxes of a clerk: 0 or 1.
type Shelf = usize;

/// A change. All are about one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Append(Shelf, u32),
    Flag(Shelf, u32, Flag, bool),
    Copy(Shelf, u32),
    Move(Shelf, u32),
    Expunge(Shelf, u32),
}

impl Op {
    /// The message that it is about, where it is there already.
    fn subject(self) -> Option<(Shelf, u32)> {
        match self {
            Self::Append(..) => None,
            Self::Flag(shelf, uid, ..)
            | Self::Copy(shelf, uid)
            | Self::Move(shelf, uid)
            | Self::Expunge(shelf, uid) => Some((shelf, uid)),
        }
    }
}

/// A message as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    number: u32,
    flags: BTreeSet<Flag>,
    /// The change that touched it last.
    touched: u64,
}

/// Both mailboxes, by UID.
type Shelves = [BTreeMap<u32, Entry>; 2];

/// What both mailboxes must show.
#[derive(Clone, Debug, Default)]
struct Model {
    shelves: Shelves,
    /// Whom each UID ever named.
    named: [BTreeMap<u32, u32>; 2],
    /// UIDs whose messages were moved away or expunged.
    gone: [BTreeSet<u32>; 2],
    validity: [Option<u32>; 2],
    /// What was known before a split, on one side of it.
    fork: Option<Shelves>,
    /// Changes begun so far.
    sequence: u64,
    /// The change whose answer is awaited, and those whose answer never came.
    doubts: Vec<(Op, Instant)>,
    acknowledged: u64,
    open: u64,
    refused: u64,
    audits: u64,
    complaints: Vec<String>,
}

impl Model {
    fn complain(&mut self, what: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(what);
        }
    }

    fn shelf(&self, shelf: Shelf) -> &BTreeMap<u32, Entry> {
        let [first, second] = &self.shelves;
        if shelf == 0 { first } else { second }
    }

    fn shelf_mut(&mut self, shelf: Shelf) -> &mut BTreeMap<u32, Entry> {
        let [first, second] = &mut self.shelves;
        if shelf == 0 { first } else { second }
    }

    /// Notes whom a UID names; for ever.
    fn name(&mut self, shelf: Shelf, uid: u32, number: u32) {
        let [first, second] = &mut self.named;
        let named = if shelf == 0 { first } else { second };
        let before = *named.entry(uid).or_insert(number);
        if before != number {
            self.complain(format!("UID {uid} of shelf {shelf} named {before} and names {number}"));
        }
    }

    fn selected(&mut self, shelf: Shelf, validity: u32) {
        let [first, second] = &mut self.validity;
        let known = if shelf == 0 { first } else { second };
        let before = *known.get_or_insert(validity);
        if before != validity {
            self.complain(format!("UIDVALIDITY of shelf {shelf} went from {before} to {validity}"));
        }
    }

    /// Carries a change out; `uid` is that of the new message, where there is one.
    fn apply(&mut self, op: Op, uid: Option<u32>) {
        self.sequence += 1;
        let touched = self.sequence;
        match op {
            Op::Append(shelf, number) => {
                let flags = BTreeSet::new();
                self.put(shelf, uid, Entry { number, flags, touched });
            }
            Op::Flag(shelf, of, flag, add) => {
                if let Some(entry) = self.shelf_mut(shelf).get_mut(&of) {
                    if add {
                        entry.flags.insert(flag)
                    } else {
                        entry.flags.remove(&flag)
                    };
                    entry.touched = touched;
                }
            }
            Op::Copy(shelf, of) | Op::Move(shelf, of) => {
                let Some(entry) = self.shelf(shelf).get(&of).cloned() else { return };
                if matches!(op, Op::Move(..)) {
                    self.remove(shelf, of);
                }
                self.put(1 - shelf, uid, Entry { touched, ..entry });
            }
            Op::Expunge(shelf, of) => self.remove(shelf, of),
        }
    }

    fn remove(&mut self, shelf: Shelf, uid: u32) {
        self.shelf_mut(shelf).remove(&uid);
        let [first, second] = &mut self.gone;
        if shelf == 0 { first } else { second }.insert(uid);
    }

    fn put(&mut self, shelf: Shelf, uid: Option<u32>, entry: Entry) {
        let Some(uid) = uid else {
            return self.complain(format!("no UID for message {} was told", entry.number));
        };
        let number = entry.number;
        self.name(shelf, uid, number);
        if self.shelf_mut(shelf).insert(uid, entry).is_some() {
            self.complain(format!("UID {uid} of shelf {shelf} was given out twice"));
        }
    }

    /// Holds what both mailboxes show against what they must show: what differs must be a change in
    /// doubt. Gives the doubts that are over.
    fn reconcile(&mut self, seen: &[Vec<Marked>; 2]) {
        let mut shown: [BTreeMap<u32, (u32, BTreeSet<Flag>)>; 2] = Default::default();
        for (shelf, items) in seen.iter().enumerate() {
            for marked in items {
                let number = marked.item.number.unwrap_or_default();
                self.name(shelf, marked.item.uid, number);
                if let Some(of_shelf) = shown.get_mut(shelf) {
                    of_shelf.insert(marked.item.uid, (number, marked.flags.clone()));
                }
            }
        }
        let [a, b] = &shown;
        let of = |shelf: Shelf| if shelf == 0 { a } else { b };
        let doubts = std::mem::take(&mut self.doubts);
        for (op, since) in doubts {
            if let Some(uid) = self.carried_out(op, &of) {
                self.apply(op, uid);
            } else if since.elapsed() < DOUBT {
                self.doubts.push((op, since));
            }
        }
        for shelf in [0, 1] {
            let must: BTreeMap<u32, (u32, BTreeSet<Flag>)> =
                self.shelf(shelf).iter().map(|(u, e)| (*u, (e.number, e.flags.clone()))).collect();
            for what in differences(&must, of(shelf)) {
                self.complain(format!("shelf {shelf}: {what}"));
            }
            for uid in self.forgotten(shelf) {
                self.complain(format!("shelf {shelf}: UID {uid} was shown and is not there"));
            }
        }
    }

    /// UIDs that somebody saw, that did not go and are not there.
    fn forgotten(&self, shelf: Shelf) -> Vec<u32> {
        let ([n0, n1], [g0, g1]) = (&self.named, &self.gone);
        let (named, gone) = if shelf == 0 { (n0, g0) } else { (n1, g1) };
        let there = self.shelf(shelf);
        let uids = named.keys().filter(|u| !there.contains_key(u) && !gone.contains(u));
        uids.copied().collect()
    }

    /// Whether a change in doubt shows; with the UID that it made, where it makes one.
    #[expect(clippy::option_option, reason = "not carried out; carried out; with a new UID")]
    fn carried_out<'a>(
        &self,
        op: Op,
        shown: &impl Fn(Shelf) -> &'a BTreeMap<u32, (u32, BTreeSet<Flag>)>,
    ) -> Option<Option<u32>> {
        let fresh = |shelf: Shelf, number: u32| {
            let mut new = shown(shelf)
                .iter()
                .filter(|(uid, (n, _))| *n == number && !self.shelf(shelf).contains_key(uid));
            new.next().map(|(uid, _)| Some(*uid))
        };
        match op {
            Op::Append(shelf, number) => fresh(shelf, number),
            Op::Flag(shelf, uid, flag, add) => {
                let (_, flags) = shown(shelf).get(&uid)?;
                (flags.contains(&flag) == add).then_some(None)
            }
            Op::Copy(shelf, uid) => fresh(1 - shelf, self.shelf(shelf).get(&uid)?.number),
            Op::Move(shelf, uid) if shown(shelf).contains_key(&uid) => None,
            Op::Move(shelf, uid) => fresh(1 - shelf, self.shelf(shelf).get(&uid)?.number),
            Op::Expunge(shelf, uid) => (!shown(shelf).contains_key(&uid)).then_some(None),
        }
    }

    /// A shelf, and a message on it that is not in doubt, if there is one.
    fn pick(&self, rng: &mut Rng) -> (usize, Option<(u32, &Entry)>) {
        let shelf = usize::try_from(rng.below(2)).unwrap_or_default();
        let doubtful =
            |uid: u32| self.doubts.iter().any(|(o, _)| o.subject() == Some((shelf, uid)));
        let entries = self.shelf(shelf).iter().filter(|(uid, _)| !doubtful(**uid));
        let free: Vec<(u32, &Entry)> = entries.map(|(uid, entry)| (*uid, entry)).collect();
        let len = u64::try_from(free.len()).unwrap_or_default();
        let at = usize::try_from(rng.below(len.max(1))).unwrap_or_default();
        (shelf, free.get(at).copied())
    }

    /// A change that fits, on messages that are not in doubt.
    fn choose(&self, rng: &mut Rng, next_number: u32) -> Op {
        if let Some(fork) = &self.fork {
            return self.choose_apart(fork, rng, next_number);
        }
        let (shelf, picked) = self.pick(rng);
        let Some((uid, entry)) = picked else { return Op::Append(shelf, next_number) };
        if entry.flags.contains(&Flag::Deleted) {
            return Op::Expunge(shelf, uid);
        }
        let flag = |flag: Flag| Op::Flag(shelf, uid, flag, !entry.flags.contains(&flag));
        match rng.below(10) {
            0..3 if self.shelf(shelf).len() < FULL => Op::Append(shelf, next_number),
            3 if self.shelf(1 - shelf).len() < FULL => Op::Copy(shelf, uid),
            4 | 5 => Op::Move(shelf, uid),
            6 => flag(Flag::Flagged),
            7 => flag(Flag::Seen),
            8 => flag(Flag::Answered),
            _ => flag(Flag::Deleted),
        }
    }

    /// Holds a look of the auditor against what was so before it (`self`) and what is so after it.
    fn audit(&self, after: &Self, shelf: Shelf, seen: &[Marked]) -> Vec<String> {
        let mut wrong = Vec::new();
        let shown: BTreeMap<u32, &Marked> = seen.iter().map(|m| (m.item.uid, m)).collect();
        let doubtful = |uid: u32| {
            let of = |m: &Self| m.doubts.iter().any(|(o, _)| o.subject() == Some((shelf, uid)));
            of(self) || of(after)
        };
        for (uid, entry) in self.shelf(shelf) {
            // What was changed meanwhile, or may have been, is not judged.
            if doubtful(*uid) || after.shelf(shelf).get(uid) != Some(entry) {
                continue;
            }
            match shown.get(uid) {
                Some(m) if m.item.number == Some(entry.number) && m.flags == entry.flags => {}
                Some(m) => wrong.push(format!("UID {uid} is {m:?} and must be {entry:?}")),
                None => wrong.push(format!("UID {uid} is not shown")),
            }
        }
        let [first, second] = &self.gone;
        let gone = if shelf == 0 { first } else { second };
        let again = shown.keys().filter(|u| gone.contains(u));
        wrong.extend(again.map(|uid| format!("UID {uid} was gone and is shown again")));
        wrong
    }
}

fn differences(
    must: &BTreeMap<u32, (u32, BTreeSet<Flag>)>,
    shown: &BTreeMap<u32, (u32, BTreeSet<Flag>)>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (uid, what) in must {
        match shown.get(uid) {
            None => wrong.push(format!("UID {uid} (message {}) is lost", what.0)),
            Some(is) if is != what => wrong.push(format!("UID {uid} is {is:?}, must be {what:?}")),
            Some(_) => {}
        }
    }
    let strange = shown.iter().filter(|(uid, _)| !must.contains_key(uid));
    wrong.extend(strange.map(|(u, is)| format!("UID {u} (message {}) is there", is.0)));
    wrong
}

/// How the clerks get in.
#[derive(Clone)]
pub(crate) struct Door {
    /// Trusts the pair's authority.
    pub(crate) tls: Arc<ClientConfig>,
    /// The app password of [`ADDRESS`].
    pub(crate) password: String,
}

impl Door {
    fn open(&self) -> Result<Reader> {
        Reader::sign_in(&self.tls, ADDRESS, &self.password, PATIENCE)
    }
}

struct Shared {
    /// What the names of their mailboxes begin with.
    name: &'static str,
    stopping: AtomicBool,
    models: Vec<Mutex<Model>>,
}

impl Shared {
    fn of(name: &'static str, models: Vec<Model>) -> Arc<Self> {
        let models = models.into_iter().map(Mutex::new).collect();
        Arc::new(Self { name, stopping: AtomicBool::new(false), models })
    }

    fn mailbox(&self, clerk: u32, shelf: Shelf) -> String {
        format!("{}-{clerk}-{shelf}", self.name)
    }

    fn model(&self, clerk: u32) -> Result<&Mutex<Model>> {
        let index = usize::try_from(clerk).unwrap_or_default();
        self.models.get(index).map_or_else(|| fail("no such clerk"), Ok)
    }
}

/// What the clerks did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filed {
    /// Changes that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Changes whose answer never came.
    pub(crate) open: u64,
    /// Changes that were refused for now.
    pub(crate) refused: u64,
    /// Looks of the auditor.
    pub(crate) audits: u64,
}

/// The clerks at work.
pub(crate) struct Clerks {
    shared: Arc<Shared>,
    door: Door,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Clerks {
    /// Nobody.
    pub(crate) fn none(door: &Door) -> Self {
        let shared = Shared::of("shelf", Vec::new());
        Self { shared, door: door.clone(), threads: Vec::new() }
    }

    /// Makes their mailboxes and lets them begin.
    ///
    /// # Errors
    /// The mailboxes cannot be made.
    pub(crate) fn start(door: &Door, seed: u64) -> Result<Self> {
        let shared = Shared::of("shelf", (0..CLERKS).map(|_| Model::default()).collect());
        make(door, &shared, CLERKS)?;
        let mut clerks = Self { shared, door: door.clone(), threads: Vec::new() };
        for clerk in 0..CLERKS {
            let (shared, door) = (Arc::clone(&clerks.shared), door.clone());
            let body = move || work(&shared, &door, clerk, seed);
            clerks.threads.push(net::thread(Host::Client, &format!("clerk {clerk}"), body)?);
        }
        let (shared, door) = (Arc::clone(&clerks.shared), door.clone());
        clerks.threads.push(net::thread(Host::Client, "auditor", move || audit(&shared, &door))?);
        Ok(clerks)
    }

    /// What they did so far.
    pub(crate) fn filed(&self) -> Filed {
        self.shared.models.iter().fold(Filed::default(), |sum, model| {
            let m = lock(model);
            Filed {
                acknowledged: sum.acknowledged + m.acknowledged,
                open: sum.open + m.open,
                refused: sum.refused + m.refused,
                audits: sum.audits + m.audits,
            }
        })
    }

    /// What no server may do.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let all = self.shared.models.iter().zip(0..CLERKS);
        all.flat_map(|(m, c)| {
            let complaints = lock(m).complaints.clone();
            complaints.into_iter().map(move |what| format!("clerk {c}: {what}"))
        })
        .collect()
    }

    /// Lets them end their day.
    ///
    /// # Errors
    /// A clerk could not work at all.
    pub(crate) fn rest(&mut self) -> Result<()> {
        self.shared.stopping.store(true, Relaxed);
        self.threads.drain(..).try_for_each(net::join)
    }

    /// Reads all mailboxes once more, after [`Self::rest`].
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn verify(&self) -> Result<()> {
        let (shared, door) = (Arc::clone(&self.shared), self.door.clone());
        let thread = net::thread(Host::Client, "clerk", move || {
            let clerks = u32::try_from(shared.models.len()).unwrap_or(CLERKS);
            let (mut done, mut last) = (0, String::new());
            let verified = wait_for("the clerks' mailboxes are read", VERIFY_MAX, || {
                while done < clerks {
                    let read = door.open().and_then(|mut s| look(&mut s, &shared, done));
                    if let Err(e) = read {
                        last = e.to_string();
                        return Ok(false);
                    }
                    done += 1;
                }
                Ok(true)
            });
            if verified.is_err() { fail(format!("the clerks' mailboxes: {last}")) } else { Ok(()) }
        })?;
        net::join(thread)?
    }
}

/// Makes the mailboxes.
fn make(door: &Door, shared: &Arc<Shared>, clerks: u32) -> Result<()> {
    let (shared, door) = (Arc::clone(shared), door.clone());
    let thread = net::thread(Host::Client, "clerk", move || {
        let mut session = door.open()?;
        for mailbox in (0..clerks).flat_map(|c| [0, 1].map(|s| shared.mailbox(c, s))) {
            session.create(&mailbox)?;
        }
        Ok(())
    })?;
    net::join(thread)?
}

fn work(shared: &Shared, door: &Door, clerk: u32, seed: u64) {
    let mut rng = Rng::new(seed ^ u64::from(clerk).wrapping_mul(0x5851_f42d_4c95_7f2d));
    let mut number = NUMBERS_FROM + clerk.wrapping_mul(NUMBERS);
    while !shared.stopping.load(Relaxed) {
        // However a session ends, the next one is opened.
        if day(shared, door, clerk, &mut rng, &mut number).is_err() {
            std::thread::sleep(RECONNECT);
        }
    }
}

/// One session, until it breaks.
fn day(shared: &Shared, door: &Door, clerk: u32, rng: &mut Rng, number: &mut u32) -> Result<()> {
    let mut session = door.open()?;
    look(&mut session, shared, clerk)?;
    let mut selected: Option<Shelf> = None;
    let model = shared.model(clerk)?;
    while !shared.stopping.load(Relaxed) {
        let op = {
            let mut m = lock(model);
            let op = m.choose(rng, *number);
            m.doubts.push((op, now()));
            op
        };
        if matches!(op, Op::Append(..)) {
            *number = number.saturating_add(1);
        }
        let made = perform(&mut session, &mut selected, |shelf| shared.mailbox(clerk, shelf), op);
        let mut m = lock(model);
        match made {
            Ok(Change::Made(uid)) => {
                m.doubts.retain(|(o, _)| *o != op);
                m.acknowledged += 1;
                m.apply(op, uid);
            }
            Ok(Change::Refused(why)) => {
                m.doubts.retain(|(o, _)| *o != op);
                m.refused += 1;
                if why.starts_with("BAD") {
                    m.complain(format!("{op:?}: {why}"));
                }
            }
            Err(e) => {
                m.open += 1;
                return Err(e);
            }
        }
        drop(m);
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn perform(
    session: &mut Reader,
    selected: &mut Option<Shelf>,
    mailbox: impl Fn(Shelf) -> String,
    op: Op,
) -> Result<Change> {
    if let Some((shelf, _)) = op.subject()
        && *selected != Some(shelf)
    {
        session.select(&mailbox(shelf))?;
        *selected = Some(shelf);
    }
    match op {
        Op::Append(shelf, number) => session.append(&mailbox(shelf), &mime::note(number)),
        Op::Flag(_, uid, flag, add) => session.store(uid, flag, add),
        Op::Copy(shelf, uid) => session.transfer(uid, &mailbox(1 - shelf), false),
        Op::Move(shelf, uid) => session.transfer(uid, &mailbox(1 - shelf), true),
        Op::Expunge(_, uid) => session.expunge(uid),
    }
}

/// Reads both mailboxes and holds them against the model. Nobody changes them meanwhile.
fn look(session: &mut Reader, shared: &Shared, clerk: u32) -> Result<()> {
    let (validities, seen) = read_both(session, shared, clerk)?;
    let mut model = lock(shared.model(clerk)?);
    for (shelf, validity) in validities.into_iter().enumerate() {
        model.selected(shelf, validity);
    }
    model.reconcile(&seen);
    Ok(())
}

/// Both mailboxes and their UIDVALIDITY.
fn read_both(
    session: &mut Reader,
    shared: &Shared,
    clerk: u32,
) -> Result<([u32; 2], [Vec<Marked>; 2])> {
    let mut read = |shelf: Shelf| {
        let validity = session.select(&shared.mailbox(clerk, shelf))?;
        Ok((validity, session.marked()?))
    };
    let ((first, one), (second, two)) = (read(0)?, read(1)?);
    Ok(([first, second], [one, two]))
}

/// The auditor: a session of its own that looks at one shelf after another.
fn audit(shared: &Shared, door: &Door) {
    let mut session = None;
    let mut turn = 0;
    while !shared.stopping.load(Relaxed) {
        let Some(mut open) = session.take().or_else(|| door.open().ok()) else {
            std::thread::sleep(RECONNECT);
            continue;
        };
        turn = (turn + 1) % (CLERKS * 2);
        if audit_once(shared, &mut open, turn / 2, usize::from(turn % 2 == 1)).is_ok() {
            session = Some(open);
        }
        std::thread::sleep(AUDIT);
    }
}

fn audit_once(shared: &Shared, session: &mut Reader, clerk: u32, shelf: Shelf) -> Result<()> {
    let model = shared.model(clerk)?;
    let before = lock(model).clone();
    let validity = session.select(&shared.mailbox(clerk, shelf))?;
    let seen = session.marked()?;
    let mut after = lock(model);
    after.audits += 1;
    after.selected(shelf, validity);
    for marked in &seen {
        after.name(shelf, marked.item.uid, marked.item.number.unwrap_or_default());
    }
    for what in before.audit(&after, shelf, &seen) {
        after.complain(format!("an auditor saw on shelf {shelf}: {what}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::Item;

    fn marked(uid: u32, number: u32, flags: &[Flag]) -> Marked {
        let item = Item { uid, number: Some(number) };
        Marked { item, flags: flags.iter().copied().collect() }
    }

    fn one() -> Model {
        let mut model = Model::default();
        model.apply(Op::Append(0, 7), Some(1));
        model
    }

    fn after(mut model: Model, first: &[Marked], second: &[Marked]) -> Model {
        model.reconcile(&[first.to_vec(), second.to_vec()]);
        model
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        assert!(after(one(), &[marked(1, 7, &[])], &[]).complaints.is_empty());
        assert_eq!(after(one(), &[], &[]).complaints.len(), 1);
        assert_eq!(after(one(), &[marked(1, 7, &[Flag::Seen])], &[]).complaints.len(), 1);
        // Twice: there without a reason, and shown without being known.
        assert_eq!(after(one(), &[marked(1, 7, &[]), marked(2, 7, &[])], &[]).complaints.len(), 2);
        // Another message under a known UID: wrong by name and by content.
        assert_eq!(after(one(), &[marked(1, 8, &[])], &[]).complaints.len(), 2);
    }

    #[test]
    fn what_is_in_doubt_may_be_so_or_so_but_not_half() {
        let doubt = |op| {
            let mut model = one();
            model.doubts.push((op, now()));
            model
        };
        let there = [marked(1, 7, &[])];
        for (op, first, second) in [
            (Op::Append(0, 8), vec![marked(1, 7, &[]), marked(2, 8, &[])], vec![]),
            (Op::Flag(0, 1, Flag::Seen, true), vec![marked(1, 7, &[Flag::Seen])], vec![]),
            (Op::Copy(0, 1), vec![marked(1, 7, &[])], vec![marked(1, 7, &[])]),
            (Op::Move(0, 1), vec![], vec![marked(1, 7, &[])]),
            (Op::Expunge(0, 1), vec![], vec![]),
        ] {
            let not_yet = after(doubt(op), &there, &[]);
            assert!(not_yet.complaints.is_empty(), "{op:?}: {:?}", not_yet.complaints);
            assert_eq!(not_yet.doubts.len(), 1);
            let done = after(not_yet, &first, &second);
            assert!(done.complaints.is_empty(), "{op:?}: {:?}", done.complaints);
            assert!(done.doubts.is_empty());
            // Once seen, it stays.
            assert!(!after(done, &there, &[]).complaints.is_empty(), "{op:?}");
        }
        assert!(!after(doubt(Op::Move(0, 1)), &[], &[]).complaints.is_empty());
        assert!(!after(doubt(Op::Move(0, 1)), &there, &there).complaints.is_empty());
    }

    #[test]
    fn an_auditor_sees_what_goes_back_in_time() {
        let before = one();
        assert!(before.audit(&before, 0, &[marked(1, 7, &[])]).is_empty());
        assert_eq!(before.audit(&before, 0, &[]).len(), 1);
        let mut later = before.clone();
        later.apply(Op::Expunge(0, 1), None);
        assert!(before.audit(&later, 0, &[]).is_empty());
        assert!(before.audit(&later, 0, &[marked(1, 7, &[])]).is_empty());
        assert_eq!(later.audit(&later, 0, &[marked(1, 7, &[])]).len(), 1);
    }

    #[test]
    fn clerks_do_everything() {
        let (mut model, mut rng, mut uid) = (Model::default(), Rng::new(5), 0);
        let mut kinds = BTreeSet::new();
        for number in 1..=2_000 {
            let op = model.choose(&mut rng, number);
            kinds.insert(format!("{op:?}").split('(').next().unwrap().to_owned());
            uid += 1;
            model.apply(op, Some(uid));
        }
        assert_eq!(kinds.len(), 5);
        assert!(model.complaints.is_empty());
        assert!(model.shelves.iter().all(|s| s.len() <= FULL * 2));
    }
}
