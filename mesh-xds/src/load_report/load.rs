//! What was counted of a cluster: totals that only grow.

use mesh_core::model::Locality;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What load is reported under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct LoadKey {
    /// The cluster.
    pub cluster: Arc<str>,
    /// The name of its endpoints (EDS); `None`: they come from elsewhere.
    pub service: Option<Arc<str>>,
}

/// What was counted of a cluster, since it was watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterLoad {
    /// By locality. One that is missing has nothing new.
    pub localities: BTreeMap<Locality, LocalityLoad>,
    /// Attempts that were dropped, by category (`drop_overloads`).
    pub drops: BTreeMap<Arc<str>, u64>,
    /// Attempts that the circuit breaker refused: they have no category.
    pub refused: u64,
}

/// What was counted of one locality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalityLoad {
    /// Attempts that began, in all.
    pub issued: u64,
    /// Those that ended well, in all.
    pub succeeded: u64,
    /// Those that failed, in all.
    pub failed: u64,
    /// Those that have not ended, now.
    pub in_progress: u64,
}

impl ClusterLoad {
    /// Whether nothing is in progress.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.localities.values().all(|load| load.in_progress == 0)
    }
}

impl LocalityLoad {
    /// So many that began, ended well, failed, and have not ended.
    #[must_use]
    pub const fn new(issued: u64, succeeded: u64, failed: u64, in_progress: u64) -> Self {
        Self { issued, succeeded, failed, in_progress }
    }
}

impl LoadKey {
    /// A cluster whose endpoints do not come from EDS.
    #[must_use]
    pub fn new(cluster: impl Into<Arc<str>>) -> Self {
        Self { cluster: cluster.into(), service: None }
    }

    /// With the name of its endpoints.
    #[must_use]
    pub fn with_service(mut self, service: impl Into<Arc<str>>) -> Self {
        self.service = Some(service.into());
        self
    }
}
