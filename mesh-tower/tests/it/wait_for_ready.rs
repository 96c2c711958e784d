//! Waiting for an endpoint: only who asks for it, only within the deadline.

use crate::fixture::{
    at, bounded, call, cluster, config, config_with, eventually, flags, get, idle, metric, outcome,
    reply,
};
use mesh_core::ConfigUpdate;
use mesh_core::model::{ClusterLoadAssignment, Endpoint, HealthStatus};
use mesh_tower::source::Updates;
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{CallOptions, Mesh, MeshBody};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

fn waits() -> http::Request<MeshBody> {
    let mut request = get("/");
    request.extensions_mut().insert(CallOptions::new().wait_for_ready());
    request
}

fn world(first: ConfigUpdate) -> (Mesh, Updates) {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |_| async { reply(200, "") });
    let (updates, source) = Updates::new();
    let builder = Mesh::builder().connector(network).config(first).source(source);
    (builder.build().unwrap(), updates)
}

fn spawn(mesh: &Mesh, request: http::Request<MeshBody>) -> JoinHandle<Result<u16, String>> {
    let mesh = mesh.clone();
    tokio::spawn(async move { outcome(&mesh, request).await.map(|(status, _)| status) })
}

fn empty() -> ConfigUpdate {
    config(cluster(|_| {}), &[], |_| {})
}

fn one() -> ConfigUpdate {
    config(cluster(|_| {}), &[at(1)], |_| {})
}

#[tokio::test(start_paused = true)]
async fn without_an_endpoint_a_call_fails_at_once_and_one_that_waits_gets_the_first() {
    let (mesh, updates) = world(empty());
    let error = call(&mesh, get("/")).await.unwrap_err();
    assert!(error.is_no_endpoint());
    assert_eq!((error.code(), error.response_flag().as_str()), ("no_endpoints", "UH"));
    let waiting = [spawn(&mesh, waits()), spawn(&mesh, waits())];
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(waiting.iter().all(|call| !call.is_finished()));
    updates.apply(one());
    for call in waiting {
        assert_eq!(bounded(call).await.unwrap(), Ok(200));
    }
    idle(&mesh).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_outlasts_an_endpoint_that_is_not_up_yet() {
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), |_| async { reply(200, "") });
    server.refuse();
    let mesh = Mesh::builder().connector(network).config(one()).build().unwrap();
    assert!(call(&mesh, get("/")).await.unwrap_err().is_connect());
    let waiting = [spawn(&mesh, waits()), spawn(&mesh, waits())];
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(waiting.iter().all(|call| !call.is_finished()));
    server.accept();
    for call in waiting {
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(6), call).await.unwrap().unwrap(),
            Ok(200)
        );
    }
    // And not beyond its deadline.
    server.refuse();
    server.close();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let begun = Instant::now();
    let error = call(&mesh, waits()).await.unwrap_err();
    assert_eq!((error.code(), begun.elapsed()), ("timeout", Duration::from_secs(15)));
    let attempts = error.report().unwrap().attempts.len();
    assert!((10..60).contains(&attempts), "{attempts} attempts in 15 s");
    idle(&mesh).await;
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_deadline() {
    let (mesh, _updates) = world(empty());
    let begun = Instant::now();
    assert_eq!(outcome(&mesh, waits()).await, Err("timeout".to_owned()));
    assert_eq!(begun.elapsed(), Duration::from_secs(15));
    idle(&mesh).await;
    assert_eq!(flags(&mesh), "UT:1");
}

#[tokio::test(start_paused = true)]
async fn health_that_comes_back_ends_the_wait() {
    let sick = |health| {
        let mut endpoint = Endpoint::new(at(1).into());
        endpoint.health = health;
        let mut strict = cluster(|_| {});
        strict.lb_policy.panic_threshold = 0;
        config_with(strict, Some(ClusterLoadAssignment::of([endpoint])), |_| {})
    };
    let (mesh, updates) = world(sick(HealthStatus::Unhealthy));
    let error = call(&mesh, get("/")).await.unwrap_err();
    assert_eq!(error.code(), "no_healthy_endpoint");
    let waiting = spawn(&mesh, waits());
    tokio::time::sleep(Duration::from_secs(1)).await;
    // A change that does not help.
    updates.apply(sick(HealthStatus::Draining));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    updates.apply(sick(HealthStatus::Healthy));
    assert_eq!(bounded(waiting).await.unwrap(), Ok(200));
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_not_known_yet_are_waited_for_by_everybody() {
    let (mesh, updates) = world(config_with(cluster(|_| {}), None, |_| {}));
    let waiting = spawn(&mesh, get("/"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    updates.apply(one());
    assert_eq!(bounded(waiting).await.unwrap(), Ok(200));
}

#[tokio::test(start_paused = true)]
async fn who_waits_counts_as_pending_and_the_places_are_bounded() {
    let few = |endpoints: Option<ClusterLoadAssignment>| {
        let two = cluster(|cluster| cluster.circuit_breakers.default.max_pending_requests = 2);
        config_with(two, endpoints, |action| action.timeout = Duration::ZERO)
    };
    let (mesh, updates) = world(few(None));
    let waiting = [spawn(&mesh, get("/")), spawn(&mesh, get("/"))];
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(bounded(spawn(&mesh, get("/"))).await.unwrap(), Err("overflow_pending".to_owned()));
    assert_eq!(metric(&mesh, "mesh_attempts_pending", &[]), 2);
    waiting[0].abort();
    eventually("its place is free", || metric(&mesh, "mesh_attempts_pending", &[]) == 1).await;
    let third = spawn(&mesh, get("/"));
    tokio::time::sleep(Duration::from_millis(10)).await;
    updates.apply(few(Some(ClusterLoadAssignment::of([Endpoint::new(at(1).into())]))));
    let [_, second] = waiting;
    assert_eq!(bounded(second).await.unwrap(), Ok(200));
    assert_eq!(bounded(third).await.unwrap(), Ok(200));
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_cluster_that_is_removed_ends() {
    let (mesh, updates) =
        world(config_with(cluster(|_| {}), None, |action| action.timeout = Duration::ZERO));
    let waiting = spawn(&mesh, get("/"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut other = one();
    let cluster = other.clusters.pop_first().unwrap().1;
    other.clusters.insert("b".into(), cluster);
    other.route_configuration = std::sync::Arc::default();
    updates.apply(other);
    bounded(mesh.applied(2)).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    let ended = ended.expect("the call waits for ever").unwrap();
    assert_eq!(ended, Err("no_endpoints".to_owned()));
}
