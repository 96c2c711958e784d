//! [`Clusters`]: the clusters that routes in force name, each as the model has it.
//!
//! Each is made from the resources behind it, and made anew when one of those changes: a changed EDS
//! resource costs the clusters that use it, whatever else there is. Secrets are beside them ([`Held`]).
//!
//! An aggregate that waits for its next leaves stands for its last ones (make before break). Of those it names
//! what is there now, as Envoy's aggregate does when a cluster comes or goes: one that is gone is left out, and
//! one that has become an aggregate itself stands for its own. So whoever is named is there, and is no aggregate.

use super::Key;
use super::aggregate::{self, Resolved};
use super::secrets::Held;
use super::users::Users;
use super::version::{Part, Version};
use crate::ResourceType;
use crate::protocol::canonical;
use crate::store::Store;
use mesh_core::update::{ClusterUpdate, Secrets};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The clusters of a configuration.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    entries: BTreeMap<Arc<str>, Entry>,
    users: Users,
    /// Those to be made anew.
    stale: BTreeSet<Arc<str>>,
    secrets: Held,
    /// Of all of them.
    version: Version,
}

/// One cluster.
#[derive(Debug, Default)]
struct Entry {
    /// How many authorities, and aggregates in force, it serves.
    serving: usize,
    /// The clusters that it stands for as it is in force, if it is an aggregate: they stay as long as it does.
    leaves: Vec<Arc<str>>,
    /// What it was made from.
    uses: BTreeSet<Key>,
    /// An aggregate as it was made, with all of its leaves.
    aggregate: Option<ClusterUpdate>,
    /// What is told of it: an aggregate with those of its leaves that are there. `None`: it is not there.
    update: Option<ClusterUpdate>,
    hash: Option<u64>,
}

impl Entry {
    /// What it was made as.
    fn made(&self) -> Option<&ClusterUpdate> {
        self.aggregate.as_ref().or(self.update.as_ref())
    }
}

/// What became of clusters since the last time.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// More than endpoints.
    pub(super) whole: bool,
    /// Clusters of which only the endpoints did.
    pub(super) endpoints: BTreeSet<Arc<str>>,
    /// Secrets.
    pub(super) secrets: BTreeSet<Arc<str>>,
}

impl Clusters {
    /// One more authority, or aggregate, is served by it.
    pub(super) fn keep(&mut self, name: &Arc<str>) {
        let entry = self.entries.entry(Arc::clone(name)).or_default();
        entry.serving += 1;
        if entry.serving == 1 {
            self.stale.insert(Arc::clone(name));
            // An aggregate may have waited for it.
            self.handle_changed(&(ResourceType::Cluster, canonical(name)));
        }
    }

