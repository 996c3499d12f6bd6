//! A tenant from one store into another, and what stands in its way.

use super::export::Instant;
use super::*;
use crate::base::secret::Secret;
use crate::base::source::Source;
use crate::base::task;
use crate::directory::{Directory, DirectoryError, Login, Resolved};
use crate::mail::{Envelope, Mail, Submission};
use crate::store::disk::{Cut, Disk, DiskFile, Lock, Open, RealDisk, SimDisk};
use crate::store::{LeaseControl, PrimaryLease, Store, StoreOptions};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tempfile::TempDir;
use understudy_proto::carry::{self, ImportRules, KEY_IMPORT};
use understudy_proto::codec;
use understudy_proto::directory::DirectoryRules;
use understudy_proto::id::{EmailId, Epoch, Lsn, NodeId, TenantId};
use understudy_proto::keys::{BodyAddress, Keys};
use understudy_proto::mailbox::{Email, MailboxRules};
use understudy_proto::objects::{NewObject, Object, ObjectType, ObjectsRules};
use understudy_proto::queue::{Item as Queued, QueueRules};
use understudy_proto::record::Kind;
use understudy_proto::rule::Registry;
use understudy_proto::time::UnixMs;

struct Node {
    dir: TempDir,
    store: Store,
    directory: Directory,
    mail: Mail,
    lease: PrimaryLease,
    control: Arc<LeaseControl>,
}

impl Node {
    async fn new(node: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        Self::open(Arc::new(RealDisk), &data, NodeId(node), Epoch(1), dir).await
    }

    /// A node on the data in `data`, which reigns alone. `dir`: for the files that are carried.
    async fn open(
        disk: Arc<dyn Disk>,
        data: &Path,
        node: NodeId,
        epoch: Epoch,
        dir: TempDir,
    ) -> Self {
        let mut options = StoreOptions::new(data, node);
        options.segment_len = 1 << 20;
        options.fatal = Arc::new(|_why| ());
        let registry = Registry::default()
            .with(DirectoryRules)
            .with(MailboxRules)
            .with(QueueRules)
            .with(ObjectsRules)
            .with(ImportRules);
        let store = Store::open(disk, options, registry).unwrap();
        store.log().begin_epoch(epoch).await.unwrap();
        store.log().commit_alone(true);
        store.keyring().mark_replicated(u64::MAX);
        let (lease, control) = PrimaryLease::mint(epoch);
        let (directory, mail) = (Directory::new(store.clone()), Mail::new(store.clone()));
        Self { dir, store, directory, mail, lease, control: Arc::new(control) }
    }

    async fn send(&self, login: &Login, to: &[&Login], remote: &[&str], text: &str) {
        let mut ingest = self.mail.begin(&self.lease, &[login.tenant]).await.unwrap();
        let head = b"From: a@acme.example\r\nSubject: carried\r\n\r\n";
        ingest.write(head).await.unwrap();
        ingest.write(text.as_bytes()).await.unwrap();
        let envelope = Envelope {
            from: login.address.clone(),
            local: to.iter().map(|l| (l.tenant, l.account)).collect(),
            remote: remote.iter().map(|r| (*r).to_owned()).collect(),
            sender: Some(login.clone()),
        };
        self.mail.deliver(&self.lease, &envelope, ingest.finish()).await.unwrap();
        self.settled(login.tenant).await;
    }

    async fn settled(&self, tenant: TenantId) {
        self.store.applied(tenant, self.store.log().committed()).await.unwrap();
    }

    async fn import(&self, path: &Path, name: Option<&str>) -> Result<TenantId, CarryError> {
        let arrival = Arrival { name: name.map(str::to_owned), without_domains: false };
        self.import_from(Arc::new(RealDisk), path, &arrival).await
    }

    async fn import_from(
        &self,
        disk: Arc<dyn Disk>,
        path: &Path,
        arrival: &Arrival,
    ) -> Result<TenantId, CarryError> {
        let progress = CarryProgress::default();
        let import =
            self.directory.import_tenant(&self.lease, disk, path, secret(), arrival, &progress);
        import.await.map(|tenant| tenant.id)
    }

