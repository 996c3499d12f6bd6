//! The parts of a message (RFC 8621 4.1.4): a tree, what is read as text, and what is attached.

use crate::message::decode::TextDecoder;
use crate::message::{Encoding, Part, PartKind, Span, Summary, header};
use serde_json::{Map, Value, json};

/// One part as RFC 8621 4.1.4 sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyPart {
    /// Its place in the summary; a multipart has one, too, but no id.
    pub at: usize,
    /// `type/subtype`.
    pub media: String,
    /// Of text; `us-ascii` where it names none.
    pub charset: Option<String>,
    /// `attachment`, `inline`, …
    pub disposition: Option<String>,
    /// File name.
    pub name: Option<String>,
    /// Content-ID without its angle brackets.
    pub cid: Option<String>,
    /// RFC 3282.
    pub language: Option<Vec<String>>,
    /// RFC 2557.
    pub location: Option<String>,
    /// Octets without the transfer encoding. Of base64 it is what lines of the usual length come to: a
    /// listing does not decode every attachment.
    pub size: u64,
    /// How its octets are encoded, and where they lie.
    pub encoding: Encoding,
    /// Where its octets lie in the message.
    pub body: Span,
    /// Where its header lies.
    pub header: Span,
    /// Of a multipart.
    pub sub_parts: Vec<Self>,
}

/// RFC 8621 4.1.4: which parts are read, and which are attached; places in the summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bodies {
    /// `textBody`.
    pub text: Vec<usize>,
    /// `htmlBody`.
    pub html: Vec<usize>,
    /// `attachments`.
    pub attachments: Vec<usize>,
}

/// The tree of a message's parts; `read` gives octets of the message.
///
/// # Errors
/// The first that `read` gives.
pub fn parts<E>(
    summary: &Summary,
    read: &mut dyn FnMut(Span) -> Result<Vec<u8>, E>,
) -> Result<Option<BodyPart>, E> {
    let mut at = 0;
    take(&summary.parts, &mut at, read)
}

fn take<E>(
    all: &[Part],
    at: &mut usize,
    read: &mut dyn FnMut(Span) -> Result<Vec<u8>, E>,
) -> Result<Option<BodyPart>, E> {
    let Some(part) = all.get(*at) else { return Ok(None) };
    let mut node = node(*at, part, &read(part.header)?);
    *at = at.saturating_add(1);
    match part.kind {
        // The scanner bounds how deep they lie and how many there are (`message::DEPTH_MAX`).
        PartKind::Multipart => {
            let depth = part.path.len().saturating_add(1);
            let is_child = |p: &Part| p.path.len() == depth && p.path.starts_with(&part.path);
            while all.get(*at).is_some_and(is_child) {
                node.sub_parts.extend(take(all, at, read)?);
            }
        }
        // RFC 8621 4.1.4: what a message in a message is made of is not seen.
        PartKind::Message => {
            while all.get(*at).is_some_and(|p| p.path.starts_with(&part.path)) {
                *at = at.saturating_add(1);
            }
        }
        PartKind::Text | PartKind::Other => {}
    }
    Ok(Some(node))
}

fn node(at: usize, part: &Part, raw: &[u8]) -> BodyPart {
    let disposition = header::find(raw, "Content-Disposition").map(header::Structured::parse);
    let content = header::find(raw, "Content-Type").map(header::Structured::parse);
    let text = |octets: Vec<u8>| header::decode_words(&octets);
    let name = disposition
        .as_ref()
        .and_then(|d| d.parameter("filename"))
        .or_else(|| content.as_ref().and_then(|c| c.parameter("name")))
        .map(text)
        .filter(|name| !name.is_empty());
    let plain = |field: &str| {
        let value = header::decode_words(&header::unfold(header::find(raw, field)?));
        Some(value.trim().to_owned()).filter(|v| !v.is_empty())
    };
    let cid =
        plain("Content-ID").map(|id| id.trim_start_matches('<').trim_end_matches('>').to_owned());
    let language = plain("Content-Language")
        .map(|all| all.split(',').map(|tag| tag.trim().to_owned()).collect());
    let charset = part
        .charset
        .clone()
        .or_else(|| (part.kind == PartKind::Text).then(|| "us-ascii".to_owned()));
    BodyPart {
        at,
        media: part.media.clone(),
        charset,
        disposition: disposition
            .map(|d| String::from_utf8_lossy(&d.value).into_owned())
            .filter(|d| !d.is_empty()),
        name,
        cid,
        language,
        location: plain("Content-Location"),
        size: decoded_len(part),
        encoding: part.encoding,
        body: part.body,
        header: part.header,
        sub_parts: Vec::new(),
    }
}

fn decoded_len(part: &Part) -> u64 {
    match part.encoding {
        Encoding::Base64 => part.body.len.saturating_mul(76) / 78 / 4 * 3,
        Encoding::Identity | Encoding::QuotedPrintable | Encoding::Unknown => part.body.len,
    }
}

