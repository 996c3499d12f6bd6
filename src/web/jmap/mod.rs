//! JMAP (RFC 8620, RFC 8621): requests become calls, calls become answers (`docs/design/web.md`).
//!
//! Invariants: the tenant is the caller's, ids are the account's own, so that no id can name another's; one
//! call's error is that call's answer and the next one goes on; what a method changed is visible to the next
//! call of the same request. What decides is in `understudy_proto::jmap`. Absent: sharing, so an account has
//! its owner alone.

mod arguments;
mod blob;
mod blobs;
mod compose;
mod email;
mod mailbox;
mod objects;
mod push;
mod query;
mod quota;
mod sanitise;
mod session;
mod set;
mod submission;
mod thread;
mod ws;

use self::arguments::Arguments;
use super::Web;
use super::caller::Caller;
use crate::directory::Login;
use crate::mail::{Class, MailError, Snapshot};
use crate::store::PrimaryLease;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use understudy_proto::jmap::{
    self, Call, MethodError, REQUEST_LEN_MAX, Request, RequestError, UPLOAD_LEN_MAX,
};
use understudy_proto::mailbox::MailboxRefusal;
use understudy_proto::objects::ObjectType;

/// `/jmap/…` and `/.well-known/jmap`.
pub(super) fn router() -> Router<Web> {
    Router::new()
        .route("/.well-known/jmap", get(session::get))
        .route("/jmap/session", get(session::get))
        .route("/jmap/api", post(api).layer(DefaultBodyLimit::max(REQUEST_LEN_MAX)))
        .route(
            "/jmap/upload/{account}",
            post(blob::upload).layer(DefaultBodyLimit::max(UPLOAD_LEN_MAX)),
        )
        .route("/jmap/download/{account}/{blob}/{name}", get(blob::download))
        .route("/jmap/events", get(push::events))
        .route("/jmap/ws", get(ws::open))
}

/// Who asks, and what this request made so far.
struct Asking {
    web: Web,
    login: Login,
    lease: PrimaryLease,
    /// RFC 8620 3.3: ids by the client's names for what it created.
    created: BTreeMap<String, String>,
}

