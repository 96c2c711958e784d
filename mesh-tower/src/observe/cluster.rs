//! [`ClusterCells`]: the metrics of one cluster; [`LocalityCells`]: of its attempts in one locality.
//!
//! Whatever happens to a cluster is one method call on cells that the cluster, its localities and
//! its connections hold since they were built. What is a state and not an event (endpoints by health,
//! panic, attempts that wait) is not kept twice: the cells ask the cluster itself at export, through
//! [`ReadCluster`].

use super::cell::{Sharded, zeroes};
use super::code::{Code, CodeCounters, CodeTable};
use super::drops::Drops;
use super::events::{
    CONNECT_FAILURES, CloseReason, EjectionKind, EjectionOutcome, EndpointState, OVERFLOWS,
    RetryOutcome, Security, connect_failure_index, overflow_index,
};
use super::histogram::Histogram;
use super::load::{self, Loads, LocalityLoad};
use super::peers::Peers;
use super::phases::{Phase, Phases};
use super::registry::Registry;
use mesh_core::model::Locality;
use mesh_core::outcome::{ConnectFailure, Overflow};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

mod visit;

/// An attempt that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptRecord {
    /// How it ended.
    pub(crate) code: Code,
    /// From the pick of the endpoint to the end of the response body.
    pub(crate) duration: Duration,
    /// Of that, from the response's head on; `None`: there was no head.
    pub(crate) body: Option<Duration>,
}

/// The state of a cluster that its cells do not keep themselves.
pub(crate) trait ReadCluster: Send + Sync {
    /// The state now. Called at export, never on the call path.
    fn read(&self) -> ClusterReading;
}

/// The state of a cluster at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterReading {
    /// Number of endpoints by [`EndpointState`], in the order of its variants.
    pub(crate) endpoints: [u32; EndpointState::ALL.len()],
    /// Whether all endpoints are used because too few are healthy.
    pub(crate) is_panic: bool,
    /// Attempts that wait for a connection.
    pub(crate) pending: u32,
}

/// The cells of one cluster; 320 bytes until something happens to it.
pub(crate) struct ClusterCells {
    name: Arc<str>,
    registry: Weak<Registry>,
    shards: Sharded<ClusterBlock>,
    /// Codes of the attempts whose locality label is empty.
    unplaced: PlaceCells,
    localities: Mutex<BTreeMap<Arc<str>, Weak<LocalityCells>>>,
    reading: Mutex<Option<Weak<dyn ReadCluster>>>,
    /// Set by the first connection, and by the first attempt that is dropped.
    lists: OnceLock<Box<Lists>>,
    /// Set while its load is reported, and from then on.
    loads: OnceLock<Box<Loads>>,
}

/// Counts whose labels are known only when they are counted.
#[derive(Default)]
struct Lists {
    drops: Drops,
    peers: Peers,
}

struct ClusterBlock {
    attempts_started: AtomicU64,
    duration: Histogram,
    phases: [Histogram; Phase::ALL.len()],
    retries: [AtomicU64; RetryOutcome::ALL.len()],
    transparent_retries: AtomicU64,
    hedges: AtomicU64,
    overflows: [AtomicU64; OVERFLOWS],
    ejections: [[AtomicU64; EjectionOutcome::ALL.len()]; EjectionKind::ALL.len()],
    opened: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
    failed: [AtomicU64; CONNECT_FAILURES],
}

impl Default for ClusterBlock {
    fn default() -> Self {
        Self {
            attempts_started: AtomicU64::new(0),
            duration: Histogram::default(),
            phases: Default::default(),
            retries: zeroes(),
            transparent_retries: AtomicU64::new(0),
            hedges: AtomicU64::new(0),
            overflows: zeroes(),
            ejections: [const { zeroes() }; EjectionKind::ALL.len()],
            opened: AtomicU64::new(0),
            closed: zeroes(),
            failed: zeroes(),
        }
    }
}

