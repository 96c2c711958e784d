//! [`Cascade`]: listeners → routes → clusters → endpoints and secrets, as a graph that is walked from what calls ask
//! for; its result is one atomic configuration (gRFC A74).
//!
//! ```text
//! authority ─ LDS ─ RDS ─ virtual host ─┬─ CDS ─┬─ EDS
//!                                       │       └─ SDS (identity, roots)
//!                                       └─ CDS (aggregate) ─┬─ CDS ─ …
//!                                                           └─ …
//! server ─ LDS ─┬─ RDS
//!               ├─ SDS
//!               └─ CDS (that its filters ask somebody in) ─ …
//! ```
//!
//! - **By name** (gRPC): an authority that calls are made to is the name of a listener. Of its routes the
//!   one virtual host that serves the authority is taken, and only its clusters are asked for.
//! - **By users:** what the walk from an authority meets is watched for as long as a walk meets it. An
//!   authority is walked anew when something that its last walk met has changed, and others are not.
//! - **Complete:** an authority is served by new routes only once everything that they name has its
//!   answer: a value, or the certainty that there is none. Until then it is served by the last routes that
//!   were complete, whose clusters stay watched: make before break.
//! - **An answer that is an error is an answer:** a cluster that does not exist is left out, and its calls
//!   say so; endpoints that do not exist are none; of a secret that does not exist the cluster makes no
//!   connections, and its calls name it. What does not depend on it goes on.
//! - **Endpoints and secrets lead nowhere:** other ones where there were some change no walk
//!   ([`Change::Endpoints`]), so they cost the same among 10,000 clusters as alone. A secret is not even a
//!   part of its clusters, as all of them may share it.
//! - **A cluster waits for its secrets:** one that names another secret than before stays as it was until
//!   that has its answer.
//!
//! What it does not do: speak to the server ([`crate::protocol`]), or decode.

mod aggregate;
mod authority;
mod clusters;
pub(crate) mod domains;
pub(crate) mod everything;
pub(crate) mod graph;
pub(crate) mod kept;
#[cfg(test)]
mod naive;
mod secrets;
mod servers;
#[cfg(test)]
mod tests;
mod users;
mod version;
mod walk;
pub mod whole;

pub use everything::Everything;

use crate::last_good::KeptListener;
use crate::load_report::LoadKey;
use crate::protocol::canonical;
use crate::store::{Known, Received, Store};
use crate::{Resource, ResourceType};
use authority::{Authority, Effect};
use clusters::{Changed, Clusters};
use kept::Restored;
use mesh_core::model::RouteConfiguration;
use mesh_core::update::{Answer, ConfigUpdate, EndpointsUpdate, Origin};
use servers::Servers;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use users::Users;
use version::Version;

/// A resource by its type and name.
pub type Key = (ResourceType, Arc<str>);

/// The graph of resources.
#[derive(Debug)]
pub struct Cascade {
    store: Store,
    /// The control plane, for the configuration's origin.
    source: Arc<str>,
    authorities: BTreeMap<Arc<str>, Authority>,
    /// The listeners that servers ask for.
    servers: Servers,
    /// Those to be walked anew, of both.
    dirty: BTreeSet<Arc<str>>,
    /// Which authorities and servers need what. What somebody needs is watched.
    needed: Users,
    /// What got its first user or lost its last one since the last poll, and whether it had one before.
    touched: BTreeMap<Key, bool>,
    clusters: Clusters,
    changed: Changed,
    /// The routes of all authorities, until one changes; so their answers.
    routes: Option<Routes>,
    /// Of the answers of all authorities.
    version: Version,
    /// The version that was told last; `None`: nothing was told yet.
    told: Option<Version>,
}

/// What is to be watched from now on, and what no longer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Watches {
    /// New ones.
    pub added: Vec<Key>,
    /// Those that nothing needs any more.
    pub removed: Vec<Key>,
}

/// What became of the configuration.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "closed: all of it, or the endpoints and secrets in it"
)]
pub enum Change {
    /// All of it is new.
    Whole(ConfigUpdate),
    /// Only the endpoints of these clusters, and these secrets, are.
    Endpoints(EndpointsUpdate),
}

impl Cascade {
    /// A graph without roots, of the control plane `source`.
    #[must_use]
    pub fn new(source: impl Into<Arc<str>>) -> Self {
        Self {
            store: Store::new(),
            source: source.into(),
            authorities: BTreeMap::new(),
            servers: Servers::default(),
            dirty: BTreeSet::new(),
            needed: Users::default(),
            touched: BTreeMap::new(),
            clusters: Clusters::default(),
            changed: Changed::default(),
            routes: None,
            version: Version::default(),
            told: None,
        }
    }

    /// Calls are made to `authority`; `listeners` are the names that its listener may have, the better
    /// ones first. Asking twice is asking once.
    pub fn add(&mut self, authority: &Arc<str>, listeners: Vec<Arc<str>>) {
        if !self.authorities.contains_key(authority) {
            self.authorities.insert(Arc::clone(authority), Authority::new(listeners));
            self.dirty.insert(Arc::clone(authority));
        }
    }

