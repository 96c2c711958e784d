//! [`Cascade`]: listeners → routes → clusters → endpoints, as a graph that is walked from what calls ask
//! for; its result is one atomic configuration (gRFC A74).
//!
//! ```text
//! authority ─ LDS ─ RDS ─ virtual host ─┬─ CDS ─ EDS
//!                                       └─ CDS (aggregate) ─┬─ CDS ─ EDS
//!                                                           └─ …
//! ```
//!
//! - **By name** (gRPC): an authority that calls are made to is the name of a listener. Of its routes the
//!   one virtual host that serves the authority is taken, and only its clusters are asked for.
//! - **Mark and sweep:** what the walk meets is watched; what it no longer meets is let go of.
//! - **Complete:** an authority is served by new routes only once everything that they name has its
//!   answer: a value, or the certainty that there is none. Until then it is served by the last routes that
//!   were complete, whose clusters stay watched: make before break.
//! - **An answer that is an error is an answer:** a cluster that does not exist is left out, and its calls
//!   say so; endpoints that do not exist are none. What does not depend on it goes on.
//!
//! What it does not do: speak to the server ([`crate::protocol`]), or decode.

mod aggregate;
mod domains;
mod walk;
pub mod whole;

use crate::load_report::LoadKey;
use crate::store::{Received, Store};
use crate::{Resource, ResourceType};
use mesh_core::model::{Domain, RouteConfiguration, VirtualHost};
use mesh_core::update::{Answer, ClusterUpdate, ConfigUpdate, Origin};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use walk::{Walk, Walked};

/// A resource by its type and name.
pub type Key = (ResourceType, Arc<str>);

/// The graph of resources.
#[derive(Debug)]
pub struct Cascade {
    store: Store,
    /// The control plane, for the configuration's origin.
    source: Arc<str>,
    authorities: BTreeMap<Arc<str>, Authority>,
    watched: BTreeSet<Key>,
    changed: bool,
}

/// An authority that calls are made to.
#[derive(Debug)]
struct Authority {
    /// The names that its listener may have, the better ones first.
    listeners: Vec<Arc<str>>,
    /// By what it is served, or why it is not; `None`: no answer yet.
    served: Option<Result<Served, Arc<str>>>,
}

/// The last complete routes of an authority.
#[derive(Clone, Debug)]
struct Served {
    host: Arc<VirtualHost>,
    clusters: BTreeSet<Arc<str>>,
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

impl Cascade {
    /// A graph without roots, of the control plane `source`.
    #[must_use]
    pub fn new(source: impl Into<Arc<str>>) -> Self {
        Self {
            store: Store::new(),
            source: source.into(),
            authorities: BTreeMap::new(),
            watched: BTreeSet::new(),
            changed: false,
        }
    }

    /// Calls are made to `authority`; `listeners` are the names that its listener may have, the better
    /// ones first. Asking twice is asking once.
    pub fn add(&mut self, authority: &Arc<str>, listeners: Vec<Arc<str>>) {
        if !self.authorities.contains_key(authority) {
            let new = Authority { listeners, served: None };
            self.authorities.insert(Arc::clone(authority), new);
            self.changed = true;
        }
    }

    /// No calls are made to `authority` any more.
    pub fn remove(&mut self, authority: &Arc<str>) {
        self.changed |= self.authorities.remove(authority).is_some();
    }

    /// A resource has a new value: with its version, a hash of its bytes, and the bytes.
    pub fn handle_changed(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        resource: Resource,
        received: impl Into<Received>,
    ) {
        self.store.insert(kind, name, resource, received);
        self.changed = true;
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
        self.changed = true;
    }

    /// A resource is gone, was refused, or does not exist; `kept`: its last good value stays.
    pub fn handle_failed(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        error: Arc<str>,
        kept: bool,
    ) {
        self.store.fail(kind, name, error, kept);
        self.changed = true;
    }

