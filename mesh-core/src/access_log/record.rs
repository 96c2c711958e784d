//! [`Record`]: what is known of one call or one served request when it is over.

use crate::head::RequestHead;
use crate::local_reply::ResponseFlag;
use crate::model::Address;
use crate::time::WallTime;
use http::{HeaderMap, StatusCode, Version};
use std::net::SocketAddr;
use std::time::Duration;

/// Who writes a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: a call has two ends")]
pub enum Side {
    /// Who makes a call.
    Client,
    /// Who serves a request.
    Server,
}

impl Side {
    /// `client` or `server`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// What is known of one call, of one request that was served, or of a connection of bytes, when it is over.
///
/// Everything is borrowed, and nothing is looked at before a format asks for it. A text that is empty is as good as
/// none.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Record<'a> {
    /// Who writes the line.
    pub side: Side,
    /// It is a connection of bytes: there is no request and no status, and of `request` the headers alone say something.
    pub is_bytes: bool,
    /// When it began.
    pub start: WallTime,
    /// The nanoseconds of that second, below 1,000,000,000.
    pub start_nanos: u32,
    /// From the beginning to the end of the response's body.
    pub duration: Duration,
    /// From the beginning to the response's head; `None`: there was none.
    pub response_after: Option<Duration>,
    /// The request as it came. Of its headers those are wanted that [`Format::request_headers`](super::Format::request_headers)
    /// names.
    pub request: RequestHead<'a>,
    /// The protocol of the request.
    pub protocol: Version,
    /// The status of the response; `None`: there was none.
    pub status: Option<StatusCode>,
    /// The status of gRPC; `None`: it is not gRPC, or the status never came.
    pub grpc_status: Option<u32>,
    /// Those headers of the response that [`Format::response_headers`](super::Format::response_headers) names.
    pub response_headers: Option<&'a HeaderMap>,
    /// Those trailers of the response that [`Format::trailers`](super::Format::trailers) names.
    pub trailers: Option<&'a HeaderMap>,
    /// Envoy's flags, the most important one first.
    pub flags: &'a [ResponseFlag],
    /// The stable name of why the mesh answered or gave up by itself, as `mesh explain` takes it.
    pub reason: Option<&'a str>,
    /// The same in words, or where the answer comes from.
    pub details: Option<&'a str>,
    /// The virtual host.
    pub virtual_host: Option<&'a str>,
    /// The route.
    pub route: Option<&'a str>,
    /// The cluster of the last attempt.
    pub cluster: Option<&'a str>,
    /// The endpoint of the last attempt.
    pub endpoint: Option<&'a Address>,
    /// Of a call, how many attempts were made; of a served request, which attempt of its caller it is, from 1.
    pub attempt: u32,
    /// The attempts of a call, in the order of their start.
    pub attempts: &'a [Attempt<'a>],
    /// Why the last attempt had no connection.
    pub transport_failure: Option<&'a str>,
    /// Where the time went, by phase.
    pub phases: &'a [(&'a str, Duration)],
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the response's body.
    pub bytes_sent: u64,
    /// Who sent a served request: the other end of its connection, or whom a proxy names that is believed.
    pub remote: Option<SocketAddr>,
    /// Our end of its connection.
    pub local: Option<SocketAddr>,
    /// The server name of its TLS handshake.
    pub server_name: Option<&'a str>,
    /// The URI names of its peer's certificate, in their order.
    pub peer_uris: &'a [&'a str],
    /// The subject of that certificate.
    pub peer_subject: Option<&'a str>,
    /// The URI names of our own certificate.
    pub own_uris: &'a [&'a str],
    /// Who the other side proved to be: a caller, or the endpoint of a call.
    pub peer_identity: Option<&'a str>,
    /// Who we are.
    pub own_identity: Option<&'a str>,
    /// The policy that let a request through, or did not.
    pub policy: Option<&'a str>,
    /// The listener of a served request.
    pub listener: Option<&'a str>,
    /// The trace that it belongs to (W3C Trace Context, `trace-id`).
    pub trace_id: Option<[u8; 16]>,
    /// The machine that writes the line.
    pub hostname: Option<&'a str>,
}

impl<'a> Record<'a> {
    /// A record of which nothing is known but the request.
    #[must_use]
    pub const fn new(side: Side, request: RequestHead<'a>) -> Self {
        Self {
            side,
            is_bytes: false,
            start: WallTime::from_unix_seconds(0),
            start_nanos: 0,
            duration: Duration::ZERO,
            response_after: None,
            request,
            protocol: Version::HTTP_11,
            status: None,
            grpc_status: None,
            response_headers: None,
            trailers: None,
            flags: &[],
            reason: None,
            details: None,
            virtual_host: None,
            route: None,
            cluster: None,
            endpoint: None,
            attempt: 0,
            attempts: &[],
            transport_failure: None,
            phases: &[],
            bytes_received: 0,
            bytes_sent: 0,
            remote: None,
            local: None,
            server_name: None,
            peer_uris: &[],
            peer_subject: None,
            own_uris: &[],
            peer_identity: None,
            own_identity: None,
            policy: None,
            listener: None,
            trace_id: None,
            hostname: None,
        }
    }
}

/// One attempt of a call.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Attempt<'a> {
    /// The cluster that it belonged to.
    pub cluster: Option<&'a str>,
    /// The endpoint that was picked; `None`: it ended before one was.
    pub endpoint: Option<&'a Address>,
    /// The status of its answer; `None`: it had none.
    pub status: Option<StatusCode>,
    /// The gRPC status of its answer, as far as it was known with the head.
    pub grpc_status: Option<u32>,
    /// Envoy's flag of its failure.
    pub flag: Option<ResponseFlag>,
    /// The stable name of its failure.
    pub reason: Option<&'a str>,
    /// When it began, counted from the beginning of the call.
    pub started: Duration,
    /// From there to its outcome.
    pub duration: Duration,
    /// Where its time went.
    pub phases: &'a [(&'a str, Duration)],
}

impl Attempt<'_> {
    /// An attempt of which nothing is known.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            cluster: None,
            endpoint: None,
            status: None,
            grpc_status: None,
            flag: None,
            reason: None,
            started: Duration::ZERO,
            duration: Duration::ZERO,
            phases: &[],
        }
    }
}

impl Default for Attempt<'_> {
    fn default() -> Self {
        Self::new()
    }
}
