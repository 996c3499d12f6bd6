//! What headers say, written as RFC 9051 7.5.2 wants it: ENVELOPE, BODY and BODYSTRUCTURE.
//!
//! Each entity's share is written when its header ends, so that no header is kept; the tree is put
//! together at the end. Sizes are bounded: what does not fit is cut or left out, and the lists stay
//! well formed. Deliberately absent: Content-MD5 (always NIL).

use super::address::{self, Address};
use super::header::{self, Structured};
use super::{Encoding, Part, PartKind};

/// Longest type or subtype in bytes (RFC 6838 4.2 allows 127, suggests at most 64).
const MEDIA_NAME_LEN_MAX: usize = 63;
/// Longest other string of an entity in bytes.
const STRING_LEN_MAX: usize = 2_048;

/// What the header of one entity says.
#[derive(Debug)]
pub(super) struct Entity {
    pub(super) kind: PartKind,
    pub(super) media: String,
    pub(super) charset: Option<String>,
    pub(super) encoding: Encoding,
    pub(super) attachment: bool,
    /// A multipart's boundary.
    pub(super) boundary: Vec<u8>,
    /// The fields up to the encoding; of a multipart, its subtype.
    pub(super) head: Vec<u8>,
    /// The extension data, each with a space before it.
    pub(super) tail: Vec<u8>,
}

impl Entity {
    /// Reads an entity's header. `digest`: it lies in a multipart/digest. `opaque`: containers are
    /// not looked into. `budget`: how many more bytes may be spent on what headers say.
    pub(super) fn read(raw: &[u8], digest: bool, opaque: bool, budget: &mut usize) -> Self {
        let content = content_type(raw, digest);
        let boundary = content.parameter("boundary").map(|b| b.trim_ascii_end().to_vec());
        let boundary = boundary.filter(|b| !b.is_empty());
        let (mut kind, mut content) = match content.value.as_slice() {
            v if v.starts_with(b"multipart/") && boundary.is_some() => {
                (PartKind::Multipart, content)
            }
            // RFC 2045 5.2: what is not readable as a type is shown as text.
            v if v.starts_with(b"multipart/") => (PartKind::Text, text_plain()),
            b"message/rfc822" => (PartKind::Message, content),
            v if v.starts_with(b"text/") => (PartKind::Text, content),
            _ => (PartKind::Other, content),
        };
        let encoding_name = header::find(raw, "Content-Transfer-Encoding").map(|v| {
            let v = Structured::parse(v).value;
            v.get(..v.len().min(40)).unwrap_or_default().to_vec()
        });
        let encoding_name = encoding_name.filter(|v| !v.is_empty());
        let encoding_name = encoding_name.as_deref().unwrap_or(b"7bit");
        let encoding = match encoding_name {
            b"7bit" | b"8bit" | b"binary" => Encoding::Identity,
            b"base64" => Encoding::Base64,
            b"quoted-printable" => Encoding::QuotedPrintable,
            _ => Encoding::Unknown,
        };
        // RFC 6532 3.7: a message/global may be encoded; only a plain one can be looked into.
        if content.value == b"message/global" && encoding == Encoding::Identity {
            kind = PartKind::Message;
        }
        if opaque && matches!(kind, PartKind::Multipart | PartKind::Message) {
            kind = PartKind::Other;
            content =
                Structured { value: b"application/octet-stream".to_vec(), ..Structured::default() };
        }
        let disposition = header::find(raw, "Content-Disposition").map(Structured::parse);
        let mut entity = Self {
            kind,
            media: String::from_utf8_lossy(&content.value).into_owned(),
            charset: content.parameter("charset").map(|c| {
                let c = c.get(..c.len().min(40)).unwrap_or_default();
                String::from_utf8_lossy(&c.to_ascii_lowercase()).trim().to_owned()
            }),
            encoding,
            attachment: disposition.as_ref().is_some_and(|d| d.value == b"attachment"),
            boundary: boundary.filter(|_| kind == PartKind::Multipart).unwrap_or_default(),
            head: Vec::new(),
            tail: Vec::new(),
        };
        entity.write(raw, &content, encoding_name, disposition.as_ref());
        let cost = entity.head.len() + entity.tail.len() + entity.media.len();
        match budget.checked_sub(cost) {
            Some(rest) => *budget = rest,
            None => entity.shorten(),
        }
        entity
    }

