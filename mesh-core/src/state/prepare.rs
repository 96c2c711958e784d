//! What becomes of a cluster, built before anything is published.

use super::diff::Diff;
use super::endpoint_set::LocalityRange;
use super::overflow::OverflowWatch;
use super::reconcile::{Key, Reconciled, range, reconcile};
use super::securities::Securities;
use super::updater::Entry;
use super::{ApplyError, Attach, ClusterPolicy, EndpointSet, LiveCluster, LiveEndpoint, Updater};
use crate::lb::{Balancer, EjectedBits, EndpointId};
use crate::model::{Address, ClusterLoadAssignment, LbAlgorithm};
use crate::outlier::Detector;
use crate::router::CompiledHashPolicy;
use crate::time::Timestamp;
use crate::update::ClusterUpdate;
use std::ops::Range;
use std::sync::Arc;
use xxhash_rust::xxh64::xxh64;

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
    /// Where the new endpoints are.
    pub(super) middle: Range<usize>,
}

impl<A: Attach> Updater<A> {
    /// Builds what `update` makes of a cluster; `None`: nothing changed.
    ///
    /// What is equal to what is in force is replaced by it: a source that reads everything anew then
    /// costs one comparison, and the next time none.
    pub(super) fn prepare(
        &mut self,
        name: &Arc<str>,
        update: &mut ClusterUpdate,
        now: Timestamp,
    ) -> Result<Option<Prepared<A>>, ApplyError> {
        if self.entries.get(name).is_some_and(|known| is_identical(&known.update, update)) {
            return Ok(None);
        }
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
        update: &mut ClusterUpdate,
        now: Timestamp,
    ) -> Result<Option<Prepared<A>>, ApplyError> {
        let same_cluster = known.is_some_and(|known| adopt_cluster(&known.update, update));
        let next = Arc::clone(&update.cluster);
        // The key of an endpoint holds what changes its identity: another transport security is
        // another endpoint at the same address.
        let before = known.map_or(&next, |known| &known.update.cluster);
        let securities = Securities::between(before, &next);
        let (diff, same_endpoints) = match known {
            Some(known) => adopt_endpoints(&known.update, update, &securities),
            None => {
                let after = update.endpoints.as_deref().unwrap_or(&NOBODY);
                (Diff::between(&NOBODY, after, &securities), false)
            }
        };
        if same_cluster && same_endpoints {
            return Ok(None);
        }
        let cluster = &update.cluster;
        let hash_policy = CompiledHashPolicy::new(&cluster.lb_policy.hash_policy);
        let hash_policy = hash_policy.map_err(|error| {
            let cluster = Arc::clone(&cluster.name);
            ApplyError::HashPolicy { cluster, error }
        })?;
        let policy = ClusterPolicy::new(cluster, hash_policy);
        let live = match known {
            Some(known) => Arc::clone(&known.live),
            None => {
                let place = (self.slots.take(), self.first_turn(name));
                Arc::new(LiveCluster::new(place, &policy, &self.marks.0, &self.attach))
            }
        };
        let before = known.map(|known| Before { known, diff: &diff });
        let (set, removed, added) = self.next_set(&live, (before, &securities), update, now);
        let ejected = before.map_or_else(EjectedBits::default, |before| before.ejected(&set));
        let balancer = self.balancer(update, before, &ejected)?;
        let detector = Detector::new(cluster.outlier_detection.as_ref(), now);
        let update = update.clone();
        let entry = Entry {
            live,
            update,
            set,
            balancer,
            detector,
            ejected,
            filter: None,
            overflows: OverflowWatch::default(),
            due: None,
        };
        let (is_new, is_reconfigured) = (known.is_none(), !same_cluster && known.is_some());
        let name = Arc::clone(name);
        let middle = diff.new;
        Ok(Some(Prepared { name, entry, policy, is_new, is_reconfigured, removed, added, middle }))
    }

