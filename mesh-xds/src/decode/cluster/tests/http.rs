//! How connections speak, and how long they live.
#![expect(deprecated, reason = "control planes still set the older fields")]

use super::{Accepted, Refused, check_all, check_all_refused};
use crate::decode::testing::{any, broken, by_header, by_source_ip, n, nanos, pct, secs};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, Http3ProtocolOptions,
    HttpProtocolOptions as Common, KeepaliveSettings,
};
use envoy_types::pb::envoy::config::route::v3::route_action::HashPolicy;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config::ProtocolConfig,
};
use envoy_types::pb::envoy::extensions::upstreams::tcp::v3::TcpProtocolOptions;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::{self, HashSource, LbAlgorithm, Protocol};
use std::time::Duration;

const NAME: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn extension(cluster: &mut Cluster, name: &str, config: Any) {
    cluster.typed_extension_protocol_options.insert(name.into(), config);
}

fn set(cluster: &mut Cluster, options: &HttpProtocolOptions) {
    extension(cluster, NAME, any(options));
}

fn explicit(cluster: &mut Cluster, protocol: ProtocolConfig) {
    let config = ExplicitHttpConfig { protocol_config: Some(protocol) };
    let config = UpstreamProtocolOptions::ExplicitHttpConfig(config);
    set(
        cluster,
        &HttpProtocolOptions { upstream_protocol_options: Some(config), ..Default::default() },
    );
}

fn http2(cluster: &mut Cluster, options: Http2ProtocolOptions) {
    explicit(cluster, ProtocolConfig::Http2ProtocolOptions(options));
}

fn keepalive(cluster: &mut Cluster, settings: KeepaliveSettings) {
    http2(
        cluster,
        Http2ProtocolOptions { connection_keepalive: Some(settings), ..Default::default() },
    );
}

fn common(cluster: &mut Cluster, options: Common) {
    let config = UpstreamProtocolOptions::AutoConfig(AutoHttpConfig::default());
    let options = HttpProtocolOptions {
        common_http_protocol_options: Some(options),
        upstream_protocol_options: Some(config),
        ..Default::default()
    };
    set(cluster, &options);
}

fn hashed(cluster: &mut Cluster, hash_policy: Vec<HashPolicy>) {
    let config = UpstreamProtocolOptions::AutoConfig(AutoHttpConfig::default());
    let upstream_protocol_options = Some(config);
    set(
        cluster,
        &HttpProtocolOptions { hash_policy, upstream_protocol_options, ..Default::default() },
    );
}

fn by_address_first(model: &mut model::Cluster) {
    model.lb_policy.hash_policy = vec![model::HashPolicy::new(HashSource::SourceIp)];
    model.lb_policy.hash_policy_first = true;
}

