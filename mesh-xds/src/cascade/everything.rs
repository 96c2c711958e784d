//! [`Everything`]: all listeners and all clusters that a control plane has, as one configuration; the way
//! of Envoy.
//!
//! A client that asks by name knows whom it calls and walks from there ([`super::Cascade`]). One that asks
//! for everything is told: listeners and clusters come by the wildcard, routes and endpoints are asked for
//! by the names in them, and what all of it serves together is what [`super::whole`] makes of files.
//!
//! ```text
//! LDS * ─ listener ─ RDS ─┐ names
//! CDS * ─ cluster  ─ EDS ─┘
//! ```
//!
//! - **Warming** (Envoy's word): a listener is in force once its routes have their answer, and every
//!   cluster that they name has one for its endpoints; a cluster is in force once its endpoints have
//!   theirs. Until then the last complete version serves on: make before break. It stands still
//!   meanwhile.
//! - **An answer that is an error is an answer**: routes that do not exist are none, endpoints that do not
//!   exist are none, and a cluster that is not among all clusters is not there.
//! - **The first configuration** waits for both wildcards and for all listeners; later ones take what is
//!   complete.
//! - **Gone is gone**: a listener that a control plane has no more serves no call, and a cluster takes none.
//! - **The parts of one change may be [`APART`]**: a cluster that is gone stays for that long while routes in
//!   force name it, and for as long as these wait for their successor; new routes wait for that long for a
//!   cluster that is not there and that the ones before did not name. By the xDS protocol ("Eventual
//!   consistency considerations") clusters come first and go last; but in the state of the world one response
//!   brings the new ones and takes the old ones away, before the routes come.
//! - **Endpoints and secrets lead nowhere:** others cost the clusters that use them
//!   ([`Change::Endpoints`]), however many there are.
//! - **Names of `xdstp:`** are asked for by name, as no wildcard is said to cover them.
//! - **Servers** (`servers.rs`): every listener that is for servers alone (`traffic_direction: INBOUND`) is served by
//!   its name, as of files; one that a server asks for, by what it asked with: a name, or where it listens.
//!
//! What it does not do: decide which server is meant, and whether its silence means that there is nothing.

mod clusters;
mod listener;
mod listeners;
mod servers;
#[cfg(test)]
mod tests;

use super::kept::Restored;
use super::users::Users;
use super::version::Version;
use super::whole::{self, Note, NoteKind};
use super::{Change, Key, Watches};
use crate::last_good::KeptListener;
use crate::load_report::LoadKey;
use crate::protocol::{WILDCARD, canonical};
use crate::store::{Known, Received, Store};
use crate::{Resource, ResourceType};
use clusters::Clusters;
use listener::Behind;
use listeners::Listeners;
use mesh_core::Timestamp;
use mesh_core::update::{ConfigUpdate, EndpointsUpdate, Origin};
use servers::Servers;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How much later than the first the last part of one change may come.
const APART: Duration = Duration::from_secs(5);

/// The types that are asked for by the wildcard.
pub(crate) const WILD: [ResourceType; 2] = [ResourceType::Listener, ResourceType::Cluster];

/// All that a control plane has.
#[derive(Debug)]
pub struct Everything {
    store: Store,
    /// The control plane, for the configuration's origin.
    source: Arc<str>,
    asked: Asked,
    listeners: Listeners,
    clusters: Clusters,
    servers: Servers,
    /// What somebody needs by its name.
    watched: BTreeSet<Key>,
    /// What got or lost a user since the last poll.
    touched: BTreeSet<Key>,
    /// Whether there was a complete configuration.
    live: bool,
    /// The routes in force, until they change.
    routes: Option<(ConfigUpdate, Vec<Note>)>,
    /// The version that was told last.
    told: Option<Version>,
}

/// What is known, and when.
#[derive(Clone, Copy)]
struct Now<'a> {
    store: &'a Store,
    asked: &'a Asked,
    now: Timestamp,
}

/// What the wildcards are known to cover.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Of [`WILD`]: what a server has not named, it has not.
    answered: [bool; 2],
    /// All that is known is a copy on disk, and that is all that there is for now.
    trusting: bool,
}

