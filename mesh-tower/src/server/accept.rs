//! [`Acceptor`]: a byte stream → a connection that is known, or a reason why not.
//!
//! ```text
//!  bytes ── first bytes, if a chain asks ──> facts ──> chain ──┬─ TLS: handshake ──┬─> network RBAC ──> Connection
//!               │ too late: closed           │ none: closed    └─ plaintext ───────┘       │ denied: closed
//! ```
//!
//! - Without a listener of this name in the configuration, connections are closed at once, with no byte
//!   (gRFC A36: "not serving").
//! - Network RBAC is asked once, when it is known who came: after the handshake. Asked before, a policy that
//!   allows a principal would deny everybody (Envoy asks it with the identity of TLS, too).
//! - The time for all of it is that of the chain; before there is one, the longest of the listener's.
//!
//! What it does not do: read requests, or ask again when the configuration changes.

use super::accept_error::AcceptError;
use super::connection::Connection;
use super::hello::Beginning;
use super::io::{AcceptedIo, Kind, Rewind};
use super::layer::{AuditSink, StdoutAudit, name_of};
use super::open::OpenConnection;
use crate::clock;
use crate::mesh::Mesh;
use crate::observe::access_log::StreamLine;
use crate::observe::port::{Broken, Drained, PortCells, Refusal};
use crate::tcp::Proxied;
#[cfg(feature = "tls")]
use crate::tls::server::{self, HandshakeError, ServerTls};
#[cfg(feature = "tls")]
use crate::tls::server_watch::{Evidence, Watched};
use arc_swap::ArcSwap;
use bytes::Bytes;
use mesh_core::inbound::{CompiledFilterChain, CompiledListener, ConnectionFacts};
use mesh_core::model::cidr::canonical;
use mesh_core::model::filter_chain::TransportProtocol;
use mesh_core::rbac::{self, AuditRecord, CompiledRbacFilter};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// Accepts connections by one listener of the configuration.
///
/// [`MeshServer`](super::MeshServer) does it for whole servers; this is for programs with a server loop of
/// their own. Clones are the same.
#[derive(Clone)]
pub struct Acceptor(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) mesh: Mesh,
    name: Arc<str>,
    cells: Arc<PortCells>,
    audit: ArcSwap<Arc<dyn AuditSink>>,
    #[cfg(feature = "tls")]
    pub(super) tls: ServerTls,
    /// Connections that are looked after.
    #[cfg(feature = "tls")]
    pub(super) watched: Watched,
}

/// A connection that is secured as its chain says.
struct Secured<I> {
    io: AcceptedIo<I>,
    connection: Connection,
    /// By what, if it was verified.
    #[cfg(feature = "tls")]
    evidence: Option<Evidence>,
}

/// The ends of a byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a connection has two ends")]
pub struct Ends {
    /// Ours; `None`: it has no IP address.
    pub local: Option<SocketAddr>,
    /// The other; `None`: it has no IP address.
    pub remote: Option<SocketAddr>,
    /// Where the other meant to connect, where the system led it here (Linux: REDIRECT); `None`: here.
    pub original: Option<SocketAddr>,
}

impl Ends {
    /// IPv4 is IPv4, whatever the socket is that it came by: policies, limits and authorizers compare addresses as
    /// texts, too.
    fn canonical(self) -> Self {
        let Self { local, remote, original } = self;
        let [local, remote, original] =
            [local, remote, original].map(|address| address.map(canonical));
        Self { local, remote, original }
    }
}

/// A connection that was accepted.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted<I> {
    /// Its bytes, decrypted.
    pub io: AcceptedIo<I>,
    /// What is known of it.
    pub connection: Arc<Connection>,
    /// As long as this lives, it counts as open.
    pub open: OpenConnection,
}

/// What was read of a connection, and for which chain.
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "a handshake needs all of it"))]
struct Begun<'l> {
    listener: &'l CompiledListener,
    chain: &'l Arc<CompiledFilterChain>,
    beginning: Beginning,
    server_name: Arc<str>,
    started: Instant,
}

