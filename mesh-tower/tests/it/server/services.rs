//! Services of others: axum, tonic; sockets of other kinds.

use super::world::{chain, get, serving};
use crate::fixture::bounded;
use axum::Extension;
use axum::routing::get as route;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_core::model::{Address, FilterChain, HttpConnectionManager, Listener};
use mesh_tower::server::{Connection, Incoming, RequestBody};
use mesh_tower::{BoxError, Mesh, MeshBody};
use std::future::Ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tower::Service;

fn plain() -> Mesh {
    Mesh::builder().config(serving(vec![chain("plain", |_| {})])).build().unwrap()
}

async fn remote(Extension(connection): Extension<Arc<Connection>>) -> String {
    let has = |end: Option<_>| if end.is_some() { "yes" } else { "no" };
    format!("remote {}, local {}", has(connection.remote), has(connection.local))
}

#[tokio::test]
async fn a_router_of_axum_is_a_service() {
    let router = axum::Router::new().route("/", route(remote));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = plain().server("web");
    tokio::spawn(async move { server.serve(socket, router).await });
    for is_http2 in [false, true] {
        let io = TcpStream::connect(address).await.unwrap();
        assert_eq!(get(io, is_http2).await.as_deref(), Ok("remote yes, local yes"));
    }
}

#[tokio::test]
async fn a_unix_socket_is_a_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.sock");
    let mut listener = Listener::new("web");
    listener.address = Some(Address::Unix(path.as_path().into()));
    listener.filter_chains = vec![Arc::new(FilterChain::new(
        "plain",
        Some(Arc::new(HttpConnectionManager::serving(Vec::new()))),
    ))];
    let mut update = serving(Vec::new());
    update.listeners.insert("web".into(), Arc::new(listener));
    let mesh = Mesh::builder().config(update).build().unwrap();
    let router = axum::Router::new().route("/", route(remote));
    let server = mesh.server("web");
    let elsewhere = UnixListener::bind(directory.path().join("other.sock")).unwrap();
    for (socket, expected) in [
        (UnixListener::bind(&path).unwrap(), Some("remote no, local no")),
        // gRFC A36: a listener is not served anywhere else.
        (elsewhere, None),
    ] {
        let path = socket.local_addr().unwrap().as_pathname().unwrap().to_owned();
        let (server, router) = (server.clone(), router.clone());
        tokio::spawn(async move { server.serve(socket, router).await });
        let io = UnixStream::connect(path).await.unwrap();
        assert_eq!(get(io, false).await.ok().as_deref(), expected);
    }
}

#[tokio::test]
async fn routes_of_tonic_are_a_service() {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop", tonic_health::ServingStatus::Serving).await;
    let routes = tonic::service::Routes::new(health);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = plain().server("web");
    tokio::spawn(async move { server.serve(socket, routes).await });
    let channel = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = bounded(channel.connect()).await.unwrap();
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest { service: "shop".to_owned() };
    let answer = bounded(client.check(request)).await.unwrap().into_inner();
    assert_eq!(
        answer.status,
        tonic_health::pb::health_check_response::ServingStatus::Serving as i32
    );
}

/// A service that counts its clones, and fails or panics when it is told to.
struct Counted {
    clones: Arc<AtomicUsize>,
    /// Of this clone.
    calls: u32,
    /// Its readiness fails from its second call on.
    tires: bool,
}

impl Counted {
    fn new(tires: bool) -> Self {
        Self { clones: Arc::default(), calls: 0, tires }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::Relaxed);
        Self { clones: Arc::clone(&self.clones), calls: 0, tires: self.tires }
    }
}

impl Service<Request<RequestBody<Incoming>>> for Counted {
    type Response = Response<MeshBody>;
    type Error = BoxError;
    type Future = Ready<Result<Response<MeshBody>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let is_tired = self.tires && self.calls > 0;
        Poll::Ready(if is_tired { Err("it is tired".into()) } else { Ok(()) })
    }

    fn call(&mut self, request: Request<RequestBody<Incoming>>) -> Self::Future {
        self.calls += 1;
        assert_ne!(request.uri().path(), "/panics");
        std::future::ready(Ok(Response::new(MeshBody::full(self.calls.to_string()))))
    }
}

/// What a server of HTTP/2 answers one request after another on one connection: how many calls that clone has had;
/// `None`: it failed.
async fn answers(service: Counted, paths: impl Iterator<Item = &'static str>) -> Vec<Option<u32>> {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = plain().server("web");
    tokio::spawn(async move { server.serve(socket, service).await });
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, driver) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(driver);
    let mut answers = Vec::new();
    for path in paths {
        let request = Request::get(format!("http://localhost{path}"));
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let Ok(response) = bounded(sender.send_request(request)).await else {
            answers.push(None);
            continue;
        };
        let body = bounded(response.into_body().collect()).await.unwrap().to_bytes();
        answers.push(Some(std::str::from_utf8(&body).unwrap().parse().unwrap()));
    }
    answers
}

/// More than a connection gives tasks before it runs one itself again, as it does where requests take long, as in builds
/// without optimization.
const MANY: usize = 600;

/// Over HTTP/2 requests that come one after another are answered by one clone of the service.
#[tokio::test]
async fn a_clone_answers_one_request_after_another() {
    let service = Counted::new(false);
    let clones = Arc::clone(&service.clones);
    let answers = answers(service, std::iter::repeat_n("/", MANY)).await;
    assert_eq!(answers[0], Some(1));
    assert!(answers.contains(&Some(2)), "{answers:?}");
    // Each has its own first call, and there are a few of the server's.
    let firsts = answers.iter().filter(|calls| **calls == Some(1)).count();
    let clones = clones.load(Ordering::Relaxed);
    assert!((firsts..firsts + 10).contains(&clones), "{clones} for {firsts}");
}

/// One that has failed answers no more.
#[tokio::test]
async fn a_clone_that_is_not_ready_again_is_replaced() {
    let answers = answers(Counted::new(true), std::iter::repeat_n("/", MANY)).await;
    assert!(answers.contains(&None));
    for pair in answers.windows(2) {
        assert!(pair.contains(&Some(1)), "{answers:?}");
    }
    assert!(answers.iter().all(|calls| matches!(calls, None | Some(1))), "{answers:?}");
}

#[tokio::test]
async fn a_clone_that_has_panicked_is_replaced() {
    let paths = ["/", "/panics"].into_iter().cycle().take(20);
    let expected = [Some(1), None].into_iter().cycle().take(20);
    assert_eq!(answers(Counted::new(false), paths).await, expected.collect::<Vec<_>>());
}
