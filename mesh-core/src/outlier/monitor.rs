//! [`Monitor`]: what hangs on every endpoint, counted by calls and ejected by the writer.
//!
//! There may be 100,000 of them and every attempt touches one, so it is 48 bytes of atomics: no
//! lock, no allocation, no pointer to the detector. The state of an ejection lives here too, so that
//! whoever carries an endpoint into the next configuration carries its ejection with it, and whoever
//! drops it leaves no bookkeeping behind.
//!
//! Rules:
//! - Any number of calls use [`record`](Monitor::record); all other changes are made by one writer.
//! - Calls of an interval are one word, successes and total, that the sweep takes by exchange: what
//!   Envoy does with two swapped buckets of two counters each (`SuccessRateAccumulator`, gRFC A50
//!   "Call Counter"), without a count lost or a success seen apart from its call. It holds 2³² − 1
//!   calls of one endpoint in one interval; beyond that the count starts again.
//! - A success costs one load and, if the sweep compares, one addition; the streak is stored only
//!   where there is one to end.
//!
//! Memory order: the counters are independent of each other and relaxed. A full streak is released
//! with its trigger, and the writer acquires it; the ejected flag reaches calls through the picker
//! that is published after it.

use super::Rules;
use super::consecutive::{Streak, Triggers, is_failure};
use crate::Timestamp;
use crate::event::OutlierKind;
use crate::outcome::Observation;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use std::time::Duration;

/// What outlier detection knows of one endpoint (Envoy: `DetectorHostMonitor`).
#[derive(Debug, Default)]
pub struct Monitor {
    /// A packed [`Streak`].
    streak: AtomicU64,
    /// Packed [`Calls`] since the last sweep, by what the server answered.
    external: AtomicU64,
    /// The same by whether there was an answer.
    local: AtomicU64,
    /// When it was ejected, or unejected, last.
    changed_at: AtomicU64,
    /// Local failures in a row.
    local_streak: AtomicU32,
    /// The next ejection, or the one that runs, lasts so many base times.
    multiplier: AtomicU32,
    /// What was drawn for the ejection that runs.
    jitter_millis: AtomicU32,
    /// Ejections so far, saturating.
    ejections: AtomicU16,
    /// Packed [`Triggers`].
    triggers: AtomicU8,
    ejected: AtomicBool,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Monitor>() == 48, "there may be 100,000 of them");

/// Calls of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) successes: u32,
    pub(super) total: u32,
}

impl Calls {
    /// What one call adds to the word.
    const fn one(success: bool) -> u64 {
        (1 << 32) | success as u64
    }

    /// The total is the upper half, so that it wraps without touching the successes.
    fn from_word(word: u64) -> Self {
        let total = (word >> 32) as u32;
        Self { successes: (word as u32).min(total), total }
    }

    /// Calls that failed.
    pub(super) const fn failures(self) -> u32 {
        self.total - self.successes
    }
}

// === The call path ===

impl Monitor {
    /// Counts what one attempt said about the endpoint; called once per attempt.
    ///
    /// True: a consecutive threshold was reached exactly now, so
    /// [`Detector::handle_attention`](super::Detector::handle_attention) has something to decide.
    ///
    /// Not split, a local failure counts as the status that Envoy's router gives it: 504 for a
    /// timeout, 503 for a failed connection or a reset. Split, it counts apart, and an answer of
    /// any status is a local success (Envoy: `putResultWithLocalExternalSplit`); the difference to
    /// Envoy is that a timeout is one local failure, not a local success followed by one, so that
    /// timeouts in a row add up.
    pub fn record(&self, rules: &Rules, observation: Observation) -> bool {
        match (observation, rules.split) {
            (Observation::Code(code), false) => self.record_answer(rules, code),
            (Observation::Code(code), true) => {
                self.record_local_success(rules);
                self.record_answer(rules, code)
            }
            (Observation::Timeout, false) => self.record_answer(rules, 504),
            (Observation::ConnectFailure | Observation::Reset, false) => {
                self.record_answer(rules, 503)
            }
            (Observation::Timeout | Observation::ConnectFailure | Observation::Reset, true) => {
                self.record_local_failure(rules)
            }
        }
    }

    /// Counts an attempt that its caller gave up without a response head after `elapsed`: as a
    /// timeout when `count_cancelled_after` says so, as nothing otherwise. Returns as
    /// [`record`](Self::record).
    pub fn record_cancelled(&self, rules: &Rules, elapsed: Duration) -> bool {
        rules.count_cancelled_after.is_some_and(|least| elapsed >= least)
            && self.record(rules, Observation::Timeout)
    }

