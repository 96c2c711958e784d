//! A server's listener: an inbound socket listener with filter chains (gRFC A36).
//!
//! Its routes are in it, so that nothing has to be asked for beside it but secrets. Words that Envoy does not
//! have are in the chain's `metadata`: `until`, `detect`, `max_body_bytes`; and in the listener's: `forward`, `proxy_protocol`, `capture`.

use super::tls::{certificate_authorities, identity};
use super::words::Words;
use super::wrap::{any, duration, flag, uint32};
use super::{filters, rbac_filter, route_configuration, secret};
use envoy_types::pb::envoy::config::core::v3::{
    CidrRange, TrafficDirection, TransportSocket, transport_socket::ConfigType,
};
use envoy_types::pb::envoy::config::listener::v3::{self as pb, filter_chain_match};
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    self as hcm, http_connection_manager as kinds,
};
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy as tcp,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::v3::{HashPolicy, hash_policy};
use envoy_types::pb::google::protobuf;
use mesh_core::model::filter_chain::{
    ClientAddress, EscapedSlashes, ForwardClientCert, SourceType, TransportProtocol,
};
use mesh_core::model::{
    Capture, ChainForward, Cidr, ClusterSpecifier, DownstreamTls, FilterChain, FilterChainMatch,
    Forward, ForwardTo, HashSource, HttpConnectionManager, Listener, RbacFilter, RouteAction,
    SplitCluster,
};
use std::time::Duration;

/// Of byte streams (Envoy: `TcpProxy.idle_timeout`).
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// A `Listener`. One without an address can't be served, and is refused by who asks for it.
#[must_use]
pub fn server_listener(model: &Listener) -> pb::Listener {
    let mut words = Words::default();
    if let Some(forward) = model.forward.as_ref().filter(|forward| !forward.is_by_chain()) {
        words.set("forward", forward_words(forward));
    }
    words.differs("proxy_protocol", model.proxy_protocol, &false);
    if let Some(capture) = &model.capture {
        let ports = match capture {
            Capture::Rest => "rest".to_owned(),
            Capture::Ports(ports) => {
                let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
                ports.join(" ")
            }
        };
        words.set("capture", ports.as_str());
    }
    pb::Listener {
        name: model.name.to_string(),
        address: model.address.as_ref().map(super::endpoints::address),
        filter_chains: model.filter_chains.iter().map(|chain| filter_chain(chain)).collect(),
        default_filter_chain: model.default_filter_chain.as_ref().map(|chain| filter_chain(chain)),
        // gRPC refuses every listener filter, and takes no chain that needs this one.
        listener_filters: if looks_inside(model) { vec![tls_inspector()] } else { Vec::new() },
        traffic_direction: match &model.forward {
            Some(Forward { to: ForwardTo::Chain { outbound: true }, .. }) => {
                TrafficDirection::Outbound.into()
            }
            _ => TrafficDirection::Inbound.into(),
        },
        metadata: words.into_metadata(),
        ..pb::Listener::default()
    }
}

fn forward_words(model: &Forward) -> Words {
    let mut words = Words::default();
    let to = match &model.to {
        ForwardTo::Application(_) => "application",
        ForwardTo::Authority(_) => "authority",
        // Of chains it is said in their filters.
        ForwardTo::EachAuthority | ForwardTo::Chain { .. } => "each_authority",
    };
    words.set("to", to);
    if let Some(authority) = model.authority() {
        words.set("authority", &**authority);
    }
    // Zero is none, as in Envoy.
    let idle = model.idle_timeout.unwrap_or_default();
    words.differs("idle_timeout", idle, &DEFAULT_IDLE_TIMEOUT);
    words
}

fn looks_inside(model: &Listener) -> bool {
    model.chains().any(|chain| {
        let matcher = &chain.matcher;
        matcher.transport_protocol.is_some()
            || !matcher.server_names.is_empty()
            || !matcher.application_protocols.is_empty()
    })
}

fn tls_inspector() -> pb::ListenerFilter {
    pb::ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(pb::listener_filter::ConfigType::TypedConfig(any(
            &TlsInspector::default(),
        ))),
        ..pb::ListenerFilter::default()
    }
}

