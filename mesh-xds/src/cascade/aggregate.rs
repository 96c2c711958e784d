//! A cluster with its endpoints; an aggregate with the clusters at its end, the earlier ones first (gRFC A37).
//!
//! An aggregate names its *leaves*: aggregates among its children stand for their own, [`MAX_DEPTH`] deep,
//! and of a cluster that is met twice the first mention counts. What does not exist is left out. Each leaf
//! is a cluster of its own beside it, with its own policies (gRFC A75).

use super::Key;
use super::walk::MAX_DEPTH;
use crate::load_report::LoadKey;
use crate::protocol::canonical;
use crate::store::{Known, Store};
use crate::{EndpointSource, Resource, ResourceType, XdsCluster};
use mesh_core::model::{Cluster, ClusterLoadAssignment, Discovery};
use mesh_core::update::ClusterUpdate;
use std::collections::BTreeSet;
use std::sync::Arc;

type Endpoints = Option<Arc<ClusterLoadAssignment>>;

/// A cluster as the model has it.
#[derive(Default)]
pub(super) struct Resolved {
    /// `None`: it is not there, or is an aggregate of nothing.
    pub(super) update: Option<ClusterUpdate>,
    /// The clusters that it stands for, if it is an aggregate.
    pub(super) leaves: Vec<Arc<str>>,
    /// What was looked at for it.
    pub(super) looked_at: BTreeSet<Key>,
    /// A cluster under an aggregate has no answer yet.
    pub(super) is_pending: bool,
}

/// The cluster of this name.
pub(super) fn resolve(store: &Store, name: &Arc<str>) -> Resolved {
    let mut reader = Reader::new(store);
    let (update, leaves) = reader.resolve(name);
    let Reader { looked_at, is_pending, .. } = reader;
    Resolved { update, leaves: leaves.found, looked_at, is_pending }
}

/// The clusters that the one of this name stands for, if it is an aggregate.
pub(super) fn leaves(store: &Store, name: &Arc<str>) -> Vec<Arc<str>> {
    let mut leaves = Leaves::default();
    let mut reader = Reader::new(store);
    if reader.cluster(name).is_some_and(is_aggregate) {
        reader.add(name, 0, &mut leaves);
    }
    leaves.found
}

/// An aggregate that stands for these clusters.
pub(super) fn standing_for(aggregate: &ClusterUpdate, leaves: &[Arc<str>]) -> ClusterUpdate {
    let discovery = Discovery::Aggregate(leaves.into());
    let mut made = aggregate.clone();
    if made.cluster.discovery != discovery {
        let mut model = Cluster::clone(&made.cluster);
        model.discovery = discovery;
        made.cluster = Arc::new(model);
    }
    made
}

fn is_aggregate(cluster: &Arc<XdsCluster>) -> bool {
    matches!(cluster.endpoints, EndpointSource::Aggregate(_))
}

/// A store, and what was looked at in it.
struct Reader<'a> {
    store: &'a Store,
    looked_at: BTreeSet<Key>,
    is_pending: bool,
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
        // gRFC A75: each cluster under it reports for itself.
        EndpointSource::Aggregate(_) => None,
    }
}

/// The clusters at the end of an aggregate, each once: the earlier mention counts.
#[derive(Default)]
struct Leaves {
    seen: BTreeSet<Arc<str>>,
    found: Vec<Arc<str>>,
}

impl<'a> Reader<'a> {
    const fn new(store: &'a Store) -> Self {
        Self { store, looked_at: BTreeSet::new(), is_pending: false }
    }

    fn resolve(&mut self, name: &Arc<str>) -> (Option<ClusterUpdate>, Leaves) {
        let mut leaves = Leaves::default();
        let Some(cluster) = self.cluster(name) else { return (None, leaves) };
        let EndpointSource::Aggregate(_) = &cluster.endpoints else {
            let update = ClusterUpdate::new(self.model(cluster), self.endpoints(cluster));
            return (Some(update), leaves);
        };
        self.add(name, 0, &mut leaves);
        if leaves.found.is_empty() {
            return (None, leaves);
        }
        let made = ClusterUpdate::new(Arc::clone(&cluster.model), Some(Arc::default()));
        (Some(standing_for(&made, &leaves.found)), leaves)
    }

    fn add(&mut self, name: &Arc<str>, depth: usize, leaves: &mut Leaves) {
        if depth > MAX_DEPTH || !leaves.seen.insert(Arc::clone(name)) {
            return;
        }
        let Some(cluster) = self.cluster(name) else { return };
        match &cluster.endpoints {
            EndpointSource::Aggregate(children) => {
                children.iter().for_each(|child| self.add(child, depth + 1, leaves));
            }
            EndpointSource::Eds(_) | EndpointSource::Inline(_) | EndpointSource::Dns => {
                leaves.found.push(Arc::clone(name));
            }
        }
    }

    fn look(&mut self, kind: ResourceType, name: &Arc<str>) -> Known<'a> {
        self.looked_at.insert((kind, canonical(name)));
        self.store.look(kind, name)
    }

    fn cluster(&mut self, name: &Arc<str>) -> Option<&'a Arc<XdsCluster>> {
        match self.look(ResourceType::Cluster, name) {
            Known::Value(Resource::Cluster(cluster)) => Some(cluster),
            Known::Pending => {
                self.is_pending = true;
                None
            }
            Known::Value(_) | Known::Missing(_) => None,
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
