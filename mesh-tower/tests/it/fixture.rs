//! What the tests share: servers on loopback and in memory, configurations, metrics, waiting.

use bytes::Bytes;
use futures_core::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mesh_core::model::{
    Address, Cluster, ClusterLoadAssignment, Domain, Endpoint, ForwardAction, Route, VirtualHost,
};
use mesh_core::update::ConfigUpdate;
use mesh_tower::source::{Sink, Source};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{Error, Mesh, MeshBody, ResponseBody};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower::ServiceExt;

/// A server that answers HTTP/1.1 and HTTP/2; ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves every request by `answer`.
    pub(crate) async fn start<F, Fut>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Self::start_streaming(answer).await
    }

    /// The same, with answers of any kind.
    pub(crate) async fn start_streaming<F, Fut, B>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let answer = answer.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let response = answer(request);
                        async move { Ok::<_, Infallible>(response.await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let io = TokioIo::new(stream);
                    let _ended = builder.serve_connection_with_upgrades(io, service).await;
                });
            }
        });
        Self { address, task }
    }

    /// Answers everything with `text`.
    pub(crate) async fn text(text: &'static str) -> Self {
        Self::start(move |_| async move { Response::new(Full::from(text)) }).await
    }
}

// === Configurations ===

/// The address of endpoint `number` in memory.
pub(crate) fn at(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 80))
}

/// One virtual host `*` that sends everything to `cluster` with `endpoints`.
pub(crate) fn config(
    cluster: Cluster,
    endpoints: &[SocketAddr],
    change: impl FnOnce(&mut ForwardAction),
) -> ConfigUpdate {
    config_of(cluster, endpoints.iter().map(|address| Address::from(*address)), change)
}

/// The same, with addresses of any kind.
pub(crate) fn config_of(
    cluster: Cluster,
    endpoints: impl IntoIterator<Item = Address>,
    change: impl FnOnce(&mut ForwardAction),
) -> ConfigUpdate {
    let endpoints = ClusterLoadAssignment::of(endpoints.into_iter().map(Endpoint::new));
    config_with(cluster, Some(endpoints), change)
}

/// The same, with any endpoints, or none known yet.
pub(crate) fn config_with(
    cluster: Cluster,
    endpoints: Option<ClusterLoadAssignment>,
    change: impl FnOnce(&mut ForwardAction),
) -> ConfigUpdate {
    let mut action = ForwardAction::to(Arc::clone(&cluster.name));
    change(&mut action);
    let host = VirtualHost::new("any", vec![Domain::Any]).route(Route::forward(action));
    ConfigUpdate::in_code().virtual_host(host).assigned(cluster, endpoints)
}

/// A cluster `a`, changed.
pub(crate) fn cluster(change: impl FnOnce(&mut Cluster)) -> Cluster {
    let mut cluster = Cluster::new("a");
    change(&mut cluster);
    cluster
}

/// A mesh over `network`, whose round robin begins with the first endpoint.
pub(crate) fn mesh(network: &MemoryNetwork, update: ConfigUpdate) -> Mesh {
    Mesh::builder().seed(0).connector(network.clone()).config(update).build().unwrap()
}

/// A mesh of one cluster `a` over endpoints 1 to `endpoints` of `network`.
pub(crate) fn simple(
    network: &MemoryNetwork,
    endpoints: u8,
    change: impl FnOnce(&mut ForwardAction),
) -> Mesh {
    let endpoints: Vec<_> = (1..=endpoints).map(at).collect();
    mesh(network, config(Cluster::new("a"), &endpoints, change))
}

// === Calls ===

pub(crate) fn get(path: &str) -> Request<MeshBody> {
    Request::get(format!("http://a{path}")).body(MeshBody::empty()).unwrap()
}

pub(crate) fn post(path: &str, body: impl Into<MeshBody>) -> Request<MeshBody> {
    Request::post(format!("http://a{path}")).body(body.into()).unwrap()
}

/// As a gRPC call, with no message.
pub(crate) fn grpc(path: &str) -> Request<MeshBody> {
    let mut request = over_h2(post(path, "\0\0\0\0\0".to_owned()));
    let value = http::HeaderValue::from_static("application/grpc");
    request.headers_mut().insert("content-type", value);
    request
}

pub(crate) fn over_h2(mut request: Request<MeshBody>) -> Request<MeshBody> {
    *request.version_mut() = http::Version::HTTP_2;
    request
}

/// The limit of every wait here that has none of its own. Virtual where the clock is paused.
const LONG: Duration = Duration::from_secs(100);

pub(crate) async fn bounded<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("it hangs")
}

pub(crate) async fn call(
    mesh: &Mesh,
    request: Request<MeshBody>,
) -> Result<Response<ResponseBody>, Error> {
    bounded(mesh.client().oneshot(request)).await
}

/// A call to its end: its status and body, or the code of its error.
pub(crate) async fn outcome(
    mesh: &Mesh,
    request: Request<MeshBody>,
) -> Result<(u16, Bytes), String> {
    let response = call(mesh, request).await.map_err(|error| error.code().to_owned())?;
    let status = response.status().as_u16();
    let body = bounded(response.into_body().collect()).await;
    Ok((status, body.map_err(|error| error.code().to_owned())?.to_bytes()))
}

/// The whole body as text.
pub(crate) async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body<Data = Bytes>,
    B::Error: fmt::Debug,
{
    let bytes = bounded(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn reply(status: u16, body: &'static str) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::from(body)).unwrap()
}

/// Counts across clones.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    /// Adds one, and gives how many there were before.
    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

// === Metrics ===

/// The sum of the series of `name` that have all of these labels.
pub(crate) fn metric(mesh: &Mesh, name: &str, labels: &[(&str, &str)]) -> u64 {
    let text = mesh.metrics().prometheus_text();
    let wanted: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    text.lines()
        .filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
        .filter(|line| wanted.iter().all(|label| line.contains(label.as_str())))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..5000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("never: {what}");
}

/// Waits until nothing is counted as in flight any more.
pub(crate) async fn idle(mesh: &Mesh) {
    eventually("all is released", || {
        metric(mesh, "mesh_calls_active", &[]) == 0
            && metric(mesh, "mesh_attempts_active", &[]) == 0
    })
    .await;
}

/// The flags of the calls that ended, with their number, as metrics have them: `-:3 UO:1`.
pub(crate) fn flags(mesh: &Mesh) -> String {
    let text = mesh.metrics().prometheus_text();
    let mut flags = std::collections::BTreeMap::<String, u64>::new();
    for line in text.lines().filter(|line| line.starts_with("mesh_calls_total{")) {
        let flag = line.split("response_flag=\"").nth(1).unwrap().split('"').next().unwrap();
        let flag = if flag.is_empty() { "-" } else { flag };
        *flags.entry(flag.to_owned()).or_default() +=
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    }
    let flags = flags.iter().filter(|(_, count)| **count > 0);
    flags.map(|(flag, count)| format!("{flag}:{count}")).collect::<Vec<_>>().join(" ")
}

/// Hands its sink to the test.
#[derive(Debug)]
pub(crate) struct Handed(pub(crate) oneshot::Sender<Sink>);

impl Source for Handed {
    fn start(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.0.send(sink.clone()).expect("the test waits for it");
            sink.closed().await;
        })
    }
}
