//! What becomes of a cluster, built before anything is published.

use super::endpoint_set::LocalityRange;
use super::reconcile::{Reconciled, reconcile};
use super::updater::Entry;
use super::{ApplyError, Attach, ClusterPolicy, EndpointSet, LiveCluster, LiveEndpoint, Updater};
use crate::lb::{Balancer, EjectedBits, EndpointId};
use crate::model::{Cluster, LbAlgorithm};
use crate::outlier::Detector;
use crate::router::CompiledHashPolicy;
use crate::time::Timestamp;
use crate::update::ClusterUpdate;
use std::sync::Arc;

/// The next endpoints of a cluster, the old ones that are gone, and how many are new.
type NextSet<A> = (Arc<EndpointSet<A>>, Vec<Arc<LiveEndpoint<A>>>, usize);

/// What one cluster will become, built before anything is published.
pub(super) struct Prepared<A: Attach> {
    pub(super) name: Arc<str>,
    /// The entry to put in; for a known cluster its live part is the old one.
    pub(super) entry: Entry<A>,
    pub(super) policy: ClusterPolicy,
    pub(super) is_new: bool,
    pub(super) is_reconfigured: bool,
    pub(super) removed: Vec<Arc<LiveEndpoint<A>>>,
    pub(super) added: usize,
}

impl<A: Attach> Updater<A> {
    /// Builds what `update` makes of a cluster; `None`: nothing changed.
    pub(super) fn prepare(
        &mut self,
        name: &Arc<str>,
        update: &ClusterUpdate,
        now: Timestamp,
    ) -> Result<Option<Prepared<A>>, ApplyError> {
        let known = self.entries.remove(name);
        let result = self.prepare_known(name, known.as_ref(), update, now);
        if let Some(known) = known {
            self.entries.insert(Arc::clone(name), known);
        }
        result
    }

    fn prepare_known(
        &mut self,
        name: &Arc<str>,
        known: Option<&Entry<A>>,
        update: &ClusterUpdate,
        now: Timestamp,
    ) -> Result<Option<Prepared<A>>, ApplyError> {
        let cluster = &update.cluster;
        let same_cluster = known.is_some_and(|known| {
            Arc::ptr_eq(&known.update.cluster, cluster) || known.update.cluster == *cluster
        });
        let same_endpoints =
            known.is_some_and(|known| match (&known.update.endpoints, &update.endpoints) {
                (Some(before), Some(after)) => Arc::ptr_eq(before, after),
                (None, None) => true,
                _ => false,
            });
        if same_cluster && same_endpoints {
            return Ok(None);
        }
        let hash_policy = CompiledHashPolicy::new(&cluster.lb_policy.hash_policy);
        let hash_policy = hash_policy.map_err(|error| {
            let cluster = Arc::clone(&cluster.name);
            ApplyError::HashPolicy { cluster, error }
        })?;
        let policy = ClusterPolicy::new(cluster, hash_policy);
        let live = match known {
            Some(known) => Arc::clone(&known.live),
            None => Arc::new(LiveCluster::new(self.slots.take(), &policy, &self.attach)),
        };
        // The key of an endpoint holds what changes its identity: another transport security is
        // another endpoint at the same address.
        let rekeyed = known.is_some_and(|known| known.update.cluster.tls != cluster.tls);
        let (set, removed, added) = self.next_set(&live, known, update, rekeyed, now);
        let balancer = self.balancer(cluster, &set, update, known)?;
        let detector = Detector::new(cluster.outlier_detection.as_ref(), now);
        let ejected = known.map_or(0, |known| known.ejected);
        let update = update.clone();
        let entry = Entry { live, update, set, balancer, detector, ejected };
        let (is_new, is_reconfigured) = (known.is_none(), !same_cluster && known.is_some());
        let name = Arc::clone(name);
        Ok(Some(Prepared { name, entry, policy, is_new, is_reconfigured, removed, added }))
    }

    fn next_set(
        &mut self,
        live: &LiveCluster<A>,
        known: Option<&Entry<A>>,
        update: &ClusterUpdate,
        rekeyed: bool,
        now: Timestamp,
    ) -> NextSet<A> {
        let empty = EndpointSet::empty();
        let old = match known {
            Some(known) if !rekeyed => &*known.set,
            _ => &empty,
        };
        let assignment = update.endpoints.clone().unwrap_or_default();
        let (attach, next) = (&self.attach, &mut self.next_endpoint);
        let Reconciled { endpoints, mut removed, added } = reconcile(old, &assignment, |address| {
            *next += 1;
            let attached = attach.endpoint(live.attached(), address);
            Arc::new(LiveEndpoint::new(EndpointId::new(*next), address.clone(), now, attached))
        });
        if rekeyed {
            removed.extend(known.iter().flat_map(|known| known.set.distinct()));
        }
        let mut end = 0;
        let localities = assignment.localities.iter().map(|locality| {
            end += u32::try_from(locality.endpoints.len()).unwrap_or(u32::MAX);
            LocalityRange { end, attached: attach.locality(live.attached(), &locality.locality) }
        });
        let localities = localities.collect();
        (Arc::new(EndpointSet { assignment, endpoints, localities }), removed, added)
    }

    fn balancer(
        &self,
        cluster: &Cluster,
        set: &Arc<EndpointSet<A>>,
        update: &ClusterUpdate,
        known: Option<&Entry<A>>,
    ) -> Result<Option<Balancer>, ApplyError> {
        let Some(assignment) = &update.endpoints else { return Ok(None) };
        let name = &cluster.name;
        let custom = match &cluster.lb_policy.algorithm {
            LbAlgorithm::Custom(policy) => match self.custom.get(policy) {
                Some(custom) => Some(Arc::clone(custom)),
                None => {
                    let (cluster, policy) = (Arc::clone(name), Arc::clone(policy));
                    return Err(ApplyError::UnknownPolicy { cluster, policy });
                }
            },
            _ => None,
        };
        let any = known.is_some_and(|known| known.ejected > 0);
        let ejected = if any { ejected_bits(set) } else { EjectedBits::default() };
        let previous = known.and_then(|known| known.balancer.as_ref());
        Balancer::build(&cluster.lb_policy, assignment, &ejected, custom, previous)
            .map(Some)
            .map_err(|error| ApplyError::Balancing { cluster: Arc::clone(name), error })
    }
}

/// Which endpoints of a set are ejected.
pub(super) fn ejected_bits<A: Attach>(set: &EndpointSet<A>) -> EjectedBits {
    let mut bits = EjectedBits::default();
    for (index, endpoint) in set.endpoints.iter().enumerate() {
        if endpoint.monitor().is_ejected() {
            bits.insert(u32::try_from(index).unwrap_or(u32::MAX));
        }
    }
    bits
}
