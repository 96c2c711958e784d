//! What the configuration says, in Envoy's words: plain data, comparable, without run-time state.
//!
//! The types here hold no atomics, locks, channels or trait objects; what is learnt while running
//! lives in [`crate::state`]. Every name is Envoy's (`config.route.v3`, `config.cluster.v3`, …) and
//! the item's documentation says where Envoy and gRPC differ. Structs are `#[non_exhaustive]`: make
//! one with `new` or `default` and set its public fields.

pub mod cel;
pub mod cidr;
pub mod circuit_breakers;
pub mod cluster;
pub mod egress;
pub mod endpoint;
pub mod filter_chain;
pub mod hash_policy;
pub mod header_mutation;
pub mod http_filter;
pub mod identity;
pub mod lb_policy;
pub mod listener;
pub mod locality;
pub mod matcher;
pub mod metadata;
pub mod outlier_detection;
pub mod rbac;
pub mod retry_policy;
pub mod route;
pub mod route_configuration;
pub mod san;
pub mod secret;
pub mod tls;
pub mod virtual_host;

pub use cel::{CelComprehension, CelConstant, CelExpr, Condition};
pub use cidr::Cidr;
pub use circuit_breakers::{CircuitBreakers, RoutingPriority, Thresholds};
pub use cluster::{
    Cluster, ConnectionOptions, Discovery, DnsLookupFamily, DnsOptions, Protocol, ProxyProtocol,
    RetryBudgetPolicy,
};
pub use egress::{Egress, EgressHost, EgressRule};
pub use endpoint::{
    Address, ClusterLoadAssignment, DropOverload, Endpoint, HealthStatus, LocalityEndpoints,
};
pub use filter_chain::{FilterChain, FilterChainMatch, HttpConnectionManager};
pub use hash_policy::{HashPolicy, HashSource};
pub use header_mutation::{AppendAction, HeaderMutation, HeaderMutations};
pub use http_filter::{
    AdaptiveConcurrency, AdmissionControl, BodySizeLimit, ConcurrencyLimit, ExtAuthz, Fault,
    GrpcService, HeaderMutationFilter, HttpFilter, HttpFilterConfig, HttpFilterOverride,
    HttpFilterOverrides, HttpUri, JwtAuthn, LocalRateLimit, RateLimit, RateLimitScope, TokenBucket,
};
pub use identity::{IdentityConfig, IdentityFiles, IdentityOrigin};
pub use lb_policy::{LbAlgorithm, LbPolicy, SlowStart};
pub use listener::{Capture, ChainForward, Forward, ForwardTo, Listener};
pub use locality::Locality;
pub use matcher::{
    Fraction, HeaderMatcher, PathMatcher, QueryParameterMatcher, RegexPattern, StringMatcher,
};
pub use metadata::{
    FilterState, FilterStateMatcher, FilterStateValue, Metadata, MetadataMatcher, MetadataSource,
    MetadataValue, ValueMatcher,
};
pub use outlier_detection::OutlierDetection;
pub use rbac::{
    AuditCondition, AuditLogger, Permission, Policy, Principal, Rbac, RbacAction, RbacFilter,
    RbacHeader, RbacHeaderName, RbacHeaderRefused,
};
pub use retry_policy::{BackOff, HedgePolicy, RateLimitedBackOff, RetryOn, RetryPolicy};
pub use route::{
    ClusterSpecifier, DirectResponse, ForwardAction, HostRewrite, PathRewrite, Redirect, Route,
    RouteAction, RouteMatch, Split, SplitBy, SplitCluster,
};
pub use route_configuration::RouteConfiguration;
pub use san::{SanKind, SanMatcher};
pub use secret::Secret;
pub use tls::{DownstreamTls, TlsLabels, TlsMatch, TlsPolicy};
pub use virtual_host::{Domain, VirtualHost};
