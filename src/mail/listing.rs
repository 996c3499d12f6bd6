//! Every message of an account in memory, as far as lists are filtered and sorted by it.
//!
//! Invariant: a [`Listing`] is the rows as of its modseq; it is brought up to date by what changed since and
//! never guessed at. Bounded by messages in all ([`MESSAGES_MAX`]): the accounts that were not asked for the
//! longest are forgotten. Deliberately absent: what stands in a message; search has that.

use super::{MailError, Snapshot};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use understudy_proto::id::{AccountId, EmailId, Lsn, MailboxId, ModSeq, TenantId, ThreadId, Uid};
use understudy_proto::mailbox::{self, Entry, Flags};
use understudy_proto::time::UnixMs;

/// Messages that are held for all accounts together, at about 120 bytes each.
const MESSAGES_MAX: usize = 1_000_000;
/// What is further behind is read anew.
const CHANGES_MAX: usize = 5_000;

/// A message as lists see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: EmailId,
    /// Its conversation.
    pub thread: ThreadId,
    /// Where it lies.
    pub mailbox: MailboxId,
    /// When it came.
    pub received: UnixMs,
    /// Length in bytes.
    pub size: u64,
    /// Its flags.
    pub flags: Flags,
}

/// All messages of an account, by id.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    fork: Lsn,
    modseq: ModSeq,
    messages: Vec<Listed>,
}

impl Listing {
    /// All of them, by id.
    #[must_use]
    pub fn messages(&self) -> &[Listed] {
        &self.messages
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: EmailId) -> Option<&Listed> {
        let at = self.messages.binary_search_by_key(&id, |m| m.id).ok()?;
        self.messages.get(at)
    }

    fn read(of: &Snapshot) -> Result<Self, MailError> {
        let mut messages = Vec::new();
        for row in of.mailboxes()? {
            let all = (Uid(0), Uid(u32::MAX));
            for entry in mailbox::entries_range(&of.view, of.account, row.id, all)? {
                messages.push(listed(of, row.id, entry)?);
            }
        }
        messages.sort_unstable_by_key(|m| m.id);
        Ok(Self { fork: of.fork(), modseq: of.state().modseq, messages })
    }

    /// `false`: too much has changed.
    fn follow(&mut self, of: &Snapshot) -> Result<bool, MailError> {
        let told = mailbox::account_since(&of.view, of.account, self.modseq, CHANGES_MAX)?;
        let Some(told) = told else { return Ok(false) };
        let mut changed = BTreeMap::new();
        for id in told.emails {
            if let Some(message) = of.message(id)? {
                let mailbox = message.email.mailbox;
                changed.insert(id, listed(of, mailbox, message.entry)?);
            }
        }
        let gone: std::collections::BTreeSet<EmailId> =
            told.gone.emails.iter().map(|(id, _)| *id).collect();
        if !gone.is_empty() {
            self.messages.retain(|m| !gone.contains(&m.id));
        }
        for message in &mut self.messages {
            if let Some(new) = changed.remove(&message.id) {
                *message = new;
            }
        }
        // What is left is new, and so are its ids.
        self.messages.extend(changed.into_values());
        self.messages.sort_by_key(|m| m.id);
        self.modseq = of.state().modseq;
        Ok(true)
    }
}

fn listed(of: &Snapshot, mailbox: MailboxId, entry: Entry) -> Result<Listed, MailError> {
    Ok(Listed {
        id: entry.email,
        thread: mailbox::thread_of(&of.view, of.account, entry.email)?,
        mailbox,
        received: entry.internal_date,
        size: entry.size,
        flags: entry.flags,
    })
}

/// The listings that are held.
#[derive(Default)]
pub(super) struct Listings(Mutex<Held>);

#[derive(Default)]
struct Held {
    by_account: HashMap<(TenantId, AccountId), (u64, Arc<Listing>)>,
    uses: u64,
}

