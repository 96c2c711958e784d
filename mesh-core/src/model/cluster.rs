//! Clusters: a logical service and how to talk to it (Envoy: `config.cluster.v3.Cluster`).

use super::{CircuitBreakers, LbPolicy, OutlierDetection, TlsMatch, TlsPolicy};
use std::sync::Arc;
use std::time::Duration;

/// A logical service: where its endpoints come from, and how to talk to them.
///
/// The endpoints themselves come apart, as a [`ClusterLoadAssignment`](super::ClusterLoadAssignment),
/// because they change more often.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Cluster {
    /// Its name: the key.
    pub name: Arc<str>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// How an endpoint is chosen.
    pub lb_policy: LbPolicy,
    /// How its connections speak.
    pub protocol: Protocol,
    /// How its connections are secured, if none of `tls_matches` says otherwise for their endpoint.
    pub tls: TlsPolicy,
    /// How connections to some of its endpoints are secured: the first that fits an endpoint's labels, or
    /// else its locality's, counts before `tls` (Envoy: `transport_socket_matches`). Default none.
    pub tls_matches: Vec<TlsMatch>,
    /// Limits and life of its connections.
    pub connection: ConnectionOptions,
    /// What byte streams to its endpoints begin with, so that those learn who connects (Envoy: the transport socket
    /// `upstream_proxy_protocol`). Of [`Protocol::Tcp`] only: connections for calls are shared. Default nothing.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Concurrency limits.
    pub circuit_breakers: CircuitBreakers,
    /// When an endpoint is taken out; `None`: never.
    pub outlier_detection: Option<OutlierDetection>,
    /// How many retries are allowed.
    pub retry_budget: RetryBudgetPolicy,
}

impl Cluster {
    /// A cluster with static endpoints and the defaults everywhere.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            discovery: Discovery::Static,
            lb_policy: LbPolicy::default(),
            protocol: Protocol::default(),
            tls: TlsPolicy::default(),
            tls_matches: Vec::new(),
            connection: ConnectionOptions::default(),
            proxy_protocol: None,
            circuit_breakers: CircuitBreakers::default(),
            outlier_detection: None,
            retry_budget: RetryBudgetPolicy::default(),
        }
    }
}

/// A version of the PROXY protocol (HAProxy: "The PROXY protocol", versions 1 and 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by the PROXY protocol")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Where a cluster's endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discovery {
    /// From the configuration, or from a control plane: either way with the update.
    Static,
    /// Every address of the names is an endpoint (Envoy: `STRICT_DNS`).
    StrictDns(DnsOptions),
    /// One endpoint whose address is whatever the name resolves to now (Envoy: `LOGICAL_DNS`).
    LogicalDns(DnsOptions),
    /// None of its own: it stands for these clusters, the earlier ones first (Envoy:
    /// `envoy.clusters.aggregate`; gRFC A37, A75).
    ///
    /// They are named once each, and are no aggregates themselves: a name of another aggregate, or of
    /// no cluster, is left out. Each keeps its own policies, connections and counts, which it shares
    /// with routes that name it directly. Of what this cluster says, only
    /// [`retry_budget`](Cluster::retry_budget) and the limit of retries in
    /// [`circuit_breakers`](Cluster::circuit_breakers) have an effect: they belong to a call as a
    /// whole, which may try several children (Envoy's `max_retries` is the aggregate's too: retries are
    /// admitted before a child is chosen).
    Aggregate(Arc<[Arc<str>]>),
}

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsOptions {
    /// The names with their ports.
    pub names: Vec<(Arc<str>, u16)>,
    /// Time between two resolutions (Envoy: `dns_refresh_rate`). Default 5 s.
    pub refresh_rate: Duration,
    /// Waits for the answer's TTL instead, when it has one (Envoy: `respect_dns_ttl`, off there).
    /// Default true.
    pub respect_ttl: bool,
    /// The least time that a TTL makes it wait (Envoy: `dns_min_refresh_rate`). Default 5 s.
    pub min_refresh_rate: Duration,
    /// Which addresses are used. `None`: [`V4Preferred`](DnsLookupFamily::V4Preferred) where each
    /// address is an endpoint, [`All`](DnsLookupFamily::All) for a logical cluster.
    pub lookup_family: Option<DnsLookupFamily>,
}

/// Which of a name's addresses are used (Envoy: `DnsLookupFamily`).
///
/// Envoy's default is `AUTO`. Here it is `V4Preferred` for strict clusters: an IPv6 address in a zone
/// does not say that there is a way to it, an endpoint without one fails its calls, and a service that
/// listens on both would be two endpoints of one server. A logical cluster tries its addresses one
/// after another (RFC 8305), so it takes all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `DnsLookupFamily`")]
pub enum DnsLookupFamily {
    /// IPv6 addresses; IPv4 ones when there are none.
    Auto,
    /// IPv4 addresses only.
    V4Only,
    /// IPv6 addresses only.
    V6Only,
    /// IPv4 addresses; IPv6 ones when there are none.
    V4Preferred,
    /// Both.
    All,
}

