//! What listeners mean to a proxy, which opens them as ports.

use super::*;
use crate::decode::support::agreement::{Setter, check_effects, check_fields};
use crate::decode::support::port::ROWS;
use crate::{RouteSource, XdsListener, XdsPort};
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use envoy_types::pb::envoy::r#type::v3::{HashPolicy, hash_policy};
use mesh_core::model::{ClusterSpecifier, ForwardTo, HashSource, RouteAction};
use std::time::Duration;

fn context() -> Context {
    Context { all_listeners: true, ports: true, ..testing::context() }
}

/// A listener without a direction.
fn edge(change: impl FnOnce(&mut pb::Listener)) -> Decoded {
    let unspecified = |listener: &mut pb::Listener| {
        listener.traffic_direction = 0;
        change(listener);
    };
    read(unspecified, &context())
}

fn of(decoded: &Decoded) -> Arc<XdsListener> {
    match &decoded.resource {
        Ok(Resource::Listener(listener)) => Arc::clone(listener),
        other => panic!("{other:#?}"),
    }
}

#[track_caller]
fn port(decoded: &Decoded) -> Arc<XdsPort> {
    match &of(decoded).proxy {
        Some(Ok(port)) => Arc::clone(port),
        other => panic!("{other:#?}"),
    }
}

/// No port, for what is at this path.
#[track_caller]
fn check_refused(change: impl FnOnce(&mut pb::Listener), path: &str, text: &str) {
    let decoded = edge(change);
    let listener = of(&decoded);
    let errors = listener.proxy.as_ref().unwrap().as_ref().unwrap_err();
    assert_eq!(errors.len(), 1, "{path}: {errors:#?}");
    assert_eq!(errors[0].path, path, "{}", errors[0].message);
    assert!(errors[0].message.contains(text), "{path}: `{}` lacks `{text}`", errors[0].message);
}

fn bytes(listener: &mut pb::Listener, change: impl FnOnce(&mut TcpProxy)) {
    let mut proxy = TcpProxy {
        stat_prefix: "x".into(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster("db".into())),
        ..Default::default()
    };
    change(&mut proxy);
    listener.filter_chains[0].filters = vec![network_filter("tcp", any(&proxy))];
}

fn listener_filter(listener: &mut pb::Listener, config: Any) {
    let config_type = Some(pb::listener_filter::ConfigType::TypedConfig(config));
    let filter = pb::ListenerFilter { name: "x".into(), config_type, ..Default::default() };
    listener.listener_filters.push(filter);
}

#[test]
fn without_ports_nobody_wants_to_know() {
    let decoded = read(|l| l.traffic_direction = 0, &testing::context());
    assert_eq!(of(&decoded).proxy, None);
}

#[test]
fn the_direction_is_the_side() {
    use self::core::TrafficDirection::{Inbound, Outbound, Unspecified};
    for (direction, outbound) in [(Inbound, false), (Outbound, true), (Unspecified, true)] {
        let decoded = edge(|l| l.traffic_direction = direction as i32);
        let port = port(&decoded);
        let forward = port.listener.forward.as_ref().unwrap();
        assert_eq!(forward.to, ForwardTo::Chain { outbound });
        let [routes] = &port.routes[..] else { panic!("{port:#?}") };
        assert_eq!(routes.source, RouteSource::Rds("r".into()));
        assert_eq!(of(&decoded).http.is_some(), outbound, "calls by name");
    }
}

#[test]
fn what_is_not_bound_is_no_port() {
    let unbound = |l: &mut pb::Listener| l.bind_to_port = Some(Default::default());
    assert_eq!(of(&edge(unbound)).proxy, None);
}

