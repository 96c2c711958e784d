//! [`Target`]: a route and one of its clusters, all that a call needs behind one pointer; and
//! [`ReplyTarget`]: a route that has none.

use super::{Attach, LiveCluster};
use crate::call::CallPolicy;
use crate::call::headers::AttemptHeaders;
use crate::head::RequestHead;
use crate::model::RoutingPriority;
use crate::random::Random;
use crate::router::{CompiledForward, CompiledRoute, RequestHash};
use http::{HeaderMap, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// A route and the cluster that was chosen for it.
#[derive(Debug)]
pub struct Target<A: Attach> {
    pub(super) route: Arc<CompiledRoute>,
    pub(super) forward: Arc<CompiledForward>,
    pub(super) cluster: Arc<LiveCluster<A>>,
    pub(super) split: Option<usize>,
    pub(super) attached: A::Target,
    /// One target for each child, when the cluster is an aggregate.
    pub(super) children: Box<[Arc<Self>]>,
}

/// A route that answers by itself.
#[derive(Debug)]
pub struct ReplyTarget<A: Attach> {
    pub(super) route: Arc<CompiledRoute>,
    pub(super) attached: A::Target,
}

impl<A: Attach> ReplyTarget<A> {
    /// The route.
    #[must_use]
    pub const fn route(&self) -> &Arc<CompiledRoute> {
        &self.route
    }

    /// What the adapter hung on it.
    #[must_use]
    pub const fn attached(&self) -> &A::Target {
        &self.attached
    }
}

impl<A: Attach> Target<A> {
    /// The route.
    #[must_use]
    pub const fn route(&self) -> &Arc<CompiledRoute> {
        &self.route
    }

    /// How the route forwards.
    #[must_use]
    pub const fn forward(&self) -> &Arc<CompiledForward> {
        &self.forward
    }

    /// The cluster. Of an aggregate it counts what belongs to a call as a whole; attempts belong to a
    /// [child](Self::children).
    #[must_use]
    pub const fn cluster(&self) -> &Arc<LiveCluster<A>> {
        &self.cluster
    }

    /// The same route to each child of the cluster, in order, when that is an aggregate. An attempt goes
    /// to one of them, see [`pick_child`](Self::pick_child).
    #[must_use]
    pub const fn children(&self) -> &[Arc<Self>] {
        &self.children
    }

    /// The part of the route's split that was drawn, when it has one.
    #[must_use]
    pub const fn split(&self) -> Option<usize> {
        self.split
    }

    /// What the adapter hung on it.
    #[must_use]
    pub const fn attached(&self) -> &A::Target {
        &self.attached
    }

    /// Which set of circuit breakers counts its calls.
    #[must_use]
    pub fn priority(&self) -> RoutingPriority {
        self.forward.priority
    }

    /// What the route says about a call as a whole.
    #[must_use]
    pub fn call_policy(&self) -> CallPolicy<'_> {
        let forward = &self.forward;
        let mut policy = CallPolicy::new(forward.timeout);
        policy.max_stream_duration = forward.max_stream_duration;
        policy.idle_timeout = forward.idle_timeout;
        policy.retry = forward.retry_policy.as_deref().map(|compiled| &compiled.policy);
        policy.hedge = forward.hedge_policy.unwrap_or_default();
        policy.transparent_retry = forward.transparent_retry;
        policy
    }

    /// Whether a request with these headers may be tried again by policy.
    #[must_use]
    pub fn is_retriable(&self, headers: &HeaderMap) -> bool {
        let policy = self.forward.retry_policy.as_deref();
        policy.is_none_or(|policy| policy.request_headers_match(headers))
    }

    /// Whether a response with these headers is worth a retry
    /// ([`RetryOn::RETRIABLE_HEADERS`](crate::model::RetryOn::RETRIABLE_HEADERS)).
    #[must_use]
    pub fn matches_retriable_headers(&self, headers: &HeaderMap) -> bool {
        let policy = self.forward.retry_policy.as_deref();
        policy.is_some_and(|policy| policy.response_headers_match(headers))
    }

    /// What the route gives each call, and each attempt: a first one that has all of it says what all first ones say.
    #[must_use]
    pub fn usual_timeouts(&self) -> [Option<Duration>; 2] {
        let retry = self.forward.retry_policy.as_deref();
        [Some(self.forward.timeout), retry.and_then(|retry| retry.policy.per_try_timeout)]
    }

    /// Which headers tell the next hop about attempts.
    #[must_use]
    pub fn attempt_headers(&self) -> AttemptHeaders {
        let wanted = self.route.include_request_attempt_count();
        let mut headers = AttemptHeaders::default();
        (headers.attempt_count, headers.is_timeout_retry) = (wanted, wanted);
        headers
    }

    /// How often a pick is repeated to find an endpoint not tried before; `None`: endpoints that were
    /// tried are as good as others (Envoy: without the `previous_hosts` predicate).
    ///
    /// Without a retry policy a request that no server processed still goes elsewhere.
    #[must_use]
    pub fn max_reselect(&self) -> Option<u32> {
        let Some(policy) = &self.forward.retry_policy else { return Some(0) };
        policy.policy.previous_hosts.then_some(policy.policy.host_selection_max_attempts)
    }

    /// What consistent hashing places a request by: the route's policy, else the cluster's,
    /// or the other way round where the cluster says so.
    /// `set_cookies` are those that routing made ([`Routing::Forward`](super::Routing::Forward)).
    #[must_use]
    pub fn hash(
        &self,
        head: &RequestHead<'_>,
        mut set_cookies: Vec<HeaderValue>,
        random: &mut impl Random,
    ) -> RequestHash {
        if self.forward.hash_policy.is_empty() && !self.cluster.hashes() && self.children.is_empty()
        {
            return RequestHash::new(None, set_cookies);
        }
        let cluster = self.cluster.policy();
        let policy = cluster.inputs(&self.forward.hash_policy);
        if policy.is_empty() && !self.children.is_empty() {
            return self.hash_by_child(head, set_cookies, random);
        }
        let hash = policy.hash_or_set_cookie(head, &mut set_cookies, random);
        RequestHash::new(hash, set_cookies)
    }

    /// What the first child hashes by that hashes at all.
    #[cold]
    fn hash_by_child(
        &self,
        head: &RequestHead<'_>,
        set_cookies: Vec<HeaderValue>,
        random: &mut impl Random,
    ) -> RequestHash {
        let hashes = |child: &&Arc<Self>| !child.cluster.policy().hash_policy.is_empty();
        match self.children.iter().find(hashes) {
            Some(child) => child.hash(head, set_cookies, random),
            None => RequestHash::new(None, set_cookies),
        }
    }
}
