//! The answer of somebody who is away: RFC 8621 8, by the rules of RFC 3834.
//!
//! [`asks`] says whom a message would have answered, [`message`] makes the answer. In doubt there is
//! none: an answer to a list or to another robot does harm, a missing one does little.
//! Absent: who was answered when (rows of [`crate::objects`]), and when somebody is away.

use super::{address, base64, trace};
use crate::message::{address as list, header};
use crate::time::UnixMs;

/// Longest subject of an answer in characters.
const SUBJECT_MAX: usize = 200;
/// Most references that an answer takes over.
const REFERENCES_MAX: usize = 16;

/// A message that may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whom the answer goes to: the reverse-path (RFC 3834 4).
    pub to: String,
    /// Its subject, decoded.
    pub subject: String,
    /// Its Message-ID, and what it refers to.
    pub message_id: Option<String>,
    /// The message ids for References.
    pub references: Vec<String>,
}

/// Who may be answered for a message that arrived here, given its header; `own`: the addresses of
/// whoever is away, in lower case. `None`: nobody.
#[must_use]
pub fn asks(raw: &[u8], own: &[String]) -> Option<Asked> {
    // What was put here by other means than delivery has no Return-Path in front.
    let first = header::fields(raw).next()?;
    if !first.name.eq_ignore_ascii_case(b"Return-Path") {
        return None;
    }
    // RFC 3834 2: no answer to the null reverse-path.
    let path = header::unfold(first.value);
    let path = String::from_utf8(path).ok()?;
    let to = path.strip_prefix('<')?.strip_suffix('>')?.to_owned();
    let (local, _) = address::split(&to)?;
    if !address::is_mailbox(&to) || is_robot(local) || own.contains(&to.to_lowercase()) {
        return None;
    }
    let mut mine = false;
    for field in header::fields(raw) {
        let name = String::from_utf8_lossy(field.name).to_lowercase();
        let value = String::from_utf8_lossy(&header::unfold(field.value)).to_lowercase();
        match name.as_str() {
            // RFC 3834 5.
            "auto-submitted" if !value.starts_with("no") => return None,
            "precedence" if ["bulk", "list", "junk", "auto_reply"].contains(&value.trim()) => {
                return None;
            }
            "x-auto-response-suppress"
                if value
                    .split(',')
                    .any(|what| matches!(what.trim(), "all" | "oof" | "autoreply" | "dr")) =>
            {
                return None;
            }
            "x-autoreply" | "x-autorespond" | "mailing-list" | "x-loop" | "feedback-id" => {
                return None;
            }
            // RFC 2369, RFC 2919.
            name if name.starts_with("list-") => return None,
            "x-spam-flag" if value.starts_with("yes") => return None,
            "to" | "cc" | "bcc" | "resent-to" | "resent-cc" | "resent-bcc" => {
                mine |= list::parse(field.value).iter().any(|one| is_one_of(one, own));
            }
            _ => {}
        }
    }
    // RFC 3834 2: who is not named was reached by a list, or by chance.
    if !mine {
        return None;
    }
    let text = |name| header::find(raw, name).map(header::decode_words).unwrap_or_default();
    let ids = |name| header::find(raw, name).into_iter().flat_map(header::message_ids);
    let message_id = ids("Message-ID").next();
    let mut references: Vec<String> = ids("References").collect();
    if references.is_empty() {
        references.extend(ids("In-Reply-To").take(1));
    }
    references.extend(message_id.clone());
    // RFC 5322 3.6.4 keeps all; the first and the last are what threads are made of.
    if references.len() > REFERENCES_MAX {
        references.drain(1..references.len().saturating_sub(REFERENCES_MAX - 1));
    }
    Some(Asked { to, subject: text("Subject"), message_id, references })
}

fn is_one_of(one: &list::Address, own: &[String]) -> bool {
    let (Some(mailbox), Some(host)) = (&one.mailbox, &one.host) else { return false };
    let text = format!("{}@{}", header::decode_words(mailbox), header::decode_words(host));
    own.contains(&text.to_lowercase())
}

/// RFC 3834 2: names that belong to programs.
fn is_robot(local: &str) -> bool {
    let local = local.to_lowercase();
    let names = [
        "mailer-daemon",
        "listserv",
        "majordomo",
        "postmaster",
        "noreply",
        "no-reply",
        "no_reply",
        "donotreply",
        "do-not-reply",
        "bounce",
        "bounces",
        "nobody",
        "autoreply",
    ];
    let plain = local.split(['+', '=']).next().unwrap_or_default();
    names.contains(&plain)
        || local.starts_with("owner-")
        || ["-request", "-owner", "-bounces", "-bounce", "-relay", "-noreply"]
            .iter()
            .any(|end| plain.ends_with(end))
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Whose answer it is.
    pub from: &'a str,
    /// His name, perhaps empty.
    pub name: &'a str,
    /// What it answers.
    pub asked: &'a Asked,
    /// Its subject, if he gave one.
    pub subject: Option<&'a str>,
    /// Its text and its HTML, if he gave any.
    pub text: Option<&'a str>,
    /// See [`Answer::text`].
    pub html: Option<&'a str>,
    /// Now.
    pub at: UnixMs,
    /// Letters and digits that no other answer has.
    pub unique: &'a str,
}

