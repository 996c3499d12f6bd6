//! Random histories of two sides from a common base, over the real decide and apply; merged both
//! ways round.

use super::*;
use crate::carry::{self, Import, ImportRules};
use crate::directory::{
    self, AddAlias, AddAppPassword, AddDomain, AddPasskey, AddSession, BeginTotp, CloseAccount,
    ConfirmTotp, CreateAccount, CreateTenant, CredentialKind, DirectoryRefusal, DirectoryRules,
    Passkey, PasskeyAlgorithm, QuotaLimit, RemoveAlias, RemoveDomain, RevokeCredential, Secret,
    SetPassword, SetQuota, TouchSession, UsePasskey, UseStep,
};
use crate::id::{AccountId, MailboxId, TenantId, Uid};
use crate::keys::{BodyAddress, BodyPart, BodyRef, MemKeys};
use crate::mailbox::{
    self, Append, Copy, CreateMailbox, DeleteMailbox, Deliver, Entry, Expunge, Flags, FlagsOp,
    INBOX, LeaveGaps, MailboxRules, Recipient, RenameMailbox, SetFlags, Subscribe,
};
use crate::message::Summary;
use crate::objects::{self, ObjectsRules};
use crate::queue::{self, NewItem, QueueRules, Settle};
use crate::record::PAYLOAD_LEN_MAX;
use crate::rule::{Command, DecideError, ENTRIES_PER_CHANGE_MAX};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

mod addresses;
mod calendar;
mod kept;
mod meanwhile;
mod objects_of_accounts;
mod operators;

const ADA: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);
const DOMAIN: &str = "moved.example";
const ALL: (Uid, Uid) = (Uid(0), Uid(u32::MAX));

fn kinds() -> Kinds {
    Kinds::new(vec![
        Box::new(ImportRules),
        Box::new(DirectoryRules),
        Box::new(MailboxRules),
        Box::new(QueueRules),
        Box::new(ObjectsRules),
        Box::new(calendar::CalendarRules),
    ])
}

/// One node of the pair: one tenant's rows and its log.
#[derive(Clone)]
struct Node {
    keys: MemKeys,
    log: Vec<(Lsn, Kind, Vec<u8>)>,
    epoch: Epoch,
    fork: Epoch,
    now: u64,
    /// Every UID that a client may have seen, and what it named.
    seen: BTreeMap<(AccountId, MailboxId, Uid), [u8; 32]>,
    /// What is there now, and every UIDNEXT that a client saw last.
    here: BTreeSet<(AccountId, MailboxId, Uid)>,
    next: BTreeMap<(AccountId, MailboxId), Uid>,
    /// How often each message was put somewhere, less how often it was expunged.
    owed: BTreeMap<[u8; 32], i64>,
}

impl Node {
    fn empty() -> Self {
        Self {
            keys: MemKeys::default(),
            log: Vec::new(),
            epoch: Epoch(1),
            fork: Epoch(0),
            now: 1_700_000_000_000,
            seen: BTreeMap::new(),
            here: BTreeSet::new(),
            next: BTreeMap::new(),
            owed: BTreeMap::new(),
        }
    }

    fn new() -> Self {
        let mut node = Self::empty();
        for (id, name) in [(2, "x"), (4, "y")] {
            node.run(&CreateTenant { id: TenantId(id), name: name.into() }).unwrap();
        }
        node.run(&AddDomain { tenant: TenantId(2), domain: DOMAIN.into() }).unwrap();
        for name in ["ada", "bob"] {
            let new = CreateAccount { address: format!("{name}@example.org"), name: name.into() };
            node.run(&new).unwrap();
        }
        for n in 0..4 {
            node.deliver(ADA, 100 + n, false, n == 0);
            node.deliver(BOB, 110 + n, false, false);
        }
        for name in ["Work", "Play"] {
            let new = CreateMailbox { account: ADA, name: name.into(), role: None };
            node.run(&new).unwrap();
        }
        let secret = Secret::Argon2id("base".into());
        node.run(&SetPassword { account: ADA, secret }).unwrap();
        for n in 0..2 {
            let secret = Secret::Argon2id(format!("app {n}"));
            node.run(&AddAppPassword { account: ADA, label: "app".into(), secret }).unwrap();
        }
        node.session(0);
        node.run(&UseStep { account: ADA, step: 5 }).unwrap();
        let address = "alias@example.org".into();
        node.run(&AddAlias { address, account: ADA }).unwrap();
        node
    }

    fn last(&self) -> Lsn {
        self.log.last().map_or(Lsn(0), |(lsn, ..)| *lsn)
    }

    fn rule(kind: Kind) -> Box<dyn Apply> {
        match kind {
            Kind::DIRECTORY => Box::new(DirectoryRules),
            Kind::MAILBOX => Box::new(MailboxRules),
            Kind::QUEUE => Box::new(QueueRules),
            Kind::IMPORT => Box::new(ImportRules),
            Kind::OBJECTS => Box::new(ObjectsRules),
            calendar::KIND => Box::new(calendar::CalendarRules),
            _ => Box::new(MergeRules(kinds())),
        }
    }

    fn run<C: Command>(&mut self, command: &C) -> Result<C::Answer, C::Refusal> {
        self.now += 1_000;
        let mut random = [0; 32];
        random[..8].copy_from_slice(&self.epoch.0.to_be_bytes());
        random[8..16].copy_from_slice(&self.now.to_be_bytes());
        let moment = Moment { now: UnixMs(self.now), random, fork: self.fork };
        let decision = match command.decide(&self.keys, moment) {
            Ok(decision) => decision,
            Err(DecideError::Refused(why)) => return Err(why),
            Err(e) => panic!("{e}"),
        };
        if let Some(change) = decision.change {
            assert!(change.len() <= PAYLOAD_LEN_MAX - 1_024, "it does not fit into a record");
            let lsn = self.last().next();
            let at = Position { lsn, epoch: self.epoch };
            if change.len() > 4_096 {
                let mut rows = Overlay::new(&self.keys);
                Self::rule(C::KIND).apply(&mut rows, at, &change).unwrap();
                assert!(rows.len() <= ENTRIES_PER_CHANGE_MAX, "{} rows in one change", rows.len());
            }
            Self::rule(C::KIND).apply(&mut self.keys, at, &change).unwrap();
            self.log.push((lsn, C::KIND, change));
            self.look();
        }
        Ok(decision.answer)
    }

