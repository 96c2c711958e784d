//! What an attempt ended in, in the words that every decider shares.
//!
//! The adapter translates what its transport said into an [`Outcome`] once; the call machine (retry
//! or not), outlier detection (whose fault) and telemetry then read the same value.

use crate::head;
use http::{HeaderMap, HeaderName, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// The gRPC status codes, as numbers (grpc/grpc `doc/statuscodes.md`).
pub mod grpc {
    /// Not an error.
    pub const OK: u32 = 0;
    /// The caller gave up.
    pub const CANCELLED: u32 = 1;
    /// Nothing better is known.
    pub const UNKNOWN: u32 = 2;
    /// The request is wrong whatever the state.
    pub const INVALID_ARGUMENT: u32 = 3;
    /// The deadline passed first.
    pub const DEADLINE_EXCEEDED: u32 = 4;
    /// There is no such thing.
    pub const NOT_FOUND: u32 = 5;
    /// The caller may not.
    pub const PERMISSION_DENIED: u32 = 7;
    /// A quota or a limit is used up.
    pub const RESOURCE_EXHAUSTED: u32 = 8;
    /// The method does not exist here.
    pub const UNIMPLEMENTED: u32 = 12;
    /// An invariant is broken.
    pub const INTERNAL: u32 = 13;
    /// Not now; trying again may help.
    pub const UNAVAILABLE: u32 = 14;
    /// Data is lost for good.
    pub const DATA_LOSS: u32 = 15;
    /// It is not known who the caller is.
    pub const UNAUTHENTICATED: u32 = 16;
}

/// What one attempt ended in, as far as it decides about the call: a response head, or why not.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "closed: an attempt is answered or fails")]
pub enum Outcome<'a> {
    /// A response head arrived (and trailers, when they were there already).
    Response(ResponseOutcome<'a>),
    /// No response head.
    Failed(Failure),
}

/// The head of a response, borrowed.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by every adapter; a new field is to be thought of by each"
)]
pub struct ResponseOutcome<'a> {
    /// The HTTP status.
    pub status: StatusCode,
    /// The response headers.
    pub headers: &'a HeaderMap,
    /// The trailers, when they were already there (unary gRPC answers).
    pub trailers: Option<&'a HeaderMap>,
    /// Whether the call is gRPC.
    pub grpc: bool,
    /// The gRPC status in headers (Trailers-Only) or trailers, of a gRPC call; `None`: it has none so far.
    pub grpc_status: Option<u32>,
    /// What the user's classifier said, when there is one and it decided.
    pub class: Option<Class>,
}

impl<'a> ResponseOutcome<'a> {
    /// Whether a caller may want to try it again elsewhere: 5xx, or UNAVAILABLE of a gRPC call.
    pub(crate) fn is_refusal(&self) -> bool {
        self.status.is_server_error() || self.grpc_status == Some(grpc::UNAVAILABLE)
    }

    /// A head, of which no classifier has said anything; of a gRPC call its status is looked for.
    #[must_use]
    pub fn new(
        status: StatusCode,
        headers: &'a HeaderMap,
        trailers: Option<&'a HeaderMap>,
        grpc: bool,
    ) -> Self {
        let seen = || grpc_status(headers).or_else(|| trailers.and_then(grpc_status));
        let grpc_status = if grpc { seen() } else { None };
        Self { status, headers, trailers, grpc, grpc_status, class: None }
    }

    /// The same, of which the user's classifier has said this, when there is one and it decided.
    #[must_use]
    pub const fn with_class(mut self, class: Option<Class>) -> Self {
        self.class = class;
        self
    }

    /// The HTTP status, or the one that the gRPC status stands for, or what the classifier decided:
    /// the code that outlier detection counts.
    #[must_use]
    pub fn observed_code(&self) -> u16 {
        match self.class {
            Some(Class::Success) => return 200,
            Some(Class::Failure | Class::Retryable) if self.status.as_u16() < 500 => return 500,
            _ => {}
        }
        match self.grpc_status {
            Some(status) if self.status == StatusCode::OK => grpc_to_http(status),
            _ => self.status.as_u16(),
        }
    }
}

