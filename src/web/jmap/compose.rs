//! A new message from the properties of an Email (RFC 8621 4.6).
//!
//! Invariants: what a client may not set is refused, not passed over; a header is said once, by its property
//! or by `header:…`; Message-ID, Date and MIME-Version are there. The transfer encoding is chosen here.

use super::{Asking, blob};
use crate::base::{clock, secret};
use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::{Address, EmailAddress, GroupedAddresses};
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::date::Date;
use mail_builder::headers::message_id::MessageId;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::headers::url::URL;
use mail_builder::mime::{BodyPart, MimePart};
use serde_json::{Map, Value};
use understudy_proto::jmap::email::{Form, HeaderProperty};
use understudy_proto::jmap::{BlobId, MethodError, SetError};
use understudy_proto::time;

/// Most parts of a message that is written here.
const PARTS_MAX: usize = 200;
/// Deepest nesting of them.
const DEPTH_MAX: usize = 8;
/// Longest header value in bytes.
const VALUE_LEN_MAX: usize = 64 * 1024;

/// The message's bytes.
pub(super) async fn compose(
    asking: &Asking,
    object: &Map<String, Value>,
) -> Result<Result<Vec<u8>, SetError>, MethodError> {
    let tree = match wanted(object) {
        Ok(tree) => tree,
        Err(why) => return Ok(Err(why)),
    };
    let mut missing = Vec::new();
    let mut blobs = Vec::new();
    for id in tree.blobs() {
        let parsed = asking.id(&id).and_then(BlobId::parse);
        match blob::whole(asking, parsed).await? {
            Some(bytes) => blobs.push((id, bytes)),
            None => missing.push(id),
        }
    }
    if !missing.is_empty() {
        return Ok(Err(SetError::new("blobNotFound").with("notFound", missing.into())));
    }
    Ok(write(asking, object, &tree, &blobs))
}

/// A part that is to be written.
#[derive(Clone, Debug)]
struct Part {
    media: String,
    content: Content,
    name: Option<String>,
    disposition: Option<String>,
    cid: Option<String>,
    language: Option<String>,
    location: Option<String>,
    headers: Vec<(HeaderProperty, Value)>,
}

#[derive(Clone, Debug)]
enum Content {
    Parts(Vec<Part>),
    Text(String),
    Blob(String),
}

impl Part {
    fn multipart(kind: &str, parts: Vec<Self>) -> Self {
        Self {
            media: format!("multipart/{kind}"),
            content: Content::Parts(parts),
            name: None,
            disposition: None,
            cid: None,
            language: None,
            location: None,
            headers: Vec::new(),
        }
    }

    fn blobs(&self) -> Vec<String> {
        match &self.content {
            Content::Parts(parts) => parts.iter().flat_map(Self::blobs).collect(),
            Content::Blob(id) => vec![id.clone()],
            Content::Text(_) => Vec::new(),
        }
    }

    /// RFC 8621 4.6: `values` are the message's `bodyValues`.
    fn read(
        object: &Value,
        values: &Map<String, Value>,
        depth: usize,
        left: &mut usize,
    ) -> Result<Self, SetError> {
        let wrong = |name: &str| SetError::invalid([name.to_owned()]);
        let all = object.as_object().ok_or_else(|| wrong("bodyStructure"))?;
        *left =
            left.checked_sub(1).ok_or_else(|| wrong("bodyStructure").because("too many parts"))?;
        let text = |name: &str| -> Result<Option<String>, SetError> {
            match all.get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(value) => {
                    let text = value.as_str().filter(|t| !t.contains(['\r', '\n', '\0']));
                    Ok(Some(text.ok_or_else(|| wrong(name))?.to_owned()))
                }
            }
        };
        let media = text("type")?;
        let value = match text("partId")? {
            Some(id) => {
                let value = values.get(&id).and_then(|v| v.get("value")).and_then(Value::as_str);
                let because = || wrong("bodyValues").because(format!("there is no value {id}"));
                Some(value.ok_or_else(because)?.to_owned())
            }
            None => None,
        };
        let content = match (all.get("subParts"), value, text("blobId")?) {
            (Some(Value::Array(parts)), None, None) => {
                let depth = depth.checked_sub(1).ok_or_else(|| wrong("subParts"))?;
                let parts = parts.iter().map(|p| Self::read(p, values, depth, left));
                Content::Parts(parts.collect::<Result<_, _>>()?)
            }
            (None | Some(Value::Null), Some(text), None) => Content::Text(text),
            (None | Some(Value::Null), None, Some(id)) => Content::Blob(id),
            _ => {
                return Err(
                    wrong("bodyStructure").because("a part has one of subParts, partId, blobId")
                );
            }
        };
        let media = media.unwrap_or_else(|| "text/plain".into()).to_ascii_lowercase();
        let is_multipart = matches!(content, Content::Parts(_));
        let token = |t: &str| {
            !t.is_empty()
                && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let is_type = media.split_once('/').is_some_and(|(a, b)| token(a) && token(b));
        if !is_type || is_multipart != media.starts_with("multipart/") {
            return Err(wrong("type"));
        }
        let mut headers = Vec::new();
        for (name, value) in all.iter().filter(|(name, _)| name.starts_with("header:")) {
            let property = HeaderProperty::parse(name).ok_or_else(|| wrong(name))?;
            if property.field.eq_ignore_ascii_case("Content-Transfer-Encoding") {
                return Err(wrong(name));
            }
            headers.push((property, value.clone()));
        }
        let language = match all.get("language") {
            Some(Value::Array(all)) => {
                let all: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
                Some(all.join(", ")).filter(|l| !l.is_empty() && !l.contains(['\r', '\n']))
            }
            _ => None,
        };
        Ok(Self {
            media,
            content,
            name: text("name")?,
            disposition: text("disposition")?,
            cid: text("cid")?,
            language,
            location: text("location")?,
            headers,
        })
    }

