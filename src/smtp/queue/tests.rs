//! Rules of the queue, and mail that is held: for those who live here and for others.

use super::*;
use crate::config;
use crate::directory::{Directory, Login};
use crate::mail::{Mail, NotNow, ObjectError, Submission};
use crate::store::disk::RealDisk;
use crate::store::{LeaseControl, Store, StoreOptions};
use crate::tls;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use tempfile::TempDir;
use understudy_proto::directory::DirectoryRules;
use understudy_proto::id::{EmailId, Epoch, NodeId};
use understudy_proto::mailbox::{Flags, INBOX, MailboxRules};
use understudy_proto::objects::{NewObject, ObjectId, ObjectRefusal, ObjectType, ObjectsRules};
use understudy_proto::queue::QueueRules;
use understudy_proto::rule::Registry;

/// How long anything may take; the machine may be busy.
const LONG: Duration = Duration::from_secs(60);

/// A relay that takes everything and hands it over: envelope and text.
fn relay() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taken, takes) = sync_channel(16);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut all, mut in_text) = (String::new(), false);
            let mut reply = "220 relay\r\n";
            loop {
                stream.get_mut().write_all(reply.as_bytes()).unwrap();
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
                reply = match line.as_str() {
                    ".\r\n" if in_text => {
                        drop(taken.send(std::mem::take(&mut all)));
                        in_text = false;
                        "250 taken\r\n"
                    }
                    "DATA\r\n" if !in_text => {
                        in_text = true;
                        "354 go\r\n"
                    }
                    _ => {
                        all.push_str(&line);
                        if in_text { "" } else { "250 ok\r\n" }
                    }
                };
            }
        }
    });
    (port, takes)
}

struct Node {
    smtp: Smtp,
    mail: Mail,
    lease: PrimaryLease,
    ada: Login,
    bob: Login,
    carol: Login,
    _control: LeaseControl,
    _dir: TempDir,
}

impl Node {
    /// Ada and Bob are of one tenant, Carol of another.
    async fn new(relay: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(dir.path(), NodeId(0));
        options.segment_len = 1 << 20;
        options.fatal = Arc::new(|_why| ());
        let registry = Registry::default()
            .with(DirectoryRules)
            .with(MailboxRules)
            .with(QueueRules)
            .with(ObjectsRules);
        let store = Store::open(Arc::new(RealDisk), options, registry).unwrap();
        store.log().begin_epoch(Epoch(1)).await.unwrap();
        store.log().commit_alone(true);
        store.keyring().mark_replicated(u64::MAX);
        let (lease, control) = PrimaryLease::mint(Epoch(1));
        let (directory, mail) = (Directory::new(store.clone()), Mail::new(store.clone()));
        for name in ["acme", "other"] {
            let id = directory.create_tenant(&lease, name).await.unwrap();
            directory.add_domain(&lease, id, &format!("{name}.example")).await.unwrap();
        }
        let mut logins = Vec::new();
        for address in ["ada@acme.example", "bob@acme.example", "carol@other.example"] {
            logins.push(directory.create_account(&lease, address, "x").await.unwrap());
        }
        let (carol, bob, ada) =
            (logins.pop().unwrap(), logins.pop().unwrap(), logins.pop().unwrap());
        let names = tls::Names { hosts: vec!["mx.here".into()], addresses: vec![] };
        tls::install();
        let service = tls::Service::own(&dir.path().join("tls"), &names, clock::now_ms()).unwrap();
        let config = config::Smtp {
            message_size_max: 1 << 20,
            recipients_max: 100,
            idle_timeout: LONG,
            relay: Some(config::Relay { host: "127.0.0.1".into(), port: relay }),
            queue_retry: Duration::from_millis(200),
            queue_give_up: LONG,
        };
        let smtp = Smtp::new("mx.here", config, directory, mail.clone(), service);
        drop(task::spawn("drain", smtp.clone().drain_queue(lease.clone())));
        Self { smtp, mail, lease, ada, bob, carol, _control: control, _dir: dir }
    }

    /// A message of Ada's.
    async fn email(&self, text: &str) -> EmailId {
        let mut ingest = self.mail.begin(&self.lease, &[self.ada.tenant]).await.unwrap();
        ingest.write(text.as_bytes()).await.unwrap();
        let (staged, flags) = (ingest.finish(), Flags::default());
        let uid =
            self.mail.append(&self.lease, &self.ada, INBOX, staged, flags, None).await.unwrap();
        let (_, entries) = self.mail.entries(&self.ada, INBOX).unwrap();
        entries.into_iter().find(|e| e.uid == uid).unwrap().email
    }

