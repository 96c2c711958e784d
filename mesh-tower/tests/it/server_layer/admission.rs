//! What is refused before any policy is asked, and the one reading that is made of the rest.

use super::kit::{
    ask, behind, chain, changing, connection, echo, listener, mesh, rbac, refused, request, routes,
    rules, send, streamed, told,
};
use crate::fixture::{bounded, metric};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use mesh_core::WallTime;
use mesh_core::identity::Peer;
use mesh_core::model::filter_chain::EscapedSlashes;
use mesh_core::model::matcher::HeaderMatcherKind;
use mesh_core::model::rbac::RbacFilter;
use mesh_core::model::route::DirectResponse;
use mesh_core::model::{DownstreamTls, ForwardAction, Redirect, RouteAction};
use mesh_core::model::{
    HttpFilter, HttpFilterConfig, Permission, RbacHeader, RbacHeaderName, StringMatcher,
};
use mesh_core::update::ConfigUpdate;
use mesh_tower::MeshBody;
use mesh_tower::server::{Connection, NoConnection, ServerLayer};
use std::sync::Arc;

/// Nothing that leads to `/admin` gets there, and what the service sees is what the policy saw.
#[tokio::test]
async fn no_spelling_of_a_path_passes_a_policy() {
    let deny = || vec![rbac("rbac", "DENY admins: /admin *")];
    for escaped in [
        EscapedSlashes::Reject,
        EscapedSlashes::UnescapeAndForward,
        EscapedSlashes::UnescapeAndRedirect,
    ] {
        let mesh = mesh(listener(|http| {
            http.http_filters = deny();
            http.path.escaped_slashes = escaped;
        }));
        let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
        for path in [
            "/admin",
            "//admin",
            "/./admin",
            "/x/../admin",
            "/x//../../admin",
            "/%61dmin",
            "/%2e/admin",
            "/x/%2e%2e/admin",
            "/x/%2E./admin",
            "/x%2f..%2fadmin",
            "/x/..%5cadmin",
            "/%2fadmin",
            "/x/..;/admin",
            "/x/..;a=b/admin",
            "/.;/admin",
            "/admin;a=b",
            "/admin%00",
            "/admin?x=1",
            "/admin/../admin",
            "/../../admin",
            "/x\\..\\admin",
            "/admin%zz",
        ] {
            let told = ask(&service, &connection, &format!("GET {path}\nhost: a")).await;
            let status = &told[..3];
            let expected = match escaped {
                EscapedSlashes::UnescapeAndRedirect => ["403", "400", "307"].as_slice(),
                _ => ["403", "400"].as_slice(),
            };
            assert!(expected.contains(&status), "{escaped:?} {path}: {told}");
        }
        let absolute = ask(&service, &connection, "GET http://b/x/../admin\nhost: a").await;
        assert_eq!(absolute, "403 RBAC: access denied");
    }
}

/// RFC 9110 section 4.2.3: the path of `http://shop?x` is `/`, for the service and so for policies.
#[tokio::test]
async fn a_path_that_is_only_a_query_is_the_root_to_policies() {
    for (policy, expected) in [
        ("DENY all: / *", "403 RBAC: access denied"),
        ("DENY root: =/ *", "403 RBAC: access denied"),
        ("ALLOW root: =/ *", "200 /?x=1 b/"),
    ] {
        let mesh = mesh(listener(|http| http.http_filters = vec![rbac("rbac", policy)]));
        let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
        let absolute = ask(&service, &connection, "GET http://b?x=1\nhost: b").await;
        assert!(absolute.starts_with(expected), "{policy}: {absolute}");
        let mut parts = request("GET http://b/\nhost: b").into_parts().0.uri.into_parts();
        parts.path_and_query = Some("?x=1".parse().unwrap());
        let mut bare = request("GET /\nhost: b");
        (*bare.uri_mut(), *bare.version_mut()) = (parts.try_into().unwrap(), http::Version::HTTP_2);
        let told = told(send(&service, &connection, bare).await).await;
        assert!(told.starts_with(expected), "{policy}: {told}");
    }
}

