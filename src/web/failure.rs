//! What requests of `/api` are told when they cannot be done (`docs/design/web.md`), in one place.

use crate::directory::{DirectoryError, SignInError};
use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::time::Duration;
use understudy_proto::directory::DirectoryRefusal;

/// How programs are asked who they are (RFC 7617 2).
const BASIC: HeaderValue =
    HeaderValue::from_static("Basic realm=\"Understudy\", charset=\"UTF-8\"");

/// Why a request is not done. The app has its own words for each code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No session, or it has ended. `ask`: with the header that makes browsers ask for a password.
    SignedOut { ask: bool },
    /// Name, password or code.
    Wrong,
    /// A code of the second factor is wanted, too.
    CodeNeeded,
    /// The header is missing, or the right.
    NotAllowed,
    /// Nothing there, or another's.
    NotFound,
    /// It is there already.
    Exists,
    /// The request is too long.
    TooLarge,
    /// A value is not what it should be.
    Invalid { field: &'static str, text: String },
    /// Come again later.
    Busy(Duration),
    /// This appliance does not serve just now.
    NotHere,
}

impl Failure {
    pub(super) fn invalid(field: &'static str, text: impl Into<String>) -> Self {
        Self::Invalid { field, text: text.into() }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::SignedOut { .. } | Self::Wrong | Self::CodeNeeded => StatusCode::UNAUTHORIZED,
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Exists => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotHere => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::SignedOut { .. } => "signed-out",
            Self::Wrong => "wrong",
            Self::CodeNeeded => "code-needed",
            Self::NotAllowed => "not-allowed",
            Self::NotFound => "not-found",
            Self::Exists => "exists",
            Self::TooLarge => "too-large",
            Self::Invalid { .. } => "invalid",
            Self::Busy(_) => "busy",
            Self::NotHere => "not-here",
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::SignedOut { .. } => "Sign in first.",
            Self::Wrong => "Name, password or code is wrong.",
            Self::CodeNeeded => "A code of the second factor is needed.",
            Self::NotAllowed => {
                "This is not allowed; requests that change something need X-Understudy: 1."
            }
            Self::NotFound => "There is no such thing.",
            Self::Exists => "It is there already.",
            Self::TooLarge => "The request is too long.",
            Self::Invalid { text, .. } => text,
            Self::Busy(_) => "Too many attempts just now; try again later.",
            Self::NotHere => "This appliance does not serve just now; ask again in a second.",
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut said = json!({"error": self.code(), "text": self.text()});
        if let (Self::Invalid { field, .. }, Some(said)) = (&self, said.as_object_mut()) {
            said.insert("field".to_owned(), (*field).into());
        }
        let mut response = (self.status(), Json(said)).into_response();
        let headers = response.headers_mut();
        match self {
            Self::SignedOut { ask: true } => {
                headers.insert(WWW_AUTHENTICATE, BASIC);
            }
            Self::Busy(left) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(left.as_secs().max(1)));
            }
            Self::NotHere => {
                headers.insert(RETRY_AFTER, HeaderValue::from(1));
            }
            _ => {}
        }
        response
    }
}

impl From<DirectoryError> for Failure {
    fn from(e: DirectoryError) -> Self {
        match e {
            DirectoryError::Refused(DirectoryRefusal::Exists(_)) => Self::Exists,
            DirectoryError::Refused(DirectoryRefusal::Missing(_)) => Self::NotFound,
            DirectoryError::Refused(DirectoryRefusal::UsedCode) => Self::Wrong,
            DirectoryError::Refused(e @ DirectoryRefusal::TooManyCredentials) => {
                Self::invalid("devices", e.to_string())
            }
            DirectoryError::Refused(e @ DirectoryRefusal::TooManyPasskeys) => {
                Self::invalid("passkeys", e.to_string())
            }
            DirectoryError::Refused(e) => Self::invalid("label", e.to_string()),
            DirectoryError::Address(e) => Self::invalid("address", e.to_string()),
            e @ DirectoryError::PasswordLength { .. } => Self::invalid("new", e.to_string()),
            e @ (DirectoryError::Busy | DirectoryError::SourceBusy) => SignInError::from(e).into(),
            // In doubt it is put off.
            e => {
                log::warn!(err:% = e; "a request of the web cannot be answered");
                Self::NotHere
            }
        }
    }
}

impl From<SignInError> for Failure {
    fn from(e: SignInError) -> Self {
        match e {
            SignInError::Wrong => Self::Wrong,
            SignInError::CodeNeeded => Self::CodeNeeded,
            SignInError::Busy(left) => Self::Busy(left),
            SignInError::Directory(e) => e.into(),
        }
    }
}
