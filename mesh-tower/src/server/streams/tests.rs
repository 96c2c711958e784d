//! A connection is a closure here, and a request says where it was run.

use super::*;
use parking_lot::Mutex;
use std::future::poll_fn;
use std::task::Wake;
use std::time::Duration;
use tokio::sync::Notify;

/// Where requests were done.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<(&'static str, bool)>>>);

impl Log {
    /// A request is done: in a task of its own?
    fn done(&self, name: &'static str) {
        self.0.lock().push((name, tokio::task::try_id().is_some()));
    }

    fn take(&self) -> Vec<(&'static str, bool)> {
        mem::take(&mut *self.0.lock())
    }
}

/// A request that is a future, and who polls it.
#[pin_project::pin_project]
struct Once<F> {
    #[pin]
    request: Option<F>,
    /// Whether it takes another.
    goes_on: bool,
}

impl<F: Future<Output = ()> + Send + 'static> Work for Once<F> {
    type Request = F;

    fn with(self, request: F) -> Self {
        Self { request: Some(request), ..self }
    }

    fn put(self: Pin<&mut Self>, request: F) {
        self.project().request.set(Some(request));
    }

    fn begin(
        mut self: Pin<&mut Self>,
        request: &mut Option<Next<Self>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.as_mut().project().request.set(request.take().map(|Next(request)| request));
        self.poll(cx)
    }

    fn end(self: Pin<&mut Self>) -> bool {
        let mut this = self.project();
        this.request.set(None);
        *this.goes_on
    }
}

impl<F: Future<Output = ()>> Future for Once<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().request.as_pin_mut().map_or(Poll::Ready(()), |future| future.poll(cx))
    }
}

impl Streams {
    /// Runs a request that is a future.
    fn run(&self, request: impl Future<Output = ()> + Send + 'static) {
        self.execute(&mut Some(Next(request)), || Once { request: None, goes_on: true });
    }
}

/// Polls a connection once, in the test's own task, which has no id.
async fn turn(running: &mut Running, connection: impl FnOnce(&Streams) -> Poll<()>) {
    let mut connection = Some(connection);
    let streams = running.streams.clone();
    poll_fn(|cx| {
        let _open = running.poll(cx, |_| connection.take().map_or(Poll::Pending, |c| c(&streams)));
        Poll::Ready(())
    })
    .await;
}

/// Whether a task was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn new() -> (Running, Log) {
    (Running::new(Streams::default()), Log::default())
}

async fn settled() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_all_it_needs_is_run_by_the_connection() {
    let (mut running, log) = new();
    for _ in 0..100 {
        turn(&mut running, |streams| {
            for name in ["a", "b"] {
                let own = log.clone();
                streams.run(async move { own.done(name) });
                assert_eq!(log.take(), [(name, false)], "at once");
            }
            Poll::Pending
        })
        .await;
    }
    assert_eq!(running.state.as_ref().unwrap().places.len(), 1, "memory is used again");
}

#[tokio::test(start_paused = true)]
async fn who_can_answer_no_more_is_made_anew() {
    for (goes_on, expected) in [(true, 1), (false, 3)] {
        let (mut running, log) = new();
        let made = AtomicU64::new(0);
        for _ in 0..3 {
            turn(&mut running, |streams| {
                let own = log.clone();
                streams.execute(&mut Some(Next(async move { own.done("a") })), || {
                    made.fetch_add(1, Ordering::Relaxed);
                    Once { request: None, goes_on }
                });
                Poll::Pending
            })
            .await;
            assert_eq!(log.take(), [("a", false)]);
        }
        assert_eq!(made.load(Ordering::Relaxed), expected);
    }
}

