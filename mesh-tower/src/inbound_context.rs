//! [`Inbound`]: what the request that is being answered passes on to the calls that are made for it.
//!
//! A service that calls others while it answers somebody has to end them with its caller's deadline, in its
//! caller's trace, and has to know that they failed for good: otherwise every hop of a chain waits for
//! answers that nobody wants, and tries again what the hop below has tried in vain. Passing that by hand
//! through every function is what nobody does. So the server's layer sets it around every poll of the
//! service, and of the body of its response; calls of a [`Mesh`](crate::Mesh) that begin there take it up.
//!
//! - It is a thread-local cell, set and put back by whoever polls: no lock, no allocation, and nothing but
//!   one load for calls outside of it.
//! - An `Inbound` in a call's own extensions wins over it.
//! - A spawned task is polled by somebody else: [`Inbound::instrument`] takes it there.
//! - A deadline is only ever made earlier (gRFC A31: the deadline of the request that a call is made for is
//!   never extended).
//! - Each hop tells the one above that it has tried all there was to try: the layer notes that a call within
//!   it ended [exhausted](mesh_core::call::RetryStop::is_exhausted), and says so if the service then fails.
//!   Calls of spawned tasks are not noted: who awaits them knows, the layer does not.
//!
//! What it does not do: hold `tracestate`, which is no value to copy. It is in the request's extensions, from
//! where a service may put it into those of its calls.

use crate::clock;
use crate::observe::TraceContext;
use mesh_core::Timestamp;
use pin_project::pin_project;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// What a request that is being answered passes on to the calls that are made for it.
///
/// A value, at most 64 bytes. The server's layer makes one for each request, and sets it around every poll of the
/// service and of its response's body: [`current`](Self::current).
///
/// # Examples
/// ```
/// use mesh_tower::Inbound;
/// use std::time::Duration;
///
/// # async fn work() {}
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let inbound = Inbound::new().timeout(Duration::from_millis(200));
/// // Calls that `work` makes have 200 ms from now on, whatever their routes say.
/// let task = tokio::spawn(inbound.instrument(async {
///     assert!(Inbound::current().is_some());
///     work().await;
/// }));
/// task.await.unwrap();
/// assert!(Inbound::current().is_none());
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    deadline: Option<Timestamp>,
    attempts: u32,
    trace: Option<TraceContext>,
    /// A call that was made for it ended with nothing left to try.
    exhausted: bool,
}

const _: () = assert!(size_of::<Option<Inbound>>() <= 64);

/// An [`Inbound`] without its trace, which most requests have none of: this is set and put back at every poll.
#[derive(Clone, Copy)]
struct Brief {
    is_there: bool,
    has_trace: bool,
    exhausted: bool,
    attempts: u32,
    deadline: Option<Timestamp>,
}

thread_local! {
    static CURRENT: Cell<Brief> = const { Cell::new(Brief::NONE) };
    /// That of the current one, if it has one.
    static TRACE: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

impl Inbound {
    /// A first attempt without deadline and trace.
    #[must_use]
    pub const fn new() -> Self {
        Self { deadline: None, attempts: 1, trace: None, exhausted: false }
    }

    /// That of the request that is being answered here; `None`: there is none.
    #[must_use]
    pub fn current() -> Option<Self> {
        let Brief { is_there, has_trace, exhausted, attempts, deadline } = CURRENT.get();
        let trace = if has_trace { TRACE.get() } else { None };
        is_there.then_some(Self { deadline, attempts, trace, exhausted })
    }

    /// Ends with `timeout` from now on, if that is earlier than what it has.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.until(clock::now() + timeout)
    }

    /// Continues this trace.
    #[must_use]
    pub const fn trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Is this attempt of its caller's, from 1.
    #[must_use]
    pub const fn attempt(mut self, attempt: u32) -> Self {
        self.attempts = attempt;
        self
    }

    /// When the caller gives up; `None`: never, as far as it said.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.map(clock::instant)
    }

    /// How much time is left; `None`: there is no deadline. Zero: none is left.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(clock::now()))
    }

    /// Which attempt of the caller's this is, from 1: above 1, it has asked before, and the same may have
    /// been done already (`grpc-previous-rpc-attempts`, gRFC A6; Envoy: `x-envoy-attempt-count`).
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The trace that the request belongs to.
    #[must_use]
    pub const fn trace_context(&self) -> Option<TraceContext> {
        self.trace
    }

    /// Polls `future` within it: for a task that is spawned while a request is answered. Its calls take up
    /// deadline and trace; how they end is not told to the request's caller.
    pub const fn instrument<F: Future>(self, future: F) -> Instrumented<F> {
        Instrumented { future, inbound: self }
    }

    /// Ends then, if that is earlier than what it has.
    pub(crate) fn until(mut self, deadline: Timestamp) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |own| own.min(deadline)));
        self
    }

    pub(crate) const fn deadline_at(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// Whether a call that was made for it ended with nothing left to try.
    pub(crate) const fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// What is done until the guard is dropped is done within it; what calls told it in between is kept.
    ///
    /// A guard and no closure: what futures return is large, and would be moved once more.
    // Inlined: what it gives is read in other pieces than it was written in, and a processor waits for that.
    #[inline(always)]
    pub(crate) fn enter(&mut self) -> Within<'_> {
        let trace = self.trace.map(|trace| TRACE.replace(Some(trace)));
        Within { before: CURRENT.replace(Brief::of(self)), trace, exhausted: &mut self.exhausted }
    }

    /// That of a call with these extensions: its own, or that of the request that is being answered here.
    pub(crate) fn of_call(extensions: &http::Extensions) -> Option<Self> {
        // A map without anything in it costs nothing to ask.
        extensions.get::<Self>().copied().or_else(Self::current)
    }
}

