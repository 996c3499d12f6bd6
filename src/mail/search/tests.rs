//! Searches on a node with a real disk: before, while and after the index knows.

use super::indexer::{Stop, Work};
use super::words::Query;
use super::{Field, Found, Leaf, Looking};
use crate::base::secret::Secret;
use crate::directory::{Directory, Login};
use crate::mail::{Envelope, Mail};
use crate::store::disk::RealDisk;
use crate::store::{LeaseControl, PrimaryLease, Store, StoreOptions};
use proptest::prelude::*;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use understudy_proto::carry::{Import, ImportRules, Step as ImportStep};
use understudy_proto::directory::DirectoryRules;
use understudy_proto::id::{EmailId, Epoch, MailboxId, NodeId, TenantId, Uid};
use understudy_proto::keys::Keys;
use understudy_proto::mailbox::{self, Flags, FlagsOp, INBOX, MailboxRules};
use understudy_proto::queue::QueueRules;
use understudy_proto::rule::Registry;
use understudy_proto::time::Mono;

struct Node {
    store: Store,
    mail: Mail,
    lease: PrimaryLease,
    _control: LeaseControl,
    logins: Vec<Login>,
    dir: TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.store.close();
    }
}

fn options(dir: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(dir.join("data"), NodeId(0));
    options.segment_len = 4 << 20;
    options.reserve_bytes = 0;
    options
}

fn open(dir: &Path) -> Store {
    let rules = Registry::default()
        .with(DirectoryRules)
        .with(MailboxRules)
        .with(QueueRules)
        .with(ImportRules);
    Store::open(Arc::new(RealDisk), options(dir), rules).unwrap()
}

