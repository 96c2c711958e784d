//! [`MeshServer`]: a server loop: connections of a listener, each a task.
//!
//! The service is any tower service of HTTP requests: a router of axum's, routes of tonic's, or one of one's
//! own. Each request carries an `Arc<`[`Connection`](super::Connection)`>` in its extensions, and reaches the
//! service by a [`ServerLayer`]: only if a route takes it and the filters let it.
//!
//! Bounds: a handshake has the time of its chain; a head, its chain's limits, and 30 s over HTTP/1.1 from its first byte
//! on (hyper's default); the first byte, 30 s; an idle connection, an hour or as its chain says; a client that reads
//! nothing, 60 s; a stream of HTTP/2 whose client takes nothing, five minutes or as its chain says;
//! HTTP/2, 200 streams a connection (hyper's default), 64 KiB that wait on each of them, and frames that carry nothing
//! as [`Frames`](mesh_core::inbound::flood::Frames) says. How many connections there are is for the operating system
//! to say, or for [`Builder::overload`](crate::Builder::overload).

use super::accept::{Accepted, Acceptor, Ends};
use super::accept_error::AcceptError;
use super::broken;
use super::detect::Carried;
use super::drain::{By, Drains, Plan};
use super::drive::{plan, until_drained};
use super::guarded::Found;
use super::head_timer::HeadTimer;
use super::http::{PerConnection, Seen};
use super::incoming::Incoming;
use super::keeper::{self, Keeper, ServingMode};
use super::layer::{AuditSink, RequestBody, ServerLayer};
use super::listen::{Listen, elsewhere};
use super::serving::Serving;
use crate::body::BoxError;
use crate::clock;
use crate::mesh::Mesh;
use crate::observe::port::{Drained, Refusal};
use crate::proxy::Forwards;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use mesh_core::inbound::flood::Flood;
use mesh_core::model::Address;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::unconstrained;
use tower_layer::Layer as _;
use tower_service::Service;

/// How long accepting rests when it fails for want of something: files, memory.
const REST: Duration = Duration::from_millis(200);

/// The most connections that are taken from the queue of a socket that is about to be closed.
const MAX_WAITING: usize = 4096;

/// What closing may take after the deadline, and accepting who has connected before the end.
const SLACK: Duration = Duration::from_millis(500);

/// A server for one listener of the configuration. Clones are the same.
///
/// # Examples
/// ```no_run
/// # async fn example(mesh: mesh_tower::Mesh) -> Result<(), Box<dyn std::error::Error>> {
/// # use std::convert::Infallible;
/// use mesh_tower::server::{Incoming, RequestBody};
///
/// type Request = http::Request<RequestBody<Incoming>>;
/// let service = tower::service_fn(|_request: Request| async {
///     Ok::<_, Infallible>(http::Response::new(mesh_tower::MeshBody::full("hello")))
/// });
/// let socket = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
/// // Until the mesh is shut down, or this server is drained.
/// mesh.server("web").serve(socket, service).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MeshServer(Arc<Inner>);

pub(super) struct Inner {
    pub(super) acceptor: Acceptor,
    pub(super) mesh: Mesh,
    pub(super) drains: Drains,
    pub(super) keeper: Keeper,
    /// What is done with each request.
    layer: ArcSwap<ServerLayer>,
}

/// A server listens there until this is dropped.
struct Listens(Arc<Inner>, Option<Address>);

impl Listens {
    fn at(server: &Arc<Inner>, bound: Option<Address>) -> Self {
        server.keeper.bound(bound.as_ref());
        server.look();
        Self(Arc::clone(server), bound)
    }
}

impl Drop for Listens {
    fn drop(&mut self) {
        self.0.keeper.left(self.1.as_ref());
    }
}

/// A server of which a mesh knows, so that it ends with it.
#[derive(Debug)]
pub(crate) struct WeakServer(Weak<Inner>);

