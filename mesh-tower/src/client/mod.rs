//! The client stack, written once and in order.
//!
//! ```text
//! observe    span of the call; last on the way out, so it sees every local reply
//! route      one snapshot load; request -> route and cluster        mesh_core::router
//! call       one timer until the head; the attempts                 mesh_core::call
//!   balance  a place in the circuit breaker, then an endpoint       mesh_core::{breaker, lb}
//!   endpoint in flight until the body ends; outcome reported        mesh_core::state
//!   leaf     our connections, or the user's transport
//! ```

mod channel;
mod layer;
mod stack;

#[cfg(feature = "tonic")]
pub use channel::{Channel, ChannelFuture};
pub use layer::{IntoLeaf, MeshLayer};
pub use stack::{MeshFuture, MeshService};

use crate::connect::NetBody;
use crate::transport::Transport;

/// The stack over our own transport: what [`Mesh::client`](crate::Mesh::client) gives.
pub type Client = MeshService<Transport>;

/// A response body of the stack over our own transport.
pub type ResponseBody = crate::endpoint::MeshResponseBody<NetBody>;
