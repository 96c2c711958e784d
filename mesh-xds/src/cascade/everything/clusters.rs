//! [`Clusters`]: all clusters that a control plane has, each as it is in force.

use super::super::clusters::{Changed, take};
use super::super::version::{Part, Version};
use super::super::{Key, aggregate};
use super::{Asked, Users, replace};
use crate::ResourceType;
use crate::protocol::canonical;
use crate::store::{Known, Store};
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
    /// Those that the control plane has no more, and that are still in force.
    gone: BTreeSet<Arc<str>>,
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
        store: &Store,
        asked: &Asked,
        touched: &mut BTreeSet<Key>,
    ) -> BTreeSet<Arc<str>> {
        let stale = std::mem::take(&mut self.stale);
        for name in &stale {
            self.settle_one(name, store, asked, touched);
        }
        stale
    }

    fn settle_one(
        &mut self,
        name: &Arc<str>,
        store: &Store,
        asked: &Asked,
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
            // Until nobody who is about to go needs it: see `drop_gone`.
            self.gone.insert(Arc::clone(name));
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

    /// Ends those that are gone, but for those that somebody still holds.
    pub(super) fn drop_gone(&mut self, is_held: impl Fn(&Arc<str>) -> bool) {
        let Self { entries, gone, changed, version, .. } = self;
        gone.retain(|name| {
            if is_held(name) {
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

    /// Whether it and everything behind it has its answer.
    pub(super) fn is_answered(&self, store: &Store, asked: &Asked, name: &Arc<str>) -> bool {
        let key = (ResourceType::Cluster, canonical(name));
        !self.warming.contains(&key.1) && asked.is_answered(store, &key)
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
