//! A body that is written while it is sent.

use axum::body::Bytes;
use hyper::body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// What comes through the channel, in order; it ends with the sender.
pub(super) struct Chunks<E>(pub(super) mpsc::Receiver<Result<Vec<u8>, E>>);

impl<E> Body for Chunks<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        self.0.poll_recv(cx).map(|next| next.map(|c| c.map(|bytes| Frame::data(bytes.into()))))
    }
}
