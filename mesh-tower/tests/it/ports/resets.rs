//! Byte streams that are reset: the other side must not take what it got for the whole.

use super::kit::{Ports, until};
use crate::fixture::{bounded, idle};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};

/// A port, and what makes a byte stream of a connection to it.
const WAYS: [(&str, &str); 4] = [
    ("outbound|db", ""),
    ("in", ""),
    ("outbound|web", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    ("outbound|web", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"),
];

const AGREED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

async fn open() -> (Ports, TcpListener) {
    let endpoint = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = endpoint.local_addr().unwrap();
    let ports = Ports::open(&format!(
        "virtual_hosts: {{ a: {{ routes: [{{ cluster: a }}] }} }}\n\
         clusters: {{ a: {{ endpoints: [\"{at}\"] }}, b: {{ endpoints: [\"{at}\"], protocol: tcp }} }}\n\
         outbound: {{ web: {{ listen: \"127.0.0.1:1\" }}, db: {{ listen: \"127.0.0.1:2\", cluster: b }} }}\n\
         inbound: {{ in: {{ listen: \"127.0.0.1:3\", mtls: off, protocol: tcp, allow: [{{ from: anyone }}], forward: \"{at}\" }} }}\n"
    ));
    (ports, endpoint)
}

/// Both ends of a stream through a port.
async fn ends(
    ports: &Ports,
    endpoint: &TcpListener,
    (port, ask): (&str, &str),
) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(ports.port(port)).await.unwrap();
    client.write_all(ask.as_bytes()).await.unwrap();
    let (mut server, _) = bounded(endpoint.accept()).await.unwrap();
    if ask.starts_with("GET") {
        until(&mut server, "\r\n\r\n").await;
        server.write_all(AGREED).await.unwrap();
    }
    if !ask.is_empty() {
        until(&mut client, "\r\n\r\n").await;
    }
    (client, server)
}

/// What one reads after the other has said `part`, and has gone: with a reset, or not.
async fn end(mut says: TcpStream, mut reads: TcpStream, resets: bool) -> io::Result<usize> {
    says.write_all(b"part").await.unwrap();
    assert_eq!(until(&mut reads, "part").await, "part");
    if resets {
        says.set_zero_linger().unwrap();
    }
    drop(says);
    bounded(reads.read(&mut [0; 8])).await
}

#[tokio::test]
async fn a_reset_is_no_good_end() {
    let (ports, endpoint) = open().await;
    for way in WAYS {
        for client_goes in [false, true] {
            for resets in [false, true] {
                let (client, server) = ends(&ports, &endpoint, way).await;
                let (says, reads) = if client_goes { (client, server) } else { (server, client) };
                let end = end(says, reads, resets).await;
                let expected = if resets { Err(io::ErrorKind::ConnectionReset) } else { Ok(0) };
                let end = end.map_err(|error| error.kind());
                assert_eq!(end, expected, "{way:?}, the client goes: {client_goes}");
            }
        }
    }
    idle(&ports.mesh).await;
}

/// What was ended well stays so, whatever becomes of the other half.
#[tokio::test]
async fn an_end_that_was_told_is_not_taken_back() {
    let (ports, endpoint) = open().await;
    for way in WAYS {
        let (mut client, mut server) = ends(&ports, &endpoint, way).await;
        server.write_all(b"whole").await.unwrap();
        server.shutdown().await.unwrap();
        // It stays in the client's system until it is read.
        let told = async {
            while !client.ready(Interest::READABLE).await.unwrap().is_read_closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        bounded(told).await;
        server.set_zero_linger().unwrap();
        drop(server);
        let mut came = String::new();
        bounded(client.read_to_string(&mut came)).await.unwrap();
        assert_eq!(came, "whole", "{way:?}");
    }
}

/// RFC 9112 section 8: over HTTP/1.0 nothing else says that a body is not whole.
#[tokio::test]
async fn half_an_answer_over_http10_is_reset() {
    let (ports, endpoint) = open().await;
    for (rest, expected) in [("", Err(io::ErrorKind::ConnectionReset)), ("0\r\n\r\n", Ok(0))] {
        let mut client = TcpStream::connect(ports.port("outbound|web")).await.unwrap();
        client.write_all(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").await.unwrap();
        let (mut server, _) = bounded(endpoint.accept()).await.unwrap();
        until(&mut server, "\r\n\r\n").await;
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        server.write_all(head).await.unwrap();
        let came = until(&mut client, "half").await;
        assert!(!came.to_ascii_lowercase().contains("chunked"), "{came}");
        server.write_all(rest.as_bytes()).await.unwrap();
        drop(server);
        let end = bounded(client.read(&mut [0; 8])).await;
        assert_eq!(end.map_err(|error| error.kind()), expected);
    }
    idle(&ports.mesh).await;
}
