//! The future of one attempt at its endpoint.

use super::AttemptScope;
use crate::call::Left;
use crate::clock;
use crate::connect::SendError;
use crate::leaf::Leaf;
use crate::observe::Phases;
use crate::routed::{Answer, AttemptError, Place, Placed};
use mesh_core::outcome::Failure;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// An attempt at its endpoint; dropping it gives the attempt up and reports so.
#[pin_project]
pub(crate) struct EndpointFuture<L: Leaf> {
    #[pin]
    send: L::Future,
    scope: Option<AttemptScope>,
}

impl<L: Leaf> EndpointFuture<L> {
    pub(super) const fn new(send: L::Future, scope: AttemptScope) -> Self {
        Self { send, scope: Some(scope) }
    }
}

impl<L: Leaf> Future for EndpointFuture<L> {
    type Output = Result<Answer<L::Body>, AttemptError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let result = match this.scope {
            Some(scope) => scope.span().in_scope(|| this.send.as_mut().poll(cx)),
            // Polled after it was ready: a caller's mistake that must not become ours.
            None => return Poll::Pending,
        };
        let result = ready!(result);
        let Some(mut scope) = this.scope.take() else { return Poll::Pending };
        let mut phases = L::phases(&this.send).unwrap_or(const { Phases::new() });
        let now = clock::now();
        match result {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let classifier = scope.in_flight().target().cluster().attached().classifier();
                let class = classifier.and_then(|classifier| classifier.classify(&head));
                scope.head(&head, class, &mut phases, now);
                scope.phases(&mut phases);
                Poll::Ready(Ok(Answer { head, body, peeked: None, scope, class, phases }))
            }
            Err(SendError { failure, request, source }) => {
                let started = scope.begun();
                scope.failed(&failure, now);
                scope.phases(&mut phases);
                if let (false, Failure::Connect(why)) = (L::POOLS, &failure) {
                    scope.connection_failed(*why);
                }
                let endpoint = scope.in_flight().endpoint();
                let endpoint = Some((endpoint.id(), endpoint.address().clone()));
                let target = Some(Arc::clone(scope.in_flight().target()));
                Poll::Ready(Err(AttemptError {
                    failure,
                    request,
                    endpoint,
                    target,
                    source,
                    started,
                    phases,
                }))
            }
        }
    }
}

impl<L: Leaf> Placed for EndpointFuture<L> {
    fn place(&self) -> Option<Place> {
        self.scope.as_ref().map(AttemptScope::place)
    }

    fn is_sent(&self) -> bool {
        L::is_sent(&self.send)
    }

    fn waits(&mut self, left: Left) {
        L::waits(&mut self.send, left);
    }
}

impl<L: Leaf> fmt::Debug for EndpointFuture<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointFuture").field("scope", &self.scope).finish_non_exhaustive()
    }
}