impl Everything {
    /// Nothing is known of the control plane `source`.
    #[must_use]
    pub fn new(source: impl Into<Arc<str>>) -> Self {
        Self {
            store: Store::new(),
            source: source.into(),
            asked: Asked::default(),
            listeners: Listeners::default(),
            clusters: Clusters::default(),
            servers: Servers::default(),
            watched: BTreeSet::new(),
            // The wildcards are the roots.
            touched: WILD.into_iter().map(root).collect(),
            live: false,
            routes: None,
            told: None,
        }
    }

    /// A server asks for `name`, which is the listener `resource`; if there is no name for a resource, and this is
    /// why, it is the listener that has the address `name`. Asking twice is asking once.
    pub fn add_server(&mut self, name: &Arc<str>, resource: Result<Arc<str>, Arc<str>>) {
        self.servers.add(name, resource, &mut self.touched);
    }

    /// No server asks for `name` any more.
    pub fn remove_server(&mut self, name: &Arc<str>) {
        self.servers.remove(name, &mut self.touched);
        (self.routes, self.told) = (None, None);
    }

    /// A resource has a new value: with its version, a hash of its bytes, and the bytes.
    pub fn handle_changed(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        resource: Resource,
        received: impl Into<Received>,
    ) {
        self.asked.trusting = false;
        self.store.insert(kind, name, resource, received);
        self.mark(kind, name);
    }

    /// A value from a copy on disk, unless something is known already.
    pub fn handle_restored(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        resource: Resource,
        received: Received,
    ) {
        self.store.restore(kind, name, resource, received);
        self.mark(kind, name);
    }

    /// See [`Cascade::handle_kept`](super::Cascade::handle_kept).
    pub(crate) fn handle_kept(&mut self, name: &Arc<str>, restored: Restored) {
        self.listeners.restore(name, restored);
    }

    /// The copy on disk can't have it (a private key): until the control plane says something, there is
    /// none, for this reason.
    pub fn handle_withheld(&mut self, kind: ResourceType, name: &Arc<str>, why: Arc<str>) {
        if self.store.look(kind, name) == Known::Pending {
            self.store.withhold(kind, name, why);
            self.mark(kind, name);
        }
    }

    /// The copy on disk was read: until a control plane speaks, there is nothing but what is in it, and
    /// nothing is waited for.
    pub fn handle_copy(&mut self) {
        (self.asked.trusting, self.live) = (true, true);
        self.clusters.look_again();
        self.listeners.look_again();
        self.servers.look_again();
    }

    /// A resource is gone, was refused, or does not exist; `kept`: its last good value stays.
    pub fn handle_failed(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        error: Arc<str>,
        kept: bool,
    ) {
        self.asked.trusting = false;
        let stays = kept && matches!(self.store.look(kind, name), Known::Value(_));
        match !kept && WILD.contains(&kind) && !self.watched.contains(&(kind, canonical(name))) {
            // Nobody asked for it: that it is not there needs no entry, or there would be more and more.
            true => self.store.forget(kind, name),
            false => self.store.fail(kind, name, error, kept),
        }
        if !stays {
            self.mark(kind, name);
        }
    }

    /// Whether the server that counts has answered for all listeners, or for all clusters, on its present
    /// stream: what it has not named by then is not there. `false`: it was known.
    pub fn set_answered(&mut self, kind: ResourceType, answered: bool) -> bool {
        let Some(at) = WILD.iter().position(|wild| *wild == kind) else { return false };
        let before = std::mem::replace(&mut self.asked.answered[at], answered);
        if answered && !before {
            self.asked.trusting = false;
            self.clusters.look_again();
            self.listeners.look_again();
            self.servers.look_again();
        }
        before != answered
    }

    /// The protocol has let go of a resource that nothing needs any more.
    ///
    /// Not before: a value that is needed again meanwhile is not told again.
    pub fn handle_forgotten(&mut self, kind: ResourceType, name: &Arc<str>) {
        self.store.forget(kind, name);
        self.mark(kind, name);
    }

