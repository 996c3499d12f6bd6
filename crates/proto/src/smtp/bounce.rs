//! The message that tells a sender what could not be delivered: RFC 3464 in an RFC 6522 report.
//!
//! Pure text from facts. Remote hosts' words are folded into single printable lines. Deliberately
//! absent: reports of delay and of success.

use super::{address, trace};
use crate::time::UnixMs;

/// Octets of the original's header that are returned.
pub const HEADER_MAX: usize = 16_384;
/// Characters of a remote host's words in a report.
const REASON_MAX: usize = 512;

/// What one report says.
#[derive(Debug, Clone)]
pub struct Bounce<'a> {
    /// Our host name.
    pub hostname: &'a str,
    /// The sender, who gets the report.
    pub to: &'a str,
    /// The recipients that were given up, each with the reason.
    pub failed: &'a [(String, String)],
    /// When the message was accepted here.
    pub arrived: UnixMs,
    /// Now.
    pub at: UnixMs,
    /// The first octets of the message; its header is returned, cut at [`HEADER_MAX`].
    pub original: &'a [u8],
    /// Letters and digits that no other report has: boundary and Message-ID.
    pub unique: &'a str,
}

/// The report as a whole message with CRLF line ends.
#[must_use]
pub fn message(bounce: &Bounce<'_>) -> Vec<u8> {
    let Bounce { hostname, at, .. } = *bounce;
    let unique: String = bounce.unique.chars().filter(char::is_ascii_alphanumeric).collect();
    let boundary = format!("=_{unique}");
    let to = address::on_wire(bounce.to);
    let mut text = format!(
        "Date: {date}\r\n\
         From: Mail Delivery System <postmaster@{hostname}>\r\n\
         To: <{to}>\r\n\
         Subject: Undelivered mail returned to sender\r\n\
         Message-ID: <{unique}@{hostname}>\r\n\
         Auto-Submitted: auto-replied\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\
         \r\n\
         --{boundary}\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         \r\n\
         This is the mail system at {hostname}.\r\n\
         \r\n\
         Your message could not be delivered to one or more recipients.\r\n\
         Its header is attached.\r\n",
        date = trace::date(at),
    );
    for (recipient, reason) in bounce.failed {
        text.push_str(&format!("\r\n<{}>:\r\n", address::on_wire(recipient)));
        for line in wrapped(&printable(reason)) {
            text.push_str(&format!("    {line}\r\n"));
        }
    }
    let utf8 = !bounce.to.is_ascii() || bounce.failed.iter().any(|(to, _)| !to.is_ascii());
    // RFC 6533 3 has types of its own for addresses that are not ASCII.
    let (status, kind, headers) = if utf8 {
        ("message/global-delivery-status", "utf-8", "message/global-headers")
    } else {
        ("message/delivery-status", "rfc822", "text/rfc822-headers")
    };
    text.push_str(&format!(
        "\r\n--{boundary}\r\nContent-Type: {status}\r\n\r\n\
         Reporting-MTA: dns; {hostname}\r\nArrival-Date: {}\r\n",
        trace::date(bounce.arrived),
    ));
    for (recipient, reason) in bounce.failed {
        let reason = printable(reason);
        text.push_str(&format!(
            "\r\nFinal-Recipient: {kind}; {}\r\nAction: failed\r\nStatus: {}\r\n\
             Diagnostic-Code: smtp; {}\r\n",
            address::on_wire(recipient),
            status_code(&reason),
            wrapped(&reason).join("\r\n\t"),
        ));
    }
    text.push_str(&format!("\r\n--{boundary}\r\nContent-Type: {headers}\r\n\r\n"));
    let mut message = text.into_bytes();
    message.extend_from_slice(header(bounce.original));
    message.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    message
}

