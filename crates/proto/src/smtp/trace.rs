//! The trace that a message carries: `Received:` (RFC 5321 4.4) and `Return-Path:`.
//!
//! Pure text from facts. What a peer said is filtered to the characters that its place allows, so
//! that no header can be injected, folded into or closed early.

use super::address;
use crate::time::{UnixMs, civil};
use std::net::IpAddr;

/// What one `Received:` header says.
#[derive(Debug, Clone)]
pub struct Trace<'a> {
    /// What the client called itself.
    pub helo: &'a str,
    /// Its address; `None` leaves it out, as a submission does for its sender's privacy.
    pub peer: Option<IpAddr>,
    /// Our host name.
    pub by: &'a str,
    /// EHLO was said, not HELO.
    pub esmtp: bool,
    /// TLS protocol and cipher, when the session has it.
    pub tls: Option<&'a super::Tls>,
    /// The client has authenticated.
    pub authenticated: bool,
    /// SMTPUTF8 was given.
    pub utf8: bool,
    /// Queue id.
    pub id: &'a str,
    /// The recipient, only where there is one: others must not be told of each other.
    pub recipient: Option<&'a str>,
    /// When it came.
    pub at: UnixMs,
}

/// The `Received:` header with its CRLF.
#[must_use]
pub fn received(trace: &Trace<'_>) -> Vec<u8> {
    let mut text = format!("Received: from {}", host(trace.helo));
    match trace.peer.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => text.push_str(&format!(" ([{ip}])")),
        Some(IpAddr::V6(ip)) => text.push_str(&format!(" ([IPv6:{ip}])")),
        None => {}
    }
    text.push_str(&format!("\r\n\tby {} with {}", host(trace.by), protocol(trace)));
    if let Some(tls) = trace.tls {
        text.push_str(&format!(" ({} {})", word(&tls.protocol), word(&tls.cipher)));
    }
    text.push_str(&format!("\r\n\tid {}", word(trace.id)));
    if let Some(recipient) = trace.recipient {
        text.push_str(&format!("\r\n\tfor <{}>", address::on_wire(recipient)));
    }
    text.push_str(&format!(";\r\n\t{}\r\n", date(trace.at)));
    text.into_bytes()
}

/// The `Return-Path:` header with its CRLF: RFC 5321 4.4, at final delivery.
#[must_use]
pub fn return_path(from: &str) -> Vec<u8> {
    format!("Return-Path: <{}>\r\n", address::on_wire(from)).into_bytes()
}

/// RFC 5322 3.3 date-time in UTC. Years past 9999 stay at 9999.
#[must_use]
pub fn date(at: UnixMs) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const LAST_SECOND: u64 = 253_402_300_799;
    let seconds = (at.0 / 1_000).min(LAST_SECOND);
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(i64::try_from(days).unwrap_or_default());
    let name = |names: &[&'static str], n: u64| {
        usize::try_from(n).ok().and_then(|n| names.get(n).copied()).unwrap_or_default()
    };
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} +0000",
        name(&DAYS, days % 7),
        name(&MONTHS, u64::try_from(month - 1).unwrap_or_default()),
        clock / 3_600,
        clock / 60 % 60,
        clock % 60,
    )
}

// RFC 3848 and RFC 6531 4.3: the protocol's registered names.
fn protocol(trace: &Trace<'_>) -> String {
    if !trace.esmtp {
        return "SMTP".to_owned();
    }
    let base = if trace.utf8 { "UTF8SMTP" } else { "ESMTP" };
    let tls = if trace.tls.is_some() { "S" } else { "" };
    let auth = if trace.authenticated { "A" } else { "" };
    format!("{base}{tls}{auth}")
}

/// A host name or address literal; anything else in it becomes `?`.
fn host(name: &str) -> String {
    if name.is_empty() { "unknown".to_owned() } else { filtered(name, ".-_:[]") }
}

fn word(text: &str) -> String {
    filtered(text, ".-_")
}

