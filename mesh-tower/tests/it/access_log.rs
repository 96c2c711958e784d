//! Lines of calls and of served requests, of both sides, and what becomes of a log that can't be written.

mod sinks;
pub(crate) mod world;

use crate::fixture::{Server, call, eventually, metric, reply};
use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use mesh_core::access_log::{Format, Side};
use mesh_tower::observe::AccessLog;
use mesh_tower::{BoxError, CallOptions, Mesh, MeshBody};
use serde_json::Value;
use std::time::Duration;
use world::{Lines, World, check, client_yaml, mesh, refusing, request, serve};

#[tokio::test]
async fn both_sides_of_a_call_tell_of_it() {
    let world = World::new().await;
    let sent = request("POST", "/x?token=SECRET", MeshBody::full("body"));
    assert_eq!(world.send(sent).await, Ok(200));
    let (client, server) = (world.lines.one("client").await, world.lines.one("server").await);
    for line in [&client, &server] {
        check(
            line,
            &[
                ("method", "POST".into()),
                ("path", "/x".into()),
                ("authority", "reviews".into()),
                ("request_id", "id-1".into()),
                ("attempt", 1.into()),
                ("response_code", 200.into()),
                ("response_flags", Value::Null),
                ("reason", Value::Null),
                ("response_code_details", "via_upstream".into()),
                ("bytes_received", 4.into()),
                ("bytes_sent", 11.into()),
                ("grpc_status", Value::Null),
            ],
        );
    }
    check(
        &client,
        &[
            ("virtual_host", "reviews".into()),
            ("route_name", "all".into()),
            ("upstream_cluster", "one".into()),
            ("listener", Value::Null),
            ("policy", Value::Null),
        ],
    );
    assert_eq!(client["attempts"][0]["response_code"], 200);
    assert_eq!(client["attempts"][0]["upstream_host"], client["upstream_host"]);
    for phase in ["routing", "waiting", "connect", "first_byte", "body"] {
        assert!(client["phases_ms"][phase].is_f64(), "{phase} of {client}");
    }
    check(&server, &[("listener", "web".into()), ("policy", "everybody".into())]);
    assert!(server["downstream_remote_address"].as_str().unwrap().starts_with("127.0.0.1:"));
    for phase in ["mesh", "application", "body"] {
        assert!(server["phases_ms"][phase].is_f64(), "{phase} of {server}");
    }
}

/// RFC 9110 section 9.3.2: nothing of a body goes out, which is no answer that was broken off.
#[tokio::test]
async fn an_answer_to_head_is_whole_and_has_no_bytes() {
    for protocol in ["http1", "http2"] {
        let lines = Lines::default();
        let log = lines.log(AccessLog::builder(Format::default_json()));
        let (server, address) = serve(log, "", "off").await;
        let silent = Lines::default().log(AccessLog::builder(Format::default_json()));
        let more = ["", &format!(", protocol: {protocol}")];
        let client = mesh(&client_yaml(address, refusing().await, more), silent);
        let response = call(&client, request("HEAD", "/x", MeshBody::empty())).await.unwrap();
        assert_eq!(response.headers()["content-length"], "11", "{protocol}");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "");
        let world = World { lines, client, server };
        check(
            &world.lines.one("server").await,
            &[
                ("response_code", 200.into()),
                ("response_flags", Value::Null),
                ("bytes_sent", 0.into()),
            ],
        );
    }
}

/// A format with headers that callers may not send, and what the default one says of the path.
pub(crate) const CLAIMS: &str = r#"{
    "side": "%MESH(side)%",
    "path": "%REQ(:PATH)%",
    "original": "%REQ(X-ENVOY-ORIGINAL-PATH)%",
    "external": "%REQ(X-ENVOY-EXTERNAL-ADDRESS)%",
    "of_mesh": "%REQ(X-MESH-REASON)%",
    "xfcc": "%REQ(X-FORWARDED-CLIENT-CERT)%",
    "request_id": "%REQ(X-REQUEST-ID)%"
}"#;