impl BodyPart {
    fn is_multipart(&self) -> bool {
        self.media.starts_with("multipart/")
    }

    /// What is read, and what is attached.
    #[must_use]
    pub fn bodies(&self) -> Bodies {
        let mut found = Bodies::default();
        sort_out(std::slice::from_ref(self), "mixed", (false, true, true), &mut found);
        found
    }

    /// The part at that place of the summary, in this tree.
    #[must_use]
    pub fn find(&self, at: usize) -> Option<&Self> {
        if self.at == at { Some(self) } else { self.sub_parts.iter().find_map(|p| p.find(at)) }
    }

    /// All parts that are no multipart.
    pub fn leaves(&self) -> Vec<&Self> {
        if self.is_multipart() {
            self.sub_parts.iter().flat_map(Self::leaves).collect()
        } else {
            vec![self]
        }
    }

    /// The EmailBodyPart, with those of its `properties` that it has; `blob` names what a part is fetched by.
    #[must_use]
    pub fn to_json(&self, properties: &[String], blob: &dyn Fn(usize) -> String) -> Value {
        let mut all = Map::new();
        let leaf = !self.is_multipart();
        for property in properties {
            let value = match property.as_str() {
                "partId" => {
                    if leaf {
                        json!(self.at.to_string())
                    } else {
                        Value::Null
                    }
                }
                "blobId" => {
                    if leaf {
                        json!(blob(self.at))
                    } else {
                        Value::Null
                    }
                }
                "size" => json!(self.size),
                "name" => json!(self.name),
                "type" => json!(self.media),
                "charset" => json!(self.charset),
                "disposition" => json!(self.disposition),
                "cid" => json!(self.cid),
                "language" => json!(self.language),
                "location" => json!(self.location),
                "subParts" if leaf => Value::Null,
                "subParts" => self.sub_parts.iter().map(|p| p.to_json(properties, blob)).collect(),
                _ => continue,
            };
            all.insert(property.clone(), value);
        }
        Value::Object(all)
    }
}

/// RFC 8621 4.2: what a part has where the client names nothing.
pub const DEFAULT_PART_PROPERTIES: [&str; 10] = [
    "partId",
    "blobId",
    "size",
    "name",
    "type",
    "charset",
    "disposition",
    "cid",
    "language",
    "location",
];

/// RFC 8621 4.1.4, its suggested algorithm. `wanted`: in an alternative; text and html are still collected.
fn sort_out(
    parts: &[BodyPart],
    multipart: &str,
    (in_alternative, mut to_text, mut to_html): (bool, bool, bool),
    found: &mut Bodies,
) {
    let (text_before, html_before) = (found.text.len(), found.html.len());
    for (i, part) in parts.iter().enumerate() {
        let media = part.media.as_str();
        let is_media = ["image/", "audio/", "video/"].iter().any(|m| media.starts_with(m));
        let readable = media == "text/plain" || media == "text/html" || is_media;
        let inline = part.disposition.as_deref() != Some("attachment")
            && readable
            && (i == 0 || (multipart != "related" && (is_media || part.name.is_none())));
        if let Some(sub) = media.strip_prefix("multipart/") {
            let inside = (in_alternative || sub == "alternative", to_text, to_html);
            sort_out(&part.sub_parts, sub, inside, found);
            continue;
        }
        if !inline {
            found.attachments.push(part.at);
            continue;
        }
        if multipart == "alternative" {
            match media {
                "text/plain" if to_text => found.text.push(part.at),
                "text/html" if to_html => found.html.push(part.at),
                "text/plain" | "text/html" => {}
                _ => found.attachments.push(part.at),
            }
            continue;
        }
        if in_alternative {
            to_html &= media != "text/plain";
            to_text &= media != "text/html";
        }
        if to_text {
            found.text.push(part.at);
        }
        if to_html {
            found.html.push(part.at);
        }
        if !(to_text && to_html) && is_media {
            found.attachments.push(part.at);
        }
    }
    if multipart == "alternative" && to_text && to_html {
        let (text, html) = (found.text.len(), found.html.len());
        if text == text_before && html != html_before {
            let only: Vec<usize> = found.html.iter().skip(html_before).copied().collect();
            found.text.extend(only);
        } else if html == html_before && text != text_before {
            let only: Vec<usize> = found.text.iter().skip(text_before).copied().collect();
            found.html.extend(only);
        }
    }
}

