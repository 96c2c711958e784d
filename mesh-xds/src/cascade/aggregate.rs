//! A cluster with its endpoints; an aggregate is its children, the earlier ones first (gRFC A37).
//!
//! An aggregate becomes one cluster under its own name: the endpoints of its children, each child's
//! priorities below those of the child before it. How it talks to them (protocol, TLS, connections, load
//! balancing, drops) is what its first child says: the model has one policy for one cluster (gRFC A75 gives each
//! child its own).

use super::Key;
use super::walk::MAX_DEPTH;
use crate::load_report::LoadKey;
use crate::protocol::canonical;
use crate::store::{Known, Store};
use crate::{EndpointSource, Resource, ResourceType, XdsCluster};
use mesh_core::model::{Cluster, ClusterLoadAssignment, LocalityEndpoints};
use mesh_core::update::ClusterUpdate;
use std::collections::BTreeSet;
use std::sync::Arc;

type Endpoints = Option<Arc<ClusterLoadAssignment>>;

/// The cluster of this name as the model has it (`None`: it is not there), and what was looked at for it.
pub(super) fn resolve(store: &Store, name: &Arc<str>) -> (Option<ClusterUpdate>, BTreeSet<Key>) {
    let mut reader = Reader { store, looked_at: BTreeSet::new() };
    let update = reader.resolve(name);
    (update, reader.looked_at)
}

/// A store, and what was looked at in it.
struct Reader<'a> {
    store: &'a Store,
    looked_at: BTreeSet<Key>,
}

/// What the load of the cluster of this name is reported under; `None`: it is not, or there is no such
/// cluster.
pub(super) fn load_key(store: &Store, name: &Arc<str>) -> Option<LoadKey> {
    let Known::Value(Resource::Cluster(cluster)) = store.look(ResourceType::Cluster, name) else {
        return None;
    };
    if !cluster.reports_load {
        return None;
    }
    let key = LoadKey::new(Arc::clone(name));
    match &cluster.endpoints {
        EndpointSource::Eds(service) => Some(key.with_service(Arc::clone(service))),
        EndpointSource::Inline(_) | EndpointSource::Dns => Some(key),
        EndpointSource::Aggregate(_) => None,
    }
}

/// The clusters at the end of an aggregate, each once: the earlier mention counts.
#[derive(Default)]
struct Leaves<'a> {
    seen: BTreeSet<Arc<str>>,
    found: Vec<&'a Arc<XdsCluster>>,
}

impl<'a> Reader<'a> {
    fn resolve(&mut self, name: &Arc<str>) -> Option<ClusterUpdate> {
        let cluster = self.cluster(name)?;
        let EndpointSource::Aggregate(_) = &cluster.endpoints else {
            return Some(ClusterUpdate::new(self.model(cluster), self.endpoints(cluster)));
        };
        let mut leaves = Leaves::default();
        self.add(name, 0, &mut leaves);
        let first = leaves.found.first()?;
        let mut model = Cluster::clone(&self.model(first));
        model.name = Arc::clone(name);
        let assignments = leaves.found.iter().filter_map(|leaf| self.endpoints(leaf));
        let endpoints = one_below_the_other(assignments);
        Some(ClusterUpdate::new(Arc::new(model), Some(Arc::new(endpoints))))
    }

    fn add(&mut self, name: &Arc<str>, depth: usize, leaves: &mut Leaves<'a>) {
        if depth > MAX_DEPTH || !leaves.seen.insert(Arc::clone(name)) {
            return;
        }
        let Some(cluster) = self.cluster(name) else { return };
        match &cluster.endpoints {
            EndpointSource::Aggregate(children) => {
                children.iter().for_each(|child| self.add(child, depth + 1, leaves));
            }
            // Names are resolved by whoever applies the configuration: they have no place here.
            EndpointSource::Dns => {}
            EndpointSource::Eds(_) | EndpointSource::Inline(_) => leaves.found.push(cluster),
        }
    }

    fn look(&mut self, kind: ResourceType, name: &Arc<str>) -> Known<'a> {
        self.looked_at.insert((kind, canonical(name)));
        self.store.look(kind, name)
    }

    fn cluster(&mut self, name: &Arc<str>) -> Option<&'a Arc<XdsCluster>> {
        match self.look(ResourceType::Cluster, name) {
            Known::Value(Resource::Cluster(cluster)) => Some(cluster),
            Known::Value(_) | Known::Missing(_) | Known::Pending => None,
        }
    }

    /// The cluster, with what only its endpoints say of it.
    fn model(&mut self, cluster: &XdsCluster) -> Arc<Cluster> {
        let EndpointSource::Eds(service) = &cluster.endpoints else {
            return Arc::clone(&cluster.model);
        };
        let Known::Value(Resource::Endpoints(endpoints)) =
            self.look(ResourceType::Endpoints, service)
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

    /// The endpoints of a cluster that is no aggregate. Those that do not exist are none; those that are
    /// not known yet are waited for by calls.
    fn endpoints(&mut self, cluster: &XdsCluster) -> Endpoints {
        match &cluster.endpoints {
            EndpointSource::Inline(assignment) => Some(Arc::clone(assignment)),
            EndpointSource::Eds(service) => match self.look(ResourceType::Endpoints, service) {
                Known::Value(Resource::Endpoints(endpoints)) => {
                    Some(Arc::clone(&endpoints.assignment))
                }
                Known::Value(_) | Known::Pending => None,
                Known::Missing(_) => Some(Arc::default()),
            },
            EndpointSource::Dns | EndpointSource::Aggregate(_) => None,
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
