//! [`Updater`], the write handle: a configuration comes in here and is taken whole, or not at all.

use super::address_filter::AddressFilter;
use super::leaving::{Leaving, Left};
use super::listeners;
use super::mesh::Published;
use super::overflow::OverflowWatch;
use super::prepare::Prepared;
use super::slots::{FreeSlots, Slots};
use super::snapshot::Listeners;
use super::tables::{self, Routers};
use super::{
    Applied, ApplyError, Attach, EndpointSet, LiveCluster, LiveEndpoint, Mesh, Picker, Snapshot,
};
use crate::lb::{Balancer, EjectedBits, Pick};
use crate::model::{ClusterLoadAssignment, Discovery, RouteConfiguration, VirtualHost};
use crate::outlier::Detector;
use crate::router::Router;
use crate::time::Timestamp;
use crate::update::{ClusterUpdate, ConfigUpdate, EndpointsUpdate, Secrets};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};

/// The write handle: one per mesh, the only one that publishes.
///
/// A configuration is taken whole or not at all: everything that can fail is built first, then pickers
/// are published, then the snapshot, then what is gone is told so (make before break). What was
/// replaced is kept until no call holds it, and freed here.
pub struct Updater<A: Attach> {
    pub(super) mesh: Mesh<A>,
    pub(super) attach: A,
    pub(super) entries: BTreeMap<Arc<str>, Entry<A>>,
    pub(super) config: ConfigUpdate,
    /// What the adapter was told of: those of the configuration, and of clusters that are leaving.
    pub(super) secrets: Arc<Secrets>,
    pub(super) custom: BTreeMap<Arc<str>, Arc<dyn Pick>>,
    pub(super) retired: Vec<Arc<dyn Any + Send + Sync>>,
    pub(super) slots: FreeSlots,
    pub(super) next_endpoint: u64,
    /// Clusters that calls have marked.
    pub(super) marks: (Sender<Arc<str>>, Receiver<Arc<str>>),
    /// When which cluster wants to be looked at.
    pub(super) due: BTreeSet<(Timestamp, Arc<str>)>,
    /// Clusters that are no longer configured, and still serve calls.
    pub(super) leaving: Leaving<A>,
    /// Removed endpoints that still serve calls, for whoever drains.
    pub(super) departed: Vec<Weak<LiveEndpoint<A>>>,
    /// Where round robin begins comes from this and the cluster's name.
    pub(super) seed: u64,
}

/// What can fail and is not a cluster's, built; `None`: it does not change.
#[derive(Default)]
pub(super) struct Built {
    pub(super) router: Option<Router>,
    /// The routes of filter chains.
    pub(super) tables: Option<Routers>,
    pub(super) listeners: Option<Listeners>,
}

/// A cluster as the writer sees it.
#[derive(Debug)]
pub(super) struct Entry<A: Attach> {
    pub(super) live: Arc<LiveCluster<A>>,
    pub(super) update: ClusterUpdate,
    pub(super) set: Arc<EndpointSet<A>>,
    pub(super) balancer: Option<Balancer>,
    pub(super) detector: Detector,
    /// Which of its endpoints are ejected.
    pub(super) ejected: EjectedBits,
    /// `None`: its endpoints are few.
    pub(super) filter: Option<AddressFilter>,
    pub(super) overflows: OverflowWatch,
    /// When it is looked at next; it stands in [`Updater::due`] with that.
    pub(super) due: Option<Timestamp>,
}

impl<A: Attach> Updater<A> {
    /// A mesh without configuration, and its two handles. Round robin begins with the first endpoint of
    /// each cluster; see [`seeded`](Self::seeded).
    #[must_use]
    pub fn new(attach: A) -> (Self, Mesh<A>) {
        Self::seeded(attach, 0)
    }

