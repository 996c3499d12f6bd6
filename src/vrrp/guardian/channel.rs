//! The socket between the main process and its guardian: whole messages, in order.
//!
//! Invariants: nothing raises SIGPIPE; only [`Channel::send`] and [`Channel::receive`] wait. Sending
//! from several threads is safe: a message is one packet. Deliberately absent: reconnecting. The
//! socket lives as long as both processes; an `exec` of the main process keeps it.

use super::message::{MESSAGE_LEN_MAX, MessageError, decode, encode};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Pause before a message is sent again that did not go.
const RETRY: Duration = Duration::from_millis(1);

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// Why a message did not come or go.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelError {
    #[error("the other process has ended")]
    Closed,
    #[error("the socket to the other process does not work: {0}")]
    Socket(#[source] Errno),
    #[error(transparent)]
    Message(#[from] MessageError),
}

impl Channel {
    /// Both ends; neither survives an `exec`.
    pub(super) fn pair() -> Result<(Self, OwnedFd), Errno> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(ours), theirs))
    }

    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends, waiting while the other process does not read.
    pub(super) fn send(&self, message: &impl Serialize) -> Result<(), ChannelError> {
        let bytes = encode(message)?;
        loop {
            match self.push(&bytes) {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    // Out of memory the socket is writable all the time: no busy loop.
                    std::thread::sleep(RETRY);
                    let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut fds, nix::poll::PollTimeout::NONE) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(errno) => return Err(ChannelError::Socket(errno)),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends if the other process has room for it; `false` if not.
    pub(super) fn try_send(&self, message: &impl Serialize) -> Result<bool, ChannelError> {
        self.push(&encode(message)?)
    }

    fn push(&self, bytes: &[u8]) -> Result<bool, ChannelError> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.0.as_raw_fd(), bytes, flags) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => Ok(false),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(ChannelError::Closed),
            Err(errno) => Err(ChannelError::Socket(errno)),
        }
    }

    /// The next message that waits, if any.
    pub(super) fn receive<T: DeserializeOwned>(
        &self,
        buffer: &mut Buffer,
    ) -> Result<Option<T>, ChannelError> {
        match recv(self.0.as_raw_fd(), &mut buffer.0, MsgFlags::MSG_DONTWAIT) {
            // No message is empty: this is the end.
            Ok(0) | Err(Errno::ECONNRESET) => Err(ChannelError::Closed),
            // A longer packet is cut by the kernel to one byte more than is allowed.
            Ok(len) => Ok(Some(decode(buffer.0.get(..len).unwrap_or_default())?)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(ChannelError::Socket(errno)),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Room for one message and the byte that tells that it is too long.
pub(super) struct Buffer(Box<[u8]>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; MESSAGE_LEN_MAX + 1].into_boxed_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Order, Report};
    use super::*;
    use understudy_proto::time::Mono;

    fn both() -> (Channel, Channel) {
        let (one, other) = Channel::pair().unwrap();
        (one, Channel::new(other))
    }

    #[test]
    fn messages_arrive_whole_and_in_order_and_then_the_end() {
        let (one, other) = both();
        let mut buffer = Buffer::default();
        assert!(other.receive::<Order>(&mut buffer).unwrap().is_none());
        for n in 0..3 {
            one.send(&Order::Pulse { until: Mono(n) }).unwrap();
        }
        drop(one);
        for n in 0..3 {
            let order = other.receive::<Order>(&mut buffer).unwrap();
            assert_eq!(order, Some(Order::Pulse { until: Mono(n) }));
        }
        assert!(matches!(other.receive::<Order>(&mut buffer), Err(ChannelError::Closed)));
        assert!(matches!(other.try_send(&Report::Alive), Err(ChannelError::Closed)));
    }

    #[test]
    fn a_reader_that_sleeps_is_not_waited_for() {
        let (one, other) = both();
        let mut sent = 0_u64;
        while one.try_send(&Order::Pulse { until: Mono(sent) }).unwrap() {
            sent += 1;
        }
        let mut buffer = Buffer::default();
        let mut read = 0_u64;
        while let Some(Order::Pulse { until }) = other.receive(&mut buffer).unwrap() {
            assert_eq!(until, Mono(read));
            read += 1;
        }
        assert_eq!(read, sent);
    }

    #[test]
    fn an_empty_or_overlong_packet_is_no_message() {
        let (one, other) = both();
        let mut buffer = Buffer::default();
        one.push(&vec![0; MESSAGE_LEN_MAX + 1_000]).unwrap();
        assert!(matches!(
            other.receive::<Order>(&mut buffer),
            Err(ChannelError::Message(MessageError::Length(_)))
        ));
        one.push(&[0xff; 40]).unwrap();
        assert!(matches!(other.receive::<Order>(&mut buffer), Err(ChannelError::Message(_))));
    }
}
