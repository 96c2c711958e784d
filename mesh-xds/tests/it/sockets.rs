//! The ways to a control plane: addresses and Unix sockets.
#![cfg(unix)]

use crate::client::{Heard, client, hear};
use mesh_xds::server::{AdsServer, Connection, Snapshot};
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;

fn serve_socket(listener: UnixListener) -> AdsServer {
    let server = AdsServer::new(Snapshot::default());
    let (sender, connections) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            sender.send(Connection::new(stream)).await.unwrap_or_default();
        }
    });
    let serving = server.clone();
    tokio::spawn(
        async move { serving.serve_connections(connections, std::future::pending()).await },
    );
    server
}

async fn answers(uri: &str) {
    let mut client = client(uri, &json!([{ "type": "insecure" }]), &json!([]));
    assert_eq!(hear(&mut client).await, Heard::Answer, "{uri}");
}

#[tokio::test]
async fn unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xds.sock");
    let server = serve_socket(UnixListener::bind(&path).unwrap());
    answers(&format!("unix:{}", path.display())).await;
    answers(&format!("unix://{}", path.display())).await;
    let connected = server.clients().connected();
    assert!(connected.iter().all(|client| client.peer.is_none() && client.identity.is_none()));
    let mut nobody = client(
        &format!("unix:{}.gone", path.display()),
        &json!([{ "type": "insecure" }]),
        &json!([]),
    );
    let heard = hear(&mut nobody).await;
    assert!(
        matches!(&heard, Heard::Failure(error) if error.contains("xds.sock.gone`")),
        "{heard:?}"
    );
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn abstract_unix_sockets() {
    let name = format!("mesh-xds-{}", std::process::id());
    serve_socket(UnixListener::bind(format!("\0{name}")).unwrap());
    answers(&format!("unix-abstract:{name}")).await;
    let gone = json!([{ "type": "insecure" }]);
    let heard = hear(&mut client(&format!("unix-abstract:{name}.gone"), &gone, &json!([]))).await;
    let told = format!("the socket `@{name}.gone`");
    assert!(matches!(&heard, Heard::Failure(error) if error.contains(&told)), "{heard:?}");
}

#[tokio::test]
async fn the_addresses_of_a_list_are_tried_in_their_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let alive = listener.local_addr().unwrap();
    let server = AdsServer::new(Snapshot::default());
    tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
    answers(&format!("ipv4:{dead},{alive}")).await;
}
