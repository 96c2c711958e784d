//! [`NetBody`]: a response body from the network.

use super::failure;
use super::h1::InFlight;
use super::h2::Exchange;
use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use mesh_core::outcome::{Failure, ResetReason};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A response body from the network, with its trailers.
///
/// It holds its stream (HTTP/2) or connection (HTTP/1.1) until it ends. Dropped before, it resets the
/// stream with CANCEL, or closes the connection (HTTP/1.1: unless all of it is here already). Polling it
/// gives the peer room for more.
pub struct NetBody(Inner);

enum Inner {
    Ended,
    H2(H2Body),
    H1 { incoming: Incoming, call: Option<InFlight> },
}

struct H2Body {
    stream: RecvStream,
    exchange: Exchange,
    /// What `content-length` leaves to come, when it was there.
    remaining: Option<u64>,
    data_ended: bool,
    ended: bool,
}

impl NetBody {
    pub(super) fn h2(stream: RecvStream, exchange: Exchange, length: Option<u64>) -> Self {
        let ended = stream.is_end_stream();
        let mut body =
            H2Body { stream, exchange, remaining: length, data_ended: ended, ended: false };
        if ended {
            body.end();
        }
        Self(Inner::H2(body))
    }

    pub(super) fn h1(incoming: Incoming, call: Option<InFlight>) -> Self {
        let call = match call {
            Some(call) if incoming.is_end_stream() => call.finish_if_sent(),
            call => call,
        };
        if call.is_none() && incoming.is_end_stream() {
            return Self(Inner::Ended);
        }
        Self(Inner::H1 { incoming, call })
    }
}

impl H2Body {
    fn end(&mut self) {
        self.ended = true;
        self.exchange.end();
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NetBodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = ready!(self.poll_stream(cx));
        let polled = polled.map(|frame| frame.map_err(|error| self.broken(error)));
        if !matches!(&polled, Some(Ok(frame)) if frame.is_data()) {
            self.end();
        }
        Poll::Ready(polled)
    }

    /// Why the body broke off: a reset of ours is the request body's failure.
    fn broken(&self, error: h2::Error) -> NetBodyError {
        if failure::is_ours(&error) {
            let source = self.exchange.take_body_error().unwrap_or_else(|| error.into());
            return NetBodyError { failure: failure::REQUEST_BODY, source };
        }
        NetBodyError { failure: failure::of_h2_body(&error), source: error.into() }
    }

    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.stream.flow_control().release_capacity(data.len())?;
                    if let Some(remaining) = &mut self.remaining {
                        *remaining = remaining.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        self.stream
            .poll_trailers(cx)
            .map_ok(|trailers| trailers.map(Frame::trailers))
            .map(Result::transpose)
    }
}

impl Body for NetBody {
    type Data = Bytes;
    type Error = NetBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NetBodyError>>> {
        match &mut self.0 {
            Inner::Ended => Poll::Ready(None),
            Inner::H2(body) => body.poll_frame(cx),
            Inner::H1 { incoming, call } => {
                let polled = ready!(Pin::new(incoming).poll_frame(cx));
                if polled.is_none() {
                    *call = call.take().and_then(InFlight::finish_if_sent);
                }
                Poll::Ready(polled.map(|frame| frame.map_err(NetBodyError::h1)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Ended => true,
            Inner::H2(body) => body.ended || body.stream.is_end_stream(),
            Inner::H1 { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Ended => SizeHint::with_exact(0),
            Inner::H2(body) if body.data_ended => SizeHint::with_exact(0),
            Inner::H2(body) => body.remaining.map_or_else(SizeHint::new, SizeHint::with_exact),
            Inner::H1 { incoming, .. } => incoming.size_hint(),
        }
    }
}

impl Drop for NetBody {
    fn drop(&mut self) {
        // A short answer that nobody read costs no connection. A request that is still going out is
        // given up with its connection: HTTP/1.1 has no other way.
        if !matches!(self.0, Inner::H1 { .. }) {
            return;
        }
        if let Inner::H1 { incoming, call } = std::mem::replace(&mut self.0, Inner::Ended) {
            if let (Some(call), false) = (&call, incoming.is_end_stream()) {
                call.unread();
            }
            drop(incoming);
            drop(call.and_then(InFlight::finish_if_sent));
        }
    }
}

impl fmt::Debug for NetBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Inner::Ended => "Ended",
            Inner::H2(_) => "H2",
            Inner::H1 { .. } => "H1",
        };
        f.debug_tuple("NetBody").field(&kind).finish()
    }
}

/// A response body that broke off.
#[derive(Debug, thiserror::Error)]
#[error("the response body broke off")]
pub struct NetBodyError {
    failure: Failure,
    source: crate::BoxError,
}

impl NetBodyError {
    pub(super) fn h1(error: hyper::Error) -> Self {
        Self { failure: failure::of_h1(&error), source: error.into() }
    }

    /// How it broke off, in the words that all deciders share.
    #[must_use]
    pub const fn failure(&self) -> &Failure {
        &self.failure
    }

    /// The code of the peer's RST_STREAM, when that is what it was.
    #[must_use]
    pub const fn reset_code(&self) -> Option<u32> {
        match self.failure {
            Failure::Reset { reason: ResetReason::Remote(code), .. } => Some(code),
            _ => None,
        }
    }
}
