use super::*;
use proptest::prelude::*;

#[track_caller]
fn check(codes: &[u16], server_errors: u32, gateway_failures: u32) {
    let streak = codes.iter().fold(Streak::default(), |streak, code| streak.after(*code));
    assert_eq!(streak, Streak { server_errors, gateway_failures }, "after {codes:?}");
}

/// Envoy: `putHttpResponseCode`, `CodeUtility::is5xx`, `CodeUtility::isGatewayError`.
#[test]
fn a_streak_grows_and_ends_by_the_status() {
    check(&[], 0, 0);
    check(&[500], 1, 0);
    check(&[502], 1, 1);
    check(&[503], 1, 1);
    check(&[504], 1, 1);
    check(&[501, 505, 599], 3, 0);
    // Another 5xx ends the gateway streak, not the other.
    check(&[503, 503, 500], 3, 0);
    check(&[503, 500, 504], 3, 1);
    for fine in [100, 200, 302, 404, 429, 499, 600, 999] {
        check(&[503, 503, fine], 0, 0);
        check(&[503, fine, 503], 1, 1);
    }
}

#[test]
fn both_counters_stop_at_the_end_of_their_range() {
    let full = Streak { server_errors: u32::MAX, gateway_failures: u32::MAX };
    assert_eq!(full.after(503), full);
    assert_eq!(Streak::from_word(full.to_word()), full);
}

/// Envoy: a counter triggers when it *equals* its threshold after the increase.
#[test]
fn a_threshold_is_reached_once() {
    let rules = Rules { consecutive_5xx: 3, consecutive_gateway_failure: 2, ..Rules::OFF };
    let reached = |before: Streak, code| {
        Triggers::reached(&rules, before, before.after(code)).kinds().collect::<Vec<_>>()
    };
    let at = |server_errors, gateway_failures| Streak { server_errors, gateway_failures };
    assert_eq!(reached(at(0, 0), 503), []);
    assert_eq!(reached(at(1, 1), 503), [OutlierKind::ConsecutiveGatewayFailure]);
    assert_eq!(reached(at(2, 0), 500), [OutlierKind::Consecutive5xx]);
    assert_eq!(
        reached(at(2, 1), 503),
        [OutlierKind::ConsecutiveGatewayFailure, OutlierKind::Consecutive5xx]
    );
    assert_eq!(reached(at(3, 2), 503), []);
    // The end of the range stays at the threshold: still once.
    let rules = Rules { consecutive_5xx: u32::MAX, ..Rules::OFF };
    assert!(Triggers::reached(&rules, at(u32::MAX, 0), at(u32::MAX, 0)).is_empty());
    assert!(Triggers::reached(&Rules::OFF, at(0, 0), at(0, 0)).is_empty());
}

#[test]
fn local_failures_reach_their_own_threshold() {
    let rules = Rules { consecutive_local_origin_failure: 2, ..Rules::OFF };
    assert!(Triggers::reached_local(&rules, 1).is_empty());
    let kinds: Vec<_> = Triggers::reached_local(&rules, 2).kinds().collect();
    assert_eq!(kinds, [OutlierKind::ConsecutiveLocalOriginFailure]);
    assert!(Triggers::reached_local(&rules, 3).is_empty());
    assert!(Triggers::reached_local(&Rules::OFF, 0).is_empty());
}

proptest! {
    /// The streak is what a look back over the history finds.
    #[test]
    fn a_streak_is_the_tail_of_its_history(
        codes in prop::collection::vec(prop::sample::select(vec![200, 404, 500, 502, 503, 504]), 0..40)
    ) {
        let streak = codes.iter().fold(Streak::default(), |streak, code| streak.after(*code));
        let tail = |good: fn(&u16) -> bool| codes.iter().rev().take_while(|code| good(code)).count();
        prop_assert_eq!(streak.server_errors as usize, tail(|code| *code >= 500));
        prop_assert_eq!(streak.gateway_failures as usize, tail(|code| *code > 500));
        prop_assert_eq!(Streak::from_word(streak.to_word()), streak);
    }
}
