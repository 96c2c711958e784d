//! [`ServerFuture`]: a request until its response head.

use super::body::ServerBody;
use super::live::Live;
use super::scope::RequestScope;
use crate::body::BoxError;
use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A request until its response head. Dropping it gives the request up, and drops the service's future.
#[pin_project]
pub struct ServerFuture<F> {
    #[pin]
    state: State<F>,
}

#[pin_project(project = StateProj)]
enum State<F> {
    /// The service answers. Without a request it has.
    Running(#[pin] F, Live),
    /// It is answered here.
    Ready(Option<Box<Response<Bytes>>>, Live),
    /// A filter waits: not the common path.
    Waiting(Pin<Box<dyn Future<Output = Entered<F>> + Send>>),
}

/// What became of a request that waited.
pub(super) enum Entered<F> {
    Running(F, Live),
    Ready(Box<Response<Bytes>>, Live),
}

impl<F> ServerFuture<F> {
    #[inline(always)]
    pub(super) const fn running(future: F, live: Live) -> Self {
        Self { state: State::Running(future, live) }
    }

    pub(super) const fn ready(reply: Box<Response<Bytes>>, live: Live) -> Self {
        Self { state: State::Ready(Some(reply), live) }
    }

    pub(super) const fn waiting(waiting: Pin<Box<dyn Future<Output = Entered<F>> + Send>>) -> Self {
        Self { state: State::Waiting(waiting) }
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
                StateProj::Running(future, live) => {
                    let Some(scope) = live.scope() else { return Poll::Pending };
                    let polled = {
                        let _within = scope.enter();
                        future.poll(cx)
                    };
                    if polled.is_pending()
                        && !scope.is_body_too_large()
                        && scope.poll_deadline(cx).is_pending()
                    {
                        return Poll::Pending;
                    }
                    let (ended, is_head) = (ended(polled, scope), scope.is_head);
                    let live = mem::take(live);
                    let reply = match ended {
                        Ended::Service(result) => {
                            let with_body = |response: Response<R>| match is_head {
                                true => ServerBody::head(response, live, cx),
                                false => response.map(|body| ServerBody::service(body, live)),
                            };
                            return Poll::Ready(result.map(with_body));
                        }
                        Ended::Here(reply) => Box::new(reply),
                    };
                    // The service's future is dropped here: nobody waits for it.
                    this.state.set(State::Ready(Some(reply), live));
                }
                StateProj::Ready(reply, live) => {
                    let (Some(mut reply), Some(scope)) = (reply.take(), live.scope()) else {
                        return Poll::Pending;
                    };
                    scope.answered_here(&mut reply);
                    if scope.is_head {
                        reply.body_mut().clear();
                    }
                    scope.sends_here(reply.body());
                    scope.finish();
                    return Poll::Ready(Ok(reply.map(ServerBody::local)));
                }
                StateProj::Waiting(waiting) => {
                    let Poll::Ready(entered) = waiting.as_mut().poll(cx) else {
                        return Poll::Pending;
                    };
                    this.state.set(match entered {
                        Entered::Running(future, live) => State::Running(future, live),
                        Entered::Ready(reply, live) => State::Ready(Some(reply), live),
                    });
                }
            }
        }
    }
}

enum Ended<R, E> {
    Service(Result<Response<R>, E>),
    Here(Response<Bytes>),
}

/// What a request ends in: the service's answer, or that its time is up, or that its body was too large,
/// whatever the service made of that.
fn ended<R, E>(polled: Poll<Result<Response<R>, E>>, scope: &mut RequestScope) -> Ended<R, E> {
    if scope.is_body_too_large() {
        return Ended::Here(scope.body_too_large());
    }
    match polled {
        Poll::Pending => Ended::Here(scope.deadline_passed()),
        Poll::Ready(Err(error)) => {
            scope.broken();
            scope.finish();
            Ended::Service(Err(error))
        }
        Poll::Ready(Ok(mut response)) => {
            scope.answered(&mut response);
            Ended::Service(Ok(response))
        }
    }
}

impl<F> fmt::Debug for ServerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Running(..) => "Running",
            State::Ready(..) => "Ready",
            State::Waiting(_) => "Waiting",
        };
        f.debug_tuple("ServerFuture").field(&state).finish()
    }
}
