//! The layer that finds an attempt its endpoint: the draw of those that are dropped, a place in the
//! circuit breaker, then a pick.
//!
//! # Position
//! Below `call`: every attempt is admitted and picked anew, with the picker in force at that moment, so
//! a retry never goes to an endpoint that was removed or ejected meanwhile. Above `endpoint`.

mod child;
mod future;

pub(crate) use future::BalanceFuture;

use crate::dns::ResolveError;
use crate::net::{Draw, Net};
use crate::routed::{Attempt, AttemptError, Picked, Placed};
use future::Choice;
use http::HeaderValue;
use http::header::HOST;
use mesh_core::Timestamp;
use mesh_core::breaker::Resource;
use mesh_core::outcome::{Failure, NoEndpoint};
use mesh_core::state::{EndpointSet, InFlight, LiveEndpoint, PickRequest, Picked as Pick, Picker};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// Picks the endpoint of each attempt.
#[derive(Clone, Debug)]
pub(crate) struct BalanceService<S> {
    inner: S,
}

impl<S> BalanceService<S> {
    /// Hands attempts with their endpoint to `inner`.
    #[must_use]
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Attempt> for BalanceService<S>
where
    S: Service<Picked, Error = AttemptError> + Clone,
    S::Future: Placed,
{
    type Response = S::Response;
    type Error = AttemptError;
    type Future = BalanceFuture<S>;

    /// Always ready: an attempt that finds no place fails at once, or waits in its own future.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let now = attempt.started;
        match choose(attempt, now) {
            Choice::Picked(picked) => BalanceFuture::running(self.inner.call(picked)),
            Choice::Wait(attempt) => BalanceFuture::waiting(self.inner.clone(), attempt),
            Choice::Fail(error) => BalanceFuture::failed(error),
        }
    }
}

/// Admits an attempt and picks its endpoint.
fn choose(mut attempt: Attempt, now: Timestamp) -> Choice {
    let priority = attempt.priority();
    let target = &attempt.target;
    let cluster = target.cluster();
    let picker = cluster.picker();
    if picker.is_special() {
        if !target.children().is_empty() {
            return child::choose(attempt, now);
        }
        if let Some(category) = dropped(&mut attempt.drawn, &picker) {
            return Choice::Fail(attempt.unsent(Failure::Dropped { category }));
        }
    }
    if let Err(overflow) = cluster.breaker().try_acquire(priority, Resource::Requests) {
        return Choice::Fail(attempt.unsent(Failure::Overflow(overflow)));
    }
    let failure = match picker.pick(cluster, request(&attempt, now), Draw) {
        Pick::Endpoint(index, endpoint) => {
            let endpoint = Arc::clone(endpoint);
            return Choice::Picked(place(attempt, picker.set(), (index, endpoint), now));
        }
        Pick::Wait => None,
        Pick::Fail(_) if attempt.wait_for_ready => None,
        Pick::Fail(counts) | Pick::Gone(counts) => Some(counts),
    };
    cluster.breaker().release(priority, Resource::Requests);
    let Some(counts) = failure else { return Choice::Wait(attempt) };
    let why = cluster.attached().unresolved();
    Choice::Fail(nobody(attempt, counts, why))
}

/// What an attempt brings to a pick.
#[inline]
fn request(attempt: &Attempt, now: Timestamp) -> PickRequest<'_> {
    PickRequest {
        now,
        hash: attempt.hash,
        previous: if attempt.max_reselect.is_some() { &attempt.previous } else { &[] },
        max_reselect: attempt.max_reselect.unwrap_or(0),
    }
}

/// The category that drops an attempt, which is `drawn` for once: one that waits for an endpoint comes here
/// again.
fn dropped(drawn: &mut bool, picker: &Picker<Net>) -> Option<Arc<str>> {
    if std::mem::replace(drawn, true) {
        return None;
    }
    picker.dropped(&mut Draw).cloned()
}

/// The attempt at its endpoint; it has its place in the circuit breaker.
#[inline]
fn place(
    mut attempt: Attempt,
    set: &EndpointSet<Net>,
    (index, endpoint): (u32, Arc<LiveEndpoint<Net>>),
    now: Timestamp,
) -> Picked {
    let priority = attempt.priority();
    let locality = set.attached_locality(index).cloned();
    if attempt.target.forward().wants_endpoint_hostname() {
        rewrite_host(&mut attempt.request, set, index);
    }
    let Attempt { request, target, grpc, number, started, deadline, traced, .. } = attempt;
    let in_flight = InFlight::begin(target, endpoint, priority);
    let waited = now.saturating_duration_since(started);
    Picked { request, in_flight, locality, grpc, number, started: now, waited, deadline, traced }
}

/// The attempt found nobody among the endpoints counted.
#[cold]
fn nobody(
    attempt: Attempt,
    mut counts: NoEndpoint,
    unresolved: Option<Arc<ResolveError>>,
) -> AttemptError {
    let source = unresolved.filter(|_| counts.total == 0);
    counts.unresolved = source.is_some();
    let mut error = attempt.unsent(Failure::NoEndpoint(counts));
    error.source = source.map(Into::into);
    error
}

/// Envoy: `auto_host_rewrite`; gRFC A81: the authority becomes the endpoint's hostname.
fn rewrite_host(request: &mut http::Request<crate::MeshBody>, set: &EndpointSet<Net>, index: u32) {
    let Some(hostname) = set.configured(index).and_then(|endpoint| endpoint.hostname.as_deref())
    else {
        return;
    };
    if let Ok(host) = HeaderValue::from_str(hostname) {
        request.headers_mut().insert(HOST, host);
    }
    crate::route::set_authority(request.uri_mut(), hostname);
}
