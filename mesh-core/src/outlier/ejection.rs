//! Ejection: whether an outlier may go, for how long, and what is reported about it.
//!
//! Detection is about one endpoint; ejection is about the cluster. A rule that takes out whoever
//! fails takes everybody out when the network fails, so every kind of outlier comes through here.
//!
//! Rules, in this order:
//! 1. Enforcing 0 percent is a dry run: detected, counted, reported, and nothing else. (Envoy asks
//!    the cap first and says nothing of a dry run that it would have refused.)
//! 2. The cap, over the whole cluster and not per priority (Envoy: `ejectHost`; gRFC A50, "Success
//!    Rate Algorithm", step 3.1); [`CapRule`] says how it is read. `always_eject_one_endpoint` lets
//!    the first one go.
//! 3. The last endpoint that takes calls stays. Envoy and gRPC would let it go (a cluster of one;
//!    `always_eject_one_host`; the rest unhealthy by EDS); an outage is not made worse here. Only
//!    `max_ejection_percent: 100` says otherwise, and then the event says that nobody is left.
//! 4. The enforcing percentage, drawn.
//!
//! An ejection lasts min(base · multiplier, max(base, max)) + jitter. The multiplier grows by one
//! with each ejection while that still lengthens it, and a sweep that finds the endpoint in takes
//! one off (Envoy: `ejectTimeBackoff`).

use super::{Endpoints, Turn};
use crate::event::{Event, Evidence, OutlierKind, Unejection, Verdict};
use crate::model::OutlierDetection;
use crate::model::outlier_detection::{CapRule, FailurePercentage, SuccessRate};
use crate::{Random, Timestamp};
use std::time::Duration;

/// How often each kind was found and acted upon, since the detector was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    detected: [u64; OutlierKind::ALL.len()],
    enforced: [u64; OutlierKind::ALL.len()],
    refused: u64,
    unejected: u64,
}

impl Counts {
    /// Outliers of this kind, ejected or not (Envoy: `ejections_detected_*`).
    #[must_use]
    pub const fn detected(&self, kind: OutlierKind) -> u64 {
        self.detected[kind as usize]
    }

    /// Ejections by this kind (Envoy: `ejections_enforced_*`).
    #[must_use]
    pub const fn enforced(&self, kind: OutlierKind) -> u64 {
        self.enforced[kind as usize]
    }

    /// Ejections that the cap refused, or that the last endpoint was spared
    /// (Envoy: `ejections_overflow`).
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Endpoints that came back.
    #[must_use]
    pub const fn unejected(&self) -> u64 {
        self.unejected
    }

    pub(super) const fn count_unejected(&mut self) {
        self.unejected += 1;
    }
}

/// An outlier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) index: u32,
    pub(super) kind: OutlierKind,
    pub(super) evidence: Evidence,
}

/// One turn of the writer over a cluster: first every endpoint is surveyed, then outliers are
/// considered.
pub(super) struct Ejector<'a, E, R> {
    pub(super) config: &'a OutlierDetection,
    pub(super) endpoints: &'a E,
    pub(super) now: Timestamp,
    random: &'a mut R,
    counts: &'a mut Counts,
    turn: &'a mut Turn,
    /// Endpoints that are out, so far surveyed.
    ejected: u32,
    /// Endpoints that take calls, so far surveyed.
    left: u32,
}

impl<'a, E: Endpoints, R: Random> Ejector<'a, E, R> {
    pub(super) const fn new(
        config: &'a OutlierDetection,
        endpoints: &'a E,
        now: Timestamp,
        random: &'a mut R,
        counts: &'a mut Counts,
        turn: &'a mut Turn,
    ) -> Self {
        Self { config, endpoints, now, random, counts, turn, ejected: 0, left: 0 }
    }

    /// Counts the endpoint; to be called for each, once, before any is considered.
    pub(super) fn survey(&mut self, index: u32) {
        if self.endpoints.monitor(index).is_ejected() {
            self.ejected += 1;
        } else if self.endpoints.is_available(index) {
            self.left += 1;
        }
    }

    /// Decides about an outlier and reports it. False: it was out already, and nothing was done.
    pub(super) fn consider(&mut self, found: Found) -> bool {
        let Found { index, kind, evidence } = found;
        if self.endpoints.monitor(index).is_ejected() {
            return false;
        }
        self.counts.detected[kind as usize] += 1;
        let verdict = self.judge(index, enforcing(self.config, kind));
        match verdict {
            Verdict::Ejected { .. } => self.counts.enforced[kind as usize] += 1,
            Verdict::RefusedByCap { .. } | Verdict::RefusedAsLast { .. } => {
                self.counts.refused += 1;
            }
            Verdict::NotEnforced { .. } => {}
        }
        let address = self.endpoints.address(index);
        self.turn.report(|| Event::Outlier { address: address.clone(), kind, evidence, verdict });
        true
    }

