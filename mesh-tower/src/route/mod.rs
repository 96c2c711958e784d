//! The layer that gives a call its route and cluster.
//!
//! # Position
//! Above `call`: the cluster is chosen once per call, before the retry loop. With a split drawn per
//! attempt, the retries of a sick canary would bleed into the stable cluster, the split achieved would
//! drift from the one configured, and the wrong cluster's budget would pay.

mod asking;
mod direct;
pub(crate) use direct::DIRECT;
mod future;
mod passing;
mod reply;

pub(crate) use future::RouteFuture;
pub(crate) use passing::Passing;

use crate::MeshBody;
use crate::body::BoxError;
use crate::clock;
use crate::endpoint::MeshResponseBody;
use crate::error::{Error, Station};
use crate::leaf::Leaf;
use crate::mesh::Mesh;
use crate::net::{Draw, Net};
use crate::observe::CallReport;
use crate::observe::access_log::CallLine;
use crate::observe::code::Code;
use crate::observe::span::ThinSpan;
use crate::observe::target::{CallRecord, TargetCells};
use crate::options::CallOptions;
use crate::routed::Routed;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::Body;
use mesh_core::Random;
use mesh_core::Timestamp;
use mesh_core::egress::{EgressVerdict, destination};
use mesh_core::head::{Peer, RequestHead};
use mesh_core::inbound::HandedOn;
use mesh_core::local_reply::Reason;
use mesh_core::outcome::{Failure, ProtocolFailure};
use mesh_core::router::{InvalidRewrite, RequestHash, RewrittenHost};
use mesh_core::state::{Routing, Snapshot, Target};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;
use tracing::field::Empty;

/// Routes calls: one snapshot load, one decision, one typed hand-over.
#[derive(Clone, Debug)]
pub(crate) struct RouteService<S, L> {
    mesh: Mesh,
    inner: S,
    leaf: L,
    /// What all clones have in common, for hash policies by `channel_id`.
    channel_id: u64,
    by: By,
}

/// By whose routes calls go.
#[derive(Clone, Debug)]
enum By {
    /// Each by those of its own authority.
    Own,
    /// Each by those of its own authority, an address, if a virtual host has just that.
    Address,
    /// All by those of this authority.
    Authority(Arc<str>),
    /// By those of a filter chain of this listener, which has handed it on.
    Chain(Arc<str>, HandedOn),
}

impl By {
    fn route(
        &self,
        snapshot: &Snapshot<Net>,
        head: &RequestHead<'_>,
    ) -> Result<Routing<Net>, Reason> {
        match self {
            Self::Own => snapshot.route(head, &mut Draw),
            Self::Address => snapshot.route_address(head, &mut Draw),
            Self::Authority(authority) => snapshot.route_as(authority, head, &mut Draw),
            Self::Chain(listener, handed) => {
                let chain = (&**listener, &handed.chain);
                snapshot.route_chain(chain, handed.route, head, &mut Draw)
            }
        }
    }
}

impl<S, L> RouteService<S, L> {
    /// Hands routed calls to `inner`, and what passes by every policy to `leaf`.
    #[must_use]
    pub(crate) fn new(mesh: Mesh, inner: S, leaf: L) -> Self {
        let channel_id = mesh.shared().channel_id;
        Self { mesh, inner, leaf, channel_id, by: By::Own }
    }

    /// All calls go by the routes of `authority`, whatever they say of themselves.
    #[must_use]
    pub(crate) fn routed_as(mut self, authority: Arc<str>) -> Self {
        self.by = By::Authority(authority);
        self
    }

    /// Calls go to addresses, of which patterns of virtual hosts were not meant to speak: only a domain that is the
    /// address itself takes one.
    #[must_use]
    pub(crate) fn routed_by_address(mut self) -> Self {
        self.by = By::Address;
        self
    }

    /// Calls go by the routes of the filter chain of `listener` that has handed them on.
    #[must_use]
    pub(crate) fn routed_by_chain(mut self, listener: Arc<str>, handed: HandedOn) -> Self {
        self.by = By::Chain(listener, handed);
        self
    }

    /// Gives this one and its clones a channel id of their own; without, it is the mesh's.
    #[must_use]
    pub(crate) fn into_own_channel(mut self) -> Self {
        self.channel_id = Draw.next_u64();
        self
    }
}

impl<S, L, B, R> Service<Request<B>> for RouteService<S, L>
where
    S: Service<Routed, Response = Response<MeshResponseBody<R>>, Error = Error>,
    S: Clone + Send + 'static,
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
        let span = call_span(&request);
        let mut request = request.map(MeshBody::new);
        let log = self.mesh.shared().logs.client.as_ref();
        let line = log.map(|log| CallLine::new(log, &mut request, started));
        self.start(request, started, span, line)
    }
}

