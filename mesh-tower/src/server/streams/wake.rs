//! Who wakes a request, or its connection: where it is told, and by whom.
//!
//! Who is woken while its connection is polled, on its own thread, is ready in this turn, and nothing is locked. From
//! elsewhere a place's number goes into a list, and the connection's task is woken.

use super::Ready;
use super::here::{self, HERE, Here};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

/// What wakers know of their connection, whose own waker it is.
#[derive(Default)]
pub(super) struct Shared(pub(super) Mutex<Elsewhere>);

/// What happens while the connection is not polled, or on another thread.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// The connection's task, which stays known however often it is woken.
    pub(super) task: Option<Waker>,
    /// Places that became ready.
    pub(super) woken: Vec<usize>,
}

/// Whether a place is ready.
pub(super) struct Flag {
    pub(super) at: usize,
    pub(super) is_ready: AtomicBool,
    pub(super) shared: Weak<Shared>,
}

impl Shared {
    pub(super) fn addr(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(super) fn is_polled_here(&self) -> bool {
        HERE.get().shared == self.addr()
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// Wakes the connection: while it is polled, once its requests were.
    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_polled_here() {
            return HERE.set(Here { wakes: true, ..HERE.get() });
        }
        let task = self.0.lock().task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let here = HERE.get();
        if here.polled == std::ptr::from_ref(&**self).addr() {
            HERE.set(Here { is_woken: true, ..here });
            return;
        }
        if here.shared == self.shared.as_ptr().addr() {
            // Only this thread takes it back. Who wakes it at the same time from elsewhere makes it ready twice, which is
            // one poll too many.
            if !self.is_ready.load(Ordering::Acquire) {
                self.is_ready.store(true, Ordering::Release);
                here::here(|state| state.ready.push(Ready { at: self.at, by_connection: true }));
            }
            return;
        }
        if self.is_ready.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(shared) = self.shared.upgrade() {
            let task = {
                let mut elsewhere = shared.0.lock();
                elsewhere.woken.push(self.at);
                elsewhere.task.clone()
            };
            if let Some(task) = task {
                task.wake();
            }
        }
    }
}
