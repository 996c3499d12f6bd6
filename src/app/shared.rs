//! What lets clients come back quickly, kept in the memory of both nodes: log-ins of late, the keys of
//! TLS tickets, and which connections are open. And what each says of its groups of addresses.
//!
//! The primary tells, the standby learns; each message is answered before the next goes, so that a slow
//! standby costs nothing here. When this node becomes primary, the clients of the other one are made
//! to notice. Invariants: nothing of it is written to a disk; losing all of it costs time only.
//! Absent: what the other node's clients did; that is in the log.

use super::Rooms;
use crate::base::secret::Secret;
use crate::base::{clock, task};
use crate::directory::{Known, RENEW_EVERY};
use crate::net::table::{CONNECTIONS_MAX, News, Pair as Ends, Table};
use crate::pair::side::{Side, SideEvent, Topic};
use crate::store::PrimaryLease;
use crate::tls::ticket::{SharedKey, Tickets};
use crate::vrrp::guardian::Connection;
use crate::vrrp::{PeerGroup, Vrrp};
use serde::{Deserialize, Serialize};
use std::collections::{HashSet, VecDeque};
use std::time::Duration;
use tokio::sync::watch;
use understudy_proto::time::Mono;

/// How long news waits for more.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the other node hears how it stands with the addresses here, changed or not: well below
/// the age at which a claim is not simply gone on with (`vrrp::CLAIM_INHERIT`).
const ADDRESSES_EVERY: Duration = Duration::from_secs(2);
/// Entries of one message: below `pair::side::MESSAGE_LEN_MAX` by far.
const ENTRIES_MAX: usize = 4_096;

#[derive(Serialize, Deserialize)]
enum Message {
    /// The key of the log-ins, and the tickets'.
    Keys { logins: [u8; 32], tickets: Vec<SharedKey> },
    /// Log-ins, in order.
    Logins(Vec<Known>),
    /// Connections that were opened (`true`) and closed; `anew` forgets those of before.
    Connections { anew: bool, changes: Vec<(bool, Ends)> },
    /// The last message was taken in.
    Taken,
    /// How it stands with the sender's groups of addresses; said by both nodes.
    Addresses(Vec<PeerGroup>),
    /// The last of these was taken in.
    AddressesTaken,
}

struct Sharer {
    rooms: Rooms,
    side: Side,
    tickets: Tickets,
    table: Table,
    leases: watch::Receiver<Option<PrimaryLease>>,
    primary: bool,
    session: bool,
    /// A message waits for its answer.
    unanswered: bool,
    /// The tickets' generation that the other node has.
    keys: Option<u64>,
    logins: u64,
    connections: Option<u64>,
    /// What is to be sent before anything new; at most the table in pieces.
    waiting: VecDeque<Message>,
    /// What the other node has heard of our addresses, and when; `None` within a new session.
    addresses: Option<(Vec<PeerGroup>, Mono)>,
    /// Its answer is missing.
    addresses_unanswered: bool,
    /// The other node's open connections; at most [`CONNECTIONS_MAX`].
    theirs: HashSet<Ends>,
}

/// Starts telling and learning.
pub(super) fn start(rooms: &Rooms, side: &Side, tickets: Tickets, table: Table) {
    let Some(mut events) = side.subscribe(Topic::Shared) else { return };
    let leases = rooms.pair.watch_lease();
    let mut sharer = Sharer {
        rooms: rooms.clone(),
        side: side.clone(),
        tickets,
        table,
        leases,
        primary: false,
        session: false,
        unanswered: false,
        keys: None,
        logins: 0,
        connections: None,
        waiting: VecDeque::new(),
        addresses: None,
        addresses_unanswered: false,
        theirs: HashSet::new(),
    };
    drop(task::spawn("shared-memory", async move {
        let mut next = clock::mono();
        let mut renewal = next.after(RENEW_EVERY);
        sharer.note_role();
        loop {
            let mut leases = sharer.leases.clone();
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => sharer.hear(event).await,
                    None => return, // This reader stood still; the next start reads anew.
                },
                changed = leases.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    sharer.leases = leases;
                    sharer.note_role();
                }
                () = clock::sleep_until(next) => {
                    next = clock::mono().after(PAUSE);
                    if next > renewal {
                        renewal = next.after(RENEW_EVERY);
                        sharer.rooms.directory.recent().renew();
                    }
                    sharer.tell_addresses().await;
                    sharer.tell().await;
                }
            }
        }
    }));
}

