//! What a device needs to reach the account: values to type, a zone to publish, a profile to install.
//!
//! Invariant: a `GET` changes nothing but for who shows a ticket that the app has asked for with its
//! header a moment ago: mail that a person looks at can make their browser fetch an address of ours.

use super::credentials::NewDevice;
use super::{Asked, Sought, profile};
use crate::base::clock;
use crate::http::Host;
use crate::web::caller::Caller;
use crate::web::failure::Failure;
use crate::web::{Facts, Web};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use understudy_proto::directory::{canonical_domain, split_address};
use understudy_proto::time::UnixMs;

/// How long a profile may be fetched that was asked for.
const TICKET_MS: u64 = 10 * 60 * 1_000;
/// Time to live of the records that we propose, in seconds: they are for an emergency, and go again.
const ZONE_TTL_S: u32 = 300;

/// How a connection is protected, in the words of autoconfiguration formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::web) enum Security {
    /// From the first byte (RFC 8314 3).
    Tls,
    /// After a word in the clear.
    StartTls,
}

/// One service as a device is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::web) struct Service {
    pub(in crate::web) host: String,
    pub(in crate::web) port: u16,
    pub(in crate::web) security: Security,
}

/// What a device needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::web) struct Connect {
    pub(in crate::web) username: String,
    pub(in crate::web) imap: Option<Service>,
    pub(in crate::web) smtp: Option<Service>,
    /// Whether `host` is a name; else names do not lead here.
    pub(in crate::web) names: bool,
}

impl Connect {
    /// Whoever came by address may have no names just now: they get the address that worked.
    pub(in crate::web) fn new(facts: &Facts, host: Option<&Host>, username: &str) -> Self {
        let (host, names) = match host {
            Some(Host::Address(address)) => (address.to_string(), false),
            _ => (facts.hostname.clone(), true),
        };
        // RFC 8314 3: TLS from the first byte is to be preferred.
        let service = |tls: Option<u16>, starttls: Option<u16>| {
            let found = tls.map(|port| (port, Security::Tls));
            let found = found.or_else(|| starttls.map(|port| (port, Security::StartTls)));
            found.map(|(port, security)| Service { host: host.clone(), port, security })
        };
        Self {
            username: username.to_owned(),
            imap: service(facts.imaps, facts.imap),
            smtp: service(facts.submissions, facts.submission),
            names,
        }
    }
}

pub(super) async fn get(
    State(web): State<Web>,
    caller: Caller,
    host: Option<Extension<Host>>,
) -> Json<Connect> {
    let host = host.as_ref().map(|Extension(host)| host);
    Json(Connect::new(web.facts(), host, &caller.login.address))
}

#[derive(Deserialize)]
pub(super) struct Zone {
    domain: Option<String>,
}

/// Records for the tenant's domain, as a zone file has them (RFC 1035 5).
pub(super) async fn zone(
    State(web): State<Web>,
    caller: Caller,
    Sought(zone): Sought<Zone>,
) -> Result<String, Failure> {
    let own = split_address(&caller.login.address).map(|(_, domain)| domain.to_owned());
    let domain = zone.domain.or_else(|| own.ok()).ok_or(Failure::NotFound)?;
    let domain =
        canonical_domain(&domain).map_err(|e| Failure::invalid("domain", e.to_string()))?;
    let domains = web.directory().domains()?;
    if !domains.contains(&(domain.clone(), caller.login.tenant)) {
        return Err(Failure::NotFound);
    }
    Ok(records(web.facts(), &domain))
}

fn records(facts: &Facts, domain: &str) -> String {
    let mut text = format!("; {domain}: RFC 6186, RFC 8314 5.1, RFC 8620 2.2\n");
    let services = [
        ("_imaps", facts.imaps, 0),
        ("_imap", facts.imap, 10),
        ("_submissions", facts.submissions, 0),
        ("_submission", facts.submission, 10),
        ("_jmap", Some(443), 0),
        ("_autodiscover", Some(443), 0),
    ];
    for (service, port, priority) in services {
        let owner = format!("{service}._tcp.{domain}.");
        // RFC 6186 3.4: a target of "." says that there is no such service.
        let target = match port {
            Some(port) => format!("{priority} 1 {port} {}.", facts.hostname),
            None => "0 0 0 .".to_owned(),
        };
        // Writing to a string cannot fail.
        writeln!(text, "{owner} {ZONE_TTL_S} IN SRV {target}").unwrap_or_default();
    }
    text
}

#[derive(Serialize)]
pub(super) struct Ticket {
    url: String,
}

#[derive(Deserialize)]
pub(super) struct Shown {
    label: String,
    days: Option<u32>,
    until: u64,
    ticket: String,
}