const REFUSED: &[Refused] = &[
    (
        "Envoy: a header has a name",
        |c| hashed(c, vec![by_header("")]),
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].hash_policy[0].header.header_name: name",
    ),
    (
        "Envoy: one is required",
        |c| set(c, &HttpProtocolOptions::default()),
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].explicit_http_config: required",
    ),
    (
        "Envoy: a protocol is required",
        |c| {
            let config = UpstreamProtocolOptions::ExplicitHttpConfig(Default::default());
            let upstream_protocol_options = Some(config);
            set(c, &HttpProtocolOptions { upstream_protocol_options, ..Default::default() });
        },
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].explicit_http_config: names no protocol",
    ),
    (
        "no HTTP/3",
        |c| explicit(c, ProtocolConfig::Http3ProtocolOptions(Http3ProtocolOptions::default())),
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].explicit_http_config.http3_protocol_options: not supported",
    ),
    (
        "a broken config",
        |c| extension(c, "x", broken::<HttpProtocolOptions>()),
        "typed_extension_protocol_options[x]: not a valid",
    ),
    (
        "one is enough",
        |c| {
            common(c, Common::default());
            let other = c.typed_extension_protocol_options[NAME].clone();
            extension(c, "z", other);
        },
        "typed_extension_protocol_options[z]: twice",
    ),
    (
        "protobuf: a duration",
        |c| common(c, Common { idle_timeout: secs(-1), ..Default::default() }),
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].common_http_protocol_options.idle_timeout: -1s",
    ),
    (
        "an age of 0 s would end all connections at once",
        |c| common(c, Common { max_connection_duration: secs(0), ..Default::default() }),
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].common_http_protocol_options.max_connection_duration: 0 s",
    ),
    (
        "Envoy: 1 to 8192",
        |c| common(c, Common { max_response_headers_kb: n(0), ..Default::default() }),
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].common_http_protocol_options.max_response_headers_kb: 0",
    ),
    (
        "Envoy: from 1 on",
        |c| common(c, Common { max_headers_count: n(0), ..Default::default() }),
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].common_http_protocol_options.max_headers_count: 0",
    ),
    (
        "Envoy: 1 to 8192",
        |c| common(c, Common { max_response_headers_kb: n(8193), ..Default::default() }),
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].common_http_protocol_options.max_response_headers_kb: 8193",
    ),
    (
        "Envoy: 1 to 2^31 - 1",
        |c| http2(c, Http2ProtocolOptions { max_concurrent_streams: n(0), ..Default::default() }),
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].explicit_http_config.http2_protocol_options.max_concurrent_streams: 0",
    ),
    (
        "Envoy: 1 to 2^31 - 1",
        |c| {
            c.http2_protocol_options = Some(Http2ProtocolOptions {
                max_concurrent_streams: n(1 << 31),
                ..Default::default()
            });
        },
        "http2_protocol_options.max_concurrent_streams: 2147483648",
    ),
    (
        "Envoy: the timeout is required",
        |c| keepalive(c, KeepaliveSettings { interval: secs(1), ..Default::default() }),
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].explicit_http_config.http2_protocol_options.connection_keepalive.timeout: required",
    ),
    (
        "Envoy: >= 1 ms",
        |c| keepalive(c, KeepaliveSettings { timeout: nanos(999_999), ..Default::default() }),
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].explicit_http_config.http2_protocol_options.connection_keepalive.timeout: 1 ms",
    ),
    (
        "Envoy: >= 1 ms",
        |c| {
            keepalive(
                c,
                KeepaliveSettings { interval: secs(0), timeout: secs(1), ..Default::default() },
            )
        },
        "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].explicit_http_config.http2_protocol_options.connection_keepalive.interval: 1 ms",
    ),
    ("Envoy: the selection", |c| c.protocol_selection = 2, "protocol_selection: 2"),
];

#[test]
fn what_is_refused() {
    check_all_refused(REFUSED);
}

#[test]
fn protocols_that_are_accepted() {
    check_all(PROTOCOLS);
}

