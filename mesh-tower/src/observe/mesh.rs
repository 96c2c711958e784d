//! [`MeshCells`]: the metrics of the mesh as a whole, about its configuration.
//!
//! Nothing here is on the call path. The age of the configuration is given as the date at which it
//! was accepted: a reader subtracts, and nothing here needs a clock.

use super::cell::zeroes;
use super::egress::EgressLog;
use super::names::{Metric, label_values};
use super::registry::{Value, Visit};
use mesh_core::WallTime;
use mesh_core::overload::{Reading, Resource};
use mesh_core::update::Origin;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

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
    overload: OverloadCells,
}

const UNKNOWN: u8 = 2;

/// What the process uses of its limits, and what is refused because of it, by resource. Servers look here, too.
pub(crate) struct OverloadCells {
    resources: [ResourceCells; Resource::ALL.len()],
    /// How many connections may be accepted before it is read again.
    room: AtomicI64,
}

impl Default for OverloadCells {
    fn default() -> Self {
        Self { resources: Default::default(), room: AtomicI64::new(i64::MAX) }
    }
}

#[derive(Default)]
struct ResourceCells {
    /// Per cent of the limit, and one; 0: there is no limit, or nobody reads.
    used: AtomicU64,
    refuses: AtomicBool,
    begun: AtomicU64,
}

impl OverloadCells {
    fn of(&self, resource: Resource) -> &ResourceCells {
        &self.resources[resource as usize]
    }

    /// A resource was read.
    pub(crate) fn read(&self, resource: Resource, reading: Option<Reading>) {
        let used = reading.map_or(0, |reading| reading.per_cent().saturating_add(1));
        self.of(resource).used.store(used, Ordering::Relaxed);
    }

    /// Work is refused from now on for want of it, or is not any more.
    pub(crate) fn turn(&self, resource: Resource, refuses: bool) {
        self.of(resource).refuses.store(refuses, Ordering::Relaxed);
        self.of(resource).begun.fetch_add(u64::from(refuses), Ordering::Relaxed);
    }

    /// How much of a limit is used, in per cent; `None`: there is none, or nobody reads.
    pub(crate) fn used(&self, resource: Resource) -> Option<u64> {
        self.of(resource).used.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Whether work is refused for want of it.
    pub(crate) fn refuses(&self, resource: Resource) -> bool {
        self.of(resource).refuses.load(Ordering::Relaxed)
    }

    /// So many connections may be accepted before it is read again; `None`: any number.
    pub(crate) fn room(&self, connections: Option<u64>) {
        let room = connections.map_or(i64::MAX, |room| i64::try_from(room).unwrap_or(i64::MAX));
        self.room.store(room, Ordering::Relaxed);
    }

    /// Whether a connection is to be taken; it is counted then.
    pub(crate) fn takes_connection(&self) -> bool {
        let refuses = Resource::ALL.into_iter().any(|resource| self.refuses(resource));
        !refuses && self.room.fetch_sub(1, Ordering::Relaxed) > 0
    }

    /// Whether requests are refused.
    pub(crate) fn refuses_requests(&self) -> bool {
        self.refuses(Resource::Memory)
    }

    fn visit(&self, metric: Metric, visit: &mut Visit<'_>) {
        for resource in Resource::ALL {
            let Some(used) = self.used(resource) else { continue };
            let value = match metric {
                Metric::OverloadUsed => used,
                Metric::OverloadRefusing => u64::from(self.refuses(resource)),
                _ => self.of(resource).begun.load(Ordering::Relaxed),
            };
            visit(&[resource.as_str()], Value::Number(value));
        }
    }
}

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
            overload: OverloadCells::default(),
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

    /// What the process uses of its limits.
    pub(crate) const fn overload(&self) -> &OverloadCells {
        &self.overload
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
            Metric::OverloadUsed | Metric::OverloadRefusing | Metric::OverloadBegun => {
                self.overload.visit(metric, visit);
            }
            Metric::SnapshotSwaps => visit(&[], number(&self.swaps)),
            Metric::EgressCalls | Metric::EgressConnections => {
                self.egress.visit(metric, |outcome, rule, times| {
                    visit(&[outcome, rule], Value::Number(times));
                });
            }
            _ => {}
        }
    }
}
