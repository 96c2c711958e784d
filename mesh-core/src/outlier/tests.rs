use super::fleet::{Fleet, Members};
use super::*;
use crate::event::{Evidence, OutlierKind};
use crate::model::outlier_detection::{CapRule, FailurePercentage, SuccessRate};
use crate::outcome::Observation;

/// Consecutive 5xx at 5 only, half of the cluster may go, 10 s, 30 s.
fn config(edit: impl FnOnce(&mut OutlierDetection)) -> OutlierDetection {
    let mut config = OutlierDetection {
        max_ejection_percent: 50,
        consecutive_gateway_failure: None,
        success_rate: None,
        local_origin_success_rate: None,
        ..OutlierDetection::default()
    };
    edit(&mut config);
    config
}

#[test]
fn a_full_streak_ejects_at_once() {
    let mut fleet = Fleet::new(4, &config(|_| {}));
    fleet.answer(1, 503, 4);
    assert_eq!(fleet.ejected(), [0u32; 0]);
    fleet.answer(1, 503, 1);
    assert_eq!(fleet.ejected(), [1]);
    assert_eq!(fleet.codes(), ["outlier_ejected"]);
    assert_eq!(fleet.detector.counts().enforced(OutlierKind::Consecutive5xx), 1);
    // Who is out asks again and is left alone.
    fleet.answer(1, 503, 20);
    fleet.advance(5_000);
    assert_eq!(fleet.codes(), [""; 0]);
    assert_eq!(fleet.detector.counts().detected(OutlierKind::Consecutive5xx), 1);
}

/// Envoy: five 503 fill two streaks; the gateway one is decided first and by default not enforced.
#[test]
fn one_answer_can_fill_two_streaks() {
    let mut fleet = Fleet::new(4, &config(|c| c.consecutive_gateway_failure = Some(5)));
    fleet.answer(0, 503, 5);
    assert_eq!(fleet.codes(), ["outlier_not_enforced", "outlier_ejected"]);
    let counts = *fleet.detector.counts();
    assert_eq!(counts.detected(OutlierKind::ConsecutiveGatewayFailure), 1);
    assert_eq!(counts.enforced(OutlierKind::ConsecutiveGatewayFailure), 0);
    // Enforced, the first takes it out and the second finds nobody.
    let mut fleet = Fleet::new(
        4,
        &config(|c| {
            c.consecutive_gateway_failure = Some(5);
            c.enforcing_consecutive_gateway_failure = 100;
        }),
    );
    fleet.answer(0, 503, 5);
    assert_eq!(fleet.codes(), ["outlier_ejected"]);
    assert_eq!(fleet.detector.counts().detected(OutlierKind::Consecutive5xx), 0);
}

/// Envoy: the counter starts anew whether or not the ejection was enforced.
#[test]
fn a_streak_that_did_not_eject_starts_anew() {
    let mut dry = Fleet::new(4, &config(|c| c.enforcing_consecutive_5xx = 0));
    let mut capped = Fleet::new(4, &config(|c| c.max_ejection_percent = 10));
    for (fleet, code) in
        [(&mut dry, "outlier_not_enforced"), (&mut capped, "outlier_refused_by_cap")]
    {
        for _ in 0..3 {
            fleet.answer(2, 500, 5);
            fleet.advance(10);
        }
        assert_eq!(fleet.codes(), [code; 3]);
        assert_eq!(fleet.ejected(), [0u32; 0]);
        assert_eq!(fleet.detector.counts().detected(OutlierKind::Consecutive5xx), 3);
    }
    assert_eq!(dry.detector.counts().refused(), 0);
    assert_eq!(capped.detector.counts().refused(), 3);
}

/// A burst is looked at once per millisecond; nothing of it is lost.
#[test]
fn attention_is_spaced() {
    let mut fleet = Fleet::new(8, &config(|_| {}));
    fleet.answer(0, 500, 5);
    fleet.answer(1, 500, 5);
    assert_eq!(fleet.ejected(), [0]);
    let due = fleet.now + Duration::from_millis(1);
    assert_eq!(fleet.detector.poll_timeout(), Some((due, Detector::ATTENTION)));
    fleet.advance(1);
    assert_eq!(fleet.ejected(), [0, 1]);
    assert!(matches!(fleet.detector.poll_timeout(), Some((_, Detector::SWEEP))));

    let mut attention = Attention { pending: true, ..Attention::default() };
    assert!(attention.take(Timestamp::ZERO, 100_000));
    assert_eq!(attention.quiet_until, Timestamp::from_millis(100));
    attention.pending = true;
    assert!(!attention.take(Timestamp::from_millis(99), 100_000));
    assert!(attention.take(Timestamp::from_millis(100), 100_000));
    assert!(!attention.take(Timestamp::from_millis(300), 100_000), "nothing is pending");
}

