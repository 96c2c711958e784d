//! Short ways to write messages, for the tests of decoders.

use super::{Context, Decoded, decode};
use crate::ResourceType;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::route::v3::route_action;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{
    Any, BoolValue, Duration, Struct, UInt32Value, UInt64Value, Value, value,
};
use prost::{Message, Name};

pub(super) fn n(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(super) fn n64(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

pub(super) fn yes() -> Option<BoolValue> {
    Some(BoolValue { value: true })
}

pub(super) fn secs(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

pub(super) fn nanos(nanos: i32) -> Option<Duration> {
    Some(Duration { seconds: 0, nanos })
}

pub(super) fn pct(value: f64) -> Option<Percent> {
    Some(Percent { value })
}

pub(super) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// What can't be read as any message: a length beyond the end.
pub(super) fn broken<M: Name>() -> Any {
    Any { type_url: M::type_url(), value: vec![0x0a, 0xff] }
}

pub(super) fn structure(key: &str, text: &str) -> Struct {
    let value = Value { kind: Some(value::Kind::StringValue(text.into())) };
    Struct { fields: [(key.into(), value)].into() }
}

pub(super) fn ads() -> Option<core::ConfigSource> {
    source(core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {}))
}

pub(super) fn own() -> Option<core::ConfigSource> {
    source(core::config_source::ConfigSourceSpecifier::Self_(core::SelfConfigSource::default()))
}

pub(super) fn source(
    specifier: core::config_source::ConfigSourceSpecifier,
) -> Option<core::ConfigSource> {
    let config_source_specifier = Some(specifier);
    Some(core::ConfigSource { config_source_specifier, ..Default::default() })
}

pub(super) fn socket(address: &str, port: u32) -> core::SocketAddress {
    let port_specifier = Some(core::socket_address::PortSpecifier::PortValue(port));
    core::SocketAddress { address: address.into(), port_specifier, ..Default::default() }
}

pub(super) fn address(socket: core::SocketAddress) -> Option<core::Address> {
    Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) })
}

pub(super) fn pipe(path: &str) -> Option<core::Address> {
    let pipe = core::Pipe { path: path.into(), mode: 0 };
    Some(core::Address { address: Some(core::address::Address::Pipe(pipe)) })
}

/// An endpoint at an address, or a name, with port 80.
pub(super) fn lb_endpoint(host: &str) -> endpoint::LbEndpoint {
    let address = address(socket(host, 80));
    let inner = endpoint::Endpoint { address, ..Default::default() };
    let host_identifier = Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(inner));
    endpoint::LbEndpoint { host_identifier, ..Default::default() }
}

/// A locality of a zone with endpoints, without weight.
pub(super) fn locality(zone: &str, hosts: &[&str]) -> endpoint::LocalityLbEndpoints {
    endpoint::LocalityLbEndpoints {
        locality: Some(core::Locality { zone: zone.into(), ..Default::default() }),
        lb_endpoints: hosts.iter().map(|host| lb_endpoint(host)).collect(),
        ..Default::default()
    }
}

/// An assignment of one locality with endpoints.
pub(super) fn assignment(hosts: &[&str]) -> endpoint::ClusterLoadAssignment {
    endpoint::ClusterLoadAssignment {
        cluster_name: "e".into(),
        endpoints: vec![locality("a", hosts)],
        ..Default::default()
    }
}

/// A cluster `c` of type EDS, with nothing else.
pub(super) fn eds() -> Cluster {
    Cluster {
        name: "c".into(),
        cluster_discovery_type: kind(DiscoveryType::Eds),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: ads(), service_name: "".into() }),
        ..Default::default()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the field is written")]
pub(super) fn kind(kind: DiscoveryType) -> Option<ClusterDiscoveryType> {
    Some(ClusterDiscoveryType::Type(kind as i32))
}

/// Makes a cluster one of a custom type.
pub(super) fn custom<M: Message + Name>(cluster: &mut Cluster, config: &M) {
    cluster.eds_cluster_config = None;
    let typed_config = Some(any(config));
    let custom = CustomClusterType { name: "x".into(), typed_config };
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::ClusterType(custom));
}

pub(super) fn context() -> Context {
    Context {
        trusted_server: false,
        certificate_providers: ["mesh".into()].into(),
        any_certificate_provider: false,
        static_secrets: false,
        all_listeners: false,
        servers: [].into(),
        ports: false,
        lb_policies: ["org.example.Mine".into()].into(),
    }
}

pub(super) fn decode_cluster(cluster: &Cluster) -> Decoded {
    decode(ResourceType::Cluster, &cluster.encode_to_vec(), &context())
}

pub(super) fn decode_endpoints(message: &endpoint::ClusterLoadAssignment) -> Decoded {
    decode(ResourceType::Endpoints, &message.encode_to_vec(), &context())
}

/// Checks that a resource is refused, with an error that contains `error`, which begins with a path.
#[track_caller]
pub(super) fn check_refused(decoded: &Decoded, rule: &str, error: &str) {
    let Err(errors) = &decoded.resource else {
        panic!("{rule}: accepted, without `{error}`");
    };
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let found = texts.iter().any(|text| {
        let (path, words) = error.split_once(": ").unwrap_or((error, ""));
        text.starts_with(path) && text.contains(words)
    });
    assert!(found, "{rule}: `{error}` is not in {texts:#?}");
}

/// The paths of what was ignored.
pub(super) fn ignored(decoded: &Decoded) -> Vec<&str> {
    decoded.ignored.iter().map(|ignored| ignored.path.as_str()).collect()
}

/// A hash policy of the caller's address.
pub(super) fn by_source_ip() -> route_action::HashPolicy {
    use route_action::hash_policy::{ConnectionProperties, PolicySpecifier};
    let source = PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true });
    route_action::HashPolicy { terminal: false, policy_specifier: Some(source) }
}

/// A hash policy of a header.
pub(super) fn by_header(name: &str) -> route_action::HashPolicy {
    use route_action::hash_policy::{Header, PolicySpecifier};
    let source = PolicySpecifier::Header(Header { header_name: name.into(), regex_rewrite: None });
    route_action::HashPolicy { terminal: false, policy_specifier: Some(source) }
}
