//! HTTP filters of a server.

super::table! {
    "LocalRateLimit" {
        Ignored stat_prefix: "";
        Used status: "what is less than 400 is 429";
        Used token_bucket: "it fills evenly";
        Used filter_enabled: "";
        Used filter_enforced: "";
        Used request_headers_to_add_when_not_enforced: "";
        Used response_headers_to_add: "";
        Refused descriptors: "give routes a limit in typed_per_filter_config";
        Ignored stage: "";
        Used local_rate_limit_per_downstream_connection: "at most 1024 connections at a time";
        Refused local_cluster_rate_limit: "";
        Used enable_x_ratelimit_headers: "";
        Ignored vh_rate_limits: "";
        Ignored always_consume_default_token_bucket: "";
        Used rate_limited_as_resource_exhausted: "";
        Ignored rate_limits: "";
        Ignored max_dynamic_descriptors: "";
        Used enable_retry_after_header: "";
    }
    "AdaptiveConcurrency" {
        Used gradient_controller_config: "";
        Used enabled: "without its runtime_key";
        Used concurrency_limit_exceeded_status: "what is less than 400 is 503";
    }
    "GradientControllerConfig" {
        Used sample_aggregate_percentile: "";
        Used concurrency_limit_params: "";
        Used min_rtt_calc_params: "";
    }
    "AdmissionControl" {
        Used enabled: "without its runtime_key";
        Used success_criteria: "";
        Used sampling_window: "1 s to 1 h";
        Used aggression: "without its runtime_key";
        Used sr_threshold: "without its runtime_key";
        Used rps_threshold: "without its runtime_key";
        Used max_rejection_probability: "without its runtime_key";
    }
    "HTTPFault" {
        Used delay: "gRFC A33";
        Used abort: "gRFC A33";
        Refused upstream_cluster: "";
        Used headers: "";
        Used downstream_nodes: "";
        Used max_active_faults: "";
        Ignored response_rate_limit: "";
        Ignored delay_percent_runtime: "";
        Ignored abort_percent_runtime: "";
        Ignored delay_duration_runtime: "";
        Ignored abort_http_status_runtime: "";
        Ignored max_active_faults_runtime: "";
        Ignored response_rate_limit_percent_runtime: "";
        Ignored abort_grpc_status_runtime: "";
        Ignored disable_downstream_cluster_stats: "";
        Ignored filter_metadata: "";
    }
    "HeaderMutation" {
        Used mutations: "";
        Used most_specific_header_mutations_wins: "";
    }
    "Mutations" {
        Used request_mutations: "not remove_on_match";
        Refused query_parameter_mutations: "";
        Used response_mutations: "not remove_on_match";
        Ignored response_trailers_mutations: "";
        Ignored request_trailers_mutations: "";
    }
    "Buffer" {
        Used max_request_bytes: "the body is counted, and not kept";
    }
    "BufferPerRoute" {
        Used disabled: "";
        Used buffer: "";
    }
    "BodySizeLimit" {
        Used max_request_bytes: "";
    }
}
