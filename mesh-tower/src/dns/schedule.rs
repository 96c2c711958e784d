//! When a name is looked up again.
//!
//! Time and randomness are arguments, so that the rules can be tested as numbers.
//!
//! ```text
//!            start              handle_answer: TTL, at least the minimum; without one the refresh rate
//!   due ───────────▶ in flight ───────────────────────────────────────▶ due
//!                             handle_failure: refresh rate · 2^(n-1), at most · 10
//! ```
//! Every wait is prolonged by up to a tenth, at random. Envoy: `dns_refresh_rate`,
//! `respect_dns_ttl`, `dns_min_refresh_rate`, `dns_failure_refresh_rate` (base the refresh rate, at most ten times that),
//! `dns_jitter`; Envoy's default jitter is zero, ours is not, because a fleet that starts together
//! otherwise asks together for ever.
//!
//! It doesn't keep answers and doesn't know names.

use mesh_core::{Random, Timestamp};
use std::time::Duration;

/// The schedule of one name.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    refresh_rate: Duration,
    /// The least that a TTL counts for; `None`: a TTL counts for nothing.
    min_refresh_rate: Option<Duration>,
    failures: u32,
    due: Option<(Timestamp, &'static str)>,
}

impl Schedule {
    /// Least time between two lookups of a name, whatever is configured.
    pub(super) const MIN_WAIT: Duration = Duration::from_millis(10);
    /// A TTL counts no further than this (BIND and Unbound: `max-cache-ttl`, one day), so that no
    /// slip in a zone makes a name permanent.
    pub(super) const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
    /// Failures lengthen the wait up to this many refresh rates.
    pub(super) const MAX_FAILURE_FACTOR: u32 = 10;

    /// A schedule whose first lookup is due at `now`.
    pub(super) fn new(
        refresh_rate: Duration,
        min_refresh_rate: Option<Duration>,
        now: Timestamp,
    ) -> Self {
        let refresh_rate = refresh_rate.max(Self::MIN_WAIT);
        let min_refresh_rate = min_refresh_rate.map(|least| least.max(Self::MIN_WAIT));
        Self { refresh_rate, min_refresh_rate, failures: 0, due: Some((now, "first lookup")) }
    }