/// Where to fetch a profile that is named `label`, once the app has asked for it.
pub(super) async fn apple(
    State(web): State<Web>,
    caller: Caller,
    Asked(asked): Asked<NewDevice>,
) -> Result<Json<Ticket>, Failure> {
    asked.check()?;
    let until = clock::now_ms().0.saturating_add(TICKET_MS);
    let ticket = ticket(&web, &caller, &asked, until)?;
    let mut url = format!("/api/connect/apple.mobileconfig?until={until}&ticket={ticket}&label=");
    for byte in asked.label.bytes() {
        write!(url, "%{byte:02X}").unwrap_or_default();
    }
    if let Some(days) = asked.days {
        write!(url, "&days={days}").unwrap_or_default();
    }
    Ok(Json(Ticket { url }))
}

/// Of this session, this label and this time, and nobody else's to make.
fn ticket(
    web: &Web,
    caller: &Caller,
    asked: &NewDevice,
    until: u64,
) -> Result<blake3::Hash, Failure> {
    let mut hasher = blake3::Hasher::new_keyed(web.0.key.expose());
    let login = &caller.login;
    for number in [login.tenant.0, login.account.0, caller.session()?, asked.days.unwrap_or(0)] {
        hasher.update(&number.to_be_bytes());
    }
    Ok(hasher.update(&until.to_be_bytes()).update(asked.label.as_bytes()).finalize())
}

/// A configuration profile for one device of the person, with an app password of its own.
pub(super) async fn profile(
    State(web): State<Web>,
    caller: Caller,
    host: Option<Extension<Host>>,
    Sought(shown): Sought<Shown>,
) -> Result<Response, Failure> {
    let asked = NewDevice { label: shown.label, days: shown.days };
    asked.check()?;
    let right = ticket(&web, &caller, &asked, shown.until)?;
    // blake3::Hash compares in constant time.
    let same = blake3::Hash::from_hex(shown.ticket).is_ok_and(|given| given == right);
    if !same || UnixMs(shown.until) < clock::now_ms() {
        return Err(Failure::NotFound);
    }
    let host = host.as_ref().map(|Extension(host)| host);
    let connect = Connect::new(web.facts(), host, &caller.login.address);
    let (Some(imap), Some(smtp)) = (&connect.imap, &connect.smtp) else {
        return Err(Failure::NotFound);
    };
    let (lease, login) = (caller.lease(), &caller.login);
    let directory = web.directory();
    let made = directory.add_own_app_password(lease, login, &asked.label, asked.days).await?;
    let (_, made) = made;
    let text = profile::text(&profile::Parts {
        hostname: &web.facts().hostname,
        address: &login.address,
        name: &directory.name_of_person(login)?,
        password: &made.plain,
        imap,
        smtp,
    });
    let text = text.expose().as_bytes();
    let body = web.0.providers.signer.as_ref().and_then(|sign| sign(text));
    let fields = [
        (CONTENT_TYPE, "application/x-apple-aspen-config"),
        (CONTENT_DISPOSITION, "attachment; filename=\"understudy.mobileconfig\""),
    ];
    Ok((fields, body.unwrap_or_else(|| text.to_vec())).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_by_address_gets_the_address() {
        let facts = Facts {
            hostname: "mx.example.net".into(),
            imap: Some(143),
            imaps: None,
            submission: Some(587),
            submissions: Some(465),
            ..Facts::default()
        };
        let by_name = Connect::new(&facts, Some(&Host::Name("other.example".into())), "a@b");
        let host = "mx.example.net".to_owned();
        let imap = Service { host: host.clone(), port: 143, security: Security::StartTls };
        let smtp = Service { host, port: 465, security: Security::Tls };
        assert_eq!((by_name.imap, by_name.smtp, by_name.names), (Some(imap), Some(smtp), true));
        let address = Host::Address("2001:db8::1".parse().unwrap());
        let by_address = Connect::new(&facts, Some(&address), "a@b");
        assert!(!by_address.names);
        assert_eq!(by_address.imap.unwrap().host, "2001:db8::1");
    }

    #[test]
    fn a_zone_says_what_there_is_and_what_is_not() {
        let facts = Facts {
            hostname: "mx.example.net".into(),
            imaps: Some(993),
            submissions: Some(465),
            submission: Some(587),
            ..Facts::default()
        };
        let text = records(&facts, "acme.example");
        assert!(text.contains("_imaps._tcp.acme.example. 300 IN SRV 0 1 993 mx.example.net.\n"));
        assert!(text.contains("_imap._tcp.acme.example. 300 IN SRV 0 0 0 .\n"));
        assert!(
            text.contains("_submission._tcp.acme.example. 300 IN SRV 10 1 587 mx.example.net.\n")
        );
        assert!(text.lines().all(|line| line.starts_with([';', '_'])));
    }
}