#[test]
fn who_served_is_back_at_the_first_sweep_from_the_end_on() {
    let mut fleet = Fleet::new(4, &config(|_| {}));
    fleet.advance(10_000);
    fleet.answer(0, 500, 5);
    // Out since the sweep at 10 s, for 30 s (Envoy: `checkHostForUneject`, not before the end).
    fleet.advance(29_999);
    assert_eq!(fleet.ejected(), [0]);
    fleet.advance(1);
    assert_eq!(fleet.ejected(), [0u32; 0]);
    assert_eq!(fleet.codes(), ["outlier_ejected", "outlier_unejected"]);
    assert_eq!(fleet.detector.counts().unejected(), 1);
    // It has to fail as often as before.
    fleet.answer(0, 500, 4);
    assert_eq!(fleet.ejected(), [0u32; 0]);
    fleet.answer(0, 500, 1);
    assert_eq!(fleet.ejected(), [0]);
}

#[test]
fn jitter_prolongs_an_ejection() {
    let mut fleet =
        Fleet::new(4, &config(|c| c.max_ejection_time_jitter = Duration::from_secs(60)));
    fleet.answer(0, 500, 5);
    let jitter = fleet.members.monitor(0).jitter();
    assert!(jitter > Duration::from_secs(20), "drawn from seed 1: {jitter:?}");
    fleet.advance(50_000);
    assert_eq!(fleet.ejected(), [0]);
    fleet.advance(jitter.as_millis() as u64);
    assert_eq!(fleet.ejected(), [0u32; 0]);
}

#[test]
fn times_without_end_are_no_overflow() {
    let mut fleet = Fleet::new(
        4,
        &config(|c| {
            c.base_ejection_time = Duration::MAX;
            c.max_ejection_time = Duration::MAX;
            c.max_ejection_time_jitter = Duration::MAX;
        }),
    );
    fleet.answer(0, 500, 5);
    fleet.advance(100_000_000);
    assert_eq!(fleet.ejected(), [0]);
    fleet.set_config(Some(&config(|c| c.interval = Duration::MAX)));
    assert_eq!(fleet.detector.poll_timeout(), Some((Timestamp::MAX, Detector::SWEEP)));
}

/// Envoy: the worker posts, the main thread decides, and does not look at the counter again.
#[test]
fn a_full_streak_is_decided_though_a_success_ended_it() {
    let mut fleet = Fleet::new(4, &config(|_| {}));
    let rules = fleet.rules();
    for code in [500, 500, 500, 500, 500, 200] {
        fleet.members.monitor(0).record(&rules, Observation::Code(code));
    }
    let turn = fleet.detector.handle_attention(&fleet.members, fleet.now, &mut fleet.random);
    assert_eq!(turn.changed, [0]);
    let [Event::Outlier { evidence, .. }] = &turn.events[..] else {
        panic!("one event, not {turn:?}");
    };
    assert_eq!(*evidence, Evidence::Consecutive { failures: 5, threshold: 5 });
}

/// Envoy: `ejectTimeBackoff`; gRFC A50, "Outlier Detection Behavior", step 5.
#[test]
fn ejections_get_longer_and_good_time_shortens_them() {
    let mut fleet = Fleet::new(4, &config(|_| {}));
    let multiplier = |fleet: &Fleet| fleet.members.monitor(0).multiplier();
    for nth in 1..=3 {
        fleet.advance(1);
        fleet.answer(0, 500, 5);
        assert_eq!(multiplier(&fleet), nth);
        fleet.advance(u64::from(nth) * 30_000);
        assert_eq!(fleet.ejected(), [0], "{nth} times 30 s");
        fleet.advance(9_999);
        assert_eq!(fleet.ejected(), [0u32; 0]);
        assert_eq!(multiplier(&fleet), nth, "the sweep that brings it back takes nothing off");
    }
    for left in [2, 1, 0, 0] {
        fleet.advance(10_000);
        assert_eq!(multiplier(&fleet), left);
    }
    assert_eq!(fleet.members.monitor(0).ejections(), 3);
}

fn one_bad_of_five(fleet: &mut Fleet) {
    for index in 0..5 {
        fleet.answer(index, 200, if index == 2 { 50 } else { 100 });
    }
    fleet.answer(2, 500, 50);
}

