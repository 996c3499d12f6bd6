//! A connection whose bytes leave only while the pass says so.
//!
//! Invariants: the pass is asked before every write to the socket, below TLS, against the clock and
//! not against a flag: a process that was frozen sends nothing when it thaws (DESIGN.md 3, invariant
//! 7). What is held back waits and leaves when the pass is renewed; when it is withdrawn the write
//! fails. Deliberately absent: reading (nothing leaves by it) and closing (it says nothing).

use super::doorstep::Greeting;
use super::gate::{Leave, Pass};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a socket knows of its pass, whatever that is.
trait Hold: Send + Sync {
    fn leave(&self) -> Leave;
    fn decided(&self) -> Waiting;
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<P: Pass> Hold for P {
    fn leave(&self) -> Leave {
        Pass::leave(self)
    }

    fn decided(&self) -> Waiting {
        let pass = self.clone();
        Box::pin(async move { Pass::decided(&pass).await })
    }
}

/// A TCP connection that sends only while its pass is fresh.
pub struct Socket {
    tcp: TcpStream,
    hold: Option<Arc<dyn Hold>>,
    /// There while bytes are held back.
    waiting: Option<Waiting>,
    /// There until the first bytes have left.
    greeting: Option<Greeting>,
}

impl Socket {
    /// `tcp` under `pass`.
    pub fn new(tcp: TcpStream, pass: &impl Pass) -> Self {
        Self { tcp, hold: Some(Arc::new(pass.clone())), waiting: None, greeting: None }
    }

    /// Lets `greeting` go with the first bytes that leave.
    pub(super) fn counted_by(self, greeting: Greeting) -> Self {
        Self { greeting: Some(greeting), ..self }
    }

    /// The connection itself, for its addresses and options; never to write to it.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Waits until the peer has spoken, in protocols where it does so first: until then nobody owes it
    /// a greeting (browsers connect long before they ask).
    pub async fn spoken_to(&mut self) -> io::Result<()> {
        let paused = self.greeting.take().map(Greeting::pause);
        let readable = self.tcp.readable().await;
        self.greeting = paused.and_then(|paused| paused.resume());
        readable
    }

    /// Ready while bytes may leave.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(hold) = &self.hold else { return Poll::Ready(Ok(())) };
        loop {
            match hold.leave() {
                Leave::Now => {
                    self.waiting = None;
                    return Poll::Ready(Ok(()));
                }
                Leave::Never => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "this node may not answer any more",
                    )));
                }
                Leave::NotYet => {}
            }
            ready!(self.waiting.get_or_insert_with(|| hold.decided()).as_mut().poll(cx));
            self.waiting = None;
        }
    }
}

/// A connection that nobody holds back: for listeners that serve in every role, and for tests.
impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Self {
        Self { tcp, hold: None, waiting: None, greeting: None }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_leave(cx))?;
        let written = ready!(Pin::new(&mut this.tcp).poll_write(cx, buf));
        this.greeting = None;
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_leave(cx))?;
        Pin::new(&mut this.tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_leave(cx))?;
        let written = ready!(Pin::new(&mut this.tcp).poll_write_vectored(cx, bufs));
        this.greeting = None;
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    #[derive(Clone)]
    struct Word(watch::Receiver<Leave>);

    impl Pass for Word {
        async fn revoked(&self) {
            let mut word = self.0.clone();
            word.wait_for(|word| *word == Leave::Never).await.map(drop).unwrap_or_default();
        }

        fn leave(&self) -> Leave {
            *self.0.borrow()
        }

        async fn decided(&self) {
            let mut word = self.0.clone();
            word.wait_for(|word| *word != Leave::NotYet).await.map(drop).unwrap_or_default();
        }
    }

    async fn connection() -> (watch::Sender<Leave>, Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let (word, pass) = watch::channel(Leave::NotYet);
        (word, Socket::new(tcp, &Word(pass)), client)
    }

    /// Whether anything has arrived after a moment.
    async fn hears(client: &mut TcpStream) -> bool {
        let mut byte = [0; 1];
        tokio::time::timeout(Duration::from_millis(30), client.read_exact(&mut byte)).await.is_ok()
    }

    #[tokio::test]
    async fn bytes_wait_for_the_pass_and_leave_when_it_is_renewed() {
        let (word, mut socket, mut client) = connection().await;
        let writes = async {
            socket.write_all(b"a").await.unwrap();
            socket.flush().await.unwrap();
        };
        let renews = async {
            assert!(!hears(&mut client).await);
            word.send_replace(Leave::Now);
            assert!(hears(&mut client).await);
        };
        tokio::join!(writes, renews);
        // And again: each write is asked for.
        word.send_replace(Leave::NotYet);
        let again = socket.write(b"b");
        assert!(tokio::time::timeout(Duration::from_millis(30), again).await.is_err());
        let slices = [io::IoSlice::new(b"b")];
        let vectored = socket.write_vectored(&slices);
        assert!(tokio::time::timeout(Duration::from_millis(30), vectored).await.is_err());
        assert!(!hears(&mut client).await);
    }

    #[tokio::test]
    async fn a_withdrawn_pass_fails_the_write() {
        let (word, mut socket, mut client) = connection().await;
        let writes = socket.write_all(b"a");
        let (written, _) = tokio::join!(writes, async { word.send_replace(Leave::Never) });
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        // What comes in is still read.
        client.write_all(b"x").await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'x');
        socket.shutdown().await.unwrap();
        assert!(!hears(&mut client).await || client.read_u8().await.is_err());
    }
}