    /// No calls are made to `authority` any more.
    pub fn remove(&mut self, authority: &Arc<str>) {
        let Some(mut gone) = self.authorities.remove(authority) else { return };
        self.dirty.remove(authority);
        let effect = gone.clear();
        self.take(authority, &effect);
    }

    /// A server asks for `name`, which is the listener `resource`; or there can be none, and this is why.
    /// Asking twice is asking once.
    pub fn add_server(&mut self, name: &Arc<str>, resource: Result<Arc<str>, Arc<str>>) {
        if self.servers.add(name, resource) {
            self.dirty.insert(servers::user(name));
        }
    }

    /// No server asks for `name` any more.
    pub fn remove_server(&mut self, name: &Arc<str>) {
        let user = servers::user(name);
        self.dirty.remove(&user);
        if let Some(effect) = self.servers.remove(name) {
            self.take_server(&user, &effect);
        }
    }

    /// A resource has a new value: with its version, a hash of its bytes, and the bytes.
    pub fn handle_changed(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        resource: Resource,
        received: impl Into<Received>,
    ) {
        let was_pending = self.store.look(kind, name) == Known::Pending;
        self.store.insert(kind, name, resource, received);
        self.mark(kind, name, was_pending);
    }

    /// A value from a copy on disk, unless something is known already.
    pub fn handle_restored(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        resource: Resource,
        received: Received,
    ) {
        let was_pending = self.store.look(kind, name) == Known::Pending;
        self.store.restore(kind, name, resource, received);
        self.mark(kind, name, was_pending);
    }

    /// What a server did by the listener `name` in another process, although there was a newer one: it serves again,
    /// unless the newer one can. Before a server asks for it.
    pub(crate) fn handle_kept(&mut self, name: &Arc<str>, restored: Restored) {
        self.servers.restore(name, restored);
    }

    /// A copy on disk is without a resource that it leads to, and this is why: nobody waits for it, and it is
    /// asked for like any other. Nothing happens when something is known of it.
    pub fn handle_withheld(&mut self, kind: ResourceType, name: &Arc<str>, why: Arc<str>) {
        if self.store.look(kind, name) == Known::Pending {
            self.store.withhold(kind, name, why);
            self.mark(kind, name, true);
        }
    }

    /// A resource is gone, was refused, or does not exist; `kept`: its last good value stays.
    pub fn handle_failed(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        error: Arc<str>,
        kept: bool,
    ) {
        let before = self.store.look(kind, name);
        let stays = kept && matches!(before, Known::Value(_));
        let was_pending = before == Known::Pending;
        self.store.fail(kind, name, error, kept);
        if !stays {
            self.mark(kind, name, was_pending);
        }
    }

    /// The protocol has let go of a resource that nothing needs any more.
    ///
    /// Not before: a value that is needed again meanwhile is not told again.
    pub fn handle_forgotten(&mut self, kind: ResourceType, name: &Arc<str>) {
        self.store.forget(kind, name);
        let key = (kind, canonical(name));
        self.clusters.handle_changed(&key);
        self.dirty.extend(self.needed.of(&key).cloned());
    }

    /// Whom it concerns has to look at it again.
    fn mark(&mut self, kind: ResourceType, name: &Arc<str>, was_pending: bool) {
        // gRFC A47: names that mean the same may be spelt differently.
        let key = (kind, canonical(name));
        self.clusters.handle_changed(&key);
        let leads_nowhere = walk::leads_nowhere(kind);
        if leads_nowhere && !was_pending {
            return;
        }
        for user in self.needed.of(&key) {
            let authority = self.authorities.get_mut(user).filter(|_| leads_nowhere);
            let is_ready = authority.is_some_and(|authority| authority.handle_answer(&key));
            if is_ready || !leads_nowhere || Servers::is_user(user) {
                self.dirty.insert(Arc::clone(user));
            }
        }
    }

    /// The last good values.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The same, to be told what is in force.
    pub(crate) const fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Walks what has changed anew: what to watch now. Nothing when nothing happened.
    pub fn poll_watches(&mut self) -> Watches {
        for name in std::mem::take(&mut self.dirty) {
            if let Some(authority) = self.authorities.get_mut(&name) {
                let effect = authority.walk(&name, &self.store);
                self.take(&name, &effect);
            } else if let Some((_, effect)) = self.servers.walk(&name, &self.store) {
                self.take_server(&name, &effect);
            }
        }
        self.clusters.settle(&self.store, &mut self.changed);
        let mut watches = Watches::default();
        for (key, was_needed) in std::mem::take(&mut self.touched) {
            match (was_needed, self.needed.has(&key)) {
                (false, true) => watches.added.push(key),
                (true, false) => watches.removed.push(key),
                (true, true) | (false, false) => {}
            }
        }
        watches
    }

