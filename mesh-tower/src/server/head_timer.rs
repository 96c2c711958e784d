//! [`HeadTimer`]: how long a head of HTTP/1.1 may take, the wait for it included; how long a connection may say
//! nothing at all; and how long a client may take none of what is written.
//!
//! hyper makes a timer for each head and drops it when the head is there. One of the runtime's would be entered and
//! taken out again for each request, under its locks. Here all of a connection's are one number, and one timer of
//! the runtime looks at it: it sleeps as long as a head may take, so no head is ever looked at too late, and an
//! idle connection wakes twice in that time.
//!
//! hyper waits for ever for the first byte, and for the rest of the preface of HTTP/2; and it waits for ever for a
//! client that does not read. Those two are numbers beside the first, and the same timer looks at them.

use hyper::rt::{Sleep, Timer};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long a head may take (hyper's own default).
pub(super) const HEAD: Duration = Duration::from_secs(30);

/// How long a connection of HTTP/1.1 is silent before it rests.
pub(super) const REST: Duration = Duration::from_secs(1);

/// How long a client may take none of the bytes that wait for it (nginx: `send_timeout`).
pub(super) const STALL: Duration = Duration::from_secs(60);

/// The timer of one connection's heads. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct HeadTimer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    origin: Instant,
    /// When the head that is waited for is late, in nanoseconds from the origin; 0: none is waited for.
    late_at: AtomicU64,
    is_late: AtomicBool,
    /// It has not been said what is spoken.
    is_silent: AtomicBool,
    /// Since when the client has taken nothing of what waits for it, in nanoseconds from the origin; 0: nothing waits.
    stalled_since: AtomicU64,
    /// Something came since a head is waited for.
    has_heard: AtomicBool,
    /// No head has come since what serves the connection began: part of one is there.
    is_begun: AtomicBool,
}

/// What looking has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The connection is to end.
    Late(Late),
    /// It has been silent for so long that hyper need not wait for it.
    Rests,
}

/// Why a connection ends that hyper would keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// Nothing came that begins a request or a connection.
    Silent,
    /// The client does not read.
    Stalled,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => write!(f, "nothing came within {} s", HEAD.as_secs()),
            Self::Stalled => {
                let limit = STALL.as_secs();
                write!(f, "the client took nothing for {limit} s of what was written to it")
            }
        }
    }
}

impl std::error::Error for Late {}

/// hyper's, of the head that it waits for.
struct Head(Arc<Shared>);

impl HeadTimer {
    pub(super) fn new() -> Self {
        let origin = tokio::time::Instant::now().into_std();
        let (late_at, is_late) = (AtomicU64::new(0), AtomicBool::new(false));
        let (is_silent, stalled_since) = (AtomicBool::new(true), AtomicU64::new(0));
        let (has_heard, is_begun) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(Shared {
            origin,
            late_at,
            is_late,
            is_silent,
            stalled_since,
            has_heard,
            is_begun,
        }))
    }

    /// Something serves the connection from now on, for part of a head is there.
    pub(super) fn serves(&self) {
        self.0.is_begun.store(true, Ordering::Relaxed);
    }

    /// Something came.
    pub(super) fn heard(&self) {
        self.0.has_heard.store(true, Ordering::Relaxed);
    }

    /// When a connection is late that has not said what it speaks; `None`: it has.
    pub(super) fn silent_until(&self) -> Option<tokio::time::Instant> {
        let is_silent = self.0.is_silent.load(Ordering::Relaxed);
        is_silent.then(|| tokio::time::Instant::from(self.0.origin) + HEAD)
    }

    /// It is known what is spoken.
    pub(super) fn begun(&self) {
        self.0.is_silent.store(false, Ordering::Relaxed);
    }

    /// Whether something waits to be taken by the client, who has taken nothing now.
    pub(super) fn stalls(&self, stalls: bool) {
        let since = &self.0.stalled_since;
        match (stalls, since.load(Ordering::Relaxed)) {
            (false, 0) | (true, 1..) => {}
            (false, _) => since.store(0, Ordering::Relaxed),
            (true, 0) => since.store(self.0.since_origin(self.now()), Ordering::Relaxed),
        }
    }

    /// A head is waited for, until then.
    fn expect(&self, deadline: Instant) {
        self.0.has_heard.store(false, Ordering::Relaxed);
        self.0.late_at.store(self.0.since_origin(deadline), Ordering::Relaxed);
    }

    /// Looks at them as long as it is polled, before hyper is, in the same task. Of heads hyper is told; it ends with
    /// what hyper does not look at. `rests`: a connection that is silent for [`REST`] is to be found, too.
    pub(super) async fn look(self, rests: bool) -> Seen {
        let shared = &*self.0;
        loop {
            let now = tokio::time::Instant::now();
            // Whoever begins to wait from now on is not late before that.
            let mut next = now + if rests { REST } else { HEAD };
            if let Some(late_at) = shared.at(&shared.late_at) {
                if late_at <= now {
                    shared.is_late.store(true, Ordering::Relaxed);
                    // hyper ends it.
                    std::future::pending::<()>().await;
                }
                next = next.min(late_at);
                if rests && shared.is_quiet() {
                    let rests_at = late_at - (HEAD - REST);
                    if rests_at <= now {
                        return Seen::Rests;
                    }
                    next = next.min(rests_at);
                }
            }
            if let Some(late_at) = self.silent_until() {
                if late_at <= now {
                    return Seen::Late(Late::Silent);
                }
                next = next.min(late_at);
            }
            if let Some(since) = shared.at(&shared.stalled_since) {
                if since + STALL <= now {
                    return Seen::Late(Late::Stalled);
                }
                next = next.min(since + STALL);
            }
            tokio::time::sleep_until(next).await;
        }
    }
}

