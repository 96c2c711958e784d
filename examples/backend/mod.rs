//! What the small examples have in common and do not teach: a server on loopback, and a
//! configuration that sends every call to one cluster.
#![allow(dead_code, reason = "each example uses the part of it that it needs")]

use axum::Router;
use axum::extract::Request;
use axum::http::header;
use mesh_core::ConfigUpdate;
use mesh_core::model::{
    Address, Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, Endpoint, ForwardAction,
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use mesh_core::update::ClusterUpdate;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Any error: examples only report it.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A server on a free port of loopback, HTTP/1.1 and HTTP/2; ends when dropped.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Backend {
    /// Answers every request, after `delay`, with `name` and the authority that it was sent to.
    pub(crate) async fn start(name: &'static str, delay: Duration) -> Result<Self, BoxError> {
        let answer = move |request: Request| async move {
            tokio::time::sleep(delay).await;
            let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
            let host = request.uri().authority().map(|host| host.as_str()).or(host);
            format!("{name} for {}", host.unwrap_or_default())
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serve = axum::serve(listener, Router::new().fallback(answer));
        let task = tokio::spawn(async move { serve.await.unwrap_or_default() });
        Ok(Self { address, task })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Every authority goes to `cluster`, which is made of `endpoints`.
pub(crate) fn everything_to(cluster: Cluster, endpoints: &[SocketAddr]) -> ConfigUpdate {
    let specifier = ClusterSpecifier::Cluster(Arc::clone(&cluster.name));
    let mut update = routed_by(specifier);
    add_cluster(&mut update, cluster, endpoints);
    update
}

/// Every authority goes where `specifier` says; its clusters are still to be
/// [added](add_cluster).
pub(crate) fn routed_by(specifier: ClusterSpecifier) -> ConfigUpdate {
    let action = RouteAction::Forward(ForwardAction::new(specifier));
    let mut host = VirtualHost::new("everything", vec![Domain::Any]);
    host.routes.push(Arc::new(Route::new("all", RouteMatch::any(), action)));
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts.push(Arc::new(host));
    let mut update = ConfigUpdate::default();
    update.route_configuration = Arc::new(routes);
    update
}

/// Makes `cluster` known, with its endpoints.
pub(crate) fn add_cluster(update: &mut ConfigUpdate, cluster: Cluster, endpoints: &[SocketAddr]) {
    let endpoints = endpoints.iter().map(|address| Endpoint::new(Address::from(*address)));
    let endpoints = Arc::new(ClusterLoadAssignment::of(endpoints));
    let name = Arc::clone(&cluster.name);
    update.clusters.insert(name, ClusterUpdate::new(Arc::new(cluster), Some(endpoints)));
}
