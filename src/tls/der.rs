//! Just enough DER to read when a certificate ends, and whose it says to be (RFC 5280 4.1).
//!
//! Nothing is trusted because of what is read here: it is shown to operators.

use std::net::IpAddr;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use understudy_proto::time::UnixMs;

pub(super) const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// `id-ce-subjectAltName`, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
/// `[3] EXPLICIT Extensions`.
const EXTENSIONS: u8 = 0xa3;
/// `[2] dNSName` and `[7] iPAddress` of a GeneralName.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// `[0] EXPLICIT Version`.
const VERSION: u8 = 0xa0;

/// When the certificate `der` expires; `None` where it cannot be read.
#[must_use]
pub fn not_after(der: &[u8]) -> Option<UnixMs> {
    life(der).map(|(_, until)| until)
}

/// From when until when the certificate `der` holds.
pub(super) fn life(der: &[u8]) -> Option<(UnixMs, UnixMs)> {
    let (validity, _) = element(from_validity(der)?, SEQUENCE)?;
    let (from, validity) = time(validity)?;
    time(validity).map(|(until, _)| (from, until))
}

/// The part of a certificate that begins with its validity.
fn from_validity(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut tbs, _) = element(certificate, SEQUENCE)?;
    if let Some((_, rest)) = element(tbs, VERSION) {
        tbs = rest;
    }
    let (_, tbs) = element(tbs, INTEGER)?; // serialNumber
    let (_, tbs) = element(tbs, SEQUENCE)?; // signature
    let (_, tbs) = element(tbs, SEQUENCE)?; // issuer
    Some(tbs)
}

/// Issuer and serial number of a certificate, each with its tag, as CMS names it (RFC 5652 10.2.4).
pub(super) fn issuer_and_serial(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut tbs, _) = element(certificate, SEQUENCE)?;
    if let Some((_, rest)) = element(tbs, VERSION) {
        tbs = rest;
    }
    let (serial, tbs) = whole(tbs, INTEGER)?;
    let (_, tbs) = element(tbs, SEQUENCE)?; // signature
    let (issuer, _) = whole(tbs, SEQUENCE)?;
    Some((issuer, serial))
}

/// The name of whom the certificate `der` is for; `None` where it has none that can be read.
pub(super) fn common_name(der: &[u8]) -> Option<String> {
    let (_, rest) = element(from_validity(der)?, SEQUENCE)?; // validity
    let (mut subject, _) = element(rest, SEQUENCE)?;
    while let Some((relative, rest)) = element(subject, SET) {
        subject = rest;
        let (attribute, _) = element(relative, SEQUENCE)?;
        let (kind, value) = element(attribute, OBJECT_IDENTIFIER)?;
        if kind == COMMON_NAME {
            let text = element(value, UTF8_STRING).or_else(|| element(value, PRINTABLE_STRING));
            return text.and_then(|(text, _)| String::from_utf8(text.to_vec()).ok());
        }
    }
    None
}

/// The names and addresses that the certificate `der` is for (RFC 5280 4.2.1.6); none where they cannot be
/// read.
pub(super) fn names(der: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = alternative_names(der).unwrap_or_default();
    while let Some(&tag) = rest.first() {
        let Some((name, after)) = element(rest, tag) else { break };
        match tag {
            DNS_NAME => names.push(String::from_utf8_lossy(name).into_owned()),
            IP_ADDRESS => {
                let v4 = <[u8; 4]>::try_from(name).map(IpAddr::from);
                let v6 = || <[u8; 16]>::try_from(name).map(IpAddr::from);
                names.extend(v4.or_else(|_| v6()).ok().map(|ip| ip.to_string()));
            }
            _ => {}
        }
        rest = after;
    }
    names
}

/// The content of the extension `subjectAltName`.
fn alternative_names(der: &[u8]) -> Option<&[u8]> {
    let (_, rest) = element(from_validity(der)?, SEQUENCE)?; // validity
    let (_, rest) = element(rest, SEQUENCE)?; // subject
    let (_, mut rest) = element(rest, SEQUENCE)?; // subjectPublicKeyInfo
    while let Some(&tag) = rest.first().filter(|tag| **tag != EXTENSIONS) {
        (_, rest) = element(rest, tag)?;
    }
    let (all, _) = element(rest, EXTENSIONS)?;
    let (mut all, _) = element(all, SEQUENCE)?;
    while let Some((extension, rest)) = element(all, SEQUENCE) {
        all = rest;
        let (kind, value) = element(extension, OBJECT_IDENTIFIER)?;
        if kind == SUBJECT_ALT_NAME {
            let value = element(value, BOOLEAN).map_or(value, |(_critical, value)| value);
            let (value, _) = element(value, OCTET_STRING)?;
            return element(value, SEQUENCE).map(|(names, _)| names);
        }
    }
    None
}

