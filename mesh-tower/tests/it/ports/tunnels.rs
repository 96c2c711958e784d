//! Requests that go on in another protocol, and CONNECT.

use super::kit::{Ports, until};
use crate::fixture::{Server, bounded, eventually, flags, idle, metric};
use bytes::Bytes;
use h2::Reason;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_tower::MeshBody;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Agrees to go on in `echo`, in which everything comes back; knows nothing of `page`, and refuses all else with 426.
async fn echo() -> Server {
    Server::start(|mut request| async move {
        let asked = request.headers().get(header::UPGRADE).cloned();
        let mut response = Response::new(Full::default());
        if asked.as_ref().is_some_and(|asked| asked == "page") {
            *response.body_mut() = Full::from("a page");
            return response;
        }
        if asked.as_ref().is_none_or(|asked| asked != "echo") {
            *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
            *response.body_mut() = Full::from("echo only");
            return response;
        }
        tokio::spawn(async move {
            let mut io = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(&mut io);
            let _gone = tokio::io::copy(&mut reader, &mut writer).await;
            let _gone = writer.shutdown().await;
        });
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
        response.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
        response.headers_mut().insert("x-agreed", "yes".parse().unwrap());
        response
    })
    .await
}

/// Says how much came, after the client has ended its half.
async fn counter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for _ in 0..16 {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut came = Vec::new();
                let _gone = stream.read_to_end(&mut came).await;
                let _gone = stream.write_all(format!("{} bytes", came.len()).as_bytes()).await;
            });
        }
    });
    address
}

fn ports(server: SocketAddr, rest: &str) -> Ports {
    Ports::open(&format!(
        "virtual_hosts: {{ a: {{ routes: [{{ cluster: a, timeout: 200ms }}] }} }}\nclusters: {{ a: {{ endpoints: [\"{server}\"] }} }}\n{rest}"
    ))
}

const WEB: &str = "outbound: { web: { listen: \"127.0.0.1:1\" } }\n";
const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

async fn connected(ports: &Ports, name: &str, request: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(ports.port(name)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    (stream, head)
}

/// What is said comes back, in both directions at once.
async fn echoes(stream: &mut TcpStream) {
    let text: Vec<u8> = (0..300_000u32).map(|byte| byte as u8).collect();
    let (mut reader, mut writer) = stream.split();
    let mut came = vec![0; text.len()];
    let both = async { tokio::join!(writer.write_all(&text), reader.read_exact(&mut came)) };
    let (written, read) = bounded(both).await;
    assert!(written.is_ok() && read.is_ok() && came == text);
}

#[tokio::test]
async fn an_upgrade_passes_and_counts_until_it_ends() {
    let server = echo().await;
    let ports = ports(server.address, WEB);
    let (mut stream, head) = connected(&ports, "outbound|web", ASK).await;
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for line in ["connection: upgrade", "upgrade: echo", "x-agreed: yes"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
    echoes(&mut stream).await;
    // The route's timeout is for the answer, not for what it has become.
    tokio::time::sleep(Duration::from_millis(300)).await;
    echoes(&mut stream).await;
    assert_eq!(metric(&ports.mesh, "mesh_attempts_active", &[]), 1);
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    bounded(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    idle(&ports.mesh).await;
    eventually("its connection has ended", || {
        metric(&ports.mesh, "mesh_connections_active", &[]) == 0
    })
    .await;
    assert_eq!(flags(&ports.mesh), "-:1");
}

#[tokio::test]
async fn who_does_not_agree_is_an_answer_like_others() {
    let server = echo().await;
    let ports = ports(server.address, WEB);
    let (mut stream, head) = connected(&ports, "outbound|web", &ASK.replace("echo", "other")).await;
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    assert_eq!(until(&mut stream, "only").await, "echo only");
    // The connection goes on.
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(until(&mut stream, "only").await.starts_with("HTTP/1.1 426 "));
    idle(&ports.mesh).await;
    assert_eq!(flags(&ports.mesh), "-:2");
}

/// RFC 9110 section 7.8; over HTTP/2 there is no 101 at all (RFC 9113 section 8.6).
#[tokio::test]
async fn an_endpoint_that_goes_on_in_another_protocol_unasked_is_answered_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for _ in 0..16 {
            let (mut stream, _) = listener.accept().await.unwrap();
            until(&mut stream, "\r\n\r\n").await;
            let agrees =
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
            stream.write_all(agrees.as_bytes()).await.unwrap();
        }
    });
    let ports = Ports::open(&format!(
        "virtual_hosts: {{ a: {{ routes: [{{ cluster: a }}] }} }}\nclusters: {{ a: {{ protocol: http1, endpoints: [\"{address}\"] }} }}\n{WEB}"
    ));
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = ports.ask("outbound|web", ask).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("nobody has asked for"), "{answer}");
    let stream = TcpStream::connect(ports.port("outbound|web")).await.unwrap();
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut send, connection) = made.await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let ask = Request::get("http://a/").body(MeshBody::empty()).unwrap();
        let response = bounded(send.send_request(ask)).await.unwrap();
        let status = response.status();
        let text = crate::fixture::text(response).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{text}");
    }
    idle(&ports.mesh).await;
    assert_eq!(flags(&ports.mesh), "UPE:3");
}