impl Shared {
    /// Whether nothing of a request is there, nor of an answer.
    fn is_quiet(&self) -> bool {
        !self.has_heard.load(Ordering::Relaxed)
            && !self.is_begun.load(Ordering::Relaxed)
            && self.at(&self.stalled_since).is_none()
    }

    fn since_origin(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
    }

    fn at(&self, cell: &AtomicU64) -> Option<tokio::time::Instant> {
        match cell.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some((self.origin + Duration::from_nanos(nanos)).into()),
        }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.expect(deadline);
        Box::pin(Head(Arc::clone(&self.0)))
    }

    fn reset(&self, _: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        self.expect(deadline);
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

impl Sleep for Head {}

impl Future for Head {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0.is_late.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.0.late_at.store(0, Ordering::Relaxed);
        self.0.is_begun.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Waker;

    /// When heads are late that are waited for at these seconds, until they are there at those.
    async fn late(heads: &[(u64, u64)]) -> Option<u64> {
        let (start, timer) = (tokio::time::Instant::now(), HeadTimer::new());
        timer.begun();
        let (mut look, mut head) = (pin!(timer.clone().look(false)), None::<Pin<Box<dyn Sleep>>>);
        for second in 0..200 {
            // As a connection does: first who looks, then hyper.
            let mut cx = Context::from_waker(Waker::noop());
            assert!(look.as_mut().poll(&mut cx).is_pending());
            if head.as_mut().is_some_and(|head| head.as_mut().poll(&mut cx).is_ready()) {
                return Some(start.elapsed().as_secs());
            }
            if heads.iter().any(|(_, there)| *there == second) {
                head = None;
            }
            if heads.iter().any(|(from, _)| *from == second) {
                let deadline = timer.now() + HEAD;
                match &mut head {
                    Some(head) => timer.reset(head, deadline),
                    None => head = Some(timer.sleep_until(deadline)),
                }
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_late_when_its_own_time_is_over() {
        assert_eq!(late(&[]).await, None);
        assert_eq!(late(&[(0, 500)]).await, Some(30));
        assert_eq!(late(&[(20, 500)]).await, Some(50));
        assert_eq!(late(&[(0, 29), (29, 58), (58, 80)]).await, None);
        assert_eq!(late(&[(0, 29), (31, 500)]).await, Some(61));
        // One that is waited for anew before the last one was given up.
        assert_eq!(late(&[(0, 500), (10, 500)]).await, Some(40));
    }

    /// When a connection ends that is told so.
    async fn ends(tell: impl Fn(&HeadTimer, u64)) -> Option<(u64, Late)> {
        let (start, timer) = (tokio::time::Instant::now(), HeadTimer::new());
        let mut look = pin!(timer.clone().look(false));
        for second in 0..400 {
            tell(&timer, second);
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(Seen::Late(late)) = look.as_mut().poll(&mut cx) {
                return Some((start.elapsed().as_secs(), late));
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        None
    }

    /// When a connection rests that is told so.
    async fn rests(
        tell: impl Fn(&HeadTimer, u64, &mut Option<Pin<Box<dyn Sleep>>>),
    ) -> Option<u64> {
        let (start, timer) = (tokio::time::Instant::now(), HeadTimer::new());
        timer.begun();
        let (mut look, mut head) = (pin!(timer.clone().look(true)), None);
        for second in 0..29 {
            tell(&timer, second, &mut head);
            let mut cx = Context::from_waker(Waker::noop());
            if look.as_mut().poll(&mut cx) == Poll::Ready(Seen::Rests) {
                return Some(start.elapsed().as_secs());
            }
            tokio::time::advance(REST).await;
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_between_two_requests_rests() {
        let waits = |timer: &HeadTimer| Some(timer.sleep(HEAD));
        let at = |from| {
            move |timer: &HeadTimer, second, head: &mut Option<_>| {
                if second == from {
                    *head = waits(timer);
                }
            }
        };
        assert_eq!(rests(at(0)).await, Some(1));
        assert_eq!(rests(at(7)).await, Some(8));
        // No head is waited for: a request is there.
        assert_eq!(rests(|_, _, _| {}).await, None);
        // Part of the next head is.
        let heard = |timer: &HeadTimer, second, head: &mut Option<_>| {
            at(3)(timer, second, head);
            timer.heard();
        };
        assert_eq!(rests(heard).await, None);
        // And was before it was waited for.
        let begun = |timer: &HeadTimer, second, head: &mut Option<_>| {
            if second == 0 {
                timer.serves();
            }
            at(3)(timer, second, head);
            // It is there, and one more is waited for.
            if second == 9 {
                *head = None;
                *head = waits(timer);
            }
        };
        assert_eq!(rests(begun).await, Some(10));
        // Part of an answer.
        let stalls = |timer: &HeadTimer, second, head: &mut Option<_>| {
            at(3)(timer, second, head);
            timer.stalls(second < 12);
        };
        assert_eq!(rests(stalls).await, Some(12));
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_reads_nothing_is_let_go() {
        assert_eq!(ends(|_, _| {}).await, Some((30, Late::Silent)));
        let begun = |timer: &HeadTimer, second| {
            if second == 29 {
                timer.begun();
            }
        };
        assert_eq!(ends(begun).await, None);
        let stalls = |timer: &HeadTimer, second| {
            timer.begun();
            // That it still does is no news.
            timer.stalls(second >= 7);
        };
        assert_eq!(ends(stalls).await, Some((67, Late::Stalled)));
        let reads_now_and_then = |timer: &HeadTimer, second: u64| {
            timer.begun();
            timer.stalls(!second.is_multiple_of(59));
        };
        assert_eq!(ends(reads_now_and_then).await, None);
    }
}
