//! [`ServerLayer`]: what is done with a request before a service sees it, and with its response.
//!
//! A service that is called by others has to know who calls, to refuse who may not, to stop when nobody
//! waits any more, and to say what it did. All of that is configured by a listener, may change at any time,
//! and is the same for every service; so it is a layer.
//!
//! # Position
//! Below whatever accepts connections, which puts an [`Arc<Connection>`](super::Connection) into each
//! request's extensions; above everything that answers, routers included: policies are about the request as
//! it came. Layers that change the path or the host must be below it.
//!
//! # What happens to a request
//! In this order; what is refused is answered at once, in HTTP or in gRPC.
//!
//! 1. Who sent it: the connection. Without one it is answered 500: a service that takes strangers for
//!    plaintext peers would be open wherever somebody forgot the acceptor. Who accepts connections himself
//!    says what they are ([`Connection::plaintext`](super::Connection::plaintext)).
//! 2. What is in force: the listener's chain of the connection's name, in the snapshot of this moment.
//! 3. Limits of the head (431), its host (400), the caller's deadline, the path (400, 307), what the caller
//!    may not say (`mesh_core::inbound::head`, `path`; `mesh_core::identity::xfcc`).
//! 4. The route: 404 without one; 503 for one that forwards (gRFC A36).
//! 5. The filters of the chain, as the route has them ([`mesh_core::filter`]). Where one asks somebody, the
//!    request waits for the answer, until the caller's deadline (504); an authorizer may want its body.
//! 6. What the route answers by itself; else the service, within [`Inbound`], until the caller's deadline:
//!    then its future, or its body, is dropped.
//! 7. Its response, and the layer's own: header edits of the route, and of filters that saw the request. When
//!    it ends, however it does, filters get back what they gave. `grpc-retry-pushback-ms: -1` or `x-mesh-retry: no` when it
//!    failed because a call that it made had nothing left to try; counted when its body ends.
//!
//! | file | holds |
//! |---|---|
//! | `served.rs` | what is in force, with where it is counted; made once per configuration |
//! | `enter.rs` | steps 1 to 4 |
//! | `filters.rs` | step 5, as far as nothing is waited for |
//! | `wait.rs` | step 5 of requests that wait |
//! | `access.rs` | what the log says of a request: an event, and a line of the access log |
//! | `observer.rs` | what filters decided → metrics, log, audit |
//! | `common.rs` | what the requests of a connection have in common |
//! | `scope.rs` | what is known of a request until it has ended, and what is counted then |
//! | `live.rs` | where that is kept |
//! | `future.rs`, `body.rs`, `request_body.rs` | the service's future and the two bodies |
//! | `reply.rs` | answers of the layer's own |
//!
//! A plain request takes no lock, resolves no name, and boxes nothing but what a request before it has left. A filter that
//! waits is a box, and so is the timer of a deadline once the service lets its caller wait, unless its connection has
//! one; a filter that asks what is known already (a token whose keys are here) does not wait.

mod access;
mod body;
mod body_limit;
mod common;
mod enter;
mod filters;
mod future;
mod live;
mod observer;
mod reply;
mod request_body;
mod scope;
mod served;
mod wait;

pub use body::ServerBody;
pub(super) use common::{Common, Kept};
pub use future::ServerFuture;
pub(super) use observer::name_of;
pub use observer::{AuditSink, StdoutAudit};
pub use reply::Refused;
pub use request_body::RequestBody;

use crate::Mesh;
use crate::body::BoxError;
use crate::clock;
use crate::filter::Prefixed;
use crate::server::streams::turn_began;
use bytes::Bytes;
use common::OwnOrShared;
use enter::{Gate, Next};
use filters::Wait;
use future::Entered;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use live::Live;
use scope::RequestScope;
use served::Listening;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Makes of a service one that is served as a listener of the configuration says.
///
/// For any `Service<Request<RequestBody<B>>>` over a body that is `Unpin`, as those of all servers are: axum's routers and routes, tonic's routes, hyper's
/// `service_fn`. Clones, and the services of several calls of `layer`, share what they know.
///
/// # Examples
/// ```
/// # fn example(mesh: &mesh_tower::Mesh) {
/// use mesh_tower::server::{RequestBody, ServerLayer};
/// use tower::{Layer, service_fn};
///
/// let hello = service_fn(|_request: http::Request<RequestBody<mesh_tower::MeshBody>>| async {
///     Ok::<_, std::convert::Infallible>(http::Response::new(mesh_tower::MeshBody::full("hello")))
/// });
/// let service = ServerLayer::new(mesh, "web").layer(hello);
/// # }
/// ```
#[derive(Clone)]
pub struct ServerLayer {
    gate: Arc<Gate>,
}

