//! [`Attention`]: how calls ask the writer to look at a cluster.
//!
//! A call must not decide about a whole cluster, and the writer must not look at ten thousand of them
//! because one has something to say. So a cluster that has puts its name into a queue, once until the
//! writer has looked, and wakes the writer.

use crate::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::{Wake, Waker};

/// One cluster's bell.
#[derive(Debug)]
pub(super) struct Attention {
    name: Arc<str>,
    /// It stands in the queue.
    is_marked: AtomicBool,
    /// An endpoint crossed a threshold of outlier detection.
    is_crossed: AtomicBool,
    queue: Sender<Arc<str>>,
    writer: Waker,
}

impl Attention {
    pub(super) fn new(name: Arc<str>, queue: Sender<Arc<str>>, writer: Waker) -> Self {
        let (is_marked, is_crossed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { name, is_marked, is_crossed, queue, writer }
    }

    /// An endpoint crossed a threshold. True: the writer must be woken; it has not been by this.
    pub(super) fn cross(&self) -> bool {
        self.is_crossed.store(true, Ordering::Relaxed);
        self.mark()
    }

    /// Whether it was not in the queue yet.
    fn mark(&self) -> bool {
        // Release: whoever takes the mark sees what it is about.
        if self.is_marked.swap(true, Ordering::AcqRel) {
            return false;
        }
        // Without a writer nobody is left to decide.
        self.queue.send(Arc::clone(&self.name)).is_ok()
    }

    /// Takes it out of the queue; whether a threshold was crossed. What comes from now on is queued
    /// anew.
    pub(super) fn take(&self) -> bool {
        self.is_marked.swap(false, Ordering::AcqRel);
        self.is_crossed.swap(false, Ordering::Relaxed)
    }
}

/// For those who need not know what a cluster is: the circuit breaker.
impl Wake for Attention {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.mark() {
            self.writer.wake_by_ref();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn it_stands_in_the_queue_once_until_it_is_taken() {
        let (queue, marked) = channel();
        let attention = Arc::new(Attention::new("a".into(), queue, Waker::noop().clone()));
        assert!(attention.cross());
        assert!(!attention.cross(), "the writer knows");
        Waker::from(Arc::clone(&attention)).wake();
        assert_eq!(marked.try_iter().count(), 1);
        assert!(attention.take(), "a threshold was crossed");
        Waker::from(Arc::clone(&attention)).wake();
        assert_eq!((marked.try_iter().count(), attention.take()), (1, false));
        drop(marked);
        assert!(!attention.cross(), "the writer is gone");
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p mesh-core --lib loom`
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::thread;
    use std::sync::mpsc::channel;

    #[test]
    fn no_crossing_is_missed() {
        loom::model(|| {
            let (queue, marked) = channel();
            let attention = Arc::new(Attention::new("a".into(), queue, Waker::noop().clone()));
            let call = {
                let attention = Arc::clone(&attention);
                thread::spawn(move || attention.cross())
            };
            let seen = attention.take();
            let woken = call.join().unwrap();
            // Seen by the writer that was looking just then, or queued for its next look.
            let queued = marked.try_iter().count();
            assert!(seen || (queued > 0 && attention.take()) || woken);
            assert!(queued <= 1);
        });
    }
}