    /// One less is served by it.
    pub(super) fn let_go(&mut self, name: &Arc<str>, changed: &mut Changed) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.serving -= 1;
        if entry.serving > 0 {
            return;
        }
        if let Some(entry) = self.entries.remove(name) {
            entry.leaves.iter().for_each(|leaf| self.let_go(leaf, changed));
            secrets(entry.made()).for_each(|secret| self.secrets.let_go(secret));
            changed.whole |= entry.update.is_some();
            changed.endpoints.remove(name);
            self.users.replace(name, &entry.uses, &BTreeSet::new(), |_, _| {});
            self.version.replace(entry.hash, None);
            self.stale.remove(name);
        }
    }

    /// One more listener names a secret.
    pub(super) fn keep_secret(&mut self, name: &Arc<str>) {
        self.secrets.keep(name);
    }

    /// One less does.
    pub(super) fn let_go_secret(&mut self, name: &Arc<str>) {
        self.secrets.let_go(name);
    }

    /// A resource has changed.
    pub(super) fn handle_changed(&mut self, key: &Key) {
        if key.0 == ResourceType::Secret {
            self.secrets.handle_changed(&key.1);
        }
        self.stale.extend(self.users.of(key).cloned());
    }

    /// Makes anew what has to be.
    pub(super) fn settle(&mut self, store: &Store, changed: &mut Changed) {
        let mut leaving = Vec::new();
        let mut reshaped = false;
        while let Some(name) = self.stale.pop_first() {
            let resolved = aggregate::resolve(store, &name);
            if self.waits(store, &name, &resolved) {
                continue;
            }
            reshaped |= self.take_over(store, &name, resolved, &mut leaving, changed);
        }
        if reshaped {
            self.reshape(changed);
        }
        // At the end: another aggregate may have taken them over.
        leaving.iter().for_each(|leaf| self.let_go(leaf, changed));
        self.secrets.settle(store, &mut self.version, &mut changed.secrets);
    }

    /// Make before break: what a cluster was stays until the secrets of what it will be have an answer, and an
    /// aggregate stands for its last leaves until all of the next ones are there, and are no aggregates any more:
    /// so no two aggregates in force ever stand for each other.
    fn waits(&mut self, store: &Store, name: &Arc<str>, next: &Resolved) -> bool {
        let is_leaf =
            |name: &Arc<str>| self.entries.get(name).is_some_and(|entry| entry.leaves.is_empty());
        let is_complete = !next.is_pending && next.leaves.iter().all(is_leaf);
        let Some(entry) = self.entries.get_mut(name) else { return true };
        let waits_for = secrets(next.update.as_ref());
        let waits_for = waits_for.filter(|name| !self.secrets.is_answered(store, name));
        let waits_for: Vec<_> =
            waits_for.map(|name| (ResourceType::Secret, name.clone())).collect();
        let waits = entry.made().is_some() && !waits_for.is_empty();
        let mut uses = next.looked_at.clone();
        uses.extend(waits_for);
        self.users.replace(name, &entry.uses, &uses, |_, _| {});
        entry.uses = uses;
        waits || !is_complete
    }

    /// A cluster is in force as it is to be. Whether an aggregate may name others than before.
    fn take_over(
        &mut self,
        store: &Store,
        name: &Arc<str>,
        Resolved { update, leaves, .. }: Resolved,
        leaving: &mut Vec<Arc<str>>,
        changed: &mut Changed,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        secrets(update.as_ref()).for_each(|secret| self.secrets.keep(secret));
        secrets(entry.made()).for_each(|secret| self.secrets.let_go(secret));
        let mut hash = Part::new("cluster", name);
        entry.uses.iter().for_each(|(kind, name)| hash.resource(store, *kind, name));
        let hash = Some(hash.hash());
        self.version.replace(std::mem::replace(&mut entry.hash, hash), hash);
        let (was_aggregate, was_there) = (entry.aggregate.is_some(), entry.update.is_some());
        if leaves.is_empty() {
            entry.aggregate = None;
            take(&mut entry.update, update, name, changed);
        } else {
            entry.aggregate = update;
        }
        let is_aggregate = entry.aggregate.is_some();
        let comes_or_goes = entry.update.is_some() != was_there;
        leaving.append(&mut std::mem::replace(&mut entry.leaves, leaves.clone()));
        leaves.iter().for_each(|leaf| self.keep(leaf));
        if was_aggregate && !is_aggregate {
            // An aggregate may have waited for it to be none.
            self.handle_changed(&(ResourceType::Cluster, canonical(name)));
        }
        was_aggregate || is_aggregate || comes_or_goes
    }

    /// Each aggregate names those of its leaves that are there.
    fn reshape(&mut self, changed: &mut Changed) {
        let aggregates = self.entries.iter().filter(|(_, entry)| entry.aggregate.is_some());
        let names: Vec<_> = aggregates.map(|(name, _)| Arc::clone(name)).collect();
        for name in names {
            let mut found = Vec::new();
            self.add_leaves(&name, &mut found);
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            let made = entry.aggregate.as_ref().filter(|_| !found.is_empty());
            let update = made.map(|made| aggregate::standing_for(made, &found));
            take(&mut entry.update, update, &name, changed);
        }
    }

    /// What the cluster of this name stands for now: the aggregates in force are a tree, see
    /// [`waits`](Self::waits).
    fn add_leaves(&self, name: &Arc<str>, found: &mut Vec<Arc<str>>) {
        let Some(entry) = self.entries.get(name) else { return };
        if entry.aggregate.is_some() {
            entry.leaves.iter().for_each(|leaf| self.add_leaves(leaf, found));
        } else if entry.update.is_some() && !found.contains(name) {
            found.push(Arc::clone(name));
        }
    }

    /// What is known of each secret that a cluster names.
    pub(super) const fn secrets(&self) -> &Arc<Secrets> {
        self.secrets.answers()
    }

    /// The clusters that are there.
    pub(super) fn updates(&self) -> impl Iterator<Item = (&Arc<str>, &ClusterUpdate)> {
        self.entries.iter().filter_map(|(name, entry)| Some((name, entry.update.as_ref()?)))
    }

    /// The cluster of this name.
    pub(super) fn get(&self, name: &str) -> Option<&ClusterUpdate> {
        self.entries.get(name)?.update.as_ref()
    }

    /// The hash of all of them.
    pub(super) const fn version(&self) -> Version {
        self.version
    }
}

/// The names of the secrets that a cluster needs.
pub(super) fn secrets(update: Option<&ClusterUpdate>) -> impl Iterator<Item = &Arc<str>> {
    update.into_iter().flat_map(|update| update.cluster.secrets())
}

/// Takes a cluster over in the place of another, and keeps what is equal as it is.
pub(super) fn take(
    known: &mut Option<ClusterUpdate>,
    next: Option<ClusterUpdate>,
    name: &Arc<str>,
    changed: &mut Changed,
) {
    let (Some(before), Some(mut after)) = (&known, next.clone()) else {
        changed.whole |= known.is_some() != next.is_some();
        *known = next;
        return;
    };
    if before.cluster == after.cluster {
        after.cluster = Arc::clone(&before.cluster);
        if before.endpoints == after.endpoints {
            return;
        }
        changed.endpoints.insert(Arc::clone(name));
    } else {
        changed.whole = true;
    }
    *known = Some(after);
}