fn filtered(text: &str, also: &str) -> String {
    text.chars()
        .take(address::DOMAIN_MAX)
        .map(|c| if c.is_alphanumeric() || also.contains(c) { c } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Trace, date, received, return_path};
    use crate::smtp::Tls;
    use crate::time::UnixMs;
    use proptest::prelude::*;

    fn plain() -> Trace<'static> {
        Trace {
            helo: "mail.example.com",
            peer: Some("192.0.2.1".parse().unwrap()),
            by: "mx.example.net",
            esmtp: true,
            tls: None,
            authenticated: false,
            utf8: false,
            id: "q1",
            recipient: Some("bob@example.net"),
            at: UnixMs(1_767_225_600_000),
        }
    }

    #[test]
    fn looks_like_rfc_5321_4_4() {
        assert_eq!(
            String::from_utf8(received(&plain())).unwrap(),
            "Received: from mail.example.com ([192.0.2.1])\r\n\tby mx.example.net with ESMTP\r\n\
             \tid q1\r\n\tfor <bob@example.net>;\r\n\tThu, 01 Jan 2026 00:00:00 +0000\r\n"
        );
        assert_eq!(return_path(""), b"Return-Path: <>\r\n");
        assert_eq!(return_path("a b@c"), b"Return-Path: <\"a b\"@c>\r\n");
    }

    #[test]
    fn protocols_are_those_registered() {
        let tls = Tls { protocol: "TLSv1.3".into(), cipher: "TLS_AES_256_GCM_SHA384".into() };
        for (esmtp, tls, authenticated, utf8, with) in [
            (false, None, false, false, "with SMTP\r"),
            (true, None, false, false, "with ESMTP\r"),
            (true, Some(&tls), false, false, "with ESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384)\r"),
            (true, Some(&tls), true, false, "with ESMTPSA ("),
            (true, None, true, false, "with ESMTPA\r"),
            (true, Some(&tls), true, true, "with UTF8SMTPSA ("),
            (true, None, false, true, "with UTF8SMTP\r"),
        ] {
            let trace = Trace { esmtp, tls, authenticated, utf8, ..plain() };
            let text = String::from_utf8(received(&trace)).unwrap();
            assert!(text.contains(with), "{text}");
        }
    }

    #[test]
    fn addresses_of_both_families() {
        let v6 = Trace { peer: Some("2001:db8::1".parse().unwrap()), ..plain() };
        assert!(String::from_utf8(received(&v6)).unwrap().contains(" ([IPv6:2001:db8::1])\r"));
        let mapped = Trace { peer: Some("::ffff:192.0.2.1".parse().unwrap()), ..plain() };
        assert!(String::from_utf8(received(&mapped)).unwrap().contains(" ([192.0.2.1])\r"));
    }

    #[test]
    fn dates() {
        for (ms, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_399_000, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_800_000, "Wed, 01 Mar 2000 00:00:00 +0000"),
            (1_798_761_599_999, "Thu, 31 Dec 2026 23:59:59 +0000"),
            (4_107_542_400_000, "Mon, 01 Mar 2100 00:00:00 +0000"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 +0000"),
        ] {
            assert_eq!(date(UnixMs(ms)), text);
        }
    }

    proptest! {
        #[test]
        fn no_header_can_be_injected(helo in "\\PC*|[\\x00-\\x7f]*", id in "[\\x00-\\x7f]*",
            to in "[\\x00-\\x7f]*|\\PC*", at in any::<u64>()) {
            let trace =
                Trace { helo: &helo, id: &id, recipient: Some(&to), at: UnixMs(at), ..plain() };
            let text = String::from_utf8(received(&trace)).unwrap();
            let unfolded = text.replace("\r\n\t", " ");
            let line = unfolded.strip_suffix("\r\n").unwrap();
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            let path = String::from_utf8(return_path(&to)).unwrap();
            prop_assert!(!path.strip_suffix("\r\n").unwrap().chars().any(char::is_control));
        }
    }
}
