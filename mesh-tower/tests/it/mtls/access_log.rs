//! Lines of the access log, of both sides of mutual TLS.

use super::ca::Ca;
use crate::access_log::world::{Lines, World, check, client_yaml, mesh, request, serve};
use crate::access_log::{CLAIMS, claiming};
use crate::fixture::eventually;
use mesh_core::access_log::Format;
use mesh_tower::observe::AccessLog;
use mesh_tower::{Mesh, MeshBody};
use std::path::Path;

const CLIENT: &str = "spiffe://mesh.example/client";
const SERVER: &str = "spiffe://mesh.example/server";

/// The part of a `mesh.yaml` that says who it is.
fn identity(ca: &Ca, directory: &Path, name: &str, serial: u64) -> String {
    let pair = ca.issue(name, serial);
    let file = |kind: &str, text: &str| {
        let path = directory.join(format!("{serial}-{kind}.pem"));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) = (file("cert", &pair.chain), file("key", &pair.key));
    let roots = file("roots", &ca.pem());
    format!("identity: {{ cert: \"{cert}\", key: \"{key}\", roots: \"{roots}\" }}")
}

async fn known(mesh: &Mesh) {
    let identities = mesh.identities().unwrap().clone();
    eventually("there is an identity", || identities.current().is_ok()).await;
}

#[tokio::test]
async fn both_sides_name_both_identities() {
    let (ca, directory, lines) = (Ca::new("ca"), tempfile::tempdir().unwrap(), Lines::default());
    let log = lines.log(AccessLog::builder(Format::default_json()));
    let own = identity(&ca, directory.path(), SERVER, 1);
    let (server, address) = serve(log.clone(), &own, "strict").await;
    known(&server).await;
    let own = identity(&ca, directory.path(), CLIENT, 2);
    let tls = format!(", tls: {{ san: [\"{SERVER}\"] }}");
    let client = mesh(&client_yaml(address, address, [&own, &tls]), log);
    known(&client).await;
    let world = World { lines, client, server };
    for http2 in [false, true] {
        let mut sent = request("GET", "/x", MeshBody::empty());
        if http2 {
            *sent.version_mut() = http::Version::HTTP_2;
        }
        assert_eq!(world.send(sent).await, Ok(200));
    }
    for line in world.lines.of("client", 2).await {
        check(&line, &[("own_identity", CLIENT.into()), ("peer_identity", SERVER.into())]);
    }
    for line in world.lines.of("server", 2).await {
        check(&line, &[("own_identity", SERVER.into()), ("peer_identity", CLIENT.into())]);
    }
}

/// Who proved who he is is believed about Envoy's headers, and not about the mesh's; of his callers' certificates the
/// line says what the service is told.
#[tokio::test]
async fn a_line_has_what_a_proven_caller_may_say() {
    let (ca, directory, lines) = (Ca::new("ca"), tempfile::tempdir().unwrap(), Lines::default());
    let log = lines.log(AccessLog::builder(Format::json(CLAIMS).unwrap()));
    let own = identity(&ca, directory.path(), SERVER, 1);
    let (server, address) = serve(log, &own, "strict").await;
    known(&server).await;
    let own = identity(&ca, directory.path(), CLIENT, 2);
    let tls = format!(", tls: {{ san: [\"{SERVER}\"] }}");
    let silent = Lines::default().log(AccessLog::builder(Format::default_json()));
    let client = mesh(&client_yaml(address, address, [&own, &tls]), silent);
    known(&client).await;
    let world = World { lines, client, server };
    assert_eq!(world.send(claiming("/x")).await, Ok(200));
    let line = world.lines.one("server").await;
    check(&line, &[("original", "/forged".into()), ("of_mesh", serde_json::Value::Null)]);
    let xfcc = line["xfcc"].as_str().unwrap();
    assert!(xfcc.contains(CLIENT) && !xfcc.contains("forged"), "{xfcc}");
}
