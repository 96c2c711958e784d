//! [`Streams`]: who runs the requests of a connection of HTTP/2.
//!
//! A task for each of them would let several cores work for one connection. Most requests need none: a service that
//! answers by what it has is done at the first poll, or when the rest of the body is there, sooner than a task is made,
//! queued and given back. So the connection's task polls each request itself when it has taken in some, in the memory
//! that the one before has just left: `h2` gives the first one when it has read all that has come, so what there is of a
//! body is there. Who waits for anything but its own connection gets a task.
//!
//! ```text
//!  h2: a request ───── execute ─┬─> polled ─┬─ done: its memory is kept
//!                               │     ^     └─ waits ─┐
//!                               │     │               ├── woken by the connection (more of its body): ready ─┐
//!                               │     └───────────────┼── when the connection has nothing more ──────────────┘
//!                               │                     │
//!                               └─> a task at once, of a service that is slow, or waits <── woken by another
//! ```
//!
//! What must not happen is that requests wait for one another:
//! - After a millisecond the rest of those that come or are ready get tasks ([`StreamTurn`]), and so does who is polled
//!   for the [`POLLS`]th time in vain.
//! - The requests of a service that is slow, or mostly waits, get tasks at once ([`TaskOdds`]).
//!
//! A request whose client takes nothing of its answer is reset (`streams/slot.rs`).
//!
//! Who has answered a request answers the next one: the clone of the service is called again, where it is, and nothing
//! but the request is moved there.
//!
//! A service that panics ends its own request, as in a task. Requests that wait when the connection is dropped are
//! dropped with it.
//!
//! A request that waits may have a deadline. While its connection runs it, the connection has one timer for all of
//! them, for the earliest ([`poll_deadline`]): most end long before, and a timer of its own for each would be made,
//! entered and taken out again for nothing.

mod here;
mod slot;
mod wake;

pub(super) use here::{common, keep_common, looks, poll_deadline, turn_began};
pub(super) use slot::{Counts, Held, Next, Work, part, waits};

use super::layer::Common;
use crate::clock;
use here::{HERE, Here, Polled, here};
use mesh_core::Timestamp;
use mesh_core::inbound::streams::{StreamTurn, TaskOdds};
use slot::{Run, Slot};
use std::any::Any;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::Sleep;
use wake::{Flag, Shared};

/// How often a request is polled in vain before it gets a task.
const POLLS: u8 = 3;

/// How many requests a connection's task runs at a time.
const PLACES: usize = 256;

/// The requests of one connection. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Streams {
    shared: Arc<Shared>,
    counts: Arc<Counts>,
}

impl Streams {
    /// Those that are reset because their client takes nothing for `flush` are counted in `stalled`.
    pub(super) fn new(stalled: &Arc<AtomicU64>, flush: Option<Duration>) -> Self {
        let counts = Arc::new(Counts::new(Arc::clone(stalled), flush));
        Self { shared: Arc::default(), counts }
    }

