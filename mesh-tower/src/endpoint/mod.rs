//! The layer of one endpoint: counts the attempt until its body ends, and reports how it went.
//!
//! # Position
//! Below `balance`, which picks the endpoint; above the `Leaf`, whose connections it is blind to.
//! It is above the pool so that it sums over connections, and it reports timeouts because it is told
//! the attempt's deadline: a guard that is dropped without an outcome at or after that instant saw a
//! timeout of its endpoint; dropped earlier, the caller gave up.

mod body;
mod future;
mod scope;

pub(crate) use body::Limits;
pub use body::MeshResponseBody;
pub use future::EndpointFuture;
pub(crate) use scope::AttemptScope;
use scope::Times;

use crate::leaf::Leaf;
use crate::routed::{Answer, AttemptError, Picked};
use std::task::{Context, Poll};
use tower_service::Service;

/// Sends an attempt to its endpoint through a `Leaf`.
#[derive(Clone, Debug)]
pub struct EndpointService<L> {
    leaf: L,
}

impl<L> EndpointService<L> {
    /// Sends through `leaf`.
    #[must_use]
    pub const fn new(leaf: L) -> Self {
        Self { leaf }
    }
}

impl<L: Leaf> Service<Picked> for EndpointService<L> {
    type Response = Answer<L::Body>;
    type Error = AttemptError;
    type Future = EndpointFuture<L>;

    /// Always ready: see the note on readiness in the crate's documentation.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, picked: Picked) -> Self::Future {
        let Picked { request, in_flight, locality, started, waited, deadline } = picked;
        let grpc = mesh_core::head::is_grpc_content_type(request.headers());
        let send = self.leaf.send(&in_flight, request);
        let scope =
            AttemptScope::new(in_flight, locality, grpc, Times { started, waited, deadline });
        EndpointFuture::new(send, scope)
    }
}
