//! [`Streams`]: who runs the requests of a connection of HTTP/2.
//!
//! hyper wants a task for each of them, so that several cores may work for one connection. Most requests need
//! none: a service that answers by what it has is done at the first poll, or when the rest of the body is there,
//! sooner than a task is made, queued and given back. So the connection's task polls requests itself, when it has
//! taken in all that has come, in memory that the requests before have left. Who waits for anything but its
//! own connection gets a task.
//!
//! ```text
//!  hyper: a request ── execute ─┬─> ready ── nothing more can be read ──> polled ─┬─ done: its memory is kept
//!                               │     ^                                           └─ waits ─┐
//!                               │     └── woken by the connection: more of its body ────────┤
//!                               │                                                           │
//!                               └─> a task at once, of a service that is slow, or waits <───┘ woken by another
//! ```
//!
//! What must not happen is that requests wait for one another:
//! - After [`TURN`] the rest of those that are ready get tasks, and so does who is polled for the [`POLLS`]th time
//!   in vain.
//! - The requests of a service that takes longer than [`SLOW`], or mostly waits, get tasks at once, the next
//!   [`FEW`] of them; found so again, twice as many, up to [`MANY`].
//!
//! A service that panics ends its own request, as in a task. Requests that wait when the connection is dropped are
//! dropped with it.

use crate::clock;
use futures_util::task::AtomicWaker;
use hyper::rt::Executor;
use mesh_core::Timestamp;
use parking_lot::Mutex;
use pin_project::pin_project;
use std::any::Any;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// How long a connection's task runs requests before it looks at its connection again.
const TURN: Duration = Duration::from_micros(500);

/// How long a request may take, on average, that needs no task.
const SLOW: Duration = Duration::from_micros(25);

/// How many requests are run between two readings of the clock.
const STRIDE: u32 = 4;

/// How often a request is polled in vain before it gets a task.
const POLLS: u8 = 3;

/// How many requests of a service that needs them get tasks at least.
const FEW: u32 = 256;

/// How many at most.
const MANY: u32 = 65_536;

/// How many requests a connection's task runs at a time.
const PLACES: usize = 256;

/// hyper's executor for one connection. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The thread that polls the connection now; 0: none does.
    polled_by: AtomicUsize,
    /// The connection's.
    task: AtomicWaker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    places: Vec<Place>,
    /// Places without a request.
    free: Vec<usize>,
    ready: Vec<Ready>,
    /// What the next turn uses for its list.
    spare: Vec<Turning>,
    odds: Odds,
}

/// Where a request is while its connection runs it, and afterwards its memory.
struct Place {
    work: Option<Work>,
    waker: Waker,
    flag: Arc<Flag>,
    /// How often it was polled in vain.
    polls: u8,
}

/// A request in its turn, out of its place.
struct Turning {
    ready: Ready,
    /// `None`: a task has it now.
    work: Option<Work>,
    waker: Waker,
    polls: u8,
}

/// A request that is to be polled.
#[derive(Clone, Copy, Debug)]
struct Ready {
    at: usize,
    /// It is new, or was woken while the connection was polled.
    by_connection: bool,
}

/// Whether a place is ready.
struct Flag {
    at: usize,
    is_ready: AtomicBool,
    shared: Weak<Shared>,
}

/// Whether requests are likely to need tasks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Odds {
    /// Who needed none counts for it, who did twice against it.
    score: i32,
    /// So many requests get tasks at once.
    tasks: u32,
    /// As many as did the last time; 0: since then one was not found to need one.
    before: u32,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    polled: u32,
    /// Without a task.
    done: u32,
    tasks: u32,
    time: Duration,
}

type Work = Pin<Box<dyn Run>>;

/// A request, in memory that can be used again.
trait Run: Future<Output = ()> + Send {
    /// Takes `work`, an `Option` of a request; `false`: it is one of another type.
    fn refill(self: Pin<&mut Self>, work: &mut dyn Any) -> bool;

