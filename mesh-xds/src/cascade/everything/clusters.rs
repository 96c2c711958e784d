//! [`Clusters`]: all clusters that a control plane has, each as it is in force.

use super::super::clusters::{Changed, take};
use super::super::version::{Part, Version};
use super::super::{Key, aggregate};
use super::{APART, Listeners, Now, Users, replace};
use crate::ResourceType;
use crate::protocol::canonical;
use crate::store::Known;
use mesh_core::Timestamp;
use mesh_core::update::ClusterUpdate;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All clusters.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    entries: BTreeMap<Arc<str>, Entry>,
    users: Users,
    /// Those to be looked at.
    stale: BTreeSet<Arc<str>>,
    /// Those that the control plane has no more, and that are still in force: until when because routes name
    /// them; `None`: only because these are about to be replaced.
    gone: BTreeMap<Arc<str>, Option<Timestamp>>,
    /// Those that wait for something behind them.
    warming: BTreeSet<Arc<str>>,
    changed: Changed,
    version: Version,
}

#[derive(Debug, Default)]
struct Entry {
    /// What the newest version is made from.
    uses: BTreeSet<Key>,
    /// As it is in force; `None`: it is not.
    update: Option<ClusterUpdate>,
    /// Of what is in force.
    hash: Option<u64>,
}

impl Clusters {
    /// A resource has changed.
    pub(super) fn handle_changed(&mut self, key: &Key) {
        self.stale.extend(self.users.of(key).cloned());
        if key.0 == ResourceType::Cluster {
            self.stale.insert(Arc::clone(&key.1));
        }
    }

    /// What waits may have to wait no longer.
    pub(super) fn look_again(&mut self) {
        self.stale.extend(self.warming.iter().cloned());
    }

    /// Takes over what is complete; those that were looked at.
    pub(super) fn settle(
        &mut self,
        known: Now<'_>,
        touched: &mut BTreeSet<Key>,
    ) -> BTreeSet<Arc<str>> {
        for until in self.gone.values_mut() {
            *until = until.filter(|until| *until > known.now);
        }
        let stale = std::mem::take(&mut self.stale);
        for name in &stale {
            self.settle_one(name, known, touched);
        }
        stale
    }

    fn settle_one(
        &mut self,
        name: &Arc<str>,
        Now { store, asked, now }: Now<'_>,
        touched: &mut BTreeSet<Key>,
    ) {
        let is_there = matches!(store.look(ResourceType::Cluster, name), Known::Value(_));
        if !is_there && !self.entries.contains_key(name) {
            return;
        }
        let entry = self.entries.entry(Arc::clone(name)).or_default();
        let (update, uses) = match is_there {
            true => aggregate::resolve(store, name),
            false => (None, BTreeSet::new()),
        };
        replace(&mut self.users, name, (&entry.uses, &uses), touched);
        entry.uses = uses;
        self.gone.remove(name);
        self.warming.remove(name);
        if !is_there {
            self.gone.insert(Arc::clone(name), Some(now + APART));
        } else if entry.uses.iter().all(|key| asked.is_answered(store, key)) {
            let mut hash = Part::new("cluster", name);
            entry.uses.iter().for_each(|(kind, name)| hash.resource(store, *kind, name));
            let hash = Some(hash.hash());
            self.version.replace(std::mem::replace(&mut entry.hash, hash), hash);
            take(&mut entry.update, update, name, &mut self.changed);
        } else {
            self.warming.insert(Arc::clone(name));
        }
    }

    /// Ends those that are gone, but for those that routes still hold.
    pub(super) fn drop_gone(&mut self, listeners: &Listeners) {
        let Self { entries, gone, changed, version, .. } = self;
        if gone.is_empty() {
            return;
        }
        let (named, held) = listeners.names();
        gone.retain(|name, until| {
            if held.contains(name) || (until.is_some() && named.contains(name)) {
                return true;
            }
            if let Some(entry) = entries.remove(name) {
                changed.whole |= entry.update.is_some();
                changed.endpoints.remove(name);
                version.replace(entry.hash, None);
            }
            false
        });
    }

    /// When one that is gone has stayed for long enough.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.gone.values().flatten().min().copied()
    }

    /// Whether it and everything behind it has its answer.
    pub(super) fn is_answered(&self, known: Now<'_>, name: &Arc<str>) -> bool {
        let key = (ResourceType::Cluster, canonical(name));
        !self.warming.contains(&key.1) && known.asked.is_answered(known.store, &key)
    }

    /// Who uses what.
    pub(super) const fn users(&self) -> &Users {
        &self.users
    }

    /// What each cluster in force is made from.
    pub(super) fn uses(&self) -> impl Iterator<Item = (&Arc<str>, &Key)> {
        let in_force = self.entries.iter().filter(|(_, entry)| entry.update.is_some());
        in_force.flat_map(|(name, entry)| entry.uses.iter().map(move |key| (name, key)))
    }

    /// Those in force.
    pub(super) fn updates(&self) -> impl Iterator<Item = (&Arc<str>, &ClusterUpdate)> {
        self.entries.iter().filter_map(|(name, entry)| Some((name, entry.update.as_ref()?)))
    }

    /// The one of this name that is in force.
    pub(super) fn get(&self, name: &str) -> Option<&ClusterUpdate> {
        self.entries.get(name)?.update.as_ref()
    }

    /// What changed since the last call.
    pub(super) fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// The hash of all that is in force.
    pub(super) const fn version(&self) -> Version {
        self.version
    }
}
