//! Routes: which requests, and what becomes of them (Envoy: `config.route.v3.Route`).

use super::http_filter::RateLimitPolicy;
use super::metadata::Metadata;
use super::{
    Fraction, HashPolicy, HeaderMatcher, HeaderMutations, HedgePolicy, HttpFilterOverrides,
    PathMatcher, QueryParameterMatcher, RegexPattern, RetryPolicy, RoutingPriority,
};
use bytes::Bytes;
use http::{HeaderName, Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// One rule of a virtual host. The first whose matcher accepts a request decides.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Route {
    /// Name for logs, metrics and `mesh explain`; made from the place when not given.
    pub name: Arc<str>,
    /// Which requests.
    pub matcher: RouteMatch,
    /// What becomes of them.
    pub action: RouteAction,
    /// Header edits of this level.
    pub headers: HeaderMutations,
    /// What is said here of filters, before what the virtual host says (Envoy:
    /// `typed_per_filter_config`).
    pub filters: HttpFilterOverrides,
    /// What requests count as for the rate limits of a server (Envoy: `RouteAction.rate_limits`).
    pub rate_limits: Option<Arc<RateLimitPolicy>>,
    /// What filters of a server may ask of the route (Envoy: `metadata`; [`MetadataSource::Route`], and
    /// `xds.route_metadata` of CEL).
    ///
    /// [`MetadataSource::Route`]: super::MetadataSource::Route
    pub metadata: Arc<Metadata>,
}

impl Route {
    /// A route without header edits.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, matcher: RouteMatch, action: RouteAction) -> Self {
        let (headers, filters) = (HeaderMutations::default(), HttpFilterOverrides::new());
        let (rate_limits, metadata) = (None, Arc::default());
        Self { name: name.into(), matcher, action, headers, filters, rate_limits, metadata }
    }

    /// A route called `all`, which takes every request.
    #[must_use]
    pub fn forward(action: ForwardAction) -> Self {
        Self::new("all", RouteMatch::any(), RouteAction::Forward(action))
    }
}

/// Which requests a route takes: everything said here must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteMatch {
    /// How the path must look.
    pub path: PathMatcher,
    /// Whether letters' case counts in the path; never for a regex. Default true.
    pub case_sensitive: bool,
    /// Conditions on headers.
    pub headers: Vec<HeaderMatcher>,
    /// Conditions on query parameters.
    pub query_parameters: Vec<QueryParameterMatcher>,
    /// The methods taken; empty: all.
    pub methods: Vec<Method>,
    /// Only gRPC requests, by their content type.
    pub grpc: bool,
    /// Only this share of requests, drawn at random.
    pub runtime_fraction: Option<Fraction>,
}

impl RouteMatch {
    /// Every request whose path matches.
    #[must_use]
    pub const fn new(path: PathMatcher) -> Self {
        Self {
            path,
            case_sensitive: true,
            headers: Vec::new(),
            query_parameters: Vec::new(),
            methods: Vec::new(),
            grpc: false,
            runtime_fraction: None,
        }
    }

    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::new(PathMatcher::any())
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RouteAction {
    /// It goes to a cluster.
    Forward(ForwardAction),
    /// The caller is sent elsewhere.
    Redirect(Redirect),
    /// It is answered here.
    DirectResponse(DirectResponse),
    /// It is for the server that it came to (Envoy: `non_forwarding_action`; gRFC A36). A client has no
    /// such route: its calls are refused as if there were none.
    NonForwarding,
}

/// How a request goes to a cluster (Envoy: `RouteAction`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ForwardAction {
    /// Which cluster.
    pub cluster: ClusterSpecifier,
    /// Limit of the whole call, retries included, to the end of the response. Default 15 s; zero: no
    /// limit. For gRPC streams use `max_stream_duration` and set this to zero.
    pub timeout: Duration,
    /// Limit of a stream's life; takes the timeout's place for gRPC (gRFC A31).
    pub max_stream_duration: Option<MaxStreamDuration>,
    /// The longest silence, before the response head and after; `None`: no limit.
    pub idle_timeout: Option<Duration>,
    /// When a failed attempt is tried again; the virtual host's policy when `None`, never merged.
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// Whether attempts may overlap.
    pub hedge_policy: Option<HedgePolicy>,
    /// What the request is hashed by, for consistent hashing.
    pub hash_policy: Vec<HashPolicy>,
    /// Change of the path.
    pub path_rewrite: Option<PathRewrite>,
    /// Change of the authority.
    pub host_rewrite: Option<HostRewrite>,
    /// Which set of circuit breakers counts this call.
    pub priority: RoutingPriority,
    /// Whether the request is saved so that it can go elsewhere when a server did not process it
    /// (gRFC A6 "transparent retries"). Default true.
    pub transparent_retry: bool,
    /// Whether the gRPC status in the trailers of a unary answer is waited for before the response is
    /// handed over, so that it can be retried. Only for methods known to be unary. Default false:
    /// trailers are looked at only when they are there already.
    pub peek_trailers_wait: bool,
}

