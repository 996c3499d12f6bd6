//! What programs ask to set themselves up: Thunderbird's autoconfiguration and Outlook's Autodiscover.
//!
//! Invariants: it is answered without sign-in, for domains of ours only, and says nothing that depends
//! on whether an address exists. Absent on purpose: Exchange protocols; whoever asks for them learns
//! that there are none.

use super::api::{Connect, Security, Service};
use super::assets::App;
use super::caller::Here;
use super::failure::Failure;
use super::xml::{escape, text_of};
use super::{Web, assets};
use crate::http::Host;
use axum::body::to_bytes;
use axum::extract::{Query, Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::json;
use understudy_proto::directory::{canonical_address, canonical_domain, split_address};

/// Longest question of Outlook, in bytes.
const QUESTION_LEN_MAX: usize = 64 * 1024;
const XML: &str = "text/xml; charset=utf-8";

pub(super) fn router() -> Router<Web> {
    Router::new()
        .route("/mail/config-v1.1.xml", get(autoconfig))
        .route("/.well-known/autoconfig/mail/config-v1.1.xml", get(autoconfig))
}

#[derive(Deserialize)]
struct Asked {
    emailaddress: Option<String>,
}

fn of_host(host: Option<&Extension<Host>>) -> Option<&Host> {
    host.map(|Extension(host)| host)
}

/// draft-ietf-mailmaint-autoconfig: for the domain of the address, or of the host that was asked.
async fn autoconfig(
    State(web): State<Web>,
    _here: Here,
    host: Option<Extension<Host>>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let address = asked.emailaddress.as_deref().map(str::trim);
    let domain = match (address.and_then(|a| a.rsplit_once('@')), of_host(host.as_ref())) {
        (Some((_, domain)), _) => domain.to_owned(),
        (None, Some(Host::Name(name))) => {
            name.strip_prefix("autoconfig.").unwrap_or(name).to_owned()
        }
        _ => return Err(Failure::NotFound),
    };
    let domain = canonical_domain(&domain).map_err(|_none| Failure::NotFound)?;
    if !is_ours(&web, &domain)? {
        return Err(Failure::NotFound);
    }
    // Filled in by the program itself.
    let connect = Connect::new(web.facts(), of_host(host.as_ref()), "%EMAILADDRESS%");
    Ok(([(CONTENT_TYPE, XML)], client_config(&domain, &connect)).into_response())
}

fn is_ours(web: &Web, domain: &str) -> Result<bool, Failure> {
    Ok(web.directory().domains()?.iter().any(|(known, _)| known == domain))
}

fn client_config(domain: &str, connect: &Connect) -> String {
    let server = |element: &str, kind: &str, service: &Service| {
        let security = match service.security {
            Security::Tls => "SSL",
            Security::StartTls => "STARTTLS",
        };
        format!(
            "    <{element} type=\"{kind}\">\n      <hostname>{}</hostname>\n      \
             <port>{}</port>\n      <socketType>{security}</socketType>\n      \
             <username>{}</username>\n      <authentication>password-cleartext</authentication>\n    \
             </{element}>\n",
            escape(&service.host),
            service.port,
            escape(&connect.username)
        )
    };
    let incoming = connect.imap.as_ref().map(|s| server("incomingServer", "imap", s));
    let outgoing = connect.smtp.as_ref().map(|s| server("outgoingServer", "smtp", s));
    let domain = escape(domain);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n  \
         <emailProvider id=\"{domain}\">\n    <domain>{domain}</domain>\n    \
         <displayName>Understudy</displayName>\n    \
         <displayShortName>Understudy</displayShortName>\n{}{}  </emailProvider>\n</clientConfig>\n",
        incoming.unwrap_or_default(),
        outgoing.unwrap_or_default()
    )
}