    async fn export(&self, name: &str, path: &Path) -> Result<Exported, CarryError> {
        let tenant = self.directory.find_tenant(name).unwrap();
        let (directory, path) = (self.directory.clone(), path.to_owned());
        let write = move || {
            let disk: Arc<dyn Disk> = Arc::new(RealDisk);
            directory.export_tenant(disk, &tenant, &path, &secret(), &CarryProgress::default())
        };
        tokio::task::spawn_blocking(write).await.unwrap()
    }

    /// All rows, with bodies instead of their addresses.
    fn content(&self, tenant: TenantId) -> BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        let view = self.store.read(tenant).unwrap();
        view.scan(&[], &[0xff], &mut |k, v| {
            rows.push((k.to_vec(), v.to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        let mut all = BTreeMap::new();
        for (key, value) in rows {
            let (value, address) = carry::split(&key, &value)
                .unwrap()
                .unwrap_or_else(|| (value, BodyAddress::default()));
            let body = self.store.read_body(tenant, &address, 0..address.len()).unwrap();
            // A body's place is that of its content, length and hash are in the row.
            if key.first() == Some(&b'e') {
                let email: Email = codec::decode("email", &value).unwrap();
                assert_eq!(email.size, body.len() as u64);
                assert_eq!(email.hash, *blake3::hash(&body).as_bytes());
            }
            if key.first() == Some(&b'q') {
                let item: Queued = codec::decode("item", &value).unwrap();
                assert_eq!(item.size, body.len() as u64);
            }
            if key.first() == Some(&b'o') {
                let object: Object = codec::decode("object", &value).unwrap();
                assert_eq!(object.body.map_or(0, |b| b.size), body.len() as u64);
            }
            all.insert(key, (value, body));
        }
        all
    }
}

fn secret() -> Secret<String> {
    Secret::new("correct horse battery".to_owned())
}

/// A node with a tenant that has some of everything.
async fn acme() -> (Node, TenantId) {
    let node = Node::new(0).await;
    let (directory, lease) = (&node.directory, &node.lease);
    let id = directory.create_tenant(lease, "acme").await.unwrap();
    directory.add_domain(lease, id, "acme.example").await.unwrap();
    directory.add_domain(lease, id, "acme.test").await.unwrap();
    let a = directory.create_account(lease, "a@acme.example", "A").await.unwrap();
    let b = directory.create_account(lease, "b@acme.example", "B").await.unwrap();
    directory.add_alias(lease, "info@acme.test", "a@acme.example").await.unwrap();
    directory.add_app_password(lease, "a@acme.example", "phone", None).await.unwrap();
    for n in 0..150_usize {
        let text = format!("{n} ").repeat(n * n);
        let to = [&a, &b];
        let remote: &[&str] = if n % 40 == 0 { &["c@elsewhere.example"] } else { &[] };
        node.send(&a, &to[..1 + n % 2], remote, &text).await;
    }
    let (mail, json) = (&node.mail, "{}".to_owned());
    let card = NewObject { json: json.clone(), ..NewObject::default() };
    mail.set_objects(lease, &a, ObjectType::ContactCard, None, vec![card], vec![]).await.unwrap();
    let mut upload = mail.begin_upload(lease, &a).await.unwrap();
    upload.write(&[7; 300_000]).await.unwrap();
    mail.keep_upload(lease, &a, upload, "a/b".into(), String::new()).await.unwrap();
    let email = EmailId(1);
    let (from, to) = (a.address.clone(), vec!["c@elsewhere.example".to_owned()]);
    let hold_until = Some(UnixMs(u64::MAX));
    let submission = Submission { email, from, to, hold_until, json };
    mail.submit(lease, &a, submission).await.unwrap();
    (node, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_arrives_as_it_left() {
    let (old, id) = acme().await;
    assert_eq!(id, TenantId(2), "node 0 gives even ids");
    let path = old.dir.path().join("acme.tenant");
    old.export("acme", &path).await.unwrap();
    let before = old.content(id);
    // What comes later is not in it.
    let login = Login {
        tenant: id,
        account: understudy_proto::id::AccountId(1),
        address: "a@acme.example".into(),
    };
    old.send(&login, &[&login], &[], "late").await;
    let new = Node::new(1).await;
    assert_eq!(new.directory.create_tenant(&new.lease, "other").await.unwrap(), TenantId(1));
    let arrived = new.import(&path, None).await.unwrap();
    assert_eq!(arrived, TenantId(3), "node 1 gives odd ids");
    assert!(new.content(arrived) == before);
    assert_eq!(new.directory.find_tenant("acme").unwrap().id, arrived);
    let domains = new.directory.domains().unwrap();
    assert_eq!(domains.len(), 2);
    assert!(domains.iter().all(|(_, owner)| *owner == arrived));
    assert!(new.store.read(arrived).unwrap().get(KEY_IMPORT).unwrap().is_none());
    // It works there.
    let login = Login { tenant: arrived, ..login };
    new.send(&login, &[&login], &[], "new mail").await;
    // The message, its place, what changed, and its conversation (two rows).
    assert_eq!(new.content(arrived).len(), before.len() + 5);
    // And is there once.
    assert!(matches!(new.import(&path, None).await, Err(CarryError::Taken(_))));
    let taken = new.import(&path, Some("acme two")).await.unwrap_err().to_string();
    assert!(taken.contains("domain acme.example, domain acme.test"), "{taken}");
}

/// What the hook does, told how many reads came before.
type Hook = dyn Fn(u64) -> io::Result<()> + Send + Sync;

/// Where the file lies: something happens while it is read, always at the same place. After the head,
/// each chunk is two reads.
#[derive(Clone)]
struct Hooked {
    hook: Arc<Hook>,
    reads: Arc<AtomicU64>,
    file: Option<Arc<dyn DiskFile>>,
}

impl Hooked {
    fn disk(hook: impl Fn(u64) -> io::Result<()> + Send + Sync + 'static) -> Arc<dyn Disk> {
        Arc::new(Self { hook: Arc::new(hook), reads: Arc::default(), file: None })
    }

    /// Nothing can be read once so many chunks were.
    fn stop_after(chunks: u64) -> Arc<dyn Disk> {
        Self::disk(move |reads| if reads < 1 + 2 * chunks { Ok(()) } else { no() })
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

fn no<T>() -> io::Result<T> {
    Err(io::Error::other("the hook says so"))
}

impl DiskFile for Hooked {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        (self.hook)(self.reads.fetch_add(1, Ordering::SeqCst))?;
        self.file.as_ref().map_or_else(no, |file| file.read_at(offset, out))
    }
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        no()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.as_ref().map_or_else(no, |file| file.len())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        no()
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        no()
    }
    fn zero(&self, _: u64, _: u64) -> io::Result<()> {
        no()
    }
    fn sync_data(&self) -> io::Result<()> {
        no()
    }
}

impl Disk for Hooked {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = Some(RealDisk.open(path, how)?);
        Ok(Arc::new(Self { file, ..self.clone() }))
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        no()
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        no()
    }
    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        no()
    }
    fn is_dir(&self, _: &Path) -> io::Result<bool> {
        no()
    }
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        no()
    }
    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        no()
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        no()
    }
    fn free(&self, _: &Path) -> io::Result<u64> {
        no()
    }
    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        no()
    }
}

