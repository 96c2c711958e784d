//! [`Listeners`]: all listeners that a control plane has, each with the routes that are in force.

use super::super::Key;
use super::super::version::{Part, Version};
use super::super::whole::{Group, Note, NoteKind, add};
use super::{APART, Now, Users, is_named, replace};
use crate::protocol::canonical;
use crate::store::{Known, Store};
use crate::{Resource, ResourceType, RouteSource, XdsListener, XdsRouteConfiguration};
use mesh_core::Timestamp;
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
    /// Until when it waits for clusters that are not there.
    until: Option<Timestamp>,
    /// It has waited for them for long enough.
    has_waited: bool,
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
    /// Clusters that are not there.
    absent: BTreeSet<Arc<str>>,
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
        known: Now<'_>,
        is_answered: impl Fn(&Arc<str>) -> bool,
        touched: &mut BTreeSet<Key>,
    ) -> bool {
        let mut changed = false;
        let due = self.until().filter(|(_, until)| *until <= known.now);
        let due: Vec<_> = due.map(|(name, _)| Arc::clone(name)).collect();
        self.stale.extend(due);
        for name in std::mem::take(&mut self.stale) {
            let Known::Value(Resource::Listener(listener)) =
                known.store.look(ResourceType::Listener, &name)
            else {
                changed |= self.remove(&name, touched);
                continue;
            };
            let looked = look(listener, known, &is_answered);
            changed |= self.take(&name, looked, known, touched);
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
        known: Now<'_>,
        touched: &mut BTreeSet<Key>,
    ) -> bool {
        let Looked { next, mut needs, mut waits_for, absent, lacks_routes } = looked;
        let entry = self.entries.entry(Arc::clone(name)).or_default();
        waits_for.extend(entry.awaited(absent, known.now));
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
            (entry.until, entry.has_waited) = (None, false);
            let hash = Some(next.hash(name, known.store));
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

    /// The clusters that routes in force name, and those of them that routes name which wait for their
    /// successors.
    pub(super) fn names(&self) -> (BTreeSet<Arc<str>>, BTreeSet<Arc<str>>) {
        let (mut named, mut held) = (BTreeSet::new(), BTreeSet::new());
        for (name, entry) in &self.entries {
            let names = entry.in_force.iter().flat_map(InForce::clusters).map(canonical);
            match self.warming.contains(name) {
                true => held.extend(names),
                false => named.extend(names),
            }
        }
        (named, held)
    }

    /// When one that waits for clusters that are not there has waited for long enough.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.until().map(|(_, until)| until).min()
    }

    fn until(&self) -> impl Iterator<Item = (&Arc<str>, Timestamp)> {
        self.warming.iter().filter_map(|name| Some((name, self.entries.get(name)?.until?)))
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

impl Entry {
    /// What it waits for of clusters that are not there: a part of the same change may bring them. Only if
    /// something serves meanwhile, and not for those that this lacks as well.
    fn awaited(&mut self, mut absent: BTreeSet<Arc<str>>, now: Timestamp) -> BTreeSet<Arc<str>> {
        let Some(in_force) = &self.in_force else { return BTreeSet::new() };
        for name in in_force.clusters() {
            absent.remove(&canonical(name));
        }
        self.has_waited |= self.until.is_some_and(|until| until <= now);
        if absent.is_empty() || self.has_waited {
            self.until = None;
            return BTreeSet::new();
        }
        self.until.get_or_insert(now + APART);
        absent
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
    Now { store, asked, .. }: Now<'_>,
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
    for name in next.clusters() {
        if !is_answered(name) {
            looked.waits_for.insert(canonical(name));
        } else if store.look(ResourceType::Cluster, name) == Known::Pending {
            looked.absent.insert(canonical(name));
        }
    }
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