impl Acceptor {
    pub(crate) fn new(mesh: Mesh, name: Arc<str>) -> Self {
        let cells = mesh.shared().registry.port(&name);
        if mesh.want_listener(&name).is_err() {
            tracing::warn!(
                target: "mesh::server", listener = %name,
                "servers ask for so many listeners that this one is not asked for"
            );
        }
        #[cfg(feature = "tls")]
        let tls = ServerTls::default();
        Self(Arc::new(Inner {
            mesh,
            name,
            cells,
            audit: ArcSwap::from_pointee(Arc::new(StdoutAudit)),
            #[cfg(feature = "tls")]
            tls,
            #[cfg(feature = "tls")]
            watched: Watched::default(),
        }))
    }

    /// The listener's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Tells of audited decisions of network RBAC (gRFC A59) to `sink`, in place of standard output. It holds for
    /// connections that are accepted after it.
    #[must_use]
    pub fn audit(self, sink: Arc<dyn AuditSink>) -> Self {
        self.0.audit.store(Arc::new(sink));
        self
    }

    /// The listener in force; `None`: there is none of this name.
    pub(super) fn listener(&self) -> Option<Arc<CompiledListener>> {
        self.0.mesh.snapshot().listeners().get(&self.0.name).cloned()
    }

    /// Keeps no certificates, and no keys, but those that this names: the listener in force, or there is none.
    #[cfg(feature = "tls")]
    pub(super) fn let_go(&self, listener: Option<&CompiledListener>) {
        self.0.tls.keep(|name| listener?.chain(name)?.model().tls.clone());
    }

    /// Why there is none, if whoever was asked has said so.
    pub(super) fn absent(&self) -> Option<Arc<str>> {
        self.0.mesh.snapshot().absent_listener(&self.0.name).cloned()
    }

