//! The fields that do nothing here, each with why; and those that can't be left out, and are refused.

use crate::decode::common::Walk;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;

/// Why options of name resolution do nothing.
pub(super) const OWN_RESOLVER: &str =
    "names are resolved by the resolver that the application chose";

/// Reports what is set and does nothing; refuses what would change where calls go.
pub(super) fn report(walk: &mut Walk, cluster: &Cluster) {
    if cluster.lb_subset_config.as_ref().is_some_and(|subset| !subset.subset_selectors.is_empty()) {
        walk.error_at(
            "lb_subset_config",
            "subsets are not supported, and without them calls would go to other endpoints; make a cluster of each subset",
        );
    }
    walk.ignored(
        cluster.lb_subset_config.as_ref().is_some_and(|subset| subset.subset_selectors.is_empty()),
        "lb_subset_config",
        "it has no selectors, so there are no subsets (Envoy)",
    );
    report_all(walk, &telemetry(cluster));
    report_all(walk, &health(cluster));
    report_all(walk, &connections(cluster));
    report_all(walk, &names(cluster));
}

/// Whether it is set, the field, and why it does nothing.
type Unused = (bool, &'static str, &'static str);

fn report_all(walk: &mut Walk, fields: &[Unused]) {
    for (set, field, reason) in fields {
        walk.ignored(*set, field, reason);
    }
}

#[expect(deprecated, reason = "control planes still set `track_timeout_budgets`")]
fn telemetry(cluster: &Cluster) -> [Unused; 5] {
    const OWN: &str = "telemetry is configured by the application";
    const NO_METRICS: &str = "load reports have no metrics of endpoints (gRFC A85)";
    [
        (!cluster.alt_stat_name.is_empty(), "alt_stat_name", OWN),
        (cluster.stats_matcher.is_some(), "stats_matcher", OWN),
        (cluster.track_timeout_budgets, "track_timeout_budgets", OWN),
        (cluster.track_cluster_stats.is_some(), "track_cluster_stats", OWN),
        (
            !cluster.lrs_report_endpoint_metrics.is_empty(),
            "lrs_report_endpoint_metrics",
            NO_METRICS,
        ),
    ]
}

fn health(cluster: &Cluster) -> [Unused; 5] {
    const NO_CHECKS: &str = "there are no active health checks; outlier detection and EDS decide";
    [
        (!cluster.health_checks.is_empty(), "health_checks", NO_CHECKS),
        (
            cluster.close_connections_on_host_health_failure,
            "close_connections_on_host_health_failure",
            NO_CHECKS,
        ),
        (
            cluster.ignore_health_on_host_removal,
            "ignore_health_on_host_removal",
            "endpoints that are removed take no calls, whatever their health",
        ),
        (
            cluster.wait_for_warm_on_init.is_some(),
            "wait_for_warm_on_init",
            "calls wait for a cluster up to their own deadline",
        ),
        (
            cluster.cleanup_interval.is_some(),
            "cleanup_interval",
            "it is for ORIGINAL_DST, which is not supported",
        ),
    ]
}

#[expect(deprecated, reason = "control planes still set the older protocol options")]
fn connections(cluster: &Cluster) -> [Unused; 11] {
    const NO_BUFFERS: &str = "bodies are not buffered";
    [
        (
            cluster.per_connection_buffer_limit_bytes.is_some(),
            "per_connection_buffer_limit_bytes",
            NO_BUFFERS,
        ),
        (
            cluster.per_connection_buffer_high_watermark_timeout.is_some(),
            "per_connection_buffer_high_watermark_timeout",
            NO_BUFFERS,
        ),
        (
            cluster.upstream_http_protocol_options.is_some(),
            "upstream_http_protocol_options",
            "SNI is the transport socket's, or the endpoint's hostname",
        ),
        (
            cluster.http_protocol_options.is_some(),
            "http_protocol_options",
            "HTTP/1.1 has no options here",
        ),
        (
            cluster.upstream_bind_config.is_some(),
            "upstream_bind_config",
            "the system chooses the local address",
        ),
        (
            cluster.upstream_connection_options.is_some(),
            "upstream_connection_options",
            "socket options are the application's; families are tried as in RFC 8305",
        ),
        (!cluster.filters.is_empty(), "filters", "network filters run only in an Envoy"),
        (cluster.upstream_config.is_some(), "upstream_config", "connection pools are built in"),
        (
            cluster.preconnect_policy.is_some(),
            "preconnect_policy",
            "connections are made when they are needed",
        ),
        (
            cluster.connection_pool_per_downstream_connection,
            "connection_pool_per_downstream_connection",
            "it is about a proxy's downstream side, and there is none",
        ),
        (
            cluster.queuing_policies.is_some(),
            "queuing_policies",
            "calls that wait are served in their order",
        ),
    ]
}

#[expect(deprecated, reason = "control planes still set the older DNS options")]
fn names(cluster: &Cluster) -> [Unused; 6] {
    [
        (cluster.dns_jitter.is_some(), "dns_jitter", OWN_RESOLVER),
        (cluster.dns_failure_refresh_rate.is_some(), "dns_failure_refresh_rate", OWN_RESOLVER),
        (!cluster.dns_resolvers.is_empty(), "dns_resolvers", OWN_RESOLVER),
        (cluster.use_tcp_for_dns_lookups, "use_tcp_for_dns_lookups", OWN_RESOLVER),
        (cluster.dns_resolution_config.is_some(), "dns_resolution_config", OWN_RESOLVER),
        (cluster.typed_dns_resolver_config.is_some(), "typed_dns_resolver_config", OWN_RESOLVER),
    ]
}

/// gRFC A75: an aggregate has only its clusters; how to talk to them, each says itself.
pub(super) fn report_of_aggregate(walk: &mut Walk, cluster: &Cluster) {
    const EACH_ITS_OWN: &str = "each cluster of an aggregate has its own (gRFC A75)";
    for (set, field) in [
        (cluster.connect_timeout.is_some(), "connect_timeout"),
        (cluster.outlier_detection.is_some(), "outlier_detection"),
        (cluster.transport_socket.is_some(), "transport_socket"),
        (!cluster.transport_socket_matches.is_empty(), "transport_socket_matches"),
        (!cluster.typed_extension_protocol_options.is_empty(), "typed_extension_protocol_options"),
        (cluster.common_lb_config.is_some(), "common_lb_config"),
        (cluster.load_balancing_policy.is_some(), "load_balancing_policy"),
    ] {
        walk.ignored(set, field, EACH_ITS_OWN);
    }
    let sets = cluster.circuit_breakers.iter().flat_map(|breakers| &breakers.thresholds);
    let limits = |set: &Thresholds| {
        let limits = [&set.max_connections, &set.max_pending_requests, &set.max_requests];
        limits.into_iter().any(Option::is_some)
    };
    let others = sets.clone().any(limits)
        || cluster.circuit_breakers.as_ref().is_some_and(|b| !b.per_host_thresholds.is_empty());
    walk.ignored(
        others,
        "circuit_breakers",
        "of an aggregate only the limits of retries count: each of its clusters has its own (gRFC A75)",
    );
}
