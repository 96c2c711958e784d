//! [`Incoming`]: the body of a request, as it comes from the network.

use super::http2::expects::Expects;
use crate::body::BoxError;
use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The body of a request, as it comes from the network, with its trailers.
///
/// Polling it gives the client room for more. Dropped before its end, it leaves the rest: over HTTP/2 the client is told
/// when the request is answered, HTTP/1.1 closes its connection if the rest is long.
///
/// # Errors
/// The client broke it off, or the connection ended.
pub struct Incoming(Kind);

enum Kind {
    Empty,
    Http1(hyper::body::Incoming),
    Http2(Stream),
}

struct Stream {
    stream: RecvStream,
    /// What `content-length` leaves to come, if it is there.
    left: Option<u64>,
    comes: Comes,
    /// Who is told that it is wanted; `None`: nobody, or not any more.
    expects: Option<Arc<Expects>>,
}

/// What is still to come of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comes {
    Data,
    Trailers,
    Nothing,
}

impl Incoming {
    pub(super) const fn empty() -> Self {
        Self(Kind::Empty)
    }

    pub(super) const fn http1(body: hyper::body::Incoming) -> Self {
        Self(Kind::Http1(body))
    }

    /// That of a request which has one, of this `content-length`, if it says so; its client waits to be told that it is
    /// wanted, if it `expects` that.
    pub(super) const fn http2(
        stream: RecvStream,
        left: Option<u64>,
        expects: Option<Arc<Expects>>,
    ) -> Self {
        Self(Kind::Http2(Stream { left, stream, comes: Comes::Data, expects }))
    }
}

impl Stream {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.comes == Comes::Data {
            let polled = self.stream.poll_data(cx);
            if let Some(expects) = self.expects.take()
                && polled.is_pending()
            {
                expects.want();
            }
            match ready!(polled) {
                Some(Ok(data)) => {
                    self.came(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.comes = Comes::Trailers,
            }
        }
        if self.comes == Comes::Nothing {
            return Poll::Ready(None);
        }
        self.stream
            .poll_trailers(cx)
            .map_ok(|trailers| trailers.map(Frame::trailers))
            .map(Result::transpose)
    }

    /// Gives the client room for as many bytes as came, unless they were the last: of those it gets it back with the
    /// stream. That is one frame a stream, so of all [streams](super::http2::MAX_STREAMS) together a fifth of what a
    /// connection has room for.
    fn came(&mut self, bytes: usize) {
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
        if self.stream.is_end_stream() {
            self.comes = Comes::Nothing;
        } else {
            // It is what has come, so it is never too much.
            drop(self.stream.flow_control().release_capacity(bytes));
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Http2(stream) => stream.poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Http1(body) => body.is_end_stream(),
            Kind::Http2(Stream { comes, .. }) => *comes == Comes::Nothing,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Http1(body) => body.size_hint(),
            Kind::Http2(Stream { left, .. }) => {
                left.map_or_else(SizeHint::new, SizeHint::with_exact)
            }
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Empty => "Empty",
            Kind::Http1(_) => "Http1",
            Kind::Http2(_) => "Http2",
        };
        f.debug_tuple("Incoming").field(&kind).finish()
    }
}