impl Listings {
    pub(super) fn get(&self, of: &Snapshot) -> Result<Arc<Listing>, MailError> {
        let key = (of.tenant, of.account);
        let known = self.lock().find(key);
        let (fork, modseq) = (of.fork(), of.state().modseq);
        let listing = match known {
            Some(known) if known.fork == fork && known.modseq == modseq => return Ok(known),
            // An older snapshot than the one that is held: it is read for this once.
            Some(known) if known.fork == fork && known.modseq > modseq => {
                return Listing::read(of).map(Arc::new);
            }
            Some(mut known) if known.fork == fork => {
                if Arc::make_mut(&mut known).follow(of)? {
                    known
                } else {
                    Arc::new(Listing::read(of)?)
                }
            }
            _ => Arc::new(Listing::read(of)?),
        };
        self.lock().keep(key, &listing);
        Ok(listing)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn find(&mut self, key: (TenantId, AccountId)) -> Option<Arc<Listing>> {
        self.uses = self.uses.wrapping_add(1);
        let uses = self.uses;
        self.by_account.get_mut(&key).map(|(used, listing)| {
            *used = uses;
            Arc::clone(listing)
        })
    }

    fn keep(&mut self, key: (TenantId, AccountId), listing: &Arc<Listing>) {
        let newer = |(_, held): &(u64, Arc<Listing>)| {
            held.fork == listing.fork && held.modseq > listing.modseq
        };
        if self.by_account.get(&key).is_some_and(newer) {
            return;
        }
        self.by_account.insert(key, (self.uses, Arc::clone(listing)));
        let mut held: usize = self.by_account.values().map(|(_, l)| l.messages.len()).sum();
        while held > MESSAGES_MAX && self.by_account.len() > 1 {
            let oldest = self
                .by_account
                .iter()
                .filter(|(k, _)| **k != key)
                .min_by_key(|(_, (used, _))| *used);
            let Some((oldest, len)) = oldest.map(|(k, (_, l))| (*k, l.messages.len())) else {
                return;
            };
            self.by_account.remove(&oldest);
            held = held.saturating_sub(len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Directory, Login};
    use crate::mail::{Envelope, Mail};
    use crate::store::disk::RealDisk;
    use crate::store::{LeaseControl, PrimaryLease, Store, StoreOptions};
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;
    use understudy_proto::directory::DirectoryRules;
    use understudy_proto::id::{Epoch, NodeId};
    use understudy_proto::mailbox::{FlagsOp, MailboxRules};
    use understudy_proto::queue::QueueRules;
    use understudy_proto::rule::Registry;
    use understudy_proto::time::Mono;

    struct Node {
        store: Store,
        mail: Mail,
        lease: PrimaryLease,
        _control: LeaseControl,
        login: Login,
        _dir: tempfile::TempDir,
    }

    impl Drop for Node {
        fn drop(&mut self) {
            self.store.close();
        }
    }

    impl Node {
        async fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mut options = StoreOptions::new(dir.path().join("data"), NodeId(0));
            options.segment_len = 4 << 20;
            options.reserve_bytes = 0;
            let rules =
                Registry::default().with(DirectoryRules).with(MailboxRules).with(QueueRules);
            let store = Store::open(Arc::new(RealDisk), options, rules).unwrap();
            store.log().begin_epoch(Epoch(1)).await.unwrap();
            store.log().commit_alone(true);
            store.keyring().mark_replicated(u64::MAX);
            let (lease, control) = PrimaryLease::mint(Epoch(1));
            control.extend(Mono(u64::MAX));
            let directory = Directory::new(store.clone());
            let tenant = directory.create_tenant(&lease, "one").await.unwrap();
            directory.add_domain(&lease, tenant, "example.org").await.unwrap();
            let login = directory.create_account(&lease, "ada@example.org", "Ada").await.unwrap();
            let mail = Mail::new(store.clone());
            Self { store, mail, lease, _control: control, login, _dir: dir }
        }

        async fn deliver(&self, n: u8) {
            let answers = if n.is_multiple_of(3) { "" } else { "In-Reply-To: <0@example.org>\r\n" };
            let text = format!("Message-ID: <{n}@example.org>\r\n{answers}\r\n{n}\r\n");
            let mut ingest = self.mail.begin(&self.lease, &[self.login.tenant]).await.unwrap();
            ingest.write(text.as_bytes()).await.unwrap();
            let local = vec![(self.login.tenant, self.login.account)];
            let from = format!("{n}@example.org");
            let envelope = Envelope { local, from, ..Envelope::default() };
            self.mail.deliver(&self.lease, &envelope, ingest.finish()).await.unwrap();
        }

        /// The message at a place of a mailbox.
        fn nth(&self, mailbox: MailboxId, n: u8) -> Option<Uid> {
            let (_, entries) = self.mail.entries(&self.login, mailbox).unwrap();
            entries.get(usize::from(n) % entries.len().max(1)).map(|e| e.uid)
        }

        async fn act(&self, (what, m, n): (u8, u8, u8)) {
            let (mail, lease, login) = (&self.mail, &self.lease, &self.login);
            let (from, to) = (MailboxId(u32::from(m) + 1), MailboxId(u32::from(n) % 3 + 1));
            let Some(uid) = self.nth(from, n).filter(|_| what > 1) else {
                return self.deliver(n).await;
            };
            let bits = [Flags::SEEN, Flags::FLAGGED, Flags::DELETED][usize::from(n) % 3];
            let (flags, deleted) = (Flags::system(bits), Flags::system(Flags::DELETED));
            match what {
                2 => drop(mail.flags(lease, login, from, &[uid], FlagsOp::Add, flags).await),
                3 => drop(mail.flags(lease, login, from, &[uid], FlagsOp::Remove, flags).await),
                4 => drop(mail.copy(lease, login, from, &[uid], to).await.unwrap()),
                5 => drop(mail.mv(lease, login, from, &[uid], to).await.unwrap()),
                _ => {
                    let op = FlagsOp::Add;
                    mail.flags(lease, login, from, &[uid], op, deleted).await.unwrap();
                    mail.expunge(lease, login, from, Some(&[uid])).await.unwrap();
                }
            }
        }
    }

    /// The rows of both, to be compared.
    fn shown(listing: &Listing) -> (Lsn, ModSeq, &[Listed]) {
        (listing.fork, listing.modseq, &listing.messages)
    }

    /// Whatever is done between two looks: what was followed is what is read anew.
    #[test]
    fn a_listing_that_follows_is_the_one_that_is_read_anew() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let node = runtime.block_on(Node::start());
        let steps = prop::collection::vec(((0u8..7, 0u8..3, any::<u8>()), any::<bool>()), 1..20);
        let mut runner = TestRunner::new(ProptestConfig::with_cases(12));
        let outcome = runner.run(&steps, |steps| {
            for (step, look) in steps {
                let old = node.mail.snapshot(&node.login).unwrap();
                runtime.block_on(node.act(step));
                // A delivery returns at commit.
                let last = node.store.log().committed();
                while node.store.log().applied() < last {
                    std::thread::sleep(std::time::Duration::from_micros(200));
                }
                if look {
                    let now = node.mail.snapshot(&node.login).unwrap();
                    let (followed, read) = (now.listing().unwrap(), Listing::read(&now).unwrap());
                    prop_assert_eq!(shown(&followed), shown(&read));
                    // Who still looks at what was before sees that.
                    let (kept, read) = (old.listing().unwrap(), Listing::read(&old).unwrap());
                    prop_assert_eq!(shown(&kept), shown(&read));
                }
            }
            Ok(())
        });
        outcome.unwrap();
    }
}