    /// Brings the endpoint back if its time is over: at its end, as Envoy does (`checkHostForUneject`);
    /// gRFC A50 ("Outlier Detection Behavior", step 5) says "after". To be called before it is
    /// surveyed.
    pub(super) fn uneject_if_served(&mut self, index: u32) {
        let monitor = self.endpoints.monitor(index);
        if !monitor.is_ejected() {
            return;
        }
        let out = self.now.saturating_duration_since(monitor.changed_at());
        let term = duration(self.config, monitor.multiplier()).saturating_add(monitor.jitter());
        if out >= term {
            self.counts.count_unejected();
            self.turn.uneject(self.endpoints, index, Unejection::Served, self.now);
        }
    }

    fn judge(&mut self, index: u32, enforcing: u32) -> Verdict {
        if enforcing == 0 {
            return Verdict::NotEnforced { enforcing };
        }
        let (ejected, total) = (self.ejected, self.endpoints.count());
        if !cap_allows(self.config, ejected, total) {
            let max_percent = max_percent(self.config);
            let rule = self.config.cap_rule;
            return Verdict::RefusedByCap { ejected, total, max_percent, rule };
        }
        let takes_calls = self.endpoints.is_available(index);
        if takes_calls && self.left <= 1 && max_percent(self.config) < 100 {
            return Verdict::RefusedAsLast { total };
        }
        if enforcing < 100 && self.random.below(100) >= u64::from(enforcing) {
            return Verdict::NotEnforced { enforcing };
        }
        self.eject(index, takes_calls)
    }

    fn eject(&mut self, index: u32, takes_calls: bool) -> Verdict {
        let monitor = self.endpoints.monitor(index);
        let multiplier = grown(self.config, monitor.multiplier());
        let jitter_millis = self.draw_jitter();
        monitor.eject(self.now, multiplier, jitter_millis);
        self.turn.changed.push(index);
        self.ejected += 1;
        self.left = self.left.saturating_sub(takes_calls.into());
        let duration = duration(self.config, multiplier).saturating_add(monitor.jitter());
        Verdict::Ejected { duration, left: self.left }
    }

    /// Whole milliseconds up to `max_ejection_time_jitter`, which is read as 49 days at most.
    fn draw_jitter(&mut self) -> u32 {
        let max = self.config.max_ejection_time_jitter.as_millis();
        let max = u64::from(u32::try_from(max).unwrap_or(u32::MAX));
        if max == 0 { 0 } else { self.random.below(max + 1) as u32 }
    }
}

/// Whether one more may go when `ejected` of `total` are out.
pub(super) fn cap_allows(config: &OutlierDetection, ejected: u32, total: u32) -> bool {
    if config.always_eject_one_endpoint && ejected == 0 {
        return true;
    }
    let limit = u64::from(max_percent(config)) * u64::from(total);
    let share = |ejected: u64| 100 * ejected;
    match config.cap_rule {
        CapRule::Envoy => share(u64::from(ejected) + 1) <= limit,
        CapRule::Grpc => share(u64::from(ejected)) < limit,
    }
}

fn max_percent(config: &OutlierDetection) -> u32 {
    config.max_ejection_percent.min(100)
}

/// How long an ejection lasts, jitter apart.
pub(super) fn duration(config: &OutlierDetection, multiplier: u32) -> Duration {
    let base = config.base_ejection_time;
    base.saturating_mul(multiplier).min(config.max_ejection_time.max(base))
}

/// The multiplier after one more ejection (Envoy: it stops to grow at the maximum, so that an
/// endpoint that got well is not held to a long past).
pub(super) fn grown(config: &OutlierDetection, multiplier: u32) -> u32 {
    let base = config.base_ejection_time;
    let most = config.max_ejection_time.max(base).saturating_add(base);
    // The first ejection always counts; a base of zero has nothing to multiply.
    let grows = multiplier == 0 || (!base.is_zero() && base.saturating_mul(multiplier) < most);
    if grows { multiplier.saturating_add(1) } else { multiplier }
}

/// The chance in percent that an outlier of this kind is ejected.
fn enforcing(config: &OutlierDetection, kind: OutlierKind) -> u32 {
    let rate = |rule: Option<SuccessRate>| rule.map_or(0, |rule| rule.enforcing);
    let percentage = |rule: Option<FailurePercentage>| rule.map_or(0, |rule| rule.enforcing);
    match kind {
        OutlierKind::Consecutive5xx => config.enforcing_consecutive_5xx,
        OutlierKind::ConsecutiveGatewayFailure => config.enforcing_consecutive_gateway_failure,
        OutlierKind::ConsecutiveLocalOriginFailure => {
            config.enforcing_consecutive_local_origin_failure
        }
        OutlierKind::SuccessRate => rate(config.success_rate),
        OutlierKind::LocalOriginSuccessRate => rate(config.local_origin_success_rate),
        OutlierKind::FailurePercentage => percentage(config.failure_percentage),
        OutlierKind::LocalOriginFailurePercentage => {
            percentage(config.local_origin_failure_percentage)
        }
    }
}

#[cfg(test)]
mod tests;
