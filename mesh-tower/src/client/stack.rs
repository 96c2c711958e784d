//! [`MeshService`]: the layers in their order.

use crate::Mesh;
use crate::MeshBody;
use crate::balance::BalanceService;
use crate::body::BoxError;
use crate::call::{CallFuture, CallService};
use crate::endpoint::{EndpointService, MeshResponseBody};
use crate::error::Error;
use crate::leaf::Leaf;
use crate::route::{RouteFuture, RouteService};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use mesh_core::inbound::HandedOn;
use mesh_core::state::DirectRoute;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

type Endpoints<L> = EndpointService<L>;
type Balanced<L> = BalanceService<Endpoints<L>>;
type Calls<L> = CallService<Balanced<L>>;
type Routes<L> = RouteService<Calls<L>, L>;
type Calling<L> = CallFuture<Balanced<L>, <L as Leaf>::Body>;
type Routing<L> = RouteFuture<Calling<L>, <L as Leaf>::Future, <L as Leaf>::Body>;

/// The whole client stack over `L`. Cheap to clone, always ready: clone it per task.
#[derive(Clone, Debug)]
pub struct MeshService<L>(Routes<L>);

impl<L: Leaf> MeshService<L> {
    pub(crate) fn new(mesh: Mesh, leaf: L) -> Self {
        let endpoint = EndpointService::new(leaf.clone());
        let call = CallService::new(BalanceService::new(endpoint));
        Self(RouteService::new(mesh, call, leaf))
    }

    /// Calls `cluster`, whatever routes say.
    ///
    /// # Errors
    /// When the configuration has no such cluster, or the call failed.
    pub(crate) async fn call_cluster(
        &mut self,
        cluster: &str,
        route: &DirectRoute,
        request: Request<MeshBody>,
    ) -> Result<Response<MeshResponseBody<L::Body>>, Error>
    where
        L::Body: Unpin,
        <L::Body as Body>::Error: Into<BoxError>,
    {
        self.0.call_cluster(cluster, route, request)?.await
    }

    /// All calls go by the routes of `authority`, whatever they say of themselves.
    pub(crate) fn routed_as(self, authority: Arc<str>) -> Self {
        Self(self.0.routed_as(authority))
    }

    /// Calls go to addresses: only a domain that is the address itself takes one.
    pub(crate) fn routed_by_address(self) -> Self {
        Self(self.0.routed_by_address())
    }

    /// Calls go by the routes of the filter chain of `listener` that has handed them on.
    pub(crate) fn routed_by_chain(self, listener: Arc<str>, handed: HandedOn) -> Self {
        Self(self.0.routed_by_chain(listener, handed))
    }

    /// See [`HashSource::ChannelId`](mesh_core::model::HashSource::ChannelId): its calls, and those of
    /// its clones, have one of their own.
    pub(crate) fn into_own_channel(self) -> Self {
        Self(self.0.into_own_channel())
    }
}

/// One call through the stack. Dropping it gives the call up, and releases all that it holds.
#[pin_project]
pub struct MeshFuture<L: Leaf>(#[pin] Routing<L>);

impl<L> Future for MeshFuture<L>
where
    L: Leaf,
    L::Body: Unpin,
    <L::Body as Body>::Error: Into<BoxError>,
{
    type Output = Result<Response<MeshResponseBody<L::Body>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

impl<L: Leaf> fmt::Debug for MeshFuture<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MeshFuture").field(&self.0).finish()
    }
}

impl<L, B> Service<Request<B>> for MeshService<L>
where
    L: Leaf,
    L::Body: Unpin,
    <L::Body as Body>::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<MeshResponseBody<L::Body>>;
    type Error = Error;
    type Future = MeshFuture<L>;

    /// Always ready: back-pressure is the circuit breaker, and waiting is each call's own choice.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        MeshFuture(self.0.call(request))
    }
}
