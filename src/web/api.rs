//! Sign-in, sessions, devices: what the app needs besides JMAP (`docs/design/web.md`).

use super::Web;
use axum::Router;

/// Below `/api`.
pub(super) fn router() -> Router<Web> {
    Router::new()
}