/// What is ours says what is done with it.
#[test]
fn a_listener_with_our_words_is_no_port_of_envoys() {
    let mut model = mesh_core::model::Listener::new("in");
    model.address = Some(mesh_core::model::Address::Socket("127.0.0.1:1".parse().unwrap()));
    let http = mesh_core::model::HttpConnectionManager::serving(Vec::new());
    let chain = mesh_core::model::FilterChain::new("all", Some(Arc::new(http)));
    model.filter_chains = vec![Arc::new(chain)];
    let to = ForwardTo::Application("inbound|in".into());
    model.forward = Some(mesh_core::model::Forward::new(to));
    let message = crate::encode::server_listener(&model);
    let decoded = read(|l| *l = message, &context());
    assert_eq!(of(&decoded).proxy, None);
    assert_eq!(server(&decoded).listener.forward, model.forward);
}

#[test]
fn bytes_go_to_a_cluster_or_to_several() {
    let decoded = edge(|l| {
        bytes(l, |proxy| {
            proxy.idle_timeout = testing::secs(5);
            let source_ip = hash_policy::PolicySpecifier::SourceIp(Default::default());
            proxy.hash_policy = vec![HashPolicy { policy_specifier: Some(source_ip) }];
        });
    });
    let port = port(&decoded);
    assert_eq!(port.listener.filter_chains[0].http, None);
    assert_eq!(port.routes[0].idle_timeout, Some(Duration::from_secs(5)));
    let RouteSource::Inline(routes) = &port.routes[0].source else { panic!("{port:#?}") };
    assert_eq!(routes.clusters[0].iter().map(|name| &**name).collect::<Vec<_>>(), ["db"]);
    let RouteAction::Forward(action) = &routes.model.virtual_hosts[0].routes[0].action else {
        panic!("{routes:#?}")
    };
    assert_eq!(action.cluster, ClusterSpecifier::Cluster("db".into()));
    assert_eq!(action.hash_policy[0].source, HashSource::SourceIp);

    let part = |name: &str, weight| tcp_proxy::weighted_cluster::ClusterWeight {
        name: name.into(),
        weight,
        ..Default::default()
    };
    let split = |parts| {
        let clusters = tcp_proxy::WeightedCluster { clusters: parts };
        Some(tcp_proxy::ClusterSpecifier::WeightedClusters(clusters))
    };
    let parts = vec![part("a", 9), part("b", 1)];
    let decoded = edge(|l| {
        bytes(l, |proxy| {
            (proxy.cluster_specifier, proxy.idle_timeout) = (split(parts), testing::secs(0));
        });
    });
    let port = self::port(&decoded);
    assert_eq!(port.routes[0].idle_timeout, None);
    let RouteSource::Inline(routes) = &port.routes[0].source else { panic!("{port:#?}") };
    let RouteAction::Forward(action) = &routes.model.virtual_hosts[0].routes[0].action else {
        panic!("{routes:#?}")
    };
    let ClusterSpecifier::Split(found) = &action.cluster else { panic!("{action:#?}") };
    let found: Vec<_> = found.clusters.iter().map(|part| (&*part.cluster, part.weight)).collect();
    assert_eq!(found, [("a", 9), ("b", 1)]);
    check_refused(
        |l| bytes(l, |proxy| proxy.cluster_specifier = split(vec![part("a", 0)])),
        "filter_chains[0].filters[0].typed_config.weighted_clusters.clusters[0].weight",
        "1 or more",
    );
}

#[test]
fn the_proxy_protocol_is_read() {
    let decoded = edge(|l| listener_filter(l, any(&ProxyProtocol::default())));
    assert!(port(&decoded).listener.proxy_protocol);
    assert!(!port(&edge(|_| {})).listener.proxy_protocol);
    check_refused(
        |l| {
            let lax =
                ProxyProtocol { allow_requests_without_proxy_protocol: true, ..Default::default() };
            listener_filter(l, any(&lax));
        },
        "listener_filters[0].typed_config.allow_requests_without_proxy_protocol",
        "are closed",
    );
}

