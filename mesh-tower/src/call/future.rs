//! The future of one call.

use super::drive::Drive;
use crate::body::BoxError;
use crate::clock;
use crate::endpoint::MeshResponseBody;
use crate::error::Error;
use crate::routed::{Answer, Attempt, AttemptError};
use bytes::Bytes;
use http::Response;
use http_body::Body;
use mesh_core::Timestamp;
use mesh_core::call::{Action, AttemptId};
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::Sleep;
use tower_service::Service;

/// One call. The first attempt that is out lives inline, others (hedges) in a box each.
///
/// Dropping it gives the call up and releases everything: attempts, slots, the saved request.
#[pin_project]
pub struct CallFuture<S: Service<Attempt>, R> {
    service: S,
    drive: Drive,
    begun: bool,
    #[pin]
    attempts: Attempts<S::Future, R>,
    #[pin]
    timer: Timer,
    /// What the transport said of the last failure.
    source: Option<BoxError>,
}

/// The attempts that are out.
#[pin_project]
struct Attempts<F, R> {
    #[pin]
    first: Option<F>,
    first_id: Option<AttemptId>,
    hedges: Vec<(AttemptId, Pin<Box<F>>)>,
    /// An answer whose trailers are waited for.
    peeking: Option<Box<(AttemptId, Answer<R>)>>,
}

/// The one timer; armed only once something made the call wait.
#[pin_project]
struct Timer {
    #[pin]
    sleep: Option<Sleep>,
    at: Option<Timestamp>,
}

impl<S: Service<Attempt>, R> CallFuture<S, R> {
    pub(super) const fn new(service: S, drive: Drive) -> Self {
        let (first, first_id) = (None, None);
        let attempts = Attempts { first, first_id, hedges: Vec::new(), peeking: None };
        let timer = Timer { sleep: None, at: None };
        Self { service, drive, begun: false, attempts, timer, source: None }
    }
}

impl<S, R> Future for CallFuture<S, R>
where
    S: Service<Attempt, Response = Answer<R>, Error = AttemptError>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<MeshResponseBody<R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut answer = None;
        let mut action = Action::Wait;
        if !*this.begun {
            *this.begun = true;
            action = this.drive.start();
        }
        loop {
            match action {
                Action::Start(id) => match this.drive.attempt(id) {
                    Some(attempt) => this.attempts.as_mut().start(id, this.service.call(attempt)),
                    None => return Poll::Ready(Err(this.drive.lost())),
                },
                Action::Cancel(id) => {
                    this.attempts.as_mut().cancel(id);
                    action = this.drive.timed_out(id);
                    continue;
                }
                Action::Commit(_) => {
                    return Poll::Ready(match answer.take() {
                        Some(answer) => Ok(this.drive.commit(answer)),
                        None => Err(this.drive.lost()),
                    });
                }
                Action::Finish(reason) => {
                    this.attempts.as_mut().clear();
                    let source = this.source.take();
                    return Poll::Ready(Err(this.drive.finish(reason, source, clock::now())));
                }
                Action::Wait => {}
            }
            if let Poll::Ready((id, result)) = this.attempts.as_mut().poll(this.drive, cx) {
                action = match result {
                    Ok(mut head) => {
                        let action = this.drive.answered(id, &mut head);
                        // Kept for a commit; with any other action the next turn drops it.
                        answer = Some(head);
                        action
                    }
                    Err(mut error) => {
                        let action = this.drive.failed(id, &mut error, clock::now());
                        *this.source = error.source;
                        action
                    }
                };
                continue;
            }
            answer = None;
            let now = ready!(this.timer.as_mut().poll(this.drive, cx));
            action = this.drive.timeout(now);
        }
    }
}

impl<F, R> Attempts<F, R> {
    fn start(self: Pin<&mut Self>, id: AttemptId, attempt: F) {
        let mut this = self.project();
        if this.first.is_some() {
            this.hedges.push((id, Box::pin(attempt)));
        } else {
            this.first.set(Some(attempt));
            *this.first_id = Some(id);
        }
    }

