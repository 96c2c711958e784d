//! Go: net/http over both versions of HTTP, and grpc-go.

use crate::client::{get, mesh, seen_and_echo, send};
use crate::process::{Peer, installed};
use crate::rpc;
use http::Version;
use std::process::Command;

pub(crate) fn start() -> Peer {
    Peer::that_says_its_ports(&mut Command::new(installed("go-peer")))
}

#[tokio::test]
#[ignore = "needs Go: tests/interop/install"]
async fn net_http_sees_what_is_sent() {
    let go = start();
    for (version, protocol) in [(Version::HTTP_11, "HTTP/1.1"), (Version::HTTP_2, "HTTP/2.0")] {
        let mesh = mesh(go.ports[0], "");
        let seen = send(&mesh, get(version, "/seen?q=%C3%BC")).await.json();
        assert_eq!(seen["protocol"], protocol, "{seen}");
        assert_eq!(seen["authority"], "peer", "{seen}");
        assert_eq!(seen["path"], "/seen?q=%C3%BC", "{seen}");
        seen_and_echo(&mesh, version).await;
        let again = send(&mesh, get(version, "/seen")).await.json();
        if version == Version::HTTP_2 {
            assert_eq!(again["connection"], seen["connection"], "one connection is enough");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn grpc_go_and_we_understand_each_other() {
    rpc::check(start().ports[1]).await;
}