    /// What is counted of them.
    pub(super) const fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

/// The requests of a connection. Nobody but the thread that polls it comes here, so there is no lock.
#[derive(Default)]
struct State {
    places: Vec<Place>,
    /// Places without a request.
    free: Vec<usize>,
    ready: Vec<Ready>,
    /// What the next turn uses for its list.
    spare: Vec<Turning>,
    odds: TaskOdds,
    /// What they have in common, as its layer found it.
    common: Option<Arc<Common>>,
    /// Of this poll of the connection; `None`: no request was polled.
    turn: Option<Turn>,
}

/// The requests that are polled in one poll of their connection.
struct Turn {
    turn: StreamTurn,
    began: Timestamp,
    /// When one that waits wants to be polled at the latest.
    earliest: Timestamp,
}

/// Where a request is while its connection runs it, and afterwards its memory.
struct Place {
    work: Option<Kept>,
    waker: Waker,
    flag: Arc<Flag>,
    /// How often it was polled in vain.
    polls: u8,
    /// When it wants to be polled at the latest; `MAX`: it does not.
    deadline: Timestamp,
}

/// A request in its turn, out of its place.
struct Turning {
    ready: Ready,
    /// `None`: a task has it now.
    work: Option<Kept>,
    waker: Waker,
    polls: u8,
    deadline: Timestamp,
    /// By itself, while it was polled.
    is_woken: bool,
}

/// A request that is to be polled.
#[derive(Clone, Copy, Debug)]
struct Ready {
    at: usize,
    /// It is new, or was woken while the connection was polled.
    by_connection: bool,
}

type Kept = Pin<Box<dyn Run>>;

impl Streams {
    /// Runs a request: here, or in a task. Who answers it is made if there is none that has answered others.
    pub(super) fn execute<W: Work>(&self, next: &mut Option<Next<W>>, make: impl Fn() -> W) {
        let slot = |next| Slot::new(make(), next, &self.counts);
        // Who is not called by the connection can't know when it would be run.
        let is_here = self.shared.is_polled_here();
        let taken = is_here.then(|| here(|state| state.take_in(&self.shared)));
        // Nothing of the connection is held from here on: whatever is made or polled may wake another of its requests.
        match taken.flatten().flatten() {
            Some((mut turning, mut turn)) => {
                if turning.work.as_ref().is_some_and(|work| work.takes(next)) {
                    turning.begin(next, &mut turn);
                } else if let Some(next) = next.take() {
                    turning.work = Some(Box::pin(slot(next)));
                    turning.run(&mut turn);
                }
                here(|state| {
                    state.put_back(turning, &mut turn);
                    state.turn = Some(turn);
                });
            }
            None => next.take().into_iter().for_each(|next| task(slot(next).left())),
        }
    }
}

impl State {
    /// A place for a request, to be polled, with whoever has answered one there; `None`: it needs a task.
    fn take_in(&mut self, shared: &Arc<Shared>) -> Option<(Turning, Turn)> {
        if self.odds.take_task() {
            return None;
        }
        let at = self.place(shared)?;
        let place = self.places.get_mut(at)?;
        place.polls = 0;
        let turning = place.take(Ready { at, by_connection: true });
        Some((turning, self.take_turn()))
    }

    /// The turn of this poll, which begins with its first request.
    fn take_turn(&mut self) -> Turn {
        self.turn.take().unwrap_or_else(|| {
            let began = clock::now();
            Turn { turn: StreamTurn::new(began), began, earliest: Timestamp::MAX }
        })
    }

    /// A free place; `None`: there are too many requests.
    fn place(&mut self, shared: &Arc<Shared>) -> Option<usize> {
        if let Some(at) = self.free.pop() {
            return Some(at);
        }
        let at = self.places.len();
        if at == PLACES {
            return None;
        }
        let (is_ready, shared) = (AtomicBool::new(false), Arc::downgrade(shared));
        let flag = Arc::new(Flag { at, is_ready, shared });
        let waker = Waker::from(Arc::clone(&flag));
        let deadline = Timestamp::MAX;
        self.places.push(Place { work: None, waker, flag, polls: 0, deadline });
        Some(at)
    }
}

/// A connection that runs requests.
pub(super) struct Running {
    streams: Streams,
    /// `None`: while it is polled.
    state: Option<Box<State>>,
    /// The connection's own.
    waker: Waker,
    /// The connection's task, as [`Elsewhere::task`] has it.
    task: Option<Waker>,
    /// For the earliest deadline, or an earlier one that is no longer anybody's.
    timer: Option<(Timestamp, Pin<Box<Sleep>>)>,
}

impl Running {
    pub(super) fn new(streams: Streams) -> Self {
        let waker = Waker::from(Arc::clone(&streams.shared));
        Self { streams, state: Some(Box::default()), waker, task: None, timer: None }
    }