impl ServerLayer {
    /// A layer that does what the listener of this name says. Until the configuration has one, every
    /// request is answered 503.
    #[must_use]
    pub fn new(mesh: &Mesh, listener: impl Into<Arc<str>>) -> Self {
        let log = mesh.shared().logs.server.clone();
        let listening = Arc::new(Listening::new(mesh.clone(), listener.into()));
        let gate = Gate { listening, audit: Arc::new(StdoutAudit), timing: false, log };
        Self { gate: Arc::new(gate) }
    }

    /// Tells of audited decisions (gRFC A59) to `sink`, in place of standard output.
    #[must_use]
    pub fn audit(mut self, sink: Arc<dyn AuditSink>) -> Self {
        Arc::make_mut(&mut self.gate).audit = sink;
        self
    }

    /// Adds `x-mesh-timing` to responses: how long the application took to answer, and how long the mesh took
    /// before it, in milliseconds. The caller's report takes it up
    /// ([`AttemptReport::server`](crate::observe::AttemptReport::server)). Default: off, because it tells
    /// everybody who may call.
    #[must_use]
    pub fn timing(mut self) -> Self {
        Arc::make_mut(&mut self.gate).timing = true;
        self
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> ServerService<S> {
        ServerService { inner, gate: self.gate.clone() }
    }
}

impl fmt::Debug for ServerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listener = &self.gate.listening.listener;
        f.debug_struct("ServerLayer").field("listener", listener).finish_non_exhaustive()
    }
}

/// A service behind a [`ServerLayer`].
#[derive(Clone)]
pub struct ServerService<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S, B, R> Service<Request<B>> for ServerService<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Response = Response<ServerBody<R>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clock is read once for all requests of a turn.
        let started = turn_began().unwrap_or_else(clock::now);
        let (mut parts, body) = request.into_parts();
        let (size, body) = (body.size_hint(), Prefixed::new(body));
        let common = OwnOrShared::of(&self.gate, parts.extensions.get());
        let mut live = Live::new(RequestScope::new(common, &parts, started));
        // It has just begun, so there is one.
        let Some(scope) = live.scope() else { return ServerFuture::ready(Box::default(), live) };
        match self.gate.enter(&mut parts, &size, scope) {
            Next::Service => {
                ServerFuture::running(serve(&mut self.inner, parts, body, scope), live)
            }
            Next::Reply(reply) => ServerFuture::ready(reply, live),
            Next::Wait(wait) => ServerFuture::waiting(self.wait(wait, parts, body, live)),
        }
    }
}

/// Hands a request to the service, within its `Inbound`.
// Inlined: so what it gives, which is large, is made where it stays.
#[inline(always)]
fn serve<S, B>(
    service: &mut S,
    parts: Parts,
    body: Prefixed<B>,
    scope: &mut RequestScope,
) -> S::Future
where
    S: Service<Request<RequestBody<B>>>,
    B: Body<Data = Bytes> + Unpin,
{
    scope.bound_body(&body.size_hint());
    scope.served_from(clock::now);
    let body = RequestBody::new(body, scope.body_limit());
    let request = Request::from_parts(parts, body);
    let _within = scope.enter();
    service.call(request)
}

impl<S> ServerService<S> {
    /// Waits as filters want, or until the caller's deadline. Dropping it gives up whatever is waited for.
    fn wait<B>(
        &mut self,
        wait: Wait,
        mut parts: Parts,
        mut body: Prefixed<B>,
        mut live: Live,
    ) -> Pin<Box<dyn Future<Output = Entered<S::Future>> + Send>>
    where
        S: Service<Request<RequestBody<B>>> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        // Readiness is of the service that was asked for it; the next request asks its clone.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let gate = Arc::clone(&self.gate);
        Box::pin(async move {
            let Some(scope) = live.scope() else { return Entered::Ready(Box::default(), live) };
            match wait::until_decided(&gate, &mut parts, &mut body, scope, wait).await {
                Some(reply) => Entered::Ready(reply, live),
                None => Entered::Running(serve(&mut inner, parts, body, scope), live),
            }
        })
    }
}

impl<S> fmt::Debug for ServerService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listener = &self.gate.listening.listener;
        f.debug_struct("ServerService").field("listener", listener).finish_non_exhaustive()
    }
}
