//! [`Refusal`]: what a server answers by itself, and the one table to HTTP and gRPC.
//!
//! The sister of [`Reason`](crate::local_reply::Reason), which is about calls. A refusal of a filter is not
//! here: it brings its own answer ([`FilterReply`](crate::filter::FilterReply)).

use super::path::PathRefused;
use crate::local_reply::ResponseFlag;
use crate::outcome::grpc;
use crate::router::RouteError;
use http::StatusCode;
use std::sync::Arc;

/// Why a server did not hand a request to its service, or gave up waiting for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The request came on a connection that nothing is known of.
    #[error(
        "the request carries no `mesh_tower::server::Connection`, so nobody knows who sent it: serve it by the \
         mesh's acceptor, or put one into its extensions (`Connection::plaintext`)"
    )]
    NoConnection,
    /// The connection was accepted by another listener.
    #[error(
        "the connection was accepted by the listener `{0}`, whose rules are not those of this service"
    )]
    OtherListener(Arc<str>),
    /// The listener is not, or not any more, in the configuration.
    #[error("the configuration has no listener of this name")]
    NoListener,
    /// The filter chain of the connection is not in force any more.
    #[error("what this connection was accepted for is not served any more: connect anew")]
    ChainGone,
    /// The connection was told to end, as one whose client's certificate is over, and its client goes on all the same.
    #[error("this connection was told to end and takes no requests any more: connect anew")]
    ConnectionOver,
    /// The chain is no chain for requests.
    #[error("this listener passes bytes on and reads no requests")]
    NotHttp,
    /// There are two hosts, or none, or it is none.
    #[error("the request names {0}")]
    Host(HostRefused),
    /// The path.
    #[error(transparent)]
    Path(#[from] PathRefused),
    /// The head is too large.
    #[error("the request's head has {found} bytes, and the limit is {limit}")]
    HeadTooLarge {
        /// How large it is.
        found: u64,
        /// The limit (`max_header_bytes`).
        limit: u32,
    },
    /// There are too many headers.
    #[error("the request has {found} headers, and the limit is {limit}")]
    TooManyHeaders {
        /// How many there are.
        found: usize,
        /// The limit (`max_headers`).
        limit: u32,
    },
    /// The body is too large.
    #[error("the request's body has more bytes than the limit of {limit}")]
    BodyTooLarge {
        /// The limit (`max_body_bytes`).
        limit: u64,
    },
    /// The body broke off while a filter had to know of it.
    #[error("the request's body broke off")]
    BodyBroken,
    /// The caller's `grpc-timeout` can't be read.
    #[error(
        "the request's grpc-timeout can't be read: at most 8 digits and one unit of H, M, S, m, u or n"
    )]
    Timeout,
    /// There are several `content-type`: which one counts, each reader says for himself (RFC 9110 section 5.3 lets nobody
    /// send two).
    #[error("the request has several content-type headers: send one")]
    ContentType,
    /// No route takes it.
    #[error("{0}")]
    Route(RouteError),
    /// The caller's deadline passed.
    #[error("the caller's deadline passed")]
    DeadlineExceeded,
    /// The process is near its memory limit ([`Overload`](crate::overload::Overload)).
    #[error(
        "the server is near its memory limit and takes no requests: try again later, or elsewhere"
    )]
    Overloaded,
}

/// What is wrong with the host of a request (gRFC A41; RFC 9112 section 3.2; RFC 9113 section 8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "closed: none, several, or one that is none")]
pub enum HostRefused {
    /// There is none.
    #[error("no host")]
    Missing,
    /// There are several.
    #[error("several hosts")]
    Several,
    /// It is no host with an optional port.
    #[error("a host that is none: it must be a host with an optional port, and nothing else")]
    Invalid,
}

impl Refusal {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoConnection => "no_connection",
            Self::OtherListener(_) => "other_listener",
            Self::NoListener => "no_listener",
            Self::ChainGone => "chain_gone",
            Self::ConnectionOver => "connection_over",
            Self::NotHttp => "not_http",
            Self::Host(_) => "host",
            Self::Path(_) => "path",
            Self::HeadTooLarge { .. } => "head_too_large",
            Self::TooManyHeaders { .. } => "too_many_headers",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyBroken => "body_broken",
            Self::Timeout => "grpc_timeout",
            Self::ContentType => "content_type",
            Self::Route(RouteError::NoVirtualHost) => "no_virtual_host",
            Self::Route(RouteError::NoRoute) => "no_route",
            // gRFC A36: a route of a server has the action `non_forwarding_action`.
            Self::Route(_) => "forwarding_route",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Overloaded => "overloaded",
        }
    }

    /// The status of HTTP.
    #[must_use]
    pub const fn http_status(&self) -> StatusCode {
        match self {
            Self::NoConnection | Self::OtherListener(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Path(PathRefused::Asterisk) => StatusCode::NOT_FOUND,
            Self::Host(_)
            | Self::Path(_)
            | Self::Timeout
            | Self::ContentType
            | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge { .. } | Self::TooManyHeaders { .. } => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Route(RouteError::NoVirtualHost | RouteError::NoRoute) => StatusCode::NOT_FOUND,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::NoListener
            | Self::ChainGone
            | Self::ConnectionOver
            | Self::NotHttp
            | Self::Route(_)
            | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The status of gRPC: what its library says of the same (grpc/grpc `doc/statuscodes.md`; gRFC A36,
    /// A41). No route is UNAVAILABLE, as without routes (gRFC A36; grpc-go, `server_wrapper.go`).
    #[must_use]
    pub const fn grpc_status(&self) -> u32 {
        match self {
            Self::NoConnection
            | Self::OtherListener(_)
            | Self::Host(_)
            | Self::Path(_)
            | Self::Timeout
            | Self::ContentType
            | Self::BodyBroken => grpc::INTERNAL,
            Self::HeadTooLarge { .. } | Self::TooManyHeaders { .. } | Self::BodyTooLarge { .. } => {
                grpc::RESOURCE_EXHAUSTED
            }
            Self::DeadlineExceeded => grpc::DEADLINE_EXCEEDED,
            Self::NoListener
            | Self::ChainGone
            | Self::ConnectionOver
            | Self::NotHttp
            | Self::Route(_)
            | Self::Overloaded => grpc::UNAVAILABLE,
        }
    }

    /// Envoy's flag for it; `None`: it has none.
    #[must_use]
    pub const fn flag(&self) -> Option<ResponseFlag> {
        match self {
            Self::Route(_) => Some(ResponseFlag::NoRouteFound),
            Self::NoListener | Self::ChainGone | Self::NotHttp => {
                Some(ResponseFlag::NoFilterConfigFound)
            }
            Self::DeadlineExceeded => Some(ResponseFlag::DurationTimeout),
            Self::Overloaded => Some(ResponseFlag::OverloadManager),
            Self::Host(_)
            | Self::Path(_)
            | Self::Timeout
            | Self::ContentType
            | Self::BodyBroken => Some(ResponseFlag::DownstreamProtocolError),
            Self::NoConnection
            | Self::OtherListener(_)
            | Self::ConnectionOver
            | Self::HeadTooLarge { .. }
            | Self::TooManyHeaders { .. }
            | Self::BodyTooLarge { .. } => None,
        }
    }

    /// Whether the connection is of no use any more, and is to be closed after the answer.
    #[must_use]
    pub const fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::NoListener
                | Self::ChainGone
                | Self::ConnectionOver
                | Self::BodyTooLarge { .. }
                | Self::BodyBroken
                | Self::Overloaded
        )
    }
}
