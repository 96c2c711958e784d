//! [`Slot`]: the memory of a request, and how long its answer waits for its client.
//!
//! A client of HTTP/2 opens the window of each stream itself. Where he opens none, its answer waits for ever, with what the
//! application has said, and asks its body no more. So who gives parts of a body says so here ([`part`], [`waits`]): when
//! a request waits after its body gave something, it waits for its client. If nothing more was taken of it for the
//! `stream_flush` of its chain, and for a second more for each KiB of the part before, the stream is reset; others of its
//! connection go on. So it is at the deadline of the caller, who waits for nothing any more: the body, which knows it, is not
//! asked meanwhile.
//!
//! What it does not see: the last part of a body that h2 has taken as a whole. It is at most what h2 keeps for a stream,
//! and the request is over by then.

use super::poll_deadline;
use crate::clock;
use mesh_core::Timestamp;
use pin_project::{pin_project, pinned_drop};
use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// What is counted of the streams of a connection.
#[derive(Debug, Default)]
pub(in crate::server) struct Counts {
    /// Those that are not over and that the connection runs, as it says itself between turns.
    here: AtomicUsize,
    /// Those that are not over and have tasks, or are tunnels.
    elsewhere: AtomicUsize,
    /// Those of the whole port that were reset because their client took nothing.
    stalled: Arc<AtomicU64>,
    /// How long a client may take nothing of an answer: who reads a stream slowly on purpose, as clients of gRPC do,
    /// may well pause.
    flush: Option<Duration>,
}

impl Counts {
    pub(in crate::server) fn new(stalled: Arc<AtomicU64>, flush: Option<Duration>) -> Self {
        Self { here: AtomicUsize::new(0), elsewhere: AtomicUsize::new(0), stalled, flush }
    }

    /// One more that the connection does not run.
    pub(in crate::server) fn hold(counts: &Arc<Self>) -> Held {
        counts.elsewhere.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(counts))
    }

    /// So many are run by the connection.
    pub(super) fn run_here(&self, count: usize) {
        self.here.store(count, Ordering::Relaxed);
    }

    /// How many are not over; to be asked between turns of the connection.
    pub(in crate::server) fn live(&self) -> usize {
        self.here.load(Ordering::Relaxed) + self.elsewhere.load(Ordering::Relaxed)
    }
}

/// Counts as one until it is dropped.
pub(in crate::server) struct Held(Arc<Counts>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.elsewhere.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a body said last, of the request that is polled on this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    /// It waits for the application.
    Waits,
    /// It gave a part of so many bytes, of an answer that the caller waits for until then. `MAX`: he has not said. (A word:
    /// this is set and put back at each poll.)
    Part(usize, Timestamp),
}

thread_local! {
    static SAID: Cell<Said> = const { Cell::new(Said::Nothing) };
}

/// The body of the request that is polled gives a part of so many bytes; its caller waits until the deadline.
pub(in crate::server) fn part(bytes: usize, deadline: Option<Timestamp>) {
    SAID.set(Said::Part(bytes, deadline.unwrap_or(Timestamp::MAX)));
}

/// The body of the request that is polled waits for the application.
pub(in crate::server) fn waits() {
    SAID.set(Said::Waits);
}

/// What answers requests, one after another.
pub(in crate::server) trait Work: Future<Output = ()> + Send + 'static {
    /// One of them.
    type Request: Send + 'static;

    /// Takes its first request.
    fn with(self, request: Self::Request) -> Self;

    /// Takes the next request, and leaves it until it is polled.
    fn put(self: Pin<&mut Self>, request: Self::Request);

    /// Takes the next request, and polls it. By reference: what is moved from there goes to where it stays.
    fn begin(
        self: Pin<&mut Self>,
        request: &mut Option<Next<Self>>,
        cx: &mut Context<'_>,
    ) -> Poll<()>
    where
        Self: Sized;

    /// Drops what is left of its request. Whether it can take another.
    fn end(self: Pin<&mut Self>) -> bool;
}

/// A request, in memory that can be used again.
pub(super) trait Run: Future<Output = ()> + Send {
    /// Whether it takes `next`, an `Option` of the [`Next`] for its [`Work`]: not if it is for another, or this can't take
    /// one.
    fn takes(&self, next: &dyn Any) -> bool;

    /// Takes `next`, if [`takes`](Self::takes) says so, and leaves it until it is polled.
    fn put(self: Pin<&mut Self>, next: &mut dyn Any);