    /// Drops what is left of it.
    fn clear(self: Pin<&mut Self>);

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool;
}

#[pin_project]
struct Slot<F>(#[pin] Option<F>);

impl<F: Future<Output = ()>> Future for Slot<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().0.as_pin_mut().map_or(Poll::Ready(()), |work| work.poll(cx))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Run for Slot<F> {
    fn refill(self: Pin<&mut Self>, work: &mut dyn Any) -> bool {
        let work = work.downcast_mut::<Option<F>>().and_then(Option::take);
        let fits = work.is_some();
        if fits {
            self.project().0.set(work);
        }
        fits
    }

    fn clear(self: Pin<&mut Self>) {
        self.project().0.set(None);
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, work: F) {
        // Who is not called by the connection can't know when it would be run.
        if !self.0.is_polled_here() {
            return task(work);
        }
        let mut state = self.0.state.lock();
        if state.odds.take_task() {
            drop(state);
            return task(work);
        }
        let Some(at) = state.place(&self.0) else {
            drop(state);
            return task(work);
        };
        let place = &mut state.places[at];
        let mut work = Some(work);
        let fits = place.work.as_mut().is_some_and(|kept| kept.as_mut().refill(&mut work));
        if !fits {
            place.work = Some(Box::pin(Slot(work)));
        }
        place.polls = 0;
        place.flag.is_ready.store(true, Ordering::Relaxed);
        state.ready.push(Ready { at, by_connection: true });
    }
}

impl State {
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
        self.places.push(Place { work: None, waker, flag, polls: 0 });
        Some(at)
    }
}

impl Shared {
    fn is_polled_here(&self) -> bool {
        self.polled_by.load(Ordering::Relaxed) == this_thread()
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_ready.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(shared) = self.shared.upgrade() else { return };
        let by_connection = shared.is_polled_here();
        shared.state.lock().ready.push(Ready { at: self.at, by_connection });
        if !by_connection {
            shared.task.wake();
        }
    }
}

/// A connection that runs requests.
pub(super) struct Running {
    streams: Streams,
    /// The connection's task, as [`Shared::task`] has it.
    task: Option<Waker>,
}

impl Running {
    pub(super) const fn new(streams: Streams) -> Self {
        Self { streams, task: None }
    }

    /// Polls the connection, then the requests that are ready.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        connection: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let shared = &self.streams.0;
        // Before it is looked what is ready: who becomes so afterwards wakes this task.
        if !self.task.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            shared.task.register(cx.waker());
            self.task = Some(cx.waker().clone());
        }
        shared.polled_by.store(this_thread(), Ordering::Relaxed);
        let polled = connection(cx);
        shared.run();
        shared.polled_by.store(0, Ordering::Relaxed);
        if polled.is_ready() {
            // Whoever is not done by now sees by its stream that the connection has ended.
            shared.take_all().into_iter().for_each(task);
        }
        polled
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.streams.0.take_all());
    }
}

impl Shared {
    /// One turn of those that are ready.
    fn run(&self) {
        let mut turn = Turn::default();
        let mut started = None;
        while let Some(mut batch) = self.take_ready() {
            let started = *started.get_or_insert_with(clock::now);
            for turning in &mut batch {
                turn.take(turning, started);
            }
            self.put_back(batch);
        }
        if let Some(started) = started {
            turn.time = clock::now().saturating_duration_since(started);
            self.state.lock().odds.learn(turn);
        }
    }

    /// Those that are ready; `None`: nobody is.
    fn take_ready(&self) -> Option<Vec<Turning>> {
        let state = &mut *self.state.lock();
        if state.ready.is_empty() {
            return None;
        }
        let mut batch = mem::take(&mut state.spare);
        for ready in state.ready.drain(..) {
            let Some(place) = state.places.get_mut(ready.at) else { continue };
            // From now on it can be woken again.
            place.flag.is_ready.store(false, Ordering::Release);
            // It may have been woken after its end.
            let work = place.work.take_if(|work| !work.is_empty());
            if work.is_some() {
                let waker = mem::replace(&mut place.waker, Waker::noop().clone());
                batch.push(Turning { ready, work, waker, polls: place.polls });
            }
        }
        Some(batch)
    }