/// Everything without a route: Autodiscover, however its path is written, or a file of the app.
pub(super) async fn or_asset(
    State(web): State<Web>,
    host: Option<Extension<Host>>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_ascii_lowercase();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if path == "/autodiscover/autodiscover.xml" {
        if *request.method() != Method::POST {
            return not_so("POST");
        }
        let (mut parts, body) = request.into_parts();
        let here = axum::RequestPartsExt::extract::<Here>(&mut parts).await;
        if let Err(failure) = here {
            return failure.into_response();
        }
        let Ok(body) = to_bytes(body, QUESTION_LEN_MAX).await else {
            return Failure::TooLarge.into_response();
        };
        let said = autodiscover(&web, of_host(host.as_ref()), &String::from_utf8_lossy(&body));
        return said.map_or_else(Failure::into_response, |text| {
            ([(CONTENT_TYPE, XML)], text).into_response()
        });
    }
    if path == "/autodiscover/autodiscover.json"
        || path.starts_with("/autodiscover/autodiscover.json/")
    {
        // Its formats name Exchange's protocols only.
        let said = json!({
            "ErrorCode": "ProtocolNotSupported",
            "ErrorMessage": "Only IMAP and SMTP are offered; see /autodiscover/autodiscover.xml.",
        });
        return (StatusCode::NOT_FOUND, Json(said)).into_response();
    }
    if reads { assets::serve(App::People, request).await } else { not_so("GET, HEAD") }
}

/// RFC 9110 15.5.6.
pub(super) fn not_so(allowed: &'static str) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, allowed)]).into_response()
}

/// [MS-OXDSCLI] 3.1.5 with the settings of [MS-OXDSCLI] 2.2.4 for IMAP and SMTP.
fn autodiscover(web: &Web, host: Option<&Host>, question: &str) -> Result<String, Failure> {
    let address = text_of(question, "EMailAddress").and_then(|text| canonical_address(&text).ok());
    let Some(address) = address else { return Ok(refusal(600, "Invalid Request")) };
    let (_, domain) = split_address(&address).map_err(|_none| Failure::NotFound)?;
    if !is_ours(web, domain)? {
        return Ok(refusal(500, "The domain is not served here"));
    }
    Ok(settings(&Connect::new(web.facts(), host, &address)))
}

fn refusal(code: u16, text: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Autodiscover \
         xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\n  \
         <Response>\n    <Error Time=\"00:00:00\" Id=\"0\">\n      <ErrorCode>{code}</ErrorCode>\n      \
         <Message>{}</Message>\n      <DebugData />\n    </Error>\n  </Response>\n</Autodiscover>\n",
        escape(text)
    )
}

fn settings(connect: &Connect) -> String {
    let protocol = |kind: &str, service: &Service| {
        // Outlook: SSL for TLS from the first byte; Encryption overrules it.
        let (ssl, encryption) = match service.security {
            Security::Tls => ("on", "SSL"),
            Security::StartTls => ("on", "TLS"),
        };
        format!(
            "      <Protocol>\n        <Type>{kind}</Type>\n        <Server>{}</Server>\n        \
             <Port>{}</Port>\n        <DomainRequired>off</DomainRequired>\n        \
             <LoginName>{}</LoginName>\n        <SPA>off</SPA>\n        <SSL>{ssl}</SSL>\n        \
             <Encryption>{encryption}</Encryption>\n        <AuthRequired>on</AuthRequired>\n      \
             </Protocol>\n",
            escape(&service.host),
            service.port,
            escape(&connect.username)
        )
    };
    let imap = connect.imap.as_ref().map(|s| protocol("IMAP", s)).unwrap_or_default();
    let smtp = connect.smtp.as_ref().map(|s| protocol("SMTP", s)).unwrap_or_default();
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Autodiscover \
         xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\n  \
         <Response xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/\
         responseschema/2006a\">\n    <Account>\n      <AccountType>email</AccountType>\n      \
         <Action>settings</Action>\n{imap}{smtp}    </Account>\n  </Response>\n</Autodiscover>\n"
    )
}