/// A request that claims all of it.
pub(crate) fn claiming(path: &str) -> Request<MeshBody> {
    let mut sent = request("GET", path, MeshBody::empty());
    for (name, value) in [
        ("x-envoy-original-path", "/forged"),
        ("x-envoy-external-address", "192.0.2.1"),
        ("x-mesh-reason", "forged"),
        ("x-forwarded-client-cert", "URI=spiffe://forged/a"),
    ] {
        sent.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    sent
}

#[tokio::test]
async fn no_stranger_says_in_a_line_what_he_may_not_say() {
    let lines = Lines::default();
    let log = lines.log(AccessLog::builder(Format::json(CLAIMS).unwrap()));
    let (server, address) = serve(log, "", "off").await;
    let silent = Lines::default().log(AccessLog::builder(Format::default_json()));
    let client = mesh(&client_yaml(address, refusing().await, ["", ""]), silent);
    let world = World { lines, client, server };
    // Passed, refused by a policy, and refused before anything is looked at: the path is none.
    for (path, status) in [("/x", 200), ("/admin", 403), ("/%zz", 400)] {
        assert_eq!(world.send(claiming(path)).await, Ok(status), "{path}");
    }
    for (line, path) in world.lines.of("server", 3).await.iter().zip(["/x", "/admin", "/%zz"]) {
        check(line, &[("path", path.into()), ("request_id", "id-1".into())]);
        for claim in ["original", "external", "of_mesh", "xfcc"] {
            check(line, &[(claim, Value::Null)]);
        }
    }
}

#[tokio::test]
async fn the_default_formats_do_not_ask_for_the_original_path() {
    let world = World::new().await;
    assert_eq!(world.send(claiming("/x")).await, Ok(200));
    for side in ["client", "server"] {
        check(&world.lines.one(side).await, &[("path", "/x".into())]);
    }
}

#[tokio::test]
async fn a_retry_is_one_line_of_the_client_and_one_of_the_server_that_was_reached() {
    let world = World::new().await;
    assert_eq!(world.send(request("GET", "/retried", MeshBody::empty())).await, Ok(200));
    let (client, server) = (world.lines.one("client").await, world.lines.one("server").await);
    let attempts = client["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{client}");
    let flag_and_reason = (&attempts[0]["response_flags"], &attempts[0]["reason"]);
    assert_eq!(flag_and_reason, (&"UF".into(), &"connect_refused".into()));
    assert_ne!(attempts[0]["upstream_host"], attempts[1]["upstream_host"]);
    check(
        &client,
        &[("attempt", 2.into()), ("upstream_host", attempts[1]["upstream_host"].clone())],
    );
    check(&server, &[("attempt", 2.into()), ("request_id", client["request_id"].clone())]);
}

#[tokio::test]
async fn calls_that_reach_nobody_say_why() {
    let world = World::new().await;
    let empty = MeshBody::empty;
    assert_eq!(world.send(request("GET", "/dead", empty())).await, Err("connect_refused"));
    let mut nowhere = request("GET", "/nowhere", empty());
    *nowhere.uri_mut() = "http://nobody/nowhere".parse().unwrap();
    assert_eq!(world.send(nowhere).await, Err("no_virtual_host"));
    assert_eq!(world.send(request("GET", "/here", empty())).await, Ok(410));
    let lines = world.lines.of("client", 3).await;
    check(
        &lines[0],
        &[
            ("response_code", 503.into()),
            ("response_flags", "UF".into()),
            ("reason", "connect_refused".into()),
            ("response_code_details", "connection refused".into()),
            ("route_name", "dead".into()),
            ("upstream_cluster", "dead".into()),
            // Nobody has seen it, so it was tried again, whatever the route says.
            ("attempt", 4.into()),
        ],
    );
    assert_eq!(lines[0]["attempts"][3]["reason"], "connect_refused");
    check(
        &lines[1],
        &[
            ("response_code", 404.into()),
            ("response_flags", "NR".into()),
            ("reason", "no_virtual_host".into()),
            ("route_name", Value::Null),
            ("attempts", Value::Null),
            ("attempt", 0.into()),
        ],
    );
    check(
        &lines[2],
        &[
            ("response_code", 410.into()),
            ("response_code_details", "direct_response".into()),
            ("route_name", "here".into()),
            ("bytes_sent", 4.into()),
            ("upstream_host", Value::Null),
        ],
    );
}

#[tokio::test]
async fn a_denial_names_its_policy() {
    let world = World::new().await;
    assert_eq!(world.send(request("GET", "/admin/x", MeshBody::empty())).await, Ok(403));
    let (client, server) = (world.lines.one("client").await, world.lines.one("server").await);
    check(
        &server,
        &[
            ("policy", "no-admin".into()),
            ("reason", "rbac_denied".into()),
            ("response_code", 403.into()),
            ("request_id", "id-1".into()),
            ("bytes_sent", client["bytes_sent"].clone()),
        ],
    );
    assert!(server["response_code_details"].as_str().unwrap().contains("no-admin"), "{server}");
    assert_eq!(server["phases_ms"]["application"], Value::Null);
    check(&client, &[("response_code", 403.into()), ("response_flags", Value::Null)]);
}

#[tokio::test]
async fn a_grpc_call_has_its_status_from_the_trailers() {
    let world = World::new().await;
    let mut sent = request("POST", "/shop.Reviews/List", MeshBody::full("\0\0\0\0\0"));
    *sent.version_mut() = http::Version::HTTP_2;
    let value = HeaderValue::from_static("application/grpc");
    sent.headers_mut().insert("content-type", value);
    assert_eq!(world.send(sent).await, Ok(200));
    for side in ["client", "server"] {
        let expected = [
            ("grpc_status", 5.into()),
            ("response_code", 200.into()),
            ("protocol", "HTTP/2".into()),
            ("bytes_received", 5.into()),
            ("bytes_sent", 5.into()),
        ];
        check(&world.lines.one(side).await, &expected);
    }
}

#[tokio::test]
async fn a_caller_who_gives_up_is_told_of_with_the_endpoint_that_was_silent() {
    let world = World::new().await;
    let gives_up = call(&world.client, request("GET", "/slow", MeshBody::empty()));
    assert!(tokio::time::timeout(Duration::from_millis(300), gives_up).await.is_err());
    let (client, server) = (world.lines.one("client").await, world.lines.one("server").await);
    for line in [&client, &server] {
        check(line, &[("response_flags", "DC".into()), ("response_code", 0.into())]);
    }
    check(&client, &[("reason", "cancelled".into()), ("attempt", 1.into())]);
    assert_eq!(client["attempts"][0]["reason"], "cancelled", "{client}");
    assert!(client["upstream_host"].is_string(), "{client}");
}

#[tokio::test]
async fn a_call_whose_time_is_up_says_so() {
    let world = World::new().await;
    let mut sent = request("GET", "/slow", MeshBody::empty());
    sent.extensions_mut().insert(CallOptions::new().timeout(Duration::from_millis(200)));
    assert_eq!(world.send(sent).await, Err("timeout"));
    let client = world.lines.one("client").await;
    check(&client, &[("response_flags", "UT".into()), ("response_code", 504.into())]);
    check(&client, &[("reason", "timeout".into()), ("upstream_cluster", "one".into())]);
}

#[tokio::test]
async fn secrets_and_queries_are_in_no_line() {
    let formats = [
        Format::default_text(),
        Format::text("%REQ(AUTHORIZATION)% %REQ(COOKIE)% %RESP(SET-COOKIE)% %REQ(REFERER)% %PATH%")
            .unwrap(),
    ];
    let mut text = String::new();
    for format in formats {
        let lines = Lines::default();
        let log = lines.log(AccessLog::builder(format));
        let (server, address) = serve(log.clone(), "", "off").await;
        let client = mesh(&client_yaml(address, refusing().await, ["", ""]), log.clone());
        let more = World { lines: lines.clone(), client, server };
        assert_eq!(more.send(secret()).await, Ok(200));
        eventually("both sides have told", || lines.text().lines().count() == 2).await;
        text += &lines.text();
    }
    let world = World::new().await;
    assert_eq!(world.send(secret()).await, Ok(200));
    world.lines.one("client").await;
    world.lines.one("server").await;
    text += &world.lines.text();
    assert!(text.contains("[redacted] [redacted] [redacted] https://a/b /x"), "{text}");
    assert!(!text.contains("SECRET"), "{text}");
    assert!(!text.contains("token"), "{text}");
}

/// A request with secrets wherever they may be.
fn secret() -> Request<MeshBody> {
    let mut request = request("GET", "/x?token=SECRET", MeshBody::empty());
    for (name, value) in [
        ("authorization", "Bearer SECRET"),
        ("cookie", "session=SECRET"),
        ("referer", "https://a/b?token=SECRET"),
        ("x-key", "SECRET"),
    ] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

#[tokio::test]
async fn streams_are_counted_and_each_side_has_its_own_log() {
    let (calls, served) = (Lines::default(), Lines::default());
    let builder = || AccessLog::builder(Format::default_json());
    let server = Server::start(|request: Request<Incoming>| async move {
        let read = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(read, "onethree");
        reply(200, "ok")
    })
    .await;
    let yaml = client_yaml(server.address, server.address, ["", ""]);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mesh.yaml"), yaml).unwrap();
    let client = Mesh::builder()
        .file(directory.path().join("mesh.yaml"))
        .access_log(served.log(builder().only(Side::Server)))
        .access_log(calls.log(builder().only(Side::Client)))
        .build()
        .unwrap();
    let parts = [Bytes::from_static(b"one"), Bytes::from_static(b"three")];
    let parts = parts.map(|part| Ok::<_, BoxError>(Frame::data(part)));
    let body = MeshBody::new(StreamBody::new(futures_util::stream::iter(parts)));
    let sent = request("POST", "/retried", body);
    let world = World { lines: calls.clone(), client: client.clone(), server: client };
    assert_eq!(world.send(sent).await, Ok(200));
    check(&calls.one("client").await, &[("bytes_received", 8.into()), ("bytes_sent", 2.into())]);
    assert_eq!(served.text(), "");
    assert_eq!(metric(&world.client, "mesh_access_log_lines_written_total", &[]), 1);
}

#[tokio::test]
async fn calls_past_every_policy_have_lines_too() {
    let lines = Lines::default();
    let log = lines.log(AccessLog::builder(Format::default_json()));
    let client = Mesh::builder().access_log(log).build().unwrap();
    let world = World { lines, server: client.clone(), client };
    let server = Server::text("hello").await;
    let to = |address| {
        let mut sent = request("GET", "/", MeshBody::empty());
        *sent.uri_mut() = format!("http://{address}/x?token=SECRET").parse().unwrap();
        sent
    };
    assert_eq!(world.send(to(server.address)).await, Ok(200));
    assert_eq!(world.send(to(refusing().await)).await, Err("connect_refused"));
    let lines = world.lines.of("client", 2).await;
    let nothing = [("route_name", Value::Null), ("attempts", Value::Null)];
    check(&lines[0], &nothing);
    check(&lines[0], &[("response_code", 200.into()), ("bytes_sent", 5.into())]);
    check(&lines[0], &[("path", "/x".into()), ("reason", Value::Null)]);
    check(&lines[1], &nothing);
    check(&lines[1], &[("response_code", 503.into()), ("response_flags", "UF".into())]);
    check(&lines[1], &[("reason", "connect_refused".into())]);
}
