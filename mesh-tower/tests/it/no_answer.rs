//! A call that has no answer of its control plane says why, in the words of whoever knows.

use crate::control_plane::{Plane, mesh, serving, update};
use crate::fixture::{call, get, over_h2};
use http::Request;
use mesh_tower::source::{Bootstrap, ResourceType, XdsSource};
use mesh_tower::{CallOptions, Error, Mesh, MeshBody};
use mesh_xds::encode::{Encoded, resources};
use mesh_xds::server::Snapshot;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

/// How a call to `shop` ends that waits for so long.
async fn ended(mesh: &Mesh, wait: Duration) -> Error {
    let mut request: Request<MeshBody> = over_h2(get("/"));
    *request.uri_mut() = "http://shop/".parse().unwrap();
    request.extensions_mut().insert(CallOptions::new().timeout(wait));
    call(mesh, request).await.unwrap_err()
}

/// The reason is this one, and the text has all of these words, in this order.
#[track_caller]
fn check(what: &str, error: &Error, code: &str, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.code(), code, "{what}: {text}");
    let mut rest = text.as_str();
    for word in words {
        let found = rest.find(word);
        assert!(found.is_some(), "{what}: no `{word}` in its place in `{text}`");
        rest = &rest[found.unwrap_or_default() + word.len()..];
    }
    assert!(error.why().is_some_and(|why| text.contains(why)), "{what}: {text}");
}

fn source(server: SocketAddr, creds: &str) -> XdsSource {
    let text = format!(
        r#"{{ "xds_servers": [{{ "server_uri": "{server}", {creds} }}], "node": {{ "id": "n" }} }}"#
    );
    XdsSource::new(Bootstrap::parse(&text).unwrap())
}

const INSECURE: &str = r#""channel_creds": [{ "type": "insecure" }]"#;
const SOON: Duration = Duration::from_millis(2500);

/// Nobody's certificate.
const CA: &str = include_str!("nobody.pem");

/// TLS, by a file in `directory`.
fn tls(directory: &std::path::Path) -> String {
    let ca = directory.join("ca.pem");
    std::fs::write(&ca, CA).unwrap();
    let config = format!(r#"{{ "ca_certificate_file": "{}" }}"#, ca.display());
    format!(r#""channel_creds": [{{ "type": "tls", "config": {config} }}]"#)
}

#[tokio::test]
async fn a_control_plane_that_can_not_be_reached() {
    let plane = Plane::up(serving(&["shop"], 1)).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let tls = tls(directory.path());
    let token = directory.path().join("token");
    std::fs::write(&token, "no token").unwrap();
    let config = format!(r#"{{ "jwt_token_file": "{}" }}"#, token.display());
    let with_token =
        format!(r#"{tls}, "call_creds": [{{ "type": "jwt_token_file", "config": {config} }}]"#);
    for (what, server, creds, word) in [
        ("nobody listens", nobody, INSECURE, "refused"),
        ("a server without TLS", plane.address, &tls, "TLS"),
        ("a file without a token", plane.address, &with_token, "token"),
    ] {
        let mesh = mesh(source(server, creds));
        let error = ended(&mesh, SOON).await;
        let server = format!("control plane {server} unreachable for ");
        check(what, &error, "not_configured", &[&server, " attempt", ", last error: ", word]);
    }
}

/// What serves `shop`, without resources of this type, or with this body in place of theirs.
fn broken(kind: ResourceType, body: Option<&'static [u8]>) -> Snapshot {
    let all = resources(&update(&["shop"], 1)).into_iter();
    Snapshot::new(all.filter_map(|resource| match (resource.kind == kind, body) {
        (false, _) => Some(resource),
        (true, body) => Some(Encoded::new(kind, resource.name, body?)),
    }))
}

/// Each alone takes up to 15 s (gRFC A57), so they go side by side.
#[tokio::test]
async fn a_control_plane_that_has_no_good_answer() {
    const ABSENT: &str = "the control plane does not have it";
    // A name, and something that is no field.
    const GARBAGE: Option<&[u8]> = Some(b"\xff\xff");
    let cases = [
        (ResourceType::Listener, None, "no_virtual_host", ["LDS shop", ABSENT]),
        (ResourceType::RouteConfiguration, None, "no_virtual_host", ["RDS mesh/shop", ABSENT]),
        (ResourceType::Cluster, None, "unknown_cluster", ["cluster `a`", ABSENT]),
        (ResourceType::Listener, GARBAGE, "no_virtual_host", ["LDS shop", ""]),
        (ResourceType::RouteConfiguration, GARBAGE, "no_virtual_host", ["RDS mesh/shop", ""]),
        (ResourceType::Cluster, GARBAGE, "unknown_cluster", ["cluster `a`", ""]),
    ];
    let all = cases.map(|(kind, body, code, words)| async move {
        let plane = Plane::up(broken(kind, body)).await;
        let mesh = mesh(source(plane.address, INSECURE));
        let error = ended(&mesh, Duration::from_secs(25)).await;
        check(&format!("{kind} {body:?}"), &error, code, &words);
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn a_control_plane_that_says_nothing_yet() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mesh = mesh(source(listener.local_addr().unwrap(), INSECURE));
    let error = ended(&mesh, Duration::from_millis(200)).await;
    check("mute", &error, "not_configured", &["has not answered for `shop` yet"]);
}
