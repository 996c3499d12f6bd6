//! IMAP4rev1 for mail clients: port 143 with STARTTLS, and 993.
//!
//! Framing, parsing, the view's numbers and the forms of responses are `understudy_proto::imap`'s;
//! this room reads and writes the socket and asks `directory` and `mail`. One task per session runs
//! one command after the other; no answer overtakes another. Invariants: no password without TLS; an
//! OK is sent only for what is committed and visible; what a session holds is bounded: its input by
//! `proto::imap::input`, its output by `wire::PIECE_LEN` and one piece of a body, its view by the
//! mailbox. `net` ends the session when the lease is revoked: nothing is answered after that.
//!
//! Absent on purpose, until their issue: CONDSTORE/QRESYNC, IMAP4rev2, SORT, THREAD, QUOTA, ACL.

mod answer;
mod cmd;
mod session;
mod wire;

use crate::base::limit;
use crate::config::Imap as Config;
use crate::directory::Directory;
use crate::mail::Mail;
use crate::net::{Limits, Session as Connection};
use crate::store::PrimaryLease;
use crate::tls::Service;
use std::sync::Arc;
use std::time::Duration;

/// Sessions of IMAP on port 143 (on 993 without the refusal, which would not be TLS): as many as the process-wide limit says; a household or a company behind one
/// address opens several per person.
pub const LIMITS: Limits = Limits {
    limit: &limit::IMAP_SESSIONS,
    per_source_max: 1_000,
    refusal: b"* BYE [UNAVAILABLE] Too many sessions\r\n",
};

/// Most time from the connection to the log-in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(180);
/// Wait before a wrong password is answered, once for each failure so far.
const LOGIN_FAILURE_DELAY: Duration = Duration::from_secs(1);
/// Wrong passwords after which the session ends.
const LOGIN_FAILURES_MAX: u32 = 4;
/// Commands in a row that are no commands, after which the session ends; before the log-in.
const NONSENSE_MAX_BEFORE_LOGIN: u32 = 4;
/// The same after the log-in.
const NONSENSE_MAX: u32 = 50;

/// The service. Clones are the same.
#[derive(Clone)]
pub struct Imap(Arc<Inner>);

struct Inner {
    directory: Directory,
    mail: Mail,
    tls: Service,
    config: Config,
    append_limit: u64,
}

impl Imap {
    /// The service over `directory` and `mail`; `append_limit` is the largest message in bytes that
    /// a client may store, the same that SMTP takes.
    #[must_use]
    pub fn new(
        directory: Directory,
        mail: Mail,
        tls: Service,
        config: Config,
        append_limit: u64,
    ) -> Self {
        Self(Arc::new(Inner { directory, mail, tls, config, append_limit }))
    }

    /// Serves one connection to its end; `implicit_tls` on port 993. For [`crate::net::serve`].
    pub async fn serve(self, connection: Connection<PrimaryLease>, implicit_tls: bool) {
        session::run(self.0, connection, implicit_tls).await;
    }
}