    fn write<'x>(&'x self, blobs: &'x [(String, Vec<u8>)]) -> Result<MimePart<'x>, SetError> {
        let mut kind = ContentType::new(self.media.as_str());
        let body = match &self.content {
            Content::Parts(parts) => {
                let parts = parts.iter().map(|p| p.write(blobs));
                BodyPart::Multipart(parts.collect::<Result<_, _>>()?)
            }
            Content::Text(text) => {
                kind = kind.attribute("charset", "utf-8");
                BodyPart::Text(text.into())
            }
            Content::Blob(id) => {
                let bytes =
                    blobs.iter().find(|(known, _)| known == id).map(|(_, bytes)| bytes.as_slice());
                BodyPart::Binary(bytes.unwrap_or_default().into())
            }
        };
        if let Some(name) = &self.name {
            kind = kind.attribute("name", name.as_str());
        }
        let mut part = MimePart::new(kind, body);
        let disposition =
            self.disposition.as_deref().or_else(|| self.name.as_ref().map(|_| "attachment"));
        if let Some(disposition) = disposition {
            let mut value = ContentType::new(disposition);
            if let Some(name) = &self.name {
                value = value.attribute("filename", name.as_str());
            }
            part = part.header("Content-Disposition", HeaderType::ContentType(value));
        }
        if let Some(cid) = &self.cid {
            part = part.header("Content-ID", MessageId::new(cid.as_str()));
        }
        if let Some(language) = &self.language {
            part = part.header("Content-Language", Raw::new(language.as_str()));
        }
        if let Some(location) = &self.location {
            part = part.header("Content-Location", Raw::new(location.as_str()));
        }
        for (property, value) in &self.headers {
            for value in header(property, value)? {
                part = part.header(property.field.clone(), value);
            }
        }
        Ok(part)
    }
}

/// The tree of parts: `bodyStructure`, or what textBody, htmlBody and attachments come to.
fn wanted(object: &Map<String, Value>) -> Result<Part, SetError> {
    let empty = Map::new();
    let values = object.get("bodyValues").and_then(Value::as_object).unwrap_or(&empty);
    let mut left = PARTS_MAX;
    let list = |name: &str, most: usize, left: &mut usize| -> Result<Vec<Part>, SetError> {
        let all = match object.get(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(value) => value.as_array().filter(|all| all.len() <= most),
        };
        let all = all.ok_or_else(|| SetError::invalid([name]))?;
        all.iter().map(|p| Part::read(p, values, DEPTH_MAX, left)).collect()
    };
    if let Some(structure) = object.get("bodyStructure").filter(|s| !s.is_null()) {
        if ["textBody", "htmlBody", "attachments"].iter().any(|p| object.contains_key(*p)) {
            return Err(SetError::invalid(["bodyStructure"]).because("the parts are given twice"));
        }
        return Part::read(structure, values, DEPTH_MAX, &mut left);
    }
    let (text, html) = (list("textBody", 1, &mut left)?, list("htmlBody", 1, &mut left)?);
    let attachments = list("attachments", PARTS_MAX, &mut left)?;
    for (parts, kind, name) in [(&text, "text/plain", "textBody"), (&html, "text/html", "htmlBody")]
    {
        if parts.iter().any(|p| p.media != kind) {
            return Err(SetError::invalid([name]).because(format!("it is {kind}")));
        }
    }
    // What the HTML shows by itself belongs to it (RFC 2387).
    let (related, attached): (Vec<Part>, Vec<Part>) = attachments.into_iter().partition(|p| {
        !html.is_empty() && p.cid.is_some() && p.disposition.as_deref() == Some("inline")
    });
    let mut body: Vec<Part> = html;
    if !related.is_empty() {
        body.extend(related);
        body = vec![Part::multipart("related", body)];
    }
    let mut both = text;
    both.append(&mut body);
    let body = match (both.pop(), both.is_empty()) {
        (Some(one), true) => one,
        (Some(last), false) => {
            both.push(last);
            Part::multipart("alternative", both)
        }
        (None, _) => Part {
            media: "text/plain".into(),
            content: Content::Text(String::new()),
            ..Part::multipart("mixed", Vec::new())
        },
    };
    if attached.is_empty() {
        return Ok(body);
    }
    let mut mixed = vec![body];
    mixed.extend(attached);
    Ok(Part::multipart("mixed", mixed))
}

