//! Ports that find out what their connections carry, behind mutual TLS.

use super::detect::{Application, get};
use super::kit::Ports;
use crate::fixture::{eventually, metric};
use crate::server::ca::Ca;
use mesh_tower::Mesh;
use std::path::Path;

pub(super) const CLIENT: &str = "spiffe://mesh.example/client";
pub(super) const SHOP: &str = "spiffe://mesh.example/shop";

/// The line of a `mesh.yaml` that says who it is.
pub(super) fn identity(ca: &Ca, directory: &Path, name: &str) -> String {
    let pair = ca.issue(name);
    let own = name.rsplit('/').next().unwrap();
    let file = |kind: &str, text: &str| {
        let path = directory.join(format!("{own}-{kind}.pem"));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) = (file("cert", &pair.chain), file("key", &pair.key));
    let roots = file("roots", &ca.pem());
    format!("identity: {{ cert: \"{cert}\", key: \"{key}\", roots: \"{roots}\" }}\n")
}

pub(super) async fn known(mesh: &Mesh) {
    let identities = mesh.identities().unwrap().clone();
    eventually("there is an identity", || identities.current().is_ok()).await;
}

#[tokio::test]
async fn what_is_looked_at_is_what_was_encrypted() {
    let (ca, directory) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let application = Application::start().await;
    let own = identity(&ca, directory.path(), SHOP);
    let to = application.address;
    let server = Ports::open(&format!(
        "{own}inbound: {{ any: {{ listen: \"127.0.0.1:1\", protocol: detect, allow: [{{ from: \"{CLIENT}\" }}], forward: \"{to}\" }} }}\n"
    ));
    known(&server.mesh).await;
    let own = identity(&ca, directory.path(), CLIENT);
    let (port, tls) = (server.port("any"), format!("tls: {{ san: [\"{SHOP}\"] }}"));
    let client = Ports::open(&format!(
        "{own}clusters: {{ db: {{ endpoints: [\"{port}\"], protocol: tcp, {tls} }}, web: {{ endpoints: [\"{port}\"], {tls} }} }}\noutbound: {{ db: {{ listen: \"127.0.0.1:1\", cluster: db }}, web: {{ listen: \"127.0.0.1:2\", cluster: web }} }}\n"
    ));
    known(&client.mesh).await;
    assert_eq!(client.say("outbound|db", "hello").await, "bytes: hello");
    // By ALPN, and without it.
    for port in ["outbound|web", "outbound|db"] {
        let answer = client.ask(port, &get("/x")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{port}: {answer}");
        assert!(answer.contains("x-forwarded-client-cert: By="), "{port}: {answer}");
        assert!(answer.contains(&format!("URI={CLIENT}")), "{port}: {answer}");
    }
    let secured = [("security", "mutual_tls")];
    assert_eq!(metric(&server.mesh, "mesh_server_connections_accepted_total", &secured), 3);
}
