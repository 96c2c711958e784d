//! What a call costs beside the network: the decisions alone, and the whole stack over a transport that
//! answers at once.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench is a program that fails loudly and prints"
)]

#[path = "support/mod.rs"]
mod support;
#[path = "support/tables.rs"]
mod tables;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use mesh_core::Timestamp;
use mesh_core::breaker::Resource;
use mesh_core::head::RequestHead;
use mesh_core::model::{RetryOn, RetryPolicy, RouteAction, RoutingPriority};
use mesh_core::random::SplitMix64;
use mesh_core::state::{InFlight, Mesh as State, PickRequest, Picked, Routing, Updater};
use mesh_core::update::ConfigUpdate;
use mesh_tower::{Mesh, MeshBody, MeshLayer};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll};
use support::Case;
use tower::{Layer, Service};

fn main() -> ExitCode {
    support::main(
        "call",
        &[
            Case::new("route to guard", 2_000, route_to_guard),
            Case::new("transport alone", 2_000, transport_alone),
            Case::new("stack, nothing saved", 2_000, || {
                stack(change(|action| {
                    action.transparent_retry = false;
                }))
            }),
            Case::new("stack, transparent retry", 2_000, || stack(change(|_| {}))),
            Case::new("stack, retries armed", 2_000, || {
                stack(change(|action| {
                    let policy = RetryPolicy::new(RetryOn::SERVER_ERROR | RetryOn::UNAVAILABLE);
                    action.retry_policy = Some(Arc::new(policy));
                }))
            }),
        ],
    )
}

/// The usual configuration with its split route changed.
fn change(change: impl Fn(&mut mesh_core::model::ForwardAction)) -> ConfigUpdate {
    let mut update = tables::usual();
    let mut routes = (*update.route_configuration).clone();
    let mut host = (*routes.virtual_hosts[0]).clone();
    let mut route = (**host.routes.last().expect("a route")).clone();
    if let RouteAction::Forward(action) = &mut route.action {
        change(action);
    }
    *host.routes.last_mut().expect("a route") = Arc::new(route);
    routes.virtual_hosts[0] = Arc::new(host);
    update.route_configuration = Arc::new(routes);
    update
}

/// Snapshot, route, split, breaker, picker, endpoint, guard: and all of it given back.
fn route_to_guard() -> Box<dyn FnMut()> {
    let (mut updater, mesh): (Updater<()>, State<()>) = Updater::new(());
    updater.apply(tables::usual(), Timestamp::ZERO).expect("a good configuration");
    let (headers, mut random) = (headers(), SplitMix64::new(1));
    Box::new(move || {
        let _kept = &updater;
        let head = RequestHead::new(&Method::GET, "reviews", "/x", &headers);
        let routing = mesh.snapshot().route(black_box(&head), &mut random).expect("a route");
        let Routing::Forward(target, _) = routing else { unreachable!("the route forwards") };
        let cluster = Arc::clone(target.cluster());
        let (priority, now) = (RoutingPriority::Default, Timestamp::from_millis(1));
        cluster.breaker().try_acquire(priority, Resource::Requests).expect("room");
        let request = PickRequest { now, hash: None, previous: &[], max_reselect: 0 };
        let picker = cluster.picker();
        let Picked::Endpoint(_, endpoint) = picker.pick(&cluster, request, &mut random) else {
            unreachable!("there are endpoints")
        };
        black_box(InFlight::begin(target, Arc::clone(endpoint), priority));
    })
}

/// Answers at once.
#[derive(Clone)]
struct Instant;

impl Service<Request<MeshBody>> for Instant {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<MeshBody>) -> Self::Future {
        black_box(request);
        ready(Ok(Response::new(Empty::new())))
    }
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [("accept", "*/*"), ("user-agent", "bench"), ("x-a", "1"), ("x-b", "2")] {
        headers.insert(name, value.parse().expect("a value"));
    }
    headers
}

fn request(headers: &HeaderMap) -> Request<MeshBody> {
    let mut request = Request::new(MeshBody::empty());
    *request.uri_mut() = http::Uri::from_static("http://reviews/x");
    *request.headers_mut() = headers.clone();
    request
}

fn transport_alone() -> Box<dyn FnMut()> {
    let (runtime, headers) = (runtime(), headers());
    Box::new(move || {
        let request = request(&headers);
        runtime.block_on(async {
            let response = Instant.call(request).await.expect("an answer");
            black_box(response.into_body().collect().await.expect("a body"));
        });
    })
}

fn stack(update: ConfigUpdate) -> Box<dyn FnMut()> {
    let (runtime, headers) = (runtime(), headers());
    let mesh = {
        let _entered = runtime.enter();
        Mesh::builder().config(update).build().expect("a mesh")
    };
    let mut client = MeshLayer::new(&mesh).layer(Instant);
    Box::new(move || {
        let request = request(&headers);
        runtime.block_on(async {
            let response = client.call(request).await.expect("an answer");
            black_box(response.into_body().collect().await.expect("a body"));
        });
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
