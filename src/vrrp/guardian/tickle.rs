//! Tickle ACKs: clients learn at once that the node which they spoke to is gone.
//!
//! A client whose server died waits for answers, often for minutes. An ACK with a sequence number
//! that cannot be right makes its kernel answer with the right one (RFC 9293 3.10.7.4), to which our
//! kernel, that knows no such connection, says RST: the client connects anew. CTDB does the same.
//!
//! Invariants: nothing is sent before the local address is ours and announced; a connection that
//! lives is not harmed (its end answers an acceptable ACK); at most [`PER_ROUND`] a round. Absent on
//! purpose: who was connected, which the main process knows.

use super::CONNECTIONS_MAX;
use super::message::Connection;
use crate::vrrp::announce::checksum;
use crate::vrrp::{GroupStatus, State};
use log::{info, warn};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use understudy_proto::time::Mono;

/// Tickles sent in one round, which takes about a millisecond: 65,536 take a third of a second.
const PER_ROUND: usize = 200;

/// Time between two rounds.
const ROUND_EVERY: Duration = Duration::from_millis(1);

/// Time between two looks whether an address has come, when none of those awaited is here.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Every connection is tickled again after this pause: a packet may be lost, and Linux answers wrong
/// packets of a connection only twice a second.
const AGAIN: Duration = Duration::from_millis(600);

/// What has not got its address by then never will.
const PATIENCE: Duration = Duration::from_secs(10);

/// `IPPROTO_RAW`: we write the IP header; nothing is received.
const RAW: i32 = 255;

/// Connections that wait.
#[derive(Debug, Default)]
pub(super) struct Tickler {
    /// For their address, and until when.
    waiting: VecDeque<(Connection, Mono)>,
    /// For their second tickle, and from when; in the order of time.
    again: VecDeque<(Connection, Mono)>,
    sockets: Option<Sockets>,
    /// Whether the last round left all that waits where it was.
    stuck: bool,
    sent: u64,
    failed: u64,
}

/// One that cannot be opened is shown by what is not sent.
#[derive(Debug)]
struct Sockets {
    four: Option<Socket>,
    six: Option<Socket>,
}

impl Tickler {
    /// When to call [`Tickler::work`] again.
    pub(super) fn next(&self, now: Mono) -> Option<Mono> {
        let again = self.again.front().map(|(_, at)| now.after(ROUND_EVERY).max(*at));
        let round = now.after(if self.stuck { LOOK_EVERY } else { ROUND_EVERY });
        let waiting = (!self.waiting.is_empty()).then_some(round);
        [again, waiting].into_iter().flatten().min()
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.again.is_empty()
    }

    /// More than fit are left out: those clients find out by themselves.
    pub(super) fn add(&mut self, connections: Vec<Connection>, now: Mono) {
        let room = CONNECTIONS_MAX.saturating_sub(self.waiting.len() + self.again.len());
        let until = now.after(PATIENCE);
        self.waiting.extend(connections.into_iter().take(room).map(|one| (one, until)));
        self.stuck = false;
    }

    /// Sends what can be sent now.
    pub(super) fn work(&mut self, groups: &[GroupStatus], now: Mono) {
        if self.is_idle() {
            return;
        }
        for connection in self.due(groups, now) {
            let sent = self.send(&connection);
            let counter = if sent { &mut self.sent } else { &mut self.failed };
            *counter = counter.saturating_add(1);
        }
        if self.is_idle() {
            info!(count = self.sent; "clients of the other appliance were told to connect anew");
            if self.failed > 0 {
                warn!(count = self.failed; "clients could not be told to connect anew");
            }
            *self = Self::default();
        }
    }

    /// Takes out what is to be sent in this round.
    fn due(&mut self, groups: &[GroupStatus], now: Mono) -> Vec<Connection> {
        let active = groups.iter().filter(|group| group.state == State::Active);
        let ours: Vec<IpAddr> =
            active.flat_map(|group| &group.addresses).map(|a| a.address).collect();
        let mut due = Vec::new();
        while due.len() < PER_ROUND
            && let Some((connection, _)) = self.again.pop_front_if(|(_, at)| *at <= now)
        {
            due.extend(ours.contains(&connection.local.ip()).then_some(connection));
        }
        self.stuck = due.is_empty();
        for _ in 0..self.waiting.len() {
            if due.len() >= PER_ROUND {
                break;
            }
            let Some((connection, until)) = self.waiting.pop_front() else { break };
            if ours.contains(&connection.local.ip()) {
                due.push(connection);
                self.stuck = false;
                self.again.push_back((connection, now.after(AGAIN)));
            } else if now < until {
                self.waiting.push_back((connection, until));
            }
        }
        due
    }

    /// Whether it left.
    fn send(&mut self, connection: &Connection) -> bool {
        let sockets = self
            .sockets
            .get_or_insert_with(|| Sockets { four: raw(Domain::IPV4), six: raw(Domain::IPV6) });
        let socket = match connection.remote {
            SocketAddr::V4(_) => &sockets.four,
            SocketAddr::V6(_) => &sockets.six,
        };
        let (Some(socket), Some(packet)) = (socket, packet(connection)) else { return false };
        // The port of a raw socket's address must be zero (raw(7)).
        let mut to = connection.remote;
        to.set_port(0);
        socket.send_to(&packet, &to.into()).is_ok()
    }
}

fn raw(domain: Domain) -> Option<Socket> {
    Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::from(RAW)))
        .inspect_err(|e| warn!(err:% = e; "no raw socket to tell clients"))
        .ok()
}

