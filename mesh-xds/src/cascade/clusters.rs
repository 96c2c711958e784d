//! [`Clusters`]: the clusters that routes in force name, each as the model has it.
//!
//! Each is made from the resources behind it, and made anew when one of those changes: a changed EDS
//! resource costs the clusters that use it, whatever else there is. Secrets are beside them ([`Held`]).

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
    /// `None`: it is not there.
    update: Option<ClusterUpdate>,
    hash: Option<u64>,
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
            secrets(entry.update.as_ref()).for_each(|secret| self.secrets.let_go(secret));
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
        while let Some(name) = self.stale.pop_first() {
            let Resolved { update, leaves, looked_at, is_pending } =
                aggregate::resolve(store, &name);
            let is_complete =
                !is_pending && leaves.iter().all(|leaf| self.entries.contains_key(leaf));
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            // Make before break: what it was stays until the secrets of what it will be have an answer, and
            // an aggregate stands for its last leaves until all of the next ones are there.
            let waits_for = secrets(update.as_ref());
            let waits_for = waits_for.filter(|name| !self.secrets.is_answered(store, name));
            let waits_for: Vec<_> =
                waits_for.map(|name| (ResourceType::Secret, name.clone())).collect();
            let waits = entry.update.is_some() && !waits_for.is_empty();
            let mut uses = looked_at;
            uses.extend(waits_for);
            self.users.replace(&name, &entry.uses, &uses, |_, _| {});
            entry.uses = uses;
            if waits || !is_complete {
                continue;
            }
            secrets(update.as_ref()).for_each(|secret| self.secrets.keep(secret));
            secrets(entry.update.as_ref()).for_each(|secret| self.secrets.let_go(secret));
            let mut hash = Part::new("cluster", &name);
            entry.uses.iter().for_each(|(kind, name)| hash.resource(store, *kind, name));
            let hash = Some(hash.hash());
            self.version.replace(std::mem::replace(&mut entry.hash, hash), hash);
            take(&mut entry.update, update, &name, changed);
            leaving.append(&mut std::mem::replace(&mut entry.leaves, leaves.clone()));
            leaves.iter().for_each(|leaf| self.keep(leaf));
        }
        // At the end: another aggregate may have taken them over.
        leaving.iter().for_each(|leaf| self.let_go(leaf, changed));
        self.secrets.settle(store, &mut self.version, &mut changed.secrets);
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
