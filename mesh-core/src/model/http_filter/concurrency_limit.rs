//! How many requests are served at the same time. Ours.

use crate::model::Fraction;
use http::StatusCode;

/// A bound on requests in service: from the first filter that lets it in to the end of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConcurrencyLimit {
    /// How many requests may be in service. Default 1024, as Envoy's `max_requests`.
    pub max_concurrent_requests: u32,
    /// Of the requests beyond it, how many are refused; the others are counted as those that would
    /// have been. Default all; none is the shadow mode.
    pub enforced: Fraction,
    /// What is answered. Default 503; gRPC: UNAVAILABLE.
    pub status: StatusCode,
}

impl Default for ConcurrencyLimit {
    fn default() -> Self {
        Self {
            max_concurrent_requests: 1024,
            enforced: Fraction::ALL,
            status: StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
