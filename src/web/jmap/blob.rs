//! Blobs: up- and downloads (RFC 8620 6).

use super::super::Web;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::stream::Chunks;
use super::{Asking, Look, blocking};
use crate::directory::Login;
use crate::mail::{Class, MailError, ObjectError};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::json;
use std::ops::Range;
use tokio::sync::mpsc;
use understudy_proto::jmap::{self, BlobId, MethodError, UPLOAD_LEN_MAX};
use understudy_proto::keys::BodyAddress;
use understudy_proto::message::decode::TransferDecoder;
use understudy_proto::message::{Encoding, Scanner, Summary};
use understudy_proto::objects::ObjectId;

/// The octets of a blob of the caller's own; `None` where there is none.
pub(super) async fn whole(
    asking: &Asking,
    id: Option<BlobId>,
) -> Result<Option<Vec<u8>>, MethodError> {
    let Some(id) = id else { return Ok(None) };
    let (web, login) = (asking.web.clone(), asking.login.clone());
    blocking(move || read(&web, &login, &id)).await
}

pub(super) fn read(web: &Web, login: &Login, id: &BlobId) -> Result<Option<Vec<u8>>, MethodError> {
    let Some(Stretch { body, range, encoding }) = stretch(web, login, id)? else { return Ok(None) };
    let len = range.end.saturating_sub(range.start);
    if usize::try_from(len).map_or(true, |len| len > UPLOAD_LEN_MAX) {
        return Err(MethodError::ServerFail("it is too large to be read at once".into()));
    }
    let octets = web.mail().read(login, &body, range)?;
    let mut decoder = TransferDecoder::new(encoding);
    let mut out = Vec::with_capacity(octets.len());
    decoder.feed(&octets, &mut out);
    decoder.finish(&mut out);
    Ok(Some(out))
}

/// RFC 8620 6.1. The octets go into the log as they come, so that an attachment outlives a takeover.
pub(super) async fn upload(
    State(web): State<Web>,
    Path(account): Path<String>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if jmap::parse_account(&account) != Some(caller.login.account) {
        return Failure::NotFound.into_response();
    }
    let media = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let media = media.unwrap_or("application/octet-stream").to_owned();
    match take(&web, &caller, body, &media).await {
        Ok((id, size)) => {
            let answer = json!({ "accountId": account, "blobId": id, "type": media, "size": size });
            (StatusCode::CREATED, Json(answer)).into_response()
        }
        Err(Taken::TooLarge) => Failure::TooLarge.into_response(),
        // The client is gone, or said less than it promised.
        Err(Taken::Broken) => StatusCode::BAD_REQUEST.into_response(),
        Err(Taken::Not(why)) => {
            log::debug!(err:% = why; "an upload was not kept");
            let full = StatusCode::INSUFFICIENT_STORAGE;
            match why {
                ObjectError::Refused(_) => full.into_response(),
                ObjectError::Mail(e) if e.class() == Class::Full => full.into_response(),
                ObjectError::Mail(_) => Failure::NotHere.into_response(),
            }
        }
    }
}

/// Why an upload came to nothing.
enum Taken {
    TooLarge,
    Broken,
    Not(ObjectError),
}

impl<E: Into<ObjectError>> From<E> for Taken {
    fn from(why: E) -> Self {
        Self::Not(why.into())
    }
}

async fn take(
    web: &Web,
    caller: &Caller,
    body: Body,
    media: &str,
) -> Result<(String, usize), Taken> {
    let (lease, login) = (caller.lease(), &caller.login);
    let mut upload = web.mail().begin_upload(lease, login).await?;
    let mut size = 0_usize;
    let mut body = body;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_gone| Taken::Broken)?.into_data() else { continue };
        size = size.saturating_add(data.len());
        if size > UPLOAD_LEN_MAX {
            return Err(Taken::TooLarge);
        }
        upload.write(&data).await?;
    }
    let media: String = media.chars().take(MEDIA_LEN_MAX).collect();
    let id = web.mail().keep_upload(lease, login, upload, media, String::new()).await?;
    Ok((id.as_str().to_owned(), size))
}

