//! Node's http2 server.

use crate::client::{get, mesh, seen_and_echo, send, traffic};
use crate::process::{Peer, source};
use http::{StatusCode, Version};
use std::process::Command;

fn start() -> Peer {
    Peer::that_says_its_ports(Command::new("node").arg(source("node/server.mjs")))
}

#[tokio::test]
#[ignore = "needs Node"]
async fn node_sees_what_is_sent() {
    let node = start();
    let mesh = mesh(node.ports[0], "protocol: http2");
    let seen = send(&mesh, get(Version::HTTP_2, "/seen?x=1")).await.json();
    let pseudo = &seen["headers"];
    assert_eq!(pseudo[":method"], "GET", "{seen}");
    assert_eq!(pseudo[":authority"], "peer", "{seen}");
    assert_eq!(pseudo[":scheme"], "http", "{seen}");
    seen_and_echo(&mesh, Version::HTTP_2).await;
}

#[tokio::test]
#[ignore = "needs Node"]
async fn a_stream_that_node_refuses_is_sent_again() {
    let node = start();
    let mesh = mesh(node.ports[0], "protocol: http2");
    let answer = send(&mesh, get(Version::HTTP_2, "/refused")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["asked"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node"]
async fn no_call_is_lost_when_node_closes_sessions() {
    let node = start();
    let mesh = mesh(node.ports[0], "protocol: http2");
    let ask = || get(Version::HTTP_2, "/seen");
    let answers = traffic(&mesh, 2_000, ask, |answer| answer.status.to_string()).await;
    assert_eq!(answers["200 OK"], 2_000);
    let sessions = send(&mesh, get(Version::HTTP_2, "/sessions")).await.json();
    let sessions = sessions["sessions"].as_u64().unwrap();
    assert!((20..=100).contains(&sessions), "{sessions} sessions of about 50 streams");
}