#[test]
fn success_rates_are_compared_over_one_interval() {
    let config = config(|c| {
        c.consecutive_5xx = None;
        c.success_rate = Some(SuccessRate { stdev_factor: 1000, ..SuccessRate::default() });
    });
    let mut fleet = Fleet::new(5, &config);
    one_bad_of_five(&mut fleet);
    assert_eq!(fleet.ejected(), [0u32; 0]);
    fleet.advance(10_000);
    assert_eq!(fleet.ejected(), [2]);
    assert_eq!(fleet.detector.counts().enforced(OutlierKind::SuccessRate), 1);
    // Four are left of the five that are needed, whatever the one that is out does.
    fleet.answer(0, 500, 1_000);
    one_bad_of_five(&mut fleet);
    fleet.advance(10_000);
    assert_eq!(fleet.ejected(), [2]);

    // The same calls in two intervals are two halves, each too few.
    let mut fleet = Fleet::new(5, &config);
    for _ in 0..2 {
        for index in 0..5 {
            fleet.answer(index, if index == 2 { 500 } else { 200 }, 99);
        }
        fleet.advance(10_000);
    }
    assert_eq!(fleet.codes(), [""; 0]);
}

#[test]
fn what_was_counted_while_out_is_not_compared_later() {
    let config = config(|c| {
        c.failure_percentage =
            Some(FailurePercentage { enforcing: 100, minimum_hosts: 1, ..Default::default() });
    });
    let mut fleet = Fleet::new(4, &config);
    fleet.answer(0, 500, 5);
    assert_eq!(fleet.ejected(), [0]);
    fleet.answer(0, 500, 1000);
    fleet.advance(40_000);
    assert_eq!(fleet.ejected(), [0u32; 0], "the failures were of the first interval");
    assert_eq!(fleet.codes(), ["outlier_ejected", "outlier_unejected"]);
}

/// What it did in its last interval out (panic sent it calls) is compared in the sweep that brings
/// it back, as in Envoy: `onIntervalTimer`.
#[test]
fn who_comes_back_may_go_again_in_the_same_sweep() {
    let config = config(|c| {
        c.failure_percentage =
            Some(FailurePercentage { enforcing: 100, minimum_hosts: 1, ..Default::default() });
    });
    let mut fleet = Fleet::new(4, &config);
    fleet.answer(0, 500, 5);
    fleet.advance(35_000);
    fleet.answer(0, 500, 50);
    fleet.advance(5_000);
    assert_eq!(fleet.codes(), ["outlier_ejected", "outlier_unejected", "outlier_ejected"]);
    assert_eq!(fleet.members.monitor(0).multiplier(), 2);
}

#[test]
fn the_cap_is_spent_on_the_worst() {
    let config = config(|c| {
        c.consecutive_5xx = None;
        c.max_ejection_percent = 25;
        c.failure_percentage = Some(FailurePercentage {
            threshold: 50,
            enforcing: 100,
            ..FailurePercentage::default()
        });
    });
    let mut fleet = Fleet::new(8, &config);
    for (index, failures) in [50, 60, 70, 80, 0, 0, 0, 0].into_iter().enumerate() {
        fleet.answer(index as u32, 500, failures);
        fleet.answer(index as u32, 200, 100 - failures);
    }
    fleet.advance(10_000);
    assert_eq!(fleet.ejected(), [2, 3]);
    let counts = fleet.detector.counts();
    assert_eq!(counts.detected(OutlierKind::FailurePercentage), 4);
    assert_eq!((counts.enforced(OutlierKind::FailurePercentage), counts.refused()), (2, 2));
}

#[test]
fn split_local_failures_have_their_own_kinds() {
    let config = config(|c| {
        c.split_external_local_origin_errors = true;
        c.local_origin_success_rate = Some(SuccessRate::default());
        c.local_origin_failure_percentage = Some(FailurePercentage::default());
    });
    let mut fleet = Fleet::new(5, &config);
    fleet.observe(0, Observation::ConnectFailure, 5);
    assert_eq!(fleet.ejected(), [0]);
    let counts = *fleet.detector.counts();
    assert_eq!(counts.enforced(OutlierKind::ConsecutiveLocalOriginFailure), 1);
    assert_eq!(counts.detected(OutlierKind::Consecutive5xx), 0);

    let mut fleet = Fleet::new(10, &config);
    for index in 0..10 {
        // Every answer is a 404 or a 500, and the cluster is fine but for one that times out.
        let fine = if index == 7 { 10 } else { 100 };
        for n in 0..100 {
            let observation = match n {
                n if n >= fine && n % 4 != 0 => Observation::Timeout,
                n if n % 4 == 0 => Observation::Code(404),
                _ => Observation::Code(500),
            };
            fleet.observe(index, observation, 1);
        }
    }
    fleet.advance(10_000);
    assert_eq!(fleet.ejected(), [7]);
    let counts = *fleet.detector.counts();
    assert_eq!(counts.enforced(OutlierKind::LocalOriginSuccessRate), 1);
    assert_eq!(counts.detected(OutlierKind::LocalOriginFailurePercentage), 0, "67% is not 85%");
}

