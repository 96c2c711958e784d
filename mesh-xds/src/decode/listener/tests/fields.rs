//! The table of fields and the decoder agree.

use super::*;
use crate::decode::support::agreement::{Setter, check_effects, check_fields};
use crate::decode::support::listener::ROWS;
use crate::decode::support::{Support, server};

#[expect(deprecated, reason = "control planes still send the old fields")]
const SETTERS: &[Setter<Draft>] = &[
    ("Listener", "additional_addresses", |d| {
        d.listener.additional_addresses = vec![Default::default()]
    }),
    ("Listener", "stat_prefix", |d| d.listener.stat_prefix = "x".into()),
    ("Listener", "stats_matcher", |d| d.listener.stats_matcher = Some(Default::default())),
    ("Listener", "fcds_config", |d| d.listener.fcds_config = Some(Default::default())),
    ("Listener", "filter_chain_matcher", |d| {
        d.listener.filter_chain_matcher = Some(Default::default())
    }),
    ("Listener", "use_original_dst", |d| d.listener.use_original_dst = Some(Default::default())),
    ("Listener", "per_connection_buffer_limit_bytes", |d| {
        d.listener.per_connection_buffer_limit_bytes = Some(Default::default())
    }),
    ("Listener", "per_connection_buffer_high_watermark_timeout", |d| {
        d.listener.per_connection_buffer_high_watermark_timeout = Some(Default::default())
    }),
    ("Listener", "metadata", |d| d.listener.metadata = Some(Default::default())),
    ("Listener", "deprecated_v1", |d| d.listener.deprecated_v1 = Some(Default::default())),
    ("Listener", "drain_type", |d| d.listener.drain_type = 1),
    ("Listener", "listener_filters", |d| d.listener.listener_filters = vec![Default::default()]),
    ("Listener", "listener_filters_timeout", |d| {
        d.listener.listener_filters_timeout = Some(Default::default())
    }),
    ("Listener", "continue_on_listener_filters_timeout", |d| {
        d.listener.continue_on_listener_filters_timeout = true
    }),
    ("Listener", "transparent", |d| d.listener.transparent = Some(Default::default())),
    ("Listener", "freebind", |d| d.listener.freebind = Some(Default::default())),
    ("Listener", "socket_options", |d| d.listener.socket_options = vec![Default::default()]),
    ("Listener", "tcp_fast_open_queue_length", |d| {
        d.listener.tcp_fast_open_queue_length = Some(Default::default())
    }),
    ("Listener", "udp_listener_config", |d| {
        d.listener.udp_listener_config = Some(Default::default())
    }),
    ("Listener", "connection_balance_config", |d| {
        d.listener.connection_balance_config = Some(Default::default())
    }),
    ("Listener", "reuse_port", |d| d.listener.reuse_port = true),
    ("Listener", "enable_reuse_port", |d| d.listener.enable_reuse_port = Some(Default::default())),
    ("Listener", "access_log", |d| d.listener.access_log = vec![Default::default()]),
    ("Listener", "tcp_backlog_size", |d| d.listener.tcp_backlog_size = Some(Default::default())),
    ("Listener", "max_connections_to_accept_per_socket_event", |d| {
        d.listener.max_connections_to_accept_per_socket_event = Some(Default::default())
    }),
    ("Listener", "bind_to_port", |d| d.listener.bind_to_port = Some(Default::default())),
    ("Listener", "enable_mptcp", |d| d.listener.enable_mptcp = true),
    ("Listener", "ignore_global_conn_limit", |d| d.listener.ignore_global_conn_limit = true),
    ("Listener", "bypass_overload_manager", |d| d.listener.bypass_overload_manager = true),
    ("Listener", "tcp_keepalive", |d| d.listener.tcp_keepalive = Some(Default::default())),
    ("Listener", "listener_specifier", |d| {
        d.listener.listener_specifier =
            Some(pb::listener::ListenerSpecifier::InternalListener(Default::default()));
    }),
    ("HttpConnectionManager", "codec_type", |d| d.manager.codec_type = 1),
    ("HttpConnectionManager", "stat_prefix", |d| d.manager.stat_prefix = "x".into()),
    ("HttpConnectionManager", "scoped_routes", |d| {
        d.manager.route_specifier = Some(RouteSpecifier::ScopedRoutes(Default::default()));
    }),
    ("HttpConnectionManager", "add_user_agent", |d| {
        d.manager.add_user_agent = Some(Default::default())
    }),
    ("HttpConnectionManager", "tracing", |d| d.manager.tracing = Some(Default::default())),
    ("HttpConnectionManager", "http1_safe_max_connection_duration", |d| {
        d.manager.http1_safe_max_connection_duration = true
    }),
    ("HttpConnectionManager", "http_protocol_options", |d| {
        d.manager.http_protocol_options = Some(Default::default())
    }),
    ("HttpConnectionManager", "http2_protocol_options", |d| {
        d.manager.http2_protocol_options = Some(Default::default())
    }),
    ("HttpConnectionManager", "http3_protocol_options", |d| {
        d.manager.http3_protocol_options = Some(Default::default())
    }),
    ("HttpConnectionManager", "server_name", |d| d.manager.server_name = "x".into()),
    ("HttpConnectionManager", "server_header_transformation", |d| {
        d.manager.server_header_transformation = 1
    }),
    ("HttpConnectionManager", "scheme_header_transformation", |d| {
        d.manager.scheme_header_transformation = Some(Default::default())
    }),
    ("HttpConnectionManager", "max_request_headers_kb", |d| {
        d.manager.max_request_headers_kb = crate::decode::testing::n(60)
    }),
    ("HttpConnectionManager", "stream_idle_timeout", |d| {
        d.manager.stream_idle_timeout = Some(Default::default())
    }),
    ("HttpConnectionManager", "stream_flush_timeout", |d| {
        d.manager.stream_flush_timeout = Some(Default::default())
    }),
    ("HttpConnectionManager", "request_timeout", |d| {
        d.manager.request_timeout = Some(Default::default())
    }),
    ("HttpConnectionManager", "request_headers_timeout", |d| {
        d.manager.request_headers_timeout = Some(Default::default())
    }),
    ("HttpConnectionManager", "drain_timeout", |d| {
        d.manager.drain_timeout = Some(Default::default())
    }),
    ("HttpConnectionManager", "drain_timeout_jitter", |d| {
        d.manager.drain_timeout_jitter = Some(Default::default())
    }),
    ("HttpConnectionManager", "delayed_close_timeout", |d| {
        d.manager.delayed_close_timeout = Some(Default::default())
    }),
    ("HttpConnectionManager", "access_log", |d| d.manager.access_log = vec![Default::default()]),
    ("HttpConnectionManager", "access_log_flush_interval", |d| {
        d.manager.access_log_flush_interval = Some(Default::default())
    }),
    ("HttpConnectionManager", "flush_access_log_on_new_request", |d| {
        d.manager.flush_access_log_on_new_request = true
    }),
    ("HttpConnectionManager", "access_log_options", |d| {
        d.manager.access_log_options = Some(Default::default())
    }),
    ("HttpConnectionManager", "use_remote_address", |d| {
        d.manager.use_remote_address = Some(Default::default())
    }),
    ("HttpConnectionManager", "xff_num_trusted_hops", |d| d.manager.xff_num_trusted_hops = 1),
    ("HttpConnectionManager", "original_ip_detection_extensions", |d| {
        d.manager.original_ip_detection_extensions = vec![Default::default()]
    }),
    ("HttpConnectionManager", "early_header_mutation_extensions", |d| {
        d.manager.early_header_mutation_extensions = vec![Default::default()]
    }),
    ("HttpConnectionManager", "internal_address_config", |d| {
        d.manager.internal_address_config = Some(Default::default())
    }),
    ("HttpConnectionManager", "skip_xff_append", |d| d.manager.skip_xff_append = true),
    ("HttpConnectionManager", "via", |d| d.manager.via = "x".into()),
    ("HttpConnectionManager", "generate_request_id", |d| {
        d.manager.generate_request_id = Some(Default::default())
    }),
    ("HttpConnectionManager", "preserve_external_request_id", |d| {
        d.manager.preserve_external_request_id = true
    }),
    ("HttpConnectionManager", "always_set_request_id_in_response", |d| {
        d.manager.always_set_request_id_in_response = true
    }),
    ("HttpConnectionManager", "forward_client_cert_details", |d| {
        d.manager.forward_client_cert_details = 1
    }),
    ("HttpConnectionManager", "set_current_client_cert_details", |d| {
        d.manager.set_current_client_cert_details = Some(Default::default())
    }),
    ("HttpConnectionManager", "forward_client_cert_matcher", |d| {
        d.manager.forward_client_cert_matcher = Some(Default::default())
    }),
    ("HttpConnectionManager", "proxy_100_continue", |d| d.manager.proxy_100_continue = true),
    ("HttpConnectionManager", "represent_ipv4_remote_address_as_ipv4_mapped_ipv6", |d| {
        d.manager.represent_ipv4_remote_address_as_ipv4_mapped_ipv6 = true
    }),
    ("HttpConnectionManager", "upgrade_configs", |d| {
        d.manager.upgrade_configs = vec![Default::default()]
    }),
    ("HttpConnectionManager", "normalize_path", |d| {
        d.manager.normalize_path = Some(Default::default())
    }),
    ("HttpConnectionManager", "merge_slashes", |d| d.manager.merge_slashes = true),
    ("HttpConnectionManager", "path_with_escaped_slashes_action", |d| {
        d.manager.path_with_escaped_slashes_action = 1
    }),
    ("HttpConnectionManager", "request_id_extension", |d| {
        d.manager.request_id_extension = Some(Default::default())
    }),
    ("HttpConnectionManager", "local_reply_config", |d| {
        d.manager.local_reply_config = Some(Default::default())
    }),
    ("HttpConnectionManager", "strip_matching_host_port", |d| {
        d.manager.strip_matching_host_port = true
    }),
    ("HttpConnectionManager", "stream_error_on_invalid_http_message", |d| {
        d.manager.stream_error_on_invalid_http_message = Some(Default::default())
    }),
    ("HttpConnectionManager", "path_normalization_options", |d| {
        d.manager.path_normalization_options = Some(Default::default())
    }),
    ("HttpConnectionManager", "strip_trailing_host_dot", |d| {
        d.manager.strip_trailing_host_dot = true
    }),
    ("HttpConnectionManager", "proxy_status_config", |d| {
        d.manager.proxy_status_config = Some(Default::default())
    }),
    ("HttpConnectionManager", "typed_header_validation_config", |d| {
        d.manager.typed_header_validation_config = Some(Default::default())
    }),
    ("HttpConnectionManager", "append_x_forwarded_port", |d| {
        d.manager.append_x_forwarded_port = true
    }),
    ("HttpConnectionManager", "append_local_overload", |d| d.manager.append_local_overload = true),
    ("HttpConnectionManager", "add_proxy_protocol_connection_state", |d| {
        d.manager.add_proxy_protocol_connection_state = Some(Default::default())
    }),
    ("HttpConnectionManager", "forward_proto_config", |d| {
        d.manager.forward_proto_config = Some(Default::default())
    }),
    ("HttpConnectionManager", "strip_port_mode", |d| {
        d.manager.strip_port_mode =
            Some(pb_hcm::http_connection_manager::StripPortMode::StripAnyHostPort(true));
    }),
];