    /// The same with a seed: a random number, so that the processes of a fleet do not all begin their
    /// round robin with the same endpoint. 0: none.
    #[must_use]
    pub fn seeded(attach: A, seed: u64) -> (Self, Mesh<A>) {
        let mesh = Mesh { published: Arc::new(Published::new(Snapshot::initial())) };
        let updater = Self {
            mesh: mesh.clone(),
            attach,
            entries: BTreeMap::new(),
            config: ConfigUpdate::default(),
            secrets: Arc::default(),
            custom: BTreeMap::new(),
            retired: Vec::new(),
            slots: FreeSlots::default(),
            next_endpoint: 0,
            marks: channel(),
            due: BTreeSet::new(),
            leaving: Leaving::default(),
            departed: Vec::new(),
            seed,
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
    pub fn apply(
        &mut self,
        mut update: ConfigUpdate,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        let before = self.mesh.published.load_full();
        let (routes, next) = (&self.config.route_configuration, &mut update.route_configuration);
        let same_routes = adopt_routes(routes, next) && before.applied_at.is_some();
        let same_secrets = self.adopt_secrets(&mut update);
        self.take_back(&update);
        let slots = self.slots.clone();
        let built = match self.build(&mut update, &before, same_routes, now) {
            Ok(built) => built,
            Err(error) => {
                self.slots = slots;
                // Those that were taken back leave again.
                let config = self.config.clone();
                self.remove_missing(&config, &mut Applied::default(), now);
                return Err(error);
            }
        };
        let (prepared, built) = built;

        let (routes_changed, secrets_changed) = (!same_routes, !same_secrets);
        let mut applied = Applied { routes_changed, secrets_changed, ..Applied::default() };
        self.open_secrets(&update.secrets);
        let mut gone = Vec::new();
        for prepared in prepared {
            gone.extend(self.commit(prepared, &mut applied, now));
        }
        applied.listeners_changed = built.listeners.is_some();
        let settings_changed = before.mode != update.mode
            || (self.config.unknown_hosts, &self.config.egress)
                != (update.unknown_hosts, &update.egress)
            || before.on_demand != update.on_demand
            || before.absent_listeners != update.absent_listeners
            || secrets_changed
            || built.listeners.is_some()
            || before.origin != update.origin;
        if built.router.is_some() || settings_changed {
            self.publish_snapshot(&before, built, &update, now);
        }
        // Or it would count as held by a call below.
        drop(before);
        self.tell_gone(&gone);
        self.remove_missing(&update, &mut applied, now);
        let before = std::mem::replace(&mut self.config, update);
        self.settle_secrets();
        self.retire(Arc::new(before));
        Ok(applied)
    }

    /// Builds everything that can fail: what becomes of clusters, and router and listeners if they change.
    fn build(
        &mut self,
        update: &mut ConfigUpdate,
        before: &Snapshot<A>,
        same_routes: bool,
        now: Timestamp,
    ) -> Result<(Vec<Prepared<A>>, Built), ApplyError> {
        let listeners = listeners::next(&before.listeners, &mut update.listeners)?;
        let mut prepared = Vec::new();
        for (name, cluster) in &mut update.clusters {
            prepared.extend(self.prepare(name, cluster, now)?);
        }
        let membership_changed = prepared.iter().any(|prepared| prepared.is_new)
            || self.entries.keys().any(|name| !update.clusters.contains_key(name));
        let aggregates_changed = prepared.iter().any(|prepared| self.changes_children(prepared));
        let same_targets = !membership_changed && !aggregates_changed;
        let mut built = Built { listeners, ..Built::default() };
        if same_routes && same_targets && built.listeners.is_none() {
            return Ok((prepared, built));
        }
        let slots = Slots::new(&self.entries, prepared.iter().map(|p| &*p.entry.live), update);
        if !same_routes || !same_targets {
            let router = Router::compile(&update.route_configuration, &slots, Some(&before.router));
            built.router = Some(router.map_err(ApplyError::Routes)?);
        }
        if built.listeners.is_some() || !same_targets {
            let listeners = built.listeners.as_ref().unwrap_or(&before.listeners);
            built.tables = Some(tables::compile(listeners, &slots, before)?);
        }
        Ok((prepared, built))
    }

    /// Whether targets of the cluster have other children now.
    fn changes_children(&self, prepared: &Prepared<A>) -> bool {
        let is_aggregate = |one: &Discovery| matches!(one, Discovery::Aggregate(_));
        let after = &prepared.entry.update.cluster.discovery;
        self.entries.get(&prepared.name).is_some_and(|known| {
            let before = &known.update.cluster.discovery;
            before != after && (is_aggregate(before) || is_aggregate(after))
        })
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
        self.replace_endpoints([(cluster, endpoints)], now)
    }

    /// Replaces the endpoints of some clusters, all or none, secrets, and what the configuration is called.
    /// The rest of it stays, and is not looked at.
    ///
    /// # Errors
    /// [`ApplyError::Balancing`] when one can't be balanced over its new endpoints; the secrets stay, too.
    pub fn apply_endpoints_update(
        &mut self,
        update: &EndpointsUpdate,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        let EndpointsUpdate { origin, clusters, secrets } = update;
        let clusters = clusters.iter().map(|(name, endpoints)| (&**name, endpoints.clone()));
        let mut applied = self.replace_endpoints(clusters, now)?;
        applied.secrets_changed = self.replace_secrets(secrets);
        if self.config.origin != *origin || applied.secrets_changed {
            let before = self.mesh.published.load_full();
            let mut config = std::mem::take(&mut self.config);
            config.origin = origin.clone();
            self.publish_snapshot(&before, Built::default(), &config, now);
            self.config = config;
        }
        Ok(applied)
    }

    fn replace_endpoints<'n>(
        &mut self,
        clusters: impl IntoIterator<Item = (&'n str, Option<Arc<ClusterLoadAssignment>>)>,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        let (mut prepared, mut updates) = (Vec::new(), Vec::new());
        for (name, endpoints) in clusters {
            let Some((name, known)) = self.config.clusters.get_key_value(name) else { continue };
            let name = Arc::clone(name);
            let mut update = ClusterUpdate::new(Arc::clone(&known.cluster), endpoints);
            prepared.extend(self.prepare(&name, &mut update, now)?);
            updates.push((name, update));
        }
        let (mut applied, mut gone) = (Applied::default(), Vec::new());
        for prepared in prepared {
            gone.extend(self.commit(prepared, &mut applied, now));
        }
        self.tell_gone(&gone);
        for (name, update) in updates {
            if let Some(before) = self.config.clusters.insert(name, update) {
                self.retire(Arc::new(before));
            }
        }
        Ok(applied)
    }

    /// Ends the mesh: every call from now on is refused, and the endpoints are told that they are
    /// gone. They are given back, with those that were removed before and still serve calls, so that
    /// whoever drains can see their calls end.
    pub fn shut_down(&mut self) -> Vec<Arc<LiveEndpoint<A>>> {
        let snapshot = Snapshot { ended: true, ..Snapshot::initial() };
        let old = self.mesh.published.swap(snapshot);
        self.retired.push(old);
        self.remove_missing(&ConfigUpdate::default(), &mut Applied::default(), Timestamp::ZERO);
        self.let_go(true);
        self.config = ConfigUpdate::default();
        self.departed.drain(..).filter_map(|endpoint| endpoint.upgrade()).collect()
    }

    /// The configuration in force.
    #[must_use]
    pub const fn config(&self) -> &ConfigUpdate {
        &self.config
    }

    /// Keeps what was replaced until [`free_retired`](Self::free_retired): freeing 100,000 endpoints
    /// takes longer than publishing them. Whoever never calls it is spared by a bound.
    pub(super) fn retire(&mut self, version: Arc<dyn Any + Send + Sync>) {
        self.retired.push(version);
        if self.retired.len() > MAX_RETIRED {
            self.free_retired();
        }
    }

    /// Frees replaced versions that no call holds any more; the others wait for the next time. Call it
    /// when there is nothing more urgent, after every change.
    pub fn free_retired(&mut self) {
        self.retired.retain(|version| Arc::strong_count(version) > 1);
        if self.let_go(false) {
            self.retired.retain(|version| Arc::strong_count(version) > 1);
            self.settle_secrets();
        }
        self.departed.retain(|endpoint| endpoint.strong_count() > 0);
    }
}

impl<A: Attach> Updater<A> {
    /// Clusters that were leaving, and are configured again: with their endpoints, connections and
    /// counts.
    fn take_back(&mut self, update: &ConfigUpdate) {
        for mut entry in self.leaving.take_back(|name| update.clusters.contains_key(name)) {
            let name = Arc::clone(entry.live.name());
            self.publish_picker(&entry, &mut Vec::new());
            self.arm(&name, &mut entry);
            self.entries.insert(name, entry);
        }
    }

    /// Ends clusters that have left: nobody holds them any more, or with `all`, whoever does. Whether
    /// there were any.
    fn let_go(&mut self, all: bool) -> bool {
        let left = self.leaving.take_left(all);
        let any = !left.is_empty();
        for Left { entry, endpoints } in left {
            // Who still comes finds nobody.
            let old = entry.live.publish(Picker::gone(), &self.attach);
            self.retired.push(old);
            self.tell_gone(&endpoints);
            self.attach.cluster_removed(entry.live.attached());
            self.slots.give_back(entry.live.slot());
            self.retired.push(entry.live);
        }
        any
    }
}

impl<A: Attach> fmt::Debug for Updater<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updater").field("mesh", &self.mesh).finish_non_exhaustive()
    }
}

