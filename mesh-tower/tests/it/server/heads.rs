//! How long a server waits for heads of HTTP/1.1.

use super::world::{chain, serving};
use crate::fixture::bounded;
use http::{Request, Response};
use mesh_core::head::MOST_HEADERS;
use mesh_core::model::{FilterChain, HttpConnectionManager};
use mesh_tower::server::{Ends, Incoming, RequestBody};
use mesh_tower::{Mesh, MeshBody};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep};

/// A connection to a server that answers at once.
fn connect() -> (Mesh, DuplexStream) {
    connect_to(chain("plain", |_| {}))
}

fn connect_to(chain: FilterChain) -> (Mesh, DuplexStream) {
    let mesh = Mesh::builder().config(serving(vec![chain])).build().unwrap();
    let (client, io) = duplex(4096);
    let server = mesh.server("web");
    let service = tower::service_fn(|_: Request<RequestBody<Incoming>>| async {
        Ok::<_, Infallible>(Response::new(MeshBody::full("ok")))
    });
    tokio::spawn(async move {
        let ends = Ends::default();
        server.serve_connection(io, ends, service).await
    });
    (mesh, client)
}

async fn ask(io: &mut DuplexStream) {
    io.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 512];
    let length = bounded(io.read(&mut answer)).await.unwrap();
    assert!(answer[..length].ends_with(b"ok"), "{:?}", &answer[..length]);
}

/// As many as a control plane may allow are more than there can be.
#[tokio::test(start_paused = true)]
async fn no_request_has_more_headers_than_there_can_be() {
    for (headers, answer) in [(MOST_HEADERS, "HTTP/1.1 200 "), (MOST_HEADERS + 1, "HTTP/1.1 431 ")]
    {
        let (_mesh, mut io) = connect_to(chain("plain", |chain| {
            let mut http = HttpConnectionManager::serving(Vec::new());
            (http.limits.max_headers, http.limits.max_header_bytes) = (u32::MAX, 1 << 20);
            chain.http = Some(Arc::new(http));
        }));
        // Beside `host`.
        let all = "a: b\r\n".repeat(headers as usize - 1);
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\n{all}\r\n");
        // Who has seen enough does not read the rest.
        drop(io.write_all(head.as_bytes()).await);
        let mut begins = vec![0; answer.len()];
        bounded(io.read_exact(&mut begins)).await.unwrap();
        assert_eq!(String::from_utf8(begins).unwrap(), answer, "{headers}");
    }
}

/// However often it was looked at before, and found to be in time.
#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_to_its_end_ends_the_connection() {
    for requests in 0..4u64 {
        let (_mesh, mut io) = connect();
        for _ in 0..requests {
            ask(&mut io).await;
            sleep(Duration::from_secs(20)).await;
        }
        io.write_all(b"GET / HT").await.unwrap();
        let begun = Instant::now();
        let mut rest = Vec::new();
        bounded(io.read_to_end(&mut rest)).await.unwrap();
        let took = begun.elapsed().as_secs();
        // The time counts from when the answer before it was sent.
        let expected = if requests == 0 { 30..=31 } else { 10..=31 };
        assert!(expected.contains(&took), "after {requests} requests: {took} s");
    }
}