    /// Takes `next`, if [`takes`](Self::takes) says so, and polls it.
    fn begin(self: Pin<&mut Self>, next: &mut dyn Any, cx: &mut Context<'_>) -> Poll<()>;

    /// Drops what is left of it.
    fn clear(self: Pin<&mut Self>);

    /// Whether there is no request in it.
    fn is_empty(&self) -> bool;

    /// From now on a task has it.
    fn leave(self: Pin<&mut Self>);
}

/// A request for a [`Work`] of this type.
pub(in crate::server) struct Next<W: Work>(pub(in crate::server) W::Request);

#[pin_project(PinnedDrop)]
pub(super) struct Slot<W: Work> {
    /// `None`: it could not take another request.
    #[pin]
    work: Option<W>,
    /// There is a request in it.
    is_busy: bool,
    stall: Stall,
    counts: Arc<Counts>,
    /// A task has it.
    held: Option<Held>,
}

/// For how long a client takes nothing of an answer.
#[derive(Debug, Default)]
struct Stall {
    /// Since when it waits for the client; `None`: it does not.
    since: Option<Timestamp>,
    /// When the caller gives up, if it said so.
    deadline: Option<Timestamp>,
    /// The bytes of its last part, and of the one before.
    last: usize,
    before: usize,
    /// Where its connection does not run it.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<W: Work> Slot<W> {
    /// With its first request.
    pub(super) fn new(work: W, Next(request): Next<W>, counts: &Arc<Counts>) -> Self {
        let (work, counts) = (Some(work.with(request)), Arc::clone(counts));
        Self { work, is_busy: true, stall: Stall::default(), counts, held: None }
    }

    /// A task has it from the beginning.
    pub(super) fn left(mut self) -> Self {
        self.held = Some(Counts::hold(&self.counts));
        self
    }

    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        if !mem::take(this.is_busy) {
            return;
        }
        let is_fit = this.work.as_mut().as_pin_mut().is_some_and(W::end);
        if !is_fit {
            this.work.set(None);
        }
        *this.stall = Stall::default();
        *this.held = None;
    }
}

impl<W: Work> Future for Slot<W> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_busy { self.poll_by(cx, W::poll) } else { Poll::Ready(()) }
    }
}

impl<W: Work> Slot<W> {
    /// Polls what is in it by `poll`.
    #[inline(always)]
    fn poll_by(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut W>, &mut Context<'_>) -> Poll<()>,
    ) -> Poll<()> {
        let this = self.as_mut().project();
        let Some(work) = this.work.as_pin_mut() else { return Poll::Ready(()) };
        let outer = SAID.replace(Said::Nothing);
        let polled = poll(work, cx);
        let said = SAID.replace(outer);
        if polled.is_pending() {
            match this.stall.poll(said, this.counts.flush, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Over::Deadline) => {}
                Poll::Ready(Over::Flush) => {
                    this.counts.stalled.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        // What is dropped before its end is reset.
        self.end();
        Poll::Ready(())
    }
}

impl<W: Work> Run for Slot<W> {
    fn takes(&self, next: &dyn Any) -> bool {
        self.work.is_some() && next.is::<Option<Next<W>>>()
    }

    fn put(self: Pin<&mut Self>, next: &mut dyn Any) {
        let this = self.project();
        if let Some(work) = this.work.as_pin_mut()
            && let Some(Next(request)) =
                next.downcast_mut::<Option<Next<W>>>().and_then(Option::take)
        {
            work.put(request);
            *this.is_busy = true;
        }
    }

    fn begin(mut self: Pin<&mut Self>, next: &mut dyn Any, cx: &mut Context<'_>) -> Poll<()> {
        let Some(next) = next.downcast_mut() else { return Poll::Ready(()) };
        *self.as_mut().project().is_busy = true;
        self.poll_by(cx, |work, cx| work.begin(next, cx))
    }

    fn clear(self: Pin<&mut Self>) {
        self.end();
    }

    fn is_empty(&self) -> bool {
        !self.is_busy
    }

    fn leave(self: Pin<&mut Self>) {
        let this = self.project();
        *this.held = Some(Counts::hold(this.counts));
    }
}

#[pinned_drop]
impl<W: Work> PinnedDrop for Slot<W> {
    fn drop(self: Pin<&mut Self>) {
        self.end();
    }
}

/// Why a stream that waits for its client is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// The client has taken nothing for too long.
    Flush,
    /// The caller gave up.
    Deadline,
}

impl Stall {
    /// Ready: it has waited for too long.
    fn poll(&mut self, said: Said, flush: Option<Duration>, cx: &mut Context<'_>) -> Poll<Over> {
        match said {
            Said::Nothing => {}
            Said::Waits => (self.since, self.timer) = (None, None),
            Said::Part(bytes, deadline) => {
                (self.before, self.last) = (self.last, bytes);
                (self.since, self.timer) = (Some(clock::now()), None);
                self.deadline = Some(deadline).filter(|deadline| *deadline < Timestamp::MAX);
            }
        }
        let Some(since) = self.since else { return Poll::Pending };
        let more = Duration::from_secs((self.before >> 10) as u64);
        let flush = flush.map(|flush| (since + flush + more, Over::Flush));
        let deadline = self.deadline.map(|deadline| (deadline, Over::Deadline));
        let first = flush.into_iter().chain(deadline).min_by_key(|(at, _)| *at);
        let Some((at, over)) = first else { return Poll::Pending };
        if self.timer.is_none()
            && let Some(polled) = poll_deadline(cx, at)
        {
            return polled.map(|()| over);
        }
        let timer = || Box::pin(tokio::time::sleep_until(clock::instant(at)));
        self.timer.get_or_insert_with(timer).as_mut().poll(cx).map(|()| over)
    }
}
