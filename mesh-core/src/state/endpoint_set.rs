//! [`EndpointSet`]: the live endpoints of a cluster, in the order of its load assignment.

use super::{Attach, LiveEndpoint};
use crate::lb::{EndpointId, Loads, PeakEwma};
use crate::model::{
    Address, ClusterLoadAssignment, Endpoint, HealthStatus, Locality, LocalityEndpoints,
};
use crate::outlier::{Endpoints, Monitor};
use crate::time::Timestamp;
use std::sync::Arc;

/// The live endpoints of a cluster: index `n` is the `n`-th endpoint of the assignment, counted
/// through its localities in order.
///
/// It changes with membership only; an ejection publishes a new picker over the same set.
#[derive(Debug)]
pub struct EndpointSet<A: Attach> {
    pub(super) assignment: Arc<ClusterLoadAssignment>,
    pub(super) endpoints: Box<[Arc<LiveEndpoint<A>>]>,
    pub(super) localities: Box<[LocalityRange<A>]>,
}

#[derive(Debug)]
pub(super) struct LocalityRange<A: Attach> {
    /// Index of the first endpoint after this locality.
    pub(super) end: u32,
    pub(super) attached: A::Locality,
}

impl<A: Attach> EndpointSet<A> {
    /// A set of nobody.
    pub(super) fn empty() -> Self {
        Self { assignment: Arc::default(), endpoints: Box::default(), localities: Box::default() }
    }

    /// Number of endpoints.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there is no endpoint.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The endpoint at `index`.
    #[must_use]
    pub fn endpoint(&self, index: u32) -> Option<&Arc<LiveEndpoint<A>>> {
        self.endpoints.get(index as usize)
    }

    /// All endpoints.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<LiveEndpoint<A>>] {
        &self.endpoints
    }

    /// Each endpoint once, however often its address is listed.
    pub(super) fn distinct(&self) -> Vec<Arc<LiveEndpoint<A>>> {
        let mut endpoints = self.endpoints.to_vec();
        endpoints.sort_by_key(|endpoint| endpoint.id());
        endpoints.dedup_by_key(|endpoint| endpoint.id());
        endpoints
    }

    /// The assignment behind the set.
    #[must_use]
    pub const fn assignment(&self) -> &Arc<ClusterLoadAssignment> {
        &self.assignment
    }

    /// What is configured for the endpoint at `index`.
    #[must_use]
    pub fn configured(&self, index: u32) -> Option<&Endpoint> {
        let (locality, offset) = self.position(index)?;
        locality.endpoints.get(offset)
    }

    /// The locality of the endpoint at `index`.
    #[must_use]
    pub fn locality(&self, index: u32) -> Option<&Locality> {
        self.position(index).map(|(locality, _)| &locality.locality)
    }

    /// What the adapter hung on the locality of the endpoint at `index`.
    #[must_use]
    pub fn attached_locality(&self, index: u32) -> Option<&A::Locality> {
        let range = self.localities.partition_point(|range| range.end <= index);
        self.localities.get(range).map(|range| &range.attached)
    }

    fn position(&self, index: u32) -> Option<(&LocalityEndpoints, usize)> {
        let range = self.localities.partition_point(|range| range.end <= index);
        let start = range.checked_sub(1).map_or(0, |before| self.localities[before].end);
        let locality = self.assignment.localities.get(range)?;
        Some((locality, (index - start) as usize))
    }
}

impl<A: Attach> Loads for EndpointSet<A> {
    fn id(&self, index: u32) -> EndpointId {
        self.endpoints[index as usize].id()
    }

    fn active(&self, index: u32) -> u32 {
        self.endpoints[index as usize].active()
    }

    fn ewma(&self, index: u32) -> &PeakEwma {
        self.endpoints[index as usize].ewma()
    }

    fn is_suspect(&self, index: u32) -> bool {
        self.endpoints[index as usize].is_suspect()
    }

    fn available_since(&self, index: u32) -> Timestamp {
        self.endpoints[index as usize].available_since()
    }
}

impl<A: Attach> Endpoints for EndpointSet<A> {
    fn count(&self) -> u32 {
        u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX)
    }

    fn monitor(&self, index: u32) -> &Monitor {
        self.endpoints[index as usize].monitor()
    }

    fn address(&self, index: u32) -> &Address {
        self.endpoints[index as usize].address()
    }

    fn is_available(&self, index: u32) -> bool {
        let health = self.configured(index).map(|endpoint| endpoint.health);
        matches!(
            health,
            Some(HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded)
        )
    }
}