/// Services are clones, and a clone may do anything.
#[tokio::test(start_paused = true)]
async fn who_is_made_may_wake_another_request() {
    let (mut running, log) = new();
    let body = Arc::new(Notify::new());
    let (own, waits_for) = (log.clone(), Arc::clone(&body));
    turn(&mut running, |streams| {
        streams.run(async move {
            waits_for.notified().await;
            own.done("a");
        });
        streams.execute(&mut Some(Next(async {})), || {
            body.notify_one();
            Once { request: None, goes_on: true }
        });
        Poll::Pending
    })
    .await;
    assert_eq!(log.take(), [("a", false)]);
}

/// Whoever wants to know whether a connection has requests asks between its turns.
#[tokio::test(start_paused = true)]
async fn those_that_are_not_over_are_counted_here_and_in_tasks() {
    let (mut running, _log) = new();
    let counts = Arc::clone(running.streams.counts());
    let answer = Arc::new(Notify::new());
    turn(&mut running, |streams| {
        streams.run(async {});
        for _ in 0..2 {
            let waits_for = Arc::clone(&answer);
            streams.run(async move { waits_for.notified().await });
        }
        Poll::Pending
    })
    .await;
    assert_eq!(counts.live(), 2);
    // One of them is handed to a task, and done there.
    answer.notify_one();
    turn(&mut running, |_| Poll::Pending).await;
    assert_eq!(counts.live(), 2);
    settled().await;
    assert_eq!(counts.live(), 1);
    // The other goes on without its connection.
    turn(&mut running, |_| Poll::Ready(())).await;
    assert_eq!(counts.live(), 1);
    answer.notify_one();
    settled().await;
    assert_eq!(counts.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_its_connection_stays() {
    let (mut running, log) = new();
    let body = Arc::new(Notify::new());
    let request = |log: Log, body: Arc<Notify>| async move {
        body.notified().await;
        log.done("a");
    };
    turn(&mut running, |streams| {
        streams.run(request(log.clone(), Arc::clone(&body)));
        Poll::Pending
    })
    .await;
    settled().await;
    assert_eq!(log.take(), []);
    turn(&mut running, |_| {
        body.notify_one();
        Poll::Pending
    })
    .await;
    assert_eq!(log.take(), [("a", false)]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_gets_a_task() {
    let (mut running, log) = new();
    let answer = Arc::new(Notify::new());
    let (own, waits_for) = (log.clone(), Arc::clone(&answer));
    turn(&mut running, |streams| {
        streams.run(async move {
            waits_for.notified().await;
            own.done("a");
        });
        Poll::Pending
    })
    .await;
    answer.notify_one();
    // The connection's task is woken, and hands it over.
    turn(&mut running, |_| Poll::Pending).await;
    assert_eq!(log.take(), []);
    settled().await;
    assert_eq!(log.take(), [("a", true)]);
}

/// What a request says to its connection goes out in the same turn, and whatever else it is woken for in the next.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_woken_by_its_requests_looks_again() {
    // Woken by one that it takes in, before it looks: not again. By one that it woke: again. By itself each time: in time.
    for (wakes, expected) in [("before", 1), ("by one", 2), ("itself", 4)] {
        let (mut running, _log) = new();
        let (streams, body) = (running.streams.clone(), Arc::new(Notify::new()));
        let mut polls = 0;
        let task = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&task));
        let mut poll = || {
            running.poll(&mut Context::from_waker(&waker), |cx| {
                polls += 1;
                if wakes == "by one" && polls == 1 {
                    let (waits_for, connection) = (Arc::clone(&body), cx.waker().clone());
                    streams.run(async move {
                        waits_for.notified().await;
                        connection.wake();
                    });
                    body.notify_one();
                } else if wakes == "before" {
                    let connection = cx.waker().clone();
                    streams.run(async move { connection.wake() });
                }
                looks();
                if wakes == "itself" {
                    cx.waker().wake_by_ref();
                }
                Poll::<()>::Pending
            })
        };
        assert!(poll().is_pending());
        let is_woken = task.0.swap(false, Ordering::Relaxed);
        assert!(!is_woken || poll().is_pending());
        assert_eq!((is_woken, polls), (wakes == "itself", expected), "{wakes}");
    }
}

/// Each time, also in the same task.
#[tokio::test(start_paused = true)]
async fn the_connections_task_is_woken_for_it() {
    let (mut running, log) = new();
    let (comes, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (own, waits_for) = (log.clone(), Arc::clone(&answer));
    let streams = running.streams.clone();
    let mut frame = Box::pin(Arc::clone(&comes).notified_owned());
    let next = Arc::clone(&comes);
    let connection = tokio::spawn(poll_fn(move |cx| {
        running.poll(cx, |cx| {
            while frame.as_mut().poll(cx).is_ready() {
                frame = Box::pin(Arc::clone(&next).notified_owned());
                // Most need no task, so that those who do are run here at first.
                (0..10).for_each(|_| streams.run(async {}));
                let (own, waits_for) = (own.clone(), Arc::clone(&waits_for));
                streams.run(async move {
                    waits_for.notified().await;
                    own.done("a");
                });
            }
            Poll::<()>::Pending
        })
    }));
    for _ in 0..3 {
        comes.notify_one();
        settled().await;
        assert_eq!(log.take(), []);
        answer.notify_one();
        settled().await;
        assert_eq!(log.take(), [("a", true)]);
    }
    connection.abort();
}

#[tokio::test(start_paused = true)]
async fn who_is_polled_in_vain_too_often_gets_a_task() {
    let (mut running, log) = new();
    let own = log.clone();
    turn(&mut running, |streams| {
        streams.run(async move {
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                if polls < 10 { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            own.done("a");
        });
        Poll::Pending
    })
    .await;
    assert_eq!(log.take(), []);
    settled().await;
    assert_eq!(log.take(), [("a", true)]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_one_request() {
    let (mut running, log) = new();
    for _ in 0..3 {
        turn(&mut running, |streams| {
            let own = log.clone();
            streams.run(async { panic!("as services do") });
            streams.run(async move { own.done("b") });
            Poll::Pending
        })
        .await;
        assert_eq!(log.take(), [("b", false)]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_connection_leaves_the_rest_to_tasks() {
    let (mut running, log) = new();
    let (own, answer) = (log.clone(), Arc::new(Notify::new()));
    let waits_for = Arc::clone(&answer);
    turn(&mut running, |streams| {
        streams.run(async move {
            waits_for.notified().await;
            own.done("a");
        });
        Poll::Ready(())
    })
    .await;
    answer.notify_one();
    settled().await;
    assert_eq!(log.take(), [("a", true)]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_dropped_with_its_connection() {
    let (mut running, _log) = new();
    let held = Arc::new(());
    let own = Arc::clone(&held);
    let shared = Arc::downgrade(&running.streams.shared);
    turn(&mut running, |streams| {
        // It may hold what runs it.
        let streams = streams.clone();
        streams.clone().run(async move {
            let _held = (own, streams);
            std::future::pending::<()>().await;
        });
        Poll::Pending
    })
    .await;
    assert_eq!(Arc::strong_count(&held), 2);
    drop(running);
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(shared.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_calls_from_elsewhere_gets_a_task() {
    let (running, log) = new();
    let own = log.clone();
    running.streams.run(async move { own.done("a") });
    settled().await;
    assert_eq!(log.take(), [("a", true)]);
}

#[tokio::test(start_paused = true)]
async fn requests_of_several_types_are_run() {
    let (mut running, log) = new();
    for name in ["a", "b", "a"] {
        let (own, other) = (log.clone(), log.clone());
        turn(&mut running, |streams| {
            match name {
                "a" => streams.run(async move { own.done("a") }),
                _ => streams.run(async move {
                    poll_fn(|_| Poll::Ready(())).await;
                    other.done("b");
                }),
            }
            Poll::Pending
        })
        .await;
        assert_eq!(log.take(), [(name, false)]);
    }
}

/// Waits until `at`, as the layer waits for deadlines.
async fn late(at: Timestamp, name: &'static str, log: Log) {
    let mut timer = None;
    poll_fn(|cx| {
        poll_deadline(cx, at).unwrap_or_else(|| {
            let sleep = || Box::pin(tokio::time::sleep_until(clock::instant(at)));
            timer.get_or_insert_with(sleep).as_mut().poll(cx)
        })
    })
    .await;
    log.done(name);
}

#[tokio::test(start_paused = true)]
async fn deadlines_of_those_that_wait_have_one_timer() {
    let (mut running, log) = new();
    let start = clock::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    turn(&mut running, |streams| {
        for (name, seconds) in [("b", 20), ("a", 10), ("c", 30)] {
            streams.run(late(at(seconds), name, log.clone()));
        }
        Poll::Pending
    })
    .await;
    assert_eq!(running.timer.as_ref().map(|(at, _)| *at), Some(at(10)));
    // The connection's task is woken by it.
    for (name, next) in [("a", Some(20)), ("b", Some(30)), ("c", None)] {
        poll_fn(|cx| match running.poll(cx, |_| Poll::<()>::Pending) {
            _ if log.0.lock().is_empty() => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
        assert_eq!(log.take(), [(name, false)]);
        assert_eq!(running.timer.as_ref().map(|(at, _)| *at), next.map(at));
    }
    assert!(clock::now() < at(31));
}

#[tokio::test(start_paused = true)]
async fn the_timer_of_who_is_done_finds_who_is_left() {
    let (mut running, log) = new();
    let start = clock::now();
    let at = move |seconds| start + Duration::from_secs(seconds);
    let body = Arc::new(Notify::new());
    turn(&mut running, |streams| {
        let (own, body) = (log.clone(), Arc::clone(&body));
        streams.run(async move {
            let read = async {
                body.notified().await;
                own.clone().done("read");
            };
            tokio::select! { () = read => {} () = late(at(10), "late", own.clone()) => {} }
        });
        streams.run(late(at(20), "last", log.clone()));
        Poll::Pending
    })
    .await;
    turn(&mut running, |_| {
        body.notify_one();
        Poll::Pending
    })
    .await;
    assert_eq!(log.take(), [("read", false)]);
    tokio::time::sleep(Duration::from_secs(11)).await;
    turn(&mut running, |_| Poll::Pending).await;
    assert_eq!(log.take(), []);
    assert_eq!(running.timer.as_ref().map(|(at, _)| *at), Some(at(20)));
    tokio::time::sleep(Duration::from_secs(10)).await;
    turn(&mut running, |_| Poll::Pending).await;
    assert_eq!(log.take(), [("last", false)]);
    assert!(running.timer.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_is_polled_by_another_waker_has_a_timer_of_its_own() {
    let (mut running, log) = new();
    let at = clock::now() + Duration::from_secs(10);
    turn(&mut running, |streams| {
        let log = log.clone();
        streams.run(async move {
            // It polls only whom it was woken for.
            let mut all: futures_util::stream::FuturesUnordered<_> =
                [late(at, "a", log)].into_iter().collect();
            futures_util::StreamExt::next(&mut all).await;
        });
        Poll::Pending
    })
    .await;
    assert!(running.timer.is_none());
    tokio::time::sleep(Duration::from_secs(11)).await;
    turn(&mut running, |_| Poll::Pending).await;
    settled().await;
    assert_eq!(log.take(), [("a", true)]);
}

#[tokio::test(start_paused = true)]
async fn who_wakes_itself_goes_on_in_its_turn() {
    let (mut running, log) = new();
    turn(&mut running, |streams| {
        let log = log.clone();
        streams.run(async move {
            let mut polled = 0;
            poll_fn(|cx| {
                polled += 1;
                cx.waker().wake_by_ref();
                if polled < 2 { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            log.done("a");
        });
        Poll::Pending
    })
    .await;
    assert_eq!(log.take(), [("a", false)]);
    assert!(running.state.as_ref().unwrap().ready.is_empty());
}