#[test]
fn one_that_a_rule_took_out_is_not_found_by_the_next() {
    let config = config(|c| {
        c.consecutive_5xx = None;
        c.success_rate = Some(SuccessRate::default());
        c.failure_percentage = Some(FailurePercentage {
            threshold: 50,
            enforcing: 100,
            ..FailurePercentage::default()
        });
    });
    let mut fleet = Fleet::new(5, &config);
    one_bad_of_five(&mut fleet);
    fleet.advance(10_000);
    assert_eq!(fleet.codes(), ["outlier_ejected"]);
    assert_eq!(fleet.detector.counts().detected(OutlierKind::FailurePercentage), 0);
}

#[test]
fn all_but_the_last_go_and_at_100_percent_all() {
    let mut fleet = Fleet::new(3, &config(|c| c.max_ejection_percent = 99));
    let mut all = Fleet::new(3, &config(|c| c.max_ejection_percent = 100));
    let mut grpc = Fleet::new(
        3,
        &config(|c| {
            c.max_ejection_percent = 99;
            c.cap_rule = CapRule::Grpc;
        }),
    );
    for fleet in [&mut fleet, &mut all, &mut grpc] {
        for index in 0..3 {
            fleet.answer(index, 500, 5);
            fleet.advance(2);
        }
    }
    let codes = fleet.codes();
    assert_eq!(codes, ["outlier_ejected", "outlier_ejected", "outlier_refused_by_cap"]);
    let codes = grpc.codes();
    assert_eq!(codes, ["outlier_ejected", "outlier_ejected", "outlier_refused_as_last"]);
    let codes = all.codes();
    assert_eq!(codes, ["outlier_ejected", "outlier_ejected", "outlier_ejected_none_left"]);
}

#[test]
fn switched_off_everybody_is_back_and_forgiven() {
    let mut fleet = Fleet::new(4, &config(|_| {}));
    fleet.answer(3, 500, 5);
    fleet.advance(2);
    let mut nothing = config(|c| c.consecutive_5xx = None);
    nothing.consecutive_local_origin_failure = Some(5);
    fleet.set_config(Some(&nothing));
    assert_eq!(fleet.ejected(), [0u32; 0]);
    assert_eq!(fleet.codes(), ["outlier_ejected", "outlier_unejected"]);
    assert_eq!(fleet.members.monitor(3).multiplier(), 0);
    assert_eq!(fleet.detector.poll_timeout(), None);
    assert_eq!(fleet.rules(), Rules::OFF);
    let turn = fleet.detector.handle_timeout(&fleet.members, fleet.now, &mut fleet.random);
    assert_eq!(turn, Turn::default());
}

/// gRFC A50: the timer starts when a configuration first asks for it, with the counters reset.
#[test]
fn switched_on_counting_begins_anew() {
    let mut fleet = Fleet::new(4, &config(|_| {}));
    fleet.answer(0, 500, 4);
    fleet.set_config(None);
    fleet.advance(3_000);
    fleet.set_config(Some(&config(|_| {})));
    let due = fleet.now + Duration::from_secs(10);
    assert_eq!(fleet.detector.poll_timeout(), Some((due, Detector::SWEEP)));
    fleet.answer(0, 500, 4);
    assert_eq!(fleet.ejected(), [0u32; 0]);
    fleet.answer(0, 500, 1);
    assert_eq!(fleet.ejected(), [0]);
}

/// gRFC A50: "the configured interval minus the difference between the current time and the
/// previous start timestamp, or 0".
#[test]
fn a_new_interval_keeps_the_phase() {
    let mut fleet = Fleet::new(4, &config(|_| {}));
    let start = fleet.now;
    let due = |fleet: &Fleet| fleet.detector.poll_timeout().map(|(due, _)| due);
    fleet.advance(4_000);
    fleet.set_config(Some(&config(|c| c.interval = Duration::from_secs(20))));
    assert_eq!(due(&fleet), Some(start + Duration::from_secs(20)));
    fleet.set_config(Some(&config(|c| c.interval = Duration::from_secs(1))));
    assert_eq!(due(&fleet), Some(start + Duration::from_secs(1)), "due already");
    fleet.advance(0);
    assert_eq!(due(&fleet), Some(start + Duration::from_secs(5)));
    // No interval keeps the writer busy.
    fleet.set_config(Some(&config(|c| c.interval = Duration::ZERO)));
    assert_eq!(due(&fleet), Some(start + Duration::from_millis(4_001)));
}

