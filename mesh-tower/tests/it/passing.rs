//! Calls that pass by every policy: their caller's limits hold, what a routed call tells they tell, and how they end is
//! told as it is.

use crate::access_log::world::{Lines, check};
use crate::fixture::{
    Count, at, bounded, call, cluster, config, flags, grpc, idle, metric, outcome, over_h2, reply,
    text,
};
use crate::wire::{Act, channel, data, scripted};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mesh_core::access_log::Format;
use mesh_core::model::Domain;
use mesh_core::update::UnknownHosts;
use mesh_tower::observe::{AccessLog, TraceContext, TraceState};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{Builder, CallOptions, Inbound, Mesh, MeshBody};
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// One that only observes, and one whose hosts are others.
fn builders(network: &MemoryNetwork) -> [Builder; 2] {
    let mut update = config(cluster(|_| {}), &[], |_| {});
    let routes = Arc::make_mut(&mut update.route_configuration);
    Arc::make_mut(&mut routes.virtual_hosts[0]).domains = vec![Domain::Exact("a".into())];
    update.unknown_hosts = UnknownHosts::Passthrough;
    let builder = || Mesh::builder().connector(network.clone());
    [builder(), builder().config(update)]
}

fn meshes(network: &MemoryNetwork) -> [Mesh; 2] {
    builders(network).map(|builder| builder.build().unwrap())
}

/// A request to endpoint 1, by its address.
fn to(mut request: Request<MeshBody>) -> Request<MeshBody> {
    *request.uri_mut() = format!("http://{}/S/M", at(1)).parse().unwrap();
    request
}

fn get() -> Request<MeshBody> {
    to(crate::fixture::get("/"))
}

