//! Routes that answer by themselves, and what splits and hash policies go by.

use crate::fixture::{
    at, call, cluster, config, get, grpc, mesh, metric, outcome, over_h2, reply, text,
};
use bytes::Bytes;
use http::StatusCode;
use mesh_core::ConfigUpdate;
use mesh_core::model::{
    DirectResponse, HashPolicy, HashSource, LbAlgorithm, LbPolicy, Redirect, Route, RouteAction,
    RouteMatch,
};
use mesh_tower::observe::{CallReport, Phase};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{CallOptions, Mesh, MeshLayer, Peer};
use std::collections::BTreeSet;
use std::sync::Arc;
use tower::{Layer, ServiceExt};

/// The usual configuration, with this action in place of its only route's.
fn answering(action: RouteAction) -> ConfigUpdate {
    let mut update = config(cluster(|_| {}), &[at(1)], |_| {});
    let routes = Arc::make_mut(&mut update.route_configuration);
    let host = Arc::make_mut(&mut routes.virtual_hosts[0]);
    host.routes = vec![Arc::new(Route::new("answers", RouteMatch::any(), action))];
    update
}

#[tokio::test(start_paused = true)]
async fn a_direct_response_is_http_to_some_and_a_status_to_grpc() {
    let body = Bytes::from_static(b"closed for today");
    let direct = DirectResponse::new(StatusCode::SERVICE_UNAVAILABLE, body);
    let mesh = mesh(&MemoryNetwork::new(), answering(RouteAction::DirectResponse(direct)));
    let answer = outcome(&mesh, over_h2(get("/"))).await;
    assert_eq!(answer, Ok((503, Bytes::from("closed for today"))));
    // RFC 9110 9.3.2.
    let mut head = over_h2(get("/"));
    *head.method_mut() = http::Method::HEAD;
    assert_eq!(outcome(&mesh, head).await, Ok((503, Bytes::new())));
    let response = call(&mesh, grpc("/shop.Reviews/List")).await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (response.status().as_u16(), header("grpc-status"), header("grpc-message")),
        (200, "14".to_owned(), "closed for today".to_owned())
    );
    assert!(http_body::Body::is_end_stream(response.body()), "Trailers-Only");
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_a_failure_to_grpc() {
    let mut redirect = Redirect::default();
    redirect.host = Some("b".into());
    let mesh = mesh(&MemoryNetwork::new(), answering(RouteAction::Redirect(redirect)));
    let response = call(&mesh, get("/x")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (301, &"http://b/x".parse().unwrap())
    );
    let response = call(&mesh, grpc("/s/m")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["grpc-status"]),
        (200, &"14".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_route_answers_by_itself_is_counted_and_reported_as_its_own() {
    let mut redirect = Redirect::default();
    redirect.host = Some("b".into());
    let mesh = mesh(&MemoryNetwork::new(), answering(RouteAction::Redirect(redirect)));
    let mut request = get("/x");
    request.extensions_mut().insert(CallOptions::new().server_timing());
    let response = call(&mesh, request).await.unwrap();
    let report = response.extensions().get::<CallReport>().unwrap();
    assert!(report.attempts.is_empty() && report.phases.get(Phase::Routing).is_some());
    assert!(response.headers().contains_key(CallReport::SERVER_TIMING));
    drop(call(&mesh, grpc("/s/m")).await.unwrap());
    let count = |more: &[(&str, &str)]| {
        let labels = [&[("route", "answers"), ("cluster", "")], more].concat();
        metric(&mesh, "mesh_calls_total", &labels)
    };
    assert_eq!(count(&[("status", "301")]), 1);
    assert_eq!(count(&[("status", "200"), ("grpc_status", "14")]), 1);
    // A call that did not ask has no report.
    let response = call(&mesh, get("/x")).await.unwrap();
    assert!(response.extensions().get::<CallReport>().is_none());
}

/// Endpoints 1 to 8, each of which answers with its number.
fn numbered(network: &MemoryNetwork) {
    for number in 1..=8 {
        let body: &'static str = ["", "1", "2", "3", "4", "5", "6", "7", "8"][usize::from(number)];
        network.serve_fn(at(number), move |_| async move { reply(200, body) });
    }
}

fn hashed(network: &MemoryNetwork, by: HashPolicy) -> Mesh {
    let ring = cluster(|cluster| {
        let mut policy = LbPolicy::new(LbAlgorithm::RingHash {
            minimum_ring_size: 1024,
            maximum_ring_size: 1 << 20,
            hash_balance_factor: None,
        });
        policy.hash_policy = vec![by];
        cluster.lb_policy = policy;
    });
    let endpoints: Vec<_> = (1..=8).map(at).collect();
    mesh(network, config(ring, &endpoints, |_| {}))
}

async fn answered_by(mesh: &Mesh, peer: Option<Peer>) -> Bytes {
    let mut request = over_h2(get("/"));
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    outcome(mesh, request).await.unwrap().1
}

#[tokio::test(start_paused = true)]
async fn calls_are_placed_by_who_they_are_made_for() {
    let network = MemoryNetwork::new();
    numbered(&network);
    let by_identity = hashed(&network, HashPolicy::new(HashSource::PeerIdentity));
    let by_address = hashed(&network, HashPolicy::new(HashSource::SourceIp));
    for mesh in [&by_identity, &by_address] {
        let mut places = BTreeSet::new();
        for user in 0..20_u8 {
            let peer =
                Peer::new().identity(format!("user-{user}")).address(([10, 9, 8, user], 7).into());
            let place = answered_by(mesh, Some(peer.clone())).await;
            for _ in 0..5 {
                assert_eq!(answered_by(mesh, Some(peer.clone())).await, place, "{peer:?}");
            }
            places.insert(place);
        }
        assert!(places.len() >= 4, "{places:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_client_have_a_channel_id_in_common() {
    let network = MemoryNetwork::new();
    numbered(&network);
    let mesh = hashed(&network, HashPolicy::new(HashSource::ChannelId));
    let mut places = BTreeSet::new();
    for _ in 0..20 {
        let client = MeshLayer::new(&mesh).layer(mesh.transport());
        let mut of_client = BTreeSet::new();
        for _ in 0..5 {
            let response = client.clone().oneshot(over_h2(get("/"))).await.unwrap();
            of_client.insert(text(response).await);
        }
        assert_eq!(of_client.len(), 1, "{of_client:?}");
        places.extend(of_client);
    }
    assert!(places.len() >= 4, "{places:?}");
    // The mesh's own client is the same one each time.
    let place = answered_by(&mesh, None).await;
    for _ in 0..20 {
        assert_eq!(answered_by(&mesh, None).await, place);
    }
}