/// [`not_after`] of the first certificate in a PEM text.
#[must_use]
pub fn not_after_pem(pem: &str) -> Option<UnixMs> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().and_then(|c| not_after(&c))
}

/// [`element`] with its tag and length.
fn whole(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (_, rest) = element(bytes, tag)?;
    bytes.split_at_checked(bytes.len().checked_sub(rest.len())?)
}

/// From when until when the first certificate in a PEM text holds.
pub(super) fn life_pem(pem: &str) -> Option<(UnixMs, UnixMs)> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().and_then(|c| life(&c))
}

/// The content of the element at the start of `bytes`, which must have `tag`, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    if found != tag {
        return None;
    }
    let (&first, mut rest) = rest.split_first()?;
    let mut len = usize::from(first);
    if first & 0x80 != 0 {
        let octets = usize::from(first & 0x7f);
        if octets == 0 || octets > 3 {
            return None;
        }
        let (number, after) = rest.split_at_checked(octets)?;
        len = number.iter().fold(0, |n, b| n << 8 | usize::from(*b));
        rest = after;
    }
    rest.split_at_checked(len)
}

/// RFC 5280 4.1.2.5: UTCTime `YYMMDDHHMMSSZ` up to 2049, GeneralizedTime `YYYYMMDDHHMMSSZ` after.
fn time(bytes: &[u8]) -> Option<(UnixMs, &[u8])> {
    let (year, text, rest) = if let Some((text, rest)) = element(bytes, UTC_TIME) {
        let (year, text) = number(text, 2)?;
        (if year < 50 { 2000 + year } else { 1900 + year }, text, rest)
    } else {
        let (text, rest) = element(bytes, GENERALIZED_TIME)?;
        let (year, text) = number(text, 4)?;
        (year, text, rest)
    };
    let (month, text) = number(text, 2)?;
    let (day, text) = number(text, 2)?;
    let (hour, text) = number(text, 2)?;
    let (minute, text) = number(text, 2)?;
    let (second, _zone) = number(text, 2)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days_before(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((UnixMs(seconds.checked_mul(1_000)?), rest))
}

fn number(text: &[u8], digits: usize) -> Option<(u64, &[u8])> {
    let (head, rest) = text.split_at_checked(digits)?;
    let mut n = 0;
    for b in head {
        n = n * 10 + u64::from(b.checked_sub(b'0').filter(|d| *d < 10)?);
    }
    Some((n, rest))
}

/// Days from 1970-01-01 to the given day of the Gregorian calendar; `None` before.
fn days_before(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years are counted from March, so that the leap day is the last of its year.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day;
    days.checked_sub(719_469)
}

/// Year, month and day of `t`; the opposite of [`not_after`]'s reading.
pub(super) fn date(t: UnixMs) -> (i32, u8, u8) {
    let days = t.0 / 86_400_000 + 719_468;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let m = (5 * of_year + 2) / 153;
    let day = of_year - (153 * m + 2) / 5 + 1;
    let (month, carry) = if m < 10 { (m + 3, 0) } else { (m - 9, 1) };
    let year = year + days / 146_097 * 400 + carry;
    (
        i32::try_from(year).unwrap_or(i32::MAX),
        u8::try_from(month).unwrap_or(1),
        u8::try_from(day).unwrap_or(1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn dates_are_read_as_they_are_written(day in 0u64..200_000) {
            let t = UnixMs(day * 86_400_000);
            let (y, m, d) = date(t);
            prop_assert_eq!(days_before(u64::try_from(y).unwrap(), u64::from(m), u64::from(d)), Some(day));
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(not_after(&bytes).is_none() || bytes.len() > 20);
            prop_assert!(common_name(&bytes).is_none() || bytes.len() > 20);
            prop_assert!(issuer_and_serial(&bytes).is_none() || bytes.len() > 8);
        }
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let made = crate::tls::Identity::self_signed("understudy-ab-0", UnixMs(0)).unwrap();
        let der = CertificateDer::from_pem_slice(made.certificate_pem.as_bytes()).unwrap();
        assert_eq!(common_name(&der).as_deref(), Some("understudy-ab-0"));
    }

    #[test]
    fn known_days() {
        assert_eq!(date(UnixMs(0)), (1970, 1, 1));
        assert_eq!(date(UnixMs(951_782_400_000)), (2000, 2, 29));
        assert_eq!(days_before(2024, 3, 1), Some(19_783));
    }
}
