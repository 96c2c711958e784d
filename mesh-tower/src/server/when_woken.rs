//! [`WhenWoken`]: a future that is polled only after it was woken.
//!
//! A connection's task runs for each request, and what would end the connection hardly ever has anything to
//! say. Most futures take a lock when they are polled in vain; this one looks at a flag.

use futures_util::task::AtomicWaker;
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled first, and then only after it was woken.
#[pin_project]
#[derive(Debug)]
pub(super) struct WhenWoken<F> {
    #[pin]
    future: F,
    flag: Arc<Flag>,
    /// What the future wakes: the flag, and through it the task.
    own: Waker,
    /// The task's, as the flag has it.
    task: Option<Waker>,
}

#[derive(Debug)]
struct Flag {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F> WhenWoken<F> {
    pub(super) fn new(future: F) -> Self {
        let flag = Arc::new(Flag { is_woken: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { future, own: Waker::from(Arc::clone(&flag)), flag, task: None }
    }
}

impl<F: Future> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Before the flag is looked at: who sets it afterwards wakes this task.
        if !this.task.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            this.flag.task.register(cx.waker());
            *this.task = Some(cx.waker().clone());
        }
        if !this.flag.is_woken.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // To wake a task once is to forget it.
        this.flag.task.register(cx.waker());
        // Before it is polled: what wakes it meanwhile counts.
        this.flag.is_woken.store(false, Ordering::Relaxed);
        this.future.poll(&mut Context::from_waker(this.own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    /// A task that counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Task {
        fn poll<F: Future>(self: &Arc<Self>, future: Pin<&mut F>) -> Poll<F::Output> {
            future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
        }

        fn wakes(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn it_is_polled_once_and_then_when_it_was_woken() {
        let (polls, source) = (AtomicUsize::new(0), AtomicWaker::new());
        let mut future = std::pin::pin!(WhenWoken::new(poll_fn(|cx| {
            source.register(cx.waker());
            let is_third = polls.fetch_add(1, Ordering::Relaxed) == 2;
            if is_third { Poll::Ready(7) } else { Poll::Pending }
        })));
        let task = Arc::new(Task::default());
        for _ in 0..3 {
            assert!(task.poll(future.as_mut()).is_pending());
        }
        assert_eq!((polls.load(Ordering::Relaxed), task.wakes()), (1, 0));
        source.wake();
        assert_eq!(task.wakes(), 1);
        for _ in 0..2 {
            assert!(task.poll(future.as_mut()).is_pending());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 2);
        source.wake();
        assert_eq!(task.poll(future.as_mut()), Poll::Ready(7));
    }

    #[test]
    fn the_same_task_is_woken_each_time() {
        let source = AtomicWaker::new();
        let mut future = std::pin::pin!(WhenWoken::new(poll_fn(|cx| {
            source.register(cx.waker());
            Poll::<()>::Pending
        })));
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        for wakes in 0..4 {
            assert_eq!(task.wakes(), wakes);
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            source.wake();
        }
    }

    #[test]
    fn the_task_that_polled_it_last_is_woken() {
        let source = AtomicWaker::new();
        let mut future = std::pin::pin!(WhenWoken::new(poll_fn(|cx| {
            source.register(cx.waker());
            Poll::<()>::Pending
        })));
        let (first, second) = (Arc::new(Task::default()), Arc::new(Task::default()));
        assert!(first.poll(future.as_mut()).is_pending());
        assert!(second.poll(future.as_mut()).is_pending());
        source.wake();
        assert_eq!((first.wakes(), second.wakes()), (0, 1));
    }

    #[test]
    fn what_wakes_it_while_it_is_polled_counts() {
        let mut polls = 0;
        let mut future = std::pin::pin!(WhenWoken::new(poll_fn(|cx: &mut Context<'_>| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
        })));
        let task = Arc::new(Task::default());
        assert!(task.poll(future.as_mut()).is_pending());
        assert_eq!(task.wakes(), 1);
        assert!(task.poll(future.as_mut()).is_ready());
    }
}
