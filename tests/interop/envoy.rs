//! Envoy as a hop: what its clients and its own statistics see of us.

use crate::client::{get, mesh, seen_and_echo, send, traffic};
use crate::process::{Peer, Scratch, free_ports, installed};
use crate::{go, rpc};
use http::{StatusCode, Version};
use std::process::Command;

struct Hop {
    admin: u16,
    port: u16,
    _envoy: Peer,
    _go: Peer,
    _scratch: Scratch,
}

fn start(name: &str) -> Hop {
    let go = go::start();
    let [admin, port] = free_ports();
    let scratch = Scratch::new(name);
    let words = [
        ("ADMIN", admin.to_string()),
        ("PORT", port.to_string()),
        ("WEB", go.ports[0].to_string()),
        ("RPC", go.ports[1].to_string()),
    ];
    let words: Vec<_> = words.iter().map(|(word, value)| (*word, value.as_str())).collect();
    let config = scratch.fill("envoy/envoy.yaml", &words);
    let mut command = Command::new(installed("venv/bin/envoy"));
    command.arg("-c").arg(config).args([
        "--use-dynamic-base-id",
        "-l",
        "error",
        "--concurrency",
        "1",
    ]);
    let envoy = Peer::on_ports(&mut command, vec![admin, port]);
    Hop { admin, port, _envoy: envoy, _go: go, _scratch: scratch }
}

impl Hop {
    /// One of Envoy's counters.
    async fn counter(&self, name: &str) -> u64 {
        let mesh = mesh(self.admin, "");
        let path = format!("/stats?filter=^{}$", name.replace('.', "%5C."));
        let answer = send(&mesh, get(Version::HTTP_11, &path)).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let value = text.trim().rsplit(": ").next().unwrap_or_default();
        value.parse().unwrap_or_else(|_| panic!("{name} is {text:?}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy and Go: tests/interop/install"]
async fn grpc_goes_through_envoy() {
    let hop = start("envoy-grpc");
    rpc::check(hop.port).await;
    assert_eq!(hop.counter("http.hop.downstream_cx_protocol_error").await, 0);
    assert!(hop.counter("http.hop.downstream_rq_http2_total").await > 20);
}

#[tokio::test]
#[ignore = "needs Envoy and Go: tests/interop/install"]
async fn http_goes_through_envoy() {
    let hop = start("envoy-http");
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mesh = mesh(hop.port, "");
        let seen = send(&mesh, get(version, "/seen?q=1")).await.json();
        assert_eq!(seen["authority"], "peer", "{seen}");
        assert_eq!(seen["headers"]["x-forwarded-proto"], "http", "{seen}");
        // Envoy passes HTTP/1.1 trailers on only where it is told to.
        if version == Version::HTTP_2 {
            seen_and_echo(&mesh, version).await;
        }
        let dead = send(&mesh, get(version, "/dead")).await;
        assert_eq!(dead.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(hop.counter("http.hop.downstream_cx_protocol_error").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy and Go: tests/interop/install"]
async fn no_call_is_lost_when_envoy_ends_connections() {
    let hop = start("envoy-goaway");
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mesh = mesh(hop.port, "");
        let ask = move || get(version, "/seen");
        let answers = traffic(&mesh, 1_600, ask, |answer| answer.status.to_string()).await;
        assert_eq!(answers["200 OK"], 1_600);
    }
    assert!(hop.counter("http.hop.downstream_cx_max_requests_reached").await >= 32);
}