/// The value of `grpc-status` in `headers`, when it is a number.
#[must_use]
pub fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    // A static: looked up as text, the name would be parsed each time; as a constant, made and dropped.
    static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    match head::first_of(headers, &GRPC_STATUS)?.as_bytes() {
        [digit @ b'0'..=b'9'] => Some(u32::from(digit - b'0')),
        text => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// The HTTP status that a gRPC status stands for (Envoy: `Grpc::Utility::grpcToHttpStatus`).
#[must_use]
pub const fn grpc_to_http(status: u32) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// The gRPC status that an HTTP status without one stands for (grpc/grpc
/// `doc/http-grpc-status-mapping.md`).
#[must_use]
pub const fn http_to_grpc(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => grpc::INTERNAL,
        401 => grpc::UNAUTHENTICATED,
        403 => grpc::PERMISSION_DENIED,
        404 => grpc::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => grpc::UNAVAILABLE,
        _ => grpc::UNKNOWN,
    }
}

/// What a user's classifier makes of a response, for errors hidden in statuses that look fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: what a classifier may say")]
pub enum Class {
    /// It worked, whatever the status.
    Success,
    /// It failed for good.
    Failure,
    /// It failed and may be tried again, if the policy has any retry left.
    Retryable,
}

/// Why an attempt has no response head.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No connection could be made; the server saw nothing of the request.
    Connect(ConnectFailure),
    /// The stream or connection ended first.
    Reset {
        /// How.
        reason: ResetReason,
        /// Whether the server may have acted on the request.
        processed: Processed,
    },
    /// The attempt's own limit passed.
    PerTryTimeout,
    /// A circuit breaker refused the attempt; no endpoint was involved.
    Overflow(Overflow),
    /// The cluster is overloaded, and this attempt is of the share that is dropped; no endpoint was
    /// involved.
    Dropped {
        /// The category that drops it ([`DropOverload`](crate::model::DropOverload)).
        category: Arc<str>,
    },
    /// There was nobody to send it to.
    NoEndpoint(NoEndpoint),
    /// The response head, or the protocol, broke a rule or a limit.
    Protocol(ProtocolFailure),
    /// The caller dropped the call first.
    Cancelled {
        /// How long the attempt had run.
        elapsed: Duration,
        /// Whether the response head had come.
        headers_seen: bool,
    },
}

impl Failure {
    /// Whether the server is known not to have processed the request, so that sending it again is
    /// safe whatever the method (gRFC A6 "transparent retries").
    #[must_use]
    pub const fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Reset { processed: Processed::No, .. })
    }

    /// Whether an endpoint was involved: overflow, dropped, no endpoint and cancelled say nothing about
    /// one.
    #[must_use]
    pub const fn is_of_endpoint(&self) -> bool {
        !matches!(
            self,
            Self::Overflow(_) | Self::Dropped { .. } | Self::NoEndpoint(_) | Self::Cancelled { .. }
        )
    }
}

/// Why no connection could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// Nobody listens (ECONNREFUSED), or the Unix socket is not there.
    Refused,
    /// No route to the network or host.
    Unreachable,
    /// The connect timeout passed.
    Timeout,
    /// The TLS handshake failed, for none of the reasons below.
    Tls,
    /// Nobody that we believe signed the peer's certificate.
    TlsUntrusted,
    /// The peer's certificate has none of the names that it must prove.
    TlsName,
    /// The peer's certificate is over.
    TlsExpired,
    /// The peer's certificate has not begun.
    TlsNotYetValid,
    /// The peer's certificate was revoked.
    TlsRevoked,
    /// Nothing says whether the peer's certificate was revoked, and something must: a list of an issuer is
    /// missing, or over.
    TlsRevocationUnknown,
    /// The peer refused what we showed: no certificate, or one that it does not believe (RFC 8446
    /// section 6.2: an alert about certificates).
    TlsRefused,
    /// The peer does not speak TLS, or the two have no version, cipher or protocol in common.
    TlsProtocol,
    /// There is no identity of our own to show, or no roots of it to believe: there never was one, or it
    /// is over.
    IdentityUnavailable,
    /// The cluster wants TLS and the transport can't secure itself.
    TlsUnavailable,
    /// The cluster names a secret, for its identity or its roots, that is missing or of the wrong kind.
    SecretUnavailable,
    /// The peer closed, or spoke another protocol, before the connection was usable.
    Handshake,
    /// It is a port of this proxy's own: what would be sent there would come again.
    OwnPort,
    /// The runtime that connections live on has ended.
    RuntimeGone,
    /// Anything else the system said.
    Other,
}

/// How a stream or connection ended before the response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetReason {
    /// REFUSED_STREAM: the server says it did not process the request.
    RefusedStream,
    /// A GOAWAY below this stream: the server says it did not process the request.
    GoAway,
    /// RST_STREAM with another code.
    Remote(u32),
    /// The connection ended.
    ConnectionTermination,
    /// The caller's request body failed.
    RequestBody,
    /// Something of ours ended it.
    Local,
}

