//! [`Clusters`]: all clusters that a control plane has, each as it is in force, and the secrets that they name.

use super::super::Key;
use super::super::aggregate::{self, Resolved};
use super::super::clusters::{Changed, secrets, take};
use super::super::secrets::Held;
use super::super::version::{Part, Version};
use super::{APART, Listeners, Now, Users, replace};
use crate::ResourceType;
use crate::protocol::canonical;
use crate::store::{Known, Store};
use mesh_core::Timestamp;
use mesh_core::update::{ClusterUpdate, Secrets};
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
    secrets: Held,
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
        if key.0 == ResourceType::Secret {
            // It is beside the clusters: only those that wait for it have to look again.
            self.secrets.handle_changed(&key.1);
            let waiting = self.users.of(key).filter(|name| self.warming.contains(*name));
            self.stale.extend(waiting.cloned());
            return;
        }
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
        let mut looked_at = BTreeSet::new();
        // An aggregate may wait for a cluster that comes into force now: then it is looked at again.
        while let Some(name) = self.stale.pop_first() {
            self.settle_one(&name, known, touched);
            looked_at.insert(name);
        }
        self.settle_secrets(known.store);
        looked_at
    }

    /// Listeners in force name these secrets, and no longer those.
    pub(super) fn secrets_of_servers(
        &mut self,
        store: &Store,
        (before, after): &(Vec<Arc<str>>, Vec<Arc<str>>),
    ) {
        after.iter().for_each(|secret| self.secrets.keep(secret));
        before.iter().for_each(|secret| self.secrets.let_go(secret));
        if !(before.is_empty() && after.is_empty()) {
            self.settle_secrets(store);
        }
    }

    fn settle_secrets(&mut self, store: &Store) {
        self.secrets.settle(store, &mut self.version, &mut self.changed.secrets);
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
        let resolved = is_there.then(|| aggregate::resolve(store, name));
        let Resolved { update, leaves, looked_at: mut uses, .. } = resolved.unwrap_or_default();
        uses.extend(secrets(update.as_ref()).map(|name| (ResourceType::Secret, Arc::clone(name))));
        let is_in_force = |name: &Arc<str>| self.get(name).is_some();
        let is_warm = leaves.iter().all(is_in_force)
            && uses.iter().all(|key| asked.is_answered(store, key) || self.holds(key));
        let entry = self.entries.entry(Arc::clone(name)).or_default();
        replace(&mut self.users, name, (&entry.uses, &uses), touched);
        entry.uses = uses;
        self.gone.remove(name);
        self.warming.remove(name);
        if !is_there {
            self.gone.insert(Arc::clone(name), Some(now + APART));
        } else if is_warm {
            secrets(update.as_ref()).for_each(|secret| self.secrets.keep(secret));
            secrets(entry.update.as_ref()).for_each(|secret| self.secrets.let_go(secret));
            let mut hash = Part::new("cluster", name);
            let uses = entry.uses.iter().filter(|(kind, _)| *kind != ResourceType::Secret);
            uses.for_each(|(kind, name)| hash.resource(store, *kind, name));
            let hash = Some(hash.hash());
            self.version.replace(std::mem::replace(&mut entry.hash, hash), hash);
            let was_there = entry.update.is_some();
            take(&mut entry.update, update, name, &mut self.changed);
            if !was_there && entry.update.is_some() {
                self.look_again();
            }
        } else {
            self.warming.insert(Arc::clone(name));
        }
    }

    /// Whether it is a secret that clusters or servers in force have.
    pub(super) fn holds(&self, (kind, name): &Key) -> bool {
        *kind == ResourceType::Secret && self.secrets.answers().contains_key(name)
    }

    /// What is known of each secret that a cluster names.
    pub(super) const fn secrets(&self) -> &Arc<Secrets> {
        self.secrets.answers()
    }

    /// Ends those that are gone, but for those that routes still hold.
    pub(super) fn drop_gone(&mut self, listeners: &Listeners) {
        let Self { entries, gone, secrets: held_secrets, changed, version, .. } = self;
        if gone.is_empty() {
            return;
        }
        let (named, held) = listeners.names();
        gone.retain(|name, until| {
            if held.contains(name) || (until.is_some() && named.contains(name)) {
                return true;
            }
            if let Some(entry) = entries.remove(name) {
                secrets(entry.update.as_ref()).for_each(|secret| held_secrets.let_go(secret));
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
