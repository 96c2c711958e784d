//! Outlier detection: a sick endpoint is taken out under load, comes back, and never all are out.

use crate::fixture::{
    Count, at, bounded, cluster, config, get, idle, mesh, metric, outcome, over_h2,
};
use crate::retry::retry;
use mesh_core::model::{Cluster, OutlierDetection, RetryOn};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{Mesh, MeshBody};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// What an endpoint answers with, and how often it was asked.
#[derive(Clone)]
struct Endpoint {
    status: Arc<AtomicU16>,
    asked: Count,
}

fn endpoints(network: &MemoryNetwork, count: u8) -> Vec<Endpoint> {
    let endpoints = (1..=count).map(|number| {
        let endpoint = Endpoint { status: Arc::new(AtomicU16::new(200)), asked: Count::default() };
        let served = endpoint.clone();
        network.serve_fn(at(number), move |_| {
            served.asked.add();
            let status = served.status.load(Ordering::SeqCst);
            async move { http::Response::builder().status(status).body(MeshBody::empty()).unwrap() }
        });
        endpoint
    });
    endpoints.collect()
}

fn watched(change: impl FnOnce(&mut OutlierDetection)) -> Cluster {
    let mut rules = OutlierDetection::default();
    rules.interval = Duration::from_secs(1);
    rules.base_ejection_time = Duration::from_secs(5);
    rules.max_ejection_percent = 50;
    rules.consecutive_5xx = Some(3);
    change(&mut rules);
    cluster(|cluster| cluster.outlier_detection = Some(rules))
}

