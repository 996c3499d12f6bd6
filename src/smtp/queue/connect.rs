//! One attempt at one host: drives the client machine over a connection.

use super::READ_MAX;
use crate::base::clock;
use crate::mail::MailError;
use crate::smtp::Smtp;
use crate::tls::opportunistic_client;
use log::debug;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use understudy_proto::id::TenantId;
use understudy_proto::keys::BodyAddress;
use understudy_proto::smtp::client::{Client, Delivery, Outcome, Output};
use understudy_proto::smtp::outgoing::Piece;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for the host to take a block: RFC 5321 4.5.3.2.5.
const WRITE_TIMEOUT: Duration = Duration::from_mins(3);

/// A message and how it is read.
pub(super) struct Cargo {
    pub(super) smtp: Smtp,
    pub(super) tenant: TenantId,
    pub(super) from: String,
    pub(super) body: BodyAddress,
    /// What leaves.
    pub(super) pieces: Vec<Piece>,
}

/// How a conversation ended.
enum End {
    Outcomes,
    /// The handshake failed: the host may do without.
    NoTls(io::Error),
}

type Outcomes = Vec<(String, Outcome)>;

impl Cargo {
    /// What leaves, in pieces of at most [`READ_MAX`] octets.
    pub(super) fn reads(&self) -> impl Iterator<Item = Piece> {
        self.pieces.iter().flat_map(|piece| match piece {
            Piece::Text(text) => vec![Piece::Text(text.clone())],
            Piece::Range(Range { start, end }) => {
                let step = usize::try_from(READ_MAX).unwrap_or(usize::MAX);
                let from = (*start..*end).step_by(step);
                from.map(|at| Piece::Range(at..(*end).min(at.saturating_add(READ_MAX)))).collect()
            }
        })
    }

    /// The octets of one of [`Cargo::reads`].
    pub(super) fn read(&self, piece: Piece) -> Result<Vec<u8>, MailError> {
        match piece {
            Piece::Text(text) => Ok(text),
            Piece::Range(range) => self.smtp.0.mail.read_queued(self.tenant, &self.body, range),
        }
    }

    /// Brings the message to the host at `at`; also whether the next host may do better.
    pub(super) async fn bring(&self, at: SocketAddr, to: Vec<String>) -> (Outcomes, bool) {
        // RFC 7435: TLS where it works, else without; nobody was promised more.
        let (client, end) = self.converse(at, to.clone(), true).await;
        let client = match end {
            End::Outcomes => client,
            End::NoTls(e) => {
                debug!(peer:% = at, err:% = e; "host's TLS does not work, trying without");
                self.converse(at, to, false).await.0
            }
        };
        (client.outcomes(), client.try_next_host())
    }

    async fn converse(&self, at: SocketAddr, to: Vec<String>, tls: bool) -> (Client, End) {
        let delivery = Delivery {
            hostname: self.smtp.0.hostname.clone(),
            from: self.from.clone(),
            to,
            size: self.pieces.iter().map(Piece::len).sum(),
            tls,
        };
        let mut client = Client::new(delivery, clock::mono());
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(at)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return (troubled(client, at, &e), End::Outcomes),
            Err(_elapsed) => {
                let e = io::Error::from(io::ErrorKind::TimedOut);
                return (troubled(client, at, &e), End::Outcomes);
            }
        };
        let mut stream = stream;
        match self.talk(&mut client, &mut stream).await {
            Ok(false) => return (client, End::Outcomes),
            Ok(true) => {}
            Err(e) => return (troubled(client, at, &e), End::Outcomes),
        }
        let name = ServerName::IpAddress(at.ip().into());
        let connector = TlsConnector::from(Arc::clone(&OPPORTUNISTIC));
        let mut stream = match timeout(HANDSHAKE_TIMEOUT, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return (client, End::NoTls(e)),
            Err(_elapsed) => return (client, End::NoTls(io::ErrorKind::TimedOut.into())),
        };
        client.handle_tls(clock::mono());
        match self.talk(&mut client, &mut stream).await {
            Ok(_) => (client, End::Outcomes),
            Err(e) => (troubled(client, at, &e), End::Outcomes),
        }
    }

    /// Talks to the end (`false`) or to a handshake (`true`).
    async fn talk<S>(&self, client: &mut Client, stream: &mut S) -> io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut buffer = vec![0; 4_096];
        loop {
            while let Some(output) = client.poll_output() {
                match output {
                    Output::Send(bytes) => send(stream, &bytes).await?,
                    Output::StartTls => return Ok(true),
                    Output::WantBody => self.send_body(client, stream).await?,
                    Output::Close => return Ok(false),
                }
            }
            let end = client.poll_timeout().unwrap_or_else(clock::mono);
            tokio::select! {
                read = stream.read(&mut buffer) => match read? {
                    0 => client.handle_trouble("421 4.4.2 the host closed the connection"),
                    n => client
                        .handle_input(buffer.get(..n).unwrap_or_default(), clock::mono()),
                },
                () = clock::sleep_until(end) => client.handle_timeout(clock::mono()),
            }
        }
    }

    async fn send_body<S>(&self, client: &mut Client, stream: &mut S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        for piece in self.reads() {
            let piece = self.read(piece).map_err(|e| io::Error::other(e.to_string()))?;
            client.handle_body(&piece, clock::mono());
            while let Some(Output::Send(bytes)) = client.poll_output() {
                send(stream, &bytes).await?;
            }
        }
        client.handle_body_end(clock::mono());
        Ok(())
    }
}

fn troubled(mut client: Client, at: SocketAddr, e: &io::Error) -> Client {
    client.handle_trouble(&format!("421 4.4.1 {at}: {e}"));
    client
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    let write = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    timeout(WRITE_TIMEOUT, write).await?
}

/// TLS without a name to trust: it keeps those out who only listen (RFC 7435).
static OPPORTUNISTIC: LazyLock<Arc<ClientConfig>> = LazyLock::new(opportunistic_client);
