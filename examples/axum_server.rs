//! An axum server behind a mesh: connections are mutual TLS, handlers know who calls, and who may call is a
//! line of the configuration.
//!
//! `cargo run --example axum_server`

#[path = "quickstart/certificates.rs"]
#[expect(dead_code, reason = "nothing is issued anew here")]
mod certificates;

use axum::{Extension, Router, routing::get};
use certificates::Certificates;
use http::Request;
use http_body_util::BodyExt;
use mesh_tower::server::Connection;
use mesh_tower::{Mesh, MeshBody};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whoever is not named here is refused, whatever certificate it has.
const SERVER: &str = r#"
inbound:
  web: { allow: [{ name: shops, from: ["spiffe://quickstart.example/shop"] }] }
"#;
const CLIENT: &str = r#"
virtual_hosts: { web: { routes: [{ cluster: web }] } }
clusters: { web: { endpoints: ["ADDRESS"], tls: { san: "spiffe://quickstart.example/web" } } }
"#;

/// This is all of the server: a router, a socket, and the listener's name in the configuration.
async fn serve(mesh: Mesh, socket: TcpListener) -> std::io::Result<()> {
    let router = Router::new().route("/", get(hello));
    mesh.server("web").serve(socket, router).await
}

async fn hello(Extension(connection): Extension<Arc<Connection>>) -> String {
    format!("hello, {}", connection.peer.name())
}

/// What a shop and a thief are answered. Both have good certificates.
pub(crate) async fn run() -> Result<Vec<String>, BoxError> {
    let directory = tempfile::tempdir()?;
    let _ca = Certificates::new(directory.path(), &["web", "shop", "thief"], "")?;
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let client = CLIENT.replace("ADDRESS", &socket.local_addr()?.to_string());
    let server = tokio::spawn(serve(mesh(&directory.path().join("web"), SERVER).await?, socket));
    let mut answers = Vec::new();
    for who in ["shop", "thief"] {
        let mesh = mesh(&directory.path().join(who), &client).await?;
        let request = Request::get("http://web/").body(MeshBody::empty())?;
        let (head, body) = mesh.client().call(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        answers.push(format!("{} {}", head.status, String::from_utf8_lossy(&body)));
    }
    server.abort();
    Ok(answers)
}

/// A mesh by the certificates that are in `directory`, once they are in force.
async fn mesh(directory: &Path, more: &str) -> Result<Mesh, BoxError> {
    let current = "cert: current/cert.pem, key: current/key.pem, roots: current/ca.pem";
    let file = directory.join("mesh.yaml");
    std::fs::write(&file, format!("version: 1\nidentity: {{ {current} }}\n{more}"))?;
    let mesh = Mesh::from_file(file)?;
    while mesh.identities().is_none_or(|identities| identities.current().is_err()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(mesh)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that shows something")]
async fn main() -> Result<(), BoxError> {
    run().await?.iter().for_each(|answer| println!("{answer}"));
    Ok(())
}
