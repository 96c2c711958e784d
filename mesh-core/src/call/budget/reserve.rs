//! [`Reserve`]: tokens that come with time, whatever the calls.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Timestamp;

/// A bucket that refills steadily, kept as the instant at which it will be full (the generic cell rate
/// algorithm): nothing has to be refilled, and one word holds all that must agree.
#[derive(Debug)]
pub(super) struct Reserve {
    /// Nanoseconds per token; 0: there are none.
    token: AtomicU64,
    /// How long it takes to fill.
    size: AtomicU64,
    full_at: AtomicU64,
}

impl Reserve {
    /// Nothing, until it is [set](Self::set); full then.
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { token: zero(), size: zero(), full_at: zero() }
    }

    /// Holds `tokens`, at least one, and refills by `per_second`; nothing when that is 0.
    pub(super) fn set(&self, tokens: f64, per_second: f64) {
        let token = if per_second > 0.0 { ((1e9 / per_second).ceil() as u64).max(1) } else { 0 };
        self.size.store((tokens.max(1.0) as u64).saturating_mul(token), Ordering::Relaxed);
        self.token.store(token, Ordering::Relaxed);
    }

    /// Takes one token, if there is one.
    pub(super) fn take(&self, now: Timestamp) -> bool {
        let token = self.token.load(Ordering::Relaxed);
        if token == 0 {
            return false;
        }
        let (now, size) = (now.as_nanos(), self.size.load(Ordering::Relaxed));
        let later = |full_at: u64| {
            let full_at = full_at.max(now).saturating_add(token);
            (full_at - now <= size).then_some(full_at)
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).is_ok()
    }
}
