//! The socket between the main process and its guardian: whole messages, in order.
//!
//! Invariants: nothing raises SIGPIPE; only [`Channel::send`] waits. Sending from several threads is
//! safe: a message is one packet, and the descriptors of sockets come along with it. Deliberately
//! absent: reconnecting. The socket lives as long as both processes; an `exec` of the main process
//! keeps it.

use super::message::{MESSAGE_LEN_MAX, MessageError, decode, encode};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rustix::cmsg_space;
use rustix::io::Errno as Fault;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Pause before a message is sent again that did not go.
const RETRY: Duration = Duration::from_millis(1);

/// Descriptors that come with one message, at most; the kernel takes 253.
pub(super) const DESCRIPTORS_MAX: usize = 64;

/// Bytes that they take along the message.
const SPACE: usize = cmsg_space!(ScmRights(DESCRIPTORS_MAX));

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// Why a message did not come or go.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelError {
    #[error("the other process has ended")]
    Closed,
    #[error("the socket to the other process does not work: {0}")]
    Socket(#[source] io::Error),
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
            match self.push(&bytes, &[]) {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    // Out of memory the socket is writable all the time: no busy loop.
                    std::thread::sleep(RETRY);
                    let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut fds, nix::poll::PollTimeout::NONE) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(errno) => return Err(ChannelError::Socket(errno.into())),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends if the other process has room for it; `false` if not.
    pub(super) fn try_send(&self, message: &impl Serialize) -> Result<bool, ChannelError> {
        self.try_send_with(message, &[])
    }

    /// The same with copies of `descriptors`, at most [`DESCRIPTORS_MAX`].
    pub(super) fn try_send_with(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<bool, ChannelError> {
        self.push(&encode(message)?, descriptors)
    }

    fn push(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<bool, ChannelError> {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut along = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !along.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(ChannelError::Socket(Fault::TOOMANYREFS.into()));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(&self.0, &[IoSlice::new(bytes)], &mut along, flags) {
            Ok(_) => Ok(true),
            Err(Fault::AGAIN | Fault::INTR | Fault::NOBUFS) => Ok(false),
            Err(Fault::PIPE | Fault::CONNRESET) => Err(ChannelError::Closed),
            Err(errno) => Err(ChannelError::Socket(errno.into())),
        }
    }

    /// The next message that waits, if any.
    pub(super) fn receive<T: DeserializeOwned>(
        &self,
        buffer: &mut Buffer,
    ) -> Result<Option<T>, ChannelError> {
        Ok(self.receive_with(buffer)?.map(|(message, _)| message))
    }

    /// The same with the descriptors that came along; without some where this process has no room for
    /// more.
    pub(super) fn receive_with<T: DeserializeOwned>(
        &self,
        buffer: &mut Buffer,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, ChannelError> {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut along = RecvAncillaryBuffer::new(&mut space);
        let mut pieces = [IoSliceMut::new(&mut buffer.0)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let len = match recvmsg(&self.0, &mut pieces, &mut along, flags) {
            Ok(received) => received.bytes,
            Err(Fault::AGAIN | Fault::INTR) => return Ok(None),
            Err(Fault::CONNRESET) => return Err(ChannelError::Closed),
            Err(errno) => return Err(ChannelError::Socket(errno.into())),
        };
        let mut descriptors = Vec::new();
        for message in along.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        match buffer.0.get(..len).unwrap_or_default() {
            // No message is empty: this is the end.
            [] => Err(ChannelError::Closed),
            // A longer packet is cut by the kernel to one byte more than is allowed.
            bytes => Ok(Some((decode(bytes)?, descriptors))),
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
    use std::io::{Read, Write};
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
        one.push(&vec![0; MESSAGE_LEN_MAX + 1_000], &[]).unwrap();
        assert!(matches!(
            other.receive::<Order>(&mut buffer),
            Err(ChannelError::Message(MessageError::Length(_)))
        ));
        one.push(&[0xff; 40], &[]).unwrap();
        assert!(matches!(other.receive::<Order>(&mut buffer), Err(ChannelError::Message(_))));
    }

    #[test]
    fn descriptors_come_along_with_their_message() {
        let (one, other) = both();
        let mut buffer = Buffer::default();
        let pipes: Vec<_> = (0..DESCRIPTORS_MAX).map(|_| io::pipe().unwrap()).collect();
        let writers: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
        one.send(&Order::HoldNewcomers).unwrap();
        assert!(one.try_send_with(&Order::Pulse { until: Mono(7) }, &writers).unwrap());
        one.send(&Order::HoldNewcomers).unwrap();
        let none = other.receive_with::<Order>(&mut buffer).unwrap().unwrap();
        assert!(none.1.is_empty());
        let (order, descriptors) = other.receive_with::<Order>(&mut buffer).unwrap().unwrap();
        assert_eq!(order, Order::Pulse { until: Mono(7) });
        assert_eq!(descriptors.len(), DESCRIPTORS_MAX);
        for (fd, (mut reader, writer)) in descriptors.into_iter().zip(pipes) {
            drop(writer);
            std::fs::File::from(fd).write_all(b"x").unwrap();
            let mut read = Vec::new();
            // Ends: what came along was closed with the file, and nobody else has it.
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, b"x");
        }
        assert_eq!(other.receive(&mut buffer).unwrap(), Some(Order::HoldNewcomers));
    }
}