    /// Whether the endpoint is out.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed)
    }

    /// How often it was ejected, 65,535 at most.
    #[must_use]
    pub fn ejections(&self) -> u16 {
        self.ejections.load(Relaxed)
    }

    fn record_answer(&self, rules: &Rules, code: u16) -> bool {
        let failed = is_failure(code);
        if rules.counts_external {
            self.external.fetch_add(Calls::one(!failed), Relaxed);
        }
        if !failed {
            if self.streak.load(Relaxed) != 0 {
                self.streak.store(0, Relaxed);
            }
            return false;
        }
        rules.watches_streak() && self.extend_streak(rules, code)
    }

    /// The exchange decides which of several calls at once reached the threshold.
    fn extend_streak(&self, rules: &Rules, code: u16) -> bool {
        let mut word = self.streak.load(Relaxed);
        loop {
            let before = Streak::from_word(word);
            let after = before.after(code);
            match self.streak.compare_exchange_weak(word, after.to_word(), Relaxed, Relaxed) {
                Ok(_) => return self.trigger(Triggers::reached(rules, before, after)),
                Err(current) => word = current,
            }
        }
    }

    fn record_local_success(&self, rules: &Rules) {
        if rules.counts_local {
            self.local.fetch_add(Calls::one(true), Relaxed);
        }
        if self.local_streak.load(Relaxed) != 0 {
            self.local_streak.store(0, Relaxed);
        }
    }

    fn record_local_failure(&self, rules: &Rules) -> bool {
        if rules.counts_local {
            self.local.fetch_add(Calls::one(false), Relaxed);
        }
        if rules.consecutive_local_origin_failure == 0 {
            return false;
        }
        let after = self.local_streak.fetch_add(1, Relaxed).wrapping_add(1);
        self.trigger(Triggers::reached_local(rules, after))
    }

    fn trigger(&self, triggers: Triggers) -> bool {
        if triggers.is_empty() {
            return false;
        }
        self.triggers.fetch_or(triggers.bits(), Release);
        true
    }
}

// === The writer ===

impl Monitor {
    /// Asks for the decision about streaks that are full by these rules, and may have been before.
    /// Whether there is one.
    pub(super) fn remind(&self, rules: &Rules) -> bool {
        let full = Triggers::reached(rules, Streak::default(), self.streak());
        self.trigger(full.and(Triggers::full_local(rules, self.local_streak())))
    }

    pub(super) fn take_triggers(&self) -> Triggers {
        // Most endpoints have none: a load leaves their cache line shared.
        if self.triggers.load(Relaxed) == 0 {
            return Triggers::default();
        }
        Triggers::from_bits(self.triggers.swap(0, AcqRel))
    }

    pub(super) fn streak(&self) -> Streak {
        Streak::from_word(self.streak.load(Acquire))
    }

    pub(super) fn local_streak(&self) -> u32 {
        self.local_streak.load(Acquire)
    }

    /// Sets the counter of a consecutive kind back to 0, and no other.
    pub(super) fn end_streak(&self, kind: OutlierKind) {
        match kind {
            OutlierKind::ConsecutiveGatewayFailure => {
                let mask = Streak { server_errors: u32::MAX, gateway_failures: 0 };
                self.streak.fetch_and(mask.to_word(), Relaxed);
            }
            OutlierKind::Consecutive5xx => {
                let mask = Streak { server_errors: 0, gateway_failures: u32::MAX };
                self.streak.fetch_and(mask.to_word(), Relaxed);
            }
            OutlierKind::ConsecutiveLocalOriginFailure => self.local_streak.store(0, Relaxed),
            OutlierKind::SuccessRate
            | OutlierKind::LocalOriginSuccessRate
            | OutlierKind::FailurePercentage
            | OutlierKind::LocalOriginFailurePercentage => {}
        }
    }

    /// Ends the interval of answers: what was counted in it.
    pub(super) fn take_external(&self) -> Calls {
        take(&self.external)
    }

    /// Ends the interval of local results.
    pub(super) fn take_local(&self) -> Calls {
        take(&self.local)
    }

    /// Takes the endpoint out.
    pub(super) fn eject(&self, now: Timestamp, multiplier: u32, jitter_millis: u32) {
        self.changed_at.store(now.as_nanos(), Relaxed);
        self.multiplier.store(multiplier, Relaxed);
        self.jitter_millis.store(jitter_millis, Relaxed);
        self.ejections.store(self.ejections().saturating_add(1), Relaxed);
        self.ejected.store(true, Release);
    }

    /// Brings it back. The streaks start anew, or one more failure could take it out again
    /// (Envoy: `unejectHost`).
    pub(super) fn uneject(&self, now: Timestamp) {
        self.changed_at.store(now.as_nanos(), Relaxed);
        self.forget_streaks();
        self.ejected.store(false, Release);
    }

    /// Forgets everything but that it is out.
    pub(super) fn forget_counts(&self) {
        self.forget_streaks();
        self.external.store(0, Relaxed);
        self.local.store(0, Relaxed);
    }

    fn forget_streaks(&self) {
        self.streak.store(0, Relaxed);
        self.local_streak.store(0, Relaxed);
        self.triggers.store(0, Relaxed);
    }

    /// When it was ejected, or unejected, last; [`Timestamp::ZERO`] when never.
    pub(super) fn changed_at(&self) -> Timestamp {
        Timestamp::from_nanos(self.changed_at.load(Relaxed))
    }

    pub(super) fn multiplier(&self) -> u32 {
        self.multiplier.load(Relaxed)
    }

    pub(super) fn set_multiplier(&self, multiplier: u32) {
        self.multiplier.store(multiplier, Relaxed);
    }

    pub(super) fn jitter(&self) -> Duration {
        Duration::from_millis(self.jitter_millis.load(Relaxed).into())
    }
}

fn take(word: &AtomicU64) -> Calls {
    // Most endpoints of a large cluster are idle: a load leaves their cache line shared.
    if word.load(Relaxed) == 0 { Calls::default() } else { Calls::from_word(word.swap(0, Relaxed)) }
}

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(test)]
mod tests;
