//! [`Slot`]: the memory of a request, and how long its answer waits for its client.
//!
//! A client of HTTP/2 opens the window of each stream itself. Where he opens none, its answer waits for ever, with what the
//! application has said, and asks its body no more. So who gives parts of a body says so here ([`part`], [`waits`]): when
//! a request waits after its body gave something, it waits for its client. If nothing more was taken of it for the
//! `stream_flush` of its chain, and for a second more for each KiB of the part before, the stream is reset; others of its connection go on.
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
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// What is counted of the streams of a connection.
#[derive(Debug, Default)]
pub(in crate::server) struct Counts {
    /// Those that are not over.
    live: AtomicUsize,
    /// Those of the whole port that were reset because their client took nothing.
    stalled: Arc<AtomicU64>,
    /// How long a client may take nothing of an answer: who reads a stream slowly on purpose, as clients of gRPC do,
    /// may well pause.
    flush: Option<Duration>,
}

impl Counts {
    pub(in crate::server) fn new(stalled: Arc<AtomicU64>, flush: Option<Duration>) -> Self {
        Self { live: AtomicUsize::new(0), stalled, flush }
    }

    /// One more, which is a tunnel now.
    pub(in crate::server) fn hold(counts: &Arc<Self>) -> Held {
        counts.live.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(counts))
    }

    /// How many are not over.
    pub(in crate::server) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

/// Counts as one until it is dropped.
pub(in crate::server) struct Held(Arc<Counts>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a body said last, of the request that is polled on this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    /// It waits for the application.
    Waits,
    /// It gave a part of so many bytes.
    Part(usize),
}

thread_local! {
    static SAID: Cell<Said> = const { Cell::new(Said::Nothing) };
}

/// The body of the request that is polled gives a part of so many bytes.
pub(in crate::server) fn part(bytes: usize) {
    SAID.set(Said::Part(bytes));
}

/// The body of the request that is polled waits for the application.
pub(in crate::server) fn waits() {
    SAID.set(Said::Waits);
}

/// A request, in memory that can be used again.
pub(super) trait Run: Future<Output = ()> + Send {
    /// Takes `work`, an `Option` of a request; `false`: it is one of another type.
    fn refill(self: Pin<&mut Self>, work: &mut dyn Any) -> bool;

    /// Drops what is left of it.
    fn clear(self: Pin<&mut Self>);

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool;
}

#[pin_project(PinnedDrop)]
pub(super) struct Slot<F> {
    #[pin]
    work: Option<F>,
    stall: Stall,
    counts: Arc<Counts>,
}

/// For how long a client takes nothing of an answer.
#[derive(Debug, Default)]
struct Stall {
    /// Since when it waits for the client; `None`: it does not.
    since: Option<Timestamp>,
    /// The bytes of its last part, and of the one before.
    last: usize,
    before: usize,
    /// Where its connection does not run it.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F> Slot<F> {
    pub(super) fn new(work: F, counts: &Arc<Counts>) -> Self {
        counts.live.fetch_add(1, Ordering::Relaxed);
        Self { work: Some(work), stall: Stall::default(), counts: Arc::clone(counts) }
    }

    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.work.is_some() {
            this.counts.live.fetch_sub(1, Ordering::Relaxed);
            this.work.set(None);
        }
        *this.stall = Stall::default();
    }
}

impl<F: Future<Output = ()>> Future for Slot<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        let Some(work) = this.work.as_pin_mut() else { return Poll::Ready(()) };
        let outer = SAID.replace(Said::Nothing);
        let polled = work.poll(cx);
        let said = SAID.replace(outer);
        if polled.is_pending() {
            if this.stall.poll(said, this.counts.flush, cx).is_pending() {
                return Poll::Pending;
            }
            this.counts.stalled.fetch_add(1, Ordering::Relaxed);
        }
        // What is dropped before its end is reset.
        self.end();
        Poll::Ready(())
    }
}

impl<F: Future<Output = ()> + Send + 'static> Run for Slot<F> {
    fn refill(self: Pin<&mut Self>, work: &mut dyn Any) -> bool {
        let work = work.downcast_mut::<Option<F>>().and_then(Option::take);
        let fits = work.is_some();
        if fits {
            let mut this = self.project();
            this.counts.live.fetch_add(1, Ordering::Relaxed);
            this.work.set(work);
        }
        fits
    }

    fn clear(self: Pin<&mut Self>) {
        self.end();
    }

    fn is_empty(&self) -> bool {
        self.work.is_none()
    }
}

#[pinned_drop]
impl<F> PinnedDrop for Slot<F> {
    fn drop(self: Pin<&mut Self>) {
        self.end();
    }
}

impl Stall {
    /// Ready: the client has taken nothing for too long.
    fn poll(&mut self, said: Said, flush: Option<Duration>, cx: &mut Context<'_>) -> Poll<()> {
        match said {
            Said::Nothing => {}
            Said::Waits => (self.since, self.timer) = (None, None),
            Said::Part(bytes) => {
                (self.before, self.last) = (self.last, bytes);
                (self.since, self.timer) = (Some(clock::now()), None);
            }
        }
        let Some((since, flush)) = self.since.zip(flush) else { return Poll::Pending };
        let at = since + flush + Duration::from_secs((self.before >> 10) as u64);
        if self.timer.is_none()
            && let Some(polled) = poll_deadline(cx, at)
        {
            return polled;
        }
        let timer = || Box::pin(tokio::time::sleep_until(clock::instant(at)));
        self.timer.get_or_insert_with(timer).as_mut().poll(cx)
    }
}
