//! Configurations to measure with.

use mesh_core::model::{
    Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, Endpoint, ForwardAction, LbAlgorithm,
    LbPolicy, PathMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, Split, SplitCluster,
    VirtualHost,
};
use mesh_core::update::{ClusterUpdate, ConfigUpdate, Origin};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// A route to the cluster called `cluster`.
pub(crate) fn forward(name: &str, path: PathMatcher, cluster: &str) -> Arc<Route> {
    let action = ForwardAction::new(ClusterSpecifier::Cluster(cluster.into()));
    Arc::new(Route::new(name, RouteMatch::new(path), RouteAction::Forward(action)))
}

/// An endpoint by its number.
pub(crate) fn endpoint(number: u32) -> Endpoint {
    let address = Ipv4Addr::from(0x0a00_0000 + number);
    Endpoint::new(SocketAddr::from((address, 8080)).into())
}

/// A cluster of `size` endpoints.
pub(crate) fn cluster(name: &str, algorithm: LbAlgorithm, size: u32) -> ClusterUpdate {
    let mut cluster = Cluster::new(name);
    cluster.lb_policy = LbPolicy::new(algorithm);
    cluster.outlier_detection = Some(mesh_core::model::OutlierDetection::default());
    let endpoints = Some(Arc::new(ClusterLoadAssignment::of((0..size).map(endpoint))));
    ClusterUpdate::new(Arc::new(cluster), endpoints)
}

/// A configuration of the given virtual hosts and clusters.
pub(crate) fn update(
    hosts: Vec<VirtualHost>,
    clusters: impl IntoIterator<Item = ClusterUpdate>,
    version: u64,
) -> ConfigUpdate {
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts = hosts.into_iter().map(Arc::new).collect();
    let mut update = ConfigUpdate::default();
    update.origin = Origin::new("bench", version.to_string());
    update.route_configuration = Arc::new(routes);
    update.clusters =
        clusters.into_iter().map(|update| (Arc::clone(&update.cluster.name), update)).collect();
    update
}

/// One host with 20 routes, the last of which splits between two clusters of ten endpoints: what most
/// services look like.
pub(crate) fn usual() -> ConfigUpdate {
    let mut host = VirtualHost::new("reviews", vec![Domain::Exact("reviews".into())]);
    for number in 0..19 {
        let path = PathMatcher::Prefix(format!("/api/{number}/").into());
        host.routes.push(forward(&format!("r{number}"), path, "a"));
    }
    let parts = vec![SplitCluster::new("a", 90), SplitCluster::new("b", 10)];
    let action = ForwardAction::new(ClusterSpecifier::Split(Split::new(parts)));
    let route = Route::new("split", RouteMatch::any(), RouteAction::Forward(action));
    host.routes.push(Arc::new(route));
    let clusters = ["a", "b"].map(|name| cluster(name, LbAlgorithm::least_request(), 10));
    update(vec![host], clusters, 1)
}
