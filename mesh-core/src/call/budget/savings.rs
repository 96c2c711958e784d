//! [`Savings`]: the tokens that calls earned and no retry has spent.

use crate::sync::atomic::{AtomicU64, Ordering};

/// A bounded number of tokens, in millionths.
///
/// Relaxed throughout: one word holds all that must agree.
#[derive(Debug)]
pub(super) struct Savings {
    saved: AtomicU64,
    per_call: AtomicU64,
    most: AtomicU64,
}

/// One token.
const TOKEN: u64 = 1_000_000;
/// The largest number of tokens: sums of two can't overflow.
const MOST: f64 = 1e12;

impl Savings {
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { saved: zero(), per_call: zero(), most: zero() }
    }

    /// Each call earns `per_call` tokens, and `most` are kept. Nonsense counts as nothing.
    pub(super) fn set(&self, per_call: f64, most: f64) {
        // Rounded down: what is granted never exceeds the policy.
        let millionths = |tokens: f64| (tokens.clamp(0.0, MOST) * TOKEN as f64).floor() as u64;
        self.per_call.store(millionths(per_call), Ordering::Relaxed);
        self.most.store(millionths(most), Ordering::Relaxed);
    }

    /// Adds what one call earns.
    pub(super) fn earn(&self) {
        let most = self.most.load(Ordering::Relaxed);
        let per_call = self.per_call.load(Ordering::Relaxed);
        let more = |saved: u64| (saved < most).then(|| (saved + per_call).min(most));
        // An error means that they are full.
        let _full = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Takes one token, if there is one.
    pub(super) fn take(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let less = |saved: u64| saved.min(most).checked_sub(TOKEN);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}
