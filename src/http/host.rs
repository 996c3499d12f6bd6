//! Which host a request is for (RFC 9110 7.2).

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{Request, Version};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use understudy_proto::smtp::address::is_domain;

/// The host that the client asked for, without its port; an extension of every request that names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By name, in lower case.
    Name(String),
    /// By address.
    Address(IpAddr),
}

impl fmt::Display for Host {
    /// As in a URI.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(v4)) => v4.fmt(f),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// What is wrong with the host of a request: it is answered 400 (RFC 9112 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadHost;

/// The host of `request`; only HTTP/1.0 may leave it out.
pub(super) fn of<B>(request: &Request<B>) -> Result<Option<Host>, BadHost> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(BadHost);
    }
    // RFC 9112 3.2.2: what the target says goes first; RFC 9113 8.3.1 for `:authority`.
    let text = match (request.uri().authority(), field) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(field)) => field.to_str().map_err(|_bytes| BadHost)?,
        (None, None) if request.version() < Version::HTTP_11 => return Ok(None),
        (None, None) => return Err(BadHost),
    };
    parse(text).map(Some).ok_or(BadHost)
}

fn parse(text: &str) -> Option<Host> {
    if text.contains('@') {
        return None;
    }
    let authority: Authority = text.parse().ok()?;
    let host = authority.host();
    if let Some(inner) = host.strip_prefix('[') {
        let v6: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(Host::Address(IpAddr::V6(v6)));
    }
    if let Ok(v4) = host.parse() {
        return Some(Host::Address(IpAddr::V4(v4)));
    }
    // A name may end in its dot.
    let name = host.strip_suffix('.').unwrap_or(host);
    is_domain(name).then(|| Host::Name(name.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_addresses_are_hosts_and_nothing_else_is() {
        for (text, shown) in [
            ("mx.example.net", "mx.example.net"),
            ("MX.Example.net.:8443", "mx.example.net"),
            ("localhost:1", "localhost"),
            ("192.0.2.1:443", "192.0.2.1"),
            ("[2001:DB8::1]:443", "[2001:db8::1]"),
        ] {
            assert_eq!(parse(text).map(|h| h.to_string()).as_deref(), Some(shown));
        }
        for text in ["", ":80", "a@b", "a b", "a/b", "a\r\nb", "[::1", "[x]", "-a", "a..b"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_a_host_stays_one(text in "\\PC{0,40}") {
            if let Some(host) = parse(&text) {
                prop_assert_eq!(parse(&host.to_string()), Some(host));
            }
        }
    }
}