/// Where nothing was said.
const NOTHING_SAID: &str = "Ich bin zurzeit nicht da; Ihre Nachricht ist angekommen.\r\n\
    I am away at the moment; your message has arrived.\r\n";

/// The answer as a whole message with CRLF line ends.
#[must_use]
pub fn message(answer: &Answer<'_>) -> Vec<u8> {
    let Answer { from, asked, at, .. } = *answer;
    let unique: String = answer.unique.chars().filter(char::is_ascii_alphanumeric).collect();
    let domain = address::split(from).map_or("localhost", |(_, domain)| domain);
    // RFC 3834 3.1.5.
    let subject = match answer.subject.filter(|subject| !subject.trim().is_empty()) {
        Some(subject) => subject.to_owned(),
        None => format!("Auto: {}", asked.subject),
    };
    let mut text = format!("Date: {}\r\n", trace::date(at));
    let address = address::on_wire(from);
    match answer.name.trim() {
        "" => text.push_str(&format!("From: <{address}>\r\n")),
        name => text.push_str(&format!("From: {} <{address}>\r\n", words(name))),
    }
    text.push_str(&format!("To: <{}>\r\n", address::on_wire(&asked.to)));
    text.push_str(&format!("Subject: {}\r\n", words(&subject)));
    text.push_str(&format!("Message-ID: <{unique}@{domain}>\r\n"));
    let plain = |id: &&String| id.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>');
    if let Some(id) = asked.message_id.as_ref().filter(plain) {
        text.push_str(&format!("In-Reply-To: <{id}>\r\n"));
    }
    let references: Vec<String> =
        asked.references.iter().filter(plain).map(|id| format!("<{id}>")).collect();
    if !references.is_empty() {
        text.push_str(&format!("References: {}\r\n", references.join("\r\n ")));
    }
    // RFC 3834 3.1.7; and for those who know no better.
    text.push_str("Auto-Submitted: auto-replied\r\nX-Auto-Response-Suppress: All\r\n");
    text.push_str("MIME-Version: 1.0\r\n");
    match (answer.text, answer.html) {
        (None, None) => part(&mut text, "plain", NOTHING_SAID),
        (Some(plain), None) => part(&mut text, "plain", plain),
        (None, Some(html)) => part(&mut text, "html", html),
        (Some(plain), Some(html)) => {
            text.push_str(&format!(
                "Content-Type: multipart/alternative; boundary=\"=_{unique}\"\r\n\r\n--=_{unique}\r\n"
            ));
            part(&mut text, "plain", plain);
            text.push_str(&format!("--=_{unique}\r\n"));
            part(&mut text, "html", html);
            text.push_str(&format!("--=_{unique}--\r\n"));
        }
    }
    text.into_bytes()
}

