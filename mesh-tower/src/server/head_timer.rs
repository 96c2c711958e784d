//! [`HeadTimer`]: how long a head of HTTP/1.1 may take, the wait for it included.
//!
//! hyper makes a timer for each head and drops it when the head is there. One of the runtime's would be entered and
//! taken out again for each request, under its locks. Here all of a connection's are one number, and one timer of
//! the runtime looks at it: it sleeps as long as a head may take, so no head is ever looked at too late, and an
//! idle connection wakes twice in that time.

use hyper::rt::{Sleep, Timer};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long a head may take (hyper's own default).
pub(super) const HEAD: Duration = Duration::from_secs(30);

/// The timer of one connection's heads. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct HeadTimer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    origin: Instant,
    /// When the head that is waited for is late, in nanoseconds from the origin; 0: none is waited for.
    late_at: AtomicU64,
    is_late: AtomicBool,
}

/// hyper's, of the head that it waits for.
struct Head(Arc<Shared>);

impl HeadTimer {
    pub(super) fn new() -> Self {
        let origin = tokio::time::Instant::now().into_std();
        let (late_at, is_late) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Shared { origin, late_at, is_late }))
    }

    /// A head is waited for, until then.
    fn expect(&self, deadline: Instant) {
        let late_at = deadline.saturating_duration_since(self.0.origin).as_nanos();
        let late_at = u64::try_from(late_at).unwrap_or(u64::MAX).max(1);
        self.0.late_at.store(late_at, Ordering::Relaxed);
    }

    /// Looks at heads as long as it is polled, before hyper is, in the same task. It never ends.
    pub(super) async fn look(self) -> std::convert::Infallible {
        let shared = &*self.0;
        loop {
            let late_at = shared.late_at.load(Ordering::Relaxed);
            let now = tokio::time::Instant::now();
            let next = match late_at {
                // Whoever begins to wait from now on is not late before that.
                0 => now + HEAD,
                _ => (shared.origin + Duration::from_nanos(late_at)).into(),
            };
            if next <= now {
                shared.is_late.store(true, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
            tokio::time::sleep_until(next).await;
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
        let (mut look, mut head) = (pin!(timer.clone().look()), None::<Pin<Box<dyn Sleep>>>);
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
}