#[test]
fn what_a_port_can_not_do_is_said_at_its_place() {
    check_refused(|l| l.use_original_dst = testing::yes(), "use_original_dst", "leave it out");
    check_refused(
        |l| listener_filter(l, any(&OriginalDst::default())),
        "listener_filters[0]",
        "original_dst",
    );
    check_refused(
        |l| l.filter_chains[0].filters = vec![network_filter("x", any(&Router::default()))],
        "filter_chains[0].filters[0]",
        "or the TcpProxy, are",
    );
    check_refused(|l| l.filter_chains[0].filters.clear(), "filter_chains[0].filters", "TcpProxy");
    check_refused(
        |l| {
            bytes(l, |_| {});
            l.filter_chains[0].filters.push(network_filter("http", any(&manager())));
        },
        "filter_chains[0].filters[0]",
        "last filter",
    );
    let typed = "filter_chains[0].filters[0].typed_config";
    check_refused(
        |l| bytes(l, |proxy| proxy.cluster_specifier = None),
        &format!("{typed}.cluster"),
        "where the bytes go",
    );
    check_refused(
        |l| bytes(l, |proxy| proxy.tunneling_config = Some(Default::default())),
        &format!("{typed}.tunneling_config"),
        "not within HTTP",
    );
    check_refused(
        |l| bytes(l, |proxy| proxy.metadata_match = Some(Default::default())),
        &format!("{typed}.metadata_match"),
        "subset",
    );
}

/// What calls by name have no use for, a port has.
#[test]
fn only_what_does_nothing_for_either_is_reported() {
    let decoded = edge(|l| {
        http(l, |manager| {
            manager.stat_prefix = "x".into();
            manager.normalize_path = testing::yes();
            manager.use_remote_address = testing::yes();
        });
        secure(l, |_| {});
    });
    let typed = "filter_chains[0].filters[0].typed_config";
    assert_eq!(testing::ignored(&decoded), [format!("{typed}.stat_prefix")]);
    let decoded = edge(|l| bytes(l, |proxy| proxy.max_connect_attempts = testing::n(3)));
    let paths = testing::ignored(&decoded);
    assert!(paths.contains(&&*format!("{typed}.max_connect_attempts")), "{paths:?}");
}

/// A proxy that stands behind others says so, which calls by name can't mean (gRFC A41).
#[test]
fn what_only_a_port_can_do_is_not_refused_for_calls() {
    let decoded = edge(|l| http(l, |manager| manager.xff_num_trusted_hops = 1));
    assert_eq!(of(&decoded).http, None);
    let http = port(&decoded).listener.filter_chains[0].http.clone().unwrap();
    assert_eq!(http.xff_num_trusted_hops, 1);
    let path = "filter_chains[0].filters[0].typed_config.xff_num_trusted_hops";
    assert_eq!(testing::ignored(&decoded), [path]);
    let decoded = read(
        |l| {
            l.traffic_direction = core::TrafficDirection::Outbound as i32;
            self::http(l, |manager| manager.xff_num_trusted_hops = 1);
        },
        &testing::context(),
    );
    assert_eq!(decoded.resource.unwrap_err()[0].path, path);
}

#[test]
fn how_long_a_request_may_take_is_a_ports_own() {
    let decoded = edge(|l| {
        http(l, |manager| {
            let options = core::HttpProtocolOptions {
                max_stream_duration: testing::secs(7),
                ..Default::default()
            };
            manager.common_http_protocol_options = Some(options);
        });
    });
    assert_eq!(port(&decoded).routes[0].max_stream_duration, Some(Duration::from_secs(7)));
    assert!(testing::ignored(&decoded).is_empty(), "{:?}", decoded.ignored);
}

fn proxied(change: impl FnOnce(&mut TcpProxy)) -> pb::Listener {
    let mut listener = base();
    listener.traffic_direction = core::TrafficDirection::Outbound as i32;
    bytes(&mut listener, change);
    listener
}

