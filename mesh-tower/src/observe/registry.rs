//! [`Registry`]: which cells are alive, for those who build snapshots and for exporters.
//!
//! The same labels give the same cells while anybody holds them, so counts go on from one snapshot to
//! the next. The registry itself holds none: with the last snapshot that names a cluster or a route,
//! and the last call that runs on it, its series are gone. So the number of series is bounded by the
//! configuration, and by nothing that a request says.
//!
//! Its locks are taken when snapshots are built, when cells are dropped and at export, where they are
//! held while pointers are copied and not while text is written. Calls never come here.

use super::access_log;
use super::cluster::ClusterCells;
use super::exported::ExportCells;
use super::histogram::HistogramSnapshot;
use super::history::History;
use super::identity::IdentityCells;
use super::mesh::MeshCells;
use super::names::{Metric, Owner};
use super::port::PortCells;
use super::server::ListenerCells;
use super::source::SourceCells;
use super::spans::Spans;
use super::target::{TargetCells, TargetLabels};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

/// The live cells of a mesh.
#[derive(Default)]
pub(crate) struct Registry {
    targets: Mutex<BTreeMap<TargetLabels, Weak<TargetCells>>>,
    clusters: Mutex<BTreeMap<Arc<str>, Weak<ClusterCells>>>,
    ports: Mutex<BTreeMap<Arc<str>, Arc<PortCells>>>,
    mesh: MeshCells,
    source: Arc<SourceCells>,
    identities: IdentityCells,
    history: History,
    servers: Mutex<BTreeMap<Arc<str>, Arc<ListenerCells>>>,
    access_logs: Mutex<Vec<Arc<access_log::State>>>,
    exported: Arc<ExportCells>,
    spans: OnceLock<Arc<Spans>>,
}

/// The value of one series.
pub(super) enum Value<'a> {
    /// Of a counter or a gauge.
    Number(u64),
    /// Of a histogram.
    Histogram(&'a HistogramSnapshot),
}

/// Takes one series: label values in the order of [`Metric::labels`], and the value.
pub(super) type Visit<'a> = dyn FnMut(&[&str], Value<'_>) + 'a;

impl Registry {
    /// No cells yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The cells of one route and cluster, and with them the cluster's.
    pub(crate) fn target(self: &Arc<Self>, labels: &TargetLabels) -> Arc<TargetCells> {
        // First, so that no two locks are held at once.
        let cluster = (!labels.cluster.is_empty()).then(|| self.cluster(&labels.cluster));
        let mut targets = self.targets.lock();
        if let Some(cells) = targets.get(labels).and_then(Weak::upgrade) {
            return cells;
        }
        let cells = Arc::new(TargetCells::new(labels.clone(), cluster, Arc::downgrade(self)));
        targets.insert(labels.clone(), Arc::downgrade(&cells));
        cells
    }

    /// The cells of one cluster.
    pub(crate) fn cluster(self: &Arc<Self>, name: &Arc<str>) -> Arc<ClusterCells> {
        let mut clusters = self.clusters.lock();
        if let Some(cells) = clusters.get(name).and_then(Weak::upgrade) {
            return cells;
        }
        let cells = Arc::new(ClusterCells::new(Arc::clone(name), Arc::downgrade(self)));
        clusters.insert(Arc::clone(name), Arc::downgrade(&cells));
        cells
    }

    /// The cells of one listener. They stay when its server ends: what it counted has happened. There are as
    /// many as a program has names for its servers.
    pub(crate) fn listener(&self, name: &Arc<str>) -> Arc<ListenerCells> {
        let mut servers = self.servers.lock();
        let cells = servers.entry(Arc::clone(name));
        Arc::clone(cells.or_insert_with(|| Arc::new(ListenerCells::new(Arc::clone(name)))))
    }

    /// The cells of one port that serves. They stay, too.
    pub(crate) fn port(&self, name: &Arc<str>) -> Arc<PortCells> {
        let mut ports = self.ports.lock();
        let cells = ports.entry(Arc::clone(name));
        Arc::clone(cells.or_insert_with(|| Arc::new(PortCells::new(Arc::clone(name)))))
    }

    /// Calls by virtual host: how many were begun, and whether any is in flight.
    pub(crate) fn calls_by_virtual_host(&self) -> BTreeMap<Arc<str>, (u64, bool)> {
        let mut calls: BTreeMap<Arc<str>, (u64, bool)> = BTreeMap::new();
        for cells in live(&self.targets) {
            let (begun, is_busy) = cells.use_so_far();
            let host = calls.entry(Arc::clone(&cells.labels().virtual_host)).or_default();
            *host = (host.0.wrapping_add(begun), host.1 || is_busy);
        }
        calls
    }

