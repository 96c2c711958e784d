//! [`Leaving`]: clusters that are no longer configured, while calls that chose them before go on.
//!
//! A call chooses its cluster once. When a new configuration is without that cluster, what the call has
//! still to do (wait for a connection, try again) it does with the cluster as it was: make before break.
//! So the endpoints stay until no call and no snapshot holds the cluster. Nobody waits for endpoints that
//! it has not: no other picker comes.

use super::updater::Entry;
use super::{Attach, LiveEndpoint, Picker};
use crate::time::Timestamp;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether the calls have ended.
const CHECK: Duration = Duration::from_millis(100);

/// The clusters that are leaving.
#[derive(Debug)]
pub(super) struct Leaving<A: Attach> {
    entries: Vec<Entry<A>>,
    check_at: Option<Timestamp>,
}

impl<A: Attach> Default for Leaving<A> {
    fn default() -> Self {
        Self { entries: Vec::new(), check_at: None }
    }
}

/// A cluster that has left.
pub(super) struct Left<A: Attach> {
    pub(super) entry: Entry<A>,
    pub(super) endpoints: Vec<Arc<LiveEndpoint<A>>>,
}

impl<A: Attach> Leaving<A> {
    /// The cluster is no longer configured.
    pub(super) fn begin(
        &mut self,
        entry: Entry<A>,
        retired: &mut Vec<Arc<dyn Any + Send + Sync>>,
        attach: &A,
        now: Timestamp,
    ) {
        let picker = Picker::of(&entry, true);
        retired.push(entry.live.publish(picker, attach));
        self.entries.push(entry);
        self.check_at.get_or_insert(now + CHECK);
    }

    /// Those that are configured again.
    pub(super) fn take_back(&mut self, is_back: impl Fn(&str) -> bool) -> Vec<Entry<A>> {
        self.entries.extract_if(.., |entry| is_back(entry.live.name())).collect()
    }

    /// Those that nobody holds any more; with `all`, whoever holds them.
    pub(super) fn take_left(&mut self, all: bool) -> Vec<Left<A>> {
        let has_left = |entry: &mut Entry<A>| all || Arc::strong_count(&entry.live) == 1;
        let left = self.entries.extract_if(.., has_left);
        left.map(|entry| Left { endpoints: entry.set.distinct(), entry }).collect()
    }

    /// The secrets that connections of those need.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.iter().flat_map(|entry| entry.update.cluster.secrets())
    }

    /// When to look again.
    pub(super) const fn check_at(&self) -> Option<Timestamp> {
        self.check_at
    }

    /// It was looked at `now`.
    pub(super) fn checked(&mut self, now: Timestamp) {
        self.check_at = (!self.entries.is_empty()).then(|| now + CHECK);
    }
}
