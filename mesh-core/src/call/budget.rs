//! How many retries a cluster's calls may make: tokens over time.
//!
//! Retries help while few calls fail and make an outage while most do. Counting the retries in flight
//! does not tell the two apart when answers are fast: with every call failing, Envoy's default share
//! of 20 % in flight lets through 2.2 times the load. Tokens per call do.
//!
//! - Each call deposits `ratio` tokens, which live for `window` (default 0.2 and 10 s).
//! - A reserve gives `min_per_second` tokens per second, at most one second's worth at once, so that a
//!   cluster with little traffic can retry at all (default 10).
//! - A retry takes one token, from the deposits first. No token, no retry.
//!
//! So, over every span of time `t`:
//!
//! ```text
//! retries ≤ ratio · calls, in the span and the window before it + min_per_second · (t + 1 s)
//! ```
//!
//! and from the first call on, without any window before it.
//!
//! Envoy's own rule ([`RetryBudget::allows_concurrent`]) applies in addition where it is configured.
//!
//! **How it is counted.** Two rings of counters, one slot per tenth of a window: calls over the last
//! ten slots (a deposit lives 0.9 to 1 window), retries over eleven (a withdrawal counts for 1 to 1.1
//! windows, hence never for less than the deposit that paid for it: no token is spent twice). A slot
//! packs its epoch and its count into one word, so that the first visitor of a new epoch resets it by
//! one exchange and everybody else adds by one `fetch_add`. No lock, no timer, nothing to sweep.
//!
//! Deposits and withdrawals may race: a withdrawal counts itself first and looks at the sum after, so
//! together they never take more than there is, and at worst each gives way to the other.

use crate::model::RetryBudgetPolicy;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::time::{Timestamp, saturating_nanos};
use std::array;
use std::time::Duration;

/// A retry budget, shared by all calls of a cluster.
///
/// Every `now` is at most one window behind the latest one that was passed before; a deposit that is
/// later than that may be lost.
#[derive(Debug)]
pub struct RetryBudget {
    enabled: AtomicBool,
    /// The bits of an `f64`: tokens per call.
    ratio: AtomicU64,
    /// A tenth of the window.
    slot_nanos: AtomicU64,
    /// Nanoseconds per token of the reserve; 0: there is none.
    reserve_nanos: AtomicU64,
    /// When the reserve will be full again.
    reserve_full_at: AtomicU64,
    /// The bits of an `f64`: Envoy's `budget_percent`.
    concurrency_percent: AtomicU64,
    /// Envoy's `min_retry_concurrency`; [`NO_CONCURRENCY_RULE`]: the rule does not apply.
    concurrency_min: AtomicU32,
    calls: Ring,
    retries: Ring,
}

/// Slots over which calls count.
const CALL_SLOTS: u32 = 10;
/// Slots over which retries count: one more, so that a retry outlives the deposits that paid for it.
const RETRY_SLOTS: u32 = CALL_SLOTS + 1;
/// The reserve's size: what it earns in this time.
const RESERVE: Duration = Duration::from_secs(1);
const NO_CONCURRENCY_RULE: u32 = u32::MAX;

impl RetryBudget {
    /// The shortest window; a shorter one in the policy counts as this.
    pub const MIN_WINDOW: Duration = Duration::from_secs(1);

    /// An empty budget with a full reserve.
    #[must_use]
    pub fn new(policy: &RetryBudgetPolicy) -> Self {
        let budget = Self {
            enabled: AtomicBool::new(true),
            ratio: AtomicU64::new(0),
            slot_nanos: AtomicU64::new(1),
            reserve_nanos: AtomicU64::new(0),
            reserve_full_at: AtomicU64::new(0),
            concurrency_percent: AtomicU64::new(0),
            concurrency_min: AtomicU32::new(NO_CONCURRENCY_RULE),
            calls: Ring::new(),
            retries: Ring::new(),
        };
        budget.set_policy(policy);
        budget
    }

    /// Goes over to another policy. What was counted stays, unless the window changes.
    pub fn set_policy(&self, policy: &RetryBudgetPolicy) {
        let window = policy.window.max(Self::MIN_WINDOW);
        let slot_nanos = saturating_nanos(window) / u64::from(CALL_SLOTS);
        let reserve_nanos = match policy.min_per_second {
            0 => 0,
            per_second => (saturating_nanos(RESERVE) / u64::from(per_second)).max(1),
        };
        self.enabled.store(policy.enabled, Ordering::Relaxed);
        self.ratio.store(policy.ratio.max(0.0).to_bits(), Ordering::Relaxed);
        self.slot_nanos.store(slot_nanos, Ordering::Relaxed);
        self.reserve_nanos.store(reserve_nanos, Ordering::Relaxed);
        let concurrency_min = match policy.concurrency {
            None => NO_CONCURRENCY_RULE,
            Some(rule) => {
                let percent = rule.budget_percent.clamp(0.0, 100.0);
                self.concurrency_percent.store(percent.to_bits(), Ordering::Relaxed);
                rule.min_retry_concurrency.min(NO_CONCURRENCY_RULE - 1)
            }
        };
        self.concurrency_min.store(concurrency_min, Ordering::Relaxed);
    }

