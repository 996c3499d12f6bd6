//! A person's devices, password and second factor.

use super::{Asked, maybe_time, session, time};
use crate::base::secret::{Secret, serialize_exposed};
use crate::directory::APP_PASSWORD_DAYS_MAX;
use crate::web::Web;
use crate::web::caller::{Caller, WRONG_PAUSE};
use crate::web::failure::Failure;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use understudy_proto::directory::CredentialKind;
use understudy_proto::time::UnixMs;

#[derive(Serialize)]
pub(super) struct Device {
    id: String,
    label: String,
    #[serde(serialize_with = "time")]
    created: UnixMs,
    #[serde(serialize_with = "maybe_time")]
    expires: Option<UnixMs>,
}

#[derive(Deserialize)]
pub(super) struct NewDevice {
    pub(super) label: String,
    pub(super) days: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct MadeDevice {
    id: String,
    #[serde(serialize_with = "serialize_exposed")]
    password: Secret<String>,
}

#[derive(Deserialize)]
pub(super) struct NewPassword {
    old: Secret<String>,
    new: Secret<String>,
}

#[derive(Deserialize)]
pub(super) struct Password {
    password: Secret<String>,
}

#[derive(Deserialize)]
pub(super) struct Code {
    code: String,
}

#[derive(Deserialize)]
pub(super) struct PasswordAndCode {
    password: Secret<String>,
    code: String,
}

#[derive(Serialize)]
pub(super) struct Totp {
    #[serde(serialize_with = "serialize_exposed")]
    secret: Secret<String>,
    #[serde(serialize_with = "serialize_exposed")]
    uri: Secret<String>,
}

/// A wrong password or code costs time here, too.
pub(super) async fn slow(failure: impl Into<Failure>) -> Failure {
    let failure = failure.into();
    if failure == Failure::Wrong {
        tokio::time::sleep(WRONG_PAUSE).await;
    }
    failure
}

pub(super) async fn devices(
    State(web): State<Web>,
    caller: Caller,
) -> Result<Json<Vec<Device>>, Failure> {
    caller.session()?;
    let all = web.directory().own_credentials(&caller.login, CredentialKind::AppPassword)?;
    let device = |(id, held): (String, understudy_proto::directory::Held)| Device {
        id,
        label: held.credential.label,
        created: held.credential.created,
        expires: held.ends,
    };
    Ok(Json(all.into_iter().map(device).collect()))
}

impl NewDevice {
    /// Fails where the life is none that an app password may have.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let fits = self.days.is_none_or(|days| (1..=APP_PASSWORD_DAYS_MAX).contains(&days));
        let text = || format!("a device is given 1 to {APP_PASSWORD_DAYS_MAX} days");
        if fits { Ok(()) } else { Err(Failure::invalid("days", text())) }
    }
}

pub(super) async fn add_device(
    State(web): State<Web>,
    caller: Caller,
    Asked(asked): Asked<NewDevice>,
) -> Result<Json<MadeDevice>, Failure> {
    caller.session()?;
    asked.check()?;
    let (lease, login) = (caller.lease(), &caller.login);
    let made = web.directory().add_own_app_password(lease, login, &asked.label, asked.days).await?;
    let (id, made) = made;
    Ok(Json(MadeDevice { id, password: made.plain }))
}

/// One of the caller's own opens nothing any more.
pub(super) async fn revoke_own(
    web: &Web,
    caller: &Caller,
    kind: CredentialKind,
    id: &str,
) -> Result<StatusCode, Failure> {
    caller.session()?;
    let found = web.directory().revoke_own(caller.lease(), &caller.login, kind, id).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Failure::NotFound) }
}

pub(super) async fn revoke_device(
    State(web): State<Web>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    revoke_own(&web, &caller, CredentialKind::AppPassword, &id).await
}

pub(super) async fn password(
    State(web): State<Web>,
    caller: Caller,
    Asked(asked): Asked<NewPassword>,
) -> Result<Response, Failure> {
    let session = (&caller.login, caller.session()?);
    let (passwords, source) = ((&asked.old, asked.new), caller.here.source());
    let changed = web.directory().change_password(caller.lease(), session, passwords, source).await;
    let signed_in = match changed {
        Ok(signed_in) => signed_in,
        Err(e) => return Err(slow(e).await),
    };
    log::info!(tenant:% = caller.login.tenant, account:% = caller.login.account; "a person changed their password");
    let all = web.directory().own_credentials(&caller.login, CredentialKind::Session)?;
    let mine = all.iter().find(|(_, held)| held.credential.id == signed_in.id);
    let own_device = mine.and_then(|(_, held)| held.credential.secret.session());
    let own_device = own_device.is_some_and(|session| session.own_device);
    let cookie = session::set_cookie(Some(&signed_in), own_device);
    Ok((StatusCode::NO_CONTENT, cookie).into_response())
}

pub(super) async fn begin_totp(
    State(web): State<Web>,
    caller: Caller,
    Asked(asked): Asked<Password>,
) -> Result<Json<Totp>, Failure> {
    caller.session()?;
    let (lease, login, source) = (caller.lease(), &caller.login, caller.here.source());
    match web.directory().begin_totp(lease, login, &asked.password, source).await {
        Ok(fresh) => Ok(Json(Totp { secret: fresh.secret, uri: fresh.uri })),
        Err(e) => Err(slow(e).await),
    }
}

pub(super) async fn confirm_totp(
    State(web): State<Web>,
    caller: Caller,
    Asked(asked): Asked<Code>,
) -> Result<StatusCode, Failure> {
    caller.session()?;
    match web.directory().confirm_totp(caller.lease(), &caller.login, &asked.code).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(e) => Err(slow(e).await),
    }
}

pub(super) async fn remove_totp(
    State(web): State<Web>,
    caller: Caller,
    Asked(asked): Asked<PasswordAndCode>,
) -> Result<StatusCode, Failure> {
    caller.session()?;
    let (lease, login, source) = (caller.lease(), &caller.login, caller.here.source());
    let proofs = (&asked.password, asked.code.as_str());
    match web.directory().remove_totp(lease, login, proofs, source).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(e) => Err(slow(e).await),
    }
}