    fn submission(email: EmailId, to: &[&str], hold: Duration) -> Submission {
        let to = to.iter().map(|to| (*to).to_owned()).collect();
        let at = clock::now_ms().0.saturating_add(millis(hold));
        let (from, json) = ("ada@acme.example".to_owned(), "{}".to_owned());
        Submission { email, from, to, hold_until: Some(UnixMs(at)), json }
    }

    /// Mail arrives for Ada.
    async fn arrive(&self, from: &str, more: &str) {
        let mut ingest = self.mail.begin(&self.lease, &[self.ada.tenant]).await.unwrap();
        ingest.trace(&trace::return_path(from)).await.unwrap();
        let text =
            format!("{more}To: ada@acme.example\r\nSubject: q\r\nMessage-ID: <q@x>\r\n\r\n?\r\n");
        ingest.write(text.as_bytes()).await.unwrap();
        let local = vec![(self.ada.tenant, self.ada.account)];
        let envelope = mail::Envelope { from: from.into(), local, ..mail::Envelope::default() };
        self.mail.deliver(&self.lease, &envelope, ingest.finish()).await.unwrap();
    }

    async fn vacation(&self, json: &str) {
        let put =
            NewObject { id: Some(ObjectId::singleton()), json: json.to_owned(), if_modseq: None };
        let kind = ObjectType::VacationResponse;
        let set = self.mail.set_objects(&self.lease, &self.ada, kind, None, vec![put], vec![]);
        assert!(set.await.unwrap().put[0].is_ok());
    }

    fn inbox(&self, login: &Login) -> Vec<String> {
        let (_, entries) = self.mail.entries(login, INBOX).unwrap();
        let text = |id| {
            let email = self.mail.email(login, id).unwrap().unwrap();
            self.mail.read(login, &email.body, 0..email.size).unwrap()
        };
        entries.into_iter().map(|e| String::from_utf8(text(e.email)).unwrap()).collect()
    }

