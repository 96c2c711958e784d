//! `mesh ads` as the control plane of other people's clients: every response is accepted, and calls
//! arrive.

use crate::process::{Peer, Scratch, free_ports, installed, source};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A control plane, and the peer that its configuration leads to.
pub(crate) struct Plane {
    _ads: Peer,
    backend: Peer,
    port: u16,
    pub(crate) admin: u16,
    outbound: u16,
    scratch: Scratch,
}

impl Plane {
    fn start(name: &str) -> Self {
        Self::secured(name, |_| Vec::new())
    }

    /// With the options that `tls` makes in its directory.
    pub(crate) fn secured(name: &str, tls: impl FnOnce(&Path) -> Vec<OsString>) -> Self {
        let backend = Peer::that_says_its_ports(&mut Command::new(installed("go-peer")));
        let scratch = Scratch::new(name);
        let [web, rpc] = [backend.ports[0], backend.ports[1]];
        let file = scratch.path().join("mesh.yaml");
        let yaml = format!(
            "version: 1\nvirtual_hosts:\n  \
             rpc: {{ domains: [peer.example], routes: [{{ match: {{ prefix: / }}, cluster: rpc }}] }}\n  \
             web: {{ domains: [web.example], routes: [{{ match: {{ prefix: / }}, cluster: web }}] }}\n\
             clusters:\n  rpc: {{ endpoints: [\"127.0.0.1:{rpc}\"], protocol: http2 }}\n  \
             web: {{ endpoints: [\"127.0.0.1:{web}\"] }}\n"
        );
        std::fs::write(&file, yaml).unwrap();
        let [port, admin, outbound] = free_ports();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
        command.arg("ads").args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--admin", &format!("127.0.0.1:{admin}")]);
        command.args(["--envoy-listener", &format!("outbound=127.0.0.1:{outbound}")]).arg(file);
        command.args(tls(scratch.path()));
        let ads = Peer::on_ports(&mut command, vec![port, admin]);
        Self { _ads: ads, backend, port, admin, outbound, scratch }
    }

    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// What a gRPC client says of 20 calls.
    fn calls(&self, command: &mut Command) -> Value {
        self.calls_with(command, &json!([{ "type": "insecure" }]))
    }

    pub(crate) fn calls_with(&self, command: &mut Command, creds: &Value) -> Value {
        let bootstrap = json!({
            "xds_servers": [{
                "server_uri": format!("127.0.0.1:{}", self.port),
                "channel_creds": creds,
                "server_features": ["xds_v3"],
            }],
            "node": { "id": "peer", "cluster": "interop", "locality": { "region": "here" } },
        });
        let file = self.scratch.path().join("bootstrap.json");
        std::fs::write(&file, bootstrap.to_string()).unwrap();
        let output = command.env("GRPC_XDS_BOOTSTRAP", file).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// All 20 calls arrived, and nothing was refused.
    #[track_caller]
    pub(crate) fn check(&self, said: &Value) {
        let address = format!("127.0.0.1:{}", self.backend.ports[1]);
        assert_eq!(said["answers"][&address], 20, "{said}");
        let (_, metrics) = get(self.admin, "admin", "/metrics");
        for kind in ["LDS", "RDS", "CDS", "EDS"] {
            assert!(!metrics.contains(&format!("mesh_ads_acks_total{{type=\"{kind}\"}} 0\n")));
            assert!(metrics.contains(&format!("mesh_ads_nacks_total{{type=\"{kind}\"}} 0\n")));
        }
    }
}

impl Plane {
    /// Whether the client that came last, of this node and variant, accepted all that it was sent.
    fn accepted(&self, word: &str) -> Result<(), String> {
        let (_, clients) = get(self.admin, "admin", "/clients");
        let clients: Value = serde_json::from_str(&clients).unwrap();
        let last = clients.as_array().and_then(|all| all.last()).unwrap();
        let of_client = (&last["node"], &last["variant"]) == (&json!(word), &json!(word));
        let all = ["LDS", "RDS", "CDS", "EDS"].iter().all(|kind| {
            let kind = &last["types"][kind];
            kind["nacked"].is_null() && !kind["acked"].is_null() && kind["acked"] == kind["sent"]
        });
        if of_client && all { Ok(()) } else { Err(format!("{last:#}")) }
    }
}

/// The head and the rest of an answer; both empty when nobody listens.
pub(crate) fn get(port: u16, host: &str, path: &str) -> (String, String) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return Default::default() };
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    (head.to_owned(), body.to_owned())
}

#[test]
#[ignore = "needs grpcio and Go: tests/interop/install"]
fn grpcio_takes_what_mesh_ads_serves() {
    let plane = Plane::start("ads-grpcio");
    let mut client = Command::new(installed("venv/bin/python"));
    client.arg(source("grpcio/xds_client.py")).args(["xds:///peer.example", "20"]);
    plane.check(&plane.calls(&mut client));
}

#[test]
#[ignore = "needs Node and Go: tests/interop/install"]
fn grpc_js_takes_what_mesh_ads_serves() {
    let plane = Plane::start("ads-node");
    let mut client = Command::new("node");
    client.env("NODE_XDS_MODULES", installed("node-xds"));
    client.arg(source("node-xds/client.mjs")).args(["xds:///peer.example", "20"]);
    plane.check(&plane.calls(&mut client));
}

#[test]
#[ignore = "needs Envoy and Go: tests/interop/install"]
fn envoy_takes_what_mesh_ads_serves_in_both_variants() {
    let plane = Plane::start("ads-envoy");
    for (variant, word) in [("DELTA_GRPC", "delta"), ("GRPC", "sotw")] {
        let [admin] = free_ports();
        let words = [
            ("ADMIN", &*admin.to_string()),
            ("CONTROL", &*plane.port.to_string()),
            ("NODE", word),
            ("VARIANT", variant),
        ];
        let config = plane.scratch.fill("envoy/ads.yaml", &words);
        let mut envoy = Command::new(installed("venv/bin/envoy"));
        envoy.arg("-c").arg(config).args(["--log-level", "error", "--use-dynamic-base-id"]);
        let _envoy = Peer::on_ports(&mut envoy, vec![admin, plane.outbound]);
        let begun = Instant::now();
        loop {
            let (head, _) = get(plane.outbound, "web.example", "/seen");
            if head.starts_with("HTTP/1.1 200 ") {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{variant}: {head}");
            std::thread::sleep(Duration::from_millis(50));
        }
        // The last answers may still be on their way.
        while let Err(told) = plane.accepted(word) {
            assert!(begun.elapsed() < PATIENCE, "{variant}: {told}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
