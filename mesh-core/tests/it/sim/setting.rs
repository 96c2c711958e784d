//! Configurations and addresses of the simulation.

use mesh_core::ConfigUpdate;
use mesh_core::model::{
    Address, BackOff, Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, Endpoint,
    ForwardAction, RetryOn, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch,
    VirtualHost,
};
use mesh_core::update::ClusterUpdate;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn address(port: u16) -> Address {
    Address::from(SocketAddr::from(([10, 0, 0, 1], port)))
}

/// One locality with an endpoint at each port.
pub(super) fn endpoints(ports: impl IntoIterator<Item = u16>) -> Arc<ClusterLoadAssignment> {
    let endpoints = ports.into_iter().map(|port| Endpoint::new(address(port)));
    Arc::new(ClusterLoadAssignment::of(endpoints))
}

/// A virtual host of the cluster's name that sends everything to it.
pub(super) fn host(name: &Arc<str>, change: impl FnOnce(&mut ForwardAction)) -> Arc<VirtualHost> {
    let mut action = ForwardAction::new(ClusterSpecifier::Cluster(name.clone()));
    change(&mut action);
    let route = Route::new("all", RouteMatch::any(), RouteAction::Forward(action));
    let mut host = VirtualHost::new(name.clone(), vec![Domain::Exact(name.clone())]);
    host.routes.push(Arc::new(route));
    Arc::new(host)
}

/// A mesh of one cluster.
pub(super) fn mesh_of(
    cluster: Cluster,
    endpoints: Arc<ClusterLoadAssignment>,
    change: impl FnOnce(&mut ForwardAction),
) -> ConfigUpdate {
    let name = cluster.name.clone();
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts.push(host(&name, change));
    let mut update = ConfigUpdate::default();
    update.route_configuration = Arc::new(routes);
    update.clusters.insert(name, ClusterUpdate::new(Arc::new(cluster), Some(endpoints)));
    update
}

/// Retries of everything that may pass.
pub(super) fn retries(most: u32, back_off: Duration) -> RetryPolicy {
    let mut policy = RetryPolicy::new(RetryOn::SERVER_ERROR | RetryOn::RESET);
    policy.num_retries = most;
    policy.back_off = BackOff::new(back_off, back_off * 10);
    policy
}
