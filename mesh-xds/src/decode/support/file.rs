//! Files of Envoy's: what stands around resources in them (feature `json`).

super::table! {
    "Bootstrap" {
        Ignored node: "who we are is for control planes, whose bootstrap is gRPC's";
        Ignored node_context_params: "who we are is for control planes, whose bootstrap is gRPC's";
        Used static_resources: "";
        Ignored dynamic_resources: "a file is all there is; for a control plane use gRPC's bootstrap";
        Ignored cluster_manager: "it is for the proxy's process";
        Ignored hds_config: "there are no active health checks";
        Ignored flags_path: "it is for the proxy's process";
        Ignored stats_sinks: "metrics are the program's setting";
        Ignored deferred_stat_options: "metrics are the program's setting";
        Ignored stats_config: "metrics are the program's setting";
        Ignored stats_flush_interval: "metrics are the program's setting";
        Ignored stats_flush_on_admin: "metrics are the program's setting";
        Ignored stats_eviction_interval: "metrics are the program's setting";
        Ignored watchdog: "it is for the proxy's process";
        Ignored watchdogs: "it is for the proxy's process";
        Ignored tracing: "tracing is the program's setting";
        Ignored layered_runtime: "there is no runtime: default values count";
        Ignored admin: "the admin is `mesh proxy --admin`";
        Ignored overload_manager: "it is for the proxy's process";
        Ignored enable_dispatcher_stats: "metrics are the program's setting";
        Ignored header_prefix: "headers are called x-envoy-…";
        Ignored stats_server_version_override: "metrics are the program's setting";
        Ignored use_tcp_for_dns_lookups: "names are resolved as the program says";
        Ignored dns_resolution_config: "names are resolved as the program says";
        Ignored typed_dns_resolver_config: "names are resolved as the program says";
        Ignored bootstrap_extensions: "there are no extensions";
        Ignored fatal_actions: "it is for the proxy's process";
        Ignored config_sources: "a file is all there is";
        Ignored default_config_source: "a file is all there is";
        Ignored default_socket_interface: "it is for the proxy's process";
        Ignored certificate_provider_instances: "there are no providers of certificates in files";
        Ignored inline_headers: "it is for the proxy's process";
        Ignored perf_tracing_file_path: "it is for the proxy's process";
        Ignored default_regex_engine: "patterns are RE2's";
        Ignored xds_delegate_extension: "there are no extensions";
        Ignored xds_config_tracker_extension: "there are no extensions";
        Ignored listener_manager: "it is for the proxy's process";
        Ignored application_log_config: "logs are the program's setting";
        Ignored grpc_async_client_manager_config: "it is for the proxy's process";
        Ignored memory_allocator_manager: "it is for the proxy's process";
        Ignored enable_worker_cpu_affinity: "it is for the proxy's process";
    }
    "Bootstrap.StaticResources" {
        Used listeners: "";
        Used clusters: "";
        Used secrets: "by clusters that name them; served by `mesh ads` to those who ask by name";
    }
    "DiscoveryResponse" {
        Ignored version_info: "the version is the hash of the file";
        Used resources: "";
        Ignored canary: "it is for streams";
        Ignored type_url: "each resource has its own `@type`";
        Ignored nonce: "it is for streams";
        Ignored control_plane: "it is for streams";
        Ignored resource_errors: "it is for streams";
    }
}
