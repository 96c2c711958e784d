//! [`AdsServer`]: a control plane on a socket.
//!
//! ```text
//! publish ── watch ──> one task a stream: pure stream machine ──> responses
//!                          ^ requests          \__ Clients: sent, accepted, refused
//! ```
//!
//! - One task for each stream, of either variant. It takes a snapshot or a request, hands it to the pure
//!   machine, and sends what that gives before it takes the next.
//! - A client that does not read holds its own task only: snapshots that it missed meanwhile are one. For it
//!   are held what its connection has taken (two responses), [`QUEUE`] that wait, and the rest of what one
//!   snapshot or request has made: at most a response for each kind.
//! - A stream keeps to one snapshot until it takes the next one as a whole, so that a request in between
//!   can't get ahead of the order of kinds.
//!
//! Bounds: [`MAX_MESSAGE`] bytes a request, [`MAX_NAMES`](super::MAX_NAMES) names of
//! [`MAX_NAME`](super::MAX_NAME) bytes for each kind, which take [`MAX_HELD`](super::MAX_HELD) bytes of all kinds, and
//! [`MAX_STREAMS`] streams; beyond, a stream ends with `RESOURCE_EXHAUSTED` and a reason.
//! [`STREAMS_OF_A_CONNECTION`] streams a connection; the next waits. A peer that is gone without a word is
//! noticed within 40 s, and one that does not begin with HTTP/2 within 10 s is closed. How many connections there are
//! is for the operating system to say: without a descriptor for the next one, it waits in the queue of the socket.
//!
//! But for `serve_tls`, who can reach the address can read the configuration. With
//! [`AdsServer::with_readers`] each reads what its SPIFFE id may.

#[cfg(feature = "tls")]
use super::ServerTls;
use super::clients::{Clients, MAX_STREAMS};
use super::connection::{Accepted, Connection, Peer};
use super::readers::Readers;
use super::task::{Stream, closes};
use super::wire::Wire;
use super::{DeltaStream, Snapshot, SotwStream, accept};
use crate::encode::Encoded;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use futures_core::Stream as Incoming;
use mesh_core::ConfigUpdate;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Server;
use tonic::{Request, Response, Status, Streaming};