    /// Accepts the connection of which `io` are the bytes.
    ///
    /// # Errors
    /// [`AcceptError`] says why it was not; it is counted, and `io` is dropped.
    ///
    /// # Cancel safety
    /// Not cancel safe: what was read is lost.
    pub async fn accept<I>(&self, io: I, ends: Ends) -> Result<Accepted<I>, AcceptError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = self.try_accept(io, ends.canonical()).await;
        accepted.inspect_err(|error| self.refuse(error))
    }

    /// Counts a connection that is told to end.
    pub(super) fn drained(&self, why: Drained) {
        self.0.cells.drained(why);
    }

    /// Counts a connection that ended before its time.
    pub(super) fn broken(&self, why: Broken) {
        self.0.cells.broken(why);
    }

    /// Where streams are counted that are reset for their client's silence.
    pub(super) fn stalled(&self) -> &Arc<AtomicU64> {
        self.0.cells.stalled()
    }

    /// Counts streams that were opened and became no requests.
    pub(super) fn unborn(&self, streams: u64) {
        self.0.cells.unborn(streams);
    }

    /// Counts a connection that is refused before it is looked at.
    pub(super) fn turned_away(&self, why: Refusal) {
        self.0.cells.refused(why);
    }

    /// Counts a connection that is not accepted.
    pub(super) fn refuse(&self, error: &AcceptError) {
        error.count(&self.0.cells);
    }

    async fn try_accept<I>(&self, mut io: I, ends: Ends) -> Result<Accepted<I>, AcceptError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let started = Instant::now();
        let listener = self.listener().ok_or_else(|| AcceptError::NotServing {
            listener: Arc::clone(&self.0.name),
            why: self.absent().unwrap_or_else(|| "the configuration does not have it".into()),
        })?;
        let direct_remote = ends.remote;
        let ends = proxied(&listener, &mut io, ends, started).await?;
        let beginning = first_bytes(&listener, &mut io, started).await?;
        let (server_name, protocols) = said(&beginning);
        let facts = (direct_remote, ends, &*server_name);
        let chain = self.chain(&listener, facts, &beginning, &protocols)?;
        over(chain)?;
        let begun = Begun { listener: &listener, chain, beginning, server_name, started };
        let secured = self.secure(io, (direct_remote, ends), begun).await?;
        let mut connection = secured.connection;
        match self.allowed(&connection, connection.chain.network_rbac()) {
            Ok(policy) => connection.policy = policy,
            Err(error) => {
                let log = self.0.mesh.shared().logs.server.as_ref();
                if let (Some(log), AcceptError::Denied { denied, .. }) = (log, &error)
                    && connection.chain.http().is_none()
                {
                    StreamLine::denied(log, &Arc::new(connection), denied, started.elapsed());
                }
                return Err(error);
            }
        }
        let open = OpenConnection::new(self.0.cells.accepted(&connection.peer));
        #[cfg(feature = "tls")]
        let open = self.looked_after(open, secured.evidence);
        Ok(Accepted { io: secured.io, connection: Arc::new(connection), open })
    }

    fn chain<'l>(
        &self,
        listener: &'l CompiledListener,
        (direct_source, ends, server_name): (Option<SocketAddr>, Ends, &str),
        beginning: &Beginning,
        protocols: &[String],
    ) -> Result<&'l Arc<CompiledFilterChain>, AcceptError> {
        let protocols: Vec<&str> = protocols.iter().map(String::as_str).collect();
        let transport_protocol = match beginning {
            Beginning::Hello(_) => TransportProtocol::Tls,
            Beginning::Raw(_) | Beginning::Closed => TransportProtocol::RawBuffer,
        };
        let facts = ConnectionFacts {
            destination: ends.local,
            direct_source,
            source: ends.remote,
            transport_protocol,
            server_name,
            application_protocols: &protocols,
        };
        let none = || AcceptError::NoChain { listener: Arc::clone(&self.0.name) };
        listener.select(&facts).ok_or_else(none)
    }

    fn connection(
        &self,
        (direct_remote, ends): (Option<SocketAddr>, Ends),
        begun: &Begun<'_>,
    ) -> Connection {
        let chain = Arc::clone(begun.chain);
        let mut connection = Connection::new(Arc::clone(&self.0.name), chain);
        (connection.local, connection.remote) = (ends.local, ends.remote);
        connection.original = ends.original;
        connection.direct_remote = direct_remote;
        connection.server_name = Arc::clone(&begun.server_name);
        connection
    }

    /// Asks network RBAC. Both enforcement types of Envoy's come to this one time: nothing that policies see changes
    /// while a connection lasts, and no byte of the application's was read yet.
    pub(super) fn allowed(
        &self,
        connection: &Connection,
        filters: &[CompiledRbacFilter],
    ) -> Result<Option<Arc<str>>, AcceptError> {
        if filters.is_empty() {
            return Ok(None);
        }
        let mut policy: Option<&Arc<str>> = None;
        let chain = &connection.chain.model().name;
        let facts = connection.facts();
        let mut request = rbac::Request::of_connection(&facts);
        let wall = clock::wall();
        request.time = Some(wall);
        let allowed = rbac::decide(filters, &request, |filter, decision| {
            if let Some(enforced) = &decision.enforced {
                policy = enforced.policy;
            }
            for verdict in decision.enforced.iter().filter(|verdict| verdict.audited) {
                let name = filter.stat_prefixes().0;
                let record = AuditRecord::new(wall, name, &request, verdict);
                self.0.audit.load().audit(&record);
            }
            if let Some(shadow) = decision.shadow.filter(|verdict| !verdict.allowed) {
                let policy = name_of(shadow.policy);
                self.0.cells.denied(chain, &policy, true);
                tracing::debug!(target: "mesh::server", %chain, %policy, "shadow rules deny");
            }
        });
        allowed.map(|()| policy.cloned()).map_err(|denied| {
            self.0.cells.denied(chain, &name_of(denied.policy.as_ref()), false);
            let peer = connection.peer.name().into();
            AcceptError::Denied { chain: Arc::clone(chain), peer, denied }
        })
    }

    /// Secures the connection as its chain says.
    async fn secure<I>(
        &self,
        io: I,
        ends: (Option<SocketAddr>, Ends),
        begun: Begun<'_>,
    ) -> Result<Secured<I>, AcceptError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        #[cfg(feature = "tls")]
        self.let_go(Some(begun.listener));
        let connection = self.connection(ends, &begun);
        let Some(_policy) = &begun.chain.model().tls else {
            let read = match begun.beginning {
                Beginning::Raw(read) => read,
                #[cfg(feature = "tls")]
                Beginning::Hello(hello) => hello.read,
                #[cfg(not(feature = "tls"))]
                Beginning::Hello(read) => read,
                Beginning::Closed => Bytes::new(),
            };
            return Ok(Secured {
                io: AcceptedIo(Kind::Plain(Rewind::new(read, io))),
                connection,
                #[cfg(feature = "tls")]
                evidence: None,
            });
        };
        let chain = Arc::clone(&begun.chain.model().name);
        match begun.beginning {
            Beginning::Raw(_) | Beginning::Closed => Err(AcceptError::NotTls { chain }),
            #[cfg(feature = "tls")]
            Beginning::Hello(_) => self.handshake(io, begun, connection).await,
            #[cfg(not(feature = "tls"))]
            Beginning::Hello(_) => {
                let reason = "this program was built without the feature `tls`".into();
                Err(AcceptError::NoIdentity { chain, reason })
            }
        }
    }

    #[cfg(feature = "tls")]
    async fn handshake<I>(
        &self,
        io: I,
        begun: Begun<'_>,
        mut connection: Connection,
    ) -> Result<Secured<I>, AcceptError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let Begun { chain, beginning, started, .. } = begun;
        let model = chain.model();
        let (Some(policy), Beginning::Hello(hello)) = (&model.tls, beginning) else {
            return Err(AcceptError::NotTls { chain: Arc::clone(&model.name) });
        };
        let shared = self.0.mesh.shared();
        let (secrets, credentials) = (shared.secrets.load_full(), &shared.credentials);
        let around = server::Around { secrets: &secrets, credentials };
        let limit = limit(model.handshake_timeout);
        let waited_for = "the certificates of the filter chain were not read";
        let tls = self.0.tls.of(&model.name, policy, around);
        let tls = within(limit, started, waited_for, tls).await?;
        let tls = tls.map_err(|error| AcceptError::NoIdentity {
            chain: Arc::clone(&model.name),
            reason: error.to_string().into(),
        })?;
        let io = Rewind::new(hello.read.slice(hello.taken..), io);
        let waited_for = "the client has not finished its part of the handshake";
        let stream = within(limit, started, waited_for, tls.handshake(hello.accepted, io)).await?;
        let stream = stream.map_err(|error| failed(error, &model.name))?;
        let (peer, certificates, peer_end) = server::proven(&stream);
        (connection.peer, connection.certificates) = (peer, certificates.into());
        connection.own_uris = Some(Arc::clone(tls.own_uris()));
        let evidence = Evidence {
            chain: Arc::clone(&model.name),
            shown: Arc::clone(&connection.certificates),
            peer_end,
            own_end: Some(tls.own_end()),
            over: connection.over().clone(),
            tls,
        };
        let alpn = stream.get_ref().1.alpn_protocol();
        connection.alpn = alpn.map(|name| String::from_utf8_lossy(name).into());
        let io = AcceptedIo(Kind::Tls(Box::new(Rewind::new(Bytes::new(), stream))));
        Ok(Secured { io, connection, evidence: Some(evidence) })
    }
}

