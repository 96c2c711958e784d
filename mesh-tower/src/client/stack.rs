//! [`MeshService`]: the layers in their order.

use crate::Mesh;
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
use std::task::{Context, Poll};
use tower_service::Service;

type Endpoints<L> = EndpointService<L>;
type Balanced<L> = BalanceService<Endpoints<L>>;
type Calls<L> = CallService<Balanced<L>>;
type Routes<L> = RouteService<Calls<L>, L>;

/// The whole client stack over `L`. Cheap to clone, always ready: clone it per task.
#[derive(Clone, Debug)]
pub struct MeshService<L>(Routes<L>);

impl<L: Leaf> MeshService<L> {
    pub(crate) fn new(mesh: Mesh, leaf: L) -> Self {
        let endpoint = EndpointService::new(leaf.clone());
        let call = CallService::new(BalanceService::new(endpoint));
        Self(RouteService::new(mesh, call, leaf))
    }
}

/// One call through the stack.
pub type MeshFuture<L> =
    RouteFuture<CallFuture<Balanced<L>, <L as Leaf>::Body>, <L as Leaf>::Future, <L as Leaf>::Body>;

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
        self.0.call(request)
    }
}
