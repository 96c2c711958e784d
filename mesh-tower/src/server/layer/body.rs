//! [`ServerBody`]: the body of a response, until whose end the request is in flight.

use super::scope::RequestScope;
use crate::body::BoxError;
use crate::clock;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Sleep;

/// The body of a response: the service's, polled within its request's [`Inbound`](crate::Inbound) and ended
/// at the caller's deadline, or one of the layer's own.
#[pin_project]
pub struct ServerBody<R> {
    #[pin]
    kind: Kind<R>,
    /// `None`: the response is complete, and counted.
    scope: Option<RequestScope>,
    /// Until the caller's deadline; in a box, and made once the body made it wait: most are here at once.
    deadline: Option<Pin<Box<Sleep>>>,
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
    pub(super) fn local(body: Bytes, mut scope: RequestScope) -> Self {
        scope.finish();
        let kind = Kind::Local(Some(body).filter(|body| !body.is_empty()));
        Self { kind, scope: None, deadline: None }
    }
}

impl<R> ServerBody<R>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    /// The service's body.
    pub(super) fn service(body: R, mut scope: RequestScope) -> Self {
        // Nobody polls a body that has nothing.
        let scope = if body.is_end_stream() {
            scope.finish();
            None
        } else {
            Some(scope)
        };
        Self { kind: Kind::Service(body), scope, deadline: None }
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
            KindProj::Local(bytes) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            KindProj::Service(body) => body,
        };
        let Some(scope) = this.scope else { return Poll::Ready(None) };
        let polled = scope.within(|| body.as_mut().poll_frame(cx));
        let frame = match polled {
            Poll::Pending => match poll_deadline(this.deadline, scope, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => match scope.cut_off() {
                    Some(trailers) => Some(Ok(Frame::trailers(trailers))),
                    None => Some(Err(CutOff.into())),
                },
            },
            Poll::Ready(Some(Ok(mut frame))) => {
                match frame.trailers_mut() {
                    Some(trailers) => scope.trailers(trailers),
                    None if body.is_end_stream() => {}
                    None => return Poll::Ready(Some(Ok(frame))),
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
        scope.finish();
        *this.scope = None;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Local(bytes) => bytes.is_none(),
            Kind::Service(_) => self.scope.is_none(),
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

/// Ready: the caller's deadline has passed.
fn poll_deadline(
    timer: &mut Option<Pin<Box<Sleep>>>,
    scope: &RequestScope,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let Some(at) = scope.inbound.deadline_at() else { return Poll::Pending };
    let sleep = || Box::pin(tokio::time::sleep_until(clock::instant(at)));
    timer.get_or_insert_with(sleep).as_mut().poll(cx)
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
