//! Ports that find out what their connections carry.

use super::kit::{Ports, parts, say, until};
use super::requests::{mirror, over_http2, ports};
use crate::access_log::world::{Lines, check};
use crate::fixture::{bounded, eventually, idle, metric, over_h2};
use http::Request;
use mesh_core::access_log::Format;
use mesh_tower::observe::AccessLog;
use mesh_tower::{Mesh, MeshBody};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const REFUSED: &str = "mesh_server_connections_refused_total";

/// An application that is asked in any protocol: a request of HTTP/1 is answered with its head, and anything else with
/// all that came, to its end.
pub(super) struct Application {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Application {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(answer(stream));
            }
        });
        Self { address, connections }
    }

    /// It behind a port `any` with these keys.
    fn behind(&self, keys: &str) -> Ports {
        Ports::open(&self.text(keys))
    }

    fn text(&self, keys: &str) -> String {
        let address = self.address;
        format!(
            "inbound: {{ any: {{ listen: \"127.0.0.1:1\", mtls: off, protocol: detect, {keys}, forward: \"{address}\" }} }}\n"
        )
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn answer(mut stream: TcpStream) {
    let mut came = Vec::new();
    while !came.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => came.push(byte),
            Err(_) => break,
        }
    }
    let is_http = came.starts_with(b"GET ") && came.ends_with(b"\r\n\r\n");
    if is_http {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", came.len());
        came.splice(..0, head.into_bytes());
    } else {
        came.splice(..0, *b"bytes: ");
    }
    let _gone = stream.write_all(&came).await;
}

const ALL: &str = "allow: [{ from: anyone }]";

pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

/// Says `text` byte by byte; what comes back until the end.
async fn spelt(to: SocketAddr, text: &str, and_ends: bool) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in text.bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if and_ends {
        stream.shutdown().await.unwrap();
    }
    let mut answer = String::new();
    bounded(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn http_is_served_as_such_and_bytes_are_passed_on() {
    let application = Application::start().await;
    let ports = application.behind(ALL);
    let at = ports.port("any");
    // Bytes would not say how they came.
    let is_http = |answer: &str| {
        let (status, _, body) = parts(answer);
        assert_eq!(status, "HTTP/1.1 200 OK", "{answer}");
        assert!(body.starts_with("GET /x HTTP/1.1\r\n"), "{answer}");
        assert!(body.contains("\r\nx-forwarded-proto: http\r\n"), "{answer}");
    };
    is_http(&ports.ask("any", &get("/x")).await);
    is_http(&spelt(at, &get("/x"), false).await);
    let request = Request::get("http://a/x").body(MeshBody::empty()).unwrap();
    let answer = over_http2(&ports, "any", over_h2(request)).await;
    assert!(answer.body().starts_with(b"GET /x HTTP/1.1\r\n"), "{answer:?}");
    for bytes in
        ["hello", "\u{16}\u{3}\u{1}hello", "GET x", "get x\r\n", "GET / HTTP/2.0\r\n", "PRI * HTT"]
    {
        assert_eq!(ports.say("any", bytes).await, format!("bytes: {bytes}"));
        assert_eq!(spelt(at, bytes, true).await, format!("bytes: {bytes}"));
    }
    let long = "x".repeat(100_000);
    assert_eq!(ports.say("any", &long).await.len(), long.len() + 7);
    // A health check of TCP.
    assert_eq!(ports.say("any", "").await, "bytes: ");
    assert_eq!(metric(&ports.mesh, REFUSED, &[]), 0);
    idle(&ports.mesh).await;
}

#[tokio::test]
async fn what_is_http_stays_http_however_bad_it_is() {
    let application = Application::start().await;
    let ports = application.behind(ALL);
    for text in [
        "GET / HTTP/1.1\r\nno header\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.9\r\nHost: a\r\n\r\n",
        "G~T /\u{fc}| HTTP/1.1\nContent-Length: x\n\n",
    ] {
        let answer = ports.ask("any", text).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{text:?}: {answer:?}");
    }
    let request = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nno frame of HTTP/2, and more of it";
    let answer = ports.ask("any", request).await;
    assert!(!answer.contains("bytes"), "{answer:?}");
    assert_eq!(application.connections(), 0);
}

/// SMTP and MySQL: the server speaks first.
#[tokio::test]
async fn who_waits_for_the_server_carries_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                stream.write_all(b"220 hello\r\n").await.unwrap();
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.unwrap();
            });
        }
    });
    let text = format!(
        "inbound: {{ any: {{ listen: \"127.0.0.1:1\", mtls: off, protocol: detect, detect_timeout: 300ms, {ALL}, forward: \"{address}\" }} }}\n"
    );
    let ports = Ports::open(&text);
    // With nothing, and with half of what could be a head.
    for first in ["", "GET / HT"] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(ports.port("any")).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        assert_eq!(until(&mut stream, "\r\n").await, "220 hello\r\n");
        assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
        stream.write_all(b"QUIT\r\n").await.unwrap();
        assert_eq!(until(&mut stream, "\r\n").await, format!("{first}QUIT\r\n"));
    }
}

