//! HTTP filters of a server that ask somebody: tokens, external authorization, global rate limits.

super::table! {
    "JwtAuthentication" {
        Used providers: "";
        Used rules: "";
        Refused filter_state_rules: "";
        Used bypass_cors_preflight: "";
        Used requirement_map: "";
        Used strip_failure_response: "";
        Ignored stat_prefix: "";
    }
    "JwtProvider" {
        Used issuer: "";
        Used audiences: "";
        Used subjects: "";
        Used require_expiration: "";
        Used max_lifetime: "";
        Used forward: "";
        Used from_headers: "";
        Used from_params: "";
        Used from_cookies: "";
        Used forward_payload_header: "";
        Used pad_forward_payload_header: "";
        Used payload_in_metadata: "";
        Used normalize_payload_in_metadata: "";
        Used header_in_metadata: "";
        Used failed_status_in_metadata: "";
        Used clock_skew_seconds: "";
        Used jwt_cache_config: "";
        Used claim_to_headers: "by claim_name; claim_path is refused";
        Ignored clear_route_cache: "";
        Used remote_jwks: "";
        Used local_jwks: "in the message or in a file";
    }
    "RemoteJwks" {
        Used http_uri: "by its cluster";
        Used cache_duration: "";
        Used async_fetch: "without its fast_listener";
        Ignored retry_policy: "";
    }
    "RequirementRule" {
        Used match: "";
        Used requires: "extract_only_without_validation is refused";
        Used requirement_name: "";
    }
    "PerRouteConfig (jwt_authn)" {
        Used disabled: "";
        Used requirement_name: "";
    }
    "ExtAuthz" {
        Ignored transport_api_version: "it is always v3; another is reported";
        Used failure_mode_allow: "";
        Used failure_mode_allow_header_add: "";
        Used with_request_body: "at most 4 MiB";
        Ignored clear_route_cache: "";
        Used status_on_error: "";
        Used validate_mutations: "";
        Used metadata_context_namespaces: "";
        Refused typed_metadata_context_namespaces: "";
        Refused route_metadata_context_namespaces: "";
        Refused route_typed_metadata_context_namespaces: "";
        Used filter_enabled: "its default; there are no run-time settings";
        Used filter_enabled_metadata: "";
        Used deny_at_disable: "its default";
        Used include_peer_certificate: "";
        Ignored stat_prefix: "";
        Ignored bootstrap_metadata_labels_key: "";
        Used allowed_headers: "";
        Used disallowed_headers: "";
        Used include_tls_session: "";
        Ignored charge_cluster_response_stats: "";
        Refused encode_raw_headers: "";
        Refused decoder_header_mutation_rules: "";
        Ignored enable_dynamic_metadata_ingestion: "";
        Ignored filter_metadata: "";
        Ignored emit_filter_state_stats: "";
        Ignored max_denied_response_body_bytes: "";
        Ignored enforce_response_header_limits: "";
        Used shadow_mode: "";
        Ignored emit_client_span: "";
        Used grpc_service: "envoy_grpc; google_grpc is refused";
        Used http_service: "";
    }
    "HttpService (ext_authz)" {
        Used server_uri: "";
        Used path_prefix: "";
        Refused path_override: "";
        Used authorization_request: "";
        Used authorization_response: "";
        Ignored retry_policy: "";
    }
    "CheckSettings" {
        Used context_extensions: "";
        Used disable_request_body_buffering: "";
        Used with_request_body: "";
        Ignored emit_client_span: "";
        Used grpc_service: "";
        Used http_service: "";
    }
    "RateLimit" {
        Used domain: "";
        Used stage: "0 to 10";
        Used request_type: "both; nothing says here who is inside";
        Used timeout: "";
        Used failure_mode_deny: "";
        Used rate_limited_as_resource_exhausted: "";
        Used rate_limit_service: "";
        Used enable_x_ratelimit_headers: "";
        Used disable_x_envoy_ratelimited_header: "";
        Used rate_limited_status: "what is less than 400 is 429";
        Used response_headers_to_add: "";
        Used status_on_error: "";
        Ignored stat_prefix: "";
        Refused filter_enabled: "";
        Refused filter_enforced: "";
        Refused failure_mode_deny_percent: "";
        Used rate_limits: "";
        Ignored metadata_namespace: "";
        Ignored enable_retry_after_header: "";
    }
    "RateLimitPerRoute" {
        Used vh_rate_limits: "";
        Ignored override_option: "the most specific rules count alone";
        Used rate_limits: "";
        Used domain: "";
    }
}