#[cfg(feature = "tls")]
fn failed(error: HandshakeError, chain: &Arc<str>) -> AcceptError {
    let chain = Arc::clone(chain);
    match error {
        HandshakeError::Client(refused) => AcceptError::Client { chain, refused },
        HandshakeError::Tls(error) => {
            AcceptError::Handshake { chain, reason: error.to_string().into() }
        }
        HandshakeError::Io(error) => AcceptError::Io(error),
    }
}

/// Its ends, as the header of the PROXY protocol says that it begins with, where the listener asks for one.
async fn proxied<I: AsyncRead + Unpin>(
    listener: &CompiledListener,
    io: &mut I,
    ends: Ends,
    started: Instant,
) -> Result<Ends, AcceptError> {
    if !listener.model().proxy_protocol {
        return Ok(ends);
    }
    let waited_for = "the client has not sent a whole header of the PROXY protocol";
    match within(longest(listener), started, waited_for, Proxied::read(io)).await? {
        Ok(Proxied { ends: Some((source, destination)) }) => {
            Ok(Ends { local: Some(destination), remote: Some(source), ..ends }.canonical())
        }
        // The proxy itself: its health checks.
        Ok(Proxied { ends: None }) => Ok(ends),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            let listener = Arc::clone(&listener.model().name);
            Err(AcceptError::NoProxyHeader { listener, reason: error.to_string().into() })
        }
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(AcceptError::Closed),
        Err(error) => Err(AcceptError::Io(error)),
    }
}