    /// Takes over what a walk of an authority has changed.
    fn take(&mut self, name: &Arc<str>, effect: &Effect) {
        let touched = &mut self.touched;
        self.needed.replace(name, &effect.needs.0, &effect.needs.1, |key, was_needed| {
            touched.entry(key.clone()).or_insert(was_needed);
        });
        self.version.replace(effect.hash.0, effect.hash.1);
        if effect.is_visible() {
            self.changed.whole = true;
            self.routes = None;
        }
        if effect.serves_on() {
            return;
        }
        let (before, after) = &effect.serving;
        // First those that stay, so that none is let go of and made anew.
        authority::clusters(after).for_each(|cluster| self.clusters.keep(cluster));
        authority::clusters(before).for_each(|cluster| {
            self.clusters.let_go(cluster, &mut self.changed);
        });
    }

    /// Takes over what a look at a server has changed.
    fn take_server(&mut self, user: &Arc<str>, effect: &servers::Effect) {
        let touched = &mut self.touched;
        self.needed.replace(user, &effect.needs.0, &effect.needs.1, |key, was_needed| {
            touched.entry(key.clone()).or_insert(was_needed);
        });
        self.version.replace(effect.hash.0, effect.hash.1);
        self.changed.whole |= effect.is_visible;
        let (before, after) = &effect.secrets;
        after.iter().for_each(|secret| self.clusters.keep_secret(secret));
        before.iter().for_each(|secret| self.clusters.let_go_secret(secret));
        let (before, after) = &effect.clusters;
        if Arc::ptr_eq(before, after) {
            return;
        }
        // First those that stay, so that none is let go of and made anew.
        after.iter().for_each(|cluster| self.clusters.keep(cluster));
        before.iter().for_each(|cluster| self.clusters.let_go(cluster, &mut self.changed));
    }

    /// What became of the configuration since the last call, as far as
    /// [`poll_watches`](Self::poll_watches) has looked at it; `None`: nothing.
    pub fn poll_change(&mut self) -> Option<Change> {
        let version = self.version.and(self.clusters.version());
        let told = self.told.replace(version);
        let Changed { whole, endpoints, secrets } = std::mem::take(&mut self.changed);
        if whole || told.is_none() {
            return Some(Change::Whole(self.configuration()));
        }
        if endpoints.is_empty() && secrets.is_empty() && told == Some(version) {
            return None;
        }
        let mut update = EndpointsUpdate::new(self.origin());
        let known = endpoints.into_iter().filter_map(|name| {
            let endpoints = self.clusters.get(&name)?.endpoints.clone();
            Some((name, endpoints))
        });
        update.clusters = known.collect();
        let answers = self.clusters.secrets();
        let known = secrets.into_iter().filter_map(|name| {
            let answer = answers.get(&name)?.clone();
            Some((name, answer))
        });
        update.secrets = known.collect();
        Some(Change::Endpoints(update))
    }

    /// The configuration that follows from what is known: of every authority that has an answer.
    #[must_use]
    pub fn configuration(&mut self) -> ConfigUpdate {
        let (routes, answers) = self.routes.get_or_insert_with(|| all_routes(&self.authorities));
        let mut update = ConfigUpdate::default();
        update.route_configuration = Arc::clone(routes);
        update.on_demand = Some(Arc::clone(answers));
        update.origin = self.origin();
        let clusters = self.clusters.updates();
        update.clusters =
            clusters.map(|(name, update)| (Arc::clone(name), update.clone())).collect();
        update.secrets = Arc::clone(self.clusters.secrets());
        update.listeners = self.servers.listeners();
        update.absent_listeners = Arc::new(self.servers.absent());
        update
    }

    /// The listeners of servers of which the last that could be stays, and why the newest can't be.
    #[must_use]
    pub fn kept_listeners(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        self.servers.kept()
    }

    /// What is in force of them, as it was received.
    pub(crate) fn kept_forms(&self) -> BTreeMap<Arc<str>, KeptListener> {
        self.servers.kept_forms(&self.store)
    }

    fn origin(&self) -> Origin {
        let version = self.version.and(self.clusters.version());
        Origin::new(Arc::clone(&self.source), version.text())
    }

    /// The clusters of [`configuration`](Self::configuration) whose load is to be reported, each with the
    /// name of its endpoints.
    ///
    /// Aggregates are none of them: each child reports for itself (gRFC A75).
    #[must_use]
    pub fn load_reports(&self) -> BTreeSet<LoadKey> {
        let clusters = self.clusters.updates();
        clusters.filter_map(|(name, _)| aggregate::load_key(&self.store, name)).collect()
    }

    /// Whether every authority, and every listener of a server, that was asked for has an answer.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.servers.is_complete()
            && self.authorities.values().all(|authority| authority.answer().is_some())
    }
}

/// The routes of all authorities, and their answers.
type Routes = (Arc<RouteConfiguration>, Arc<BTreeMap<Arc<str>, Answer>>);

fn all_routes(authorities: &BTreeMap<Arc<str>, Authority>) -> Routes {
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts = authorities.values().filter_map(|one| one.host().cloned()).collect();
    let answers = authorities.iter();
    let answers = answers.filter_map(|(name, one)| Some((Arc::clone(name), one.answer()?)));
    (Arc::new(routes), Arc::new(answers.collect()))
}
