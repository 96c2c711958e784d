//! [`Made`]: what a snapshot was made from, by pointer.
//!
//! The pointers are weak: what was encoded need not be held twice. A weak pointer keeps its address from
//! being used again, so an equal address is the same content.

use super::snapshot::{Resources, Served};
use crate::encode::{self, Encoded};
use mesh_core::ConfigUpdate;
use mesh_core::model::{Cluster, ClusterLoadAssignment, Listener, RouteConfiguration};
use mesh_core::update::{ClusterUpdate, Mode, Secrets, UnknownHosts};
use std::borrow::Cow;
use std::sync::{Arc, Weak};

/// What a snapshot was made from.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    /// `None`: from no configuration.
    routes: Option<(Weak<RouteConfiguration>, Mode, UnknownHosts)>,
    listeners: Arc<[Encoded]>,
    /// Those of servers, by name, sorted.
    servers: Arc<[(Arc<str>, Weak<Listener>)]>,
    /// By name, sorted.
    clusters: Arc<[(Arc<str>, Of)]>,
    secrets: Weak<Secrets>,
}

/// What the resources of a cluster were made from.
#[derive(Debug)]
struct Of {
    model: Weak<Cluster>,
    endpoints: Option<Weak<ClusterLoadAssignment>>,
}

impl Of {
    fn new(cluster: &ClusterUpdate) -> Self {
        let endpoints = cluster.endpoints.as_ref().map(Arc::downgrade);
        Self { model: Arc::downgrade(&cluster.cluster), endpoints }
    }

    fn is(&self, cluster: &ClusterUpdate) -> bool {
        self.model.as_ptr() == Arc::as_ptr(&cluster.cluster)
            && self.endpoints.as_ref().map(Weak::as_ptr)
                == cluster.endpoints.as_ref().map(Arc::as_ptr)
    }
}

impl Made {
    pub(super) fn of(update: &ConfigUpdate, listeners: Vec<Encoded>) -> Self {
        let routes = Arc::downgrade(&update.route_configuration);
        let clusters = update.clusters.iter();
        let clusters = clusters.map(|(name, cluster)| (Arc::clone(name), Of::new(cluster)));
        Self {
            routes: Some((routes, update.mode, update.unknown_hosts)),
            listeners: listeners.into(),
            servers: servers(update).collect(),
            clusters: clusters.collect(),
            secrets: Arc::downgrade(&update.secrets),
        }
    }

    /// Whether it was a configuration at all.
    pub(super) const fn is_known(&self) -> bool {
        self.routes.is_some()
    }

    /// Whether the routes and listeners are the same.
    pub(super) fn has_routes(&self, update: &ConfigUpdate, listeners: &[Encoded]) -> bool {
        let Some((routes, mode, unknown_hosts)) = &self.routes else { return false };
        routes.as_ptr() == Arc::as_ptr(&update.route_configuration)
            && (*mode, *unknown_hosts) == (update.mode, update.unknown_hosts)
            && *self.listeners == *listeners
            && self.servers.len() == update.listeners.len()
            && self
                .servers
                .iter()
                .zip(servers(update))
                .all(|(before, after)| before.0 == after.0 && before.1.as_ptr() == after.1.as_ptr())
    }

    /// Whether the secrets are the same.
    pub(super) fn has_secrets(&self, update: &ConfigUpdate) -> bool {
        self.secrets.as_ptr() == Arc::as_ptr(&update.secrets)
    }

    /// CDS and EDS of `update`, where `before` are those of this; `None`: as before.
    pub(super) fn clusters(
        &self,
        update: &ConfigUpdate,
        before: [&Resources; 2],
    ) -> [Option<Resources>; 2] {
        let mut next = before.map(Cow::Borrowed);
        let mut known = self.clusters.iter().peekable();
        for (name, cluster) in &update.clusters {
            let is_gone = |known: &Arc<str>| !Arc::ptr_eq(known, name) && known < name;
            while let Some((gone, _)) = known.next_if(|(known, _)| is_gone(known)) {
                next.iter_mut().for_each(|resources| remove(resources, gone));
            }
            let same = known.next_if(|(known, _)| known == name);
            if same.is_some_and(|(_, made)| made.is(cluster)) {
                continue;
            }
            let (cluster, endpoints) = encode::cluster_resources(name, cluster);
            let [clusters, assignments] = &mut next;
            put(clusters, &cluster);
            match endpoints {
                Some(endpoints) => put(assignments, &endpoints),
                None => remove(assignments, name),
            }
        }
        for (gone, _) in known {
            next.iter_mut().for_each(|resources| remove(resources, gone));
        }
        next.map(|resources| match resources {
            Cow::Owned(resources) => Some(resources),
            Cow::Borrowed(_) => None,
        })
    }
}

fn servers(update: &ConfigUpdate) -> impl Iterator<Item = (Arc<str>, Weak<Listener>)> {
    let listeners = update.listeners.iter();
    listeners.map(|(name, listener)| (Arc::clone(name), Arc::downgrade(listener)))
}

fn put(resources: &mut Cow<'_, Resources>, encoded: &Encoded) {
    let served = Served::new(encoded);
    if !resources.get(&served.name).is_some_and(|known| known.is_same(&served)) {
        resources.to_mut().insert(Arc::clone(&served.name), Arc::new(served));
    }
}

fn remove(resources: &mut Cow<'_, Resources>, name: &Arc<str>) {
    if resources.contains_key(name) {
        resources.to_mut().remove(name);
    }
}