impl ClusterCells {
    pub(super) fn new(name: Arc<str>, registry: Weak<Registry>) -> Self {
        Self {
            name,
            registry,
            shards: Sharded::default(),
            unplaced: PlaceCells::default(),
            localities: Mutex::default(),
            reading: Mutex::new(None),
            lists: OnceLock::new(),
            loads: OnceLock::new(),
        }
    }

    /// What it is registered under.
    pub(crate) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The cells of the attempts in `locality`: the same ones for the same locality while they live.
    /// For building a snapshot, not for the call path.
    pub(crate) fn locality(self: &Arc<Self>, locality: &Locality) -> Arc<LocalityCells> {
        let label = locality_label(locality);
        let mut localities = self.localities.lock();
        if let Some(cells) = localities.get(&label).and_then(Weak::upgrade) {
            return cells;
        }
        let own = (!label.is_empty()).then(PlaceCells::default);
        let (locality, cluster) = (locality.clone(), Arc::clone(self));
        let load = OnceLock::new();
        if let Some(loads) = self.loads.get() {
            load.get_or_init(|| loads.of(&locality));
        }
        let cells = LocalityCells { label: Arc::clone(&label), locality, cluster, own, load };
        let cells = Arc::new(cells);
        localities.insert(label, Arc::downgrade(&cells));
        cells
    }

    /// Says whom to ask for the cluster's state at export; the last one given is asked.
    pub(crate) fn read_from(&self, reading: Weak<dyn ReadCluster>) {
        *self.reading.lock() = Some(reading);
    }

    /// An attempt ended before it had an endpoint (overflow, nobody to pick, cancelled while waiting).
    pub(crate) fn attempt_unplaced(&self, code: Code) {
        self.unplaced.count(code);
    }

    /// Something became of a retry.
    pub(crate) fn retry(&self, outcome: RetryOutcome) {
        self.count(|block| &block.retries[outcome as usize]);
    }

    /// A request was sent again that the server had not processed (gRFC A6 "transparent retries").
    pub(crate) fn transparent_retry(&self) {
        self.count(|block| &block.transparent_retries);
    }

    /// An attempt was started beside one that was slow.
    pub(crate) fn hedge(&self) {
        self.count(|block| &block.hedges);
    }

    /// A circuit breaker refused.
    pub(crate) fn overflow(&self, limit: Overflow) {
        self.count(|block| &block.overflows[overflow_index(limit)]);
    }

    /// The cluster is overloaded, and an attempt was dropped for this category.
    pub(crate) fn dropped(&self, category: &Arc<str>) {
        self.lists.get_or_init(Box::default).drops.count(category);
    }

    /// The attempts that begin from now on are counted for load reports.
    pub(crate) fn report_load(&self) {
        let loads = self.loads.get_or_init(Box::default);
        // After that: a locality that is made meanwhile has seen it, or is among these.
        let live: Vec<_> = self.localities.lock().values().filter_map(Weak::upgrade).collect();
        for cells in &live {
            cells.load.get_or_init(|| loads.of(&cells.locality));
        }
    }

    /// The load that was counted for reports. Takes a lock: for a report, not for a call.
    pub(crate) fn load(&self) -> load::ClusterLoad {
        let refused = overflow_index(Overflow::Requests);
        load::ClusterLoad {
            localities: self.loads.get().map(|loads| loads.read()).unwrap_or_default(),
            drops: self.lists.get().map(|lists| lists.drops.read()).unwrap_or_default(),
            refused: self.shards.sum(|block| &block.overflows[refused]),
        }
    }

    /// Outlier detection found an endpoint.
    pub(crate) fn ejection(&self, kind: EjectionKind, outcome: EjectionOutcome) {
        self.count(|block| &block.ejections[kind as usize][outcome as usize]);
    }

    /// A connection became usable. [`connection_closed`](Self::connection_closed) must follow, once.
    pub(crate) fn connection_opened(&self, security: &Security, calls: &Arc<AtomicU64>) {
        self.count(|block| &block.opened);
        self.lists.get_or_init(Box::default).peers.count(security, Some(calls));
    }

