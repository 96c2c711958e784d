//! What policies see.

use crate::head::RequestHead;
use crate::identity::Peer;
use crate::model::{FilterState, Metadata};
use crate::time::WallTime;
use http::Version;
use std::net::SocketAddr;

/// What policies see of a connection; the same for all its requests.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by every adapter; a new field is to be thought of by each"
)]
pub struct Connection<'a> {
    /// What the other end proved.
    pub peer: &'a Peer,
    /// Our end; `None`: it has no IP address.
    pub local: Option<SocketAddr>,
    /// The other end, as the socket has it.
    pub direct_remote: Option<SocketAddr>,
    /// The other end, by the proxy protocol if that was read; else as `direct_remote`.
    pub source: Option<SocketAddr>,
    /// The server name of the TLS handshake; empty without one (gRFC A41).
    pub requested_server_name: &'a str,
}

impl<'a> Connection<'a> {
    /// A connection from `remote` to `local` without a server name.
    #[must_use]
    pub const fn new(peer: &'a Peer, remote: SocketAddr, local: SocketAddr) -> Self {
        Self {
            peer,
            local: Some(local),
            direct_remote: Some(remote),
            source: Some(remote),
            requested_server_name: "",
        }
    }
}

/// What policies see of a request, or of a connection alone.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by every adapter; a new field is to be thought of by each"
)]
pub struct Request<'a> {
    /// Its head; `None`: it is about the connection (Envoy: the network filter), so nothing of HTTP
    /// matches.
    pub head: Option<&'a RequestHead<'a>>,
    /// The connection that it came on.
    pub connection: &'a Connection<'a>,
    /// Who made it, where somebody trusted says so (Envoy: from `x-forwarded-for`); gRPC: as
    /// `direct_remote`.
    pub remote: Option<SocketAddr>,
    /// What filters wrote about it.
    pub metadata: Option<&'a Metadata>,
    /// What its route says.
    pub route_metadata: Option<&'a Metadata>,
    /// What filters know of it.
    pub filter_state: Option<&'a FilterState>,
    /// When it came, for conditions in CEL; `None`: that is not known.
    pub time: Option<WallTime>,
    /// The version of HTTP, for conditions in CEL; `None`: that is not known.
    pub version: Option<Version>,
}

impl<'a> Request<'a> {
    /// A request on `connection`, of which nothing else is known.
    #[must_use]
    pub const fn new(head: &'a RequestHead<'a>, connection: &'a Connection<'a>) -> Self {
        Self { head: Some(head), ..Self::of_connection(connection) }
    }

    /// The connection alone.
    #[must_use]
    pub const fn of_connection(connection: &'a Connection<'a>) -> Self {
        Self {
            head: None,
            connection,
            remote: connection.source,
            metadata: None,
            route_metadata: None,
            filter_state: None,
            time: None,
            version: None,
        }
    }
}
