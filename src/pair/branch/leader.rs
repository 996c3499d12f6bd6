//! The leader's side: the branch's records become durable here, then they are merged.

use super::{BranchError, MergeStatus, Offer, Piece, Word};
use crate::pair::side::{Side, Topic};
use crate::store::{BodyWriter, Plain, PrimaryLease, Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use understudy_proto::codec;
use understudy_proto::directory::{self, CreateTenant};
use understudy_proto::id::{Lsn, TenantId, UploadId};
use understudy_proto::merge::{
    self, Begin, BranchId, Finish, Kinds, Known, Progress, Stage, Step, Take, Taken,
};
use understudy_proto::record::{Header, Kind};
use understudy_proto::rule::{Position, Side as Of};

/// Bytes of changes that one [`Take`] holds at most, before its last piece.
const TAKE_BYTES: usize = 96 * 1024;

pub(super) struct Leader {
    pub(super) store: Store,
    pub(super) kinds: Kinds,
    pub(super) side: Side,
    pub(super) lease: PrimaryLease,
    pub(super) words: mpsc::Receiver<Word>,
    pub(super) merging: watch::Sender<Option<MergeStatus>>,
}

impl Leader {
    pub(super) async fn run(mut self, offer: Offer) {
        let before = self.merging.borrow().as_ref().and_then(|m| m.stopped.clone());
        match self.take(&offer).await {
            Ok(branch) => {
                self.merging.send_replace(None);
                log::warn!(branch:% = branch; "the other appliance's branch is merged");
                self.say(&Word::Taken(branch)).await;
            }
            Err(BranchError::Gone | BranchError::NotPrimary) => {
                self.merging.send_replace(None);
                log::info!("the merge of a branch was interrupted; it goes on from there");
            }
            Err(e) => {
                let why = e.to_string();
                // It is offered again every few seconds: said once.
                if before.as_ref() != Some(&why) {
                    log::error!(err:% = e, runbook = "branched"; "a branch cannot be merged");
                }
                self.merging.send_modify(|m| m.get_or_insert_default().stopped = Some(why));
                // The branch offers itself again; what it was sending is not heard any more.
                self.say(&Word::Fault(e.to_string())).await;
            }
        }
    }

    async fn say(&self, word: &Word) {
        if let Err(e) = self.side.send(Topic::Branch, codec::encode(word)).await {
            log::debug!(err:% = e; "the branch does not hear the answer");
        }
    }

    async fn take(&mut self, offer: &Offer) -> Result<BranchId, BranchError> {
        let log = self.store.log();
        let tail = *log.durable().borrow();
        let ours = Offer { tail, first: log.first(), epochs: log.epochs() };
        let branch = offer.branch(&ours).ok_or(BranchError::NoFork)?;
        // What was merged says so for good.
        if self.progress(TenantId::SYSTEM, branch)?.is_some_and(|p| p.finished.is_some()) {
            return Ok(branch);
        }
        let is_here = || match log.first() {
            first if first > branch.fork.next() => {
                Err(BranchError::Trimmed { first, fork: branch.fork })
            }
            _ => Ok(()),
        };
        is_here()?;
        // The store keeps the log from the fork on while a merge has begun and not ended.
        self.write(TenantId::SYSTEM, Begin { branch }).await?;
        is_here()?;
        let records = offer.tail.0.saturating_sub(branch.fork.0);
        self.merging.send_modify(|m| {
            let m = m.insert(MergeStatus::default());
            (m.branch, m.leading, m.records_total) = (branch.to_string(), true, records);
        });
        log::warn!(branch:% = branch; "taking the records of the other appliance's branch");
        // The system's first: only then is it known what the branch's new tenants are called here.
        self.receive(branch, true).await?;
        self.add_keys(branch).await?;
        self.merge(TenantId::SYSTEM, branch).await?;
        self.add_missing_keys(branch).await?;
        self.receive(branch, false).await?;
        self.show(|m| m.records_done = m.records_total);
        let tenants = self.tenants()?;
        let count = u32::try_from(tenants.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.show(|m| (m.tenants_done, m.tenants_total) = (1, count));
        let mut failed = None;
        for tenant in tenants {
            match self.merge_tenant(tenant, branch).await {
                Ok(()) => self.show(|m| m.tenants_done = m.tenants_done.saturating_add(1)),
                Err(e @ (BranchError::Gone | BranchError::NotPrimary)) => return Err(e),
                // The others' mail does not wait for this one's.
                Err(e) => {
                    failed.get_or_insert(e);
                }
            }
        }
        if let Some(e) = failed {
            return Err(e);
        }
        self.write(TenantId::SYSTEM, Finish { branch }).await?;
        Ok(branch)
    }

    async fn merge_tenant(&self, tenant: TenantId, branch: BranchId) -> Result<(), BranchError> {
        if self.progress(tenant, branch)?.is_some_and(|p| p.finished.is_none()) {
            self.merge(tenant, branch).await?;
            self.write(tenant, Finish { branch }).await?;
        }
        Ok(())
    }

    fn show(&self, change: impl FnOnce(&mut MergeStatus)) {
        self.merging.send_if_modified(|m| m.as_mut().map(change).is_some());
    }

    fn tenants(&self) -> Result<Vec<TenantId>, BranchError> {
        let view = self.store.read(TenantId::SYSTEM)?;
        Ok(directory::tenants(&view)?.into_iter().map(|t| t.id).collect())
    }

    fn progress(
        &self,
        tenant: TenantId,
        branch: BranchId,
    ) -> Result<Option<Progress>, BranchError> {
        Ok(merge::progress(&self.store.read(tenant)?, branch)?)
    }

    /// A command, committed and visible when it returns.
    async fn write<C>(&self, tenant: TenantId, command: C) -> Result<C::Answer, BranchError>
    where
        C: understudy_proto::rule::Command<Refusal = merge::MergeFault>,
    {
        let written = self.store.write(&self.lease, tenant, command).await?;
        self.store.applied(tenant, written.lsn).await?;
        Ok(written.answer)
    }

    /// Takes in the branch's records, from where the last attempt ended.
    async fn receive(&mut self, branch: BranchId, system: bool) -> Result<(), BranchError> {
        let mut after = Lsn(0);
        let whose = if system { vec![TenantId::SYSTEM] } else { self.tenants()? };
        for tenant in whose {
            let progress = self.progress(tenant, branch)?;
            if progress.is_some_and(|p| p.stage > 0) {
                return Ok(()); // Merging began: everything is here.
            }
            after = after.max(progress.map_or(Lsn(0), |p| p.taken));
        }
        self.say(&Word::Pull { branch, system, after }).await;
        let mut body: Option<(UploadId, BodyWriter)> = None;
        let mut finished: Vec<(UploadId, UploadId)> = Vec::new();
        let mut batch: Option<(TenantId, Vec<Taken>, usize)> = None;
        loop {
            let word = self.words.recv().await.ok_or(BranchError::Gone)?;
            let pieces = match word {
                Word::Pieces(pieces) => pieces,
                Word::End => break,
                Word::Fault(why) => return Err(BranchError::Peer(why)),
                _ => continue,
            };
            for piece in pieces {
                match piece {
                    Piece::Body { tenant, upload, last, bytes } => {
                        let writer = match body.take() {
                            Some((id, writer)) if id == upload => writer,
                            _ => {
                                let tenant = self.tenant(branch, tenant)?;
                                self.store.begin_body(&self.lease, tenant).await?
                            }
                        };
                        body = self.body(writer, upload, last, &bytes, &mut finished).await?;
                    }
                    Piece::Change { tenant, lsn, epoch, kind, part, last, bytes, bodies } => {
                        let tenant = self.tenant(branch, tenant)?;
                        let bodies = bodies.iter().filter_map(|theirs| {
                            let found = finished.iter().find(|(id, _)| id == theirs)?;
                            Some((*theirs, found.1))
                        });
                        let bodies = bodies.collect();
                        finished.clear();
                        let taken = Taken { lsn, epoch, kind, part, last, bytes, bodies };
                        batch = Some(self.add(branch, batch.take(), (tenant, taken)).await?);
                    }
                }
            }
            let last = batch.as_ref().and_then(|(_, taken, _)| taken.last()).map(|t| t.lsn.0);
            self.flush(branch, batch.take()).await?;
            if let Some(done) = last.map(|lsn| lsn.saturating_sub(branch.fork.0)) {
                self.show(|m| m.records_done = done.min(m.records_total));
            }
            self.say(&Word::Ack).await;
        }
        Ok(())
    }

    async fn body(
        &self,
        mut writer: BodyWriter,
        upload: UploadId,
        last: bool,
        bytes: &[u8],
        finished: &mut Vec<(UploadId, UploadId)>,
    ) -> Result<Option<(UploadId, BodyWriter)>, BranchError> {
        writer.write(bytes).await?;
        if !last {
            return Ok(Some((upload, writer)));
        }
        finished.push((upload, writer.finish().await?.upload));
        Ok(None)
    }

    async fn add(
        &self,
        branch: BranchId,
        batch: Option<(TenantId, Vec<Taken>, usize)>,
        (tenant, taken): (TenantId, Taken),
    ) -> Result<(TenantId, Vec<Taken>, usize), BranchError> {
        let len = taken.bytes.len().saturating_add(128);
        let (mut all, mut bytes) = match batch {
            Some((whose, all, bytes))
                if whose == tenant && bytes.saturating_add(len) <= TAKE_BYTES =>
            {
                (all, bytes)
            }
            other => {
                self.flush(branch, other).await?;
                (Vec::new(), 0)
            }
        };
        bytes = bytes.saturating_add(len);
        all.push(taken);
        Ok((tenant, all, bytes))
    }

    async fn flush(
        &self,
        branch: BranchId,
        batch: Option<(TenantId, Vec<Taken>, usize)>,
    ) -> Result<(), BranchError> {
        let Some((tenant, taken, _)) = batch else { return Ok(()) };
        // Visible, not only durable: what is merged next is read from the view.
        self.write(tenant, Take { branch, taken }).await
    }

    /// What the branch's tenant is called here.
    fn tenant(&self, branch: BranchId, theirs: TenantId) -> Result<TenantId, BranchError> {
        if theirs == TenantId::SYSTEM {
            return Ok(theirs);
        }
        let tenant = self.merged(branch, theirs)?;
        if self.store.keyring().has(tenant) {
            Ok(tenant)
        } else {
            Err(BranchError::NoTenant(theirs))
        }
    }

    fn merged(&self, branch: BranchId, theirs: TenantId) -> Result<TenantId, BranchError> {
        let view = self.store.read(TenantId::SYSTEM)?;
        directory::merged_tenant(&Known::new(&view, branch), theirs)
            .map_err(|e| BranchError::Plan(e.to_string()))
    }

    /// A tenant needs its key before it is created: as many as the branch created.
    async fn add_keys(&self, branch: BranchId) -> Result<(), BranchError> {
        if self.progress(TenantId::SYSTEM, branch)?.is_some_and(|p| p.stage > 0) {
            return Ok(()); // They are there.
        }
        let (new, next) = (self.created(branch)?, self.store.read(TenantId::SYSTEM)?);
        let next = CreateTenant::first_free_id(&next)?;
        let Some(highest) = new.last() else { return Ok(()) };
        // The ids that the merge gives: above both sides', in order, this node's own. So the branch
        // has no key of its own for any of them.
        let mut tenant = CreateTenant::id_of(next.max(highest.next()), self.store.node());
        for _ in new {
            self.add_key(tenant).await?;
            tenant = tenant.next().next();
        }
        Ok(())
    }

    /// The ids may have come out otherwise: tenants are created meanwhile, too.
    async fn add_missing_keys(&self, branch: BranchId) -> Result<(), BranchError> {
        for theirs in self.created(branch)? {
            let tenant = self.merged(branch, theirs)?;
            if tenant != theirs && !self.store.keyring().has(tenant) {
                self.add_key(tenant).await?;
            }
        }
        Ok(())
    }

    async fn add_key(&self, tenant: TenantId) -> Result<(), BranchError> {
        let version = self.store.add_tenant_key(tenant)?;
        self.store.keyring().replicated(version).await;
        Ok(())
    }

    /// The tenants that the branch created, by its numbers.
    fn created(&self, branch: BranchId) -> Result<BTreeSet<TenantId>, BranchError> {
        let (mut new, view) = (BTreeSet::new(), self.store.read(TenantId::SYSTEM)?);
        merge::records(&view, branch, |_, kind, change| {
            new.extend(
                (kind == Kind::DIRECTORY).then(|| directory::created_tenant(change)).flatten(),
            );
            Ok(())
        })?;
        Ok(new)
    }

    async fn merge(&self, tenant: TenantId, branch: BranchId) -> Result<(), BranchError> {
        let Some(progress) = self.progress(tenant, branch)? else { return Ok(()) };
        for stage in progress.stage.max(1)..=self.kinds.stages() {
            self.write(tenant, Stage { branch, stage }).await?;
            let (store, kinds) = (self.store.clone(), self.kinds.clone());
            let plan = move || plan(&store, &kinds, (tenant, branch, stage));
            let tasks = tokio::task::spawn_blocking(plan).await;
            let tasks = tasks.map_err(|e| BranchError::Plan(e.to_string()))??;
            log::info!(branch:% = branch, tenant:% = tenant, count = tasks.len(); "a stage of the merge begins");
            loop {
                if !self.lease.valid() {
                    return Err(BranchError::NotPrimary);
                }
                let (tasks, kinds) = (Arc::clone(&tasks), self.kinds.clone());
                let (count, node) = (tasks.len(), self.store.node());
                let done = self.write(tenant, Step { branch, stage, tasks, kinds, node }).await?;
                self.show(|m| (m.tasks_done, m.tasks_total) = (done as u64, count as u64));
                if done >= count {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Folds both sides and lists the stage's tasks.
fn plan(
    store: &Store,
    kinds: &Kinds,
    (tenant, branch, stage): (TenantId, BranchId, u8),
) -> Result<Arc<[Vec<u8>]>, BranchError> {
    let view = store.read(tenant)?;
    let upto = merge::progress(&view, branch)?.map_or(Lsn(0), |p| p.upto);
    let Some(mut planner) = kinds.planner(stage) else { return Ok(Arc::new([])) };
    let mut bad = None;
    // What a merge did itself is nobody's own change.
    let wanted = |header: &Header| header.tenant == tenant && header.kind != Kind::BRANCH;
    store.history_of(branch.fork, upto, wanted, |header, plain| {
        if let Plain::Change(change) = plain
            && bad.is_none()
        {
            let at = Position { lsn: header.lsn, epoch: header.epoch };
            bad = planner.fold(Of::Ours, at, header.kind, &change).err();
        }
        Ok::<(), StoreError>(())
    })?;
    if let Some(e) = bad {
        return Err(e.into());
    }
    merge::fold_theirs(planner.as_mut(), &view, branch)?;
    let tasks = planner.plan(&Known::new(&view, branch));
    Ok(tasks.map_err(|e| BranchError::Plan(e.to_string()))?.into())
}
