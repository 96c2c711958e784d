//! Places in the cluster table: which are free, and which cluster has which.

use super::updater::Entry;
use super::{Attach, LiveCluster};
use crate::router::ClusterSlots;
use crate::update::ConfigUpdate;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The slots that no cluster has: those given back, and all from `next` on.
#[derive(Clone, Debug, Default)]
pub(super) struct FreeSlots {
    given_back: BTreeSet<u32>,
    next: u32,
}

impl FreeSlots {
    /// The lowest one.
    pub(super) fn take(&mut self) -> u32 {
        self.given_back.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Takes back the slot of a cluster that is gone.
    pub(super) fn give_back(&mut self, slot: u32) {
        self.given_back.insert(slot);
    }
}

/// The slots of all clusters that the next snapshot will have.
pub(super) struct Slots<'a>(BTreeMap<&'a str, (&'a Arc<str>, u32)>);

impl<'a> Slots<'a> {
    pub(super) fn new<A: Attach>(
        entries: &'a BTreeMap<Arc<str>, Entry<A>>,
        new: impl Iterator<Item = &'a LiveCluster<A>>,
        update: &ConfigUpdate,
    ) -> Self {
        let kept = entries.iter().filter(|(name, _)| update.clusters.contains_key(*name));
        let kept = kept.map(|(name, entry)| (&**name, (name, entry.live.slot())));
        let new = new.map(|live| (&**live.name(), (live.name(), live.slot())));
        Self(kept.chain(new).collect())
    }
}

impl ClusterSlots for Slots<'_> {
    fn slot(&self, name: &str) -> Option<u32> {
        self.0.get(name).map(|(_, slot)| *slot)
    }

    fn all(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.0.values().copied()
    }
}
