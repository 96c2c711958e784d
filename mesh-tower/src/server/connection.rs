//! [`Connection`]: what is known of a connection, kept once and shared by its requests.

use bytes::Bytes;
use mesh_core::identity::{Peer, SpiffeId};
use mesh_core::inbound::CompiledFilterChain;
use mesh_core::rbac;
use std::net::SocketAddr;
use std::sync::Arc;

/// What is known of a connection that a request came on: an `Arc<Connection>` in the request's
/// extensions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connection {
    /// What the other end proved.
    pub peer: Peer,
    /// Its certificates as it showed them, in DER, its own first; empty without any.
    pub certificates: Arc<[Bytes]>,
    /// Our end; `None`: it has no IP address.
    pub local: Option<SocketAddr>,
    /// The other end; `None`: it has no IP address.
    pub remote: Option<SocketAddr>,
    /// The server name of the TLS handshake; empty without one.
    pub server_name: Arc<str>,
    /// The protocol that was agreed on (ALPN); `None`: none was.
    pub alpn: Option<Arc<str>>,
    /// The listener that accepted it.
    pub(crate) listener: Arc<str>,
    /// The chain that it got then. Its requests look for the one of the same name that is in force.
    pub(crate) chain: Arc<CompiledFilterChain>,
}

impl Connection {
    /// A plaintext connection without addresses, accepted by `listener` for `chain`.
    pub(crate) fn new(listener: Arc<str>, chain: Arc<CompiledFilterChain>) -> Self {
        Self {
            peer: Peer::Plaintext,
            certificates: Arc::new([]),
            local: None,
            remote: None,
            server_name: Arc::from(""),
            alpn: None,
            listener,
            chain,
        }
    }

    /// The SPIFFE id that the other end proved, if it has one.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        self.peer.spiffe_id()
    }

    /// What policies see of it.
    pub(crate) fn facts(&self) -> rbac::Connection<'_> {
        rbac::Connection {
            peer: &self.peer,
            local: self.local,
            direct_remote: self.remote,
            source: self.remote,
            requested_server_name: &self.server_name,
        }
    }
}