    fn next_set(
        &mut self,
        live: &LiveCluster<A>,
        (before, securities): (Option<Before<'_, A>>, &Securities<'_>),
        update: &ClusterUpdate,
        now: Timestamp,
    ) -> NextSet<A> {
        let empty = EndpointSet::empty();
        let assignment = update.endpoints.clone().unwrap_or_default();
        let whole;
        let (old, diff) = match before {
            Some(before) => (&*before.known.set, before.diff),
            None => {
                whole = Diff::between(&NOBODY, &assignment, securities);
                (&empty, &whole)
            }
        };
        let (attach, next) = (&self.attach, &mut self.next_endpoint);
        let make = |Key { address, security }: Key<'_>| {
            *next += 1;
            let attached = attach.endpoint(live.attached(), address, securities.policy(security));
            Arc::new(LiveEndpoint::new(EndpointId::new(*next), address.clone(), now, attached))
        };
        let filter = before.and_then(|before| before.known.filter.as_ref());
        let is_known = |address: &Address| filter.is_none_or(|known| known.may_contain(address));
        let reconciled = reconcile(old, &assignment, diff, securities, is_known, make);
        let Reconciled { endpoints, removed, added } = reconciled;
        let changed = range(&assignment, diff.changed.clone());
        for (index, (_, listed)) in diff.changed.clone().zip(changed) {
            if let Some(endpoint) = endpoints.get(index) {
                attach.endpoint_listed(endpoint.attached(), listed);
            }
        }
        let mut end = 0;
        let localities = assignment.localities.iter().map(|locality| {
            end += u32::try_from(locality.endpoints.len()).unwrap_or(u32::MAX);
            LocalityRange { end, attached: attach.locality(live.attached(), &locality.locality) }
        });
        let localities = localities.collect();
        let distinct = old.distinct_len() + added - removed.len();
        let set = EndpointSet { assignment, endpoints, localities, once: None };
        (Arc::new(set.settle(distinct)), removed, added)
    }

    fn balancer(
        &self,
        update: &ClusterUpdate,
        before: Option<Before<'_, A>>,
        ejected: &EjectedBits,
    ) -> Result<Option<Balancer>, ApplyError> {
        let Some(assignment) = &update.endpoints else { return Ok(None) };
        let (name, policy) = (&update.cluster.name, &update.cluster.lb_policy);
        let custom = match &policy.algorithm {
            LbAlgorithm::Custom(policy) => match self.custom.get(policy) {
                Some(custom) => Some(Arc::clone(custom)),
                None => {
                    let (cluster, policy) = (Arc::clone(name), Arc::clone(policy));
                    return Err(ApplyError::UnknownPolicy { cluster, policy });
                }
            },
            _ => None,
        };
        let previous = before.and_then(|before| Some((before, before.known.balancer.as_ref()?)));
        let built = match previous {
            Some((before, previous)) => {
                let same = before.diff.same_layout.then(|| before.diff.changed.clone());
                previous.rebuild(policy, assignment, ejected, custom, same)
            }
            None => Balancer::build(policy, assignment, ejected, custom, None),
        };
        built.map(Some).map_err(|error| ApplyError::Balancing { cluster: Arc::clone(name), error })
    }

    /// Where round robin begins in a cluster: elsewhere in each process and each cluster, or all
    /// processes of a fleet that starts would begin with the same endpoints. Without a seed, at the
    /// first one.
    fn first_turn(&self, cluster: &str) -> u64 {
        if self.seed == 0 { 0 } else { xxh64(cluster.as_bytes(), self.seed) }
    }
}

/// What there was of a cluster, and where its endpoints differ.
struct Before<'a, A: Attach> {
    known: &'a Entry<A>,
    diff: &'a Diff,
}

impl<A: Attach> Clone for Before<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Attach> Copy for Before<'_, A> {}

impl<A: Attach> Before<'_, A> {
    /// Which endpoints of the next set are ejected: those that were, and what the middle says.
    fn ejected(&self, next: &EndpointSet<A>) -> EjectedBits {
        let (known, diff) = (&self.known.ejected, self.diff);
        if known.count() == 0 {
            return EjectedBits::default();
        }
        let stay = known.iter().filter_map(|index| {
            let index = index as usize;
            if index < diff.old.start {
                return Some(index);
            }
            (index >= diff.old.end).then(|| index - diff.old.end + diff.new.end)
        });
        let middle = next.endpoints.range(diff.new.clone()).zip(diff.new.clone());
        let middle = middle.filter(|(endpoint, _)| endpoint.monitor().is_ejected());
        let indexes = stay.chain(middle.map(|(_, index)| index));
        indexes.map(|index| u32::try_from(index).unwrap_or(u32::MAX)).collect()
    }
}

/// Whether both are the same pointers: most clusters of a large configuration, every time.
fn is_identical(known: &ClusterUpdate, update: &ClusterUpdate) -> bool {
    Arc::ptr_eq(&known.cluster, &update.cluster)
        && known.endpoints.as_ref().map(Arc::as_ptr) == update.endpoints.as_ref().map(Arc::as_ptr)
}

/// Puts the cluster that is in force in the place of an equal one.
fn adopt_cluster(known: &ClusterUpdate, update: &mut ClusterUpdate) -> bool {
    if Arc::ptr_eq(&known.cluster, &update.cluster) {
        return true;
    }
    let is_same = known.cluster == update.cluster;
    if is_same {
        update.cluster = Arc::clone(&known.cluster);
    }
    is_same
}

/// Puts the endpoints that are in force in the place of equal ones.
fn adopt_endpoints(
    known: &ClusterUpdate,
    update: &mut ClusterUpdate,
    securities: &Securities<'_>,
) -> (Diff, bool) {
    let before = known.endpoints.as_deref().unwrap_or(&NOBODY);
    let after = update.endpoints.as_deref().unwrap_or(&NOBODY);
    let diff = Diff::between(before, after, securities);
    let is_same = diff.is_nothing()
        && known.endpoints.is_some() == update.endpoints.is_some()
        && before.drop_overloads == after.drop_overloads;
    if is_same {
        update.endpoints.clone_from(&known.endpoints);
    }
    (diff, is_same)
}

static NOBODY: ClusterLoadAssignment =
    ClusterLoadAssignment { localities: Vec::new(), drop_overloads: Vec::new() };

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
