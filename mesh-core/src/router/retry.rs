//! [`CompiledRetryPolicy`]: a retry policy whose header matchers are ready to run.

use super::compile::Scope;
use super::matcher::CompiledHeaderMatcher;
use crate::model::RetryPolicy;
use http::HeaderMap;
use std::sync::Arc;

/// A retry policy whose header matchers are ready to run.
#[derive(Clone, Debug)]
pub struct CompiledRetryPolicy {
    /// The policy as it was configured.
    pub policy: Arc<RetryPolicy>,
    retriable_headers: Box<[CompiledHeaderMatcher]>,
    retriable_request_headers: Box<[CompiledHeaderMatcher]>,
}

impl CompiledRetryPolicy {
    /// `field` is the policy's place in its route or virtual host.
    pub(super) fn compile(
        policy: &Arc<RetryPolicy>,
        field: &str,
        scope: &mut Scope<'_>,
    ) -> Option<Self> {
        let mut matchers = |list: &str, matchers| {
            scope.check_all(&format!("{field}.{list}"), matchers, CompiledHeaderMatcher::new)
        };
        let headers = matchers("retriable_headers", &policy.retriable_headers);
        let request = matchers("retriable_request_headers", &policy.retriable_request_headers);
        Some(Self {
            policy: policy.clone(),
            retriable_headers: headers?,
            retriable_request_headers: request?,
        })
    }

    /// Whether one of the policy's conditions on response headers holds
    /// ([`RetryOn::RETRIABLE_HEADERS`](crate::model::RetryOn::RETRIABLE_HEADERS)).
    #[must_use]
    pub fn response_headers_match(&self, headers: &HeaderMap) -> bool {
        self.retriable_headers.iter().any(|matcher| matcher.matches(headers))
    }

    /// Whether a request with these headers may be tried again at all.
    #[must_use]
    pub fn request_headers_match(&self, headers: &HeaderMap) -> bool {
        self.retriable_request_headers.is_empty()
            || self.retriable_request_headers.iter().any(|matcher| matcher.matches(headers))
    }

    /// The compiled [`RetryPolicy::retriable_headers`].
    #[must_use]
    pub const fn retriable_headers(&self) -> &[CompiledHeaderMatcher] {
        &self.retriable_headers
    }

    /// The compiled [`RetryPolicy::retriable_request_headers`].
    #[must_use]
    pub const fn retriable_request_headers(&self) -> &[CompiledHeaderMatcher] {
        &self.retriable_request_headers
    }
}