    fn write(
        &mut self,
        raw: &[u8],
        content: &Structured,
        encoding: &[u8],
        disposition: Option<&Structured>,
    ) {
        let (top, sub) = media_names(&content.value);
        let (head, tail) = (&mut self.head, &mut self.tail);
        if self.kind == PartKind::Multipart {
            string(head, sub);
            tail.push(b' ');
            parameters(tail, &content.parameters);
        } else {
            string(head, top);
            head.push(b' ');
            string(head, sub);
            head.push(b' ');
            parameters(head, &content.parameters);
            for name in ["Content-ID", "Content-Description"] {
                head.push(b' ');
                nstring(head, header::find(raw, name), STRING_LEN_MAX);
            }
            head.push(b' ');
            string(head, encoding);
            tail.extend_from_slice(b" NIL");
        }
        match disposition.filter(|d| !d.value.is_empty()) {
            Some(d) => {
                tail.extend_from_slice(b" (");
                string(tail, cut(&d.value, MEDIA_NAME_LEN_MAX));
                tail.push(b' ');
                parameters(tail, &d.parameters);
                tail.push(b')');
            }
            None => tail.extend_from_slice(b" NIL"),
        }
        let language = header::find(raw, "Content-Language").map(header::without_comments);
        let language = language.map(|v| header::unfold(&v)).unwrap_or_default();
        let mut tags = language.split(|b| *b == b',').map(<[u8]>::trim_ascii);
        let mut any = false;
        for tag in tags.by_ref().filter(|t| !t.is_empty()).take(32) {
            tail.extend_from_slice(if any { b" " } else { b" (" });
            string(tail, cut(tag, MEDIA_NAME_LEN_MAX));
            any = true;
        }
        tail.extend_from_slice(if any { b") " } else { b" NIL " });
        nstring(tail, header::find(raw, "Content-Location"), STRING_LEN_MAX);
    }

    /// Keeps only what a reader cannot do without.
    fn shorten(&mut self) {
        self.charset = None;
        self.media = match (self.kind, self.media.as_str()) {
            (PartKind::Multipart, _) => "multipart/mixed",
            (PartKind::Message, _) => "message/rfc822",
            (PartKind::Text, "text/html") => "text/html",
            (PartKind::Text, _) => "text/plain",
            (PartKind::Other, _) => "application/octet-stream",
        }
        .to_owned();
        let encoding: &[u8] = match self.encoding {
            Encoding::Identity => b"8bit",
            Encoding::QuotedPrintable => b"quoted-printable",
            Encoding::Base64 => b"base64",
            Encoding::Unknown => b"x-unknown",
        };
        self.head.clear();
        self.tail.clear();
        let (top, sub) = media_names(self.media.as_bytes());
        if self.kind == PartKind::Multipart {
            string(&mut self.head, sub);
        } else {
            string(&mut self.head, top);
            self.head.push(b' ');
            string(&mut self.head, sub);
            self.head.extend_from_slice(b" NIL NIL NIL ");
            string(&mut self.head, encoding);
        }
        self.tail.extend_from_slice(b" NIL NIL NIL NIL");
    }
}

fn text_plain() -> Structured {
    Structured {
        value: b"text/plain".to_vec(),
        parameters: vec![(b"charset".to_vec(), b"us-ascii".to_vec())],
    }
}

/// RFC 2045 5.2, RFC 2046 5.1.5: the type, or its default where it is missing or not readable.
fn content_type(raw: &[u8], digest: bool) -> Structured {
    let default = || match digest {
        true => Structured { value: b"message/rfc822".to_vec(), ..Structured::default() },
        false => text_plain(),
    };
    let Some(content) = header::find(raw, "Content-Type").map(Structured::parse) else {
        return default();
    };
    let (top, sub) = media_names(&content.value);
    let fine = |name: &[u8]| {
        (1..=MEDIA_NAME_LEN_MAX).contains(&name.len())
            && name.iter().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(b))
    };
    if fine(top) && fine(sub) { content } else { text_plain() }
}

fn media_names(media: &[u8]) -> (&[u8], &[u8]) {
    let slash = memchr::memchr(b'/', media).unwrap_or(media.len());
    let (top, sub) = media.split_at_checked(slash).unwrap_or((media, &[]));
    (top, sub.get(1..).unwrap_or_default())
}

/// What the tree needs to know of one part.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) part: Part,
    pub(super) head: Vec<u8>,
    pub(super) tail: Vec<u8>,
    /// The envelope of the message whose root this is.
    pub(super) envelope: Vec<u8>,
    pub(super) children: Vec<usize>,
    /// Line ends in the body.
    pub(super) lines: u64,
}

/// RFC 9051 7.5.2: BODY, or with `extended` BODYSTRUCTURE, of the part at `index`. Recursion is
/// bounded by `DEPTH_MAX`, which the scanner holds.
pub(super) fn write_body(out: &mut Vec<u8>, nodes: &[Node], index: usize, extended: bool) {
    let Some(node) = nodes.get(index) else { return };
    out.push(b'(');
    if node.part.kind == PartKind::Multipart {
        for child in &node.children {
            write_body(out, nodes, *child, extended);
        }
        if node.children.is_empty() {
            // The grammar demands a part: an empty text stands for the missing ones.
            out.extend_from_slice(b"(\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0");
            out.extend_from_slice(if extended { b" NIL NIL NIL NIL)" } else { b")" });
        }
        out.push(b' ');
        out.extend_from_slice(&node.head);
    } else {
        out.extend_from_slice(&node.head);
        out.extend_from_slice(format!(" {}", node.part.body.len).as_bytes());
        if let (PartKind::Message, Some(root)) = (node.part.kind, node.children.first()) {
            out.push(b' ');
            out.extend(nodes.get(*root).into_iter().flat_map(|n| &n.envelope));
            out.push(b' ');
            write_body(out, nodes, *root, extended);
        }
        if matches!(node.part.kind, PartKind::Message | PartKind::Text) {
            out.extend_from_slice(format!(" {}", node.lines).as_bytes());
        }
    }
    if extended {
        out.extend_from_slice(&node.tail);
    }
    out.push(b')');
}