/// `count` calls, one each 10 ms; how many failed.
async fn load(mesh: &Mesh, count: usize) -> usize {
    let mut failed = 0;
    for _ in 0..count {
        let status = outcome(mesh, over_h2(get("/"))).await.map(|(status, _)| status);
        failed += usize::from(status != Ok(200));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    failed
}

fn ejections(mesh: &Mesh, outcome: &str) -> u64 {
    metric(mesh, "mesh_ejections_total", &[("outcome", outcome)])
}

#[tokio::test(start_paused = true)]
async fn a_sick_endpoint_is_taken_out_under_load_and_comes_back_when_it_is_well() {
    let network = MemoryNetwork::new();
    let endpoints = endpoints(&network, 4);
    let all: Vec<_> = (1..=4).map(at).collect();
    let mesh = mesh(&network, config(watched(|_| {}), &all, |_| {}));
    assert_eq!(load(&mesh, 40).await, 0);
    endpoints[2].status.store(503, Ordering::SeqCst);
    let failed = load(&mesh, 200).await;
    assert!((3..=4).contains(&failed), "{failed} calls failed before it was ejected");
    assert_eq!(ejections(&mesh, "enforced"), 1);
    let asked = endpoints[2].asked.get();
    assert_eq!(load(&mesh, 100).await, 0);
    assert_eq!(endpoints[2].asked.get(), asked, "an ejected endpoint is asked");
    endpoints[2].status.store(200, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(load(&mesh, 100).await, 0);
    assert_eq!(endpoints[2].asked.get(), asked + 25, "it has its share again");
    idle(&mesh).await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_stays_sick_is_out_longer_each_time() {
    let network = MemoryNetwork::new();
    let endpoints = endpoints(&network, 4);
    let all: Vec<_> = (1..=4).map(at).collect();
    let mesh = mesh(&network, config(watched(|_| {}), &all, |_| {}));
    endpoints[0].status.store(500, Ordering::SeqCst);
    // Out after 3, then for 5 s, 10 s, 15 s, with a few calls in between.
    load(&mesh, 3500).await;
    let asked = endpoints[0].asked.get();
    assert!((9..=16).contains(&asked), "asked {asked} times in 35 s");
    assert!(ejections(&mesh, "enforced") >= 3);
}

#[tokio::test(start_paused = true)]
async fn when_all_are_sick_never_all_are_out() {
    let network = MemoryNetwork::new();
    let endpoints = endpoints(&network, 4);
    let all: Vec<_> = (1..=4).map(at).collect();
    let mesh =
        mesh(&network, config(watched(|rules| rules.max_ejection_percent = 100), &all, |_| {}));
    for endpoint in &endpoints {
        endpoint.status.store(503, Ordering::SeqCst);
    }
    for _ in 0..400 {
        let ended = bounded(outcome(&mesh, over_h2(get("/")))).await;
        assert_eq!(ended.map(|(status, _)| status), Ok(503), "a call found no endpoint");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for endpoint in &endpoints {
        endpoint.status.store(200, Ordering::SeqCst);
    }
    assert_eq!(load(&mesh, 100).await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_under_concurrent_load() {
    let network = MemoryNetwork::new();
    let endpoints = endpoints(&network, 4);
    let all: Vec<_> = (1..=4).map(at).collect();
    let mesh =
        mesh(&network, config(watched(|rules| rules.max_ejection_percent = 50), &all, |_| {}));
    for endpoint in &endpoints {
        endpoint.status.store(503, Ordering::SeqCst);
    }
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let mesh = mesh.clone();
        calls.spawn(
            async move { outcome(&mesh, over_h2(get("/"))).await.map(|(status, _)| status) },
        );
    }
    for ended in bounded(calls.join_all()).await {
        assert_eq!(ended, Ok(503));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(ejections(&mesh, "enforced"), 2);
    assert!(ejections(&mesh, "refused") > 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_connected_to_and_what_is_silent_is_taken_out_too() {
    let network = MemoryNetwork::new();
    let endpoints = endpoints(&network, 3);
    let asked = Count::default();
    let hung = asked.clone();
    network.serve_fn(at(4), move |_| {
        hung.add();
        async { std::future::pending::<http::Response<MeshBody>>().await }
    });
    let all: Vec<_> = (1..=5).map(at).collect();
    let mut rules = watched(|rules| {
        rules.split_external_local_origin_errors = true;
        rules.consecutive_local_origin_failure = Some(3);
        rules.base_ejection_time = Duration::from_secs(1000);
    });
    rules.connection.connect_timeout = Duration::from_millis(50);
    // Nobody listens at 5.
    let update = config(
        rules,
        &all,
        retry(RetryOn::RESET, |policy| {
            policy.per_try_timeout = Some(Duration::from_millis(50));
        }),
    );
    let mesh = mesh(&network, update);
    assert_eq!(load(&mesh, 300).await, 0);
    assert_eq!(asked.get(), 3, "the silent one is taken out after three");
    assert!(ejections(&mesh, "enforced") >= 1);
    assert!(endpoints.iter().all(|endpoint| endpoint.asked.get() > 90));
}

#[tokio::test(start_paused = true)]
async fn ejection_outlives_a_change_of_configuration() {
    let network = MemoryNetwork::new();
    let endpoints = endpoints(&network, 4);
    let all: Vec<_> = (1..=4).map(at).collect();
    let (updates, source) = mesh_tower::source::Updates::new();
    let long = || watched(|rules| rules.base_ejection_time = Duration::from_secs(1000));
    let mesh = Mesh::builder()
        .seed(0)
        .connector(network.clone())
        .config(config(long(), &all, |_| {}))
        .source(source)
        .build()
        .unwrap();
    endpoints[0].status.store(503, Ordering::SeqCst);
    load(&mesh, 100).await;
    let asked = endpoints[0].asked.get();
    // Another endpoint comes, another limit is set, and the order changes.
    let mut next = long();
    next.circuit_breakers.default.max_requests = 77;
    updates.apply(config(next, &[at(4), at(9), at(1), at(2), at(3)], |_| {}));
    network.serve_fn(at(9), |_| async { http::Response::new(MeshBody::empty()) });
    bounded(mesh.applied(2)).await.unwrap();
    assert_eq!(load(&mesh, 100).await, 0);
    assert_eq!(endpoints[0].asked.get(), asked);
}
