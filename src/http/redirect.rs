//! Port 80: tells everybody to use HTTPS, and answers certificate authorities (RFC 8555 8.3).

use super::{Client, Host};
use crate::tls::Challenges;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// What the port serves; `https` is the port to go to.
pub fn router(challenges: Challenges, https: u16) -> Router {
    Router::new()
        .route("/.well-known/acme-challenge/{token}", get(challenge))
        .with_state(challenges)
        .fallback(move |request: Request| async move { redirect(&request, https) })
}

async fn challenge(State(challenges): State<Challenges>, Path(token): Path<String>) -> Response {
    match challenges.http(&token) {
        Some(answer) => answer.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// RFC 9110 15.4.9: the method stays. Whatever came in the clear has to come again.
fn redirect(request: &Request, https: u16) -> Response {
    let extensions = request.extensions();
    let host = extensions.get::<Host>().cloned();
    let host = host.or_else(|| extensions.get::<Client>().map(|c| Host::Address(c.local.ip())));
    let Some(host) = host else { return StatusCode::BAD_REQUEST.into_response() };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    // `OPTIONS *` asks about the server, not about a page.
    let path = if path.starts_with('/') { path } else { "/" };
    let location = if https == 443 {
        format!("https://{host}{path}")
    } else {
        format!("https://{host}:{https}{path}")
    };
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]).into_response()
}
