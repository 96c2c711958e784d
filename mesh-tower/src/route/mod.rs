//! The layer that gives a call its route and cluster.
//!
//! # Position
//! Above `call`: the cluster is chosen once per call, before the retry loop. With a split drawn per
//! attempt, the retries of a sick canary would bleed into the stable cluster, the split achieved would
//! drift from the one configured, and the wrong cluster's budget would pay.

mod future;

pub use future::RouteFuture;

use crate::MeshBody;
use crate::body::BoxError;
use crate::clock;
use crate::endpoint::MeshResponseBody;
use crate::error::{Error, Station};
use crate::leaf::Leaf;
use crate::mesh::Mesh;
use crate::net::{Draw, Net};
use crate::observe::CallReport;
use crate::observe::code::Code;
use crate::observe::target::{CallRecord, TargetCells};
use crate::options::CallOptions;
use crate::routed::Routed;
use bytes::Bytes;
pub(crate) use future::Passing;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::Body;
use mesh_core::Timestamp;
use mesh_core::head::RequestHead;
use mesh_core::local_reply::Reason;
use mesh_core::outcome::{Failure, ProtocolFailure};
use mesh_core::router::{RequestHash, RewrittenHost};
use mesh_core::state::{Routing, Snapshot, Target};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;
use tracing::Span;

/// Routes calls: one snapshot load, one decision, one typed hand-over.
#[derive(Clone, Debug)]
pub struct RouteService<S, L> {
    mesh: Mesh,
    inner: S,
    leaf: L,
}

impl<S, L> RouteService<S, L> {
    /// Hands routed calls to `inner`, and what passes by every policy to `leaf`.
    #[must_use]
    pub const fn new(mesh: Mesh, inner: S, leaf: L) -> Self {
        Self { mesh, inner, leaf }
    }
}

impl<S, L, B, R> Service<Request<B>> for RouteService<S, L>
where
    S: Service<Routed, Response = Response<MeshResponseBody<R>>, Error = Error>,
    L: Leaf<Body = R>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<MeshResponseBody<R>>;
    type Error = Error;
    type Future = RouteFuture<S::Future, L::Future, R>;

    /// Always ready: above the pick nothing is known that readiness could tell.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let started = clock::now();
        let request = request.map(MeshBody::new);
        let span = call_span(&request);
        let snapshot = self.mesh.snapshot();
        let head = head_of(&request);
        match snapshot.route(&head, &mut Draw) {
            Ok(Routing::Forward(target, set_cookies)) => {
                let options = options_of(&request);
                let hash = match options.hash {
                    Some(key) => RequestHash::new(Some(key), set_cookies),
                    None => target.hash(&head, set_cookies, &mut Draw),
                };
                drop(snapshot);
                let mut request = request;
                if let Err(error) = prepare(&mut request, &target) {
                    return RouteFuture::ready(Err(error), span);
                }
                let mut settings = self.mesh.shared().settings;
                settings.ignores_extensions = L::IGNORES_EXTENSIONS;
                let routed = Routed { request, target, options, settings, hash, started };
                let _entered = span.enter();
                let call = self.inner.call(routed);
                drop(_entered);
                RouteFuture::forward(call, span)
            }
            Ok(Routing::Reply(reply)) => {
                let response = reply.map(|text| MeshResponseBody::local(Some(text)));
                let code = Code { status: Some(response.status()), ..Code::default() };
                count(self.mesh.unrouted(), code, started);
                RouteFuture::ready(Ok(response), span)
            }
            Ok(Routing::Passthrough) => {
                drop(snapshot);
                let cells = Arc::clone(self.mesh.unrouted());
                cells.call_started();
                let passing = Passing::new(cells, started);
                RouteFuture::passthrough(self.leaf.passthrough(request), passing, span)
            }
            Err(reason) => RouteFuture::ready(Err(self.refuse(reason, &snapshot, started)), span),
        }
    }
}

impl<S, L> RouteService<S, L> {
    /// A call that no route takes.
    fn refuse(&self, reason: Reason, snapshot: &Snapshot<Net>, started: Timestamp) -> Error {
        let code = Code { flag: Some(reason.flag()), ..Code::default() };
        count(self.mesh.unrouted(), code, started);
        let origin = snapshot.origin();
        let origin = Some((Arc::clone(&origin.source), Arc::clone(&origin.version)));
        Error::new(reason, Station { origin, ..Station::default() })
            .with_report(Some(CallReport::new()))
    }
}