/// Whether a server may have acted on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: known not to be, or not known")]
pub enum Processed {
    /// Certainly not.
    No,
    /// It is not known.
    Maybe,
}

/// A response that broke a rule or a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolFailure {
    /// The response head is larger than the limit, or has more headers; over HTTP/2 it may be malformed, too, which is not
    /// told apart.
    ResponseHeadTooLarge,
    /// The response can't be read.
    InvalidResponse,
    /// The request can't be sent as it is (for example a URI that HTTP has no form for).
    InvalidRequest,
    /// The endpoint does not speak the protocol that the call needs.
    VersionUnsupported,
}

/// Which limit of a cluster was full (Envoy: flag `UO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// `max_requests`.
    Requests,
    /// `max_pending_requests`.
    Pending,
    /// `max_connections`.
    Connections,
    /// `max_retries`.
    Retries,
}

impl Overflow {
    /// The field that sets the limit.
    #[must_use]
    pub const fn limit(self) -> &'static str {
        match self {
            Self::Requests => "max_requests",
            Self::Pending => "max_pending_requests",
            Self::Connections => "max_connections",
            Self::Retries => "max_retries",
        }
    }
}

/// Why nobody could be picked, with the counts behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NoEndpoint {
    /// Endpoints in the configuration.
    pub total: u32,
    /// Configured healthy and not ejected.
    pub healthy: u32,
    /// Configured degraded and not ejected.
    pub degraded: u32,
    /// Configured unhealthy or timed out.
    pub unhealthy: u32,
    /// Configured as draining.
    pub draining: u32,
    /// Taken out by outlier detection.
    pub ejected: u32,
    /// There are none because the cluster's names did not resolve.
    pub unresolved: bool,
}

impl NoEndpoint {
    /// The endpoints of both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            total: self.total.saturating_add(other.total),
            healthy: self.healthy.saturating_add(other.healthy),
            degraded: self.degraded.saturating_add(other.degraded),
            unhealthy: self.unhealthy.saturating_add(other.unhealthy),
            draining: self.draining.saturating_add(other.draining),
            ejected: self.ejected.saturating_add(other.ejected),
            unresolved: self.unresolved || other.unresolved,
        }
    }
}

/// What an attempt says about its endpoint: what outlier detection counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: what an endpoint is judged by")]
pub enum Observation {
    /// The server answered; gRPC statuses are mapped to HTTP's ([`ResponseOutcome::observed_code`]).
    Code(u16),
    /// No connection, a local origin failure.
    ConnectFailure,
    /// Reset or broken protocol, a local origin failure.
    Reset,
    /// No answer in time, a local origin failure.
    Timeout,
}

impl Outcome<'_> {
    /// What this says about the endpoint; nothing when none was involved.
    #[must_use]
    pub fn observation(&self) -> Option<Observation> {
        match self {
            Self::Response(response) => Some(Observation::Code(response.observed_code())),
            Self::Failed(failure) => failure.observation(),
        }
    }
}

impl Failure {
    /// What this says about the endpoint; nothing when none was involved or it is not its fault.
    #[must_use]
    pub const fn observation(&self) -> Option<Observation> {
        match self {
            Self::Connect(
                ConnectFailure::TlsUnavailable
                | ConnectFailure::SecretUnavailable
                | ConnectFailure::IdentityUnavailable
                | ConnectFailure::RuntimeGone,
            )
            | Self::Reset { reason: ResetReason::RequestBody | ResetReason::Local, .. }
            | Self::Protocol(ProtocolFailure::InvalidRequest)
            | Self::Overflow(_)
            | Self::Dropped { .. }
            | Self::NoEndpoint(_)
            | Self::Cancelled { .. } => None,
            Self::Connect(ConnectFailure::Timeout) | Self::PerTryTimeout => {
                Some(Observation::Timeout)
            }
            Self::Connect(_) => Some(Observation::ConnectFailure),
            Self::Reset { .. } | Self::Protocol(_) => Some(Observation::Reset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_observed_code_is_the_grpc_one_under_http_200() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("14"));
        let head = |status, grpc, class| {
            let status = StatusCode::from_u16(status).unwrap();
            ResponseOutcome::new(status, &headers, None, grpc).with_class(class)
        };
        assert_eq!(head(200, true, None).observed_code(), 503);
        assert_eq!(head(200, false, None).observed_code(), 200);
        assert_eq!(head(502, true, None).observed_code(), 502);
        assert_eq!(head(200, false, Some(Class::Failure)).observed_code(), 500);
        assert_eq!(head(503, false, Some(Class::Success)).observed_code(), 200);
    }
}
