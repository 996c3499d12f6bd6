//! The primary's side of a full copy: tenant by tenant, then the log, while clients are served.
//!
//! Invariants: records from the lowest position of the copied views on stay in the log until the peer
//! has joined, or ten minutes after the last attempt. At most [`UNANSWERED_MAX`] words are under way.
//! Clients come first: while somebody waits for the log, the copy goes at a quarter of its rate.

use super::words::{Word, encode_rows};
use super::{CopyStatus, Job};
use crate::base::clock;
use crate::pair::driver::log_state;
use crate::pair::side::{SideError, SideEvent, Topic, UNANSWERED_MAX};
use crate::store::{Pin, Snapshot, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use understudy_proto::id::{Lsn, TenantId};
use understudy_proto::time::Mono;

/// Bytes of a pack, of rows or of records in one message.
const CHUNK_LEN: usize = 256 * 1024;
/// Uploads in one message: the longest message allowed has 4,096 parts.
const UPLOADS_PER_MESSAGE: usize = 4;
/// The rest of the log is left to the ordinary way once the copy lacks at most so many records.
const NEARLY_RECORDS: u64 = 1_000;
/// The rows of a tenant are sent within this time, or again: they keep its index from reusing space.
const ROWS_TIME_MAX: Duration = Duration::from_secs(900);
/// Between two words about the progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// While clients are busy, the rate is divided by this.
const BUSY_DIVISOR: u64 = 4;

/// Why a copy ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("the session with the peer ended")]
    NoSession,
    #[error("the peer needs no copy any more")]
    Over,
    #[error("the peer refuses it: {0}")]
    Refused(String),
    #[error("the peer's answer was not understood: {0}")]
    Strange(String),
    #[error("the rows of tenant {0} took too long; a higher resync_mib_per_s helps")]
    TooSlow(TenantId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A copy that is being sent.
pub(super) struct Sending<'a> {
    job: &'a Job,
    events: &'a mut mpsc::Receiver<SideEvent>,
    unanswered: usize,
    pace: Pace,
    /// The copy's log begins here at the latest.
    first: Lsn,
    /// And reaches at least to here.
    last: Lsn,
    done: u64,
    tenants: u32,
    told: Mono,
    told_bytes: u64,
}

impl<'a> Sending<'a> {
    pub(super) fn new(job: &'a Job, events: &'a mut mpsc::Receiver<SideEvent>) -> Self {
        let pace = Pace { per_s: job.bytes_per_s.max(1), next: clock::mono() };
        let first = job.store.log().applied().next();
        let told = clock::mono();
        Self {
            job,
            events,
            unanswered: 0,
            pace,
            first,
            last: Lsn(0),
            done: 0,
            tenants: 0,
            told,
            told_bytes: 0,
        }
    }

    /// Makes the whole copy.
    pub(super) async fn run(mut self) -> Result<(), Stop> {
        let (store, log) = (&self.job.store, self.job.store.log());
        log.pin(Pin::Copy, Some(self.first));
        let tenants = store.keyring().tenants();
        let total = self.job.blocking(total_size).await?;
        let count = u32::try_from(tenants.len()).unwrap_or(u32::MAX);
        self.job.copy.send_replace(Some(CopyStatus {
            sending: true,
            bytes_total: total,
            tenants_total: count,
            ..CopyStatus::default()
        }));
        log::info!(bytes = total, count; "a full copy for the peer begins");
        let begin = Word::Begin {
            source: store.source()?,
            log: log_state(log),
            bytes: total,
            tenants: count,
        };
        self.ask(begin).await?;
        for tenant in tenants {
            let lsn = self.tenant(tenant).await?;
            self.first = self.first.min(lsn.next());
            self.last = self.last.max(lsn);
            self.tenants = self.tenants.saturating_add(1);
        }
        self.log().await?;
        let keys = zeroize::Zeroizing::new(self.job.store.keyring().export());
        for piece in keys.chunks(CHUNK_LEN) {
            self.post(Word::Keys, piece).await?;
        }
        self.ask(Word::Complete).await?;
        log::info!(bytes = self.done; "the full copy for the peer is complete");
        Ok(())
    }

    /// Sends one tenant and says up to where it has everything.
    async fn tenant(&mut self, tenant: TenantId) -> Result<Lsn, Stop> {
        let store = self.job.store.clone();
        let (done, packs) = match self.ask(Word::Tenant(tenant)).await? {
            Word::Has { done, packs } => (done, packs),
            other => return Err(Stop::Strange(format!("{other:?}"))),
        };
        if let Some(done) = done {
            // Records after it may be gone from the log: then its rows must come again.
            store.log().pin(Pin::Copy, Some(self.first.min(done.next())));
            if store.log().first() <= done.next() {
                self.done += self.job.blocking(move |store| store.size(tenant)).await?;
                return Ok(done);
            }
            store.log().pin(Pin::Copy, Some(self.first));
            self.post(Word::ForgetRows, &[]).await?;
        }
        let mut sent: BTreeMap<u32, u64> = packs.into_iter().collect();
        self.done += sent.values().sum::<u64>();
        let now = self.job.blocking(move |store| store.packs(tenant)).await?;
        self.packs(tenant, &now, &mut sent).await?;
        let snapshot = self.job.blocking(move |store| store.snapshot(tenant)).await?;
        let (lsn, ends) = (snapshot.lsn(), snapshot.packs()?);
        for some in snapshot.uploads().chunks(UPLOADS_PER_MESSAGE) {
            self.post(Word::Uploads, &encode_rows(some)).await?;
        }
        self.rows(tenant, snapshot).await?;
        self.packs(tenant, &ends, &mut sent).await?;
        self.ask(Word::Finish { lsn, packs: ends }).await?;
        Ok(lsn)
    }

    async fn packs(
        &mut self,
        tenant: TenantId,
        packs: &[(u32, u64)],
        sent: &mut BTreeMap<u32, u64>,
    ) -> Result<(), Stop> {
        for (pack, len) in packs.iter().copied() {
            let mut at = sent.get(&pack).copied().unwrap_or(0).min(len);
            while at < len {
                let n = usize::try_from(len - at).unwrap_or(usize::MAX).min(CHUNK_LEN);
                let read = move |store: &Store| store.read_pack(tenant, pack, at, n);
                let bytes = self.job.blocking(read).await?;
                self.post(Word::Pack { pack, offset: at }, &bytes).await?;
                at += bytes.len() as u64;
            }
            sent.insert(pack, at);
        }
        Ok(())
    }

    async fn rows(&mut self, tenant: TenantId, snapshot: Snapshot) -> Result<(), Stop> {
        let (began, snapshot) = (clock::mono(), Arc::new(snapshot));
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (snapshot, from) = (Arc::clone(&snapshot), after.clone());
            let rows =
                self.job.blocking(move |_| snapshot.rows(from.as_deref(), CHUNK_LEN)).await?;
            let Some((key, _)) = rows.last() else { return Ok(()) };
            after = Some(key.clone());
            self.post(Word::Rows, &encode_rows(&rows)).await?;
            if clock::mono().since(began) > ROWS_TIME_MAX {
                return Err(Stop::TooSlow(tenant));
            }
        }
    }

    /// Sends the log from the lowest position on, until little is missing.
    async fn log(&mut self) -> Result<(), Stop> {
        let store = self.job.store.clone();
        store.log().pin(Pin::Copy, Some(self.first));
        let first = self.first;
        let base = self.job.blocking(move |store| store.log_base(first)).await?;
        let mut next = match self.ask(base.into()).await? {
            Word::Tail(tail) => tail.next(),
            other => return Err(Stop::Strange(format!("{other:?}"))),
        };
        loop {
            let committed = store.log().committed();
            let lacks = committed.0.saturating_add(1).saturating_sub(next.0);
            if next > self.last && lacks <= NEARLY_RECORDS {
                return Ok(());
            }
            let read = move |store: &Store| store.committed_from(next, CHUNK_LEN);
            let (bytes, after) = self.job.blocking(read).await?;
            if after == next {
                // The views' positions are committed, so they come.
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            self.post(Word::Records, &bytes).await?;
            next = after;
        }
    }

    /// Says a word that needs no particular answer.
    async fn post(&mut self, word: Word, bytes: &[u8]) -> Result<(), Stop> {
        if !self.job.is_needed() {
            return Err(Stop::Over);
        }
        self.job.store.check_room(0)?;
        self.tell().await?;
        while self.unanswered >= UNANSWERED_MAX {
            self.answer().await?;
        }
        self.pace.wait(self.job.store.log().is_busy(), bytes.len()).await;
        self.send(&word, bytes).await?;
        self.done += bytes.len() as u64;
        Ok(())
    }

    /// Says a word and waits for its answer.
    async fn ask(&mut self, word: Word) -> Result<Word, Stop> {
        self.post(word, &[]).await?;
        while self.unanswered > 1 {
            self.answer().await?;
        }
        self.answer().await
    }

    async fn send(&mut self, word: &Word, bytes: &[u8]) -> Result<(), Stop> {
        let message = word.encode(bytes);
        let sent = self.job.side.send(Topic::Snapshot, message).await;
        sent.map_err(|e| match e {
            SideError::NoSession => Stop::NoSession,
            e => Stop::Strange(e.to_string()),
        })?;
        self.unanswered += 1;
        Ok(())
    }

    async fn answer(&mut self) -> Result<Word, Stop> {
        loop {
            match self.events.recv().await {
                None | Some(SideEvent::Down | SideEvent::Up) => return Err(Stop::NoSession),
                Some(SideEvent::Message(message)) => {
                    let (word, _) = Word::decode(&message).map_err(Stop::Strange)?;
                    if !word.is_answer() {
                        continue; // It believes that it is the one who sends: it will hear of us.
                    }
                    self.unanswered = self.unanswered.saturating_sub(1);
                    return match word {
                        Word::Refused(why) => Err(Stop::Refused(why)),
                        word => Ok(word),
                    };
                }
            }
        }
    }

    /// Tells both nodes' status how far it is, now and then. Never behind a word whose answer
    /// matters.
    async fn tell(&mut self) -> Result<(), Stop> {
        let now = clock::mono();
        let elapsed = now.since(self.told);
        if elapsed < PROGRESS_EVERY || self.unanswered >= UNANSWERED_MAX {
            return Ok(());
        }
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let per_s = self.done.saturating_sub(self.told_bytes).saturating_mul(1_000) / ms;
        (self.told, self.told_bytes) = (now, self.done);
        let (done, tenants) = (self.done, self.tenants);
        self.job.copy.send_if_modified(|copy| {
            let Some(copy) = copy else { return false };
            // What was written meanwhile comes on top of what was measured first.
            copy.bytes_total = copy.bytes_total.max(done);
            (copy.bytes_done, copy.tenants_done, copy.bytes_per_s) = (done, tenants, per_s);
            true
        });
        self.send(&Word::Progress { bytes: done, tenants, per_s }, &[]).await
    }
}

fn total_size(store: &Store) -> Result<u64, StoreError> {
    let sizes = store.keyring().tenants().into_iter().map(|tenant| store.size(tenant));
    sizes.sum()
}

/// Spreads bytes over time.
struct Pace {
    per_s: u64,
    next: Mono,
}

impl Pace {
    async fn wait(&mut self, busy: bool, bytes: usize) {
        let rate = if busy { self.per_s / BUSY_DIVISOR } else { self.per_s }.max(1);
        let now = clock::mono();
        clock::sleep_until(self.next).await;
        let micros = (bytes as u64).saturating_mul(1_000_000) / rate;
        let from = if self.next > now { self.next } else { now };
        self.next = from.after(Duration::from_micros(micros));
    }
}
