//! A person's sessions: the one that asks, and the others.

use super::credentials::revoke_own;
use super::{Asked, agent, maybe_time, time};
use crate::base::secret::Secret;
use crate::directory::{Login, SignInError, SignedIn, WebSignIn};
use crate::web::Web;
use crate::web::caller::{COOKIE_NAME, Caller, Here, WRONG_PAUSE, cookie, set_cookie_of};
use crate::web::failure::Failure;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT_LANGUAGE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use understudy_proto::directory::CredentialKind;
use understudy_proto::time::UnixMs;

/// RFC 6265bis 5.6.2: as long as browsers keep one. The session ends before, in the log.
const OWN_DEVICE_MAX_AGE_S: u64 = 400 * 24 * 60 * 60;

#[derive(Deserialize)]
pub(super) struct SignIn {
    name: String,
    password: Secret<String>,
    code: Option<String>,
    #[serde(default)]
    own_device: bool,
}

#[derive(Serialize)]
struct Person {
    address: String,
    account: String,
    tenant: Tenant,
    language: &'static str,
    session: String,
    administrator: bool,
    totp: bool,
}

#[derive(Serialize)]
struct Tenant {
    name: String,
}

#[derive(Serialize)]
pub(super) struct Session {
    id: String,
    label: String,
    #[serde(serialize_with = "time")]
    created: UnixMs,
    #[serde(serialize_with = "time")]
    used: UnixMs,
    #[serde(serialize_with = "maybe_time")]
    expires: Option<UnixMs>,
    own_device: bool,
    current: bool,
}

/// The header that gives the browser its token, or takes it away.
pub(super) fn set_cookie(token: Option<&SignedIn>, own_device: bool) -> [(HeaderName, String); 1] {
    let age = own_device.then_some(OWN_DEVICE_MAX_AGE_S);
    set_cookie_of(COOKIE_NAME, token.map(|signed_in| &signed_in.token), age)
}

/// Signs in.
pub(super) async fn post(
    State(web): State<Web>,
    here: Here,
    headers: HeaderMap,
    Asked(asked): Asked<SignIn>,
) -> Result<Response, Failure> {
    let label = browser(&headers);
    let who = WebSignIn {
        name: &asked.name,
        password: &asked.password,
        code: asked.code.as_deref().filter(|code| !code.is_empty()),
        source: here.source(),
        label: &label,
        own_device: asked.own_device,
    };
    let signed_in = web.directory().sign_in_web(here.lease(), who).await;
    begun(&web, &here, &headers, signed_in, asked.own_device).await
}

/// The browser of the request, in plain words.
pub(super) fn browser(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent::label(agent.unwrap_or_default())
}

/// The answer to whoever has tried to sign in.
pub(super) async fn begun(
    web: &Web,
    here: &Here,
    headers: &HeaderMap,
    tried: Result<SignedIn, SignInError>,
    own_device: bool,
) -> Result<Response, Failure> {
    let signed_in = match tried.map_err(Failure::from) {
        Ok(signed_in) => signed_in,
        Err(failure) => {
            if failure == Failure::Wrong {
                log::info!(session = here.0.session, peer:% = here.0.peer, reason = "wrong name, password, code or passkey"; "sign-in on the web failed");
                tokio::time::sleep(WRONG_PAUSE).await;
            }
            return Err(failure);
        }
    };
    log::info!(
        session = here.0.session,
        tenant:% = signed_in.login.tenant,
        account:% = signed_in.login.account;
        "signed in on the web"
    );
    let directory = web.directory();
    // The browser forgets the one that it had.
    if let Some(before) = cookie(headers)
        && let Some(before) = directory.session(before.expose())?
        && let Err(e) = directory.end_session(here.lease(), &before.login, before.id).await
    {
        log::debug!(err:% = e; "the session before stays until it is over");
    }
    let person = person(web, &signed_in.login, signed_in.id, headers)?;
    Ok((set_cookie(Some(&signed_in), own_device), Json(person)).into_response())
}

pub(super) async fn get(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    Ok(Json(person(&web, &caller.login, caller.session()?, &headers)?).into_response())
}

/// This session ends.
pub(super) async fn delete(State(web): State<Web>, caller: Caller) -> Result<Response, Failure> {
    web.directory().end_session(caller.lease(), &caller.login, caller.session()?).await?;
    Ok((StatusCode::NO_CONTENT, set_cookie(None, false)).into_response())
}

fn person(web: &Web, login: &Login, session: u32, headers: &HeaderMap) -> Result<Person, Failure> {
    let directory = web.directory();
    let sessions = directory.own_credentials(login, CredentialKind::Session)?;
    let session = sessions.into_iter().find(|(_, held)| held.credential.id == session);
    let (session, _) = session.ok_or(Failure::SignedOut { ask: false })?;
    let tenant = directory.tenants()?.into_iter().find(|tenant| tenant.id == login.tenant);
    let tenant = tenant.ok_or(Failure::SignedOut { ask: false })?;
    Ok(Person {
        address: login.address.clone(),
        account: format!("u{}", login.account),
        tenant: Tenant { name: tenant.name },
        language: language(headers),
        session,
        administrator: directory.is_administrator(login)?,
        totp: directory.has_totp(login)?,
    })
}

/// What the browser would have, until the person's preferences say otherwise (RFC 9110 12.5.4).
fn language(headers: &HeaderMap) -> &'static str {
    let first = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let german =
        first.is_some_and(|first| first.get(..2).is_some_and(|l| l.eq_ignore_ascii_case("de")));
    if german { "de" } else { "en" }
}

pub(super) async fn list(
    State(web): State<Web>,
    caller: Caller,
) -> Result<Json<Vec<Session>>, Failure> {
    let current = caller.session()?;
    let all = web.directory().own_credentials(&caller.login, CredentialKind::Session)?;
    let mut sessions: Vec<Session> = all
        .into_iter()
        .map(|(id, held)| Session {
            id,
            created: held.credential.created,
            used: held.last.map_or(held.credential.created, UnixMs),
            expires: held.ends,
            own_device: held.credential.secret.session().is_some_and(|s| s.own_device),
            current: held.credential.id == current,
            label: held.credential.label,
        })
        .collect();
    sessions.sort_by_key(|s| (std::cmp::Reverse(s.current), std::cmp::Reverse(s.used)));
    Ok(Json(sessions))
}

pub(super) async fn revoke(
    State(web): State<Web>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    revoke_own(&web, &caller, CredentialKind::Session, &id).await
}