    /// Counts one call: on the path of every call, one division and one `fetch_add`.
    pub fn deposit(&self, now: Timestamp) {
        if self.enabled.load(Ordering::Relaxed) {
            self.calls.add(self.epoch(now));
        }
    }

    /// Takes one token for a retry, if there is one.
    #[must_use]
    pub fn withdraw(&self, now: Timestamp) -> bool {
        !self.enabled.load(Ordering::Relaxed)
            || self.withdraw_from_calls(now)
            || self.withdraw_from_reserve(now)
    }

    /// Envoy's rule, where configured (`retry_budget`): `retries` in flight, the new one included, are
    /// at most the policy's percentage of `calls` active and pending, or its minimum.
    #[must_use]
    pub fn allows_concurrent(&self, retries: u64, calls: u64) -> bool {
        let min = self.concurrency_min.load(Ordering::Relaxed);
        let percent = f64::from_bits(self.concurrency_percent.load(Ordering::Relaxed));
        min == NO_CONCURRENCY_RULE
            || retries <= u64::from(min)
            || retries as f64 <= percent / 100.0 * calls as f64
    }

    fn withdraw_from_calls(&self, now: Timestamp) -> bool {
        let epoch = self.epoch(now);
        let ratio = f64::from_bits(self.ratio.load(Ordering::Relaxed));
        let tokens = ratio * self.calls.sum(epoch, CALL_SLOTS) as f64;
        self.retries.add(epoch);
        let granted = self.retries.sum(epoch, RETRY_SLOTS) as f64 <= tokens;
        if !granted {
            self.retries.take_back(epoch);
        }
        granted
    }

    /// A bucket that refills steadily, kept as the instant at which it will be full.
    fn withdraw_from_reserve(&self, now: Timestamp) -> bool {
        let token = self.reserve_nanos.load(Ordering::Relaxed);
        if token == 0 {
            return false;
        }
        let (now, size) = (now.as_nanos(), saturating_nanos(RESERVE));
        let take = |full_at: u64| {
            let full_at = full_at.max(now).saturating_add(token);
            (full_at - now <= size).then_some(full_at)
        };
        self.reserve_full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn epoch(&self, now: Timestamp) -> u64 {
        now.as_nanos() / self.slot_nanos.load(Ordering::Relaxed)
    }
}

/// Counts per epoch, over the last [`RETRY_SLOTS`] epochs.
#[derive(Debug)]
struct Ring {
    /// The low half of the epoch, then the count.
    slots: [AtomicU64; RETRY_SLOTS as usize],
}

impl Ring {
    /// Above this a slot counts no more: the count never runs into the epoch, whatever the race.
    const MAX_COUNT: u64 = 1 << 31;

    fn new() -> Self {
        Self { slots: array::from_fn(|_| AtomicU64::new(0)) }
    }

    fn slot(&self, epoch: u64) -> (&AtomicU64, u64) {
        let index = (epoch % u64::from(RETRY_SLOTS)) as usize;
        (&self.slots[index], epoch << 32)
    }