#[test]
fn every_field_is_in_the_table() {
    check_fields(ROWS, "Listener", &pb::Listener::default(), &[]);
    let kinds: [(&str, &[&str]); 1] =
        [("route_specifier", &["rds", "route_config", "scoped_routes"])];
    let manager = pb_hcm::HttpConnectionManager::default();
    check_fields(ROWS, "HttpConnectionManager", &manager, &kinds);
    check_fields(server::ROWS, "HttpConnectionManager (server)", &manager, &kinds);
}

#[test]
fn what_the_table_says_is_what_the_decoder_does() {
    check_effects(ROWS, SETTERS, Draft::base, Draft::read);
}

/// What a server reads of a manager, by the same setters.
#[test]
fn what_the_table_says_is_what_a_server_does() {
    let rows = server::ROWS.iter().filter(|row| row.message == "HttpConnectionManager (server)");
    for row in rows {
        let mut setters = SETTERS.iter();
        let setter = setters.find(|(m, f, _)| (*m, *f) == ("HttpConnectionManager", row.field));
        let Some((.., set)) = setter else {
            assert_eq!(row.support, Support::Used, "{}: nothing sets it", row.field);
            continue;
        };
        let mut draft = Draft::base();
        set(&mut draft);
        draft.socket();
        let address = crate::decode::testing::socket("127.0.0.1", 8080);
        draft.listener.address = crate::decode::testing::address(address);
        draft.listener.traffic_direction = pb_core::TrafficDirection::Inbound as i32;
        let decoded = draft.read();
        let hit = |path: &str| path.split(['.', '[']).any(|part| part == row.field);
        let told = decoded.ignored.iter().any(|ignored| hit(&ignored.path));
        match row.support {
            Support::Used | Support::Ignored => {
                let listener = accepted(&decoded);
                assert!(matches!(listener.server, Some(Ok(_))), "{}: {listener:?}", row.field);
                assert_eq!(told, row.support == Support::Ignored, "{}", row.field);
            }
            Support::Refused => {
                let errors = decoded.resource.expect_err(row.field);
                assert!(errors.iter().any(|error| hit(&error.path)), "{}: {errors:?}", row.field);
            }
        }
    }
}
