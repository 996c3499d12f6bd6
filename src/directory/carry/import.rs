//! A file into a tenant: step by step, each a change of its own.

use super::file::Reader;
use super::{Arrival, BODIES_PER_STEP, BODY_ROWS_MAX, CarryError, CarryProgress, Item};
use crate::base::secret::Secret;
use crate::directory::{Directory, DirectoryError};
use crate::store::disk::Disk;
use crate::store::{PrimaryLease, WriteError};
use std::path::Path;
use std::sync::Arc;
use understudy_proto::carry::{self, Import, Row, Step};
use understudy_proto::codec::DecodeError;
use understudy_proto::directory::{self, CreateTenant, DirectoryRefusal, Tenant};
use understudy_proto::id::{TenantId, UploadId};

/// Ids that are tried for a tenant before it is given up: those in between hold imports that were
/// never gone on with.
const IDS_MAX: usize = 1_000;

impl Directory {
    /// Fills a new tenant from the file at `path` and gives it its domains. Given the same file again,
    /// and the same of [`Arrival::without_domains`], it goes on where it was interrupted.
    pub async fn import_tenant(
        &self,
        lease: &PrimaryLease,
        disk: Arc<dyn Disk>,
        path: &Path,
        passphrase: Secret<String>,
        arrival: &Arrival,
        progress: &CarryProgress,
    ) -> Result<Tenant, CarryError> {
        let owned = path.to_owned();
        // The passphrase's key takes time and memory.
        let open = move || Reader::open(disk.as_ref(), &owned, &passphrase);
        let opened = tokio::task::spawn_blocking(open).await;
        let reader = opened.map_err(|e| CarryError::Interrupted(e.to_string()))??;
        let mut source = Source(Some(reader));
        let Some(Item::Head { name: theirs, domains, .. }) = source.next(progress).await? else {
            return Err(CarryError::Format);
        };
        let name = arrival.name.clone().unwrap_or(theirs);
        let file = arrival.identity(source.id());
        let id = match self.import_under_way(file)? {
            Some(id) => id,
            None => self.fresh_tenant()?,
        };
        let suffix = arrival.without_domains.then(|| Arrival::suffix(id));
        let domains = match &suffix {
            Some(suffix) => renamed(&domains, suffix)?,
            None => domains,
        };
        self.refuse_what_is_here(id, &name, &domains)?;
        let version = self.store.keyring().add(id)?;
        self.replicated(lease, version).await?;
        let mut filling = Filling { directory: self, lease, id, file, suffix, number: 0, next: 0 };
        filling.next = carry::progress(&self.store.read(id)?)
            .map_err(DirectoryError::from)?
            .map_or(0, |at| at.next);
        filling.fill(&mut source, progress).await?;
        // It took its time: what was free then may be given away now.
        let meanwhile = |e| match e {
            CarryError::Taken(what)
            | CarryError::Directory(DirectoryError::Refused(DirectoryRefusal::Exists(what))) => {
                CarryError::TakenMeanwhile(what)
            }
            CarryError::Directory(DirectoryError::NotWritten(why)) => CarryError::Interrupted(why),
            e => e,
        };
        self.refuse_what_is_here(id, &name, &domains).map_err(meanwhile)?;
        self.give_domains(lease, id, &name, &domains).await.map_err(meanwhile)?;
        filling.step(Step::Finish).await?;
        self.find_tenant(&id.to_string()).map_err(Into::into)
    }

