//! The write handle [`Updater`] and the read handle [`Mesh`].

use super::attach::TargetLabels;
use super::endpoint_set::LocalityRange;
use super::reconcile::{Reconciled, reconcile};
use super::slots::{FreeSlots, Slots};
use super::snapshot::Targets;
use super::{
    Attach, ClusterPolicy, EndpointSet, LiveCluster, LiveEndpoint, Picker, Snapshot, Target,
};
use crate::event::Event;
use crate::lb::{Balancer, EjectedBits, EndpointId, LbError, Pick};
use crate::model::{Cluster, ClusterLoadAssignment, LbAlgorithm};
use crate::outlier::Detector;
use crate::router::{CompileError, CompiledHashPolicy, RegexError, Router};
use crate::time::Timestamp;
use crate::update::{ClusterUpdate, ConfigUpdate};
use arc_swap::{ArcSwap, Guard};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The read handle: cheap to clone, never blocks.
pub struct Mesh<A: Attach> {
    snapshot: Arc<ArcSwap<Snapshot<A>>>,
}

impl<A: Attach> Mesh<A> {
    /// The snapshot in force: load it once per call.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<Snapshot<A>>> {
        self.snapshot.load()
    }
}

impl<A: Attach> Clone for Mesh<A> {
    fn clone(&self) -> Self {
        Self { snapshot: Arc::clone(&self.snapshot) }
    }
}

impl<A: Attach> fmt::Debug for Mesh<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("generation", &self.snapshot().generation()).finish()
    }
}

/// The write handle: one per mesh, the only one that publishes.
///
/// A configuration is taken whole or not at all: everything that can fail is built first, then pickers
/// are published, then the snapshot, then what is gone is told so (make before break). What was
/// replaced is kept until no call holds it, and freed here.
pub struct Updater<A: Attach> {
    mesh: Mesh<A>,
    pub(super) attach: A,
    pub(super) entries: BTreeMap<Arc<str>, Entry<A>>,
    config: ConfigUpdate,
    custom: BTreeMap<Arc<str>, Arc<dyn Pick>>,
    pub(super) retired: Vec<Arc<dyn Any + Send + Sync>>,
    slots: FreeSlots,
    next_endpoint: u64,
}

/// A cluster as the writer sees it.
#[derive(Debug)]
pub(super) struct Entry<A: Attach> {
    pub(super) live: Arc<LiveCluster<A>>,
    pub(super) update: ClusterUpdate,
    pub(super) set: Arc<EndpointSet<A>>,
    pub(super) balancer: Option<Balancer>,
    pub(super) detector: Detector,
    /// How many of its endpoints were ejected when it was looked at last.
    pub(super) ejected: u32,
}

/// What an update changed.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Applied {
    /// Clusters that appeared.
    pub clusters_added: usize,
    /// Clusters that are gone.
    pub clusters_removed: usize,
    /// Clusters whose configuration changed.
    pub clusters_changed: usize,
    /// Endpoints that appeared, in all clusters.
    pub endpoints_added: usize,
    /// Endpoints that are gone, from all clusters.
    pub endpoints_removed: usize,
    /// Whether the routes changed.
    pub routes_changed: bool,
    /// What happened on the way.
    pub events: Vec<Event>,
}

/// Why an update was refused; nothing of it was applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Routes don't compile.
    #[error("{}", join(.0))]
    Routes(Vec<CompileError>),
    /// A cluster's load balancing can't be built.
    #[error("cluster `{cluster}`: {error}")]
    Balancing {
        /// The cluster.
        cluster: Arc<str>,
        /// Why.
        error: LbError,
    },
    /// A cluster's hash policy has a rewrite that is no regular expression.
    #[error("cluster `{cluster}`: lb_policy.hash_policy: {error}")]
    HashPolicy {
        /// The cluster.
        cluster: Arc<str>,
        /// Why.
        error: RegexError,
    },
    /// A cluster names a policy that nobody registered.
    #[error("cluster `{cluster}`: no load-balancing policy `{policy}` is registered")]
    UnknownPolicy {
        /// The cluster.
        cluster: Arc<str>,
        /// The policy's name.
        policy: Arc<str>,
    },
}

