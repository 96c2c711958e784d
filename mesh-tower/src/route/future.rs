//! The future of a call, from its route on.

use super::asking::Asking;
use super::passing::PassingFuture;
use crate::body::BoxError;
use crate::connect::SendError;
use crate::endpoint::MeshResponseBody;
use crate::error::Error;
use crate::observe::span::ThinSpan;
use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A call: routed, passed by, or answered here.
#[pin_project]
pub(crate) struct RouteFuture<C, P, R> {
    #[pin]
    state: State<C, P, R>,
    span: ThinSpan,
}

#[pin_project(project = StateProj)]
enum State<C, P, R> {
    Forward(#[pin] C),
    Passthrough(#[pin] PassingFuture<P>),
    Ready(Option<Result<Response<MeshResponseBody<R>>, Error>>),
    /// In a box: the first call to an authority is not the common path.
    Asking(Asking<C, P, R>),
}

impl<C, P, R> RouteFuture<C, P, R> {
    pub(super) const fn forward(call: C, span: ThinSpan) -> Self {
        Self { state: State::Forward(call), span }
    }

    pub(super) const fn passthrough(call: PassingFuture<P>, span: ThinSpan) -> Self {
        Self { state: State::Passthrough(call), span }
    }

    pub(super) const fn asking(call: Asking<C, P, R>, span: ThinSpan) -> Self {
        Self { state: State::Asking(call), span }
    }

    pub(super) const fn ready(
        result: Result<Response<MeshResponseBody<R>>, Error>,
        span: ThinSpan,
    ) -> Self {
        Self { state: State::Ready(Some(result)), span }
    }
}

impl<C, P, R> Future for RouteFuture<C, P, R>
where
    C: Future<Output = Result<Response<MeshResponseBody<R>>, Error>>,
    P: Future<Output = Result<Response<R>, SendError>>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<MeshResponseBody<R>>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // An answer that is gone again when the call looks for it is asked for again.
        loop {
            let this = self.as_mut().project();
            let StateProj::Asking(asking) = this.state.project() else { break };
            let call = ready!(this.span.in_scope(|| asking.as_mut().poll(cx)));
            self.set(call);
        }
        let this = self.project();
        let polled = this.span.in_scope(|| match this.state.project() {
            StateProj::Forward(call) => call.poll(cx),
            StateProj::Passthrough(call) => call.poll(cx),
            StateProj::Ready(result) => result.take().map_or(Poll::Pending, Poll::Ready),
            StateProj::Asking(_) => Poll::Pending,
        });
        // It is not taken out of the poll: it is large.
        if let Poll::Ready(result) = &polled {
            if let Err(error) = result {
                this.span.record("response_flag", error.response_flag().as_str());
                this.span.record("error", tracing::field::display(error));
            }
            // What goes on is the response body, which has the span too.
            *this.span = ThinSpan::NONE;
        }
        polled
    }
}

impl<C, P, R> fmt::Debug for RouteFuture<C, P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Forward(_) => "Forward",
            State::Passthrough(_) => "Passthrough",
            State::Ready(_) => "Ready",
            State::Asking(_) => "Asking",
        };
        f.debug_tuple("RouteFuture").field(&state).finish()
    }
}