    /// Clients see what there is.
    fn look(&mut self) {
        if carry::progress(&self.keys).unwrap().is_some() {
            return; // Nobody has the tenant before it is whole.
        }
        let before = std::mem::take(&mut self.here);
        for account in [ADA, BOB] {
            let sizes = self.messages(account).iter().map(|(_, entry, _)| entry.size).sum::<u64>();
            assert_eq!(mailbox::quota(&self.keys, account).unwrap().used, sizes);
            for (row, entry, hash) in self.messages(account) {
                let spot = (account, row.id, entry.uid);
                let next = self.next.get(&(account, row.id)).copied().unwrap_or_default();
                assert!(
                    before.contains(&spot) || entry.uid >= next,
                    "{spot:?} comes up below UIDNEXT {next}, which was seen"
                );
                self.here.insert(spot);
                let before = self.seen.insert((account, row.id, entry.uid), hash);
                assert!(before.is_none_or(|b| b == hash), "a UID names two messages on one side");
            }
            for row in mailbox::mailboxes(&self.keys, account).unwrap() {
                self.next.insert((account, row.id), row.uid_next);
            }
        }
    }

    fn leave_gaps(&mut self) {
        let accounts = vec![ADA, BOB];
        assert!(!self.run(&LeaveGaps { accounts: accounts.clone() }).unwrap());
        let last = self.last();
        self.run(&LeaveGaps { accounts }).unwrap();
        assert_eq!(self.last(), last, "once is enough");
    }

    fn messages(&self, account: AccountId) -> Vec<(mailbox::Mailbox, Entry, [u8; 32])> {
        let mut all = Vec::new();
        for row in mailbox::mailboxes(&self.keys, account).unwrap() {
            for entry in mailbox::entries_range(&self.keys, account, row.id, ALL).unwrap() {
                let email = mailbox::email(&self.keys, account, entry.email).unwrap().unwrap();
                assert_eq!((email.mailbox, email.uid), (row.id, entry.uid));
                all.push((row.clone(), entry, email.hash));
            }
        }
        all
    }

    fn body(&mut self, n: u32) -> BodyRef {
        let mut upload = [0; 16];
        upload[..8].copy_from_slice(&self.epoch.0.to_be_bytes());
        upload[8..].copy_from_slice(&self.now.to_be_bytes());
        let part = BodyPart { pack: 1, offset: u64::from(n), stored_len: 1, len: 1 };
        self.keys.bodies.insert(UploadId(upload), BodyAddress { parts: vec![part] });
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        BodyRef { upload: UploadId(upload), size: 1, hash }
    }

    fn deliver(&mut self, account: AccountId, n: u32, repeated: bool, outbound: bool) {
        let body = self.body(n);
        let mut transaction = [0; 16];
        if repeated {
            transaction[0] = 1;
            transaction[1..5].copy_from_slice(&n.to_be_bytes());
        }
        let to = ["x", "y"].map(|name| format!("{name}@there.example")).to_vec();
        let new = NewItem { from: "ada@example.org".into(), to, account: Some(account) };
        let deliver = Deliver {
            body,
            summary: Summary::default(),
            transaction,
            to: vec![Recipient { account, mailbox: INBOX }],
            outbound: outbound.then_some(new),
            flags: Flags::default(),
            last: true,
        };
        // The account may have been closed: its mailboxes are still there.
        self.run(&deliver).unwrap();
        self.owe(deliver.body.hash, 1);
    }
}

#[derive(Clone, Debug)]
enum Do {
    Deliver(bool, u8, bool),
    Append(u8),
    Flags(u8, u8, u8, u8),
    Copy(u8, u8, u8, bool),
    Expunge(u8, u8),
    Create(u8),
    Rename(u8, u8),
    Delete(u8),
    Subscribe(u8, bool),
    Password(u8),
    App(u8),
    Session,
    Touch(u8),
    Totp(u8),
    Revoke(u8),
    Alias(u8),
    Domain(u8),
    Settle(u8, bool),
    Account,
    Close(u8),
    New(u8),
}

fn does() -> impl Strategy<Value = Vec<Do>> {
    let m = || 0u8..4;
    let u = || 0u8..6;
    let one = prop_oneof![
        3 => (any::<bool>(), 0u8..3, any::<bool>()).prop_map(|(r, n, o)| Do::Deliver(r, n, o)),
        3 => m().prop_map(Do::Append),
        6 => (m(), u(), 0u8..3, 0u8..32).prop_map(|(m, u, o, f)| Do::Flags(m, u, o, f)),
        4 => (m(), u(), m(), any::<bool>()).prop_map(|(m, u, t, r)| Do::Copy(m, u, t, r)),
        4 => (m(), u()).prop_map(|(m, u)| Do::Expunge(m, u)),
        1 => (0u8..2).prop_map(Do::Create),
        1 => (2u8..4, 0u8..2).prop_map(|(m, n)| Do::Rename(m, n)),
        1 => (2u8..4).prop_map(Do::Delete),
        1 => (m(), any::<bool>()).prop_map(|(m, s)| Do::Subscribe(m, s)),
        1 => (0u8..4).prop_map(Do::Password),
        1 => (0u8..4).prop_map(Do::App),
        1 => (0u8..4).prop_map(Do::Revoke),
        1 => Just(Do::Session),
        1 => (0u8..2).prop_map(Do::Touch),
        1 => (0u8..4).prop_map(Do::Totp),
        1 => (0u8..4).prop_map(Do::Alias),
        1 => (0u8..3).prop_map(Do::Domain),
        2 => (0u8..3, any::<bool>()).prop_map(|(i, x)| Do::Settle(i, x)),
        1 => Just(Do::Account),
        1 => (0u8..2).prop_map(Do::Close),
        1 => (0u8..3).prop_map(Do::New),
    ];
    prop::collection::vec(one, 0..14)
}

