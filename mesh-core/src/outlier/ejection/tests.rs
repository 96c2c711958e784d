use super::super::fleet::Members;
use super::*;
use crate::random::SplitMix64;

fn config(edit: impl FnOnce(&mut OutlierDetection)) -> OutlierDetection {
    let mut config = OutlierDetection::default();
    edit(&mut config);
    config
}

/// Trap 2 of the references: Envoy reads the share after the ejection, gRPC before it.
#[test]
fn the_cap_is_read_in_two_ways() {
    use CapRule::{Envoy, Grpc};
    let table = [
        // rule, percent, total, how many may be out
        (Envoy, 10, 9, 0),
        (Envoy, 10, 10, 1),
        (Envoy, 10, 19, 1),
        (Envoy, 10, 20, 2),
        (Envoy, 50, 3, 1),
        (Envoy, 0, 100, 0),
        (Envoy, 100, 3, 3),
        (Envoy, 250, 3, 3),
        (Grpc, 10, 1, 1),
        (Grpc, 10, 9, 1),
        (Grpc, 10, 10, 1),
        (Grpc, 10, 11, 2),
        (Grpc, 50, 3, 2),
        (Grpc, 0, 100, 0),
        (Grpc, 100, 3, 3),
    ];
    for (cap_rule, max_ejection_percent, total, most) in table {
        let config = config(|config| {
            config.cap_rule = cap_rule;
            config.max_ejection_percent = max_ejection_percent;
        });
        let out = (0..total).take_while(|ejected| cap_allows(&config, *ejected, total)).count();
        assert_eq!(out, most, "{cap_rule:?} {max_ejection_percent}% of {total}");
    }
}

#[test]
fn one_may_always_go_when_the_configuration_says_so() {
    let config = config(|config| config.always_eject_one_endpoint = true);
    assert!(cap_allows(&config, 0, 3));
    assert!(!cap_allows(&config, 1, 3));
    assert!(cap_allows(&config, 1, 20));
}

/// Envoy: `checkHostForUneject`, and the default of `max_ejection_time`.
#[test]
fn an_ejection_lasts_base_times_multiplier_up_to_the_maximum() {
    let config = config(|config| config.max_ejection_time = Duration::from_secs(100));
    let seconds: Vec<_> = (0..5).map(|n| duration(&config, n).as_secs()).collect();
    assert_eq!(seconds, [0, 30, 60, 90, 100]);
    assert_eq!(duration(&config, u32::MAX), Duration::from_secs(100));
    let long = self::config(|config| config.base_ejection_time = Duration::from_secs(400));
    assert_eq!(duration(&long, 2), Duration::from_secs(400), "the maximum is at least the base");
}

/// Envoy: `ejectTimeBackoff() * base < max + base`.
#[test]
fn the_multiplier_grows_while_it_lengthens() {
    let grow = |config: &OutlierDetection| {
        std::iter::successors(Some(0), |n| Some(grown(config, *n))).nth(1000)
    };
    assert_eq!(grow(&OutlierDetection::default()), Some(11), "300 s / 30 s, and one");
    assert_eq!(grow(&config(|config| config.base_ejection_time = Duration::ZERO)), Some(1));
    assert_eq!(grow(&config(|config| config.max_ejection_time = Duration::MAX)), Some(1000));
    assert_eq!(
        grown(&config(|config| config.max_ejection_time = Duration::MAX), u32::MAX),
        u32::MAX
    );
}

/// One cluster of `total`, all but `first..` out, and one outlier in it.
#[track_caller]
fn check(config: &OutlierDetection, total: u16, out: &[u32], expected: Verdict) {
    let members = Members::new(total);
    for index in out {
        members.monitor(*index).eject(Timestamp::ZERO, 1, 0);
    }
    check_members(config, &members, expected);
}

#[track_caller]
fn check_members(config: &OutlierDetection, members: &Members, expected: Verdict) {
    let (mut random, mut counts, mut turn) =
        (SplitMix64::new(3), Counts::default(), Turn::default());
    let now = Timestamp::from_millis(1);
    let mut ejector = Ejector::new(config, members, now, &mut random, &mut counts, &mut turn);
    (0..members.count()).for_each(|index| ejector.survey(index));
    let kind = OutlierKind::Consecutive5xx;
    let evidence = Evidence::Consecutive { failures: 5, threshold: 5 };
    assert!(ejector.consider(Found { index: 0, kind, evidence }));
    let [Event::Outlier { verdict, .. }] = &turn.events[..] else {
        panic!("one event, not {turn:?}");
    };
    assert_eq!(*verdict, expected);
    let ejected = matches!(expected, Verdict::Ejected { .. });
    assert_eq!(members.monitor(0).is_ejected(), ejected);
    assert_eq!(turn.changed, if ejected { vec![0] } else { vec![] });
    assert_eq!(counts.detected(kind), 1);
    assert_eq!(counts.enforced(kind), u64::from(ejected));
}

const HALF_MINUTE: Duration = Duration::from_secs(30);

