//! The operators' console: its app, and the words of operators over HTTP (`docs/design/web.md`).
//!
//! Invariants: it answers in every role, from this node's own view; nothing of webmail, JMAP and `/api` is
//! served here, and nothing of it there; its cookie opens nothing else. Whatever is not GET needs
//! `X-Understudy: 1`. A command that was begun is done and kept in the audit, whether or not its asker
//! waits. Deliberately absent: files of tenants, which are written and read on the machine itself.

mod sessions;
mod status;

use super::api::{Asked, time};
use super::assets::{self, App};
use super::caller::{Ours, WRONG_PAUSE, cookie_of, set_cookie_of};
use super::discover::not_so;
use super::failure::Failure;
use crate::base::clock;
use crate::base::secret::Secret;
use crate::base::source::Source;
use crate::directory::{Directory, OperatorLogin};
use crate::http::Client;
use crate::ops::request::{Answer, Ask, By, Failure as Refusal, Reply, Request, UpdatePiece};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use sessions::Sessions;
use std::sync::Arc;
use std::time::Duration;
use understudy_proto::time::UnixMs;

/// Sent over TLS only, to this host only (RFC 6265bis 4.1.3.2). Ports share cookies: 443 is sent it, too, and
/// does not look.
const COOKIE_NAME: &str = "__Host-console";
/// Longest body that is read as a whole, in bytes: as on the control socket.
const BODY_LEN_MAX: usize = 64 * 1024;
/// Bytes of an update that are handed over at a time.
const PIECE_LEN: usize = 256 * 1024;

/// The console: the state of every handler. Clones are the same.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

struct Inner {
    directory: Directory,
    /// The name that the appliance greets with.
    appliance: String,
    ask: Ask,
    sessions: Sessions,
}

impl Console {
    /// The console of `appliance`; `ask` does what operators want.
    #[must_use]
    pub fn new(directory: Directory, appliance: &str, ask: Ask) -> Self {
        let (appliance, sessions) = (appliance.to_owned(), Sessions::default());
        Self(Arc::new(Inner { directory, appliance, ask, sessions }))
    }

    /// For [`crate::http::Site`].
    pub fn router(self) -> Router {
        let api = Router::new()
            .route("/session", get(session).post(sign_in).delete(sign_out))
            .route("/ask", post(ask))
            .route("/status", get(status::events))
            .route("/update", put(update))
            .layer(DefaultBodyLimit::max(BODY_LEN_MAX));
        Router::new().nest("/api/console", api).fallback(page).with_state(self)
    }

    /// Asks in the name of an operator.
    async fn ask(&self, request: Request, name: &str) -> Reply {
        (self.0.ask)(request, By::Console(name.to_owned())).await
    }

    /// Whether the session goes on, and for how long if nobody uses it.
    fn stands(&self, token: &Secret<String>, login: &OperatorLogin) -> Option<Duration> {
        let (_, left) = self.0.sessions.find(token, clock::mono(), false)?;
        let known = self.0.directory.knows_operator(login).unwrap_or_else(|e| {
            log::warn!(err:% = e; "an operator cannot be looked up, the session ends");
            false
        });
        known.then_some(left)
    }
}

async fn page(request: axum::extract::Request) -> Response {
    match *request.method() {
        Method::GET | Method::HEAD => assets::serve(App::Console, request).await,
        _ => not_so("GET, HEAD"),
    }
}

/// An operator who is signed in.
struct SignedIn {
    token: Secret<String>,
    login: OperatorLogin,
    left: Duration,
}

impl FromRequestParts<Console> for SignedIn {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Failure> {
        let signed_out = Failure::SignedOut { ask: false };
        let token = cookie_of(COOKIE_NAME, &parts.headers).ok_or_else(|| signed_out.clone())?;
        Ours::from_request_parts(parts, console).await?;
        let found = console.0.sessions.find(&token, clock::mono(), true);
        let (login, left) = found.ok_or_else(|| signed_out.clone())?;
        if console.stands(&token, &login).is_none() {
            console.0.sessions.end(&token);
            return Err(signed_out);
        }
        Ok(Self { token, login, left })
    }
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: Secret<String>,
}

