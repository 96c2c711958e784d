//! Policies: who is let through, what is told of it, and when another policy counts.

use super::kit::{
    ask, behind, changing, connection, echo, listener, mesh, peer, rbac, rbac_filter, refused,
    request, routes, rules, send, told,
};
use crate::fixture::{at, bounded, metric, simple};
use crate::rpc::{EchoClient, Routes, text};
use http::Response;
use mesh_core::identity::Peer;
use mesh_core::model::filter_chain::ClientAddress;
use mesh_core::model::rbac::{AuditCondition, AuditLogger, RbacFilter};
use mesh_core::model::{
    Cidr, HttpFilter, HttpFilterConfig, Metadata, MetadataMatcher, MetadataSource, MetadataValue,
    Permission, Principal, RouteAction, RouteConfiguration, ValueMatcher,
};
use mesh_core::rbac::AuditRecord;
use mesh_tower::MeshBody;
use mesh_tower::server::{AuditSink, ServerLayer};
use mesh_tower::testing::MemoryNetwork;
use parking_lot::Mutex;
use std::sync::Arc;
use tower::{Layer, ServiceExt, service_fn};

const SHOP: &str = "spiffe://m/ns/shop/sa/shop";
const REFUSED: &str = "mesh_server_refused_total";

#[tokio::test]
async fn remote_ip_is_who_proxies_that_are_believed_say() {
    let office = || {
        let mut rules = rules("ALLOW office: / *");
        let policy = rules.policies.get_mut("office").unwrap();
        let block = Cidr::new("192.0.2.0".parse().unwrap(), 24).unwrap();
        policy.principals = vec![Principal::RemoteIp(block)];
        let mut filter = RbacFilter::default();
        filter.rules = Some(Arc::new(rules));
        HttpFilter::new("rbac", HttpFilterConfig::Rbac(Arc::new(filter)))
    };
    let at_end = |append| ClientAddress::Connection { append };
    // The other end is 10.0.0.9.
    for (by, hops, header, expected) in [
        (at_end(false), 0, "192.0.2.1", "403 RBAC: access denied"),
        (at_end(false), 1, "192.0.2.1", "x-forwarded-for: 192.0.2.1"),
        (at_end(false), 1, "192.0.2.1, 198.51.100.1", "403 RBAC: access denied"),
        (at_end(true), 1, "192.0.2.1", "x-forwarded-for: 192.0.2.1,10.0.0.9"),
        (at_end(true), 0, "192.0.2.1", "403 RBAC: access denied"),
        (ClientAddress::ForwardedFor, 0, "192.0.2.1", "x-forwarded-for: 192.0.2.1"),
        (ClientAddress::ForwardedFor, 0, "not an address", "403 RBAC: access denied"),
    ] {
        let mesh = mesh(listener(|http| {
            http.http_filters = vec![office()];
            (http.client_address, http.xff_num_trusted_hops) = (by, hops);
        }));
        let (service, who) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
        let asks = format!("GET /\nhost: a\nx-forwarded-for: {header}");
        let found = ask(&service, &who, &asks).await;
        assert!(found.ends_with(expected), "{by:?} {hops} {header}: {found}");
    }
}

