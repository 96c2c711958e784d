//! The call path allocates nothing, and its futures are small.
//!
//! Counted from `Service::call` to the end of the response body, without a retry policy and with
//! `transparent_retry` off (what is kept for a re-send has to be kept somewhere), exactly:
//!
//! - over a transport of the user's whose answers are there at once, so that every allocation is the
//!   stack's. One hand-over is paid for at the public edge: the [`Endpoint`] extension that tells a
//!   foreign transport where to go (docs of `mesh_tower::MeshLayer`); what `http::Extensions` costs is
//!   measured beside it;
//! - over our own HTTP/2 connections, beside a client that is `h2` and nothing else: what HTTP/2 itself
//!   allocates is allocated by both. The server is in this process too, and allocates nothing.
//!
//! Metric cells are made when they are first counted in (a histogram's decade when a duration falls
//! into it), so what is counted is the life of a mesh that has been called before. Under the paused
//! clock durations are what the test makes them, and so is what is allocated for them.
//!
//! A binary of its own, and one test: its allocator counts for the whole process.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program of its own, whose parts fail and spawn as tests do, and which says what it counted"
)]

#[path = "zero_alloc/server.rs"]
mod server;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Extensions, HeaderValue, Request, Response, Version};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use mesh_core::ConfigUpdate;
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, Endpoint as Configured,
    ForwardAction, LbAlgorithm, LbPolicy, OutlierDetection, Route, RouteAction, RouteConfiguration,
    RouteMatch, VirtualHost,
};
use mesh_core::update::ClusterUpdate;
use mesh_tower::{BoxError, Client, Endpoint, Mesh, MeshBody, MeshLayer};
use server::Server;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::Builder;
use tower::{Layer, Service};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Calls until cells exist and are spread over shards.
const WARM_UP: usize = 3000;
const CALLS: usize = 1000;

/// A transport whose answers are there at once, or after some time on a paused clock.
#[derive(Clone, Default)]
struct Immediate {
    takes: Takes,
}

/// How long the answer takes; shared by a transport's clones. `Send`, as transports have to be.
type Takes = Arc<parking_lot::Mutex<Duration>>;

impl Service<Request<MeshBody>> for Immediate {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<MeshBody>) -> Self::Future {
        drop(request);
        let takes = *self.takes.lock();
        if !takes.is_zero() {
            advance(takes);
        }
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"answer")))))
    }
}

/// Moves the paused clock, without waiting for the runtime to turn.
fn advance(duration: Duration) {
    let moved = pin!(tokio::time::advance(duration)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(moved.is_pending(), "it only yields after that");
}

/// Timeout, breaker, outlier detection, least request and metrics on; retries of any kind off.
fn config(endpoints: impl IntoIterator<Item = SocketAddr>) -> ConfigUpdate {
    let mut cluster = Cluster::new("a");
    cluster.lb_policy = LbPolicy::new(LbAlgorithm::least_request());
    cluster.outlier_detection = Some(OutlierDetection::default());
    let mut action = ForwardAction::new(ClusterSpecifier::Cluster("a".into()));
    action.transparent_retry = false;
    let route = Route::new("all", RouteMatch::any(), RouteAction::Forward(action));
    let mut host = VirtualHost::new("any", vec![Domain::Any]);
    host.routes.push(Arc::new(route));
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts.push(Arc::new(host));
    let endpoints = endpoints.into_iter().map(|address| Configured::new(address.into()));
    let endpoints = Some(Arc::new(ClusterLoadAssignment::of(endpoints)));
    let mut update = ConfigUpdate::default();
    update.route_configuration = Arc::new(routes);
    update.clusters.insert("a".into(), ClusterUpdate::new(Arc::new(cluster), endpoints));
    update
}

fn request() -> Request<MeshBody> {
    let mut request = Request::post("http://a/path").body(MeshBody::full("body")).unwrap();
    for (name, value) in [
        ("accept", "*/*"),
        ("user-agent", "test"),
        ("x-user", "me"),
        ("x-id", "1"),
        ("content-length", "4"),
    ] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

/// One call that never waits, to the end of its body.
fn call<S, R>(service: &mut S, request: Request<MeshBody>)
where
    S: Service<Request<MeshBody>, Response = Response<R>>,
    S::Error: std::fmt::Debug,
    R: Body<Data = Bytes> + Unpin,
    R::Error: std::fmt::Debug,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else { panic!("not ready") };
    let mut future = pin!(service.call(request));
    let Poll::Ready(response) = future.as_mut().poll(&mut cx) else { panic!("it waits") };
    let mut body = response.unwrap().into_body();
    loop {
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(Some(frame)) => drop(frame.unwrap()),
            Poll::Ready(None) => return,
            Poll::Pending => panic!("it waits"),
        }
    }
}

/// The allocations of `work` for `CALLS` inputs, which are made before.
fn allocations<T>(make: impl Fn() -> T, work: impl FnMut(T)) -> u64 {
    allocations_of(CALLS, make, work)
}

fn allocations_of<T>(count: usize, make: impl Fn() -> T, mut work: impl FnMut(T)) -> u64 {
    let inputs: Vec<T> = (0..count).map(|_| make()).collect();
    let before = dhat::HeapStats::get().total_blocks;
    for input in inputs {
        work(input);
    }
    dhat::HeapStats::get().total_blocks - before
}