impl ForwardAction {
    /// Forwards to `cluster` with a timeout of 15 s.
    #[must_use]
    pub const fn new(cluster: ClusterSpecifier) -> Self {
        Self {
            cluster,
            timeout: Duration::from_secs(15),
            max_stream_duration: None,
            idle_timeout: None,
            retry_policy: None,
            hedge_policy: None,
            hash_policy: Vec::new(),
            path_rewrite: None,
            host_rewrite: None,
            priority: RoutingPriority::Default,
            transparent_retry: true,
            peek_trailers_wait: false,
        }
    }

    /// Forwards to the cluster of this name with a timeout of 15 s.
    #[must_use]
    pub fn to(cluster: impl Into<Arc<str>>) -> Self {
        Self::new(ClusterSpecifier::Cluster(cluster.into()))
    }
}

/// Limits of a stream's life (Envoy: `RouteAction.MaxStreamDuration`; gRFC A31).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaxStreamDuration {
    /// The limit; zero: none.
    pub max_stream_duration: Option<Duration>,
    /// The longest `grpc-timeout` that is granted, and the limit's place-holder for gRPC; zero: the
    /// caller's deadline alone.
    pub grpc_timeout_header_max: Option<Duration>,
}

/// Which cluster takes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClusterSpecifier {
    /// The one of this name.
    Cluster(Arc<str>),
    /// One of several, by weight.
    Split(Split),
    /// The one that a request header names; no such header or cluster is a routing failure.
    Header(HeaderName),
}

/// Several clusters by weight (Envoy: `WeightedCluster`; gRFC A28 "traffic splitting").
///
/// Drawn once per call, before any attempt: retries stay with their cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Split {
    /// The clusters. The sum of weights is at least 1 and at most `u32::MAX`.
    pub clusters: Vec<SplitCluster>,
    /// How the draw is made.
    pub by: SplitBy,
}

impl Split {
    /// A random draw among `clusters`.
    #[must_use]
    pub const fn new(clusters: Vec<SplitCluster>) -> Self {
        Self { clusters, by: SplitBy::Random }
    }
}

/// One part of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SplitCluster {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// Its share; 0: none.
    pub weight: u32,
    /// Header edits of this level.
    pub headers: HeaderMutations,
}

impl SplitCluster {
    /// A part without header edits.
    #[must_use]
    pub fn new(cluster: impl Into<Arc<str>>, weight: u32) -> Self {
        Self { cluster: cluster.into(), weight, headers: HeaderMutations::default() }
    }
}

/// How the draw of a split is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitBy {
    /// At random.
    #[default]
    Random,
    /// By the hash of these inputs, so that the same user stays on one side while weights stand. A
    /// request without any of them is drawn at random.
    Hash(Vec<HashPolicy>),
    /// By a header whose value is the draw itself, a decimal number (Envoy: `header_name`); a missing
    /// or malformed one is drawn at random.
    HeaderValue(HeaderName),
}

/// Change of the path before the request is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathRewrite {
    /// What the route's prefix (or whole path, for an exact match) matched is replaced.
    Prefix(Arc<str>),
    /// Every match of the pattern in the path, query apart, is replaced (`\1` is the first group).
    Regex {
        /// The pattern.
        pattern: RegexPattern,
        /// What takes its place.
        substitution: Arc<str>,
    },
    /// The whole path is replaced; the query stays.
    Full(Arc<str>),
}

/// Change of the authority before the request is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostRewrite {
    /// To this text.
    Literal(Arc<str>),
    /// To the value of a request header; nothing when it is missing.
    Header(HeaderName),
    /// To the endpoint's hostname (Envoy: `auto_host_rewrite`; gRFC A81).
    Auto,
    /// To the path with the pattern replaced (Envoy: `host_rewrite_path_regex`).
    PathRegex {
        /// The pattern.
        pattern: RegexPattern,
        /// What takes its place.
        substitution: Arc<str>,
    },
}

/// Sends the caller elsewhere (Envoy: `RedirectAction`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redirect {
    /// The status: 301, 302, 303, 307 or 308. Default 301.
    pub status: StatusCode,
    /// Replaces the scheme.
    pub scheme: Option<Arc<str>>,
    /// Replaces the host.
    pub host: Option<Arc<str>>,
    /// Replaces the port.
    pub port: Option<u16>,
    /// Replaces (part of) the path.
    pub path: Option<PathRewrite>,
    /// Leaves the query out. Default false.
    pub strip_query: bool,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            status: StatusCode::MOVED_PERMANENTLY,
            scheme: None,
            host: None,
            port: None,
            path: None,
            strip_query: false,
        }
    }
}

/// Answers the request here (Envoy: `DirectResponseAction`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectResponse {
    /// The status, 200 to 599.
    pub status: StatusCode,
    /// The body, at most 4096 bytes.
    pub body: Bytes,
}

impl DirectResponse {
    /// An answer with the given status and body.
    #[must_use]
    pub const fn new(status: StatusCode, body: Bytes) -> Self {
        Self { status, body }
    }
}
