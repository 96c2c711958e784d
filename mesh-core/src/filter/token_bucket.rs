//! [`Bucket`]: a token bucket in one word.
//!
//! The word is the time at which the bucket will be full again. A token moves it on by the time that
//! a token takes to come, and there is none when it would lie further ahead than a whole bucket takes
//! (the generic cell rate algorithm, ITU-T I.371). So within any time `t` at most `max_tokens` plus
//! `t` times the rate are given, the bucket fills evenly (Envoy: `AtomicTokenBucketImpl`), and there
//! is no timer.

use crate::model::TokenBucket;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::{Timestamp, saturating_nanos};
use std::time::Duration;

/// The time at which it is full again, in nanoseconds; a new one is full.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

/// How a bucket fills.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// How long a token takes to come, in nanoseconds, rounded up: never more than was configured.
    token: u64,
    /// How long a whole bucket takes.
    whole: u64,
    max_tokens: u32,
}

/// What is in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) tokens: u32,
    /// Until there is one.
    pub(super) next: Duration,
}

impl Rate {
    /// The shortest interval (Envoy: "must be >= 50ms").
    const SHORTEST: Duration = Duration::from_millis(50);
    /// The longest time that a whole bucket may take: 100 years.
    const LONGEST: u64 = 100 * 365 * 86_400 * 1_000_000_000;

    pub(super) fn new(model: &TokenBucket) -> Result<Self, (&'static str, &'static str)> {
        if model.max_tokens == 0 {
            return Err((
                "token_bucket.max_tokens",
                "it is 0, and nothing would ever pass: at least 1",
            ));
        }
        if model.tokens_per_fill == 0 {
            return Err((
                "token_bucket.tokens_per_fill",
                "it is 0, and it would never fill: at least 1",
            ));
        }
        if model.fill_interval < Self::SHORTEST {
            return Err((
                "token_bucket.fill_interval",
                "it is less than 50 ms: give more tokens less often",
            ));
        }
        let token =
            saturating_nanos(model.fill_interval).div_ceil(u64::from(model.tokens_per_fill));
        let whole = token.checked_mul(u64::from(model.max_tokens));
        match whole.filter(|whole| *whole <= Self::LONGEST) {
            Some(whole) => Ok(Self { token, whole, max_tokens: model.max_tokens }),
            None => Err(("token_bucket", "an empty bucket would take more than 100 years to fill")),
        }
    }

    pub(super) const fn max_tokens(&self) -> u32 {
        self.max_tokens
    }
}

impl Bucket {
    /// How far beyond a whole bucket the word may lie. Threads read the clock at slightly different
    /// times; what is further off is left from a slower rate.
    const SKEW: u64 = 1_000_000_000;

    /// Takes a token, if there is one.
    pub(super) fn take(&self, rate: &Rate, now: Timestamp) -> bool {
        let now = now.as_nanos();
        let last = now.saturating_add(rate.whole);
        let mut full_at = self.0.load(Ordering::Relaxed);
        loop {
            let (next, taken) = if full_at > last.saturating_add(Self::SKEW) {
                // An empty bucket of a slower rate is an empty bucket of this one.
                (last, false)
            } else {
                let next = full_at.max(now).saturating_add(rate.token);
                if next > last {
                    return false;
                }
                (next, true)
            };
            match self.0.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return taken,
                Err(found) => full_at = found,
            }
        }
    }

    /// What is in it.
    pub(super) fn left(&self, rate: &Rate, now: Timestamp) -> Left {
        let now = now.as_nanos();
        let room = now.saturating_add(rate.whole).saturating_sub(self.full_at().max(now));
        let tokens = u32::try_from(room / rate.token).unwrap_or(u32::MAX);
        let next = if tokens > 0 { 0 } else { rate.token - room };
        Left { tokens, next: Duration::from_nanos(next) }
    }

    /// When it is full again.
    pub(super) fn full_at(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Fills it.
    pub(super) fn fill(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
