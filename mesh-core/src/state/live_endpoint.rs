//! [`LiveEndpoint`]: what was learnt about one address, and [`InFlight`], the guard of one attempt.

use super::{Attach, Target};
use crate::breaker::Resource;
use crate::lb::{EndpointId, PeakEwma};
use crate::model::{Address, RoutingPriority};
use crate::outlier::Monitor;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::time::Timestamp;
use std::sync::Arc;

/// What was learnt about one address of one cluster.
///
/// It lives as long as its key (cluster, address, transport security) is configured, and as long as an
/// attempt is in flight after that. Weight, locality and configured health are not here: they change
/// without the endpoint changing.
#[derive(Debug)]
pub struct LiveEndpoint<A: Attach> {
    id: EndpointId,
    address: Address,
    /// Attempts in flight, until the response body ends.
    active: AtomicU32,
    /// The last connect failed; passed over while there are others, until it succeeds.
    suspect: AtomicBool,
    /// Since when it takes traffic, for slow start.
    available_since: AtomicU64,
    ewma: PeakEwma,
    monitor: Monitor,
    attached: A::Endpoint,
}

impl<A: Attach> LiveEndpoint<A> {
    pub(super) fn new(
        id: EndpointId,
        address: Address,
        now: Timestamp,
        attached: A::Endpoint,
    ) -> Self {
        Self {
            id,
            address,
            active: AtomicU32::new(0),
            suspect: AtomicBool::new(false),
            available_since: AtomicU64::new(now.as_nanos()),
            ewma: PeakEwma::default(),
            monitor: Monitor::default(),
            attached,
        }
    }

    /// Its identity, never given twice.
    #[must_use]
    pub const fn id(&self) -> EndpointId {
        self.id
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Attempts in flight; an attempt ends when its response body does.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether the last connect failed and none succeeded since.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Marks, or clears, that connecting fails.
    pub fn set_suspect(&self, suspect: bool) {
        // The load keeps the line shared in the common case: nothing to change.
        if self.suspect.load(Ordering::Relaxed) != suspect {
            self.suspect.store(suspect, Ordering::Relaxed);
        }
    }

    /// Since when it takes traffic: when it appeared, or was last un-ejected.
    #[must_use]
    pub fn available_since(&self) -> Timestamp {
        Timestamp::from_nanos(self.available_since.load(Ordering::Relaxed))
    }

    pub(super) fn set_available_since(&self, now: Timestamp) {
        self.available_since.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Its latency estimate.
    #[must_use]
    pub const fn ewma(&self) -> &PeakEwma {
        &self.ewma
    }

    /// Its outlier-detection counters and ejection.
    #[must_use]
    pub const fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// What the adapter hung on it.
    #[must_use]
    pub const fn attached(&self) -> &A::Endpoint {
        &self.attached
    }
}

/// An attempt that counts against its endpoint and its cluster's circuit breaker, until it is dropped:
/// keep it in the response body.
#[derive(Debug)]
pub struct InFlight<A: Attach> {
    target: Arc<Target<A>>,
    endpoint: Arc<LiveEndpoint<A>>,
    priority: RoutingPriority,
}

impl<A: Attach> InFlight<A> {
    /// Takes over a place that [`Breaker::try_acquire`](crate::breaker::Breaker::try_acquire) gave for
    /// [`Resource::Requests`] at `priority`, and counts the attempt.
    #[must_use]
    pub fn begin(
        target: Arc<Target<A>>,
        endpoint: Arc<LiveEndpoint<A>>,
        priority: RoutingPriority,
    ) -> Self {
        endpoint.active.fetch_add(1, Ordering::Relaxed);
        Self { target, endpoint, priority }
    }

    /// The endpoint that the attempt goes to.
    #[must_use]
    pub const fn endpoint(&self) -> &Arc<LiveEndpoint<A>> {
        &self.endpoint
    }

    /// The route and cluster that the attempt belongs to.
    #[must_use]
    pub const fn target(&self) -> &Arc<Target<A>> {
        &self.target
    }
}

impl<A: Attach> Drop for InFlight<A> {
    fn drop(&mut self) {
        self.endpoint.active.fetch_sub(1, Ordering::Relaxed);
        self.target.cluster().breaker().release(self.priority, Resource::Requests);
    }
}