fn filter_chain(model: &FilterChain) -> pb::FilterChain {
    let mut words = Words::default();
    if let Some(until) = model.until {
        words.set("until", Duration::from_secs(until.as_unix_seconds()));
    }
    if let Some(timeout) = model.detect {
        words.set("detect", timeout);
    }
    let rbac = model.network_rbac.iter().enumerate();
    let mut filters: Vec<_> = rbac
        .map(|(at, model)| network_filter(&format!("rbac-{at}"), any(&network_rbac(model))))
        .collect();
    if let Some(http) = &model.http {
        if let Some(most) = http.limits.max_body_bytes {
            words.set("max_body_bytes", most.to_string().as_str());
        }
        let name = "envoy.filters.network.http_connection_manager";
        let mut manager = manager(http);
        if let Some(forward) = &model.forward {
            let routes = &forward.routes;
            let routes = route_configuration(&routes.name, routes);
            manager.route_specifier = Some(kinds::RouteSpecifier::RouteConfig(routes));
        }
        filters.push(network_filter(name, any(&manager)));
    } else if let Some(forward) = &model.forward {
        filters.push(network_filter("envoy.filters.network.tcp_proxy", any(&tcp_proxy(forward))));
    }
    pb::FilterChain {
        name: model.name.to_string(),
        filter_chain_match: Some(matcher(&model.matcher))
            .filter(|said| *said != Default::default()),
        filters,
        transport_socket: model.tls.as_ref().map(|tls| transport_socket(tls)),
        transport_socket_connect_timeout: duration(model.handshake_timeout),
        metadata: words.into_metadata(),
        ..pb::FilterChain::default()
    }
}

/// Where the bytes of a chain go: by its only route.
fn tcp_proxy(model: &ChainForward) -> TcpProxy {
    let hosts = &model.routes.virtual_hosts;
    let route = hosts.first().and_then(|host| host.routes.first());
    let action = route.and_then(|route| match &route.action {
        RouteAction::Forward(action) => Some(action),
        _ => None,
    });
    let hashes = action.iter().flat_map(|action| &action.hash_policy);
    let by_address = hashes.filter(|policy| policy.source == HashSource::SourceIp);
    let source_ip = || HashPolicy {
        policy_specifier: Some(hash_policy::PolicySpecifier::SourceIp(Default::default())),
    };
    TcpProxy {
        stat_prefix: "tcp".to_owned(),
        // Zero is none, as in Envoy.
        idle_timeout: duration(model.idle_timeout.unwrap_or_default()),
        hash_policy: by_address.map(|_| source_ip()).collect(),
        cluster_specifier: action.and_then(|action| match &action.cluster {
            ClusterSpecifier::Cluster(name) => {
                Some(tcp::ClusterSpecifier::Cluster(name.to_string()))
            }
            ClusterSpecifier::Split(split) => {
                let part = |part: &SplitCluster| tcp::weighted_cluster::ClusterWeight {
                    name: part.cluster.to_string(),
                    weight: part.weight,
                    ..Default::default()
                };
                let clusters = split.clusters.iter().map(part).collect();
                Some(tcp::ClusterSpecifier::WeightedClusters(tcp::WeightedCluster { clusters }))
            }
            _ => None,
        }),
        ..TcpProxy::default()
    }
}

fn network_filter(name: &str, config: protobuf::Any) -> pb::Filter {
    let config_type = Some(pb::filter::ConfigType::TypedConfig(config));
    pb::Filter { name: name.to_owned(), config_type }
}

fn network_rbac(model: &RbacFilter) -> NetworkRbac {
    let http = rbac_filter(model);
    NetworkRbac {
        rules: http.rules,
        shadow_rules: http.shadow_rules,
        shadow_rules_stat_prefix: http.shadow_rules_stat_prefix,
        // Envoy: min_len 1.
        stat_prefix: match http.rules_stat_prefix.as_str() {
            "" => "mesh".to_owned(),
            prefix => prefix.to_owned(),
        },
        ..NetworkRbac::default()
    }
}

