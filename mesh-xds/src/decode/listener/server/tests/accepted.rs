//! What a server's listener comes to.

use super::*;
use crate::decode::testing::{ignored, n, secs, yes};
use envoy_types::pb::google::protobuf::BoolValue;
use mesh_core::model::filter_chain::{
    ClientAddress, EscapedSlashes, FilterChainMatch, ForwardClientCert, SourceType,
    TransportProtocol,
};
use mesh_core::model::tls::{DownstreamTls, SpiffeBundles, TlsIdentity, TlsRoots};
use mesh_core::model::{
    Cidr, HttpConnectionManager, HttpFilterConfig, HttpFilterOverride, SanKind, SanMatcher,
    StringMatcher,
};
use std::time::Duration;

/// Changes the base, and the server that it comes to in the same way; these paths are reported.
#[track_caller]
fn check(
    change: impl FnOnce(&mut pb::Listener),
    expect: impl FnOnce(&mut mesh_core::model::FilterChain),
    reported: &[&str],
) {
    let before = server(&read(|_| {}, &testing::context()));
    let mut expected = (*before.listener.filter_chains[0]).clone();
    expect(&mut expected);
    let decoded = read(change, &testing::context());
    assert_eq!(*server(&decoded).listener.filter_chains[0], expected);
    assert_eq!(ignored(&decoded), reported);
}

#[track_caller]
fn check_match(
    change: impl FnOnce(&mut pb::FilterChainMatch),
    expect: impl FnOnce(&mut FilterChainMatch),
) {
    check(|l| change(matching(l)), |chain| expect(&mut chain.matcher), &[]);
}

#[track_caller]
fn check_tls(
    change: impl FnOnce(&mut tls::DownstreamTlsContext),
    expect: impl FnOnce(&mut DownstreamTls),
    reported: &[&str],
) {
    let mut expected = DownstreamTls::mutual();
    expected.identity = TlsIdentity::Provider("mesh".into());
    expected.roots = Some(TlsRoots::Provider("mesh".into()));
    expected.require_client_certificate = false;
    expect(&mut expected);
    let at = "filter_chains[0].transport_socket.typed_config.";
    let reported: Vec<_> = reported.iter().map(|field| format!("{at}{field}")).collect();
    let reported: Vec<_> = reported.iter().map(String::as_str).collect();
    check(|l| secure(l, change), |chain| chain.tls = Some(Arc::new(expected)), &reported);
}

#[track_caller]
fn check_http(
    change: impl FnOnce(&mut hcm::HttpConnectionManager),
    expect: impl FnOnce(&mut HttpConnectionManager),
    reported: &[&str],
) {
    let at = "filter_chains[0].filters[0].typed_config.";
    let reported: Vec<_> = reported.iter().map(|field| format!("{at}{field}")).collect();
    let reported: Vec<_> = reported.iter().map(String::as_str).collect();
    let expect = |chain: &mut mesh_core::model::FilterChain| {
        let mut manager = (**chain.http.as_ref().unwrap()).clone();
        expect(&mut manager);
        chain.http = Some(Arc::new(manager));
    };
    check(|l| http(l, change), expect, &reported);
}

/// Envoy's defaults, not those of `mesh.yaml`.
#[test]
fn what_is_not_said() {
    let found = server(&read(|_| {}, &testing::context()));
    assert_eq!(&*found.listener.name, "in");
    assert_eq!(
        found.listener.address,
        Some("127.0.0.1:8080".parse::<std::net::SocketAddr>().unwrap().into())
    );
    assert_eq!(found.routes, [Some("r".into())]);
    let chain = &found.listener.filter_chains[0];
    assert_eq!((&*chain.name, &chain.tls), ("filter_chains[0]", &None));
    assert_eq!(chain.handshake_timeout, Duration::from_secs(15));
    let http = chain.http.as_ref().unwrap();
    assert!(!http.path.normalize && !http.path.merge_slashes);
    assert_eq!(http.path.escaped_slashes, EscapedSlashes::Keep);
    assert_eq!(http.forward_client_cert, ForwardClientCert::Sanitize);
    assert_eq!((http.limits.max_header_bytes, http.limits.max_headers), (60 * 1024, 100));
    assert_eq!(&*http.route_configuration.name, "r");
    assert!(http.route_configuration.virtual_hosts.is_empty());
}

