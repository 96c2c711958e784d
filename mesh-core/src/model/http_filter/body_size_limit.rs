//! How large a request's body may be (Envoy: `extensions.filters.http.buffer.v3.Buffer`, and
//! `extensions.filters.http.body_size_limit.v3.BodySizeLimit`).

use crate::model::Fraction;

/// A bound on the body of a request. It is counted as it comes: Envoy's buffer filter keeps the whole
/// body first, and here nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodySizeLimit {
    /// The most bytes. What is larger is answered 413; gRPC: RESOURCE_EXHAUSTED.
    pub max_request_bytes: u64,
    /// Of the requests beyond it, how many are refused; the others go on, and are counted as those that
    /// would have been. Default all; none is the shadow mode.
    /// Ours.
    pub enforced: Fraction,
}

impl BodySizeLimit {
    /// This bound, enforced.
    #[must_use]
    pub const fn new(max_request_bytes: u64) -> Self {
        Self { max_request_bytes, enforced: Fraction::ALL }
    }
}
