//! [`MeshCells`]: the metrics of the mesh as a whole, about its configuration.
//!
//! Nothing here is on the call path. The age of the configuration is given as the date at which it
//! was accepted: a reader subtracts, and nothing here needs a clock.

use super::cell::zeroes;
use super::egress::EgressLog;
use super::names::{Metric, label_values};
use super::registry::{Value, Visit};
use mesh_core::WallTime;
use mesh_core::update::Origin;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

label_values! {
    /// What became of a configuration (label `outcome` of `mesh_config_updates_total`).
    pub(crate) enum UpdateOutcome {
        /// It is in force, at least in part.
        Applied = "applied",
        /// It is what was in force already.
        Unchanged = "unchanged",
        /// It was refused as a whole; the last good one stays.
        Rejected = "rejected",
    }
}

/// The cells of the whole mesh.
pub(crate) struct MeshCells {
    in_force: Mutex<Option<(Origin, WallTime)>>,
    updates: [AtomicU64; UpdateOutcome::ALL.len()],
    rejected_resources: AtomicU64,
    connected: AtomicU8,
    /// Seconds since the Unix epoch; 0: nothing is stale.
    stale: AtomicU64,
    swaps: AtomicU64,
    egress: EgressLog,
}

const UNKNOWN: u8 = 2;

impl Default for MeshCells {
    fn default() -> Self {
        Self {
            in_force: Mutex::new(None),
            updates: zeroes(),
            rejected_resources: AtomicU64::new(0),
            connected: AtomicU8::new(UNKNOWN),
            stale: AtomicU64::new(0),
            swaps: AtomicU64::new(0),
            egress: EgressLog::default(),
        }
    }
}

impl MeshCells {
    /// A configuration is in force since `at`.
    pub(crate) fn applied(&self, origin: &Origin, at: WallTime) {
        *self.in_force.lock() = Some((origin.clone(), at));
        self.count(UpdateOutcome::Applied);
    }

    /// A source gave what was in force already.
    pub(crate) fn unchanged(&self) {
        self.count(UpdateOutcome::Unchanged);
    }

    /// A configuration was refused as a whole.
    pub(crate) fn rejected(&self) {
        self.count(UpdateOutcome::Rejected);
    }

    /// How many files or resources are refused now, but for those that the source itself knows of; a
    /// configuration that is refused as a whole is one.
    pub(crate) fn rejected_resources(&self, number: u64) {
        self.rejected_resources.store(number, Ordering::Relaxed);
    }

    /// Whether the source can be reached.
    pub(crate) fn connected(&self, connected: bool) {
        self.connected.store(u8::from(connected), Ordering::Relaxed);
    }

    /// The configuration in force is a copy from then; `None`: it is not.
    pub(crate) fn stale(&self, since: Option<WallTime>) {
        self.stale.store(since.map_or(0, WallTime::as_unix_seconds), Ordering::Relaxed);
    }

    /// Calls to destinations that no virtual host serves.
    pub(crate) const fn egress(&self) -> &EgressLog {
        &self.egress
    }

    /// A snapshot was published.
    pub(crate) fn snapshot_swapped(&self) {
        self.swaps.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, outcome: UpdateOutcome) {
        self.updates[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Gives `visit` how many resources are refused; `more`: those that the source itself knows of.
    pub(super) fn visit_rejected(&self, more: u64, visit: &mut Visit<'_>) {
        let refused = self.rejected_resources.load(Ordering::Relaxed).saturating_add(more);
        visit(&[], Value::Number(refused));
    }

    /// Gives `visit` all series of `metric`.
    pub(super) fn visit(&self, metric: Metric, visit: &mut Visit<'_>) {
        let number = |cell: &AtomicU64| Value::Number(cell.load(Ordering::Relaxed));
        match metric {
            Metric::Configuration => {
                if let Some((Origin { source, version, .. }, _)) = self.in_force.lock().clone() {
                    visit(&[&source, &version], Value::Number(1));
                }
            }
            Metric::ConfigurationApplied => {
                if let Some((_, at)) = self.in_force.lock().clone() {
                    visit(&[], Value::Number(at.as_unix_seconds()));
                }
            }
            Metric::ConfigurationUpdates => {
                for (outcome, cell) in UpdateOutcome::ALL.iter().zip(&self.updates) {
                    visit(&[outcome.as_str()], number(cell));
                }
            }
            Metric::SourceConnected => match self.connected.load(Ordering::Relaxed) {
                UNKNOWN => {}
                connected => visit(&[], Value::Number(u64::from(connected))),
            },
            Metric::ConfigurationStale => match self.stale.load(Ordering::Relaxed) {
                0 => {}
                since => visit(&[], Value::Number(since)),
            },
            Metric::SnapshotSwaps => visit(&[], number(&self.swaps)),
            Metric::EgressCalls => self.egress.visit(|outcome, rule, calls| {
                visit(&[outcome, rule], Value::Number(calls));
            }),
            _ => {}
        }
    }
}
