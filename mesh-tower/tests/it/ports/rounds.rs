//! Requests that would go round.

use super::kit::{Ports, parts, update};
use crate::fixture::{bounded, metric};
use mesh_core::model::{Address, ClusterLoadAssignment, Endpoint};
use mesh_tower::Mesh;
use mesh_tower::source::Updates;
use std::net::SocketAddr;
use std::sync::Arc;

const TEXT: &str = "virtual_hosts: { a: { routes: [{ cluster: a }] } }
clusters: { a: { endpoints: [\"127.0.0.1:1\"] } }
outbound: { web: { listen: \"127.0.0.1:1\" } }
";
const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A proxy whose cluster `a` can be told where it is.
async fn proxy() -> (Ports, impl Fn(SocketAddr)) {
    let (updates, source) = Updates::new();
    updates.apply(update(TEXT));
    let mesh = Mesh::builder().source(source).build().unwrap();
    bounded(mesh.applied(1)).await.unwrap();
    let move_to = move |address: SocketAddr| {
        let mut update = update(TEXT);
        let endpoints = ClusterLoadAssignment::of([Endpoint::new(Address::from(address))]);
        update.clusters.get_mut("a").unwrap().endpoints = Some(Arc::new(endpoints));
        updates.apply(update);
    };
    (Ports::of(mesh), move_to)
}

#[tokio::test]
async fn a_proxy_never_connects_to_its_own_ports() {
    let (ports, move_to) = proxy().await;
    move_to(ports.port("outbound|web"));
    bounded(ports.mesh.applied(2)).await.unwrap();
    let answer = ports.ask("outbound|web", ASK).await;
    let (status, _, body) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(
        body.contains("a port of this proxy itself") && body.contains("[connect_own_port]"),
        "{body}"
    );
    assert!(metric(&ports.mesh, "mesh_connections_failed_total", &[("reason", "own_port")]) > 0);
}

#[tokio::test]
async fn two_that_send_to_each_other_end_it_with_the_way_round() {
    let ((one, move_one), (two, move_two)) = (proxy().await, proxy().await);
    move_one(two.port("outbound|web"));
    move_two(one.port("outbound|web"));
    bounded(one.mesh.applied(2)).await.unwrap();
    bounded(two.mesh.applied(2)).await.unwrap();
    let answer = one.ask("outbound|web", ASK).await;
    let (status, _, body) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 508 Loop Detected", "{answer}");
    let marks: Vec<_> = body.trim_end().rsplit(' ').take(3).collect();
    assert_eq!(marks.iter().filter(|mark| mark.contains("/outbound|web")).count(), 3, "{body}");
    assert_eq!(marks[0], marks[2].trim_end_matches(','));
}