/// Longest media type that is kept, in characters.
pub(super) const MEDIA_LEN_MAX: usize = 255;
/// Octets of a download that are read at a time.
const CHUNK_LEN: u64 = 256 * 1024;

#[derive(Deserialize)]
pub(super) struct As {
    #[serde(rename = "type")]
    media: Option<String>,
}

/// RFC 8620 6.2. What a tenant wrote is never a page of our origin: an attachment, whatever its type.
pub(super) async fn download(
    State(web): State<Web>,
    Path((account, blob, name)): Path<(String, String, String)>,
    Query(As { media }): Query<As>,
    caller: Caller,
) -> Response {
    let blob = BlobId::parse(&blob)
        .filter(|_| jmap::parse_account(&account) == Some(caller.login.account));
    let Some(blob) = blob else { return Failure::NotFound.into_response() };
    let login = caller.login.clone();
    let found = {
        let (web, login) = (web.clone(), login.clone());
        blocking(move || stretch(&web, &login, &blob)).await
    };
    let stretch = match found {
        Ok(Some(stretch)) => stretch,
        Ok(None) => return Failure::NotFound.into_response(),
        Err(_unavailable) => return Failure::NotHere.into_response(),
    };
    let length = (stretch.encoding == Encoding::Identity)
        .then(|| stretch.range.end.saturating_sub(stretch.range.start));
    let (out, chunks) = mpsc::channel(2);
    // It ends with the receiver; the client may take its time.
    drop(tokio::task::spawn_blocking(move || send(&web, &login, stretch, &out)));
    let mut response = Body::new(Chunks(chunks)).into_response();
    let headers = response.headers_mut();
    let media = media.as_deref().filter(|m| is_media(m)).unwrap_or("application/octet-stream");
    let value =
        |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("attachment"));
    headers.insert(header::CONTENT_TYPE, value(media));
    headers.insert(header::CONTENT_DISPOSITION, value(&disposition(&name)));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    // A blob never changes.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, immutable, max-age=31536000"),
    );
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// Most blobs of one call that are found or told by reading whole messages.
pub(super) const SCANNED_MAX: usize = 16;

/// Where a blob lies that may be a message.
pub(super) enum Lies {
    Nowhere,
    /// It is none, or one whose octets are encoded once more.
    NoMessage,
    At {
        body: BodyAddress,
        base: u64,
        summary: Box<Summary>,
    },
}

/// A blob as a message, seen from its beginning to its end.
pub(super) fn message(look: &Look, id: &BlobId) -> Result<Lies, MethodError> {
    let Some(stretch) = stretch(&look.web, &look.login, id)? else { return Ok(Lies::Nowhere) };
    let Some(summary) = scan(&look.web, &look.login, &stretch)? else { return Ok(Lies::NoMessage) };
    let summary = Box::new(summary);
    Ok(Lies::At { body: stretch.body, base: stretch.range.start, summary })
}

/// `None`: it is no message. Messages are sent as they are, or in 8 bit (RFC 2046 5.2.1).
fn scan(web: &Web, login: &Login, stretch: &Stretch) -> Result<Option<Summary>, MethodError> {
    let Range { start, end } = stretch.range;
    let fits = usize::try_from(end.saturating_sub(start)).is_ok_and(|len| len <= UPLOAD_LEN_MAX);
    if stretch.encoding != Encoding::Identity || !fits {
        return Ok(None);
    }
    let mut scanner = Scanner::new();
    let (mut at, mut is_message) = (start, false);
    while at < end {
        let next = end.min(at.saturating_add(CHUNK_LEN));
        let octets = web.mail().read(login, &stretch.body, at..next)?;
        if at == start {
            // RFC 5322 2.2: it begins with a field.
            let name = octets.iter().take_while(|b| b.is_ascii_graphic() && **b != b':').count();
            is_message = name > 0 && octets.get(name).is_some_and(|b| b":\x20\t".contains(b));
        }
        if !is_message {
            return Ok(None);
        }
        scanner.feed(&octets);
        at = next;
    }
    Ok(is_message.then(|| scanner.finish()))
}

