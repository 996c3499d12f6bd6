//! Header fields in their parsed forms (RFC 8621 4.1.2) and as properties (4.1.3).

use crate::message::{address, date, header};
use crate::time;
use serde_json::{Value, json};

/// RFC 8621 4.1.2: how a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it stands.
    Raw,
    /// Unfolded, decoded.
    Text,
    /// A list of mailboxes, groups dissolved.
    Addresses,
    /// The same with its groups.
    GroupedAddresses,
    /// Message ids.
    MessageIds,
    /// A date.
    Date,
    /// Links of mailing lists (RFC 2369).
    Urls,
}

/// A property that names a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderProperty {
    /// The field's name.
    pub field: String,
    /// How it is read.
    pub form: Form,
    /// Every field of that name, not the last one alone.
    pub all: bool,
}

impl HeaderProperty {
    /// `header:NAME[:asFORM][:all]`, or one of the convenience properties. `None`: neither, or a form that
    /// RFC 8621 does not allow for that field.
    #[must_use]
    pub fn parse(property: &str) -> Option<Self> {
        let of = |field: &str, form| Some(Self { field: field.into(), form, all: false });
        match property {
            "messageId" => return of("Message-ID", Form::MessageIds),
            "inReplyTo" => return of("In-Reply-To", Form::MessageIds),
            "references" => return of("References", Form::MessageIds),
            "sender" => return of("Sender", Form::Addresses),
            "from" => return of("From", Form::Addresses),
            "to" => return of("To", Form::Addresses),
            "cc" => return of("Cc", Form::Addresses),
            "bcc" => return of("Bcc", Form::Addresses),
            "replyTo" => return of("Reply-To", Form::Addresses),
            "subject" => return of("Subject", Form::Text),
            "sentAt" => return of("Date", Form::Date),
            _ => {}
        }
        let mut words = property.strip_prefix("header:")?.split(':');
        let field =
            words.next().filter(|f| !f.is_empty() && f.bytes().all(|b| (33..=126).contains(&b)))?;
        let (mut form, mut all) = (Form::Raw, false);
        for (at, word) in words.enumerate() {
            match word {
                "all" if !all => all = true,
                _ if at > 0 => return None,
                "asRaw" => {}
                "asText" => form = Form::Text,
                "asAddresses" => form = Form::Addresses,
                "asGroupedAddresses" => form = Form::GroupedAddresses,
                "asMessageIds" => form = Form::MessageIds,
                "asDate" => form = Form::Date,
                "asURLs" => form = Form::Urls,
                _ => return None,
            }
        }
        let lower = field.to_ascii_lowercase();
        let known = |names: &[&str]| names.contains(&lower.as_str());
        const ADDRESSES: [&str; 13] = [
            "from",
            "sender",
            "reply-to",
            "to",
            "cc",
            "bcc",
            "resent-from",
            "resent-sender",
            "resent-reply-to",
            "resent-to",
            "resent-cc",
            "resent-bcc",
            "list-id",
        ];
        const IDS: [&str; 4] = ["message-id", "in-reply-to", "references", "resent-message-id"];
        const DATES: [&str; 2] = ["date", "resent-date"];
        const URLS: [&str; 6] = [
            "list-help",
            "list-unsubscribe",
            "list-subscribe",
            "list-post",
            "list-owner",
            "list-archive",
        ];
        // A field that RFC 5322 or 2369 gives another meaning is not read as something else.
        let meant = match form {
            Form::Raw => true,
            Form::Text => {
                lower == "list-id"
                    || !(known(&ADDRESSES) || known(&IDS) || known(&DATES) || known(&URLS))
            }
            Form::Addresses | Form::GroupedAddresses => {
                !(known(&IDS) || known(&DATES) || known(&URLS) || lower == "subject")
            }
            Form::MessageIds => {
                !(known(&ADDRESSES) || known(&DATES) || known(&URLS) || lower == "subject")
            }
            Form::Date => !(known(&ADDRESSES) || known(&IDS) || known(&URLS) || lower == "subject"),
            Form::Urls => {
                !(known(&ADDRESSES) || known(&IDS) || known(&DATES) || lower == "subject")
            }
        };
        meant.then(|| Self { field: field.to_owned(), form, all })
    }

    /// Its value in a header section.
    #[must_use]
    pub fn value(&self, raw: &[u8]) -> Value {
        let found = header::fields(raw)
            .filter(|f| f.name.eq_ignore_ascii_case(self.field.as_bytes()))
            .map(|f| form(f.value, self.form));
        if self.all {
            return Value::Array(found.collect());
        }
        found.last().unwrap_or(Value::Null)
    }
}

