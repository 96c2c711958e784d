//! The future of an attempt that is being placed, and then runs.

use super::choose;
use crate::call::Left;
use crate::clock;
use crate::net::Net;
use crate::routed::{Attempt, AttemptError, Picked, Place, Placed};
use mesh_core::breaker::Resource;
use mesh_core::model::RoutingPriority;
use mesh_core::outcome::Failure;
use mesh_core::state::Target;
use pin_project::pin_project;
use smallvec::SmallVec;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::futures::OwnedNotified;
use tower_service::Service;

/// An attempt that waits for an endpoint, runs, or has failed already.
///
/// The common case, an endpoint that is there, never waits and allocates nothing.
#[pin_project]
pub(crate) struct BalanceFuture<S: Service<Picked>> {
    #[pin]
    state: State<S>,
}

#[pin_project(project = StateProj)]
enum State<S: Service<Picked>> {
    /// In a box: waiting is not the common path, and a future is moved as a whole.
    Waiting(Box<Waiting<S>>),
    Running(#[pin] S::Future),
    Failed(Option<Box<AttemptError>>),
}

/// An attempt that waits for the next picker of its cluster; it counts as pending.
struct Waiting<S> {
    inner: S,
    attempt: Option<Attempt>,
    target: Arc<Target<Net>>,
    priority: RoutingPriority,
    changes: Changes,
    /// Whether it has its place among the pending ones.
    held: bool,
    /// What its head tells of the time that is left.
    left: Option<Left>,
}

impl<S> Waiting<S> {
    /// Gives the place back, once: before the attempt runs, which may need one to wait for a connection.
    fn release(&mut self) {
        if std::mem::take(&mut self.held) {
            self.target.cluster().breaker().release(self.priority, Resource::Pending);
        }
    }
}

impl<S> Drop for Waiting<S> {
    fn drop(&mut self) {
        self.release();
    }
}

/// The next picker of a cluster; of an aggregate, of any of its children.
struct Changes(SmallVec<[Pin<Box<OwnedNotified>>; 1]>);

impl Changes {
    fn of(target: &Target<Net>) -> Self {
        let of = |target: &Target<Net>| target.cluster().attached().endpoints_changed();
        match target.children() {
            [] => Self([of(target)].into_iter().collect()),
            children => Self(children.iter().map(|child| of(child)).collect()),
        }
    }

    /// Whether there is one; each is asked, so that each wakes.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let ready = self.0.iter_mut().map(|changed| changed.as_mut().poll(cx).is_ready());
        ready.fold(false, |any, ready| any | ready)
    }
}

/// What became of an attempt that looked for its endpoint.
pub(super) enum Choice {
    Picked(Picked),
    Wait(Attempt),
    Fail(AttemptError),
}

impl<S: Service<Picked, Error = AttemptError>> BalanceFuture<S> {
    pub(super) const fn running(future: S::Future) -> Self {
        Self { state: State::Running(future) }
    }

    pub(super) fn failed(error: AttemptError) -> Self {
        Self { state: State::Failed(Some(Box::new(error))) }
    }

    pub(super) fn waiting(inner: S, attempt: Attempt) -> Self {
        let target = Arc::clone(&attempt.target);
        let priority = attempt.priority();
        if let Err(overflow) = target.cluster().breaker().try_acquire(priority, Resource::Pending) {
            return Self::failed(attempt.unsent(Failure::Overflow(overflow)));
        }
        let changes = Changes::of(&target);
        let attempt = Some(attempt);
        let waiting = Waiting { inner, attempt, target, priority, changes, held: true, left: None };
        Self { state: State::Waiting(Box::new(waiting)) }
    }
}

impl<S> Waiting<S>
where
    S: Service<Picked, Error = AttemptError>,
    S::Future: Placed,
{
    /// The attempt at its endpoint, where it may have to wait on.
    fn run(&mut self, mut picked: Picked) -> State<S> {
        self.release();
        let Some(left) = self.left else { return State::Running(self.inner.call(picked)) };
        left.correct(picked.request.headers_mut(), picked.started);
        let mut attempt = self.inner.call(picked);
        if !attempt.is_sent() {
            attempt.waits(left);
        }
        State::Running(attempt)
    }

    /// The next state, once there is one.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<State<S>> {
        loop {
            // Listens before it looks: a picker that is published in between is not missed. The future
            // was made before the first look, or by the last turn of this loop.
            let woken = self.changes.poll(cx);
            let Some(attempt) = self.attempt.take() else { return Poll::Pending };
            if woken {
                self.changes = Changes::of(&self.target);
            }
            match choose(attempt, clock::now()) {
                Choice::Picked(picked) => return Poll::Ready(self.run(picked)),
                Choice::Fail(error) => return Poll::Ready(State::Failed(Some(Box::new(error)))),
                Choice::Wait(attempt) => self.attempt = Some(attempt),
            }
            if !woken {
                return Poll::Pending;
            }
        }
    }
}

impl<S> Future for BalanceFuture<S>
where
    S: Service<Picked, Error = AttemptError>,
    S::Future: Placed,
{
    type Output = Result<S::Response, AttemptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let next = match this.state.as_mut().project() {
                StateProj::Running(future) => return future.poll(cx),
                StateProj::Waiting(waiting) => ready!(waiting.poll(cx)),
                StateProj::Failed(error) => match error.take() {
                    Some(error) => return Poll::Ready(Err(*error)),
                    None => return Poll::Pending,
                },
            };
            this.state.set(next);
        }
    }
}

impl<S> Placed for BalanceFuture<S>
where
    S: Service<Picked>,
    S::Future: Placed,
{
    fn place(&self) -> Option<Place> {
        match &self.state {
            State::Running(attempt) => attempt.place(),
            State::Waiting(_) | State::Failed(_) => None,
        }
    }

    fn is_sent(&self) -> bool {
        match &self.state {
            State::Running(attempt) => attempt.is_sent(),
            State::Waiting(_) => false,
            State::Failed(_) => true,
        }
    }

    fn waits(&mut self, left: Left) {
        match &mut self.state {
            State::Running(attempt) => attempt.waits(left),
            State::Waiting(waiting) => waiting.left = Some(left),
            State::Failed(_) => {}
        }
    }
}

impl<S: Service<Picked>> std::fmt::Debug for BalanceFuture<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Waiting(_) => "Waiting",
            State::Running(_) => "Running",
            State::Failed(_) => "Failed",
        };
        f.debug_tuple("BalanceFuture").field(&state).finish()
    }
}