    /// The protocol has let go of a resource that nothing needs any more.
    ///
    /// Not before: a value that is needed again meanwhile is not told again.
    pub fn handle_forgotten(&mut self, kind: ResourceType, name: &Arc<str>) {
        self.store.forget(kind, name);
    }

    /// The last good values.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Walks the graph anew: what to watch now. Nothing when nothing happened.
    pub fn poll_watches(&mut self) -> Watches {
        let mut watches = Watches::default();
        if !std::mem::take(&mut self.changed) {
            return watches;
        }
        let mut needed = BTreeSet::new();
        let mut results = Vec::new();
        for (name, authority) in &self.authorities {
            let mut walk = Walk::new(&self.store, &mut needed);
            results.push(walk.authority(name, &authority.listeners));
        }
        for (authority, walked) in self.authorities.values_mut().zip(results) {
            match walked {
                Walked::Complete(host, clusters) => {
                    authority.served = Some(Ok(Served { host, clusters }));
                }
                Walked::Failed(why) => authority.served = Some(Err(why)),
                Walked::Pending => {}
            }
            // What still serves is kept until its successor is complete.
            if let Some(Ok(served)) = &authority.served {
                let mut walk = Walk::new(&self.store, &mut needed);
                served.clusters.iter().for_each(|cluster| walk.need_cluster(cluster));
            }
        }
        watches.added = needed.difference(&self.watched).cloned().collect();
        watches.removed = self.watched.difference(&needed).cloned().collect();
        self.watched = needed;
        watches
    }

    /// The configuration that follows from what is known: of every authority that has an answer.
    #[must_use]
    pub fn configuration(&self) -> ConfigUpdate {
        let mut update = ConfigUpdate::default();
        let mut routes = RouteConfiguration::default();
        let mut answers = BTreeMap::new();
        let mut version = DefaultHasher::new();
        for (name, authority) in &self.authorities {
            match &authority.served {
                Some(Ok(served)) => {
                    let mut host = VirtualHost::clone(&served.host);
                    host.domains = vec![Domain::Exact(Arc::clone(name))];
                    routes.virtual_hosts.push(Arc::new(host));
                    answers.insert(Arc::clone(name), Answer::Served);
                    for cluster in &served.clusters {
                        self.add_cluster(cluster, &mut update);
                    }
                }
                Some(Err(why)) => {
                    why.hash(&mut version);
                    answers.insert(Arc::clone(name), Answer::Absent(Arc::clone(why)));
                }
                None => {}
            }
        }
        for key in &self.watched {
            key.hash(&mut version);
            // Not its version: that of the type stands still while some resources of it are refused.
            self.store.hash(key.0, &key.1).hash(&mut version);
        }
        answers.keys().for_each(|name| name.hash(&mut version));
        update.origin = Origin::new(Arc::clone(&self.source), format!("{:016x}", version.finish()));
        update.route_configuration = Arc::new(routes);
        update.on_demand = Some(Arc::new(answers));
        update
    }

    fn add_cluster(&self, name: &Arc<str>, update: &mut ConfigUpdate) {
        if update.clusters.contains_key(name) {
            return;
        }
        if let Some((cluster, endpoints)) = aggregate::resolve(&self.store, name) {
            update.clusters.insert(Arc::clone(name), ClusterUpdate::new(cluster, endpoints));
        }
    }

    /// The clusters of [`configuration`](Self::configuration) whose load is to be reported, each with the
    /// name of its endpoints.
    ///
    /// Aggregates are none of them: each child reports for itself (gRFC A75), and here they are one.
    #[must_use]
    pub fn load_reports(&self) -> BTreeSet<LoadKey> {
        let served = self.authorities.values().filter_map(|authority| match &authority.served {
            Some(Ok(served)) => Some(&served.clusters),
            Some(Err(_)) | None => None,
        });
        served.flatten().filter_map(|name| aggregate::load_key(&self.store, name)).collect()
    }

    /// Whether every authority that was asked for has an answer.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.authorities.values().all(|authority| authority.served.is_some())
    }
}

#[cfg(test)]
mod tests;