    /// A connection that was usable ended.
    pub(crate) fn connection_closed(&self, reason: CloseReason) {
        self.count(|block| &block.closed[reason as usize]);
    }

    /// A connection never became usable.
    pub(crate) fn connection_failed(&self, reason: ConnectFailure) {
        self.count(|block| &block.failed[connect_failure_index(reason)]);
    }

    fn count(&self, counter: impl FnOnce(&ClusterBlock) -> &AtomicU64) {
        let block = self.shards.block();
        block.count(counter(&block));
    }

    /// Time was spent in these phases.
    pub(crate) fn phases(&self, phases: &Phases) {
        let block = self.shards.block();
        for (phase, duration) in phases.iter() {
            block.phases[phase as usize].record(block.access(), duration);
        }
    }

    /// Removes `gone`, unless its place is already taken by its successor.
    fn forget_locality(&self, gone: &LocalityCells) {
        let mut localities = self.localities.lock();
        if localities.get(&gone.label).is_some_and(|held| std::ptr::eq(held.as_ptr(), gone)) {
            localities.remove(&gone.label);
        }
    }
}

impl Drop for ClusterCells {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.forget_cluster(self);
        }
    }
}

/// The codes of the attempts in one place.
#[derive(Default)]
struct PlaceCells {
    codes: CodeTable,
    shards: Sharded<CodeCounters>,
}

impl PlaceCells {
    fn count(&self, code: Code) {
        let block = self.shards.block();
        block.count(self.codes.counter(&block, code));
    }
}

/// The cells of the attempts in one locality of a cluster; 272 bytes until the first attempt. Keeps the
/// cluster's cells alive.
#[expect(unnameable_types, reason = "what hangs on the live state is the mesh's own")]
pub struct LocalityCells {
    label: Arc<str>,
    locality: Locality,
    cluster: Arc<ClusterCells>,
    /// `None`: the empty locality, whose series the cluster's own attempts without a place share.
    own: Option<PlaceCells>,
    /// `None`: the load of the cluster is not reported.
    load: OnceLock<Arc<LocalityLoad>>,
}

impl LocalityCells {
    /// The cells of its cluster.
    pub(crate) const fn cluster(&self) -> &Arc<ClusterCells> {
        &self.cluster
    }

    /// The locality.
    pub(crate) const fn locality(&self) -> &Locality {
        &self.locality
    }

    /// An endpoint was picked. [`attempt_finished`](Self::attempt_finished) must follow, once; and, if it
    /// says that load is reported, [`load_ended`](Self::load_ended).
    #[must_use = "who is counted for load reports must be counted again at its end"]
    pub(crate) fn attempt_started(&self) -> bool {
        self.cluster.count(|block| &block.attempts_started);
        self.load.get().inspect(|load| load.issued()).is_some()
    }

    /// An attempt ended that is counted for load reports.
    pub(crate) fn load_ended(&self, failed: bool) {
        if let Some(load) = self.load.get() {
            load.ended(failed);
        }
    }

    /// An attempt that was started ended, however it did.
    pub(crate) fn attempt_finished(&self, attempt: &AttemptRecord) {
        self.own.as_ref().unwrap_or(&self.cluster.unplaced).count(attempt.code);
        let block = self.cluster.shards.block();
        block.duration.record(block.access(), attempt.duration);
        if let Some(body) = attempt.body {
            block.phases[Phase::Body as usize].record(block.access(), body);
        }
    }
}

impl Drop for LocalityCells {
    fn drop(&mut self) {
        self.cluster.forget_locality(self);
    }
}

/// `region/zone/sub_zone`, or the empty string when nothing is said.
fn locality_label(locality: &Locality) -> Arc<str> {
    let Locality { region, zone, sub_zone, .. } = locality;
    if region.is_empty() && zone.is_empty() && sub_zone.is_empty() {
        return Arc::from("");
    }
    Arc::from(format!("{region}/{zone}/{sub_zone}"))
}