/// How many replaced versions are kept at most for whoever frees them.
const MAX_RETIRED: usize = 1024;

/// Puts routes that are in force in the place of equal ones: all of them, which is true, or the
/// virtual hosts that are equal, so that only the others are compiled.
fn adopt_routes(known: &Arc<RouteConfiguration>, next: &mut Arc<RouteConfiguration>) -> bool {
    if Arc::ptr_eq(known, next) {
        return true;
    }
    let hosts: BTreeMap<&str, &Arc<VirtualHost>> =
        known.virtual_hosts.iter().map(|host| (&*host.name, host)).collect();
    // One name may stand for several: a source on demand has one for each authority.
    let pointers: BTreeSet<_> = known.virtual_hosts.iter().map(Arc::as_ptr).collect();
    let equal = |host: &Arc<VirtualHost>| {
        if pointers.contains(&Arc::as_ptr(host)) {
            return Some(Arc::clone(host));
        }
        let known = *hosts.get(&*host.name)?;
        (known == host).then(|| Arc::clone(known))
    };
    let adopted: Vec<_> = next.virtual_hosts.iter().map(equal).collect();
    let is_same = (&next.name, &next.headers) == (&known.name, &known.headers)
        && adopted.len() == known.virtual_hosts.len()
        && adopted
            .iter()
            .zip(&known.virtual_hosts)
            .all(|(adopted, known)| adopted.as_ref().is_some_and(|host| Arc::ptr_eq(host, known)));
    if is_same {
        next.clone_from(known);
        return true;
    }
    let mut adopting = adopted.into_iter().enumerate().filter_map(|(at, host)| Some((at, host?)));
    if let Some(first) = adopting.next() {
        let next = Arc::make_mut(next);
        for (at, host) in std::iter::once(first).chain(adopting) {
            next.virtual_hosts[at] = host;
        }
    }
    false
}