    /// Whom it concerns has to look at it again.
    fn mark(&mut self, kind: ResourceType, name: &Arc<str>) {
        let key = (kind, canonical(name));
        self.listeners.handle_changed(&key);
        self.clusters.handle_changed(&key);
        if kind == ResourceType::Listener {
            self.servers.look_again();
        }
    }

    /// The last good values.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The same, for what is in force of it.
    pub(crate) const fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Looks at what has changed: what to watch now. Nothing when nothing happened. The wildcard is the name
    /// `*`.
    pub fn poll_watches(&mut self, now: Timestamp) -> Watches {
        let Self { store, asked, listeners, clusters, servers, touched, .. } = self;
        let known = Now { store, asked, now };
        let settled = clusters.settle(known, touched);
        listeners.handle_settled(&settled, |name| clusters.is_answered(known, name));
        // Twice at the most: which listeners servers ask for follows from what has come, and not from this.
        loop {
            let changed = listeners.settle(known, &(&*clusters, known), touched);
            if changed {
                servers.look_again();
                self.routes = None;
            }
            if !servers.settle(known, listeners) {
                break;
            }
            listeners.tell();
            self.routes = None;
        }
        clusters.secrets_of_servers(store, &listeners.take_secrets());
        let mut watches = Watches::default();
        for key in std::mem::take(&mut self.touched) {
            match (self.watched.contains(&key), self.is_needed(&key)) {
                (false, true) => {
                    self.watched.insert(key.clone());
                    watches.added.push(key);
                }
                (true, false) => {
                    self.watched.remove(&key);
                    watches.removed.push(key);
                }
                (true, true) | (false, false) => {}
            }
        }
        watches
    }

