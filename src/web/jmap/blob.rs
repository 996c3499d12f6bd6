//! Blobs: up- and downloads (RFC 8620 6).

use super::super::Web;
use super::super::api::Caller;
use super::{Asking, blocking};
use crate::directory::Login;
use crate::mail::Message;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use understudy_proto::jmap::email::parts;
use understudy_proto::jmap::{self, BlobId, MethodError, UPLOAD_LEN_MAX};
use understudy_proto::message::Span;

/// The octets of a blob of the caller's own; `None` where there is none.
pub(super) async fn whole(
    asking: &Asking,
    id: Option<BlobId>,
) -> Result<Option<Vec<u8>>, MethodError> {
    let Some(id) = id else { return Ok(None) };
    let (web, login) = (asking.web.clone(), asking.login.clone());
    blocking(move || read(&web, &login, &id)).await
}

fn read(web: &Web, login: &Login, id: &BlobId) -> Result<Option<Vec<u8>>, MethodError> {
    let (email, part) = match id {
        BlobId::Email(email) => (*email, None),
        BlobId::Part(email, part) => (*email, Some(*part)),
        BlobId::Upload(_) => return Ok(None),
    };
    let account = web.mail().snapshot(login)?;
    let Some(message) = account.message(email)? else { return Ok(None) };
    let octets = |span: Span| -> Result<Vec<u8>, MethodError> {
        if usize::try_from(span.len).map_or(true, |len| len > UPLOAD_LEN_MAX) {
            return Err(MethodError::ServerFail("it is too large to be read at once".into()));
        }
        Ok(web.mail().read(login, &message.email.body, span.range())?)
    };
    match part {
        None => octets(Span { at: 0, len: message.email.size }).map(Some),
        Some(part) => {
            let tree = parts(&message.email.summary, &mut |span| octets(span))?;
            let Some(part) = tree.as_ref().and_then(|t| t.find(usize::from(part))) else {
                return Ok(None);
            };
            Ok(Some(part.decode(&octets(part.body)?)))
        }
    }
}