/// Why a connection was not served to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It was not accepted.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// What came is no HTTP, or the connection broke.
    #[error("the connection ended: {0}")]
    Http(#[source] BoxError),
    /// It carried nothing, and much of it.
    #[error("the connection was ended because of what came on it: {0}")]
    Flood(Flood),
    /// The server ended before it had said who it is.
    #[error("the connection had not been accepted when the server ended")]
    Silent,
    /// It was drained, and its calls had not ended at the deadline.
    #[error("the connection was closed at the deadline of its drain, with calls in flight")]
    Deadline,
}

impl MeshServer {
    pub(crate) fn new(mesh: Mesh, name: Arc<str>) -> Self {
        let acceptor = Acceptor::new(mesh.clone(), Arc::clone(&name));
        let layer = ArcSwap::from_pointee(ServerLayer::new(&mesh, name));
        let (drains, keeper) = (Drains::new(), Keeper::default());
        let inner = Inner { acceptor, mesh, drains, keeper, layer };
        let server = Self(Arc::new(inner));
        keeper::start(&server.0);
        server
    }

    pub(crate) fn downgrade(&self) -> WeakServer {
        WeakServer(Arc::downgrade(&self.0))
    }

    /// The listener that it serves.
    pub(crate) fn name(&self) -> &Arc<str> {
        self.0.acceptor.name()
    }

    /// Where it listens.
    pub(crate) fn bound(&self) -> Vec<Address> {
        self.0.keeper.bounds()
    }

    /// Tells `callback` now whether this server serves, and again whenever that changes (gRFC A36). It is
    /// called in the middle of things: it must not wait.
    #[must_use]
    pub fn on_mode_change(self, callback: impl Fn(&ServingMode) + Send + Sync + 'static) -> Self {
        self.0.keeper.tell(Box::new(callback));
        self
    }

    /// Tells of audited decisions (gRFC A59), about connections and about requests, to `sink`, in place of standard
    /// output. It holds for connections that are accepted after it.
    #[must_use]
    pub fn audit(self, sink: Arc<dyn AuditSink>) -> Self {
        let _the_same = self.0.acceptor.clone().audit(Arc::clone(&sink));
        let layer = ServerLayer::clone(&self.0.layer.load()).audit(sink);
        self.0.layer.store(Arc::new(layer));
        self
    }

    /// Adds `x-mesh-timing` to responses: see [`ServerLayer::timing`]. It holds for connections that are
    /// accepted after it.
    #[must_use]
    pub fn timing(self) -> Self {
        let layer = ServerLayer::clone(&self.0.layer.load()).timing();
        self.0.layer.store(Arc::new(layer));
        self
    }

    /// How long a server that ends goes on to accept after it has said that it does not serve, so that
    /// whoever asks about its health sends nothing more. Default: no time.
    #[must_use]
    pub fn announce(self, time: Duration) -> Self {
        self.0.keeper.announce(time);
        self
    }

    /// Whether it serves.
    #[must_use]
    pub fn mode(&self) -> ServingMode {
        self.0.keeper.mode()
    }