    fn cancel(self: Pin<&mut Self>, id: AttemptId) {
        let mut this = self.project();
        if *this.first_id == Some(id) {
            this.first.set(None);
            *this.first_id = None;
        }
        this.hedges.retain(|(hedge, _)| *hedge != id);
        this.peeking.take_if(|peeking| peeking.0 == id);
    }

    fn clear(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.first.set(None);
        *this.first_id = None;
        this.hedges.clear();
        *this.peeking = None;
    }
}

impl<F, R> Attempts<F, R>
where
    F: Future<Output = Result<Answer<R>, AttemptError>>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    /// The next attempt that ended, with its answer or without.
    fn poll(
        mut self: Pin<&mut Self>,
        drive: &Drive,
        cx: &mut Context<'_>,
    ) -> Poll<(AttemptId, Result<Answer<R>, AttemptError>)> {
        if let Poll::Ready(ended) = self.as_mut().poll_peeking(cx) {
            return Poll::Ready(ended);
        }
        loop {
            let (id, result) = ready!(self.as_mut().poll_heads(cx));
            let Ok(mut answer) = result else { return Poll::Ready((id, result)) };
            let Some(wait) = drive.peeks(&answer.head) else {
                return Poll::Ready((id, Ok(answer)));
            };
            let peeked = answer.peeked.get_or_insert_default();
            let found = peeked.poll_trailers(&mut answer.body, cx).is_ready();
            if found || !wait || self.peeking.is_some() {
                return Poll::Ready((id, Ok(answer)));
            }
            *self.as_mut().project().peeking = Some(Box::new((id, answer)));
        }
    }

    fn poll_peeking(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<(AttemptId, Result<Answer<R>, AttemptError>)> {
        let this = self.project();
        let Some(peeking) = this.peeking else { return Poll::Pending };
        let (id, answer) = &mut **peeking;
        let id = *id;
        let peeked = answer.peeked.get_or_insert_default();
        ready!(peeked.poll_trailers(&mut answer.body, cx));
        match this.peeking.take() {
            Some(peeking) => Poll::Ready((id, Ok(peeking.1))),
            None => Poll::Pending,
        }
    }

    fn poll_heads(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<(AttemptId, Result<Answer<R>, AttemptError>)> {
        let mut this = self.project();
        if let (Some(first), Some(id)) = (this.first.as_mut().as_pin_mut(), *this.first_id)
            && let Poll::Ready(result) = first.poll(cx)
        {
            this.first.set(None);
            *this.first_id = None;
            return Poll::Ready((id, result));
        }
        for index in 0..this.hedges.len() {
            let (id, hedge) = &mut this.hedges[index];
            let id = *id;
            if let Poll::Ready(result) = hedge.as_mut().poll(cx) {
                this.hedges.swap_remove(index);
                return Poll::Ready((id, result));
            }
        }
        Poll::Pending
    }
}

impl Timer {
    /// Waits until the machine's timer is due.
    fn poll(self: Pin<&mut Self>, drive: &Drive, cx: &mut Context<'_>) -> Poll<Timestamp> {
        let Some((at, _)) = drive.machine.poll_timeout() else { return Poll::Pending };
        let mut this = self.project();
        if *this.at != Some(at) {
            *this.at = Some(at);
            let instant = clock::instant(at);
            match this.sleep.as_mut().as_pin_mut() {
                Some(sleep) => sleep.reset(instant),
                None => this.sleep.set(Some(tokio::time::sleep_until(instant))),
            }
        }
        let Some(sleep) = this.sleep.as_pin_mut() else { return Poll::Pending };
        ready!(sleep.poll(cx));
        *this.at = None;
        // Timers tick in milliseconds, the machine in nanoseconds: it is at least `at` now.
        Poll::Ready(clock::now().max(at))
    }
}

impl<S: Service<Attempt>, R> fmt::Debug for CallFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").field("drive", &self.drive).finish_non_exhaustive()
    }
}