/// Properties of an Email that say what its parts are.
const OF_PARTS: [&str; 5] = ["bodyStructure", "bodyValues", "textBody", "htmlBody", "attachments"];

fn write(
    asking: &Asking,
    object: &Map<String, Value>,
    tree: &Part,
    blobs: &[(String, Vec<u8>)],
) -> Result<Vec<u8>, SetError> {
    let mut message = MessageBuilder::new();
    let mut fields: Vec<String> = Vec::new();
    for (name, value) in object {
        if OF_PARTS.contains(&name.as_str()) || value.is_null() {
            continue;
        }
        let wrong = || SetError::invalid([name.clone()]);
        let property = HeaderProperty::parse(name).ok_or_else(wrong)?;
        let lower = property.field.to_ascii_lowercase();
        // RFC 8621 4.6: these belong to parts.
        if lower.starts_with("content-") || fields.contains(&lower) {
            return Err(wrong());
        }
        fields.push(lower);
        for value in header(&property, value)? {
            message = message.header(property.field.clone(), value);
        }
    }
    let has = |name: &str| fields.iter().any(|f| f == name);
    if !has("message-id") {
        let unique: String = secret::random::<16>().iter().map(|b| format!("{b:02x}")).collect();
        let id = format!("{unique}@{}", asking.web.facts().hostname);
        message = message.message_id(id);
    }
    if !has("date") {
        let now = i64::try_from(clock::now_ms().0 / 1_000).unwrap_or_default();
        message = message.date(Date::new(now));
    }
    let fail = |e: std::io::Error| SetError::new("invalidProperties").because(e.to_string());
    message.body(tree.write(blobs)?).write_to_vec().map_err(fail)
}

/// The values of a header property, each a field.
fn header(property: &HeaderProperty, value: &Value) -> Result<Vec<HeaderType<'static>>, SetError> {
    let name = &property.field;
    let wrong = || SetError::invalid([name.clone()]);
    let values: Vec<&Value> = match (property.all, value) {
        (true, Value::Array(all)) => all.iter().collect(),
        (true, _) => return Err(wrong()),
        (false, value) => vec![value],
    };
    let texts = |value: &Value| -> Result<Vec<String>, SetError> {
        let all = value.as_array().ok_or_else(wrong)?;
        all.iter().map(|t| t.as_str().and_then(clean).ok_or_else(wrong)).collect()
    };
    let mut fields = Vec::with_capacity(values.len());
    for value in values {
        let text = || value.as_str().and_then(clean).ok_or_else(wrong);
        fields.push(match property.form {
            Form::Raw => HeaderType::Raw(Raw::new(text()?)),
            Form::Text => HeaderType::Text(Text::new(text()?)),
            Form::Addresses => {
                HeaderType::Address(Address::new_list(addresses(value).ok_or_else(wrong)?))
            }
            Form::GroupedAddresses => {
                let all = value.as_array().ok_or_else(wrong)?;
                let mut groups = Vec::new();
                for group in all {
                    let of = group.get("addresses").and_then(addresses).ok_or_else(wrong)?;
                    match group.get("name").and_then(Value::as_str) {
                        Some(name) => groups.push(Address::Group(GroupedAddresses {
                            name: Some(clean(name).ok_or_else(wrong)?.into()),
                            addresses: of,
                        })),
                        None => groups.extend(of),
                    }
                }
                HeaderType::Address(Address::new_list(groups))
            }
            Form::MessageIds => {
                let ids = texts(value)?;
                if ids.iter().any(|id| id.contains(['<', '>', ' '])) {
                    return Err(wrong());
                }
                HeaderType::MessageId(MessageId { id: ids.into_iter().map(Into::into).collect() })
            }
            Form::Date => {
                let at = time::parse_rfc3339(&text()?).ok_or_else(wrong)?;
                HeaderType::Date(Date::new(i64::try_from(at.0 / 1_000).unwrap_or_default()))
            }
            Form::Urls => {
                HeaderType::URL(URL { url: texts(value)?.into_iter().map(Into::into).collect() })
            }
        });
    }
    Ok(fields)
}

/// Text that stays one header's value.
fn clean(text: &str) -> Option<String> {
    (text.len() <= VALUE_LEN_MAX && !text.contains(['\r', '\n', '\0'])).then(|| text.to_owned())
}

fn addresses(value: &Value) -> Option<Vec<Address<'static>>> {
    let one = |value: &Value| {
        let email = value.get("email").and_then(Value::as_str).and_then(clean)?;
        let name = match value.get("name") {
            None | Some(Value::Null) => None,
            Some(name) => Some(clean(name.as_str()?)?).filter(|n| !n.is_empty()),
        };
        if email.contains(['<', '>', ',', ' ']) {
            return None;
        }
        Some(Address::Address(EmailAddress { name: name.map(Into::into), email: email.into() }))
    };
    value.as_array()?.iter().map(one).collect()
}
