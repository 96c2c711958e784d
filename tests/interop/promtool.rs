//! Prometheus' own checker reads our text.

use crate::client::{get, mesh, send};
use crate::process::{Peer, installed, source};
use http::Version;
use std::io::Write;
use std::process::{Command, Stdio};

#[tokio::test]
#[ignore = "needs promtool and Node: tests/interop/install"]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let node = Peer::that_says_its_ports(Command::new("node").arg(source("node/server.mjs")));
    let mesh = mesh(node.ports[0], "protocol: http2");
    for path in ["/seen", "/refused", "/no-such"] {
        send(&mesh, get(Version::HTTP_2, path)).await;
    }
    let text = mesh.metrics().prometheus_text();
    assert!(text.contains("mesh_calls_total{"), "{text}");
    check(&text);
}

/// It says nothing of `text`.
#[track_caller]
pub(crate) fn check(text: &str) {
    let mut command = Command::new(installed("debian/usr/bin/promtool"));
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.stdout(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}
