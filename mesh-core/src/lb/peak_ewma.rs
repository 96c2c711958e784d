//! Peak EWMA: of two drawn at random, the one that is expected to answer first (Linkerd, Finagle).
//!
//! The estimate of an endpoint's latency follows a rise at once and forgets it slowly: a sample above
//! it replaces it, any other moves it by 1 − e^(−elapsed / decay). Reading decays too, so an endpoint
//! that is avoided is tried again in time. The cost of a candidate is estimate · (active + 1); with
//! unequal weights, `active` counts in units of what its weight should hold, and candidates are drawn
//! by weight.
//!
//! Failures must never look fast, or the endpoint that refuses at once draws all the traffic: a
//! failure counts as max(its time, the penalty, the current estimate). A call that was given up lasted
//! *at least* so long, so it can only raise the estimate.
//!
//! An endpoint without measurements is taken for `default_rtt`, decaying since it became available.

use super::candidates::Candidates;
use super::error::{LbError, integer};
use super::{Loads, PickContext};
use crate::random::Random;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::{Timestamp, saturating_nanos};
use std::time::Duration;

/// How often the second candidate is drawn again because it is the first.
const REDRAWS: u32 = 4;

/// An endpoint's latency estimate: two words, no lock.
///
/// # Concurrent use
///
/// A writer first moves the time stamp forward, which gives it, and nobody else, the time since the
/// last one to decay by; then it changes the estimate by compare-and-swap, so that no peak is lost to a
/// fast answer that comes at the same moment. A reader takes the estimate first and the time stamp
/// after it. What it may see torn is thus an old estimate with a new stamp: a value that was
/// true, not yet decayed for the last interval, until the writer's second step. It never sees a
/// fresh peak decayed by the time before it, which would make a failing endpoint look fast.
#[derive(Debug, Default)]
pub struct PeakEwma {
    /// Nanoseconds as `f64` bits. Above 0: the estimate. Otherwise nothing was measured yet, and the
    /// magnitude is the longest time that a given-up call waited.
    estimate: AtomicU64,
    /// When the estimate was last decayed to.
    stamp: AtomicU64,
}

impl PeakEwma {
    /// Records that an answer took `rtt`, for example to its first byte.
    pub fn record(&self, rtt: Duration, now: Timestamp, decay: Duration) {
        self.update(now, decay, |estimate, kept| {
            let sample = nanos(rtt);
            // Not above 0 before the first measurement, which replaces it.
            let is_peak = estimate <= 0.0 || sample > estimate * kept;
            if is_peak { sample } else { estimate * kept + sample * (1.0 - kept) }
        });
    }

    /// Records a failure that took `elapsed`: it counts as at least `penalty` and never lowers the
    /// estimate.
    pub fn record_failure(
        &self,
        elapsed: Duration,
        penalty: Duration,
        now: Timestamp,
        decay: Duration,
    ) {
        let sample = nanos(elapsed.max(penalty));
        self.update(now, decay, |estimate, kept| sample.max(estimate.abs() * kept));
    }

    /// Records that an attempt was given up after `elapsed`: its answer would have taken longer.
    pub fn record_at_least(&self, elapsed: Duration, now: Timestamp, decay: Duration) {
        let sample = nanos(elapsed);
        self.update(now, decay, |estimate, kept| {
            let bound = sample.max(estimate.abs() * kept);
            if estimate > 0.0 { bound } else { -bound }
        });
    }

    /// The estimate at `now`, in nanoseconds.
    ///
    /// `default_rtt` stands in from `since` until the first measurement.
    #[must_use]
    pub fn estimate(
        &self,
        now: Timestamp,
        decay: Duration,
        (default_rtt, since): (Duration, Timestamp),
    ) -> f64 {
        let rates = Rates { decay: nanos(decay), default_rtt: nanos(default_rtt) };
        self.estimate_at(now, rates, since)
    }

    fn estimate_at(&self, now: Timestamp, rates: Rates, since: Timestamp) -> f64 {
        // Acquire: whoever sees a new estimate sees the stamp that was stored before it.
        let estimate = f64::from_bits(self.estimate.load(Ordering::Acquire));
        let stamp = Timestamp::from_nanos(self.stamp.load(Ordering::Relaxed));
        let known = estimate.abs() * kept(stamp, now, rates.decay);
        if estimate > 0.0 {
            return known;
        }
        known.max(rates.default_rtt * kept(since, now, rates.decay))
    }

    /// Replaces the estimate by `change(estimate, part of it that time has left)`.
    fn update(&self, now: Timestamp, decay: Duration, change: impl Fn(f64, f64) -> f64) {
        let before = self.stamp.fetch_max(now.as_nanos(), Ordering::Relaxed);
        let kept = kept(Timestamp::from_nanos(before), now, nanos(decay));
        let mut seen = self.estimate.load(Ordering::Relaxed);
        loop {
            let next = change(f64::from_bits(seen), kept).to_bits();
            // Release: the stamp is visible to whoever sees this estimate.
            match self.estimate.compare_exchange_weak(
                seen,
                next,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }
}

/// Nanoseconds, at least 1, so that a measured estimate is above 0.
fn nanos(duration: Duration) -> f64 {
    saturating_nanos(duration).max(1) as f64
}

/// The part of an estimate that is left at `now`.
fn kept(stamp: Timestamp, now: Timestamp, decay: f64) -> f64 {
    (-(now.as_nanos().saturating_sub(stamp.as_nanos()) as f64) / decay).exp()
}

#[derive(Clone, Copy, Debug)]
struct Rates {
    decay: f64,
    default_rtt: f64,
}

/// Checked options of peak EWMA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency(Rates);

impl Latency {
    pub(super) fn new(decay: Duration, default_rtt: Duration) -> Result<Self, LbError> {
        let rule = "must be above 0 nanoseconds";
        integer(!decay.is_zero(), "decay", 0, rule)?;
        integer(!default_rtt.is_zero(), "default_rtt", 0, rule)?;
        Ok(Self(Rates { decay: nanos(decay), default_rtt: nanos(default_rtt) }))
    }

    pub(super) fn pick<R: Random>(
        self,
        candidates: &Candidates<'_>,
        cx: &mut PickContext<'_, R>,
        loads: &impl Loads,
    ) -> usize {
        let first = candidates.sample(cx, loads);
        let len = candidates.members.len();
        if len == 1 {
            return first;
        }
        let mut second = candidates.sample(cx, loads);
        for _ in 0..REDRAWS {
            if second != first {
                break;
            }
            second = candidates.sample(cx, loads);
        }
        if second == first {
            second = (first + 1) % len;
        }
        let (one, other) =
            (self.cost(first, candidates, cx, loads), self.cost(second, candidates, cx, loads));
        if other < one { second } else { first }
    }

    fn cost<R>(
        self,
        position: usize,
        candidates: &Candidates<'_>,
        cx: &PickContext<'_, R>,
        loads: &impl Loads,
    ) -> f64 {
        let index = candidates.members[position];
        let estimate = loads.ewma(index).estimate_at(cx.now, self.0, loads.available_since(index));
        let active = f64::from(loads.active(index));
        if candidates.is_equal() {
            return estimate * (active + 1.0);
        }
        let weight = candidates.weight(position, cx, loads);
        estimate * (active * candidates.mean_weight() / weight + 1.0)
    }
}

#[cfg(test)]
mod tests;
