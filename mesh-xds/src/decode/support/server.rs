//! Listeners of servers (gRFC A36).

super::table! {
    "FilterChain" {
        Used filter_chain_match: "";
        Used filters: "RBAC, then the HttpConnectionManager or of a port TcpProxy; others are refused (gRFC A36)";
        Refused use_proxy_proto: "";
        Used metadata: "the words of `mesh`";
        Used transport_socket: "DownstreamTlsContext and RawBuffer; others are refused";
        Used transport_socket_connect_timeout: "without it the default holds: no handshake is without an end";
        Used name: "without one, or with one that is taken, it is its place";
    }
    "FilterChainMatch" {
        Used destination_port: "gRPC: the chain never matches";
        Used prefix_ranges: "";
        Ignored address_suffix: "it has no effect in Envoy either";
        Ignored suffix_len: "it has no effect in Envoy either";
        Used direct_source_prefix_ranges: "";
        Used source_type: "";
        Used source_prefix_ranges: "";
        Used source_ports: "";
        Used server_names: "a name, or *. and a name; gRPC: the chain never matches";
        Used transport_protocol: "raw_buffer and tls; a chain with another is for no connection";
        Used application_protocols: "gRPC: the chain never matches";
    }
    "DownstreamTlsContext" {
        Used common_tls_context: "";
        Used require_client_certificate: "";
        Refused require_sni: "";
        Ignored disable_stateful_session_resumption: "sessions are not resumed";
        Ignored session_timeout: "";
        Refused ocsp_staple_policy: "but LENIENT_STAPLING (gRFC A29)";
        Ignored full_scan_certs_on_sni_mismatch: "";
        Ignored prefer_client_ciphers: "";
        Ignored session_ticket_keys: "";
        Ignored session_ticket_keys_sds_secret_config: "";
        Ignored disable_stateless_session_resumption: "";
    }
    "CommonTlsContext" {
        Refused tls_params: "";
        Used tls_certificates: "one";
        Used tls_certificate_sds_secret_configs: "one, from ads or self";
        Used tls_certificate_provider_instance: "of the bootstrap file (gRFC A29)";
        Refused custom_tls_certificate_selector: "";
        Refused tls_certificate_certificate_provider: "";
        Used tls_certificate_certificate_provider_instance: "Istio's older field";
        Used alpn_protocols: "gRPC ignores it; nothing said follows from the protocol; `istio-peer-exchange` is not offered";
        Refused custom_handshaker: "";
        Ignored key_log: "";
        Used validation_context: "";
        Used validation_context_sds_secret_config: "";
        Used combined_validation_context: "";
        Refused validation_context_certificate_provider: "";
        Used validation_context_certificate_provider_instance: "Istio's older field";
    }
    "HttpConnectionManager (server)" {
        Ignored codec_type: "";
        Ignored stat_prefix: "";
        Used rds: "";
        Used route_config: "";
        Refused scoped_routes: "";
        Used http_filters: "gRFC A39";
        Ignored add_user_agent: "";
        Ignored tracing: "";
        Used common_http_protocol_options: "max_headers_count, idle_timeout; of a port max_stream_duration, too";
        Ignored http1_safe_max_connection_duration: "";
        Ignored http_protocol_options: "";
        Ignored http2_protocol_options: "";
        Ignored http3_protocol_options: "";
        Ignored server_name: "";
        Ignored server_header_transformation: "";
        Ignored scheme_header_transformation: "";
        Used max_request_headers_kb: "1 to 8192";
        Used stream_idle_timeout: "as what `stream_flush_timeout` is by default, and nothing else";
        Used stream_flush_timeout: "of streams of HTTP/2 whose client opens no window";
        Ignored request_timeout: "";
        Ignored request_headers_timeout: "";
        Ignored drain_timeout: "";
        Ignored drain_timeout_jitter: "";
        Ignored delayed_close_timeout: "";
        Ignored access_log: "";
        Ignored access_log_flush_interval: "";
        Ignored flush_access_log_on_new_request: "";
        Ignored access_log_options: "";
        Used use_remote_address: "unset without trusted hops is true, without appending (gRFC A41)";
        Used xff_num_trusted_hops: "gRPC refuses it (A41)";
        Refused original_ip_detection_extensions: "gRFC A41";
        Ignored early_header_mutation_extensions: "";
        Ignored internal_address_config: "";
        Used skip_xff_append: "";
        Ignored via: "";
        Ignored generate_request_id: "";
        Ignored preserve_external_request_id: "";
        Ignored always_set_request_id_in_response: "";
        Used forward_client_cert_details: "";
        Ignored set_current_client_cert_details: "";
        Ignored forward_client_cert_matcher: "";
        Ignored proxy_100_continue: "";
        Ignored represent_ipv4_remote_address_as_ipv4_mapped_ipv6: "";
        Ignored upgrade_configs: "";
        Used normalize_path: "";
        Used merge_slashes: "";
        Used path_with_escaped_slashes_action: "";
        Ignored request_id_extension: "";
        Ignored local_reply_config: "";
        Ignored strip_matching_host_port: "";
        Ignored stream_error_on_invalid_http_message: "";
        Ignored path_normalization_options: "";
        Ignored strip_trailing_host_dot: "";
        Ignored proxy_status_config: "";
        Ignored typed_header_validation_config: "";
        Ignored append_x_forwarded_port: "";
        Ignored append_local_overload: "";
        Ignored add_proxy_protocol_connection_state: "";
        Ignored forward_proto_config: "";
        Ignored strip_port_mode: "";
    }
}
