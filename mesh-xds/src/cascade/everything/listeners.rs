//! [`Listeners`]: all listeners that a control plane has, each with the routes that are in force, for calls and for
//! servers.
//!
//! What a server does by a listener ([`servers`](super::servers)) waits for the same as what calls do by it: for routes,
//! for the clusters that are named (its filters ask somebody in them), and for secrets as well.

use super::super::Key;
use super::super::kept::Restored;
use super::super::version::Version;
use super::super::whole::{Group, Note, NoteKind, add};
use super::listener::{Behind, InForce, Looked, found, look, secret};
use super::{APART, Now, Users, replace};
use crate::last_good::KeptListener;
use crate::protocol::canonical;
use crate::store::{Known, Store};
use crate::{Resource, ResourceType, RouteSource, XdsListener};
use mesh_core::Timestamp;
use mesh_core::model::Listener;
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
    /// Those that a server asks for although calls go by them, too.
    asked: BTreeSet<Arc<str>>,
    /// What served in another process, of those by which nobody has served in this one.
    restored: BTreeMap<Arc<str>, Restored>,
    /// The secrets that servers named before, and those that they name now.
    secrets: (Vec<Arc<str>>, Vec<Arc<str>>),
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

impl Listeners {
    /// A resource has changed.
    pub(super) fn handle_changed(&mut self, key: &Key) {
        match key.0 {
            ResourceType::Listener => {
                self.stale.insert(Arc::clone(&key.1));
            }
            ResourceType::RouteConfiguration => self.stale.extend(self.users.of(key).cloned()),
            // It is beside the listeners: only those that wait for it have to look again.
            ResourceType::Secret => {
                let waiting = self.users.of(key).filter(|name| self.warming.contains(*name));
                self.stale.extend(waiting.cloned());
            }
            // They are told of by `handle_settled`.
            ResourceType::Cluster | ResourceType::Endpoints => {}
        }
    }

    /// Servers ask for these. Whether one has to be looked at again.
    pub(super) fn set_asked(&mut self, names: BTreeSet<Arc<str>>) -> bool {
        let changed: Vec<_> = self.asked.symmetric_difference(&names).cloned().collect();
        self.stale.extend(changed.iter().cloned());
        self.asked = names;
        !changed.is_empty()
    }