/// INBOX, Archive, and the two of the account's own.
fn box_of(n: u8) -> MailboxId {
    [INBOX, MailboxId(6), MailboxId(7), MailboxId(8)][usize::from(n)]
}

impl Node {
    fn nth(&self, m: u8, n: u8) -> Option<Uid> {
        let all = mailbox::entries_range(&self.keys, ADA, box_of(m), ALL).unwrap();
        all.get(usize::from(n)).map(|e| e.uid)
    }

    fn owe(&mut self, hash: [u8; 32], count: i64) {
        *self.owed.entry(hash).or_default() += count;
    }

    fn hash_of(&self, m: u8, uid: Uid) -> [u8; 32] {
        let entry = mailbox::entry(&self.keys, ADA, box_of(m), uid).unwrap().unwrap();
        mailbox::email(&self.keys, ADA, entry.email).unwrap().unwrap().hash
    }

    /// Does it if it can be done; `salt` tells the sides' own things apart.
    fn act(&mut self, does: &Do, salt: u32) {
        let next = salt + u32::try_from(self.log.len()).unwrap() * 10;
        match *does {
            Do::Deliver(true, n, out) => self.deliver(ADA, 900 + u32::from(n), true, out),
            Do::Deliver(false, _, out) => self.deliver(ADA, next, false, out),
            Do::Append(m) => {
                let (body, summary) = (self.body(next), Summary::default());
                let (mailbox, flags) = (box_of(m), Flags::system(Flags::SEEN));
                let (date, hash) = (Some(UnixMs(5)), body.hash);
                let new =
                    Append { account: ADA, mailbox, body, summary, flags, internal_date: date };
                if self.run(&new).is_ok() {
                    self.owe(hash, 1);
                }
            }
            Do::Flags(m, u, op, bits) => {
                let Some(uid) = self.nth(m, u) else { return };
                let op = [FlagsOp::Add, FlagsOp::Remove, FlagsOp::Set][usize::from(op)];
                let mut flags = Flags::system(bits);
                if bits & 1 == 1 {
                    flags.add_keyword("todo");
                }
                let (mailbox, uids) = (box_of(m), vec![uid]);
                self.run(&SetFlags { account: ADA, mailbox, uids, op, flags }).unwrap();
            }
            Do::Copy(m, u, to, remove) => {
                let Some(uid) = self.nth(m, u) else { return };
                let (from, to, uids) = (box_of(m), box_of(to), vec![uid]);
                let hash = self.hash_of(m, uid);
                if self.run(&Copy { account: ADA, from, uids, to, remove }).is_ok() && !remove {
                    self.owe(hash, 1);
                }
            }
            Do::Expunge(m, u) => {
                let Some(uid) = self.nth(m, u) else { return };
                let (mailbox, uids, op) = (box_of(m), vec![uid], FlagsOp::Add);
                let flags = Flags::system(Flags::DELETED);
                let set = SetFlags { account: ADA, mailbox, uids: uids.clone(), op, flags };
                self.run(&set).unwrap();
                self.owe(self.hash_of(m, uids[0]), -1);
                self.run(&Expunge { account: ADA, mailbox, uids }).unwrap();
            }
            Do::Create(n) => {
                let name = ["Both", "Single"][usize::from(n)];
                let name = if n == 0 { name.to_owned() } else { format!("{name} {salt}") };
                let _twice = self.run(&CreateMailbox { account: ADA, name, role: None });
            }
            Do::Rename(m, n) => {
                let name = ["Renamed", "Both"][usize::from(n)];
                let name = if n == 0 { format!("{name} {salt} {m}") } else { name.to_owned() };
                let _not = self.run(&RenameMailbox { account: ADA, mailbox: box_of(m), name });
            }
            Do::Delete(m) => {
                while let Some(_one) = self.nth(m, 0) {
                    self.act(&Do::Expunge(m, 0), salt);
                }
                let _not = self.run(&DeleteMailbox { account: ADA, mailbox: box_of(m) });
            }
            Do::Subscribe(m, subscribed) => {
                let _not = self.run(&Subscribe { account: ADA, mailbox: box_of(m), subscribed });
            }
            _ => self.act_elsewhere(does, salt),
        }
    }

