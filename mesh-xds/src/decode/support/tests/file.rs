//! What stands around resources in files: every field is in the table.

use super::fields;
use crate::decode::support::rows;
use envoy_types::pb::envoy::config::bootstrap::v3 as bootstrap;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use std::collections::BTreeSet;

#[track_caller]
fn check(message: &str, fields: &[&str], kinds: &[&str]) {
    let listed: Vec<_> = rows().filter(|row| row.message == message).map(|row| row.field).collect();
    let unique: BTreeSet<_> = listed.iter().copied().collect();
    let expected: BTreeSet<_> = fields.iter().chain(kinds).copied().collect();
    assert_eq!(unique, expected, "{message}");
    assert_eq!(unique.len(), listed.len(), "{message}: a field stands twice");
}

#[test]
fn every_field_of_a_bootstrap() {
    let mut fields = fields!(bootstrap::Bootstrap {
        node,
        node_context_params,
        static_resources,
        dynamic_resources,
        cluster_manager,
        hds_config,
        flags_path,
        stats_sinks,
        deferred_stat_options,
        stats_config,
        stats_flush_interval,
        watchdog,
        watchdogs,
        tracing,
        layered_runtime,
        admin,
        overload_manager,
        enable_dispatcher_stats,
        header_prefix,
        stats_server_version_override,
        use_tcp_for_dns_lookups,
        dns_resolution_config,
        typed_dns_resolver_config,
        bootstrap_extensions,
        fatal_actions,
        config_sources,
        default_config_source,
        default_socket_interface,
        certificate_provider_instances,
        inline_headers,
        perf_tracing_file_path,
        default_regex_engine,
        xds_delegate_extension,
        xds_config_tracker_extension,
        listener_manager,
        application_log_config,
        grpc_async_client_manager_config,
        memory_allocator_manager,
        enable_worker_cpu_affinity,
        stats_flush,
        stats_eviction,
    })
    .to_vec();
    fields.retain(|field| !matches!(*field, "stats_flush" | "stats_eviction"));
    check("Bootstrap", &fields, &["stats_flush_on_admin", "stats_eviction_interval"]);
    let fields = fields!(bootstrap::bootstrap::StaticResources { listeners, clusters, secrets });
    check("Bootstrap.StaticResources", &fields, &[]);
}

#[test]
fn every_field_of_a_response() {
    let fields = fields!(DiscoveryResponse {
        version_info,
        resources,
        canary,
        type_url,
        nonce,
        control_plane,
        resource_errors,
    });
    check("DiscoveryResponse", &fields, &[]);
}
