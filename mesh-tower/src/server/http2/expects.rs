//! `expect: 100-continue` (RFC 9110 section 10.1.1): the client is told to go on when the body is wanted.

use futures_util::task::AtomicWaker;
use http::HeaderMap;
use http::header::EXPECT;
use mesh_core::head::first_of;
use mesh_core::proxy::hop_by_hop::is_continue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

/// What the body of such a request and its answer tell each other.
#[derive(Debug, Default)]
pub(in crate::server) struct Expects {
    is_wanted: AtomicBool,
    answers: AtomicWaker,
}

impl Expects {
    /// Of a request with these headers; `None`: it does not wait for that.
    pub(super) fn of(headers: &HeaderMap) -> Option<Arc<Self>> {
        first_of(headers, &EXPECT).filter(|expect| is_continue(expect)).map(|_| Arc::default())
    }

    /// The body is wanted, and not here.
    pub(in crate::server) fn want(&self) {
        if !self.is_wanted.swap(true, Ordering::AcqRel) {
            self.answers.wake();
        }
    }

    /// Whether it is; if not, the task is woken when it is.
    pub(super) fn is_wanted(&self, cx: &Context<'_>) -> bool {
        // Before it is looked: who wants it afterwards wakes it.
        self.answers.register(cx.waker());
        self.is_wanted.load(Ordering::Acquire)
    }
}
