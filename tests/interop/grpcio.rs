//! grpcio: the C core of gRPC, by way of Python.

use crate::process::{Peer, installed, source};
use crate::rpc;
use std::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs grpcio: tests/interop/install"]
async fn grpcio_and_we_understand_each_other() {
    let mut command = Command::new(installed("venv/bin/python3"));
    let peer = Peer::that_says_its_ports(command.arg(source("grpcio/server.py")));
    rpc::check(peer.ports[0]).await;
}
