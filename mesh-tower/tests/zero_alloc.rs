//! The call path allocates nothing, and its futures are small.
//!
//! Measured over a transport of the user's whose answers are there at once, so that every allocation
//! is the stack's: from `Service::call` to the end of the response body, without a retry policy and
//! with `transparent_retry` off (what is kept for a re-send has to be kept somewhere). One hand-over is
//! paid for at the public edge: the [`Endpoint`] extension that tells a foreign transport where to go
//! (docs of `mesh_tower::MeshLayer`); what `http::Extensions` costs is measured beside it.
//!
//! A binary of its own: its allocator counts for the whole process.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program of its own, whose helpers fail as tests do, and which says what it counted"
)]

use bytes::Bytes;
use http::{Extensions, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use mesh_core::ConfigUpdate;
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, Endpoint as Configured,
    ForwardAction, LbAlgorithm, LbPolicy, OutlierDetection, Route, RouteAction, RouteConfiguration,
    RouteMatch, VirtualHost,
};
use mesh_core::update::ClusterUpdate;
use mesh_tower::{BoxError, Endpoint, Mesh, MeshBody, MeshLayer};
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tower::{Layer, Service};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const WARM_UP: usize = 3000;
const CALLS: usize = 1000;

/// A transport whose answers are there at once.
#[derive(Clone)]
struct Immediate;

impl Service<Request<MeshBody>> for Immediate {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<MeshBody>) -> Self::Future {
        drop(request);
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"answer")))))
    }
}

/// Timeout, breaker, outlier detection, least request and metrics on; retries of any kind off.
fn config() -> ConfigUpdate {
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
    let endpoints = (1..=10).map(|n| Configured::new(SocketAddr::from(([10, 0, 0, n], 80)).into()));
    let endpoints = Some(Arc::new(ClusterLoadAssignment::of(endpoints)));
    let mut update = ConfigUpdate::default();
    update.route_configuration = Arc::new(routes);
    update.clusters.insert("a".into(), ClusterUpdate::new(Arc::new(cluster), endpoints));
    update
}

fn request() -> Request<MeshBody> {
    let mut request = Request::post("http://a/path").body(MeshBody::full("body")).unwrap();
    for (name, value) in
        [("accept", "*/*"), ("user-agent", "test"), ("x-user", "me"), ("x-id", "1")]
    {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

/// One call, to the end of its body.
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

/// The allocations of `work` for each of `CALLS` inputs, which are made before.
fn allocations<T>(make: impl Fn() -> T, mut work: impl FnMut(T)) -> u64 {
    let inputs: Vec<T> = (0..CALLS).map(|_| make()).collect();
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mesh = Mesh::builder().config(config()).build().unwrap();
    let mut client = MeshLayer::new(&mesh).layer(Immediate);

    let seen = {
        let told: Arc<std::sync::OnceLock<Endpoint>> = Arc::default();
        let tell = Arc::clone(&told);
        let transport = tower::service_fn(move |request: Request<MeshBody>| {
            tell.get_or_init(|| request.extensions().get::<Endpoint>().unwrap().clone());
            ready(Ok::<_, BoxError>(Response::new(Full::new(Bytes::new()))))
        });
        call(&mut MeshLayer::new(&mesh).layer(transport), request());
        told.get().unwrap().clone()
    };
    let hand_over = allocations(Extensions::new, |mut extensions| {
        extensions.insert(seen.clone());
        black_box(&extensions);
    });

    for _ in 0..WARM_UP {
        call(&mut client, request());
    }
    let total = allocations(request, |request| call(&mut client, request));
    println!("{total} allocations in {CALLS} calls, of which {hand_over} hand the endpoint over");
    if !testing {
        drop(profiler);
    }
    // A latency decade that is seen for the first time takes a chunk: a few in the life of a process.
    assert!(total - hand_over < 8, "the stack allocates on the call path");

    // A call with a span that nobody wants, a caller's deadline and options is no different.
    let with_options = || {
        let mut request = request();
        request.extensions_mut().insert(mesh_tower::CallOptions::new());
        request.extensions_mut().insert(seen.clone());
        request
    };
    if testing {
        let total = allocations(with_options, |request| call(&mut client, request));
        // The extensions are there already: only the endpoint itself is boxed.
        assert_eq!(total, CALLS as u64);
    }
    sizes(&mesh, &mut client);
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
const FOREIGN: usize = 2048;
/// Most bytes of a call's future over our own connections.
const CLIENT: usize = 2048;
