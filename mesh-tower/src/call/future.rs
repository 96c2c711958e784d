//! The future of one call.

use super::drive::Drive;
use super::timer::Timer;
use crate::body::BoxError;
use crate::clock;
use crate::endpoint::MeshResponseBody;
use crate::error::Error;
use crate::routed::{Answer, Attempt, AttemptError, Place, Placed};
use bytes::Bytes;
use http::Response;
use http_body::Body;
use mesh_core::call::{Action, AttemptId};
use mesh_core::outcome::Failure;
use pin_project::{pin_project, pinned_drop};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// One call. The first attempt that is out lives inline, others (hedges) in a box each.
///
/// Dropping it gives the call up and releases everything: attempts, slots, the saved request.
#[pin_project(PinnedDrop)]
pub(crate) struct CallFuture<S, R>
where
    S: Service<Attempt, Future: Placed>,
{
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

/// How an attempt ended, when one has.
type Ended<R> = Option<Result<Answer<R>, AttemptError>>;

/// The attempts that are out.
#[pin_project]
struct Attempts<F, R> {
    #[pin]
    first: Option<F>,
    first_id: Option<AttemptId>,
    /// The first has no connection yet.
    first_waits: bool,
    hedges: Vec<Hedge<F>>,
    /// An answer whose trailers are waited for.
    peeking: Option<Box<(AttemptId, Answer<R>)>>,
}

/// An attempt beside the first.
struct Hedge<F> {
    id: AttemptId,
    attempt: Pin<Box<F>>,
    /// It has no connection yet.
    waits: bool,
}

impl<S: Service<Attempt, Future: Placed>, R> CallFuture<S, R> {
    pub(super) const fn new(service: S, drive: Drive) -> Self {
        let attempts = Attempts {
            first: None,
            first_id: None,
            first_waits: false,
            hedges: Vec::new(),
            peeking: None,
        };
        let timer = Timer::new();
        Self { service, drive, begun: false, attempts, timer, source: None }
    }
}

impl<S, R> Future for CallFuture<S, R>
where
    S: Service<Attempt, Response = Answer<R>, Error = AttemptError>,
    S::Future: Placed,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<MeshResponseBody<R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // What ended last stays in its place: answers are large, and moved as seldom as can be.
        let mut ended = None;
        let mut action = Action::Wait;
        if !*this.begun {
            *this.begun = true;
            action = this.drive.start();
        }
        loop {
            match action {
                Action::Start(id) => {
                    if id.number() > 1 {
                        // The answer that is tried again holds a place in the circuit breaker.
                        clear(&mut ended);
                        // It goes where none of those is that are out.
                        this.attempts.as_ref().places(|place| this.drive.avoid(place.endpoint));
                    }
                    let Some(attempt) = this.drive.attempt(id) else {
                        return Poll::Ready(Err(this.drive.lost()));
                    };
                    let mut attempt = this.service.call(attempt);
                    if !attempt.is_sent() {
                        this.drive.machine.handle_waiting(id);
                        if let Some(left) = this.drive.left() {
                            attempt.waits(left);
                        }
                    }
                    this.attempts.as_mut().start(id, attempt);
                }
                Action::Cancel(id) => {
                    let place = this.attempts.as_mut().cancel(id);
                    action = this.drive.timed_out(id, place);
                    continue;
                }
                Action::Commit(id) => {
                    return Poll::Ready(match ended {
                        Some(Ok(answer)) => Ok(this.drive.commit(id, answer)),
                        Some(Err(_)) | None => Err(this.drive.lost()),
                    });
                }
                Action::Finish(reason) => {
                    let now = clock::now();
                    let silent = |place| this.drive.given_up(place, Failure::PerTryTimeout, now);
                    this.attempts.as_ref().places(silent);
                    this.attempts.as_mut().clear();
                    let source = this.source.take();
                    return Poll::Ready(Err(this.drive.finish(reason, source, now)));
                }
                Action::Wait => {}
            }
            // An answer is kept for a commit; with any other action it is dropped here.
            ended = None;
            if let Poll::Ready(id) = this.attempts.as_mut().poll(this.drive, &mut ended, cx) {
                action = match &mut ended {
                    Some(Ok(answer)) => this.drive.answered(id, answer),
                    Some(Err(error)) => {
                        let action = this.drive.failed(id, error, clock::now());
                        *this.source = error.source.take();
                        action
                    }
                    None => Action::Wait,
                };
                continue;
            }
            this.attempts.as_mut().tell_sent(this.drive);
            let now = ready!(this.timer.as_mut().poll_until(this.drive.due(), cx));
            action = this.drive.timeout(now);
        }
    }
}

#[pinned_drop]
impl<S, R> PinnedDrop for CallFuture<S, R>
where
    S: Service<Attempt, Future: Placed>,
{
    /// The caller gives up, if the call is not over.
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if !this.drive.is_logged() {
            return;
        }
        let now = clock::now();
        this.attempts.as_ref().places(|place| {
            let elapsed = now.saturating_duration_since(place.started);
            let why = Failure::Cancelled { elapsed, headers_seen: false };
            this.drive.given_up(place, why, now);
        });
        this.drive.dropped();
    }
}

/// Drops what is there, where it is.
fn clear<R>(ended: &mut Ended<R>) {
    *ended = None;
}