fn count(cells: &TargetCells, code: Code, started: Timestamp) {
    cells.call_started();
    let duration = clock::now().saturating_duration_since(started);
    cells.call_finished(&CallRecord { code, duration, attempts: 0 });
}

/// The span of the call; nothing is made of it without a subscriber that wants it.
fn call_span<B>(request: &Request<B>) -> Span {
    tracing::debug_span!(
        target: "mesh::call",
        "call",
        method = %request.method(),
        authority = authority_of(request),
        path = request.uri().path(),
        status = tracing::field::Empty,
        response_flag = tracing::field::Empty,
        error = tracing::field::Empty,
    )
}

/// What the router may see of a request.
fn head_of<B>(request: &Request<B>) -> RequestHead<'_> {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let mut head =
        RequestHead::new(request.method(), authority_of(request), path, request.headers());
    head.scheme = uri.scheme_str();
    head
}

/// The authority that the caller wrote: the URI's, else the `Host` header.
fn authority_of<B>(request: &Request<B>) -> &str {
    match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => {
            let host = request.headers().get(header::HOST);
            host.and_then(|host| host.to_str().ok()).unwrap_or_default()
        }
    }
}

fn options_of<B>(request: &Request<B>) -> CallOptions {
    // An empty map is the common case, and costs nothing to ask.
    request.extensions().get::<CallOptions>().copied().unwrap_or_default()
}

/// Makes the request what the route wants it to be, before any attempt.
fn prepare(request: &mut Request<MeshBody>, target: &Target<Net>) -> Result<(), Error> {
    let forward = target.forward();
    if forward.rewrites() {
        let head = head_of(request);
        let host = forward.host(&head);
        let path = forward.path(&head).map_err(|invalid| {
            let failure = Failure::Protocol(ProtocolFailure::InvalidRequest);
            let route = Some(Arc::clone(target.route().name()));
            let station = Station { route, ..Station::default() };
            Error::new(Reason::Attempt(failure), station).with_source(Some(invalid.into()))
        })?;
        if let Some(path) = path {
            set_path(request.uri_mut(), path);
        }
        if let RewrittenHost::To(authority) = host {
            if request.headers().contains_key(header::HOST)
                && let Ok(host) = HeaderValue::from_str(authority.as_str())
            {
                request.headers_mut().insert(header::HOST, host);
            }
            put_authority(request.uri_mut(), authority);
        }
    }
    if request.uri().authority().is_none() {
        // A request in origin form: the `Host` header is its authority.
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        if let Some(host) = host.map(str::to_owned) {
            set_authority(request.uri_mut(), &host);
        }
    }
    target.route().edit_request(target.split(), request.headers_mut());
    Ok(())
}

/// Puts `authority` into `uri`; what is no authority leaves it as it is.
pub(crate) fn set_authority(uri: &mut Uri, authority: &str) {
    if let Ok(authority) = authority.parse::<Authority>() {
        put_authority(uri, authority);
    }
}

fn put_authority(uri: &mut Uri, authority: Authority) {
    let mut parts = std::mem::take(uri).into_parts();
    parts.authority = Some(authority);
    parts.scheme.get_or_insert(Scheme::HTTP);
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    // Scheme, authority and path are all there, which is what a URI needs.
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

fn set_path(uri: &mut Uri, path: PathAndQuery) {
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(path);
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_and_path_are_replaced_in_place() {
        let mut uri: Uri = "http://reviews/a?x=1".parse().unwrap();
        set_authority(&mut uri, "127.0.0.1:80");
        assert_eq!(uri, "http://127.0.0.1:80/a?x=1");
        set_authority(&mut uri, "not an authority");
        assert_eq!(uri, "http://127.0.0.1:80/a?x=1");
        set_path(&mut uri, PathAndQuery::from_static("/b"));
        assert_eq!(uri, "http://127.0.0.1:80/b");
        let mut origin_form: Uri = "/a".parse().unwrap();
        set_authority(&mut origin_form, "reviews");
        assert_eq!(origin_form, "http://reviews/a");
    }
}