/// A text part, its header included.
fn part(out: &mut String, subtype: &str, content: &str) {
    out.push_str(&format!(
        "Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ));
    // RFC 2046 4.1.1: lines end with CRLF before they are encoded.
    let lines = content.replace("\r\n", "\n").replace('\n', "\r\n");
    for line in lines.as_bytes().chunks(57) {
        out.push_str(&base64::encode(line));
        out.push_str("\r\n");
    }
}

/// RFC 2047: text for people in a header; encoded words whatever is in it, so that nothing in it
/// means anything.
fn words(text: &str) -> String {
    const LEN: usize = 42;
    let text: String = text.chars().take(SUBJECT_MAX).filter(|c| !c.is_control()).collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ';
    let short = text.len() < 60 && !text.starts_with(' ') && !text.ends_with(' ');
    if short && text.chars().all(plain) {
        return text;
    }
    let (mut all, mut word) = (Vec::new(), String::new());
    for c in text.chars() {
        if word.len().saturating_add(c.len_utf8()) > LEN {
            all.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    all.push(word);
    let encoded = all.iter().map(|word| format!("=?utf-8?B?{}?=", base64::encode(word.as_bytes())));
    encoded.collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own() -> Vec<String> {
        vec!["ada@here.example".into(), "info@here.example".into()]
    }

    const PLAIN: &str = "Return-Path: <bob@far.example>\r\nFrom: Bob <bob@far.example>\r\n\
        To: Ada <Ada@Here.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\
        Message-ID: <2@far>\r\nReferences: <0@far> <1@far>\r\n\r\nhi\r\n";

    fn with(line: &str) -> String {
        PLAIN.replacen("From:", &format!("{line}\r\nFrom:"), 1)
    }

    #[test]
    fn a_person_who_writes_is_answered() {
        let asked = asks(PLAIN.as_bytes(), &own()).unwrap();
        assert_eq!((asked.to.as_str(), asked.subject.as_str()), ("bob@far.example", "Grüße"));
        assert_eq!(asked.message_id.as_deref(), Some("2@far"));
        assert_eq!(asked.references, ["0@far", "1@far", "2@far"]);
        assert!(asks(with("Auto-Submitted: no").as_bytes(), &own()).is_some());
        let cc =
            PLAIN.replace("To: Ada <Ada@Here.example>", "To: x@y.example\r\nCc: info@here.example");
        assert!(asks(cc.as_bytes(), &own()).is_some());
    }

    #[test]
    fn robots_lists_and_strangers_are_not() {
        for line in [
            "Auto-Submitted: auto-generated",
            "Auto-Submitted: auto-replied; x=y",
            "List-Id: <all.here.example>",
            "List-Unsubscribe: <https://x.example>",
            "Precedence: bulk",
            "precedence:  LIST",
            "X-Auto-Response-Suppress: DR, OOF",
            "Mailing-List: x",
        ] {
            assert_eq!(asks(with(line).as_bytes(), &own()), None, "{line}");
        }
        for path in [
            "<>",
            "<mailer-daemon@far.example>",
            "<owner-list@far.example>",
            "<no-reply@far.example>",
            "<list-request@far.example>",
            "<bounces+ada=here.example@far.example>",
            "bob@far.example",
            "<ADA@here.example>",
            "<nobody>",
            "<a@b\u{0}c>",
        ] {
            let text =
                PLAIN.replace("Return-Path: <bob@far.example>", &format!("Return-Path: {path}"));
            assert_eq!(asks(text.as_bytes(), &own()), None, "{path}");
        }
        let elsewhere = PLAIN.replace("Ada@Here.example", "others@here.example");
        assert_eq!(asks(elsewhere.as_bytes(), &own()), None, "not named");
        let put = PLAIN.replace("Return-Path: <bob@far.example>\r\n", "");
        assert_eq!(asks(put.as_bytes(), &own()), None, "not delivered");
    }

    #[test]
    fn an_answer_says_what_it_is() {
        let asked = asks(PLAIN.as_bytes(), &own()).unwrap();
        let mut answer = Answer {
            from: "ada@here.example",
            name: "Ada \"The\" Ö\r\nBcc: x@y",
            asked: &asked,
            subject: None,
            text: Some("Back\nsoon"),
            html: None,
            at: UnixMs(0),
            unique: "u1",
        };
        let text = String::from_utf8(message(&answer)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for line in [
            "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n",
            "To: <bob@far.example>\r\n",
            "In-Reply-To: <2@far>\r\nReferences: <0@far>\r\n <1@far>\r\n <2@far>\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "Message-ID: <u1@here.example>\r\n",
        ] {
            assert!(head.contains(line), "{line} is not in {head}");
        }
        assert!(!head.contains("\r\nBcc"), "{head}");
        let subject = header::find(text.as_bytes(), "Subject").unwrap();
        assert_eq!(header::decode_words(subject), "Auto: Grüße");
        let from = list::parse(header::find(text.as_bytes(), "From").unwrap());
        assert_eq!(from[0].display().unwrap(), "Ada \"The\" ÖBcc: x@y <ada@here.example>");
        assert_eq!(base64::decode(body.trim().as_bytes()).unwrap(), b"Back\r\nsoon");
        // Nobody answers an answer.
        let mut back = b"Return-Path: <ada@here.example>\r\n".to_vec();
        back.extend(text.bytes());
        assert_eq!(asks(&back, &["bob@far.example".to_owned()]), None);
        (answer.html, answer.subject) = (Some("<p>x</p>"), Some("Away"));
        let text = String::from_utf8(message(&answer)).unwrap();
        assert!(text.contains("Subject: Away\r\n") && text.ends_with("--=_u1--\r\n"), "{text}");
        assert_eq!(text.matches("--=_u1").count(), 3);
    }

    proptest! {
        #[test]
        fn any_text_makes_one_message(subject in "\\PC{0,300}", name in "\\PC{0,80}", text in "\\PC{0,80}", id in "\\PC{0,20}") {
            let asked = Asked {
                to: "bob@far.example".into(), subject: subject.clone(),
                message_id: Some(id.clone()), references: vec![id],
            };
            let (subject, text) = (Some(subject.as_str()), Some(text.as_str()));
            let answer = Answer {
                from: "ada@here.example", name: &name, asked: &asked, subject, text, html: None,
                at: UnixMs(0), unique: "u",
            };
            let out = message(&answer);
            prop_assert!(out.is_ascii());
            let all = out.split(|b| *b == b'\n').map(<[u8]>::len).max();
            prop_assert!(all.unwrap_or(0) < 200, "a long line");
            prop_assert_eq!(header::fields(&out).filter(|f| f.name == b"To").count(), 1);
            prop_assert!(header::fields(&out).count() <= 12);
        }

        #[test]
        fn any_header_is_answered_or_not(raw in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut all = b"Return-Path: <a@b.example>\r\nTo: ada@here.example\r\n".to_vec();
            all.extend(raw);
            let _either = asks(&all, &own());
        }
    }
}