#[tokio::test]
async fn who_may_gets_through_and_who_may_not_is_told_no_more_than_that() {
    let allow = format!("ALLOW shops: /shop {SHOP}; open: /open *");
    let mesh = mesh(listener(|http| {
        http.http_filters =
            vec![rbac("deny", "DENY secrets: /shop/secret *"), rbac("allow", &allow)];
    }));
    let service = echo(&mesh);
    let [shop, stranger, plaintext] = [peer(SHOP), peer("spiffe://m/ns/x/sa/y"), Peer::Plaintext]
        .map(|peer| connection(&mesh, peer));
    for (who, path, by) in [
        (&shop, "/shop", ""),
        (&shop, "/open", ""),
        (&shop, "/shop/secret", "rbac_denied/deny/secrets"),
        (&shop, "/else", "rbac_denied/allow/none"),
        (&stranger, "/shop", "rbac_denied/allow/none"),
        (&plaintext, "/shop", "rbac_denied/allow/none"),
        (&plaintext, "/open", ""),
    ] {
        let response = send(&service, who, request(&format!("GET {path}\nhost: a"))).await;
        assert_eq!(refused(&response), by, "{} {path}", who.peer.name());
        let text = told(response).await;
        assert_eq!(text == "403 RBAC: access denied", !by.is_empty(), "{text}");
    }
    let grpc = "POST /else\nhost: a\ncontent-type: application/grpc";
    assert_eq!(ask(&service, &shop, grpc).await, "grpc 7 RBAC: access denied");
    assert_eq!(metric(&mesh, REFUSED, &[("filter", "deny"), ("policy", "secrets")]), 1);
    assert_eq!(metric(&mesh, REFUSED, &[("filter", "allow"), ("policy", "none")]), 4);
    let peers = "mesh_server_peer_requests_total";
    assert_eq!(metric(&mesh, peers, &[("peer", SHOP), ("status_class", "2xx")]), 2);
    assert_eq!(metric(&mesh, peers, &[("peer", SHOP), ("status_class", "4xx")]), 3);
    assert_eq!(metric(&mesh, peers, &[("security", "plaintext"), ("status_class", "4xx")]), 1);
    let requests = "mesh_server_requests_total";
    assert_eq!(
        metric(&mesh, requests, &[("listener", "web"), ("route", "r0"), ("status", "403")]),
        4
    );
    assert_eq!(metric(&mesh, "mesh_server_requests_active", &[]), 0);
    assert_eq!(metric(&mesh, "mesh_server_request_duration_seconds_count", &[]), 8);
}

/// Envoy: `sourced_metadata` with the source ROUTE, and `xds.route_metadata` of CEL.
#[tokio::test]
async fn what_a_route_says_of_itself_is_what_policies_ask() {
    let mut rules = rules("DENY closed: / *");
    let closed = ValueMatcher::Bool(true);
    let mut asks = MetadataMatcher::new("acme", vec!["closed".into()], closed);
    asks.source = MetadataSource::Route;
    rules.policies.get_mut("closed").unwrap().permissions = vec![Permission::Metadata(asks)];
    let mut filter = RbacFilter::default();
    filter.rules = Some(Arc::new(rules));
    let routes = routes([RouteAction::NonForwarding, RouteAction::NonForwarding]);
    let mut routes = RouteConfiguration::clone(&routes);
    let host = Arc::make_mut(&mut routes.virtual_hosts[0]);
    let said = [("closed".into(), MetadataValue::Bool(true))].into();
    let metadata = Metadata([("acme".into(), said)].into());
    Arc::make_mut(&mut host.routes[0]).metadata = Arc::new(metadata);
    let mesh = mesh(listener(|http| {
        http.route_configuration = Arc::new(routes);
        http.http_filters = vec![HttpFilter::new("rbac", HttpFilterConfig::Rbac(filter.into()))];
    }));
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    assert_eq!(ask(&service, &connection, "GET /\nhost: a").await, "200 / /a");
    let denied = ask(&service, &connection, "GET /1\nhost: a").await;
    assert_eq!(denied, "403 RBAC: access denied");
}

#[tokio::test]
async fn shadow_rules_refuse_nobody_and_are_counted() {
    let mut filter = rbac_filter("ALLOW all: / *");
    filter.shadow_rules = Some(Arc::new(rules("DENY soon: /old *")));
    let filter = HttpFilter::new("rbac", HttpFilterConfig::Rbac(Arc::new(filter)));
    let mesh = mesh(listener(|http| http.http_filters = vec![filter]));
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    assert_eq!(ask(&service, &connection, "GET /old\nhost: a").await, "200 /old /a");
    assert_eq!(ask(&service, &connection, "GET /new\nhost: a").await, "200 /new /a");
    let labels = [("reason", "rbac_would_deny"), ("policy", "soon")];
    assert_eq!(metric(&mesh, REFUSED, &labels), 1);
    assert_eq!(metric(&mesh, REFUSED, &[]), 1);
}

