//! `Cluster`.

use super::{Message, Set, fields};
use crate::decode::testing::{
    any, assignment, custom, decode_cluster, eds, kind, n, n64, own, pct, secs, structure,
};
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, DiscoveryType, LbConfig, LbPolicy, LbSubsetConfig, LeastRequestLbConfig,
    MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig, TransportSocketMatch,
};
use envoy_types::pb::envoy::config::cluster::v3::load_balancing_policy::Policy;
use envoy_types::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, LoadBalancingPolicy, OutlierDetection,
};
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{
    HttpProtocolOptions as CommonOptions, Metadata, TransportSocket, TypedExtensionConfig,
};
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use envoy_types::pb::envoy::extensions::load_balancing_policies::random::v3::Random;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, UpstreamTlsContext,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};

fn system_tls() -> TransportSocket {
    let validation = CertificateValidationContext {
        system_root_certs: Some(Default::default()),
        ..Default::default()
    };
    let common = CommonTlsContext {
        validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
        ..Default::default()
    };
    let context = UpstreamTlsContext { common_tls_context: Some(common), ..Default::default() };
    let config_type = Some(ConfigType::TypedConfig(any(&context)));
    TransportSocket { name: "x".into(), config_type }
}

fn strict_dns(cluster: &mut Cluster) {
    cluster.eds_cluster_config = None;
    cluster.cluster_discovery_type = kind(DiscoveryType::StrictDns);
    cluster.load_assignment = Some(assignment(&["a.b"]));
}

fn lb(cluster: &mut Cluster, policy: LbPolicy, config: LbConfig) {
    cluster.lb_policy = policy as i32;
    cluster.lb_config = Some(config);
}

pub(super) fn thresholds(cluster: &mut Cluster, change: impl FnOnce(&mut Thresholds)) {
    let mut thresholds = Thresholds::default();
    change(&mut thresholds);
    let thresholds = vec![thresholds];
    cluster.circuit_breakers = Some(CircuitBreakers { thresholds, ..Default::default() });
}

pub(super) fn outlier(cluster: &mut Cluster, change: impl FnOnce(&mut OutlierDetection)) {
    change(cluster.outlier_detection.get_or_insert_default());
}

/// HTTP/1.1 by `HttpProtocolOptions`.
pub(super) fn http(cluster: &mut Cluster, change: impl FnOnce(&mut HttpProtocolOptions)) {
    let protocol_config = Some(ProtocolConfig::HttpProtocolOptions(Default::default()));
    let config = ExplicitHttpConfig { protocol_config };
    let config = UpstreamProtocolOptions::ExplicitHttpConfig(config);
    let mut options =
        HttpProtocolOptions { upstream_protocol_options: Some(config), ..Default::default() };
    change(&mut options);
    cluster.typed_extension_protocol_options = [("http".into(), any(&options))].into();
}

