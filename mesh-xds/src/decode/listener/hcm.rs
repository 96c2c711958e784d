//! `HttpConnectionManager`: where the routes of a listener are, and its HTTP filters.

use super::http_filter;
use crate::decode::common::{self, Walk, ignored, refused};
use crate::decode::{Context, route};
use crate::{HttpConnectionManager, RouteSource};
use envoy_types::pb::envoy::config::core::v3 as pb_core;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use pb::http_connection_manager::RouteSpecifier;
use pb_core::config_source::ConfigSourceSpecifier;
use std::sync::Arc;

/// Decodes the connection manager of the listener called `listener`.
pub(super) fn decode(
    walk: &mut Walk,
    message: &pb::HttpConnectionManager,
    listener: &Arc<str>,
    context: &Context,
) -> Option<HttpConnectionManager> {
    without_effect(walk, message);
    // gRFC A41: for listeners of clients too.
    refused!(walk, message, {
        xff_num_trusted_hops: "it has to be 0: x-forwarded-for is not believed (gRFC A41)",
        original_ip_detection_extensions: "they have to be empty (gRFC A41)",
    });
    let max_stream_duration = message.common_http_protocol_options.as_ref().and_then(|options| {
        walk.at("common_http_protocol_options", |walk| protocol_options(walk, options))
    });
    let filters = http_filter::filters(walk, &message.http_filters);
    let mut manager = HttpConnectionManager::new(routes(walk, message, listener, context)?);
    manager.max_stream_duration = max_stream_duration;
    manager.http_filters = filters;
    Some(manager)
}

/// Where the routes of the listener called `listener` are.
pub(super) fn routes(
    walk: &mut Walk,
    message: &pb::HttpConnectionManager,
    listener: &Arc<str>,
    context: &Context,
) -> Option<RouteSource> {
    match &message.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => walk.at("rds", |walk| self::rds(walk, rds)),
        Some(RouteSpecifier::RouteConfig(routes)) => walk.at("route_config", |walk| {
            let name = match routes.name.is_empty() {
                true => listener.clone(),
                false => Arc::from(&*routes.name),
            };
            let routes = route::configuration(walk, routes, name, context);
            Some(RouteSource::Inline(Arc::new(routes)))
        }),
        Some(RouteSpecifier::ScopedRoutes(_)) => {
            walk.error_at("scoped_routes", "scoped routes are not supported: use `rds` (gRFC A27)");
            None
        }
        None => {
            walk.error("there are no routes: set `rds` or `route_config`");
            None
        }
    }
}

fn rds(walk: &mut Walk, message: &pb::Rds) -> Option<RouteSource> {
    let source = message.config_source.as_ref();
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        // gRFC A27, A47: `self` is the same.
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => {}
        _ => walk.error_at(
            "config_source",
            "routes come from the same stream: set `ads` or `self` (gRFC A27, A47)",
        ),
    }
    if message.route_config_name.is_empty() {
        walk.error_at("route_config_name", "routes that are asked for have a name");
        return None;
    }
    Some(RouteSource::Rds(Arc::from(&*message.route_config_name)))
}

/// Reads the options of HTTP, of which one counts here.
fn protocol_options(
    walk: &mut Walk,
    message: &pb_core::HttpProtocolOptions,
) -> Option<std::time::Duration> {
    const CONNECTION: &str = "connections of callers are none of ours";
    ignored!(walk, message, {
        idle_timeout: CONNECTION,
        max_connection_duration: CONNECTION,
        max_connection_duration_jitter: CONNECTION,
        max_headers_count: CONNECTION,
        max_response_headers_kb: CONNECTION,
        headers_with_underscores_action: CONNECTION,
        max_requests_per_connection: CONNECTION,
    });
    common::duration(walk, "max_stream_duration", message.max_stream_duration.as_ref())
}

const CALLER: &str = "the caller is this process: there is no connection of a caller";
const LOG: &str = "logs are the client's setting";
const PATH: &str = "paths are sent as the caller wrote them";

#[expect(deprecated, reason = "control planes still send the old fields: they are reported")]
fn without_effect(walk: &mut Walk, message: &pb::HttpConnectionManager) {
    ignored!(walk, message, {
        codec_type: CALLER,
        stat_prefix: "metrics are named after the listener",
        add_user_agent: CALLER,
        tracing: "sampling is the client's setting",
        http1_safe_max_connection_duration: CALLER,
        http_protocol_options: CALLER,
        http2_protocol_options: CALLER,
        http3_protocol_options: CALLER,
        server_name: CALLER,
        server_header_transformation: CALLER,
        scheme_header_transformation: CALLER,
        max_request_headers_kb: CALLER,
        stream_idle_timeout: "the routes' `idle_timeout` counts",
        stream_flush_timeout: CALLER,
        request_timeout: CALLER,
        request_headers_timeout: CALLER,
        drain_timeout: CALLER,
        drain_timeout_jitter: CALLER,
        delayed_close_timeout: CALLER,
        access_log: LOG,
        access_log_flush_interval: LOG,
        flush_access_log_on_new_request: LOG,
        access_log_options: LOG,
        use_remote_address: CALLER,
        early_header_mutation_extensions: "headers are edited by routes only",
        internal_address_config: CALLER,
        skip_xff_append: CALLER,
        via: CALLER,
        generate_request_id: "request ids are the client's setting",
        preserve_external_request_id: CALLER,
        always_set_request_id_in_response: CALLER,
    });
    ignored!(walk, message, {
        forward_client_cert_details: CALLER,
        set_current_client_cert_details: CALLER,
        forward_client_cert_matcher: CALLER,
        proxy_100_continue: CALLER,
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6: CALLER,
        upgrade_configs: "upgrades are the client's setting",
        normalize_path: PATH,
        merge_slashes: PATH,
        path_with_escaped_slashes_action: PATH,
        request_id_extension: "request ids are the client's setting",
        local_reply_config: "local replies are the client's setting",
        strip_matching_host_port: "a domain without a port accepts every port",
        stream_error_on_invalid_http_message: CALLER,
        path_normalization_options: PATH,
        strip_trailing_host_dot: "authorities are matched as the caller wrote them",
        proxy_status_config: CALLER,
        typed_header_validation_config: CALLER,
        append_x_forwarded_port: CALLER,
        append_local_overload: CALLER,
        add_proxy_protocol_connection_state: CALLER,
        forward_proto_config: CALLER,
        strip_port_mode: "a domain without a port accepts every port",
    });
}
