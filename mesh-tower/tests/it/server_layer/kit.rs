//! A listener `web`, its policies as text, and a service that says what it sees.

use crate::fixture::bounded;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use mesh_core::identity::{Peer, PeerCertificate, SpiffeId};
use mesh_core::model::matcher::StringPattern;
use mesh_core::model::rbac::{Rbac, RbacAction, RbacFilter};
use mesh_core::model::{
    Domain, FilterChain, HttpConnectionManager, HttpFilter, HttpFilterConfig, Listener,
    PathMatcher, Permission, Policy, Principal, Route, RouteAction, RouteConfiguration, RouteMatch,
    StringMatcher, VirtualHost,
};
use mesh_core::update::ConfigUpdate;
use mesh_tower::server::{Connection, Refused, RequestBody, ServerLayer};
use mesh_tower::source::Updates;
use mesh_tower::{BoxError, Mesh, MeshBody};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

pub(super) type Service = BoxCloneSyncService<Request<MeshBody>, Response<MeshBody>, Infallible>;

/// A listener `web` with one chain and one route for everything, changed.
pub(super) fn listener(change: impl FnOnce(&mut HttpConnectionManager)) -> ConfigUpdate {
    chain(change, |_| {})
}

pub(super) fn chain(
    change: impl FnOnce(&mut HttpConnectionManager),
    change_chain: impl FnOnce(&mut FilterChain),
) -> ConfigUpdate {
    let mut http = HttpConnectionManager::new(routes([RouteAction::NonForwarding]), Vec::new());
    change(&mut http);
    let mut chain = FilterChain::new("any", Some(Arc::new(http)));
    change_chain(&mut chain);
    let mut listener = Listener::new("web");
    listener.filter_chains.push(Arc::new(chain));
    let mut update = ConfigUpdate::in_code();
    update.listeners.insert("web".into(), Arc::new(listener));
    update
}

/// A virtual host for everything with a route for each action, the last one for every path.
pub(super) fn routes(actions: impl IntoIterator<Item = RouteAction>) -> Arc<RouteConfiguration> {
    let mut host = VirtualHost::new("any", vec![Domain::Any]);
    for (at, action) in actions.into_iter().enumerate() {
        let mut matcher = RouteMatch::any();
        if at > 0 {
            matcher.path = PathMatcher::Prefix(format!("/{at}").into());
        }
        host.routes.insert(0, Arc::new(Route::new(format!("r{at}"), matcher, action)));
    }
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts.push(Arc::new(host));
    Arc::new(routes)
}

/// A filter `NAME`: `ACTION policy: PATH-PREFIX WHO; …`, where `*` is anybody, and `=PATH` that path alone.
pub(super) fn rbac(name: &str, text: &str) -> HttpFilter {
    HttpFilter::new(name, HttpFilterConfig::Rbac(Arc::new(rbac_filter(text))))
}

pub(super) fn rbac_filter(text: &str) -> RbacFilter {
    let mut filter = RbacFilter::default();
    filter.rules = Some(Arc::new(rules(text)));
    filter
}

pub(super) fn rules(text: &str) -> Rbac {
    let (action, policies) = text.split_once(' ').unwrap();
    let mut rbac = Rbac::default();
    rbac.action = if action == "DENY" { RbacAction::Deny } else { RbacAction::Allow };
    for policy in policies.split(';').map(str::trim).filter(|policy| !policy.is_empty()) {
        let (name, rest) = policy.split_once(": ").unwrap();
        let (path, who) = rest.split_once(' ').unwrap();
        let who = match who {
            "*" => Principal::Any,
            id => Principal::Authenticated(Some(StringMatcher::exact(id))),
        };
        let path = StringMatcher::new(match path.strip_prefix('=') {
            Some(path) => StringPattern::Exact(path.into()),
            None => StringPattern::Prefix(path.into()),
        });
        let (permissions, principals) = (vec![Permission::UrlPath(path)], vec![who]);
        let policy = Policy { permissions, principals, condition: None };
        rbac.policies.insert(name.into(), policy);
    }
    rbac
}

/// A mesh with this configuration.
pub(super) fn mesh(update: ConfigUpdate) -> Mesh {
    Mesh::builder().config(update).build().unwrap()
}

/// A mesh whose configuration may change.
pub(super) async fn changing(update: ConfigUpdate) -> (Mesh, Updates) {
    let (updates, source) = Updates::new();
    updates.apply(update);
    let mesh = Mesh::builder().source(source).build().unwrap();
    bounded(mesh.ready()).await.unwrap();
    (mesh, updates)
}

