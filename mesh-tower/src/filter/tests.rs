//! Filters that ask, against who answers in memory: authorizers and counters here, keys of tokens beside it.

mod tokens;

use super::{AskContext, Asker, Prefixed, read_prefix};
use crate::testing::{MemoryNetwork, MemoryServer, one_cluster};
use crate::{Mesh, MeshBody};
use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::{HeaderValue as PbValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3 as auth;
use envoy_types::pb::envoy::service::ratelimit::v3 as limit;
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::rpc;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use mesh_core::filter::{Chain, FilterContext, Overrides, Pass, Step, Told};
use mesh_core::identity::Peer;
use mesh_core::model::http_filter::*;
use mesh_core::rbac;
use prost::Message;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const OTHER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 80);

/// A mesh with one cluster, `other`, and what its one endpoint does.
fn mesh<F, Fut>(answer: F) -> (Arc<Asker>, MemoryServer, Mesh)
where
    F: Fn(Request<hyper::body::Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<MeshBody>> + Send + 'static,
{
    let network = MemoryNetwork::new();
    let server = network.serve_fn(OTHER, answer);
    let config = one_cluster("other", [OTHER]);
    let mesh = Mesh::builder().config(config).connector(network).build().unwrap();
    (Asker::new(&mesh), server, mesh)
}

/// What becomes of a request that the filter sees.
async fn pass(asker: &Arc<Asker>, chain: &Chain, request: Request<()>) -> String {
    let (mut parts, ()) = request.into_parts();
    let address = "10.1.2.3:1".parse().unwrap();
    let connection = rbac::Connection::new(&Peer::Plaintext, address, address);
    let overrides = Overrides::default();
    let mut why = String::new();
    let mut observer = |_: &Arc<str>, told: Told<'_>| {
        if let Told::Asked(decision) = told {
            why = decision.failure.map(|failure| format!(" ({failure})")).unwrap_or_default();
        }
    };
    let mut pass = Pass::new(1);
    let mut cx = FilterContext {
        request: &mut parts,
        connection: &connection,
        narrowed: None,
        remote: connection.direct_remote,
        now: crate::clock::now(),
        wall: crate::clock::wall(),
    };
    let mut step = pass.start(chain, &overrides, &mut cx, &mut observer);
    while let Step::Ask(question) = step {
        let answer = asker.ask(*question, AskContext::default()).await;
        step = pass.handle_answer(answer, chain, &overrides, &mut cx, &mut observer);
    }
    let end = match step {
        Step::Continue => format!("on {}", list(&parts.headers)),
        Step::Reply(reply) => {
            let body = String::from_utf8_lossy(&reply.body).into_owned();
            format!("{} {}{body}", reply.status.as_u16(), list(&reply.headers))
        }
        other => format!("{other:?}"),
    };
    format!("{}{why}", end.trim_end())
}

fn list(headers: &HeaderMap) -> String {
    let headers = headers.iter().filter(|(name, _)| *name != "www-authenticate");
    headers.map(|(name, value)| format!("{name}={} ", value.to_str().unwrap())).collect()
}

fn chain(config: HttpFilterConfig) -> Chain {
    Chain::compile(&[HttpFilter::new("f", config)], None).unwrap()
}

/// A gRPC answer of one message.
fn grpc(message: &[u8]) -> Response<MeshBody> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(framed.freeze()), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
    let body = MeshBody::new(StreamBody::new(futures_util::stream::iter(frames)));
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// The message of a gRPC request.
async fn received<M: Message + Default>(request: Request<hyper::body::Incoming>) -> M {
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    M::decode(&bytes[5..]).unwrap()
}

fn authz(change: impl FnOnce(&mut ExtAuthz)) -> Chain {
    let service = GrpcService::new("other", Duration::from_millis(200));
    let mut filter = ExtAuthz::new(AuthzService::Grpc(service));
    change(&mut filter);
    chain(HttpFilterConfig::ExtAuthz(Arc::new(filter)))
}