/// What the connection begins with, if any chain has to know.
async fn first_bytes<I: AsyncRead + Unpin>(
    listener: &CompiledListener,
    io: &mut I,
    started: Instant,
) -> Result<Beginning, AcceptError> {
    let has_tls = listener.chains().iter().any(|chain| chain.model().tls.is_some());
    if !has_tls && !listener.looks_at_client_hello() {
        return Ok(Beginning::Raw(Bytes::new()));
    }
    let longest = longest(listener);
    let waited_for = "the client has not sent a whole ClientHello, or any byte";
    match within(longest, started, waited_for, Beginning::read(io)).await? {
        Ok(Beginning::Closed) => Err(AcceptError::Closed),
        Ok(beginning) => Ok(beginning),
        Err(error) => Err(AcceptError::Io(error)),
    }
}

/// The longest time that any chain gives; without a limit is the longest.
fn longest(listener: &CompiledListener) -> Option<Duration> {
    let limits = listener.chains().iter().map(|chain| limit(chain.model().handshake_timeout));
    limits.reduce(|one, two| one.zip(two).map(|(one, two)| one.max(two))).flatten()
}

/// Envoy: zero means none.
fn limit(timeout: Duration) -> Option<Duration> {
    (!timeout.is_zero()).then_some(timeout)
}

async fn within<T>(
    limit: Option<Duration>,
    started: Instant,
    waited_for: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, AcceptError> {
    let Some(after) = limit else { return Ok(work.await) };
    let left = after.saturating_sub(started.elapsed());
    let late = |_| AcceptError::TimedOut { waited_for, after };
    tokio::time::timeout(left, work).await.map_err(late)
}

/// The server name, in lower case, and the protocols of a ClientHello.
#[cfg(feature = "tls")]
fn said(beginning: &Beginning) -> (Arc<str>, Vec<String>) {
    let Beginning::Hello(hello) = beginning else { return (Arc::from(""), Vec::new()) };
    let hello = hello.accepted.client_hello();
    let name = hello.server_name().unwrap_or_default().to_ascii_lowercase().into();
    let protocols = hello.alpn().into_iter().flatten();
    (name, protocols.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

#[cfg(not(feature = "tls"))]
fn said(_: &Beginning) -> (Arc<str>, Vec<String>) {
    (Arc::from(""), Vec::new())
}

fn over(chain: &CompiledFilterChain) -> Result<(), AcceptError> {
    match chain.model().until {
        Some(until) if until <= clock::wall() => {
            Err(AcceptError::Over { chain: Arc::clone(&chain.model().name), until })
        }
        _ => Ok(()),
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("name", &self.0.name).finish_non_exhaustive()
    }
}