#[tokio::test]
async fn another_policy_counts_at_once_on_a_connection_that_is_open() {
    let of = |text: &str| listener(|http| http.http_filters = vec![rbac("rbac", text)]);
    let (mesh, updates) = changing(of("ALLOW all: / *")).await;
    let (service, connection) = (echo(&mesh), connection(&mesh, peer(SHOP)));
    assert_eq!(ask(&service, &connection, "GET /\nhost: a").await, {
        let seen = ask(&service, &connection, "GET /\nhost: a").await;
        assert!(seen.starts_with("200 / /a"), "{seen}");
        seen
    });
    for (policy, status) in [("DENY all: / *", "403"), ("ALLOW all: / *", "200")] {
        let generation = mesh.configuration().generation;
        updates.apply(of(policy));
        bounded(mesh.applied(generation + 1)).await.unwrap();
        let told = ask(&service, &connection, "GET /\nhost: a").await;
        assert_eq!(&told[..3], status, "{policy}");
    }
    let requests = "mesh_server_requests_total";
    // What is counted goes on under the route of the same name.
    assert_eq!(metric(&mesh, requests, &[("route", "r0"), ("status", "200")]), 3);
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl AuditSink for Lines {
    fn audit(&self, record: &AuditRecord<'_>) {
        self.0.lock().push(format!(
            "{} {} {}/{} {}",
            record.rpc_method,
            record.principal,
            record.policy_name,
            record.matched_rule,
            record.authorized
        ));
    }
}

#[tokio::test]
async fn audited_decisions_are_told() {
    for (loggers, expected) in [
        (vec![AuditLogger::Stdout], vec![format!("/a.B/No {SHOP} rbac/no false")]),
        (vec![], vec![]),
    ] {
        let mut audited = rules("DENY no: /a.B/No *");
        (audited.audit, audited.audit_loggers) = (AuditCondition::OnDeny, loggers);
        let mut filter = rbac_filter("DENY no: / *");
        filter.rules = Some(Arc::new(audited));
        let filter = HttpFilter::new("rbac", HttpFilterConfig::Rbac(Arc::new(filter)));
        let mesh = mesh(listener(|http| http.http_filters = vec![filter]));
        let lines = Arc::new(Lines::default());
        let layer = ServerLayer::new(&mesh, "web").audit(Arc::clone(&lines) as Arc<dyn AuditSink>);
        let service = behind(&layer, |_| async { Response::new(MeshBody::empty()) });
        let connection = connection(&mesh, peer(SHOP));
        for path in ["/a.B/No", "/a.B/Yes"] {
            ask(&service, &connection, &format!("POST {path}\nhost: a")).await;
        }
        assert_eq!(*lines.0.lock(), expected);
    }
}

/// A service of tonic's behind the layer, called through a mesh.
#[tokio::test(start_paused = true)]
async fn a_grpc_service_is_served_behind_it() {
    let server = mesh(listener(|http| {
        http.http_filters = vec![rbac("rbac", "ALLOW unary: /test.Echo/Unary *")];
    }));
    let connection = connection(&server, peer(SHOP));
    let service = ServerLayer::new(&server, "web").layer(Routes);
    let network = MemoryNetwork::new();
    network.serve(
        at(1),
        service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(Arc::clone(&connection));
            service.clone().oneshot(request)
        }),
    );
    let caller = simple(&network, 1, |_| {});
    let mut client = EchoClient::new(caller.channel("a").unwrap());
    let answer = bounded(client.unary(tonic::Request::new(text("hello")))).await.unwrap();
    assert_eq!(answer.text, "HELLO");
    let failed = bounded(client.unary(tonic::Request::new(text("fail 5")))).await.unwrap_err();
    assert_eq!((failed.code(), failed.message()), (tonic::Code::NotFound, "as you wish: ü"));
    let denied = bounded(client.server(tonic::Request::new(text("x")))).await.unwrap_err();
    assert_eq!(denied.code(), tonic::Code::PermissionDenied);
    assert_eq!(denied.message(), "RBAC: access denied");
    let requests = "mesh_server_requests_total";
    for status in ["0", "5", "7"] {
        assert_eq!(metric(&server, requests, &[("grpc_status", status)]), 1, "{status}");
    }
}
