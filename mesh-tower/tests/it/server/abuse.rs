//! What a server does about clients that say nothing, read nothing, or only cost: without a proxy around it, and with a
//! clock that a test can move.

use super::world::{chain, serving};
use crate::fixture::{bounded, metric};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use mesh_tower::server::{Ends, RequestBody, ServeError};
use mesh_tower::{Mesh, MeshBody};
use std::convert::Infallible;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const BROKEN: &str = "mesh_server_connections_broken_total";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// SETTINGS without any.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A connection to a server that answers with `length` bytes, and what becomes of it.
fn connect(length: usize) -> (Mesh, DuplexStream, JoinHandle<Result<(), ServeError>>) {
    let mesh = Mesh::builder().config(serving(vec![chain("plain", |_| {})])).build().unwrap();
    let (client, io) = duplex(4096);
    let server = mesh.server("web");
    let service = tower::service_fn(move |_: Request<RequestBody<Incoming>>| async move {
        let body = MeshBody::full(Bytes::from(vec![b'x'; length]));
        Ok::<_, Infallible>(Response::new(body))
    });
    let ends = Ends::default();
    let served = tokio::spawn(async move { server.serve_connection(io, ends, service).await });
    (mesh, client, served)
}

/// How long a connection lasts on which `sent` came and nothing is read.
#[track_caller]
fn check(
    sent: impl Into<Vec<u8>>,
    length: usize,
    expected: (u64, &'static str),
) -> impl Future<Output = ()> {
    let (caller, sent) = (std::panic::Location::caller(), sent.into());
    async move {
        let (mesh, mut client, served) = connect(length);
        let start = Instant::now();
        client.write_all(&sent).await.unwrap();
        let ended = bounded(served).await.unwrap();
        assert!(ended.is_err(), "{caller}");
        let (lasted, reason) = expected;
        assert_eq!(start.elapsed().as_secs(), lasted, "{caller}: {ended:?}");
        assert_eq!(metric(&mesh, BROKEN, &[("reason", reason)]), 1, "{caller}: {ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_what_he_wants_is_let_go() {
    check("", 1, (30, "silent")).await;
    check("PRI * HTTP/2.0\r\n\r\n", 1, (30, "silent")).await;
    check("GET / HTTP/1.1\r\nhost", 1, (30, "head_timeout")).await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_let_go() {
    let request = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    check(request, 1 << 20, (60, "write_stalled")).await;
    // Window and stream are his to open; what is answered has to be taken. GET / of http://x.
    let head = [0x82, 0x86, 0x84, 0x41, 0x01, b'x'];
    let head = [&[0, 0, 6, 1, 5, 0, 0, 0, 1][..], &head].concat();
    let bytes = [PREFACE, SETTINGS, &head].concat();
    check(bytes, 1 << 20, (60, "write_stalled")).await;
}

/// A client that takes a little now and then is none of those.
#[tokio::test(start_paused = true)]
async fn who_reads_slowly_is_served() {
    let (mesh, mut client, served) = connect(64 << 10);
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut piece, mut length) = ([0; 4096], 0);
    loop {
        tokio::time::sleep(Duration::from_secs(50)).await;
        let read = client.read(&mut piece).await.unwrap();
        if read == 0 {
            break;
        }
        length += read;
    }
    assert!(length > 64 << 10);
    bounded(served).await.unwrap().unwrap();
    assert_eq!(metric(&mesh, BROKEN, &[]), 0);
}

#[tokio::test]
async fn who_only_costs_is_let_go() {
    for (frame, reason) in [
        (&[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8][..], "ping_flood"),
        (SETTINGS, "settings_flood"),
        (&[0, 0, 5, 2, 0, 0, 0, 0, 3, 0, 0, 0, 1, 16][..], "priority_flood"),
        (&[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], "window_update_flood"),
    ] {
        let (mesh, mut client, served) = connect(1);
        client.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(client);
        let reads = tokio::spawn(async move { reader.read_to_end(&mut Vec::new()).await });
        let many = frame.repeat(100);
        for _ in 0..1000 {
            if writer.write_all(&many).await.is_err() {
                break;
            }
        }
        let ended = bounded(served).await.unwrap();
        assert!(matches!(ended, Err(ServeError::Flood(_))), "{reason}: {ended:?}");
        assert_eq!(metric(&mesh, BROKEN, &[("reason", reason)]), 1);
        let _ended = bounded(reads).await.unwrap();
    }
}
