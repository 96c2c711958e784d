//! Control planes over TLS, with client certificates and tokens: ours for others' clients, others' for ours.

use crate::ads::{Plane, get};
use crate::certificates::Authority;
use crate::go;
use crate::process::{Scratch, installed, source};
use crate::xds::{ControlPlane, all, until, who_answers};
use mesh_tower::Mesh;
use mesh_tower::source::{Bootstrap, XdsSource};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

/// An unsigned JWT that ends in the year 2286.
fn token(id: &str) -> String {
    let claims = match id {
        "one" => "eyJleHAiOjk5OTk5OTk5OTksImp0aSI6Im9uZSJ9",
        _ => "eyJleHAiOjk5OTk5OTk5OTksImp0aSI6InR3byJ9",
    };
    format!("eyJhbGciOiJub25lIn0.{claims}.c2ln")
}

fn tls(directory: &Path) -> Value {
    let at = |name: &str| directory.join(name).display().to_string();
    json!([{ "type": "tls", "config": {
        "ca_certificate_file": at("ca.pem"),
        "certificate_file": at("client.pem"),
        "private_key_file": at("client.key"),
        "refresh_interval": "1s",
    } }])
}

/// The CA, the server's certificate and `client`'s.
fn certificates(ca: &Authority, directory: &Path, client: &str) {
    fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
    ca.issue(&["localhost", "127.0.0.1"]).write(directory, "server");
    ca.issue(&[client]).write(directory, "client");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn go_control_plane_over_tls_with_certificates_and_tokens() {
    let (one, two) = (go::start(), go::start());
    let backends = [&one, &two];
    let scratch = Scratch::new("secure-go");
    let at = |name: &str| scratch.path().join(name);
    let ca = Authority::new("interop");
    certificates(&ca, scratch.path(), "spiffe://mesh.example/one");
    fs::write(at("wanted"), token("one")).unwrap();
    fs::write(at("token"), token("two")).unwrap();
    let options = [("-cert", "server.pem"), ("-key", "server.key"), ("-client-ca", "ca.pem")];
    let options = [&options[..], &[("-token", "wanted")]].concat();
    let arguments: Vec<_> = options
        .iter()
        .flat_map(|(option, file)| [option.into(), at(file).into_os_string()])
        .collect();
    let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    let mut plane = ControlPlane::with(&arguments);
    plane.set("v1", &all(backends, (1, 0)));
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": format!("dns:///localhost:{}", plane.port),
            "channel_creds": tls(scratch.path()),
            "call_creds": [{ "type": "jwt_token_file", "config": { "jwt_token_file": at("token") } }],
        }],
        "node": { "id": "mesh-interop", "cluster": "tests" },
    });
    let bootstrap = Bootstrap::parse(&bootstrap.to_string()).unwrap();
    let source = XdsSource::new(bootstrap).authority("peer");
    let mesh = Mesh::builder().source(source).build().unwrap();

    // The wrong token first: the stream is refused, and the next one has what is in the file then.
    plane.wait_for(|said| said["event"] == "turned_away" && said["tokens"] == 1);
    fs::write(at("token"), token("one")).unwrap();
    assert_eq!(who_answers(&mesh, 16, backends).await, [16, 0]);
    plane.wait_for(|said| {
        said["event"] == "guest" && said["identity"] == "spiffe://mesh.example/one"
    });

    // All is rotated while the control plane is away.
    plane.command(&json!({ "stop_serving": 300 }));
    plane.wait_for(|said| said["event"] == "stopped");
    ca.issue(&["localhost"]).write(scratch.path(), "server");
    ca.issue(&["spiffe://mesh.example/two"]).write(scratch.path(), "client");
    fs::write(at("wanted"), token("two")).unwrap();
    fs::write(at("token"), token("two")).unwrap();
    plane.set("v2", &all(backends, (0, 1)));
    until("the split of v2", async || who_answers(&mesh, 16, backends).await == [0, 16]).await;
    plane.wait_for(|said| {
        said["event"] == "guest" && said["identity"] == "spiffe://mesh.example/two"
    });
}

#[test]
#[ignore = "needs grpcio and Go: tests/interop/install"]
fn grpcio_takes_what_mesh_ads_serves_over_tls() {
    let us = "spiffe://mesh.example/grpcio";
    let ca = Authority::new("interop");
    let plane = Plane::secured("secure-grpcio", |directory| {
        certificates(&ca, directory, us);
        let options = [("--tls-cert", "server.pem"), ("--tls-key", "server.key")];
        let files = [&options[..], &[("--tls-client-ca", "ca.pem")]].concat();
        let files =
            files.iter().flat_map(|(option, file)| [option.into(), directory.join(file).into()]);
        std::iter::once("--tls".into()).chain(files).collect()
    });
    let mut client = Command::new(installed("venv/bin/python"));
    client.arg(source("grpcio/xds_client.py")).args(["xds:///peer.example", "20"]);
    plane.check(&plane.calls_with(&mut client, &tls(plane.path())));

    // Without a certificate, or with one that ended, it gets nothing, and that is counted.
    let roots = plane.path().join("ca.pem").display().to_string();
    let nobody = json!([{ "type": "tls", "config": { "ca_certificate_file": roots } }]);
    let calls = |creds: &Value| {
        let mut client = Command::new(installed("venv/bin/python"));
        client.arg(source("grpcio/xds_client.py")).args(["xds:///peer.example", "1"]);
        plane.calls_with(client.args(["--deadline-ms", "1000"]), creds)
    };
    let refused = || -> u64 {
        let (_, metrics) = get(plane.admin, "admin", "/metrics");
        let name = "mesh_ads_refused_connections_total ";
        metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    };
    ca.issue_until(&[us], -3600).write(plane.path(), "client");
    for creds in [nobody, tls(plane.path())] {
        let before = refused();
        let said = calls(&creds);
        assert!(said["answers"].as_object().is_some_and(serde_json::Map::is_empty), "{said}");
        assert!(refused() > before, "{creds}");
    }
}