    /// Polls the connection, then the requests that are ready, and the connection again where they woke it, as who
    /// answers does: what they say would otherwise wait for a turn of its own.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut connection: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let shared = &*self.streams.shared;
        // Before it is looked what is ready: who becomes so afterwards wakes this task.
        if !self.task.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            shared.0.lock().task = Some(cx.waker().clone());
            self.task = Some(cx.waker().clone());
        }
        let here = Polled::new(shared, &mut self.state);
        let mut own = Context::from_waker(&self.waker);
        let mut polled = connection(&mut own);
        let mut earliest = shared.run();
        if polled.is_pending() && HERE.get().wakes {
            polled = connection(&mut own);
            earliest = earliest.min(shared.run());
        }
        if polled.is_pending() {
            while poll_timer(&mut self.timer, earliest, cx).is_ready() {
                let late = here::here(|state| state.wake_late(clock::now()));
                earliest = late.unwrap_or(Timestamp::MAX).min(shared.run());
            }
            // Others have their turn first.
            if HERE.get().wakes {
                cx.waker().wake_by_ref();
            }
        }
        drop(here);
        if polled.is_ready() {
            // Whoever is not done by now sees by its stream that the connection has ended.
            self.take_all().into_iter().for_each(leave);
        }
        self.let_go_of_old();
        let count = self.state.as_ref().map_or(0, |state| state.places.len() - state.free.len());
        self.streams.counts.run_here(count);
        polled
    }
}

/// Sets the timer to `earliest`, if that is earlier, and polls it. Ready: it is time to look at deadlines, and the
/// timer is gone.
fn poll_timer(
    timer: &mut Option<(Timestamp, Pin<Box<Sleep>>)>,
    earliest: Timestamp,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if timer.as_ref().map_or(Timestamp::MAX, |(at, _)| *at) > earliest {
        let at = clock::instant(earliest);
        match timer {
            Some((known, sleep)) => {
                sleep.as_mut().reset(at);
                *known = earliest;
            }
            None => *timer = Some((earliest, Box::pin(tokio::time::sleep_until(at)))),
        }
    }
    let Some((_, sleep)) = timer else { return Poll::Pending };
    ready!(sleep.as_mut().poll(cx));
    *timer = None;
    Poll::Ready(())
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.take_all());
    }
}

impl Running {
    /// A silent connection does not keep the configuration before.
    fn let_go_of_old(&mut self) {
        let Some(state) = &mut self.state else { return };
        drop(state.common.take_if(|common| !common.is_current()));
    }

    /// Whoever is not done.
    fn take_all(&mut self) -> Vec<Kept> {
        let places = self.state.take().map(|state| state.places).unwrap_or_default();
        let works = places.into_iter().filter_map(|place| place.work);
        works.filter(|work| !work.is_empty()).collect()
    }
}

impl Shared {
    /// Polls those that are ready, and ends the turn. When one of those that were polled wants to be polled at the latest.
    fn run(&self) -> Timestamp {
        while let Some((mut batch, mut turn)) = here(|state| state.take_ready(self)).flatten() {
            for turning in &mut batch {
                turning.run(&mut turn);
            }
            here(|state| state.put_all_back(batch, turn));
        }
        here(State::end_turn).unwrap_or(Timestamp::MAX)
    }
}

impl State {
    /// Makes those ready whose deadline has passed. The earliest of the others'.
    fn wake_late(&mut self, now: Timestamp) -> Timestamp {
        let mut earliest = Timestamp::MAX;
        for place in &self.places {
            if place.deadline > now {
                earliest = earliest.min(place.deadline);
            } else if !place.flag.is_ready.swap(true, Ordering::AcqRel) {
                self.ready.push(Ready { at: place.flag.at, by_connection: true });
            }
        }
        earliest
    }

    /// Those that are ready, and their turn; `None`: nobody is.
    fn take_ready(&mut self, shared: &Shared) -> Option<(Vec<Turning>, Turn)> {
        let elsewhere = |at| Ready { at, by_connection: false };
        self.ready.extend(shared.0.lock().woken.drain(..).map(elsewhere));
        if self.ready.is_empty() {
            return None;
        }
        let mut batch = mem::take(&mut self.spare);
        for ready in self.ready.drain(..) {
            let Some(place) = self.places.get_mut(ready.at) else { continue };
            // From now on it can be woken again.
            place.flag.is_ready.store(false, Ordering::Release);
            // It may have been woken after its end.
            if place.work.as_ref().is_some_and(|work| !work.is_empty()) {
                batch.push(place.take(ready));
            }
        }
        Some((batch, self.take_turn()))
    }

    fn put_all_back(&mut self, mut batch: Vec<Turning>, mut turn: Turn) {
        for turning in batch.drain(..) {
            self.put_back(turning, &mut turn);
        }
        (self.spare, self.turn) = (batch, Some(turn));
    }

