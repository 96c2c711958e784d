//! Filters that ask somebody outside: what is answered, and that a request waits no longer than it may.

use super::kit::{
    Service, ask, behind, connection, decided, listener, peer, refused, request, send, streamed,
    told,
};
use crate::fixture::{Count, at, bounded, cluster, config, eventually, idle, metric};
use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::{HeaderValue as PbValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3 as auth;
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::rpc;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use mesh_core::identity::Peer;
use mesh_core::model::http_filter::{
    AuthzBody, AuthzService, ExtAuthz, GrpcService, HttpAuthz, HttpUri,
};
use mesh_core::model::{ConcurrencyLimit, HttpFilter, HttpFilterConfig};
use mesh_tower::server::ServerLayer;
use mesh_tower::testing::{MemoryNetwork, MemoryServer};
use mesh_tower::{BoxError, Mesh, MeshBody};
use prost::Message;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;

const GRPC: &str = "\ncontent-type: application/grpc";
const MS: Duration = Duration::from_millis(1);
const PARTIAL: &str = "x-envoy-auth-partial-body";
const SHOP: &str = "spiffe://m/ns/shop/sa/shop";

/// A mesh of a listener `web` with these filters, and of the cluster `a` that answers by `answer`.
fn mesh<F, Fut>(filters: Vec<HttpFilter>, answer: F) -> (Mesh, MemoryServer)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<MeshBody>> + Send + 'static,
{
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), answer);
    let mut update = config(cluster(|_| {}), &[at(1)], |_| {});
    update.listeners = listener(|http| http.http_filters = filters).listeners;
    (crate::fixture::mesh(&network, update), server)
}

fn authz(change: impl FnOnce(&mut ExtAuthz)) -> HttpFilter {
    let service = GrpcService::new("a", 200 * MS);
    let mut filter = ExtAuthz::new(AuthzService::Grpc(service));
    change(&mut filter);
    HttpFilter::new("authz", HttpFilterConfig::ExtAuthz(Arc::new(filter)))
}

/// A service that counts its requests, and answers with what it sees of `x-user` and of the body.
fn counting(mesh: &Mesh) -> (Service, Count) {
    let called = Count::default();
    let count = called.clone();
    let service = behind(&ServerLayer::new(mesh, "web"), move |request| {
        count.add();
        async move {
            let user = request.headers().get("x-user").cloned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let user = user.as_ref().map_or("", |user| user.to_str().unwrap());
            let text = format!("{user} {}", String::from_utf8_lossy(&body));
            Response::new(MeshBody::full(text.trim().to_owned()))
        }
    });
    (service, called)
}