#[track_caller]
pub(super) fn check(
    name: &'static str,
    path: &'static str,
    base: fn() -> Cluster,
    fields: &[&'static str],
    changes: &[Set<Cluster>],
) {
    Message { name, path, fields, base, decode: decode_cluster, changes }.check();
}

/// A cluster that speaks HTTP/2, so that `protocol_selection` shows.
#[expect(deprecated, reason = "the field that it selects against")]
fn base() -> Cluster {
    Cluster { http2_protocol_options: Some(Default::default()), ..eds() }
}

#[test]
fn cluster() {
    let all = fields!(Cluster {
        transport_socket_matches,
        transport_socket_matcher,
        name,
        alt_stat_name,
        stats_matcher,
        eds_cluster_config,
        connect_timeout,
        per_connection_buffer_limit_bytes,
        per_connection_buffer_high_watermark_timeout,
        lb_policy,
        load_assignment,
        health_checks,
        max_requests_per_connection,
        circuit_breakers,
        upstream_http_protocol_options,
        common_http_protocol_options,
        http_protocol_options,
        http2_protocol_options,
        typed_extension_protocol_options,
        dns_refresh_rate,
        dns_jitter,
        dns_failure_refresh_rate,
        respect_dns_ttl,
        dns_lookup_family,
        dns_resolvers,
        use_tcp_for_dns_lookups,
        dns_resolution_config,
        typed_dns_resolver_config,
        wait_for_warm_on_init,
        outlier_detection,
        cleanup_interval,
        upstream_bind_config,
        lb_subset_config,
        common_lb_config,
        transport_socket,
        metadata,
        protocol_selection,
        upstream_connection_options,
        close_connections_on_host_health_failure,
        ignore_health_on_host_removal,
        filters,
        load_balancing_policy,
        lrs_server,
        lrs_report_endpoint_metrics,
        track_timeout_budgets,
        upstream_config,
        track_cluster_stats,
        preconnect_policy,
        connection_pool_per_downstream_connection,
        queuing_policies,
        cluster_discovery_type,
        lb_config,
    });
    let one_of = [
        "type",
        "cluster_type",
        "ring_hash_lb_config",
        "maglev_lb_config",
        "original_dst_lb_config",
        "least_request_lb_config",
        "round_robin_lb_config",
    ];
    let fields: Vec<_> = all
        .into_iter()
        .filter(|field| !matches!(*field, "cluster_discovery_type" | "lb_config"))
        .chain(one_of)
        .collect();
    check("Cluster", "", base, &fields, CLUSTER);
}

#[expect(deprecated, reason = "every field")]
const CLUSTER: &[Set<Cluster>] = &[
    ("transport_socket_matches", |c| {
        c.transport_socket_matches = vec![TransportSocketMatch {
            transport_socket: Some(system_tls()),
            ..Default::default()
        }]
    }),
    ("transport_socket_matcher", |c| c.transport_socket_matcher = Some(Default::default())),
    ("name", |c| c.name = "other".into()),
    ("alt_stat_name", |c| c.alt_stat_name = "x".into()),
    ("stats_matcher", |c| c.stats_matcher = Some(Default::default())),
    ("eds_cluster_config", |c| c.eds_cluster_config.as_mut().unwrap().service_name = "s".into()),
    ("connect_timeout", |c| c.connect_timeout = secs(1)),
    ("per_connection_buffer_limit_bytes", |c| c.per_connection_buffer_limit_bytes = n(1)),
    ("per_connection_buffer_high_watermark_timeout", |c| {
        c.per_connection_buffer_high_watermark_timeout = secs(1)
    }),
    ("lb_policy", |c| c.lb_policy = 1),
    ("load_assignment", |c| {
        c.eds_cluster_config = None;
        c.cluster_discovery_type = None;
        c.load_assignment = Some(assignment(&["10.0.0.1"]));
    }),
    ("health_checks", |c| c.health_checks = vec![Default::default()]),
    ("max_requests_per_connection", |c| c.max_requests_per_connection = n(1)),
    ("circuit_breakers", |c| thresholds(c, |t| t.max_requests = n(1))),
    ("upstream_http_protocol_options", |c| {
        c.upstream_http_protocol_options = Some(Default::default())
    }),
    ("common_http_protocol_options", |c| {
        c.common_http_protocol_options =
            Some(CommonOptions { idle_timeout: secs(1), ..Default::default() })
    }),
    ("http_protocol_options", |c| c.http_protocol_options = Some(Default::default())),
    ("http2_protocol_options", |c| c.http2_protocol_options = None),
    ("typed_extension_protocol_options", |c| http(c, |_| {})),
    ("dns_refresh_rate", |c| {
        strict_dns(c);
        c.dns_refresh_rate = secs(1);
    }),
    ("dns_jitter", |c| c.dns_jitter = secs(1)),
    ("dns_failure_refresh_rate", |c| c.dns_failure_refresh_rate = Some(Default::default())),
    ("respect_dns_ttl", |c| {
        strict_dns(c);
        c.respect_dns_ttl = true;
    }),
    ("dns_lookup_family", |c| {
        strict_dns(c);
        c.dns_lookup_family = 1;
    }),
    ("dns_resolvers", |c| c.dns_resolvers = vec![Default::default()]),
    ("use_tcp_for_dns_lookups", |c| c.use_tcp_for_dns_lookups = true),
    ("dns_resolution_config", |c| c.dns_resolution_config = Some(Default::default())),
    ("typed_dns_resolver_config", |c| c.typed_dns_resolver_config = Some(Default::default())),
    ("wait_for_warm_on_init", |c| c.wait_for_warm_on_init = Some(Default::default())),
    ("outlier_detection", |c| c.outlier_detection = Some(Default::default())),
    ("cleanup_interval", |c| c.cleanup_interval = secs(1)),
    ("upstream_bind_config", |c| c.upstream_bind_config = Some(Default::default())),
    ("lb_subset_config", |c| {
        c.lb_subset_config = Some(LbSubsetConfig {
            subset_selectors: vec![Default::default()],
            ..Default::default()
        })
    }),
    ("common_lb_config", |c| {
        c.common_lb_config =
            Some(CommonLbConfig { healthy_panic_threshold: pct(1.0), ..Default::default() })
    }),
    ("transport_socket", |c| c.transport_socket = Some(system_tls())),
    ("metadata", |c| {
        let words = structure("protocol", "tcp");
        c.metadata = Some(Metadata {
            filter_metadata: [("mesh".into(), words)].into(),
            ..Default::default()
        });
    }),
    ("protocol_selection", |c| c.protocol_selection = 1),
    ("upstream_connection_options", |c| c.upstream_connection_options = Some(Default::default())),
    ("close_connections_on_host_health_failure", |c| {
        c.close_connections_on_host_health_failure = true
    }),
    ("ignore_health_on_host_removal", |c| c.ignore_health_on_host_removal = true),
    ("filters", |c| c.filters = vec![Default::default()]),
    ("load_balancing_policy", |c| {
        let typed_extension_config = Some(TypedExtensionConfig {
            name: "x".into(),
            typed_config: Some(any(&Random::default())),
        });
        c.load_balancing_policy =
            Some(LoadBalancingPolicy { policies: vec![Policy { typed_extension_config }] });
    }),
    ("lrs_server", |c| c.lrs_server = own()),
    ("lrs_report_endpoint_metrics", |c| c.lrs_report_endpoint_metrics = vec![Default::default()]),
    ("track_timeout_budgets", |c| c.track_timeout_budgets = true),
    ("upstream_config", |c| c.upstream_config = Some(Default::default())),
    ("track_cluster_stats", |c| c.track_cluster_stats = Some(Default::default())),
    ("preconnect_policy", |c| c.preconnect_policy = Some(Default::default())),
    ("connection_pool_per_downstream_connection", |c| {
        c.connection_pool_per_downstream_connection = true
    }),
    ("queuing_policies", |c| c.queuing_policies = Some(Default::default())),
    ("type", |c| {
        c.eds_cluster_config = None;
        c.cluster_discovery_type = kind(DiscoveryType::Static);
    }),
    ("cluster_type", |c| custom(c, &ClusterConfig { clusters: vec!["a".into()] })),
    ("ring_hash_lb_config", |c| {
        lb(
            c,
            LbPolicy::RingHash,
            LbConfig::RingHashLbConfig(RingHashLbConfig {
                minimum_ring_size: n64(7),
                ..Default::default()
            }),
        )
    }),
    ("maglev_lb_config", |c| {
        lb(c, LbPolicy::Maglev, LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: n64(7) }))
    }),
    ("original_dst_lb_config", |c| {
        lb(c, LbPolicy::RoundRobin, LbConfig::OriginalDstLbConfig(Default::default()))
    }),
    ("least_request_lb_config", |c| {
        lb(
            c,
            LbPolicy::LeastRequest,
            LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                choice_count: n(3),
                ..Default::default()
            }),
        )
    }),
    ("round_robin_lb_config", |c| {
        let slow_start_config =
            Some(SlowStartConfig { slow_start_window: secs(1), ..Default::default() });
        lb(
            c,
            LbPolicy::RoundRobin,
            LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config }),
        );
    }),
];
