//! [`Over`]: from when on a connection takes no requests.

use crate::clock;
use mesh_core::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// From when on a connection takes no requests: the earliest moment that anybody has said. Clones are the same.
///
/// It is told by whoever finds out, and not by who runs the connection: that one listens no longer once the
/// connection is to end for another reason.
#[derive(Clone, Debug)]
pub(crate) struct Over(Arc<AtomicU64>);

impl Default for Over {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(Timestamp::MAX.as_nanos())))
    }
}

impl Over {
    /// It takes none from then on.
    pub(super) fn at(&self, at: Instant) {
        self.0.fetch_min(clock::timestamp(at).as_nanos(), Ordering::Relaxed);
    }

    /// It takes none in so long.
    pub(crate) fn within(&self, time: Duration) {
        self.at(Instant::now() + time);
    }

    /// Whether it takes no requests any more.
    pub(crate) fn is_over(&self) -> bool {
        let at = self.0.load(Ordering::Relaxed);
        at != Timestamp::MAX.as_nanos() && at <= clock::now().as_nanos()
    }

    /// Whether anybody else has it, as the connection does.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_earliest_moment_counts() {
        let over = Over::default();
        assert!(!over.is_over());
        over.within(Duration::from_secs(30));
        let other = over.clone();
        other.within(Duration::from_secs(1));
        other.within(Duration::from_secs(60));
        assert!(!over.is_over());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(over.is_over());
        assert!(over.is_shared());
        drop(other);
        assert!(!over.is_shared());
    }
}
