//! Sending a request body that is not there at once, in a task of its own.
//!
//! A bidirectional call must progress whether or not its response is polled. The pump asks the body
//! for more only when the stream has room, holds one piece at most, and ends with the stream: when it
//! is reset, or when the response is dropped (which aborts it, and resets the stream with CANCEL).

use super::Lease;
use crate::outgoing::{Broken, Outgoing};
use crate::{BoxError, MeshBody};
use bytes::Bytes;
use h2::{Reason, SendStream};
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
    outgoing: Outgoing,
    body: MeshBody,
    shared: Arc<Shared>,
    done: bool,
}

impl Pump {
    /// `held`: what the body has given already.
    pub(super) fn new(
        stream: SendStream<Bytes>,
        body: MeshBody,
        held: Option<Bytes>,
        shared: Arc<Shared>,
    ) -> Self {
        let mut outgoing = Outgoing::new(stream);
        if let Some(data) = held {
            outgoing.hold(data);
        }
        Self { outgoing, body, shared, done: false }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let ended = ready!(this.outgoing.poll_send(Pin::new(&mut this.body), cx));
        if let Err(broken) = ended {
            // On a stream that the peer has ended, that is what the response tells.
            *this.shared.error.lock() = Some(match broken {
                Broken::Body(error) => error,
                Broken::Stream(error) => error.into(),
            });
            this.outgoing.reset(Reason::CANCEL);
        }
        self.done = true;
        Poll::Ready(())
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // Aborted, or the runtime ended: the server must not take what it has for the whole.
        if !self.done {
            self.outgoing.reset(Reason::CANCEL);
        }
    }
}
