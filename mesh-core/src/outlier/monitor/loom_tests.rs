//! Calls against the writer, in every order (`RUSTFLAGS="--cfg loom"`).

use super::*;
use loom::sync::Arc;
use loom::thread;

const RULES: Rules = Rules {
    consecutive_5xx: 2,
    consecutive_gateway_failure: 0,
    consecutive_local_origin_failure: 0,
    split: false,
    counts_external: true,
    counts_local: false,
    count_cancelled_after: None,
};

/// No call is lost or seen twice between two intervals, and no success without its call.
#[test]
fn loom_an_interval_is_taken_whole() {
    loom::model(|| {
        let monitor = Arc::new(Monitor::default());
        let calls = [200, 503].map(|code| {
            let monitor = Arc::clone(&monitor);
            thread::spawn(move || monitor.record(&RULES, Observation::Code(code)))
        });
        let first = monitor.take_external();
        let second = monitor.take_external();
        for call in calls {
            call.join().unwrap();
        }
        let last = monitor.take_external();
        for calls in [first, second, last] {
            assert!(calls.successes <= calls.total);
        }
        assert_eq!(first.total + second.total + last.total, 2);
        assert_eq!(first.successes + second.successes + last.successes, 1);
    });
}

/// Of two failures at once exactly one reaches the threshold, and the writer that hears of it finds
/// the trigger and the whole streak.
#[test]
fn loom_one_call_reaches_the_threshold() {
    loom::model(|| {
        let monitor = Arc::new(Monitor::default());
        let calls = [(); 2].map(|()| {
            let monitor = Arc::clone(&monitor);
            thread::spawn(move || monitor.record(&RULES, Observation::Code(500)))
        });
        let early = monitor.take_triggers();
        if !early.is_empty() {
            assert_eq!(monitor.streak().server_errors, 2);
        }
        let reached = calls.map(|call| call.join().unwrap());
        assert_eq!(reached.iter().filter(|reached| **reached).count(), 1);
        assert_ne!(early.is_empty(), monitor.take_triggers().is_empty(), "seen once");
    });
}

/// A decision on one streak leaves the other one whole, whatever is counted meanwhile.
#[test]
fn loom_ending_one_streak_keeps_the_other() {
    loom::model(|| {
        let monitor = Arc::new(Monitor::default());
        let call = {
            let monitor = Arc::clone(&monitor);
            thread::spawn(move || monitor.record(&RULES, Observation::Code(503)))
        };
        monitor.end_streak(OutlierKind::Consecutive5xx);
        call.join().unwrap();
        let streak = monitor.streak();
        assert_eq!(streak.gateway_failures, 1);
        assert!(streak.server_errors <= 1);
    });
}