/// Clients of gRPC follow nowhere, and who begins with two slashes names a host.
#[tokio::test]
async fn nobody_is_sent_where_he_cannot_or_should_not_go() {
    let mesh = mesh(listener(|http| {
        http.path.escaped_slashes = EscapedSlashes::UnescapeAndRedirect;
        (http.path.merge_slashes, http.path.normalize) = (false, false);
    }));
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    for (text, expected) in [
        ("GET /a%2fb\nhost: a", "307"),
        ("GET /a%2fb\nhost: a\ncontent-type: application/grpc", "grpc 13 "),
        ("GET /%2fevil.example/x\nhost: a", "400"),
        ("GET /%5cevil.example/x\nhost: a", "400"),
    ] {
        let told = ask(&service, &connection, text).await;
        assert!(told.starts_with(expected), "{text}: {told}");
    }
}

/// Which one counts, each reader says for himself: a policy about gRPC, who forwards, and the service.
#[tokio::test]
async fn a_request_has_one_content_type() {
    let mesh = mesh(listener(|_| {}));
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    let why = "the request has several content-type headers: send one";
    for (types, expected) in [
        (["text/x", "text/x"], format!("400 {why}")),
        (["application/grpc", "text/x"], format!("400 {why}")),
        (["text/x", "application/grpc"], format!("grpc 13 {why}")),
    ] {
        let [first, second] = types.map(|kind| format!("content-type: {kind}"));
        let text = format!("POST /\nhost: a\n{first}\n{second}");
        assert_eq!(ask(&service, &connection, &text).await, expected, "{types:?}");
    }
}

/// RFC 9113 section 8.2.3: policies and the service see one cookie, however it came.
#[tokio::test]
async fn crumbs_of_a_cookie_are_one_to_policies() {
    let cookie = HeaderMatcherKind::String(StringMatcher::exact("a=1; b=2"));
    let cookie = RbacHeader::new(RbacHeaderName::parse("cookie").unwrap(), cookie);
    let mut rules = rules("DENY both: / *");
    for policy in rules.policies.values_mut() {
        policy.permissions = vec![Permission::Header(cookie.clone())];
    }
    let mut filter = RbacFilter::default();
    filter.rules = Some(Arc::new(rules));
    let mesh = mesh(listener(|http| {
        http.http_filters = vec![HttpFilter::new("rbac", HttpFilterConfig::Rbac(Arc::new(filter)))];
    }));
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    for (version, cookies, expected) in [
        (http::Version::HTTP_11, "cookie: a=1; b=2", "403"),
        (http::Version::HTTP_2, "cookie: a=1; b=2", "403"),
        (http::Version::HTTP_2, "cookie: a=1\ncookie: b=2", "403"),
        (http::Version::HTTP_2, "cookie: b=2\ncookie: a=1", "200"),
    ] {
        let mut request = request(&format!("GET /\nhost: a\n{cookies}"));
        *request.version_mut() = version;
        let told = told(send(&service, &connection, request).await).await;
        assert!(told.starts_with(expected), "{version:?} {cookies}: {told}");
    }
}

#[tokio::test]
async fn the_service_sees_the_one_path_and_the_one_host() {
    let mesh = mesh(listener(|_| {}));
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    for (text, expected) in [
        ("GET /a//b/../c?q=//\nhost: a:80", "200 /a/c?q=// /a:80"),
        ("GET /a;b=%2e\nhost: a", "200 /a;b=. /a"),
        ("GET http://shop/x\nhost: other", "200 /x shop/shop"),
        ("GET http://shop/x", "200 /x shop/"),
        ("OPTIONS *\nhost: a", "404 the path is `*`, and nothing is served there: name a path"),
        ("GET *\nhost: a", "404 the path is `*`, and nothing is served there: name a path"),
    ] {
        assert_eq!(ask(&service, &connection, text).await, expected, "{text}");
    }
    let mut both = request("GET http://shop/x\nhost: other");
    *both.version_mut() = http::Version::HTTP_2;
    assert_eq!(told(send(&service, &connection, both).await).await, "200 /x shop/");
    let mut renamed = request("GET /x\nhost: shop");
    *renamed.version_mut() = http::Version::HTTP_2;
    assert_eq!(told(send(&service, &connection, renamed).await).await, "200 /x shop/");
}