impl Node {
    /// The one tenant that is being filled, and the step that comes next; nothing else shows of it.
    fn under_way(&self) -> Option<(TenantId, u64)> {
        assert!(self.directory.tenants().unwrap().is_empty());
        assert!(self.directory.domains().unwrap().is_empty());
        let ids = self.store.keyring().tenants();
        assert!(ids.len() <= 2, "one after the other was begun: {ids:?}");
        let id = ids.into_iter().find(|id| *id != TenantId::SYSTEM)?;
        let at = carry::progress(&self.store.read(id).unwrap()).unwrap()?;
        Some((id, at.next))
    }
}

/// An import that always stops a chunk later than before has come further each time, or as far.
fn came_further(steps: &[(TenantId, u64)]) {
    assert!(steps.len() >= 3, "{steps:?}");
    assert!(steps.is_sorted_by(|a, b| a.0 == b.0 && a.1 <= b.1), "{steps:?}");
    assert!(steps[0].1 > 0 && steps[0].1 < steps[steps.len() - 1].1, "{steps:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_interrupted_goes_on() {
    let (old, id) = acme().await;
    let path = old.dir.path().join("acme.tenant");
    old.export("acme", &path).await.unwrap();
    let new = Node::new(0).await;
    let arrival = Arrival { name: Some("moved".to_owned()), without_domains: false };
    let mut steps = Vec::new();
    let mut chunks = 0;
    let arrived = loop {
        match new.import_from(Hooked::stop_after(chunks), &path, &arrival).await {
            Ok(arrived) => break arrived,
            Err(CarryError::Io { .. }) => steps.extend(new.under_way()),
            Err(e) => panic!("{e}"),
        }
        chunks += 1;
    };
    came_further(&steps);
    assert!(new.content(arrived) == old.content(id), "after {chunks} attempts");
    assert_eq!(new.directory.find_tenant("moved").unwrap().id, arrived);
    assert_eq!(new.store.keyring().tenants(), [TenantId::SYSTEM, arrived]);
    assert_eq!(new.directory.domains().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_goes_on_after_the_power_was_cut() {
    let (old, id) = acme().await;
    let path = old.dir.path().join("acme.tenant");
    old.export("acme", &path).await.unwrap();
    let data = Path::new("/data");
    let mut sim = SimDisk::empty(data);
    let mut steps = Vec::new();
    let cuts = [Cut::Lost, Cut::Torn(3), Cut::Lost, Cut::Torn(5), Cut::Kept];
    let open = async |sim: &SimDisk, life: u64| {
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        Node::open(disk, data, NodeId(0), Epoch(life), tempfile::tempdir().unwrap()).await
    };
    for (life, cut) in (1..).zip(cuts) {
        let node = open(&sim, life).await;
        // After so many chunks the power goes, in the middle of whatever is being written then.
        let (power, chunks) = (sim.clone(), life.min(3));
        let disk = Hooked::disk(move |reads| {
            if reads == 1 + 2 * chunks {
                power.cut_after(Some(life));
            }
            Ok(())
        });
        let died = node.import_from(disk, &path, &Arrival::default()).await;
        assert!(died.is_err() && sim.is_dead(), "{died:?}");
        let image = sim.cut(cut);
        drop(node);
        sim = SimDisk::new(&image);
        let node = open(&sim, life + 100).await;
        steps.extend(node.under_way());
        let image = sim.cut(Cut::Lost);
        drop(node);
        sim = SimDisk::new(&image);
    }
    came_further(&steps);
    let node = open(&sim, 200).await;
    let arrived = node.import(&path, None).await.unwrap();
    assert_eq!(arrived, steps[0].0);
    assert!(node.content(arrived) == old.content(id));
    assert_eq!(node.directory.domains().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_goes_on_after_the_role_was_away() {
    let (old, id) = acme().await;
    let path = old.dir.path().join("acme.tenant");
    old.export("acme", &path).await.unwrap();
    let mut new = Node::new(0).await;
    let control = Arc::clone(&new.control);
    let disk = Hooked::disk(move |reads| {
        if reads == 5 {
            control.revoke();
        }
        Ok(())
    });
    let stopped = new.import_from(disk, &path, &Arrival::default()).await.unwrap_err();
    assert!(matches!(stopped, CarryError::Interrupted(_)), "{stopped:?}");
    let said = stopped.to_string();
    assert!(said.contains("not primary") && said.contains("the same file"), "{said}");
    let (begun, next) = new.under_way().unwrap();
    assert!(next > 0);
    // Without the role nothing goes on; with it, the rest does.
    assert!(new.import(&path, None).await.is_err());
    assert_eq!(new.under_way(), Some((begun, next)));
    new.store.log().begin_epoch(Epoch(2)).await.unwrap();
    let (lease, control) = PrimaryLease::mint(Epoch(2));
    (new.lease, new.control) = (lease, Arc::new(control));
    assert_eq!(new.import(&path, None).await.unwrap(), begun);
    assert!(new.content(begun) == old.content(id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_was_given_away_meanwhile_is_said() {
    let (old, id) = acme().await;
    let path = old.dir.path().join("acme.tenant");
    old.export("acme", &path).await.unwrap();
    let new = Node::new(0).await;
    let other = new.directory.create_tenant(&new.lease, "other").await.unwrap();
    let (directory, lease) = (new.directory.clone(), new.lease.clone());
    let runtime = tokio::runtime::Handle::current();
    let disk = Hooked::disk(move |reads| {
        if reads == 5 {
            runtime.block_on(directory.add_domain(&lease, other, "acme.test")).unwrap();
        }
        Ok(())
    });
    let said = new.import_from(disk, &path, &Arrival::default()).await.unwrap_err();
    assert!(
        matches!(&said, CarryError::TakenMeanwhile(what) if what == "domain acme.test"),
        "{said}"
    );
    // Nothing leads to it yet; what it was given away to has it still.
    assert_eq!(new.directory.domains().unwrap(), [("acme.test".to_owned(), other)]);
    assert_eq!(new.directory.tenants().unwrap().len(), 1);
    assert!(matches!(new.import(&path, None).await, Err(CarryError::Taken(_))));
    new.directory.remove_domain(&new.lease, "acme.test").await.unwrap();
    let arrived = new.import(&path, None).await.unwrap();
    assert_eq!(new.store.keyring().tenants(), [TenantId::SYSTEM, other, arrived]);
    assert!(new.content(arrived) == old.content(id));
    assert_eq!(new.directory.domains().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_of_one_record() {
    let node = Node::new(0).await;
    let id = node.directory.create_tenant(&node.lease, "acme").await.unwrap();
    node.directory.add_domain(&node.lease, id, "acme.example").await.unwrap();
    // Accounts and domains come and come.
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..4 {
        let (directory, lease, stop) = (node.directory.clone(), node.lease.clone(), stop.clone());
        writers.push(task::spawn("tests::accounts", async move {
            for n in 0_u32.. {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let address = format!("p{n}.{writer}@acme.example");
                directory.create_account(&lease, &address, "P").await.unwrap();
                if writer == 0 {
                    directory.add_domain(&lease, id, &format!("d{n}.example")).await.unwrap();
                }
            }
        }));
    }
    let directory = node.directory.clone();
    let looks = tokio::task::spawn_blocking(move || {
        let mut looks = Vec::new();
        loop {
            let Instant { lsn, domains, view } = directory.instant(id).unwrap();
            let accounts = understudy_proto::directory::accounts(&view).unwrap().len();
            looks.push((lsn, accounts, domains.len()));
            looks.dedup();
            if accounts >= 60 {
                return looks;
            }
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    });
    let looks = looks.await.unwrap();
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    // The log says what there was at each record: one tenant, else one change for each.
    assert!(looks.len() >= 3, "{looks:?}");
    for (lsn, accounts, domains) in looks {
        let (mut of_tenant, mut of_system) = (0, 0);
        let count = |tenant: TenantId, _: &[u8]| {
            *if tenant == id { &mut of_tenant } else { &mut of_system } += 1;
        };
        node.store.changes(Kind::DIRECTORY, Lsn(0), lsn, count).unwrap();
        assert_eq!((accounts, domains), (of_tenant, of_system - 1), "at record {lsn}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (old, _) = acme().await;
    let path = old.dir.path().join("acme.tenant");
    old.export("acme", &path).await.unwrap();
    assert!(matches!(old.export("acme", &path).await, Err(CarryError::FileExists(_))));
    assert!(matches!(old.export("acme", Path::new("here")).await, Err(CarryError::Path)));
    let new = Node::new(0).await;
    let none = new.import(&new.dir.path().join("none"), None).await;
    assert!(matches!(none, Err(CarryError::Io { .. })));
    let own = new.directory.create_tenant(&new.lease, "own").await.unwrap();
    new.directory.add_domain(&new.lease, own, "acme.test").await.unwrap();
    assert!(matches!(new.import(&path, None).await, Err(CarryError::Taken(_))));
    assert_eq!(new.store.keyring().tenants(), [TenantId::SYSTEM, own]);
    // Without the lease nobody waits for ever.
    new.store.keyring().add(TenantId(40)).unwrap();
    let (lease, control) = PrimaryLease::mint(Epoch(2));
    control.revoke();
    let refused = new.directory.create_tenant(&lease, "late").await;
    assert!(matches!(refused, Err(DirectoryError::NotWritten(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_branch_had_is_recovered_as_its_runbook_says() {
    // On both sides a tenant of the same name, filled differently; one of the two serves.
    let (branch, id) = acme().await;
    let (directory, lease) = (&branch.directory, &branch.lease);
    let phone =
        directory.add_app_password(lease, "b@acme.example", "tablet", None).await.unwrap().plain;
    let pair = Node::new(1).await;
    let serving = pair.directory.create_tenant(&pair.lease, "acme").await.unwrap();
    pair.directory.add_domain(&pair.lease, serving, "acme.example").await.unwrap();
    let ours = pair.directory.create_account(&pair.lease, "b@acme.example", "B").await.unwrap();
    let own =
        pair.directory.add_app_password(&pair.lease, "b@acme.example", "own", None).await.unwrap();
    // Export on the branch, import here under another name: the name alone does not help.
    let path = branch.dir.path().join("acme.tenant");
    branch.export("acme", &path).await.unwrap();
    let before = branch.content(id);
    let name = Some("acme of the branch");
    let refused = pair.import(&path, name).await.unwrap_err().to_string();
    assert!(refused.contains("--without-domains"), "{refused}");
    let arrival = Arrival { name: name.map(str::to_owned), without_domains: true };
    let disk = || Arc::new(RealDisk);
    let arrived = pair.import_from(disk(), &path, &arrival).await.unwrap();
    // All of it is there, with longer addresses.
    let suffix = Arrival::suffix(arrived);
    let longer = |(key, (value, body)): (Vec<u8>, (Vec<u8>, Vec<u8>))| {
        let (key, value) = carry::renamed(&suffix, (key, value)).unwrap();
        (key, (value, body))
    };
    assert!(pair.content(arrived) == before.into_iter().map(longer).collect());
    assert_eq!(suffix, format!("tenant{arrived}.invalid"));
    let here = |name: &str| pair.directory.resolve(name).unwrap();
    let account =
        Resolved::Account { tenant: arrived, account: understudy_proto::id::AccountId(2) };
    assert_eq!(here(&format!("b@acme.example.{suffix}")), account);
    // Mail and sign-in of the tenant that serves are its own still.
    let serves = Resolved::Account { tenant: serving, account: ours.account };
    assert_eq!(here("b@acme.example"), serves);
    assert_eq!(here("a@acme.example"), Resolved::UnknownAccount);
    assert_eq!(here("info@acme.test"), Resolved::NotLocal);
    let login = async |name: &str, plain: &Secret<String>| {
        let source = Source::of(std::net::Ipv4Addr::LOCALHOST.into());
        let came = pair.directory.authenticate(name, plain, source).await.unwrap();
        came.map(|(login, _)| login.tenant)
    };
    assert_eq!(login("b@acme.example", &own.plain).await, Some(serving));
    assert_eq!(login("b@acme.example", &phone).await, None);
    let long = format!("b@acme.example.{suffix}");
    assert_eq!(login(&long, &phone).await, Some(arrived));
    assert_eq!(login(&long, &own.plain).await, None);
    // The operator can look, too.
    let new = Secret::new("a new password".to_owned());
    pair.directory.set_password(&pair.lease, &long, new.clone()).await.unwrap();
    assert_eq!(login(&long, &new).await, Some(arrived));
    assert!(matches!(
        pair.import_from(disk(), &path, &arrival).await,
        Err(CarryError::Taken(what)) if what == "tenant acme of the branch"
    ));
    moved_away_as_the_runbook_says(branch, id).await;
}

/// What the page names is moved, no more: the node stays in its pair, begins anew, and what was moved
/// can be opened.
async fn moved_away_as_the_runbook_says(branch: Node, id: TenantId) {
    let before = branch.content(id);
    branch.store.close();
    // All that holds the store goes, and the folder stays.
    let Node { dir, store, directory, mail, .. } = branch;
    drop((store, directory, mail));
    let data = dir.path().join("data");
    std::fs::create_dir(data.join("pair")).unwrap();
    std::fs::write(data.join("pair/identity.json"), "{}").unwrap();
    let page = include_str!("../../../docs/runbook/branched.md");
    let (_, commands) = page.split_once("cd /var/lib/understudy\n").unwrap();
    let (commands, _) = commands.split_once("systemctl start").unwrap();
    let shell =
        std::process::Command::new("sh").args(["-ec", commands]).current_dir(&data).status();
    assert!(shell.unwrap().success(), "{commands}");
    assert!(data.join("pair/identity.json").exists());
    let empty = tempfile::tempdir().unwrap();
    let anew = Node::open(Arc::new(RealDisk), &data, NodeId(0), Epoch(2), empty).await;
    assert!(anew.directory.tenants().unwrap().is_empty());
    assert_eq!(anew.store.log().last().lsn.0, 1, "the beginning of its reign and nothing else");
    let kept = data.join("branches/by-hand");
    let kept = Node::open(Arc::new(RealDisk), &kept, NodeId(0), Epoch(2), dir).await;
    assert!(kept.content(id) == before);
}
