//! Blob/get, Blob/lookup, Blob/upload (RFC 9404): octets within requests.
//!
//! Invariants: what one call gives or makes is bounded by the constants here, which the session object tells;
//! only blobs of the caller's own are read.

use super::arguments::Arguments;
use super::blob::SCANNED_MAX;
use super::set::one;
use super::{Answer, Asking, Look, blob};
use crate::mail::ObjectError;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use understudy_proto::jmap::{
    self, BlobId, GET_MAX, MethodError, REQUEST_LEN_MAX, SET_MAX, SetError, UPLOAD_LEN_MAX,
};

/// Longest blob that `Blob/upload` makes, in bytes.
pub(super) const BLOB_LEN_MAX: usize = UPLOAD_LEN_MAX;
/// Most sources of one.
pub(super) const SOURCES_MAX: usize = 64;
/// Types that may refer to a blob.
pub(super) const TYPES: [&str; 3] = ["Mailbox", "Thread", "Email"];
/// What is computed over blobs.
pub(super) const DIGESTS: [&str; 1] = ["sha-256"];

/// Most octets that one call reads, and makes digests of.
const READ_LEN_MAX: usize = 4 * UPLOAD_LEN_MAX;

/// Blobs that one call looks for. Those inside of messages are found by reading these.
fn few(ids: &[String]) -> Result<(), MethodError> {
    let inside = |id: &&String| matches!(BlobId::parse(id), Some(BlobId::Inside(..)));
    if ids.len() > GET_MAX || ids.iter().filter(inside).count() > SCANNED_MAX {
        return Err(MethodError::RequestTooLarge);
    }
    Ok(())
}

/// A stretch of a blob.
struct Cut<'a> {
    octets: &'a [u8],
    /// The blob has not all that was asked for.
    is_truncated: bool,
}

fn cut(whole: &[u8], offset: usize, length: Option<usize>) -> Cut<'_> {
    let end = length.map_or(whole.len(), |length| offset.saturating_add(length));
    let octets = whole.get(offset.min(whole.len())..end.min(whole.len())).unwrap_or_default();
    Cut { octets, is_truncated: offset > whole.len() || end > whole.len() }
}

/// RFC 9404 4.2.
pub(super) fn get(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let ids: Vec<String> = arguments.take("ids")?.unwrap_or_default();
    let properties: Option<Vec<String>> = arguments.take("properties")?;
    let offset: usize = arguments.take("offset")?.unwrap_or(0);
    let length: Option<usize> = arguments.take("length")?;
    arguments.end()?;
    few(&ids)?;
    let properties = properties.unwrap_or_else(|| ["data", "size"].map(str::to_owned).to_vec());
    let (mut list, mut not_found, mut left) = (Vec::new(), Vec::new(), REQUEST_LEN_MAX);
    let mut unread = READ_LEN_MAX;
    for id in ids {
        let blob = look.id(&id).and_then(BlobId::parse);
        let found = blob.map(|blob| blob::read(&look.web, &look.login, &blob)).transpose()?;
        let Some(whole) = found.flatten() else {
            not_found.push(id);
            continue;
        };
        unread = unread.checked_sub(whole.len()).ok_or(MethodError::RequestTooLarge)?;
        let cut = cut(&whole, offset, length);
        let mut object = Map::from_iter([("id".to_owned(), json!(id))]);
        for property in &properties {
            let text = || std::str::from_utf8(cut.octets).ok();
            match property.as_str() {
                "id" => {}
                "size" => drop(object.insert("size".into(), json!(whole.len()))),
                "data" | "data:asText" | "data:asBase64" => {
                    left =
                        left.checked_sub(cut.octets.len()).ok_or(MethodError::RequestTooLarge)?;
                    data(&mut object, property, text(), &cut);
                }
                "digest:sha-256" => {
                    let sum = digest::digest(&digest::SHA256, cut.octets);
                    object.insert(property.clone(), json!(STANDARD.encode(sum)));
                }
                other => {
                    return Err(MethodError::argument(format!("there is no property {other}")));
                }
            }
        }
        list.push(Value::Object(object));
    }
    Ok(json!({ "accountId": look.account_id(), "list": list, "notFound": not_found }))
}

fn data(object: &mut Map<String, Value>, property: &str, text: Option<&str>, cut: &Cut<'_>) {
    match (property, text) {
        ("data:asText" | "data", Some(text)) => {
            object.insert("data:asText".into(), json!(text));
        }
        ("data:asText", None) => {
            object.insert("data:asText".into(), Value::Null);
            object.insert("isEncodingProblem".into(), json!(true));
        }
        (_, _) => {
            object.insert("data:asBase64".into(), json!(STANDARD.encode(cut.octets)));
        }
    }
    if cut.is_truncated {
        object.insert("isTruncated".into(), json!(true));
    }
}

/// RFC 9404 4.3. An upload is of no object: what is made of it is a copy.
pub(super) fn lookup(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let types: Vec<String> = arguments.take("typeNames")?.unwrap_or_default();
    let ids: Vec<String> = arguments.take("ids")?.unwrap_or_default();
    arguments.end()?;
    few(&ids)?;
    if types.iter().any(|name| !TYPES.contains(&name.as_str())) {
        return Err(MethodError::UnknownDataType);
    }
    let (mut list, mut not_found) = (Vec::new(), Vec::new());
    for id in ids {
        let Some(blob) = look.id(&id).and_then(BlobId::parse) else {
            not_found.push(id);
            continue;
        };
        if !blob::is_there(&look.web, &look.login, &blob)? {
            not_found.push(id);
            continue;
        }
        let message = blob.email().map(|email| look.account.message(email)).transpose()?.flatten();
        let mut matched = Map::new();
        for name in &types {
            let of = message.as_ref().map(|m| match name.as_str() {
                "Mailbox" => jmap::mailbox_id(m.email.mailbox),
                "Thread" => jmap::thread_id(m.thread),
                _ => jmap::email_id(m.id),
            });
            matched.insert(name.clone(), json!(of.into_iter().collect::<Vec<_>>()));
        }
        list.push(json!({ "id": id, "matchedIds": matched }));
    }
    Ok(json!({ "accountId": look.account_id(), "list": list, "notFound": not_found }))
}

