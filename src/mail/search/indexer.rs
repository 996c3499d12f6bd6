//! The thread that keeps the indexes up with the views.
//!
//! It is never waited for and never in a commit's way: low priority, one tenant and one writer at a
//! time, a pause between two turns of a tenant. Invariants: marks are committed together with what they
//! say; each step may be done again; what it cannot do it does later. Before the disk's reserve it
//! stops: room is for mail.

use super::index::{IndexError, Mark, Marks, Snapshot, Writer, guarded};
use super::shelf::{Open, Shelves};
use super::{Place, document};
use crate::base::{clock, metric, privilege, task};
use crate::mail::{Mail, MailError};
use crate::store::Store;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use understudy_proto::carry;
use understudy_proto::id::{AccountId, EmailId, Lsn, TenantId};
use understudy_proto::mailbox::{self, AccountState, Email};
use understudy_proto::time::Mono;

/// The folder in the data directory.
const FOLDER: &str = "search";
/// How often it is looked for news.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two turns of a tenant: each costs a commit. What is newer is read directly meanwhile.
const TURN_EVERY: Duration = Duration::from_secs(20);
/// The same after an error.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Longest turn of a tenant: then it is the next one's.
const TURN_MAX: Duration = Duration::from_secs(30);
/// Longest time between two commits in a turn.
const COMMIT_EVERY: Duration = Duration::from_secs(10);
/// Places that are looked at together: a view of the store must not live long.
const PLACES: usize = 200;
/// Message ids that are looked at together while an account is indexed for the first time.
const BLOCK: u64 = 100;
/// Changes of an account that need no new document may be this many before they cost a commit.
const UNCOMMITTED_MAX: u64 = 1_000;
/// While much is to be done it rests this part of the time that it worked.
const REST: u32 = 4;

/// The running indexer. Dropping it stops it and waits for that.
pub struct Indexer {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    call: Condvar,
}

impl Stop {
    fn is_set(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; `true` when it is time to stop.
    fn wait(&self, time: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.call.wait_timeout_while(stopped, time, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Mail {
    /// Starts to index all mail, into the folder `search` of the store's directory. To be called once;
    /// the store is closed after the indexer.
    #[must_use = "dropping it stops it"]
    pub fn start_indexer(&self) -> Indexer {
        let stop = Arc::new(Stop::default());
        let mut work = Work::new(self, Arc::clone(&stop));
        let thread = task::thread("search-indexer", move || {
            if let Err(e) = privilege::background() {
                log::debug!(err:% = e; "no low priority for the search indexer, going on without");
            }
            loop {
                work.round();
                if work.stop.wait(LOOK_EVERY) {
                    return;
                }
            }
        });
        Indexer { stop, thread: Some(thread) }
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        *self.stop.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.call.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::warn!("the search indexer panicked");
        }
    }
}

impl std::fmt::Debug for Indexer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indexer").finish_non_exhaustive()
    }
}

/// What the thread knows between two rounds.
pub(super) struct Work {
    store: Store,
    shelves: Arc<Shelves>,
    stop: Arc<Stop>,
    tenants: BTreeMap<TenantId, Standing>,
    kept: Vec<TenantId>,
}

#[derive(Default)]
struct Standing {
    /// Everything that was applied up to here is indexed.
    done: Option<Lsn>,
    not_before: Mono,
}

impl Work {
    pub(super) fn new(mail: &Mail, stop: Arc<Stop>) -> Self {
        let store = mail.store.clone();
        let shelves =
            mail.search.shelves.get_or_init(|| Arc::new(Shelves::new(store.dir().join(FOLDER))));
        let shelves = Arc::clone(shelves);
        Self { store, shelves, stop, tenants: BTreeMap::new(), kept: Vec::new() }
    }

    /// One look at all tenants.
    pub(super) fn round(&mut self) {
        if self.store.log().is_stopped() || !self.has_room() {
            return;
        }
        let mut tenants = self.store.keyring().tenants();
        tenants.retain(|t| *t != TenantId::SYSTEM);
        if let Err(e) = self.keep(&tenants) {
            log::warn!(err:% = e; "search indexes that are not needed cannot be removed");
            return;
        }
        for tenant in tenants {
            if self.stop.is_set() || self.store.log().is_stopped() {
                return;
            }
            // Before it is read: what is applied meanwhile is news.
            let applied = self.store.applied_to(tenant);
            let now = clock::mono();
            let standing = self.tenants.entry(tenant).or_default();
            let news = standing.done != Some(applied) || !self.shelves.get(tenant).is_sound();
            if !news || standing.not_before > now {
                continue;
            }
            let (done, pause) = match guarded(|| self.turn(tenant)) {
                Ok(done) => (done, TURN_EVERY),
                Err(e) => {
                    if !self.store.log().is_stopped() {
                        log::warn!(tenant:% = tenant, err:% = e; "the search index is behind, trying again later");
                    }
                    // A view or a body that cannot be read is no fault of the index.
                    if !matches!(e, IndexError::Mail(_)) {
                        self.shelves.get(tenant).suspect();
                    }
                    (false, RETRY_AFTER)
                }
            };
            let pause = if done || pause == RETRY_AFTER { pause } else { Duration::ZERO };
            let standing = self.tenants.entry(tenant).or_default();
            standing.done = done.then_some(applied);
            standing.not_before = clock::mono().after(pause);
        }
        self.shelves.close_idle();
    }

