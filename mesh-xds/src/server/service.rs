//! [`AdsServer`]: a control plane on a socket.
//!
//! ```text
//! publish ── watch ──> one task a stream: pure stream machine ──> responses
//!                          ^ requests          \__ Clients: sent, accepted, refused
//! ```
//!
//! - One task for each stream, of either variant. It takes a snapshot or a request, hands it to the pure
//!   machine, and sends what that gives before it takes the next.
//! - A client that does not read holds its own task only: snapshots that it missed meanwhile are one.
//! - A stream keeps to one snapshot until it takes the next one as a whole, so that a request in between
//!   can't get ahead of the order of kinds.
//!
//! Bounds: [`MAX_MESSAGE`] bytes a request, [`MAX_NAMES`](super::MAX_NAMES) names and
//! [`MAX_STREAMS`] streams; beyond, a stream ends with `RESOURCE_EXHAUSTED` and a reason.
//! [`STREAMS_OF_A_CONNECTION`] streams a connection; the next waits. A peer that is gone without a word is
//! noticed within 40 s.
//!
//! What it does not do: TLS. Who can reach the address can read the configuration.

use super::clients::{Answer, Clients, Connected, MAX_STREAMS};
use super::wire::Wire;
use super::{DeltaStream, Snapshot, SotwStream};
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

/// The largest request, in bytes.
pub const MAX_MESSAGE: usize = 16 << 20;
/// The most streams of one connection.
pub const STREAMS_OF_A_CONNECTION: u32 = 100;
/// Responses of a stream that wait for its connection.
const QUEUE: usize = 4;
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
    clients: Clients,
}

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
        Self { snapshots: watch::Sender::new(snapshot.into()), clients: Clients::default() }
    }

    /// Serves `snapshot` from now on, and sends every client what differs for it. Whether it differs at
    /// all from what is served.
    pub fn publish(&self, snapshot: impl Into<Arc<Snapshot>>) -> bool {
        let snapshot = snapshot.into();
        self.snapshots.send_if_modified(|served| {
            let differs = **served != *snapshot;
            if differs {
                *served = snapshot;
            }
            differs
        })
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
    /// [`ServeError`]: the listener is broken for good.
    ///
    /// # Cancel safety
    /// Dropping it closes the listener and ends the streams; the connections stay until their clients
    /// close them.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        // Responses are small and must not wait for more of them.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
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

/// The service of one listener.
#[derive(Debug)]
struct Streams {
    server: AdsServer,
    closing: watch::Receiver<bool>,
}

impl Streams {
    /// Starts the task of a stream.
    fn open<W: Wire>(&self, request: Request<Streaming<W::Request>>) -> Opened<W::Response> {
        let peer = request.remote_addr();
        let Some(client) = self.server.clients.connect(W::VARIANT, peer) else {
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
        let snapshots = self.server.snapshots.subscribe();
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

/// The task of one stream.
struct Stream<W: Wire> {
    machine: W,
    responses: mpsc::Sender<Result<W::Response, Status>>,
    closing: watch::Receiver<bool>,
    client: Connected,
    peer: Option<SocketAddr>,
}

impl<W: Wire> Stream<W> {
    async fn run(
        mut self,
        requests: Streaming<W::Request>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
    ) {
        let end = tokio::select! {
            biased;
            () = closes(self.closing.clone()) => {
                Status::unavailable("the control plane ends: try another, or again")
            }
            end = self.answer(requests, snapshots) => end,
        };
        let (id, node) = (self.client.id(), self.node());
        tracing::info!(target: "mesh::ads", id, node, why = end.message(), "client gone");
        // Who is told of the end is no longer among the clients.
        drop(self.client);
        // Without a wait: a client that does not read is not waited for, and one that has left can't
        // be told.
        let _told_or_gone = self.responses.try_send(Err(end));
    }

    /// Answers until the stream ends, and says why it does.
    async fn answer(
        &mut self,
        mut requests: Streaming<W::Request>,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> Status {
        let mut snapshot = Arc::clone(&snapshots.borrow_and_update());
        let left = self.responses.clone();
        loop {
            let responses = tokio::select! {
                biased;
                () = left.closed() => return Status::cancelled("it closed the stream"),
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return Status::unavailable("the control plane ends: try another, or again");
                    }
                    snapshot = Arc::clone(&snapshots.borrow_and_update());
                    self.machine.handle_snapshot(&snapshot)
                }
                request = requests.message() => match request {
                    Ok(Some(request)) => match self.handle_request(&request, &snapshot) {
                        Ok(responses) => responses,
                        Err(refused) => return refused,
                    },
                    Ok(None) => return Status::ok("it finished the stream"),
                    Err(broken) => return broken,
                },
            };
            for response in responses {
                self.client.sent(&W::sent(&response), Instant::now());
                if self.responses.send(Ok(response)).await.is_err() {
                    return Status::cancelled("it closed the stream");
                }
            }
        }
    }

    fn handle_request(
        &mut self,
        request: &W::Request,
        snapshot: &Snapshot,
    ) -> Result<Vec<W::Response>, Status> {
        let was_known = self.machine.node_id().is_some();
        let asked = W::asked(request);
        let answer = self.client.answered(&asked, Instant::now());
        let responses = self
            .machine
            .handle_request(request, snapshot)
            .map_err(|refused| Status::resource_exhausted(refused.to_string()));
        let (id, node) = (self.client.id(), self.node());
        if !was_known && self.machine.node_id().is_some() {
            self.client.named(node);
            let (peer, variant) = (self.peer.map(tracing::field::display), W::VARIANT);
            tracing::info!(target: "mesh::ads", id, node, peer, ?variant, "client connected");
        }
        match answer {
            Some((kind, Answer::Ack { version, lag })) => {
                tracing::info!(target: "mesh::ads", id, node, %kind, version, ?lag, "ACK");
            }
            Some((kind, Answer::Nack(refusal))) => tracing::warn!(
                target: "mesh::ads", id, node, %kind, version = refusal.version,
                why = refusal.message, "NACK"
            ),
            None if crate::ResourceType::from_type_url(asked.type_url).is_none() => {
                tracing::debug!(
                    target: "mesh::ads", id, node, type_url = asked.type_url,
                    "a type that is not served: no answer"
                )
            }
            None => {}
        }
        responses
    }

    fn node(&self) -> &str {
        self.machine.node_id().map_or("", |node| node)
    }
}

/// Waits until a server closes.
async fn closes(mut closing: watch::Receiver<bool>) {
    // An error: the sender is gone, and the server with it.
    let _closed = closing.wait_for(|closing| *closing).await.is_ok();
}
