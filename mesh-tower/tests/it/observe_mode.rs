//! Without a configuration: every call passes unchanged, and is measured.

use crate::fixture::{Server, at, bounded, call, eventually, flags, metric, over_h2, reply, text};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use mesh_core::outcome::{ConnectFailure, Failure};
use mesh_core::update::UnknownHosts;
use mesh_tower::dns::{Answer, Resolve, ResolveError};
use mesh_tower::observe::{AttemptOutcome, CallReport};
use mesh_tower::testing::{MemoryNetwork, MemoryServer};
use mesh_tower::{CallOptions, Mesh, MeshBody};
use tower::ServiceExt;

/// A server that gives back method, path, headers and body as text.
async fn mirror() -> Server {
    Server::start(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let mut lines: Vec<_> = head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path_and_query().unwrap();
        let text = format!(
            "{} {path}\n{}\n{}",
            head.method,
            lines.join("\n"),
            String::from_utf8_lossy(&body)
        );
        Response::new(Full::from(text))
    })
    .await
}

fn to(server: &Server, path: &str) -> Request<MeshBody> {
    let mut request = Request::post(format!("http://{}{path}", server.address))
        .body(MeshBody::full("body"))
        .unwrap();
    request.headers_mut().insert("x-mine", HeaderValue::from_static("1"));
    request
}

#[tokio::test]
async fn calls_pass_unchanged_and_are_measured() {
    let server = mirror().await;
    let mesh = Mesh::builder().build().unwrap();
    bounded(mesh.ready()).await.unwrap();
    let host = server.address;
    let answer = text(call(&mesh, to(&server, "/p?q")).await.unwrap()).await;
    assert_eq!(answer, format!("POST /p?q\ncontent-length: 4\nhost: {host}\nx-mine: 1\nbody"));
    let answer = text(call(&mesh, over_h2(to(&server, "/p?q"))).await.unwrap()).await;
    assert_eq!(answer, "POST /p?q\ncontent-length: 4\nx-mine: 1\nbody");
    // By name.
    let mut named = to(&server, "/");
    *named.uri_mut() = format!("http://localhost:{}/", host.port()).parse().unwrap();
    assert!(text(call(&mesh, named).await.unwrap()).await.contains("host: localhost:"));
    assert_eq!(metric(&mesh, "mesh_calls_total", &[("status", "200")]), 3);
    assert_eq!(metric(&mesh, "mesh_calls_active", &[]), 0);
    assert_eq!(mesh.configuration().generation, 1);
}

#[tokio::test]
async fn a_call_is_measured_to_the_end_of_its_body() {
    let server = Server::text("hello").await;
    let mesh = Mesh::builder().build().unwrap();
    let uri = format!("http://{}/", server.address);
    let request = || Request::get(&uri).body(MeshBody::empty()).unwrap();
    let response = call(&mesh, request()).await.unwrap();
    assert_eq!(metric(&mesh, "mesh_calls_active", &[]), 1, "its body is not read yet");
    text(response).await;
    assert_eq!(metric(&mesh, "mesh_calls_active", &[]), 0);
}

#[tokio::test]
async fn failures_are_typed_and_counted() {
    let mesh = Mesh::builder().build().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let request = |uri: String| Request::get(uri).body(MeshBody::empty()).unwrap();
    let error = call(&mesh, request(format!("http://{free}/"))).await.unwrap_err();
    assert_eq!(error.code(), "connect_refused");
    let server = Server::start(|_| async { panic!("a request came in the clear") }).await;
    let error = call(&mesh, request(format!("https://{}/", server.address))).await.unwrap_err();
    let expected =
        if cfg!(feature = "tls") { "connect_tls_protocol" } else { "connect_tls_unavailable" };
    assert_eq!(error.code(), expected);
    let error = call(&mesh, request("ftp://secret.test/".to_owned())).await.unwrap_err();
    assert_eq!(error.code(), "invalid_request");
    let error = call(&mesh, request("/no/authority".to_owned())).await.unwrap_err();
    assert_eq!((error.code(), error.http_status().as_u16()), ("invalid_request", 400));
    assert_eq!(flags(&mesh), "DPE:2 UF:2");
}

#[tokio::test]
async fn a_foreign_transport_is_passed_through_too() {
    let mesh = Mesh::builder().build().unwrap();
    let transport = tower::service_fn(|request: Request<MeshBody>| async move {
        assert!(request.extensions().get::<mesh_tower::Endpoint>().is_none());
        assert_eq!(request.uri(), "https://example.test/x");
        Ok::<_, mesh_tower::BoxError>(reply(200, "theirs"))
    });
    let service = tower::Layer::layer(&mesh_tower::MeshLayer::new(&mesh), transport);
    let request = Request::get("https://example.test/x").body(MeshBody::empty()).unwrap();
    assert_eq!(text(bounded(service.oneshot(request)).await.unwrap()).await, "theirs");
}

#[tokio::test]
async fn unknown_hosts_pass_where_the_configuration_says_so() {
    let server = Server::text("theirs").await;
    let mut update = crate::fixture::config(crate::fixture::cluster(|_| {}), &[], |_| {});
    let routes = std::sync::Arc::make_mut(&mut update.route_configuration);
    let host = std::sync::Arc::make_mut(&mut routes.virtual_hosts[0]);
    host.domains = vec![mesh_core::model::Domain::Exact("a".into())];
    update.unknown_hosts = UnknownHosts::Passthrough;
    let mesh = Mesh::builder().config(update).build().unwrap();
    let request =
        Request::get(format!("http://{}/", server.address)).body(MeshBody::empty()).unwrap();
    assert_eq!(text(call(&mesh, request).await.unwrap()).await, "theirs");
    let error = call(&mesh, crate::fixture::get("/")).await.unwrap_err();
    assert_eq!(error.code(), "no_endpoints", "a known host goes by its route");
}

