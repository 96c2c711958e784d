//! Concurrency limits of a cluster (Envoy: `config.cluster.v3.CircuitBreakers`).

/// The limits of a cluster, one set per routing priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitBreakers {
    /// Limits of calls by routes of default priority.
    pub default: Thresholds,
    /// Limits of calls by routes of high priority.
    pub high: Thresholds,
    /// Connections to any single endpoint (Envoy: `per_host_thresholds.max_connections`;
    /// gRFC A105); `None`: no limit of its own.
    pub max_connections_per_endpoint: Option<u32>,
}

/// The limits of one routing priority. `u32::MAX` is no limit; `0` refuses everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Thresholds {
    /// Open connections. Default 1024.
    pub max_connections: u32,
    /// Calls that wait for a connection. Default 1024.
    pub max_pending_requests: u32,
    /// Attempts in flight. Default 1024.
    pub max_requests: u32,
    /// Retries in flight, those that wait in back-off included. `None`: only the retry budget limits
    /// them (Envoy's default is 3, too few beside a budget).
    pub max_retries: Option<u32>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: None,
        }
    }
}

/// Which set of limits a route's calls count against (Envoy: `RoutingPriority`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `RoutingPriority`")]
pub enum RoutingPriority {
    /// Everyday traffic.
    #[default]
    Default,
    /// Traffic with limits of its own.
    High,
}
