//! Byte streams through the mesh: what holds for calls holds for them.

use crate::fixture::{at, bounded, cluster, config_of, eventually, flags, idle, metric};
use mesh_core::model::{Address, Cluster, LbAlgorithm, LbPolicy, Protocol};
use mesh_tower::connector::{Connect, Connecting, TcpConnector};
use mesh_tower::source::Updates;
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{CallOptions, Mesh, MeshStream};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// Answers each connection by what `answer` does with it, until it is dropped.
struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    async fn start<F, Fut>(answer: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(answer(stream));
            }
        });
        Self { address, task }
    }

    /// Sends its port, then back all that comes, and then how much that was.
    async fn echo() -> Self {
        Self::start(|mut stream| async move {
            let port = stream.local_addr().unwrap().port();
            stream.write_all(&port.to_be_bytes()).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            // Who goes away at any time is served as well.
            let Ok(count) = tokio::io::copy(&mut reader, &mut writer).await else { return };
            let _gone = writer.write_all(count.to_string().as_bytes()).await;
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn mesh(endpoints: &[SocketAddr], change: impl FnOnce(&mut Cluster)) -> Mesh {
    let cluster = cluster(|cluster| {
        cluster.protocol = Protocol::Tcp;
        change(cluster);
    });
    let endpoints = endpoints.iter().copied().map(Address::from);
    Mesh::builder().config(config_of(cluster, endpoints, |_| {})).build().unwrap()
}

/// Whom the stream leads to, by what it says.
async fn port(stream: &mut MeshStream) -> u16 {
    bounded(stream.read_u16()).await.unwrap()
}

fn closed(mesh: &Mesh, reason: &str) -> u64 {
    metric(mesh, "mesh_connections_closed_total", &[("reason", reason)])
}

async fn code(mesh: &Mesh) -> String {
    bounded(mesh.connect("a")).await.unwrap_err().code().to_owned()
}

#[tokio::test]
async fn bytes_go_both_ways_until_each_side_has_ended() {
    let server = Server::echo().await;
    let mesh = mesh(&[server.address], |_| {});
    let mut stream = bounded(mesh.connect("a")).await.unwrap();
    assert_eq!(stream.endpoint(), Some(&Address::from(server.address)));
    assert_eq!(port(&mut stream).await, server.address.port());
    assert_eq!(metric(&mesh, "mesh_attempts_active", &[]), 1);
    assert_eq!(metric(&mesh, "mesh_connections_active", &[]), 1);
    let sent: Vec<u8> = (0..1_000_000u32).map(|byte| byte as u8).collect();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let send = async {
        writer.write_all(&sent).await.unwrap();
        // From now on this half is closed, and the other is not.
        writer.shutdown().await.unwrap();
    };
    let mut came = Vec::new();
    let (read, ()) = bounded(async { tokio::join!(reader.read_to_end(&mut came), send) }).await;
    assert_eq!(read.unwrap(), 1_000_000 + 7);
    let (echoed, count) = came.split_at(sent.len());
    assert_eq!((echoed == sent, count), (true, &b"1000000"[..]));
    drop((reader, writer));
    idle(&mesh).await;
    assert_eq!(metric(&mesh, "mesh_connections_active", &[]), 0);
    assert_eq!(closed(&mesh, "remote"), 1);
    assert_eq!(flags(&mesh), "-:1");
}

#[tokio::test]
async fn who_refuses_is_passed_over() {
    let server = Server::echo().await;
    let mesh = mesh(&[nobody().await, server.address, nobody().await], |_| {});
    for _ in 0..20 {
        let mut stream = bounded(mesh.connect("a")).await.unwrap();
        assert_eq!(port(&mut stream).await, server.address.port());
    }
    assert!(metric(&mesh, "mesh_connections_failed_total", &[("reason", "refused")]) >= 1);
    idle(&mesh).await;
}

#[tokio::test]
async fn why_there_is_no_connection_is_told() {
    let mesh = mesh(&[nobody().await], |_| {});
    assert_eq!(code(&mesh).await, "connect_refused");
    let unknown = bounded(mesh.connect("b")).await.unwrap_err();
    assert_eq!(unknown.code(), "unknown_cluster");
    mesh.shutdown(Duration::from_secs(1)).await;
    assert!(bounded(mesh.connect("a")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn connecting_ends_at_its_timeout_and_with_who_wanted_it() {
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), |_| async { crate::fixture::reply(200, "") });
    server.hang();
    let cluster = cluster(|cluster| {
        cluster.protocol = Protocol::Tcp;
        cluster.circuit_breakers.default.max_pending_requests = 1;
    });
    let update = config_of(cluster, [Address::from(at(1))], |_| {});
    let mesh = Mesh::builder().config(update).connector(network).build().unwrap();
    assert_eq!(code(&mesh).await, "connect_timeout");
    let options = CallOptions::new().timeout(Duration::from_millis(100));
    let error = bounded(mesh.connect_with("a", options)).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    // One may wait for a connection at a time, and who gives up leaves its place.
    for _ in 0..3 {
        let waits = tokio::spawn({
            let mesh = mesh.clone();
            async move { mesh.connect("a").await.map(drop) }
        });
        eventually("it waits", || metric(&mesh, "mesh_attempts_active", &[]) == 1).await;
        assert_eq!(code(&mesh).await, "overflow_pending");
        waits.abort();
        eventually("it is gone", || metric(&mesh, "mesh_attempts_active", &[]) == 0).await;
    }
}

#[tokio::test]
async fn limits_of_connections_hold_and_what_ends_makes_room() {
    let server = Server::echo().await;
    let limits: [fn(&mut Cluster); 3] = [
        |cluster| cluster.circuit_breakers.default.max_connections = 2,
        |cluster| cluster.circuit_breakers.max_connections_per_endpoint = Some(2),
        |cluster| cluster.circuit_breakers.default.max_requests = 2,
    ];
    let codes = ["overflow_connections", "overflow_connections", "overflow_requests"];
    for (limit, expected) in limits.into_iter().zip(codes) {
        let mesh = mesh(&[server.address], limit);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(bounded(mesh.connect("a")).await.unwrap());
        }
        assert_eq!(code(&mesh).await, expected);
        held.pop();
        held.push(bounded(mesh.connect("a")).await.unwrap());
        assert_eq!(code(&mesh).await, expected);
        drop(held);
        idle(&mesh).await;
        assert_eq!(closed(&mesh, "local"), 3);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_counts_against_its_endpoint() {
    let server = Server::start(|stream| async move {
        // Closed with bytes unread: the other side is told by a reset.
        stream.readable().await.unwrap();
    })
    .await;
    let mesh = mesh(&[server.address], |_| {});
    let mut stream = bounded(mesh.connect("a")).await.unwrap();
    stream.write_all(b"unread").await.unwrap();
    let error = bounded(stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    idle(&mesh).await;
    assert_eq!(flags(&mesh), "UC:1");
    drop(stream);
    assert_eq!(closed(&mesh, "error"), 1);
}

#[tokio::test]
async fn a_key_keeps_its_endpoint() {
    let servers = [Server::echo().await, Server::echo().await, Server::echo().await];
    let addresses = servers.each_ref().map(|server| server.address);
    let mesh = mesh(&addresses, |cluster| {
        cluster.lb_policy = LbPolicy::new(LbAlgorithm::ring_hash());
    });
    let mut seen = BTreeSet::new();
    for user in 0..60 {
        let options = CallOptions::new().hash_key(format!("user {user}").as_bytes());
        let mut ports = BTreeSet::new();
        for _ in 0..2 {
            let mut stream = bounded(mesh.connect_with("a", options)).await.unwrap();
            ports.insert(port(&mut stream).await);
        }
        assert_eq!(ports.len(), 1, "user {user}");
        seen.append(&mut ports);
    }
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn a_mesh_that_ends_closes_them_at_its_deadline() {
    let server = Server::echo().await;
    let mesh = mesh(&[server.address], |_| {});
    let mut stream = bounded(mesh.connect("a")).await.unwrap();
    port(&mut stream).await;
    let (ended, read) = tokio::join!(mesh.shutdown(Duration::from_millis(200)), async {
        bounded(stream.read_u8()).await
    });
    let ((), error) = (ended, read.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
}

/// Connects once it may.
#[derive(Debug, Default)]
struct Late {
    asked: Arc<Notify>,
    may: Arc<Notify>,
}

impl Connect for Late {
    fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a> {
        Box::pin(async move {
            self.asked.notify_one();
            self.may.notified().await;
            TcpConnector.connect(address).await
        })
    }
}

#[tokio::test]
async fn what_is_dialled_while_the_mesh_ends_is_closed_with_it() {
    let server = Server::echo().await;
    let late = Late::default();
    let (asked, may) = (Arc::clone(&late.asked), Arc::clone(&late.may));
    let cluster = cluster(|cluster| cluster.protocol = Protocol::Tcp);
    let update = config_of(cluster, [Address::from(server.address)], |_| {});
    let mesh = Mesh::builder().config(update).connector(late).build().unwrap();
    let connecting = tokio::spawn({
        let mesh = mesh.clone();
        async move { mesh.connect("a").await }
    });
    bounded(asked.notified()).await;
    bounded(mesh.shutdown(Duration::from_millis(100))).await;
    may.notify_one();
    // Either it is told at once, or it has a stream that is closed.
    if let Ok(mut stream) = bounded(connecting).await.unwrap() {
        let error = bounded(stream.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    }
}

/// An endpoint that is removed takes no new connection, and keeps those that it has.
#[tokio::test]
async fn a_removed_endpoint_keeps_its_connections() {
    let (one, two) = (Server::echo().await, Server::echo().await);
    let update = |server: &Server| {
        let cluster = cluster(|cluster| cluster.protocol = Protocol::Tcp);
        config_of(cluster, [Address::from(server.address)], |_| {})
    };
    let (updates, source) = Updates::new();
    updates.apply(update(&one));
    let mesh = Mesh::builder().source(source).build().unwrap();
    bounded(mesh.applied(1)).await.unwrap();
    let mut old = bounded(mesh.connect("a")).await.unwrap();
    assert_eq!(port(&mut old).await, one.address.port());
    updates.apply(update(&two));
    bounded(mesh.applied(2)).await.unwrap();
    let mut new = bounded(mesh.connect("a")).await.unwrap();
    assert_eq!(port(&mut new).await, two.address.port());
    old.write_all(b"still").await.unwrap();
    let mut back = [0; 5];
    bounded(old.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"still");
    drop((old, new));
    idle(&mesh).await;
}