fn join(errors: &[CompileError]) -> String {
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// The next endpoints of a cluster, the old ones that are gone, and how many are new.
type NextSet<A> = (Arc<EndpointSet<A>>, Vec<Arc<LiveEndpoint<A>>>, usize);

/// What one cluster will become, built before anything is published.
struct Prepared<A: Attach> {
    name: Arc<str>,
    /// The entry to put in; for a known cluster its live part is the old one.
    entry: Entry<A>,
    policy: ClusterPolicy,
    is_new: bool,
    is_reconfigured: bool,
    removed: Vec<Arc<LiveEndpoint<A>>>,
    added: usize,
}

impl<A: Attach> Updater<A> {
    /// A mesh without configuration, and its two handles.
    #[must_use]
    pub fn new(attach: A) -> (Self, Mesh<A>) {
        let mesh = Mesh { snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::initial())) };
        let updater = Self {
            mesh: mesh.clone(),
            attach,
            entries: BTreeMap::new(),
            config: ConfigUpdate::default(),
            custom: BTreeMap::new(),
            retired: Vec::new(),
            slots: FreeSlots::default(),
            next_endpoint: 0,
        };
        (updater, mesh)
    }

    /// Makes a load-balancing policy known by a name that clusters can use.
    pub fn register_policy(&mut self, name: impl Into<Arc<str>>, policy: Arc<dyn Pick>) {
        self.custom.insert(name.into(), policy);
    }

    /// Takes a whole configuration over.
    ///
    /// # Errors
    /// [`ApplyError`] says what can't be built; the configuration in force stays untouched.
    pub fn apply(&mut self, update: ConfigUpdate, now: Timestamp) -> Result<Applied, ApplyError> {
        let before = self.mesh.snapshot.load_full();
        let same_routes = before.applied_at.is_some()
            && Arc::ptr_eq(&self.config.route_configuration, &update.route_configuration);
        let slots = self.slots.clone();
        let built = self.build(&update, &before.router, same_routes, now);
        let (prepared, router) = built.inspect_err(|_| self.slots = slots)?;

        let mut applied = Applied { routes_changed: !same_routes, ..Applied::default() };
        let mut gone = Vec::new();
        for prepared in prepared {
            gone.extend(self.commit(prepared, &mut applied, now));
        }
        let settings_changed = before.mode != update.mode
            || before.unknown_hosts != update.unknown_hosts
            || before.origin != update.origin;
        if router.is_some() || settings_changed {
            self.publish_snapshot(&before, router, &update, now);
        }
        // Or it would count as held by a call below.
        drop(before);
        self.tell_gone(&gone);
        self.remove_missing(&update, &mut applied);
        let before = std::mem::replace(&mut self.config, update);
        self.retire(Arc::new(before));
        Ok(applied)
    }

    /// Builds everything that can fail: what becomes of clusters, and the router if it changes.
    fn build(
        &mut self,
        update: &ConfigUpdate,
        before: &Router,
        same_routes: bool,
        now: Timestamp,
    ) -> Result<(Vec<Prepared<A>>, Option<Router>), ApplyError> {
        let mut prepared = Vec::new();
        for (name, cluster) in &update.clusters {
            prepared.extend(self.prepare(name, cluster, now)?);
        }
        let membership_changed = prepared.iter().any(|prepared| prepared.is_new)
            || self.entries.keys().any(|name| !update.clusters.contains_key(name));
        if same_routes && !membership_changed {
            return Ok((prepared, None));
        }
        let slots = Slots::new(&self.entries, prepared.iter().map(|p| &*p.entry.live), update);
        let router = Router::compile(&update.route_configuration, &slots, Some(before));
        Ok((prepared, Some(router.map_err(ApplyError::Routes)?)))
    }

    /// Replaces the endpoints of one cluster; unknown names are ignored.
    ///
    /// # Errors
    /// [`ApplyError::Balancing`] when the cluster can't be balanced over them; the old ones stay.
    pub fn apply_endpoints(
        &mut self,
        cluster: &str,
        endpoints: Option<Arc<ClusterLoadAssignment>>,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        let mut applied = Applied::default();
        let Some((name, known)) = self.config.clusters.get_key_value(cluster) else {
            return Ok(applied);
        };
        let name = Arc::clone(name);
        let update = ClusterUpdate::new(Arc::clone(&known.cluster), endpoints);
        if let Some(prepared) = self.prepare(&name, &update, now)? {
            let gone = self.commit(prepared, &mut applied, now);
            self.tell_gone(&gone);
        }
        if let Some(before) = self.config.clusters.insert(name, update) {
            self.retire(Arc::new(before));
        }
        Ok(applied)
    }

    /// Ends the mesh: every call from now on is refused, and the endpoints are told that they are
    /// gone. They are given back, so that whoever drains can see their calls end.
    pub fn shut_down(&mut self) -> Vec<Arc<LiveEndpoint<A>>> {
        let snapshot = Snapshot { ended: true, ..Snapshot::initial() };
        let old = self.mesh.snapshot.swap(Arc::new(snapshot));
        self.retired.push(old);
        let sets = self.entries.values().map(|entry| Arc::clone(&entry.set));
        let endpoints = sets.flat_map(|set| set.endpoints.to_vec()).collect();
        self.remove_missing(&ConfigUpdate::default(), &mut Applied::default());
        self.config = ConfigUpdate::default();
        endpoints
    }

    /// The configuration in force.
    #[must_use]
    pub const fn config(&self) -> &ConfigUpdate {
        &self.config
    }

    /// Keeps what was replaced until [`free_retired`](Self::free_retired): freeing 100,000 endpoints
    /// takes longer than publishing them. Whoever never calls it is spared by a bound.
    fn retire(&mut self, version: Arc<dyn Any + Send + Sync>) {
        self.retired.push(version);
        if self.retired.len() > MAX_RETIRED {
            self.free_retired();
        }
    }

    /// Frees replaced versions that no call holds any more; the others wait for the next time. Call it
    /// when there is nothing more urgent, after every change.
    pub fn free_retired(&mut self) {
        self.retired.retain(|version| Arc::strong_count(version) > 1);
    }

    /// Builds what `update` makes of a cluster; `None`: nothing changed.
    fn prepare(
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

    /// Publishes what a cluster becomes, and says who is gone from it.
    fn commit(
        &mut self,
        prepared: Prepared<A>,
        applied: &mut Applied,
        now: Timestamp,
    ) -> Vec<Arc<LiveEndpoint<A>>> {
        let Prepared { name, mut entry, policy, is_new, is_reconfigured, removed, added } =
            prepared;
        applied.clusters_added += usize::from(is_new);
        applied.clusters_changed += usize::from(is_reconfigured);
        applied.endpoints_added += added;
        applied.endpoints_removed += removed.len();
        if is_reconfigured {
            entry.live.reconfigure(policy, &self.attach);
        }
        let rules = entry.update.cluster.outlier_detection.as_ref();
        if let Some(before) = self.entries.remove(&name) {
            entry.detector = before.detector;
        }
        if is_reconfigured {
            let turn = entry.detector.set_config(rules, &*entry.set, now);
            if turn.has_changes() {
                entry.take_ejections(&turn.changed, now);
            }
            applied.events.extend(turn.events);
        }
        self.publish_picker(&entry);
        self.entries.insert(name, entry);
        removed
    }

    fn tell_gone(&self, endpoints: &[Arc<LiveEndpoint<A>>]) {
        for endpoint in endpoints {
            self.attach.endpoint_removed(endpoint.attached());
        }
    }

    pub(super) fn publish_picker(&mut self, entry: &Entry<A>) {
        let picker = Picker { set: Arc::clone(&entry.set), balancer: entry.balancer.clone() };
        let old = entry.live.publish(picker, &self.attach);
        self.retire(old);
    }

    fn publish_snapshot(
        &mut self,
        before: &Arc<Snapshot<A>>,
        router: Option<Router>,
        update: &ConfigUpdate,
        now: Timestamp,
    ) {
        let (router, targets, clusters) = match router {
            Some(router) => {
                let kept = update.clusters.keys().filter_map(|name| self.entries.get(name));
                let clusters: BTreeMap<_, _> = kept
                    .map(|entry| (Arc::clone(entry.live.name()), Arc::clone(&entry.live)))
                    .collect();
                let targets = self.targets(&router, &clusters);
                (router, targets, Arc::new(clusters))
            }
            None => {
                let targets = Arc::clone(&before.targets);
                (before.router.clone(), targets, Arc::clone(&before.clusters))
            }
        };
        let snapshot = Snapshot {
            router,
            targets,
            clusters,
            origin: update.origin.clone(),
            mode: update.mode,
            unknown_hosts: update.unknown_hosts,
            generation: before.generation + 1,
            applied_at: Some(now),
            ended: false,
        };
        let old = self.mesh.snapshot.swap(Arc::new(snapshot));
        self.retire(old);
    }

    fn targets(
        &self,
        router: &Router,
        clusters: &BTreeMap<Arc<str>, Arc<LiveCluster<A>>>,
    ) -> Targets<A> {
        let targets = router.targets().map(|target| {
            let (route, forward) = (target.route, Arc::clone(target.route.forward()?));
            let cluster = clusters.get(target.cluster)?;
            let labels = TargetLabels::new(route.virtual_host(), route.name(), target.cluster);
            let attached = self.attach.target(cluster.attached(), labels);
            let (route, cluster) = (Arc::clone(route), Arc::clone(cluster));
            Some(Arc::new(Target { route, forward, cluster, split: target.split, attached }))
        });
        targets.collect()
    }

    fn remove_missing(&mut self, update: &ConfigUpdate, applied: &mut Applied) {
        let gone: Vec<_> =
            self.entries.keys().filter(|n| !update.clusters.contains_key(*n)).cloned().collect();
        for name in gone {
            let Some(entry) = self.entries.remove(&name) else { continue };
            applied.clusters_removed += 1;
            let gone = entry.set.distinct();
            applied.endpoints_removed += gone.len();
            self.tell_gone(&gone);
            self.attach.cluster_removed(entry.live.attached());
            self.slots.give_back(entry.live.slot());
            self.retire(entry.live);
        }
    }
}

impl<A: Attach> fmt::Debug for Updater<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updater").field("mesh", &self.mesh).finish_non_exhaustive()
    }
}

/// How many replaced versions are kept at most for whoever frees them.
const MAX_RETIRED: usize = 1024;

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