/// The largest request, in bytes.
pub const MAX_MESSAGE: usize = 16 << 20;
/// The most streams of one connection. A client has one, rarely two.
pub const STREAMS_OF_A_CONNECTION: u32 = 16;
/// Responses of a stream that wait for its connection. In the state of the world each holds all of its kind.
const QUEUE: usize = 2;
/// Time between two pings, and the time that a peer may take to answer one.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// How long connections may take to close at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A control plane that serves one [`Snapshot`] at a time to everyone. Cheap to clone.
///
/// # Examples
/// ```
/// use mesh_xds::server::{AdsServer, Snapshot};
/// use tokio::net::TcpListener;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = AdsServer::new(Snapshot::default());
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let serving = tokio::spawn({
///     let server = server.clone();
///     async move { server.serve(listener, tokio::time::sleep(std::time::Duration::ZERO)).await }
/// });
/// assert!(server.clients().connected().is_empty());
/// serving.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AdsServer {
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Who may read what; `None`: everyone everything.
    readers: Option<(Readers, Views)>,
    clients: Clients,
}

/// What the clients of each rule read, in the order of the rules.
type Views = Arc<[watch::Sender<Arc<Snapshot>>]>;

/// A server that can't go on.
#[derive(Debug, thiserror::Error)]
#[error("the control plane can't serve on its listener")]
pub struct ServeError {
    #[source]
    source: tonic::transport::Error,
}

impl AdsServer {
    /// A control plane that serves `snapshot` until another is published.
    #[must_use]
    pub fn new(snapshot: impl Into<Arc<Snapshot>>) -> Self {
        let snapshots = watch::Sender::new(snapshot.into());
        Self { snapshots, readers: None, clients: Clients::default() }
    }

    /// Only clients whose proven SPIFFE id has a rule are served from now on, each by the snapshot of its
    /// rule, which is empty until [`publish_for`](Self::publish_for). What [`publish`](Self::publish) is
    /// given is for nobody then. Default: everyone who can connect gets all.
    ///
    /// Call it before serving: clones that were made before go on as they are.
    #[must_use]
    pub fn with_readers(mut self, readers: Readers) -> Self {
        let empty = (0..readers.len()).map(|_| watch::Sender::new(Arc::default()));
        self.readers = Some((readers, empty.collect()));
        self
    }

    /// Serves `snapshot` from now on to whom the rule at this place is for. Whether it differs at all from
    /// what is served to them; `false` for a rule that is not there.
    pub fn publish_for(&self, rule: usize, snapshot: impl Into<Arc<Snapshot>>) -> bool {
        let views = self.readers.as_ref().map(|(_, views)| views);
        let Some(view) = views.and_then(|views| views.get(rule)) else { return false };
        publish(view, snapshot.into())
    }

    /// What is served to whom the rule at this place is for; `None`: there is no such rule.
    #[must_use]
    pub fn snapshot_for(&self, rule: usize) -> Option<Arc<Snapshot>> {
        let (_, views) = self.readers.as_ref()?;
        views.get(rule).map(|view| Arc::clone(&view.borrow()))
    }

    /// Serves `snapshot` from now on, and sends every client what differs for it. Whether it differs at
    /// all from what is served.
    pub fn publish(&self, snapshot: impl Into<Arc<Snapshot>>) -> bool {
        publish(&self.snapshots, snapshot.into())
    }

    /// Serves `update` and these listeners from now on, as [`publish`](Self::publish) does. What `update`
    /// shares with the configuration before (by pointer) is neither encoded nor compared again: see
    /// [`Snapshot::next`]. For one caller at a time: of two, one may win.
    pub fn update(
        &self,
        update: &ConfigUpdate,
        listeners: impl IntoIterator<Item = Encoded>,
    ) -> bool {
        self.publish(self.snapshot().next(update, listeners))
    }

    /// What is served.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Who is connected, and how far each has come.
    #[must_use]
    pub const fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Serves on `listener` until `shutdown` is done. Then streams end with `UNAVAILABLE`, so that
    /// clients go elsewhere or come back, and connections get 2 s to close.
    ///
    /// # Errors
    /// [`ServeError`]: it can't go on.
    ///
    /// # Cancel safety
    /// Dropping it closes the listener and ends the streams; the connections stay until their clients
    /// close them.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let (accepted, connections) = mpsc::channel(1);
        self.serve_while(accept::plain(listener, accepted), connections, shutdown).await
    }

    /// Serves on `listener` over TLS, else like [`serve`](Self::serve).
    ///
    /// # Errors
    /// [`ServeError`]: it can't go on.
    ///
    /// # Cancel safety
    /// As that of [`serve`](Self::serve).
    #[cfg(feature = "tls")]
    pub async fn serve_tls(
        &self,
        listener: TcpListener,
        tls: ServerTls,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let (secured, connections) = mpsc::channel(1);
        let accepting = tls.accept(listener, secured, self.clients.clone());
        self.serve_while(accepting, connections, shutdown).await
    }

    /// Serves the connections that `accepting` hands over, which ends with them.
    async fn serve_while<S>(
        &self,
        accepting: impl Future<Output = ()>,
        connections: mpsc::Receiver<Connection<S>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let ending = watch::Sender::new(false);
        let ends = closes(ending.subscribe());
        let serving = self.serve_connections(connections, async move {
            shutdown.await;
            ending.send_replace(true);
        });
        let accepting = async {
            tokio::select! {
                () = accepting => {}
                () = ends => {}
            }
        };
        tokio::join!(serving, accepting).0
    }

    /// Serves the connections that come out of `connections`, however they were accepted, until `shutdown`
    /// is done, or until there are none any more and no sender for new ones.
    ///
    /// # Errors
    /// [`ServeError`]: it can't go on.
    ///
    /// # Cancel safety
    /// Dropping it ends the streams; the connections stay until their clients close them.
    pub async fn serve_connections<S>(
        &self,
        connections: mpsc::Receiver<Connection<S>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let incoming = ReceiverStream::new(connections).map(Ok::<_, Infallible>);
        self.serve_all(incoming, shutdown).await
    }

    async fn serve_all<S, E>(
        &self,
        incoming: impl Incoming<Item = Result<Connection<S>, E>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let incoming = incoming.map(|accepted| accepted.map(Accepted::new));
        let closing = watch::Sender::new(false);
        let closed = closing.subscribe();
        let streams = Streams { server: self.clone(), closing: closing.subscribe() };
        let service = AggregatedDiscoveryServiceServer::new(streams)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(usize::MAX);
        let (interval, patience) = PING;
        let serving = Server::builder()
            .max_concurrent_streams(STREAMS_OF_A_CONNECTION)
            .http2_keepalive_interval(Some(interval))
            .http2_keepalive_timeout(Some(patience))
            .serve_with_incoming_shutdown(service, incoming, closes(closed));
        tokio::pin!(serving);
        tokio::select! {
            served = &mut serving => return served.map_err(|source| ServeError { source }),
            () = shutdown => {}
        }
        closing.send_replace(true);
        match timeout(LAST_WORDS, serving).await {
            Ok(served) => served.map_err(|source| ServeError { source }),
            // A client that does not close gets no more time.
            Err(_elapsed) => Ok(()),
        }
    }
}

