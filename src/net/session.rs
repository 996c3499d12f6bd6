//! One connection's bytes, plain or under TLS.

use super::held::Socket;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

/// Most time that a client may take for its TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// A session's byte stream.
#[derive(Debug)]
pub enum Stream {
    /// As it comes from the wire.
    Plain(Socket),
    /// Under TLS.
    Tls(Box<TlsStream<Socket>>),
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Self::Plain(tcp.into())
    }
}

/// What a TLS session agreed on, for trace fields and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// For example `TLSv1_3`.
    pub version: String,
    /// For example `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
}

/// What TLS is offered to a client, who may say by the address alone what they came to.
pub trait Acceptor: Sync {
    /// For a client that came to `local`.
    fn config_at(&self, local: Option<IpAddr>) -> Arc<ServerConfig>;
}

impl Acceptor for Arc<ServerConfig> {
    fn config_at(&self, _local: Option<IpAddr>) -> Arc<ServerConfig> {
        Arc::clone(self)
    }
}

impl Stream {
    /// Performs the server's side of a TLS handshake: at once for implicit TLS, after the
    /// go-ahead for STARTTLS. The caller must have thrown away, or refused, everything that it had
    /// read beyond the STARTTLS command (RFC 3207 5: no plaintext may survive into TLS).
    ///
    /// # Errors
    /// The handshake failed or took longer than [`HANDSHAKE_TIMEOUT`], or TLS was already on.
    pub async fn upgrade(self, acceptor: &impl Acceptor) -> io::Result<Self> {
        let Self::Plain(tcp) = self else {
            return Err(io::Error::other("TLS is already active on this connection"));
        };
        let config = acceptor.config_at(tcp.tcp().local_addr().ok().map(|at| at.ip()));
        let handshake = TlsAcceptor::from(config).accept(tcp);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(tls)) => Ok(Self::Tls(Box::new(tls))),
            Ok(Err(e)) => Err(e),
            Err(_elapsed) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client did not finish its TLS handshake in time",
            )),
        }
    }

    /// Whether the bytes are protected.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The protocol that TLS agreed on (ALPN, RFC 7301).
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        let Self::Tls(tls) = self else { return None };
        tls.get_ref().1.alpn_protocol()
    }

    /// What TLS agreed on; `None` on a plain stream.
    #[must_use]
    pub fn tls_facts(&self) -> Option<TlsFacts> {
        let Self::Tls(tls) = self else { return None };
        let (_, connection) = tls.get_ref();
        let version = connection.protocol_version()?.as_str().unwrap_or("TLS").to_owned();
        let suite = connection.negotiated_cipher_suite()?.suite();
        Some(TlsFacts {
            version,
            cipher: suite.as_str().unwrap_or("unknown").to_owned(),
            server_name: connection.server_name().map(str::to_owned),
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Self::Tls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(s) => s.is_write_vectored(),
            Self::Tls(s) => s.is_write_vectored(),
        }
    }
}
