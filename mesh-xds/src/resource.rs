//! What resources become when they are decoded: parts of the model, and the names of what they need.
//!
//! A resource names others: a listener its routes, routes their clusters, a cluster its endpoints. The
//! names are kept beside the model, so that whoever links resources need not look into it.

use crate::decode::FieldError;
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, Listener, RbacFilter, RouteConfiguration, Secret,
};
use mesh_core::update::{Mode, UnknownHosts};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A decoded resource.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Resource {
    /// LDS.
    Listener(Arc<XdsListener>),
    /// RDS.
    RouteConfiguration(Arc<XdsRouteConfiguration>),
    /// CDS.
    Cluster(Arc<XdsCluster>),
    /// EDS.
    Endpoints(Arc<XdsEndpoints>),
    /// SDS.
    Secret(Arc<Secret>),
}

/// A listener: for a client, an authority that calls are made to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct XdsListener {
    /// Its name: for an API listener, what the caller dials.
    pub name: Arc<str>,
    /// Its connection manager. `None`: one that is no HTTP listener for clients (a socket listener of
    /// raw TCP).
    pub http: Option<HttpConnectionManager>,
    /// Why calls can't go by it although servers or ports can: what is wrong with it for calls. `None`: they can, or
    /// it is no HTTP listener for clients.
    pub not_for_calls: Option<Arc<str>>,
    /// Whether it is an API listener (`api_listener`), which calls are made through; else a socket
    /// listener.
    pub is_api: bool,
    /// The port of a socket listener's `address`: in Envoy, connections to it are what it serves.
    pub port: Option<u16>,
    /// What a server does by it (gRFC A36), or everything that is wrong with it for a server: then none can
    /// serve by it. `None`: it is not for servers.
    pub server: Option<Result<Arc<XdsServer>, Vec<FieldError>>>,
    /// The port that a proxy opens by it, or everything that is wrong with it for one: then none is opened. `None`: it
    /// is none, or nobody wants to know ([`Context::ports`](crate::decode::Context::ports)).
    pub proxy: Option<Result<Arc<XdsPort>, Vec<FieldError>>>,
}

/// A port of a proxy (Envoy: a listener with an address).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct XdsPort {
    /// The listener; its chains have no routes yet.
    pub listener: Arc<Listener>,
    /// Where the routes of each of [`Listener::chains`] are.
    pub routes: Vec<XdsChainRoutes>,
}

/// The routes of a filter chain.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct XdsChainRoutes {
    /// Where they are. Of a chain that passes bytes on there is one, which takes everything.
    pub source: RouteSource,
    /// `common_http_protocol_options.max_stream_duration`, for routes that say nothing (gRFC A31).
    pub max_stream_duration: Option<Duration>,
    /// After how long a silence bytes, upgraded requests and tunnels end; `None`: never. Default: one hour (Envoy:
    /// `TcpProxy.idle_timeout`).
    pub idle_timeout: Option<Duration>,
}

/// What a server does by a listener (gRFC A36).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct XdsServer {
    /// The listener. A chain whose routes are elsewhere has none yet: an empty route configuration.
    pub listener: Arc<Listener>,
    /// For each of [`Listener::chains`], the name of the route configuration that holds its routes; `None`:
    /// they are in the chain itself.
    pub routes: Vec<Option<Arc<str>>>,
}

/// What a listener does with HTTP (Envoy: `HttpConnectionManager`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpConnectionManager {
    /// Where its routes are.
    pub routes: RouteSource,
    /// `common_http_protocol_options.max_stream_duration`, for routes that say nothing (gRFC A31).
    pub max_stream_duration: Option<Duration>,
    /// The filters in their order, the router apart.
    pub http_filters: Vec<HttpFilter>,
}

/// An HTTP filter, as configured in its listener.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpFilter {
    /// The instance's name, by which routes override it.
    pub name: Arc<str>,
    /// The type of its configuration.
    pub type_url: Arc<str>,
    /// Of an RBAC filter, what it says, or everything that is wrong with it, by paths within its
    /// configuration: then a server must refuse the listener (gRFC A41). Clients pass over it. `None`:
    /// it is another filter.
    pub rbac: Option<Result<Arc<RbacFilter>, Vec<FieldError>>>,
}

/// Where a listener's routes are.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RouteSource {
    /// In the route configuration of this name.
    Rds(Arc<str>),
    /// In the listener itself.
    Inline(Arc<XdsRouteConfiguration>),
}