    fn put_back(&mut self, turning: Turning, turn: &mut Turn) {
        let Turning { ready, work, waker, polls, deadline, is_woken } = turning;
        turn.earliest = turn.earliest.min(deadline);
        let Some(place) = self.places.get_mut(ready.at) else { return };
        if work.as_ref().is_none_or(|work| work.is_empty()) {
            self.free.push(ready.at);
        } else if is_woken && !place.flag.is_ready.swap(true, Ordering::AcqRel) {
            self.ready.push(Ready { at: ready.at, by_connection: true });
        }
        (place.work, place.waker) = (work, waker);
        (place.polls, place.deadline) = (polls, deadline);
    }

    /// When one of those that were polled wants to be polled at the latest.
    fn end_turn(&mut self) -> Timestamp {
        let Some(Turn { turn, earliest, .. }) = self.turn.take() else { return Timestamp::MAX };
        self.odds.learn(turn, clock::now());
        earliest
    }
}

impl Place {
    /// What is in it, to be polled.
    fn take(&mut self, ready: Ready) -> Turning {
        let (work, polls) = (self.work.take(), self.polls);
        let waker = mem::replace(&mut self.waker, Waker::noop().clone());
        Turning { ready, work, waker, polls, deadline: Timestamp::MAX, is_woken: false }
    }
}

impl Turning {
    /// Polls it, or gives it a task.
    fn run(&mut self, turn: &mut Turn) {
        let Some(work) = self.work.take() else { return };
        if !self.ready.by_connection || turn.turn.is_over(clock::now) {
            turn.turn.gave_task();
            return leave(work);
        }
        self.poll(work, turn, |work, cx| work.poll(cx));
    }

    /// Polls the next request of what is here, or gives it a task.
    fn begin(&mut self, next: &mut dyn Any, turn: &mut Turn) {
        let Some(mut work) = self.work.take() else { return };
        if turn.turn.is_over(clock::now) {
            turn.turn.gave_task();
            work.as_mut().put(next);
            return leave(work);
        }
        self.poll(work, turn, |work, cx| work.begin(next, cx));
    }

    #[inline(always)]
    fn poll(
        &mut self,
        mut work: Kept,
        Turn { turn, began, .. }: &mut Turn,
        by: impl FnOnce(Pin<&mut dyn Run>, &mut Context<'_>) -> Poll<()>,
    ) {
        let here = HERE.get();
        let polled = self.waker.data().addr();
        HERE.set(Here { polled, now: *began, ..here });
        let result = poll(work.as_mut(), &self.waker, by);
        let seen = HERE.get();
        HERE.set(Here { wakes: seen.wakes, ..here });
        match result {
            Some(Poll::Ready(())) => {
                turn.polled(true);
                self.work = Some(work);
            }
            Some(Poll::Pending) => {
                turn.polled(false);
                self.polls += 1;
                if self.polls < POLLS {
                    (self.deadline, self.is_woken) = (seen.deadline, seen.is_woken);
                    self.work = Some(work);
                } else {
                    turn.gave_task();
                    leave(work);
                }
            }
            None => {
                turn.polled(true);
                // Whatever it holds may panic as well.
                let _panicked = catch_unwind(AssertUnwindSafe(|| drop(work)));
            }
        }
    }
}

/// Polls a request, and drops what is left of it if it is done; `None`: it panicked.
#[inline(always)]
fn poll(
    mut work: Pin<&mut dyn Run>,
    waker: &Waker,
    by: impl FnOnce(Pin<&mut dyn Run>, &mut Context<'_>) -> Poll<()>,
) -> Option<Poll<()>> {
    let poll = AssertUnwindSafe(|| {
        let polled = by(work.as_mut(), &mut Context::from_waker(waker));
        if polled.is_ready() {
            work.clear();
        }
        polled
    });
    catch_unwind(poll).ok()
}

/// Gives a request that was run here a task.
fn leave(mut work: Kept) {
    work.as_mut().leave();
    task(work);
}

#[expect(clippy::disallowed_methods, reason = "what waits for something is a task")]
fn task(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}

#[cfg(test)]
mod tests;