    fn has_room(&self) -> bool {
        self.store.room().is_ok_and(|room| room.free > room.reserve)
    }

    /// Removes what belongs to tenants that are gone.
    fn keep(&mut self, tenants: &[TenantId]) -> std::io::Result<()> {
        if self.kept != tenants || !self.shelves.dir().is_dir() {
            std::fs::create_dir_all(self.shelves.dir())?;
            self.shelves.keep(tenants)?;
            self.tenants.retain(|tenant, _| tenants.contains(tenant));
            self.kept = tenants.to_vec();
        }
        Ok(())
    }

    /// A turn that ends before, or right after, its commit.
    #[cfg(test)]
    pub(super) fn cut_off(&self, tenant: TenantId, committed: bool) {
        let open = self.shelves.get(tenant).open_or_create().unwrap();
        let mut turn = Turn::new(self, tenant, &open);
        assert!(turn.run().unwrap());
        if committed {
            turn.commit().unwrap();
        }
    }

    /// Marks that the view has not reached.
    #[cfg(test)]
    pub(super) fn pretend_ahead(&self, tenant: TenantId) {
        let open = self.shelves.get(tenant).open_or_create().unwrap();
        let snapshot = open.snapshot();
        let mut marks = snapshot.marks.clone();
        marks.values_mut().for_each(|mark| mark.modseq.0 += 100);
        open.publish(snapshot.with_marks(marks));
    }

    /// Indexes what is new in a tenant; `false` when there is more.
    fn turn(&self, tenant: TenantId) -> Result<bool, IndexError> {
        let open = self.shelves.get(tenant).open_or_create()?;
        let mut turn = Turn::new(self, tenant, &open);
        let done = turn.run()?;
        turn.finish()?;
        Ok(done)
    }
}

/// One tenant's turn.
struct Turn<'a> {
    work: &'a Work,
    tenant: TenantId,
    open: &'a Open,
    snapshot: Arc<Snapshot>,
    marks: Marks,
    writer: Option<Writer>,
    /// What the next commit adds and removes.
    pending: BTreeMap<(AccountId, Place), bool>,
    ends: Mono,
    committed: Mono,
}

impl<'a> Turn<'a> {
    fn new(work: &'a Work, tenant: TenantId, open: &'a Open) -> Self {
        let snapshot = open.snapshot();
        let (marks, now) = (snapshot.marks.clone(), clock::mono());
        let ends = now.after(TURN_MAX);
        let (writer, pending) = (None, BTreeMap::new());
        Self { work, tenant, open, snapshot, marks, writer, pending, ends, committed: now }
    }

    fn run(&mut self) -> Result<bool, IndexError> {
        let states = {
            let view = self.work.store.read(self.tenant).map_err(MailError::from)?;
            // An import puts rows under its accounts without telling those who follow them.
            if carry::progress(&view).map_err(MailError::from)?.is_some() {
                return Ok(true);
            }
            mailbox::account_states(&view).map_err(MailError::from)?
        };
        let known: BTreeMap<AccountId, AccountState> = states.into_iter().collect();
        let gone: Vec<AccountId> =
            self.marks.keys().filter(|a| !known.contains_key(a)).copied().collect();
        for account in gone {
            self.writer()?.remove_account(account);
            self.marks.remove(&account);
        }
        for (account, state) in known {
            let first = Mark { modseq: state.modseq, below: state.email.next() };
            self.marks.entry(account).or_insert(first);
            while self.step(account, state)? {
                if self.work.stop.is_set() || clock::mono() >= self.ends {
                    return Ok(false);
                }
                if clock::mono().since(self.committed) >= COMMIT_EVERY {
                    self.commit()?;
                }
            }
        }
        Ok(true)
    }