#[test]
fn matches() {
    let cidr = |text: &str, bits| Cidr::new(text.parse().unwrap(), bits).unwrap();
    check_match(|m| m.destination_port = n(8443), |m| m.destination_port = Some(8443));
    // gRFC A36: the low bits are masked, and no length is 0.
    check_match(
        |m| {
            let whole = core::CidrRange { address_prefix: "::1".into(), prefix_len: None };
            m.prefix_ranges = vec![block("10.1.2.3", 8), whole];
        },
        |m| m.prefix_ranges = vec![cidr("10.0.0.0", 8), cidr("::", 0)],
    );
    check_match(
        |m| m.source_prefix_ranges = vec![block("10.0.0.0", 8)],
        |m| m.source_prefix_ranges = vec![cidr("10.0.0.0", 8)],
    );
    check_match(
        |m| m.direct_source_prefix_ranges = vec![block("10.0.0.0", 8)],
        |m| m.direct_source_prefix_ranges = vec![cidr("10.0.0.0", 8)],
    );
    check_match(|m| m.source_ports = vec![1, 65_535], |m| m.source_ports = vec![1, 65_535]);
    check_match(|m| m.source_type = 1, |m| m.source_type = SourceType::SameIpOrLoopback);
    check_match(|m| m.source_type = 2, |m| m.source_type = SourceType::External);
    check_match(
        |m| m.server_names = vec!["A.b".into(), "*.c".into()],
        |m| m.server_names = vec!["a.b".into(), "*.c".into()],
    );
    let istio = "istio-peer-exchange";
    check_match(
        |m| m.application_protocols = vec![istio.into()],
        |m| m.application_protocols = vec![istio.into()],
    );
    check_match(
        |m| m.transport_protocol = "tls".into(),
        |m| m.transport_protocol = Some(TransportProtocol::Tls),
    );
    check_match(
        |m| m.transport_protocol = "raw_buffer".into(),
        |m| m.transport_protocol = Some(TransportProtocol::RawBuffer),
    );
}

#[test]
fn a_chain_for_what_is_never_detected_is_for_nobody() {
    let decoded = read(
        |l| {
            add(
                l,
                pb::FilterChainMatch { transport_protocol: "quic".into(), ..Default::default() },
            );
            l.filter_chains.swap(0, 1);
            l.default_filter_chain = Some(chain(&manager()));
        },
        &testing::context(),
    );
    let found = server(&decoded);
    let protocols = found.listener.filter_chains.iter().map(|one| one.matcher.transport_protocol);
    assert_eq!(protocols.collect::<Vec<_>>(), [Some(TransportProtocol::Undetected), None]);
    assert_eq!(&*found.listener.filter_chains[1].name, "filter_chains[1]");
    assert_eq!(
        &*found.listener.default_filter_chain.as_ref().unwrap().name,
        "default_filter_chain"
    );
    assert_eq!(found.routes.len(), 3);
    assert_eq!(ignored(&decoded), ["filter_chains[0].filter_chain_match.transport_protocol"]);
}

#[test]
fn chains() {
    check(|l| l.filter_chains[0].name = "c".into(), |chain| chain.name = "c".into(), &[]);
    check(
        |l| l.filter_chains[0].transport_socket_connect_timeout = secs(3),
        |chain| chain.handshake_timeout = Duration::from_secs(3),
        &[],
    );
    // Envoy: no timeout.
    check(|l| l.filter_chains[0].transport_socket_connect_timeout = secs(0), |_| {}, &[]);
    let decoded = read(
        |l| l.filter_chains[0].filters.insert(0, network_filter("rbac", network_rbac())),
        &testing::context(),
    );
    assert_eq!(server(&decoded).listener.filter_chains[0].network_rbac.len(), 1);
    // A connection finds its chain again by its name.
    let decoded = read(
        |l| {
            l.filter_chains[0].name = "c".into();
            let mut other = l.filter_chains[0].clone();
            other.filter_chain_match =
                Some(pb::FilterChainMatch { source_ports: vec![1], ..Default::default() });
            l.filter_chains.push(other);
        },
        &testing::context(),
    );
    let names: Vec<_> =
        server(&decoded).listener.chains().map(|chain| chain.name.to_string()).collect();
    assert_eq!(names, ["c", "c (filter_chains[1])"]);
}

