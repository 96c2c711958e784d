//! Connections of bytes.

use super::kit::Ports;
use crate::fixture::{bounded, eventually, flags, idle, metric};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Reads to the end, and answers with its name and all that came.
async fn server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut came = Vec::new();
                let _gone = stream.read_to_end(&mut came).await;
                let _gone = stream.write_all(format!("{name}: ").as_bytes()).await;
                let _gone = stream.write_all(&came).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_port_carries_bytes_with_half_closes() {
    let a = server("a").await;
    let ports = Ports::open(&format!(
        "clusters: {{ a: {{ endpoints: [\"{a}\"], protocol: tcp }} }}\noutbound: {{ db: {{ listen: \"127.0.0.1:1\", cluster: a }} }}\n"
    ));
    let text = "x".repeat(1_000_000);
    let answer = ports.say("outbound|db", &text).await;
    assert_eq!((answer.len(), &answer[..3]), (1_000_003, "a: "));
    idle(&ports.mesh).await;
    assert_eq!(flags(&ports.mesh), "-:1");
    assert_eq!(metric(&ports.mesh, "mesh_connections_active", &[]), 0);
}

#[tokio::test]
async fn a_split_is_drawn_for_each_connection() {
    let (a, b) = (server("a").await, server("b").await);
    let ports = Ports::open(&format!(
        "clusters: {{ a: {{ endpoints: [\"{a}\"], protocol: tcp }}, b: {{ endpoints: [\"{b}\"], protocol: tcp }} }}\noutbound: {{ db: {{ listen: \"127.0.0.1:1\", split: {{ a: 1, b: 1 }} }} }}\n"
    ));
    let mut names = [0, 0];
    for _ in 0..64 {
        match &*ports.say("outbound|db", "x").await {
            "a: x" => names[0] += 1,
            "b: x" => names[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(names.iter().all(|count| *count > 8), "{names:?}");
}

#[tokio::test]
async fn who_connects_is_told_and_read_by_the_proxy_protocol() {
    let a = server("a").await;
    for version in ["v1", "v2"] {
        let ports = Ports::open(&format!(
            "clusters: {{ a: {{ endpoints: [\"{a}\"], protocol: tcp, proxy_protocol: {version} }} }}\noutbound: {{ db: {{ listen: \"127.0.0.1:1\", cluster: a, proxy_protocol: true }} }}\n"
        ));
        let answer = ports.say("outbound|db", "PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\nhello").await;
        let header: &[u8] = match version {
            "v1" => b"a: PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\nhello",
            _ => b"a: \r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
        };
        assert!(answer.as_bytes().starts_with(header), "{answer:?}");
        assert!(answer.ends_with("hello"), "{answer:?}");
        // One that does not say it is closed.
        assert_eq!(ports.say("outbound|db", "hello, this is long enough").await, "");
        let refused = [("reason", "no_proxy_header")];
        let count = || metric(&ports.mesh, "mesh_server_handshakes_failed_total", &refused);
        eventually("it is counted", || count() == 1).await;
    }
}

#[tokio::test]
async fn policies_see_who_connects_through_the_proxy_before() {
    let a = server("a").await;
    let ports = Ports::open(&format!(
        "inbound: {{ db: {{ listen: \"127.0.0.1:1\", mtls: off, protocol: tcp, proxy_protocol: true, deny: [{{ from: {{ ip: 192.0.2.0/24 }} }}], allow: [{{ from: anyone }}], forward: {{ address: \"{a}\", proxy_protocol: v1 }} }} }}\n"
    ));
    let allowed = ports.say("db", "PROXY TCP4 198.51.100.7 10.0.0.1 5 6\r\nhello").await;
    assert_eq!(allowed, "a: PROXY TCP4 198.51.100.7 10.0.0.1 5 6\r\nhello");
    assert_eq!(ports.say("db", "PROXY TCP4 192.0.2.9 10.0.0.1 5 6\r\nhello").await, "");
    let denied = [("reason", "rbac")];
    assert_eq!(metric(&ports.mesh, "mesh_server_connections_refused_total", &denied), 1);
}

#[tokio::test]
async fn a_connection_without_an_endpoint_is_closed() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ports = Ports::open(&format!(
        "clusters: {{ a: {{ endpoints: [\"{nobody}\"], protocol: tcp }} }}\noutbound: {{ db: {{ listen: \"127.0.0.1:1\", cluster: a }} }}\n"
    ));
    assert_eq!(ports.say("outbound|db", "x").await, "");
    idle(&ports.mesh).await;
    assert_eq!(flags(&ports.mesh), "UF:1");
}

#[tokio::test]
async fn a_drain_lets_streams_end_and_closes_them_at_its_deadline() {
    let a = server("a").await;
    let text = format!(
        "clusters: {{ a: {{ endpoints: [\"{a}\"], protocol: tcp }} }}\noutbound: {{ db: {{ listen: \"127.0.0.1:1\", cluster: a }} }}\n"
    );
    for stays in [false, true] {
        let ports = Ports::open(&text);
        let port = ports.port("outbound|db");
        let mut stream = TcpStream::connect(port).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        eventually("it is open", || metric(&ports.mesh, "mesh_attempts_active", &[]) == 1).await;
        let draining = tokio::spawn({
            let proxy = ports.proxy.clone();
            async move { proxy.drain(Duration::from_secs(1)).await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(TcpStream::connect(port).await.is_err(), "nobody accepts");
        let mut answer = String::new();
        if !stays {
            stream.shutdown().await.unwrap();
            bounded(stream.read_to_string(&mut answer)).await.unwrap();
            assert_eq!(answer, "a: x");
        } else {
            let _reset = bounded(stream.read_to_string(&mut answer)).await;
            assert_eq!(answer, "");
        }
        bounded(draining).await.unwrap();
        idle(&ports.mesh).await;
    }
}
