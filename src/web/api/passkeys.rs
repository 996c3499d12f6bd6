//! A person's passkeys, and sign-in with one (WebAuthn; what is checked: `directory::passkey`).
//!
//! Invariant: the name that passkeys are for (RP id) is one of the appliance's own. Who came by address, or by
//! a name that is none of ours, is told `not-found`: there is nothing that a passkey could be tied to. Bytes
//! are base64url, as in `PublicKeyCredential.toJSON()`.

use super::credentials::revoke_own;
use super::credentials::slow;
use super::{Asked, maybe_time, session, time};
use crate::base::secret::Secret;
use crate::directory::{Assertion, Directory, PasskeySignIn, Registration, Relying};
use crate::http::Host;
use crate::web::caller::{Caller, Here, Ours};
use crate::web::failure::Failure;
use crate::web::{Facts, Web};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize};
use understudy_proto::directory::CredentialKind;
use understudy_proto::time::UnixMs;

/// Bytes in base64url.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        URL_SAFE_NO_PAD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

#[derive(Serialize)]
pub(super) struct PasskeyRow {
    id: String,
    label: String,
    /// The name that it is for.
    host: String,
    #[serde(serialize_with = "time")]
    created: UnixMs,
    #[serde(serialize_with = "maybe_time")]
    used: Option<UnixMs>,
}

#[derive(Serialize)]
pub(super) struct Options {
    challenge: String,
    rp: String,
    user: Bytes,
    name: String,
    display_name: String,
    algorithms: Vec<i64>,
    exclude: Vec<Bytes>,
}

#[derive(Serialize)]
pub(super) struct SignInOptions {
    challenge: String,
    rp: String,
}

#[derive(Deserialize)]
pub(super) struct Password {
    password: Secret<String>,
}

#[derive(Deserialize)]
pub(super) struct NewPasskey {
    label: String,
    client_data: Bytes,
    authenticator_data: Bytes,
    key: Bytes,
    algorithm: i64,
}

#[derive(Serialize)]
pub(super) struct Added {
    id: String,
}

#[derive(Deserialize)]
pub(super) struct Shown {
    id: Bytes,
    user: Bytes,
    client_data: Bytes,
    authenticator_data: Bytes,
    signature: Bytes,
    #[serde(default)]
    own_device: bool,
}

/// For whom the passkeys of this request are, if there is a name.
fn relying(facts: &Facts, host: Option<&Extension<Host>>) -> Result<Relying, Failure> {
    let Some(Extension(Host::Name(name))) = host else { return Err(Failure::NotFound) };
    let mut ours = facts.names.iter().chain([&facts.hostname]);
    if !ours.any(|known| known.eq_ignore_ascii_case(name)) {
        return Err(Failure::NotFound);
    }
    // WHATWG URL 4.5: the port that https has is not written.
    let port = facts.https.filter(|port| *port != 443).map(|port| format!(":{port}"));
    let port = port.unwrap_or_default();
    Ok(Relying { id: name.clone(), origin: format!("https://{name}{port}") })
}

pub(super) async fn list(
    State(web): State<Web>,
    caller: Caller,
) -> Result<Json<Vec<PasskeyRow>>, Failure> {
    caller.session()?;
    let all = web.directory().own_credentials(&caller.login, CredentialKind::Passkey)?;
    let row = |(id, held): (String, understudy_proto::directory::Held)| PasskeyRow {
        id,
        host: held.credential.secret.passkey().map(|p| p.rp.clone()).unwrap_or_default(),
        label: held.credential.label,
        created: held.credential.created,
        used: held.last.map(UnixMs),
    };
    Ok(Json(all.into_iter().map(row).collect()))
}