impl<F: Placed, R> Attempts<F, R> {
    fn start(self: Pin<&mut Self>, id: AttemptId, attempt: F) {
        let mut this = self.project();
        let waits = !attempt.is_sent();
        if this.first.is_some() {
            this.hedges.push(Hedge { id, attempt: Box::pin(attempt), waits });
        } else {
            this.first.set(Some(attempt));
            (*this.first_id, *this.first_waits) = (Some(id), waits);
        }
    }

    /// Tells the machine of attempts that have got their connection.
    fn tell_sent(self: Pin<&mut Self>, drive: &mut Drive) {
        let this = self.project();
        if *this.first_waits
            && let (Some(first), Some(id)) = (this.first.as_ref().as_pin_ref(), *this.first_id)
            && first.is_sent()
        {
            *this.first_waits = false;
            drive.machine.handle_connected(id, clock::now());
        }
        for hedge in this.hedges.iter_mut().filter(|hedge| hedge.waits) {
            if hedge.attempt.is_sent() {
                hedge.waits = false;
                drive.machine.handle_connected(hedge.id, clock::now());
            }
        }
    }
}

impl<F, R> Attempts<F, R> {
    fn clear(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.first.set(None);
        *this.first_id = None;
        this.hedges.clear();
        *this.peeking = None;
    }
}

impl<F: Placed, R> Attempts<F, R> {
    /// Drops an attempt; where it was.
    fn cancel(self: Pin<&mut Self>, id: AttemptId) -> Option<Place> {
        let mut this = self.project();
        if *this.first_id == Some(id) {
            let place = this.first.as_ref().as_pin_ref().and_then(|first| first.place());
            this.first.set(None);
            *this.first_id = None;
            return place;
        }
        if let Some(at) = this.hedges.iter().position(|hedge| hedge.id == id) {
            return this.hedges.swap_remove(at).attempt.place();
        }
        let peeking = this.peeking.take_if(|peeking| peeking.0 == id)?;
        Some(peeking.1.scope.place())
    }

    /// Tells where the attempts are that are out.
    fn places(self: Pin<&Self>, tell: impl FnMut(Place)) {
        let this = self.project_ref();
        let first = this.first.as_pin_ref().and_then(|first| first.place());
        let hedges = this.hedges.iter().filter_map(|hedge| hedge.attempt.place());
        let peeking = this.peeking.as_ref().map(|peeking| peeking.1.scope.place());
        first.into_iter().chain(hedges).chain(peeking).for_each(tell);
    }
}

impl<F, R> Attempts<F, R>
where
    F: Future<Output = Result<Answer<R>, AttemptError>>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    /// The next attempt that ended; `ended` is how.
    fn poll(
        mut self: Pin<&mut Self>,
        drive: &Drive,
        ended: &mut Ended<R>,
        cx: &mut Context<'_>,
    ) -> Poll<AttemptId> {
        if let Poll::Ready(id) = self.as_mut().poll_peeking(ended, cx) {
            return Poll::Ready(id);
        }
        loop {
            let id = ready!(self.as_mut().poll_heads(ended, cx));
            let Some(Ok(answer)) = ended else { return Poll::Ready(id) };
            let Some(wait) = drive.peeks(answer) else { return Poll::Ready(id) };
            let peeked = answer.peeked.get_or_insert_default();
            let found = peeked.poll_trailers(&mut answer.body, cx).is_ready();
            if found {
                // With the head, whose time was read a moment ago.
                peeked.looked(answer.scope.head_at());
            }
            if found || !wait || self.peeking.is_some() {
                return Poll::Ready(id);
            }
            if let Some(Ok(answer)) = ended.take() {
                *self.as_mut().project().peeking = Some(Box::new((id, answer)));
            }
        }
    }

    fn poll_peeking(
        self: Pin<&mut Self>,
        ended: &mut Ended<R>,
        cx: &mut Context<'_>,
    ) -> Poll<AttemptId> {
        let this = self.project();
        let Some(peeking) = this.peeking else { return Poll::Pending };
        let (id, answer) = &mut **peeking;
        let id = *id;
        let peeked = answer.peeked.get_or_insert_default();
        ready!(peeked.poll_trailers(&mut answer.body, cx));
        peeked.looked(clock::now());
        if let Some(peeking) = this.peeking.take() {
            *ended = Some(Ok(peeking.1));
        }
        Poll::Ready(id)
    }

    fn poll_heads(
        self: Pin<&mut Self>,
        ended: &mut Ended<R>,
        cx: &mut Context<'_>,
    ) -> Poll<AttemptId> {
        let mut this = self.project();
        if let (Some(first), Some(id)) = (this.first.as_mut().as_pin_mut(), *this.first_id)
            && let Poll::Ready(result) = first.poll(cx)
        {
            *ended = Some(result);
            this.first.set(None);
            *this.first_id = None;
            return Poll::Ready(id);
        }
        for index in 0..this.hedges.len() {
            let Hedge { id, attempt, .. } = &mut this.hedges[index];
            let id = *id;
            if let Poll::Ready(result) = attempt.as_mut().poll(cx) {
                *ended = Some(result);
                this.hedges.swap_remove(index);
                return Poll::Ready(id);
            }
        }
        Poll::Pending
    }
}

impl<S: Service<Attempt, Future: Placed>, R> fmt::Debug for CallFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").field("drive", &self.drive).finish_non_exhaustive()
    }
}
