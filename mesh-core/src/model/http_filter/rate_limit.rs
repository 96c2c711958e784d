//! Limits that a service counts for many servers (Envoy: `extensions.filters.http.ratelimit.v3`).

use super::GrpcService;
use crate::model::{HeaderMatcher, HeaderMutation, MetadataSource};
use http::{HeaderName, StatusCode};
use std::sync::Arc;

/// Which limits requests count against, and what a failure means (Envoy: `RateLimit`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// The service's configuration that is meant.
    pub domain: Arc<str>,
    /// Which of the rules this instance asks about: those of this number. Default 0; at most 10.
    pub stage: u32,
    /// Who counts. Envoy's default of its timeout is 20 ms.
    pub service: GrpcService,
    /// A request is refused when nobody answers. Default false: it goes on.
    pub failure_mode_deny: bool,
    /// gRPC calls over a limit end with RESOURCE_EXHAUSTED, not with UNAVAILABLE. Default false.
    pub rate_limited_as_resource_exhausted: bool,
    /// What a request over a limit is answered. Default 429.
    pub rate_limited_status: StatusCode,
    /// What a request is answered when nobody answered about it. Default 500.
    pub status_on_error: StatusCode,
    /// Headers of answers that a limit made.
    pub response_headers_to_add: Vec<HeaderMutation>,
    /// Adds `x-ratelimit-limit`, `-remaining` and `-reset` (Envoy: `DRAFT_VERSION_03`). Default false.
    pub x_ratelimit_headers: bool,
    /// Leaves `x-envoy-ratelimited: true` out of answers that a limit made. Default false.
    pub disable_x_envoy_ratelimited_header: bool,
    /// What requests count as: what routes and hosts say of the filter, these, and else the [`RateLimitPolicy`] of the
    /// route and its virtual host, in this order of preference (Envoy).
    pub rules: Vec<RateLimitRule>,
    /// Nothing is refused: what would be is counted. Ours; default false.
    pub shadow: bool,
}

/// One descriptor that a request counts as (Envoy: `config.route.v3.RateLimit`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitRule {
    /// The filters of this stage ask about it. Default 0; at most 10.
    pub stage: u32,
    /// Its entries. When one of them has no value, the request does not count as this descriptor.
    pub actions: Vec<RateLimitAction>,
    /// What the request counts for; `None`: 1.
    pub hits_addend: Option<u64>,
}

impl RateLimitRule {
    /// A rule of stage 0.
    #[must_use]
    pub const fn new(actions: Vec<RateLimitAction>) -> Self {
        Self { stage: 0, actions, hits_addend: None }
    }
}

/// One entry of a descriptor (Envoy: `config.route.v3.RateLimit.Action`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateLimitAction {
    /// `destination_cluster`: the name under which this server listens.
    DestinationCluster(Arc<str>),
    /// The first value of a header.
    RequestHeaders {
        /// The header.
        name: HeaderName,
        /// The entry's key.
        descriptor_key: Arc<str>,
        /// Without the header there is no such entry, instead of no descriptor.
        skip_if_absent: bool,
    },
    /// The value of a parameter of the query.
    QueryParameters {
        /// The parameter.
        name: Arc<str>,
        /// The entry's key.
        descriptor_key: Arc<str>,
        /// Without the parameter there is no such entry, instead of no descriptor.
        skip_if_absent: bool,
    },
    /// `remote_address`: the peer's address.
    RemoteAddress,
    /// `masked_remote_address`: the peer's network.
    MaskedRemoteAddress {
        /// How many bits of an IPv4 address count. Default 32.
        v4_prefix_mask_len: u8,
        /// How many bits of an IPv6 address count. Default 128.
        v6_prefix_mask_len: u8,
    },
    /// A fixed value.
    GenericKey {
        /// The entry's key. Default `generic_key`.
        descriptor_key: Arc<str>,
        /// Its value.
        descriptor_value: Arc<str>,
    },
    /// A fixed value for requests with these headers.
    HeaderValueMatch {
        /// The entry's key. Default `header_match`.
        descriptor_key: Arc<str>,
        /// Its value.
        descriptor_value: Arc<str>,
        /// Whether the headers must match, or must not. Default true.
        expect_match: bool,
        /// The conditions.
        headers: Vec<HeaderMatcher>,
    },
    /// A text in the metadata that filters wrote, or that the route has.
    Metadata {
        /// The entry's key.
        descriptor_key: Arc<str>,
        /// Whose metadata.
        source: MetadataSource,
        /// The filter that wrote it.
        filter: Arc<str>,
        /// Where it is.
        path: Vec<Arc<str>>,
        /// What counts when it is not there; empty: see `skip_if_absent`.
        default_value: Arc<str>,
        /// Without it there is no such entry, instead of no descriptor.
        skip_if_absent: bool,
    },
    /// The peer's name, as policies see it. Ours.
    PeerIdentity {
        /// The entry's key.
        descriptor_key: Arc<str>,
    },
}

/// What a route or a virtual host has requests count as, for the filters that are told of no other rules (Envoy:
/// `rate_limits`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitPolicy {
    /// The rules.
    pub rules: Vec<RateLimitRule>,
    /// Of a route, what becomes of its virtual host's rules; `None`: what the filter is told.
    pub vh_rate_limits: Option<VhRateLimits>,
    /// Why a rule can't be evaluated here: a filter that would go by it can't be used, and all others can.
    pub unsupported: Option<Arc<str>>,
}

/// What becomes of a virtual host's rules beside those of its route (Envoy: `RateLimitPerRoute.VhRateLimitsOptions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `VhRateLimitsOptions`")]
pub enum VhRateLimits {
    /// They count where the route has none.
    #[default]
    Override,
    /// They count, too.
    Include,
    /// They do not count.
    Ignore,
}

/// What a route says of the filter (Envoy: `RateLimitPerRoute`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitPerRoute {
    /// Another domain; `None`: as the filter says.
    pub domain: Option<Arc<str>>,
    /// The rules here; empty: as if nothing were said of them.
    pub rules: Vec<RateLimitRule>,
    /// What becomes of the virtual host's [`RateLimitPolicy`], where the route does not say so itself.
    pub vh_rate_limits: VhRateLimits,
}

impl RateLimitPolicy {
    /// Nothing counts, nor do the rules of the virtual host: where nothing is sent on (Envoy).
    #[must_use]
    pub fn nothing() -> Self {
        Self { vh_rate_limits: Some(VhRateLimits::Ignore), ..Self::default() }
    }

    /// Whether there is no rule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.unsupported.is_none()
    }
}

impl RateLimit {
    /// Asks `service` about `domain`, with Envoy's defaults.
    #[must_use]
    pub fn new(domain: impl Into<Arc<str>>, service: GrpcService) -> Self {
        Self {
            domain: domain.into(),
            stage: 0,
            service,
            failure_mode_deny: false,
            rate_limited_as_resource_exhausted: false,
            rate_limited_status: StatusCode::TOO_MANY_REQUESTS,
            status_on_error: StatusCode::INTERNAL_SERVER_ERROR,
            response_headers_to_add: Vec::new(),
            x_ratelimit_headers: false,
            disable_x_envoy_ratelimited_header: false,
            rules: Vec::new(),
            shadow: false,
        }
    }

    /// The filter as a route has it.
    #[must_use]
    pub fn for_route(&self, said: &RateLimitPerRoute) -> Self {
        let mut own = self.clone();
        if let Some(domain) = &said.domain {
            own.domain = Arc::clone(domain);
        }
        if !said.rules.is_empty() {
            own.rules.clone_from(&said.rules);
        }
        own
    }
}