fn publish(served: &watch::Sender<Arc<Snapshot>>, snapshot: Arc<Snapshot>) -> bool {
    served.send_if_modified(|served| {
        let differs = **served != *snapshot;
        if differs {
            *served = snapshot;
        }
        differs
    })
}

/// The service of one listener.
#[derive(Debug)]
struct Streams {
    server: AdsServer,
    closing: watch::Receiver<bool>,
}

impl Streams {
    /// What the client may read.
    fn snapshots(&self, peer: &Peer) -> Result<watch::Receiver<Arc<Snapshot>>, Status> {
        let Some((readers, views)) = &self.server.readers else {
            return Ok(self.server.snapshots.subscribe());
        };
        let rule = readers.rule(peer.identity.as_ref());
        match rule.as_ref().map(|rule| views.get(*rule)) {
            Ok(Some(view)) => Ok(view.subscribe()),
            Ok(None) => Err(Status::internal("the rule has no snapshot")),
            Err(none) => {
                let (peer, why) = (peer.address.map(tracing::field::display), none.to_string());
                tracing::warn!(target: "mesh::ads", peer, why, "stream refused");
                Err(Status::permission_denied(why))
            }
        }
    }

    /// Starts the task of a stream.
    fn open<W: Wire>(&self, request: Request<Streaming<W::Request>>) -> Opened<W::Response> {
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        let snapshots = self.snapshots(&peer)?;
        let Some(client) = self.server.clients.connect(W::VARIANT, &peer) else {
            return Err(Status::resource_exhausted(format!(
                "more than {MAX_STREAMS} streams at a time: use another replica of the control plane"
            )));
        };
        let (sender, responses) = mpsc::channel(QUEUE);
        let stream = Stream::<W> {
            machine: W::default(),
            responses: sender,
            closing: self.closing.clone(),
            client,
            peer,
        };
        tokio::spawn(stream.run(request.into_inner(), snapshots));
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

type Opened<R> = Result<Response<ReceiverStream<Result<R, Status>>>, Status>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Streams {
    type StreamAggregatedResourcesStream =
        ReceiverStream<Result<discovery::DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        ReceiverStream<Result<discovery::DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Opened<discovery::DiscoveryResponse> {
        self.open::<SotwStream>(request)
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Opened<discovery::DeltaDiscoveryResponse> {
        self.open::<DeltaStream>(request)
    }
}