    /// There is something to tell, although no listener changed.
    pub(super) fn tell(&mut self) {
        self.changed = true;
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
        behind: &impl Behind,
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
            let before = self.before(&name, listener);
            let is_asked = self.asked.contains(&name);
            let looked = look(listener, known, behind, (is_asked, before.as_ref()));
            changed |= self.take(&name, looked, (known, before.as_ref()), touched);
        }
        self.changed |= changed;
        changed
    }

    /// What served by the listener `name` in another process.
    pub(super) fn restore(&mut self, name: &Arc<str>, restored: Restored) {
        self.restored.insert(canonical(name), restored);
    }

    /// What a newer one stands beside: what is in force, or served in another process.
    fn before(&self, name: &Arc<str>, listener: &Arc<XdsListener>) -> Option<InForce> {
        let in_force = self.get(name);
        match self.restored.get(name) {
            Some(restored) if in_force.is_none_or(|of| of.server.is_none()) => {
                Some(InForce::restored(listener, restored))
            }
            _ => in_force.cloned(),
        }
    }

    fn remove(&mut self, name: &Arc<str>, touched: &mut BTreeSet<Key>) -> bool {
        self.restored.remove(name);
        let Some(entry) = self.entries.remove(name) else { return false };
        self.warming.remove(name);
        release(&mut self.held_up, name, &entry.waits_for);
        replace(&mut self.users, name, (&entry.needs, &BTreeSet::new()), touched);
        self.version.replace(entry.hash, None);
        self.secrets.0.extend(entry.in_force.iter().flat_map(InForce::secrets));
        entry.in_force.is_some()
    }

    fn take(
        &mut self,
        name: &Arc<str>,
        looked: Looked,
        (known, before): (Now<'_>, Option<&InForce>),
        touched: &mut BTreeSet<Key>,
    ) -> bool {
        let Looked { next, mut needs, mut waits_for, absent, lacks } = looked;
        let entry = self.entries.entry(Arc::clone(name)).or_default();
        waits_for.extend(entry.awaited(absent, known.now));
        release(&mut self.held_up, name, &entry.waits_for);
        for cluster in &waits_for {
            self.held_up.entry(Arc::clone(cluster)).or_default().insert(Arc::clone(name));
        }
        let waits = lacks || !waits_for.is_empty();
        entry.waits_for = waits_for;
        let mut changed = false;
        if waits {
            self.warming.insert(Arc::clone(name));
            // What serves is kept until its successor is complete.
            needs.extend(entry.in_force.iter().flat_map(InForce::named_clusters));
            needs.extend(entry.in_force.iter().flat_map(InForce::secrets).map(secret));
        } else if let Some(next) = next {
            self.warming.remove(name);
            (entry.until, entry.has_waited) = (None, false);
            let next = next.checked(before);
            if next.server.is_some() {
                self.restored.remove(name);
            }
            // Of one that stays although there is a newer one, too.
            needs.extend(next.named_clusters().chain(next.secrets().into_iter().map(secret)));
            let hash = Some(next.hash(name, known.store));
            self.version.replace(std::mem::replace(&mut entry.hash, hash), hash);
            changed = !entry.in_force.as_ref().is_some_and(|before| before.is_same(&next));
            if changed {
                self.secrets.1.extend(next.secrets());
                self.secrets.0.extend(entry.in_force.iter().flat_map(InForce::secrets));
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
        for InForce { listener, routes, .. } in self.in_force() {
            if let (Some(http), Some(routes)) = (&listener.http, routes) {
                add(&mut groups, listener, http, routes);
            }
        }
        groups
    }

    /// Those whose routes do not exist, and those that no server can serve by.
    pub(super) fn without_routes(&self, store: &Store) -> Vec<Note> {
        let mut notes = Vec::new();
        for InForce { listener, routes, server, trouble, .. } in self.in_force() {
            let at = (ResourceType::Listener, Arc::clone(&listener.name));
            let mut note = |kind| notes.push(Note { at: at.clone(), kind });
            let missing = |name: &Arc<str>| {
                NoteKind::Missing(ResourceType::RouteConfiguration, Arc::clone(name))
            };
            if let (None, Some(http)) = (routes, &listener.http)
                && let RouteSource::Rds(name) = &http.routes
            {
                note(missing(name));
            }
            match (&listener.server, &listener.http) {
                (Some(Ok(_)), None) if server.is_none() && trouble.is_some() => {
                    trouble.iter().for_each(|why| note(NoteKind::CanNotServe(Arc::clone(why))));
                }
                (Some(Ok(server)), None) => {
                    let names: BTreeSet<_> = server.routes.iter().flatten().collect();
                    let names = names.into_iter().filter(|name| found(store, name).is_none());
                    names.for_each(|name| note(missing(name)));
                }
                (Some(Err(errors)), None) if server.is_none() => {
                    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                    note(NoteKind::CanNotServe(errors.join("; ").into()));
                }
                _ => {}
            }
        }
        notes
    }

    /// The listener of this name that is in force: as it came, and what a server does by it.
    pub(super) fn get(&self, name: &str) -> Option<&InForce> {
        self.entries.get(name)?.in_force.as_ref()
    }

    /// Those of which what a server did before stays, and why.
    pub(super) fn kept(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        let kept = self.in_force().filter_map(|in_force| {
            let why = format!("listener {}: {}", in_force.listener.name, in_force.kept()?);
            Some((Arc::clone(&in_force.listener.name), why.into()))
        });
        kept.collect()
    }

    /// Those of which servers do something by what is not the newest, because nobody can by that, or it waits for its
    /// routes: as they go to disk, by their names.
    pub(super) fn kept_forms(&self, store: &Store) -> BTreeMap<Arc<str>, KeptListener> {
        let kept = self.in_force();
        let kept =
            kept.filter_map(|of| Some((Arc::clone(&of.listener.name), of.kept_form(store)?)));
        kept.collect()
    }

    /// Those in force, by the names that they are held by.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<str>, &InForce)> {
        let all = self.entries.iter();
        all.filter_map(|(name, entry)| Some((name, entry.in_force.as_ref()?)))
    }

    /// Whether it came, even if it is not in force yet.
    pub(super) fn has_come(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// What servers do by those in force that are for servers alone.
    pub(super) fn for_servers(&self) -> impl Iterator<Item = (Arc<str>, Arc<Listener>)> {
        let alone = self.in_force().filter(|in_force| in_force.listener.http.is_none());
        alone.filter_map(|in_force| {
            Some((Arc::clone(&in_force.listener.name), in_force.server.clone()?))
        })
    }

    /// The secrets of servers in force, and the listeners that name them.
    pub(super) fn secrets_of_servers(&self) -> impl Iterator<Item = (&Arc<str>, Arc<str>)> {
        self.in_force().flat_map(|in_force| {
            let secrets = in_force.secrets().into_iter();
            secrets.map(move |secret| (&in_force.listener.name, secret))
        })
    }

    /// The secrets that servers named before the last call, and those that they name now.
    pub(super) fn take_secrets(&mut self) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        std::mem::take(&mut self.secrets)
    }

    /// The clusters that routes and servers in force name, and what names them.
    pub(super) fn clusters(&self) -> impl Iterator<Item = (Key, &Arc<str>)> {
        self.in_force().flat_map(|in_force| {
            let at = in_force.place();
            let own = (ResourceType::Listener, Arc::clone(&in_force.listener.name));
            let by_routes = in_force.of_routes().map(move |cluster| (at.clone(), cluster));
            by_routes.chain(in_force.of_server().map(move |cluster| (own.clone(), cluster)))
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
