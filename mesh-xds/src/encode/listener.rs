//! Listeners: API listeners for those who dial by name, socket listeners for those who open ports.

use super::endpoints::socket;
use super::wrap::{ads, any, duration};
use envoy_types::pb::envoy::config::core::v3::{Address, TrafficDirection};
use envoy_types::pb::envoy::config::listener::v3::{
    ApiListener, Filter, FilterChain, Listener, filter,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
    http_connection_manager::{RouteSpecifier, ServerHeaderTransformation},
    http_filter,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};
use prost::{Message, Name};
use std::net::SocketAddr;
use std::time::Duration;

/// An API listener called `name`, with the routes of the route configuration `routes` (gRFC A27).
#[must_use]
pub fn api_listener(name: &str, routes: &str) -> Listener {
    Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener { api_listener: Some(any(&connection_manager(routes))) }),
        ..Listener::default()
    }
}

/// A listener on `address` whose requests go by the route configuration `routes`. The `server` of responses
/// is the endpoint's, as without a proxy in between.
#[must_use]
pub fn socket_listener(name: &str, address: SocketAddr, routes: &str) -> Listener {
    let manager = HttpConnectionManager {
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        ..connection_manager(routes)
    };
    on_socket(name, address, "envoy.filters.network.http_connection_manager", &manager)
}

/// A listener on `address` whose connections go to `cluster`, byte by byte.
#[must_use]
pub fn tcp_listener(name: &str, address: SocketAddr, cluster: &str) -> Listener {
    let proxy = TcpProxy {
        stat_prefix: name_or_mesh(name),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..TcpProxy::default()
    };
    on_socket(name, address, "envoy.filters.network.tcp_proxy", &proxy)
}

fn on_socket<M: Message + Name>(
    name: &str,
    address: SocketAddr,
    filter: &str,
    config: &M,
) -> Listener {
    let chain = FilterChain {
        filters: vec![Filter {
            name: filter.to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(any(config))),
        }],
        ..FilterChain::default()
    };
    Listener {
        name: name.to_owned(),
        address: Some(Address { address: Some(socket(&address.ip().to_string(), address.port())) }),
        filter_chains: vec![chain],
        traffic_direction: TrafficDirection::Outbound.into(),
        ..Listener::default()
    }
}

fn connection_manager(routes: &str) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: name_or_mesh(routes),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: routes.to_owned(),
        })),
        // gRFC A39: the last filter is the router.
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".to_owned(),
            config_type: Some(http_filter::ConfigType::TypedConfig(any(&Router::default()))),
            ..HttpFilter::default()
        }],
        // A route without an `idle_timeout` has no limit; Envoy would take 5 minutes from here.
        stream_idle_timeout: duration(Duration::ZERO),
        ..HttpConnectionManager::default()
    }
}

/// Envoy: `stat_prefix` is not empty.
fn name_or_mesh(name: &str) -> String {
    if name.is_empty() { "mesh".to_owned() } else { name.to_owned() }
}