/// A route configuration.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct XdsRouteConfiguration {
    /// Its name.
    pub name: Arc<str>,
    /// What it says.
    pub model: Arc<RouteConfiguration>,
    /// The clusters that each virtual host names, in the order of the model.
    pub clusters: Vec<BTreeSet<Arc<str>>>,
    /// Whether the mesh acts or only measures, by our own words; `None`: not said. It is for whoever
    /// takes the whole of the route configuration; a client that asks by name has its own setting.
    pub mode: Option<Mode>,
    /// What becomes of authorities without a virtual host, in the same way.
    pub unknown_hosts: Option<UnknownHosts>,
    /// Why no port may go by it: what is skipped or ignored of it would have kept requests out, or sent them elsewhere.
    /// Calls go without: they are made by who is trusted with them.
    pub unguarded: Option<Arc<str>>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct XdsCluster {
    /// What it says.
    pub model: Arc<Cluster>,
    /// Where its endpoints come from.
    pub endpoints: EndpointSource,
    /// Whether weights of localities count although nothing says so: `lb_policy` is ROUND_ROBIN or
    /// LEAST_REQUEST, without zone-aware routing, and for gRPC these weigh localities (gRFC A27, A48).
    /// Then [`locality_weighted`](mesh_core::model::LbPolicy::locality_weighted) follows
    /// [`XdsEndpoints::has_locality_weights`].
    pub follows_locality_weights: bool,
    /// Whether its load is reported to the server that it comes from (`lrs_server: self`, gRFC A27).
    pub reports_load: bool,
}

/// Where a cluster's endpoints come from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EndpointSource {
    /// From the EDS resource of this name.
    Eds(Arc<str>),
    /// From the cluster itself (`load_assignment` of a static cluster).
    Inline(Arc<ClusterLoadAssignment>),
    /// From name resolution, as the model says.
    Dns,
    /// From other clusters, the earlier ones first (gRFC A37).
    Aggregate(Vec<Arc<str>>),
}

/// The endpoints of a cluster.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct XdsEndpoints {
    /// `cluster_name`: the resource's name.
    pub name: Arc<str>,
    /// The endpoints, and the shares of calls that are dropped (gRFC A27).
    pub assignment: Arc<ClusterLoadAssignment>,
    /// `policy.overprovisioning_factor`: health counts this many percent, whatever the cluster's
    /// [`LbPolicy`](mesh_core::model::LbPolicy) says; `None`: nothing said.
    pub overprovisioning_factor: Option<u32>,
    /// Whether the control plane said a weight of any locality.
    pub has_locality_weights: bool,
}

impl XdsListener {
    /// A listener of this name, without HTTP.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            http: None,
            not_for_calls: None,
            is_api: false,
            port: None,
            server: None,
            proxy: None,
        }
    }
}

impl XdsServer {
    /// A listener, and where the routes of its chains are.
    #[must_use]
    pub const fn new(listener: Arc<Listener>, routes: Vec<Option<Arc<str>>>) -> Self {
        Self { listener, routes }
    }

    /// The route configurations that it names.
    pub fn route_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.routes.iter().flatten()
    }
}

impl XdsPort {
    /// A listener, and where the routes of its chains are.
    #[must_use]
    pub const fn new(listener: Arc<Listener>, routes: Vec<XdsChainRoutes>) -> Self {
        Self { listener, routes }
    }
}

impl XdsChainRoutes {
    /// Routes that are there.
    #[must_use]
    pub const fn new(source: RouteSource) -> Self {
        let idle_timeout = Some(Duration::from_secs(3600));
        Self { source, max_stream_duration: None, idle_timeout }
    }
}

impl HttpConnectionManager {
    /// One with these routes.
    #[must_use]
    pub const fn new(routes: RouteSource) -> Self {
        Self { routes, max_stream_duration: None, http_filters: Vec::new() }
    }
}

impl HttpFilter {
    /// An instance of this name whose configuration has this type.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, type_url: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), type_url: type_url.into(), rbac: None }
    }
}

impl XdsRouteConfiguration {
    /// A route configuration and the clusters of each of its virtual hosts.
    #[must_use]
    pub fn new(
        name: impl Into<Arc<str>>,
        model: Arc<RouteConfiguration>,
        clusters: Vec<BTreeSet<Arc<str>>>,
    ) -> Self {
        let (mode, unknown_hosts, unguarded) = (None, None, None);
        Self { name: name.into(), model, clusters, mode, unknown_hosts, unguarded }
    }
}

impl XdsCluster {
    /// A cluster with its endpoints' source.
    #[must_use]
    pub const fn new(model: Arc<Cluster>, endpoints: EndpointSource) -> Self {
        Self { model, endpoints, follows_locality_weights: false, reports_load: false }
    }
}

impl XdsEndpoints {
    /// Endpoints without drops.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, assignment: Arc<ClusterLoadAssignment>) -> Self {
        Self {
            name: name.into(),
            assignment,
            overprovisioning_factor: None,
            has_locality_weights: false,
        }
    }
}

impl Resource {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Listener(listener) => &listener.name,
            Self::RouteConfiguration(routes) => &routes.name,
            Self::Cluster(cluster) => &cluster.model.name,
            Self::Endpoints(endpoints) => &endpoints.name,
            Self::Secret(secret) => &secret.name,
        }
    }
}
