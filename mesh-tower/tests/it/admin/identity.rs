//! Certificates are told, keys never; and who has proven an identity may change something.

use super::{ALL, json, read};
use crate::fixture::{Count, bounded};
use crate::server::ca::Ca;
use crate::server::world::{FRIEND, OURS, World, inline, mutual, secured};
use mesh_core::model::secret::{Secret, SecretCertificate, SecretContent};
use mesh_core::update::SecretAnswer;
use mesh_tower::admin::Admin;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn world() -> World {
    let ca = Ca::new("ours");
    World::new(ca, vec![mutual(|tls| tls.require_client_certificate = false)]).await
}

#[tokio::test]
async fn certificates_have_the_time_that_is_left() {
    let world = world().await;
    let admin = Admin::new(&world.mesh);
    let found = json(&admin, "/certs").await;
    let own = &found["certificates"][0]["cert_chain"][0];
    assert_eq!(own["subject_alt_names"][0]["uri"], OURS);
    assert_eq!(own["days_until_expiration"], "0");
    assert!(own["expiration_time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(found["certificates"][0]["ca_cert"].as_array().unwrap().len(), 1);
    #[cfg(feature = "json")]
    {
        use envoy_types::pb::envoy::admin::v3::Certificates;
        let read: Certificates = super::envoy::of_json(&found.to_string());
        assert_eq!(read.certificates[0].cert_chain[0].serial_number, own["serial_number"]);
    }
    let text = read(&admin, "/certs?format=text").await;
    assert!(text.contains(OURS) && text.contains("min left"), "{text}");
    let page = read(&admin, "/").await;
    assert!(page.contains("<td>certificate</td>") && page.contains(OURS), "{page}");
}

#[tokio::test]
async fn a_listener_that_serves_says_where() {
    let world = world().await;
    let admin = Admin::new(&world.mesh);
    // Once it has answered, it listens.
    world.call(Some(world.client(None))).await.unwrap();
    let found = json(&admin, "/listeners?format=mesh").await;
    let web = &found["listeners"][0];
    assert_eq!((&web["name"], &web["serving"]), (&"web".into(), &true.into()));
    assert_eq!(web["bound"][0], world.address.to_string());
    assert_eq!(web["filter_chains"][0]["security"], "tls");
    assert_eq!(read(&admin, "/listeners").await, format!("web::{}\n", world.address));
    let _nobody_serves_it = world.mesh.server("other");
    let found = json(&admin, "/listeners?format=mesh").await;
    assert_eq!(found["listeners"][1]["name"], "other");
    assert_eq!(found["listeners"][1]["serving"], false);
}

#[tokio::test]
async fn a_private_key_is_in_no_page() {
    let world = world().await;
    // Both in force as our identity, and in the configuration.
    let pair = world.ca.issue(OURS);
    world.identity.publish(world.ca.material(&pair)).await.unwrap();
    let mut update = crate::server::world::serving(vec![mutual(|_| {})]);
    let certificate = SecretCertificate::new(inline(&pair.chain), inline(&pair.key));
    let secret = Secret::new("own", SecretContent::Certificate(certificate));
    let known = SecretAnswer::Known(Arc::new(secret));
    update.secrets = Arc::new([(Arc::from("own"), known)].into());
    let next = world.mesh.configuration().generation + 1;
    world.updates.apply(update);
    bounded(world.mesh.applied(next)).await.unwrap();
    let admin = Admin::new(&world.mesh).show_header_values(true);
    let lines: Vec<_> = pair.key.lines().filter(|line| line.len() > 16).collect();
    assert!(lines.len() >= 3);
    let mut named = false;
    for page in ALL {
        let (_, text) = super::ask(&admin, http::Method::GET, page).await;
        assert!(!text.contains("PRIVATE KEY"), "{page}");
        assert!(lines.iter().all(|line| !text.contains(*line)), "{page}: {text}");
        named |= text.contains("\"own\"");
    }
    assert!(named, "its name is told");
}

/// What a page answers to a client of this listener.
async fn post(address: SocketAddr, tls: rustls::ClientConfig) -> String {
    let stream = bounded(TcpStream::connect(address)).await.unwrap();
    let mut stream = secured(stream, tls).await.unwrap();
    let request =
        "POST /drain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _closed = bounded(stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn who_has_proven_an_identity_may_change_something() {
    let (world, drained) = (world().await, Count::default());
    let told = drained.clone();
    let admin = Admin::new(&world.mesh).on_drain(move || {
        told.add();
    });
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = world.mesh.server("web");
    tokio::spawn(async move { server.serve(socket, admin).await });
    let shown = world.ca.issue(FRIEND);
    let answer = post(address, world.client(Some(&shown))).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert_eq!(drained.get(), 1);
}
