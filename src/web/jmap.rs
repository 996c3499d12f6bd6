//! JMAP (RFC 8620, 8621).

use super::Web;
use axum::Router;

/// `/jmap/…` and `/.well-known/jmap`.
pub(super) fn router() -> Router<Web> {
    Router::new()
}