#[test]
fn security() {
    check_tls(|_| {}, |_| {}, &[]);
    check_tls(
        |t| t.require_client_certificate = yes(),
        |t| t.require_client_certificate = true,
        &[],
    );
    check_tls(|t| common(t).validation_context_type = None, |t| t.roots = None, &[]);
    check_tls(
        |t| common(t).alpn_protocols = vec!["h2".into()],
        |t| t.alpn = vec!["h2".into()],
        &[],
    );
    let uri = |text: &str| tls::SubjectAltNameMatcher {
        san_type: 3,
        matcher: Some(envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher {
            match_pattern: Some(
                envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern::Exact(
                    text.into(),
                ),
            ),
            ignore_case: false,
        }),
        oid: String::new(),
    };
    check_tls(
        |t| validation(t).match_typed_subject_alt_names = vec![uri("spiffe://a/b")],
        |t| {
            let matcher = StringMatcher::exact("spiffe://a/b");
            t.san = vec![SanMatcher { kind: SanKind::Uri, matcher }];
        },
        &[],
    );
    check_tls(
        |t| {
            common(t).tls_certificate_provider_instance = None;
            common(t).tls_certificate_sds_secret_configs =
                vec![tls::SdsSecretConfig { name: "own".into(), sds_config: testing::ads() }];
        },
        |t| t.identity = TlsIdentity::Secret("own".into()),
        &[],
    );
    check_tls(
        |t| {
            t.session_timeout = secs(1);
            t.prefer_client_ciphers = true;
        },
        |_| {},
        &["session_timeout", "prefer_client_ciphers"],
    );
    let raw = envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer {};
    check(|l| l.filter_chains[0].transport_socket = Some(socket(any(&raw))), |_| {}, &[]);
}

#[test]
fn bundles_and_revocation_lists() {
    let list = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    check_tls(
        |t| {
            let specifier = Some(core::data_source::Specifier::InlineString(list.to_owned()));
            validation(t).crl = Some(core::DataSource { specifier, ..Default::default() });
        },
        |t| {
            t.crl = Some(mesh_core::model::secret::SecretSource::Inline(list.as_bytes().into()));
        },
        &[],
    );
    check_tls(
        |t| {
            validation(t).ca_certificate_provider_instance = None;
            validation(t).custom_validator_config =
                crate::decode::secret_testing::spiffe(&["a.example"]);
        },
        |t| {
            let bundle =
                "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".as_bytes();
            let bundle = mesh_core::model::secret::SecretSource::Inline(bundle.into());
            let bundles = SpiffeBundles::Each([("a.example".into(), bundle)].into());
            t.roots = Some(TlsRoots::Spiffe(bundles.into()));
        },
        &[],
    );
}

#[test]
fn connection_managers() {
    check_http(|m| m.max_request_headers_kb = n(1), |m| m.limits.max_header_bytes = 1024, &[]);
    check_http(
        |m| m.common_http_protocol_options.get_or_insert_default().max_headers_count = n(7),
        |m| m.limits.max_headers = 7,
        &[],
    );
    check_http(
        |m| m.common_http_protocol_options.get_or_insert_default().idle_timeout = secs(7),
        |m| m.timeouts.idle = Some(Duration::from_secs(7)),
        &[],
    );
    check_http(
        |m| m.common_http_protocol_options.get_or_insert_default().idle_timeout = secs(0),
        |m| m.timeouts.idle = None,
        &[],
    );
    for (idle, flush, expected) in [
        (secs(0), None, None),
        (secs(9), None, Some(9)),
        (secs(0), secs(8), Some(8)),
        (secs(9), secs(0), None),
        (None, None, Some(300)),
    ] {
        check_http(
            |m| (m.stream_idle_timeout, m.stream_flush_timeout) = (idle, flush),
            |m| m.timeouts.stream_flush = expected.map(Duration::from_secs),
            &[],
        );
    }
    check_http(|m| m.normalize_path = yes(), |m| m.path.normalize = true, &[]);
    check_http(|m| m.merge_slashes = true, |m| m.path.merge_slashes = true, &[]);
    for (action, expected) in [
        (1, EscapedSlashes::Keep),
        (2, EscapedSlashes::Reject),
        (3, EscapedSlashes::UnescapeAndRedirect),
        (4, EscapedSlashes::UnescapeAndForward),
    ] {
        check_http(
            |m| m.path_with_escaped_slashes_action = action,
            |m| m.path.escaped_slashes = expected,
            &[],
        );
    }
    for (details, expected) in [
        (0, ForwardClientCert::Sanitize),
        (1, ForwardClientCert::ForwardOnly),
        (2, ForwardClientCert::AppendForward),
        (3, ForwardClientCert::SanitizeSet),
        (4, ForwardClientCert::AlwaysForwardOnly),
    ] {
        check_http(
            |m| m.forward_client_cert_details = details,
            |m| m.forward_client_cert = expected,
            &[],
        );
    }
    check_http(|m| m.server_name = "x".into(), |_| {}, &["server_name"]);
}

