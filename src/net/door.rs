//! The door of the services: closed, no connection begins, and none is refused.
//!
//! A filter on the listening sockets drops what asks for a new connection (SYN) and nothing else:
//! whoever has begun is served on, and whoever knocks is not told no (the guardian passes the knock
//! on to the other appliance, see `vrrp::relay`; without it, the client knocks again after a second).
//!
//! Who is on the doorstep (connecting, or connected and not yet greeted) is known, so that a handover
//! can wait: a client whose last packet of the handshake reaches the other appliance is reset.
//!
//! Invariants: a closed door answers nothing, not even RST; it keeps no listener alive. Deliberately
//! absent: when to close it, which is the pair's to know.

use super::handshake;
use crate::base::filter::{AND, JUMP_IF_EQUAL, LOAD_BYTE, RETURN};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockFilter, SockRef};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::net::TcpListener;

/// The doors of all listeners; clones are the same. Open to begin with.
#[derive(Clone, Debug, Default)]
pub struct Doors(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Connections that were accepted and have not been sent a byte.
    ungreeted: Arc<()>,
    listeners: Vec<Weak<TcpListener>>,
    closed: bool,
}

impl Doors {
    pub(super) fn add(&self, listener: &Arc<TcpListener>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.listeners.push(Arc::downgrade(listener));
    }

    /// To be kept until the connection that is accepted now is greeted.
    pub(super) fn greeting(&self) -> Greeting {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Greeting { _counts: Arc::clone(&state.ungreeted) }
    }

    /// Whether nobody is connecting, or waits to be accepted or greeted. Asks the kernel: may take a
    /// millisecond.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listeners: Vec<_> = state.listeners.iter().filter_map(Weak::upgrade).collect();
        let ports = listeners.iter().filter_map(|l| Some(l.local_addr().ok()?.port()));
        // In the order in which a connection comes along, so that none slips through.
        match handshake::are_under_way(&ports.collect::<Vec<_>>()) {
            Ok(false) => {}
            Ok(true) => return false,
            Err(e) => log::debug!(err:% = e; "the kernel does not say who is connecting"),
        }
        let mut fds: Vec<PollFd<'_>> =
            listeners.iter().map(|l| PollFd::new(l.as_fd(), PollFlags::POLLIN)).collect();
        // A call that fails says nothing.
        let waiting = poll(&mut fds, PollTimeout::ZERO).unwrap_or_default();
        waiting == 0 && Arc::strong_count(&state.ungreeted) == 1
    }

    /// Closes or opens them; costs a few microseconds for each listener.
    pub fn close(&self, closed: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed == closed {
            return;
        }
        state.closed = closed;
        for listener in state.listeners.iter().filter_map(Weak::upgrade) {
            let socket = SockRef::from(&*listener);
            let done = if closed { socket.attach_filter(&NO_SYN) } else { socket.detach_filter() };
            if let Err(e) = done {
                log::warn!(err:% = e; "the door of a listener could not be closed or opened");
            }
        }
    }
}

/// See [`Doors::greeting`].
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    _counts: Arc<()>,
}

/// A filter of a TCP socket sees the TCP header first:
/// byte 13 holds the flags (RFC 9293 3.1).
const NO_SYN: [SockFilter; 5] = [
    SockFilter::new(LOAD_BYTE, 0, 0, 13),
    SockFilter::new(AND, 0, 0, SYN_ACK),
    SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];
const SYN: u32 = 0x02;
const SYN_ACK: u32 = 0x12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::handshake::tests::half_open;
    use crate::net::listen;
    use std::net::IpAddr;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_closed_door_keeps_who_is_in_and_answers_nobody_outside() {
        let doors = Doors::default();
        let listener = listen(&[IpAddr::from([127, 0, 0, 1])], 0).unwrap().remove(0);
        let listener = listener.behind(&doors);
        let at = listener.address();
        let mut inside = TcpStream::connect(at).await.unwrap();
        let mut waiting = TcpStream::connect(at).await.unwrap();
        let (mut served, _) = listener.accept().await.unwrap();
        doors.close(true);
        assert!(!doors.is_quiet(), "one waits to be accepted");
        // Neither refused nor taken.
        let outside = timeout(Duration::from_millis(100), TcpStream::connect(at)).await;
        assert!(outside.is_err(), "{outside:?}");
        served.write_all(b"x").await.unwrap();
        assert_eq!(inside.read_u8().await.unwrap(), b'x');
        // Who had come before is still taken, and heard.
        let (mut late, _) = listener.accept().await.unwrap();
        assert!(doors.is_quiet());
        let greeting = listener.greeting();
        assert!(!doors.is_quiet(), "one waits to be greeted");
        drop(greeting);
        assert!(doors.is_quiet());
        doors.close(false);
        let deaf = half_open(at);
        doors.close(true);
        assert!(!doors.is_quiet(), "one is connecting");
        drop(deaf);
        waiting.write_all(b"y").await.unwrap();
        assert_eq!(late.read_u8().await.unwrap(), b'y');
        doors.close(false);
        TcpStream::connect(at).await.unwrap();
        drop(listener);
        doors.close(true);
        assert!(TcpStream::connect(at).await.is_err(), "the door keeps no listener");
    }
}