/// A raw value, read in that form.
#[must_use]
pub fn form(raw: &[u8], form: Form) -> Value {
    match form {
        Form::Raw => json!(String::from_utf8_lossy(raw)),
        Form::Text => json!(text(raw)),
        Form::Addresses => json!(addresses(raw)),
        Form::GroupedAddresses => json!(group_addresses(raw)),
        Form::MessageIds => {
            let ids: Vec<String> = header::message_ids(raw).collect();
            if ids.is_empty() { Value::Null } else { json!(ids) }
        }
        Form::Date => {
            date::parse(raw).map_or(Value::Null, |d| json!(time::zoned_date(d.at, d.zone_minutes)))
        }
        Form::Urls => {
            let text = String::from_utf8_lossy(&header::unfold(raw)).into_owned();
            let urls: Vec<&str> = text
                .split('<')
                .skip(1)
                .filter_map(|rest| rest.split_once('>').map(|(url, _)| url.trim()))
                .collect();
            if urls.is_empty() { Value::Null } else { json!(urls) }
        }
    }
}

fn text(raw: &[u8]) -> String {
    header::decode_words(&header::unfold(raw)).trim().to_owned()
}

/// `[{name, email}]`, groups dissolved.
#[must_use]
pub fn addresses(raw: &[u8]) -> Vec<Value> {
    group_addresses(raw)
        .into_iter()
        .filter_map(|group| match group.get("addresses") {
            Some(Value::Array(all)) => Some(all.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

/// `[{name, addresses}]`; what is in no group is in one without a name.
#[must_use]
pub fn group_addresses(raw: &[u8]) -> Vec<Value> {
    let mut groups: Vec<(Option<String>, Vec<Value>)> = Vec::new();
    let mut inside = false;
    for entry in address::parse(raw) {
        match (&entry.mailbox, &entry.host) {
            (Some(name), None) => {
                groups.push((Some(header::decode_words(name)), Vec::new()));
                inside = true;
            }
            (None, _) => inside = false,
            (Some(mailbox), Some(host)) => {
                let mut email = header::decode_words(mailbox);
                if !host.is_empty() {
                    email = format!("{email}@{}", header::decode_words(host));
                }
                let name = entry.name.as_deref().map(header::decode_words);
                let address = json!({ "name": name, "email": email });
                match groups.last_mut() {
                    Some((named, all)) if inside || named.is_none() => all.push(address),
                    _ => groups.push((None, vec![address])),
                }
            }
        }
    }
    groups.into_iter().map(|(name, all)| json!({ "name": name, "addresses": all })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RAW: &[u8] = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n and more\r\nFrom: \"James Smythe\" <james@example.com>, Friends:\r\n jane@example.com, =?UTF-8?Q?John_Sm=C3=AEth?= <john@example.com>;\r\nMessage-ID: <a@b>\r\nReferences: <x@y> <z@y>\r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\nList-Unsubscribe: <https://x/1>, <mailto:a@b>\r\nX-A: 1\r\nX-A: 2\r\n\r\n";

    fn get(property: &str) -> Value {
        HeaderProperty::parse(property).unwrap().value(RAW)
    }

    #[test]
    fn forms_are_those_of_rfc_8621() {
        assert_eq!(get("subject"), json!("Grüße and more"));
        assert_eq!(get("header:From:asAddresses"), get("from"));
        assert_eq!(get("from")[2], json!({ "name": "John Smîth", "email": "john@example.com" }));
        let groups = get("header:From:asGroupedAddresses");
        assert_eq!(groups[0]["name"], Value::Null);
        assert_eq!(groups[1]["name"], "Friends");
        assert_eq!(groups[1]["addresses"].as_array().unwrap().len(), 2);
        assert_eq!(get("references"), json!(["x@y", "z@y"]));
        assert_eq!(get("inReplyTo"), Value::Null);
        assert_eq!(get("sentAt"), "1997-11-21T09:55:06-06:00");
        assert_eq!(get("header:List-Unsubscribe:asURLs"), json!(["https://x/1", "mailto:a@b"]));
        assert_eq!(get("header:x-a"), " 2");
        assert_eq!(get("header:X-A:asText:all"), json!(["1", "2"]));
        for wrong in [
            "header:",
            "header:From:asDate",
            "header:Subject:asAddresses",
            "header:X:asX",
            "header:X:all:asText",
            "id",
        ] {
            assert_eq!(HeaderProperty::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_value_has_every_form(raw in prop::collection::vec(any::<u8>(), 0..80)) {
            for form_ in [Form::Raw, Form::Text, Form::Addresses, Form::GroupedAddresses, Form::MessageIds, Form::Date, Form::Urls] {
                drop(form(&raw, form_));
            }
        }
    }
}
