//! The connections of one endpoint: dialled, shared, limited, kept alive, retired and closed.
//!
//! Why our own pool: a mesh sends one authority to an endpoint that it chose, so a pool keyed by
//! authority is of no use; and `hyper`'s HTTP/2 client spawns a task for each request and says "ready"
//! beyond the peer's stream limit. Here HTTP/2 is driven over `h2` itself, whose futures have names:
//! a call costs no task, no channel and no allocation of ours.
//!
//! The rules:
//! - A stream is reserved against min(the peer's `SETTINGS_MAX_CONCURRENT_STREAMS`, ours) before it is
//!   opened, so nothing queues inside `h2` (RFC 9113 section 5.1.2).
//! - Who finds no room waits in a bounded first-in-first-out queue (Envoy: `max_pending_requests`);
//!   connections are added while the limits allow (Envoy: `max_connections`).
//! - A request that was certainly not processed comes back as such: unsent ones with the request itself
//!   ([`SendError::request`]), refused ones as [`Processed::No`](mesh_core::outcome::Processed::No).
//! - A retired connection (GOAWAY, age, number of calls, endpoint removed) takes no new calls and ends
//!   with its last one.
//!
//! ```text
//!  send ── lease a stream ──────────────► h2::start ── head, body ──► Sending ──► NetBody
//!    │       no room │                        ▲                          (lease or connection held
//!    │               ▼                        │                           until the body ends)
//!    │        queue of waiters ── granted ────┤
//!    └─ check out an idle connection ──► h1::start
//!                    ▲
//!   Attempt (dial, handshake) ── opened ── driver task of the connection ── closed
//! ```
//!
//! What is not HTTP, or may not stay so, has a connection of its own (`own.rs`, `own_http.rs`), in the same limits; an
//! upgrade to an endpoint of HTTP/2 is a stream of a shared one (`own_h2.rs`).
//!
//! It does not choose endpoints, retry by policy, or time calls out.

#[cfg(feature = "tls")]
pub(crate) mod alpn;
pub(crate) mod dial;
mod endpoint_pool;
mod establish;
mod failure;
mod h1;
mod h2;
mod head;
mod io;
mod lanes;
mod net_body;
mod own;
mod own_h2;
mod own_http;
mod own_ports;
mod raw;
pub(crate) mod sending;
mod shared;
mod upkeep;

#[cfg(test)]
mod tests;

pub(crate) use dial::connect_any;
pub use dial::{BoxedIo, Connect, Connecting, Io, TcpConnector};
pub(crate) use endpoint_pool::{Connections, EndpointPool};
pub(crate) use io::NetIo;
pub use net_body::{NetBody, NetBodyError};
pub(crate) use own::{Opened, Opening};
pub(crate) use own_h2::H2Stream;
pub(crate) use own_http::OwnBody;
pub(crate) use own_ports::{OwnPorts, ToOthers};
pub(crate) use sending::Sending;

use crate::observe::events::{CloseReason, Security};
use crate::{BoxError, MeshBody};
use arc_swap::ArcSwap;
use http::Request;
use mesh_core::model;
use mesh_core::outcome::{ConnectFailure, Failure};
use mesh_core::update::Secrets;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What all endpoints of a cluster share; replaced as a whole when the cluster's configuration changes.
///
/// Connections keep the settings that they were made with; new ones take those of the latest call.
#[derive(Clone, Debug)]
pub(crate) struct PoolSettings {
    /// Which HTTP connections speak.
    pub(crate) speaks: Speaks,
    /// Limits and life of connections.
    pub(crate) options: model::ConnectionOptions,
    /// HTTP/1.1: answers have with them how their names were written, as hyper keeps it.
    pub(crate) preserve_header_case: bool,
    /// Most connections to one endpoint; `None`: only the cluster's limit.
    pub(crate) max_connections_per_endpoint: Option<u32>,
    /// What byte streams begin with.
    pub(crate) proxy_protocol: Option<model::ProxyProtocol>,
    /// Whether connections are secured. Fails closed unless `secure` can, or `dial` says that it secures
    /// them itself.
    pub(crate) tls: model::TlsPolicy,
    /// Who secures them; `None`: nobody.
    #[cfg(feature = "tls")]
    pub(crate) secure: Option<Arc<crate::tls::client::ClientTls>>,
    /// The secrets in force, of all clusters: looked up when a connection is made.
    pub(crate) secrets: Arc<ArcSwap<Secrets>>,
    /// Who makes the byte streams.
    pub(crate) dial: Arc<dyn Connect>,
    /// Where connections live.
    pub(crate) runtime: tokio::runtime::Handle,
    /// The cluster's circuit breakers.
    pub(crate) limits: Arc<dyn PoolLimits>,
}