/// A peer with this SPIFFE id.
pub(super) fn peer(id: &str) -> Peer {
    Peer::Certified(Arc::new(PeerCertificate::of(&SpiffeId::parse(id).unwrap())))
}

/// A connection of `peer` to `web`.
pub(super) fn connection(mesh: &Mesh, peer: Peer) -> Arc<Connection> {
    let from = Some(([10, 0, 0, 9], 4000).into());
    let mut connection = Connection::plaintext(mesh, "web", from, None).unwrap();
    connection.peer = peer;
    Arc::new(connection)
}

/// A service behind the layer.
pub(super) fn behind<F, Fut>(layer: &ServerLayer, answer: F) -> Service
where
    F: Fn(Request<RequestBody<MeshBody>>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<MeshBody>> + Send + 'static,
{
    let answer = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let service = layer.layer(answer);
    BoxCloneSyncService::new(service.map_response(|response| response.map(MeshBody::new)))
}

/// Answers with what it sees: path, host, and every header that is not `host`.
pub(super) fn seen(request: &Request<RequestBody<MeshBody>>) -> String {
    let host = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let header = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let mut out = format!("{path} {}/{}", host.unwrap_or_default(), header.unwrap_or_default());
    for (name, value) in request.headers().iter().filter(|(name, _)| *name != "host") {
        out.push_str(&format!("\n{name}: {}", value.to_str().unwrap()));
    }
    out
}

pub(super) fn echo(mesh: &Mesh) -> Service {
    let layer = ServerLayer::new(mesh, "web");
    behind(&layer, |request| async move { Response::new(MeshBody::full(seen(&request))) })
}

/// `METHOD URI`, then a header a line. Over HTTP/2 when the URI has an authority and there is no `host`.
pub(super) fn request(text: &str) -> Request<MeshBody> {
    let mut lines = text.lines().map(str::trim);
    let (method, uri) = lines.next().unwrap().split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(uri).body(MeshBody::empty()).unwrap();
    for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
        let name: HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    }
    if uri.starts_with("http://") && !request.headers().contains_key("host") {
        *request.version_mut() = Version::HTTP_2;
    }
    request
}

/// Sends a request on `connection`.
pub(super) async fn send(
    service: &Service,
    connection: &Arc<Connection>,
    mut request: Request<MeshBody>,
) -> Response<MeshBody> {
    request.extensions_mut().insert(Arc::clone(connection));
    bounded(service.clone().oneshot(request)).await.unwrap()
}

/// Status and body, or gRPC's status and message: `200 body`, `grpc 14 message`.
pub(super) async fn told(response: Response<MeshBody>) -> String {
    let (head, body) = response.into_parts();
    let read = bounded(body.collect()).await;
    let collected = match read {
        Ok(collected) => collected,
        Err(error) => return format!("{} broken: {error}", head.status.as_u16()),
    };
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let text = |name: &str| {
        let value = head.headers.get(name).or_else(|| trailers.get(name));
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    match text("grpc-status") {
        Some(status) => format!("grpc {status} {}", text("grpc-message").unwrap_or_default()),
        None => {
            let body: Bytes = collected.to_bytes();
            format!("{} {}", head.status.as_u16(), String::from_utf8_lossy(&body))
        }
    }
}

/// What a request on `connection` is told.
pub(super) async fn ask(service: &Service, connection: &Arc<Connection>, text: &str) -> String {
    told(send(service, connection, request(text)).await).await.trim_end().to_owned()
}

/// Why it was refused: `reason/filter/policy`.
pub(super) fn refused<B>(response: &Response<B>) -> String {
    let refused = response.extensions().get::<Refused>();
    refused.map_or_else(String::new, |refused| {
        format!("{}/{}/{}", refused.reason, refused.filter, refused.policy)
    })
}

/// What a filter decided, and how often: `allowed:2 limited:1`.
pub(super) fn decided(mesh: &Mesh, filter: &str) -> String {
    let text = mesh.metrics().prometheus_text();
    let of_filter = format!("filter=\"{filter}\"");
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix("mesh_server_filter_decisions_total{")?;
        let line = line.contains(&of_filter).then_some(line)?;
        let outcome = line.split("outcome=\"").nth(1)?.split('"').next()?;
        Some(format!("{outcome}:{}", line.rsplit(' ').next()?))
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort_unstable();
    lines.join(" ")
}

/// A body of these parts, whose length is not known beforehand.
pub(super) fn streamed(parts: &[&'static str]) -> MeshBody {
    let frames: Vec<Result<_, BoxError>> =
        parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))).collect();
    MeshBody::new(StreamBody::new(stream::iter(frames)))
}

pub(super) type Failed = BoxError;