fn to(path: &str) -> Request<()> {
    Request::get(format!("http://reviews{path}")).header("x-user", "u").body(()).unwrap()
}

/// Allows `/allow`, hangs at `/hang`, says nothing that could be read at `/garbage`, fails at `/fails`.
async fn authorizer(request: Request<hyper::body::Incoming>) -> Response<MeshBody> {
    assert_eq!(request.uri().path(), "/envoy.service.auth.v3.Authorization/Check");
    let asked = received::<auth::CheckRequest>(request).await;
    let attributes = asked.attributes.unwrap();
    let asked = attributes.request.unwrap().http.unwrap();
    assert_eq!((&*asked.host, &*asked.headers["x-user"]), ("reviews", "u"));
    let header = |key: &str, value: &str| HeaderValueOption {
        header: Some(PbValue { key: key.into(), value: value.into(), ..PbValue::default() }),
        ..HeaderValueOption::default()
    };
    let mut answer = auth::CheckResponse::default();
    answer.status = Some(rpc::Status { code: 7, ..rpc::Status::default() });
    match &*asked.path {
        "/allow" => {
            answer.status = Some(rpc::Status::default());
            let mut ok = auth::OkHttpResponse::default();
            ok.headers = vec![header("x-user", "alice")];
            answer.http_response = Some(auth::check_response::HttpResponse::OkResponse(ok));
        }
        "/hang" => std::future::pending().await,
        "/garbage" => return grpc(b"garbage"),
        "/fails" => {
            let mut response = grpc(b"");
            *response.body_mut() = MeshBody::empty();
            response.headers_mut().insert("grpc-status", HeaderValue::from_static("13"));
            return response;
        }
        "/bare" => {}
        _ => {
            let mut no = auth::DeniedHttpResponse::default();
            no.status = Some(HttpStatus { code: 401 });
            no.headers = vec![header("x-why", "because")];
            no.body = "no".into();
            answer.http_response = Some(auth::check_response::HttpResponse::DeniedResponse(no));
        }
    }
    grpc(&answer.encode_to_vec())
}

