//! How many retries a cluster's calls may make: tokens over time.
//!
//! Retries help while few calls fail and make an outage while most do. Counting the retries in flight
//! does not tell the two apart when answers are fast: with every call failing, Envoy's default share
//! of 20 % in flight lets through 2.2 times the load. Tokens per call do.
//!
//! - Each call earns `ratio` tokens (default 0.2). What nobody spends is saved up to a bound that does
//!   not grow with traffic (`savings`).
//! - A reserve refills whatever the calls, so that a cluster with little traffic can retry at all
//!   (`reserve`).
//! - A retry takes one token, from the savings first. No token, no retry.
//!
//! **The rule** that this keeps is: over every span of at least one `window`, wherever it begins,
//!
//! ```text
//! retries ≤ ratio · calls in the span + min_per_second · span
//! ```
//!
//! An outage begins after good traffic, and the rule looks at the outage alone. So what good traffic
//! saved must fit into what `min_per_second` grants for one window: two thirds of that can be held and
//! spent at once, one third trickles in. Over a span of *any* length `t`, then,
//!
//! ```text
//! retries ≤ ratio · calls + min_per_second · (⅔ · window + ⅓ · t)
//! ```
//!
//! A budget that saves a whole window of calls (as finagle's and tower's do) spends ten seconds' worth
//! in the first second of an outage, however much traffic there was before.
//!
//! Envoy's own rule ([`RetryBudget::allows_concurrent`]) applies in addition where it is configured.
//!
//! Two words hold all of it, one for the savings and one for the reserve, each changed by one
//! exchange. While calls succeed the savings are full, and a call only reads them.

mod reserve;
mod savings;
#[cfg(test)]
mod tests;

use crate::model::RetryBudgetPolicy;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::time::Timestamp;
use reserve::Reserve;
use savings::Savings;
use std::time::Duration;

/// A retry budget, shared by all calls of a cluster.
#[derive(Debug)]
pub struct RetryBudget {
    enabled: AtomicBool,
    savings: Savings,
    reserve: Reserve,
    /// The bits of an `f64`: Envoy's `budget_percent`.
    concurrency_percent: AtomicU64,
    /// Envoy's `min_retry_concurrency`; [`NO_CONCURRENCY_RULE`]: the rule does not apply.
    concurrency_min: AtomicU32,
}

/// The share of `min_per_second` that can be held and spent at once; the rest trickles in.
const HELD: f64 = 2.0 / 3.0;
/// The longest time whose `min_per_second` the reserve holds.
const RESERVE: Duration = Duration::from_secs(1);
/// Savings hold so many tokens at least, or two failures in a row among healthy calls were one too
/// many. Only with a `min_per_second · window` below fifteen is this more than the rule grants.
const LEAST_SAVINGS: f64 = 10.0;
const NO_CONCURRENCY_RULE: u32 = u32::MAX;

impl RetryBudget {
    /// The shortest window; a shorter one in the policy counts as this.
    pub const MIN_WINDOW: Duration = Duration::from_secs(1);

    /// A budget without savings and with a full reserve.
    #[must_use]
    pub fn new(policy: &RetryBudgetPolicy) -> Self {
        let budget = Self {
            enabled: AtomicBool::new(true),
            savings: Savings::new(),
            reserve: Reserve::new(),
            concurrency_percent: AtomicU64::new(0),
            concurrency_min: AtomicU32::new(NO_CONCURRENCY_RULE),
        };
        budget.set_policy(policy);
        budget
    }

    /// Goes over to another policy. What was saved stays, up to the new bound.
    pub fn set_policy(&self, policy: &RetryBudgetPolicy) {
        let window = policy.window.max(Self::MIN_WINDOW).as_secs_f64();
        let per_second = f64::from(policy.min_per_second);
        let held = HELD * per_second * window;
        let in_reserve = (per_second * RESERVE.as_secs_f64()).min(held / 2.0).floor();
        self.enabled.store(policy.enabled, Ordering::Relaxed);
        self.savings.set(policy.ratio, (held - in_reserve).max(LEAST_SAVINGS));
        self.reserve.set(in_reserve, per_second * (1.0 - HELD));
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

    /// Counts one call: on the path of every call, and only loads while the savings are full.
    pub fn deposit(&self) {
        if self.enabled.load(Ordering::Relaxed) {
            self.savings.earn();
        }
    }

    /// Takes one token for a retry, if there is one.
    #[must_use]
    pub fn withdraw(&self, now: Timestamp) -> bool {
        !self.enabled.load(Ordering::Relaxed) || self.savings.take() || self.reserve.take(now)
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
}
