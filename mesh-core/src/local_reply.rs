//! What the mesh answers by itself: a typed [`Reason`], Envoy's [`ResponseFlag`] for it, and the one
//! table that maps both to HTTP and gRPC.

use crate::egress::EgressRefusal;
use crate::outcome::{
    ConnectFailure, Failure, NoEndpoint, Overflow, ProtocolFailure, ResetReason, grpc,
};
use http::StatusCode;
use std::fmt;

macro_rules! flags {
    ($($(#[$doc:meta])* $variant:ident = $short:literal, $long:literal;)*) => {
        /// Envoy's response flags (`data.accesslog.v3.ResponseFlags`, `%RESPONSE_FLAGS%`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum ResponseFlag { $($(#[$doc])* $variant,)* }

        impl ResponseFlag {
            /// Every flag.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The letters that access logs show.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $short,)* }
            }

            /// The long name of the field.
            #[must_use]
            pub const fn long_name(self) -> &'static str {
                match self { $(Self::$variant => $long,)* }
            }
        }
    };
}

flags! {
    /// No healthy endpoint.
    NoHealthyUpstream = "UH", "no_healthy_upstream";
    /// No connection to the endpoint.
    UpstreamConnectionFailure = "UF", "upstream_connection_failure";
    /// The endpoint ended the connection.
    UpstreamConnectionTermination = "UC", "upstream_connection_termination";
    /// The endpoint reset the stream.
    UpstreamRemoteReset = "UR", "upstream_remote_reset";
    /// We reset the stream.
    LocalReset = "LR", "local_reset";
    /// The call's time was up.
    UpstreamRequestTimeout = "UT", "upstream_request_timeout";
    /// A circuit breaker was full.
    UpstreamOverflow = "UO", "upstream_overflow";
    /// Retries were used up.
    UpstreamRetryLimitExceeded = "URX", "upstream_retry_limit_exceeded";
    /// No virtual host or route.
    NoRouteFound = "NR", "no_route_found";
    /// The route's cluster does not exist.
    NoClusterFound = "NC", "no_cluster_found";
    /// The caller went away.
    DownstreamConnectionTermination = "DC", "downstream_connection_termination";
    /// A stream was silent for too long.
    StreamIdleTimeout = "SI", "stream_idle_timeout";
    /// A stream lived for too long.
    UpstreamMaxStreamDurationReached = "UMSDR", "upstream_max_stream_duration_reached";
    /// The endpoint's response broke the protocol.
    UpstreamProtocolError = "UPE", "upstream_protocol_error";
    /// The request broke the protocol.
    DownstreamProtocolError = "DPE", "downstream_protocol_error";
    /// The whole duration's limit passed.
    DurationTimeout = "DT", "duration_timeout";
    /// There is no configuration yet.
    NoFilterConfigFound = "NFCF", "no_filter_config_found";
    /// The cluster is overloaded, and sheds this share of its load.
    DropOverload = "DO", "drop_overload";
    /// The process is near its limits, and refuses what comes.
    OverloadManager = "OM", "overload_manager";
}