    /// When to look up and why; `None` while a lookup is in flight.
    pub(super) const fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        self.due
    }

    /// A lookup is on its way.
    pub(super) const fn start(&mut self) {
        self.due = None;
    }

    /// The lookup gave an answer that may be kept for `ttl`.
    pub(super) fn handle_answer(
        &mut self,
        ttl: Option<Duration>,
        now: Timestamp,
        random: &mut impl Random,
    ) {
        self.failures = 0;
        match (ttl, self.min_refresh_rate) {
            (Some(ttl), Some(least)) => {
                self.wait(ttl.min(Self::MAX_TTL).max(least), "TTL over", now, random);
            }
            _ => self.wait(self.refresh_rate, "refresh", now, random),
        }
    }

    /// The lookup failed; `negative_ttl`: the server said how long its "no" holds.
    pub(super) fn handle_failure(
        &mut self,
        negative_ttl: Option<Duration>,
        now: Timestamp,
        random: &mut impl Random,
    ) {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let longest = self.refresh_rate.saturating_mul(Self::MAX_FAILURE_FACTOR);
        let held = negative_ttl.filter(|_| self.min_refresh_rate.is_some()).unwrap_or_default();
        let wait = self.refresh_rate.saturating_mul(factor).max(held).min(longest);
        self.wait(wait, "retry after failure", now, random);
    }

    fn wait(
        &mut self,
        wait: Duration,
        why: &'static str,
        now: Timestamp,
        random: &mut impl Random,
    ) {
        let jitter = (wait / 10).mul_f64(random.unit());
        self.due = Some((now + wait.saturating_add(jitter), why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_core::random::SplitMix64;

    /// The random source at its two ends.
    struct Fixed(u64);

    impl Random for Fixed {
        fn next_u64(&mut self) -> u64 {
            self.0
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule(refresh: u64, respect_ttl: bool) -> Schedule {
        let least = respect_ttl.then_some(SECOND * 5);
        Schedule::new(SECOND * refresh as u32, least, Timestamp::ZERO)
    }

    /// Seconds until due, without jitter.
    fn after(schedule: &Schedule) -> u64 {
        schedule.poll_timeout().unwrap().0.as_nanos() / 1_000_000_000
    }

    #[track_caller]
    fn check_answer(refresh: u64, respect: bool, ttl: Option<u64>, wait: u64) {
        let mut schedule = schedule(refresh, respect);
        schedule.start();
        assert_eq!(schedule.poll_timeout(), None);
        schedule.handle_answer(ttl.map(Duration::from_secs), Timestamp::ZERO, &mut Fixed(0));
        assert_eq!(after(&schedule), wait);
    }

    #[test]
    fn a_ttl_counts_instead_of_the_refresh_rate() {
        check_answer(7, true, None, 7);
        check_answer(60, true, Some(30), 30);
        check_answer(7, true, Some(30), 30);
        check_answer(60, true, Some(1), 5);
        check_answer(60, false, Some(30), 60);
        check_answer(5, true, Some(u64::from(u32::MAX)), 24 * 3600);
    }

    #[test]
    fn failures_double_the_wait_up_to_ten_times_and_an_answer_forgets_them() {
        let mut schedule = schedule(5, true);
        let mut waits = Vec::new();
        for _ in 0..70 {
            schedule.handle_failure(None, Timestamp::ZERO, &mut Fixed(0));
            waits.push(after(&schedule));
        }
        assert_eq!(waits[..6], [5, 10, 20, 40, 50, 50]);
        assert_eq!(waits.last(), Some(&50));
        schedule.handle_answer(None, Timestamp::ZERO, &mut Fixed(0));
        schedule.handle_failure(None, Timestamp::ZERO, &mut Fixed(0));
        assert_eq!(after(&schedule), 5);
    }

    #[test]
    fn a_negative_ttl_prolongs_the_wait_within_the_same_bound() {
        for (respect, ttl, wait) in [(true, 30, 30), (true, 3600, 50), (true, 1, 5), (false, 30, 5)]
        {
            let mut schedule = schedule(5, respect);
            schedule.handle_failure(Some(SECOND * ttl), Timestamp::ZERO, &mut Fixed(0));
            assert_eq!(after(&schedule), wait, "respect {respect} ttl {ttl}");
        }
    }

    #[test]
    fn jitter_only_delays_and_by_a_tenth_at_most() {
        let mut random = SplitMix64::new(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let mut schedule = schedule(10, true);
            schedule.handle_answer(None, Timestamp::ZERO, &mut random);
            let nanos = schedule.poll_timeout().unwrap().0.as_nanos();
            assert!((10_000_000_000..=11_000_000_000).contains(&nanos), "{nanos}");
            seen.insert(nanos);
        }
        assert!(seen.len() > 900, "the jitter hardly varies: {}", seen.len());
    }

    #[test]
    fn extremes_neither_spin_nor_overflow() {
        let mut never = Schedule::new(Duration::MAX, Some(Duration::MAX), Timestamp::ZERO);
        never.handle_failure(Some(Duration::MAX), Timestamp::ZERO, &mut Fixed(u64::MAX));
        assert_eq!(never.poll_timeout().unwrap().0, Timestamp::MAX);
        let mut busy = Schedule::new(Duration::ZERO, Some(Duration::ZERO), Timestamp::ZERO);
        busy.handle_answer(Some(Duration::ZERO), Timestamp::ZERO, &mut Fixed(0));
        assert_eq!(busy.poll_timeout().unwrap().0, Timestamp::ZERO + Schedule::MIN_WAIT);
    }
}
