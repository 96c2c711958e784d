//! Sending a request body that is not there at once, in a task of its own.
//!
//! A bidirectional call must progress whether or not its response is polled. The pump asks the body
//! for more only when the stream has room, holds one piece at most, and ends with the stream: when it
//! is reset, or when the response is dropped (which aborts it, and resets the stream with CANCEL).

use super::Lease;
use super::exchange::{Split, split};
use crate::{BoxError, MeshBody};
use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// What pump and response share: the stream's lease, and the body's error.
pub(in crate::connect) struct Shared {
    _lease: Lease,
    error: Mutex<Option<BoxError>>,
}

impl Shared {
    pub(super) fn new(lease: Lease) -> Self {
        Self { _lease: lease, error: Mutex::new(None) }
    }

    pub(super) fn take_error(&self) -> Option<BoxError> {
        self.error.lock().take()
    }
}

pub(super) struct Pump {
    stream: SendStream<Bytes>,
    body: MeshBody,
    /// Data that waits for room.
    held: Option<Bytes>,
    shared: Arc<Shared>,
    done: bool,
}

impl Pump {
    pub(super) fn new(
        stream: SendStream<Bytes>,
        body: MeshBody,
        held: Option<Bytes>,
        shared: Arc<Shared>,
    ) -> Self {
        let mut pump = Self { stream, body, held: None, shared, done: false };
        if let Some(data) = held {
            pump.hold(data);
        }
        pump
    }

    /// Asks for room for `data`: one byte, as `h2` takes the whole piece once there is any, and more
    /// would be taken from the other streams of the connection while this one waits.
    fn hold(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.stream.reserve_capacity(1);
        }
        self.held = Some(data);
    }

    /// Sends the held data; `true`: it was the last.
    fn poll_send_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BoxError>> {
        let Some(data) = &self.held else { return Poll::Ready(Ok(false)) };
        while !data.is_empty() && self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                // The stream takes no more: its reset says why.
                Some(Err(_)) | None => return Poll::Ready(Ok(true)),
            }
        }
        let end = self.body.is_end_stream();
        if let Some(data) = self.held.take()
            && (end || !data.is_empty())
        {
            self.stream.send_data(data, end)?;
        }
        Poll::Ready(Ok(end))
    }

    /// Sends until the end; an error is the body's, or what it gave can't be sent.
    fn poll_pump(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_send_held(cx))? {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.stream.send_data(Bytes::new(), true)?,
                Some(frame) => match split(frame?) {
                    Split::Trailers(trailers) => self.stream.send_trailers(trailers)?,
                    Split::Data(data) => {
                        self.hold(data);
                        continue;
                    }
                },
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ended = ready!(self.poll_pump(cx));
        if let Err(error) = ended {
            // No effect on a stream that the peer ended: then that is what the response tells.
            *self.shared.error.lock() = Some(error);
            self.stream.send_reset(Reason::CANCEL);
        }
        self.done = true;
        Poll::Ready(())
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // Aborted, or the runtime ended: the server must not take what it has for the whole.
        if !self.done {
            self.stream.send_reset(Reason::CANCEL);
        }
    }
}