#[test]
fn the_call_path_allocates_nothing_and_its_futures_are_small() {
    let testing = std::env::var_os("MESH_HEAP_PROFILE").is_none();
    // With MESH_HEAP_PROFILE set, dhat-heap.json says where each allocation was made.
    let builder = dhat::Profiler::builder().trim_backtraces(Some(40));
    let profiler = if testing { builder.testing().build() } else { builder.build() };
    over_a_transport_of_the_users();
    over_our_own_connections();
    drop(profiler);
}

// === A user's transport ===

fn over_a_transport_of_the_users() {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let addresses = (1..=10).map(|n| SocketAddr::from(([10, 0, 0, n], 80)));
    let mesh = Mesh::builder().config(config(addresses)).build().unwrap();
    let transport = Immediate::default();
    let takes = Arc::clone(&transport.takes);
    let mut client = MeshLayer::new(&mesh).layer(transport);
    let seen = handed_over(&mesh);
    let hand_over = allocations(Extensions::new, |mut extensions| {
        extensions.insert(seen.clone());
        black_box(&extensions);
    });

    (0..WARM_UP).for_each(|_| call(&mut client, request()));
    let total = allocations(request, |request| call(&mut client, request));
    println!("{total} allocations in {CALLS} calls, of which {hand_over} hand the endpoint over");
    assert_eq!(total, hand_over, "the stack allocates on the call path");

    // Histograms make room for a decade of durations when one is seen for the first time, and never
    // again.
    let mut ten = || allocations_of(10, request, |request| call(&mut client, request));
    for decade in [5, 50, 500, 5_000, 50_000].map(Duration::from_micros) {
        *takes.lock() = decade;
        assert!(ten() > hand_over / 100, "nothing measures that a call took {decade:?}");
        assert_eq!(ten(), hand_over / 100, "{decade:?}");
    }

    // A caller's options are no different.
    let with_options = || {
        let mut request = request();
        request.extensions_mut().insert(mesh_tower::CallOptions::new());
        request.extensions_mut().insert(seen.clone());
        request
    };
    let total = allocations(with_options, |request| call(&mut client, request));
    // The extensions are there already: only the endpoint itself is boxed.
    assert_eq!(total, CALLS as u64);
    sizes(&mesh, &mut client);
}

/// An endpoint as a transport of the user's gets it.
fn handed_over(mesh: &Mesh) -> Endpoint {
    let told: Arc<OnceLock<Endpoint>> = Arc::default();
    let tell = Arc::clone(&told);
    let transport = tower::service_fn(move |request: Request<MeshBody>| {
        tell.get_or_init(|| request.extensions().get::<Endpoint>().unwrap().clone());
        ready(Ok::<_, BoxError>(Response::new(Full::new(Bytes::new()))))
    });
    call(&mut MeshLayer::new(mesh).layer(transport), request());
    told.get().unwrap().clone()
}

/// The futures that a user's own future has to hold.
fn sizes<S: Service<Request<MeshBody>>>(mesh: &Mesh, foreign: &mut S) {
    let foreign = size_of_val(&foreign.call(request()));
    let client = size_of_val(&mesh.client().call(request()));
    let mut channel = mesh.channel("a").unwrap();
    let channel = size_of_val(&channel.call(Request::new(tonic::body::Body::empty())));
    println!("futures: {foreign} bytes over a ready transport, client {client}, channel {channel}");
    assert!(foreign <= FOREIGN && client <= CLIENT && channel <= CLIENT);
}

/// Most bytes of a call's future over a transport whose own future is its answer.
const FOREIGN: usize = 1536;
/// Most bytes of a call's future over our own connections.
const CLIENT: usize = 1280;

// === Our own connections ===

fn over_our_own_connections() {
    let server = Server::start();
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    // While a blocking task runs, the paused clock does not run ahead to the next timer: sockets are
    // waited for, and take no time.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let holds_the_clock = runtime.spawn_blocking(move || ended.recv().unwrap_or_default());

    let bare = runtime.block_on(h2_alone(server.address));
    let bare = over_http2(|request| runtime.block_on(call_h2(&bare, request)));
    let mesh = {
        let _entered = runtime.enter();
        Mesh::builder().config(config([server.address])).build().unwrap()
    };
    let mut client = mesh.client();
    let ours = over_http2(|request| runtime.block_on(call_client(&mut client, request)));
    println!("{ours} allocations in {CALLS} calls over HTTP/2, of h2 alone {bare}");
    assert_eq!(ours, bare, "the stack or its connections allocate on the call path");
    drop(end);
    runtime.block_on(holds_the_clock).unwrap();
}

fn over_http2(mut call: impl FnMut(Request<MeshBody>)) -> u64 {
    let make = || {
        let mut request = request();
        *request.version_mut() = Version::HTTP_2;
        request
    };
    (0..WARM_UP).for_each(|_| call(make()));
    allocations(make, call)
}

async fn call_client(client: &mut Client, request: Request<MeshBody>) {
    let mut body = client.call(request).await.unwrap().into_body();
    while let Some(frame) = body.frame().await {
        drop(frame.unwrap());
    }
}

/// A connection of `h2` without anything around it.
async fn h2_alone(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    send
}

async fn call_h2(send: &SendRequest<Bytes>, request: Request<MeshBody>) {
    let mut ready = send.clone();
    std::future::poll_fn(|cx| ready.poll_ready(cx)).await.unwrap();
    let (response, mut stream) = ready.send_request(request.map(drop), false).unwrap();
    stream.send_data(Bytes::from_static(b"body"), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    drop(body.trailers().await.unwrap());
}
