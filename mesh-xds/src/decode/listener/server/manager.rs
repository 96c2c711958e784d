//! `HttpConnectionManager` of a server: routes, filters, limits, and what is done with the path and with
//! `x-forwarded-client-cert`.
//!
//! What a control plane does not say has Envoy's default: paths are not normalised, and
//! `x-forwarded-client-cert` is removed. The stricter defaults of `mesh.yaml` would change what a
//! configuration that was written for Envoy means.
//!
//! Whose address is the client's, `use_remote_address` and `xff_num_trusted_hops` say as to Envoy, where gRPC
//! ignores the one and refuses the other (A41): a server that stands behind proxies needs them. A manager
//! with neither means the connection's other end, as to gRPC; to Envoy it would be whatever a caller writes
//! into `x-forwarded-for`. Control planes that mean that say `use_remote_address: false`, as Istio does.

use super::super::{filter, hcm};
use super::Reader;
use crate::RouteSource;
use crate::decode::common::{self, Walk, ignored, refused};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use mesh_core::model::filter_chain::{
    ClientAddress, ConnectionTimeouts, EscapedSlashes, ForwardClientCert, HttpConnectionManager,
    PathNormalization, RequestLimits,
};
use pb::http_connection_manager::{ForwardClientCertDetails, PathWithEscapedSlashesAction};
use std::sync::Arc;
use std::time::Duration;

/// A manager without its routes, and where these are.
pub(super) struct Manager {
    pub(super) http: HttpConnectionManager,
    pub(super) routes: RouteSource,
    /// For routes of a proxy that say nothing (gRFC A31).
    pub(super) max_stream_duration: Option<Duration>,
}

/// Decodes a manager.
pub(super) fn decode(
    walk: &mut Walk,
    message: &pb::HttpConnectionManager,
    reader: Reader<'_>,
) -> Option<Manager> {
    without_effect(walk, message);
    refused!(walk, message, {
        original_ip_detection_extensions: "they have to be empty (gRFC A41)",
    });
    let filters = filter::filters(walk, &message.http_filters);
    let (limits, max_stream_duration) = limits(walk, message, reader.is_proxy);
    let timeouts = timeouts(walk, message);
    let path = path(walk, message);
    let forward = common::enumeration::<ForwardClientCertDetails>(
        walk,
        "forward_client_cert_details",
        message.forward_client_cert_details,
    );
    let routes = hcm::routes(walk, message, reader.listener, reader.context)?;
    let mut manager = HttpConnectionManager::new(Arc::default(), filters);
    manager.limits = limits;
    manager.timeouts = timeouts;
    manager.path = path;
    manager.xff_num_trusted_hops = message.xff_num_trusted_hops;
    manager.client_address = client_address(message);
    manager.forward_client_cert = match forward? {
        ForwardClientCertDetails::Sanitize => ForwardClientCert::Sanitize,
        ForwardClientCertDetails::ForwardOnly => ForwardClientCert::ForwardOnly,
        ForwardClientCertDetails::AppendForward => ForwardClientCert::AppendForward,
        ForwardClientCertDetails::SanitizeSet => ForwardClientCert::SanitizeSet,
        ForwardClientCertDetails::AlwaysForwardOnly => ForwardClientCert::AlwaysForwardOnly,
    };
    Some(Manager { http: manager, routes, max_stream_duration })
}

fn client_address(message: &pb::HttpConnectionManager) -> ClientAddress {
    let said = message.use_remote_address.as_ref().map(|on| on.value);
    match said {
        Some(true) => ClientAddress::Connection { append: !message.skip_xff_append },
        // gRFC A41.
        None if message.xff_num_trusted_hops == 0 => ClientAddress::default(),
        Some(false) | None => ClientAddress::ForwardedFor,
    }
}

/// What a request may be like, and how long it may take where its route does not say so.
fn limits(
    walk: &mut Walk,
    message: &pb::HttpConnectionManager,
    is_proxy: bool,
) -> (RequestLimits, Option<Duration>) {
    let mut limits = RequestLimits::default();
    let kilobytes = message.max_request_headers_kb.as_ref();
    // Envoy: at most 8192, and more than 0.
    if let Some(most) = common::uint32(walk, "max_request_headers_kb", kilobytes, 1..=8192) {
        limits.max_header_bytes = most * 1024;
    }
    let Some(options) = &message.common_http_protocol_options else { return (limits, None) };
    let mut longest = None;
    walk.at("common_http_protocol_options", |walk| {
        const CONNECTION: &str = "how long connections live is the server's own setting";
        ignored!(walk, options, {
            max_connection_duration: CONNECTION,
            max_connection_duration_jitter: CONNECTION,
            max_response_headers_kb: "responses are the application's",
            headers_with_underscores_action: "headers with underscores are passed on, but for those that would be the mesh's own",
            max_requests_per_connection: CONNECTION,
        });
        let duration = options.max_stream_duration.as_ref();
        match is_proxy {
            true => longest = common::duration(walk, "max_stream_duration", duration),
            false => walk.ignored(
                duration.is_some(),
                "max_stream_duration",
                "the caller's deadline counts, and the application's own",
            ),
        }
        let most = options.max_headers_count.as_ref();
        if let Some(most) = common::uint32(walk, "max_headers_count", most, 1..=u32::MAX) {
            limits.max_headers = most;
        }
    });
    (limits, longest)
}

