//! [`ServerFuture`]: a request until its response head.

use super::body::ServerBody;
use super::scope::RequestScope;
use crate::body::BoxError;
use crate::clock;
use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Sleep;

/// A request until its response head. Dropping it gives the request up, and drops the service's future.
#[pin_project]
pub struct ServerFuture<F> {
    #[pin]
    state: State<F>,
    /// Until the caller's deadline; made once the service made it wait.
    #[pin]
    deadline: Option<Sleep>,
}

#[pin_project(project = StateProj)]
enum State<F> {
    /// The service answers. Without a scope it has.
    Running(#[pin] F, Option<RequestScope>),
    /// It is answered here.
    Ready(Option<(Response<Bytes>, RequestScope)>),
    /// A filter waits: not the common path.
    Waiting(Pin<Box<dyn Future<Output = Entered<F>> + Send>>),
}

/// What became of a request that waited.
pub(super) enum Entered<F> {
    Running(F, RequestScope),
    Ready(Response<Bytes>, RequestScope),
}

impl<F> ServerFuture<F> {
    pub(super) const fn running(future: F, scope: RequestScope) -> Self {
        Self { state: State::Running(future, Some(scope)), deadline: None }
    }

    pub(super) const fn ready(reply: Response<Bytes>, scope: RequestScope) -> Self {
        Self { state: State::Ready(Some((reply, scope))), deadline: None }
    }

    pub(super) const fn waiting(waiting: Pin<Box<dyn Future<Output = Entered<F>> + Send>>) -> Self {
        Self { state: State::Waiting(waiting), deadline: None }
    }
}

impl<F, R, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<ServerBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Running(future, scope) => {
                    let Some(live) = scope else { return Poll::Pending };
                    let polled = live.within(|| future.poll(cx));
                    if polled.is_pending()
                        && !live.is_body_too_large()
                        && poll_deadline(this.deadline.as_mut(), live, cx).is_pending()
                    {
                        return Poll::Pending;
                    }
                    let Some(scope) = scope.take() else { return Poll::Pending };
                    let (reply, scope) = match ended(polled, scope) {
                        Ended::Service(result) => return Poll::Ready(result),
                        Ended::Here(reply, scope) => (reply, scope),
                    };
                    // The service's future is dropped here: nobody waits for it.
                    this.state.set(State::Ready(Some((reply, scope))));
                }
                StateProj::Ready(reply) => {
                    let Some((mut reply, mut scope)) = reply.take() else { return Poll::Pending };
                    scope.answered_here(&mut reply);
                    if scope.is_head {
                        reply.body_mut().clear();
                    }
                    return Poll::Ready(Ok(reply.map(|body| ServerBody::local(body, scope))));
                }
                StateProj::Waiting(waiting) => {
                    let Poll::Ready(entered) = waiting.as_mut().poll(cx) else {
                        return Poll::Pending;
                    };
                    this.state.set(match entered {
                        Entered::Running(future, scope) => State::Running(future, Some(scope)),
                        Entered::Ready(reply, scope) => State::Ready(Some((reply, scope))),
                    });
                }
            }
        }
    }
}

enum Ended<R, E> {
    Service(Result<Response<ServerBody<R>>, E>),
    Here(Response<Bytes>, RequestScope),
}

/// What a request ends in: the service's answer, or that its time is up, or that its body was too large,
/// whatever the service made of that.
fn ended<R, E>(polled: Poll<Result<Response<R>, E>>, mut scope: RequestScope) -> Ended<R, E>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    if scope.is_body_too_large() {
        let reply = scope.body_too_large();
        return Ended::Here(reply, scope);
    }
    match polled {
        Poll::Pending => {
            let reply = scope.deadline_passed();
            Ended::Here(reply, scope)
        }
        Poll::Ready(Err(error)) => {
            scope.broken();
            scope.finish();
            Ended::Service(Err(error))
        }
        Poll::Ready(Ok(mut response)) => {
            scope.answered(&mut response);
            Ended::Service(Ok(response.map(|body| ServerBody::service(body, scope))))
        }
    }
}

/// Ready: the caller's deadline has passed.
fn poll_deadline(
    mut timer: Pin<&mut Option<Sleep>>,
    scope: &RequestScope,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let Some(at) = scope.inbound.deadline_at() else { return Poll::Pending };
    if timer.is_none() {
        timer.set(Some(tokio::time::sleep_until(clock::instant(at))));
    }
    timer.as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
}

impl<F> fmt::Debug for ServerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Running(..) => "Running",
            State::Ready(_) => "Ready",
            State::Waiting(_) => "Waiting",
        };
        f.debug_tuple("ServerFuture").field(&state).finish()
    }
}