impl fmt::Display for ResponseFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the mesh answered, or failed, a call by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// No virtual host serves the authority.
    #[error("no virtual host serves this authority")]
    NoVirtualHost,
    /// No route of the virtual host matches.
    #[error("no route of the virtual host matches")]
    NoRoute,
    /// The route takes its cluster from a header that the request lacks.
    #[error("the route takes its cluster from a header that the request lacks")]
    ClusterHeaderMissing,
    /// The named cluster is not in the configuration.
    #[error("the configuration has no such cluster")]
    UnknownCluster,
    /// No configuration has arrived yet.
    #[error("no configuration has arrived yet")]
    NotConfigured,
    /// The mesh is shut down.
    #[error("the mesh is shut down")]
    ShutDown,
    /// The call's own time was up.
    #[error("the call's timeout passed")]
    Timeout,
    /// The deadline that the caller gave was up.
    #[error("the caller's deadline passed")]
    DeadlineExceeded,
    /// A stream lived for too long.
    #[error("the stream's longest duration passed")]
    MaxStreamDuration,
    /// A stream was silent for too long.
    #[error("the stream was silent for longer than its idle timeout")]
    IdleTimeout,
    /// No virtual host serves the authority, and it is none of those that calls may leave to.
    #[error("calls may not leave to this host: {0}")]
    EgressRefused(EgressRefusal),
    /// The last attempt failed like this.
    #[error(transparent)]
    Attempt(#[from] Failure),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(failure) => f.write_str(connect_text(*failure)),
            Self::Reset { reason, .. } => reset_text(*reason, f),
            Self::PerTryTimeout => f.write_str("the attempt's per-try timeout passed"),
            Self::Overflow(overflow) => {
                write!(f, "circuit breaker: {} is reached", overflow.limit())
            }
            Self::Dropped { category } => {
                write!(f, "dropped: the cluster sheds a share of its load (category `{category}`)")
            }
            Self::NoEndpoint(counts) => counts.fmt(f),
            Self::Protocol(failure) => f.write_str(protocol_text(*failure)),
            Self::Cancelled { .. } => f.write_str("the caller dropped the call"),
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, healthy, degraded, unhealthy, draining, ejected, unresolved } = self;
        if *unresolved {
            return f.write_str("the cluster has no endpoints: its name did not resolve");
        }
        if *total == 0 {
            return f.write_str("the cluster has no endpoints");
        }
        write!(
            f,
            "no endpoint can be picked: {total} in total, {healthy} healthy, {degraded} degraded, \
             {unhealthy} unhealthy, {draining} draining, {ejected} ejected"
        )
    }
}