/// Zero is no limit, to Envoy; a stream's own counts before that of idle streams.
fn timeouts(walk: &mut Walk, message: &pb::HttpConnectionManager) -> ConnectionTimeouts {
    let mut timeouts = ConnectionTimeouts::default();
    let limit = |time: Duration| Some(time).filter(|time| !time.is_zero());
    if let Some(options) = &message.common_http_protocol_options {
        walk.at("common_http_protocol_options", |walk| {
            let idle = common::duration(walk, "idle_timeout", options.idle_timeout.as_ref());
            timeouts.idle = idle.map_or(timeouts.idle, limit);
        });
    }
    let idle = message.stream_idle_timeout.as_ref();
    let idle = common::duration(walk, "stream_idle_timeout", idle);
    let flush = message.stream_flush_timeout.as_ref();
    let flush = common::duration(walk, "stream_flush_timeout", flush);
    timeouts.stream_flush = flush.or(idle).map_or(timeouts.stream_flush, limit);
    timeouts
}

/// Envoy's defaults: nothing is done.
fn path(walk: &mut Walk, message: &pb::HttpConnectionManager) -> PathNormalization {
    let action = common::enumeration::<PathWithEscapedSlashesAction>(
        walk,
        "path_with_escaped_slashes_action",
        message.path_with_escaped_slashes_action,
    );
    let mut path = PathNormalization::default();
    path.normalize = message.normalize_path.is_some_and(|on| on.value);
    path.merge_slashes = message.merge_slashes;
    path.escaped_slashes = match action {
        Some(PathWithEscapedSlashesAction::RejectRequest) => EscapedSlashes::Reject,
        Some(PathWithEscapedSlashesAction::UnescapeAndRedirect) => {
            EscapedSlashes::UnescapeAndRedirect
        }
        Some(PathWithEscapedSlashesAction::UnescapeAndForward) => {
            EscapedSlashes::UnescapeAndForward
        }
        Some(
            PathWithEscapedSlashesAction::ImplementationSpecificDefault
            | PathWithEscapedSlashesAction::KeepUnchanged,
        )
        | None => EscapedSlashes::Keep,
    };
    path
}

const SERVER: &str = "it is the server's own setting";
const LOG: &str = "logs are the server's own setting";
const HEADER: &str = "headers that only a proxy adds are not added";

#[expect(deprecated, reason = "control planes still send the old fields: they are reported")]
fn without_effect(walk: &mut Walk, message: &pb::HttpConnectionManager) {
    ignored!(walk, message, {
        codec_type: "a connection's first bytes say which HTTP it speaks",
        stat_prefix: "metrics are named after the listener and the chain",
        add_user_agent: HEADER,
        tracing: "sampling is the server's own setting",
        http1_safe_max_connection_duration: SERVER,
        http_protocol_options: SERVER,
        http2_protocol_options: SERVER,
        http3_protocol_options: "HTTP/3 is not served",
        server_name: HEADER,
        server_header_transformation: HEADER,
        scheme_header_transformation: "the scheme is the connection's",
        request_timeout: "the caller's deadline counts",
        request_headers_timeout: SERVER,
        drain_timeout: SERVER,
        drain_timeout_jitter: SERVER,
        delayed_close_timeout: SERVER,
        access_log: LOG,
        access_log_flush_interval: LOG,
        flush_access_log_on_new_request: LOG,
        access_log_options: LOG,
        early_header_mutation_extensions: "headers are not edited before the filters",
        internal_address_config: HEADER,
        via: HEADER,
        generate_request_id: "request ids are the server's own setting",
        preserve_external_request_id: "request ids are the server's own setting",
        always_set_request_id_in_response: "request ids are the server's own setting",
        set_current_client_cert_details: "all that is known of the peer is in the header",
    });
    ignored!(walk, message, {
        forward_client_cert_matcher: "the header is treated alike for all requests",
        proxy_100_continue: "the application answers it",
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6: HEADER,
        upgrade_configs: "upgrades are the application's",
        request_id_extension: "request ids are the server's own setting",
        local_reply_config: "local replies are not edited",
        strip_matching_host_port: "a domain without a port accepts every port",
        stream_error_on_invalid_http_message: SERVER,
        path_normalization_options: "paths are normalised in one way",
        strip_trailing_host_dot: "authorities are matched as the caller wrote them",
        proxy_status_config: HEADER,
        typed_header_validation_config: SERVER,
        append_x_forwarded_port: HEADER,
        append_local_overload: HEADER,
        add_proxy_protocol_connection_state: "the proxy protocol is not read",
        forward_proto_config: HEADER,
        strip_port_mode: "a domain without a port accepts every port",
    });
}
