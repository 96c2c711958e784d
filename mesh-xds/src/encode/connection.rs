//! How connections speak and how long they live: `HttpProtocolOptions` as a typed extension.

use super::hash;
use super::words::Words;
use super::wrap::{any, duration, positive, uint32};
use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonOptions,
    KeepaliveSettings,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{
        AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
        explicit_http_config::ProtocolConfig,
    },
};
use envoy_types::pb::envoy::extensions::upstreams::tcp::v3::TcpProtocolOptions;
use mesh_core::model::{Cluster, ConnectionOptions, Protocol, TlsPolicy};
use std::collections::HashMap;
use std::time::Duration;

const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const TCP: &str = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions";
/// Envoy: `max_response_headers_kb` is 1 to 8192.
const LARGEST_HEAD_KIB: u32 = 8192;
/// Envoy: `max_concurrent_streams` is 1 to 2³¹ - 1.
const MOST_STREAMS: u32 = 2_147_483_647;
/// Envoy: both times of a keepalive are 1 ms or more.
const SHORTEST_PING: Duration = Duration::from_millis(1);

/// Says protocol and connection options in `cluster`; what has no field goes to `connection` of
/// `words`.
pub(super) fn protocol_options(model: &Cluster, cluster: &mut pb::Cluster, words: &mut Words) {
    let options = &model.connection;
    words.nest("connection", ours(options, model.protocol));
    let (key, config) = match upstream(model) {
        Some(upstream) => {
            let http = HttpProtocolOptions {
                common_http_protocol_options: Some(common(options)),
                upstream_protocol_options: Some(upstream),
                hash_policy: match model.lb_policy.hash_policy_first {
                    true => hash::policies(&model.lb_policy.hash_policy),
                    false => Vec::new(),
                },
                ..HttpProtocolOptions::default()
            };
            (HTTP, any(&http))
        }
        None => {
            words.set("protocol", "tcp");
            let tcp = TcpProtocolOptions { idle_timeout: duration(options.idle_timeout) };
            (TCP, any(&tcp))
        }
    };
    cluster.typed_extension_protocol_options = HashMap::from([(key.to_owned(), config)]);
}

/// Whether it has `HttpProtocolOptions`.
pub(super) fn is_http(model: &Cluster) -> bool {
    model.protocol != Protocol::Tcp
}

/// `None`: not HTTP. Under TLS, ALPN decides; in cleartext the call does (Envoy: `auto_config` wants a
/// transport socket with ALPN).
fn upstream(model: &Cluster) -> Option<UpstreamProtocolOptions> {
    let http2 = http2(&model.connection);
    let explicit = |config| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(config),
        })
    };
    let http1 = Http1ProtocolOptions::default();
    Some(match (model.protocol, &model.tls) {
        (Protocol::Tcp, _) => return None,
        (Protocol::Http1, _) => explicit(ProtocolConfig::HttpProtocolOptions(http1)),
        (Protocol::Http2, _) => explicit(ProtocolConfig::Http2ProtocolOptions(http2)),
        (Protocol::Auto, TlsPolicy::Off) => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(http1),
                http2_protocol_options: Some(http2),
                ..UseDownstreamHttpConfig::default()
            })
        }
        (Protocol::Auto, _) => UpstreamProtocolOptions::AutoConfig(AutoHttpConfig {
            http_protocol_options: Some(http1),
            http2_protocol_options: Some(http2),
            ..AutoHttpConfig::default()
        }),
    })
}

fn common(options: &ConnectionOptions) -> CommonOptions {
    let limit = options.max_requests_per_connection;
    CommonOptions {
        // Said even when it is zero, which is "never"; nothing said is one hour.
        idle_timeout: duration(options.idle_timeout),
        // Its jitter stays in our words: Envoy has none for its own connections.
        max_connection_duration: positive(options.max_connection_age),
        max_requests_per_connection: if limit == 0 { None } else { uint32(limit) },
        max_response_headers_kb: uint32(head_kib(options)),
        max_headers_count: uint32(options.max_response_headers.max(1)),
        ..CommonOptions::default()
    }
}

/// Envoy counts in KiB: rounded up.
fn head_kib(options: &ConnectionOptions) -> u32 {
    options.max_response_head.div_ceil(1024).clamp(1, LARGEST_HEAD_KIB)
}

fn http2(options: &ConnectionOptions) -> Http2ProtocolOptions {
    let pings = !options.keepalive_interval.is_zero();
    Http2ProtocolOptions {
        max_concurrent_streams: uint32(options.max_concurrent_streams.clamp(1, MOST_STREAMS)),
        connection_keepalive: pings.then(|| KeepaliveSettings {
            interval: duration(options.keepalive_interval.max(SHORTEST_PING)),
            timeout: duration(options.keepalive_timeout.max(SHORTEST_PING)),
            ..KeepaliveSettings::default()
        }),
        ..Http2ProtocolOptions::default()
    }
}

/// What Envoy has no field for, or none in this combination.
fn ours(options: &ConnectionOptions, protocol: Protocol) -> Words {
    let default = ConnectionOptions::default();
    let mut words = Words::default();
    let mut differs =
        |key: &str, value: Duration, default: Duration| words.differs(key, value, &default);
    // Envoy: `connect_timeout` is more than zero; not said is its default.
    let connect = options.connect_timeout;
    differs(
        "connect_timeout",
        connect,
        if connect.is_zero() { default.connect_timeout } else { connect },
    );
    differs("happy_eyeballs_delay", options.happy_eyeballs_delay, default.happy_eyeballs_delay);
    // What the fields of HTTP/2 say; without them, what is taken when nothing is said.
    let with_http2 = !matches!(protocol, Protocol::Http1 | Protocol::Tcp);
    let pings = with_http2 && !options.keepalive_interval.is_zero();
    let (interval, timeout) = match pings {
        true => (options.keepalive_interval, options.keepalive_timeout),
        false => (default.keepalive_interval, default.keepalive_timeout),
    };
    let shortest = if pings { SHORTEST_PING } else { Duration::ZERO };
    differs("keepalive_interval", options.keepalive_interval, interval.max(shortest));
    differs("keepalive_timeout", options.keepalive_timeout, timeout.max(shortest));
    // Envoy sends PINGs whether or not there are streams.
    words.differs("keepalive_while_idle", options.keepalive_while_idle, &pings);
    let streams = options.max_concurrent_streams;
    let said =
        if with_http2 { streams.clamp(1, MOST_STREAMS) } else { default.max_concurrent_streams };
    words.differs("max_concurrent_streams", streams, &said);
    let jitter = options.max_connection_age_jitter.min(100);
    words.differs("max_connection_age_jitter", jitter, &default.max_connection_age_jitter);
    if protocol == Protocol::Tcp {
        tcp(options, &default, &mut words);
    } else {
        let kib = head_kib(options).saturating_mul(1024);
        words.differs("max_response_head", options.max_response_head, &kib);
        let headers = options.max_response_headers;
        words.differs("max_response_headers", headers, &headers.max(1));
    }
    words
}

/// A TCP cluster has none of the HTTP fields.
fn tcp(options: &ConnectionOptions, default: &ConnectionOptions, words: &mut Words) {
    words.differs("max_connection_age", options.max_connection_age, &default.max_connection_age);
    let most = options.max_requests_per_connection;
    words.differs("max_requests_per_connection", most, &default.max_requests_per_connection);
    words.differs("max_response_head", options.max_response_head, &default.max_response_head);
    let headers = options.max_response_headers;
    words.differs("max_response_headers", headers, &default.max_response_headers);
}