/// Octets of a body and how they are encoded there.
struct Stretch {
    body: BodyAddress,
    range: Range<u64>,
    encoding: Encoding,
}

/// Whether there is such a blob.
pub(super) fn is_there(web: &Web, login: &Login, id: &BlobId) -> Result<bool, MethodError> {
    Ok(stretch(web, login, id)?.is_some())
}

fn stretch(web: &Web, login: &Login, id: &BlobId) -> Result<Option<Stretch>, MethodError> {
    let plain = |body, size| Some(Stretch { body, range: 0..size, encoding: Encoding::Identity });
    let (email, part) = match id {
        BlobId::Upload(id) => {
            let upload = ObjectId::parse(id).map(|id| web.mail().upload(login, &id));
            let body = upload.transpose()?.flatten().and_then(|u| u.body);
            return Ok(body.and_then(|b| plain(b.address, b.size)));
        }
        BlobId::Email(email) => (*email, None),
        BlobId::Part(email, part) => (*email, Some(*part)),
        BlobId::Inside(outer, part) => {
            let Some(outer) = stretch(web, login, outer)? else { return Ok(None) };
            let Some(summary) = scan(web, login, &outer)? else { return Ok(None) };
            let Some(found) = summary.parts.get(usize::from(*part)) else { return Ok(None) };
            let Range { start, end } = found.body.range();
            let base = outer.range.start;
            let range = base.saturating_add(start)..base.saturating_add(end);
            return Ok(Some(Stretch { body: outer.body, range, encoding: found.encoding }));
        }
    };
    let Some(row) = web.mail().email(login, email)? else { return Ok(None) };
    let Some(part) = part else { return Ok(plain(row.body, row.size)) };
    let part = row.summary.parts.get(usize::from(part)).cloned();
    Ok(part.map(|p| Stretch { body: row.body, range: p.body.range(), encoding: p.encoding }))
}

fn send(
    web: &Web,
    login: &Login,
    stretch: Stretch,
    out: &mpsc::Sender<Result<Vec<u8>, MailError>>,
) {
    let Stretch { body, range, encoding } = stretch;
    let mut decoder = TransferDecoder::new(encoding);
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at.saturating_add(CHUNK_LEN));
        let mut chunk = Vec::new();
        let read =
            web.mail().read(login, &body, at..end).map(|octets| decoder.feed(&octets, &mut chunk));
        let failed = read.is_err();
        if out.blocking_send(read.map(|()| chunk)).is_err() || failed {
            return;
        }
        at = end;
    }
    let mut rest = Vec::new();
    decoder.finish(&mut rest);
    if !rest.is_empty() && out.blocking_send(Ok(rest)).is_err() {
        log::trace!("a client left at the end of a download");
    }
}

fn is_media(text: &str) -> bool {
    let token = |t: &str| {
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    // What a browser would show as a page is a file all the same.
    text.len() <= MEDIA_LEN_MAX && text.split_once('/').is_some_and(|(a, b)| token(a) && token(b))
}

/// RFC 6266, with the name in RFC 8187's form.
fn disposition(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes().take(NAME_LEN_MAX) {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename*=UTF-8''{encoded}")
}

/// Longest file name that is suggested, in bytes.
const NAME_LEN_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_header() {
        assert_eq!(
            disposition("a\"\r\n;ü.pdf"),
            "attachment; filename*=UTF-8''a%22%0D%0A%3B%C3%BC.pdf"
        );
        assert!(
            is_media("image/png") && !is_media("text/html; charset=x") && !is_media("a/b\r\nX: y")
        );
    }
}