/// What a browser needs to make a passkey, for a person who shows the password.
pub(super) async fn options(
    State(web): State<Web>,
    caller: Caller,
    host: Option<Extension<Host>>,
    Asked(asked): Asked<Password>,
) -> Result<Json<Options>, Failure> {
    let (whose, source) = ((&caller.login, caller.session()?), caller.here.source());
    let relying = relying(web.facts(), host.as_ref())?;
    let directory = web.directory();
    let begun = directory.begin_passkey(whose, &asked.password, source, &relying).await;
    let begun = match begun {
        Ok(begun) => begun,
        Err(e) => return Err(slow(e).await),
    };
    Ok(Json(Options {
        challenge: begun.challenge,
        rp: relying.id,
        user: Bytes(begun.user),
        name: caller.login.address.clone(),
        display_name: directory.name_of_person(&caller.login)?,
        algorithms: Directory::passkey_algorithms().collect(),
        exclude: begun.known.into_iter().map(Bytes).collect(),
    }))
}

pub(super) async fn add(
    State(web): State<Web>,
    caller: Caller,
    host: Option<Extension<Host>>,
    Asked(asked): Asked<NewPasskey>,
) -> Result<Json<Added>, Failure> {
    let (whose, lease) = ((&caller.login, caller.session()?), caller.lease());
    let relying = relying(web.facts(), host.as_ref())?;
    let said = Registration {
        client_data: asked.client_data.0,
        authenticator_data: asked.authenticator_data.0,
        key: asked.key.0,
        algorithm: asked.algorithm,
    };
    let said = (asked.label.as_str(), &said);
    match web.directory().add_passkey(lease, whose, said, &relying).await {
        Ok(id) => {
            log::info!(tenant:% = caller.login.tenant, account:% = caller.login.account; "a person added a passkey");
            Ok(Json(Added { id }))
        }
        Err(e) => Err(slow(e).await),
    }
}

pub(super) async fn revoke(
    State(web): State<Web>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    revoke_own(&web, &caller, CredentialKind::Passkey, &id).await
}

/// A challenge. It says nothing of who might sign in: the authenticator knows.
pub(super) async fn sign_in_options(
    State(web): State<Web>,
    _here: Here,
    _ours: Ours,
    host: Option<Extension<Host>>,
) -> Result<Json<SignInOptions>, Failure> {
    let relying = relying(web.facts(), host.as_ref())?;
    let challenge = web.directory().passkey_challenge(&relying)?;
    Ok(Json(SignInOptions { challenge, rp: relying.id }))
}

pub(super) async fn sign_in(
    State(web): State<Web>,
    here: Here,
    headers: HeaderMap,
    host: Option<Extension<Host>>,
    Asked(asked): Asked<Shown>,
) -> Result<Response, Failure> {
    let relying = relying(web.facts(), host.as_ref())?;
    let who = PasskeySignIn {
        relying: &relying,
        assertion: Assertion {
            id: asked.id.0,
            user: asked.user.0,
            client_data: asked.client_data.0,
            authenticator_data: asked.authenticator_data.0,
            signature: asked.signature.0,
        },
        source: here.source(),
        label: &session::browser(&headers),
        own_device: asked.own_device,
    };
    let tried = web.directory().sign_in_passkey(here.lease(), who).await;
    session::begun(&web, &here, &headers, tried, asked.own_device).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passkey_is_for_a_name_of_ours_and_its_origin() {
        let facts = Facts {
            hostname: "MX.example.net".into(),
            names: vec!["mail.example.org".into()],
            https: Some(443),
            ..Facts::default()
        };
        let of = |facts: &Facts, host: Host| relying(facts, Some(&Extension(host)));
        for name in ["mx.example.net", "mail.example.org"] {
            let wanted = Relying { id: name.into(), origin: format!("https://{name}") };
            assert_eq!(of(&facts, Host::Name(name.into())), Ok(wanted));
        }
        for name in ["example.net", "evil.example", "a.mx.example.net", "org", ""] {
            assert_eq!(of(&facts, Host::Name(name.into())), Err(Failure::NotFound), "{name}");
        }
        let address = Host::Address("192.0.2.1".parse().unwrap());
        assert_eq!(of(&facts, address), Err(Failure::NotFound));
        assert_eq!(relying(&facts, None), Err(Failure::NotFound));
        let other = of(&Facts { https: Some(2_443), ..facts }, Host::Name("mx.example.net".into()));
        assert_eq!(other.unwrap().origin, "https://mx.example.net:2443");
    }
}
