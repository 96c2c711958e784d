use super::super::monitor::Calls;
use super::*;
use proptest::prelude::*;

fn samples(rates: &[(u32, u32)]) -> Vec<Sample> {
    (0..)
        .zip(rates)
        .map(|(index, (successes, total))| Sample {
            index,
            calls: Calls { successes: *successes, total: *total },
        })
        .collect()
}

fn rule(stdev_factor: u32, minimum_hosts: u32, request_volume: u32) -> SuccessRate {
    SuccessRate { stdev_factor, minimum_hosts, request_volume, ..SuccessRate::default() }
}

#[track_caller]
fn check(rule: &SuccessRate, rates: &[(u32, u32)], expected: &[u32]) {
    let found: Vec<_> =
        outliers(rule, &samples(rates)).into_iter().map(|(index, _)| index).collect();
    assert_eq!(found, expected, "{rule:?} {rates:?}");
}

/// The example in Envoy's `successRateEjectionThreshold`: mean 90, deviation 20, threshold 52.
#[test]
fn the_threshold_is_mean_minus_factor_times_deviation() {
    let rates = [(50, 100), (100, 100), (100, 100), (100, 100), (100, 100)];
    let found = outliers(&SuccessRate::default(), &samples(&rates));
    let [(0, Evidence::SuccessRate { rate, average, threshold, volume: 100 })] = found[..] else {
        panic!("one outlier, not {found:?}");
    };
    for (found, expected) in [(rate, 50.0), (average, 90.0), (threshold, 52.0)] {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }
}

#[test]
fn only_strictly_below_is_an_outlier() {
    // Mean 50, deviation 50: at factor 1 the threshold is 0, and 0 is not below it.
    check(&rule(1000, 2, 1), &[(0, 10), (10, 10)], &[]);
    check(&rule(999, 2, 1), &[(0, 10), (10, 10)], &[0]);
}

#[test]
fn volume_and_hosts_decide_who_is_compared() {
    let rates = [(0, 99), (100, 100), (100, 100), (100, 100), (100, 100)];
    check(&rule(1900, 4, 100), &rates, &[]);
    check(&rule(1900, 4, 99), &rates, &[0]);
    check(&rule(1900, 5, 99), &rates, &[0]);
    check(&rule(1900, 6, 99), &rates, &[]);
    check(&rule(1900, 0, 1), &[], &[]);
}

#[test]
fn the_worst_come_first() {
    let rates = [(60, 100), (100, 100), (40, 100), (100, 100), (60, 100), (100, 100)];
    check(&rule(500, 5, 100), &rates, &[2, 0, 4]);
}

proptest! {
    /// Closed form: `bad` of `count` endpoints at rate b, the others at a. The deviation is
    /// |a − b| · √(p · (1 − p)) with p = bad / count.
    #[test]
    fn two_groups_fit_the_closed_form(
        count in 2_usize..40, bad in 1_usize..39, a in 0_u32..=100, b in 0_u32..=100,
        factor in 0_u32..4000,
    ) {
        prop_assume!(bad < count);
        let rates: Vec<_> =
            (0..count).map(|index| (if index < bad { b } else { a }, 100)).collect();
        let share = bad as f64 / count as f64;
        let (a, b) = (f64::from(a), f64::from(b));
        let mean = share * b + (1.0 - share) * a;
        let deviation = (a - b).abs() * (share * (1.0 - share)).sqrt();
        let expected = mean - f64::from(factor) / 1000.0 * deviation;
        let (average, threshold) =
            ejection_threshold(samples(&rates).iter().map(Sample::success_rate), factor);
        prop_assert!((average - mean).abs() < 1e-9);
        prop_assert!((threshold - expected).abs() < 1e-6, "{threshold} is not {expected}");
    }

    /// Whoever does as all others do is no outlier, whatever rounding says.
    #[test]
    fn equals_are_never_outliers(
        successes in 0_u32..1000, more in 1_u32..1000, count in 1_usize..200, factor in 0_u32..4000,
    ) {
        let rates = vec![(successes, successes + more); count];
        prop_assert!(outliers(&rule(factor, 1, 1), &samples(&rates)).is_empty());
    }
}
