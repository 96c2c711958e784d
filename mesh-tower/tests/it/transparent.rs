//! What no server processed goes elsewhere, without any policy.

use crate::fixture::{
    Count, at, bounded, call, cluster, config, eventually, flags, get, idle, mesh, metric, outcome,
    over_h2, post, reply, simple, text,
};
use crate::wire::{Act, OK, scripted};
use bytes::Bytes;
use h2::Reason;
use http_body_util::BodyExt;
use mesh_tower::source::Updates;
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{Mesh, MeshBody};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_refused_stream_is_sent_elsewhere_with_its_body() {
    let network = MemoryNetwork::new();
    let (_, refused) = scripted(&network, 1, &[Act::Reset(Reason::REFUSED_STREAM)]);
    network.serve_fn(at(2), |request| async {
        http::Response::new(MeshBody::full(request.into_body().collect().await.unwrap().to_bytes()))
    });
    let mesh = simple(&network, 2, |_| {});
    for _ in 0..10 {
        let ended = outcome(&mesh, over_h2(post("/", "important"))).await;
        assert_eq!(ended, Ok((200, Bytes::from("important"))));
    }
    // Round robin: each call begins at the one that refuses.
    assert_eq!(refused.get(), 10);
    assert_eq!(metric(&mesh, "mesh_transparent_retries_total", &[]), 10);
    assert_eq!(metric(&mesh, "mesh_retries_total", &[]), 0);
    assert_eq!(flags(&mesh), "-:10");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_refused_twice_fails_and_switched_off_it_fails_at_once() {
    for (on, attempts) in [(true, 2), (false, 1)] {
        let network = MemoryNetwork::new();
        let (_, refused) = scripted(&network, 1, &[Act::Reset(Reason::REFUSED_STREAM)]);
        let mesh = simple(&network, 1, |action| action.transparent_retry = on);
        let error = call(&mesh, over_h2(get("/"))).await.unwrap_err();
        assert_eq!((error.code(), refused.get()), ("reset_refused_stream", attempts));
        assert_eq!(error.station().attempts as usize, attempts);
    }
}

/// `per_round` calls at a time, for a while in which `disturb` happens between rounds of 5 ms.
async fn under_traffic(
    mesh: &Mesh,
    (rounds, per_round): (usize, usize),
    is_h2: impl Fn(usize) -> bool,
    disturb: impl Fn(usize),
) {
    let mut calls = tokio::task::JoinSet::new();
    for round in 0..rounds {
        for number in 0..per_round {
            let (mesh, body, h2) = (mesh.clone(), format!("{round}/{number}"), is_h2(number));
            calls.spawn(async move {
                let request = post("/", body.clone());
                let request = if h2 { over_h2(request) } else { request };
                match call(&mesh, request).await {
                    Ok(response) => assert_eq!(text(response).await, body),
                    Err(error) => panic!("{error}: {:?}", error.report()),
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        disturb(round);
    }
    bounded(calls.join_all()).await;
    idle(mesh).await;
    assert_eq!(flags(mesh), format!("-:{}", rounds * per_round));
}

const fn is_even(number: usize) -> bool {
    number.is_multiple_of(2)
}

fn echo(network: &MemoryNetwork, number: u8, pause: Duration) -> mesh_tower::testing::MemoryServer {
    network.serve_fn(at(number), move |request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        tokio::time::sleep(pause).await;
        http::Response::new(MeshBody::full(body))
    })
}

#[tokio::test(start_paused = true)]
async fn goaway_in_the_middle_of_traffic_loses_no_call() {
    let network = MemoryNetwork::new();
    let servers = [1, 2].map(|number| echo(&network, number, Duration::from_millis(12)));
    let mesh = simple(&network, 2, |_| {});
    under_traffic(&mesh, (100, 10), is_even, |round| servers[round % 2].drain()).await;
    assert!(servers[0].opened() > 20, "{:?}", servers[0]);
}

/// Servers, connections and callers on threads of their own, so that requests and GOAWAYs cross. Over
/// HTTP/2 only: HTTP/1.1 has no GOAWAY, a server that closes an idle connection may cross a request on
/// its way, and what is not idempotent is not sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn goaway_in_the_middle_of_traffic_loses_no_call_on_many_threads() {
    let network = MemoryNetwork::new();
    let servers = [1, 2].map(|number| echo(&network, number, Duration::from_millis(3)));
    let mesh = simple(&network, 2, |_| {});
    under_traffic(&mesh, (400, 10), |_| true, |round| servers[round % 2].drain()).await;
    assert!(servers[0].opened() > 20, "{:?}", servers[0]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_refuses_connections_costs_no_call() {
    let network = MemoryNetwork::new();
    let servers = [1, 2, 3].map(|number| echo(&network, number, Duration::from_millis(1)));
    let mesh = simple(&network, 3, |_| {});
    under_traffic(&mesh, (60, 6), is_even, |round| {
        for (number, server) in servers.iter().enumerate() {
            if number == round / 20 {
                server.refuse()
            } else {
                server.accept()
            }
            server.drain();
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_all_refuse_the_error_says_so_after_a_bounded_number_of_attempts() {
    let mesh = simple(&MemoryNetwork::new(), 9, |_| {});
    let error = call(&mesh, get("/")).await.unwrap_err();
    assert!(error.is_connect() && error.station().attempts <= 4, "{error}");
    assert_eq!((error.code(), error.response_flag().as_str()), ("connect_refused", "UF"));
    assert!(error.station().endpoint.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_came_back_gets_its_share_again() {
    let network = MemoryNetwork::new();
    let hits = [Count::default(), Count::default()];
    let servers: Vec<_> = [1, 2]
        .into_iter()
        .zip(&hits)
        .map(|(number, hits)| {
            let hits = hits.clone();
            network.serve_fn(at(number), move |_| {
                hits.add();
                async { reply(200, "") }
            })
        })
        .collect();
    let mesh = simple(&network, 2, |_| {});
    servers[0].refuse();
    for _ in 0..10 {
        assert!(outcome(&mesh, get("/")).await.is_ok());
    }
    assert_eq!(hits[0].get(), 0);
    servers[0].accept();
    for _ in 0..300 {
        assert!(outcome(&mesh, get("/")).await.is_ok());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let came_back = hits[0].get();
    assert!(
        came_back >= 50,
        "{came_back} of 300 calls in 5 minutes went to the one that came back"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_connects_to_an_endpoint_that_is_removed_goes_elsewhere() {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |_| async { reply(200, "") }).hang();
    scripted(&network, 2, &[OK]);
    let (updates, source) = Updates::new();
    let mesh = Mesh::builder()
        .seed(0)
        .connector(network.clone())
        .config(config(cluster(|_| {}), &[at(1)], |_| {}))
        .source(source)
        .build()
        .unwrap();
    for request in [get("/"), over_h2(get("/"))] {
        let waiting = tokio::spawn({
            let mesh = mesh.clone();
            async move { outcome(&mesh, request).await }
        });
        eventually("it waits", || metric(&mesh, "mesh_attempts_active", &[]) == 1).await;
        let generation = mesh.configuration().generation;
        network.serve_fn(at(2), |_| async { reply(200, "") });
        updates.apply(config(cluster(|_| {}), &[at(2)], |_| {}));
        bounded(mesh.applied(generation + 1)).await.unwrap();
        assert_eq!(bounded(waiting).await.unwrap().map(|(status, _)| status), Ok(200));
        updates.apply(config(cluster(|_| {}), &[at(1)], |_| {}));
        bounded(mesh.applied(generation + 2)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_server_closed_while_it_was_idle_costs_no_call() {
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), |_| async { reply(200, "") });
    let mesh = mesh(
        &network,
        config(cluster(|_| {}), &[at(1)], |action| action.transparent_retry = false),
    );
    for number in 0..20 {
        let request = if number % 2 == 0 { get("/") } else { over_h2(get("/")) };
        assert!(outcome(&mesh, request).await.is_ok(), "call {number}");
        server.close();
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_used_up_or_too_old_cost_no_call() {
    let network = MemoryNetwork::new();
    let servers = [1, 2].map(|number| echo(&network, number, Duration::from_millis(3)));
    let short = cluster(|cluster| {
        cluster.connection.max_requests_per_connection = 3;
        cluster.connection.max_connection_age = Duration::from_millis(20);
        cluster.connection.idle_timeout = Duration::from_millis(10);
        cluster.connection.max_concurrent_streams = 2;
    });
    let mesh = mesh(&network, config(short, &[at(1), at(2)], |_| {}));
    under_traffic(&mesh, (100, 7), is_even, |_| {}).await;
    assert!(servers[0].opened() >= 100, "{:?}", servers[0]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(servers[0].open() + servers[1].open(), 0, "idle connections stay open");
}