impl Node {
    /// Two accounts of one tenant, and one of another.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store.log().begin_epoch(Epoch(1)).await.unwrap();
        store.log().commit_alone(true);
        store.keyring().mark_replicated(u64::MAX);
        let (lease, control) = PrimaryLease::mint(Epoch(1));
        control.extend(Mono(u64::MAX));
        let directory = Directory::new(store.clone());
        let mut logins = Vec::new();
        for (tenant, domain, names) in
            [("one", "example.org", &["ada", "bob"][..]), ("two", "example.net", &["eve"])]
        {
            let tenant = directory.create_tenant(&lease, tenant).await.unwrap();
            directory.add_domain(&lease, tenant, domain).await.unwrap();
            for name in names {
                let address = format!("{name}@{domain}");
                logins.push(directory.create_account(&lease, &address, name).await.unwrap());
                directory
                    .set_password(&lease, &address, Secret::new("x".repeat(20)))
                    .await
                    .unwrap();
            }
        }
        let mail = Mail::new(store.clone());
        Self { store, mail, lease, _control: control, logins, dir }
    }

    /// The same data, as a process that has just begun sees it.
    async fn restart(self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        self.store.close();
        let status = std::process::Command::new("cp")
            .arg("-a")
            .arg(self.dir.path().join("data"))
            .arg(copy.path().join("data"))
            .status()
            .unwrap();
        assert!(status.success());
        let logins = self.logins.clone();
        drop(self);
        let store = open(copy.path());
        store.log().begin_epoch(Epoch(2)).await.unwrap();
        store.log().commit_alone(true);
        store.keyring().mark_replicated(u64::MAX);
        let (lease, control) = PrimaryLease::mint(Epoch(2));
        control.extend(Mono(u64::MAX));
        let mail = Mail::new(store.clone());
        Self { store, mail, lease, _control: control, logins, dir: copy }
    }

    fn login(&self) -> &Login {
        &self.logins[0]
    }

    fn index_dir(&self, tenant: TenantId) -> PathBuf {
        self.store.dir().join("search").join(tenant.to_string())
    }

    async fn deliver_to(&self, who: usize, subject: &str, body: &str) {
        let login = &self.logins[who];
        let message = format!(
            "From: Jürgen Müller <jm@example.com>\r\nTo: ada@example.org\r\nMessage-ID: <{}@example.com>\r\n\
             Content-Type: text/plain; charset=utf-8\r\nSubject: {subject}\r\n\r\n{body}\r\n",
            subject.len() + body.len()
        );
        let mut ingest = self.mail.begin(&self.lease, &[login.tenant]).await.unwrap();
        ingest.write(message.as_bytes()).await.unwrap();
        let envelope =
            Envelope { local: vec![(login.tenant, login.account)], ..Envelope::default() };
        self.mail.deliver(&self.lease, &envelope, ingest.finish()).await.unwrap();
        self.settle().await;
    }

    async fn deliver(&self, subject: &str, body: &str) {
        self.deliver_to(0, subject, body).await;
    }

    /// Waits until all that is committed is visible.
    async fn settle(&self) {
        let last = self.store.log().committed();
        while self.store.log().applied() < last {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    fn work(&self) -> Work {
        Work::new(&self.mail, Arc::<Stop>::default())
    }

    /// Indexes everything.
    fn index(&self) {
        self.work().round();
    }

    fn search(&self, field: Field, text: &str) -> Found {
        self.search_as(0, field, text)
    }

    fn search_as(&self, who: usize, field: Field, text: &str) -> Found {
        let leaf = Leaf { field, text: text.to_owned() };
        self.mail.search(&self.logins[who], &[leaf]).unwrap()
    }

    /// How many messages hold the text; all were looked through.
    fn count(&self, text: &str) -> usize {
        let found = self.search(Field::Text, text);
        assert!(!found.partial, "{text}");
        found.leaves[0].len()
    }

    /// Documents in the index, deleted ones not counted.
    fn documents(&self) -> usize {
        let shelves = self.mail.search.shelves.get().unwrap();
        let snapshot = shelves.get(self.login().tenant).snapshot().unwrap();
        snapshot.documents()
    }

    async fn delete(&self, uid: Uid) {
        let (login, flags) = (self.login(), Flags::system(Flags::DELETED));
        self.mail.flags(&self.lease, login, INBOX, &[uid], FlagsOp::Add, flags).await.unwrap();
        self.mail.expunge(&self.lease, login, INBOX, Some(&[uid])).await.unwrap();
    }

    fn uids(&self, mailbox: MailboxId) -> Vec<Uid> {
        self.mail.entries(self.login(), mailbox).unwrap().1.into_iter().map(|e| e.uid).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_messages_are_found_before_and_after_they_are_indexed() {
    let node = Node::start().await;
    node.deliver("Rechnung 4711", "Anbei die Rechnungsnummer für März").await;
    assert_eq!(node.count("rechnung"), 1, "there is no index at all");
    node.index();
    assert_eq!(node.documents(), 1);
    assert_eq!(node.count("rechnung"), 1);
    node.deliver("Invoice 4712", "two invoices, not one").await;
    assert_eq!(node.count("47"), 2, "one is newer than the index");
    assert_eq!(node.count("invoice"), 1);
    node.index();
    assert_eq!(node.documents(), 2);
    for (field, text, count) in [
        (Field::Text, "mueller rechnung", 1),
        (Field::From, "Müller", 2),
        (Field::From, "rechnung", 0),
        (Field::To, "ada@example.org", 2),
        (Field::To, "ada@exam", 2),
        (Field::To, "ada@org", 0),
        (Field::From, "jm@example.c", 2),
        (Field::Subject, "märz", 0),
        (Field::Body, "maerz", 1),
        (Field::Body, "\"two invoices\"", 1),
        (Field::Body, "\"invoices two\"", 0),
        (Field::Body, "\"two invoice\"", 0),
        (Field::Text, "...", 0),
        (Field::MessageId, "@example.com", 2),
    ] {
        assert_eq!(node.search(field, text).leaves[0].len(), count, "{field:?} {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_at_once_and_what_is_moved_stays() {
    let node = Node::start().await;
    for n in 0..6 {
        node.deliver(&format!("number {n}"), "common words").await;
    }
    node.index();
    let uids = node.uids(INBOX);
    node.delete(uids[0]).await;
    assert_eq!((node.count("common"), node.count("\"number 0\"")), (5, 0));
    let archive =
        node.mail.mailboxes(node.login()).unwrap().iter().find(|m| m.name == "Archive").unwrap().id;
    node.mail.mv(&node.lease, node.login(), INBOX, &[uids[1]], archive).await.unwrap();
    node.mail.copy(&node.lease, node.login(), INBOX, &[uids[2]], archive).await.unwrap();
    assert_eq!(
        (node.count("common"), node.count("\"number 1\""), node.count("\"number 2\"")),
        (6, 1, 2)
    );
    node.index();
    assert_eq!((node.count("common"), node.documents()), (6, 6));
    let seen = Flags::system(Flags::SEEN);
    node.mail
        .flags(&node.lease, node.login(), INBOX, &uids[3..], FlagsOp::Add, seen)
        .await
        .unwrap();
    assert_eq!(node.count("common"), 6);
    node.index();
    assert_eq!((node.count("common"), node.documents()), (6, 6));
    // All that was found is there.
    for id in &node.search(Field::Text, "common").leaves[0] {
        assert!(node.mail.email(node.login(), *id).unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_tenants_see_their_own() {
    let node = Node::start().await;
    for who in 0..3 {
        node.deliver_to(who, "secret", &format!("only{who}")).await;
    }
    for _ in 0..2 {
        for who in 0..3 {
            assert_eq!(node.search_as(who, Field::Text, "secret").leaves[0].len(), 1);
            for other in 0..3 {
                let found = node.search_as(who, Field::Body, &format!("only{other}"));
                assert_eq!(found.leaves[0].len(), usize::from(who == other));
            }
        }
        node.index();
    }
    assert!(node.index_dir(node.logins[2].tenant).is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_cut_off_leaves_nothing_out_and_nothing_double() {
    let node = Node::start().await;
    for n in 0..5 {
        node.deliver(&format!("number {n}"), "common").await;
    }
    node.work().cut_off(node.login().tenant, false);
    assert_eq!(node.count("common"), 5);
    node.deliver("number 5", "common").await;
    node.work().cut_off(node.login().tenant, true);
    let node = node.restart().await;
    node.work();
    assert_eq!(node.count("common"), 6);
    node.index();
    assert_eq!((node.count("common"), node.documents()), (6, 6));
    node.deliver("number 6", "common").await;
    node.work().cut_off(node.login().tenant, false);
    let node = node.restart().await;
    node.index();
    assert_eq!((node.count("common"), node.documents()), (7, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_behind_the_index_decides() {
    let node = Node::start().await;
    node.deliver("one", "common").await;
    node.deliver("two", "common").await;
    node.index();
    let uids = node.uids(INBOX);
    node.delete(uids[0]).await;
    // As if the index were from a moment that the view has not reached again.
    node.work().pretend_ahead(node.login().tenant);
    assert_eq!((node.count("common"), node.count("one")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_damaged_or_gone_is_built_anew_without_an_error() {
    let mut node = Node::start().await;
    for n in 0..20 {
        node.deliver(&format!("number {n}"), "common words of all").await;
    }
    node.index();
    let tenant = node.login().tenant;
    let mut files: Vec<String> = std::fs::read_dir(node.index_dir(tenant))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert!(files.len() > 3, "{files:?}");
    // Every file of it, flipped or cut off, then all of it removed.
    let kinds: Vec<String> =
        files.iter().map(|f| f.rsplit('.').next().unwrap().to_owned()).collect();
    for (round, kind) in kinds.iter().enumerate() {
        node = node.restart().await;
        let file = std::fs::read_dir(node.index_dir(tenant))
            .unwrap()
            .map(|e| e.unwrap().path())
            .find(|p| p.to_str().unwrap().ends_with(kind))
            .unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        if round % 2 == 0 {
            let middle = bytes.len() / 2;
            bytes.iter_mut().skip(middle).take(3).for_each(|b| *b ^= 0x55);
        } else {
            bytes.truncate(bytes.len() / 2);
        }
        std::fs::write(&file, &bytes).unwrap();
        node.work();
        assert_eq!((node.count("common"), node.count("\"number 7\"")), (20, 1), "{kind}");
        node.index();
        assert_eq!((node.count("common"), node.count("\"number 7\"")), (20, 1), "{kind}");
        assert_eq!(node.documents(), 20, "{kind}");
    }
    std::fs::remove_dir_all(node.store.dir().join("search")).unwrap();
    node.deliver("number 20", "common").await;
    assert_eq!(node.count("common"), 21);
    node.index();
    assert_eq!((node.count("common"), node.documents()), (21, 21));
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_of_tenants_that_are_gone_are_removed() {
    let node = Node::start().await;
    node.index();
    let strange = node.index_dir(TenantId(77));
    std::fs::create_dir_all(&strange).unwrap();
    std::fs::write(strange.join("x"), "words").unwrap();
    node.index();
    assert!(!strange.exists() && node.index_dir(node.login().tenant).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_arrives_is_indexed_once_it_is_whole() {
    let node = Node::start().await;
    for text in ["one", "two"] {
        node.deliver(text, "common").await;
    }
    let mut rows = Vec::new();
    let view = node.store.read(node.login().tenant).unwrap();
    view.scan(b"A", b"z", &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    drop(view);
    let tenant = TenantId(9);
    node.store.add_tenant_key(tenant).unwrap();
    node.store.keyring().mark_replicated(u64::MAX);
    // Counters come first, messages later.
    let rest = rows.split_off(rows.iter().position(|(key, _)| key[0] != b'A').unwrap());
    for (number, step) in
        (0..).zip([ImportStep::Rows(rows), ImportStep::Rows(rest), ImportStep::Finish])
    {
        let import = Import { file: [1; 16], number, step };
        node.store.write(&node.lease, tenant, import).await.unwrap();
        node.settle().await;
        node.index();
    }
    let snapshot = node.mail.search.snapshot(tenant).unwrap();
    assert_eq!(snapshot.documents(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_index_can_be_written_searches_read() {
    let node = Node::start().await;
    node.deliver("one", "common").await;
    let folder = node.store.dir().join("search");
    std::fs::write(&folder, "in the way").unwrap();
    node.index();
    assert_eq!(node.count("common"), 1);
    std::fs::remove_file(&folder).unwrap();
    node.index();
    assert_eq!((node.count("common"), node.documents()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_in_time_makes_the_answer_partial() {
    let node = Node::start().await;
    let queries = [(Field::Text.parts(), Query::parse("common"))];
    let late = || Looking::new(&node.mail, node.login(), &queries, Mono(0)).unwrap();
    assert!(!late().unindexed().unwrap().partial, "there is nothing to read");
    node.deliver("one", "common").await;
    let found = late().unindexed().unwrap();
    assert!(found.partial && found.leaves[0].is_empty());
    node.index();
    node.deliver("two", "common").await;
    let snapshot = node.mail.search.snapshot(node.login().tenant).unwrap();
    let found = late().indexed(&snapshot).unwrap();
    assert!(found.partial && found.leaves[0].len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_thread_indexes_by_itself_and_stops() {
    let node = Node::start().await;
    node.deliver("one", "common").await;
    let indexer = node.mail.start_indexer();
    for _ in 0..500 {
        if node.mail.search.snapshot(node.login().tenant).is_some_and(|s| s.documents() == 1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(indexer);
    assert_eq!((node.count("common"), node.documents()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn snippets_mark_what_was_found() {
    let node = Node::start().await;
    node.deliver("Rechnung <1>", "Die Rechnungen & mehr").await;
    let id = node.search(Field::Text, "rechnung").leaves[0][0];
    let leaf = |field, text: &str| Leaf { field, text: text.to_owned() };
    let show = |leaves: &[Leaf]| node.mail.snippet(node.login(), id, leaves).unwrap().unwrap();
    let both = show(&[leaf(Field::Text, "rechnung")]);
    assert_eq!(both.subject.as_deref(), Some("<mark>Rechnung</mark> &lt;1&gt;"));
    assert_eq!(both.preview.as_deref(), Some("Die <mark>Rechnungen</mark> &amp; mehr"));
    let body = show(&[leaf(Field::Body, "mehr"), leaf(Field::From, "rechnung")]);
    assert_eq!((body.subject, body.preview.is_some()), (None, true));
    assert!(node.mail.snippet(node.login(), EmailId(99), &[]).unwrap().is_none());
}

/// Words of the corpus: as written, as folded by hand, and which are forms of one.
const VOCABULARY: [(&str, &str, u8); 14] = [
    ("Rechnung", "rechnung", 0),
    ("Rechnungen", "rechnungen", 0),
    ("Rechnungsnummer", "rechnungsnummer", 1),
    ("Müller", "muller", 2),
    ("Mueller", "muller", 2),
    ("invoice", "invoice", 3),
    ("Invoices", "invoices", 3),
    ("straße", "strasse", 4),
    ("STRASSE", "strasse", 4),
    ("connected", "connected", 5),
    ("connection", "connection", 5),
    ("in", "in", 6),
    ("zebra", "zebra", 7),
    ("42", "42", 8),
];

#[derive(Clone, Debug)]
enum Step {
    Deliver(Vec<usize>),
    Delete(prop::sample::Index),
    Move(prop::sample::Index),
    Index,
    Restart,
    Search(Vec<usize>, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let words = || prop::collection::vec(0..VOCABULARY.len(), 1..6);
    prop_oneof![
        6 => words().prop_map(Step::Deliver),
        2 => any::<prop::sample::Index>().prop_map(Step::Delete),
        1 => any::<prop::sample::Index>().prop_map(Step::Move),
        3 => Just(Step::Index),
        1 => Just(Step::Restart),
        8 => (prop::collection::vec(0..VOCABULARY.len(), 1..3), any::<bool>()).prop_map(|(w, q)| Step::Search(w, q)),
    ]
}

/// The documented meaning, word by word.
fn holds(text: &[usize], wanted: &[usize], phrase: bool) -> bool {
    let folded = |w: usize| VOCABULARY[w].1;
    if phrase {
        return text
            .windows(wanted.len())
            .any(|t| t.iter().zip(wanted).all(|(a, b)| folded(*a) == folded(*b)));
    }
    wanted.iter().enumerate().all(|(i, w)| {
        let open = folded(*w).len() >= if i + 1 == wanted.len() { 2 } else { 3 };
        text.iter().any(|t| {
            VOCABULARY[*t].2 == VOCABULARY[*w].2 || open && folded(*t).starts_with(folded(*w))
        })
    })
}

fn written(words: &[usize]) -> String {
    words.iter().map(|w| VOCABULARY[*w].0).collect::<Vec<_>>().join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 50, ..ProptestConfig::default() })]
    #[test]
    fn a_search_finds_what_brute_force_finds(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut node = Node::start().await;
            let archive = node.mail.mailboxes(node.login()).unwrap().iter().find(|m| m.name == "Archive").unwrap().id;
            // What is there, by the text of the body.
            let mut there: Vec<(Vec<usize>, MailboxId)> = Vec::new();
            for step in steps {
                let inbox: Vec<usize> =
                    there.iter().enumerate().filter(|(_, t)| t.1 == INBOX).map(|(i, _)| i).collect();
                match step {
                    Step::Deliver(words) => {
                        node.deliver("-", &written(&words)).await;
                        there.push((words, INBOX));
                    }
                    Step::Delete(which) if !inbox.is_empty() => {
                        let at = which.index(inbox.len());
                        node.delete(node.uids(INBOX)[at]).await;
                        there.remove(inbox[at]);
                    }
                    Step::Move(which) if !inbox.is_empty() => {
                        let at = which.index(inbox.len());
                        let uid = node.uids(INBOX)[at];
                        node.mail.mv(&node.lease, node.login(), INBOX, &[uid], archive).await.unwrap();
                        there[inbox[at]].1 = archive;
                    }
                    Step::Index => node.index(),
                    Step::Restart => node = node.restart().await,
                    Step::Search(wanted, phrase) => {
                        let text = written(&wanted);
                        let text = if phrase { format!("\"{text}\"") } else { text };
                        let found = node.search(Field::Body, &text);
                        assert!(!found.partial);
                        let mut bodies: Vec<String> = found.leaves[0].iter().map(|id| {
                            let view = node.store.read(node.login().tenant).unwrap();
                            mailbox::email(&view, node.login().account, *id).unwrap().unwrap().summary.preview
                        }).collect();
                        let mut expected: Vec<String> = there.iter()
                            .filter(|(t, _)| holds(t, &wanted, phrase)).map(|(t, _)| written(t)).collect();
                        bodies.sort();
                        expected.sort();
                        assert_eq!(bodies, expected, "{text}");
                    }
                    Step::Delete(_) | Step::Move(_) => {}
                }
            }
        });
    }
}