/// The enhanced status in what a host said; `5.0.0` where it has none.
fn status_code(reason: &str) -> String {
    let is_status = |word: &&str| {
        let numbers: Vec<&str> = word.split('.').collect();
        let all_numbers =
            |n: &&str| (1..=3).contains(&n.len()) && n.bytes().all(|digit| digit.is_ascii_digit());
        numbers.len() == 3 && numbers.iter().all(all_numbers)
    };
    match reason.split(' ').take(3).find(is_status) {
        Some(status) if status.starts_with("5.") || status.starts_with("4.") => status.to_owned(),
        _ => "5.0.0".to_owned(),
    }
}

fn printable(reason: &str) -> String {
    reason.chars().take(REASON_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Lines of about 72 characters.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_ascii_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len().saturating_add(word.len()) < 72 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The header of a message, in whole lines.
fn header(original: &[u8]) -> &[u8] {
    let start = original.get(..HEADER_MAX).unwrap_or(original);
    if start.starts_with(b"\r\n") {
        return &[];
    }
    let end = memchr::memmem::find(start, b"\r\n\r\n")
        .or_else(|| memchr::memmem::rfind(start, b"\r\n"))
        .map_or(0, |at| at.saturating_add(2));
    start.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Bounce, HEADER_MAX, header, message, status_code};
    use crate::time::UnixMs;

    #[test]
    fn a_report_has_its_three_parts() {
        let failed = [("bob@far".to_owned(), "550 5.1.1 no\r\nbob: here".to_owned())];
        let report = message(&Bounce {
            hostname: "mx.here",
            to: "alice@here",
            failed: &failed,
            arrived: UnixMs(0),
            at: UnixMs(86_400_000),
            original: b"Subject: hi\r\nTo: bob@far\r\n\r\nsecret\r\n",
            unique: "u1",
        });
        assert_eq!(
            String::from_utf8(report).unwrap(),
            "Date: Fri, 02 Jan 1970 00:00:00 +0000\r\n\
             From: Mail Delivery System <postmaster@mx.here>\r\n\
             To: <alice@here>\r\n\
             Subject: Undelivered mail returned to sender\r\n\
             Message-ID: <u1@mx.here>\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\
             \tboundary=\"=_u1\"\r\n\
             \r\n\
             --=_u1\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\
             \r\n\
             This is the mail system at mx.here.\r\n\
             \r\n\
             Your message could not be delivered to one or more recipients.\r\n\
             Its header is attached.\r\n\
             \r\n\
             <bob@far>:\r\n    550 5.1.1 no bob: here\r\n\
             \r\n\
             --=_u1\r\n\
             Content-Type: message/delivery-status\r\n\
             \r\n\
             Reporting-MTA: dns; mx.here\r\n\
             Arrival-Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n\
             \r\n\
             Final-Recipient: rfc822; bob@far\r\n\
             Action: failed\r\n\
             Status: 5.1.1\r\n\
             Diagnostic-Code: smtp; 550 5.1.1 no bob: here\r\n\
             \r\n\
             --=_u1\r\n\
             Content-Type: text/rfc822-headers\r\n\
             \r\n\
             Subject: hi\r\nTo: bob@far\r\n\
             \r\n--=_u1--\r\n"
        );
    }

    #[test]
    fn statuses_and_headers() {
        assert_eq!(status_code("550 5.7.1 denied"), "5.7.1");
        assert_eq!(status_code("451 4.3.0 gave up"), "4.3.0");
        assert_eq!(status_code("550 no 1.2.3.4"), "5.0.0");
        assert_eq!(status_code("250 2.0.0 odd"), "5.0.0");
        assert_eq!(header(b"\r\nbody"), b"");
        assert_eq!(header(b"a: b\r\nc: d"), b"a: b\r\n");
        assert_eq!(header(b"no end"), b"");
        let long = [b"a: b\r\n".as_slice(); 4_000].concat();
        assert!(header(&long).len() <= HEADER_MAX && header(&long).ends_with(b"\r\n"));
    }
}
