//! What a server's listener is refused for.

use super::*;
use crate::decode::testing::{n, yes};
use envoy_types::pb::envoy::extensions::transport_sockets::quic::v3::QuicDownstreamTransport;
use envoy_types::pb::google::protobuf::UInt32Value;

const TLS: &str = "filter_chains[0].transport_socket.typed_config";

#[test]
fn listeners() {
    check_refused(|l| l.name.clear(), "name", "has a name");
    check_refused(|l| l.address = None, "address", "there is none");
    check_refused(|l| l.filter_chains.clear(), "filter_chains", "gRFC A36");
    check_refused(|l| l.use_original_dst = yes(), "use_original_dst", "gRFC A36");
    check_refused(
        |l| l.udp_listener_config = Some(Default::default()),
        "udp_listener_config",
        "TCP",
    );
    check_refused(
        |l| l.filter_chain_matcher = Some(Default::default()),
        "filter_chain_matcher",
        "match trees",
    );
    let filter = |config: Option<Any>| pb::ListenerFilter {
        name: "f".into(),
        config_type: config.map(pb::listener_filter::ConfigType::TypedConfig),
        ..Default::default()
    };
    check_refused(
        |l| l.listener_filters = vec![filter(None)],
        "listener_filters[0]",
        "configuration",
    );
    let original = Any {
        type_url:
            "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
                .into(),
        value: Vec::new(),
    };
    check_refused(
        |l| l.listener_filters = vec![filter(Some(original))],
        "listener_filters[0]",
        "original_dst",
    );
}

#[test]
fn chains() {
    let at = "filter_chains[0].filters";
    check_refused(|l| l.filter_chains[0].filters.clear(), at, "HttpConnectionManager");
    let filters = |change: fn(&mut Vec<pb::Filter>), at: &str, text: &str| {
        let at = format!("filter_chains[0].filters{at}");
        check_refused(|l| change(&mut l.filter_chains[0].filters), &at, text);
    };
    filters(|f| f[0].name.clear(), "[0].name", "has a name");
    filters(|f| f[0].config_type = None, "[0].typed_config", "configuration");
    filters(|f| f.insert(0, network_filter("http", network_rbac())), "[1].name", "twice");
    filters(|f| f.push(network_filter("rbac", network_rbac())), "[0]", "last");
    filters(|f| f.insert(0, network_filter("again", any(&manager()))), "[0]", "last");
    let tcp = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let tcp = || network_filter("tcp", Any { type_url: tcp.into(), value: Vec::new() });
    let first = "filter_chains[0].filters[0]";
    check_refused(
        |l| l.filter_chains[0].filters.insert(0, tcp()),
        first,
        "does not pass on raw TCP",
    );
    check_refused(|l| l.filter_chains[0].filters = vec![tcp()], first, "does not pass on raw TCP");
    check_refused(
        |l| l.filter_chains[0].filters[0] = network_filter("odd", Any::default()),
        first,
        "only RBAC and the HttpConnectionManager are",
    );
    let rbac = NetworkRbac { rules: Some(allow_all()), ..Default::default() };
    check_refused(
        |l| l.filter_chains[0].filters.insert(0, network_filter("rbac", any(&rbac))),
        "filter_chains[0].filters[0].typed_config.stat_prefix",
        "min_len 1",
    );
    #[expect(deprecated, reason = "control planes still set it")]
    check_refused(
        |l| l.filter_chains[0].use_proxy_proto = yes(),
        "filter_chains[0].use_proxy_proto",
        "proxy protocol",
    );
    check_refused(
        |l| {
            l.default_filter_chain = Some(pb::FilterChain::default());
        },
        "default_filter_chain.filters",
        "HttpConnectionManager",
    );
}

#[test]
fn matches() {
    let at = "filter_chains[0].filter_chain_match";
    let port = |port| Some(UInt32Value { value: port });
    for bad in [0, 65_536] {
        check_refused(
            |l| matching(l).destination_port = port(bad),
            &format!("{at}.destination_port"),
            "65535",
        );
        check_refused(
            |l| matching(l).source_ports = vec![1, bad],
            &format!("{at}.source_ports[1]"),
            "65535",
        );
    }
    check_refused(
        |l| matching(l).prefix_ranges = vec![block("10.0.0.0", 8), block("x", 8)],
        &format!("{at}.prefix_ranges[1].address_prefix"),
        "no IP address",
    );
    check_refused(
        |l| matching(l).source_prefix_ranges = vec![block("10.0.0.0", 33)],
        &format!("{at}.source_prefix_ranges[0].prefix_len"),
        "33",
    );
    check_refused(
        |l| matching(l).direct_source_prefix_ranges = vec![block("::", 129)],
        &format!("{at}.direct_source_prefix_ranges[0].prefix_len"),
        "129",
    );
    check_refused(|l| matching(l).source_type = 9, &format!("{at}.source_type"), "9");
    for bad in ["", "*.", "a*.b", "*.*"] {
        check_refused(
            |l| matching(l).server_names = vec![bad.into()],
            &format!("{at}.server_names[0]"),
            "no server name",
        );
    }
    // A name beside it would say nothing.
    check_refused(
        |l| matching(l).server_names = vec!["a".into(), "*".into()],
        &format!("{at}.server_names[1]"),
        "`*` is no server name: leave server_names out where any will do (Envoy)",
    );
}