#[tokio::test]
async fn a_request_that_is_only_a_path_goes_to_its_host() {
    let server = mirror().await;
    let mesh = Mesh::builder().build().unwrap();
    let mut request = to(&server, "/p?q");
    *request.uri_mut() = "/p?q".parse().unwrap();
    let host = HeaderValue::from_str(&server.address.to_string()).unwrap();
    request.headers_mut().insert("host", host);
    let answer = text(call(&mesh, request).await.unwrap()).await;
    let host = server.address;
    assert_eq!(answer, format!("POST /p?q\ncontent-length: 4\nhost: {host}\nx-mine: 1\nbody"));
    let mut nowhere = to(&server, "/");
    *nowhere.uri_mut() = "/".parse().unwrap();
    let error = call(&mesh, nowhere).await.unwrap_err();
    assert_eq!(error.code(), "invalid_request");
}

#[tokio::test]
async fn a_shutdown_waits_for_calls_that_pass_through() {
    let server = Server::start(|_| async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        Response::new(Full::from("late"))
    })
    .await;
    let mesh = Mesh::builder().build().unwrap();
    let slow = tokio::spawn({
        let (mesh, request) = (mesh.clone(), to(&server, "/"));
        async move { text(call(&mesh, request).await.unwrap()).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    bounded(mesh.shutdown(std::time::Duration::from_secs(30))).await;
    assert_eq!(bounded(slow).await.unwrap(), "late");
}

#[tokio::test]
async fn a_call_that_passes_has_a_report_where_it_is_asked_for() {
    let (mesh, server) = (Mesh::builder().build().unwrap(), mirror().await);
    let reported = |mut request: Request<MeshBody>| {
        request.extensions_mut().insert(CallOptions::new().report());
        request
    };
    let silent = call(&mesh, to(&server, "/")).await.unwrap();
    assert!(silent.extensions().get::<CallReport>().is_none());
    drop(silent.into_body().collect().await.unwrap());
    let response = call(&mesh, reported(over_h2(to(&server, "/")))).await.unwrap();
    let report = response.extensions().get::<CallReport>().unwrap();
    let [attempt] = &*report.attempts else { panic!("{report:?}") };
    let status = http::StatusCode::OK;
    assert_eq!(attempt.outcome, AttemptOutcome::Response { status, grpc_status: None });
    let connection = attempt.connection.as_ref().unwrap();
    assert_eq!((connection.version, connection.reused), (http::Version::HTTP_2, false));

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let request = Request::get(format!("http://{closed}/")).body(MeshBody::empty()).unwrap();
    let error = call(&mesh, reported(request)).await.unwrap_err();
    let [attempt] = &*error.report().unwrap().attempts else { panic!("{error:?}") };
    let refused = AttemptOutcome::Failed(Failure::Connect(ConnectFailure::Refused));
    assert_eq!((&attempt.outcome, &attempt.connection), (&refused, &None));
}

/// Whoever answers for names leads all of them to one server.
#[derive(Debug)]
struct OneServer;

impl Resolve for OneServer {
    fn resolve(&self, _: &str) -> BoxFuture<'static, Result<Answer, ResolveError>> {
        Box::pin(async { Ok(Answer::new(vec![at(1).ip()], None)) })
    }
}

fn named(authority: &str) -> Request<MeshBody> {
    Request::get(format!("http://{authority}/")).body(MeshBody::empty()).unwrap()
}

/// A mesh without a configuration, and the server that all names lead to.
fn to_one_server() -> (Mesh, MemoryServer) {
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), |_| async { reply(200, "here") });
    (Mesh::builder().connector(network).resolver(OneServer).build().unwrap(), server)
}

#[tokio::test(start_paused = true)]
async fn hosts_without_calls_make_room_for_new_ones() {
    let (mesh, server) = to_one_server();
    let held = call(&mesh, named("held.test")).await.unwrap();
    for number in 0..2100 {
        let name = format!("n{number}.test");
        let request = if number % 2 == 0 { named(&name) } else { over_h2(named(&name)) };
        assert_eq!(text(call(&mesh, request).await.unwrap()).await, "here", "{name}");
    }
    // The server keeps its connections open; those that were let go of end here.
    eventually("unused connections end", || server.open() <= 1024).await;
    assert_eq!(text(held).await, "here");
    assert_eq!(server.opened(), 2101);
}

#[tokio::test(start_paused = true)]
async fn hosts_in_flight_are_not_let_go_of() {
    let (mesh, _server) = to_one_server();
    let mut held = Vec::new();
    for number in 0..1024 {
        held.push(call(&mesh, named(&format!("n{number}.test"))).await.unwrap());
    }
    let error = call(&mesh, named("one.more.test")).await.unwrap_err();
    assert_eq!(error.code(), "overflow_connections");
    assert_eq!(text(held.pop().unwrap()).await, "here");
    assert_eq!(text(call(&mesh, named("one.more.test")).await.unwrap()).await, "here");
}

#[tokio::test(start_paused = true)]
async fn a_host_has_one_pool_however_it_is_written() {
    let (mesh, server) = to_one_server();
    for authority in ["a.test", "A.Test", "a.test:80", "user@a.test", "other:word@A.TEST:80"] {
        assert_eq!(text(call(&mesh, named(authority)).await.unwrap()).await, "here");
    }
    assert_eq!(server.opened(), 1);
}