#[derive(Serialize)]
struct Session {
    name: String,
    appliance: String,
    version: &'static str,
    #[serde(serialize_with = "time")]
    expires: UnixMs,
}

impl Session {
    fn new(console: &Console, name: &str, left: Duration) -> Json<Self> {
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Json(Self {
            name: name.to_owned(),
            appliance: console.0.appliance.clone(),
            version: env!("CARGO_PKG_VERSION"),
            expires: UnixMs(clock::now_ms().0.saturating_add(left)),
        })
    }
}

async fn sign_in(
    State(console): State<Console>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    Asked(asked): Asked<Credentials>,
) -> Result<Response, Failure> {
    let (directory, source) = (&console.0.directory, Source::of(client.peer.ip()));
    let found = directory.sign_in_operator(&asked.name, &asked.password, source).await?;
    let Some(login) = found else {
        log::warn!(session = client.session, peer:% = client.peer; "sign-in on the console failed");
        tokio::time::sleep(WRONG_PAUSE).await;
        return Err(Failure::Wrong);
    };
    log::info!(session = client.session, peer:% = client.peer, by = login.name.as_str(); "signed in on the console");
    if let Some(before) = cookie_of(COOKIE_NAME, &headers) {
        console.0.sessions.end(&before);
    }
    let name = login.name.clone();
    let (token, left) = console.0.sessions.begin(login, clock::mono());
    let cookie = set_cookie_of(COOKIE_NAME, Some(&token), None);
    Ok((cookie, Session::new(&console, &name, left)).into_response())
}

async fn session(State(console): State<Console>, who: SignedIn) -> Json<Session> {
    Session::new(&console, &who.login.name, who.left)
}

async fn sign_out(State(console): State<Console>, who: SignedIn) -> Response {
    console.0.sessions.end(&who.token);
    (StatusCode::NO_CONTENT, set_cookie_of(COOKIE_NAME, None, None)).into_response()
}

async fn ask(
    State(console): State<Console>,
    who: SignedIn,
    Asked(request): Asked<Request>,
) -> Json<Reply> {
    if matches!(request, Request::TenantExport(_) | Request::TenantImport(_)) {
        return Json(Reply::Error(Refusal::new(
            "the console writes and reads no files of the appliance",
            "Use the command line: understudy tenant --help",
        )));
    }
    Json(console.ask(request, &who.login.name).await)
}

#[derive(Serialize)]
struct Received {
    received: u64,
}

/// Takes the file of an update as it comes; installing it is a command of its own.
async fn update(
    State(console): State<Console>,
    who: SignedIn,
    mut body: Body,
) -> Result<Json<Received>, Failure> {
    let broken = || Failure::invalid("body", "the file did not arrive whole");
    let (mut offset, mut piece) = (0, Vec::with_capacity(PIECE_LEN));
    let mut ended = false;
    while !ended {
        match body.frame().await {
            Some(frame) => {
                if let Ok(data) = frame.map_err(|_gone| broken())?.into_data() {
                    piece.extend_from_slice(&data);
                }
            }
            None => ended = true,
        }
        if piece.len() < PIECE_LEN && !ended || piece.is_empty() {
            continue;
        }
        let request = UpdatePiece { offset, bytes: STANDARD.encode(&piece) };
        offset = match console.ask(Request::UpdatePiece(request), &who.login.name).await {
            Reply::Ok(Answer::Received(received)) => received,
            Reply::Ok(_) => return Err(broken()),
            Reply::Error(why) => return Err(Failure::invalid("body", why.to_string())),
        };
        piece.clear();
        if console.stands(&who.token, &who.login).is_none() {
            return Err(Failure::SignedOut { ask: false });
        }
    }
    Ok(Json(Received { received: offset }))
}