#[tokio::test(start_paused = true)]
async fn an_authorizer_is_asked_and_obeyed() {
    let (asker, server, mesh) = mesh(authorizer);
    mesh.ready().await.unwrap();
    let closed = authz(|_| {});
    let open = authz(|filter| filter.failure_mode_allow = true);
    for (path, by_closed, by_open) in [
        ("/allow", "on x-user=alice", "on x-user=alice"),
        (
            "/deny",
            "401 x-why=because content-type=text/plain no",
            "401 x-why=because content-type=text/plain no",
        ),
        ("/bare", "403", "403"),
        (
            "/hang",
            "403 (cluster `other`: no answer within 200ms)",
            "on x-user=u (cluster `other`: no answer within 200ms)",
        ),
        (
            "/fails",
            "403 (cluster `other`: it answered status 13)",
            "on x-user=u (cluster `other`: it answered status 13)",
        ),
    ] {
        assert_eq!(pass(&asker, &closed, to(path)).await, by_closed, "{path}");
        assert_eq!(pass(&asker, &open, to(path)).await, by_open, "{path}");
    }
    let garbage = pass(&asker, &closed, to("/garbage")).await;
    assert!(garbage.starts_with("403 (cluster `other`: its answer can't be read"), "{garbage}");
    server.refuse();
    server.close();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let gone = pass(&asker, &closed, to("/allow")).await;
    assert!(gone.starts_with("403 (cluster `other`: "), "{gone}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_there_is_nobody() {
    let (asker, _server, mesh) = mesh(authorizer);
    mesh.ready().await.unwrap();
    let service = GrpcService::new("none", Duration::from_millis(200));
    let chain = authz(|filter| filter.service = AuthzService::Grpc(service));
    let found = pass(&asker, &chain, to("/allow")).await;
    assert!(found.starts_with("403 (cluster `none`: "), "{found}");
    assert!(found.contains("no such cluster"), "{found}");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_request_counts_too() {
    let (asker, _server, mesh) = mesh(authorizer);
    mesh.ready().await.unwrap();
    let chain = authz(|_| {});
    let (mut parts, ()) = to("/hang").into_parts();
    let address = "10.1.2.3:1".parse().unwrap();
    let connection = rbac::Connection::new(&Peer::Plaintext, address, address);
    let now = crate::clock::now();
    let mut cx = FilterContext {
        request: &mut parts,
        connection: &connection,
        narrowed: None,
        remote: connection.direct_remote,
        now,
        wall: crate::clock::wall(),
    };
    let observer = &mut |_: &Arc<str>, _: Told<'_>| {};
    let step = Pass::new(1).start(&chain, &Overrides::default(), &mut cx, observer);
    let Step::Ask(question) = step else { panic!("{step:?}") };
    let deadline = Some(now + Duration::from_millis(50));
    let before = tokio::time::Instant::now();
    let answer = asker.ask(*question, AskContext { deadline, ..AskContext::default() }).await;
    assert!(format!("{answer:?}").contains("Timeout(50ms)"), "{answer:?}");
    assert_eq!(before.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn an_authorizer_of_http_gets_the_head() {
    let (asker, _server, mesh) = mesh(|request| async move {
        assert_eq!(request.headers().get("content-length").unwrap(), "0");
        assert!(request.headers().get("x-user").is_none());
        let mut response = Response::new(MeshBody::full(request.uri().path().to_owned()));
        response.headers_mut().insert("x-user", HeaderValue::from_static("alice"));
        *response.status_mut() = match request.uri().path() {
            "/check/allow" => http::StatusCode::OK,
            "/check/down" => http::StatusCode::BAD_GATEWAY,
            _ => http::StatusCode::FORBIDDEN,
        };
        response
    });
    mesh.ready().await.unwrap();
    let server = HttpUri::new("http://authz", "other", Duration::from_millis(200));
    let mut service = HttpAuthz::new(server);
    service.path_prefix = "/check".into();
    let exact = mesh_core::model::matcher::StringPattern::Exact("x-user".into());
    service.allowed_upstream_headers = vec![mesh_core::model::StringMatcher::new(exact)];
    let chain = authz(|filter| filter.service = AuthzService::Http(service));
    assert_eq!(pass(&asker, &chain, to("/allow")).await, "on x-user=alice");
    let denied = pass(&asker, &chain, to("/deny")).await;
    assert!(denied.starts_with("403 ") && denied.ends_with("/check/deny"), "{denied}");
    let down = "403 (cluster `other`: it answered status 502)";
    assert_eq!(pass(&asker, &chain, to("/down")).await, down);
}

#[tokio::test(start_paused = true)]
async fn whoever_counts_is_asked_and_obeyed() {
    let (asker, _server, mesh) = mesh(|request| async move {
        let asked = received::<limit::RateLimitRequest>(request).await;
        assert_eq!(asked.domain, "shop");
        let user = &asked.descriptors[0].entries[0];
        let code = if user.value == "many" { 2 } else { 1 };
        let mut answer = limit::RateLimitResponse::default();
        answer.overall_code = code;
        grpc(&answer.encode_to_vec())
    });
    mesh.ready().await.unwrap();
    let service = GrpcService::new("other", Duration::from_millis(20));
    let mut filter = RateLimit::new("shop", service);
    let action = RateLimitAction::RequestHeaders {
        name: "x-user".parse().unwrap(),
        descriptor_key: "user".into(),
        skip_if_absent: false,
    };
    filter.rules = vec![RateLimitRule::new(vec![action])];
    let chain = chain(HttpFilterConfig::RateLimit(Arc::new(filter)));
    assert_eq!(pass(&asker, &chain, to("/")).await, "on x-user=u");
    let many = Request::get("http://reviews/").header("x-user", "many").body(()).unwrap();
    assert_eq!(pass(&asker, &chain, many).await, "429 x-envoy-ratelimited=true");
}

#[tokio::test]
async fn a_body_that_was_looked_at_is_whole() {
    async fn check(parts: &[&'static str], most: usize, expected: (&str, bool)) {
        let frames: Vec<_> =
            parts.iter().map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from(*part)))).collect();
        let mut body = Prefixed::new(StreamBody::new(futures_util::stream::iter(frames)));
        // Whoever looked before, at less or at more, takes nothing from who looks next.
        for most in [most, most, 1, most, 9, most] {
            let prefix = read_prefix(&mut body, most, false).await.unwrap();
            let all = parts.concat();
            let first = &all[..all.len().min(most)];
            assert_eq!((&*prefix.bytes, prefix.more), (first.as_bytes(), all.len() > most));
        }
        let prefix = read_prefix(&mut body, most, false).await.unwrap();
        assert_eq!((&*prefix.bytes, prefix.more), (expected.0.as_bytes(), expected.1), "{parts:?}");
        assert_eq!(body.bytes_read(), parts.concat().len() as u64, "counted once");
        let whole = body.collect().await.unwrap().to_bytes();
        assert_eq!(whole, parts.concat());
    }
    check(&[], 3, ("", false)).await;
    check(&["ab", "c"], 3, ("abc", false)).await;
    check(&["ab", "cd"], 3, ("abc", true)).await;
    check(&["ab", "c", "d"], 3, ("abc", true)).await;
    check(&["abcd"], 0, ("", true)).await;
}

/// Each part that is kept costs more than its bytes, and whoever sends chooses how many there are.
#[tokio::test]
async fn small_parts_are_gathered_in_their_order() {
    let parts =
        [vec![1; 1], vec![2; 3], vec![3; 5000], vec![], vec![4; 1], vec![5; 900], vec![6; 9]];
    let whole = parts.concat();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    let frames = parts.into_iter().map(|part| Frame::data(Bytes::from(part)));
    let frames = frames.chain([Frame::trailers(trailers.clone())]).map(Ok::<_, Infallible>);
    let mut body = Prefixed::new(StreamBody::new(futures_util::stream::iter(frames)));
    for most in [4, 5004, 9000] {
        let prefix = read_prefix(&mut body, most, false).await.unwrap();
        assert_eq!(*prefix.bytes, whole[..most.min(whole.len())]);
    }
    assert!(!body.is_end_stream());
    let (mut data, mut found) = (Vec::new(), None);
    while let Some(frame) = body.frame().await.transpose().unwrap() {
        match frame.into_data() {
            Ok(part) => data.push(part),
            Err(frame) => found = frame.into_trailers().ok(),
        }
    }
    assert_eq!(data.iter().map(Bytes::len).collect::<Vec<_>>(), [4, 5000, 910]);
    assert_eq!((data.concat(), found), (whole, Some(trailers)));
    assert!(body.is_end_stream());
}

/// A stream that waits for its answer before it goes on is asked about, and what is known of its end is said.
#[tokio::test]
async fn a_part_of_a_body_waits_for_nothing_behind_it() {
    let part =
        |text: &'static str| Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes())));
    let stays = futures_util::stream::pending;
    let mut body = Prefixed::new(StreamBody::new(
        futures_util::stream::iter([part("ab"), part("c")]).chain(stays()),
    ));
    for (most, expected) in [(3, "abc"), (2, "ab"), (3, "abc")] {
        let read = read_prefix(&mut body, most, true);
        let read = tokio::time::timeout(Duration::from_secs(9), read).await.unwrap().unwrap();
        assert_eq!((&*read.bytes, read.more), (expected.as_bytes(), true));
    }
    let mut body = Prefixed::new(http_body_util::Full::new(Bytes::from_static(b"abc")));
    let read = read_prefix(&mut body, 3, true).await.unwrap();
    assert_eq!((&*read.bytes, read.more), (&b"abc"[..], false));
    // What was read to its end by another is known to have ended.
    let mut body = Prefixed::new(StreamBody::new(futures_util::stream::iter([part("abc")])));
    read_prefix(&mut body, 3, false).await.unwrap();
    assert!(!read_prefix(&mut body, 3, true).await.unwrap().more);
}