#[tokio::test]
async fn what_has_no_one_reading_is_refused_in_http_and_in_grpc() {
    let mesh = mesh(listener(|http| {
        (http.limits.max_headers, http.limits.max_header_bytes) = (4, 200);
    }));
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    let long = format!("GET /\nhost: a\nx: {}", "1".repeat(200));
    for (text, status, grpc, message) in [
        ("GET /\nhost: a\nhost: b", 400, 13, "the request names several hosts"),
        ("GET /", 400, 13, "the request names no host"),
        (
            "GET /\nhost: u@a",
            400,
            13,
            "the request names a host that is none: it must be a host with an optional port, and nothing else",
        ),
        ("GET /%00\nhost: a", 400, 13, "the path has a zero byte (`%00`)"),
        (
            "GET /a%2fb\nhost: a",
            400,
            13,
            "the path has an escaped slash (`%2f`, `%5c`), which this listener refuses",
        ),
        (
            "GET /\na: 1\nb: 1\nc: 1\nd: 1\ne: 1",
            431,
            8,
            "the request has 5 headers, and the limit is 4",
        ),
        (&*long, 431, 8, "the request's head has 207 bytes, and the limit is 200"),
    ] {
        assert_eq!(ask(&service, &connection, text).await, format!("{status} {message}"), "{text}");
        let mut grpc_request = request(text);
        if text.contains("head has") || text.contains("e: 1") || text.len() > 200 {
            // One header more would be another text.
            continue;
        }
        let value = http::HeaderValue::from_static("application/grpc");
        grpc_request.headers_mut().insert("content-type", value);
        let message = message.replace('%', "%25");
        let told = told(send(&service, &connection, grpc_request).await).await;
        assert_eq!(told, format!("grpc {grpc} {message}"), "{text}");
    }
    assert_eq!(metric(&mesh, "mesh_server_refused_total", &[("reason", "host")]), 6);
    assert_eq!(metric(&mesh, "mesh_server_requests_total", &[("route", ""), ("status", "431")]), 2);
}

#[tokio::test]
async fn a_body_is_refused_at_once_or_where_it_goes_beyond_its_limit() {
    let mesh = mesh(listener(|http| http.limits.max_body_bytes = Some(5)));
    let connection = connection(&mesh, Peer::Plaintext);
    let layer = ServerLayer::new(&mesh, "web");
    let service = behind(&layer, |request| async move {
        match request.into_body().collect().await {
            Ok(body) => Response::new(MeshBody::full(body.to_bytes())),
            Err(_) => Response::builder().status(500).body(MeshBody::empty()).unwrap(),
        }
    });
    let too_large = "413 the request's body has more bytes than the limit of 5";
    for (body, expected) in [
        (MeshBody::full("12345"), "200 12345"),
        (MeshBody::full("123456"), too_large),
        (streamed(&["123", "45"]), "200 12345"),
        (streamed(&["123", "456", "7"]), too_large),
    ] {
        let mut request = request("POST /\nhost: a");
        *request.body_mut() = body;
        assert_eq!(told(send(&service, &connection, request).await).await, expected);
    }
}

#[tokio::test]
async fn without_a_connection_nothing_is_served() {
    use tower::ServiceExt;
    let mesh = mesh(listener(|_| {}));
    let response = bounded(echo(&mesh).oneshot(request("GET /\nhost: a"))).await.unwrap();
    assert_eq!(
        (response.status(), &*refused(&response)),
        (StatusCode::INTERNAL_SERVER_ERROR, "no_connection//")
    );
    assert!(told(response).await.contains("serve it by the mesh's acceptor"));
    let other = ServerLayer::new(&mesh, "admin");
    let service = behind(&other, |_| async { Response::new(MeshBody::empty()) });
    let told = ask(&service, &connection(&mesh, Peer::Plaintext), "GET /\nhost: a").await;
    assert!(told.starts_with("500 the connection was accepted by the listener `web`"), "{told}");
}

