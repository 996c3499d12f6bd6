//! Who is on the doorstep of the services: connecting, or connected and not yet greeted.
//!
//! So that a handover can wait for them, once the door is closed: a client whose last packet of the
//! handshake reaches the other appliance is reset.
//!
//! Invariant: it keeps no listener alive. Deliberately absent: the door itself (`vrrp`), and when to
//! close it, which is the pair's to know.

use super::handshake;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::net::TcpListener;

/// The doorstep of all listeners; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Doorstep(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Connections that were accepted and have not been sent a byte.
    ungreeted: Arc<()>,
    listeners: Vec<Weak<TcpListener>>,
}

impl Doorstep {
    pub(super) fn add(&self, listener: &Arc<TcpListener>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.listeners.push(Arc::downgrade(listener));
    }

    /// To be kept until the connection that is accepted now is greeted.
    pub(super) fn greeting(&self) -> Greeting {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Greeting { counts: Arc::clone(&state.ungreeted) }
    }

    /// Those that listen.
    #[must_use]
    pub fn listeners(&self) -> Vec<Arc<TcpListener>> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.listeners.iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether nobody is connecting, or waits to be accepted or greeted. Asks the kernel: may take a
    /// millisecond.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let listeners = self.listeners();
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
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting == 0 && Arc::strong_count(&state.ungreeted) == 1
    }
}

/// See [`Doorstep::greeting`].
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    counts: Arc<()>,
}

/// A greeting that does not count for now.
pub(super) struct Paused(Weak<()>);

impl Greeting {
    /// Does not count until it is resumed.
    pub(super) fn pause(self) -> Paused {
        Paused(Arc::downgrade(&self.counts))
    }
}

impl Paused {
    /// Counts again; `None` when the doorstep is gone.
    pub(super) fn resume(&self) -> Option<Greeting> {
        self.0.upgrade().map(|counts| Greeting { counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::handshake::tests::half_open;
    use crate::net::listen;
    use std::net::IpAddr;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn whoever_connects_waits_or_is_not_greeted_is_on_the_doorstep() {
        let doorstep = Doorstep::default();
        let listener = listen(&[IpAddr::from([127, 0, 0, 1])], 0).unwrap().remove(0);
        let listener = listener.behind(&doorstep);
        let at = listener.address();
        assert!(doorstep.is_quiet());
        let _waits = TcpStream::connect(at).await.unwrap();
        assert!(!doorstep.is_quiet(), "one waits to be accepted");
        let _taken = listener.accept().await.unwrap();
        assert!(doorstep.is_quiet());
        let greeting = listener.greeting();
        assert!(!doorstep.is_quiet(), "one waits to be greeted");
        let paused = greeting.pause();
        assert!(doorstep.is_quiet(), "it has to speak first");
        let greeting = paused.resume().unwrap();
        assert!(!doorstep.is_quiet(), "it has spoken");
        drop(greeting);
        assert!(doorstep.is_quiet());
        let deaf = half_open(at);
        assert!(!doorstep.is_quiet(), "one is connecting");
        drop(deaf);
        assert_eq!(doorstep.listeners().len(), 1);
        drop(listener);
        assert!(doorstep.listeners().is_empty(), "the doorstep keeps no listener");
    }
}