#[tokio::test]
async fn where_requests_are_judged_bytes_are_refused() {
    let application = Application::start().await;
    let rules = "detect_timeout: 200ms, deny: [{ name: admin, match: { prefix: /admin } }], allow: [{ from: anyone }]";
    let lines = Lines::default();
    let log = lines.log(AccessLog::builder(Format::default_json()));
    let update = super::kit::update(&application.text(rules));
    let ports = Ports::of(Mesh::builder().config(update).access_log(log).build().unwrap());
    assert!(ports.ask("any", &get("/x")).await.starts_with("HTTP/1.1 200 "));
    assert!(ports.ask("any", &get("/admin")).await.starts_with("HTTP/1.1 403 "));
    lines.of("server", 2).await;
    assert_eq!(application.connections(), 1);
    // What the application would take for a request, and the port for none.
    let evasions =
        ["\r\nGET /admin HTTP/1.1\r\n\r\n", "GET /admin\r\n\r\n", "GET  /admin HTTP/1.1\r\n\r\n"];
    let others = [
        "hello",
        "\u{16}\u{3}\u{1}hello",
        "PRI * HTTP/2.0\r\n\r\nSM\r\nGET /admin HTTP/1.1\r\n\r\n",
    ];
    for bytes in evasions.into_iter().chain(others) {
        assert_eq!(ports.say("any", bytes).await, "", "{bytes:?}");
    }
    // Nothing, or half of a head, until the time is over.
    for bytes in ["", "GET /admin HTTP/1.1"] {
        let begun = Instant::now();
        assert_eq!(say(ports.port("any"), bytes, false).await, "", "{bytes:?}");
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    }
    let refused = || metric(&ports.mesh, REFUSED, &[("reason", "not_http")]);
    eventually("all are counted", || refused() == 8).await;
    let told = lines.of("server", 10).await;
    let details = json!("the policy `admin` of `deny` looks at requests");
    for line in &told[2..] {
        check(line, &[("reason", json!("not_http")), ("response_code_details", details.clone())]);
        assert!(line.get("method").is_none_or(serde_json::Value::is_null), "{line}");
    }
    // Who ends without a word has asked for nothing.
    assert_eq!(ports.say("any", "").await, "");
    assert!(ports.ask("any", &get("/x")).await.starts_with("HTTP/1.1 200 "));
    assert_eq!((refused(), application.connections()), (8, 2));
}

#[tokio::test]
async fn from_is_asked_of_bytes_as_of_requests() {
    let application = Application::start().await;
    let ports = application.behind(&format!(
        "proxy_protocol: true, deny: [{{ from: {{ ip: 192.0.2.0/24 }} }}], {ALL}"
    ));
    let from = |address: &str, said: &str| format!("PROXY TCP4 {address} 10.0.0.1 5 6\r\n{said}");
    let (good, bad) = ("198.51.100.7", "192.0.2.9");
    assert_eq!(ports.say("any", &from(good, "hello")).await, "bytes: hello");
    assert_eq!(ports.say("any", &from(bad, "hello")).await, "");
    assert!(ports.ask("any", &from(good, &get("/"))).await.starts_with("HTTP/1.1 200 "));
    assert!(ports.ask("any", &from(bad, &get("/"))).await.starts_with("HTTP/1.1 403 "));
    assert_eq!(metric(&ports.mesh, REFUSED, &[("reason", "rbac")]), 1);
    let denied = [("policy", "deny[0]"), ("outcome", "denied")];
    assert_eq!(metric(&ports.mesh, "mesh_server_network_rbac_total", &denied), 1);
    assert_eq!(application.connections(), 2);
}

#[tokio::test]
async fn a_port_that_captures_takes_http_by_its_authority() {
    let server = mirror().await;
    let any = "outbound: { any: { listen: \"127.0.0.1:1\", capture: true, protocol: detect } }\n";
    let ports = ports(&server, any);
    let answer = ports.ask("outbound|any", &get("/x")).await;
    let (status, _, body) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 200 OK", "{answer}");
    assert!(body.starts_with("HTTP/1.1 GET /x\n"), "{body}");
    // Nobody knows where these were meant to go: they were not captured.
    assert_eq!(ports.say("outbound|any", "hello").await, "");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_who_says_nothing() {
    let application = Application::start().await;
    let ports = application.behind(&format!("detect_timeout: 1h, {ALL}"));
    let mut silent = TcpStream::connect(ports.port("any")).await.unwrap();
    silent.write_all(b"GET / HT").await.unwrap();
    let open = || metric(&ports.mesh, "mesh_server_connections_active", &[]) == 1;
    eventually("it is accepted", open).await;
    bounded(ports.proxy.drain(Duration::from_secs(20))).await;
    let mut rest = Vec::new();
    let _reset = bounded(silent.read_to_end(&mut rest)).await;
    assert_eq!((rest.len(), application.connections()), (0, 0));
}