/// A call that is made here ended with nothing left to try.
#[cold]
pub(crate) fn tell_exhausted() {
    let current = CURRENT.get();
    CURRENT.set(Brief { exhausted: current.is_there, ..current });
}

impl Brief {
    const NONE: Self =
        Self { is_there: false, has_trace: false, exhausted: false, attempts: 0, deadline: None };

    const fn of(inbound: &Inbound) -> Self {
        let Inbound { deadline, attempts, trace, exhausted } = *inbound;
        Self { is_there: true, has_trace: trace.is_some(), exhausted, attempts, deadline }
    }
}

/// Puts back what was there before, also when what is polled panics.
pub(crate) struct Within<'a> {
    before: Brief,
    /// `None`: there is no other trace within it.
    trace: Option<Option<TraceContext>>,
    exhausted: &'a mut bool,
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        *self.exhausted |= CURRENT.replace(self.before).exhausted;
        if let Some(trace) = self.trace {
            TRACE.set(trace);
        }
    }
}

/// A future that is polled within an [`Inbound`].
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Instrumented<F> {
    #[pin]
    future: F,
    inbound: Inbound,
}

impl<F: Future> Future for Instrumented<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _within = this.inbound.enter();
        this.future.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    impl Inbound {
        fn scope(&mut self, work: impl FnOnce()) {
            let _within = self.enter();
            work();
        }
    }

    #[test]
    fn scopes_nest_and_are_put_back() {
        let (mut outer, mut inner) = (Inbound::new().attempt(2), Inbound::new().attempt(3));
        outer.scope(|| {
            inner.scope(|| {
                assert_eq!(Inbound::current().map(|current| current.attempts()), Some(3));
                tell_exhausted();
            });
            assert_eq!(Inbound::current().map(|current| current.attempts()), Some(2));
        });
        assert_eq!(Inbound::current(), None);
        assert_eq!((outer.is_exhausted(), inner.is_exhausted()), (false, true));
        tell_exhausted();
        assert_eq!(Inbound::current(), None);
    }

    #[test]
    fn a_panic_leaves_nothing_behind() {
        let mut inbound = Inbound::new();
        let panics = AssertUnwindSafe(|| inbound.scope(|| panic!("as services do")));
        assert!(catch_unwind(panics).is_err());
        assert_eq!(Inbound::current(), None);
    }

    #[test]
    fn traces_nest_and_are_put_back() {
        let trace = |digit: &str| {
            let text = format!("00-{}-{}-01", digit.repeat(32), digit.repeat(16));
            TraceContext::parse(text.as_bytes()).unwrap()
        };
        let current = || Inbound::current().map(|current| current.trace_context());
        let [mut one, mut two] = [trace("1"), trace("2")].map(|trace| Inbound::new().trace(trace));
        let mut none = Inbound::new();
        one.scope(|| {
            two.scope(|| {
                assert_eq!(current(), Some(Some(trace("2"))));
                none.scope(|| assert_eq!(current(), Some(None)));
                assert_eq!(current(), Some(Some(trace("2"))));
            });
            assert_eq!(current(), Some(Some(trace("1"))));
        });
        assert_eq!(current(), None);
        none.scope(|| assert_eq!(current(), Some(None), "nothing is left of the last one"));
    }

    #[test]
    fn a_deadline_is_only_made_earlier() {
        let at = Timestamp::from_millis;
        let inbound = Inbound::new().until(at(50)).until(at(70));
        assert_eq!(inbound.deadline_at(), Some(at(50)));
        assert_eq!(inbound.until(at(20)).deadline_at(), Some(at(20)));
    }

    #[test]
    fn an_own_one_wins_over_the_current_one() {
        let (mut current, own) = (Inbound::new().attempt(2), Inbound::new().attempt(7));
        let mut extensions = http::Extensions::new();
        current.scope(|| {
            assert_eq!(Inbound::of_call(&extensions).map(|found| found.attempts()), Some(2));
            extensions.insert(own);
            assert_eq!(Inbound::of_call(&extensions), Some(own));
        });
    }
}
