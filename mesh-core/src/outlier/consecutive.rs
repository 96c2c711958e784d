//! Failures in a row: how a streak grows and ends, and what the writer makes of a full one.
//!
//! Success rates need an interval to speak; a streak speaks at once. The call path only counts and
//! notices that a threshold was *reached* (equality, so once per streak); the single writer decides,
//! because the cap is about the whole cluster.
//!
//! Rules (Envoy: `outlier_detection_impl.cc`, `putHttpResponseCode`, `onConsecutiveErrorWorker`):
//!
//! | answer | server errors | gateway failures |
//! |---|---|---|
//! | below 500, or 600 and above | 0 | 0 |
//! | 502, 503, 504 | +1 | +1 |
//! | another 5xx | +1 | 0 |
//!
//! A full streak is decided even when a success has ended it meanwhile; the decision sets that
//! counter, and no other, back to 0, whether or not it was enforced. An endpoint that is already out
//! keeps its counters.

use super::ejection::{Ejector, Found};
use super::monitor::Monitor;
use super::{Endpoints, Rules};
use crate::Random;
use crate::event::{Evidence, OutlierKind};

/// Answers that failed, in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streak {
    /// 5xx.
    pub(super) server_errors: u32,
    /// 502, 503, 504.
    pub(super) gateway_failures: u32,
}

impl Streak {
    /// Both counters in one word, so that one exchange moves them together.
    pub(super) const fn to_word(self) -> u64 {
        ((self.server_errors as u64) << 32) | self.gateway_failures as u64
    }

    pub(super) const fn from_word(word: u64) -> Self {
        Self { server_errors: (word >> 32) as u32, gateway_failures: word as u32 }
    }

    /// The streak after an answer with this status.
    pub(super) const fn after(self, code: u16) -> Self {
        match code {
            502..=504 => Self {
                server_errors: self.server_errors.saturating_add(1),
                gateway_failures: self.gateway_failures.saturating_add(1),
            },
            500..=599 => {
                Self { server_errors: self.server_errors.saturating_add(1), gateway_failures: 0 }
            }
            _ => Self { server_errors: 0, gateway_failures: 0 },
        }
    }
}

/// Whether an answer with this status is a failure (Envoy: `CodeUtility::is5xx`).
pub(super) const fn is_failure(code: u16) -> bool {
    matches!(code, 500..=599)
}

/// Which streaks are full and wait for the writer: a set of kinds in one byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Triggers(u8);

impl Triggers {
    const GATEWAY: u8 = 1;
    const SERVER: u8 = 2;
    const LOCAL: u8 = 4;

    /// The thresholds that a step from `before` to `after` reached.
    pub(super) const fn reached(rules: &Rules, before: Streak, after: Streak) -> Self {
        let mut bits = 0;
        let gateway = rules.consecutive_gateway_failure;
        if before.gateway_failures < gateway && after.gateway_failures >= gateway {
            bits |= Self::GATEWAY;
        }
        let server = rules.consecutive_5xx;
        if before.server_errors < server && after.server_errors >= server {
            bits |= Self::SERVER;
        }
        Self(bits)
    }

    /// The same for the local failure number `after`.
    pub(super) const fn reached_local(rules: &Rules, after: u32) -> Self {
        let reached = after > 0 && after == rules.consecutive_local_origin_failure;
        Self(if reached { Self::LOCAL } else { 0 })
    }

    /// Whether so many local failures in a row are enough.
    pub(super) const fn full_local(rules: &Rules, failures: u32) -> Self {
        let threshold = rules.consecutive_local_origin_failure;
        Self(if threshold > 0 && failures >= threshold { Self::LOCAL } else { 0 })
    }

    pub(super) const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(super) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds, in the order in which Envoy decides them: a 503 can fill two streaks at once.
    pub(super) fn kinds(self) -> impl Iterator<Item = OutlierKind> {
        [
            (Self::GATEWAY, OutlierKind::ConsecutiveGatewayFailure),
            (Self::SERVER, OutlierKind::Consecutive5xx),
            (Self::LOCAL, OutlierKind::ConsecutiveLocalOriginFailure),
        ]
        .into_iter()
        .filter_map(move |(bit, kind)| (self.0 & bit != 0).then_some(kind))
    }
}

/// Decides about every full streak.
pub(super) fn decide<E: Endpoints, R: Random>(ejector: &mut Ejector<'_, E, R>, rules: &Rules) {
    let mut full = Vec::new();
    for index in 0..ejector.endpoints.count() {
        ejector.survey(index);
        let triggers = ejector.endpoints.monitor(index).take_triggers();
        if !triggers.is_empty() {
            full.push((index, triggers));
        }
    }
    for (index, triggers) in full {
        let monitor = ejector.endpoints.monitor(index);
        for kind in triggers.kinds() {
            let Some((failures, threshold)) = count(monitor, rules, kind) else { continue };
            // A success may have ended the streak meanwhile.
            let failures = failures.max(threshold);
            let evidence = Evidence::Consecutive { failures, threshold };
            if ejector.consider(Found { index, kind, evidence }) {
                monitor.end_streak(kind);
            }
        }
    }
}

/// The streak of this kind and its threshold; nothing when the kind is not watched any more.
fn count(monitor: &Monitor, rules: &Rules, kind: OutlierKind) -> Option<(u32, u32)> {
    let (failures, threshold) = match kind {
        OutlierKind::ConsecutiveGatewayFailure => {
            (monitor.streak().gateway_failures, rules.consecutive_gateway_failure)
        }
        OutlierKind::ConsecutiveLocalOriginFailure => {
            (monitor.local_streak(), rules.consecutive_local_origin_failure)
        }
        _ => (monitor.streak().server_errors, rules.consecutive_5xx),
    };
    (threshold > 0).then_some((failures, threshold))
}

#[cfg(test)]
mod tests;
