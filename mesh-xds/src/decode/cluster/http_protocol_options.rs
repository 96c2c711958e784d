//! `typed_extension_protocol_options` and the older fields of the cluster: how connections speak.
//!
//! With `HttpProtocolOptions` the older fields of the same meaning do not count (Envoy), except for
//! `max_requests_per_connection`, which holds where the options say nothing. With neither, a connection
//! speaks as the call does. `TcpProtocolOptions` are read where our own words say that the cluster is not
//! HTTP.

use super::http2_protocol_options as http2;
use super::words;
use crate::decode::address::shorten;
use crate::decode::common::{self, Walk};
use crate::decode::route::hash;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::ClusterProtocolSelection;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use envoy_types::pb::envoy::extensions::upstreams::tcp::v3::TcpProtocolOptions;
use mesh_core::model::{self, ConnectionOptions, LbPolicy, Protocol};

/// Envoy: the largest `max_response_headers_kb`.
const LARGEST_HEAD_KB: u32 = 8192;

/// Reads how connections speak, and how long they live, into `model`.
#[expect(deprecated, reason = "control planes still set the older fields")]
pub(super) fn decode(walk: &mut Walk, message: &Cluster, model: &mut model::Cluster) {
    let older = common::uint32(
        walk,
        "max_requests_per_connection",
        message.max_requests_per_connection.as_ref(),
        0..=u32::MAX,
    );
    if let Some(most) = older {
        model.connection.max_requests_per_connection = most;
    }
    let is_typed = typed(walk, message, model);
    if is_typed {
        const INSTEAD: &str = "HttpProtocolOptions take its place (Envoy)";
        for (set, field) in [
            (message.common_http_protocol_options.is_some(), "common_http_protocol_options"),
            (message.http2_protocol_options.is_some(), "http2_protocol_options"),
            (message.protocol_selection != 0, "protocol_selection"),
        ] {
            walk.ignored(set, field, INSTEAD);
        }
        return;
    }
    if let Some(options) = &message.common_http_protocol_options {
        common_options(walk, options, &mut model.connection);
    }
    if let Some(options) = &message.http2_protocol_options {
        model.protocol = Protocol::Http2;
        http2::decode(walk, options, &mut model.connection);
    }
    let selection = message.protocol_selection;
    if common::enumeration(walk, "protocol_selection", selection)
        == Some(ClusterProtocolSelection::UseDownstreamProtocol)
    {
        model.protocol = Protocol::Auto;
    }
}

/// Whether there are `HttpProtocolOptions`. Extensions are looked at by name, so that what is wrong
/// always reads the same.
fn typed(walk: &mut Walk, message: &Cluster, model: &mut model::Cluster) -> bool {
    let mut extensions: Vec<_> = message.typed_extension_protocol_options.iter().collect();
    extensions.sort_unstable_by_key(|(name, _)| *name);
    let mut found = false;
    for (name, config) in extensions {
        let name = shorten(name);
        let field = format_args!("typed_extension_protocol_options[{name}]");
        if common::holds::<TcpProtocolOptions>(config) && words::is_tcp(message) {
            walk.at(field, |walk| {
                let Some(options) = common::unpack::<TcpProtocolOptions>(walk, config) else {
                    return;
                };
                let idle = common::duration(walk, "idle_timeout", options.idle_timeout.as_ref());
                model.connection.idle_timeout = idle.unwrap_or(model.connection.idle_timeout);
            });
            continue;
        }
        if !common::holds::<HttpProtocolOptions>(config) {
            walk.ignored(true, field, "of protocol options only HttpProtocolOptions are used");
            continue;
        }
        walk.at(field, |walk| {
            if std::mem::replace(&mut found, true) {
                walk.error("there are HttpProtocolOptions twice; keep one");
                return;
            }
            if let Some(options) = common::unpack::<HttpProtocolOptions>(walk, config) {
                http_protocol_options(walk, &options, model);
            }
        });
    }
    found
}

fn http_protocol_options(
    walk: &mut Walk,
    message: &HttpProtocolOptions,
    model: &mut model::Cluster,
) {
    for (set, field, reason) in [
        (
            message.upstream_http_protocol_options.is_some(),
            "upstream_http_protocol_options",
            "SNI is the transport socket's, or the endpoint's hostname",
        ),
        (!message.http_filters.is_empty(), "http_filters", "clusters have no filters here"),
        (
            message.header_validation_config.is_some(),
            "header_validation_config",
            "heads are validated as RFC 9110 says",
        ),
        (
            message.outlier_detection.is_some(),
            "outlier_detection",
            "errors are what outlier detection takes for them by default",
        ),
        (
            !message.request_mirror_policies.is_empty(),
            "request_mirror_policies",
            "mirroring is not supported",
        ),
        (message.retry_policy.is_some(), "retry_policy", "what is retried, the route says"),
    ] {
        walk.ignored(set, field, reason);
    }
    hash_policy(walk, message, &mut model.lb_policy);
    if let Some(options) = &message.common_http_protocol_options {
        common_options(walk, options, &mut model.connection);
    }
    match &message.upstream_protocol_options {
        None => walk.error_at(
            "explicit_http_config",
            "none of explicit_http_config, use_downstream_protocol_config and auto_config is set (Envoy: required)",
        ),
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(config)) => {
            walk.at("explicit_http_config", |walk| {
                explicit(walk, config.protocol_config.as_ref(), model);
            });
        }
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(config)) => {
            walk.at("use_downstream_protocol_config", |walk| {
                let http3 = config.http3_protocol_options.is_some();
                let all = (config.http_protocol_options.as_ref(), http3);
                as_the_call(walk, all, config.http2_protocol_options.as_ref(), model);
            });
        }
        Some(UpstreamProtocolOptions::AutoConfig(config)) => walk.at("auto_config", |walk| {
            walk.ignored(
                config.alternate_protocols_cache_options.is_some(),
                "alternate_protocols_cache_options",
                "HTTP/3 is not supported",
            );
            let http3 = config.http3_protocol_options.is_some();
            let all = (config.http_protocol_options.as_ref(), http3);
            as_the_call(walk, all, config.http2_protocol_options.as_ref(), model);
        }),
    }
}