    fn add(&self, epoch: u64) {
        let (slot, tag) = self.slot(epoch);
        // SeqCst orders the additions and sums of withdrawals in neighbouring epochs.
        let mut seen = slot.load(Ordering::SeqCst);
        while tag_of(seen) != tag {
            match slot.compare_exchange(seen, tag | 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
        if count_of(seen) < Self::MAX_COUNT {
            slot.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Undoes one [`add`](Self::add) of this epoch.
    fn take_back(&self, epoch: u64) {
        let (slot, tag) = self.slot(epoch);
        let less = |seen| (tag_of(seen) == tag && count_of(seen) > 0).then(|| seen - 1);
        // An error means that the slot went over to another epoch and has forgotten the count.
        let _forgotten = slot.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    /// The counts of `epoch` and the `span - 1` before it.
    fn sum(&self, epoch: u64, span: u32) -> u64 {
        let slots = self.slots.iter().map(|slot| slot.load(Ordering::SeqCst));
        let epoch_of = |seen: u64| (seen >> 32) as u32;
        slots.filter(|seen| (epoch as u32).wrapping_sub(epoch_of(*seen)) < span).map(count_of).sum()
    }
}

const fn tag_of(slot: u64) -> u64 {
    slot & (u64::MAX << 32)
}

const fn count_of(slot: u64) -> u64 {
    slot & (u64::MAX >> 32)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::model::cluster::RetryConcurrency;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn policy(ratio: f64, min_per_second: u32) -> RetryBudgetPolicy {
        RetryBudgetPolicy { ratio, min_per_second, ..RetryBudgetPolicy::default() }
    }

    fn withdrawals(budget: &RetryBudget, now: Timestamp) -> u32 {
        (0..10_000).take_while(|_| budget.withdraw(now)).count() as u32
    }

    #[test]
    fn five_calls_pay_for_one_retry_until_they_are_a_window_old() {
        let budget = RetryBudget::new(&policy(0.2, 0));
        let at = Timestamp::from_millis;
        for _ in 0..14 {
            budget.deposit(at(500));
        }
        assert_eq!(withdrawals(&budget, at(9_999)), 2);
        // What was spent does not come back while its deposits could still count.
        assert_eq!(withdrawals(&budget, at(9_999)), 0);
        for _ in 0..5 {
            budget.deposit(at(19_500));
        }
        assert_eq!(withdrawals(&budget, at(19_999)), 0, "the two of 9.999 s still count");
        assert_eq!(withdrawals(&budget, at(20_000)), 1);
        for _ in 0..5 {
            budget.deposit(at(40_000));
        }
        assert_eq!(withdrawals(&budget, at(50_000)), 0, "a window later");
    }

    #[test]
    fn the_reserve_is_one_second_large_and_refills_steadily() {
        let budget = RetryBudget::new(&policy(0.0, 10));
        let at = Timestamp::from_millis;
        assert_eq!(withdrawals(&budget, at(0)), 10);
        assert_eq!(withdrawals(&budget, at(99)), 0);
        assert_eq!(withdrawals(&budget, at(100)), 1);
        assert_eq!(withdrawals(&budget, at(600)), 5);
        assert_eq!(withdrawals(&budget, at(60_000)), 10);
    }

    #[test]
    fn the_reserve_comes_on_top_of_deposits_that_are_spent_and_gone() {
        // A retry counts longer than the call that paid for it: the bound looks one window back.
        let budget = RetryBudget::new(&policy(1.0, 1));
        let at = Timestamp::from_millis;
        budget.deposit(at(500));
        assert_eq!(withdrawals(&budget, at(9_900)), 2, "the deposit's token, then the reserve's");
        assert_eq!(withdrawals(&budget, at(10_900)), 1);
    }

    #[test]
    fn disabled_it_never_refuses_and_a_new_policy_keeps_the_count() {
        let mut policy = policy(0.2, 0);
        policy.enabled = false;
        let budget = RetryBudget::new(&policy);
        assert!(budget.withdraw(Timestamp::ZERO));
        policy.enabled = true;
        budget.set_policy(&policy);
        assert!(!budget.withdraw(Timestamp::ZERO));
        for _ in 0..10 {
            budget.deposit(Timestamp::ZERO);
        }
        policy.ratio = 0.5;
        budget.set_policy(&policy);
        assert_eq!(withdrawals(&budget, Timestamp::ZERO), 5);
    }

    #[test]
    fn nonsense_in_a_policy_is_bounded() {
        let mut policy = policy(f64::NAN, u32::MAX);
        policy.window = Duration::ZERO;
        let budget = RetryBudget::new(&policy);
        budget.deposit(Timestamp::MAX);
        assert!(budget.withdraw(Timestamp::ZERO), "the reserve");
        policy.window = Duration::MAX;
        policy.min_per_second = 0;
        budget.set_policy(&policy);
        assert!(!budget.withdraw(Timestamp::MAX));
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

    /// Everything fails: each call makes up to four attempts, as far as the budget lets it.
    fn attempts_in_outage(budget: &RetryBudget, calls_per_second: u64, span: (u64, u64)) -> u64 {
        let calls = calls_per_second * (span.1 - span.0);
        let mut attempts = 0;
        for call in 0..calls {
            let now = Timestamp::from_nanos(span.0 * SECOND + call * SECOND / calls_per_second);
            budget.deposit(now);
            attempts += 1 + (0..3).take_while(|_| budget.withdraw(now)).count() as u64;
        }
        attempts
    }

    #[test]
    fn when_everything_fails_attempts_stay_within_the_closed_form() {
        for calls_per_second in [1, 5, 50, 300, 2_000] {
            for seconds in [10, 11, 15, 30] {
                let budget = RetryBudget::new(&RetryBudgetPolicy::default());
                let attempts = attempts_in_outage(&budget, calls_per_second, (0, seconds));
                let calls = calls_per_second * seconds;
                let bound = calls + calls / 5 + 10 * seconds + 10;
                assert!(attempts <= bound, "{attempts} > {bound} at {calls_per_second}/s");
            }
        }
        // After a good window the outage may also spend what that window saved, once.
        let budget = RetryBudget::new(&RetryBudgetPolicy::default());
        for call in 0..10_000 {
            budget.deposit(Timestamp::from_millis(call));
        }
        let attempts = attempts_in_outage(&budget, 1_000, (10, 40));
        assert!(attempts <= 30_000 + 6_000 + 2_000 + 310, "{attempts}");
        assert!(attempts >= 30_000 + 6_000, "{attempts}: and the budget is not wasted either");
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
        /// Against the list of all events: never more than the rule, and refused only near it.
        #[test]
        fn it_agrees_with_the_list_of_all_events(
            steps in prop::collection::vec(step(), 0..300),
            ratio in 0.0..2.0f64,
            min_per_second in 0u32..8,
        ) {
            let budget = RetryBudget::new(&policy(ratio, min_per_second));
            let (mut now, mut calls, mut granted) = (0, Vec::<u64>::new(), Vec::<u64>::new());
            let within = |events: &[u64], now: u64, span: u64| {
                events.iter().filter(|at| **at + span > now).count() as f64
            };
            let reserve = f64::from(min_per_second);
            for step in steps {
                match step {
                    Step::Advance(by) => now += by,
                    Step::Deposit => {
                        budget.deposit(Timestamp::from_nanos(now));
                        calls.push(now);
                    }
                    Step::Withdraw if budget.withdraw(Timestamp::from_nanos(now)) => {
                        granted.push(now);
                        for span in [1, 10, 30] {
                            let calls = within(&calls, now, (span + 10) * SECOND);
                            let bound = ratio * calls + reserve * (span + 1) as f64 + 1e-6;
                            prop_assert!(within(&granted, now, span * SECOND) <= bound);
                        }
                        let seconds = now as f64 / SECOND as f64;
                        let bound = ratio * calls.len() as f64 + reserve * (seconds + 1.0) + 1e-6;
                        prop_assert!(granted.len() as f64 <= bound);
                        if min_per_second == 0 {
                            // The deposits that pay for a retry are less than a window old.
                            let paid = ratio * within(&calls, now, 10 * SECOND) + 1e-6;
                            prop_assert!(within(&granted, now, 10 * SECOND) <= paid);
                        }
                    }
                    Step::Withdraw => {
                        let certain = ratio * within(&calls, now, 9 * SECOND);
                        prop_assert!(within(&granted, now, 11 * SECOND) + 1.0 > certain);
                    }
                }
            }
        }
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p mesh-core --lib loom`
#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    fn policy(ratio: f64, min_per_second: u32) -> RetryBudgetPolicy {
        RetryBudgetPolicy { ratio, min_per_second, ..RetryBudgetPolicy::default() }
    }

    /// Two threads withdraw at the same instant; how many tokens they got.
    fn race(budget: RetryBudget, now: Timestamp) -> u32 {
        let budget = Arc::new(budget);
        let other = Arc::clone(&budget);
        let other = thread::spawn(move || u32::from(other.withdraw(now)));
        let own = u32::from(budget.withdraw(now));
        own + other.join().unwrap()
    }

    #[test]
    fn one_token_of_calls_is_never_taken_twice() {
        loom::model(|| {
            let budget = RetryBudget::new(&policy(1.0, 0));
            budget.deposit(Timestamp::ZERO);
            assert!(race(budget, Timestamp::ZERO) <= 1);
        });
    }

    #[test]
    fn one_token_of_the_reserve_is_taken_exactly_once() {
        loom::model(|| {
            assert_eq!(race(RetryBudget::new(&policy(0.0, 1)), Timestamp::ZERO), 1);
        });
    }

    #[test]
    fn no_deposit_is_lost_when_two_open_a_new_epoch() {
        loom::model(|| {
            let budget = Arc::new(RetryBudget::new(&policy(0.5, 0)));
            let now = Timestamp::from_millis(11_000);
            budget.deposit(Timestamp::ZERO); // the same slot, eleven epochs ago
            let other = Arc::clone(&budget);
            let other = thread::spawn(move || other.deposit(now));
            budget.deposit(now);
            other.join().unwrap();
            assert_eq!(budget.calls.sum(11, CALL_SLOTS), 2);
        });
    }
}