    fn put_back(&self, mut batch: Vec<Turning>) {
        let state = &mut *self.state.lock();
        for Turning { ready, work, waker, polls } in batch.drain(..) {
            let Some(place) = state.places.get_mut(ready.at) else { continue };
            if work.as_ref().is_none_or(|work| work.is_empty()) {
                state.free.push(ready.at);
            }
            (place.work, place.waker, place.polls) = (work, waker, polls);
        }
        state.spare = batch;
    }

    /// Whoever is not done.
    fn take_all(&self) -> Vec<Work> {
        let places = {
            let state = &mut *self.state.lock();
            state.ready.clear();
            state.free.clear();
            mem::take(&mut state.places)
        };
        let works = places.into_iter().filter_map(|place| place.work);
        works.filter(|work| !work.is_empty()).collect()
    }
}

impl Turn {
    /// Polls a request, or gives it a task.
    fn take(&mut self, turning: &mut Turning, started: Timestamp) {
        let Some(mut work) = turning.work.take() else { return };
        if !turning.ready.by_connection || self.is_over(started) {
            self.tasks += 1;
            return task(work);
        }
        self.polled += 1;
        match poll(work.as_mut(), &turning.waker) {
            Some(Poll::Ready(())) => {
                self.done += 1;
                turning.work = Some(work);
            }
            Some(Poll::Pending) => {
                turning.polls += 1;
                if turning.polls < POLLS {
                    turning.work = Some(work);
                } else {
                    self.tasks += 1;
                    task(work);
                }
            }
            None => {
                self.done += 1;
                // Whatever it holds may panic as well.
                let _panicked = catch_unwind(AssertUnwindSafe(|| drop(work)));
            }
        }
    }

    /// Whether the rest has to be left to tasks.
    fn is_over(&self, started: Timestamp) -> bool {
        self.polled > 0
            && self.polled.is_multiple_of(STRIDE)
            && clock::now().saturating_duration_since(started) > TURN
    }
}

/// Polls a request, and drops what is left of it if it is done; `None`: it panicked.
fn poll(mut work: Pin<&mut dyn Run>, waker: &Waker) -> Option<Poll<()>> {
    let poll = AssertUnwindSafe(|| {
        let polled = work.as_mut().poll(&mut Context::from_waker(waker));
        if polled.is_ready() {
            work.clear();
        }
        polled
    });
    catch_unwind(poll).ok()
}

#[expect(clippy::disallowed_methods, reason = "what waits for something is a task")]
fn task(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}

thread_local! {
    static HERE: u8 = const { 0 };
}

/// What no other thread has, and never 0.
fn this_thread() -> usize {
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

impl Odds {
    /// How far those who needed no task speak for those to come.
    const BEST: i32 = 16;

    /// Whether the next request gets a task at once.
    const fn take_task(&mut self) -> bool {
        let takes = self.tasks > 0;
        self.tasks = self.tasks.saturating_sub(1);
        takes
    }

    fn learn(&mut self, turn: Turn) {
        let (done, tasks) = (turn.done.cast_signed(), turn.tasks.cast_signed());
        self.score = (self.score + done - 2 * tasks).min(Self::BEST);
        // Handing over to tasks alone says nothing of how long requests take.
        let is_slow = turn.polled > 0 && turn.time > SLOW * turn.polled;
        if self.score < 0 || is_slow {
            self.tasks = self.before.saturating_mul(2).clamp(FEW, MANY);
            (self.score, self.before) = (0, self.tasks);
        } else if turn.done > 0 {
            self.before = 0;
        }
    }
}

#[cfg(test)]
mod tests;