/// gRFC A36: no two chains may have a combination in common.
#[test]
fn duplicates() {
    let twice = |change: fn(&mut pb::FilterChainMatch), other: fn(&mut pb::FilterChainMatch)| {
        check_refused(
            |l| {
                change(matching(l));
                let mut matcher = pb::FilterChainMatch::default();
                other(&mut matcher);
                add(l, matcher);
            },
            "filter_chains",
            "for the same connections",
        );
    };
    twice(|_| {}, |_| {});
    twice(|m| m.source_ports = vec![1, 2], |m| m.source_ports = vec![3, 2]);
    twice(
        |m| m.prefix_ranges = vec![block("10.1.2.3", 8), block("11.0.0.0", 8)],
        |m| m.prefix_ranges = vec![block("10.0.0.0", 8)],
    );
    twice(
        |m| (m.server_names, m.source_ports) = (vec!["a".into(), "b".into()], vec![1]),
        |m| (m.server_names, m.source_ports) = (vec!["B".into()], vec![1, 7]),
    );
    twice(|m| m.source_type = 1, |m| m.source_type = 1);
}

#[test]
fn security() {
    let common_at = format!("{TLS}.common_tls_context");
    let refused = |change: fn(&mut tls::DownstreamTlsContext), at: &str, text: &str| {
        check_refused(|l| secure(l, change), &format!("{TLS}.{at}"), text);
    };
    check_refused(
        |l| {
            l.filter_chains[0].transport_socket =
                Some(socket(any(&QuicDownstreamTransport::default())));
        },
        TLS,
        "DownstreamTlsContext",
    );
    check_refused(
        |l| l.filter_chains[0].transport_socket = Some(core::TransportSocket::default()),
        "filter_chains[0].transport_socket.typed_config",
        "no configuration",
    );
    refused(|t| t.common_tls_context = None, "common_tls_context", "missing");
    refused(|t| t.require_sni = yes(), "require_sni", "gRFC A29");
    refused(|t| t.ocsp_staple_policy = 1, "ocsp_staple_policy", "LENIENT");
    for (change, field) in [
        ((|t| common(t).tls_params = Some(Default::default())) as fn(&mut _), "tls_params"),
        (|t| common(t).custom_handshaker = Some(Default::default()), "custom_handshaker"),
        (
            |t| validation(t).verify_certificate_spki = vec!["x".into()],
            "validation_context.verify_certificate_spki",
        ),
        (
            |t| validation(t).verify_certificate_hash = vec!["x".into()],
            "validation_context.verify_certificate_hash",
        ),
        (
            |t| validation(t).require_signed_certificate_timestamp = yes(),
            "validation_context.require_signed_certificate_timestamp",
        ),
    ] {
        check_refused(|l| secure(l, change), &format!("{common_at}.{field}"), "gRFC A29");
    }
}

#[test]
fn identities_and_roots() {
    let refused = |change: fn(&mut tls::DownstreamTlsContext), at: &str, text: &str| {
        check_refused(|l| secure(l, change), &format!("{TLS}.{at}"), text);
    };
    refused(
        |t| common(t).tls_certificate_provider_instance = None,
        "common_tls_context.tls_certificate_provider_instance",
        "which certificate",
    );
    refused(
        |t| common(t).tls_certificate_provider_instance = Some(instance("unknown")),
        "common_tls_context.tls_certificate_provider_instance.instance_name",
        "unknown",
    );
    refused(
        |t| {
            t.require_client_certificate = yes();
            common(t).validation_context_type = None;
        },
        "common_tls_context.validation_context",
        "require_client_certificate",
    );
    refused(
        |t| validation(t).ca_certificate_provider_instance = None,
        "common_tls_context.validation_context.ca_certificate_provider_instance",
        "who signs",
    );
    refused(
        |t| {
            let specifier = Some(core::data_source::Specifier::InlineString("no list".to_owned()));
            validation(t).crl = Some(core::DataSource { specifier, ..Default::default() });
        },
        "common_tls_context.validation_context.crl.inline_string",
        "X509 CRL",
    );
    refused(
        |t| {
            let default = tls::CertificateValidationContext {
                custom_validator_config: crate::decode::secret_testing::spiffe(&["a.example"]),
                ..Default::default()
            };
            let specifier =
                Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default()));
            let ads =
                core::ConfigSource { config_source_specifier: specifier, ..Default::default() };
            let by_sds = tls::SdsSecretConfig { name: "r".into(), sds_config: Some(ads) };
            let combined = tls::common_tls_context::CombinedCertificateValidationContext {
                default_validation_context: Some(default),
                validation_context_sds_secret_config: Some(by_sds),
                ..Default::default()
            };
            common(t).validation_context_type = Some(
                tls::common_tls_context::ValidationContextType::CombinedValidationContext(combined),
            );
        },
        "common_tls_context.combined_validation_context.default_validation_context.custom_validator_config",
        "roots of a secret",
    );
}

