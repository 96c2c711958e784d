//! [`FilterCells`]: what one filter of a listener decided, counted.

use super::cell::{Sharded, zeroes};
use mesh_core::Timestamp;
use mesh_core::filter::{AskDecision, AskOutcome, Injected, Limit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What became of a request, as far as one filter decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterOutcome {
    Allowed,
    Limited,
    WouldBeLimited,
    Denied,
    WouldBeDenied,
    FailedOpen,
    FailedClosed,
    WouldFailClosed,
    Delayed,
    Aborted,
    Overflow,
    NotAsked,
}

impl FilterOutcome {
    /// In the order of their numbers.
    const ALL: [Self; 12] = [
        Self::Allowed,
        Self::Limited,
        Self::WouldBeLimited,
        Self::Denied,
        Self::WouldBeDenied,
        Self::FailedOpen,
        Self::FailedClosed,
        Self::WouldFailClosed,
        Self::Delayed,
        Self::Aborted,
        Self::Overflow,
        Self::NotAsked,
    ];

    /// Label `outcome` of `mesh_server_filter_decisions_total`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Limited => "limited",
            Self::WouldBeLimited => "would_be_limited",
            Self::Denied => "denied",
            Self::WouldBeDenied => "would_be_denied",
            Self::FailedOpen => "failed_open",
            Self::FailedClosed => "failed_closed",
            Self::WouldFailClosed => "would_fail_closed",
            Self::Delayed => "delayed",
            Self::Aborted => "aborted",
            Self::Overflow => "overflow",
            Self::NotAsked => "not_asked",
        }
    }
}

impl From<Limit> for FilterOutcome {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Allowed => Self::Allowed,
            Limit::Limited => Self::Limited,
            Limit::WouldBeLimited => Self::WouldBeLimited,
        }
    }
}

impl From<Injected> for FilterOutcome {
    fn from(fault: Injected) -> Self {
        match fault {
            Injected::Delay(_) => Self::Delayed,
            Injected::Abort(..) => Self::Aborted,
            Injected::Overflow => Self::Overflow,
        }
    }
}

impl From<&AskDecision<'_>> for FilterOutcome {
    fn from(decision: &AskDecision<'_>) -> Self {
        // Whoever counts requests is a limit, and is counted as the others.
        let limits = decision.code == "request_rate_limited";
        match (decision.outcome, decision.shadow) {
            (AskOutcome::Allowed, _) => Self::Allowed,
            (AskOutcome::NotAsked, _) => Self::NotAsked,
            (AskOutcome::Denied, false) if limits => Self::Limited,
            (AskOutcome::Denied, true) if limits => Self::WouldBeLimited,
            (AskOutcome::Denied, false) => Self::Denied,
            (AskOutcome::Denied, true) => Self::WouldBeDenied,
            (AskOutcome::FailedOpen, _) => Self::FailedOpen,
            (AskOutcome::FailedClosed, true) => Self::WouldFailClosed,
            // An outcome that is newer than this: the closed one.
            (_, _) => Self::FailedClosed,
        }
    }
}

/// The cells of one filter: its decisions by what became of the request.
#[derive(Default)]
pub(crate) struct FilterCells {
    shards: Sharded<Block>,
    /// What the log was told last of whoever is asked: when, in nanoseconds, but for the last bit, which says
    /// that it does not answer. 0: nothing.
    told: AtomicU64,
}

/// The log hears of one filter at most this often: who answers every second request would fill it.
const PAUSE: Duration = Duration::from_secs(5);

struct Block {
    outcomes: [AtomicU64; FilterOutcome::ALL.len()],
}

impl Default for Block {
    fn default() -> Self {
        Self { outcomes: zeroes() }
    }
}

impl FilterCells {
    /// The filter decided.
    pub(crate) fn count(&self, outcome: FilterOutcome) {
        let block = self.shards.block();
        if let Some(cell) = block.outcomes.get(outcome as usize) {
            block.count(cell);
        }
    }