fn matcher(model: &FilterChainMatch) -> pb::FilterChainMatch {
    let blocks = |blocks: &[Cidr]| -> Vec<CidrRange> {
        let block = |block: &Cidr| CidrRange {
            address_prefix: block.first().to_string(),
            prefix_len: uint32(block.prefix_len().into()),
        };
        blocks.iter().map(block).collect()
    };
    let texts = |texts: &[std::sync::Arc<str>]| texts.iter().map(ToString::to_string).collect();
    let source_type = match model.source_type {
        SourceType::Any => filter_chain_match::ConnectionSourceType::Any,
        SourceType::SameIpOrLoopback => filter_chain_match::ConnectionSourceType::SameIpOrLoopback,
        SourceType::External => filter_chain_match::ConnectionSourceType::External,
    };
    pb::FilterChainMatch {
        destination_port: model.destination_port.and_then(|port| uint32(port.into())),
        prefix_ranges: blocks(&model.prefix_ranges),
        direct_source_prefix_ranges: blocks(&model.direct_source_prefix_ranges),
        source_type: source_type.into(),
        source_prefix_ranges: blocks(&model.source_prefix_ranges),
        source_ports: model.source_ports.iter().copied().map(u32::from).collect(),
        server_names: texts(&model.server_names),
        transport_protocol: match model.transport_protocol {
            None => "",
            Some(TransportProtocol::RawBuffer) => "raw_buffer",
            Some(TransportProtocol::Tls) => "tls",
            Some(TransportProtocol::Undetected) => "undetected",
        }
        .to_owned(),
        application_protocols: texts(&model.application_protocols),
        ..pb::FilterChainMatch::default()
    }
}

fn transport_socket(model: &DownstreamTls) -> TransportSocket {
    let mut common = CommonTlsContext {
        alpn_protocols: model.alpn.iter().map(ToString::to_string).collect(),
        ..identity(&model.identity)
    };
    if let Some(roots) = &model.roots {
        let crl = model.crl.as_ref().and_then(secret::source);
        common.validation_context_type = Some(certificate_authorities(roots, &model.san, crl));
    }
    let context = DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: flag(model.require_client_certificate),
        ..DownstreamTlsContext::default()
    };
    TransportSocket {
        name: super::tls::SOCKET.to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&context))),
    }
}

/// Without a limit, to Envoy, is zero.
fn timeout(limit: Option<Duration>) -> Option<protobuf::Duration> {
    duration(limit.unwrap_or_default())
}

fn manager(model: &HttpConnectionManager) -> hcm::HttpConnectionManager {
    use kinds::{ForwardClientCertDetails as Details, PathWithEscapedSlashesAction as Slashes};
    let routes = &model.route_configuration;
    let details = match model.forward_client_cert {
        ForwardClientCert::Sanitize => Details::Sanitize,
        ForwardClientCert::ForwardOnly => Details::ForwardOnly,
        ForwardClientCert::AppendForward => Details::AppendForward,
        ForwardClientCert::SanitizeSet => Details::SanitizeSet,
        ForwardClientCert::AlwaysForwardOnly => Details::AlwaysForwardOnly,
    };
    let slashes = match model.path.escaped_slashes {
        EscapedSlashes::Keep => Slashes::KeepUnchanged,
        EscapedSlashes::Reject => Slashes::RejectRequest,
        EscapedSlashes::UnescapeAndRedirect => Slashes::UnescapeAndRedirect,
        EscapedSlashes::UnescapeAndForward => Slashes::UnescapeAndForward,
    };
    let limits = &model.limits;
    hcm::HttpConnectionManager {
        stat_prefix: "inbound".to_owned(),
        route_specifier: Some(kinds::RouteSpecifier::RouteConfig(route_configuration(
            &routes.name,
            routes,
        ))),
        http_filters: filters::chain(&model.http_filters),
        // Envoy: 1 to 8192.
        max_request_headers_kb: uint32(limits.max_header_bytes.div_ceil(1024).clamp(1, 8192)),
        common_http_protocol_options: Some(
            envoy_types::pb::envoy::config::core::v3::HttpProtocolOptions {
                max_headers_count: uint32(limits.max_headers.max(1)),
                idle_timeout: timeout(model.timeouts.idle),
                ..Default::default()
            },
        ),
        stream_flush_timeout: timeout(model.timeouts.stream_flush),
        normalize_path: flag(model.path.normalize),
        merge_slashes: model.path.merge_slashes,
        path_with_escaped_slashes_action: slashes.into(),
        forward_client_cert_details: details.into(),
        // Said in any case: without it, Envoy believes whoever writes the header.
        use_remote_address: flag(model.client_address != ClientAddress::ForwardedFor),
        skip_xff_append: model.client_address == ClientAddress::Connection { append: false },
        xff_num_trusted_hops: model.xff_num_trusted_hops,
        ..hcm::HttpConnectionManager::default()
    }
}
