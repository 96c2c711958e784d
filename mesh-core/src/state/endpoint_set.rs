//! [`EndpointSet`]: the live endpoints of a cluster, in the order of its load assignment.

use super::chunks::Chunks;
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
    pub(super) endpoints: Chunks<Arc<LiveEndpoint<A>>>,
    pub(super) localities: Box<[LocalityRange<A>]>,
    /// What outlier detection goes over where an address is listed twice: each endpoint once, at the
    /// listing that takes calls, if one does. `None`: nobody is listed twice.
    pub(super) once: Option<Box<[u32]>>,
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
        Self {
            assignment: Arc::default(),
            endpoints: Chunks::default(),
            localities: Box::default(),
            once: None,
        }
    }

    /// How many endpoints there are, each counted once.
    pub(super) fn distinct_len(&self) -> usize {
        self.once.as_ref().map_or(self.len(), |once| once.len())
    }

    /// Whether an address is listed twice.
    pub(super) const fn has_repeats(&self) -> bool {
        self.once.is_some()
    }

    /// Finds who is listed twice, if there are so many `distinct` endpoints.
    pub(super) fn settle(mut self, distinct: usize) -> Self {
        if distinct < self.len() {
            let mut order: Vec<(EndpointId, bool, u32)> = (0u32..)
                .zip(self.endpoints.iter())
                .map(|(index, endpoint)| (endpoint.id(), !self.takes_calls(index), index))
                .collect();
            order.sort_unstable();
            order.dedup_by_key(|(id, ..)| *id);
            let mut once: Vec<u32> = order.into_iter().map(|(.., index)| index).collect();
            once.sort_unstable();
            self.once = Some(once.into());
        }
        self
    }

    /// The endpoint that outlier detection calls by this number.
    pub(super) fn watched(&self, number: u32) -> Option<&Arc<LiveEndpoint<A>>> {
        self.endpoint(self.listing(number))
    }

    fn listing(&self, number: u32) -> u32 {
        self.once.as_ref().map_or(number, |once| once[number as usize])
    }

    /// Whether the endpoint at `index` takes calls as far as its configured health goes.
    fn takes_calls(&self, index: u32) -> bool {
        let health = self.configured(index).map(|endpoint| endpoint.health);
        matches!(
            health,
            Some(HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded)
        )
    }

    /// Number of endpoints.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there is no endpoint.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.len() == 0
    }

    /// The endpoint at `index`.
    #[must_use]
    pub fn endpoint(&self, index: u32) -> Option<&Arc<LiveEndpoint<A>>> {
        self.endpoints.get(index as usize)
    }

    /// All endpoints, in the order of their indexes.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<LiveEndpoint<A>>> {
        self.endpoints.iter()
    }

    /// Each endpoint once, however often its address is listed.
    pub(super) fn distinct(&self) -> Vec<Arc<LiveEndpoint<A>>> {
        let mut endpoints = self.endpoints.iter().cloned().collect::<Vec<_>>();
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
        self.endpoints[index].id()
    }

    fn active(&self, index: u32) -> u32 {
        self.endpoints[index].active()
    }

    fn ewma(&self, index: u32) -> &PeakEwma {
        self.endpoints[index].ewma()
    }

    fn is_suspect(&self, index: u32, now: Timestamp) -> bool {
        self.endpoints[index].is_suspect(now)
    }

    fn available_since(&self, index: u32) -> Timestamp {
        self.endpoints[index].available_since()
    }
}

/// Each endpoint once, however often its address is listed: it is one that can be ejected.
impl<A: Attach> Endpoints for EndpointSet<A> {
    fn count(&self) -> u32 {
        u32::try_from(self.distinct_len()).unwrap_or(u32::MAX)
    }

    fn monitor(&self, index: u32) -> &Monitor {
        self.endpoints[self.listing(index)].monitor()
    }

    fn address(&self, index: u32) -> &Address {
        self.endpoints[self.listing(index)].address()
    }

    fn is_available(&self, index: u32) -> bool {
        self.takes_calls(self.listing(index))
    }
}