#[test]
fn whose_address_is_the_clients() {
    let check = |remote: Option<bool>, hops: u32, skip: bool, expected: ClientAddress| {
        check_http(
            |m| {
                m.use_remote_address = remote.map(|value| BoolValue { value });
                (m.xff_num_trusted_hops, m.skip_xff_append) = (hops, skip);
            },
            |m| (m.xff_num_trusted_hops, m.client_address) = (hops, expected),
            &[],
        );
    };
    for hops in [0, 2] {
        check(Some(true), hops, false, ClientAddress::Connection { append: true });
        check(Some(true), hops, true, ClientAddress::Connection { append: false });
        check(Some(false), hops, false, ClientAddress::ForwardedFor);
        check(Some(false), hops, true, ClientAddress::ForwardedFor);
    }
    // gRFC A41 where nothing is said; Envoy's default where proxies are believed.
    check(None, 0, false, ClientAddress::Connection { append: false });
    check(None, 2, false, ClientAddress::ForwardedFor);
}

#[test]
fn filters() {
    let decoded = read(
        |l| {
            http(l, |m| {
                let off = hcm::HttpFilter { disabled: true, ..http_filter("off", http_rbac()) };
                let stats = Any { type_url: "t/stats.PluginConfig".into(), value: Vec::new() };
                let unknown = Any { type_url: "t/x.Lua".into(), value: Vec::new() };
                let unknown = hcm::HttpFilter { is_optional: true, ..http_filter("lua", unknown) };
                let filters =
                    [http_filter("on", http_rbac()), off, http_filter("stats", stats), unknown];
                m.http_filters.splice(0..0, filters);
            });
        },
        &testing::context(),
    );
    let found = server(&decoded);
    let filters = &found.listener.filter_chains[0].http.as_ref().unwrap().http_filters;
    let filters: Vec<_> = filters.iter().map(|f| (&*f.name, f.disabled)).collect();
    assert_eq!(filters, [("on", false), ("off", true)]);
    let at = "filter_chains[0].filters[0].typed_config.http_filters";
    let reported = [format!("{at}[2].typed_config"), format!("{at}[3].is_optional")];
    assert_eq!(ignored(&decoded), reported);
}

/// gRFC A39, A41: what a level says of a filter; the most specific one counts, and of a filter that the chain has not
/// nothing does.
#[test]
fn overrides() {
    use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::RbacPerRoute;
    let per_route = |rbac| any(&RbacPerRoute { rbac });
    let rules = HttpRbac { rules: Some(allow_all()), ..Default::default() };
    let decoded = read(
        |l| {
            http(l, |m| {
                let mut routes = crate::decode::route::tests::base();
                let off = ["a", "b", "c"].map(|name| (name.to_owned(), per_route(None)));
                routes.typed_per_filter_config = off.into();
                for name in ["b", "a"] {
                    m.http_filters.insert(0, http_filter(name, http_rbac()));
                }
                let on = [("a".to_owned(), per_route(Some(rules)))];
                routes.virtual_hosts[0].typed_per_filter_config = on.into();
                m.route_specifier = Some(RouteSpecifier::RouteConfig(routes));
            });
        },
        &testing::context(),
    );
    let found = server(&decoded);
    let http = found.listener.filter_chains[0].http.as_ref().unwrap();
    let filters = &http.route_configuration.virtual_hosts[0].filters;
    assert!(matches!(filters["a"], HttpFilterOverride::Config(HttpFilterConfig::Rbac(_))));
    assert_eq!(filters["b"], HttpFilterOverride::Disabled);
    assert_eq!(filters.len(), 2);
}
