//! What is turned is a counter here; the frames of a real connection are in `connect/tests`.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::Wake;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn half_of_what_is_in_flight_is_let_out_within_bounds() {
    for (active, expected) in
        [(1, 8), (8, 8), (16, 8), (17, 9), (64, 32), (128, 64), (129, 64), (u32::MAX, 64)]
    {
        assert_eq!(enough(active), expected, "{active}");
    }
}

/// What is known of a connection from outside.
#[derive(Default)]
struct Seen {
    turns: AtomicUsize,
    ends: AtomicBool,
    is_deaf: AtomicBool,
    is_dropped: AtomicBool,
    woken: AtomicUsize,
}

impl Wake for Seen {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
    }
}

struct Counted {
    seen: Arc<Seen>,
    /// Nobody else turns it.
    is_turned: AtomicBool,
}

impl Frames for Counted {
    fn turn(&mut self, _: &mut Context<'_>) -> Option<Ended> {
        assert!(!self.is_turned.swap(true, Ordering::SeqCst));
        self.seen.turns.fetch_add(1, Ordering::SeqCst);
        self.is_turned.store(false, Ordering::SeqCst);
        self.seen.ends.load(Ordering::SeqCst).then_some(Ok(()))
    }

    fn limit(&self) -> Option<usize> {
        (!self.seen.is_deaf.load(Ordering::SeqCst)).then_some(100)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.seen.is_dropped.store(true, Ordering::SeqCst);
    }
}

fn new() -> (Wire, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let counted = Counted { seen: Arc::clone(&seen), is_turned: AtomicBool::new(false) };
    (Wire::of(Box::new(counted)), seen)
}

fn task(wire: &Wire, seen: &Arc<Seen>) -> Turned {
    let waker = Waker::from(Arc::clone(seen));
    wire.turn(&mut Context::from_waker(&waker))
}

#[test]
fn before_the_tasks_first_turn_there_is_no_other() {
    let (wire, seen) = new();
    (0..100).for_each(|_| wire.queued(8));
    assert_eq!(seen.turns.load(Ordering::SeqCst), 0);
    assert!(matches!(task(&wire, &seen), Turned::On { .. }));
    (0..8).for_each(|_| wire.queued(8));
    assert_eq!(seen.turns.load(Ordering::SeqCst), 2);
}

#[test]
fn a_turn_of_the_task_begins_the_count_anew() {
    let (wire, seen) = new();
    for _ in 0..10 {
        (0..7).for_each(|_| wire.queued(7));
        assert!(matches!(task(&wire, &seen), Turned::On { limit: 100 }));
    }
    assert_eq!(seen.turns.load(Ordering::SeqCst), 10, "none of them was a call's");
    (0..8).for_each(|_| wire.queued(8));
    assert_eq!(seen.turns.load(Ordering::SeqCst), 11);
    assert_eq!(seen.woken.load(Ordering::SeqCst), 0);
}

#[test]
fn what_ends_in_a_calls_turn_its_task_is_told() {
    let (wire, seen) = new();
    assert!(matches!(task(&wire, &seen), Turned::On { .. }));
    seen.ends.store(true, Ordering::SeqCst);
    (0..8).for_each(|_| wire.queued(8));
    assert_eq!(seen.woken.load(Ordering::SeqCst), 1);
    // It is not turned after its end.
    (0..8).for_each(|_| wire.queued(8));
    assert_eq!(seen.turns.load(Ordering::SeqCst), 2);
    assert!(matches!(task(&wire, &seen), Turned::Ended(Ok(()))));
    assert_eq!(seen.turns.load(Ordering::SeqCst), 2);
    // It is blamed first: closing it tells why.
    assert!(!seen.is_dropped.load(Ordering::SeqCst));
    wire.close();
    assert!(seen.is_dropped.load(Ordering::SeqCst));
}

#[test]
fn what_breaks_in_a_calls_turn_its_task_is_told() {
    let (wire, seen) = new();
    assert!(matches!(task(&wire, &seen), Turned::On { .. }));
    seen.is_deaf.store(true, Ordering::SeqCst);
    (0..8).for_each(|_| wire.queued(8));
    assert_eq!(seen.woken.load(Ordering::SeqCst), 1);
    assert!(matches!(task(&wire, &seen), Turned::Deaf));
    seen.ends.store(true, Ordering::SeqCst);
    assert!(matches!(task(&wire, &seen), Turned::Ended(Ok(()))));
}

#[test]
fn who_finds_the_turn_taken_leaves_a_word() {
    let (wire, seen) = new();
    assert!(matches!(task(&wire, &seen), Turned::On { .. }));
    let turn = wire.turn.lock();
    assert!(matches!(task(&wire, &seen), Turned::Elsewhere));
    // A call leaves it at that: its frames are in whoever's next turn.
    (0..8).for_each(|_| wire.queued(8));
    assert_eq!(seen.turns.load(Ordering::SeqCst), 1);
    drop(turn);
    (0..8).for_each(|_| wire.queued(8));
    assert_eq!(seen.woken.load(Ordering::SeqCst), 1, "after the next call's turn");
    let turn = wire.turn.lock();
    wire.close();
    assert!(!seen.is_dropped.load(Ordering::SeqCst));
    drop(turn);
    (0..8).for_each(|_| wire.queued(8));
    assert!(seen.is_dropped.load(Ordering::SeqCst), "by who had the turn");
}

/// Calls on several threads, and the task on another: it is woken for each turn that it missed, and in the end the
/// connection is gone.
#[test]
fn no_turn_is_lost_between_threads() {
    for _ in 0..50 {
        let (wire, seen) = new();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..2_000).for_each(|_| wire.queued(8)));
            }
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let before = seen.woken.load(Ordering::SeqCst);
                    if matches!(task(&wire, &seen), Turned::Elsewhere) {
                        let began = Instant::now();
                        while seen.woken.load(Ordering::SeqCst) == before {
                            assert!(began.elapsed() < Duration::from_secs(10), "never woken");
                            thread::yield_now();
                        }
                    }
                }
            });
        });
        thread::scope(|scope| {
            scope.spawn(|| (0..200).for_each(|_| wire.queued(8)));
            scope.spawn(|| wire.close());
        });
        assert!(seen.is_dropped.load(Ordering::SeqCst));
    }
}