/// A gRPC authorizer: allows `/allow`, hangs at `/hang`, fails at `/fails`, denies all else; and says who
/// asks, and at `/partial` what it is told of the body.
async fn authorizer(request: Request<Incoming>) -> Response<MeshBody> {
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    let asked = auth::CheckRequest::decode(&bytes[5..]).unwrap();
    let attributes = asked.attributes.unwrap();
    let asked = attributes.request.unwrap().http.unwrap();
    let (path, partial) = (asked.path, asked.headers.get(PARTIAL).cloned());
    let header = |key: &str, value: String| HeaderValueOption {
        header: Some(PbValue { key: key.into(), value, ..PbValue::default() }),
        ..HeaderValueOption::default()
    };
    let mut answer = auth::CheckResponse::default();
    let mut status = "0";
    match &*path {
        "/allow" => {
            answer.status = Some(rpc::Status::default());
            let ok = auth::OkHttpResponse {
                headers: vec![header("x-user", attributes.source.unwrap().principal)],
                response_headers_to_add: vec![
                    header("x-checked", "yes".into()),
                    header("set-cookie", "a=1".into()),
                    header("set-cookie", "b=2".into()),
                ],
                ..auth::OkHttpResponse::default()
            };
            answer.http_response = Some(auth::check_response::HttpResponse::OkResponse(ok));
        }
        "/hang" => std::future::pending().await,
        "/fails" => status = "13",
        _ => {
            answer.status = Some(rpc::Status { code: 7, ..rpc::Status::default() });
            let no = auth::DeniedHttpResponse {
                headers: vec![
                    header("set-cookie", "a=1".into()),
                    header("set-cookie", "b=2".into()),
                ],
                status: Some(HttpStatus { code: 401 }),
                body: if path == "/partial" {
                    partial.unwrap_or_default()
                } else {
                    "not you".into()
                },
            };
            answer.http_response = Some(auth::check_response::HttpResponse::DeniedResponse(no));
        }
    }
    let message = answer.encode_to_vec();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let frames = [Frame::data(framed.freeze()), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
    let mut response = Response::new(MeshBody::new(StreamBody::new(stream::iter(frames))));
    let value = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", value);
    response
}

fn cookies(response: &Response<MeshBody>) -> Vec<&str> {
    let cookies = response.headers().get_all("set-cookie").iter();
    cookies.map(|cookie| cookie.to_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn who_an_authorizer_allows_gets_through_and_nobody_else() {
    let (mesh, server) = mesh(vec![authz(|_| {})], authorizer);
    let (service, called) = counting(&mesh);
    let connection = connection(&mesh, peer(SHOP));
    let allowed = send(&service, &connection, request("GET /allow\nhost: a\nx-user: root")).await;
    assert_eq!(allowed.headers()["x-checked"], "yes");
    assert_eq!(cookies(&allowed), ["a=1", "b=2"]);
    assert_eq!(told(allowed).await, format!("200 {SHOP}"));
    for (path, answer, by, after) in [
        ("/deny", "401 not you", "ext_authz_denied/authz/", 0),
        ("/fails", "403 ", "ext_authz_error/authz/", 0),
        ("/hang", "403 ", "ext_authz_error/authz/", 200),
    ] {
        let begun = Instant::now();
        let response = send(&service, &connection, request(&format!("GET {path}\nhost: a"))).await;
        assert_eq!(refused(&response), by, "{path}");
        assert_eq!((&*told(response).await, begun.elapsed()), (answer, after * MS), "{path}");
    }
    let denied = send(&service, &connection, request("GET /deny\nhost: a")).await;
    assert_eq!(cookies(&denied), ["a=1", "b=2"]);
    let denied = ask(&service, &connection, &format!("POST /deny\nhost: a{GRPC}")).await;
    assert_eq!(denied, "grpc 16 not you");
    server.refuse();
    server.close();
    tokio::time::sleep(10 * MS).await;
    let gone = send(&service, &connection, request("GET /allow\nhost: a")).await;
    assert_eq!(refused(&gone), "ext_authz_error/authz/");
    assert_eq!(called.get(), 1, "nobody else reached the service");
    assert_eq!(decided(&mesh, "authz"), "allowed:1 denied:3 failed_closed:3");
    idle(&mesh).await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_open_or_is_a_shadow_lets_all_through() {
    for (shadow, expected) in [
        (false, ["200 root", "401 not you", "denied:1 failed_open:1"]),
        (true, ["200 root", "200 root", "would_be_denied:1 would_fail_closed:1"]),
    ] {
        let filter = authz(|filter| {
            (filter.shadow, filter.failure_mode_allow) = (shadow, !shadow);
        });
        let (mesh, _server) = mesh(vec![filter], authorizer);
        let (service, _) = counting(&mesh);
        let connection = connection(&mesh, Peer::Plaintext);
        let ask = async |path: &str| {
            ask(&service, &connection, &format!("GET {path}\nhost: a\nx-user: root")).await
        };
        let found = [ask("/hang").await, ask("/deny").await, decided(&mesh, "authz")];
        assert_eq!(found, expected);
    }
}

/// What somebody would have said after the deadline decides nothing, not even where failures let through.
#[tokio::test(start_paused = true)]
async fn the_callers_deadline_bounds_the_question() {
    let filter = authz(|filter| filter.failure_mode_allow = true);
    let (mesh, _server) = mesh(vec![filter], authorizer);
    let (service, called) = counting(&mesh);
    let connection = connection(&mesh, peer(SHOP));
    for (text, answer) in [
        (format!("POST /hang\nhost: a{GRPC}\ngrpc-timeout: 50m"), "grpc 4"),
        ("GET /hang\nhost: a\nx-envoy-expected-rq-timeout-ms: 50".to_owned(), "504"),
    ] {
        let begun = Instant::now();
        let found = ask(&service, &connection, &text).await;
        assert_eq!(
            (found, begun.elapsed()),
            (format!("{answer} the caller's deadline passed"), 50 * MS)
        );
    }
    assert_eq!(called.get(), 0);
    idle(&mesh).await;
}

/// A deadline that is over before anybody can be asked is no way around who would be.
#[tokio::test]
async fn nobody_is_asked_after_the_callers_deadline() {
    let filter = authz(|filter| filter.failure_mode_allow = true);
    let (mesh, _server) = mesh(vec![filter], authorizer);
    let (service, called) = counting(&mesh);
    let connection = connection(&mesh, peer(SHOP));
    let text = format!("POST /deny\nhost: a{GRPC}\ngrpc-timeout: 1n");
    let found = ask(&service, &connection, &text).await;
    assert_eq!(found, "grpc 4 the caller's deadline passed");
    assert_eq!((called.get(), decided(&mesh, "authz").as_str()), (0, ""));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_takes_its_question_along() {
    let mut limit = ConcurrencyLimit::default();
    limit.max_concurrent_requests = 1;
    let one = HttpFilter::new("one", HttpFilterConfig::ConcurrencyLimit(Arc::new(limit)));
    let (mesh, _server) = mesh(vec![one, authz(|_| {})], authorizer);
    let (service, _) = counting(&mesh);
    let connection = connection(&mesh, peer(SHOP));
    let mut waiting = request("GET /hang\nhost: a");
    waiting.extensions_mut().insert(Arc::clone(&connection));
    let waiting = tokio::spawn(service.clone().oneshot(waiting));
    eventually("it is asked", || metric(&mesh, "mesh_attempts_active", &[]) == 1).await;
    let allow = "GET /allow\nhost: a";
    assert_eq!(&ask(&service, &connection, allow).await[..3], "503", "one is inside");
    waiting.abort();
    assert!(bounded(waiting).await.unwrap_err().is_cancelled());
    // Long before the authorizer's own time is over.
    let begun = Instant::now();
    idle(&mesh).await;
    assert!(begun.elapsed() < 100 * MS);
    assert_eq!(ask(&service, &connection, allow).await, format!("200 {SHOP}"));
    assert_eq!(metric(&mesh, "mesh_server_requests_active", &[]), 0);
}

/// An authorizer of HTTP that allows whatever body is not `no`, and counts how often it is asked.
fn by_body(partial: bool, change: impl FnOnce(&mut Vec<HttpFilter>)) -> (Mesh, Count) {
    let asked = Count::default();
    let count = asked.clone();
    let uri = HttpUri::new("http://authz", "a", 200 * MS);
    let mut filter = ExtAuthz::new(AuthzService::Http(HttpAuthz::new(uri)));
    filter.with_request_body = Some(AuthzBody {
        max_request_bytes: 4,
        allow_partial_message: partial,
        pack_as_bytes: false,
    });
    let mut filters = vec![HttpFilter::new("authz", HttpFilterConfig::ExtAuthz(Arc::new(filter)))];
    change(&mut filters);
    let (mesh, _server) = mesh(filters, move |request| {
        count.add();
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert!(body.len() <= 4, "{body:?}");
            let status = if body.starts_with(b"no") { 403 } else { 200 };
            Response::builder().status(status).body(MeshBody::empty()).unwrap()
        }
    });
    (mesh, asked)
}

#[tokio::test(start_paused = true)]
async fn an_authorizer_sees_the_body_and_the_service_the_whole_of_it() {
    let too_long = "413";
    for (partial, body, expected, times) in [
        (false, &["ab", "cd"][..], "200 abcd", 1),
        (false, &["ab", "cd", "ef"], too_long, 0),
        (true, &["ab", "cd", "ef"], "200 abcdef", 1),
        (true, &["no", "thing"], "403", 1),
        (true, &[], "200", 1),
    ] {
        let (mesh, asked) = by_body(partial, |_| {});
        let (service, _) = counting(&mesh);
        let mut request = request("POST /\nhost: a");
        *request.body_mut() = streamed(body);
        let response = send(&service, &connection(&mesh, Peer::Plaintext), request).await;
        assert_eq!(told(response).await.trim_end(), expected, "{body:?}");
        assert_eq!(asked.get(), times, "{body:?}");
    }
}

/// It is told whether it sees the whole body, and by nobody else.
#[tokio::test(start_paused = true)]
async fn an_authorizer_is_told_whether_the_body_is_a_part() {
    let over_http = |request: Request<Incoming>| async move {
        let values = request.headers().get_all(PARTIAL).iter();
        let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
        let told = MeshBody::full(values.join(","));
        Response::builder().status(401).body(told).unwrap()
    };
    for (max, body, expected) in [
        (Some(4), &["abc"][..], "401 false"),
        (Some(4), &["ab", "cde"], "401 true"),
        (Some(4), &[], "401 false"),
        (None, &["abc"], "401"),
    ] {
        let wanted = max.map(|max_request_bytes| AuthzBody {
            max_request_bytes,
            allow_partial_message: true,
            pack_as_bytes: false,
        });
        let grpc = authz(|filter| filter.with_request_body = wanted);
        let http = authz(|filter| {
            filter.service =
                AuthzService::Http(HttpAuthz::new(HttpUri::new("http://authz", "a", 200 * MS)));
            let ours = mesh_core::model::matcher::StringPattern::Prefix("x-".into());
            filter.allowed_headers = vec![mesh_core::model::StringMatcher::new(ours)];
            filter.with_request_body = wanted;
        });
        for (mesh, _server) in [mesh(vec![grpc], authorizer), mesh(vec![http], over_http)] {
            let (service, _) = counting(&mesh);
            for forged in
                ["", "\nx-envoy-auth-partial-body: false\nX-Envoy-Auth-Partial-Body: true"]
            {
                let mut request = request(&format!("POST /partial\nhost: a{forged}"));
                *request.body_mut() = streamed(body);
                let response = send(&service, &connection(&mesh, Peer::Plaintext), request).await;
                assert_eq!(told(response).await.trim_end(), expected, "{body:?}{forged}");
            }
        }
    }
}

/// The body is there for each authorizer, and so is the rule of its size.
#[tokio::test(start_paused = true)]
async fn a_second_authorizer_sees_the_body_too() {
    for (partial, body, expected, called) in [
        (true, &["so", "me", "thing"][..], "200 something", 1),
        (true, &["no", "thing"], "403", 0),
        (false, &["so", "me"], "200 some", 1),
        (false, &["so", "me", "thing"], "413", 0),
    ] {
        let filter = |name: &str, partial| {
            let uri = HttpUri::new("http://authz", "a", 200 * MS);
            let mut service = HttpAuthz::new(uri);
            service.path_prefix = format!("/{name}").into();
            let mut filter = ExtAuthz::new(AuthzService::Http(service));
            filter.with_request_body = Some(AuthzBody {
                max_request_bytes: 4,
                allow_partial_message: partial,
                pack_as_bytes: false,
            });
            HttpFilter::new(name, HttpFilterConfig::ExtAuthz(Arc::new(filter)))
        };
        let filters = vec![filter("first", true), filter("second", partial)];
        let (mesh, _server) = mesh(filters, |request| async move {
            let second = request.uri().path().starts_with("/second");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let status = if second && !body.starts_with(b"some") { 403 } else { 200 };
            Response::builder().status(status).body(MeshBody::empty()).unwrap()
        });
        let (service, count) = counting(&mesh);
        let mut request = request("POST /\nhost: a");
        *request.body_mut() = streamed(body);
        let response = send(&service, &connection(&mesh, Peer::Plaintext), request).await;
        assert_eq!(told(response).await.trim_end(), expected, "{body:?}");
        assert_eq!(count.get(), called, "{body:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_asked_about() {
    let part = || stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"a")))]);
    let broken = || stream::iter([Err::<Frame<Bytes>, _>(BoxError::from("broken"))]);
    let stuck = MeshBody::new(StreamBody::new(part().chain(stream::pending())));
    let broken = MeshBody::new(StreamBody::new(part().chain(broken())));
    let mut size = mesh_core::model::BodySizeLimit::new(1);
    size.enforced = mesh_core::model::Fraction::ALL;
    let size = HttpFilter::new("size", HttpFilterConfig::BodySizeLimit(Arc::new(size)));
    let too_large =
        "grpc 8 the body of the request is larger than the limit of 1 (max_request_bytes)";
    for (body, size, expected) in [
        (stuck, None, "grpc 4 the caller's deadline passed"),
        (broken, None, "grpc 13 the request's body broke off"),
        (streamed(&["a", "b"]), Some(size), too_large),
    ] {
        let (mesh, asked) = by_body(true, |filters| filters.splice(..0, size).for_each(drop));
        let (service, called) = counting(&mesh);
        let mut request = request(&format!("POST /\nhost: a{GRPC}\ngrpc-timeout: 50m"));
        *request.body_mut() = body;
        let response = send(&service, &connection(&mesh, Peer::Plaintext), request).await;
        assert_eq!(told(response).await, expected);
        assert_eq!((asked.get(), called.get()), (0, 0), "{expected}");
    }
}