impl Reason {
    /// A stable name for logs, metrics and `mesh explain CODE`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoVirtualHost => "no_virtual_host",
            Self::NoRoute => "no_route",
            Self::ClusterHeaderMissing => "cluster_header_missing",
            Self::UnknownCluster => "unknown_cluster",
            Self::NotConfigured => "not_configured",
            Self::ShutDown => "shut_down",
            Self::Timeout => "timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::MaxStreamDuration => "max_stream_duration",
            Self::IdleTimeout => "idle_timeout",
            Self::EgressRefused(_) => "egress_refused",
            Self::Attempt(failure) => failure.code(),
        }
    }

    /// Envoy's flag for it.
    #[must_use]
    pub const fn flag(&self) -> ResponseFlag {
        match self {
            Self::NoVirtualHost | Self::NoRoute | Self::EgressRefused(_) => {
                ResponseFlag::NoRouteFound
            }
            Self::ClusterHeaderMissing | Self::UnknownCluster => ResponseFlag::NoClusterFound,
            Self::NotConfigured | Self::ShutDown => ResponseFlag::NoFilterConfigFound,
            Self::Timeout => ResponseFlag::UpstreamRequestTimeout,
            Self::DeadlineExceeded => ResponseFlag::DurationTimeout,
            Self::MaxStreamDuration => ResponseFlag::UpstreamMaxStreamDurationReached,
            Self::IdleTimeout => ResponseFlag::StreamIdleTimeout,
            Self::Attempt(failure) => failure.flag(),
        }
    }

    /// The HTTP status of the local reply (Envoy's choices).
    #[must_use]
    pub const fn http_status(&self) -> StatusCode {
        match self {
            Self::NoVirtualHost | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::EgressRefused(_) => StatusCode::FORBIDDEN,
            Self::Timeout
            | Self::DeadlineExceeded
            | Self::MaxStreamDuration
            | Self::Attempt(Failure::PerTryTimeout) => StatusCode::GATEWAY_TIMEOUT,
            Self::IdleTimeout => StatusCode::REQUEST_TIMEOUT,
            // The caller's own fault.
            Self::Attempt(
                Failure::Protocol(ProtocolFailure::InvalidRequest)
                | Failure::Reset { reason: ResetReason::RequestBody, .. },
            ) => StatusCode::BAD_REQUEST,
            Self::Attempt(Failure::Protocol(_)) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The gRPC status of the local reply; always one that a control plane may cause (gRFC A54).
    #[must_use]
    pub const fn grpc_status(&self) -> u32 {
        match self {
            Self::Timeout
            | Self::DeadlineExceeded
            | Self::MaxStreamDuration
            | Self::IdleTimeout
            | Self::Attempt(Failure::PerTryTimeout) => grpc::DEADLINE_EXCEEDED,
            Self::EgressRefused(_) => grpc::PERMISSION_DENIED,
            Self::Attempt(Failure::Cancelled { .. }) => grpc::CANCELLED,
            Self::Attempt(Failure::Protocol(_)) => grpc::INTERNAL,
            _ => grpc::UNAVAILABLE,
        }
    }
}

impl Failure {
    /// A stable name for logs, metrics and `mesh explain CODE`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Connect(failure) => connect_code(*failure),
            Self::Reset { reason, .. } => reset_code(*reason),
            Self::PerTryTimeout => "per_try_timeout",
            Self::Overflow(Overflow::Requests) => "overflow_requests",
            Self::Overflow(Overflow::Pending) => "overflow_pending",
            Self::Overflow(Overflow::Connections) => "overflow_connections",
            Self::Overflow(Overflow::Retries) => "overflow_retries",
            Self::Dropped { .. } => "drop_overload",
            Self::NoEndpoint(NoEndpoint { unresolved: true, .. }) => "name_unresolved",
            Self::NoEndpoint(NoEndpoint { total: 0, .. }) => "no_endpoints",
            Self::NoEndpoint(_) => "no_healthy_endpoint",
            Self::Protocol(failure) => protocol_code(*failure),
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// Envoy's flag for it.
    #[must_use]
    pub const fn flag(&self) -> ResponseFlag {
        match self {
            Self::Connect(_) => ResponseFlag::UpstreamConnectionFailure,
            Self::Reset {
                reason: ResetReason::ConnectionTermination | ResetReason::GoAway,
                ..
            } => ResponseFlag::UpstreamConnectionTermination,
            Self::Reset { reason: ResetReason::RequestBody | ResetReason::Local, .. } => {
                ResponseFlag::LocalReset
            }
            Self::Reset { .. } => ResponseFlag::UpstreamRemoteReset,
            Self::PerTryTimeout => ResponseFlag::UpstreamRequestTimeout,
            Self::Overflow(_) => ResponseFlag::UpstreamOverflow,
            Self::Dropped { .. } => ResponseFlag::DropOverload,
            Self::NoEndpoint(_) => ResponseFlag::NoHealthyUpstream,
            Self::Protocol(ProtocolFailure::InvalidRequest) => {
                ResponseFlag::DownstreamProtocolError
            }
            Self::Protocol(_) => ResponseFlag::UpstreamProtocolError,
            Self::Cancelled { .. } => ResponseFlag::DownstreamConnectionTermination,
        }
    }
}

const fn connect_code(failure: ConnectFailure) -> &'static str {
    match failure {
        ConnectFailure::Refused => "connect_refused",
        ConnectFailure::Unreachable => "connect_unreachable",
        ConnectFailure::Timeout => "connect_timeout",
        ConnectFailure::Tls => "connect_tls",
        ConnectFailure::TlsUntrusted => "connect_tls_untrusted",
        ConnectFailure::TlsName => "connect_tls_name",
        ConnectFailure::TlsExpired => "connect_tls_expired",
        ConnectFailure::TlsNotYetValid => "connect_tls_not_yet_valid",
        ConnectFailure::TlsRevoked => "connect_tls_revoked",
        ConnectFailure::TlsRevocationUnknown => "connect_tls_revocation_unknown",
        ConnectFailure::TlsRefused => "connect_tls_refused",
        ConnectFailure::TlsProtocol => "connect_tls_protocol",
        ConnectFailure::IdentityUnavailable => "connect_identity_unavailable",
        ConnectFailure::TlsUnavailable => "connect_tls_unavailable",
        ConnectFailure::SecretUnavailable => "connect_secret_unavailable",
        ConnectFailure::Handshake => "connect_handshake",
        ConnectFailure::OwnPort => "connect_own_port",
        ConnectFailure::RuntimeGone => "connect_runtime_gone",
        ConnectFailure::Other => "connect_failed",
    }
}

