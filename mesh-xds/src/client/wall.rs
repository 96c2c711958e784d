//! Where the date is read, for those who are told when something happened. Nothing is decided by it.

use mesh_core::WallTime;
use std::time::{SystemTime, UNIX_EPOCH};

/// Today.
pub(super) fn wall() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_unix_seconds(since_epoch.as_secs())
}
