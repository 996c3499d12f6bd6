//! What the service manager hears of this process: `READY=1`, `WATCHDOG=1`, `STOPPING=1` (sd_notify(3)).
//!
//! Invariants: nothing here waits, and nothing fails for it: where nobody listens, or nobody reads,
//! the word is lost. The word of life is said only while the caller's proof of life holds. Who speaks
//! is the main process, also below a guardian: the unit takes it from all its processes
//! (`NotifyAccess=all`), so `WATCHDOG_PID`, which names the guardian, is not looked at.
//!
//! Deliberately absent: status texts (there is `understudy status`), file descriptors, reloading.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Where the service manager listens: a path, or `@` and an abstract name.
pub const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// How long it waits for a word of life, in microseconds.
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";
/// Words of life in the time that it waits: two may be lost or late.
const WORDS_PER_WATCHDOG: u32 = 3;

/// The service manager, if one wants to hear of this process.
#[derive(Debug, Default)]
pub struct Manager {
    ear: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that started this process, by its environment.
    #[must_use]
    pub fn of_this_process() -> Self {
        let Some(socket) = std::env::var_os(SOCKET_VARIABLE) else { return Self::default() };
        let watchdog = std::env::var(WATCHDOG_VARIABLE).ok();
        Self::at(&socket, watchdog.as_deref()).unwrap_or_else(|e| {
            log::warn!(err:% = e; "the service manager cannot be told anything");
            Self::default()
        })
    }

    fn at(socket: &OsStr, watchdog: Option<&str>) -> io::Result<Self> {
        let address = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(socket)?,
        };
        let ours = UnixDatagram::unbound()?;
        ours.set_nonblocking(true)?;
        let micros = watchdog.and_then(|text| text.parse().ok()).filter(|micros| *micros > 0);
        Ok(Self { ear: Some((ours, address)), watchdog: micros.map(Duration::from_micros) })
    }

    /// Everything is up. The watchdog counts from here.
    pub fn ready(&self) {
        match self.watchdog {
            // Also after `pause`, in the image that comes next.
            Some(time) => self.say(&format!("READY=1\nWATCHDOG_USEC={}", time.as_micros())),
            None => self.say("READY=1"),
        }
    }

    /// Stopping has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// No word of life is to be waited for until the next [`Manager::ready`]: this process starts
    /// itself anew, and opens what may take long.
    pub fn pause(&self) {
        if self.watchdog.is_some() {
            self.say("WATCHDOG_USEC=0");
        }
    }

    /// Says that this process lives, again and again, whenever `alive` says so; never returns.
    pub async fn keep_watch(&self, alive: impl Fn() -> bool) {
        let Some(time) = self.watchdog else { return std::future::pending().await };
        loop {
            if alive() {
                self.say("WATCHDOG=1");
            }
            tokio::time::sleep(time / WORDS_PER_WATCHDOG).await;
        }
    }

    fn say(&self, words: &str) {
        let Some((ours, ear)) = &self.ear else { return };
        if let Err(e) = ours.send_to_addr(words.as_bytes(), ear) {
            log::debug!(err:% = e; "the service manager does not listen");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn heard(ear: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let len = ear.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn words_reach_a_socket_with_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        let manager = Manager::at(path.as_os_str(), None).unwrap();
        manager.ready();
        manager.pause(); // Nobody watches: nothing to be said.
        manager.stopping();
        assert_eq!(heard(&ear), "READY=1");
        assert_eq!(heard(&ear), "STOPPING=1");
    }

    #[test]
    fn words_reach_an_abstract_socket_and_the_watchdog_is_set_again() {
        let name = format!("understudy-test-{}", std::process::id());
        let ear = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let manager = Manager::at(OsStr::new(&format!("@{name}")), Some("15000000")).unwrap();
        manager.pause();
        manager.ready();
        assert_eq!(heard(&ear), "WATCHDOG_USEC=0");
        assert_eq!(heard(&ear), "READY=1\nWATCHDOG_USEC=15000000");
    }

    #[test]
    fn nobody_who_listens_is_no_error() {
        Manager::default().ready();
        let gone = Manager::at(OsStr::new("/no/such/socket"), Some("nonsense")).unwrap();
        gone.ready();
        assert!(gone.watchdog.is_none());
        assert!(Manager::at(OsStr::new("/x"), Some("0")).unwrap().watchdog.is_none());
    }

    #[tokio::test]
    async fn who_does_not_live_does_not_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let ear = tokio::net::UnixDatagram::bind(&path).unwrap();
        let manager = Manager::at(path.as_os_str(), Some("3000")).unwrap();
        let (alive, asked) = (AtomicBool::new(false), AtomicBool::new(false));
        let watch = manager.keep_watch(|| {
            asked.store(true, Ordering::Relaxed);
            alive.load(Ordering::Relaxed)
        });
        let listen = async {
            let mut buffer = [0; 64];
            while !asked.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
            let silent = ear.try_recv(&mut buffer).is_err();
            alive.store(true, Ordering::Relaxed);
            let len = ear.recv(&mut buffer).await.unwrap();
            (silent, buffer[..len].to_vec())
        };
        tokio::select! {
            () = watch => unreachable!("it never returns"),
            (silent, words) = listen => {
                assert!(silent);
                assert_eq!(words, b"WATCHDOG=1");
            }
        }
    }
}