const fn connect_text(failure: ConnectFailure) -> &'static str {
    match failure {
        ConnectFailure::Refused => "connection refused",
        ConnectFailure::Unreachable => "no route to the endpoint",
        ConnectFailure::Timeout => "the connect timeout passed",
        ConnectFailure::Tls => "the TLS handshake failed",
        ConnectFailure::TlsUntrusted => {
            "the peer's certificate is signed by nobody that we believe"
        }
        ConnectFailure::TlsName => {
            "the peer's certificate has none of the names that it must prove"
        }
        ConnectFailure::TlsExpired => "the peer's certificate is over",
        ConnectFailure::TlsNotYetValid => "the peer's certificate has not begun",
        ConnectFailure::TlsRevoked => "the peer's certificate was revoked",
        ConnectFailure::TlsRevocationUnknown => {
            "no list that is not over says whether the peer's certificate was revoked"
        }
        ConnectFailure::TlsRefused => "the peer refused our certificate, or wants one",
        ConnectFailure::TlsProtocol => {
            "the peer does not speak TLS, or no version or protocol that we do"
        }
        ConnectFailure::IdentityUnavailable => "there is no identity of our own that is valid",
        ConnectFailure::TlsUnavailable => {
            "the cluster wants TLS and this transport does not secure itself"
        }
        ConnectFailure::SecretUnavailable => "a secret that the cluster names can't be used",
        ConnectFailure::Handshake => "the endpoint closed or did not speak the protocol",
        ConnectFailure::OwnPort => "the endpoint is a port of this proxy itself",
        ConnectFailure::RuntimeGone => "the runtime that connections live on has ended",
        ConnectFailure::Other => "connecting failed",
    }
}

const fn reset_code(reason: ResetReason) -> &'static str {
    match reason {
        ResetReason::RefusedStream => "reset_refused_stream",
        ResetReason::GoAway => "reset_goaway",
        ResetReason::Remote(_) => "reset_remote",
        ResetReason::ConnectionTermination => "reset_connection",
        ResetReason::RequestBody => "request_body",
        ResetReason::Local => "reset_local",
    }
}

fn reset_text(reason: ResetReason, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match reason {
        ResetReason::RefusedStream => f.write_str("the endpoint refused the stream"),
        ResetReason::GoAway => f.write_str("the endpoint went away before the stream"),
        ResetReason::Remote(code) => write!(f, "the endpoint reset the stream (code {code})"),
        ResetReason::ConnectionTermination => f.write_str("the endpoint ended the connection"),
        ResetReason::RequestBody => f.write_str("the request body failed"),
        ResetReason::Local => f.write_str("the stream was reset here"),
    }
}

const fn protocol_code(failure: ProtocolFailure) -> &'static str {
    match failure {
        ProtocolFailure::ResponseHeadTooLarge => "response_head_too_large",
        ProtocolFailure::InvalidResponse => "invalid_response",
        ProtocolFailure::InvalidRequest => "invalid_request",
        ProtocolFailure::VersionUnsupported => "version_unsupported",
    }
}

const fn protocol_text(failure: ProtocolFailure) -> &'static str {
    match failure {
        ProtocolFailure::ResponseHeadTooLarge => {
            "the response head is larger than the limit, or malformed (over HTTP/2 they look alike), \
             or it has too many headers"
        }
        ProtocolFailure::InvalidResponse => "the response can't be read",
        ProtocolFailure::InvalidRequest => "the request can't be sent as it is",
        ProtocolFailure::VersionUnsupported => {
            "the endpoint does not speak the protocol that the call needs"
        }
    }
}
