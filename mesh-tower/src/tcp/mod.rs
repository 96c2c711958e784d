//! Byte streams through the mesh: databases, queues, whatever is not HTTP.
//!
//! [`Mesh::connect`](crate::Mesh::connect) is to such a cluster what a client is to one of HTTP: the same endpoints,
//! load balancing, circuit breakers, outlier detection and TLS.
//!
//! A connection is a call, as CONNECT is one in HTTP (RFC 9110 section 9.3.6): what a call's answer is, is here that
//! there is a connection, and the body of the answer is what goes over it. So it goes the way of all calls
//! ([`client`](crate::client)) with another leaf, and what holds for calls holds for it:
//!
//! - An endpoint that can't be reached is passed over, and another is tried at once, a bounded number of times.
//! - It counts as in flight, against `max_requests` and for load balancing, until it ends; and as a connection.
//! - Metrics count it as a call with status 200 once it is connected, and with a flag when it was not, or broke,
//!   or was ended for its silence ([`StreamEnd`]).
//!
//! What it can't do is go on elsewhere: bytes that were sent are sent.
//!
//! [`relay`] passes bytes on between such a stream and another, as a proxy does.

mod leaf;
mod proxied;
mod relay;
mod stream;

pub(crate) use leaf::OwnLeaf;
pub use mesh_core::proxy::stream::StreamEnd;
pub use proxied::Proxied;
pub use relay::{RelayEnd, RelayOptions, Relayed, relay};
pub use stream::MeshStream;

use crate::client::MeshService;
use crate::error::{Error, Station};
use crate::{CallOptions, Mesh, MeshBody};
use http::{Method, Request};
use mesh_core::local_reply::Reason;
use mesh_core::state::DirectRoute;

/// The route of connections: one attempt, as long as the stream lasts.
pub(crate) fn route() -> Option<DirectRoute> {
    DirectRoute::new(crate::route::DIRECT)
}

/// See [`Mesh::connect_with`].
pub(crate) async fn connect(
    mesh: &Mesh,
    cluster: &str,
    route: Option<&DirectRoute>,
    options: CallOptions,
) -> Result<MeshStream, Error> {
    let Some(route) = route else {
        // It is always there; without it nobody could be called.
        return Err(Error::new(Reason::UnknownCluster, Station::default()));
    };
    let mut request = Request::new(MeshBody::empty());
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(options);
    let mut service = MeshService::new(mesh.clone(), mesh.transport().own_connections());
    let response = service.call_cluster(cluster, route, request).await?;
    MeshStream::of_bytes(response)
}
