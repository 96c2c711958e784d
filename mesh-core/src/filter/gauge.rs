//! [`Gauge`]: how many are inside.

use crate::sync::atomic::{AtomicU32, Ordering};

/// How many are inside. Whoever entered leaves once.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU32);

impl Gauge {
    /// Enters, unless `limit` are inside. There are never more than `limit`: a newcomer adds itself
    /// first and goes back if that was too much, so one that races for the last place may be refused.
    pub(super) fn enter(&self, limit: u32) -> bool {
        if self.0.load(Ordering::Relaxed) >= limit {
            return false;
        }
        if self.0.fetch_add(1, Ordering::Acquire) < limit {
            return true;
        }
        self.0.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Enters whatever the limit.
    pub(super) fn enter_beyond(&self) {
        self.0.fetch_add(1, Ordering::Acquire);
    }

    /// Leaves.
    pub(super) fn leave(&self) {
        let before = self.0.fetch_sub(1, Ordering::Release);
        debug_assert!(before > 0, "more have left than entered");
    }

    /// How many are inside.
    #[cfg(test)]
    pub(super) fn inside(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}