    fn session(&mut self, salt: u32) {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&salt.to_be_bytes());
        hash[4..12].copy_from_slice(&self.now.to_be_bytes());
        let secret = Secret::Session { hash, own_device: false };
        let _closed = self.run(&AddSession { account: ADA, label: "Firefox".into(), secret });
    }

    fn totp(&mut self, n: u8, salt: u32) {
        let mut key = [n; 20];
        key[..4].copy_from_slice(&salt.to_be_bytes());
        let account = ADA;
        match n {
            0 => drop(self.run(&RevokeCredential { account, id: directory::TOTP })),
            1 => drop(self.run(&BeginTotp { account, key })),
            2 if self.run(&BeginTotp { account, key }).is_ok() => {
                self.run(&ConfirmTotp { account, key }).unwrap();
            }
            _ => drop(self.run(&UseStep { account, step: u64::from(salt) })),
        }
    }

    fn act_elsewhere(&mut self, does: &Do, salt: u32) {
        match *does {
            Do::Password(n) => {
                let secret = Secret::Argon2id(format!("{salt} {n}"));
                let _closed = self.run(&SetPassword { account: ADA, secret });
            }
            Do::App(n) => {
                let secret = Secret::Argon2id(format!("app {salt} {n} {}", self.now));
                let label = "new".into();
                let _closed = self.run(&AddAppPassword { account: ADA, label, secret });
            }
            Do::Session => self.session(salt),
            Do::Touch(n) => {
                self.now += 60 * 60 * 1_000;
                let all = directory::credentials(&self.keys, ADA).unwrap();
                let mut sessions = all.iter().filter(|c| c.kind() == CredentialKind::Session);
                let Some(id) = sessions.nth(usize::from(n)).map(|c| c.id) else { return };
                let _over = self.run(&TouchSession { account: ADA, id });
            }
            Do::Totp(n) => self.totp(n, salt),
            Do::Revoke(n) => {
                let id = u32::from(n);
                let _not = self.run(&RevokeCredential { account: ADA, id });
            }
            Do::Alias(to) => {
                let address = || "alias@example.org".to_owned();
                let _not = self.run(&RemoveAlias { address: address() });
                let _not = match to {
                    1 => self.run(&AddAlias { address: address(), account: ADA }).err(),
                    2 => self.run(&AddAlias { address: address(), account: BOB }).err(),
                    3 => {
                        let name = format!("alias {salt}");
                        self.run(&CreateAccount { address: address(), name }).err()
                    }
                    _ => None,
                };
            }
            Do::Domain(to) => {
                let _not = self.run(&RemoveDomain { domain: DOMAIN.into() });
                if to > 0 {
                    let tenant = TenantId(u32::from(to) * 2);
                    let _not = self.run(&AddDomain { tenant, domain: DOMAIN.into() });
                }
            }
            Do::Settle(n, x) => {
                let items = queue::items(&self.keys, 10).unwrap();
                let Some(item) = items.get(usize::from(n)) else { return };
                let done = vec![if x { "x@there.example" } else { "y@there.example" }.to_owned()];
                let (id, next, reason) = (item.id, UnixMs(0), String::new());
                self.run(&Settle { id, done, next, reason, over: true }).unwrap();
            }
            Do::Account => {
                let name = format!("new {salt}");
                let new = CreateAccount { address: "new@example.org".into(), name };
                if let Ok(id) = self.run(&new) {
                    self.deliver(id, salt, false, false);
                }
            }
            Do::Close(n) => {
                let address = ["new@example.org", "alias@example.org"][usize::from(n)];
                let found = directory::address(&self.keys, address).unwrap();
                if let Some(row) = found.filter(|row| !row.alias) {
                    self.run(&CloseAccount { account: row.account }).unwrap();
                }
            }
            // A mailbox that both sides may make: it is made, subscribed, unsubscribed.
            Do::New(n) => {
                let name = "Both".to_owned();
                let _twice = self.run(&CreateMailbox { account: ADA, name, role: None });
                let all = mailbox::mailboxes(&self.keys, ADA).unwrap();
                let Some(row) = all.iter().find(|m| m.name == "Both") else { return };
                for subscribed in [true, false].into_iter().take(usize::from(n)) {
                    self.run(&Subscribe { account: ADA, mailbox: row.id, subscribed }).unwrap();
                }
            }
            _ => {}
        }
    }
}

/// Ships the branch's records and merges them; `stop_at`: the leader crashes after so many commands.
fn merge(leader: &Node, branch: &Node, fork: Lsn, stop_at: Option<usize>) -> Node {
    merge_by(leader, branch, (fork, stop_at, usize::MAX), |_| {})
}

/// The same, task by task; before each the leader's clients do something.
fn merge_while(leader: &Node, branch: &Node, fork: Lsn, meanwhile: impl FnMut(&mut Node)) -> Node {
    merge_by(leader, branch, (fork, None, 1), meanwhile)
}

/// At most `most` tasks are done by one step.
fn merge_by(
    leader: &Node,
    branch: &Node,
    (fork, stop_at, most): (Lsn, Option<usize>, usize),
    mut meanwhile: impl FnMut(&mut Node),
) -> Node {
    let mut node = leader.clone();
    node.fork = Epoch(0);
    let id = BranchId { fork, epoch: branch.epoch };
    let mut left = stop_at.unwrap_or(usize::MAX);
    let mut go = || {
        left = left.saturating_sub(1);
        left > 0
    };
    for (lsn, kind, bytes) in
        branch.log.iter().filter(|(lsn, kind, _)| *lsn > fork && *kind != Kind::BRANCH)
    {
        let mut bodies = Vec::new();
        for theirs in kinds().bodies(*kind, bytes).unwrap() {
            let mut ours = theirs;
            ours.0[0] ^= 0x80;
            let part = BodyPart { pack: 9, offset: lsn.0, stored_len: 1, len: 1 };
            node.keys.bodies.insert(ours, BodyAddress { parts: vec![part] });
            bodies.push((theirs, ours));
        }
        let taken = Taken {
            lsn: *lsn,
            epoch: branch.epoch,
            kind: *kind,
            part: 0,
            last: true,
            bytes: bytes.clone(),
            bodies,
        };
        node.run(&Take { branch: id, taken: vec![taken] }).unwrap();
        if !go() {
            return node;
        }
    }
    let first = progress(&node.keys, id).unwrap().map_or(1, |p| p.stage.max(1));
    for stage in first..=kinds().stages() {
        node.run(&Stage { branch: id, stage }).unwrap();
        let upto = progress(&node.keys, id).unwrap().unwrap().upto;
        let mut planner = kinds().planner(stage).unwrap();
        for (lsn, kind, bytes) in node.log.iter().filter(|(lsn, ..)| *lsn > fork && *lsn <= upto) {
            let at = Position { lsn: *lsn, epoch: node.epoch };
            planner.fold(Side::Ours, at, *kind, bytes).unwrap();
        }
        fold_theirs(planner.as_mut(), &node.keys, id).unwrap();
        let tasks: Arc<[Vec<u8>]> = planner.plan(&Known::new(&node.keys, id)).unwrap().into();
        loop {
            meanwhile(&mut node);
            let done = progress(&node.keys, id).unwrap().unwrap().task as usize;
            let (count, upto) = (tasks.len(), tasks.len().min(done.saturating_add(most)));
            let (tasks, kinds): (Arc<[_]>, _) = (tasks[..upto].into(), kinds());
            if node.run(&Step { branch: id, stage, tasks, kinds, node: NodeId(1) }).unwrap()
                == count
            {
                break;
            }
            if !go() {
                return node;
            }
        }
        if !go() {
            return node;
        }
    }
    node.run(&Finish { branch: id }).unwrap();
    node
}

