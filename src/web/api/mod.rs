//! Sign-in, sessions, devices: what the app needs besides JMAP (`docs/design/web.md`).

mod admin;
mod agent;
mod connect;
mod credentials;
mod passkeys;
mod people;
mod profile;
mod session;
#[cfg(test)]
mod tests;

pub(in crate::web) use connect::{Connect, Security, Service};

use super::Web;
use super::caller::{Caller, Ours};
use super::failure::Failure;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use understudy_proto::time::UnixMs;

/// Longest body of a request, in bytes.
const BODY_LEN_MAX: usize = 64 * 1024;

/// Below `/api`.
pub(super) fn router() -> Router<Web> {
    Router::new()
        .route("/session", get(session::get).post(session::post).delete(session::delete))
        .route("/session/passkey", post(passkeys::sign_in))
        .route("/session/passkey/options", post(passkeys::sign_in_options))
        .route("/sessions", get(session::list))
        .route("/sessions/{id}", delete(session::revoke))
        .route("/devices", get(credentials::devices).post(credentials::add_device))
        .route("/devices/{id}", delete(credentials::revoke_device))
        .route("/password", post(credentials::password))
        .route(
            "/totp",
            post(credentials::begin_totp)
                .put(credentials::confirm_totp)
                .delete(credentials::remove_totp),
        )
        .route("/passkeys", get(passkeys::list).post(passkeys::add))
        .route("/passkeys/options", post(passkeys::options))
        .route("/passkeys/{id}", delete(passkeys::revoke))
        .route("/people", get(people::search))
        .route("/connect", get(connect::get))
        .route("/connect/zone", get(connect::zone))
        .route("/connect/apple", post(connect::apple))
        .route("/connect/apple.mobileconfig", get(connect::profile))
        .route("/notice", get(notice))
        .route("/admin/ask", post(admin::ask))
        .fallback(async || Failure::NotFound)
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
}

/// What is going on, for the banner; `null` where nothing is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// Which stage.
    pub stage: String,
    /// Since when.
    #[serde(serialize_with = "time")]
    pub since: UnixMs,
    /// What people are told.
    pub text: Words,
}

/// A text in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Words {
    /// German.
    pub de: String,
    /// English.
    pub en: String,
}

async fn notice(State(web): State<Web>, caller: Caller) -> Json<Option<Notice>> {
    Json(web.notice(caller.login.tenant))
}

/// A request's JSON, refused in our words; and only where it is the app's own.
pub(in crate::web) struct Asked<T>(pub(in crate::web) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        Ours::from_request_parts(&mut parts, state).await?;
        match Json::from_request(Request::from_parts(parts, body), state).await {
            Ok(Json(asked)) => Ok(Self(asked)),
            Err(JsonRejection::BytesRejection(e))
                if e.status() == StatusCode::PAYLOAD_TOO_LARGE =>
            {
                Err(Failure::TooLarge)
            }
            Err(e) => Err(Failure::invalid("body", e.body_text())),
        }
    }
}

/// A request's query, likewise.
struct Sought<T>(T);

impl<T: DeserializeOwned> FromRequestParts<Web> for Sought<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Failure> {
        let found: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, web).await;
        found
            .map(|Query(sought)| Self(sought))
            .map_err(|e| Failure::invalid("query", e.body_text()))
    }
}

pub(in crate::web) fn time<S: serde::Serializer>(
    at: &UnixMs,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::base::clock::rfc3339(*at))
}

fn maybe_time<S: serde::Serializer>(at: &Option<UnixMs>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, serializer),
        None => serializer.serialize_none(),
    }
}
