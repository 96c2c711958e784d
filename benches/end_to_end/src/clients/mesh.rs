//! Our client, with everything on that a sidecar would do: timeout, circuit breaker, outlier
//! detection, least request, metrics.
//!
//! | name | besides |
//! |---|---|
//! | `mesh` | `transparent_retry: off` |
//! | `mesh-transparent` | the default: what a server did not process is sent again (gRFC A6) |
//! | `mesh-retries` | also a retry policy: `unavailable`, 2 retries |

use super::plain::Plain;
use super::unary::{OwnHeaders, Unary};
use crate::BoxError;
use crate::echo::{SERVICE, TIMEOUT};
use crate::load::{Caller, Client, Driving, Load};
use crate::serve::Addresses;
use http::Version;
use mesh_core::ConfigUpdate;
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, Endpoint, ForwardAction, LbAlgorithm,
    LbPolicy, OutlierDetection, Protocol, RetryOn, RetryPolicy, Route, RouteAction,
    RouteConfiguration, RouteMatch, VirtualHost,
};
use mesh_core::update::{ClusterUpdate, Origin};
use mesh_tower::Mesh;
use std::net::SocketAddr;
use std::sync::Arc;

/// The client called `name`.
pub fn connect(name: &str, addresses: &Addresses) -> Result<Box<dyn Client>, BoxError> {
    let one = &addresses.http2[..1];
    match name {
        "mesh" => grpc(one, ReSend::Never),
        "mesh-transparent" => grpc(one, ReSend::Unprocessed),
        "mesh-retries" => grpc(one, ReSend::Unavailable),
        "mesh-3" => grpc(&addresses.http2, ReSend::Never),
        "http1-mesh" => plain(addresses.http1, Version::HTTP_11, ReSend::Never),
        "http1-mesh-transparent" => plain(addresses.http1, Version::HTTP_11, ReSend::Unprocessed),
        "http2-mesh" => plain(one[0], Version::HTTP_2, ReSend::Never),
        "http2-mesh-transparent" => plain(one[0], Version::HTTP_2, ReSend::Unprocessed),
        _ => Err(format!("no such client: {name}").into()),
    }
}

/// When a request is sent once more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReSend {
    Never,
    Unprocessed,
    Unavailable,
}

fn grpc(endpoints: &[SocketAddr], re_send: ReSend) -> Result<Box<dyn Client>, BoxError> {
    let mesh = mesh(endpoints, Protocol::Http2, re_send)?;
    let caller = Unary::new(mesh.channel(SERVICE)?, None, OwnHeaders::TIMEOUT);
    Ok(Box::new(Held { _mesh: mesh, caller }))
}

fn plain(
    endpoint: SocketAddr,
    version: Version,
    re_send: ReSend,
) -> Result<Box<dyn Client>, BoxError> {
    let protocol = if version == Version::HTTP_2 { Protocol::Http2 } else { Protocol::Http1 };
    let mesh = mesh(&[endpoint], protocol, re_send)?;
    let caller = Plain::new(mesh.client(), SERVICE, version)?;
    Ok(Box::new(Held { _mesh: mesh, caller }))
}

/// A caller with the mesh that it belongs to.
struct Held<C> {
    _mesh: Mesh,
    caller: C,
}

impl<C: Caller> Client for Held<C> {
    fn drive(&self, load: Load) -> Driving<'_> {
        self.caller.drive(load)
    }
}

fn mesh(endpoints: &[SocketAddr], protocol: Protocol, re_send: ReSend) -> Result<Mesh, BoxError> {
    let mut forward = ForwardAction::new(ClusterSpecifier::Cluster(SERVICE.into()));
    forward.timeout = TIMEOUT;
    forward.transparent_retry = re_send != ReSend::Never;
    if re_send == ReSend::Unavailable {
        let mut policy = RetryPolicy::new(RetryOn::UNAVAILABLE);
        policy.num_retries = 2;
        forward.retry_policy = Some(Arc::new(policy));
    }
    let route = Route::new("echo", RouteMatch::any(), RouteAction::Forward(forward));
    let mut host = VirtualHost::new(SERVICE, vec![Domain::Exact(SERVICE.into())]);
    host.routes.push(Arc::new(route));
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts.push(Arc::new(host));

    let mut cluster = Cluster::new(SERVICE);
    cluster.protocol = protocol;
    cluster.lb_policy = LbPolicy::new(LbAlgorithm::least_request());
    cluster.outlier_detection = Some(OutlierDetection::default());
    let endpoints = endpoints.iter().map(|address| Endpoint::new((*address).into()));
    let endpoints = Arc::new(ClusterLoadAssignment::of(endpoints));

    let mut update = ConfigUpdate::default();
    update.origin = Origin::new("code", "1");
    update.route_configuration = Arc::new(routes);
    update.clusters.insert(SERVICE.into(), ClusterUpdate::new(Arc::new(cluster), Some(endpoints)));
    Ok(Mesh::builder().config(update).build()?)
}
