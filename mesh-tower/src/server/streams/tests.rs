//! A connection is a closure here, and a request says where it was run.

use super::*;
use std::future::poll_fn;
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
                let log = log.clone();
                streams.execute(async move { log.done(name) });
            }
            Poll::Pending
        })
        .await;
        assert_eq!(log.take(), [("a", false), ("b", false)]);
    }
    assert_eq!(running.streams.0.state.lock().places.len(), 2, "memory is used again");
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
        streams.execute(request(log.clone(), Arc::clone(&body)));
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
        streams.execute(async move {
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

#[tokio::test(start_paused = true)]
async fn the_connections_task_is_woken_for_it() {
    let (running, log) = new();
    let answer = Arc::new(Notify::new());
    let (own, waits_for) = (log.clone(), Arc::clone(&answer));
    let streams = running.streams.clone();
    let mut running = running;
    let mut is_new = true;
    let connection = tokio::spawn(poll_fn(move |cx| {
        running.poll(cx, |_| {
            if mem::take(&mut is_new) {
                let (own, waits_for) = (own.clone(), Arc::clone(&waits_for));
                streams.execute(async move {
                    waits_for.notified().await;
                    own.done("a");
                });
            }
            Poll::<()>::Pending
        })
    }));
    settled().await;
    answer.notify_one();
    settled().await;
    assert_eq!(log.take(), [("a", true)]);
    connection.abort();
}

#[tokio::test(start_paused = true)]
async fn who_is_polled_in_vain_too_often_gets_a_task() {
    let (mut running, log) = new();
    let own = log.clone();
    turn(&mut running, |streams| {
        streams.execute(async move {
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
            streams.execute(async { panic!("as services do") });
            streams.execute(async move { own.done("b") });
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
        streams.execute(async move {
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
    let shared = Arc::downgrade(&running.streams.0);
    turn(&mut running, |streams| {
        // As hyper's requests do, it holds the executor.
        let streams = streams.clone();
        streams.clone().execute(async move {
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
    running.streams.execute(async move { own.done("a") });
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
                "a" => streams.execute(async move { own.done("a") }),
                _ => streams.execute(async move {
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

#[test]
fn who_needs_tasks_is_found_out() {
    let turn = |polled, done, tasks, micros| {
        let time = Duration::from_micros(micros);
        Turn { polled, done, tasks, time }
    };
    let mut odds = Odds::default();
    odds.learn(turn(64, 64, 0, 100));
    assert_eq!(odds, Odds { score: Odds::BEST, tasks: 0, before: 0 });
    // One that waits among many that do not is no reason.
    odds.learn(turn(4, 3, 1, 4));
    odds.learn(turn(0, 0, 1, 4));
    assert_eq!(odds.tasks, 0);
    // Nor is one that was woken after its end.
    odds.learn(turn(0, 0, 0, 4));
    assert_eq!(odds.tasks, 0);
    // All that wait are.
    odds.learn(turn(0, 0, 9, 9));
    assert_eq!((odds.tasks, odds.before), (FEW, FEW));
    for _ in 0..FEW {
        assert!(odds.take_task());
    }
    assert!(!odds.take_task());
    odds.learn(turn(0, 0, 1, 1));
    assert_eq!(odds.tasks, 2 * FEW);
    // What works again is forgiven.
    odds.tasks = 0;
    odds.learn(turn(4, 4, 0, 4));
    assert_eq!(odds.before, 0);
    // Slow ones need tasks, though they wait for nothing.
    odds.learn(turn(4, 4, 0, 4 * 26));
    assert_eq!(odds.tasks, FEW);
    for _ in 0..20 {
        odds.learn(turn(0, 0, 9, 9));
    }
    assert_eq!(odds.tasks, MANY);
}
