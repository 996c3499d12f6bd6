//! The smallest client of line protocols: says lines, expects lines.

use super::appliance::LONG;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

pub(crate) trait Wire: Read + Write {
    /// The socket, if it is still plain.
    fn plain(self: Box<Self>) -> Option<TcpStream>;
}

impl Wire for TcpStream {
    fn plain(self: Box<Self>) -> Option<TcpStream> {
        Some(*self)
    }
}

impl Wire for StreamOwned<ClientConnection, TcpStream> {
    fn plain(self: Box<Self>) -> Option<TcpStream> {
        None
    }
}

pub(crate) struct Lines(BufReader<Box<dyn Wire>>);

impl Lines {
    pub(crate) fn plain(port: u16) -> Self {
        Self::over(Box::new(connect(port)))
    }

    pub(crate) fn over(wire: Box<dyn Wire>) -> Self {
        Self(BufReader::new(wire))
    }

    /// Writes a line and its CRLF.
    pub(crate) fn say(&mut self, line: &str) {
        self.write(format!("{line}\r\n").as_bytes());
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
        self.0.get_mut().flush().unwrap();
    }

    /// The next line, without its CRLF; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(_) => line.trim_end().to_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => String::new(),
            Err(e) => panic!("{e}"),
        }
    }

    /// The next line starts so.
    #[track_caller]
    pub(crate) fn expect(&mut self, start: &str) -> String {
        let line = self.line();
        assert!(line.starts_with(start), "wanted {start:?}, got {line:?}");
        line
    }

    /// Says a line; the reply's last line starts so.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str, start: &str) -> String {
        self.say(line);
        loop {
            let reply = self.line();
            if reply.as_bytes().get(3) != Some(&b'-') {
                assert!(reply.starts_with(start), "{line:?}: wanted {start:?}, got {reply:?}");
                return reply;
            }
        }
    }

    /// All lines up to the one that starts so.
    #[track_caller]
    pub(crate) fn until(&mut self, start: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "closed before {start:?}: {lines:?}");
            if line.starts_with(start) {
                return lines;
            }
            lines.push(line);
        }
    }

    /// All IMAP literals up to the line that starts so.
    #[track_caller]
    pub(crate) fn literals(&mut self, start: &str) -> Vec<String> {
        let mut literals = Vec::new();
        loop {
            let line = self.line();
            if line.starts_with(start) {
                return literals;
            }
            if let Some((_, size)) = line.strip_suffix('}').and_then(|line| line.rsplit_once('{')) {
                let mut bytes = vec![0; size.parse().unwrap()];
                self.0.read_exact(&mut bytes).unwrap();
                literals.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }

    /// Nothing more comes.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.line(), "");
    }

    /// Shakes hands on the same connection.
    pub(crate) fn start_tls(self) -> Self {
        assert!(self.0.buffer().is_empty(), "the server spoke before the handshake");
        let stream = self.0.into_inner().plain().unwrap();
        Self::over(secured(stream))
    }
}

/// A connection under TLS from the first byte.
pub(crate) fn tls(port: u16) -> Box<dyn Wire> {
    secured(connect(port))
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn secured(stream: TcpStream) -> Box<dyn Wire> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("mx.here.example").unwrap();
    Box::new(StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream))
}

/// Takes any certificate.
#[derive(Debug)]
pub(crate) struct Anyone(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
