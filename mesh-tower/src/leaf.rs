//! What is under the stack: our own [`Transport`](crate::Transport), or a user's.
//!
//! Above this trait nothing knows the difference. It is not a tower `Service` because it borrows the
//! attempt's guard: the endpoint is handed over by reference, without a map of extensions.

use crate::MeshBody;
use crate::call::Left;
use crate::connect::SendError;
use crate::net::Net;
use crate::observe::Phases;
use bytes::Bytes;
use http::{Request, Response};
use mesh_core::egress::CompiledEgress;
use mesh_core::state::InFlight;
use std::future::Future;
use std::sync::Arc;

/// Sends one attempt to one endpoint.
#[expect(unnameable_types, reason = "sealed: there are two leaves, both here")]
pub trait Leaf: Clone + Send + 'static {
    /// Whether HTTP/2 requests are sent without looking at their extensions. Then a saved request keeps
    /// the caller's, and the attempt goes without: cloning them costs an allocation for each.
    const IGNORES_EXTENSIONS: bool = false;

    /// Whether the connections are our own, which count themselves.
    const POOLS: bool = false;

    /// The response body.
    type Body: http_body::Body<Data = Bytes>;
    /// The attempt; dropping it gives the attempt up.
    type Future: Future<Output = Result<Response<Self::Body>, SendError>>;

    /// Sends `request` to the endpoint of `to`.
    fn send(&self, to: &InFlight<Net>, request: Request<MeshBody>) -> Self::Future;

    /// Sends `request` where its URI points, past every policy.
    fn passthrough(&self, request: Request<MeshBody>, egress: &Arc<CompiledEgress>)
    -> Self::Future;

    /// Whether the request is on its way: it has a connection, or its transport does not tell.
    fn is_sent(_sent: &Self::Future) -> bool {
        true
    }

    /// The request waits for its connection, and tells what is left when it is sent.
    fn waits(_sent: &mut Self::Future, _left: Left) {}

    /// Where the time before the request was sent went, when there was any to speak of.
    fn phases(_sent: &Self::Future) -> Option<Phases> {
        None
    }
}
