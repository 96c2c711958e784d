//! [`Over`]: from when on a connection takes no requests.

#[cfg(any(feature = "tls", test))]
use super::drain::QUIET;
use crate::clock;
use mesh_core::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

    /// Whether it takes no requests any more.
    pub(crate) fn is_over(&self) -> bool {
        let at = self.0.load(Ordering::Relaxed);
        at != Timestamp::MAX.as_nanos() && at <= clock::now().as_nanos()
    }
}

/// For whoever looks at connections that are secured.
#[cfg(any(feature = "tls", test))]
impl Over {
    /// It takes none in a second: its client is told, and what it had sent before is answered. It may never hear of that,
    /// for over HTTP/2 the last GOAWAY comes after the answer to a PING (RFC 9113 section 6.8), for which there are ten
    /// minutes.
    pub(crate) fn soon(&self) {
        self.at(Instant::now() + QUIET);
    }

    /// Whether anybody else has it, as the connection does.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_earliest_moment_counts() {
        let over = Over::default();
        assert!(!over.is_over());
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        over.at(later(30));
        let other = over.clone();
        other.soon();
        other.at(later(60));
        assert!(!over.is_over());
        tokio::time::advance(QUIET).await;
        assert!(over.is_over());
        assert!(over.is_shared());
        drop(other);
        assert!(!over.is_shared());
    }
}
