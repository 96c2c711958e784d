//! Where the clock is read, and how its instants become the core's [`Timestamp`].
//!
//! The instants are tokio's, so that a paused test clock rules the whole stack. One instant is taken
//! per stage of a call and passed down.

use mesh_core::{Timestamp, WallTime};
use std::cell::Cell;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The origin of all timestamps of this process: long before its first reading. A test clock that was
/// moved on before that must not make the readings of another clock lie before the origin, where all
/// times are one.
static ORIGIN: LazyLock<Instant> = LazyLock::new(|| {
    let first = Instant::now();
    first.checked_sub(BEFORE).unwrap_or(first)
});

/// A year; longer than a test moves its clock.
const BEFORE: Duration = Duration::from_secs(31_536_000);

/// Now.
pub(crate) fn now() -> Timestamp {
    timestamp(Instant::now())
}

/// Today.
pub(crate) fn wall() -> WallTime {
    #[cfg(test)]
    if let Some(wall) = pretended() {
        return wall;
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_unix_seconds(since_epoch.as_secs())
}

/// Today, and the nanoseconds of its second.
pub(crate) fn wall_exactly() -> (WallTime, u32) {
    #[cfg(test)]
    if let Some(wall) = pretended() {
        return (wall, 0);
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (WallTime::from_unix_seconds(since_epoch.as_secs()), since_epoch.subsec_nanos())
}

/// How old a reading of the wall clock may be that is good enough for whole seconds.
const FRESH: Duration = Duration::from_millis(100);

thread_local! {
    /// The last reading on this thread of the wall clock, and when that was.
    static READ: Cell<Option<(WallTime, Timestamp)>> = const { Cell::new(None) };
}

/// Today, as of `now` or at most a tenth of a second before: for what every request asks. A second reading of a
/// clock costs a request as much as all of its policies.
pub(crate) fn wall_near(now: Timestamp) -> WallTime {
    #[cfg(test)]
    if let Some(wall) = pretended() {
        return wall;
    }
    match READ.get() {
        // An earlier `now` is of a clock that a test paused: it is read anew.
        Some((wall, at)) if at <= now && now.saturating_duration_since(at) < FRESH => wall,
        _ => {
            let wall = wall();
            READ.set(Some((wall, now)));
            wall
        }
    }
}

#[cfg(test)]
thread_local! {
    /// What a test says that the wall clock showed, and when.
    static PRETENDED: Cell<Option<(WallTime, Instant)>> = const { Cell::new(None) };
}

/// On this thread the wall clock shows `wall`, and goes on with the time of tokio.
#[cfg(test)]
pub(crate) fn pretend(wall: WallTime) {
    PRETENDED.set(Some((wall, Instant::now())));
}

#[cfg(test)]
fn pretended() -> Option<WallTime> {
    let (wall, at) = PRETENDED.get()?;
    let seconds = wall.as_unix_seconds() + at.elapsed().as_secs();
    Some(WallTime::from_unix_seconds(seconds))
}

/// `instant` as the core counts.
pub(crate) fn timestamp(instant: Instant) -> Timestamp {
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

    /// Whichever test reads the clock first.
    #[test]
    fn clocks_that_were_moved_on_do_not_stop_the_others() {
        let paused = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_time().start_paused(true).build().unwrap()
        };
        let moved = paused().block_on(async {
            tokio::time::advance(Duration::from_secs(86_400)).await;
            now()
        });
        let (first, second) = paused().block_on(async {
            let first = now();
            tokio::time::advance(Duration::from_secs(5)).await;
            (first, now())
        });
        assert!(first < moved);
        assert_eq!(second.saturating_duration_since(first), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_of_the_wall_clock_is_used_for_a_tenth_of_a_second() {
        let read = WallTime::from_unix_seconds(1000);
        let at = now();
        READ.set(Some((read, at)));
        assert_eq!(wall_near(at), read);
        assert_eq!(wall_near(at + FRESH / 2), read);
        assert!(wall_near(at + FRESH) > read, "it is read anew");
        READ.set(Some((read, at + FRESH)));
        assert!(wall_near(at) > read, "a clock that went back says nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn the_paused_clock_rules() {
        let before = now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(now().saturating_duration_since(before), Duration::from_secs(5));
        assert_eq!(timestamp(instant(now())), now());
        assert!(instant(Timestamp::MAX) > Instant::now());
    }
}
