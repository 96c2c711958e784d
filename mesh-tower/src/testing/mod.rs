//! For the tests of programs that use a mesh: endpoints in memory (feature `testing`).
//!
//! A test of what a program does when a service refuses, hangs or goes away should need neither
//! sockets nor sleeps. A [`MemoryNetwork`] is a [`Connect`](crate::connector::Connect): it takes the place of
//! TCP, serves any tower service at an address, and lets the test decide what becomes of connections.
//! Everything above it is the real stack: HTTP, pools, balancing, retries.
//!
//! Under `#[tokio::test(start_paused = true)]` time passes only while everybody waits, so timeouts of
//! minutes cost nothing and are exact.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mesh_tower::testing::{MemoryNetwork, one_cluster};
//! use mesh_tower::{Mesh, MeshBody};
//! use std::net::SocketAddr;
//! use tower_service::Service;
//!
//! let (first, second) = (SocketAddr::from(([10, 0, 0, 1], 80)), SocketAddr::from(([10, 0, 0, 2], 80)));
//! let network = MemoryNetwork::new();
//! network.serve_fn(first, |_| async { http::Response::new(MeshBody::full("hello")) }).refuse();
//! network.serve_fn(second, |_| async { http::Response::new(MeshBody::full("hello")) });
//! let config = one_cluster("reviews", [first, second]);
//! let mesh = Mesh::builder().config(config).connector(network).build()?;
//!
//! let request = http::Request::get("http://reviews/1").body(MeshBody::empty())?;
//! assert_eq!(mesh.client().call(request).await?.status(), 200);
//! # Ok(()) }
//! ```
//!
//! What it doesn't do: packets, bandwidth, TLS. A stream is a pipe of 64 KiB each way.

mod network;
mod server;

pub use network::MemoryNetwork;
pub use server::MemoryServer;

use mesh_core::model::{
    Address, Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, Endpoint, ForwardAction,
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use mesh_core::update::{ClusterUpdate, ConfigUpdate};
use std::sync::Arc;

/// A configuration that sends every call to one cluster with these endpoints; the defaults everywhere.
///
/// Change the result, or put another [`Cluster`] or [`Route`] in, for anything else.
#[must_use]
pub fn one_cluster<A: Into<Address>>(
    name: &str,
    endpoints: impl IntoIterator<Item = A>,
) -> ConfigUpdate {
    let cluster = Arc::new(Cluster::new(name));
    let action = ForwardAction::new(ClusterSpecifier::Cluster(Arc::clone(&cluster.name)));
    let route = Route::new(name, RouteMatch::any(), RouteAction::Forward(action));
    let mut host = VirtualHost::new(name, vec![Domain::Any]);
    host.routes.push(Arc::new(route));
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts.push(Arc::new(host));
    let endpoints = endpoints.into_iter().map(|address| Endpoint::new(address.into()));
    let endpoints = Some(Arc::new(ClusterLoadAssignment::of(endpoints)));
    let mut update = ConfigUpdate::default();
    update.route_configuration = Arc::new(routes);
    update.clusters.insert(Arc::clone(&cluster.name), ClusterUpdate::new(cluster, endpoints));
    update
}
