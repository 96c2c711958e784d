//! Requests that are passed on: by their own authority, to a port's cluster, to the application.

use super::kit::{Ports, parts};
use crate::fixture::{Server, bounded, flags, idle, over_h2};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_tower::MeshBody;
use std::convert::Infallible;
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// Answers with what it was asked, a line each: version, method, target, headers; then the body and its trailers.
pub(super) async fn mirror() -> Server {
    Server::start(|request| async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let mut text = format!("{:?} {} {}\n", parts.version, parts.method, parts.uri);
        let mut lines = |headers: &HeaderMap| {
            let mut lines: Vec<_> =
                headers.iter().map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap())).collect();
            lines.sort();
            text.push_str(&lines.concat());
        };
        lines(&parts.headers);
        lines(&trailers);
        text.push_str(std::str::from_utf8(&body.to_bytes()).unwrap());
        let mut response = Response::new(Full::from(text));
        response.headers_mut().insert("keep-alive", "timeout=5".parse().unwrap());
        response.headers_mut().insert("x-answer", "1".parse().unwrap());
        response
    })
    .await
}

/// One cluster `a` of HTTP, and these ports.
pub(super) fn ports(server: &Server, rest: &str) -> Ports {
    let address = server.address;
    Ports::open(&format!(
        "virtual_hosts: {{ a: {{ routes: [{{ cluster: a }}] }} }}\nclusters: {{ a: {{ endpoints: [\"{address}\"] }} }}\n{rest}"
    ))
}

pub(super) const WEB: &str = "outbound: { web: { listen: \"127.0.0.1:1\" } }\n";

fn application(server: &Server) -> String {
    let address = server.address;
    format!(
        "inbound: {{ web: {{ listen: \"127.0.0.1:1\", mtls: off, allow: [{{ from: anyone, match: {{ prefix: /ok }} }}], forward: \"{address}\" }} }}\n"
    )
}

/// What a client of HTTP/2 gets.
pub(super) async fn over_http2(
    ports: &Ports,
    name: &str,
    request: Request<MeshBody>,
) -> Response<Bytes> {
    let stream = TcpStream::connect(ports.port(name)).await.unwrap();
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut send, connection) = made.await.unwrap();
    tokio::spawn(connection);
    let response = bounded(send.send_request(request)).await.unwrap();
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn a_request_goes_where_its_authority_leads() {
    let server = mirror().await;
    let ports = ports(&server, WEB);
    for target in ["/x?y=1", "http://a/x?y=1"] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = ports.ask("outbound|web", &text).await;
        let (status, _, body) = parts(&answer);
        assert_eq!(status, "HTTP/1.1 200 OK", "{answer}");
        assert!(body.starts_with("HTTP/1.1 GET /x?y=1\n"), "{body}");
    }
    let request = Request::get("http://a/h2").body(MeshBody::empty()).unwrap();
    let answer = over_http2(&ports, "outbound|web", over_h2(request)).await;
    assert!(answer.body().starts_with(b"HTTP/2.0 GET http://a/h2\n"), "{answer:?}");
    idle(&ports.mesh).await;
    assert_eq!(flags(&ports.mesh), "-:3");
}

#[tokio::test]
async fn who_is_not_known_is_told_so() {
    let server = mirror().await;
    let ports = ports(&server, WEB);
    let answer =
        ports.ask("outbound|web", "GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").await;
    let (status, headers, body) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    assert!(headers.contains(&"x-mesh-response-flag: nr".to_owned()), "{headers:?}");
    assert!(body.starts_with("no virtual host serves this authority"), "{body}");
    let request = Request::post("http://b/s/m").version(Version::HTTP_2);
    let request = request.header("content-type", "application/grpc").body(MeshBody::empty());
    let answer = over_http2(&ports, "outbound|web", request.unwrap()).await;
    assert_eq!(
        (answer.status(), &answer.headers()["grpc-status"]),
        (StatusCode::OK, &"14".parse().unwrap())
    );
}

#[tokio::test]
async fn headers_of_the_connection_end_with_it_and_others_are_added() {
    let server = mirror().await;
    let ports = ports(&server, WEB);
    let text = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, x-hop, x-request-id, X-Mesh-Via\r\nx-hop: 1\r\nKeep-Alive: 3\r\nProxy-Connection: x\r\nProxy-Authorization: Basic c2VjcmV0\r\nExpect: 100-continue\r\nTE: trailers, gzip\r\nUpgrade: h2c\r\nAuthorization: Bearer t\r\nContent-Length: 2\r\n\r\nhi";
    let answer = ports.ask("outbound|web", text).await;
    let (interim, rest) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(interim, "HTTP/1.1 100 Continue");
    let (_, headers, body) = parts(rest);
    let names: Vec<_> = headers.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names, ["connection", "content-length", "date", "x-answer"], "{rest}");
    let lines: Vec<_> = body.lines().collect();
    let [_, authorization, length, host, te, proto, via, id, said] = lines[..] else {
        panic!("{body}");
    };
    assert_eq!((authorization, length), ("authorization: Bearer t", "content-length: 2"));
    assert_eq!((host, te, proto), ("host: a", "te: trailers", "x-forwarded-proto: http"));
    assert!(via.starts_with("x-mesh-via: ") && via.ends_with("/outbound|web"), "{via}");
    assert_eq!((id.len(), said), ("x-request-id: ".len() + 36, "hi"), "{id}");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let server = mirror().await;
    let ports = ports(&server, WEB);
    let text = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";
    let answer = ports.ask("outbound|web", text).await;
    assert!(answer.contains("\nx-sum: 7\nhi"), "{answer}");
    // gRPC's answers end with them.
    let grpc = Server::start(|_| async move {
        let mut response = Response::new(Full::from("x"));
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        response.headers_mut().insert("grpc-status", "5".parse().unwrap());
        response
    })
    .await;
    let ports = self::ports(&grpc, WEB);
    let request = Request::post("http://a/s/m").version(Version::HTTP_2);
    let request = request.header("content-type", "application/grpc").body(MeshBody::empty());
    let answer = over_http2(&ports, "outbound|web", request.unwrap()).await;
    assert_eq!(answer.headers()["grpc-status"], "5");
}

