//! [`NarrowedChain`]: what a connection has decided of a chain's filters, before any of its requests has come.

use super::chain::{Chain, Filter};
use crate::rbac::{Connection, NarrowedFilter};

/// What a connection has decided of a chain's filters; for that connection and that chain only.
#[derive(Clone, Debug)]
pub struct NarrowedChain(Box<[Option<NarrowedFilter>]>);

impl Chain {
    /// What is the same for all requests of `connection`. Filters that a route has replaced by its own are asked anew.
    #[must_use]
    pub fn narrow(&self, connection: &Connection<'_>) -> NarrowedChain {
        let filters = self.filters.iter().map(|own| match &own.filter {
            Filter::Rbac(rbac) => Some(rbac.narrow(connection)),
            Filter::Jwt(_)
            | Filter::ExtAuthz(_)
            | Filter::RateLimit(_)
            | Filter::LocalRateLimit(_)
            | Filter::ConcurrencyLimit(_)
            | Filter::AdaptiveConcurrency(_)
            | Filter::AdmissionControl(_)
            | Filter::Fault(_)
            | Filter::BodySizeLimit(_)
            | Filter::HeaderMutation(_) => None,
        });
        NarrowedChain(filters.collect())
    }
}

impl NarrowedChain {
    /// Of the filter at this place.
    pub(super) fn get(&self, at: usize) -> Option<&NarrowedFilter> {
        self.0.get(at)?.as_ref()
    }
}
