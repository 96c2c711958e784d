//! Services of others: axum, tonic; sockets of other kinds.

use super::world::{chain, get, serving};
use crate::fixture::bounded;
use axum::Extension;
use axum::routing::get as route;
use mesh_core::model::{Address, FilterChain, HttpConnectionManager, Listener};
use mesh_tower::Mesh;
use mesh_tower::server::Connection;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

fn plain() -> Mesh {
    Mesh::builder().config(serving(vec![chain("plain", |_| {})])).build().unwrap()
}

async fn remote(Extension(connection): Extension<Arc<Connection>>) -> String {
    let has = |end: Option<_>| if end.is_some() { "yes" } else { "no" };
    format!("remote {}, local {}", has(connection.remote), has(connection.local))
}

#[tokio::test]
async fn a_router_of_axum_is_a_service() {
    let router = axum::Router::new().route("/", route(remote));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = plain().server("web");
    tokio::spawn(async move { server.serve(socket, router).await });
    for is_http2 in [false, true] {
        let io = TcpStream::connect(address).await.unwrap();
        assert_eq!(get(io, is_http2).await.as_deref(), Ok("remote yes, local yes"));
    }
}

#[tokio::test]
async fn a_unix_socket_is_a_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.sock");
    let mut listener = Listener::new("web");
    listener.address = Some(Address::Unix(path.as_path().into()));
    listener.filter_chains = vec![Arc::new(FilterChain::new(
        "plain",
        Some(Arc::new(HttpConnectionManager::serving(Vec::new()))),
    ))];
    let mut update = serving(Vec::new());
    update.listeners.insert("web".into(), Arc::new(listener));
    let mesh = Mesh::builder().config(update).build().unwrap();
    let router = axum::Router::new().route("/", route(remote));
    let server = mesh.server("web");
    let elsewhere = UnixListener::bind(directory.path().join("other.sock")).unwrap();
    for (socket, expected) in [
        (UnixListener::bind(&path).unwrap(), Some("remote no, local no")),
        // gRFC A36: a listener is not served anywhere else.
        (elsewhere, None),
    ] {
        let path = socket.local_addr().unwrap().as_pathname().unwrap().to_owned();
        let (server, router) = (server.clone(), router.clone());
        tokio::spawn(async move { server.serve(socket, router).await });
        let io = UnixStream::connect(path).await.unwrap();
        assert_eq!(get(io, false).await.ok().as_deref(), expected);
    }
}

#[tokio::test]
async fn routes_of_tonic_are_a_service() {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop", tonic_health::ServingStatus::Serving).await;
    let routes = tonic::service::Routes::new(health);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = plain().server("web");
    tokio::spawn(async move { server.serve(socket, routes).await });
    let channel = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = bounded(channel.connect()).await.unwrap();
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest { service: "shop".to_owned() };
    let answer = bounded(client.check(request)).await.unwrap().into_inner();
    assert_eq!(
        answer.status,
        tonic_health::pb::health_check_response::ServingStatus::Serving as i32
    );
}
