//! [`Connection`]: what is known of a connection, kept once and shared by its requests.

use super::over::Over;
use super::tunnels::{Tunnel, Tunnels};
use crate::mesh::Mesh;
use crate::observe::server::PeerCells;
use bytes::Bytes;
use http::HeaderValue;
use mesh_core::identity::xfcc::XfccElement;
use mesh_core::identity::{Peer, SpiffeId};
use mesh_core::inbound::{CompiledFilterChain, ConnectionFacts};
use mesh_core::model::cidr::canonical;
use mesh_core::model::filter_chain::TransportProtocol;
use mesh_core::rbac;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

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
    /// The other end, by the PROXY protocol if the connection began with it; `None`: it has no IP address.
    pub remote: Option<SocketAddr>,
    /// Where the other end meant to connect, where the system led it here; `None`: here.
    pub original: Option<SocketAddr>,
    /// The socket's other end, which differs from `remote` only behind a proxy.
    pub(crate) direct_remote: Option<SocketAddr>,
    /// The server name of the TLS handshake; empty without one.
    pub server_name: Arc<str>,
    /// The protocol that was agreed on (ALPN); `None`: none was.
    pub alpn: Option<Arc<str>>,
    /// The URI names of the certificate that this end showed: `By` of `x-forwarded-client-cert`. `None`: those
    /// of the mesh's own identity in force.
    pub own_uris: Option<Arc<[Arc<str>]>>,
    /// The listener that accepted it.
    pub(crate) listener: Arc<str>,
    /// The chain that it got then. Its requests look for the one of the same name that is in force.
    pub(crate) chain: Arc<CompiledFilterChain>,
    /// The policy of network RBAC that let it in; `None`: there was none that did.
    pub(crate) policy: Option<Arc<str>>,
    /// What its requests have in common, made by the first of them.
    made: Made,
    /// What it carries that is no longer HTTP.
    pub(super) tunnels: Tunnels,
}

#[derive(Clone, Debug, Default)]
struct Made {
    xfcc: OnceLock<Option<HeaderValue>>,
    cells: OnceLock<Arc<PeerCells>>,
    /// What it carries is passed on, and served by nobody here.
    passes_on: OnceLock<()>,
    /// From when on it takes no requests.
    over: Over,
}

/// Why there is no [`Connection::plaintext`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoConnection {
    /// The configuration has no such listener.
    #[error(
        "the configuration has no listener `{0}`: add it under `inbound`, or wait for `Mesh::ready`"
    )]
    NoListener(Arc<str>),
    /// No filter chain is for it.
    #[error(
        "no filter chain of the listener `{0}` is for plaintext connections from there: it is to be closed"
    )]
    NoChain(Arc<str>),
    /// Its filter chain wants TLS.
    #[error(
        "the filter chain `{chain}` of the listener `{listener}` wants TLS: serve it by the mesh's acceptor"
    )]
    WantsTls {
        /// The listener.
        listener: Arc<str>,
        /// The chain.
        chain: Arc<str>,
    },
}

impl Connection {
    /// What it carries is passed on from now on.
    pub(super) fn pass_on(&self) {
        // Once.
        let _first = self.made.passes_on.set(()).is_ok();
    }

    /// Whether what it carries is passed on.
    pub(super) fn passes_on(&self) -> bool {
        self.made.passes_on.get().is_some()
    }

    /// From when on it takes no requests: its client has been told to end it, and by then has heard of it.
    pub(super) const fn over(&self) -> &Over {
        &self.made.over
    }

    /// A plaintext connection without addresses, accepted by `listener` for `chain`.
    pub(crate) fn new(listener: Arc<str>, chain: Arc<CompiledFilterChain>) -> Self {
        Self {
            peer: Peer::Plaintext,
            certificates: Arc::new([]),
            local: None,
            remote: None,
            original: None,
            direct_remote: None,
            server_name: Arc::from(""),
            alpn: None,
            own_uris: None,
            listener,
            chain,
            policy: None,
            made: Made::default(),
            tunnels: Tunnels::default(),
        }
    }

