//! [`caught`], [`call`]: what others wrote, or what reads bytes of others, may panic where somebody has to go on.
//!
//! A task that watches over something ends with a panic, and nobody watches over it from then on. So what may
//! panic is polled and called here. The panic itself is told by the program's hook, as any.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// What `future` comes to; `None`: it panicked, and is not polled again.
///
/// # Cancel safety
/// As cancel safe as `future`.
pub(crate) async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match call(|| future.as_mut().poll(context)) {
        Some(polled) => polled.map(Some),
        None => Poll::Ready(None),
    })
    .await
}

/// What `work` gives; `None`: it panicked. Whatever it holds must be good at any place where it may.
pub(crate) fn call<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
