//! What the server's layer costs a plain request: a peer with an identity, ten policies, one route, metrics,
//! `x-forwarded-client-cert`; over a service that answers at once. With and without the layer, and as a gRPC
//! call with a deadline.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench is a program that fails loudly and prints"
)]

#[path = "support/mod.rs"]
mod support;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use mesh_core::identity::{Peer, PeerCertificate, SpiffeId};
use mesh_core::model::matcher::{HeaderMatcherKind, StringPattern};
use mesh_core::model::rbac::{Rbac, RbacFilter};
use mesh_core::model::{
    Domain, FilterChain, HttpConnectionManager, HttpFilter, HttpFilterConfig, Listener, Permission,
    Policy, Principal, RbacHeader, RbacHeaderName, Route, RouteAction, RouteConfiguration,
    RouteMatch, StringMatcher, VirtualHost,
};
use mesh_core::update::ConfigUpdate;
use mesh_tower::server::{Connection, ServerLayer};
use mesh_tower::{Mesh, MeshBody};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll};
use support::Case;
use tower::{Layer, Service};

fn main() -> ExitCode {
    support::main(
        "server",
        &[
            Case::new("service alone", 2_000, service_alone),
            Case::new("layer, no policy", 2_000, || layered(0, &[])),
            Case::new("layer, 10 policies", 2_000, || layered(10, &[])),
            Case::new("layer, 10 policies, gRPC with a deadline", 2_000, || {
                layered(10, &[("content-type", "application/grpc"), ("grpc-timeout", "5S")])
            }),
        ],
    )
}

/// Answers at once.
#[derive(Clone)]
struct Instant;

impl<B> Service<Request<B>> for Instant {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(Empty::new())))
    }
}

/// As Istio writes it: from a namespace, by POST, under a prefix. The last one is that of the request.
fn policy(at: usize) -> Policy {
    let and_of_or = |one| Permission::Or(vec![one]);
    let method = HeaderMatcherKind::String(StringMatcher::exact("POST"));
    let permissions = [
        Permission::Header(RbacHeader::new(RbacHeaderName::METHOD, method)),
        Permission::UrlPath(StringMatcher::new(StringPattern::Prefix(
            format!("/shop.v{at}.").into(),
        ))),
    ];
    let namespace = StringPattern::Prefix(format!("spiffe://cluster.local/ns/n{at}/").into());
    let principal = Principal::Authenticated(Some(StringMatcher::new(namespace)));
    Policy {
        permissions: vec![Permission::And(permissions.map(and_of_or).into())],
        principals: vec![Principal::And(vec![Principal::Or(vec![principal])])],
        condition: None,
    }
}

fn update(policies: usize) -> ConfigUpdate {
    let mut host = VirtualHost::new("any", vec![Domain::Any]);
    let route = Route::new("all", RouteMatch::any(), RouteAction::NonForwarding);
    host.routes.push(Arc::new(route));
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts.push(Arc::new(host));
    let mut filters = Vec::new();
    if policies > 0 {
        let mut rbac = Rbac::default();
        rbac.policies.extend((0..policies).map(|at| (Arc::from(format!("p{at}")), policy(at))));
        let mut filter = RbacFilter::default();
        filter.rules = Some(Arc::new(rbac));
        filters.push(HttpFilter::new("rbac", HttpFilterConfig::Rbac(Arc::new(filter))));
    }
    let http = HttpConnectionManager::new(Arc::new(routes), filters);
    let mut listener = Listener::new("web");
    listener.filter_chains.push(Arc::new(FilterChain::new("any", Some(Arc::new(http)))));
    let mut update = ConfigUpdate::in_code();
    update.listeners.insert("web".into(), Arc::new(listener));
    update
}

fn request(headers: &HeaderMap, connection: &Arc<Connection>) -> Request<MeshBody> {
    let mut request = Request::new(MeshBody::empty());
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = http::Uri::from_static("http://shop/shop.v9.Reviews/Get");
    *request.headers_mut() = headers.clone();
    request.extensions_mut().insert(Arc::clone(connection));
    request
}

fn headers(more: &[(&'static str, &'static str)]) -> HeaderMap {
    let usual = [("accept", "*/*"), ("user-agent", "bench"), ("x-a", "1"), ("x-b", "2")];
    let all = usual.iter().chain(more);
    let mut headers = HeaderMap::new();
    for (name, value) in all {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    headers
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn connection(mesh: &Mesh) -> Arc<Connection> {
    let from = Some(([10, 0, 0, 1], 4000).into());
    let mut connection = Connection::plaintext(mesh, "web", from, None).expect("a listener");
    let id = SpiffeId::parse("spiffe://cluster.local/ns/n9/sa/caller").expect("an id");
    connection.peer = Peer::Certified(Arc::new(PeerCertificate::of(&id)));
    Arc::new(connection)
}

fn service_alone() -> Box<dyn FnMut()> {
    let runtime = runtime();
    let mesh = mesh(&runtime, 0);
    let (headers, connection) = (headers(&[]), connection(&mesh));
    Box::new(move || {
        let request = request(&headers, &connection);
        runtime.block_on(async {
            let response = Instant.call(request).await.expect("an answer");
            black_box(response.into_body().collect().await.expect("a body"));
        });
    })
}

fn mesh(runtime: &tokio::runtime::Runtime, policies: usize) -> Mesh {
    let _entered = runtime.enter();
    Mesh::builder().config(update(policies)).build().expect("a mesh")
}

fn layered(policies: usize, more: &[(&'static str, &'static str)]) -> Box<dyn FnMut()> {
    let runtime = runtime();
    let mesh = mesh(&runtime, policies);
    let (headers, connection) = (headers(more), connection(&mesh));
    let mut service = ServerLayer::new(&mesh, "web").layer(Instant);
    Box::new(move || {
        let request = request(&headers, &connection);
        runtime.block_on(async {
            let response = service.call(request).await.expect("an answer");
            assert!(response.status().is_success(), "it is allowed");
            black_box(response.into_body().collect().await.expect("a body"));
        });
    })
}
