//! `drop_overloads`: a share of the attempts is dropped, told by category, and never retried.

use crate::fixture::{at, call, cluster, config_with, get, mesh, metric, outcome, over_h2, reply};
use crate::retry::retry;
use mesh_core::model::{ClusterLoadAssignment, DropOverload, Endpoint, Fraction, RetryOn};
use mesh_core::update::ConfigUpdate;
use mesh_tower::testing::{MemoryNetwork, MemoryServer};
use mesh_tower::{CallOptions, Mesh};
use std::time::Duration;

/// Drops these shares in percent.
fn dropping(shares: &[(&str, u32)], retries: bool) -> ConfigUpdate {
    let mut endpoints = ClusterLoadAssignment::of([Endpoint::from(at(1))]);
    let drop = |(category, percent): &(&str, u32)| {
        DropOverload::new(*category, Fraction::percent(*percent))
    };
    endpoints.drop_overloads = shares.iter().map(drop).collect();
    let cluster = cluster(|cluster| cluster.circuit_breakers.default.max_requests = 10);
    config_with(cluster, Some(endpoints), |action| {
        if retries {
            let on = RetryOn::SERVER_ERROR | RetryOn::UNAVAILABLE;
            retry(on, |policy| policy.num_retries = 3)(action);
        }
    })
}

fn serving() -> (MemoryNetwork, MemoryServer) {
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), |request| async move {
        reply(if request.uri().path() == "/bad" { 503 } else { 200 }, "here")
    });
    (network, server)
}

fn drops(mesh: &Mesh, category: &str) -> u64 {
    metric(mesh, "mesh_drops_total", &[("cluster", "a"), ("category", category)])
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_told_by_its_category_and_not_sent() {
    let (network, server) = serving();
    let mesh = mesh(&network, dropping(&[("lb", 0), ("throttle", 100), ("never", 100)], true));
    for request in [get("/"), over_h2(get("/"))] {
        let error = call(&mesh, request).await.unwrap_err();
        assert!(error.is_dropped() && !error.is_overflow());
        assert_eq!((error.code(), error.response_flag().as_str()), ("drop_overload", "DO"));
        assert_eq!((error.http_status().as_u16(), error.grpc_status()), (503, 14));
        assert!(error.to_string().contains("category `throttle`"), "{error}");
    }
    assert_eq!((drops(&mesh, "throttle"), drops(&mesh, "never")), (2, 0));
    assert_eq!(server.opened(), 0);
    // One attempt for each call: no retry, although the policy would want one.
    assert_eq!(metric(&mesh, "mesh_attempts_total", &[("response_flag", "DO")]), 2);
    assert_eq!(metric(&mesh, "mesh_calls_total", &[("response_flag", "DO")]), 2);
    assert_eq!(metric(&mesh, "mesh_retries_total", &[]), 0);
}

#[tokio::test(start_paused = true)]
async fn a_share_is_dropped_and_the_rest_goes_through() {
    let (network, _server) = serving();
    let mesh = mesh(&network, dropping(&[("lb", 20), ("throttle", 50)], false));
    let mut dropped = 0;
    for _ in 0..1000 {
        match outcome(&mesh, over_h2(get("/"))).await {
            Ok((status, _)) => assert_eq!(status, 200),
            Err(code) => {
                assert_eq!(code, "drop_overload");
                dropped += 1;
            }
        }
    }
    // 20 %, and half of the other 80 %: 600 of 1000, within five standard deviations of 15.5.
    assert!((522..678).contains(&dropped), "{dropped}");
    assert_eq!(drops(&mesh, "lb") + drops(&mesh, "throttle"), dropped);
    assert!((136..264).contains(&drops(&mesh, "lb")), "{}", drops(&mesh, "lb"));
    // What is dropped takes no place in the circuit breaker.
    assert_eq!(metric(&mesh, "mesh_overflow_total", &[]), 0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_drawn_for_like_a_first_attempt() {
    let (network, _server) = serving();
    let mesh = mesh(&network, dropping(&[("lb", 50)], true));
    let (mut at_once, mut later) = (0, 0);
    for _ in 0..200 {
        let before = metric(&mesh, "mesh_attempts_total", &[("status", "503")]);
        if outcome(&mesh, over_h2(get("/bad"))).await == Err("drop_overload".to_owned()) {
            let sent = metric(&mesh, "mesh_attempts_total", &[("status", "503")]) - before;
            *(if sent == 0 { &mut at_once } else { &mut later }) += 1;
        }
        // So that the budget of retries does not decide.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(at_once > 50 && later > 40, "{at_once} at once, {later} as retries");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_endpoints_is_drawn_for_when_they_are_known() {
    let (network, _server) = serving();
    let (updates, source) = mesh_tower::source::Updates::new();
    let unknown = config_with(cluster(|_| {}), None, |_| {});
    let builder = Mesh::builder().connector(network.clone()).config(unknown).source(source);
    let mesh = builder.build().unwrap();
    let waiting = |options: CallOptions| {
        let mut request = over_h2(get("/"));
        request.extensions_mut().insert(options);
        let mesh = mesh.clone();
        tokio::spawn(async move { outcome(&mesh, request).await })
    };
    let calls = [waiting(CallOptions::new()), waiting(CallOptions::new().wait_for_ready())];
    tokio::time::sleep(Duration::from_millis(50)).await;
    updates.apply(dropping(&[("lb", 100)], false));
    for call in calls {
        assert_eq!(call.await.unwrap(), Err("drop_overload".to_owned()));
    }
    // Only the share changes: what is known of the endpoints stays, and calls go through again.
    updates.apply(dropping(&[], false));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(outcome(&mesh, over_h2(get("/"))).await.is_ok());
    assert_eq!(drops(&mesh, "lb"), 2);
}