    /// A request of it goes on as a tunnel, as long as what this gives is not dropped.
    pub(crate) fn tunnel(&self) -> Tunnel {
        self.tunnels.open()
    }

    /// Whether it is secured.
    pub(crate) fn is_tls(&self) -> bool {
        self.chain.model().tls.is_some()
    }

    /// A plaintext connection from `remote` to `local`, of a program that accepts connections by itself, as
    /// `listener` takes it. Network filters are not asked: the mesh's acceptor does that.
    ///
    /// # Errors
    /// [`NoConnection`]: the listener has nothing for such a connection, so it is to be closed.
    pub fn plaintext(
        mesh: &Mesh,
        listener: &str,
        remote: Option<SocketAddr>,
        local: Option<SocketAddr>,
    ) -> Result<Self, NoConnection> {
        let (remote, local) = (remote.map(canonical), local.map(canonical));
        let snapshot = mesh.snapshot();
        let Some((name, compiled)) = snapshot.listeners().get_key_value(listener) else {
            return Err(NoConnection::NoListener(listener.into()));
        };
        let facts = ConnectionFacts {
            destination: local,
            direct_source: remote,
            source: remote,
            transport_protocol: TransportProtocol::RawBuffer,
            server_name: "",
            application_protocols: &[],
        };
        let chain = compiled.select(&facts).ok_or_else(|| NoConnection::NoChain(name.clone()))?;
        if chain.model().tls.is_some() {
            let chain = chain.model().name.clone();
            return Err(NoConnection::WantsTls { listener: name.clone(), chain });
        }
        let mut connection = Self::new(Arc::clone(name), Arc::clone(chain));
        (connection.remote, connection.local) = (remote, local);
        connection.direct_remote = remote;
        Ok(connection)
    }

    /// The SPIFFE id that the other end proved, if it has one.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        self.peer.spiffe_id()
    }

    /// The listener that accepted it.
    #[must_use]
    pub fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    /// What policies see of it.
    pub(crate) fn facts(&self) -> rbac::Connection<'_> {
        rbac::Connection {
            peer: &self.peer,
            local: self.local,
            direct_remote: self.direct_remote,
            source: self.remote,
            requested_server_name: &self.server_name,
        }
    }

    /// Its element of `x-forwarded-client-cert`. Made once: it is the same for all requests.
    pub(crate) fn xfcc(&self, mesh: &Mesh) -> Option<&HeaderValue> {
        let make = || {
            let hash = self.certificates.first().and_then(|certificate| digest(certificate));
            let own = self.own_uris.clone().unwrap_or_else(|| own_uris(mesh));
            let element = XfccElement { by: &own, hash: hash.as_deref(), peer: &self.peer };
            HeaderValue::try_from(element.to_string()).ok()
        };
        self.made.xfcc.get_or_init(make).as_ref()
    }

    /// Where its requests are counted by who sent them.
    pub(crate) fn cells(&self, find: impl FnOnce() -> Arc<PeerCells>) -> &Arc<PeerCells> {
        self.made.cells.get_or_init(find)
    }
}

#[cfg(feature = "tls")]
fn digest(certificate: &[u8]) -> Option<Vec<u8>> {
    crate::identity::sha256(certificate)
}

/// Without TLS nobody has a certificate.
#[cfg(not(feature = "tls"))]
const fn digest(_: &[u8]) -> Option<Vec<u8>> {
    None
}

#[cfg(feature = "tls")]
fn own_uris(mesh: &Mesh) -> Arc<[Arc<str>]> {
    let identity = mesh.identities().and_then(|identities| identities.current().ok());
    identity.map(|identity| identity.certificate().names.uris.clone()).unwrap_or_default().into()
}

#[cfg(not(feature = "tls"))]
fn own_uris(_: &Mesh) -> Arc<[Arc<str>]> {
    Arc::new([])
}
