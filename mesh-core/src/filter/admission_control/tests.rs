use super::*;
use crate::random::SplitMix64;

#[track_caller]
fn check(set: impl FnOnce(&mut AdmissionControl), requests: u64, successes: u64, expected: f64) {
    let mut model = AdmissionControl::default();
    set(&mut model);
    let found = odds(&model, &Counts { requests, successes, age: Duration::from_secs(1) });
    assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
}

#[test]
fn the_odds_are_those_of_the_formula() {
    check(|_| {}, 0, 0, 0.0);
    check(|_| {}, 100, 100, 0.0);
    check(|_| {}, 100, 95, 0.0);
    check(|_| {}, 99, 38, 0.59);
    // At most 80 %.
    check(|_| {}, 1000, 0, 0.8);
    check(|model| model.max_rejection_probability = 100.0, 999, 0, 0.999);
    check(|model| model.sr_threshold = 50.0, 99, 25, 0.49);
    check(|model| model.aggression = 2.0, 99, 38, 0.59_f64.sqrt());
    // Less than 1 counts as 1.
    check(|model| model.aggression = 0.1, 99, 38, 0.59);
}

#[test]
fn values_out_of_range_are_refused() {
    let refused = |set: fn(&mut AdmissionControl)| {
        let mut model = AdmissionControl::default();
        set(&mut model);
        CompiledAdmissionControl::new(&Arc::new(model), None).map(drop).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|model| model.sampling_window = Duration::ZERO),
        "`sampling_window`: it is not within 1 s and 1 h"
    );
    assert_eq!(
        refused(|model| model.sr_threshold = 0.0),
        "`sr_threshold`: it is not more than 0 % and at most 100 %"
    );
    assert_eq!(
        refused(|model| model.max_rejection_probability = f64::NAN),
        "`max_rejection_probability`: it is not within 0 % and 100 %"
    );
    assert_eq!(refused(|model| model.aggression = f64::INFINITY), "`aggression`: it is no number");
}

/// A service that fails at `failures`, asked 1000 times a second for a minute: the share of calls
/// refused in the second half.
fn refused_share(failures: f64, seed: u64) -> f64 {
    let control = CompiledAdmissionControl::new(&Arc::default(), None).unwrap();
    let mut random = SplitMix64::new(seed);
    let (mut refused, mut asked) = (0_u32, 0_u32);
    for millis in 0..60_000 {
        let now = Timestamp::from_millis(millis);
        let is_refused = random.unit() < odds(&control.model, &control.window.counts(now));
        if !is_refused {
            control.window.record(random.unit() >= failures, now);
        }
        if millis >= 30_000 {
            asked += 1;
            refused += u32::from(is_refused);
        }
    }
    f64::from(refused) / f64::from(asked)
}

#[test]
fn a_failing_service_is_refused_as_much_as_the_formula_says() {
    for (failures, seed) in [(0.0, 1), (0.04, 2), (0.2, 3), (0.5, 4), (0.7, 5), (1.0, 6)] {
        let expected = (1.0 - (1.0 - failures) / 0.95_f64).clamp(0.0, 0.8);
        let found = refused_share(failures, seed);
        assert!((found - expected).abs() < 0.02, "{failures}: {found}, not {expected}");
    }
}

#[test]
fn the_rate_is_that_since_the_oldest() {
    let window = SuccessWindow::new(Duration::from_secs(30));
    for millis in (0..10_000).step_by(10) {
        window.record(true, Timestamp::from_millis(millis));
    }
    assert_eq!(requests_per_second(&window.counts(Timestamp::from_millis(10_000))), 100);
    assert_eq!(requests_per_second(&window.counts(Timestamp::from_millis(20_000))), 50);
}
