//! [`ServerBody`]: the body of a response, until whose end the request is in flight.

use super::live::Live;
use super::scope::RequestScope;
use crate::body::BoxError;
use crate::server::streams;
use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body::{Body, Frame, SizeHint};
use mesh_core::head::decimal;
use pin_project::pin_project;
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// The body of a response: the service's, polled within its request's [`Inbound`](crate::Inbound) and ended
/// at the caller's deadline, or one of the layer's own.
#[pin_project]
pub struct ServerBody<R> {
    #[pin]
    kind: Kind<R>,
    /// None any more: the response is complete, and counted.
    live: Live,
    /// A part of it went out, and more was to come.
    goes_on: bool,
}

#[pin_project(project = KindProj)]
enum Kind<R> {
    Service(#[pin] R),
    Local(Option<Bytes>),
}

/// Why a body ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller's deadline passed before the response was complete")]
struct CutOff;

impl<R> ServerBody<R> {
    /// A body of the layer's own.
    pub(super) fn local(body: Bytes) -> Self {
        let kind = Kind::Local(Some(body).filter(|body| !body.is_empty()));
        Self { kind, live: Live::default(), goes_on: false }
    }
}

impl<R> ServerBody<R>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    /// The service's body.
    pub(super) fn service(body: R, mut live: Live) -> Self {
        // Nobody polls a body that has nothing.
        if body.is_end_stream() {
            live.finish();
        }
        Self { kind: Kind::Service(body), live, goes_on: false }
    }

    /// The service's answer to HEAD, which is complete with its head: the length that a body has is said, and nothing of
    /// it goes out (RFC 9110 sections 8.6 and 9.3.2).
    pub(super) fn head(
        response: Response<R>,
        mut live: Live,
        cx: &mut Context<'_>,
    ) -> Response<Self> {
        let (mut head, body) = response.into_parts();
        if !body.is_end_stream() {
            if let Some(length) = body.size_hint().exact()
                && !head.headers.contains_key(TRANSFER_ENCODING)
            {
                head.headers.entry(CONTENT_LENGTH).or_insert_with(|| decimal(length));
            }
            // A call whose answer is passed on is whole once its end was seen, which mostly is here by now.
            let _within = live.scope().map(RequestScope::enter);
            let _unsent = pin!(body).poll_frame(cx);
        }
        live.finish();
        Response::from_parts(head, Self::local(Bytes::new()))
    }
}

impl<R> Body for ServerBody<R>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let mut body = match this.kind.project() {
            KindProj::Local(bytes) => {
                streams::part(bytes.as_ref().map_or(0, Bytes::len), None);
                return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b))));
            }
            KindProj::Service(body) => body,
        };
        let Some(scope) = this.live.scope() else { return Poll::Ready(None) };
        // One that always has something never makes anybody wait for the deadline.
        if *this.goes_on && scope.is_late() {
            let cut_off = cut_off(scope);
            this.live.finish();
            return Poll::Ready(Some(cut_off));
        }
        let polled = {
            let _within = scope.enter();
            body.as_mut().poll_frame(cx)
        };
        let frame = match polled {
            Poll::Pending => match scope.poll_deadline(cx) {
                Poll::Pending => {
                    streams::waits();
                    return Poll::Pending;
                }
                Poll::Ready(()) => Some(cut_off(scope)),
            },
            Poll::Ready(Some(Ok(mut frame))) => {
                scope.sends(&frame);
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                streams::part(bytes, scope.inbound.deadline_at());
                match frame.trailers_mut() {
                    Some(trailers) => scope.trailers(trailers),
                    None if body.is_end_stream() => {}
                    None => {
                        *this.goes_on = true;
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Some(Ok(frame))
            }
            Poll::Ready(Some(Err(error))) => {
                scope.broken();
                Some(Err(error.into()))
            }
            Poll::Ready(None) => None,
        };
        // This was the last of it.
        this.live.finish();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Local(bytes) => bytes.is_none(),
            Kind::Service(_) => !self.live.is_some(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Local(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Service(body) => body.size_hint(),
        }
    }
}

/// How a body ends at the caller's deadline: with trailers of gRPC, or broken off.
fn cut_off(scope: &mut RequestScope) -> Result<Frame<Bytes>, BoxError> {
    scope.cut_off().map(Frame::trailers).ok_or_else(|| CutOff.into())
}

impl<R> fmt::Debug for ServerBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Service(_) => "Service",
            Kind::Local(_) => "Local",
        };
        f.debug_tuple("ServerBody").field(&kind).finish()
    }
}
