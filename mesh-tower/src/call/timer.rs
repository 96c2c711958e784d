//! [`Timer`]: the one timer of a call.

use crate::clock;
use mesh_core::Timestamp;
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::Sleep;

/// A timer; armed only once something made the call wait.
#[pin_project]
pub(crate) struct Timer {
    #[pin]
    sleep: Option<Sleep>,
    at: Option<Timestamp>,
}

impl Timer {
    pub(crate) const fn new() -> Self {
        Self { sleep: None, at: None }
    }

    /// Waits until `at`, which may be another time than it was last; `None`: for ever.
    #[inline]
    pub(crate) fn poll_until(
        self: Pin<&mut Self>,
        at: Option<Timestamp>,
        cx: &mut Context<'_>,
    ) -> Poll<Timestamp> {
        let Some(at) = at else { return Poll::Pending };
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
        // Timers tick in milliseconds, decisions in nanoseconds: it is at least `at` now.
        Poll::Ready(clock::now().max(at))
    }
}
