//! [`AcceptError`]: why a connection was not accepted.

use crate::observe::port::{HandshakeFailure, PortCells, Refusal};
#[cfg(feature = "tls")]
use crate::tls::server_refused::{ClientRefusal, ClientRefused};
use mesh_core::WallTime;
use mesh_core::inbound::NeedsRequests;
use mesh_core::rbac::Denied;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Why a connection was not accepted. It is closed by then; a TLS client was told by an alert.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The listener is not in the configuration, is elsewhere, or is drained (gRFC A36: "not serving").
    #[error("the listener `{listener}` is not serving: {why}")]
    NotServing {
        /// Its name.
        listener: Arc<str>,
        /// Why.
        why: Arc<str>,
    },
    /// No filter chain is for it.
    #[error(
        "no filter chain of the listener `{listener}` is for this connection: add one that matches it, or a default"
    )]
    NoChain {
        /// The listener's name.
        listener: Arc<str>,
    },
    /// The filter chain has ended by itself.
    #[error("the filter chain `{chain}` has ended (`until: {until}`)")]
    Over {
        /// Its name.
        chain: Arc<str>,
        /// When.
        until: WallTime,
    },
    /// Network RBAC denied it.
    #[error("the filter chain `{chain}` denies `{peer}`: {denied}")]
    Denied {
        /// The chain.
        chain: Arc<str>,
        /// What the other end proved.
        peer: Arc<str>,
        /// By which policy.
        denied: Denied,
    },
    /// It is not HTTP, on a port that finds that out, and what the port asks for can't be asked of bytes.
    #[error(
        "the filter chain `{chain}` takes HTTP alone, because {needs}; the connection {came}: let the client speak HTTP, or give what is not HTTP a port of `protocol: tcp`"
    )]
    NotHttp {
        /// The chain.
        chain: Arc<str>,
        /// How the connection began.
        came: &'static str,
        /// What can't be asked.
        needs: NeedsRequests,
    },
    /// The listener asks for a header of the PROXY protocol, and the connection does not begin with one.
    #[error(
        "the listener `{listener}` wants to be told who connects ({reason}): let who connects send `PROXY …`, or leave `proxy_protocol` out"
    )]
    NoProxyHeader {
        /// The listener's name.
        listener: Arc<str>,
        /// What was wrong with what came.
        reason: Arc<str>,
    },
    /// The chain has TLS, and the client speaks none.
    #[error(
        "the filter chain `{chain}` asks for TLS, and the client does not begin with it: let it use TLS, or configure `mtls: permissive`"
    )]
    NotTls {
        /// The chain.
        chain: Arc<str>,
    },
    /// The client did not say or prove enough within the time for it.
    #[error("the handshake did not end within {} ms: {waited_for}", after.as_millis())]
    TimedOut {
        /// What was missing.
        waited_for: &'static str,
        /// The limit (Envoy: `transport_socket_connect_timeout`).
        after: Duration,
    },
    /// The client ended the connection before it began.
    #[error("the client closed the connection before it sent anything")]
    Closed,
    /// The client's certificate was not good.
    #[cfg(feature = "tls")]
    #[error("the filter chain `{chain}`: {refused}")]
    Client {
        /// The chain.
        chain: Arc<str>,
        /// Who came, who was expected, and why not.
        refused: Box<ClientRefused>,
    },
    /// The handshake failed for a reason that is not the client's certificate.
    #[error("the TLS handshake of the filter chain `{chain}` failed: {reason}")]
    Handshake {
        /// The chain.
        chain: Arc<str>,
        /// What was wrong; a received alert is what the client thinks of us.
        reason: Arc<str>,
    },
    /// The chain has TLS, and we have nothing to show, or nobody to believe.
    #[error("the filter chain `{chain}` can't do TLS: {reason}")]
    NoIdentity {
        /// The chain.
        chain: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// The connection broke.
    #[error("the connection broke before it was accepted: {0}")]
    Io(#[source] io::Error),
}

impl AcceptError {
    /// Counts it.
    pub(super) fn count(&self, cells: &PortCells) {
        match self {
            Self::NotServing { .. } => cells.refused(Refusal::NotServing),
            Self::NoChain { .. } => cells.refused(Refusal::NoChain),
            Self::Over { .. } => cells.refused(Refusal::Over),
            Self::Denied { .. } => cells.refused(Refusal::Rbac),
            Self::NotHttp { .. } => cells.refused(Refusal::NotHttp),
            Self::NoProxyHeader { .. } => cells.failed(HandshakeFailure::NoProxyHeader),
            Self::NotTls { .. } => cells.failed(HandshakeFailure::NotTls),
            Self::TimedOut { .. } => cells.failed(HandshakeFailure::Timeout),
            Self::Closed | Self::Io(_) => cells.failed(HandshakeFailure::Closed),
            #[cfg(feature = "tls")]
            Self::Client { refused, .. } => cells.failed(failure(&refused.reason)),
            Self::Handshake { .. } => cells.failed(HandshakeFailure::Protocol),
            Self::NoIdentity { .. } => cells.failed(HandshakeFailure::NoIdentity),
        }
    }

    /// Whether it is our own fault, or that of the configuration.
    pub(super) const fn is_ours(&self) -> bool {
        matches!(self, Self::NoIdentity { .. })
    }
}

#[cfg(feature = "tls")]
const fn failure(reason: &ClientRefusal) -> HandshakeFailure {
    match reason {
        ClientRefusal::NoCertificate => HandshakeFailure::NoCertificate,
        ClientRefusal::Unreadable(_) => HandshakeFailure::Unreadable,
        ClientRefusal::Expired(_) => HandshakeFailure::Expired,
        ClientRefusal::NotYetValid(_) => HandshakeFailure::NotYetValid,
        ClientRefusal::UnknownIssuer => HandshakeFailure::UnknownIssuer,
        ClientRefusal::NoBundle(_) => HandshakeFailure::NoBundle,
        ClientRefusal::NoSpiffeId(_) => HandshakeFailure::NoSpiffeId,
        ClientRefusal::Names(_) => HandshakeFailure::WrongName,
        ClientRefusal::Revoked => HandshakeFailure::Revoked,
        ClientRefusal::RevocationUnknown => HandshakeFailure::RevocationUnknown,
        ClientRefusal::RevocationListExpired(_) => HandshakeFailure::RevocationListExpired,
        ClientRefusal::NotForClients => HandshakeFailure::NotForClients,
        ClientRefusal::SignsOthers | ClientRefusal::Other(_) => HandshakeFailure::Unverified,
    }
}
