//! What the cells are to the parts of the mesh that they hang on.

use super::cluster::{ClusterCells, LocalityCells};
use super::events::EjectionKind;
use super::target::TargetCells;
use mesh_core::event::OutlierKind;
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