impl<S, L, R> RouteService<S, L>
where
    S: Service<Routed, Response = Response<MeshResponseBody<R>>, Error = Error>,
    S: Clone + Send + 'static,
    L: Leaf<Body = R>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    /// A call that began at `started`.
    fn start(
        &mut self,
        mut request: Request<MeshBody>,
        started: Timestamp,
        span: ThinSpan,
        line: Option<Box<CallLine>>,
    ) -> RouteFuture<S::Future, L::Future, R> {
        let snapshot = self.mesh.snapshot();
        if self.must_ask(&snapshot, &request) {
            drop(snapshot);
            return RouteFuture::asking(self.ask(request, started, span.clone(), line), span);
        }
        let mut head = head_of(&request);
        head.channel_id = Some(self.channel_id);
        match self.by.route(&snapshot, &head) {
            Ok(Routing::Forward(target, set_cookies)) => {
                let options = options_of(&request);
                let hash = match options.hash {
                    Some(key) => RequestHash::new(Some(key), set_cookies),
                    None => target.hash(&head, set_cookies, &mut Draw),
                };
                drop(snapshot);
                if let Err(invalid) = prepare(&mut request, &target) {
                    let error = unsendable(invalid, &target, started, line);
                    return RouteFuture::ready(Err(error), span);
                }
                let mut settings = self.mesh.shared().settings;
                settings.ignores_extensions = L::IGNORES_EXTENSIONS;
                let of_call = span.clone();
                let routed =
                    Routed { request, target, options, settings, hash, started, span, line };
                RouteFuture::forward(of_call.in_scope(|| self.inner.call(routed)), of_call)
            }
            Ok(Routing::Reply(target, reply)) => {
                let mut options = options_of(&request);
                options.report |= self.mesh.shared().settings.report;
                let call = reply::Answered { grpc: head.is_grpc(), options, started, line };
                drop(snapshot);
                RouteFuture::ready(call.by(&target, reply.map(|reply| *reply), &span), span)
            }
            Ok(Routing::Passthrough(verdict)) => {
                let egress = Arc::clone(snapshot.egress());
                drop(snapshot);
                if let Some(verdict) = verdict {
                    self.leaves(&head, verdict);
                }
                match self.pass(request, &egress, (started, line)) {
                    Ok(passing) => RouteFuture::passthrough(passing, span),
                    Err(late) => RouteFuture::ready(Err(late), span),
                }
            }
            Err(reason) => {
                if let Reason::EgressRefused(why) = &reason {
                    self.leaves(&head, EgressVerdict::Refused(*why));
                }
                let why = self.why(&reason, &snapshot, self.authority(&request));
                let error = self.refuse(reason, &snapshot, started).with_why(why);
                if let Some(line) = line {
                    line.failed(&error, clock::now());
                }
                RouteFuture::ready(Err(error), span)
            }
        }
    }
}

impl<S, L> RouteService<S, L> {
    /// A call to a host that no virtual host serves leaves, or not.
    #[cold]
    fn leaves(&self, head: &RequestHead<'_>, verdict: EgressVerdict) {
        let log = self.mesh.shared().registry.mesh().egress();
        let port = if head.scheme == Some("https") { 443 } else { 80 };
        log.called(&destination(head.authority, port), verdict, head.peer);
    }

    /// The authority by whose routes a request goes.
    fn authority<'a, B>(&'a self, request: &'a Request<B>) -> &'a str {
        match &self.by {
            By::Authority(authority) => authority,
            By::Own | By::Address | By::Chain(..) => authority_of(request),
        }
    }

    /// What the source of configuration says to it.
    #[cold]
    fn why(&self, reason: &Reason, snapshot: &Snapshot<Net>, authority: &str) -> Option<Arc<str>> {
        match reason {
            Reason::UnknownCluster => self.mesh.shared().interests.trouble().of_clusters(),
            _ => snapshot.absence(authority).cloned(),
        }
    }

    /// A call that no route takes.
    #[cold]
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

/// A call whose request a route's rewrite made unfit.
#[cold]
fn unsendable(
    invalid: InvalidRewrite,
    target: &Target<Net>,
    started: Timestamp,
    line: Option<Box<CallLine>>,
) -> Error {
    let reason = Reason::Attempt(Failure::Protocol(ProtocolFailure::InvalidRequest));
    let code = Code { flag: Some(reason.flag()), ..Code::default() };
    count(target.attached(), code, started);
    let station = Station {
        virtual_host: Some(Arc::clone(target.route().virtual_host())),
        route: Some(Arc::clone(target.route().name())),
        cluster: Some(Arc::clone(target.cluster().name())),
        ..Station::default()
    };
    let error = Error::new(reason, station).with_source(Some(invalid.into()));
    let error = error.with_report(Some(CallReport::new()));
    if let Some(line) = line {
        line.failed(&error, clock::now());
    }
    error
}

/// The span of the call, until the end of its response body; nothing is made of it without a subscriber
/// that wants it.
fn call_span<B>(request: &Request<B>) -> ThinSpan {
    ThinSpan::new(tracing::debug_span!(
        target: "mesh::call",
        "call",
        method = %request.method(),
        authority = authority_of(request),
        path = request.uri().path(),
        virtual_host = Empty,
        route = Empty,
        cluster = Empty,
        attempts = Empty,
        status = Empty,
        grpc_status = Empty,
        response_flag = Empty,
        error = Empty,
    ))
}

/// What the router may see of a request.
fn head_of<B>(request: &Request<B>) -> RequestHead<'_> {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let mut head =
        RequestHead::new(request.method(), authority_of(request), path, request.headers());
    head.scheme = uri.scheme_str();
    if let Some(peer) = request.extensions().get::<crate::Peer>() {
        head.peer = Peer { address: peer.address, identity: peer.identity.as_deref() };
    }
    head
}

/// The authority that the caller wrote: the URI's, without userinfo, else the `Host` header.
fn authority_of<B>(request: &Request<B>) -> &str {
    match request.uri().authority() {
        Some(authority) => {
            let authority = authority.as_str();
            authority.rsplit_once('@').map_or(authority, |(_, host)| host)
        }
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

/// Makes the request what the route wants it to be, before any attempt: first the headers, then host and
/// path, which may be taken from them (Envoy: `finalizeRequestHeaders`).
fn prepare(request: &mut Request<MeshBody>, target: &Target<Net>) -> Result<(), InvalidRewrite> {
    target.route().edit_request(target.split(), request.headers_mut());
    let forward = target.forward();
    if forward.rewrites() {
        let head = head_of(request);
        let host = forward.host(&head);
        let path = forward.path(&head)?;
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