    /// Whoever is asked has answered, or not; whether the log is told: it was told otherwise last, and that is
    /// some time ago. A change that comes too early is told later, if it lasts.
    pub(crate) fn answered(&self, answered: bool, now: Timestamp) -> bool {
        let (now, failing) = (now.as_nanos(), u64::from(!answered));
        let told = self.told.load(Ordering::Relaxed);
        // Hardly ever does it change.
        if told & 1 == failing {
            return false;
        }
        let since = Duration::from_nanos(now.saturating_sub(told));
        let next = now & !1 | failing;
        (told == 0 || since >= PAUSE)
            && self.told.compare_exchange(told, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Gives `visit` each outcome that there was.
    pub(super) fn visit(&self, mut visit: impl FnMut(&'static str, u64)) {
        for outcome in FilterOutcome::ALL {
            let at = outcome as usize;
            let count: u64 = self
                .shards
                .blocks()
                .filter_map(|block| block.outcomes.get(at))
                .map(|cell| cell.load(Ordering::Relaxed))
                .fold(0, u64::wrapping_add);
            if count > 0 {
                visit(outcome.as_str(), count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use std::time::Duration;

    #[test]
    fn each_outcome_has_its_own_cell_and_name() {
        let cells = FilterCells::default();
        for (at, outcome) in FilterOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
            (0..=at).for_each(|_| cells.count(outcome));
        }
        let mut seen = Vec::new();
        cells.visit(|name, count| seen.push((name, count)));
        assert_eq!(seen.len(), FilterOutcome::ALL.len());
        assert!(seen.iter().zip(1..).all(|((_, count), expected)| *count == expected), "{seen:?}");
        seen.dedup_by_key(|(name, _)| *name);
        assert_eq!(seen.len(), FilterOutcome::ALL.len());
    }

    #[test]
    fn what_was_decided_says_what_is_counted() {
        let asked = |outcome, shadow, code| {
            let decision = AskDecision { outcome, shadow, code, cluster: None, failure: None };
            FilterOutcome::from(&decision).as_str()
        };
        for (found, expected) in [
            (FilterOutcome::from(Limit::WouldBeLimited).as_str(), "would_be_limited"),
            (FilterOutcome::from(Injected::Delay(Duration::ZERO)).as_str(), "delayed"),
            (FilterOutcome::from(Injected::Abort(StatusCode::OK, None)).as_str(), "aborted"),
            (asked(AskOutcome::Denied, false, "ext_authz_denied"), "denied"),
            (asked(AskOutcome::Denied, true, "jwt_expired"), "would_be_denied"),
            (asked(AskOutcome::Denied, false, "request_rate_limited"), "limited"),
            (asked(AskOutcome::Denied, true, "request_rate_limited"), "would_be_limited"),
            (asked(AskOutcome::FailedOpen, true, "rate_limiter_error"), "failed_open"),
            (asked(AskOutcome::FailedClosed, true, "ext_authz_error"), "would_fail_closed"),
            (asked(AskOutcome::FailedClosed, false, "ext_authz_error"), "failed_closed"),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_change_is_told_once() {
        let cells = FilterCells::default();
        let times = [true, false, false, true, true].into_iter().zip([1, 2, 60, 61, 120]);
        let told =
            times.map(|(answered, s)| cells.answered(answered, Timestamp::from_millis(s * 1000)));
        assert_eq!(told.collect::<Vec<_>>(), [false, true, false, true, false]);
    }

    #[test]
    fn who_answers_every_second_time_is_told_every_few_seconds() {
        let cells = FilterCells::default();
        let mut told = Vec::new();
        for at in 1..2_000 {
            let answered = at % 2 == 0;
            if cells.answered(answered, Timestamp::from_millis(at * 10)) {
                told.push((at * 10, answered));
            }
        }
        assert_eq!(told, [(10, false), (5_020, true), (10_030, false), (15_040, true)]);
        // What it came to in the end is told.
        assert!(!cells.answered(false, Timestamp::from_millis(20_000)));
        assert!(cells.answered(false, Timestamp::from_millis(20_040)));
    }
}
