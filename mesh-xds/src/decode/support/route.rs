//! Route configurations.

super::table! {
    "RouteConfiguration" {
        Used name: "";
        Used virtual_hosts: "all are validated";
        Refused vhds: "";
        Ignored internal_only_headers: "";
        Used response_headers_to_add: "";
        Used response_headers_to_remove: "";
        Used request_headers_to_add: "";
        Used request_headers_to_remove: "";
        Refused most_specific_header_mutations_wins: "only with edits on more than one level";
        Ignored validate_clusters: "";
        Used max_direct_response_body_size_bytes: "at most 4096; more is reported";
        Used cluster_specifier_plugins: "optional ones only: their routes are skipped";
        Ignored request_mirror_policies: "";
        Ignored ignore_port_in_host_matching: "it is so for domains without a port";
        Refused vhost_header: "";
        Refused ignore_path_parameters_in_path_matching: "";
        Used typed_per_filter_config: "by servers (gRFC A39), no TypedStruct; clients' reported; unknown types refused unless optional";
        Used metadata: "our own words under `mesh`: mode, unknown_hosts; the rest is reported";
        Refused route_specifiers: "";
    }
    "VirtualHost" {
        Used name: "empty: the first domain";
        Used domains: "";
        Used routes: "";
        Refused matcher: "";
        Ignored require_tls: "";
        Ignored virtual_clusters: "";
        Used rate_limits: "by a ratelimit filter of a server or port without rules of its own, where the route has none";
        Used request_headers_to_add: "";
        Used request_headers_to_remove: "";
        Used response_headers_to_add: "";
        Used response_headers_to_remove: "";
        Ignored cors: "";
        Used typed_per_filter_config: "by servers (gRFC A39), no TypedStruct; clients' reported; unknown types refused unless optional";
        Used include_request_attempt_count: "";
        Ignored include_attempt_count_in_response: "";
        Used retry_policy: "";
        Ignored retry_policy_typed_config: "";
        Used hedge_policy: "";
        Ignored include_is_timeout_retry_header: "";
        Ignored per_request_buffer_limit_bytes: "";
        Ignored request_body_buffer_limit: "";
        Ignored request_mirror_policies: "";
        Used metadata: "our own words under `mesh`: retry_policy, own_domains; the rest is reported";
        Refused route_specifiers: "";
    }
    "Route" {
        Used name: "empty: its place";
        Used match: "";
        Used route: "";
        Used redirect: "";
        Used direct_response: "";
        Refused filter_action: "";
        Used non_forwarding_action: "for servers; calls of clients that the route takes have no route (gRFC A36)";
        Used metadata: "our own words under `mesh`: see the table in `encode`; filter_metadata of others, for RBAC";
        Ignored decorator: "";
        Used typed_per_filter_config: "by servers (gRFC A39), no TypedStruct; clients' reported; unknown types refused unless optional";
        Used request_headers_to_add: "";
        Used request_headers_to_remove: "";
        Used response_headers_to_add: "";
        Used response_headers_to_remove: "";
        Ignored tracing: "";
        Ignored per_request_buffer_limit_bytes: "";
        Ignored stat_prefix: "";
        Ignored request_body_buffer_limit: "";
        Refused route_specifiers: "";
    }
    "RouteMatch" {
        Used prefix: "";
        Used path: "";
        Used safe_regex: "";
        Ignored connect_matcher: "the route is skipped";
        Used path_separated_prefix: "";
        Refused path_match_policy: "";
        Used case_sensitive: "";
        Used runtime_fraction: "its key is ignored (gRFC A28)";
        Used headers: "`:method` and `:authority` as well; other pseudo headers skip the route";
        Used query_parameters: "`present_match: false` skips the route";
        Ignored cookies: "the route is skipped";
        Used grpc: "";
        Ignored tls_context: "the route is skipped";
        Ignored dynamic_metadata: "the route is skipped";
        Ignored filter_state: "the route is skipped";
    }
    "RouteAction" {
        Used cluster: "";
        Used cluster_header: "";
        Used weighted_clusters: "";
        Ignored cluster_specifier_plugin: "the route is skipped";
        Ignored inline_cluster_specifier_plugin: "optional: the route is skipped; else refused";
        Ignored cluster_not_found_response_code: "";
        Refused metadata_match: "";
        Used prefix_rewrite: "";
        Used regex_rewrite: "";
        Refused path_rewrite_policy: "";
        Used path_rewrite: "without commands";
        Used host_rewrite_literal: "";
        Used auto_host_rewrite: "from a trusted server only (gRFC A81)";
        Used host_rewrite_header: "";
        Used host_rewrite_path_regex: "";
        Used host_rewrite: "without commands";
        Ignored append_x_forwarded_host: "";
        Used timeout: "15 s when not set; from the beginning of the call (Envoy: from the end of the request)";
        Used idle_timeout: "";
        Ignored flush_timeout: "";
        Ignored early_data_policy: "";
        Used retry_policy: "";
        Ignored retry_policy_typed_config: "";
        Ignored request_mirror_policies: "";
        Used priority: "";
        Used rate_limits: "by a port's ratelimit filter without rules of its own; with an unknown action it is no port";
        Used include_vh_rate_limits: "";
        Used hash_policy: "filter state: io.grpc.channel_id and mesh.peer_identity; others are reported";
        Ignored cors: "";
        Used max_grpc_timeout: "the old name of grpc_timeout_header_max";
        Ignored grpc_timeout_offset: "";
        Ignored upgrade_configs: "";
        Ignored internal_redirect_policy: "";
        Ignored internal_redirect_action: "";
        Ignored max_internal_redirects: "";
        Used hedge_policy: "hedge_on_per_try_timeout";
        Used max_stream_duration: "gRFC A31";
    }
    "RetryPolicy" {
        Used retry_on: "unknown words are reported (gRFC A44)";
        Used num_retries: "0: no retries, as in Envoy; at most 100";
        Used per_try_timeout: "";
        Used per_try_idle_timeout: "";
        Ignored retry_priority: "";
        Used retry_host_predicate: "previous_hosts; others are reported";
        Ignored retry_options_predicates: "";
        Used host_selection_retry_max_attempts: "";
        Used retriable_status_codes: "";
        Used retry_back_off: "";
        Used rate_limited_retry_back_off: "";
        Used retriable_headers: "";
        Used retriable_request_headers: "";
        Ignored refresh_cluster_on_retry: "";
    }
    "HeaderMatcher" {
        Used name: "";
        Used exact_match: "";
        Used safe_regex_match: "";
        Used range_match: "an empty range is refused";
        Used present_match: "";
        Used prefix_match: "";
        Used suffix_match: "";
        Used contains_match: "";
        Used string_match: "";
        Used invert_match: "";
        Used treat_missing_header_as_empty: "";
    }
    "WeightedCluster" {
        Used clusters: "";
        Ignored total_weight: "reported when it is not the sum";
        Ignored runtime_key_prefix: "";
        Used header_name: "";
        Used use_hash_policy: "";
    }
    "WeightedCluster.ClusterWeight" {
        Used name: "";
        Refused cluster_header: "";
        Used weight: "0: left out";
        Refused metadata_match: "";
        Used request_headers_to_add: "";
        Used request_headers_to_remove: "";
        Used response_headers_to_add: "";
        Used response_headers_to_remove: "";
        Ignored typed_per_filter_config: "an unknown type is refused unless optional (gRFC A39)";
        Refused host_rewrite_specifier: "";
    }
    "RedirectAction" {
        Used https_redirect: "";
        Used scheme_redirect: "";
        Used host_redirect: "";
        Used port_redirect: "";
        Used path_redirect: "";
        Used prefix_rewrite: "";
        Used regex_rewrite: "";
        Used path_rewrite: "without commands";
        Used response_code: "";
        Used strip_query: "";
    }
    "DirectResponseAction" {
        Used status: "";
        Used body: "inline only";
        Ignored body_format: "";
    }
}
