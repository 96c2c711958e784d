//! The test kit itself does what it says.

use crate::fixture::{at, bounded, call, eventually, get, idle, outcome, over_h2, reply, simple};
use bytes::Bytes;
use mesh_tower::testing::{MemoryNetwork, one_cluster};
use mesh_tower::{Mesh, MeshBody};
use std::time::Duration;
use tokio::time::Instant;

fn network() -> (MemoryNetwork, mesh_tower::testing::MemoryServer) {
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), |_| async { reply(200, "hello") });
    (network, server)
}

#[tokio::test(start_paused = true)]
async fn a_service_is_served_over_both_protocols() {
    let (network, server) = network();
    let mesh =
        Mesh::builder().config(one_cluster("a", [at(1)])).connector(network).build().unwrap();
    assert_eq!(outcome(&mesh, get("/")).await, Ok((200, Bytes::from("hello"))));
    assert_eq!(outcome(&mesh, over_h2(get("/"))).await, Ok((200, Bytes::from("hello"))));
    assert_eq!((server.opened(), server.open()), (2, 2));
    drop(mesh);
    eventually("the connections end with the mesh", || server.open() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn refusing_hanging_and_slow_servers_are_told_apart() {
    let (network, server) = network();
    let mesh = simple(&network, 1, |action| action.timeout = Duration::from_secs(60));
    server.refuse();
    assert_eq!(outcome(&mesh, get("/")).await, Err("connect_refused".to_owned()));
    server.hang();
    let hangs = call(&mesh, get("/")).await.unwrap_err();
    assert_eq!(hangs.code(), "connect_timeout");
    let begun = Instant::now();
    server.delay(Duration::from_secs(3));
    assert!(outcome(&mesh, get("/")).await.is_ok());
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    server.close();
    server.hang();
    let waits = tokio::spawn({
        let mesh = mesh.clone();
        async move { outcome(&mesh, get("/")).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.accept();
    assert!(bounded(waits).await.unwrap().is_ok());
    idle(&mesh).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_where_nothing_is_served() {
    let mesh = simple(&MemoryNetwork::new(), 1, |_| {});
    assert_eq!(outcome(&mesh, get("/")).await, Err("connect_refused".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn closing_ends_what_is_in_flight_and_draining_does_not() {
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), |_| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        http::Response::new(MeshBody::full("late"))
    });
    let mesh = simple(&network, 1, |_| {});
    for version in [get("/"), over_h2(get("/"))] {
        let (ended, ()) = tokio::join!(outcome(&mesh, version), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            server.drain();
        });
        assert_eq!(ended, Ok((200, Bytes::from("late"))));
        eventually("the drained connection ends", || server.open() == 0).await;
    }
    let (ended, ()) = tokio::join!(outcome(&mesh, over_h2(get("/"))), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.close();
    });
    assert_eq!(ended, Err("reset_connection".to_owned()));
}
