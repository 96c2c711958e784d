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

#[cfg(feature = "tonic")]
mod channel;
mod layer;
mod stack;

pub use crate::connect::{NetBody, NetBodyError};
pub use crate::endpoint::MeshResponseBody;
pub use crate::foreign::{Foreign, ForeignFuture};
pub use crate::transport::{Transport, TransportFuture};
#[cfg(feature = "tonic")]
pub use channel::{Channel, ChannelBody, ChannelFuture};
pub use layer::{IntoLeaf, MeshLayer};
pub use stack::{MeshFuture, MeshService};

/// The stack over our own transport: what [`Mesh::client`](crate::Mesh::client) gives.
pub type Client = MeshService<Transport>;

/// A response body of the stack over our own transport.
pub type ResponseBody = MeshResponseBody<NetBody>;
