use super::super::*;
use crate::model::cluster::RetryConcurrency;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn policy(ratio: f64, min_per_second: u32) -> RetryBudgetPolicy {
    RetryBudgetPolicy { ratio, min_per_second, ..RetryBudgetPolicy::default() }
}

fn deposits(budget: &RetryBudget, calls: u32) {
    (0..calls).for_each(|_| budget.deposit());
}

fn withdrawals(budget: &RetryBudget, now: Timestamp) -> u32 {
    (0..10_000).take_while(|_| budget.withdraw(now)).count() as u32
}

#[test]
fn five_calls_pay_for_one_retry() {
    let budget = RetryBudget::new(&policy(0.2, 0));
    deposits(&budget, 14);
    assert_eq!(withdrawals(&budget, Timestamp::ZERO), 2);
    assert_eq!(withdrawals(&budget, Timestamp::from_millis(60_000)), 0, "spent is spent");
    deposits(&budget, 1);
    assert_eq!(
        withdrawals(&budget, Timestamp::from_millis(60_000)),
        1,
        "the four that were left over"
    );
}

#[test]
fn savings_do_not_grow_with_traffic() {
    let budget = RetryBudget::new(&RetryBudgetPolicy::default());
    deposits(&budget, 1_000_000);
    // Two thirds of ten per second over ten seconds: 56 of them saved, ten in the reserve.
    assert_eq!(withdrawals(&budget, Timestamp::from_millis(1_000)), 66);
}

#[test]
fn the_reserve_is_one_second_large_and_refills_by_a_third() {
    let budget = RetryBudget::new(&policy(0.0, 10));
    let at = Timestamp::from_millis;
    assert_eq!(withdrawals(&budget, at(0)), 10);
    assert_eq!(withdrawals(&budget, at(299)), 0);
    assert_eq!(withdrawals(&budget, at(301)), 1);
    assert_eq!(withdrawals(&budget, at(1_501)), 4);
    assert_eq!(withdrawals(&budget, at(60_000)), 10);
}

#[test]
fn disabled_it_never_refuses_and_a_new_policy_keeps_the_savings() {
    let mut policy = policy(0.2, 0);
    policy.enabled = false;
    let budget = RetryBudget::new(&policy);
    assert!(budget.withdraw(Timestamp::ZERO));
    policy.enabled = true;
    budget.set_policy(&policy);
    assert!(!budget.withdraw(Timestamp::ZERO));
    deposits(&budget, 10);
    policy.ratio = 0.5;
    budget.set_policy(&policy);
    deposits(&budget, 2);
    assert_eq!(withdrawals(&budget, Timestamp::ZERO), 3);
    deposits(&budget, 1_000);
    policy.min_per_second = 100;
    budget.set_policy(&policy);
    deposits(&budget, 10_000);
    policy.min_per_second = 0;
    budget.set_policy(&policy);
    assert_eq!(withdrawals(&budget, Timestamp::ZERO), 10, "down to the smaller bound");
}

#[test]
fn nonsense_in_a_policy_is_bounded() {
    let mut policy = policy(f64::NAN, u32::MAX);
    policy.window = Duration::ZERO;
    let budget = RetryBudget::new(&policy);
    budget.deposit();
    assert!(budget.withdraw(Timestamp::ZERO), "the reserve");
    policy.window = Duration::MAX;
    policy.min_per_second = 0;
    budget.set_policy(&policy);
    assert!(!budget.withdraw(Timestamp::MAX));
    policy.ratio = f64::INFINITY;
    policy.min_per_second = u32::MAX;
    budget.set_policy(&policy);
    deposits(&budget, 3);
    assert!(budget.withdraw(Timestamp::MAX));
}

#[test]
fn the_concurrency_rule_is_a_percentage_with_a_minimum() {
    let mut policy = RetryBudgetPolicy::default();
    let budget = RetryBudget::new(&policy);
    assert!(budget.allows_concurrent(1000, 0), "not configured");
    policy.concurrency = Some(RetryConcurrency::default());
    budget.set_policy(&policy);
    for (retries, calls, allowed) in
        [(3, 0, true), (4, 0, false), (4, 20, true), (5, 20, false), (200, 1000, true)]
    {
        assert_eq!(budget.allows_concurrent(retries, calls), allowed, "{retries} of {calls}");
    }
}

