//! The pages on a socket: a thread of their own, bounds, and who may change something.

use super::nobody;
use crate::fixture::{Count, bounded, eventually};
use mesh_tower::admin::{Admin, AdminServer};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a server answers to this text.
pub(super) async fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = bounded(TcpStream::connect(address)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    bounded(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

fn request(method: &str, uri: &str, more: &str) -> String {
    format!("{method} {uri} HTTP/1.1\r\nhost: localhost\r\n{more}content-length: 0\r\n\r\n")
}

async fn get(server: &AdminServer, uri: &str) -> String {
    send(server.local_addr(), &request("GET", uri, "")).await
}

fn reachable(address: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], address.port()))
}

#[tokio::test]
async fn it_answers_while_the_runtime_of_calls_hangs() {
    let mesh = nobody();
    let server = Admin::new(&mesh).bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    // This test's runtime has one thread, which waits here.
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    std::io::Write::write_all(&mut stream, request("GET", "/ready", "").as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nready\n"),
        "{answer}"
    );
    server.stop();
    assert!(std::net::TcpStream::connect(address).is_err(), "its address is free");
    assert!(std::net::TcpListener::bind(address).is_ok());
}

#[tokio::test]
async fn a_server_that_is_dropped_ends() {
    let server = Admin::new(&nobody()).bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    drop(server);
    eventually("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
}

#[tokio::test]
async fn draining_and_another_filter_are_taken_from_this_host() {
    let (drained, filter) = (Count::default(), Arc::new(Mutex::new("info".to_owned())));
    let (told, shown, set) = (drained.clone(), Arc::clone(&filter), Arc::clone(&filter));
    let server = Admin::new(&nobody())
        .on_drain(move || {
            told.add();
        })
        .logging(
            move || shown.lock().clone(),
            move |wanted| match wanted {
                "nonsense" => Err("there is no such level".to_owned()),
                wanted => {
                    wanted.clone_into(&mut set.lock());
                    Ok(())
                }
            },
        )
        .bind("127.0.0.1:0")
        .unwrap();
    assert!(get(&server, "/logging").await.ends_with("\r\n\r\ninfo\n"));
    let post = |uri: &'static str, more: &'static str| {
        let (address, request) = (server.local_addr(), request("POST", uri, more));
        async move { send(address, &request).await }
    };
    assert!(post("/logging?level=mesh%3Ddebug", "").await.ends_with("\r\n\r\nmesh=debug\n"));
    assert_eq!(*filter.lock(), "mesh=debug");
    let refused = post("/logging?level=nonsense", "").await;
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("no such level"), "{refused}");
    assert!(post("/logging", "").await.starts_with("HTTP/1.1 400 "));
    // What was asked comes back in one line, and drives no terminal.
    let odd = post("/logging?level=%1b%5b31m%0aready", "").await;
    assert!(odd.ends_with("\r\n\r\n\\u{1b}[31m\\nready\n"), "{odd:?}");
    let odd = get(&server, "/explain?url=http://a/&method=%1b%0aready").await;
    assert!(
        odd.ends_with("\r\n\r\n`\\u{1b}\\nready` is no method: invalid HTTP method\n"),
        "{odd:?}"
    );
    // A page in a browser may send this without being asked.
    let forged = post("/drain", "origin: http://evil.example\r\n").await;
    assert!(forged.starts_with("HTTP/1.1 403 "), "{forged}");
    assert_eq!(drained.get(), 0);
    assert!(get(&server, "/ready").await.starts_with("HTTP/1.1 200 "));
    assert!(post("/drain", "").await.starts_with("HTTP/1.1 202 "));
    assert_eq!(drained.get(), 1);
    let ready = get(&server, "/ready").await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("asked to drain"), "{ready}");
}

#[tokio::test]
async fn what_the_program_did_not_give_is_not_there() {
    let server = Admin::new(&nobody()).bind("127.0.0.1:0").unwrap();
    for (method, uri) in [("POST", "/drain"), ("POST", "/logging?level=info"), ("GET", "/logging")]
    {
        let answer = send(server.local_addr(), &request(method, uri, "")).await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("Admin::"), "{answer}");
    }
}

#[tokio::test]
async fn off_loopback_nothing_is_changed() {
    let drained = Count::default();
    let told = drained.clone();
    let server = Admin::new(&nobody())
        .on_drain(move || {
            told.add();
        })
        .bind("0.0.0.0:0")
        .unwrap();
    let address = reachable(server.local_addr());
    let answer = send(address, &request("POST", "/drain", "")).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("mutual TLS"), "{answer}");
    assert_eq!(drained.get(), 0);
    assert!(send(address, &request("GET", "/live", "")).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn another_name_for_this_host_reads_nothing() {
    let server = Admin::new(&nobody()).bind("127.0.0.1:0").unwrap();
    let request = "GET /config_dump HTTP/1.1\r\nhost: evil.example\r\n\r\n";
    let answer = send(server.local_addr(), request).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn the_sixty_fifth_connection_waits() {
    let server =
        Admin::new(&nobody()).timeout(Duration::from_secs(60)).bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    let mut idle = Vec::new();
    for _ in 0..64 {
        let mut stream = bounded(TcpStream::connect(address)).await.unwrap();
        stream.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
        idle.push(stream);
    }
    let asks = request("GET", "/live", "");
    let late = send(address, &asks);
    tokio::pin!(late);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut late).await.is_err(), "it waits");
    drop(idle.pop());
    assert!(bounded(late).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn who_is_slow_is_cut() {
    let patience = Duration::from_millis(300);
    let server = Admin::new(&nobody()).timeout(patience).bind("127.0.0.1:0").unwrap();
    let begun = Instant::now();
    for begin in ["", "GET /live HTTP/1.1\r\nhost: loc", "GET"] {
        let answer = send(server.local_addr(), begin).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    let took = begun.elapsed();
    assert!(took >= patience * 3 && took < Duration::from_secs(20), "{took:?}");
    // Its place is free again.
    assert!(get(&server, "/live").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_head_has_an_end() {
    let server = Admin::new(&nobody()).bind("127.0.0.1:0").unwrap();
    let more = format!("x: {}\r\n", "y".repeat(128 * 1024));
    let mut stream = bounded(TcpStream::connect(server.local_addr())).await.unwrap();
    // It may be closed before all of it is sent.
    let _sent = stream.write_all(request("GET", "/live", &more).as_bytes()).await;
    let mut answer = Vec::new();
    let _read = bounded(stream.read_to_end(&mut answer)).await;
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}
