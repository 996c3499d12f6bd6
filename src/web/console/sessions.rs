//! The sessions of operators on this node: in memory only, so that none outlives the process.
//!
//! Invariants: at most [`SESSIONS_MAX`] (one more ends the one that was unused for longest); a session ends
//! [`IDLE`] after its last use and [`LIFE`] after its beginning. What a browser shows is kept as a hash.

use crate::base::secret::{self, Secret};
use crate::directory::OperatorLogin;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use understudy_proto::time::Mono;

/// Most sessions.
const SESSIONS_MAX: usize = 64;
/// A session that is unused for so long is over,
const IDLE: Duration = Duration::from_secs(30 * 60);
/// and any after so long.
const LIFE: Duration = Duration::from_secs(12 * 60 * 60);

struct Session {
    login: OperatorLogin,
    began: Mono,
    used: Mono,
}

impl Session {
    /// How long it lasts if it is not used; nothing when it is over.
    fn left(&self, now: Mono) -> Duration {
        let ends = self.used.after(IDLE).min(self.began.after(LIFE));
        ends.since(now)
    }
}

#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

fn hash(token: &Secret<String>) -> [u8; 32] {
    blake3::hash(token.expose().as_bytes()).into()
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session: what the browser shows from now on, and how long it lasts unused.
    pub(super) fn begin(&self, login: OperatorLogin, now: Mono) -> (Secret<String>, Duration) {
        let token = Secret::new(URL_SAFE_NO_PAD.encode(secret::random::<32>()));
        let mut sessions = self.lock();
        sessions.retain(|_, session| !session.left(now).is_zero());
        if sessions.len() >= SESSIONS_MAX {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.used);
            if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
                sessions.remove(&oldest);
            }
        }
        let session = Session { login, began: now, used: now };
        let left = session.left(now);
        sessions.insert(hash(&token), session);
        (token, left)
    }

    /// Whose session the token is of, and how long it lasts if it is not used again; `is_use`: it is used
    /// now.
    pub(super) fn find(
        &self,
        token: &Secret<String>,
        now: Mono,
        is_use: bool,
    ) -> Option<(OperatorLogin, Duration)> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(&hash(token))?;
        if session.left(now).is_zero() {
            sessions.remove(&hash(token));
            return None;
        }
        if is_use {
            session.used = now;
        }
        Some((session.login.clone(), session.left(now)))
    }

    /// Ends a session.
    pub(super) fn end(&self, token: &Secret<String>) {
        self.lock().remove(&hash(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Mono {
        Mono(1).after(Duration::from_secs(minutes * 60))
    }

    #[test]
    fn a_session_ends_unused_and_in_the_end_anyway() {
        let sessions = Sessions::default();
        let login = OperatorLogin::of_test("anna");
        let (token, left) = sessions.begin(login.clone(), at(0));
        assert_eq!(left, IDLE);
        assert_eq!(sessions.find(&token, at(29), false).unwrap().1, Duration::from_secs(60));
        for minutes in (0..12 * 60).step_by(29) {
            assert_eq!(sessions.find(&token, at(minutes), true).unwrap().0, login);
        }
        assert!(sessions.find(&token, at(12 * 60), true).is_none());
        let (token, _) = sessions.begin(login, at(0));
        assert!(sessions.find(&token, at(30), true).is_none());
        assert!(sessions.lock().is_empty());
    }

    #[test]
    fn there_are_never_too_many() {
        let sessions = Sessions::default();
        let begin = |minute| sessions.begin(OperatorLogin::of_test("anna"), at(minute)).0;
        let tokens: Vec<_> = (0..2).chain(std::iter::repeat_n(2, 62)).map(begin).collect();
        assert!(sessions.find(&tokens[0], at(3), true).is_some());
        let newest = begin(4);
        assert!(sessions.find(&tokens[1], at(4), true).is_none(), "unused for longest");
        for token in [&tokens[0], &tokens[63], &newest] {
            assert!(sessions.find(token, at(4), true).is_some());
        }
        sessions.end(&newest);
        assert!(sessions.find(&newest, at(4), true).is_none());
        assert_eq!(sessions.lock().len(), SESSIONS_MAX - 1);
    }
}
