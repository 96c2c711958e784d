//! Clusters.

use super::words::{Word, Words};
use super::wrap::{ads, duration, extension, positive};
use super::{breakers, connection, endpoints, lb, outlier, tls};
use envoy_types::pb::envoy::config::cluster::v3::{
    self as pb,
    cluster::{
        ClusterDiscoveryType, CustomClusterType, DiscoveryType, DnsLookupFamily as PbFamily,
        EdsClusterConfig,
    },
};
use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use mesh_core::model::{Cluster, Discovery, DnsLookupFamily, DnsOptions, ProxyProtocol};
use std::sync::Arc;
use std::time::Duration;

/// Envoy: `dns_refresh_rate` is more than 1 ms.
const SHORTEST_REFRESH: Duration = Duration::from_millis(2);

/// A `Cluster`: EDS by its own name for endpoints that come with the configuration, else by DNS, or an
/// aggregate.
#[must_use]
pub fn cluster(model: &Cluster) -> pb::Cluster {
    if let Discovery::Aggregate(children) = &model.discovery {
        return aggregate(model, children);
    }
    let mut words = Words::default();
    let mut encoded = pb::Cluster {
        name: model.name.to_string(),
        connect_timeout: positive(model.connection.connect_timeout),
        circuit_breakers: Some(breakers::circuit_breakers(model, &mut words)),
        outlier_detection: model
            .outlier_detection
            .as_ref()
            .map(|model| outlier::outlier_detection(model, &mut words)),
        transport_socket: tls::transport_socket(&model.tls, model.protocol),
        transport_socket_matches: tls::transport_socket_matches(model),
        ..pb::Cluster::default()
    };
    discovery(&model.discovery, &mut encoded, &mut words);
    let is_http = connection::is_http(model);
    lb::lb_policy(&model.lb_policy, is_http, &mut encoded, &mut words);
    connection::protocol_options(model, &mut encoded, &mut words);
    if let Some(version) = model.proxy_protocol {
        words.set(
            "proxy_protocol",
            match version {
                ProxyProtocol::V1 => "v1",
                ProxyProtocol::V2 => "v2",
            },
        );
    }
    encoded.metadata = words.into_metadata();
    encoded
}

fn discovery(model: &Discovery, cluster: &mut pb::Cluster, words: &mut Words) {
    let kind = match model {
        Discovery::StrictDns(options) => {
            dns(options, DnsLookupFamily::V4Preferred, cluster, words);
            let names = options.names.iter();
            cluster.load_assignment = Some(endpoints::names(&cluster.name, names));
            DiscoveryType::StrictDns
        }
        Discovery::LogicalDns(options) => {
            dns(options, DnsLookupFamily::All, cluster, words);
            // Envoy, gRFC A37: a logical cluster has exactly one endpoint.
            let names = options.names.iter().take(1);
            cluster.load_assignment = Some(endpoints::names(&cluster.name, names));
            if options.names.len() > 1 {
                let names = options.names.iter().map(|(name, port)| format!("{name}:{port}"));
                words.set("dns_names", Word::list(names.map(|name| Word::from(name.as_str()))));
            }
            DiscoveryType::LogicalDns
        }
        // `Static`, and what may come: the endpoints are beside the cluster in the update.
        _ => {
            // gRFC A27: without a `service_name` the endpoints have the cluster's name.
            cluster.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(ads()), service_name: String::new() });
            DiscoveryType::Eds
        }
    };
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
}

/// Envoy's cluster type for it, with the limits of retries: what else there is, each child says for itself.
fn aggregate(model: &Cluster, children: &[Arc<str>]) -> pb::Cluster {
    let config = ClusterConfig { clusters: children.iter().map(ToString::to_string).collect() };
    let TypedExtensionConfig { name, typed_config } =
        extension("envoy.clusters.aggregate", &config);
    let custom = CustomClusterType { name, typed_config };
    let mut words = Words::default();
    let mut encoded = pb::Cluster {
        name: model.name.to_string(),
        cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(custom)),
        circuit_breakers: breakers::of_retries(model, &mut words),
        ..pb::Cluster::default()
    };
    // Envoy: any other policy is refused.
    encoded.set_lb_policy(pb::cluster::LbPolicy::ClusterProvided);
    encoded.metadata = words.into_metadata();
    encoded
}

#[expect(deprecated, reason = "STRICT_DNS and LOGICAL_DNS have them here, and gRPC knows no other")]
fn dns(
    options: &DnsOptions,
    default: DnsLookupFamily,
    cluster: &mut pb::Cluster,
    words: &mut Words,
) {
    cluster.dns_refresh_rate = duration(options.refresh_rate.max(SHORTEST_REFRESH));
    cluster.respect_dns_ttl = options.respect_ttl;
    let family = match options.lookup_family.unwrap_or(default) {
        DnsLookupFamily::Auto => PbFamily::Auto,
        DnsLookupFamily::V4Only => PbFamily::V4Only,
        DnsLookupFamily::V6Only => PbFamily::V6Only,
        DnsLookupFamily::V4Preferred => PbFamily::V4Preferred,
        DnsLookupFamily::All => PbFamily::All,
    };
    cluster.dns_lookup_family = family.into();
    match options.lookup_family {
        None => words.set("dns_lookup_family", "default"),
        // AUTO is the first of the enumeration, which can't be told from nothing.
        Some(DnsLookupFamily::Auto) => words.set("dns_lookup_family", "auto"),
        Some(_) => {}
    }
    // Envoy has it in its extension `envoy.clusters.dns` only, which gRPC does not know.
    words.differs("dns_min_refresh_rate", options.min_refresh_rate, &Duration::from_secs(5));
}
