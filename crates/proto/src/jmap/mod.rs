//! JMAP (RFC 8620, RFC 8621) as far as it decides: requests and their references, ids, states, filters,
//! and what a message's properties are.
//!
//! Invariants: any JSON gives a request or an error of RFC 8620 3.6; sizes, depths and numbers of calls are
//! bounded by the constants here, which the session object tells clients. Ids are text of RFC 8620 1.2; what
//! is no id of ours names nothing. Deliberately absent: who is asking, rows, bytes of bodies (src/web/jmap).

pub mod email;
mod error;
pub mod filter;
mod id;
pub mod objects;
pub mod patch;
pub mod pointer;
mod request;

pub use error::{MethodError, SetError};
pub use id::{
    BlobId, State, account_id, email_id, mailbox_id, parse_account, parse_email, parse_mailbox,
    parse_thread, thread_id,
};
pub use request::{Call, Request, RequestError, resolve};

/// A JSON object.
pub type Map = serde_json::Map<String, serde_json::Value>;

/// RFC 8620 2.
pub const CORE: &str = "urn:ietf:params:jmap:core";
/// RFC 8621 1.3.1.
pub const MAIL: &str = "urn:ietf:params:jmap:mail";
/// RFC 8621 1.3.2.
pub const SUBMISSION: &str = "urn:ietf:params:jmap:submission";
/// RFC 8621 1.3.3.
pub const VACATION: &str = "urn:ietf:params:jmap:vacationresponse";
/// RFC 9425 2.
pub const QUOTA: &str = "urn:ietf:params:jmap:quota";
/// RFC 9404 2.
pub const BLOB: &str = "urn:ietf:params:jmap:blob";
/// RFC 8887 3.
pub const WEBSOCKET: &str = "urn:ietf:params:jmap:websocket";
/// RFC 9610 1.2.1.
pub const CONTACTS: &str = "urn:ietf:params:jmap:contacts";
/// Ours: what the app remembers of a person's wishes.
pub const PREFERENCES: &str = "urn:understudy:params:jmap:preferences";
/// All of them.
pub const CAPABILITIES: [&str; 9] =
    [CORE, MAIL, SUBMISSION, VACATION, QUOTA, BLOB, WEBSOCKET, CONTACTS, PREFERENCES];

/// RFC 8620 2: longest upload in bytes.
pub const UPLOAD_LEN_MAX: usize = 50 << 20;
/// Longest request in bytes.
pub const REQUEST_LEN_MAX: usize = 10 << 20;
/// Most requests of one account at a time.
pub const REQUESTS_AT_ONCE_MAX: usize = 8;
/// Most calls in a request.
pub const CALLS_MAX: usize = 64;
/// Most ids that one `/get` names.
pub const GET_MAX: usize = 1_000;
/// Most objects that one `/set` touches.
pub const SET_MAX: usize = 1_000;
