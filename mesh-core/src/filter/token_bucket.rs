//! [`Bucket`]: a token bucket in one word, and a second that changes only with the rate.
//!
//! The first word is the time at which the bucket will be full again. A token moves it on by the time that
//! a token takes to come, and there is none when it would lie further ahead than a whole bucket takes
//! (the generic cell rate algorithm, ITU-T I.371). So within any time `t` at most `max_tokens` plus
//! `t` times the rate are given, the bucket fills evenly (Envoy: `AtomicTokenBucketImpl`), and there
//! is no timer.
//!
//! Another rate goes on with the bucket. Where a token takes as long as before, what was taken is taken; else
//! the same share of the bucket is missing.

use crate::model::TokenBucket;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::{Timestamp, saturating_nanos};
use std::time::Duration;

/// What was taken; a new one is full.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// The time at which it is full again, in nanoseconds.
    full_at: AtomicU64,
    /// [`Rate::mark`] of the rate that this is the time of; 0: nothing was taken yet.
    mark: AtomicU64,
}

/// How a bucket fills.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// How long a token takes to come, in nanoseconds, rounded up: never more than was configured.
    token: u64,
    /// How long a whole bucket takes.
    whole: u64,
    max_tokens: u32,
    /// Tells rates apart, in one word: the time of a token as the bits of an `f32`, and `max_tokens`. Never 0.
    mark: u64,
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
            Some(whole) => {
                let mark = u64::from((token as f32).to_bits()) << 32 | u64::from(model.max_tokens);
                Ok(Self { token, whole, max_tokens: model.max_tokens, mark })
            }
            None => Err(("token_bucket", "an empty bucket would take more than 100 years to fill")),
        }
    }

    pub(super) const fn max_tokens(&self) -> u32 {
        self.max_tokens
    }
}

impl Bucket {
    /// Takes a token, if there is one.
    pub(super) fn take(&self, rate: &Rate, now: Timestamp) -> bool {
        let now = now.as_nanos();
        self.follow(rate, now);
        let last = now.saturating_add(rate.whole);
        let mut full_at = self.full_at();
        loop {
            let next = full_at.max(now).saturating_add(rate.token);
            if next > last {
                return false;
            }
            let (word, order) = (&self.full_at, Ordering::Relaxed);
            match word.compare_exchange_weak(full_at, next, order, order) {
                Ok(_) => return true,
                Err(found) => full_at = found,
            }
        }
    }

    /// Goes over to `rate`, if the bucket was another's last.
    fn follow(&self, rate: &Rate, now: u64) {
        if self.mark.load(Ordering::Relaxed) != rate.mark {
            self.convert(rate, now);
        }
    }

    /// Turns the time into one of `rate`. Requests that still go by the rate before turn it back, and nothing is
    /// lost. Whoever asks between the two words may be wrong by his own token.
    #[cold]
    fn convert(&self, rate: &Rate, now: u64) {
        let order = Ordering::Relaxed;
        let before = self.mark.swap(rate.mark, order);
        let token = |mark: u64| (mark >> 32) as u32;
        let share = match token(before) == token(rate.mark) {
            true => 1.0,
            false => {
                let whole = f64::from(f32::from_bits(token(before))) * f64::from(before as u32);
                rate.whole as f64 / whole
            }
        };
        if before != 0 {
            // Threads read the clock at slightly different times: no more is missing than all.
            let missing = |full_at: u64| (full_at.saturating_sub(now) as f64 * share).ceil() as u64;
            let converted = |full_at| Some(now.saturating_add(missing(full_at).min(rate.whole)));
            let _always = self.full_at.fetch_update(order, order, converted);
        }
    }

    /// What is in it.
    pub(super) fn left(&self, rate: &Rate, now: Timestamp) -> Left {
        let now = now.as_nanos();
        self.follow(rate, now);
        let room = now.saturating_add(rate.whole).saturating_sub(self.full_at().max(now));
        let tokens = u32::try_from(room / rate.token).unwrap_or(u32::MAX);
        let next = if tokens > 0 { 0 } else { rate.token - room };
        Left { tokens, next: Duration::from_nanos(next) }
    }

    /// When it is full again.
    pub(super) fn full_at(&self) -> u64 {
        self.full_at.load(Ordering::Relaxed)
    }

    /// Fills it.
    pub(super) fn fill(&self) {
        self.full_at.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