/// Traffic at `per_second` from `begin` on, in nanoseconds. Each call makes up to `retries` more
/// attempts, as far as the budget lets it; returns calls and attempts.
fn traffic(budget: &RetryBudget, per_second: u64, retries: u64, span: (u64, u64)) -> (u64, u64) {
    let calls = per_second * (span.1 - span.0) / SECOND;
    let attempts = (0..calls).map(|call| {
        let now = Timestamp::from_nanos(span.0 + call * SECOND / per_second);
        budget.deposit();
        1 + (0..retries).take_while(|_| budget.withdraw(now)).count() as u64
    });
    (calls, attempts.sum())
}

/// The promise: an outage of at least ten seconds, counted from its begin, after any good traffic.
#[track_caller]
fn check_outage(good: (u64, u64), outage: (u64, u64), retries: u64) {
    let budget = RetryBudget::new(&RetryBudgetPolicy::default());
    let ((good_rate, good_seconds), (rate, seconds)) = (good, outage);
    let begin = good_seconds * SECOND;
    traffic(&budget, good_rate, 0, (0, begin));
    let (calls, attempts) = traffic(&budget, rate, retries, (begin, begin + seconds * SECOND));
    let most = calls as f64 * 1.2 + 10.0 * seconds as f64;
    assert!(attempts as f64 <= most, "{attempts} > {most}: {good:?} then {outage:?}");
    // And it is used: at least nine tenths of what there is to take beside the calls themselves.
    let wanted = (calls * retries) as f64;
    let granted = 0.9 * wanted.min(calls as f64 * 0.2);
    assert!((attempts - calls) as f64 >= granted, "{attempts}: {good:?} then {outage:?}");
}

#[test]
fn an_outage_stays_within_the_bar_whatever_was_before() {
    for good_rate in [1, 10, 1_000, 100_000] {
        for rate in [1, 10, 1_000] {
            for seconds in [10, 11, 12, 13, 15, 23, 30] {
                check_outage((good_rate, 10), (rate, seconds), 3);
            }
        }
    }
    for seconds in [10, 12] {
        check_outage((100_000, 11), (100_000, seconds), 3);
        check_outage((0, 0), (100_000, seconds), 3);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Advance(u64),
    Deposit,
    Withdraw,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..3 * SECOND).prop_map(Step::Advance),
        3 => (0..SECOND / 20).prop_map(Step::Advance),
        8 => Just(Step::Deposit),
        8 => Just(Step::Withdraw),
    ]
}

proptest! {
    #[test]
    fn any_outage_stays_within_the_bar(
        good_rate in 1_u64..1_000,
        good_seconds in 0_u64..20,
        rate in 1_u64..1_000,
        seconds in 10_u64..31,
        retries in 1_u64..6,
    ) {
        check_outage((good_rate, good_seconds), (rate, seconds), retries);
    }

    /// Against the list of all events: over no span whatever more than the rule, and never refused
    /// while calls have paid.
    #[test]
    fn over_every_span_the_rule_holds(
        steps in prop::collection::vec(step(), 0..300),
        ratio in 0.0..2.0_f64,
        min_per_second in 0_u32..8,
    ) {
        let policy = policy(ratio, min_per_second);
        let budget = RetryBudget::new(&policy);
        let window = policy.window.as_secs_f64();
        let per_second = f64::from(min_per_second);
        let held = (HELD * per_second * window).max(LEAST_SAVINGS + per_second);
        // Each retry, with the number of calls before it.
        let mut granted: Vec<(u64, u64)> = Vec::new();
        let (mut now, mut calls, mut paid) = (0, 0, 0.0_f64);
        for step in steps {
            match step {
                Step::Advance(by) => now += by,
                Step::Deposit => {
                    budget.deposit();
                    calls += 1;
                    paid = (paid + ratio - 1e-6).min(LEAST_SAVINGS);
                }
                Step::Withdraw if budget.withdraw(Timestamp::from_nanos(now)) => {
                    paid = (paid - 1.0).max(0.0);
                    granted.push((now, calls));
                    for (at, (begin, before)) in granted.iter().enumerate() {
                        let retries = (granted.len() - at) as f64;
                        let seconds = (now - begin) as f64 / SECOND as f64;
                        // The reserve refills while the first token is taken, and so may the calls.
                        let most = ratio * (calls - before + 1) as f64 + held
                            + per_second * (1.0 - HELD) * seconds + 1.0;
                        prop_assert!(retries <= most, "{retries} > {most} in {seconds} s");
                    }
                }
                Step::Withdraw => {
                    prop_assert!(paid < 1.0 + 1e-6, "refused with {paid} tokens paid for");
                }
            }
        }
    }
}
