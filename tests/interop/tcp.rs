//! Byte streams through the mesh: `openssl s_server` under mutual TLS, Envoy's TCP proxy as a hop, and curl, which is
//! passed on to nginx.

use crate::client::mesh;
use crate::envoy_parts::{address, any, envoy};
use crate::mtls::{caller, id, write};
use crate::nginx::Nginx;
use crate::process::{Peer, Scratch, free_ports};
use crate::server_ca::Ca;
use mesh_tower::Mesh;
use mesh_tower::tcp::{RelayEnd, RelayOptions, relay};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that turns each line round; callers must show a certificate of `ca`.
fn reverser(scratch: &Scratch, ca: &Ca, name: &str, version: &str) -> Peer {
    let [certificate, key] = write(scratch.path(), name, &ca.issue(&id(name)));
    let roots: PathBuf = scratch.path().join("ca.pem");
    std::fs::write(&roots, ca.pem()).unwrap();
    let [port] = free_ports();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-rev", "-quiet", version, "-accept", &port.to_string()]);
    command.arg("-cert").arg(certificate).arg("-key").arg(key).arg("-CAfile").arg(roots);
    command.args(["-Verify", "2", "-verify_return_error"]).stderr(Stdio::null());
    Peer::on_ports(&mut command, vec![port])
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn openssl_answers_a_byte_stream_under_mutual_tls() {
    let (ca, scratch) = (Ca::new("interop"), Scratch::new("tcp-openssl"));
    for version in ["-tls1_2", "-tls1_3"] {
        let server = reverser(&scratch, &ca, "server", version);
        let port = server.ports[0];
        let mesh = caller((scratch.path(), &ca), "client", (port, &id("server"))).await;
        for _ in 0..3 {
            let stream = timeout(PATIENCE, mesh.connect("peer")).await.unwrap().unwrap();
            let mut stream = BufReader::new(stream);
            for (line, reversed) in
                [("mesh\n", "hsem\n"), ("without proxies\n", "seixorp tuohtiw\n")]
            {
                stream.write_all(line.as_bytes()).await.unwrap();
                let mut back = String::new();
                timeout(PATIENCE, stream.read_line(&mut back)).await.unwrap().unwrap();
                assert_eq!(back, reversed, "{version}");
            }
        }
        // Another name than the one it proves.
        let mesh = caller((scratch.path(), &ca), "client", (port, &id("other"))).await;
        let refused = timeout(PATIENCE, mesh.connect("peer")).await.unwrap().unwrap_err();
        assert_eq!(refused.code(), "connect_tls_name", "{version}");
    }
}

/// Envoy's TCP proxy on `port`, to `upstream`.
fn hop(admin: u16, port: u16, upstream: u16) -> Value {
    let proxy = json!({ "stat_prefix": "hop", "cluster": "upstream" });
    let proxy = any("extensions.filters.network.tcp_proxy.v3.TcpProxy", proxy);
    json!({
        "admin": { "address": address(admin) },
        "static_resources": {
            "listeners": [{
                "name": "hop",
                "address": address(port),
                "filter_chains": [{ "filters": [{ "name": "tcp", "typed_config": proxy }] }],
            }],
            "clusters": [{
                "name": "upstream",
                "type": "STATIC",
                "load_assignment": { "cluster_name": "upstream", "endpoints": [{ "lb_endpoints": [
                    { "endpoint": { "address": address(upstream) } },
                ] }] },
            }],
        },
    })
}

/// Reads to the end, and then sends it all back and ends.
async fn answers_at_the_end() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&all).await.unwrap();
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: tests/interop/install"]
async fn a_half_that_ends_goes_through_envoy() {
    let [admin, port] = free_ports();
    let scratch = Scratch::new("tcp-envoy");
    let config = scratch.path().join("envoy.json");
    std::fs::write(&config, hop(admin, port, answers_at_the_end().await).to_string()).unwrap();
    let _envoy = envoy(&config, vec![admin, port]);
    let mesh = mesh(port, "protocol: tcp");
    let sent = crate::client::pattern(3 << 20);
    for _ in 0..5 {
        let mut stream = mesh.connect("peer").await.unwrap();
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut back)).await.unwrap().unwrap();
        assert!(back == sent, "{} of {} bytes came back", back.len(), sent.len());
    }
}

/// Passes connections on to the cluster, and says how each ended.
async fn pass_on(mesh: Mesh, listener: TcpListener, told: tokio::sync::mpsc::Sender<RelayEnd>) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut endpoint = mesh.connect("peer").await.unwrap();
        let told = told.clone();
        tokio::spawn(async move {
            let relayed = relay(&mut client, &mut endpoint, RelayOptions::new()).await;
            told.send(relayed.end).await.unwrap();
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx and curl: tests/interop/install"]
async fn curl_is_passed_on_to_nginx() {
    let nginx = Nginx::start("tcp-nginx");
    let scratch = Scratch::new("tcp-curl");
    for (arguments, (_, port)) in
        [&["--http1.1"][..], &["--http2-prior-knowledge"]].into_iter().zip(nginx.versions())
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (told, mut ends) = tokio::sync::mpsc::channel(8);
        let task = tokio::spawn(pass_on(mesh(port, "protocol: tcp"), listener, told));
        let body = scratch.path().join("body");
        std::fs::write(&body, crate::client::pattern(5 << 20)).unwrap();
        let url = format!("http://127.0.0.1:{own}/files/tcp");
        // One run for each: curl 7.88 fails by itself on a second request after prior knowledge.
        for (upload, expected) in [(true, None), (false, Some(crate::client::pattern(5 << 20)))] {
            let mut command = tokio::process::Command::new("curl");
            command.args(["--silent", "--show-error", "--fail", "--max-time", "20"]);
            command.args(arguments).arg(&url);
            if upload {
                command.arg("--upload-file").arg(&body);
            }
            let output = command.output().await.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(expected.is_none_or(|expected| output.stdout == expected), "{arguments:?}");
            let end = timeout(PATIENCE, ends.recv()).await.unwrap().unwrap();
            assert!(matches!(end, RelayEnd::Complete), "{end:?}");
        }
        task.abort();
    }
}
