//! [`Listeners`]: all listeners that a control plane has, each with the routes that are in force.

use super::super::version::{Part, Version};
use super::super::whole::{Group, Note, NoteKind, add};
use super::super::Key;
use super::{Asked, Users, is_named, replace};
use crate::protocol::canonical;
use crate::store::{Known, Store};
use crate::{Resource, ResourceType, RouteSource, XdsListener, XdsRouteConfiguration};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All listeners.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    entries: BTreeMap<Arc<str>, Entry>,
    users: Users,
    /// Those to be looked at.
    stale: BTreeSet<Arc<str>>,
    /// Those whose newest version waits.
    warming: BTreeSet<Arc<str>>,
    /// Which of them wait for a cluster.
    held_up: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Whether anything in force changed.
    changed: bool,
    version: Version,
}

#[derive(Debug, Default)]
struct Entry {
    in_force: Option<InForce>,
    /// Of what is in force.
    hash: Option<u64>,
    needs: BTreeSet<Key>,
    /// Clusters that its newest routes name and that have no answer.
    waits_for: BTreeSet<Arc<str>>,
}

/// A listener and its routes; `None`: there are none.
#[derive(Clone, Debug)]
struct InForce {
    listener: Arc<XdsListener>,
    routes: Option<Arc<XdsRouteConfiguration>>,
}

/// What a listener comes to.
#[derive(Debug, Default)]
struct Looked {
    next: Option<InForce>,
    needs: BTreeSet<Key>,
    waits_for: BTreeSet<Arc<str>>,
    /// Its routes have no answer.
    lacks_routes: bool,
}

impl Listeners {
    /// A resource has changed.
    pub(super) fn handle_changed(&mut self, key: &Key) {
        match key.0 {
            ResourceType::Listener => {
                self.stale.insert(Arc::clone(&key.1));
            }
            ResourceType::RouteConfiguration => self.stale.extend(self.users.of(key).cloned()),
            // They are told of by `handle_settled`.
            ResourceType::Cluster | ResourceType::Endpoints | ResourceType::Secret => {}
        }
    }

    /// What waits may have to wait no longer.
    pub(super) fn look_again(&mut self) {
        self.stale.extend(self.warming.iter().cloned());
    }

    /// These clusters were looked at: who waits for nothing more has to be, too.
    pub(super) fn handle_settled(
        &mut self,
        clusters: &BTreeSet<Arc<str>>,
        is_answered: impl Fn(&Arc<str>) -> bool,
    ) {
        for cluster in clusters {
            if !self.held_up.contains_key(cluster) || !is_answered(cluster) {
                continue;
            }
            for name in self.held_up.remove(cluster).unwrap_or_default() {
                let Some(entry) = self.entries.get_mut(&name) else { continue };
                entry.waits_for.remove(cluster);
                if entry.waits_for.is_empty() {
                    self.stale.insert(name);
                }
            }
        }
    }

    /// Takes over what is complete. Whether anything in force changed.
    pub(super) fn settle(
        &mut self,
        store: &Store,
        asked: &Asked,
        is_answered: impl Fn(&Arc<str>) -> bool,
        touched: &mut BTreeSet<Key>,
    ) -> bool {
        let mut changed = false;
        for name in std::mem::take(&mut self.stale) {
            let Known::Value(Resource::Listener(listener)) =
                store.look(ResourceType::Listener, &name)
            else {
                changed |= self.remove(&name, touched);
                continue;
            };
            let looked = look(listener, store, asked, &is_answered);
            changed |= self.take(&name, looked, store, touched);
        }
        self.changed |= changed;
        changed
    }

    fn remove(&mut self, name: &Arc<str>, touched: &mut BTreeSet<Key>) -> bool {
        let Some(entry) = self.entries.remove(name) else { return false };
        self.warming.remove(name);
        release(&mut self.held_up, name, &entry.waits_for);
        replace(&mut self.users, name, (&entry.needs, &BTreeSet::new()), touched);
        self.version.replace(entry.hash, None);
        entry.in_force.is_some()
    }

    fn take(
        &mut self,
        name: &Arc<str>,
        looked: Looked,
        store: &Store,
        touched: &mut BTreeSet<Key>,
    ) -> bool {
        let Looked { next, mut needs, waits_for, lacks_routes } = looked;
        let entry = self.entries.entry(Arc::clone(name)).or_default();
        release(&mut self.held_up, name, &entry.waits_for);
        for cluster in &waits_for {
            self.held_up.entry(Arc::clone(cluster)).or_default().insert(Arc::clone(name));
        }
        let waits = lacks_routes || !waits_for.is_empty();
        entry.waits_for = waits_for;
        let mut changed = false;
        if waits {
            self.warming.insert(Arc::clone(name));
            // What serves is kept until its successor is complete.
            needs.extend(entry.in_force.iter().flat_map(InForce::named_clusters));
        } else if let Some(next) = next {
            self.warming.remove(name);
            let hash = Some(next.hash(name, store));
            self.version.replace(std::mem::replace(&mut entry.hash, hash), hash);
            changed = !entry.in_force.as_ref().is_some_and(|before| before.is_same(&next));
            if changed {
                entry.in_force = Some(next);
            }
        }
        replace(&mut self.users, name, (&entry.needs, &needs), touched);
        entry.needs = needs;
        changed
    }