#[tokio::test]
async fn clients_of_http_1_0_are_answered_and_the_connection_ends() {
    let server = mirror().await;
    let ports = ports(&server, WEB);
    let answer = ports.ask("outbound|web", "GET http://a/old HTTP/1.0\r\n\r\n").await;
    let (status, _, body) = parts(&answer);
    assert_eq!(status, "HTTP/1.0 200 OK");
    assert!(body.starts_with("HTTP/1.1 GET /old\nhost: a\n"), "{body}");
}

#[tokio::test]
async fn the_application_is_asked_over_http_1_but_for_grpc() {
    let server = mirror().await;
    let ports = ports(&server, &application(&server));
    let request = |path: &str, kind: &str| {
        let builder = Request::post(format!("http://shop.example{path}")).version(Version::HTTP_2);
        builder.header("content-type", kind).body(MeshBody::full("body")).unwrap()
    };
    let answer = over_http2(&ports, "web", request("/ok", "text/plain")).await;
    let text = std::str::from_utf8(answer.body()).unwrap();
    assert!(text.starts_with("HTTP/1.1 POST /ok\n"), "{text}");
    assert!(text.contains("\nhost: shop.example\n") && text.ends_with("\nbody"), "{text}");
    let answer = over_http2(&ports, "web", request("/ok", "application/grpc")).await;
    assert!(answer.body().starts_with(b"HTTP/2.0 POST http://shop.example/ok\n"), "{answer:?}");
    // Policies come first, whatever the application would say.
    let denied = over_http2(&ports, "web", request("/no", "text/plain")).await;
    assert_eq!(denied.status(), StatusCode::FORBIDDEN);
    idle(&ports.mesh).await;
    assert_eq!(flags(&ports.mesh), "-:2");
}

#[tokio::test]
async fn strangers_learn_why_the_application_fails_and_not_where_it_is() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let ports = Ports::open(&format!(
        "inbound: {{ web: {{ listen: \"127.0.0.1:1\", mtls: off, allow: [{{ from: anyone, match: {{ prefix: / }} }}], forward: \"{address}\" }} }}\n"
    ));
    let answer = ports.ask("web", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let (status, headers, body) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(headers.contains(&"x-mesh-response-flag: uf".to_owned()), "{headers:?}");
    assert_eq!(body, "connection refused [connect_refused]\n");
}

#[tokio::test]
async fn a_port_of_a_cluster_sends_everything_there() {
    let server = mirror().await;
    let ports = ports(&server, "outbound: { p: { listen: \"127.0.0.1:1\", cluster: a } }\n");
    let text = "GET /x HTTP/1.1\r\nHost: whatever.example\r\nConnection: close\r\n\r\n";
    let answer = ports.ask("outbound|p", text).await;
    let (status, _, body) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 200 OK", "{answer}");
    assert!(body.contains("\nhost: whatever.example\n"), "{body}");
}

#[tokio::test]
async fn bodies_stream_both_ways_and_nothing_is_held() {
    // Each chunk is answered before the next is sent.
    let server = Server::start_streaming(|request| {
        let body = request.into_body().into_data_stream();
        let echo = body.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk.unwrap())));
        async { Response::new(StreamBody::new(echo)) }
    })
    .await;
    let ports = ports(&server, WEB);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let stream = TcpStream::connect(ports.port("outbound|web")).await.unwrap();
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let chunks =
            ReceiverStream::new(receiver).map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
        let body = MeshBody::new(StreamBody::new(chunks));
        let request = Request::post("http://a/").header("host", "a").body(body).unwrap();
        let io = TokioIo::new(stream);
        let response = if version == Version::HTTP_2 {
            let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
            let (mut send, connection) = made.await.unwrap();
            tokio::spawn(connection);
            bounded(send.send_request(request)).await
        } else {
            let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            bounded(send.send_request(request)).await
        };
        let mut body = response.unwrap().into_body();
        for number in 0..20u8 {
            let chunk = Bytes::from(vec![number; 10_000]);
            sender.send(chunk.clone()).await.unwrap();
            let mut came = 0;
            while came < chunk.len() {
                let frame = bounded(body.frame()).await.unwrap().unwrap();
                let data = frame.into_data().unwrap();
                assert!(data.iter().all(|byte| *byte == number), "{version:?}");
                came += data.len();
            }
        }
        drop(sender);
        let rest = bounded(body.collect()).await.unwrap().to_bytes();
        assert!(rest.is_empty(), "{version:?}");
    }
    idle(&ports.mesh).await;
}
