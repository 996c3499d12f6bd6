//! Who is asking: extractors for every handler.
//!
//! Invariants: with the cookie, whatever may change something needs `X-Understudy: 1` (CSRF: no
//! cross-origin request is allowed to send it); programs show their password below `/jmap` only, and
//! it is not asked for in a way that makes a browser show its own box to people of the app. An answer
//! that goes on ends when [`Caller::over`] does.

use super::Web;
use super::failure::Failure;
use crate::base::secret::Secret;
use crate::base::source::Source;
use crate::directory::{Login, Standing};
use crate::http::Client;
use crate::store::PrimaryLease;
use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE, HeaderName, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;

/// RFC 6265bis 4.1.3.2: sent over TLS only, to this host only, for all paths.
pub(super) const COOKIE_NAME: &str = "__Host-understudy";
/// What no cross-origin request may send.
const OURS: &str = "x-understudy";
/// How long a wrong password takes, besides its hash.
pub(super) const WRONG_PAUSE: Duration = Duration::from_secs(1);

/// A request while this node may serve: the proof, and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Here(pub(super) Client, PrimaryLease);

impl Here {
    pub(super) fn source(&self) -> Source {
        Source::of(self.0.peer.ip())
    }

    pub(super) fn lease(&self) -> &PrimaryLease {
        &self.1
    }
}

impl<S: Sync> FromRequestParts<S> for Here {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let client = parts.extensions.get::<Client>().ok_or(Failure::NotHere)?;
        let lease = client.lease.clone().filter(PrimaryLease::valid).ok_or(Failure::NotHere)?;
        Ok(Self(client.clone(), lease))
    }
}

/// A request of the app itself: what may change something says so with its header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ours;

impl<S: Sync> FromRequestParts<S> for Ours {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        let said = parts.headers.get(OURS).is_some_and(|value| value == "1");
        if reads || said { Ok(Self) } else { Err(Failure::NotAllowed) }
    }
}

/// Somebody who is signed in.
#[derive(Debug)]
pub(super) struct Caller {
    /// Who.
    pub(super) login: Login,
    /// It holds for as long as this is not lost.
    pub(super) standing: Standing,
    /// The session's number among the account's credentials; `None`: by password.
    pub(super) session: Option<u32>,
    /// Where and under which lease.
    pub(super) here: Here,
}

impl Caller {
    pub(super) fn lease(&self) -> &PrimaryLease {
        self.here.lease()
    }

    /// The session's number, for what only people with a session may do.
    pub(super) fn session(&self) -> Result<u32, Failure> {
        self.session.ok_or(Failure::SignedOut { ask: false })
    }

    /// Ends when an answer that goes on (events) has to: the credential is gone or over, this node is
    /// about to stop, or may not serve any more.
    pub(super) fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let (mut standing, notice) = (self.standing.clone(), self.here.0.notice.clone());
        let lease = self.lease().clone();
        async move {
            tokio::select! {
                () = standing.lost() => {}
                () = notice.given() => {}
                () = lease.revoked() => {}
            }
        }
    }
}

impl FromRequestParts<Web> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Failure> {
        let here = Here::from_request_parts(parts, web).await?;
        let token = cookie(&parts.headers);
        if let Some(token) = token {
            return by_cookie(parts, web, here, token).await;
        }
        // What is nested below another path shows the rest of it only, and is not for programs.
        let path = parts.uri.path();
        let programs = ["/jmap/", "/.well-known/jmap"].iter().any(|p| path.starts_with(p));
        let ask = programs && !parts.headers.contains_key(OURS);
        match basic(&parts.headers) {
            Some((name, password)) if programs => {
                by_password(web, here, &name, &password, ask).await
            }
            _ => Err(Failure::SignedOut { ask }),
        }
    }
}

async fn by_cookie(
    parts: &mut Parts,
    web: &Web,
    here: Here,
    token: Secret<String>,
) -> Result<Caller, Failure> {
    let found = web.directory().session(token.expose())?;
    let session = found.ok_or(Failure::SignedOut { ask: false })?;
    Ours::from_request_parts(parts, web).await?;
    if session.touch
        && let Err(e) = web.directory().touch_session(here.lease(), &session).await
    {
        // The next request tries again.
        log::debug!(err:% = e; "the use of a session is not written down");
    }
    let (login, standing, session) = (session.login, session.standing, Some(session.id));
    Ok(Caller { login, standing, session, here })
}

async fn by_password(
    web: &Web,
    here: Here,
    name: &str,
    password: &Secret<String>,
    ask: bool,
) -> Result<Caller, Failure> {
    match web.directory().authenticate(name, password, here.source()).await? {
        Some((login, standing)) => Ok(Caller { login, standing, session: None, here }),
        None => {
            tokio::time::sleep(WRONG_PAUSE).await;
            Err(Failure::SignedOut { ask })
        }
    }
}

/// The token of the person's session.
pub(super) fn cookie(headers: &HeaderMap) -> Option<Secret<String>> {
    cookie_of(COOKIE_NAME, headers)
}

/// A session's token (RFC 6265 4.2), in the cookie of that name.
pub(super) fn cookie_of(name: &str, headers: &HeaderMap) -> Option<Secret<String>> {
    let fields = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).map(str::trim);
    let token = pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(Secret::new(token.to_owned()))
}

/// The header that gives a browser the token of a session, or takes it away. Without an age it goes with the
/// browser.
pub(super) fn set_cookie_of(
    name: &str,
    token: Option<&Secret<String>>,
    age_s: Option<u64>,
) -> [(HeaderName, String); 1] {
    let value = token.map_or("", |token| token.expose());
    let age = match (token, age_s) {
        (None, _) => "; Max-Age=0".to_owned(),
        (Some(_), Some(age)) => format!("; Max-Age={age}"),
        (Some(_), None) => String::new(),
    };
    let cookie = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Strict{age}");
    [(SET_COOKIE, cookie)]
}

/// RFC 7617 2: the name has no colon.
fn basic(headers: &HeaderMap) -> Option<(String, Secret<String>)> {
    let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Secret::new(STANDARD.decode(text.trim()).ok()?);
    let (name, password) = std::str::from_utf8(decoded.expose()).ok()?.split_once(':')?;
    Some((name.to_owned(), Secret::new(password.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn one(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        for (field, found) in [
            ("__Host-understudy=abc", Some("abc")),
            ("a=b; __Host-understudy=abc; c=d", Some("abc")),
            ("a=__Host-understudy=abc", None),
            ("__Host-understudyx=abc", None),
            ("__host-understudy=abc", None),
            ("", None),
        ] {
            let token = cookie(&one(COOKIE, field));
            assert_eq!(token.as_ref().map(|t| t.expose().as_str()), found, "{field}");
        }
    }

    #[test]
    fn a_password_may_have_colons() {
        let field = format!("bAsIc {}", STANDARD.encode("ada@acme.example:a:b"));
        let (name, password) = basic(&one(AUTHORIZATION, &field)).unwrap();
        assert_eq!((name.as_str(), password.expose().as_str()), ("ada@acme.example", "a:b"));
        for field in ["Bearer abc", "Basic", "Basic !", "Basic YWJj"] {
            assert!(basic(&one(AUTHORIZATION, field)).is_none(), "{field}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_harm(field in "[ -~]{0,60}") {
            let _maybe = basic(&one(AUTHORIZATION, &field));
            let _maybe = cookie(&one(COOKIE, &field));
        }
    }
}