/// RFC 9404 4.1.
pub(super) async fn upload(asking: &mut Asking, mut arguments: Arguments) -> Answer {
    let create: Map<String, Value> = arguments.take("create")?.unwrap_or_default();
    arguments.end()?;
    if create.len() > SET_MAX {
        return Err(MethodError::RequestTooLarge);
    }
    let (mut created, mut not_created) = (Map::new(), Map::new());
    for (name, object) in create {
        match make(asking, &object).await? {
            Ok((id, media, size)) => {
                asking.created.insert(name.clone(), id.clone());
                created.insert(name, json!({ "id": id, "type": media, "size": size }));
            }
            Err(why) => {
                not_created.insert(name, why.to_json());
            }
        }
    }
    let some = |all: Map<String, Value>| if all.is_empty() { Value::Null } else { all.into() };
    let account = jmap::account_id(asking.login.account);
    Ok(vec![(
        "Blob/upload",
        json!({
            "accountId": account, "oldState": null, "newState": null,
            "created": some(created), "notCreated": some(not_created),
        }),
    )])
}

type Made = (String, Option<String>, usize);

async fn make(asking: &Asking, object: &Value) -> Result<Result<Made, SetError>, MethodError> {
    let wrong = |property: &str| Ok(Err(SetError::invalid([property])));
    let media = match object.get("type") {
        None | Some(Value::Null) => None,
        Some(Value::String(media)) => Some(media.clone()),
        Some(_) => return wrong("type"),
    };
    let Some(sources) = object.get("data").and_then(Value::as_array) else { return wrong("data") };
    if sources.is_empty() || sources.len() > SOURCES_MAX {
        return wrong("data");
    }
    let (mail, login, lease) = (asking.web.mail(), &asking.login, &asking.lease);
    let mut upload = mail.begin_upload(lease, login).await?;
    let mut size = 0_usize;
    for source in sources {
        let octets = match read(asking, source).await? {
            Ok(octets) => octets,
            Err(why) => return Ok(Err(why)),
        };
        size = size.saturating_add(octets.len());
        if size > BLOB_LEN_MAX {
            return Ok(Err(SetError::new("tooLarge").with("maxSize", json!(BLOB_LEN_MAX))));
        }
        upload.write(&octets).await?;
    }
    let kept = media.clone().unwrap_or_else(|| "application/octet-stream".into());
    let kept = kept.chars().take(blob::MEDIA_LEN_MAX).collect();
    match mail.keep_upload(lease, login, upload, kept, String::new()).await {
        Ok(id) => Ok(Ok((id.as_str().to_owned(), media, size))),
        Err(ObjectError::Refused(why)) => {
            Ok(Err(SetError::new("overQuota").because(why.to_string())))
        }
        Err(ObjectError::Mail(e)) => one(Err(e.into())),
    }
}

/// RFC 9404 4.1: one source of a blob.
async fn read(asking: &Asking, source: &Value) -> Result<Result<Vec<u8>, SetError>, MethodError> {
    let wrong = |why: &str| Ok(Err(SetError::invalid(["data"]).because(why)));
    let number = |name: &str| match source.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(n) => n.as_u64().and_then(|n| usize::try_from(n).ok()).map(Some),
    };
    let text = |name: &str| source.get(name).and_then(Value::as_str);
    match (text("data:asText"), text("data:asBase64"), text("blobId")) {
        (Some(text), None, None) => Ok(Ok(text.as_bytes().to_vec())),
        (None, Some(text), None) => match STANDARD.decode(text) {
            Ok(octets) => Ok(Ok(octets)),
            Err(_not) => wrong("it is not base64"),
        },
        (None, None, Some(id)) => {
            let (Some(offset), Some(length)) = (number("offset"), number("length")) else {
                return wrong("offset and length are numbers");
            };
            let blob = asking.id(id).and_then(BlobId::parse);
            let Some(whole) = blob::whole(asking, blob).await? else {
                return Ok(Err(SetError::new("blobNotFound").with("notFound", json!([id]))));
            };
            let cut = cut(&whole, offset.unwrap_or(0), length);
            // RFC 9404 4.1: a range that is not there is refused.
            if cut.is_truncated {
                return wrong("the blob has no such range");
            }
            Ok(Ok(cut.octets.to_vec()))
        }
        _ => wrong("a source has one of data:asText, data:asBase64 and blobId"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_what_there_is_and_says_so() {
        let of = |offset, length| {
            let cut = cut(b"abcdef", offset, length);
            (cut.octets.to_vec(), cut.is_truncated)
        };
        assert_eq!(of(0, None), (b"abcdef".to_vec(), false));
        assert_eq!(of(2, Some(2)), (b"cd".to_vec(), false));
        assert_eq!(of(6, None), (vec![], false));
        assert_eq!(of(4, Some(9)), (b"ef".to_vec(), true));
        assert_eq!(of(7, None), (vec![], true));
        assert_eq!(of(usize::MAX, Some(usize::MAX)), (vec![], true));
    }
}
