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

/// A tick of a cell's clock is 2^20 ns, about a millisecond.
const TICK_BITS: u32 = 20;

/// A sample that is no peak counts if the last one is at least this part of `decay` ago.
const SPACING: f64 = 1.0 / 1024.0;

/// An endpoint's latency estimate: one atomic word, no lock.
///
/// The estimate (an `f32`, in nanoseconds) and the time that it is for (32 bits of ticks) share the
/// word and change together, so nothing can be torn. In two words a slow writer would decay a peak
/// that was recorded after it began, by the time before it, and an endpoint that fails would look fast.
///
/// A peak counts at once; other samples count if the last is at least 1/1024 of `decay` ago, with the
/// weight of all that time. So a busy endpoint's word is written seldom, and no step is too small for
/// an `f32`. After 26 days without a measurement the ticks wrap and the estimate is taken for a recent
/// one; nothing worse comes of it than a few picks.
#[derive(Debug, Default)]
pub struct PeakEwma(AtomicU64);

/// What a cell holds.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Above 0: the estimate. Otherwise nothing was measured yet, and the magnitude is the longest
    /// time that a given-up call waited.
    estimate: f64,
    tick: u32,
}

impl Cell {
    fn unpack(word: u64) -> Self {
        let estimate = f64::from(f32::from_bits((word >> 32) as u32));
        Self { estimate, tick: word as u32 }
    }

    fn pack(estimate: f64, now: Timestamp) -> u64 {
        let bits = (estimate as f32).to_bits();
        (u64::from(bits) << 32) | u64::from(tick(now))
    }

    /// Nanoseconds from the cell's time to `now`; 0 when another thread was there with a later `now`.
    fn age(self, now: Timestamp) -> f64 {
        let ticks = tick(now).wrapping_sub(self.tick).cast_signed();
        f64::from(ticks.max(0)) * f64::from(1 << TICK_BITS)
    }
}

/// The low bits of the time in ticks.
const fn tick(now: Timestamp) -> u32 {
    (now.as_nanos() >> TICK_BITS) as u32
}

impl PeakEwma {
    /// Records that an answer took `rtt`, for example to its first byte.
    pub fn record(&self, rtt: Duration, now: Timestamp, decay: Duration) {
        let (sample, decay) = (nanos(rtt), nanos(decay));
        self.update(now, |cell| {
            let age = cell.age(now);
            let kept = kept(age, decay);
            // What a given-up call waited is a peak like any other: one fast answer does not undo it.
            let known = cell.estimate.abs() * kept;
            // The first measurement replaces the default.
            if sample > known {
                return Some(sample);
            }
            let is_due = age > 0.0 && age >= decay * SPACING;
            let next = if is_due { known + sample * (1.0 - kept) } else { known };
            // From the first measurement on, the default plays no part.
            (is_due || cell.estimate < 0.0).then_some(next)
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
        let (sample, decay) = (nanos(elapsed.max(penalty)), nanos(decay));
        self.update(now, |cell| {
            let known = cell.estimate.abs() * kept(cell.age(now), decay);
            (cell.estimate <= 0.0 || sample > known).then(|| sample.max(known))
        });
    }

    /// Records that an attempt was given up after `elapsed`: its answer would have taken longer.
    pub fn record_at_least(&self, elapsed: Duration, now: Timestamp, decay: Duration) {
        let (sample, decay) = (nanos(elapsed), nanos(decay));
        self.update(now, |cell| {
            let known = cell.estimate.abs() * kept(cell.age(now), decay);
            (sample > known).then(|| if cell.estimate > 0.0 { sample } else { -sample })
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
        let cell = Cell::unpack(self.0.load(Ordering::Relaxed));
        if cell.estimate > 0.0 {
            return cell.estimate * kept(cell.age(now), rates.decay);
        }
        let age = now.as_nanos().saturating_sub(since.as_nanos()) as f64;
        let default = rates.default_rtt * kept(age, rates.decay);
        if cell.estimate < 0.0 {
            return default.max(-cell.estimate * kept(cell.age(now), rates.decay));
        }
        default
    }

    /// Replaces the estimate by what `change` makes of the cell, unless that is nothing.
    fn update(&self, now: Timestamp, change: impl Fn(Cell) -> Option<f64>) {
        let mut seen = self.0.load(Ordering::Relaxed);
        while let Some(estimate) = change(Cell::unpack(seen)) {
            // Relaxed: the word is all there is.
            let next = Cell::pack(estimate, now);
            match self.0.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
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

/// The part of an estimate that is left after `age`.
fn kept(age: f64, decay: f64) -> f64 {
    (-age / decay).exp()
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
