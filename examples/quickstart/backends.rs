//! The servers: two versions of `reviews` on loopback, each speaking HTTP/1.1, HTTP/2 and gRPC.
//!
//! Every answer names the cluster of the server that gave it. One server of `reviews-v1` is sick:
//! it answers errors, then it is slow, then it refuses connections, then again.

use super::BoxError;
use super::greeter::{GreeterServer, Polite};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
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
    _tasks: JoinSet<()>,
}

impl Backends {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let well = [
            ("REVIEWS_V1_A", "reviews-v1"),
            ("REVIEWS_V1_B", "reviews-v1"),
            ("REVIEWS_V1_C", "reviews-v1"),
            ("REVIEWS_V2_A", "reviews-v2"),
            ("REVIEWS_V2_B", "reviews-v2"),
        ];
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for (variable, cluster) in well {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.push((variable, listener.local_addr()?));
            tasks.spawn(serve(listener, cluster, watch::Sender::new(Turn::Well).subscribe()));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let sick = listener.local_addr()?;
        addresses.push(("REVIEWS_V1_SICK", sick));
        let (sender, turn) = watch::channel(Turn::Errors);
        tasks.spawn(be_sick(listener, sick, sender));
        Ok(Self { addresses, sick, turn, _tasks: tasks })
    }
}

/// A running server; dropped, it closes its socket and all its connections.
struct Serving(AbortHandle);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn be_sick(first: TcpListener, address: SocketAddr, turn: watch::Sender<Turn>) {
    let mut listener = Some(first);
    loop {
        if let Some(listener) = listener.take() {
            let serving = tokio::spawn(serve(listener, "reviews-v1", turn.subscribe()));
            let _serving = Serving(serving.abort_handle());
            for next in [Turn::Errors, Turn::Slow] {
                turn.send_replace(next);
                tokio::time::sleep(TURN).await;
            }
        }
        turn.send_replace(Turn::Refuses);
        tokio::time::sleep(TURN).await;
        // Another program may have taken the port; then nobody is there for another turn.
        listener = TcpListener::bind(address).await.ok();
    }
}

/// Serves until it is dropped, and all connections with it.
async fn serve(listener: TcpListener, cluster: &'static str, turn: watch::Receiver<Turn>) {
    let mut connections = JoinSet::new();
    loop {
        // A connection that is gone before it was accepted is no reason to stop.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let turn = turn.clone();
        connections.spawn(async move {
            let answer = service_fn(move |request| answer(request, cluster, *turn.borrow()));
            let builder = auto::Builder::new(TokioExecutor::new());
            // How a connection ends is its client's business.
            let _ended = builder.serve_connection(TokioIo::new(stream), answer).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<Incoming>,
    cluster: &'static str,
    turn: Turn,
) -> Result<Response<Body>, Infallible> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
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
    response.headers_mut().insert("x-cluster", HeaderValue::from_static(cluster));
    Ok(response)
}