/// The whole IP packet: an ACK from our end to theirs, sequence number 0. `None` where the two ends
/// are of different families.
fn packet(connection: &Connection) -> Option<Vec<u8>> {
    let (from, to) = (connection.local, connection.remote);
    let mut tcp = Vec::with_capacity(TCP_LEN);
    tcp.extend_from_slice(&from.port().to_be_bytes());
    tcp.extend_from_slice(&to.port().to_be_bytes());
    tcp.extend_from_slice(&[0; 8]); // Sequence and acknowledgement number.
    tcp.extend_from_slice(&[5 << 4, ACK]); // Five words of header.
    tcp.extend_from_slice(&WINDOW.to_be_bytes());
    let mut out = Vec::with_capacity(40 + TCP_LEN);
    let pseudo = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x45, 0, 0, 40]); // RFC 791 3.1; 40 octets in all.
            out.extend_from_slice(&[0, 0, 0x40, 0]); // No fragments.
            out.extend_from_slice(&[HOPS, TCP, 0, 0]); // The kernel fills the checksum in.
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
            [&from.octets()[..], &to.octets(), &[0, TCP, 0, 20]].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            out.extend_from_slice(&[0x60, 0, 0, 0, 0, 20, TCP, HOPS]); // RFC 8200 3.
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
            [&from.octets()[..], &to.octets(), &[0, 0, 0, 20, 0, 0, 0, TCP]].concat()
        }
        _ => return None,
    };
    out.extend_from_slice(&tcp);
    out.extend_from_slice(&checksum(&[&pseudo[..], &tcp].concat()));
    out.extend_from_slice(&[0; 2]); // No urgent data.
    Some(out)
}

const TCP: u8 = 6;
const TCP_LEN: usize = 20;
const ACK: u8 = 0x10;
const HOPS: u8 = 64;
/// Of no meaning: the packet is not accepted.
const WINDOW: u16 = 1_234;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vrrp::{Claim, Errors, GroupKind};

    fn connection(local: &str, remote: &str) -> Connection {
        Connection { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    fn group(state: State, address: &str) -> GroupStatus {
        GroupStatus {
            interface: "eth0".to_owned(),
            vrid: 51,
            state,
            holder: None,
            addresses: vec![address.parse().unwrap()],
            adverts_sent: 0,
            adverts_received: 0,
            errors: Errors::default(),
            send_errors: 0,
            fault: None,
            last_transition: None,
            name: "eth0.51".to_owned(),
            kind: GroupKind::Pair,
            priority: 0,
            claim: Claim::default(),
            order: 0,
            refusal: None,
            problem: None,
            source: None,
            word: None,
        }
    }

    /// Over header and data, a right checksum sums up to all ones.
    #[test]
    fn packets_are_acks_with_a_right_checksum() {
        let four = packet(&connection("10.0.0.100:993", "10.0.0.7:50000")).unwrap();
        assert_eq!(four.len(), 40);
        let pseudo = [&four[12..20], &[0, 6, 0, 20]].concat();
        assert_eq!(checksum(&[&pseudo[..], &four[20..]].concat()), [0, 0]);
        assert_eq!(four[20..24], [0x03, 0xe1, 0xc3, 0x50]);
        assert_eq!(four[24..32], [0; 8]);
        assert_eq!(four[33], 0x10);
        let six = packet(&connection("[2001:db8::100]:993", "[2001:db8::7]:50000")).unwrap();
        assert_eq!(six.len(), 60);
        let pseudo = [&six[8..40], &[0, 0, 0, 20, 0, 0, 0, 6]].concat();
        assert_eq!(checksum(&[&pseudo[..], &six[40..]].concat()), [0, 0]);
        assert_eq!(packet(&connection("10.0.0.100:993", "[2001:db8::7]:50000")), None);
    }

    #[test]
    fn nothing_is_sent_before_the_address_is_here_and_not_for_ever() {
        let mut tickler = Tickler::default();
        let one = connection("192.0.2.1:993", "192.0.2.2:5000");
        tickler.add(vec![one], Mono(0));
        assert_eq!(tickler.due(&[group(State::Backup, "192.0.2.1/24")], Mono(1)), []);
        assert_eq!(tickler.due(&[group(State::Active, "192.0.2.9/24")], Mono(1)), []);
        assert_eq!(tickler.next(Mono(1)), Some(Mono(1).after(LOOK_EVERY)), "not every millisecond");
        let here = [group(State::Active, "192.0.2.1/24")];
        assert_eq!(tickler.due(&here, Mono(2)), [one]);
        assert_eq!(tickler.due(&here, Mono(3)), [], "the second time comes later");
        assert_eq!(tickler.due(&here, Mono(2).after(AGAIN)), [one]);
        assert!(tickler.is_idle());
        tickler.add(vec![one], Mono(0));
        assert_eq!(tickler.due(&[], Mono(0).after(PATIENCE)), []);
        assert!(tickler.is_idle());
    }

    #[test]
    fn connections_are_bounded_and_paced() {
        let mut tickler = Tickler::default();
        let one = connection("192.0.2.1:993", "192.0.2.2:5000");
        tickler.add(vec![one; CONNECTIONS_MAX], Mono(0));
        tickler.add(vec![one; 10], Mono(0));
        assert_eq!(tickler.waiting.len(), CONNECTIONS_MAX);
        let due = tickler.due(&[group(State::Active, "192.0.2.1/24")], Mono(1));
        assert_eq!(due.len(), PER_ROUND);
    }
}
