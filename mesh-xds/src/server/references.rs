//! What a resource names: the resources that a client asks for next.

use super::reporters;
use crate::ResourceType;
use crate::decode::filter::{clusters, clusters_of_overrides};
use envoy_types::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType},
};
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType as SocketConfig;
use envoy_types::pb::envoy::config::listener::v3::{Listener, filter::ConfigType};
use envoy_types::pb::envoy::config::route::v3::{
    RouteConfiguration, route::Action, route_action::ClusterSpecifier,
};
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier, http_filter,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier as TcpCluster,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext,
    common_tls_context::ValidationContextType,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A resource that is named and is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{from_kind} `{from}` names {kind} `{name}`, which does not exist: define it, or take the name out"
)]
#[non_exhaustive]
pub struct Dangling {
    /// The kind of what names it.
    pub from_kind: ResourceType,
    /// What names it.
    pub from: Arc<str>,
    /// The kind of what is missing.
    pub kind: ResourceType,
    /// The name of what is missing.
    pub name: String,
}

impl Dangling {
    pub(super) fn new(
        from_kind: ResourceType,
        from: &Arc<str>,
        kind: ResourceType,
        name: String,
    ) -> Self {
        Self { from_kind, from: Arc::clone(from), kind, name }
    }
}

type Names = BTreeSet<(ResourceType, String)>;

/// What the resource of this message names; what can't be read names nothing.
pub(super) fn of(kind: ResourceType, body: &[u8]) -> Names {
    let mut names = Names::new();
    match kind {
        ResourceType::Listener => listener(body, &mut names),
        ResourceType::RouteConfiguration => {
            if let Ok(message) = RouteConfiguration::decode(body) {
                routes(&message, &mut names);
            }
        }
        ResourceType::Cluster => cluster(body, &mut names),
        ResourceType::Endpoints | ResourceType::Secret => {}
    }
    names
}

/// What a client may use beside what [`of`] names, and need not have.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Clusters that requests are mirrored to, which Envoy wants where it validates, and others ignore; and those that
    /// access loggers and tracers report to.
    pub(super) clusters: BTreeSet<String>,
    /// Some route takes its cluster from a header: any may be meant.
    pub(super) any_cluster: bool,
}

/// What this message leads to beside what it names.
pub(super) fn beside(kind: ResourceType, body: &[u8]) -> Beside {
    let mut found = Beside::default();
    match kind {
        ResourceType::Listener => {
            Listener::decode(body).into_iter().for_each(|message| found.listener(message));
        }
        ResourceType::RouteConfiguration => {
            RouteConfiguration::decode(body).iter().for_each(|message| found.routes(message));
        }
        ResourceType::Cluster | ResourceType::Endpoints | ResourceType::Secret => {}
    }
    found
}

impl Beside {
    fn listener(&mut self, message: Listener) {
        reporters::of_logs(&message.access_log, &mut self.clusters);
        let chains = message.filter_chains.into_iter().chain(message.default_filter_chain);
        let filters = chains.flat_map(|chain| chain.filters);
        let configs = filters.filter_map(|filter| match filter.config_type {
            Some(ConfigType::TypedConfig(config)) => Some(config),
            _ => None,
        });
        let api = message.api_listener.and_then(|api| api.api_listener);
        for config in configs.chain(api) {
            if let Some(manager) = unpack::<HttpConnectionManager>(&config) {
                self.manager(&manager);
            }
            if let Some(proxy) = unpack::<TcpProxy>(&config) {
                reporters::of_logs(&proxy.access_log, &mut self.clusters);
            }
        }
    }

    fn manager(&mut self, manager: &HttpConnectionManager) {
        reporters::of_logs(&manager.access_log, &mut self.clusters);
        reporters::of_tracing(manager.tracing.as_ref(), &mut self.clusters);
        for filter in &manager.http_filters {
            if let Some(http_filter::ConfigType::TypedConfig(config)) = &filter.config_type
                && let Some(router) = unpack::<Router>(config)
            {
                reporters::of_logs(&router.upstream_log, &mut self.clusters);
            }
        }
        if let Some(RouteSpecifier::RouteConfig(message)) = &manager.route_specifier {
            self.routes(message);
        }
    }

    fn routes(&mut self, message: &RouteConfiguration) {
        let hosts = || message.virtual_hosts.iter();
        let actions =
            hosts().flat_map(|host| &host.routes).filter_map(|route| match &route.action {
                Some(Action::Route(action)) => Some(action),
                _ => None,
            });
        let mut mirrors: Vec<_> = message.request_mirror_policies.iter().collect();
        mirrors.extend(hosts().flat_map(|host| &host.request_mirror_policies));
        for action in actions {
            self.any_cluster |=
                matches!(action.cluster_specifier, Some(ClusterSpecifier::ClusterHeader(_)));
            mirrors.extend(&action.request_mirror_policies);
        }
        for mirror in mirrors {
            self.any_cluster |= !mirror.cluster_header.is_empty();
            self.clusters.extend(Some(mirror.cluster.clone()).filter(|name| !name.is_empty()));
        }
    }
}

