//! Circuit breakers: what is beyond a limit is refused at once, and what ends makes room.

use crate::fixture::{
    at, bounded, call, cluster, config, eventually, flags, get, idle, mesh, metric, outcome,
    over_h2, reply, simple,
};
use crate::retry::retry;
use crate::wire::{Act, channel, data, scripted};
use http_body_util::BodyExt;
use mesh_core::model::{
    Address, Cluster, ClusterLoadAssignment, Domain, Endpoint, ForwardAction, PathMatcher, RetryOn,
    Route, RoutingPriority, Thresholds, VirtualHost,
};
use mesh_core::update::ConfigUpdate;
use mesh_tower::Mesh;
use mesh_tower::testing::MemoryNetwork;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

fn limited(network: &MemoryNetwork, change: impl FnOnce(&mut Thresholds)) -> Mesh {
    let cluster = cluster(|cluster: &mut Cluster| change(&mut cluster.circuit_breakers.default));
    mesh(network, config(cluster, &[at(1)], |_| {}))
}

fn spawn(
    mesh: &Mesh,
    path: &'static str,
    h2: bool,
) -> JoinHandle<Result<(u16, bytes::Bytes), String>> {
    let (mesh, request) = (mesh.clone(), if h2 { over_h2(get(path)) } else { get(path) });
    tokio::spawn(async move { outcome(&mesh, request).await })
}

fn overflows(mesh: &Mesh, limit: &str) -> u64 {
    metric(mesh, "mesh_overflow_total", &[("limit", limit)])
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_max_requests_are_refused_and_a_dropped_call_makes_room() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Hang, Act::Hang, Act::Head(200, &[])]);
    let mesh = limited(&network, |limits| limits.max_requests = 2);
    let held = [spawn(&mesh, "/", true), spawn(&mesh, "/", true)];
    eventually("both are out", || metric(&mesh, "mesh_attempts_active", &[]) == 2).await;
    let error = call(&mesh, over_h2(get("/"))).await.unwrap_err();
    assert!(error.is_overflow());
    assert_eq!((error.code(), error.response_flag().as_str()), ("overflow_requests", "UO"));
    assert_eq!((error.http_status().as_u16(), error.grpc_status()), (503, 14));
    assert_eq!(overflows(&mesh, "max_requests"), 1);
    held[0].abort();
    eventually("one is out", || metric(&mesh, "mesh_attempts_active", &[]) == 1).await;
    assert_eq!(outcome(&mesh, over_h2(get("/"))).await.map(|(status, _)| status), Ok(200));
    held[1].abort();
    idle(&mesh).await;
    assert_eq!(flags(&mesh), "-:1 DC:2 UO:1");
}

