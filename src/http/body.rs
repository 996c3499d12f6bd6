//! Bodies: a request's that must go on, what is left of it, an answer's that counts until it has been sent.

use super::{BODY_GRACE, BODY_RATE_MIN, BODY_SILENCE_MAX, DRAIN_LEN_MAX, DRAIN_WAIT};
use crate::base::clock;
use axum::body::{Body, Bytes};
use hyper::body::{Frame, Incoming, SizeHint};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use understudy_proto::time::Mono;

/// A request's body; it fails when the client is too slow. What nobody read of it goes to `left`.
pub(super) struct Steady<B: hyper::body::Body = Incoming> {
    /// There until it is dropped.
    inner: Option<B>,
    left: Option<oneshot::Sender<B>>,
    began: Mono,
    received: u64,
    /// There while nothing comes.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<B: hyper::body::Body> Steady<B> {
    pub(super) fn new(inner: B, left: oneshot::Sender<B>) -> Self {
        let (inner, left) = (Some(inner), Some(left));
        Self { inner, left, began: clock::mono(), received: 0, waiting: None }
    }

    /// How long to wait for the next piece at `now`.
    fn patience(&self, now: Mono) -> Duration {
        let deserved = Duration::from_secs(self.received / BODY_RATE_MIN) + BODY_GRACE;
        BODY_SILENCE_MAX.min(deserved.saturating_sub(now.since(self.began)))
    }
}

impl<B> hyper::body::Body for Steady<B>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) else {
            let patience = this.patience(clock::mono());
            let waiting =
                this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            ready!(waiting.as_mut().poll(cx));
            return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())));
        };
        this.waiting = None;
        if let Some(Ok(frame)) = &frame {
            let len = frame.data_ref().map_or(0, Bytes::len);
            this.received += u64::try_from(len).unwrap_or(u64::MAX);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), B::size_hint)
    }
}

impl<B: hyper::body::Body> Drop for Steady<B> {
    fn drop(&mut self) {
        if let (Some(inner), Some(left)) = (self.inner.take(), self.left.take())
            && !inner.is_end_stream()
        {
            // Who does not want it drops it.
            drop(left.send(inner));
        }
    }
}

/// Reads what was left of a request, within bounds. A stream of HTTP/2 that is answered sooner is reset (RFC
/// 9113 8.1), and there are clients that overlook the answer then.
pub(super) async fn drain<B>(mut rest: B)
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let reading = async {
        let mut len = 0;
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut rest).poll_frame(cx)).await {
            len += frame.data_ref().map_or(0, Bytes::len);
            if len > DRAIN_LEN_MAX {
                return;
            }
        }
    };
    tokio::time::timeout(DRAIN_WAIT, reading).await.unwrap_or_default();
}

/// An answer's body that keeps something until it has been sent, or given up.
pub(super) struct Keeping<T> {
    pub(super) inner: Body,
    pub(super) _kept: T,
}

impl<T: Unpin> hyper::body::Body for Keeping<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};

    #[test]
    fn patience_is_earned_by_bytes_and_has_an_end() {
        let mut body = Steady::new(Full::new(Bytes::new()), oneshot::channel().0);
        let at = |s| body.began.after(Duration::from_secs(s));
        assert_eq!(body.patience(at(0)), BODY_GRACE);
        assert_eq!(body.patience(at(20)), Duration::from_secs(10));
        assert_eq!(body.patience(at(31)), Duration::ZERO);
        let later = at(31);
        body.received = 1 << 20;
        assert_eq!(body.patience(later), BODY_SILENCE_MAX);
    }

    #[tokio::test]
    async fn a_body_comes_through_whole() {
        let (left, mut rest) = oneshot::channel();
        let whole = Steady::new(Full::new(Bytes::from_static(b"x")), left);
        assert_eq!(whole.collect().await.unwrap().to_bytes(), "x");
        assert!(rest.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_nobody_read_is_left() {
        let (left, mut rest) = oneshot::channel();
        drop(Steady::new(Full::new(Bytes::from_static(b"x")), left));
        let rest = rest.try_recv().unwrap();
        assert!(!hyper::body::Body::is_end_stream(&rest));
        drain(rest).await;
    }
}