    /// When [`poll_watches`](Self::poll_watches) and then [`poll_change`](Self::poll_change) want to be called
    /// although nothing happened.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.listeners.poll_timeout().into_iter().chain(self.clusters.poll_timeout()).min()
    }

    fn is_needed(&self, key: &Key) -> bool {
        let users = [self.listeners.users(), self.clusters.users(), self.servers.users()];
        let used = users.iter().any(|users| users.has(key));
        *key.1 == *WILDCARD || (used && is_named(key))
    }

    /// What became of the configuration since the last call, as far as
    /// [`poll_watches`](Self::poll_watches) has looked at it; `None`: nothing, or the first one is not
    /// complete.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.live |= self.asked.is_complete() && self.listeners.is_complete();
        if !self.live {
            return None;
        }
        self.clusters.drop_gone(&self.listeners);
        let version = self.version();
        let told = self.told.replace(version);
        let (changed, routes) = (self.clusters.take_changed(), self.listeners.take_changed());
        if changed.whole || routes || told.is_none() {
            return Some(Change::Whole(self.configuration()));
        }
        if changed.endpoints.is_empty() && changed.secrets.is_empty() && told == Some(version) {
            return None;
        }
        let mut update = EndpointsUpdate::new(self.origin());
        let known = changed.endpoints.into_iter().filter_map(|name| {
            let endpoints = self.clusters.get(&name)?.endpoints.clone();
            Some((name, endpoints))
        });
        update.clusters = known.collect();
        let answers = self.clusters.secrets();
        let known = changed.secrets.into_iter().filter_map(|name| {
            let answer = answers.get(&name)?.clone();
            Some((name, answer))
        });
        update.secrets = known.collect();
        Some(Change::Endpoints(update))
    }

    /// The configuration that is in force.
    #[must_use]
    pub fn configuration(&mut self) -> ConfigUpdate {
        let mut update = self.routes().0.clone();
        update.origin = self.origin();
        let clusters = self.clusters.updates();
        update.clusters =
            clusters.map(|(name, update)| (Arc::clone(name), update.clone())).collect();
        update.secrets = Arc::clone(self.clusters.secrets());
        update
    }

    /// What there is to say of the configuration that is in force, as of files
    /// ([`whole`](super::whole)): what is missing, and what several listeners serve.
    #[must_use]
    pub fn notes(&mut self) -> BTreeSet<Note> {
        let mut notes: BTreeSet<Note> = self.routes().1.iter().cloned().collect();
        let mut missing = |at: Key, wanted: ResourceType, name: &Arc<str>| {
            notes.insert(Note { at, kind: NoteKind::Missing(wanted, Arc::clone(name)) });
        };
        for (at, name) in self.listeners.clusters() {
            if self.clusters.get(name).is_none() {
                missing(at, ResourceType::Cluster, name);
            }
        }
        for (name, secret) in self.listeners.secrets_of_servers() {
            if !matches!(self.store.look(ResourceType::Secret, &secret), Known::Value(_)) {
                missing((ResourceType::Listener, Arc::clone(name)), ResourceType::Secret, &secret);
            }
        }
        for (name, (kind, used)) in self.clusters.uses() {
            if !matches!(self.store.look(*kind, used), Known::Value(_)) {
                missing((ResourceType::Cluster, Arc::clone(name)), *kind, used);
            }
        }
        notes
    }

    /// The listeners of servers of which the last that could be stays, and why the newest can't be.
    #[must_use]
    pub fn kept_listeners(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        self.listeners.kept()
    }

    /// What is in force of them, as it was received.
    pub(crate) fn kept_forms(&self) -> BTreeMap<Arc<str>, KeptListener> {
        self.listeners.kept_forms(&self.store)
    }

    fn routes(&mut self) -> &(ConfigUpdate, Vec<Note>) {
        self.routes.get_or_insert_with(|| {
            let mut notes = self.listeners.without_routes(&self.store);
            let mut update = whole::serve(&self.listeners.groups(), &mut notes);
            (update.listeners, update.absent_listeners) = self.servers.answers(&self.listeners);
            (update, notes)
        })
    }

    const fn version(&self) -> Version {
        self.listeners.version().and(self.clusters.version()).and(self.servers.version())
    }

    fn origin(&self) -> Origin {
        Origin::new(Arc::clone(&self.source), self.version().text())
    }

    /// The clusters of [`configuration`](Self::configuration) whose load is to be reported, each with the
    /// name of its endpoints; no aggregates, whose children report for themselves.
    #[must_use]
    pub fn load_reports(&self) -> BTreeSet<LoadKey> {
        let clusters = self.clusters.updates();
        clusters.filter_map(|(name, _)| super::aggregate::load_key(&self.store, name)).collect()
    }

    /// Whether there was a complete configuration.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.live
    }

    /// Whether there was a complete configuration, and every listener that servers ask for has an answer.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.live && self.servers.is_complete()
    }
}

impl Behind for (&Clusters, Now<'_>) {
    fn is_cluster_answered(&self, name: &Arc<str>) -> bool {
        self.0.is_answered(self.1, name)
    }

    fn is_secret_answered(&self, name: &Arc<str>) -> bool {
        let key = (ResourceType::Secret, Arc::clone(name));
        self.1.asked.is_answered(self.1.store, &key) || self.0.holds(&key)
    }
}

impl Asked {
    /// Whether this and everything like it has its answer: a value, or the certainty that there is none.
    fn is_answered(&self, store: &Store, (kind, name): &Key) -> bool {
        let by_wildcard = *kind == ResourceType::Cluster && !is_named(&(*kind, Arc::clone(name)));
        store.look(*kind, name) != Known::Pending
            || self.trusting
            || (by_wildcard && self.answered[1])
    }

    const fn is_complete(&self) -> bool {
        self.trusting || (self.answered[0] && self.answered[1])
    }
}

/// Whether it is asked for by its name, and not by the wildcard.
fn is_named((kind, name): &Key) -> bool {
    !WILD.contains(kind) || name.starts_with("xdstp:")
}

fn root(kind: ResourceType) -> Key {
    (kind, WILDCARD.into())
}

/// Takes in that `user` uses `after` in place of `before`.
fn replace(
    users: &mut Users,
    user: &Arc<str>,
    (before, after): (&BTreeSet<Key>, &BTreeSet<Key>),
    touched: &mut BTreeSet<Key>,
) {
    users.replace(user, before, after, |key, _| {
        touched.insert(key.clone());
    });
}