impl Sharer {
    fn note_role(&mut self) {
        let primary = self.leases.borrow_and_update().as_ref().is_some_and(PrimaryLease::valid);
        if primary && !self.primary {
            self.begin();
            let lost: Vec<Connection> =
                self.theirs.drain().map(|(local, remote)| Connection { local, remote }).collect();
            log::info!(count = lost.len(); "clients of the other node are told to come back");
            if let Some(vrrp) = &self.rooms.vrrp {
                vrrp.tickle(lost);
            }
        }
        self.primary = primary;
    }

    /// The other node may know nothing.
    fn begin(&mut self) {
        (self.unanswered, self.keys, self.logins, self.connections) = (false, None, 0, None);
        self.waiting.clear();
    }

    async fn hear(&mut self, event: SideEvent) {
        match event {
            SideEvent::Up => {
                self.session = true;
                (self.addresses, self.addresses_unanswered) = (None, false);
                self.begin();
            }
            SideEvent::Down => self.session = false,
            SideEvent::Message(bytes) => match postcard::from_bytes(&bytes) {
                Ok(Message::Taken) => {
                    self.unanswered = false;
                    if !self.waiting.is_empty() {
                        self.tell().await;
                    }
                }
                Ok(Message::AddressesTaken) => self.addresses_unanswered = false,
                Ok(Message::Addresses(words)) => {
                    if let Some(vrrp) = &self.rooms.vrrp {
                        vrrp.hear_peer(words);
                    }
                    self.send(&Message::AddressesTaken).await;
                }
                Ok(message) => {
                    if !self.primary {
                        self.learn(message);
                    }
                    self.send(&Message::Taken).await;
                }
                Err(e) => {
                    // Of a release that says more.
                    log::debug!(err:% = e; "a message of the other node is not understood");
                    self.send(&Message::Taken).await;
                }
            },
        }
    }

    fn learn(&mut self, message: Message) {
        let recent = self.rooms.directory.recent();
        match message {
            Message::Keys { logins, tickets } => {
                recent.adopt(Secret::new(logins));
                self.tickets.adopt(&tickets);
            }
            Message::Logins(known) => recent.learn(&known),
            Message::Connections { anew, changes } => {
                if anew {
                    self.theirs.clear();
                }
                for (opened, ends) in changes {
                    if !opened {
                        self.theirs.remove(&ends);
                    } else if self.theirs.len() < CONNECTIONS_MAX {
                        self.theirs.insert(ends);
                    }
                }
            }
            Message::Taken | Message::Addresses(_) | Message::AddressesTaken => {}
        }
    }

    async fn tell_addresses(&mut self) {
        let now = clock::mono();
        let Some(words) = self.rooms.vrrp.as_deref().map(Vrrp::words_for_peer) else { return };
        let known = self
            .addresses
            .as_ref()
            .is_some_and(|(told, at)| *told == words && now.since(*at) < ADDRESSES_EVERY);
        if known || !self.session || self.addresses_unanswered {
            return;
        }
        self.addresses_unanswered = self.send(&Message::Addresses(words.clone())).await;
        self.addresses = Some((words, now));
    }

    async fn tell(&mut self) {
        if !self.primary || !self.session || self.unanswered {
            return;
        }
        if self.waiting.is_empty() {
            self.gather();
        }
        if let Some(message) = self.waiting.pop_front() {
            self.unanswered = self.send(&message).await;
        }
    }

    /// What the other node lacks.
    fn gather(&mut self) {
        let generation = self.tickets.generation();
        let recent = self.rooms.directory.recent();
        if self.keys != Some(generation) {
            self.keys = Some(generation);
            let (logins, tickets) = (*recent.key().expose(), self.tickets.export());
            self.waiting.push_back(Message::Keys { logins, tickets });
        }
        loop {
            let (known, next) = recent.since(self.logins, ENTRIES_MAX);
            let last = next == self.logins;
            self.logins = next;
            if !known.is_empty() {
                self.waiting.push_back(Message::Logins(known));
            }
            if last {
                break;
            }
        }
        let (news, next) = self.table.since(self.connections);
        self.connections = Some(next);
        let (mut anew, changes) = match news {
            News::Whole(open) => (true, open.into_iter().map(|ends| (true, ends)).collect()),
            News::Changes(changes) => (false, changes),
        };
        for piece in changes.chunks(ENTRIES_MAX) {
            self.waiting.push_back(Message::Connections { anew, changes: piece.to_vec() });
            anew = false;
        }
        if anew {
            self.waiting.push_back(Message::Connections { anew, changes: Vec::new() });
        }
    }

    async fn send(&self, message: &Message) -> bool {
        let Ok(bytes) = postcard::to_allocvec(message) else { return false };
        // Without a session it is told anew with the next one.
        self.side.send(Topic::Shared, bytes).await.is_ok()
    }
}