#[test]
fn connection_managers() {
    let at = |field: &str| {
        let at = format!("filter_chains[0].filters[0].typed_config.{field}");
        at.trim_end_matches('.').to_owned()
    };
    let refused = |change: fn(&mut hcm::HttpConnectionManager), field: &str, text: &str| {
        check_refused(|l| http(l, change), &at(field), text);
    };
    refused(|m| m.route_specifier = None, "", "no routes");
    refused(
        |m| m.route_specifier = Some(RouteSpecifier::ScopedRoutes(Default::default())),
        "scoped_routes",
        "not supported",
    );
    refused(
        |m| m.original_ip_detection_extensions = vec![Default::default()],
        "original_ip_detection_extensions",
        "gRFC A41",
    );
    refused(|m| m.max_request_headers_kb = n(0), "max_request_headers_kb", "8192");
    refused(|m| m.max_request_headers_kb = n(8193), "max_request_headers_kb", "8192");
    refused(
        |m| m.common_http_protocol_options.get_or_insert_default().max_headers_count = n(0),
        "common_http_protocol_options.max_headers_count",
        "0",
    );
    fn negative() -> Option<envoy_types::pb::google::protobuf::Duration> {
        Some(envoy_types::pb::google::protobuf::Duration { seconds: -1, nanos: 0 })
    }
    refused(|m| m.stream_idle_timeout = negative(), "stream_idle_timeout", "no duration");
    refused(|m| m.stream_flush_timeout = negative(), "stream_flush_timeout", "no duration");
    refused(
        |m| m.common_http_protocol_options.get_or_insert_default().idle_timeout = negative(),
        "common_http_protocol_options.idle_timeout",
        "no duration",
    );
    refused(|m| m.forward_client_cert_details = 9, "forward_client_cert_details", "9");
    refused(|m| m.path_with_escaped_slashes_action = 9, "path_with_escaped_slashes_action", "9");
    refused(|m| m.http_filters.clear(), "http_filters", "router");
    refused(
        |m| m.http_filters.insert(0, http_filter("again", any(&Router::default()))),
        "http_filters[0]",
        "router is the last",
    );
    refused(
        |m| m.http_filters.insert(0, http_filter("router", http_rbac())),
        "http_filters[1].name",
        "twice",
    );
    refused(
        |m| m.http_filters = vec![http_filter("rbac", http_rbac())],
        "http_filters[0]",
        "router is the last",
    );
    let unknown = || Any { type_url: "t/x.Lua".into(), value: Vec::new() };
    check_refused(
        |l| http(l, |m| m.http_filters.insert(0, http_filter("lua", unknown()))),
        &at("http_filters[0]"),
        "x.Lua",
    );
    // gRFC A41: a policy that is not understood must not decide.
    let mut broken = allow_all();
    broken.policies.get_mut("all").unwrap().principals.clear();
    let config = any(&HttpRbac { rules: Some(broken), ..Default::default() });
    check_refused(
        |l| http(l, |m| m.http_filters.insert(0, http_filter("rbac", config))),
        &at("http_filters[0].typed_config.rules.policies[all].principals"),
        "min_items 1",
    );
}

/// What is only known of filters and routes together, where both are in the listener.
#[test]
fn routes_that_take_a_filter_for_another_kind() {
    use envoy_types::pb::envoy::extensions::filters::http::buffer::v3::{
        Buffer, BufferPerRoute, buffer_per_route::Override,
    };
    check_refused(
        |l| {
            http(l, |m| {
                m.http_filters.insert(0, http_filter("guard", http_rbac()));
                let mut routes = crate::decode::route::tests::base();
                let limit = Override::Buffer(Buffer { max_request_bytes: n(9) });
                let limit = BufferPerRoute { r#override: Some(limit) };
                routes.typed_per_filter_config = [("guard".to_owned(), any(&limit))].into();
                m.route_specifier = Some(RouteSpecifier::RouteConfig(routes));
            });
        },
        "filter_chains",
        "filter `guard`: in its chain it is another kind of filter",
    );
}
