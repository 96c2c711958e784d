//! A cluster with its endpoints; an aggregate is its children, the earlier ones first (gRFC A37).
//!
//! An aggregate becomes one cluster under its own name: the endpoints of its children, each child's
//! priorities below those of the child before it. How it talks to them (protocol, TLS, connections, load
//! balancing, drops) is what its first child says: the model has one policy for one cluster (gRFC A75 gives each
//! child its own).

use super::walk::MAX_DEPTH;
use crate::load_report::LoadKey;
use crate::store::{Known, Store};
use crate::{EndpointSource, Resource, ResourceType, XdsCluster};
use mesh_core::model::{Cluster, ClusterLoadAssignment, LocalityEndpoints};
use std::collections::BTreeSet;
use std::sync::Arc;

type Endpoints = Option<Arc<ClusterLoadAssignment>>;

/// The cluster of this name as the model has it; `None`: it is not there.
pub(super) fn resolve(store: &Store, name: &Arc<str>) -> Option<(Arc<Cluster>, Endpoints)> {
    let cluster = cluster_of(store, name)?;
    let EndpointSource::Aggregate(_) = &cluster.endpoints else {
        return Some((model_of(store, cluster), endpoints_of(store, cluster)));
    };
    let mut leaves = Leaves { store, seen: BTreeSet::new(), found: Vec::new() };
    leaves.add(name, 0);
    let first = leaves.found.first()?;
    let mut model = Cluster::clone(&model_of(store, first));
    model.name = Arc::clone(name);
    let assignments = leaves.found.iter().filter_map(|leaf| endpoints_of(store, leaf));
    Some((Arc::new(model), Some(Arc::new(one_below_the_other(assignments)))))
}

/// What the load of the cluster of this name is reported under; `None`: it is not, or there is no such
/// cluster.
pub(super) fn load_key(store: &Store, name: &Arc<str>) -> Option<LoadKey> {
    let cluster = cluster_of(store, name).filter(|cluster| cluster.reports_load)?;
    let key = LoadKey::new(Arc::clone(name));
    match &cluster.endpoints {
        EndpointSource::Eds(service) => Some(key.with_service(Arc::clone(service))),
        EndpointSource::Inline(_) | EndpointSource::Dns => Some(key),
        EndpointSource::Aggregate(_) => None,
    }
}

/// The clusters at the end of an aggregate, each once: the earlier mention counts.
struct Leaves<'a> {
    store: &'a Store,
    seen: BTreeSet<Arc<str>>,
    found: Vec<&'a Arc<XdsCluster>>,
}

impl Leaves<'_> {
    fn add(&mut self, name: &Arc<str>, depth: usize) {
        if depth > MAX_DEPTH || !self.seen.insert(Arc::clone(name)) {
            return;
        }
        let Some(cluster) = cluster_of(self.store, name) else { return };
        match &cluster.endpoints {
            EndpointSource::Aggregate(children) => {
                children.iter().for_each(|child| self.add(child, depth + 1));
            }
            // Names are resolved by whoever applies the configuration: they have no place here.
            EndpointSource::Dns => {}
            EndpointSource::Eds(_) | EndpointSource::Inline(_) => self.found.push(cluster),
        }
    }
}

fn one_below_the_other(
    assignments: impl Iterator<Item = Arc<ClusterLoadAssignment>>,
) -> ClusterLoadAssignment {
    let mut all = ClusterLoadAssignment::default();
    let mut first = 0;
    for (at, assignment) in assignments.enumerate() {
        if at == 0 {
            all.drop_overloads.clone_from(&assignment.drop_overloads);
        }
        let mut last = None;
        for locality in &assignment.localities {
            let mut moved = LocalityEndpoints::clone(locality);
            moved.priority += first;
            last = last.max(Some(moved.priority));
            all.localities.push(Arc::new(moved));
        }
        first = last.map_or(first, |last| last + 1);
    }
    all
}

fn cluster_of<'a>(store: &'a Store, name: &Arc<str>) -> Option<&'a Arc<XdsCluster>> {
    match store.look(ResourceType::Cluster, name) {
        Known::Value(Resource::Cluster(cluster)) => Some(cluster),
        Known::Value(_) | Known::Missing(_) | Known::Pending => None,
    }
}

/// The cluster, with what only its endpoints say of it.
fn model_of(store: &Store, cluster: &XdsCluster) -> Arc<Cluster> {
    let EndpointSource::Eds(service) = &cluster.endpoints else {
        return Arc::clone(&cluster.model);
    };
    let Known::Value(Resource::Endpoints(endpoints)) = store.look(ResourceType::Endpoints, service)
    else {
        return Arc::clone(&cluster.model);
    };
    let weighs = cluster.follows_locality_weights && endpoints.has_locality_weights;
    let factor = endpoints.overprovisioning_factor;
    if !weighs && factor.is_none() {
        return Arc::clone(&cluster.model);
    }
    let mut model = Cluster::clone(&cluster.model);
    model.lb_policy.locality_weighted |= weighs;
    if let Some(factor) = factor {
        model.lb_policy.overprovisioning_factor = factor;
    }
    Arc::new(model)
}

/// The endpoints of a cluster that is no aggregate. Those that do not exist are none; those that are not
/// known yet are waited for by calls.
fn endpoints_of(store: &Store, cluster: &XdsCluster) -> Endpoints {
    match &cluster.endpoints {
        EndpointSource::Inline(assignment) => Some(Arc::clone(assignment)),
        EndpointSource::Eds(service) => match store.look(ResourceType::Endpoints, service) {
            Known::Value(Resource::Endpoints(endpoints)) => Some(Arc::clone(&endpoints.assignment)),
            Known::Value(_) | Known::Pending => None,
            Known::Missing(_) => Some(Arc::default()),
        },
        EndpointSource::Dns | EndpointSource::Aggregate(_) => None,
    }
}
