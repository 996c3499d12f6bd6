//! HTTPS to the authority: a connection for each question, through our own resolver and TLS.

use super::super::{TlsError, provider};
use crate::base::task;
use hickory_resolver::TokioResolver;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::http::header::{HOST, HeaderValue, RETRY_AFTER};
use hyper::http::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Most time that a question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Most time that one address may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most addresses of the authority that are tried.
const ADDRESSES_MAX: usize = 6;
/// Longest answer in bytes: a chain of certificates.
const ANSWER_LEN_MAX: usize = 256 * 1024;

/// Asks the authority. Clones are the same.
#[derive(Clone)]
pub(super) struct Client {
    tls: Arc<ClientConfig>,
    /// For how many seconds the authority wants to be left alone; 0 for nothing said.
    retry_after: Arc<AtomicU64>,
}

fn other(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Other(why.into())
}

impl Client {
    /// Trusts the authorities that browsers trust, and `root` (PEM).
    pub(super) fn new(root: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = root {
            let bad =
                |why: String| TlsError::Pem { path: path.to_owned(), what: "certificate", why };
            let found = CertificateDer::from_pem_file(path).map_err(|e| bad(e.to_string()))?;
            roots.add(found)?;
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(config), retry_after: Arc::default() })
    }

    /// For how long the authority wants to be left alone, as it said last.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self.retry_after.swap(0, Ordering::Relaxed) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }

    async fn ask(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (mut parts, body) = request.into_parts();
        let authority = parts.uri.authority().cloned().ok_or("an address without a host")?;
        if parts.uri.scheme_str() != Some("https") {
            return Err("an address that is not https".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tcp = connect(&host, authority.port_u16().unwrap_or(443)).await?;
        let name = ServerName::try_from(host).map_err(other)?;
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        let tls = tls.connect(name, tcp).await.map_err(other)?;
        let made = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await;
        let (mut sender, connection) = made.map_err(other)?;
        // It ends with the answer: nobody keeps the sender.
        drop(task::spawn("acme-connection", async move {
            if let Err(e) = connection.await {
                log::debug!(err:% = e; "the connection to the authority broke off");
            }
        }));
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let target: Uri = path.parse()?;
        let host = HeaderValue::try_from(authority.as_str()).map_err(other)?;
        parts.uri = target;
        parts.headers.insert(HOST, host);
        let sent = sender.send_request(Request::from_parts(parts, body)).await;
        let (parts, body) = sent.map_err(other)?.into_parts();
        if matches!(parts.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let field = parts.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok());
            let seconds = field.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
            self.retry_after.store(seconds, Ordering::Relaxed);
        }
        let body = Limited::new(body, ANSWER_LEN_MAX).collect().await.map_err(Error::Other)?;
        Ok(BytesResponse::from(Response::from_parts(parts, Full::new(body.to_bytes()))))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = timeout(ANSWER_TIMEOUT, self.clone().ask(request));
        Box::pin(
            async move { answer.await.unwrap_or_else(|_elapsed| Err("no answer in time".into())) },
        )
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Error> {
    let addresses: Vec<IpAddr> = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => {
            let resolver = TokioResolver::builder_tokio()
                .and_then(hickory_resolver::ResolverBuilder::build)
                .map_err(other)?;
            let found = resolver.lookup_ip(host).await.map_err(other)?;
            found.iter().take(ADDRESSES_MAX).collect()
        }
    };
    let mut last = Error::Str("its name has no address");
    for address in addresses {
        let at = SocketAddr::new(address, port);
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(at)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(e)) => last = other(format!("{at}: {e}")),
            Err(_elapsed) => last = other(format!("{at} does not answer")),
        }
    }
    Err(last)
}
