//! [`Activity`]: when an attempt last gave a sign of life.

use mesh_core::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// When a part of the request body was last taken. Shared with the body, which a connection's task reads;
/// looked at only when the limit on silence seems to have passed, so nobody is woken by a sign of life.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<AtomicU64>);

impl Activity {
    pub(super) fn new(now: Timestamp) -> Self {
        Self(Arc::new(AtomicU64::new(now.as_nanos())))
    }

    /// Something was taken.
    pub(crate) fn tell(&self, now: Timestamp) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }

    pub(crate) fn last(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
