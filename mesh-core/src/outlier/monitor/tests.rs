use super::*;
use crate::outcome::Observation::{Code, ConnectFailure, Reset, Timeout};

const ALL: Rules = Rules {
    consecutive_5xx: 100,
    consecutive_gateway_failure: 100,
    consecutive_local_origin_failure: 100,
    split: false,
    counts_external: true,
    counts_local: false,
    count_cancelled_after: None,
};
const SPLIT: Rules = Rules { split: true, counts_local: true, ..ALL };

/// What a monitor holds: (5xx, gateway, local) in a row, (successes, total) of answers and of local
/// results.
type Held = ((u32, u32, u32), (u32, u32), (u32, u32));

#[track_caller]
fn check(rules: &Rules, observations: &[Observation], held: Held) {
    let monitor = Monitor::default();
    for observation in observations {
        assert!(!monitor.record(rules, *observation), "no threshold is near");
    }
    let streak = monitor.streak();
    let (external, local) = (monitor.take_external(), monitor.take_local());
    let found = (
        (streak.server_errors, streak.gateway_failures, monitor.local_streak()),
        (external.successes, external.total),
        (local.successes, local.total),
    );
    assert_eq!(found, held, "after {observations:?}");
}

/// Envoy: `putResultNoLocalExternalSplit`, and the router's `onUpstreamReset`, `onPerTryTimeout`.
#[test]
fn not_split_a_local_failure_is_a_status() {
    check(&ALL, &[], ((0, 0, 0), (0, 0), (0, 0)));
    check(&ALL, &[Code(200), Code(404)], ((0, 0, 0), (2, 2), (0, 0)));
    check(&ALL, &[Code(500), Code(503)], ((2, 1, 0), (0, 2), (0, 0)));
    check(&ALL, &[Timeout, ConnectFailure, Reset], ((3, 3, 0), (0, 3), (0, 0)));
    check(&ALL, &[Reset, Code(200), Code(500)], ((1, 0, 0), (1, 3), (0, 0)));
}

/// Envoy: `putResultWithLocalExternalSplit`.
#[test]
fn split_local_failures_are_counted_apart() {
    check(&SPLIT, &[Timeout, ConnectFailure, Reset], ((0, 0, 3), (0, 0), (0, 3)));
    // An answer is a local success, whatever it says.
    check(&SPLIT, &[Reset, Code(503)], ((1, 1, 0), (0, 1), (1, 2)));
    check(&SPLIT, &[Code(503), Reset, Code(200)], ((0, 0, 0), (1, 2), (2, 3)));
    // A local failure ends no streak of answers.
    check(&SPLIT, &[Code(503), Reset], ((1, 1, 1), (0, 1), (1, 2)));
}

/// gRFC A50: what nothing compares is not counted.
#[test]
fn what_is_not_watched_is_not_counted() {
    check(&Rules::OFF, &[Code(503), Reset, Code(200)], ((0, 0, 0), (0, 0), (0, 0)));
    let rules = Rules { counts_external: false, ..ALL };
    check(&rules, &[Code(200), Code(503)], ((1, 1, 0), (0, 0), (0, 0)));
    let rules = Rules { consecutive_local_origin_failure: 0, counts_local: false, ..SPLIT };
    check(&rules, &[Reset, Reset], ((0, 0, 0), (0, 0), (0, 0)));
}

#[test]
fn attention_is_asked_for_exactly_at_the_threshold() {
    let monitor = Monitor::default();
    let rules = Rules { consecutive_5xx: 3, consecutive_gateway_failure: 0, ..ALL };
    let asked: Vec<_> = (0..5).map(|_| monitor.record(&rules, Code(500))).collect();
    assert_eq!(asked, [false, false, true, false, false]);
    assert_eq!(monitor.take_triggers().kinds().collect::<Vec<_>>(), [OutlierKind::Consecutive5xx]);
    assert!(monitor.take_triggers().is_empty());
}

/// Envoy: `onConsecutiveErrorWorker` resets the counter that it was called for.
#[test]
fn a_decision_ends_its_own_streak_only() {
    let kinds = [
        (OutlierKind::Consecutive5xx, (0, 2, 1)),
        (OutlierKind::ConsecutiveGatewayFailure, (2, 0, 1)),
        (OutlierKind::ConsecutiveLocalOriginFailure, (2, 2, 0)),
        (OutlierKind::SuccessRate, (2, 2, 1)),
    ];
    for (kind, held) in kinds {
        let monitor = Monitor::default();
        for observation in [Code(503), Code(503), Reset] {
            monitor.record(&SPLIT, observation);
        }
        monitor.end_streak(kind);
        let streak = monitor.streak();
        let found = (streak.server_errors, streak.gateway_failures, monitor.local_streak());
        assert_eq!(found, held, "{kind:?}");
        // What is left of the other ones ends with a success.
        monitor.record(&SPLIT, Code(200));
        assert_eq!((monitor.streak(), monitor.local_streak()), (Streak::default(), 0));
    }
}

#[test]
fn a_cancelled_attempt_counts_when_it_ran_long_enough() {
    let second = Duration::from_secs(1);
    let rules = Rules { consecutive_5xx: 1, count_cancelled_after: Some(second), ..ALL };
    let monitor = Monitor::default();
    assert!(!monitor.record_cancelled(&rules, Duration::from_millis(999)));
    assert_eq!(monitor.take_external(), Calls::default());
    assert!(monitor.record_cancelled(&rules, second));
    assert_eq!(monitor.streak(), Streak { server_errors: 1, gateway_failures: 1 });
    let off = Rules { count_cancelled_after: None, ..rules };
    assert!(!Monitor::default().record_cancelled(&off, second));
}

/// Envoy: `unejectHost`.
#[test]
fn coming_back_ends_every_streak_and_trigger() {
    let monitor = Monitor::default();
    let rules = Rules { consecutive_5xx: 1, ..SPLIT };
    assert!(monitor.record(&rules, Code(503)));
    monitor.record(&rules, Reset);
    monitor.eject(Timestamp::from_millis(1), 1, 0);
    assert!(monitor.is_ejected());
    monitor.uneject(Timestamp::from_millis(2));
    assert!(!monitor.is_ejected());
    assert_eq!(monitor.ejections(), 1);
    assert_eq!((monitor.streak(), monitor.local_streak()), (Streak::default(), 0));
    assert!(monitor.take_triggers().is_empty());
    // The interval goes on.
    assert_eq!(monitor.take_external(), Calls { successes: 0, total: 1 });
}

#[test]
fn a_word_that_starts_again_is_still_a_rate() {
    let monitor = Monitor::default();
    let calls = Calls::one(false) * u64::from(u32::MAX) + 5;
    monitor.external.store(calls, Relaxed);
    monitor.record(&ALL, Code(500));
    let calls = monitor.take_external();
    assert!(calls.successes <= calls.total, "{calls:?}");
}