const PROTOCOLS: &[Accepted] = &[
    (
        "Envoy: HTTP/1.1",
        |c| explicit(c, ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())),
        |m| m.protocol = Protocol::Http1,
        &[],
    ),
    (
        "Envoy: HTTP/2",
        |c| http2(c, Http2ProtocolOptions { max_concurrent_streams: n(7), ..Default::default() }),
        |m| {
            m.protocol = Protocol::Http2;
            m.connection.max_concurrent_streams = 7;
        },
        &[],
    ),
    (
        "Envoy: PINGs whether or not there are streams",
        |c| {
            keepalive(
                c,
                KeepaliveSettings { interval: secs(30), timeout: secs(5), ..Default::default() },
            );
        },
        |m| {
            m.protocol = Protocol::Http2;
            m.connection.keepalive_interval = Duration::from_secs(30);
            m.connection.keepalive_timeout = Duration::from_secs(5);
            m.connection.keepalive_while_idle = true;
        },
        &[],
    ),
    (
        "Envoy: a cluster's hash policy counts before the route's",
        |c| hashed(c, vec![by_source_ip(), HashPolicy::default()]),
        by_address_first,
        &[
            "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].hash_policy[1].policy_specifier",
        ],
    ),
    ("Envoy: none is as not said", |c| hashed(c, Vec::new()), |_| {}, &[]),
    (
        "Envoy: that of the load balancing policy counts before both",
        |c| {
            hashed(c, vec![HashPolicy { terminal: true, ..by_source_ip() }]);
            super::lb_tree::hash_by_source_ip(c);
        },
        |m| {
            by_address_first(m);
            m.lb_policy.algorithm = LbAlgorithm::maglev();
        },
        &[
            "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].hash_policy",
        ],
    ),
    (
        "Envoy: said alike in both places",
        |c| {
            hashed(c, vec![by_source_ip()]);
            super::lb_tree::hash_by_source_ip(c);
        },
        |m| {
            by_address_first(m);
            m.lb_policy.algorithm = LbAlgorithm::maglev();
        },
        &[],
    ),
    (
        "Envoy: as the call",
        |c| {
            let config = UseDownstreamHttpConfig {
                http2_protocol_options: Some(Http2ProtocolOptions {
                    hpack_table_size: n(1),
                    ..Default::default()
                }),
                http3_protocol_options: Some(Http3ProtocolOptions::default()),
                ..Default::default()
            };
            let config = UpstreamProtocolOptions::UseDownstreamProtocolConfig(config);
            let upstream_protocol_options = Some(config);
            set(c, &HttpProtocolOptions { upstream_protocol_options, ..Default::default() });
        },
        |_| {},
        &[
            "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].use_downstream_protocol_config.http3_protocol_options",
            "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions].use_downstream_protocol_config.http2_protocol_options.hpack_table_size",
        ],
    ),
    (
        "Envoy: the older HTTP/2",
        |c| c.http2_protocol_options = Some(Http2ProtocolOptions::default()),
        |m| m.protocol = Protocol::Http2,
        &[],
    ),
    (
        "Envoy: the older way to say: as the call",
        |c| {
            c.http2_protocol_options = Some(Http2ProtocolOptions::default());
            c.protocol_selection = 1;
        },
        |_| {},
        &[],
    ),
    (
        "Envoy: the older fields do not count beside the newer",
        |c| {
            c.http2_protocol_options = Some(Http2ProtocolOptions::default());
            c.common_http_protocol_options =
                Some(Common { idle_timeout: secs(7), ..Default::default() });
            c.protocol_selection = 1;
            explicit(c, ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()));
        },
        |m| m.protocol = Protocol::Http1,
        &["common_http_protocol_options", "http2_protocol_options", "protocol_selection"],
    ),
    (
        "options of other protocols",
        |c| {
            let name = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions";
            extension(c, name, any(&TcpProtocolOptions::default()));
        },
        |_| {},
        &["typed_extension_protocol_options[envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions]"],
    ),
];

#[test]
fn lives_of_connections_that_are_accepted() {
    check_all(LIVES);
}

const LIVES: &[Accepted] = &[
    (
        "Envoy: times and limits",
        |c| {
            c.connect_timeout = nanos(250_000_000);
            c.max_requests_per_connection = n(5);
            let options = Common {
                idle_timeout: secs(0),
                max_connection_duration: secs(600),
                max_response_headers_kb: n(8192),
                max_headers_count: n(7),
                ..Default::default()
            };
            common(c, options);
        },
        |m| {
            m.connection.connect_timeout = Duration::from_millis(250);
            m.connection.max_requests_per_connection = 5;
            m.connection.idle_timeout = Duration::ZERO;
            m.connection.max_connection_age = Duration::from_secs(600);
            m.connection.max_response_head = 8 * 1024 * 1024;
            m.connection.max_response_headers = 7;
        },
        &[],
    ),
    (
        "Envoy: the newer limit counts",
        |c| {
            c.max_requests_per_connection = n(5);
            common(c, Common { max_requests_per_connection: n(6), ..Default::default() });
        },
        |m| m.connection.max_requests_per_connection = 6,
        &[],
    ),
    (
        "Envoy: the older options",
        |c| {
            c.common_http_protocol_options =
                Some(Common { idle_timeout: secs(7), ..Default::default() });
        },
        |m| m.connection.idle_timeout = Duration::from_secs(7),
        &[],
    ),
    (
        "what a client has no use for",
        |c| {
            c.common_http_protocol_options = Some(Common {
                max_connection_duration_jitter: pct(5.0),
                max_stream_duration: secs(1),
                headers_with_underscores_action: 1,
                ..Default::default()
            });
        },
        |_| {},
        &[
            "common_http_protocol_options.max_connection_duration_jitter",
            "common_http_protocol_options.max_stream_duration",
            "common_http_protocol_options.headers_with_underscores_action",
        ],
    ),
];
