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
pub(crate) use future::EndpointFuture;
pub(crate) use scope::AttemptScope;
use scope::Times;

use crate::leaf::Leaf;
use crate::net::Net;
use crate::observe::span::ThinSpan;
use crate::routed::{Answer, AttemptError, Picked};
use mesh_core::state::InFlight;
use std::task::{Context, Poll};
use tower_service::Service;
use tracing::field::Empty;

/// Sends an attempt to its endpoint through a `Leaf`.
#[derive(Clone, Debug)]
pub(crate) struct EndpointService<L> {
    leaf: L,
}

impl<L> EndpointService<L> {
    /// Sends through `leaf`.
    #[must_use]
    pub(crate) const fn new(leaf: L) -> Self {
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
        let Picked {
            request,
            in_flight,
            locality,
            grpc,
            number,
            started,
            waited,
            deadline,
            mut traced,
        } = picked;
        if let Some(traced) = &mut traced {
            traced.attempt(
                in_flight.target().cluster().name(),
                in_flight.endpoint().address(),
                number,
            );
        }
        let span = attempt_span(&in_flight, number);
        let send = span.in_scope(|| self.leaf.send(&in_flight, request));
        let times = Times { started, waited, deadline };
        let scope = AttemptScope::new(in_flight, locality, grpc, times, (span, traced));
        EndpointFuture::new(send, scope)
    }
}

/// The span of an attempt, until the end of its response body; a child of its call's.
fn attempt_span(in_flight: &InFlight<Net>, number: u32) -> ThinSpan {
    ThinSpan::new(tracing::debug_span!(
        target: "mesh::attempt",
        "attempt",
        number,
        cluster = &**in_flight.target().cluster().name(),
        endpoint = %in_flight.endpoint().address(),
        status = Empty,
        grpc_status = Empty,
        response_flag = Empty,
    ))
}
