//! [`EndpointView`]: an endpoint, what it is good for, and why.

use crate::connect::Connections;
use crate::net::Net;
use crate::observe::events::EndpointState;
use mesh_core::Timestamp;
use mesh_core::model::{Address, Endpoint, HealthStatus, Locality, LocalityEndpoints};
use mesh_core::state::LiveEndpoint;
use std::sync::Arc;

/// An endpoint at one moment.
#[derive(Clone, Debug)]
pub(in crate::admin) struct EndpointView {
    pub(in crate::admin) address: Address,
    pub(in crate::admin) hostname: Option<Arc<str>>,
    pub(in crate::admin) state: EndpointState,
    /// What the configuration says of its health.
    pub(in crate::admin) health: HealthStatus,
    pub(in crate::admin) is_ejected: bool,
    /// How often it was ejected so far.
    pub(in crate::admin) ejections: u16,
    /// Connecting to it failed last.
    pub(in crate::admin) is_suspect: bool,
    pub(in crate::admin) weight: u32,
    pub(in crate::admin) priority: u32,
    pub(in crate::admin) locality: Locality,
    /// Attempts in flight.
    pub(in crate::admin) active: u32,
    pub(in crate::admin) connections: Connections,
}

impl EndpointView {
    pub(super) fn of(
        live: &LiveEndpoint<Net>,
        configured: &Endpoint,
        locality: &LocalityEndpoints,
        now: Timestamp,
    ) -> Self {
        let is_ejected = live.monitor().is_ejected();
        Self {
            address: configured.address.clone(),
            hostname: configured.hostname.clone(),
            state: state(configured.health, is_ejected),
            health: configured.health,
            is_ejected,
            ejections: live.monitor().ejections(),
            is_suspect: live.is_suspect(now),
            weight: configured.weight,
            priority: locality.priority,
            locality: locality.locality.clone(),
            active: live.active(),
            connections: live.attached().pool().connections(),
        }
    }

    /// Why it is in its state, or passed over though it is healthy; `None`: there is nothing to say.
    pub(in crate::admin) const fn reason(&self) -> Option<&'static str> {
        Some(match (self.state, self.health) {
            (EndpointState::Ejected, _) => "outlier detection took it out",
            (EndpointState::Unhealthy, HealthStatus::Timeout) => {
                "its health check timed out, says the configuration"
            }
            (EndpointState::Unhealthy, _) => "the configuration says that it is unhealthy",
            (EndpointState::Draining, _) => "the configuration drains it",
            (EndpointState::Degraded, _) => {
                "the configuration says that it is degraded: it takes what healthy ones can't"
            }
            (EndpointState::Healthy, _) if self.is_suspect => {
                "the last connection to it failed: passed over while there are others"
            }
            (EndpointState::Healthy, _) => return None,
        })
    }

    /// Connections that are there, without attempts under way.
    pub(in crate::admin) const fn open_connections(&self) -> usize {
        let Connections { h1, h2, own, connecting, .. } = self.connections;
        (h1 + h2 + own).saturating_sub(connecting)
    }
}

/// Ejected comes before what the configuration says, as in `mesh_endpoints`.
const fn state(health: HealthStatus, is_ejected: bool) -> EndpointState {
    match (is_ejected, health) {
        (true, _) => EndpointState::Ejected,
        (false, HealthStatus::Unknown | HealthStatus::Healthy) => EndpointState::Healthy,
        (false, HealthStatus::Degraded) => EndpointState::Degraded,
        (false, HealthStatus::Draining) => EndpointState::Draining,
        (false, HealthStatus::Unhealthy | HealthStatus::Timeout) => EndpointState::Unhealthy,
    }
}