#[tokio::test(start_paused = true)]
async fn a_call_counts_until_its_body_ends() {
    let network = MemoryNetwork::new();
    let (sender, body) = channel();
    let body = Arc::new(parking_lot::Mutex::new(Some(body)));
    network.serve_fn(at(1), move |_| {
        let body = body.lock().take().unwrap_or_default();
        async move { http::Response::new(body) }
    });
    let mesh = limited(&network, |limits| limits.max_requests = 1);
    let response = call(&mesh, over_h2(get("/"))).await.unwrap();
    assert_eq!(outcome(&mesh, over_h2(get("/"))).await, Err("overflow_requests".to_owned()));
    sender.send(data("end")).await.unwrap();
    drop(sender);
    bounded(response.into_body().collect()).await.unwrap();
    assert!(outcome(&mesh, over_h2(get("/"))).await.is_ok());
    // A body that nobody reads to its end is released when it is dropped.
    let unread = call(&mesh, over_h2(get("/"))).await.unwrap();
    drop(unread);
    assert!(outcome(&mesh, over_h2(get("/"))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn priorities_have_limits_of_their_own() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Hang, Act::Head(200, &[])]);
    let one = || cluster(|cluster| cluster.circuit_breakers.default.max_requests = 0);
    let everyday = mesh(&network, config(one(), &[at(1)], |_| {}));
    assert_eq!(outcome(&everyday, over_h2(get("/"))).await, Err("overflow_requests".to_owned()));
    let high =
        mesh(&network, config(one(), &[at(1)], |action| action.priority = RoutingPriority::High));
    let held = spawn(&high, "/", true);
    eventually("it is out", || metric(&high, "mesh_attempts_active", &[]) == 1).await;
    held.abort();
    assert!(outcome(&high, over_h2(get("/"))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn priorities_wait_in_places_of_their_own() {
    for h2 in [true, false] {
        let network = MemoryNetwork::new();
        let server = network.serve_fn(at(1), |_| async { reply(200, "") });
        server.hang();
        let cluster = cluster(|cluster| {
            cluster.circuit_breakers.default.max_pending_requests = 1;
            cluster.circuit_breakers.high.max_pending_requests = 2;
        });
        let forward = |priority| {
            let mut action = ForwardAction::to(Arc::clone(&cluster.name));
            action.priority = priority;
            action
        };
        let everyday = Route::forward(forward(RoutingPriority::Default));
        let mut high = Route::forward(forward(RoutingPriority::High));
        high.matcher.path = PathMatcher::Path("/high".into());
        let host = VirtualHost::new("any", vec![Domain::Any]).route(high).route(everyday);
        let endpoints = ClusterLoadAssignment::of([Endpoint::new(Address::from(at(1)))]);
        let update = ConfigUpdate::in_code().virtual_host(host).assigned(cluster, Some(endpoints));
        let mesh = mesh(&network, update);
        let out = |n| metric(&mesh, "mesh_attempts_active", &[]) == n;
        let mut held = vec![spawn(&mesh, "/", h2)];
        eventually("one waits", || out(1)).await;
        held.extend([spawn(&mesh, "/high", h2), spawn(&mesh, "/high", h2)]);
        eventually("all wait", || out(3)).await;
        for path in ["/", "/high"] {
            let refused = bounded(spawn(&mesh, path, h2)).await.unwrap();
            assert_eq!(refused, Err("overflow_pending".to_owned()), "{path}, h2: {h2}");
        }
        server.accept();
        for call in held {
            assert!(bounded(call).await.unwrap().is_ok());
        }
        idle(&mesh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_connection_are_bounded() {
    for h2 in [true, false] {
        let network = MemoryNetwork::new();
        let server = network.serve_fn(at(1), |_| async { reply(200, "") });
        server.hang();
        let mesh = limited(&network, |limits| limits.max_pending_requests = 2);
        let held = [spawn(&mesh, "/", h2), spawn(&mesh, "/", h2)];
        eventually("both wait", || metric(&mesh, "mesh_attempts_active", &[]) == 2).await;
        let refused = bounded(spawn(&mesh, "/", h2)).await.unwrap();
        assert_eq!(refused, Err("overflow_pending".to_owned()), "h2: {h2}");
        assert_eq!(overflows(&mesh, "max_pending_requests"), 1);
        held[0].abort();
        eventually("one waits", || metric(&mesh, "mesh_attempts_active", &[]) == 1).await;
        let third = spawn(&mesh, "/", h2);
        eventually("both wait", || metric(&mesh, "mesh_attempts_active", &[]) == 2).await;
        server.accept();
        assert!(bounded(third).await.unwrap().is_ok());
        let [_, second] = held;
        assert!(bounded(second).await.unwrap().is_ok());
        idle(&mesh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_max_connections_are_not_made() {
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), |_| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        reply(200, "")
    });
    let mesh = limited(&network, |limits| limits.max_connections = 2);
    let calls: Vec<_> = (0..6).map(|_| spawn(&mesh, "/", false)).collect();
    for call in calls {
        assert!(bounded(call).await.unwrap().is_ok());
    }
    assert_eq!(server.opened(), 2);
    assert!(overflows(&mesh, "max_connections") > 0);
    idle(&mesh).await;
}

#[tokio::test(start_paused = true)]
async fn without_any_connection_allowed_calls_are_refused() {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |_| async { reply(200, "") });
    let none = cluster(|cluster| {
        cluster.circuit_breakers.default.max_connections = 0;
        cluster.circuit_breakers.max_connections_per_endpoint = Some(0);
    });
    let mesh = mesh(&network, config(none, &[at(1)], |_| {}));
    let error = call(&mesh, get("/")).await.unwrap_err();
    assert_eq!((error.code(), error.response_flag().as_str()), ("overflow_connections", "UO"));
}

#[tokio::test(start_paused = true)]
async fn retries_beyond_max_retries_are_not_made() {
    let network = MemoryNetwork::new();
    let (_, calls) = scripted(&network, 1, &[Act::Head(503, &[])]);
    let strict = cluster(|cluster| cluster.circuit_breakers.default.max_retries = Some(0));
    let mesh = mesh(&network, config(strict, &[at(1)], retry(RetryOn::SERVER_ERROR, |_| {})));
    assert_eq!(outcome(&mesh, over_h2(get("/"))).await.map(|(status, _)| status), Ok(503));
    assert_eq!(calls.get(), 1);
    assert_eq!(metric(&mesh, "mesh_retries_total", &[("outcome", "overflow")]), 1);
}

#[tokio::test(start_paused = true)]
async fn an_overflow_is_never_retried() {
    let network = MemoryNetwork::new();
    let (_, calls) = scripted(&network, 1, &[Act::Hang]);
    let one = cluster(|cluster| cluster.circuit_breakers.default.max_requests = 1);
    let all =
        RetryOn::SERVER_ERROR | RetryOn::RESET | RetryOn::CONNECT_FAILURE | RetryOn::UNAVAILABLE;
    let mesh = mesh(&network, config(one, &[at(1)], retry(all, |policy| policy.num_retries = 5)));
    let held = spawn(&mesh, "/", true);
    eventually("it is out", || calls.get() == 1).await;
    let error = call(&mesh, over_h2(get("/"))).await.unwrap_err();
    assert_eq!((error.code(), error.station().attempts), ("overflow_requests", 1));
    held.abort();
}

#[tokio::test(start_paused = true)]
async fn places_come_back_after_a_storm() {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |_| async {
        tokio::time::sleep(Duration::from_millis(3)).await;
        reply(200, "")
    });
    let mesh = limited(&network, |limits| {
        limits.max_requests = 10;
        limits.max_connections = 4;
        limits.max_pending_requests = 3;
    });
    let calls: Vec<_> = (0..400).map(|number| spawn(&mesh, "/", number % 2 == 0)).collect();
    for (number, call) in calls.into_iter().enumerate() {
        if number % 3 == 0 {
            call.abort();
        }
        drop(bounded(call).await);
    }
    idle(&mesh).await;
    // As many as allowed, at once, find room again.
    let calls: Vec<_> = (0..10).map(|_| spawn(&mesh, "/", true)).collect();
    for call in calls {
        assert_eq!(bounded(call).await.unwrap().map(|(status, _)| status), Ok(200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_can_be_taken_away_while_it_is_full() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Hang]);
    let mesh = simple(&network, 1, |action| action.timeout = Duration::from_secs(1));
    let held: Vec<_> = (0..20).map(|_| spawn(&mesh, "/", true)).collect();
    for call in held {
        assert_eq!(bounded(call).await.unwrap(), Err("timeout".to_owned()));
    }
    idle(&mesh).await;
}
