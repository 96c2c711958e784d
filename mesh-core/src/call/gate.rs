//! What stands between a retry that is wanted and one that happens.
//!
//! The machine knows the call; the cluster's budget and breakers, the saved request and today's date
//! belong to whoever drives it, who lends them as a [`RetryGate`].

use super::budget::RetryBudget;
use crate::breaker::{Breaker, Resource};
use crate::local_reply::ResponseFlag;
use crate::model::RoutingPriority;
use crate::time::{Timestamp, WallTime};
use http::HeaderMap;

/// What the call machine asks of its driver when an attempt failed.
///
/// A slot admitted by [`admit_retry`](Self::admit_retry) is given back by
/// [`release_retry`](Self::release_retry) exactly once: when the retry ends, or when the call does. A
/// call that is *dropped* while it holds slots can't say so, hence an implementation counts what it
/// admitted and gives the rest back when it is dropped itself.
pub trait RetryGate {
    /// Whether head and body are still at hand, saved or handed back by the transport.
    fn can_resend(&self) -> bool;

    /// Whether a response matches the policy's `retriable_headers`. Asked only where the policy
    /// retries on [`RETRIABLE_HEADERS`](crate::model::RetryOn::RETRIABLE_HEADERS).
    fn matches_retriable_headers(&self, headers: &HeaderMap) -> bool;

    /// Today's date. Asked only when a response names a date to come back at.
    fn wall_time(&self) -> WallTime;

    /// Asks for one retry's slot and token; [`admit_retry`] is the usual answer.
    ///
    /// # Errors
    /// [`RetryRefused`] says which limit is reached.
    fn admit_retry(&mut self, now: Timestamp) -> Result<(), RetryRefused>;

    /// Gives back one slot.
    fn release_retry(&mut self);
}

/// Takes a slot of the breaker's `max_retries` and a token of the budget, or neither.
///
/// Envoy's order: the decision is made when the retry is planned, so retries that wait in back-off
/// hold their slot. Envoy's concurrency rule applies in addition to the tokens, where the budget's
/// policy has one. [`Breaker::release`] with [`Resource::Retries`] is the way back.
///
/// # Errors
/// [`RetryRefused`] says which limit is reached.
pub fn admit_retry(
    budget: &RetryBudget,
    breaker: &Breaker,
    priority: RoutingPriority,
    now: Timestamp,
) -> Result<(), RetryRefused> {
    breaker
        .try_acquire(priority, Resource::Retries)
        .map_err(|_overflow| RetryRefused::MaxRetries)?;
    let active = |resource| u64::from(breaker.active(priority, resource));
    let calls = active(Resource::Requests) + active(Resource::Pending);
    let admitted = if !budget.allows_concurrent(active(Resource::Retries), calls) {
        Err(RetryRefused::Concurrency)
    } else if !budget.withdraw(now) {
        Err(RetryRefused::Budget)
    } else {
        Ok(())
    };
    if admitted.is_err() {
        breaker.release(priority, Resource::Retries);
    }
    admitted
}

/// Which limit of the cluster refused a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RetryRefused {
    /// The budget has no token left.
    #[error("the retry budget is used up")]
    Budget,
    /// Too large a share of the calls in flight are retries (Envoy: `retry_budget`).
    #[error("too many of the calls in flight are retries")]
    Concurrency,
    /// The circuit breaker's `max_retries` is reached.
    #[error("max_retries is reached")]
    MaxRetries,
}

/// Why a retry that an outcome asked for did not happen.
///
/// It goes beside the call's answer, never in its place: the caller gets the last response, or the
/// last failure, and telemetry shows this in addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryStop {
    /// `num_retries` were made.
    Limit,
    /// A limit of the cluster refused it.
    Refused(RetryRefused),
    /// The server said not to: pushback, or `x-mesh-retry: no`.
    Server,
    /// The request was not saved, or its body is too large or no longer complete.
    NotReplayable,
    /// The pause would have lasted until the deadline or longer.
    Deadline,
}

impl RetryStop {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Limit => "retry_limit",
            Self::Refused(RetryRefused::Budget) => "retry_budget",
            Self::Refused(RetryRefused::Concurrency) => "retry_concurrency",
            Self::Refused(RetryRefused::MaxRetries) => "overflow_retries",
            Self::Server => "retry_forbidden",
            Self::NotReplayable => "not_replayable",
            Self::Deadline => "retry_deadline",
        }
    }

    /// Envoy's flag in addition to the answer's own: `URX` where retries are used up, `UO` where a
    /// breaker was full.
    #[must_use]
    pub const fn flag(self) -> Option<ResponseFlag> {
        match self {
            Self::Limit | Self::Refused(RetryRefused::Budget | RetryRefused::Concurrency) => {
                Some(ResponseFlag::UpstreamRetryLimitExceeded)
            }
            Self::Refused(RetryRefused::MaxRetries) => Some(ResponseFlag::UpstreamOverflow),
            Self::Server | Self::NotReplayable | Self::Deadline => None,
        }
    }

    /// Whether what there was to try has been tried: the hop above should not try again
    /// (`x-mesh-retry: no`, `grpc-retry-pushback-ms: -1`).
    #[must_use]
    pub const fn is_exhausted(self) -> bool {
        matches!(self, Self::Limit | Self::Refused(_) | Self::Server)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::model::CircuitBreakers;
    use crate::model::cluster::{RetryBudgetPolicy, RetryConcurrency};

    #[test]
    fn a_refused_retry_leaves_no_slot_behind() {
        let mut limits = CircuitBreakers::default();
        limits.default.max_retries = Some(2);
        let breaker = Breaker::new(&limits);
        let policy = RetryBudgetPolicy { min_per_second: 3, ..RetryBudgetPolicy::default() };
        let budget = RetryBudget::new(&policy);
        let admit =
            || admit_retry(&budget, &breaker, RoutingPriority::Default, Timestamp::from_millis(0));
        let retries = || breaker.active(RoutingPriority::Default, Resource::Retries);

        assert_eq!((admit(), admit()), (Ok(()), Ok(())));
        assert_eq!(admit(), Err(RetryRefused::MaxRetries));
        assert_eq!(retries(), 2);
        breaker.release(RoutingPriority::Default, Resource::Retries);
        assert_eq!(admit(), Ok(()));
        breaker.release(RoutingPriority::Default, Resource::Retries);
        assert_eq!(admit(), Err(RetryRefused::Budget), "the reserve of one second is used up");
        assert_eq!(retries(), 1);
    }

    #[test]
    fn envoys_concurrency_rule_applies_in_addition() {
        let breaker = Breaker::new(&CircuitBreakers::default());
        let rule = RetryConcurrency { budget_percent: 20.0, min_retry_concurrency: 1 };
        let policy = RetryBudgetPolicy { concurrency: Some(rule), ..RetryBudgetPolicy::default() };
        let budget = RetryBudget::new(&policy);
        let admit = || admit_retry(&budget, &breaker, RoutingPriority::Default, Timestamp::ZERO);
        assert_eq!((admit(), admit()), (Ok(()), Err(RetryRefused::Concurrency)));
        for _ in 0..10 {
            breaker.try_acquire(RoutingPriority::Default, Resource::Requests).unwrap();
        }
        assert_eq!((admit(), admit()), (Ok(()), Err(RetryRefused::Concurrency)));
    }
}