    async fn wait_for(&self, login: &Login, count: usize) -> Vec<String> {
        let end = clock::mono().after(LONG);
        loop {
            let inbox = self.inbox(login);
            if inbox.len() >= count || clock::mono() > end {
                assert_eq!(inbox.len(), count, "{inbox:?}");
                return inbox;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

const TEXT: &str = "From: ada@acme.example\r\nBcc: carol@other.example\r\nSubject: s\r\n\r\nhi\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_reaches_everybody_once_and_tells_nobody_of_bcc() {
    let (port, takes) = relay();
    let node = Node::new(port).await;
    let to = ["bob@acme.example", "Carol@Other.example", "dan@far.example", "gone@acme.example"];
    let email = node.email(TEXT).await;
    let held = Duration::from_millis(1_500);
    let begun = clock::mono();
    let submission = Node::submission(email, &to, held);
    let written = node.mail.submit(&node.lease, &node.ada, submission).await.unwrap();
    assert_eq!(node.mail.submission_items(&node.ada, &written.id).unwrap().len(), 1);
    let bobs = node.wait_for(&node.bob, 1).await.remove(0);
    assert!(clock::mono().since(begun) >= held, "too early");
    assert_eq!(node.wait_for(&node.carol, 1).await, std::slice::from_ref(&bobs));
    let sent = takes.recv_timeout(LONG).unwrap();
    let head = "Return-Path: <ada@acme.example>\r\nDate: ";
    let rest = bobs.strip_prefix(head).unwrap();
    assert!(rest.contains("\r\nMessage-ID: <") && rest.ends_with("\r\nSubject: s\r\n\r\nhi\r\n"));
    assert!(!bobs.contains("Bcc"), "{bobs}");
    assert!(sent.contains("RCPT TO:<dan@far.example>\r\nDate: "), "{sent}");
    assert_eq!(sent.matches("RCPT").count(), 1, "{sent}");
    // One message, however many ways it goes.
    assert_eq!(sent.split_once("\r\nDate: ").unwrap().1, rest);
    // Who is not here comes back.
    let bounce = node.wait_for(&node.ada, 2).await.remove(1);
    assert!(bounce.contains("Final-Recipient: rfc822; gone@acme.example"), "{bounce}");
    assert!(!bounce.contains("Bcc"), "{bounce}");
    while !node.mail.submission_items(&node.ada, &written.id).unwrap().is_empty() {
        assert!(clock::mono().since(begun) < LONG);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(takes.recv_timeout(Duration::from_millis(300)), Err(RecvTimeoutError::Timeout));
    assert_eq!(node.smtp.0.mail.queue(10).unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cancelled_in_time_is_not_sent() {
    let (port, takes) = relay();
    let node = Node::new(port).await;
    let email = node.email(TEXT).await;
    let hold = Duration::from_secs(3_600);
    let submission = Node::submission(email, &["bob@acme.example", "dan@far.example"], hold);
    let id = node.mail.submit(&node.lease, &node.ada, submission).await.unwrap().id;
    let json = || "{\"undoStatus\":\"canceled\"}".to_owned();
    node.mail.unsend(&node.lease, &node.ada, &id, json()).await.unwrap();
    let again = node.mail.unsend(&node.lease, &node.ada, &id, json()).await;
    assert!(matches!(again, Err(ObjectError::Refused(ObjectRefusal::Changed))), "{again:?}");
    let found = node.mail.objects(&node.ada, ObjectType::EmailSubmission, Some(&[id])).unwrap();
    assert_eq!(found.objects[0].json, json());
    // What is sent at once is.
    let submission = Node::submission(email, &["dan@far.example"], Duration::ZERO);
    let id = node.mail.submit(&node.lease, &node.ada, submission).await.unwrap().id;
    assert!(takes.recv_timeout(LONG).unwrap().contains("dan@far.example"));
    let late = node.mail.unsend(&node.lease, &node.ada, &id, json()).await;
    assert!(matches!(late, Err(ObjectError::Refused(ObjectRefusal::Changed))), "{late:?}");
    assert!(node.inbox(&node.bob).is_empty());
    let nothing = Node::submission(EmailId(99), &["dan@far.example"], Duration::ZERO);
    let refused = node.mail.submit(&node.lease, &node.ada, nothing).await;
    assert!(matches!(refused, Err(ObjectError::Refused(ObjectRefusal::NotFound))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_touch_nothing_that_is_under_way_or_its_senders() {
    let (port, takes) = relay();
    let node = Node::new(port).await;
    let (mail, tenant, now) = (&node.mail, node.ada.tenant, clock::now_ms());
    let email = node.email(TEXT).await;
    let held = Node::submission(email, &["eve@far.example"], Duration::from_secs(60));
    mail.submit(&node.lease, &node.ada, held).await.unwrap();
    let id = mail.queue(1).unwrap()[0].1.id;

    assert!(matches!(mail.queue_retry(tenant, id, now), Err(NotNow::Held)));
    let removed = mail.queue_remove(&node.lease, tenant, id, now).await;
    assert!(matches!(removed, Err(NotNow::Held)));
    // Its time has come, and somebody is at it.
    let then = UnixMs(now.0 + 120_000);
    let claim = mail.queue_claim(tenant, id).unwrap();
    assert!(matches!(mail.queue_retry(tenant, id, then), Err(NotNow::UnderWay)));
    let removed = mail.queue_remove(&node.lease, tenant, id, then).await;
    assert!(matches!(removed, Err(NotNow::UnderWay)));
    drop(claim);

    let removed = mail.queue_remove(&node.lease, tenant, id, then).await.unwrap();
    assert_eq!(removed.to, ["eve@far.example"]);
    assert!(mail.queue(1).unwrap().is_empty());
    assert!(matches!(mail.queue_retry(tenant, id, then), Err(NotNow::NoSuchItem)));
    assert!(matches!(
        takes.recv_timeout(Duration::from_millis(300)),
        Err(RecvTimeoutError::Timeout)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_away_answers_each_sender_once() {
    let (port, takes) = relay();
    let node = Node::new(port).await;
    node.arrive("early@far.example", "").await;
    node.wait_for(&node.ada, 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    node.mail.answer_once(&node.lease).await;
    node.vacation("{\"isEnabled\":true,\"subject\":\"Away\",\"textBody\":\"Back soon\"}").await;
    for (from, more) in [
        ("dan@far.example", ""),
        ("bob@acme.example", ""),
        ("Dan@far.example", ""),
        ("robot@far.example", "Auto-Submitted: auto-generated\r\n"),
        ("list@far.example", "List-Id: <x>\r\n"),
        ("", ""),
    ] {
        node.arrive(from, more).await;
    }
    node.wait_for(&node.ada, 7).await;
    node.mail.answer_once(&node.lease).await;
    let answer = takes.recv_timeout(LONG).unwrap();
    assert!(
        answer.contains("MAIL FROM:<>") && answer.contains("RCPT TO:<dan@far.example>"),
        "{answer}"
    );
    for line in ["Subject: Away", "In-Reply-To: <q@x>", "Auto-Submitted: auto-replied"] {
        assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line} is not in {answer}");
    }
    let bobs = node.wait_for(&node.bob, 1).await.remove(0);
    assert!(bobs.starts_with("Return-Path: <>\r\n"), "{bobs}");
    // Whoever takes over looks again at what may have been looked at.
    let seen = ObjectId::parse("seen").unwrap();
    let kind = ObjectType::Answered;
    node.mail.set_objects(&node.lease, &node.ada, kind, None, vec![], vec![seen]).await.unwrap();
    node.arrive("eve@far.example", "").await;
    node.arrive("dan@far.example", "X: again\r\n").await;
    node.wait_for(&node.ada, 9).await;
    node.mail.answer_once(&node.lease).await;
    node.mail.answer_once(&node.lease).await;
    assert!(takes.recv_timeout(LONG).unwrap().contains("RCPT TO:<eve@far.example>"));
    node.vacation("{\"isEnabled\":false}").await;
    node.arrive("fay@far.example", "").await;
    node.wait_for(&node.ada, 10).await;
    node.mail.answer_once(&node.lease).await;
    assert_eq!(takes.recv_timeout(Duration::from_millis(500)), Err(RecvTimeoutError::Timeout));
    assert_eq!(node.inbox(&node.bob).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_of_objects_and_files_are_kept() {
    let node = Node::new(1).await;
    let (lease, ada, card) = (&node.lease, &node.ada, ObjectType::ContactCard);
    let new = |json: String| NewObject { json, ..NewObject::default() };
    let put: Vec<_> = (0..1_500)
        .map(|n| new(format!("{n}")))
        .chain((0..4).map(|_| new("x".repeat(200_000))))
        .chain([new("x".repeat(300_000))])
        .collect();
    let answer = node.mail.set_objects(lease, ada, card, None, put, vec![]).await.unwrap();
    assert_eq!(answer.put.len(), 1_505);
    assert!(answer.put[..1_504].iter().all(Result::is_ok));
    assert_eq!(answer.put[1_504], Err(ObjectRefusal::TooLarge));
    let found = node.mail.objects(ada, card, None).unwrap();
    assert_eq!((found.objects.len(), found.state), (1_504, answer.new));
    assert_eq!(node.mail.object_state(ada, card).unwrap(), answer.new);
    let changes = node.mail.object_changes(ada, card, answer.old, 2_000).unwrap().unwrap();
    assert_eq!((changes.created.len(), changes.more), (1_504, false));
    let ids = found.objects.into_iter().map(|o| o.id).collect();
    let stale = node.mail.set_objects(lease, ada, card, Some(answer.old), vec![], ids).await;
    assert!(matches!(stale, Err(ObjectError::Refused(ObjectRefusal::State))), "{stale:?}");

    let mut upload = node.mail.begin_upload(lease, ada).await.unwrap();
    upload.write(&[7; 300_000]).await.unwrap();
    let id = node
        .mail
        .keep_upload(lease, ada, upload, "image/png".into(), "a.png".into())
        .await
        .unwrap();
    let row = node.mail.upload(ada, &id).unwrap().unwrap();
    let body = row.body.unwrap();
    assert_eq!(node.mail.read(ada, &body.address, 299_990..300_000).unwrap(), [7; 10]);
    assert!(node.mail.upload(&node.bob, &id).unwrap().is_none(), "it is Ada's");
}

#[test]
fn recipients_go_together_by_domain_or_all_by_a_relay() {
    let to = ["a@X.far", "b@y.far", "c@x.far"].map(str::to_owned);
    let domains = by_domain(&to, false);
    assert_eq!(domains["x.far"], ["a@X.far", "c@x.far"]);
    assert_eq!(domains.len(), 2);
    assert_eq!(by_domain(&to, true)[""].len(), 3);
}

#[test]
fn pauses_double_up_to_six_hours() {
    let minutes = |n| Duration::from_mins(n);
    let pauses: Vec<_> = (0..9).map(|n| retry_after(minutes(5), n)).collect();
    assert_eq!(pauses[..4], [minutes(5), minutes(10), minutes(20), minutes(40)]);
    assert_eq!((pauses[7], pauses[8]), (RETRY_MAX, RETRY_MAX));
    assert_eq!(retry_after(minutes(5), u32::MAX), RETRY_MAX);
    assert_eq!(retry_after(Duration::from_hours(24), 3), Duration::from_hours(24));
}

#[test]
fn only_what_is_too_old_or_refused_bounces() {
    let outcomes = || {
        vec![
            ("a".to_owned(), Outcome::Delivered),
            ("b".to_owned(), Outcome::Refused("550".to_owned())),
            ("c".to_owned(), Outcome::Deferred("451".to_owned())),
        ]
    };
    let young = sort(outcomes(), false);
    assert_eq!(young.delivered, ["a"]);
    assert_eq!(young.failed, [("b".to_owned(), "550".to_owned())]);
    assert_eq!(young.reason, "451");
    assert_eq!(sort(outcomes(), true).failed.len(), 2);
}