/// RFC 9051 7.5.2: the ENVELOPE of a message with this header, at most `limit` bytes long (but never
/// shorter than an empty one): over-long strings are cut, addresses that do not fit are dropped.
pub(super) fn envelope(raw: &[u8], limit: usize) -> Vec<u8> {
    let mut out = vec![b'('];
    nstring(&mut out, header::find(raw, "Date"), limit / 32);
    out.push(b' ');
    nstring(&mut out, header::find(raw, "Subject"), limit / 16);
    let from = address_list(&addresses(raw, "From"), limit / 8);
    out.push(b' ');
    out.extend_from_slice(&from);
    for name in ["Sender", "Reply-To"] {
        let list = address_list(&addresses(raw, name), limit / 8);
        out.push(b' ');
        // RFC 9051 7.5.2: absent or empty, they are the same as From.
        out.extend_from_slice(if list == b"NIL" { &from } else { &list });
    }
    let mut ids = vec![b' '];
    nstring(&mut ids, header::find(raw, "In-Reply-To"), limit / 32);
    ids.push(b' ');
    nstring(&mut ids, header::find(raw, "Message-ID"), limit / 32);
    ids.push(b')');
    for (name, unwritten) in [("To", " NIL NIL"), ("Cc", " NIL"), ("Bcc", "")] {
        let used = out.len() + 1 + unwritten.len() + ids.len();
        let list = address_list(&addresses(raw, name), limit.saturating_sub(used));
        out.push(b' ');
        out.extend_from_slice(&list);
    }
    out.extend_from_slice(&ids);
    out
}

/// Every address in every field of this name.
pub(super) fn addresses(raw: &[u8], name: &str) -> Vec<Address> {
    let fields = header::fields(raw).filter(|f| f.name.eq_ignore_ascii_case(name.as_bytes()));
    let mut list: Vec<Address> =
        fields.take(address::ADDRESSES_MAX).flat_map(|f| address::parse(f.value)).collect();
    list.truncate(address::ADDRESSES_MAX);
    list
}

fn address_list(list: &[Address], limit: usize) -> Vec<u8> {
    const GROUP_END: &[u8] = b"(NIL NIL NIL NIL)";
    let mut out = vec![b'('];
    let mut in_group = false;
    for address in list {
        let start = out.len();
        out.push(b'(');
        nstring(&mut out, address.name.as_deref(), STRING_LEN_MAX);
        out.extend_from_slice(b" NIL ");
        nstring(&mut out, address.mailbox.as_deref(), STRING_LEN_MAX);
        out.push(b' ');
        nstring(&mut out, address.host.as_deref(), STRING_LEN_MAX);
        out.push(b')');
        // There must remain room to end the group and the list.
        if address.mailbox.is_some() && out.len() + GROUP_END.len() + 1 > limit {
            out.truncate(start);
            break;
        }
        in_group = address.host.is_none() && address.mailbox.is_some();
    }
    if in_group && !out.ends_with(GROUP_END) {
        out.extend_from_slice(GROUP_END);
    }
    if out.len() == 1 {
        return b"NIL".to_vec();
    }
    out.push(b')');
    out
}

fn parameters(out: &mut Vec<u8>, list: &[(Vec<u8>, Vec<u8>)]) {
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    for (i, (name, value)) in list.iter().enumerate() {
        out.push(if i == 0 { b'(' } else { b' ' });
        string(out, name);
        out.push(b' ');
        string(out, value);
    }
    out.push(b')');
}

/// RFC 9051 9: nstring, of a raw value; at most about `limit` bytes, twice that if all is escaped.
fn nstring(out: &mut Vec<u8>, value: Option<&[u8]>, limit: usize) {
    match value {
        Some(value) => string(out, cut(&header::unfold(value), limit)),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// RFC 9051 9: string. Octets beyond ASCII end in a literal, NUL cannot be sent and is dropped.
fn string(out: &mut Vec<u8>, value: &[u8]) {
    let bytes = value.iter().copied().filter(|b| *b != 0);
    if value.iter().all(|b| b.is_ascii() && !matches!(b, b'\r' | b'\n')) {
        out.push(b'"');
        for b in bytes {
            if matches!(b, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(b);
        }
        out.push(b'"');
    } else {
        out.extend_from_slice(format!("{{{}}}\r\n", bytes.clone().count()).as_bytes());
        out.extend(bytes);
    }
}

/// The start of `bytes`, at most `limit` long, not cut inside a UTF-8 sequence.
fn cut(bytes: &[u8], limit: usize) -> &[u8] {
    let mut end = limit.min(bytes.len());
    while end > 0 && bytes.get(end).is_some_and(|b| b & 0xc0 == 0x80) {
        end -= 1;
    }
    bytes.get(..end).unwrap_or_default()
}