/// Envoy: it counts before the route's, and that of the load balancing policy before both.
fn hash_policy(walk: &mut Walk, message: &HttpProtocolOptions, policy: &mut LbPolicy) {
    let found = hash::policies(walk, &message.hash_policy);
    if found.is_empty() {
        return;
    }
    if policy.hash_policy_first {
        // Said twice alike, as `encode` does for older readers, nothing is lost.
        let other = policy.hash_policy != found;
        walk.ignored(
            other,
            "hash_policy",
            "the hash_policy of load_balancing_policy counts (Envoy)",
        );
        return;
    }
    (policy.hash_policy, policy.hash_policy_first) = (found, true);
}

fn explicit(walk: &mut Walk, config: Option<&ProtocolConfig>, model: &mut model::Cluster) {
    match config {
        Some(ProtocolConfig::HttpProtocolOptions(options)) => {
            model.protocol = Protocol::Http1;
            http1(walk, Some(options));
        }
        Some(ProtocolConfig::Http2ProtocolOptions(options)) => {
            model.protocol = Protocol::Http2;
            http2::decode(walk, options, &mut model.connection);
        }
        Some(ProtocolConfig::Http3ProtocolOptions(_)) => walk.error_at(
            "http3_protocol_options",
            "HTTP/3 is not supported; use http2_protocol_options",
        ),
        None => walk.error("it names no protocol (Envoy: required)"),
    }
}

/// The protocol of the call, ALPN under TLS.
fn as_the_call(
    walk: &mut Walk,
    (first, third): (Option<&core::Http1ProtocolOptions>, bool),
    second: Option<&core::Http2ProtocolOptions>,
    model: &mut model::Cluster,
) {
    model.protocol = Protocol::Auto;
    http1(walk, first);
    walk.ignored(third, "http3_protocol_options", "HTTP/3 is not supported");
    if let Some(options) = second {
        http2::decode(walk, options, &mut model.connection);
    }
}

fn http1(walk: &mut Walk, options: Option<&core::Http1ProtocolOptions>) {
    let says = options.is_some_and(|options| *options != core::Http1ProtocolOptions::default());
    walk.ignored(says, "http_protocol_options", "HTTP/1.1 has no options here");
}

fn common_options(
    walk: &mut Walk,
    message: &core::HttpProtocolOptions,
    connection: &mut ConnectionOptions,
) {
    walk.at("common_http_protocol_options", |walk| {
        for (set, field, reason) in [
            (
                message.max_connection_duration_jitter.is_some(),
                "max_connection_duration_jitter",
                "Envoy has no use for it here; ages are shortened by up to 10 %",
            ),
            (
                message.max_stream_duration.is_some(),
                "max_stream_duration",
                "the route and its listener say it (gRFC A31)",
            ),
            (
                message.headers_with_underscores_action != 0,
                "headers_with_underscores_action",
                "it is for requests that a proxy receives",
            ),
        ] {
            walk.ignored(set, field, reason);
        }
        let idle = common::duration(walk, "idle_timeout", message.idle_timeout.as_ref());
        connection.idle_timeout = idle.unwrap_or(connection.idle_timeout);
        // 0 s would end connections at once in Envoy; in the model it is never.
        let age = message.max_connection_duration.as_ref();
        let age = common::positive_duration(walk, "max_connection_duration", age);
        connection.max_connection_age = age.unwrap_or(connection.max_connection_age);
        let head = message.max_response_headers_kb.as_ref();
        let head = common::uint32(walk, "max_response_headers_kb", head, 1..=LARGEST_HEAD_KB);
        connection.max_response_head = head.map_or(connection.max_response_head, |kb| kb * 1024);
        let most = message.max_headers_count.as_ref();
        let most = common::uint32(walk, "max_headers_count", most, 1..=u32::MAX);
        connection.max_response_headers = most.unwrap_or(connection.max_response_headers);
        if let Some(most) = &message.max_requests_per_connection {
            connection.max_requests_per_connection = most.value;
        }
    });
}