fn limited(
    mut request: Request<MeshBody>,
    own: Option<Duration>,
    callers: Option<Duration>,
) -> Request<MeshBody> {
    if let Some(timeout) = own {
        request.extensions_mut().insert(CallOptions::new().timeout(timeout));
    }
    if let Some(timeout) = callers {
        request.extensions_mut().insert(Inbound::new().timeout(timeout));
    }
    request
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_the_callers_limits_ends_the_wait_for_the_head() {
    let network = MemoryNetwork::new();
    let (server, calls) = scripted(&network, 1, &[Act::Hang]);
    for mesh in meshes(&network) {
        for (own, callers, after, code) in [
            (Some(3 * SECOND), None, 3, "timeout"),
            (None, Some(2 * SECOND), 2, "deadline_exceeded"),
            (Some(3 * SECOND), Some(2 * SECOND), 2, "deadline_exceeded"),
            (Some(SECOND), Some(2 * SECOND), 1, "timeout"),
            // None of its own: the caller's is not extended.
            (Some(Duration::ZERO), Some(2 * SECOND), 2, "deadline_exceeded"),
        ] {
            for request in [over_h2(get()), to(grpc("/"))] {
                let begun = Instant::now();
                let error = call(&mesh, limited(request, own, callers)).await.unwrap_err();
                assert_eq!(begun.elapsed(), after * SECOND);
                let statuses = (error.http_status().as_u16(), error.grpc_status());
                assert_eq!((error.code(), error.is_timeout(), statuses), (code, true, (504, 4)));
            }
        }
        idle(&mesh).await;
        assert_eq!(flags(&mesh), "DT:6 UT:4");
    }
    assert_eq!(calls.get(), 20);
    // While connecting, too.
    server.close();
    server.hang();
    let [mesh, _] = meshes(&network);
    let begun = Instant::now();
    let error = call(&mesh, limited(get(), Some(2 * SECOND), None)).await.unwrap_err();
    assert_eq!((error.code(), begun.elapsed()), ("timeout", 2 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn what_comes_too_late_is_not_sent() {
    let network = MemoryNetwork::new();
    let (_server, calls) = scripted(&network, 1, &[Act::Head(200, &[])]);
    for mesh in meshes(&network) {
        let late = limited(over_h2(get()), None, Some(Duration::ZERO));
        assert_eq!(outcome(&mesh, late).await, Err("deadline_exceeded".to_owned()));
        let mut late = to(grpc("/"));
        late.headers_mut().insert("grpc-timeout", HeaderValue::from_static("0n"));
        assert_eq!(outcome(&mesh, late).await, Err("deadline_exceeded".to_owned()));
        assert_eq!(metric(&mesh, "mesh_calls_active", &[]), 0);
    }
    assert_eq!(calls.get(), 0);
}

/// A server whose body never ends; `true`: in small pieces, one a second.
fn endless(network: &MemoryNetwork, drips: bool) {
    network.serve_fn(at(1), move |_| async move {
        let (sender, body) = channel();
        tokio::spawn(async move {
            while sender.send(data("drop")).await.is_ok() {
                let pause = if drips { SECOND } else { Duration::ZERO };
                tokio::time::sleep(pause).await;
            }
        });
        Response::new(body)
    });
}

#[tokio::test(start_paused = true)]
async fn the_deadline_goes_on_in_the_body() {
    let network = MemoryNetwork::new();
    endless(&network, true);
    for mesh in meshes(&network) {
        for request in [get(), over_h2(get())] {
            let begun = Instant::now();
            let limited = limited(request, None, Some(Duration::from_millis(2500)));
            let mut body = call(&mesh, limited).await.unwrap().into_body();
            for _ in 0..3 {
                let frame = bounded(body.frame()).await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), "drop");
            }
            let error = bounded(body.frame()).await.unwrap().unwrap_err();
            assert_eq!(begun.elapsed(), Duration::from_millis(2500));
            assert_eq!((error.code(), error.is_timeout()), ("deadline_exceeded", true));
            assert!(bounded(body.frame()).await.is_none(), "a body that failed goes on");
        }
        idle(&mesh).await;
        assert_eq!(flags(&mesh), "DT:2");
    }
}

/// What a server saw of its requests.
fn seen(network: &MemoryNetwork) -> Arc<Mutex<Vec<HeaderMap>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let saw = Arc::clone(&seen);
    let server = network.serve_fn(at(1), move |request: Request<Incoming>| {
        saw.lock().push(request.headers().clone());
        async { reply(200, "") }
    });
    // It takes half a second to connect to.
    server.delay(Duration::from_millis(500));
    seen
}

#[tokio::test(start_paused = true)]
async fn what_is_left_and_the_trace_are_told() {
    const TOLD: [&str; 4] =
        ["grpc-timeout", "x-envoy-expected-rq-timeout-ms", "traceparent", "tracestate"];
    let told = |headers: &HeaderMap| {
        TOLD.map(|name| headers.get(name).map(|value| value.to_str().unwrap().to_owned()))
    };
    let context = TraceContext::parse(PARENT.as_bytes()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("tracestate", HeaderValue::from_static("b=2"));
    let state = TraceState::extract(&headers).unwrap();
    let network = MemoryNetwork::new();
    let seen = seen(&network);
    for (builder, asked) in builders(&network).into_iter().zip([false, true]) {
        let builder = if asked { builder.expected_timeout_header() } else { builder };
        let mesh = builder.build().unwrap();
        // The first waits for its connection.
        for left in ["2500", "3000"] {
            let mut request = to(grpc("/"));
            let inbound = Inbound::new().timeout(3 * SECOND).trace(context);
            request.extensions_mut().insert(inbound);
            request.extensions_mut().insert(state.clone());
            assert!(outcome(&mesh, request).await.is_ok());
            let headers = seen.lock().pop().unwrap();
            let expected = [
                Some(format!("{left}m")),
                asked.then(|| left.to_owned()),
                Some(PARENT.to_owned()),
                Some("b=2".to_owned()),
            ];
            assert_eq!(told(&headers), expected);
            let own = headers.keys().find(|name| name.as_str().starts_with("x-mesh-"));
            assert_eq!(own, None, "what is the mesh's own is nobody else's business");
        }
        // What its caller wrote is his own, and without all of it nothing is added.
        let mut request = over_h2(get());
        request.extensions_mut().insert(Inbound::new().trace(context));
        request.headers_mut().insert("traceparent", HeaderValue::from_static("mine"));
        assert!(outcome(&mesh, request).await.is_ok());
        let headers = seen.lock().pop().unwrap();
        assert_eq!(told(&headers), [None, None, Some("mine".to_owned()), None]);
        assert!(outcome(&mesh, over_h2(get())).await.is_ok());
        assert!(seen.lock().pop().unwrap().is_empty());
    }
}

/// A mesh without a configuration, and its access log.
fn logged(network: &MemoryNetwork) -> (Mesh, Lines) {
    let lines = Lines::default();
    let log = lines.log(AccessLog::builder(Format::default_json()));
    let [builder, _] = builders(network);
    (builder.access_log(log).build().unwrap(), lines)
}

#[tokio::test(start_paused = true)]
async fn who_leaves_in_the_middle_of_the_body_is_told_apart() {
    let network = MemoryNetwork::new();
    endless(&network, false);
    let (mesh, lines) = logged(&network);
    let mut body = call(&mesh, over_h2(get())).await.unwrap().into_body();
    assert!(bounded(body.frame()).await.unwrap().is_ok());
    drop(body);
    let line = lines.one("client").await;
    check(&line, &[("response_code", 200.into()), ("response_flags", "DC".into())]);
    assert_eq!(flags(&mesh), "DC:1");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_after_the_end_has_not_left() {
    let network = MemoryNetwork::new();
    let count = Count::default();
    network.serve_fn(at(1), move |_| {
        let nth = count.add();
        async move { reply(200, if nth == 0 { "whole" } else { "" }) }
    });
    let (mesh, lines) = logged(&network);
    assert_eq!(text(call(&mesh, get()).await.unwrap()).await, "whole");
    // There is nothing to read, and nobody does.
    drop(call(&mesh, get()).await.unwrap());
    for line in lines.of("client", 2).await {
        check(&line, &[("response_code", 200.into()), ("response_flags", Value::Null)]);
    }
    assert_eq!(flags(&mesh), "-:2");
}

#[tokio::test(start_paused = true)]
async fn the_grpc_status_is_told_wherever_it_stands() {
    let network = MemoryNetwork::new();
    let trailers = Act::Grpc(Duration::ZERO, &[("grpc-status", "5")]);
    let head = Act::Head(200, &[("content-type", "application/grpc"), ("grpc-status", "7")]);
    let (_server, _) = scripted(&network, 1, &[trailers, head]);
    let (mesh, lines) = logged(&network);
    for _ in 0..2 {
        let answer = call(&mesh, to(grpc("/"))).await.unwrap();
        bounded(answer.into_body().collect()).await.unwrap();
    }
    let lines = lines.of("client", 2).await;
    for (line, status) in lines.iter().zip(["5", "7"]) {
        let number: u64 = status.parse().unwrap();
        check(line, &[("grpc_status", number.into()), ("response_flags", Value::Null)]);
        assert_eq!(metric(&mesh, "mesh_calls_total", &[("grpc_status", status)]), 1);
    }
}
