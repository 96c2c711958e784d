//! What the cells are to the parts of the mesh that they hang on.

use super::cluster::{ClusterCells, ClusterReading, LocalityCells, ReadCluster};
use super::events::EjectionKind;
use super::target::TargetCells;
use crate::net::Net;
use mesh_core::breaker::Resource;
use mesh_core::event::OutlierKind;
use mesh_core::model::RoutingPriority;
use mesh_core::state::LiveCluster;
use std::fmt;

impl From<OutlierKind> for EjectionKind {
    fn from(kind: OutlierKind) -> Self {
        match kind {
            OutlierKind::Consecutive5xx => Self::Consecutive5xx,
            OutlierKind::ConsecutiveGatewayFailure => Self::ConsecutiveGatewayFailure,
            OutlierKind::ConsecutiveLocalOriginFailure => Self::ConsecutiveLocalOriginFailure,
            OutlierKind::SuccessRate => Self::SuccessRate,
            OutlierKind::LocalOriginSuccessRate => Self::LocalOriginSuccessRate,
            OutlierKind::FailurePercentage => Self::FailurePercentage,
            OutlierKind::LocalOriginFailurePercentage => Self::LocalOriginFailurePercentage,
        }
    }
}

impl ReadCluster for LiveCluster<Net> {
    fn read(&self) -> ClusterReading {
        let picker = self.picker();
        let mut reading = ClusterReading::default();
        if let Some(balancer) = picker.balancer() {
            let counts = balancer.counts();
            let unhealthy = counts.unhealthy;
            reading.endpoints =
                [counts.healthy, counts.degraded, unhealthy, counts.draining, counts.ejected];
            reading.is_panic = balancer.priorities().iter().any(|priority| priority.panic);
        }
        let pending = |priority| self.breaker().active(priority, Resource::Pending);
        reading.pending = pending(RoutingPriority::Default) + pending(RoutingPriority::High);
        reading
    }
}

impl fmt::Debug for ClusterCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterCells").field("name", self.name()).finish_non_exhaustive()
    }
}

impl fmt::Debug for LocalityCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalityCells").field("cluster", self.cluster()).finish_non_exhaustive()
    }
}

impl fmt::Debug for TargetCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetCells").field("labels", self.labels()).finish_non_exhaustive()
    }
}