type Message = (u32, u8, Vec<String>, UnixMs);

/// What both ways of merging must agree on.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    /// As text, to be compared line by line.
    messages: BTreeMap<String, String>,
    subscribed: BTreeSet<String>,
    queue: Vec<(Vec<String>, UnixMs)>,
    credentials: BTreeSet<(String, String)>,
    /// Accounts with their attributes, aliases and domains with what they belong to.
    addresses: BTreeSet<(String, String)>,
}

fn secret(secret: &Secret) -> String {
    match secret {
        Secret::Argon2id(text) => text.clone(),
        Secret::Blake3 { .. } | Secret::Blake3Until { .. } => String::new(),
        Secret::Session { hash, .. } | Secret::PasskeySession { hash, .. } => format!("{hash:?}"),
        Secret::Passkey(passkey) => format!("{passkey:?}"),
        Secret::Totp { key, confirmed } => format!("{key:?} {confirmed}"),
    }
}

fn content(node: &Node) -> Content {
    let keys = &node.keys;
    let (mut messages, mut subscribed) = (BTreeMap::new(), BTreeSet::new());
    let (mut credentials, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for mut account in directory::accounts(keys).unwrap() {
        if account.closed {
            // It may have lost its address to one that is open.
            account.address = format!("closed {} {:?}", account.name, account.created);
        }
        for row in mailbox::mailboxes(keys, account.id).unwrap() {
            messages.insert((account.address.clone(), row.name.clone()), Vec::<Message>::new());
            if row.subscribed {
                subscribed.insert(format!("{} {}", account.address, row.name));
            }
        }
        for (row, entry, hash) in node.messages(account.id) {
            let key = (account.address.clone(), row.name);
            let date = if entry.internal_date == UnixMs(5) { UnixMs(5) } else { UnixMs(0) };
            let n = codec::u32_at(&hash, 0).unwrap();
            let Flags { bits, keywords } = entry.flags;
            messages.get_mut(&key).unwrap().push((n, bits, keywords, date));
        }
        for held in directory::held(keys, account.id).unwrap() {
            let said = secret(&held.credential.secret);
            let said = format!("{said} {:?} {:?}", held.last, held.ends);
            credentials.insert((account.address.clone(), said));
        }
        let open = directory::address(keys, &account.address).unwrap().is_some();
        let said = format!("{} {:?} {open}", account.name, account.created);
        addresses.insert((account.address.clone(), said));
    }
    for (alias, account) in directory::aliases(keys).unwrap() {
        let account = directory::account(keys, account).unwrap().unwrap();
        addresses.insert((alias, account.address));
    }
    if let Some(owner) = directory::domain_owner(keys, DOMAIN).unwrap() {
        let owner = directory::tenant(keys, owner).unwrap();
        addresses.insert((DOMAIN.to_owned(), owner.unwrap().name));
    }
    for all in messages.values_mut() {
        all.sort();
    }
    let mut queue: Vec<_> =
        queue::items(keys, 1_000).unwrap().into_iter().map(|i| (i.to, UnixMs(0))).collect();
    queue.sort();
    let messages =
        messages.iter().map(|((a, m), all)| (format!("{a} {m}"), format!("{all:?}"))).collect();
    Content { messages, subscribed, queue, credentials, addresses }
}

/// What differs, if anything does.
fn differ(a: &Content, b: &Content) -> String {
    if a == b {
        return String::new();
    }
    let lines =
        |c: &Content| -> Vec<String> { format!("{c:#?}").lines().map(str::to_owned).collect() };
    let (a, b) = (lines(a), lines(b));
    let only = |x: &[String], y: &[String]| -> Vec<String> {
        x.iter().filter(|l| !y.contains(l)).cloned().collect()
    };
    format!("{:?}\n{:?}", only(&a, &b), only(&b, &a))
}

/// IMAP, as a client sees it that knew `side` and sees `merged` now.
fn check_uids(side: &Node, merged: &Node) -> Result<(), TestCaseError> {
    for account in [ADA, BOB] {
        let modseq = mailbox::account_state(&side.keys, account).unwrap().unwrap().modseq;
        for row in mailbox::mailboxes(&merged.keys, account).unwrap() {
            let Some(known) = mailbox::mailbox(&side.keys, account, row.id).unwrap() else {
                continue;
            };
            if known.name != row.name && row.id > MailboxId(8) {
                continue; // Another mailbox: the name is what clients go by.
            }
            prop_assert_eq!(known.uid_validity, row.uid_validity);
            let hash = |node: &Node, e: &Entry| {
                mailbox::email(&node.keys, account, e.email).unwrap().unwrap().hash
            };
            let entries =
                |node: &Node| mailbox::entries_range(&node.keys, account, row.id, ALL).unwrap();
            let before: BTreeMap<Uid, Entry> =
                entries(side).into_iter().map(|e| (e.uid, e)).collect();
            let now: BTreeMap<Uid, (Flags, [u8; 32])> = entries(merged)
                .into_iter()
                .map(|e| {
                    let h = hash(merged, &e);
                    (e.uid, (e.flags, h))
                })
                .collect();
            for (uid, (_, hash)) in &now {
                let named = side.seen.get(&(account, row.id, *uid));
                prop_assert!(named.is_none_or(|n| n == hash), "UID {uid} names two messages");
                prop_assert!(
                    before.contains_key(uid) || *uid >= known.uid_next,
                    "{} {}: UID {} comes up below UIDNEXT {}",
                    account,
                    row.name,
                    uid,
                    known.uid_next
                );
                prop_assert!(*uid < row.uid_next);
            }
            prop_assert!(row.uid_next >= known.uid_next, "UIDNEXT went down");
            // Whoever follows the changes ends where whoever reads afresh does.
            let touched = mailbox::touched_since(&merged.keys, account, row.id, modseq).unwrap();
            let mut followed: BTreeMap<Uid, (Flags, [u8; 32])> = before
                .into_iter()
                .map(|(uid, e)| {
                    let h = hash(side, &e);
                    (uid, (e.flags, h))
                })
                .collect();
            for uid in &touched.expunged {
                followed.remove(uid);
            }
            for uid in &touched.changed {
                if let Some(now) = now.get(uid) {
                    followed.insert(*uid, now.clone());
                }
            }
            prop_assert_eq!(followed, now, "{} {}", account, row.name);
        }
    }
    Ok(())
}

fn counts(node: &Node) {
    for account in [ADA, BOB] {
        let all = node.messages(account);
        for row in mailbox::mailboxes(&node.keys, account).unwrap() {
            let here: Vec<_> = all.iter().filter(|(r, ..)| r.id == row.id).collect();
            assert_eq!(row.exists as usize, here.len());
            let unseen = here.iter().filter(|(_, e, _)| !e.flags.has(Flags::SEEN)).count();
            assert_eq!(row.unseen as usize, unseen);
        }
    }
}

fn hashes(node: &Node) -> BTreeMap<[u8; 32], usize> {
    let mut all = BTreeMap::new();
    for account in directory::accounts(&node.keys).unwrap() {
        for (_, _, hash) in node.messages(account.id) {
            *all.entry(hash).or_insert(0) += 1;
        }
    }
    all
}

/// Both sides made a mailbox, and on one of them another took that name and was deleted; mail on the
/// other side brings it back, under that name. What both made is still one.
#[test]
fn a_mailbox_that_gave_way_is_still_the_one_that_both_made() {
    let base = Node::new();
    let fork = base.last();
    let (mut a, mut b) = (base.clone(), base.clone());
    (a.epoch, b.epoch, b.fork) = (Epoch(4), Epoch(3), Epoch(3));
    [Do::Rename(3, 1), Do::Delete(3), Do::New(0)].iter().for_each(|d| a.act(d, 1_001));
    [Do::New(0), Do::Append(3)].iter().for_each(|d| b.act(d, 1_002));
    for merged in [merge(&a, &b, fork, None), merge(&b, &a, fork, None)] {
        let all = mailbox::mailboxes(&merged.keys, ADA).unwrap();
        let made = all.iter().filter(|m| m.id > box_of(2)).map(|m| (&*m.name, m.exists));
        assert_eq!(made.collect::<Vec<_>>(), [("Both", 1), ("Both (2)", 0)]);
    }
}

/// The leader's client deletes a mailbox of which the branch told a higher UIDNEXT, and a flag that was
/// set there brings it back.
#[test]
fn a_mailbox_that_comes_back_goes_on_above_what_the_branch_told() {
    let mut base = Node::new();
    base.act(&Do::Append(2), 1_000);
    let fork = base.last();
    let (mut a, mut b) = (base.clone(), base.clone());
    (a.epoch, b.epoch, b.fork) = (Epoch(4), Epoch(3), Epoch(3));
    b.leave_gaps();
    b.act(&Do::Flags(2, 0, 0, Flags::FLAGGED), 1_002);
    a.act(&Do::Delete(2), 1_001);
    let merged = merge(&a, &b, fork, None);
    check_uids(&b, &merged).unwrap();
    let row = mailbox::mailbox(&merged.keys, ADA, box_of(2)).unwrap().expect("it comes back");
    assert_eq!(row.exists, 1);
}

/// `gaps`: the promoted one came to leave them before its clients did anything.
fn check(left: &[Do], right: &[Do], gaps: bool) -> Result<(), TestCaseError> {
    let base = Node::new();
    let fork = base.last();
    // The old primary goes on; the promoted one leaves gaps.
    let (mut a, mut b) = (base.clone(), base.clone());
    (a.epoch, b.epoch, b.fork) = (Epoch(4), Epoch(3), Epoch(3));
    b.now += 500;
    if gaps {
        b.leave_gaps();
    }
    left.iter().for_each(|d| a.act(d, 1_001));
    right.iter().for_each(|d| b.act(d, 1_002));
    // Before anything is merged clients of the old primary's find nothing below what they know.
    if gaps {
        for account in [ADA, BOB] {
            for row in mailbox::mailboxes(&b.keys, account).unwrap() {
                let known = mailbox::mailbox(&a.keys, account, row.id).unwrap();
                let Some(known) = known.filter(|known| known.id <= box_of(3)) else { continue };
                prop_assert!(row.uid_next >= known.uid_next, "UIDNEXT went down");
                let entries = mailbox::entries_range(&b.keys, account, row.id, ALL).unwrap();
                let old = |uid: Uid| base.seen.contains_key(&(account, row.id, uid));
                prop_assert!(entries.iter().all(|e| old(e.uid) || e.uid >= known.uid_next));
            }
        }
    }
    for (spot, hash) in &a.seen {
        prop_assert!(b.seen.get(spot).is_none_or(|h| h == hash), "{spot:?} names two messages");
    }
    let (ab, ba) = (merge(&a, &b, fork, None), merge(&b, &a, fork, None));
    prop_assert_eq!(differ(&content(&ab), &content(&ba)), "");
    for merged in [&ab, &ba] {
        counts(merged);
        for side in [&a, &b] {
            check_uids(side, merged)?;
        }
        let (in_base, in_a, in_b, now) = (hashes(&base), hashes(&a), hashes(&b), hashes(merged));
        for (hash, count) in in_a.iter().chain(&in_b) {
            let new = !in_base.contains_key(hash);
            let on_both = in_a.contains_key(hash) && in_b.contains_key(hash);
            // One side's person may have expunged what came on both.
            if (new && !is_shared(*hash)) || on_both {
                prop_assert!(now.contains_key(hash), "lost");
            }
            let one_side = in_a.contains_key(hash) != in_b.contains_key(hash);
            if new && one_side && hash[2..4] != [3, 132] && !is_shared(*hash) {
                prop_assert_eq!(now.get(hash), Some(count), "not exactly once");
            }
        }
    }
    // Again: nothing; interrupted anywhere and resumed: the same.
    let again = merge(&ab, &b, fork, None);
    prop_assert_eq!(&again.keys.rows, &ab.keys.rows);
    let mut resumed = merge(&a, &b, fork, Some(1 + left.len()));
    resumed = merge(&resumed, &b, fork, Some(1 + right.len()));
    resumed = merge(&resumed, &b, fork, None);
    prop_assert_eq!(differ(&content(&resumed), &content(&ab)), "");
    Ok(())
}

/// Deliveries that may have come on both sides.
fn is_shared(hash: [u8; 32]) -> bool {
    (900..903).any(|n: u32| hash[..4] == n.to_be_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn both_ways_of_merging_agree_and_lose_nothing(
        left in does(), right in does(), gaps in any::<bool>(),
    ) {
        check(&left, &right, gaps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    /// Mail arrives at the leader before every step: [`Node::look`] is every client's view.
    #[test]
    fn clients_of_the_leader_see_uids_ascend_during_a_merge(left in does(), right in does()) {
        let (mut a, mut b, fork) = split(&Node::new());
        left.iter().for_each(|d| a.act(d, 1_001));
        right.iter().for_each(|d| b.act(d, 1_002));
        let mut n = 5_000;
        let merged = merge_while(&a, &b, fork, |node| {
            n += 1;
            node.deliver(ADA, n, false, false);
        });
        counts(&merged);
        check_uids(&a, &merged)?;
        check_uids(&b, &merged)?;
        let all = hashes(&merged);
        prop_assert!((5_001..=n).all(|n| all.keys().any(|hash| hash[..4] == n.to_be_bytes())));
    }
}

#[test]
fn a_mailbox_of_both_sides_is_subscribed_whoever_leads() {
    let (mut a, mut b, fork) = split(&Node::new());
    a.act(&Do::New(1), 1_001);
    b.act(&Do::New(2), 1_002);
    for (a, b) in [(&a, &b), (&b, &a)] {
        let merged = merge(a, b, fork, None);
        let all = mailbox::mailboxes(&merged.keys, ADA).unwrap();
        assert!(all.iter().any(|m| m.name == "Both" && m.subscribed));
        let all = notes(&merged.keys, BranchId { fork, epoch: b.epoch }).unwrap();
        assert!(all.iter().any(|note| note.lost == "its unsubscription"));
    }
}

#[test]
fn a_branchs_uids_are_kept_unless_mail_arrived_above_them() {
    let (a, mut b, fork) = split(&Node::new());
    (0..3).for_each(|n| b.deliver(ADA, 200 + n, false, false));
    let uids = |node: &Node| {
        let all = mailbox::entries_range(&node.keys, ADA, INBOX, ALL).unwrap();
        all.iter().map(|e| e.uid).collect::<Vec<_>>()
    };
    assert_eq!(uids(&merge(&a, &b, fork, None)), uids(&b));
    let (mut n, mut came, highest) = (300, Uid(0), uids(&b).last().copied().unwrap());
    let merged = merge_while(&a, &b, fork, |node| {
        n += 1;
        node.deliver(ADA, n, false, false);
        let last = uids(node).last().copied().unwrap();
        if came == Uid(0) && last > highest {
            came = last;
        }
    });
    assert!(came > highest, "what arrives between the stages goes above the branch's");
    let of_branch = |hash: &[u8; 32]| (200..203).any(|n: u32| hash[..4] == n.to_be_bytes());
    let placed: Vec<_> = merged.messages(ADA).into_iter().filter(|m| of_branch(&m.2)).collect();
    assert_eq!(placed.len(), 3);
    assert!(placed.iter().all(|(_, entry, _)| entry.uid > came), "clients saw {came} before them");
}

/// Two sides of `base`; what a no-witness promotion does is done.
fn split(base: &Node) -> (Node, Node, Lsn) {
    let (mut a, mut b) = (base.clone(), base.clone());
    (a.epoch, b.epoch, b.fork) = (Epoch(4), Epoch(3), Epoch(3));
    (a, b, base.last())
}

#[test]
fn any_number_of_mailboxes_with_long_names_is_merged() {
    let (a, mut b, fork) = split(&Node::new());
    let name = |n: u32| format!("{n:03}{}", "x".repeat(mailbox::NAME_LEN_MAX - 3));
    for n in 0..400 {
        b.run(&CreateMailbox { account: ADA, name: name(n), role: None }).unwrap();
    }
    let new = mailbox::mailboxes(&b.keys, ADA).unwrap().into_iter().filter(|m| m.id > box_of(3));
    for row in new {
        let (body, summary, flags) = (b.body(row.id.0), Summary::default(), Flags::default());
        let (mailbox, date) = (row.id, None);
        let new = Append { account: ADA, mailbox, body, summary, flags, internal_date: date };
        b.run(&new).unwrap();
    }
    let merged = merge(&a, &b, fork, None);
    assert_eq!(differ(&content(&merged), &content(&b)), "");
    assert_eq!(differ(&content(&merge(&b, &a, fork, None)), &content(&b)), "");
}

/// Imports what `from` has, from a file.
fn import(node: &mut Node, from: &Node, file: u8, finish: bool) {
    let (mut rows, mut bodies) = (Vec::new(), Vec::new());
    for (key, value) in &from.keys.rows {
        match carry::split(key, value).unwrap() {
            Some((bare, _)) => {
                let body = node.body(u32::from(file)).upload;
                node.now += 1;
                rows.push((key.clone(), bare));
                bodies.push((body, vec![key.clone()]));
            }
            None => rows.push((key.clone(), value.clone())),
        }
    }
    // A step as long as they come: more than one task.
    rows.push((b"~filler".to_vec(), vec![7; 40_000]));
    rows.push((b"~filler 2".to_vec(), vec![7; 40_000]));
    let half = rows.split_off(rows.len() / 2);
    let mut steps = vec![carry::Step::Rows(rows), carry::Step::Rows(half)];
    steps.push(carry::Step::Bodies(bodies));
    steps.extend(finish.then_some(carry::Step::Finish));
    for (number, step) in (0..).zip(steps) {
        node.run(&Import { file: [file; 16], number, step }).unwrap();
    }
}

#[test]
fn an_import_on_a_branch_is_merged_with_what_was_done_since() {
    let source = Node::new();
    let (mut a, mut b, fork) = split(&Node::empty());
    import(&mut b, &source, 7, true);
    assert_eq!(differ(&content(&b), &content(&source)), "");
    for does in [Do::Flags(0, 0, 0, 4), Do::Expunge(0, 1), Do::Deliver(false, 0, true)] {
        b.act(&does, 1_001);
    }
    let merged = merge(&a, &b, fork, None);
    assert_eq!(differ(&content(&merged), &content(&b)), "");
    counts(&merged);
    check_uids(&b, &merged).unwrap();
    for row in queue::items(&merged.keys, 10).unwrap() {
        assert!(!row.body.parts.is_empty(), "an item without its body");
    }
    let again = merge(&merged, &b, fork, None);
    assert_eq!(again.keys.rows, merged.keys.rows);
    for stop in 1..12 {
        let half = merge(&a, &b, fork, Some(stop));
        assert_eq!(differ(&content(&merge(&half, &b, fork, None)), &content(&b)), "", "{stop}");
    }
    // The same file on both sides: once, with what each did since.
    import(&mut a, &source, 7, true);
    a.act(&Do::Flags(0, 2, 0, 4), 1_002);
    let (ab, ba) = (merge(&a, &b, fork, None), merge(&b, &a, fork, None));
    assert_eq!(differ(&content(&ab), &content(&ba)), "");
    assert_eq!(hashes(&ab), hashes(&b));
}

#[test]
fn an_import_that_goes_on_elsewhere_is_merged_from_there() {
    let source = Node::new();
    let mut base = Node::empty();
    import(&mut base, &source, 7, false);
    let (a, mut b, fork) = split(&base);
    b.run(&Import { file: [7; 16], number: 3, step: carry::Step::Finish }).unwrap();
    let merged = merge(&a, &b, fork, None);
    assert_eq!(carry::progress(&merged.keys).unwrap(), None);
    assert_eq!(differ(&content(&merged), &content(&source)), "");
}

#[test]
#[should_panic(expected = "data of its own")]
fn an_import_into_what_is_not_empty_here_stands_still() {
    let source = Node::new();
    let (mut a, mut b, fork) = split(&Node::empty());
    import(&mut b, &source, 7, true);
    import(&mut a, &source, 8, true);
    merge(&a, &b, fork, None);
}

#[test]
fn tenants_of_a_branch_get_ids_that_it_has_no_keys_for() {
    let (a, mut b, fork) = split(&Node::empty());
    for (id, name) in [(2, "x"), (4, "y")] {
        b.run(&CreateTenant { id: TenantId(id), name: name.into() }).unwrap();
    }
    let merged = merge(&a, &b, fork, None);
    let ids: Vec<u32> = directory::tenants(&merged.keys).unwrap().iter().map(|t| t.id.0).collect();
    assert_eq!(ids, [5, 7], "the leader is node 1: odd ones, above the branch's");
}

#[test]
fn a_second_branch_of_one_fork_is_left_to_an_operator() {
    let (mut a, mut b, fork) = split(&Node::new());
    b.deliver(ADA, 200, false, false);
    let first = BranchId { fork, epoch: b.epoch };
    a.run(&Begin { branch: first }).unwrap();
    // The merge goes on without an end, and the branch is forced meanwhile.
    let half = merge(&a, &b, fork, Some(8));
    assert!(half.log.iter().any(|(_, kind, c)| *kind == Kind::BRANCH && is_step(c).unwrap()));
    b.epoch = Epoch(5);
    b.deliver(ADA, 201, false, false);
    let second = BranchId { fork, epoch: b.epoch };
    assert_eq!(half.clone().run(&Begin { branch: second }), Err(MergeFault::Other(first)));
    assert_eq!(half.clone().run(&Begin { branch: first }), Ok(()));
    let whole = merge(&half, &Node { epoch: first.epoch, ..b.clone() }, fork, None);
    assert_eq!(whole.clone().run(&Begin { branch: second }), Err(MergeFault::Other(first)));
    // Nothing was merged yet: the second takes the first one's place.
    assert_eq!(a.run(&Begin { branch: second }), Ok(()));
    assert!(a.log.iter().all(|(_, kind, c)| *kind != Kind::BRANCH || !is_step(c).unwrap()));
}

#[test]
fn a_shipped_body_that_was_pushed_out_is_no_change_that_cannot_be_applied() {
    let mut node = Node::empty();
    let branch = BranchId { fork: Lsn(0), epoch: Epoch(3) };
    let taken = Taken {
        lsn: Lsn(1),
        epoch: Epoch(3),
        kind: Kind::MAILBOX,
        part: 0,
        last: true,
        bytes: Vec::new(),
        bodies: vec![(UploadId([1; 16]), UploadId([2; 16]))],
    };
    let refused = node.run(&Take { branch, taken: vec![taken] });
    assert!(matches!(refused, Err(MergeFault::Task(_))), "{refused:?}");
}
