//! Services that filters ask, by the cluster that they are in (Envoy: `GrpcService.EnvoyGrpc`, `HttpUri`).

use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// A gRPC service that a filter asks (Envoy: `config.core.v3.GrpcService`, of which only `envoy_grpc`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrpcService {
    /// The cluster that it is in.
    pub cluster: Arc<str>,
    /// `:authority` of the call; `None`: the cluster's name.
    pub authority: Option<Arc<str>>,
    /// The longest time to wait for its answer; zero: only the request's own deadline counts.
    pub timeout: Duration,
    /// Headers of each call (Envoy: `initial_metadata`).
    pub initial_metadata: Vec<(HeaderName, HeaderValue)>,
}

impl GrpcService {
    /// A service in `cluster`.
    #[must_use]
    pub fn new(cluster: impl Into<Arc<str>>, timeout: Duration) -> Self {
        Self { cluster: cluster.into(), authority: None, timeout, initial_metadata: Vec::new() }
    }
}

/// Something that is asked for over HTTP (Envoy: `config.core.v3.HttpUri`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpUri {
    /// Its URI: authority and path count. The cluster says where that is, and whether it is encrypted.
    pub uri: Arc<str>,
    /// The cluster.
    pub cluster: Arc<str>,
    /// The longest time to wait for its answer.
    pub timeout: Duration,
}

impl HttpUri {
    /// A URI that is reached through `cluster`.
    #[must_use]
    pub fn new(uri: impl Into<Arc<str>>, cluster: impl Into<Arc<str>>, timeout: Duration) -> Self {
        Self { uri: uri.into(), cluster: cluster.into(), timeout }
    }
}
