//! One file per command or family of commands; [`run`] leads to it.
//!
//! A command appends its untagged responses to the session's wire and returns its tagged answer.
//! The session then tells the news and sends the answer.

pub(super) mod append;
pub(super) mod auth;
mod copy;
mod expunge;
mod fetch;
mod idle;
mod list;
mod mailbox;
mod quota;
mod search;
mod select;
mod status;
mod store;

use super::answer::{Done, End, Failure};
use super::session::Session;
use crate::mail::MailError;
use understudy_proto::imap::command::Command;
use understudy_proto::imap::response;

/// Runs a command that the session's state admits.
pub(super) async fn run(s: &mut Session, tag: &str, command: Command) -> Result<Done, Failure> {
    match command {
        Command::Capability => {
            let list = format!("CAPABILITY {}", s.capability());
            response::untagged(&mut s.wire.out, &list);
            Ok(Done::ok("That is all"))
        }
        Command::Noop => Ok(Done::ok("Nothing done")),
        // Whatever is acknowledged is durable already.
        Command::Check => Ok(Done::ok("Checked")),
        // The session does these itself: they have no ordinary answer.
        Command::Logout | Command::StartTls => Ok(Done::bad("out of step")),
        Command::Id(pairs) => Ok(auth::id(s, &pairs)),
        Command::Login { name, password } => auth::login(s, name, &password.0).await,
        Command::Authenticate { mechanism, initial } => {
            auth::authenticate(s, &mechanism, initial.map(|i| i.0)).await
        }
        Command::Enable(_) => {
            // RFC 5161 3.1: what is not supported is passed over.
            response::untagged(&mut s.wire.out, "ENABLED");
            Ok(Done::ok("Nothing to enable"))
        }
        Command::Select { mailbox, read_only } => select::run(s, &mailbox, read_only).await,
        Command::Unselect => Ok(select::leave(s)),
        Command::Close => expunge::close(s).await,
        Command::Create { mailbox, role } => mailbox::create(s, &mailbox, role).await,
        Command::Delete { mailbox } => mailbox::delete(s, &mailbox).await,
        Command::Rename { from, to } => mailbox::rename(s, &from, &to).await,
        Command::Subscribe { mailbox, subscribed } => {
            mailbox::subscribe(s, &mailbox, subscribed).await
        }
        Command::List(list) => list::run(s, &list).await,
        Command::Namespace => {
            response::untagged(&mut s.wire.out, "NAMESPACE ((\"\" \"/\")) NIL NIL");
            Ok(Done::ok("That is all"))
        }
        Command::Status { mailbox, items } => status::run(s, &mailbox, &items).await,
        Command::GetQuota { root } => quota::get(s, &root),
        Command::GetQuotaRoot { mailbox } => quota::get_root(s, &mailbox),
        Command::Idle => idle::run(s).await,
        Command::Expunge(only) => expunge::run(s, only.as_ref()).await,
        Command::Search(search) => search::run(s, tag, &search).await,
        Command::Fetch(fetch) => fetch::run(s, fetch).await,
        Command::Store(store) => store::run(s, store).await,
        Command::Copy { target, mailbox } => copy::run(s, &target, &mailbox, false).await,
        Command::Move { target, mailbox } => copy::run(s, &target, &mailbox, true).await,
    }
}

/// Runs what reads much from disk off the async threads.
async fn blocking<T, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, MailError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        // A panic there is a panic of this session (base::task counts and logs it).
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(_cancelled) => Err(End::Bye("The server is stopping").into()),
    }
}

/// The answer of a command on messages some of which another session has expunged: RFC 5530.
fn expunged_some(text: &str) -> Done {
    Done::no("EXPUNGEISSUED", text)
}