#[test]
fn an_ejection_that_runs_gets_the_new_times() {
    let mut fleet = Fleet::new(4, &config(|_| {}));
    fleet.answer(0, 500, 5);
    fleet.set_config(Some(&config(|c| c.base_ejection_time = Duration::from_secs(1))));
    assert_eq!(fleet.ejected(), [0]);
    fleet.advance(10_000);
    assert_eq!(fleet.ejected(), [0u32; 0]);
}

#[test]
fn a_kind_that_is_not_watched_any_more_decides_nothing() {
    let mut fleet = Fleet::new(4, &config(|_| {}));
    let rules = fleet.rules();
    let other = config(|c| {
        c.consecutive_5xx = None;
        c.consecutive_gateway_failure = Some(100);
    });
    fleet.set_config(Some(&other));
    // A call that still has the old rules.
    let reached = (0..5)
        .map(|_| fleet.members.monitor(0).record(&rules, Observation::Code(500)))
        .filter(|reached| *reached);
    assert_eq!(reached.count(), 1);
    let turn = fleet.detector.handle_attention(&fleet.members, fleet.now, &mut fleet.random);
    assert_eq!(turn, Turn::default());
}

/// The ejection hangs on the endpoint, the cap is counted over those that are there.
#[test]
fn endpoints_come_and_go_between_turns() {
    let mut fleet = Fleet::new(4, &config(|_| {}));
    fleet.answer(0, 500, 5);
    fleet.advance(2);
    fleet.answer(1, 500, 5);
    fleet.advance(2);
    fleet.answer(2, 500, 5);
    fleet.advance(2);
    assert_eq!(fleet.ejected(), [0, 1]);
    assert_eq!(fleet.detector.counts().refused(), 1);
    fleet.members.remove(0);
    fleet.answer(1, 500, 5);
    fleet.advance(2);
    assert_eq!(fleet.ejected(), [0], "one of three is out, and half is the limit");
    fleet.members.remove(0);
    fleet.answer(0, 500, 5);
    fleet.advance(2);
    assert_eq!(fleet.ejected(), [0], "one of two");
    fleet.members = Members::default();
    fleet.advance(60_000);
}

#[test]
fn off_counts_nothing_and_asks_for_nothing() {
    let detector = Detector::new(None, Timestamp::ZERO);
    assert_eq!(detector.rules(), Rules::OFF);
    assert_eq!(detector.poll_timeout(), None);
    assert!(!Turn::default().has_changes());
}

#[test]
fn a_lowered_threshold_finds_streaks_that_are_above_it_already() {
    let mut fleet = Fleet::new(4, &config(|c| c.consecutive_5xx = Some(50)));
    fleet.answer(0, 500, 20);
    fleet.answer(1, 500, 3);
    let mut lowered = config(|_| {});
    fleet.set_config(Some(&lowered));
    assert_eq!(fleet.detector.poll_timeout(), Some((fleet.now, Detector::ATTENTION)));
    fleet.advance(0);
    assert_eq!(fleet.ejected(), [0]);
    // The same again asks for nothing.
    lowered.interval = Duration::from_secs(7);
    fleet.set_config(Some(&lowered));
    assert!(fleet.detector.poll_timeout().is_some_and(|(_, why)| why == Detector::SWEEP));
}

#[test]
fn the_one_that_has_been_out_for_the_longest_is_kept() {
    let mut fleet = Fleet::new(4, &config(|c| c.max_ejection_percent = 99));
    for index in [2, 0, 1] {
        fleet.answer(index, 500, 5);
        fleet.advance(10);
    }
    assert_eq!(fleet.ejected(), [0, 1, 2]);
    fleet.members.unavailable = vec![2, 3];
    let turn = fleet.detector.keep_one(&fleet.members, fleet.now);
    assert_eq!(turn.changed, [0]);
    assert_eq!(fleet.ejected(), [1, 2]);
    let Event::Unejected { cause: Unejection::LastEndpoint, .. } = &turn.events[0] else {
        panic!("{turn:?}");
    };
}