fn listener(body: &[u8], names: &mut Names) {
    let Ok(message) = Listener::decode(body) else { return };
    if let Some(api) = message.api_listener.and_then(|api| api.api_listener) {
        filter(&api, names);
    }
    for chain in message.filter_chains.into_iter().chain(message.default_filter_chain) {
        if let Some(SocketConfig::TypedConfig(config)) =
            chain.transport_socket.and_then(|socket| socket.config_type)
            && let Some(tls) = unpack::<DownstreamTlsContext>(&config)
        {
            let secrets = tls.common_tls_context.as_ref().map(secrets).unwrap_or_default();
            names.extend(secrets.into_iter().map(|name| (ResourceType::Secret, name)));
        }
        for one in chain.filters {
            if let Some(ConfigType::TypedConfig(config)) = one.config_type {
                filter(&config, names);
            }
        }
    }
}

fn filter(config: &Any, names: &mut Names) {
    let manager = unpack::<HttpConnectionManager>(config);
    for filter in manager.iter().flat_map(|manager| &manager.http_filters) {
        if let Some(http_filter::ConfigType::TypedConfig(config)) = &filter.config_type {
            asked(&clusters(config), names);
        }
    }
    match manager.and_then(|manager| manager.route_specifier) {
        Some(RouteSpecifier::Rds(rds)) => {
            names.insert((ResourceType::RouteConfiguration, rds.route_config_name));
        }
        Some(RouteSpecifier::RouteConfig(message)) => routes(&message, names),
        Some(RouteSpecifier::ScopedRoutes(_)) | None => {}
    }
    match unpack::<TcpProxy>(config).and_then(|proxy| proxy.cluster_specifier) {
        Some(TcpCluster::Cluster(name)) => {
            names.insert((ResourceType::Cluster, name));
        }
        Some(TcpCluster::WeightedClusters(split)) => {
            names.extend(split.clusters.into_iter().map(|one| (ResourceType::Cluster, one.name)));
        }
        None => {}
    }
}

/// Clusters that filters ask somebody in.
fn asked(clusters: &[Arc<str>], names: &mut Names) {
    names.extend(clusters.iter().map(|name| (ResourceType::Cluster, name.to_string())));
}

fn routes(message: &RouteConfiguration, names: &mut Names) {
    asked(&clusters_of_overrides(&message.typed_per_filter_config), names);
    for host in &message.virtual_hosts {
        let levels = host.routes.iter().map(|route| &route.typed_per_filter_config);
        for said in levels.chain([&host.typed_per_filter_config]) {
            asked(&clusters_of_overrides(said), names);
        }
    }
    let routes = message.virtual_hosts.iter().flat_map(|host| &host.routes);
    for route in routes {
        let Some(Action::Route(action)) = &route.action else { continue };
        match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => {
                names.insert((ResourceType::Cluster, name.clone()));
            }
            Some(ClusterSpecifier::WeightedClusters(split)) => {
                let clusters = split.clusters.iter().filter(|one| !one.name.is_empty());
                names.extend(clusters.map(|one| (ResourceType::Cluster, one.name.clone())));
                for one in &split.clusters {
                    asked(&clusters_of_overrides(&one.typed_per_filter_config), names);
                }
            }
            // By a header or by a plugin: known only with the request.
            _ => {}
        }
    }
}

fn cluster(body: &[u8], names: &mut Names) {
    let Ok(message) = Cluster::decode(body) else { return };
    let matches = message.transport_socket_matches.iter().map(|one| &one.transport_socket);
    for socket in matches.chain([&message.transport_socket]).flatten() {
        if let Some(SocketConfig::TypedConfig(config)) = &socket.config_type {
            let common =
                unpack::<UpstreamTlsContext>(config).and_then(|tls| tls.common_tls_context);
            names.extend(common.iter().flat_map(secrets).map(|name| (ResourceType::Secret, name)));
        }
    }
    match &message.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) if *kind == DiscoveryType::Eds as i32 => {
            // gRFC A27: without a service name, the cluster's own.
            let service = message.eds_cluster_config.map(|eds| eds.service_name);
            let name = service.filter(|name| !name.is_empty()).unwrap_or(message.name);
            names.insert((ResourceType::Endpoints, name));
        }
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            let aggregate = custom.typed_config.as_ref().and_then(unpack::<ClusterConfig>);
            let clusters = aggregate.into_iter().flat_map(|aggregate| aggregate.clusters);
            names.extend(clusters.map(|name| (ResourceType::Cluster, name)));
        }
        Some(ClusterDiscoveryType::Type(_)) | None => {}
    }
}

/// The secrets of a TLS context, without those that a certificate provider takes the place of (gRFC A29): they
/// are for other clients, which ask somebody else for them.
#[expect(deprecated, reason = "Istio says the provider by the older fields")]
fn secrets(common: &CommonTlsContext) -> Vec<String> {
    let own = common.tls_certificate_provider_instance.is_some()
        || common.tls_certificate_certificate_provider_instance.is_some();
    let own = if own { &[][..] } else { &common.tls_certificate_sds_secret_configs };
    let roots = match &common.validation_context_type {
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => Some(config),
        Some(ValidationContextType::CombinedValidationContext(both)) => {
            let default = both.default_validation_context.as_ref();
            let provider =
                default.is_some_and(|one| one.ca_certificate_provider_instance.is_some());
            let older = both.validation_context_certificate_provider_instance.is_some();
            let by_sds = both.validation_context_sds_secret_config.as_ref();
            by_sds.filter(|_| !provider && !older)
        }
        _ => None,
    };
    own.iter().chain(roots).map(|config| config.name.clone()).collect()
}

pub(super) fn unpack<M: Message + Name + Default>(any: &Any) -> Option<M> {
    if any.type_url == M::type_url() { M::decode(any.value.as_slice()).ok() } else { None }
}