    /// A piece of the account's work: news first. `false`: nothing was to be done.
    fn step(&mut self, account: AccountId, state: AccountState) -> Result<bool, IndexError> {
        let Some(mark) = self.marks.get(&account).copied() else { return Ok(false) };
        // Behind the index, the view is about to catch up with its log.
        if mark.modseq > state.modseq {
            return Ok(false);
        }
        let began = clock::mono();
        let next = if mark.modseq < state.modseq {
            self.follow(account, mark, state)?
        } else if mark.below > EmailId(1) {
            self.walk(account, mark)?
        } else {
            return Ok(false);
        };
        self.marks.insert(account, next);
        if next.below > EmailId(1) && next.below < mark.below {
            self.work.stop.wait(clock::mono().since(began) / REST);
        }
        Ok(true)
    }

    /// Brings the places that changed since the mark up to date.
    fn follow(
        &mut self,
        account: AccountId,
        mark: Mark,
        state: AccountState,
    ) -> Result<Mark, IndexError> {
        let view = self.work.store.read(self.tenant).map_err(MailError::from)?;
        let touched = mailbox::places_touched_since(&view, account, mark.modseq, PLACES)
            .map_err(MailError::from)?;
        for (mailbox, uid) in touched.places {
            let place = (mailbox, uid);
            let there = mailbox::entry(&view, account, mailbox, uid).map_err(MailError::from)?;
            let there = there.filter(|entry| entry.email >= mark.below);
            match (there, self.has(account, place)?) {
                (Some(entry), false) => {
                    let row = mailbox::email(&view, account, entry.email);
                    if let Some(row) = row.map_err(MailError::from)? {
                        self.add(account, entry.email, &row)?;
                    }
                }
                (None, true) => {
                    self.writer()?.remove(account, place);
                    self.pending.insert((account, place), false);
                }
                (Some(_), true) | (None, false) => {}
            }
        }
        // Changes that touch no message leave no row.
        let modseq = if touched.all { touched.last.max(state.modseq) } else { touched.last };
        Ok(Mark { modseq, ..mark })
    }

    /// Takes the next older messages of an account that was not indexed before.
    fn walk(&mut self, account: AccountId, mark: Mark) -> Result<Mark, IndexError> {
        let view = self.work.store.read(self.tenant).map_err(MailError::from)?;
        let first = EmailId(mark.below.0.saturating_sub(BLOCK));
        let emails = mailbox::emails_range(&view, account, (first, mark.below), usize::MAX)
            .map_err(MailError::from)?;
        for (id, row) in emails.iter().rev() {
            self.add(account, *id, row)?;
        }
        Ok(Mark { below: first, ..mark })
    }

    fn has(&self, account: AccountId, place: Place) -> Result<bool, IndexError> {
        match self.pending.get(&(account, place)) {
            Some(there) => Ok(*there),
            None => self.snapshot.has(account, place),
        }
    }

    fn add(&mut self, account: AccountId, id: EmailId, row: &Email) -> Result<(), IndexError> {
        let place = (row.mailbox, row.uid);
        let document = document(&self.work.store, self.tenant, row);
        self.writer()?.add(account, place, id, &document)?;
        self.pending.insert((account, place), true);
        metric::SEARCH_INDEXED.inc();
        Ok(())
    }

    fn writer(&mut self) -> Result<&Writer, IndexError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.open.index.writer()?,
        };
        Ok(self.writer.insert(writer))
    }

    fn commit(&mut self) -> Result<(), IndexError> {
        self.committed = clock::mono();
        let behind = |account: &AccountId, mark: &Mark| {
            let before = self.snapshot.durable.get(account);
            before.is_none_or(|b| {
                b.below != mark.below || mark.modseq.0.saturating_sub(b.modseq.0) > UNCOMMITTED_MAX
            })
        };
        if self.writer.is_none() && !self.marks.iter().any(|(a, m)| behind(a, m)) {
            // Nothing to write: what is indexed is still all there is.
            self.open.publish(self.snapshot.with_marks(self.marks.clone()));
        } else {
            self.writer()?;
            if let Some(writer) = &mut self.writer {
                writer.commit(&self.marks)?;
            }
            self.open.publish(self.open.index.snapshot(self.marks.clone())?);
        }
        self.pending.clear();
        self.snapshot = self.open.snapshot();
        Ok(())
    }

    fn finish(mut self) -> Result<(), IndexError> {
        self.commit()?;
        // Merges may take long: who stops gives them up.
        if let Some(writer) = self.writer.take().filter(|_| !self.work.stop.is_set()) {
            writer.close()?;
            // What was merged is fewer files.
            self.open.publish(self.open.index.snapshot(self.marks)?);
        }
        Ok(())
    }
}
