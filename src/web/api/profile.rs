//! A configuration profile of Apple's devices: one account with IMAP and SMTP.
//!
//! Absent on purpose: our own authority's certificate. A device that is told to trust it would trust it
//! for every host; where the service shows a certificate of its own making, the person accepts that one.

use super::connect::Service;
use crate::base::secret::{self, Secret};
use crate::web::xml::escape;

pub(super) struct Parts<'a> {
    pub(super) hostname: &'a str,
    pub(super) address: &'a str,
    pub(super) name: &'a str,
    pub(super) password: &'a Secret<String>,
    pub(super) imap: &'a Service,
    pub(super) smtp: &'a Service,
}

/// A value of a property list, as XML.
enum Value<'a> {
    Text(&'a str),
    Number(u16),
    Yes(bool),
}

fn pairs(out: &mut String, indent: &str, pairs: &[(&str, Value<'_>)]) {
    for (key, value) in pairs {
        let value = match value {
            Value::Text(text) => format!("<string>{}</string>", escape(text)),
            Value::Number(n) => format!("<integer>{n}</integer>"),
            Value::Yes(true) => "<true/>".to_owned(),
            Value::Yes(false) => "<false/>".to_owned(),
        };
        out.push_str(&format!("{indent}<key>{key}</key>{value}\n"));
    }
}

/// RFC 9562 5.4.
fn uuid() -> String {
    let bits = u128::from_be_bytes(secret::random());
    let bits = bits & !(0xf << 76) | 4 << 76;
    let bits = bits & !(0x3 << 62) | 2 << 62;
    let hex = format!("{bits:032X}");
    let piece = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [piece(0, 8), piece(8, 12), piece(12, 16), piece(16, 20), piece(20, 32)].join("-")
}

/// The profile. Keys are those of Apple's "Device Management: Mail".
pub(super) fn text(parts: &Parts<'_>) -> Secret<String> {
    use Value::{Number, Text, Yes};
    let Parts { hostname, address, name, password, imap, smtp } = parts;
    // Installed again, it replaces the one before.
    let id = format!("understudy.{hostname}.{address}");
    let mail_id = format!("{id}.mail");
    let (profile_uuid, mail_uuid) = (uuid(), uuid());
    let title = format!("Understudy ({address})");
    let mut mail = String::new();
    pairs(
        &mut mail,
        "\t\t\t",
        &[
            ("PayloadType", Text("com.apple.mail.managed")),
            ("PayloadVersion", Number(1)),
            ("PayloadIdentifier", Text(&mail_id)),
            ("PayloadUUID", Text(&mail_uuid)),
            ("PayloadDisplayName", Text(&title)),
            ("EmailAccountType", Text("EmailTypeIMAP")),
            ("EmailAccountDescription", Text(&title)),
            ("EmailAccountName", Text(name)),
            ("EmailAddress", Text(address)),
            ("IncomingMailServerAuthentication", Text("EmailAuthPassword")),
            ("IncomingMailServerHostName", Text(&imap.host)),
            ("IncomingMailServerPortNumber", Number(imap.port)),
            // Either kind of TLS: the device tells them apart by what answers.
            ("IncomingMailServerUseSSL", Yes(true)),
            ("IncomingMailServerUsername", Text(address)),
            ("IncomingPassword", Text(password.expose())),
            ("OutgoingMailServerAuthentication", Text("EmailAuthPassword")),
            ("OutgoingMailServerHostName", Text(&smtp.host)),
            ("OutgoingMailServerPortNumber", Number(smtp.port)),
            ("OutgoingMailServerUseSSL", Yes(true)),
            ("OutgoingMailServerUsername", Text(address)),
            ("OutgoingPasswordSameAsIncomingPassword", Yes(true)),
        ],
    );
    let mut head = String::new();
    pairs(
        &mut head,
        "\t",
        &[
            ("PayloadType", Text("Configuration")),
            ("PayloadVersion", Number(1)),
            ("PayloadIdentifier", Text(&id)),
            ("PayloadUUID", Text(&profile_uuid)),
            ("PayloadDisplayName", Text(&title)),
            ("PayloadOrganization", Text("Understudy")),
            ("PayloadRemovalDisallowed", Yes(false)),
        ],
    );
    let mail = Secret::new(mail);
    Secret::new(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n{head}\t<key>PayloadContent</key>\n\t<array>\n\t\t<dict>\n\
         {}\t\t</dict>\n\t</array>\n</dict>\n</plist>\n",
        mail.expose()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::api::Security;

    #[test]
    fn a_profile_holds_what_a_device_needs_and_nothing_breaks_out() {
        let imap = Service { host: "mx.example.net".into(), port: 993, security: Security::Tls };
        let smtp = Service { host: "mx.example.net".into(), port: 465, security: Security::Tls };
        let text = text(&Parts {
            hostname: "mx.example.net",
            address: "ada@acme.example",
            name: "Ada </string><true/> & Co",
            password: &Secret::new("abcd-efgh".into()),
            imap: &imap,
            smtp: &smtp,
        });
        let text = text.expose();
        for piece in [
            "<key>IncomingPassword</key><string>abcd-efgh</string>",
            "<key>IncomingMailServerPortNumber</key><integer>993</integer>",
            "<key>OutgoingMailServerPortNumber</key><integer>465</integer>",
            "<string>Ada &lt;/string&gt;&lt;true/&gt; &amp; Co</string>",
        ] {
            assert!(text.contains(piece), "{piece}");
        }
        assert_eq!(text.matches("<dict>").count(), text.matches("</dict>").count());
        let id = uuid();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'));
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'A' | b'B'));
    }
}
