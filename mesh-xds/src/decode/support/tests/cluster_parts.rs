//! The messages within a cluster.

use super::cluster::{check, http, outlier, thresholds};
use super::{Set, fields};
use crate::decode::testing::{by_source_ip, eds, n, secs, yes};
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::{Cluster, OutlierDetection};
use envoy_types::pb::envoy::config::core::v3::HttpProtocolOptions as CommonOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config::ProtocolConfig,
};

#[test]
fn outlier_detection() {
    let fields = fields!(OutlierDetection {
        consecutive_5xx,
        interval,
        base_ejection_time,
        max_ejection_percent,
        enforcing_consecutive_5xx,
        enforcing_success_rate,
        success_rate_minimum_hosts,
        success_rate_request_volume,
        success_rate_stdev_factor,
        consecutive_gateway_failure,
        enforcing_consecutive_gateway_failure,
        split_external_local_origin_errors,
        consecutive_local_origin_failure,
        enforcing_consecutive_local_origin_failure,
        enforcing_local_origin_success_rate,
        failure_percentage_threshold,
        enforcing_failure_percentage,
        enforcing_failure_percentage_local_origin,
        failure_percentage_minimum_hosts,
        failure_percentage_request_volume,
        max_ejection_time,
        max_ejection_time_jitter,
        successful_active_health_check_uneject_host,
        monitors,
        always_eject_one_host,
        detect_degraded_hosts,
    });
    let base = || {
        let mut cluster = eds();
        // What is counted shows only where it is enforced.
        outlier(&mut cluster, |o| o.enforcing_failure_percentage = n(100));
        cluster
    };
    check("OutlierDetection", "outlier_detection", base, &fields, OUTLIER_DETECTION);
}

const OUTLIER_DETECTION: &[Set<Cluster>] = &[
    ("consecutive_5xx", |c| outlier(c, |o| o.consecutive_5xx = n(77))),
    ("interval", |c| outlier(c, |o| o.interval = secs(40))),
    ("base_ejection_time", |c| outlier(c, |o| o.base_ejection_time = secs(40))),
    ("max_ejection_percent", |c| outlier(c, |o| o.max_ejection_percent = n(77))),
    ("enforcing_consecutive_5xx", |c| outlier(c, |o| o.enforcing_consecutive_5xx = n(77))),
    ("enforcing_success_rate", |c| outlier(c, |o| o.enforcing_success_rate = n(77))),
    ("success_rate_minimum_hosts", |c| outlier(c, |o| o.success_rate_minimum_hosts = n(77))),
    ("success_rate_request_volume", |c| outlier(c, |o| o.success_rate_request_volume = n(77))),
    ("success_rate_stdev_factor", |c| outlier(c, |o| o.success_rate_stdev_factor = n(77))),
    ("consecutive_gateway_failure", |c| outlier(c, |o| o.consecutive_gateway_failure = n(77))),
    ("enforcing_consecutive_gateway_failure", |c| {
        outlier(c, |o| o.enforcing_consecutive_gateway_failure = n(77))
    }),
    ("split_external_local_origin_errors", |c| {
        outlier(c, |o| o.split_external_local_origin_errors = true)
    }),
    ("consecutive_local_origin_failure", |c| {
        outlier(c, |o| o.consecutive_local_origin_failure = n(77))
    }),
    ("enforcing_consecutive_local_origin_failure", |c| {
        outlier(c, |o| o.enforcing_consecutive_local_origin_failure = n(77))
    }),
    ("enforcing_local_origin_success_rate", |c| {
        outlier(c, |o| o.enforcing_local_origin_success_rate = n(77))
    }),
    ("failure_percentage_threshold", |c| outlier(c, |o| o.failure_percentage_threshold = n(77))),
    ("enforcing_failure_percentage", |c| outlier(c, |o| o.enforcing_failure_percentage = n(77))),
    ("enforcing_failure_percentage_local_origin", |c| {
        outlier(c, |o| o.enforcing_failure_percentage_local_origin = n(77))
    }),
    ("failure_percentage_minimum_hosts", |c| {
        outlier(c, |o| o.failure_percentage_minimum_hosts = n(77))
    }),
    ("failure_percentage_request_volume", |c| {
        outlier(c, |o| o.failure_percentage_request_volume = n(77))
    }),
    ("max_ejection_time", |c| outlier(c, |o| o.max_ejection_time = secs(40))),
    ("max_ejection_time_jitter", |c| outlier(c, |o| o.max_ejection_time_jitter = secs(40))),
    ("successful_active_health_check_uneject_host", |c| {
        outlier(c, |o| o.successful_active_health_check_uneject_host = yes())
    }),
    ("monitors", |c| outlier(c, |o| o.monitors = vec![Default::default()])),
    ("always_eject_one_host", |c| outlier(c, |o| o.always_eject_one_host = yes())),
    ("detect_degraded_hosts", |c| outlier(c, |o| o.detect_degraded_hosts = yes())),
];

