//! Filters of requests, in the order in which they are asked (Envoy: `HttpFilter`), and what routes say
//! of them (Envoy: `typed_per_filter_config`).

pub mod adaptive_concurrency;
pub mod admission_control;
pub mod body_size_limit;
pub mod concurrency_limit;
pub mod ext_authz;
pub mod fault;
pub mod header_mutation;
pub mod jwt_authn;
pub mod local_rate_limit;
pub mod rate_limit;
pub mod service;

pub use adaptive_concurrency::{AdaptiveConcurrency, MinRtt};
pub use admission_control::AdmissionControl;
pub use body_size_limit::BodySizeLimit;
pub use concurrency_limit::ConcurrencyLimit;
pub use ext_authz::{AuthzBody, AuthzService, ExtAuthz, ExtAuthzPerRoute, HttpAuthz};
pub use fault::{
    Fault, FaultAbort, FaultDelay, FaultDenominator, FaultDuration, FaultPercentage, FaultStatus,
};
pub use header_mutation::HeaderMutationFilter;
pub use jwt_authn::{
    ClaimToHeader, JwksSource, JwtAuthn, JwtHeader, JwtProvider, JwtRequirement, JwtRule,
    RemoteJwks,
};
pub use local_rate_limit::{LocalRateLimit, RateLimitScope, TokenBucket};
pub use rate_limit::{
    RateLimit, RateLimitAction, RateLimitPerRoute, RateLimitPolicy, RateLimitRule, VhRateLimits,
};
pub use service::{GrpcService, HttpUri};

use super::rbac::RbacFilter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A filter of a chain.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpFilter {
    /// The instance's name, by which routes override it; unique within its chain.
    pub name: Arc<str>,
    /// What it does.
    pub config: HttpFilterConfig,
    /// Whether it is off unless a route turns it on (Envoy: `disabled`). Default false.
    pub disabled: bool,
}

/// What a filter does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HttpFilterConfig {
    /// Who may do what (Envoy: `extensions.filters.http.rbac.v3.RBAC`).
    Rbac(Arc<RbacFilter>),
    /// Which tokens a request must carry (Envoy: `extensions.filters.http.jwt_authn.v3`).
    JwtAuthn(Arc<JwtAuthn>),
    /// A service is asked whether a request may go on (Envoy: `extensions.filters.http.ext_authz.v3`).
    ExtAuthz(Arc<ExtAuthz>),
    /// A service counts requests (Envoy: `extensions.filters.http.ratelimit.v3`).
    RateLimit(Arc<RateLimit>),
    /// How many requests are served at the same time. Ours: Envoy has it for connections only.
    ConcurrencyLimit(Arc<ConcurrencyLimit>),
    /// So many requests in so much time (Envoy:
    /// `extensions.filters.http.local_ratelimit.v3.LocalRateLimit`).
    LocalRateLimit(Arc<LocalRateLimit>),
    /// How many requests are served at the same time, by their latency (Envoy:
    /// `extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency`).
    AdaptiveConcurrency(Arc<AdaptiveConcurrency>),
    /// Refusals while too few requests succeed (Envoy:
    /// `extensions.filters.http.admission_control.v3.AdmissionControl`).
    AdmissionControl(Arc<AdmissionControl>),
    /// Faults on purpose (Envoy: `extensions.filters.http.fault.v3.HTTPFault`; gRFC A33).
    Fault(Arc<Fault>),
    /// How large a body may be (Envoy: `extensions.filters.http.buffer.v3.Buffer`).
    BodySizeLimit(Arc<BodySizeLimit>),
    /// Edits of headers (Envoy: `extensions.filters.http.header_mutation.v3.HeaderMutation`).
    HeaderMutation(Arc<HeaderMutationFilter>),
}

/// What a virtual host, a route or a part of a split says of a filter. The most specific one counts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HttpFilterOverride {
    /// It is off here (Envoy: `FilterConfig.disabled`, `disabled: true`).
    Disabled,
    /// It is on here, as its chain configured it (Envoy: `FilterConfig` with nothing in it).
    Enabled,
    /// It does this here, in place of what its chain says (Envoy: `RBACPerRoute` and others).
    Config(HttpFilterConfig),
    /// Tokens: the requirement of this name counts here (Envoy: `jwt_authn.v3.PerRouteConfig`).
    JwtRequirement(Arc<str>),
    /// The authorizer is asked like this here (Envoy: `ext_authz.v3.ExtAuthzPerRoute`).
    ExtAuthz(Arc<ExtAuthzPerRoute>),
    /// Requests count like this here (Envoy: `ratelimit.v3.RateLimitPerRoute`).
    RateLimit(Arc<RateLimitPerRoute>),
}

/// What is said of filters, by their names.
pub type HttpFilterOverrides = BTreeMap<Arc<str>, HttpFilterOverride>;

impl HttpFilter {
    /// A filter that is on.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, config: HttpFilterConfig) -> Self {
        Self { name: name.into(), config, disabled: false }
    }
}

impl HttpFilterConfig {
    /// The clusters that the filter asks somebody in.
    #[must_use]
    pub fn clusters(&self) -> Vec<&Arc<str>> {
        match self {
            Self::JwtAuthn(jwt) => {
                let remote = jwt.providers.values().filter_map(|provider| match &provider.jwks {
                    JwksSource::Remote(remote) => Some(&remote.http_uri.cluster),
                    JwksSource::Inline(_) | JwksSource::File(_) => None,
                });
                remote.collect()
            }
            Self::ExtAuthz(authz) => vec![authz.service.cluster()],
            Self::RateLimit(limit) => vec![&limit.service.cluster],
            Self::Rbac(_)
            | Self::LocalRateLimit(_)
            | Self::ConcurrencyLimit(_)
            | Self::AdaptiveConcurrency(_)
            | Self::AdmissionControl(_)
            | Self::Fault(_)
            | Self::BodySizeLimit(_)
            | Self::HeaderMutation(_) => Vec::new(),
        }
    }
}

impl HttpFilterOverride {
    /// The clusters that the filter asks somebody in because of it.
    #[must_use]
    pub fn clusters(&self) -> Vec<&Arc<str>> {
        match self {
            Self::Config(config) => config.clusters(),
            Self::ExtAuthz(said) => said.service.iter().map(AuthzService::cluster).collect(),
            Self::Disabled | Self::Enabled | Self::JwtRequirement(_) | Self::RateLimit(_) => {
                Vec::new()
            }
        }
    }
}