    /// The tenant that an earlier attempt with this file began.
    fn import_under_way(&self, file: [u8; 16]) -> Result<Option<TenantId>, CarryError> {
        for id in self.store.keyring().tenants() {
            let found = carry::progress(&self.store.read(id)?).map_err(DirectoryError::from)?;
            if found.is_some_and(|at| at.file == file) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// An id that nothing was ever written under.
    fn fresh_tenant(&self) -> Result<TenantId, CarryError> {
        let system = self.store.read(TenantId::SYSTEM)?;
        let mut id =
            CreateTenant::next_id(&system, self.store.node()).map_err(DirectoryError::from)?;
        for _ in 0..IDS_MAX {
            let unused = !self.store.keyring().has(id)
                || carry::is_empty(&self.store.read(id)?).map_err(DirectoryError::from)?;
            if unused {
                return Ok(id);
            }
            id = id.next().next();
        }
        Err(CarryError::Taken("too many imports that were never finished".to_owned()))
    }

    fn refuse_what_is_here(
        &self,
        id: TenantId,
        name: &str,
        domains: &[String],
    ) -> Result<(), CarryError> {
        let same = |t: &Tenant| t.id != id && t.name.to_lowercase() == name.to_lowercase();
        if self.tenants()?.iter().any(same) {
            return Err(CarryError::Taken(format!("tenant {name}")));
        }
        let system = self.store.read(TenantId::SYSTEM)?;
        let mut taken = Vec::new();
        for domain in domains {
            let owner = directory::domain_owner(&system, domain).map_err(DirectoryError::from)?;
            if owner.is_some_and(|owner| owner != id) {
                taken.push(format!("domain {domain}"));
            }
        }
        if taken.is_empty() { Ok(()) } else { Err(CarryError::Taken(taken.join(", "))) }
    }

    async fn give_domains(
        &self,
        lease: &PrimaryLease,
        id: TenantId,
        name: &str,
        domains: &[String],
    ) -> Result<(), CarryError> {
        if self.tenants()?.iter().all(|t| t.id != id) {
            let command = CreateTenant { id, name: name.to_owned() };
            self.write(lease, TenantId::SYSTEM, command).await?;
        }
        for domain in domains {
            let system = self.store.read(TenantId::SYSTEM)?;
            let owner = directory::domain_owner(&system, domain).map_err(DirectoryError::from)?;
            if owner != Some(id) {
                self.add_domain(lease, id, domain).await?;
            }
        }
        Ok(())
    }
}

/// The domains, each with `.suffix` at its end.
fn renamed(domains: &[String], suffix: &str) -> Result<Vec<String>, CarryError> {
    let longer = |domain: &String| directory::canonical_domain(&format!("{domain}.{suffix}"));
    let domains: Result<_, _> = domains.iter().map(longer).collect();
    domains.map_err(|e: directory::AddressError| CarryError::Directory(e.into()))
}

/// The file, read in threads that may block.
struct Source(Option<Reader>);

impl Source {
    fn id(&self) -> [u8; 16] {
        self.0.as_ref().map(Reader::id).unwrap_or_default()
    }

    async fn next(&mut self, progress: &CarryProgress) -> Result<Option<Item>, CarryError> {
        let mut reader = self.0.take().ok_or(CarryError::Format)?;
        let read = move || (reader.item(), reader);
        let read = tokio::task::spawn_blocking(read).await;
        let (item, reader) = read.map_err(|e| CarryError::Interrupted(e.to_string()))?;
        let (done, total) = reader.place();
        progress.set(done, total);
        self.0 = Some(reader);
        item
    }
}

/// A tenant that is being filled.
struct Filling<'a> {
    directory: &'a Directory,
    lease: &'a PrimaryLease,
    id: TenantId,
    file: [u8; 16],
    /// What its domains end in if they are not the file's.
    suffix: Option<String>,
    /// The step at hand; the file gives the same steps each time.
    number: u64,
    /// The first that was not taken before.
    next: u64,
}

impl Filling<'_> {
    async fn fill(
        &mut self,
        source: &mut Source,
        progress: &CarryProgress,
    ) -> Result<(), CarryError> {
        let (mut rows, mut bodies) = (0_u64, 0_u64);
        let mut some: Vec<(UploadId, Vec<Vec<u8>>)> = Vec::new();
        loop {
            match source.next(progress).await?.ok_or(CarryError::Format)? {
                Item::Rows(piece) => {
                    rows += piece.len() as u64;
                    // No export writes such rows; a crafted file might.
                    if piece.iter().any(|(key, _)| carry::is_forged(key)) {
                        return Err(CarryError::Format);
                    }
                    let piece = self.renamed(piece)?;
                    self.step(Step::Rows(piece)).await?;
                }
                Item::Body { rows, size } => {
                    bodies += 1;
                    if rows.len() > BODY_ROWS_MAX {
                        return Err(CarryError::Format);
                    }
                    let having: usize = some.iter().map(|(_, rows)| rows.len()).sum();
                    if some.len() >= BODIES_PER_STEP || having + rows.len() > BODY_ROWS_MAX {
                        self.step(Step::Bodies(std::mem::take(&mut some))).await?;
                    }
                    let upload = self.body(source, size, progress).await?;
                    some.push((upload, rows));
                }
                Item::End { rows: all_rows, bodies: all_bodies } => {
                    if (rows, bodies) != (all_rows, all_bodies) {
                        return Err(CarryError::Format);
                    }
                    if !some.is_empty() {
                        self.step(Step::Bodies(some)).await?;
                    }
                    return Ok(());
                }
                Item::Head { .. } | Item::Part(_) => return Err(CarryError::Format),
            }
        }
    }

    fn renamed(&self, rows: Vec<Row>) -> Result<Vec<Row>, CarryError> {
        let Some(suffix) = &self.suffix else { return Ok(rows) };
        let renamed: Result<_, DecodeError> =
            rows.into_iter().map(|row| carry::renamed(suffix, row)).collect();
        renamed.map_err(|_damaged| CarryError::Format)
    }

    /// Uploads a body whose parts follow, unless the step that it belongs to was taken before.
    async fn body(
        &self,
        source: &mut Source,
        size: u64,
        progress: &CarryProgress,
    ) -> Result<UploadId, CarryError> {
        let store = &self.directory.store;
        let mut writer = if self.number < self.next {
            None
        } else {
            Some(store.begin_body(self.lease, self.id).await?)
        };
        let mut at = 0;
        while at < size {
            let Some(Item::Part(content)) = source.next(progress).await? else {
                return Err(CarryError::Format);
            };
            at = at.saturating_add(content.len() as u64);
            if content.is_empty() || at > size {
                return Err(CarryError::Format);
            }
            if let Some(writer) = &mut writer {
                writer.write(&content).await?;
            }
        }
        match writer {
            Some(writer) => Ok(writer.finish().await?.upload),
            None => Ok(UploadId::default()),
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), CarryError> {
        let number = self.number;
        self.number += 1;
        if number < self.next {
            return Ok(());
        }
        let import = Import { file: self.file, number, step };
        let store = &self.directory.store;
        let written = store.write(self.lease, self.id, import).await.map_err(|e| match e {
            WriteError::Store(e) => e.into(),
            e => CarryError::Interrupted(e.to_string()),
        })?;
        store.applied(self.id, written.lsn).await?;
        Ok(())
    }
}
