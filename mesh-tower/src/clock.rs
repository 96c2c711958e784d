//! Where the clock is read, and how its instants become the core's [`Timestamp`].
//!
//! The instants are tokio's, so that a paused test clock rules the whole stack. One instant is taken
//! per stage of a call and passed down.

use mesh_core::{Timestamp, WallTime};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The origin of all timestamps of this process: its first reading.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Now.
pub(crate) fn now() -> Timestamp {
    timestamp(Instant::now())
}

/// Today.
pub(crate) fn wall() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_unix_seconds(since_epoch.as_secs())
}

/// `instant` as the core counts.
fn timestamp(instant: Instant) -> Timestamp {
    Timestamp::ZERO + instant.saturating_duration_since(*ORIGIN)
}

/// `timestamp` as tokio's timers count; "never" is thirty years away.
pub(crate) fn instant(timestamp: Timestamp) -> Instant {
    let since_origin = timestamp.saturating_duration_since(Timestamp::ZERO);
    ORIGIN.checked_add(since_origin).unwrap_or_else(|| *ORIGIN + Duration::from_secs(946_080_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_paused_clock_rules() {
        let before = now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(now().saturating_duration_since(before), Duration::from_secs(5));
        assert_eq!(timestamp(instant(now())), now());
        assert!(instant(Timestamp::MAX) > Instant::now());
    }
}