#[test]
fn the_verdict_follows_the_order_of_the_rules() {
    let percent = |percent| {
        config(|config| {
            config.max_ejection_percent = percent;
        })
    };
    check(&percent(10), 10, &[], Verdict::Ejected { duration: HALF_MINUTE, left: 9 });
    check(
        &percent(10),
        10,
        &[4],
        Verdict::RefusedByCap { ejected: 1, total: 10, max_percent: 10, rule: CapRule::Envoy },
    );
    // The last endpoint stays, also where Envoy and gRPC would let it go ...
    let one = config(|config| config.always_eject_one_endpoint = true);
    check(&one, 1, &[], Verdict::RefusedAsLast { total: 1 });
    check(&config(|c| c.cap_rule = CapRule::Grpc), 1, &[], Verdict::RefusedAsLast { total: 1 });
    // ... unless the configuration says all of it.
    check(
        &percent(99),
        100,
        &(2..100).collect::<Vec<_>>(),
        Verdict::Ejected { duration: HALF_MINUTE, left: 1 },
    );
    check(&percent(100), 2, &[1], Verdict::Ejected { duration: HALF_MINUTE, left: 0 });
    // A dry run is one, whatever the cap would say.
    let dry = config(|config| config.enforcing_consecutive_5xx = 0);
    check(&dry, 1, &[], Verdict::NotEnforced { enforcing: 0 });
}

#[test]
fn the_last_endpoint_is_the_last_that_takes_calls() {
    let mut config = config(|config| config.max_ejection_percent = 50);
    let mut members = Members::new(4);
    members.unavailable = vec![1, 2, 3];
    check_members(&config, &members, Verdict::RefusedAsLast { total: 4 });
    // One that takes no calls (it was tried in panic) takes nothing away.
    members.unavailable = vec![0, 1];
    check_members(&config, &members, Verdict::Ejected { duration: HALF_MINUTE, left: 2 });
    members.unavailable = vec![0, 1, 2];
    members.monitor(0).uneject(Timestamp::ZERO);
    check_members(&config, &members, Verdict::Ejected { duration: HALF_MINUTE * 2, left: 1 });
    config.max_ejection_percent = 100;
    let mut members = Members::new(4);
    members.unavailable = vec![1, 2, 3];
    check_members(&config, &members, Verdict::Ejected { duration: HALF_MINUTE, left: 0 });
}

#[test]
fn every_kind_has_its_own_chance() {
    let config = config(|config| {
        config.enforcing_consecutive_5xx = 1;
        config.enforcing_consecutive_gateway_failure = 2;
        config.enforcing_consecutive_local_origin_failure = 3;
        config.success_rate = Some(SuccessRate { enforcing: 4, ..SuccessRate::default() });
        config.local_origin_success_rate =
            Some(SuccessRate { enforcing: 5, ..SuccessRate::default() });
        let percentage = |enforcing| Some(FailurePercentage { enforcing, ..Default::default() });
        config.failure_percentage = percentage(6);
        config.local_origin_failure_percentage = percentage(7);
    });
    let chances = OutlierKind::ALL.map(|kind| enforcing(&config, kind));
    assert_eq!(chances, [1, 2, 3, 4, 5, 6, 7]);
    for (index, kind) in OutlierKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, index, "counts are kept by the place in ALL");
    }
}

#[test]
fn the_enforcing_percentage_is_drawn() {
    let config = config(|config| {
        config.enforcing_consecutive_5xx = 25;
        config.max_ejection_percent = 100;
    });
    let members = Members::new(10_000);
    let (mut random, mut counts, mut turn) =
        (SplitMix64::new(9), Counts::default(), Turn::default());
    let mut ejector =
        Ejector::new(&config, &members, Timestamp::ZERO, &mut random, &mut counts, &mut turn);
    (0..members.count()).for_each(|index| ejector.survey(index));
    for index in 0..members.count() {
        let evidence = Evidence::Consecutive { failures: 5, threshold: 5 };
        ejector.consider(Found { index, kind: OutlierKind::Consecutive5xx, evidence });
    }
    let ejected = members.ejected().len();
    // Four standard deviations of a binomial: 173.
    assert!(ejected.abs_diff(2500) < 175, "{ejected} of 10,000 at 25%");
    assert_eq!(counts.enforced(OutlierKind::Consecutive5xx), ejected as u64);
    assert_eq!(turn.events.len(), Turn::MAX_EVENTS);
    assert_eq!(turn.suppressed as usize, 10_000 - Turn::MAX_EVENTS);
}

/// Envoy: `random % (max_eject_time_jitter + 1)` milliseconds.
#[test]
fn jitter_is_drawn_up_to_its_maximum() {
    let config = config(|config| {
        config.max_ejection_time_jitter = Duration::from_millis(9);
        config.max_ejection_percent = 100;
    });
    let members = Members::new(1000);
    let (mut random, mut counts, mut turn) =
        (SplitMix64::new(9), Counts::default(), Turn::default());
    let mut ejector =
        Ejector::new(&config, &members, Timestamp::ZERO, &mut random, &mut counts, &mut turn);
    let mut seen: Vec<_> = (0..1000).map(|_| ejector.draw_jitter()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (0..=9).collect::<Vec<_>>());
}