    /// Whether it serves: for health checks.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.mode() == ServingMode::Serving
    }

    /// Accepts connections from `listener`, and lets `service` answer what comes on them, each connection
    /// in a task of its own, until the server is [drained](Self::drain). While the configuration does not
    /// have the listener, or has it elsewhere, connections are closed at once (gRFC A36).
    ///
    /// # Errors
    /// None now: what goes wrong with a socket passes, and is told in the log.
    ///
    /// # Cancel safety
    /// Dropping it closes the socket; connections go on.
    pub async fn serve<L, S, B>(&self, listener: L, service: S) -> io::Result<()>
    where
        L: Listen,
        S: Service<Request<RequestBody<Incoming>>, Response = Response<B>>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.accept_all(listener, service, None).await
    }

    /// As [`serve`](Self::serve); what `forwards` says is passed on, and `service` does that with requests.
    #[expect(clippy::disallowed_methods, reason = "a connection is a task")]
    pub(crate) async fn accept_all<L, S, B>(
        &self,
        listener: L,
        service: S,
        forwards: Option<Forwards>,
    ) -> io::Result<()>
    where
        L: Listen,
        S: Service<Request<RequestBody<Incoming>>, Response = Response<B>>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let bound = listener.address();
        let listens = Listens::at(&self.0, bound.clone());
        let take = |io, ends| {
            let (server, service, bound) = (self.clone(), service.clone(), bound.clone());
            let takers = (service, forwards.clone());
            let entered = self.0.drains.enter();
            drop(tokio::spawn(async move {
                let _entered = entered;
                let served = server.run(io, ends, bound.as_ref(), takers).await;
                if let Err(error) = server.counted(served) {
                    server.0.keeper.failed(&server.0.acceptor, ends, &error);
                }
            }));
        };
        // Another process may have the same socket: who has come here is not that one's.
        let entered = forwards.as_ref().map(|_| self.0.drains.enter());
        let accepting = self.0.drains.accepts();
        loop {
            let accepted = tokio::select! {
                biased;
                _plan = self.0.drains.ending() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                // Closed as soon as it is taken: who waits in a queue does not know that he may go elsewhere.
                Ok(_) if !self.has_room() => self.0.acceptor.turned_away(Refusal::Overloaded),
                Ok((io, ends)) => take(io, ends),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.0.acceptor.turned_away(Refusal::NoRoom);
                    tracing::warn!(target: "mesh::server", listener = %self.0.acceptor.name(), "no connection can be accepted: {error}");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        // Who has connected before the end is served: it can't know. The runtime looks at its sockets first; and without
        // its budget, since after 128 connections a task that has used it up would find the queue empty.
        tokio::task::yield_now().await;
        for _ in 0..MAX_WAITING {
            let mut next = pin!(unconstrained(listener.accept()));
            let next = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
            let Poll::Ready(Ok((io, ends))) = next else { break };
            take(io, ends);
        }
        drop((listener, listens, accepting, entered));
        self.0.drains.empty().await;
        Ok(())
    }

    /// Serves one connection, of which `io` are the bytes, in the task that polls it.
    ///
    /// # Errors
    /// [`ServeError`]: it was not accepted, or did not end as it should.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection.
    pub async fn serve_connection<I, S, B>(
        &self,
        io: I,
        ends: Ends,
        service: S,
    ) -> Result<(), ServeError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<RequestBody<Incoming>>, Response = Response<B>>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.counted(self.run(io, ends, None, (service, None)).await)
    }

    /// Counts a connection that broke.
    fn counted(&self, served: Result<(), ServeError>) -> Result<(), ServeError> {
        if let Some(reason) = served.as_ref().err().and_then(broken::reason) {
            self.0.acceptor.broken(reason);
        }
        served
    }

    /// Serves a connection.
    async fn run<I, S, B>(
        &self,
        io: I,
        ends: Ends,
        bound: Option<&Address>,
        (service, forwards): (S, Option<Forwards>),
    ) -> Result<(), ServeError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<RequestBody<Incoming>>, Response = Response<B>>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let acceptor = &self.0.acceptor;
        self.is_here(bound)?;
        let bytes = forwards.as_ref().and_then(|forwards| forwards.bytes.as_ref());
        let accepted = async {
            tokio::select! {
                biased;
                accepted = acceptor.accept_for(io, ends, bytes) => accepted.map_err(ServeError::from),
                () = self.0.drains.quiet() => Err(ServeError::Silent),
            }
        };
        // A handshake needs much for a moment, and a connection may live for long: its memory is given back.
        let (Accepted { io, connection, mut open }, bytes) = Box::pin(accepted).await?;
        let carried = if bytes.is_some() { Carried::Bytes } else { Carried::Requests };
        let by = By { chain: &connection.chain, carried, bound };
        let mut place = self.0.drains.join(by, || acceptor.listener(), clock::wall());
        if let Some(bytes) = bytes {
            let mut carried = Box::pin(bytes.carry(io, &connection));
            let plan = plan(acceptor, &mut place, &mut open);
            return until_drained(carried.as_mut(), plan, self.0.drains.over()).await;
        }
        if forwards.is_some() {
            connection.pass_on();
        }
        let service = self.0.layer.load().layer(service);
        let (tunnels, found) = (connection.tunnels.clone(), Found::default());
        let seen = Arc::new(Seen::new(found.clone(), tunnels.clone()));
        let of = connection.chain.http().map(|http| (http.model().limits, http.model().timeouts));
        let (limits, timeouts) = of.unwrap_or_default();
        let mut service = PerConnection::new(service, Arc::clone(&connection), Arc::clone(&seen));
        service.identifies = forwards.is_some();
        let serving = Serving {
            acceptor,
            limits,
            timeouts,
            seen: &seen,
            heads: HeadTimer::new(),
            found: found.clone(),
            over: || self.0.drains.over(),
        };
        let planned = plan(acceptor, &mut place, &mut open);
        let served = serving.serve(io, service, planned).await;
        acceptor.unborn(found.opened().saturating_sub(seen.requests()));
        if served.is_err() {
            tunnels.close();
        }
        served.map_err(|error| broken::found(error, &found))?;
        let ended = pin!(tunnels.ended());
        let planned = plan(acceptor, &mut place, &mut open);
        let ended = until_drained(ended, planned, self.0.drains.over()).await;
        // Nobody is left, or they are told.
        tunnels.close();
        ended
    }

    fn has_room(&self) -> bool {
        self.0.mesh.shared().registry.mesh().overload().takes_connection()
    }

    /// Refuses a connection to where the listener is not any more.
    fn is_here(&self, bound: Option<&Address>) -> Result<(), AcceptError> {
        let Some(why) = bound.and_then(|bound| self.elsewhere(bound)) else { return Ok(()) };
        let listener = Arc::clone(self.0.acceptor.name());
        let error = AcceptError::NotServing { listener, why };
        self.0.acceptor.refuse(&error);
        Err(error)
    }

    fn elsewhere(&self, bound: &Address) -> Option<Arc<str>> {
        let listener = self.0.acceptor.listener()?;
        let configured = listener.model().address.as_ref()?;
        elsewhere(configured, bound).map(Into::into)
    }

    /// It accepts no more, and another has its place: its connections end as those of a listener that changed.
    pub(crate) fn replaced(&self) {
        self.0.drains.replaced(clock::wall());
    }

    /// Ends the server without losing a call: says that it does not serve ([`mode`](Self::mode), callbacks),
    /// stops to accept, tells clients (GOAWAY, `connection: close`), and waits for the calls in flight, all
    /// of it until `deadline`, when what is left is closed. A second drain waits for the announcement of the first, and the
    /// earliest deadline counts.
    ///
    /// [`Mesh::shutdown`] does it for all servers of the mesh, before it ends the calls that they make.
    ///
    /// # Cancel safety
    /// Once polled, it goes on, but for the deadline of the announcement.
    pub async fn drain(&self, deadline: Duration) {
        let announce = self.0.keeper.ends(deadline);
        if !announce.is_zero() {
            tokio::time::sleep(announce).await;
        }
        let left = deadline.saturating_sub(announce);
        self.0.drains.all(Plan::within(left, Drained::ShutDown));
        let ended = async {
            // Who waits in the queue of a socket is let in first: without an open connection the process would end, and
            // reset those. Not for long, since whoever accepts may not be polled any more.
            let _in_or_late = tokio::time::timeout(SLACK, self.0.drains.accepted()).await;
            self.0.drains.empty().await;
        };
        let _empty_or_late = tokio::time::timeout(left.saturating_add(SLACK), ended).await;
    }
}

impl WeakServer {
    /// The server, if anybody holds it.
    pub(crate) fn upgrade(&self) -> Option<MeshServer> {
        self.0.upgrade().map(MeshServer)
    }
}

/// Whether only the connection that was to be accepted is lost.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

impl fmt::Debug for MeshServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshServer")
            .field("listener", self.0.acceptor.name())
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}