#[tokio::test]
async fn plaintext_connections_are_for_listeners_that_take_them() {
    let no_listener = mesh(ConfigUpdate::in_code());
    let plaintext = |mesh| Connection::plaintext(mesh, "web", None, None).unwrap_err();
    assert_eq!(plaintext(&no_listener), NoConnection::NoListener("web".into()));
    let tls = mesh(chain(|_| {}, |chain| chain.tls = Some(Arc::new(DownstreamTls::mutual()))));
    assert!(matches!(plaintext(&tls), NoConnection::WantsTls { .. }));
    let port = mesh(chain(|_| {}, |chain| chain.matcher.destination_port = Some(9)));
    assert_eq!(plaintext(&port), NoConnection::NoChain("web".into()));
}

#[tokio::test]
async fn routes_say_what_becomes_of_a_request_after_the_filters() {
    let mut redirect = Redirect::default();
    redirect.host = Some("elsewhere".into());
    let direct = DirectResponse::new(StatusCode::IM_A_TEAPOT, Bytes::from_static(b"tea"));
    let mesh = mesh(listener(|http| {
        http.route_configuration = routes([
            RouteAction::NonForwarding,
            RouteAction::Redirect(redirect),
            RouteAction::DirectResponse(direct),
            RouteAction::Forward(ForwardAction::to("nowhere")),
        ]);
        http.http_filters = vec![rbac("rbac", "DENY no: /2/no *")];
    }));
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    let ask = async |text: &str| ask(&service, &connection, text).await;
    assert_eq!(ask("GET /x\nhost: a").await, "200 /x /a");
    assert_eq!(ask("GET /2\nhost: a").await, "418 tea");
    assert_eq!(ask("GET /2/no\nhost: a").await, "403 RBAC: access denied");
    assert_eq!(ask("GET /3\nhost: a").await, "503 the configuration has no such cluster");
    let grpc = "\ncontent-type: application/grpc";
    let forwarding = ask(&format!("POST /3\nhost: a{grpc}")).await;
    assert_eq!(forwarding, "grpc 14 the configuration has no such cluster");
    assert_eq!(ask(&format!("POST /2\nhost: a{grpc}")).await, "grpc 2 tea");
    let response = send(&service, &connection, request("GET /1/b\nhost: a")).await;
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(response.headers()["location"], "http://elsewhere/1/b");
}

#[tokio::test]
async fn no_route_is_404_and_unavailable() {
    let mesh = mesh(listener(|http| http.route_configuration = Arc::default()));
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    let text = "no virtual host serves this authority";
    assert_eq!(ask(&service, &connection, "GET /\nhost: a").await, format!("404 {text}"));
    let grpc = "POST /\nhost: a\ncontent-type: application/grpc";
    assert_eq!(ask(&service, &connection, grpc).await, format!("grpc 14 {text}"));
}

#[tokio::test]
async fn a_connection_whose_chain_is_gone_is_told_to_come_anew() {
    let (mesh, updates) = changing(listener(|_| {})).await;
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    let gone = "503 what this connection was accepted for is not served any more: connect anew";
    let over = chain(|_| {}, |chain| chain.until = Some(WallTime::from_unix_seconds(1)));
    let renamed = chain(|_| {}, |chain| chain.name = "other".into());
    let secured = chain(|_| {}, |chain| chain.tls = Some(Arc::new(DownstreamTls::mutual())));
    let nothing = "503 the configuration has no listener of this name";
    for (update, expected) in [
        (listener(|_| {}), "200 / /a"),
        (over, gone),
        (renamed, gone),
        (secured, gone),
        (ConfigUpdate::in_code(), nothing),
        (listener(|_| {}), "200 / /a"),
    ] {
        let generation = mesh.configuration().generation;
        updates.apply(update);
        if expected != "200 / /a" || generation > 1 {
            bounded(mesh.applied(generation + 1)).await.unwrap();
        }
        let response = send(&service, &connection, request("GET /\nhost: a")).await;
        let closes = response.headers().contains_key("connection");
        assert_eq!((&*told(response).await, closes), (expected, expected.starts_with("503")));
    }
}