    /// The cells of the mesh as a whole.
    pub(crate) const fn mesh(&self) -> &MeshCells {
        &self.mesh
    }

    /// The cells of where the configuration comes from.
    pub(crate) const fn source(&self) -> &Arc<SourceCells> {
        &self.source
    }

    /// Who the mesh is.
    #[cfg_attr(not(any(feature = "tls", test)), expect(dead_code, reason = "nobody has one"))]
    pub(crate) const fn identities(&self) -> &IdentityCells {
        &self.identities
    }

    /// The last configurations.
    pub(crate) const fn history(&self) -> &History {
        &self.history
    }

    /// Reads the lines of an access log from now on.
    pub(crate) fn access_log(&self, state: &Arc<access_log::State>) {
        let mut logs = self.access_logs.lock();
        if !logs.iter().any(|known| Arc::ptr_eq(known, state)) {
            logs.push(Arc::clone(state));
        }
    }

    /// What became of the telemetry that is sent to a collector.
    #[cfg_attr(not(any(feature = "otlp", test)), expect(dead_code, reason = "nothing is sent"))]
    pub(crate) const fn exported(&self) -> &Arc<ExportCells> {
        &self.exported
    }

    /// Where spans go; `None`: nobody wants them.
    pub(crate) fn spans(&self) -> Option<&Arc<Spans>> {
        self.spans.get()
    }

    /// Spans go there from now on; false: they go elsewhere already.
    #[cfg_attr(not(any(feature = "otlp", test)), expect(dead_code, reason = "nothing is sent"))]
    pub(crate) fn set_spans(&self, spans: Arc<Spans>) -> bool {
        self.spans.set(spans).is_ok()
    }

    /// Appends everything as Prometheus text.
    pub(crate) fn prometheus(&self, out: &mut String) {
        super::prometheus::write(self, out);
    }

    /// Gives `visit` all series of `metric`, in the order of their owners' names.
    pub(super) fn visit(&self, metric: Metric, visit: &mut Visit<'_>) {
        match metric.owner() {
            Owner::Target => {
                live(&self.targets).iter().for_each(|cells| cells.visit(metric, visit));
            }
            Owner::Cluster => {
                live(&self.clusters).iter().for_each(|cells| cells.visit(metric, visit));
            }
            Owner::Mesh => {
                if metric == Metric::ConfigurationRejected {
                    let refused = self.source.refused().unwrap_or(0);
                    return self.mesh.visit_rejected(refused, visit);
                }
                self.mesh.visit(metric, visit);
            }
            Owner::Source => self.source.visit(metric, visit),
            Owner::Server => {
                held(&self.servers).iter().for_each(|cells| cells.visit(metric, visit));
            }
            Owner::Port => {
                held(&self.ports).iter().for_each(|cells| cells.visit(metric, visit));
            }
            Owner::Identity => self.identities.visit(metric, visit),
            Owner::AccessLog => {
                let logs = self.access_logs.lock().clone();
                access_log::visit(&logs, metric, visit);
            }
            Owner::Telemetry => self.exported.visit(metric, visit),
        }
    }

    // The cells that are dropped may already have a successor of the same name.

    pub(super) fn forget_target(&self, gone: &TargetCells) {
        let mut targets = self.targets.lock();
        if targets.get(gone.labels()).is_some_and(|held| std::ptr::eq(held.as_ptr(), gone)) {
            targets.remove(gone.labels());
        }
    }

    pub(super) fn forget_cluster(&self, gone: &ClusterCells) {
        let mut clusters = self.clusters.lock();
        if clusters.get(gone.name()).is_some_and(|held| std::ptr::eq(held.as_ptr(), gone)) {
            clusters.remove(gone.name());
        }
    }
}

/// Copies the pointers under the lock.
fn held<V>(cells: &Mutex<BTreeMap<Arc<str>, Arc<V>>>) -> Vec<Arc<V>> {
    cells.lock().values().map(Arc::clone).collect()
}

/// Copies the pointers under the lock. They are let go of after it, because dropping the last one
/// takes the lock again.
fn live<K, V>(cells: &Mutex<BTreeMap<K, Weak<V>>>) -> Vec<Arc<V>> {
    cells.lock().values().filter_map(Weak::upgrade).collect()
}

#[cfg(test)]
mod tests;