    /// Whether none of them waits for its first routes.
    pub(super) fn is_complete(&self) -> bool {
        self.warming.is_empty()
    }

    /// Whether routes name this cluster that are about to be replaced.
    pub(super) fn holds(&self, cluster: &Arc<str>) -> bool {
        let waiting = self.warming.iter().filter_map(|name| self.entries.get(name));
        let mut in_force = waiting.filter_map(|entry| entry.in_force.as_ref());
        in_force.any(|in_force| in_force.clusters().any(|named| canonical(named) == *cluster))
    }

    /// What is in force, by routes.
    pub(super) fn groups(&self) -> Vec<Group<'_>> {
        let mut groups = Vec::new();
        for InForce { listener, routes } in self.in_force() {
            if let (Some(http), Some(routes)) = (&listener.http, routes) {
                add(&mut groups, listener, http, routes);
            }
        }
        groups
    }

    /// Those whose routes do not exist.
    pub(super) fn without_routes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for InForce { listener, routes } in self.in_force() {
            if let (None, Some(http)) = (routes, &listener.http)
                && let RouteSource::Rds(name) = &http.routes
            {
                let at = (ResourceType::Listener, Arc::clone(&listener.name));
                let kind = ResourceType::RouteConfiguration;
                notes.push(Note { at, kind: NoteKind::Missing(kind, Arc::clone(name)) });
            }
        }
        notes
    }

    /// The clusters that routes in force name, and what names them.
    pub(super) fn clusters(&self) -> impl Iterator<Item = (Key, &Arc<str>)> {
        self.in_force().flat_map(|in_force| {
            let at = in_force.place();
            in_force.clusters().map(move |cluster| (at.clone(), cluster))
        })
    }

    fn in_force(&self) -> impl Iterator<Item = &InForce> {
        self.entries.values().filter_map(|entry| entry.in_force.as_ref())
    }

    /// Who uses what.
    pub(super) const fn users(&self) -> &Users {
        &self.users
    }

    /// Whether anything in force changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The hash of all that is in force.
    pub(super) const fn version(&self) -> Version {
        self.version
    }
}

impl InForce {
    fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.routes.iter().flat_map(|routes| routes.clusters.iter().flatten())
    }

    /// The clusters that are asked for by their names.
    fn named_clusters(&self) -> impl Iterator<Item = Key> {
        self.clusters().map(cluster).filter(is_named)
    }

    /// Where its clusters are named.
    fn place(&self) -> Key {
        match self.listener.http.as_ref().map(|http| &http.routes) {
            Some(RouteSource::Rds(name)) => (ResourceType::RouteConfiguration, Arc::clone(name)),
            Some(RouteSource::Inline(_)) | None => {
                (ResourceType::Listener, Arc::clone(&self.listener.name))
            }
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.listener == other.listener && self.routes == other.routes
    }

    fn hash(&self, name: &Arc<str>, store: &Store) -> u64 {
        let mut hash = Part::new("listener", name);
        hash.resource(store, ResourceType::Listener, name);
        let (kind, routes) = self.place();
        if kind == ResourceType::RouteConfiguration {
            hash.resource(store, kind, &routes);
        }
        hash.hash()
    }
}

/// What a listener comes to by what is known.
fn look(
    listener: &Arc<XdsListener>,
    store: &Store,
    asked: &Asked,
    is_answered: impl Fn(&Arc<str>) -> bool,
) -> Looked {
    let mut looked = Looked::default();
    let routes = match listener.http.as_ref().map(|http| &http.routes) {
        None => None,
        Some(RouteSource::Inline(routes)) => Some(Arc::clone(routes)),
        Some(RouteSource::Rds(name)) => {
            let key = (ResourceType::RouteConfiguration, canonical(name));
            looked.lacks_routes = !asked.is_answered(store, &key);
            looked.needs.insert(key);
            match store.look(ResourceType::RouteConfiguration, name) {
                Known::Value(Resource::RouteConfiguration(routes)) => Some(Arc::clone(routes)),
                Known::Value(_) | Known::Missing(_) | Known::Pending => None,
            }
        }
    };
    let next = InForce { listener: Arc::clone(listener), routes };
    looked.needs.extend(next.named_clusters());
    let waits_for = next.clusters().filter(|cluster| !is_answered(cluster));
    looked.waits_for = waits_for.map(canonical).collect();
    looked.next = Some(next);
    looked
}

/// A listener waits for these no longer.
fn release(
    held_up: &mut BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    name: &Arc<str>,
    clusters: &BTreeSet<Arc<str>>,
) {
    for cluster in clusters {
        if let Some(names) = held_up.get_mut(cluster) {
            names.remove(name);
            if names.is_empty() {
                held_up.remove(cluster);
            }
        }
    }
}

fn cluster(name: &Arc<str>) -> Key {
    (ResourceType::Cluster, canonical(name))
}