/// The part of a cluster's circuit breakers that is about connections (Envoy: `Thresholds`), and where
/// they are counted.
///
/// Called only when a connection is made or waited for, some of it under the pool's lock: no method
/// may block or call back.
pub(crate) trait PoolLimits: Send + Sync + fmt::Debug {
    /// Takes a connection; `false` when `max_connections` is reached.
    ///
    /// `first`: the endpoint has none that could serve the call. Envoy then allows one beyond the
    /// limit, or calls would wait for connections that other endpoints hold.
    fn try_connection(&self, first: bool) -> bool;
    /// Gives a connection back.
    fn release_connection(&self);
    /// A connection became usable, secured like this; `calls` are those that are sent on it.
    fn connection_opened(&self, security: &Security, calls: &Arc<AtomicU64>);
    /// A connection was not made.
    fn connection_failed(&self, why: ConnectFailure);
    /// A connection that was usable ended.
    fn connection_closed(&self, reason: CloseReason);
    /// Takes a place to wait among calls of `priority`; `false` when their `max_pending_requests` is reached.
    fn try_pending(&self, priority: model::RoutingPriority) -> bool;
    /// Gives the place back.
    fn release_pending(&self, priority: model::RoutingPriority);
}

/// Why there is no response head.
#[derive(Debug)]
#[expect(unnameable_types, reason = "what hangs on the live state is the mesh's own")]
pub struct SendError {
    /// The reason, in the words that all deciders share.
    pub(crate) failure: Failure,
    /// The request, when nothing of it was sent. Connection-specific headers may be gone from it.
    pub(crate) request: Option<Box<Request<MeshBody>>>,
    /// What the transport said.
    pub(crate) source: Option<BoxError>,
}

impl SendError {
    fn new(failure: Failure) -> Self {
        Self { failure, request: None, source: None }
    }

    fn with_request(mut self, request: Request<MeshBody>) -> Self {
        self.request = Some(Box::new(request));
        self
    }

    fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

/// Which HTTP a connection speaks; each has a lane of its own in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    H1,
    H2,
}

impl Kind {
    const fn other(self) -> Self {
        match self {
            Self::H1 => Self::H2,
            Self::H2 => Self::H1,
        }
    }
}

/// Which HTTP the calls of a cluster are sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/2 for HTTP/2 requests and for gRPC, else HTTP/1.1.
    AsCall,
    /// What the endpoint agreed on, for all calls.
    AsAgreed,
    /// Not HTTP.
    Bytes,
}

impl Speaks {
    /// Without TLS.
    pub(crate) const fn of(protocol: model::Protocol) -> Self {
        match protocol {
            model::Protocol::Http1 => Self::Http1,
            model::Protocol::Http2 => Self::Http2,
            model::Protocol::Auto => Self::AsCall,
            model::Protocol::Tcp => Self::Bytes,
        }
    }

    /// What `self as u8` was made of.
    pub(crate) const fn of_byte(byte: u8) -> Self {
        const HTTP1: u8 = Speaks::Http1 as u8;
        const HTTP2: u8 = Speaks::Http2 as u8;
        const AS_CALL: u8 = Speaks::AsCall as u8;
        const AS_AGREED: u8 = Speaks::AsAgreed as u8;
        match byte {
            HTTP1 => Self::Http1,
            HTTP2 => Self::Http2,
            AS_CALL => Self::AsCall,
            AS_AGREED => Self::AsAgreed,
            _ => Self::Bytes,
        }
    }

    /// The lane of `request`; `None`: the cluster does not speak HTTP.
    fn lane(self, shared: &shared::Shared, request: &Request<MeshBody>) -> Option<Kind> {
        match self {
            Self::Http1 => Some(Kind::H1),
            Self::Http2 => Some(Kind::H2),
            Self::AsCall => {
                let h2 = request.version() == http::Version::HTTP_2
                    || mesh_core::head::is_grpc_content_type(request.headers());
                Some(if h2 { Kind::H2 } else { Kind::H1 })
            }
            Self::AsAgreed => Some(shared.agreed()),
            Self::Bytes => None,
        }
    }
}