/// What a method gives: its own answer, and those of calls that it implies (RFC 8621 7.5).
type Answers = Vec<(&'static str, Value)>;
type Answer = Result<Answers, MethodError>;

async fn api(State(web): State<Web>, caller: Caller, body: Bytes) -> Response {
    let request = match Request::parse(&body) {
        Ok(request) => request,
        Err(why) => return problem(&why),
    };
    drop(body);
    Json(answer(Asking::new(web, &caller), request).await).into_response()
}

/// RFC 8620 3.4.
async fn answer(mut asking: Asking, request: Request) -> Value {
    let given = request.created.is_some();
    asking.created = request.created.unwrap_or_default();
    let mut responses: Vec<(String, Value, String)> = Vec::with_capacity(request.calls.len());
    for Call { name, arguments, id } in request.calls {
        let answer = match jmap::resolve(arguments, &responses) {
            Ok(arguments) => asking.call(&name, arguments.into()).await,
            Err(why) => Err(why),
        };
        match answer {
            Ok(answers) => {
                responses
                    .extend(answers.into_iter().map(|(name, v)| (name.to_owned(), v, id.clone())));
            }
            Err(why) => responses.push(("error".to_owned(), why.to_json(), id)),
        }
    }
    let mut answer = json!({
        "methodResponses": responses,
        "sessionState": session::state(&asking.web, &asking.login),
    });
    if given && let Some(all) = answer.as_object_mut() {
        all.insert("createdIds".into(), json!(asking.created));
    }
    answer
}

/// RFC 7807.
fn problem(why: &RequestError) -> Response {
    let kind = [("content-type", "application/problem+json")];
    (StatusCode::BAD_REQUEST, kind, why.to_json().to_string()).into_response()
}

impl Asking {
    fn new(web: Web, caller: &Caller) -> Self {
        let (login, lease) = (caller.login.clone(), caller.lease().clone());
        Self { web, login, lease, created: BTreeMap::new() }
    }

    async fn call(&mut self, name: &str, mut arguments: Arguments) -> Answer {
        if name == "Core/echo" {
            return Ok(vec![("Core/echo", arguments.all())]);
        }
        let account = arguments.text("accountId")?;
        if jmap::parse_account(&account) != Some(self.login.account) {
            return Err(MethodError::AccountNotFound);
        }
        match name {
            "Mailbox/get" => self.read("Mailbox/get", arguments, mailbox::get).await,
            "Mailbox/changes" => self.read("Mailbox/changes", arguments, mailbox::changes).await,
            "Mailbox/query" => self.read("Mailbox/query", arguments, mailbox::query).await,
            "Mailbox/set" => mailbox::set(self, arguments).await,
            "Thread/get" => self.read("Thread/get", arguments, thread::get).await,
            "Thread/changes" => self.read("Thread/changes", arguments, thread::changes).await,
            "Email/get" => self.read("Email/get", arguments, email::get).await,
            "Email/changes" => self.read("Email/changes", arguments, email::changes).await,
            "Email/query" => self.read("Email/query", arguments, query::query).await,
            "Email/set" => email::set(self, arguments).await,
            "Email/import" => email::import(self, arguments).await,
            "Email/parse" => self.read("Email/parse", arguments, email::parse).await,
            "Blob/get" => self.read("Blob/get", arguments, blobs::get).await,
            "Blob/lookup" => self.read("Blob/lookup", arguments, blobs::lookup).await,
            "Blob/upload" => blobs::upload(self, arguments).await,
            // Each login has one account.
            "Email/copy" | "Blob/copy" => self.copy(arguments),
            "SearchSnippet/get" => self.read("SearchSnippet/get", arguments, query::snippets).await,
            "Email/queryChanges" => {
                self.read("Email/queryChanges", arguments, query::changes).await
            }
            "Mailbox/queryChanges" => {
                self.read("Mailbox/queryChanges", arguments, mailbox::query_changes).await
            }
            // RFC 8620 5.6: these lists are asked for anew.
            "EmailSubmission/queryChanges" | "ContactCard/queryChanges" | "Quota/queryChanges" => {
                Err(MethodError::CannotCalculateChanges)
            }
            "EmailSubmission/set" => submission::set(self, arguments).await,
            "EmailSubmission/get" => {
                self.read("EmailSubmission/get", arguments, submission::get).await
            }
            "EmailSubmission/changes" => {
                objects::changes(self, ObjectType::EmailSubmission, arguments)
            }
            "EmailSubmission/query" => {
                self.read("EmailSubmission/query", arguments, submission::query).await
            }
            "Quota/get" => self.read("Quota/get", arguments, quota::get).await,
            "Quota/changes" => self.read("Quota/changes", arguments, quota::changes).await,
            "Quota/query" => self.read("Quota/query", arguments, quota::query).await,
            other => objects::call(self, other, arguments).await,
        }
    }

    /// A method that only reads: off the async threads, on one snapshot.
    async fn read(
        &self,
        name: &'static str,
        arguments: Arguments,
        method: fn(&Look, Arguments) -> Result<Value, MethodError>,
    ) -> Answer {
        let look = self.look()?;
        let value = blocking(move || method(&look, arguments)).await?;
        Ok(vec![(name, value)])
    }

    /// RFC 8620 5.4 and 6.3, RFC 8621 4.7: from an account that is not the one copied to.
    fn copy(&self, mut arguments: Arguments) -> Answer {
        let from = arguments.text("fromAccountId")?;
        if jmap::parse_account(&from) == Some(self.login.account) {
            return Err(MethodError::argument("fromAccountId is the account itself"));
        }
        Err(MethodError::FromAccountNotFound)
    }

    fn look(&self) -> Result<Look, MethodError> {
        let account = self.web.mail().snapshot(&self.login)?;
        let created = self.created.clone();
        Ok(Look { web: self.web.clone(), login: self.login.clone(), account, created })
    }

    fn id<'a>(&'a self, id: &'a str) -> Option<&'a str> {
        named(&self.created, id)
    }
}

/// What a method that reads sees.
struct Look {
    web: Web,
    login: Login,
    account: Snapshot,
    created: BTreeMap<String, String>,
}

/// An id as it stands, or the one that this request gave to what the client calls so.
fn named<'a>(created: &'a BTreeMap<String, String>, id: &'a str) -> Option<&'a str> {
    match id.strip_prefix('#') {
        Some(name) => created.get(name).map(String::as_str),
        None => Some(id),
    }
}

impl Look {
    fn id<'a>(&'a self, id: &'a str) -> Option<&'a str> {
        named(&self.created, id)
    }

    fn account_id(&self) -> String {
        jmap::account_id(self.login.account)
    }
}

async fn blocking<T, F>(work: F) -> Result<T, MethodError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, MethodError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // A panic there is a panic of this request (base::task counts and logs it).
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(_cancelled) => Err(MethodError::ServerUnavailable),
    }
}

impl From<MailError> for MethodError {
    fn from(e: MailError) -> Self {
        let unknown = matches!(e, MailError::Unknown(_));
        match e.class() {
            Class::Refused(MailboxRefusal::OverQuota) => Self::OverQuota,
            Class::Refused(why) => Self::argument(why.to_string()),
            Class::Full => Self::ServerFail("there is no room for it just now".into()),
            Class::Temporary if unknown => {
                log::warn!(err:% = e; "a change may have been made or not");
                Self::ServerPartialFail(
                    "it may have been done or not; look before asking again".into(),
                )
            }
            Class::Temporary => {
                log::debug!(err:% = e; "a JMAP call cannot be answered now");
                Self::ServerUnavailable
            }
        }
    }
}
