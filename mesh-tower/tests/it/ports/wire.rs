//! What HTTP says of those between two ends: what docs/envoy-habits.md does not list is so at Envoy, too.

use super::kit::{Ports, parts};
use super::requests::{WEB, mirror, over_http2, ports};
use http::{Request, Version};
use mesh_tower::MeshBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn rfc9113_8_2_3_cookies_in_crumbs_go_on_as_one() {
    let server = mirror().await;
    let ports = ports(&server, WEB);
    let request = Request::get("http://a/").version(Version::HTTP_2);
    let request = request.header("cookie", "a=1").header("cookie", "b=2");
    let answer = over_http2(&ports, "outbound|web", request.body(MeshBody::empty()).unwrap()).await;
    let text = std::str::from_utf8(answer.body()).unwrap();
    assert!(text.contains("\ncookie: a=1; b=2\n"), "{text}");
}

#[tokio::test]
async fn rfc9110_8_6_a_post_without_body_has_the_length_0() {
    let server = mirror().await;
    let ports = ports(&server, WEB);
    let ask = |method: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let posted = ports.ask("outbound|web", &ask("POST")).await;
    assert!(posted.contains("\ncontent-length: 0\n"), "{posted}");
    let got = ports.ask("outbound|web", &ask("GET")).await;
    assert!(!got.contains("\ncontent-length: 0\n"), "{got}");
}

#[tokio::test]
async fn rfc9110_10_1_1_what_is_expected_of_the_server_reaches_it() {
    let server = mirror().await;
    let ports = ports(&server, WEB);
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: a-miracle\r\n\r\n";
    let answer = ports.ask("outbound|web", text).await;
    assert!(answer.contains("\nexpect: a-miracle\n"), "{answer}");
}

#[tokio::test]
async fn rfc9112_6_1_a_request_in_an_unknown_coding_is_refused() {
    let server = mirror().await;
    let ports = ports(&server, WEB);
    let text = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let answer = ports.ask("outbound|web", text).await;
    let (status, _, body) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 501 Not Implemented", "{answer}");
    assert!(body.starts_with("the transfer coding `gzip, chunked`"), "{body}");
}

#[tokio::test]
async fn a_body_that_the_caller_writes_wrongly_is_his_fault() {
    let server = mirror().await;
    let ports = ports(&server, WEB);
    let text = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n";
    let answer = ports.ask("outbound|web", text).await;
    let (status, headers, _) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 400 Bad Request", "{answer}");
    assert!(headers.contains(&"x-mesh-response-flag: lr".to_owned()), "{headers:?}");
}

/// What a client gets of a server that answers this, and closes.
async fn passed_on(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _head = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let ports = Ports::open(&format!(
        "virtual_hosts: {{ a: {{ routes: [{{ cluster: a }}] }} }}\nclusters: {{ a: {{ endpoints: [\"{address}\"] }} }}\n{WEB}"
    ));
    ports.ask("outbound|web", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await
}

#[tokio::test]
async fn rfc9110_6_2_an_answer_has_the_version_of_who_passes_it_on() {
    let answer = passed_on("HTTP/1.0 200 OK\r\n\r\nto the end").await;
    let (status, headers, body) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 200 OK", "{answer}");
    assert!(headers.contains(&"transfer-encoding: chunked".to_owned()), "{headers:?}");
    assert!(body.contains("to the end"), "{body}");
}

#[tokio::test]
async fn an_answer_in_an_unknown_coding_is_not_passed_on_without_it() {
    let answer = passed_on(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    )
    .await;
    let (status, _, body) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 502 Bad Gateway", "{answer}");
    assert!(body.starts_with("the transfer coding `gzip, chunked`"), "{body}");
}
