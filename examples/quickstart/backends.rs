//! The servers: two versions of `reviews` on loopback, each speaking HTTP/1.1, HTTP/2 and gRPC.
//!
//! Every answer names the cluster of the server that gave it. One server of `reviews-v1` is sick:
//! it answers errors, then it is slow, then it refuses connections, then again.
//!
//! With mutual TLS each has a mesh of its own, as it would have in a process of its own.

use super::BoxError;
use super::greeter::{GreeterServer, Polite};
use super::mtls::{Callers, Mtls};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body as HttpBody;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mesh_tower::Mesh;
use mesh_tower::server::MeshServer;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

/// How long the sick server keeps each of its turns.
const TURN: Duration = Duration::from_millis(600);
/// How long it takes when it is slow: more than the per-try timeout.
const SLOWNESS: Duration = Duration::from_secs(2);

/// What is wrong with a server now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Well,
    Errors,
    Slow,
    Refuses,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Well => "is well",
            Self::Errors => "answers errors",
            Self::Slow => "is slow",
            Self::Refuses => "refuses connections",
        })
    }
}

/// All servers, each with the variable that names it in the configuration. They end when dropped.
pub(crate) struct Backends {
    pub(crate) addresses: Vec<(&'static str, SocketAddr)>,
    pub(crate) sick: SocketAddr,
    pub(crate) turn: watch::Receiver<Turn>,
    /// With mutual TLS, the mesh of each.
    pub(crate) meshes: Vec<Mesh>,
    /// And who called them.
    pub(crate) callers: Callers,
    _tasks: JoinSet<()>,
}

/// Of each server: the variable that names it in the configuration, its cluster, its workload.
pub(crate) const SERVERS: [(&str, &str, &str); 6] = [
    ("REVIEWS_V1_A", "reviews-v1", "reviews/v1-a"),
    ("REVIEWS_V1_B", "reviews-v1", "reviews/v1-b"),
    ("REVIEWS_V1_C", "reviews-v1", "reviews/v1-c"),
    ("REVIEWS_V2_A", "reviews-v2", "reviews/v2-a"),
    ("REVIEWS_V2_B", "reviews-v2", "reviews/v2-b"),
    (SICK, "reviews-v1", "reviews/v1-sick"),
];
const SICK: &str = "REVIEWS_V1_SICK";

impl Backends {
    pub(crate) async fn start(mtls: Option<&Mtls>) -> Result<Self, BoxError> {
        let (mut addresses, mut meshes, mut tasks) = (Vec::new(), Vec::new(), JoinSet::new());
        let (sender, turn) = watch::channel(Turn::Errors);
        let (mut sick, callers) = (None, Callers::default());
        for (variable, cluster, workload) in SERVERS {
            let mesh = match mtls {
                Some(mtls) => Some(mtls.mesh(workload, None).await?),
                None => None,
            };
            meshes.extend(mesh.clone());
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            addresses.push((variable, address));
            let well = watch::Sender::new(Turn::Well).subscribe();
            let reviews = Reviews { cluster, turn: well, callers: callers.clone() };
            if variable == SICK {
                let reviews = Reviews { turn: turn.clone(), ..reviews };
                sick = Some((listener, address, reviews, mesh));
            } else {
                let server = mesh.map(|mesh| mesh.server("reviews"));
                tasks.spawn(reviews.serve(listener, server));
            }
        }
        let (listener, address, reviews, mesh) = sick.ok_or("no server is sick")?;
        tasks.spawn(be_sick((listener, address), reviews, mesh, sender));
        Ok(Self { addresses, sick: address, turn, meshes, callers, _tasks: tasks })
    }

    /// The metrics of all meshes.
    pub(crate) fn metrics(&self) -> String {
        self.meshes.iter().map(|mesh| mesh.metrics().prometheus_text()).collect()
    }
}

/// A running server; dropped, it closes its socket, and its connections if it has no mesh.
struct Serving(AbortHandle);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn be_sick(
    (first, address): (TcpListener, SocketAddr),
    reviews: Reviews,
    mesh: Option<Mesh>,
    turn: watch::Sender<Turn>,
) {
    let mut listener = Some(first);
    loop {
        if let Some(listener) = listener.take() {
            let server = mesh.as_ref().map(|mesh| mesh.server("reviews"));
            let serving = tokio::spawn(reviews.clone().serve(listener, server.clone()));
            let _serving = Serving(serving.abort_handle());
            for next in [Turn::Errors, Turn::Slow] {
                turn.send_replace(next);
                tokio::time::sleep(TURN).await;
            }
            // It is sick: it does not wait for its calls.
            if let Some(server) = server {
                server.drain(Duration::ZERO).await;
            }
        }
        turn.send_replace(Turn::Refuses);
        tokio::time::sleep(TURN).await;
        // Another program may have taken the port; then nobody is there for another turn.
        listener = TcpListener::bind(address).await.ok();
    }
}

/// What a server serves.
#[derive(Clone)]
struct Reviews {
    cluster: &'static str,
    turn: watch::Receiver<Turn>,
    callers: Callers,
}

impl Reviews {
    /// Serves until it is dropped.
    async fn serve(self, listener: TcpListener, server: Option<MeshServer>) {
        let Some(server) = server else { return self.serve_plaintext(listener).await };
        let service = tower::service_fn(move |request| self.clone().answer(request));
        // The user's line of the server's side: identity, TLS and who may call are the configuration's.
        let _drained = server.serve(listener, service).await;
    }

    /// Serves until it is dropped, and all connections with it.
    async fn serve_plaintext(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            // A connection that is gone before it was accepted is no reason to stop.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let reviews = self.clone();
            // Small frames at once: Nagle would hold a second one back for the delayed ACK of the first.
            let _best_effort = stream.set_nodelay(true);
            connections.spawn(async move {
                let answer = service_fn(move |request| reviews.clone().answer(request));
                let builder = auto::Builder::new(TokioExecutor::new());
                // How a connection ends is its client's business.
                let _ended = builder.serve_connection(TokioIo::new(stream), answer).await;
            });
            while connections.try_join_next().is_some() {}
        }
    }

    async fn answer<B>(self, request: Request<B>) -> Result<Response<Body>, Infallible>
    where
        B: HttpBody + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        self.callers.note(request.extensions());
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let is_grpc =
            content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let turn = *self.turn.borrow();
        if turn == Turn::Slow {
            tokio::time::sleep(SLOWNESS).await;
        }
        let mut response = match (turn, is_grpc) {
            (Turn::Errors, true) => Status::unavailable("the sick server").into_http(),
            (Turn::Errors, false) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response
            }
            (_, true) => GreeterServer::new(Polite).call(request).await?,
            (_, false) => Response::new(Body::new(Full::from(Bytes::from_static(b"five stars")))),
        };
        response.headers_mut().insert("x-cluster", HeaderValue::from_static(self.cluster));
        Ok(response)
    }
}