#[tokio::test]
async fn an_upgrade_reaches_the_application() {
    let server = echo().await;
    let address = server.address;
    let inbound = format!(
        "inbound: {{ web: {{ listen: \"127.0.0.1:1\", mtls: off, allow: [{{ from: anyone, match: {{ path: /chat }} }}], forward: \"{address}\" }} }}\n"
    );
    let ports = ports(address, &inbound);
    let (mut stream, head) = connected(&ports, "web", ASK).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    echoes(&mut stream).await;
    let (_, head) = connected(&ports, "web", &ASK.replace("/chat", "/other")).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
}

#[tokio::test]
async fn a_drain_waits_for_what_was_upgraded_and_ends_it_at_its_deadline() {
    let server = echo().await;
    for stays in [false, true] {
        let ports = ports(server.address, WEB);
        let (mut stream, _) = connected(&ports, "outbound|web", ASK).await;
        echoes(&mut stream).await;
        let draining = tokio::spawn({
            let proxy = ports.proxy.clone();
            async move { proxy.drain(Duration::from_secs(2)).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        echoes(&mut stream).await;
        assert!(!draining.is_finished());
        if stays {
            // Ended by the proxy, whatever the two would have said.
            let mut rest = Vec::new();
            let _reset = bounded(stream.read_to_end(&mut rest)).await;
        } else {
            drop(stream);
        }
        bounded(draining).await.unwrap();
        idle(&ports.mesh).await;
    }
}

/// What is agreed on while its connection ends is told to end no second time.
#[tokio::test]
async fn an_upgrade_of_a_connection_that_ends_counts_once() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = application.local_addr().unwrap();
    let inbound = format!(
        "inbound: {{ web: {{ listen: \"127.0.0.1:1\", mtls: off, allow: [{{ from: anyone, match: {{ path: /chat }} }}], forward: \"{address}\" }} }}\n"
    );
    let ports = ports(address, &inbound);
    let mut client = TcpStream::connect(ports.port("web")).await.unwrap();
    client.write_all(ASK.as_bytes()).await.unwrap();
    let (mut asked, _) = bounded(application.accept()).await.unwrap();
    until(&mut asked, "\r\n\r\n").await;
    let proxy = ports.proxy.clone();
    let drained = tokio::spawn(async move { proxy.drain(Duration::from_secs(5)).await });
    let counted = || metric(&ports.mesh, "mesh_server_connections_drained_total", &[]);
    eventually("it is told to end", || counted() == 1).await;
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    asked.write_all(agreed.as_bytes()).await.unwrap();
    assert!(until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    client.write_all(b"hello").await.unwrap();
    until(&mut asked, "hello").await;
    drop((client, asked));
    bounded(drained).await.unwrap();
    assert_eq!(counted(), 1);
}

#[tokio::test]
async fn what_is_silent_is_ended() {
    let server = echo().await;
    let web = "outbound: { web: { listen: \"127.0.0.1:1\", cluster: a, idle_timeout: 200ms } }\n";
    let ports = ports(server.address, web);
    let (mut stream, _) = connected(&ports, "outbound|web", ASK).await;
    echoes(&mut stream).await;
    let mut rest = Vec::new();
    let _reset = bounded(stream.read_to_end(&mut rest)).await;
    idle(&ports.mesh).await;
}

#[tokio::test]
async fn connect_leads_to_a_cluster_by_its_authority() {
    let ports = ports(counter().await, WEB);
    let (mut stream, head) =
        connected(&ports, "outbound|web", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(!head.to_ascii_lowercase().contains("content-length"), "{head}");
    stream.write_all(&[7; 100_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    bounded(stream.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "100000 bytes");
    idle(&ports.mesh).await;
    assert_eq!(flags(&ports.mesh), "-:1");
}

/// Each stream of HTTP/2 may be a tunnel of its own; the connection goes on beside them.
#[tokio::test]
async fn tunnels_over_http2_are_streams() {
    let ports = ports(counter().await, WEB);
    let stream = TcpStream::connect(ports.port("outbound|web")).await.unwrap();
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut send, connection) = made.await.unwrap();
    tokio::spawn(connection);
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        let ask = Request::connect("a:443").body(MeshBody::empty()).unwrap();
        let response = bounded(send.send_request(ask)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        tunnels.push(TokioIo::new(bounded(hyper::upgrade::on(response)).await.unwrap()));
    }
    assert_eq!(metric(&ports.mesh, "mesh_attempts_active", &[]), 3);
    for (number, mut tunnel) in tunnels.into_iter().enumerate() {
        let bytes = vec![1; 50_000 * (number + 1)];
        bounded(tunnel.write_all(&bytes)).await.unwrap();
        tunnel.shutdown().await.unwrap();
        let mut answer = String::new();
        bounded(tunnel.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer, format!("{} bytes", bytes.len()));
    }
    idle(&ports.mesh).await;
    assert_eq!(flags(&ports.mesh), "-:3");
}

/// RFC 8441: a WebSocket is a stream of HTTP/2, and an upgrade of HTTP/1.1 behind.
#[tokio::test]
async fn upgrades_over_http2_are_streams() {
    let server = echo().await;
    let address = server.address;
    let inbound = format!(
        "inbound: {{ web: {{ listen: \"127.0.0.1:2\", mtls: off, allow: [{{ from: anyone, match: {{ path: /chat, method: GET }} }}], forward: \"{address}\" }} }}\n"
    );
    let ports = ports(address, &(WEB.to_owned() + &inbound));
    for port in ["outbound|web", "web"] {
        let stream = TcpStream::connect(ports.port(port)).await.unwrap();
        let made = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut send, connection) = made.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let ask = |path: &str, protocol: &'static str| {
            let uri = format!("http://a{path}");
            let mut ask = Request::connect(uri).body(MeshBody::empty()).unwrap();
            ask.extensions_mut().insert(hyper::ext::Protocol::from_static(protocol));
            ask
        };
        // By the answer to it, the settings of the server have come.
        let first = Request::get("http://a/chat").body(MeshBody::empty()).unwrap();
        let first = bounded(send.send_request(first)).await.unwrap();
        assert_eq!(first.status(), StatusCode::UPGRADE_REQUIRED, "{port}");
        for _ in 0..2 {
            let response = bounded(send.send_request(ask("/chat", "echo"))).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{port}");
            assert_eq!(response.headers()["x-agreed"], "yes");
            assert!(!response.headers().contains_key(header::UPGRADE));
            let mut io = TokioIo::new(bounded(hyper::upgrade::on(response)).await.unwrap());
            bounded(io.write_all(b"over a stream")).await.unwrap();
            let mut said = [0; 13];
            bounded(io.read_exact(&mut said)).await.unwrap();
            assert_eq!(&said, b"over a stream");
            io.shutdown().await.unwrap();
            let mut rest = Vec::new();
            bounded(io.read_to_end(&mut rest)).await.unwrap();
            assert!(rest.is_empty());
        }
        // Who does not agree answers as ever; and policies see the request that it stands for.
        let refused = bounded(send.send_request(ask("/chat", "other"))).await.unwrap();
        assert_eq!(refused.status(), StatusCode::UPGRADE_REQUIRED);
        // A good answer in HTTP would be the beginning of the other protocol.
        let page = bounded(send.send_request(ask("/chat", "page"))).await.unwrap();
        assert_eq!(page.status(), StatusCode::BAD_GATEWAY);
        let elsewhere = bounded(send.send_request(ask("/other", "echo"))).await.unwrap();
        let expected = if port == "web" { StatusCode::FORBIDDEN } else { StatusCode::OK };
        assert_eq!(elsewhere.status(), expected);
    }
    idle(&ports.mesh).await;
}

/// An endpoint of HTTP/2 that agrees to whatever is asked for by extended CONNECT, and says everything back; but not to
/// `no`, and to nothing where `takes` is not so.
async fn echo_over_http2(takes: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = hyper::service::service_fn(|mut request: Request<Incoming>| async move {
        let protocol = request.extensions().get::<hyper::ext::Protocol>().cloned();
        let mut response = Response::new(Full::<Bytes>::default());
        let Some(protocol) = protocol.filter(|protocol| protocol.as_str() != "no") else {
            *response.status_mut() = StatusCode::IM_A_TEAPOT;
            *response.body_mut() = Full::from("no tea");
            return Ok::<_, Infallible>(response);
        };
        tokio::spawn(async move {
            let mut io = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(&mut io);
            let _gone = tokio::io::copy(&mut reader, &mut writer).await;
            let _gone = writer.shutdown().await;
        });
        response.headers_mut().insert("x-protocol", protocol.as_str().parse().unwrap());
        Ok(response)
    });
    tokio::spawn(async move {
        for _ in 0..16 {
            let (stream, _) = listener.accept().await.unwrap();
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            if takes {
                builder.enable_connect_protocol();
            }
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// An endpoint of HTTP/2 that says `bye` and ends its half; and how much then comes.
async fn ends_first() -> (SocketAddr, mpsc::UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, came) = mpsc::unbounded_channel();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let sender = sender.clone();
        async move {
            tokio::spawn(async move {
                let mut io = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
                io.write_all(b"bye").await.unwrap();
                io.shutdown().await.unwrap();
                let mut rest = Vec::new();
                let _reset = io.read_to_end(&mut rest).await;
                let _gone = sender.send(rest.len());
            });
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }
    });
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.enable_connect_protocol();
        builder.serve_connection(TokioIo::new(stream), service).await
    });
    (address, came)
}

#[tokio::test]
async fn what_is_said_to_an_endpoint_that_ended_first_arrives() {
    let (address, mut came) = ends_first().await;
    let ports = over_http2(address);
    // Often, because it was a race.
    for length in [1, 1000, 40_000, 300_000, 300_000] {
        let (mut stream, head) = connected(&ports, "outbound|web", ASK).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let mut said = String::new();
        bounded(stream.read_to_string(&mut said)).await.unwrap();
        assert_eq!(said, "bye");
        bounded(stream.write_all(&vec![b'x'; length])).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(bounded(came.recv()).await, Some(length));
    }
    idle(&ports.mesh).await;
    assert_eq!(flags(&ports.mesh), "-:5");
}

fn over_http2(server: SocketAddr) -> Ports {
    Ports::open(&format!(
        "virtual_hosts: {{ a: {{ routes: [{{ cluster: a, timeout: 200ms }}] }} }}\nclusters: {{ a: {{ protocol: http2, endpoints: [\"{server}\"] }} }}\n{WEB}"
    ))
}

/// RFC 8441: an endpoint of HTTP/2 gets a stream, of a connection that all share.
#[tokio::test]
async fn an_upgrade_reaches_endpoints_of_http2() {
    let ports = over_http2(echo_over_http2(true).await);
    let (mut first, head) = connected(&ports, "outbound|web", ASK).await;
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for line in ["connection: upgrade", "upgrade: echo", "x-protocol: echo"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
    echoes(&mut first).await;
    // The example of RFC 6455 section 1.3.
    let websocket = "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let ask = ASK.replace("Upgrade: echo", websocket);
    let (mut second, head) = connected(&ports, "outbound|web", &ask).await;
    let accept = "\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert!(head.contains(accept) && head.contains("x-protocol: websocket"), "{head}");
    echoes(&mut second).await;
    // The route's timeout is for the answer, not for what it has become.
    tokio::time::sleep(Duration::from_millis(300)).await;
    echoes(&mut first).await;
    assert_eq!(metric(&ports.mesh, "mesh_connections_active", &[]), 1);
    assert_eq!(metric(&ports.mesh, "mesh_attempts_active", &[]), 2);
    for stream in [&mut first, &mut second] {
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        bounded(stream.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty());
    }
    idle(&ports.mesh).await;
    assert_eq!(flags(&ports.mesh), "-:2");
}

/// From a stream to a stream.
#[tokio::test]
async fn an_extended_connect_reaches_endpoints_of_http2() {
    let ports = over_http2(echo_over_http2(true).await);
    let stream = TcpStream::connect(ports.port("outbound|web")).await.unwrap();
    let made = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut send, connection) = made.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let first = Request::get("http://a/").body(MeshBody::empty()).unwrap();
    assert_eq!(bounded(send.send_request(first)).await.unwrap().status(), 418);
    let mut ask = Request::connect("http://a/chat").body(MeshBody::empty()).unwrap();
    ask.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    let response = bounded(send.send_request(ask)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-protocol"], "websocket");
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let mut io = TokioIo::new(bounded(hyper::upgrade::on(response)).await.unwrap());
    bounded(io.write_all(b"over two streams")).await.unwrap();
    let mut said = [0; 16];
    bounded(io.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"over two streams");
    // Who drops it resets it, at the endpoint too.
    drop((io, send));
    idle(&ports.mesh).await;
}

#[tokio::test]
async fn endpoints_of_http2_may_not_agree() {
    let ports = over_http2(echo_over_http2(true).await);
    let (mut stream, head) =
        connected(&ports, "outbound|web", &ASK.replace("Upgrade: echo", "Upgrade: no")).await;
    assert!(head.starts_with("HTTP/1.1 418 "), "{head}");
    assert_eq!(until(&mut stream, "tea").await, "no tea");
    let with_body = ASK.replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx");
    let (mut stream, head) = connected(&ports, "outbound|web", &with_body).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert!(until(&mut stream, "http1`").await.contains("protocol: http1"));
    let ports = over_http2(echo_over_http2(false).await);
    let (mut stream, head) = connected(&ports, "outbound|web", ASK).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    let said = until(&mut stream, "PROTOCOL)").await;
    assert!(said.contains("takes no extended CONNECT"), "{said}");
    idle(&ports.mesh).await;
}

/// Whoever goes away takes what was made for him along.
#[tokio::test]
async fn who_goes_away_while_it_is_agreed_leaves_nothing() {
    // Accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let web = "outbound: { web: { listen: \"127.0.0.1:1\", cluster: a, timeout: 0s } }\n";
    let ports = ports(silent.local_addr().unwrap(), web);
    for ask in [ASK.to_owned(), ASK.replace("Upgrade: echo", "Upgrade: websocket")] {
        let mut stream = TcpStream::connect(ports.port("outbound|web")).await.unwrap();
        stream.write_all(ask.as_bytes()).await.unwrap();
        let (mut taken, _) = bounded(silent.accept()).await.unwrap();
        until(&mut taken, "\r\n\r\n").await;
        drop(stream);
        let mut rest = Vec::new();
        let _reset = bounded(taken.read_to_end(&mut rest)).await;
        idle(&ports.mesh).await;
        let open = || metric(&ports.mesh, "mesh_connections_active", &[]);
        eventually("its connection has ended", || open() == 0).await;
    }
}

#[tokio::test]
async fn connect_to_others_is_as_the_configuration_says_of_unknown_hosts() {
    let there = counter().await;
    let ask = format!("CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n\r\n");
    let ports = ports(there, WEB);
    let (_, head) = connected(&ports, "outbound|web", &ask).await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let ports = self::ports(there, &format!("{WEB}unknown_hosts: passthrough\n"));
    let (mut stream, head) = connected(&ports, "outbound|web", &ask).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stream.write_all(b"four").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    bounded(stream.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "4 bytes");
    let (_, head) =
        connected(&ports, "outbound|web", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[tokio::test]
async fn nobody_tunnels_through_the_application_s_port() {
    let there = counter().await;
    let inbound = format!(
        "unknown_hosts: passthrough\ninbound: {{ web: {{ listen: \"127.0.0.1:1\", mtls: off, allow: [{{ from: anyone, match: {{ headers: {{ host: {{ present: true }} }} }} }}], forward: \"{there}\" }} }}\n"
    );
    let ports = ports(there, &inbound);
    let ask = format!("CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n\r\n");
    let (_, head) = connected(&ports, "web", &ask).await;
    assert!(head.starts_with("HTTP/1.1 4"), "{head}");
    // Nor is anybody else reached by asking for him: all of it is the application's.
    let elsewhere = counter().await;
    let ask = format!("GET http://{elsewhere}/ HTTP/1.1\r\nHost: {elsewhere}\r\n\r\n");
    let before =
        metric(&ports.mesh, "mesh_connections_opened_total", &[("cluster", "inbound|web")]);
    let mut stream = TcpStream::connect(ports.port("web")).await.unwrap();
    stream.write_all(ask.as_bytes()).await.unwrap();
    eventually("the application is connected to", || {
        metric(&ports.mesh, "mesh_connections_opened_total", &[("cluster", "inbound|web")]) > before
    })
    .await;
}

/// A stream that breaks on one side breaks on the other: RFC 9113 section 8.5 for tunnels, RFC 8441 section 5 for what
/// stands for an upgrade.
#[tokio::test]
async fn streams_of_http2_break_with_what_they_stand_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = ports(listener.local_addr().unwrap(), WEB);
    let stream = TcpStream::connect(ports.port("outbound|web")).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    // The settings of the server have come with the answer.
    send = send.ready().await.unwrap();
    let first = Request::get("http://unknown/").body(()).unwrap();
    bounded(send.send_request(first, true).unwrap().0).await.unwrap();
    for (is_extended, reason) in [(false, Reason::CONNECT_ERROR), (true, Reason::CANCEL)] {
        for endpoint_breaks in [true, false] {
            let uri = if is_extended { "http://a/chat" } else { "a:443" };
            let mut ask = Request::connect(uri).body(()).unwrap();
            if is_extended {
                ask.extensions_mut().insert(h2::ext::Protocol::from_static("echo"));
            }
            send = send.ready().await.unwrap();
            let (response, mut writes) = send.send_request(ask, false).unwrap();
            let agree = async {
                let (mut endpoint, _) = listener.accept().await.unwrap();
                if is_extended {
                    until(&mut endpoint, "\r\n\r\n").await;
                    let agreed = "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
                    endpoint.write_all(agreed.as_bytes()).await.unwrap();
                }
                endpoint
            };
            let (response, mut endpoint) = bounded(async { tokio::join!(response, agree) }).await;
            let mut response = response.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            writes.send_data(Bytes::from_static(b"said"), false).unwrap();
            bounded(endpoint.read_exact(&mut [0; 4])).await.unwrap();
            if endpoint_breaks {
                endpoint.set_zero_linger().unwrap();
                drop(endpoint);
                let error = bounded(response.body_mut().data()).await.unwrap().unwrap_err();
                assert_eq!(error.reason(), Some(reason), "{is_extended}");
            } else {
                writes.send_reset(Reason::CANCEL);
                let error = bounded(endpoint.read(&mut [0; 4])).await.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{is_extended}");
            }
        }
    }
    idle(&ports.mesh).await;
}

/// Who has ended his half says nothing any more but that.
#[tokio::test]
async fn who_has_ended_his_half_and_resets_the_stream_is_seen() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = ports(listener.local_addr().unwrap(), WEB);
    let stream = TcpStream::connect(ports.port("outbound|web")).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = Request::connect("a:443").body(()).unwrap();
    let (response, mut writes) = send.ready().await.unwrap().send_request(ask, false).unwrap();
    let accept = listener.accept();
    let (response, accepted) = bounded(async { tokio::join!(response, accept) }).await;
    let (_body, mut endpoint) = (response.unwrap().into_body(), accepted.unwrap().0);
    writes.send_data(Bytes::from_static(b"said"), true).unwrap();
    let mut said = String::new();
    bounded(endpoint.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "said");
    writes.send_reset(Reason::CANCEL);
    // The endpoint says nothing: nobody waits for it.
    idle(&ports.mesh).await;
}

/// Whatever ends it, what the endpoint has said goes out first.
#[tokio::test]
async fn a_silent_stream_of_http2_ends_with_all_that_was_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let web = "outbound: { web: { listen: \"127.0.0.1:1\", cluster: a, idle_timeout: 300ms } }\n";
    let ports = ports(listener.local_addr().unwrap(), web);
    let stream = TcpStream::connect(ports.port("outbound|web")).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = Request::connect("a:443").body(()).unwrap();
    let (response, _writes) = send.ready().await.unwrap().send_request(ask, false).unwrap();
    let accept = listener.accept();
    let (response, accepted) = bounded(async { tokio::join!(response, accept) }).await;
    let (mut body, mut endpoint) = (response.unwrap().into_body(), accepted.unwrap().0);
    endpoint.write_all(b"the last word").await.unwrap();
    let mut said = Vec::new();
    while let Some(data) = bounded(body.data()).await {
        said.extend_from_slice(&data.unwrap());
    }
    assert_eq!(said, b"the last word");
    idle(&ports.mesh).await;
}