/// Sets a field of the proxy.
macro_rules! tcp {
    ($field:ident: $value:expr) => {
        ("TcpProxy (port)", stringify!($field), |l| *l = proxied(|proxy| proxy.$field = $value))
    };
}

/// Sets a field of the filter that reads the PROXY protocol.
macro_rules! pp {
    ($field:ident: $value:expr) => {
        ("ProxyProtocol (port)", stringify!($field), |l| {
            listener_filter(l, any(&ProxyProtocol { $field: $value, ..Default::default() }));
        })
    };
}

#[expect(deprecated, reason = "files still have the old fields")]
const SETTERS: &[Setter<pb::Listener>] = &[
    tcp!(stat_prefix: "y".into()),
    tcp!(on_demand: Some(Default::default())),
    tcp!(metadata_match: Some(Default::default())),
    tcp!(downstream_idle_timeout: testing::secs(1)),
    tcp!(upstream_idle_timeout: testing::secs(1)),
    tcp!(access_log: vec![Default::default()]),
    tcp!(max_connect_attempts: testing::n(1)),
    tcp!(backoff_options: Some(Default::default())),
    tcp!(tunneling_config: Some(Default::default())),
    tcp!(max_downstream_connection_duration: testing::secs(1)),
    tcp!(max_downstream_connection_duration_jitter_percentage: testing::pct(1.0)),
    tcp!(access_log_flush_interval: testing::secs(1)),
    tcp!(flush_access_log_on_connected: true),
    tcp!(access_log_options: Some(Default::default())),
    tcp!(proxy_protocol_tlvs: vec![Default::default()]),
    tcp!(proxy_protocol_tlv_merge_policy: 1),
    tcp!(upstream_connect_mode: 1),
    tcp!(max_early_data_bytes: testing::n(1)),
    tcp!(check_drain_close: testing::yes()),
    ("TcpProxy.WeightedCluster.ClusterWeight (port)", "metadata_match", |l| {
        let part = tcp_proxy::weighted_cluster::ClusterWeight {
            name: "a".into(),
            weight: 1,
            metadata_match: Some(Default::default()),
        };
        let split = tcp_proxy::WeightedCluster { clusters: vec![part] };
        let split = tcp_proxy::ClusterSpecifier::WeightedClusters(split);
        *l = proxied(|proxy| proxy.cluster_specifier = Some(split));
    }),
    pp!(rules: vec![Default::default()]),
    pp!(allow_requests_without_proxy_protocol: true),
    pp!(pass_through_tlvs: Some(Default::default())),
    pp!(disallowed_versions: vec![0]),
    pp!(stat_prefix: "x".into()),
    pp!(tlv_location: 1),
];

#[test]
fn every_field_of_a_port_is_in_the_table() {
    let kinds: &[(&str, &[&str])] = &[("cluster_specifier", &["cluster", "weighted_clusters"])];
    check_fields(ROWS, "TcpProxy (port)", &TcpProxy::default(), kinds);
    let part = tcp_proxy::weighted_cluster::ClusterWeight::default();
    check_fields(ROWS, "TcpProxy.WeightedCluster.ClusterWeight (port)", &part, &[]);
    check_fields(ROWS, "ProxyProtocol (port)", &ProxyProtocol::default(), &[]);
}

#[test]
fn what_the_table_says_of_a_port_is_what_the_decoder_does() {
    // Of a port, refused is that there is none.
    let decode = |l: &pb::Listener| {
        let mut decoded = decode(ResourceType::Listener, &l.encode_to_vec(), &context());
        if let Ok(Resource::Listener(listener)) = &decoded.resource
            && let Some(Err(errors)) = &listener.proxy
        {
            decoded.resource = Err(errors.clone());
        }
        decoded
    };
    check_effects(ROWS, SETTERS, || proxied(|proxy| proxy.stat_prefix.clear()), decode);
}