/// A text part's value (RFC 8621 4.1.4, EmailBodyValue), at most `max` bytes (0: all of it), cut between
/// two characters and not inside an HTML tag.
#[must_use]
pub fn part_value(part: &BodyPart, octets: &[u8], max: usize) -> Value {
    let mut decoder =
        TextDecoder::new(part.encoding, part.charset.as_deref().filter(|c| *c != "us-ascii"));
    let mut text = String::new();
    decoder.feed(octets, &mut text);
    decoder.finish(&mut text);
    let problem = part.encoding == Encoding::Unknown || text.contains('\u{fffd}');
    let mut value = text.replace("\r\n", "\n");
    let truncated = max > 0 && value.len() > max;
    if truncated {
        cut(&mut value, max, part.media == "text/html");
    }
    json!({ "value": value, "isEncodingProblem": problem, "isTruncated": truncated })
}

fn cut(text: &mut String, max: usize, html: bool) {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.truncate(end);
    if html
        && let Some(open) = text.rfind('<')
        && text.rfind('>').is_none_or(|close| close < open)
    {
        text.truncate(open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Scanner;

    fn scan(raw: &[u8]) -> (Summary, BodyPart) {
        let mut scanner = Scanner::new();
        scanner.feed(raw);
        let summary = scanner.finish();
        let mut read = |span: Span| -> Result<Vec<u8>, ()> {
            let range = span.range();
            Ok(raw[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
                .to_vec())
        };
        let tree = parts(&summary, &mut read).unwrap().unwrap();
        (summary, tree)
    }

    fn multipart(kind: &str, boundary: &str, parts: &[String]) -> String {
        let mut text = format!("Content-Type: multipart/{kind}; boundary={boundary}\r\n\r\n");
        for part in parts {
            text.push_str(&format!("--{boundary}\r\n{part}\r\n"));
        }
        text.push_str(&format!("--{boundary}--\r\n"));
        text
    }

    fn leaf(media: &str, more: &str) -> String {
        format!("Content-Type: {media}\r\n{more}\r\nbody")
    }

    /// The example of RFC 8621 4.1.4.
    #[test]
    fn the_example_of_the_rfc_is_sorted_out_as_it_says() {
        let related = multipart(
            "related",
            "r",
            &[leaf("text/html", "X: D\r\n"), leaf("image/jpeg", "Content-ID: <e>\r\n")],
        );
        let inner = multipart(
            "mixed",
            "i",
            &[
                leaf("text/plain", "X: B\r\n"),
                leaf("image/jpeg", "X: C\r\nContent-Disposition: inline\r\n"),
                leaf("text/plain", "X: D\r\n"),
            ],
        );
        let alternative = multipart("alternative", "a", &[inner, related]);
        let mixed = multipart(
            "mixed",
            "m",
            &[
                leaf("text/plain", "X: A\r\n"),
                alternative,
                leaf(
                    "image/jpeg",
                    "Content-Disposition: attachment; filename*=utf-8''gr%C3%BC.jpg\r\n",
                ),
                leaf("application/x-excel", ""),
                leaf("message/rfc822", "").replace("body", "Subject: x\r\n\r\ninner"),
            ],
        );
        let (_, tree) = scan(mixed.as_bytes());
        let bodies = tree.bodies();
        let media = |all: &[usize]| {
            all.iter().map(|at| tree.find(*at).unwrap().media.clone()).collect::<Vec<_>>()
        };
        assert_eq!(media(&bodies.text), ["text/plain", "text/plain", "image/jpeg", "text/plain"]);
        assert_eq!(media(&bodies.html), ["text/plain", "text/html"]);
        assert_eq!(
            media(&bodies.attachments),
            ["image/jpeg", "image/jpeg", "image/jpeg", "application/x-excel", "message/rfc822"]
        );
        let attached = tree.find(bodies.attachments[2]).unwrap();
        assert_eq!(attached.name.as_deref(), Some("grü.jpg"));
        assert_eq!(tree.leaves().len(), 9);
    }

    #[test]
    fn one_text_is_both_text_and_html() {
        let (_, tree) = scan(b"Subject: x\r\n\r\nhello\r\n");
        assert_eq!(tree.bodies(), Bodies { text: vec![0], html: vec![0], attachments: vec![] });
        let only_html = multipart("alternative", "a", &[leaf("text/html", "")]);
        let (_, tree) = scan(only_html.as_bytes());
        assert_eq!(tree.bodies(), Bodies { text: vec![1], html: vec![1], attachments: vec![] });
    }

    #[test]
    fn values_are_decoded_and_cut_between_characters_and_tags() {
        let (_, tree) = scan(b"Content-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=FC=DFe</p>\r\n<a href=3Dx>");
        let value = |max| part_value(&tree, b"<p>Gr=FC=DFe</p>\r\n<a href=3Dx>", max);
        assert_eq!(value(0)["value"], "<p>Grüße</p>\n<a href=x>");
        assert_eq!(value(0)["isTruncated"], false);
        assert_eq!(value(6)["value"], "<p>Gr");
        assert_eq!(value(18)["value"], "<p>Grüße</p>\n");
        assert_eq!(value(18)["isTruncated"], true);
        assert_eq!(value(0)["isEncodingProblem"], false);
    }
}