#[test]
fn circuit_breakers_thresholds() {
    let fields = fields!(Thresholds {
        priority,
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        track_remaining,
        max_connection_pools,
    });
    let base = || {
        let mut cluster = eds();
        thresholds(&mut cluster, |t| t.max_requests = n(9));
        cluster
    };
    let changes: [Set<Cluster>; 8] = [
        ("priority", |c| {
            thresholds(c, |t| {
                t.priority = 1;
                t.max_requests = n(9);
            });
        }),
        ("max_connections", |c| thresholds(c, |t| t.max_connections = n(1))),
        ("max_pending_requests", |c| thresholds(c, |t| t.max_pending_requests = n(1))),
        ("max_requests", |c| thresholds(c, |t| t.max_requests = n(1))),
        ("max_retries", |c| thresholds(c, |t| t.max_retries = n(1))),
        ("retry_budget", |c| thresholds(c, |t| t.retry_budget = Some(Default::default()))),
        ("track_remaining", |c| thresholds(c, |t| t.track_remaining = true)),
        ("max_connection_pools", |c| thresholds(c, |t| t.max_connection_pools = n(1))),
    ];
    let path = "circuit_breakers.thresholds[0]";
    check("CircuitBreakers.Thresholds", path, base, &fields, &changes);
}

#[test]
fn http_protocol_options() {
    let _ = fields!(HttpProtocolOptions {
        common_http_protocol_options,
        upstream_http_protocol_options,
        http_filters,
        header_validation_config,
        outlier_detection,
        request_mirror_policies,
        hash_policy,
        retry_policy,
        upstream_protocol_options,
    });
    let fields = [
        "common_http_protocol_options",
        "upstream_http_protocol_options",
        "explicit_http_config",
        "use_downstream_protocol_config",
        "auto_config",
        "http_filters",
        "header_validation_config",
        "outlier_detection",
        "request_mirror_policies",
        "hash_policy",
        "retry_policy",
    ];
    let base = || {
        let mut cluster = eds();
        http(&mut cluster, |_| {});
        cluster
    };
    let path = "typed_extension_protocol_options[http]";
    check("HttpProtocolOptions", path, base, &fields, HTTP_PROTOCOL_OPTIONS);
}

const HTTP_PROTOCOL_OPTIONS: &[Set<Cluster>] = &[
    ("common_http_protocol_options", |c| {
        http(c, |o| {
            o.common_http_protocol_options =
                Some(CommonOptions { idle_timeout: secs(1), ..Default::default() });
        });
    }),
    ("upstream_http_protocol_options", |c| {
        http(c, |o| o.upstream_http_protocol_options = Some(Default::default()));
    }),
    ("explicit_http_config", |c| {
        http(c, |o| {
            let protocol_config = Some(ProtocolConfig::Http2ProtocolOptions(Default::default()));
            let config = ExplicitHttpConfig { protocol_config };
            o.upstream_protocol_options = Some(UpstreamProtocolOptions::ExplicitHttpConfig(config));
        });
    }),
    ("use_downstream_protocol_config", |c| {
        http(c, |o| {
            let config = UseDownstreamHttpConfig::default();
            o.upstream_protocol_options =
                Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(config));
        });
    }),
    ("auto_config", |c| {
        http(c, |o| {
            let config = AutoHttpConfig::default();
            o.upstream_protocol_options = Some(UpstreamProtocolOptions::AutoConfig(config));
        });
    }),
    ("http_filters", |c| http(c, |o| o.http_filters = vec![Default::default()])),
    ("header_validation_config", |c| {
        http(c, |o| o.header_validation_config = Some(Default::default()));
    }),
    ("outlier_detection", |c| http(c, |o| o.outlier_detection = Some(Default::default()))),
    ("request_mirror_policies", |c| {
        http(c, |o| o.request_mirror_policies = vec![Default::default()]);
    }),
    ("hash_policy", |c| http(c, |o| o.hash_policy = vec![by_source_ip()])),
    ("retry_policy", |c| http(c, |o| o.retry_policy = Some(Default::default()))),
];
