//! The door of listening sockets: closed, no connection begins, and none is refused.
//!
//! A filter on each socket drops what asks for a new connection (SYN) and nothing else: whoever has
//! begun is served on, and whoever knocks is not told no (see [`super::relay`]; without that, the
//! client knocks again after a second).
//!
//! Invariants: a closed door answers nothing, not even RST; all listeners are tried, whatever the
//! first says. Deliberately absent: when to close it, which is the pair's to know. Some kernels want
//! CAP_NET_ADMIN for a filter, which the main process has given up: so its guardian does this.

use crate::base::filter::{AND, JUMP_IF_EQUAL, LOAD_BYTE, RETURN};
use nix::errno::Errno;
use socket2::{SockFilter, SockRef};
use std::io;
use std::os::fd::AsFd;

/// Closes or opens it; costs a few microseconds for each listener.
///
/// # Errors
/// The first listener that did not follow.
pub(super) fn set(listeners: &[impl AsFd], closed: bool) -> io::Result<()> {
    let mut all = Ok(());
    for listener in listeners {
        let socket = SockRef::from(listener);
        let done = if closed { socket.attach_filter(&NO_SYN) } else { socket.detach_filter() };
        match done {
            // It was not closed.
            Err(e) if !closed && e.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            done => all = all.and(done),
        }
    }
    all
}

/// As [`set`], for a process that has the right to.
pub(super) fn set_or_say(listeners: &[impl AsFd], closed: bool) {
    if let Err(e) = set(listeners, closed) {
        stuck(&e.to_string());
    }
}

/// Says that a listener did not follow.
pub(super) fn stuck(reason: &str) {
    log::error!(err:% = reason, runbook = "door-stuck";
        "the door of a listener could not be closed or opened");
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
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn a_closed_door_keeps_who_is_in_and_answers_nobody_outside() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut inside = TcpStream::connect(at).unwrap();
        let mut waiting = TcpStream::connect(at).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        let doors = [&listener];
        set(&doors, true).unwrap();
        // Neither refused nor taken.
        let outside = TcpStream::connect_timeout(&at, Duration::from_millis(100));
        assert_eq!(outside.unwrap_err().kind(), ErrorKind::TimedOut);
        served.write_all(b"x").unwrap();
        inside.read_exact(&mut [0]).unwrap();
        // Who had come before is still taken, and heard.
        let (mut late, _) = listener.accept().unwrap();
        waiting.write_all(b"y").unwrap();
        late.read_exact(&mut [0]).unwrap();
        set(&doors, true).unwrap();
        set(&doors, false).unwrap();
        TcpStream::connect(at).unwrap();
        set(&doors, false).unwrap();
    }

    #[test]
    fn one_that_does_not_follow_leaves_no_other_open() {
        let file = tempfile::tempfile().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let both = [file.as_fd(), listener.as_fd()];
        assert_eq!(set(&both, true).unwrap_err().raw_os_error(), Some(Errno::ENOTSOCK as i32));
        let at = listener.local_addr().unwrap();
        let outside = TcpStream::connect_timeout(&at, Duration::from_millis(100));
        assert_eq!(outside.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