impl DnsOptions {
    /// Resolves one name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, port: u16) -> Self {
        Self {
            names: vec![(name.into(), port)],
            refresh_rate: Duration::from_secs(5),
            respect_ttl: true,
            min_refresh_rate: Duration::from_secs(5),
            lookup_family: None,
        }
    }
}

/// How connections speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: how a call is put on the wire")]
pub enum Protocol {
    /// As the call: HTTP/2 for gRPC and for HTTP/2 requests, else HTTP/1.1; ALPN decides under TLS.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, in cleartext with prior knowledge.
    Http2,
    /// Not HTTP: bytes.
    Tcp,
}

/// Limits and life of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionOptions {
    /// Limit of connecting, the TLS handshake included. Default 5 s.
    pub connect_timeout: Duration,
    /// A connection without calls for this long is closed; zero: never. Default 1 h.
    pub idle_timeout: Duration,
    /// A connection this old takes no new calls and closes when those in flight end; zero: never.
    /// Default never.
    pub max_connection_age: Duration,
    /// Each connection's age limit is shortened by up to this share, so that they do not all end at
    /// once, in percent. Default 10.
    pub max_connection_age_jitter: u32,
    /// A connection that took this many calls takes no more; 0: no limit.
    pub max_requests_per_connection: u32,
    /// HTTP/2: a PING is sent after this long without a frame while calls are in flight; zero: never.
    /// Default never.
    pub keepalive_interval: Duration,
    /// HTTP/2: a PING without answer for this long closes the connection. Default 20 s.
    pub keepalive_timeout: Duration,
    /// HTTP/2: PINGs are sent without calls in flight too. Default false.
    pub keepalive_while_idle: bool,
    /// HTTP/2: most streams on one connection, whatever the peer allows. Default 1024.
    pub max_concurrent_streams: u32,
    /// Head start of the first address family when a name has both (RFC 8305). Default 250 ms.
    pub happy_eyeballs_delay: Duration,
    /// Largest response head, in bytes. Default 64 KiB.
    pub max_response_head: u32,
    /// The most headers of a response (Envoy: `max_headers_count`); more than
    /// [`MOST_HEADERS`](crate::head::MOST_HEADERS) are never taken. Default 100.
    pub max_response_headers: u32,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(3600),
            max_connection_age: Duration::ZERO,
            max_connection_age_jitter: 10,
            max_requests_per_connection: 0,
            keepalive_interval: Duration::ZERO,
            keepalive_timeout: Duration::from_secs(20),
            keepalive_while_idle: false,
            max_concurrent_streams: 1024,
            happy_eyeballs_delay: Duration::from_millis(250),
            max_response_head: 64 * 1024,
            max_response_headers: 100,
        }
    }
}

/// How many retries a cluster allows: tokens over time, on by default.
///
/// Each call earns `ratio` tokens, and `min_per_second` come on average whatever the calls; each retry
/// takes one. Over any span of `t ≥ window`, wherever it begins, with `c` calls in it, at most
/// `ratio · c + min_per_second · t` retries are made: an outage is bounded by its own calls, whatever
/// traffic there was before. Two thirds of `min_per_second · window` (at least 10) can be saved and
/// spent at once. See [`RetryBudget`](crate::call::RetryBudget).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryBudgetPolicy {
    /// Whether tokens limit retries at all. Default true.
    pub enabled: bool,
    /// Retries per call. Default 0.2.
    pub ratio: f64,
    /// Retries per second that are allowed whatever the calls, on average over a window. Default 10.
    pub min_per_second: u32,
    /// The shortest span over which the rule holds: what a burst of retries takes beyond it is made up
    /// for within this time. Default 10 s, at least 1 s.
    pub window: Duration,
    /// Envoy's rule in addition: at most this percentage of active and pending calls may be retries
    /// (Envoy: `retry_budget.budget_percent`), and at least the concurrency that follows.
    pub concurrency: Option<RetryConcurrency>,
}

impl Default for RetryBudgetPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            ratio: 0.2,
            min_per_second: 10,
            window: Duration::from_secs(10),
            concurrency: None,
        }
    }
}

/// Envoy's retry budget: retries active ≤ max(percent · (active + pending), minimum).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryConcurrency {
    /// Percent of active and pending calls. Default 20.
    pub budget_percent: f64,
    /// Retries that are always allowed. Default 3.
    pub min_retry_concurrency: u32,
}

impl Default for RetryConcurrency {
    fn default() -> Self {
        Self { budget_percent: 20.0, min_retry_concurrency: 3 }
    }
}
