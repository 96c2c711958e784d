use crate::decode::testing::{
    address, assignment, broken, check_refused, decode_endpoints, ignored, lb_endpoint, locality,
    n, pipe, secs, socket, structure,
};
use crate::{Resource, XdsEndpoints};
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, Metadata, SocketAddress, address as kinds,
};
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::{
    Policy, policy::DropOverload as Drop,
};
use envoy_types::pb::envoy::config::endpoint::v3::endpoint::AdditionalAddress;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::locality_lb_endpoints::LbConfig;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use mesh_core::model::{DropOverload, Fraction, HealthStatus, TlsLabels};
use prost::Message;
use std::sync::Arc;

/// A rule, a change of an assignment of one endpoint, and the error.
type Refused = (&'static str, fn(&mut ClusterLoadAssignment), &'static str);

fn place(message: &mut ClusterLoadAssignment) -> &mut LocalityLbEndpoints {
    &mut message.endpoints[0]
}

fn first(message: &mut ClusterLoadAssignment) -> &mut LbEndpoint {
    &mut message.endpoints[0].lb_endpoints[0]
}

fn inner(message: &mut ClusterLoadAssignment) -> &mut Endpoint {
    match &mut first(message).host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
        other => panic!("{other:?}"),
    }
}

fn set_socket(message: &mut ClusterLoadAssignment, change: impl FnOnce(&mut SocketAddress)) {
    let mut found = socket("10.0.0.1", 80);
    change(&mut found);
    inner(message).address = address(found);
}

fn more(message: &mut ClusterLoadAssignment, address: Option<Address>) {
    inner(message).additional_addresses.push(AdditionalAddress { address });
}

fn drops(message: &mut ClusterLoadAssignment, numerator: u32, denominator: i32) {
    let drop_percentage = Some(FractionalPercent { numerator, denominator });
    let drop = Drop { category: "x".into(), drop_percentage };
    message.policy.get_or_insert_default().drop_overloads.push(drop);
}

const SOCKET: &str = "endpoints[0].lb_endpoints[0].endpoint.address.socket_address";

#[test]
fn addresses_that_are_refused() {
    type Row = (&'static str, fn(&mut SocketAddress), &'static str);
    let rows: [Row; 9] = [
        ("gRFC A27: an IP address", |s| s.address = "localhost".into(), "address: no IP address"),
        ("gRFC A27: an IP address", |s| s.address.clear(), "address: no IP address"),
        (
            "a zone is no part of it",
            |s| s.address = "fe80::1%eth0".into(),
            "address: no IP address",
        ),
        ("gRFC A27: a port", |s| s.port_specifier = None, "port_value: no port"),
        ("1 to 65535", |s| s.port_specifier = Some(PortSpecifier::PortValue(0)), "port_value: 0"),
        (
            "1 to 65535",
            |s| s.port_specifier = Some(PortSpecifier::PortValue(65_536)),
            "port_value: 65536",
        ),
        ("TCP", |s| s.protocol = 1, "protocol: only TCP"),
        ("no resolver", |s| s.resolver_name = "x".into(), "resolver_name: not supported"),
        (
            "no namespace",
            |s| s.network_namespace_filepath = "/x".into(),
            "network_namespace_filepath: own",
        ),
    ];
    for (rule, change, error) in rows {
        let mut message = assignment(&["10.0.0.1"]);
        set_socket(&mut message, change);
        check_refused(&decode_endpoints(&message), rule, &format!("{SOCKET}.{error}"));
    }
}

const REFUSED: &[Refused] = &[
    ("Envoy: min_len 1", |m| m.cluster_name.clear(), "cluster_name: empty"),
    (
        "gRFC A27: an endpoint",
        |m| first(m).host_identifier = None,
        "endpoints[0].lb_endpoints[0].endpoint: missing",
    ),
    (
        "Envoy: endpoint_name is not implemented",
        |m| first(m).host_identifier = Some(HostIdentifier::EndpointName("x".into())),
        "endpoints[0].lb_endpoints[0].endpoint_name: not supported",
    ),
    (
        "gRFC A27: an address",
        |m| inner(m).address = None,
        "endpoints[0].lb_endpoints[0].endpoint.address: none",
    ),
    (
        "no internal listener",
        |m| {
            let internal = kinds::Address::EnvoyInternalAddress(Default::default());
            inner(m).address = Some(Address { address: Some(internal) });
        },
        "endpoints[0].lb_endpoints[0].endpoint.address.envoy_internal_address: only in an Envoy",
    ),
    (
        "no abstract socket",
        |m| inner(m).address = pipe("@x"),
        "endpoints[0].lb_endpoints[0].endpoint.address.pipe.path: `@x`",
    ),
    (
        "Linux: 107 bytes",
        |m| inner(m).address = pipe(&format!("/{}", "x".repeat(107))),
        "endpoints[0].lb_endpoints[0].endpoint.address.pipe.path: 107",
    ),
    (
        "Envoy: weight >= 1",
        |m| first(m).load_balancing_weight = n(0),
        "endpoints[0].lb_endpoints[0].load_balancing_weight: 0",
    ),
    (
        "Envoy: the health",
        |m| first(m).health_status = 6,
        "endpoints[0].lb_endpoints[0].health_status: 6",
    ),
    (
        "gRFC A27: an address once",
        |m| place(m).lb_endpoints.push(lb_endpoint("10.0.0.1")),
        "endpoints[0].lb_endpoints[1].endpoint.address: 10.0.0.1:80 stands twice",
    ),
    (
        "gRFC A27: an address once, in whatever locality",
        |m| m.endpoints.push(locality("b", &["10.0.0.1"])),
        "endpoints[1].lb_endpoints[0].endpoint.address: twice",
    ),
    (
        "gRFC A61: among the additional ones too",
        |m| more(m, address(socket("10.0.0.1", 80))),
        "endpoints[0].lb_endpoints[0].endpoint.additional_addresses[0].address: twice",
    ),
    (
        "gRFC A61: additional ones are checked",
        |m| more(m, address(socket("x", 80))),
        "endpoints[0].lb_endpoints[0].endpoint.additional_addresses[0].address.socket_address.address: `x`",
    ),
    (
        "Envoy: additional ones are IP addresses",
        |m| more(m, pipe("/x")),
        "endpoints[0].lb_endpoints[0].endpoint.additional_addresses[0].address: IP",
    ),
    (
        "gRFC A27: a locality once per priority",
        |m| m.endpoints.push(locality("a", &["10.0.0.2"])),
        "endpoints[1].locality: `/a/` stands twice in priority 0",
    ),
    (
        "gRFC A27: no gap",
        |m| place(m).priority = 1,
        "endpoints: there is priority 1, but no priority 0",
    ),
    (
        "gRFC A27: no gap",
        |m| {
            m.endpoints.push(locality("b", &["10.0.0.2"]));
            m.endpoints[1].priority = 2;
        },
        "endpoints: there is priority 2, but no priority 1",
    ),
    (
        "gRFC A27: a priority without weight is a gap",
        |m| {
            m.endpoints.push(locality("b", &["10.0.0.2"]));
            m.endpoints[1].priority = 1;
            m.endpoints[1].load_balancing_weight = n(1);
        },
        "endpoints: there is priority 1, but no priority 0",
    ),
    ("Envoy: priority <= 128", |m| place(m).priority = 129, "endpoints[0].priority: 129"),
    (
        "gRFC A27: weights fit a u32",
        |m| {
            m.endpoints.push(locality("b", &["10.0.0.2"]));
            m.endpoints[0].load_balancing_weight = n(u32::MAX);
            m.endpoints[1].load_balancing_weight = n(1);
        },
        "endpoints: add up to 4294967296",
    ),
    (
        "Envoy: weights of endpoints fit a u32",
        |m| {
            place(m).lb_endpoints.push(lb_endpoint("10.0.0.2"));
            place(m).lb_endpoints[0].load_balancing_weight = n(u32::MAX);
        },
        "endpoints[0].lb_endpoints: add up to 4294967296",
    ),
    (
        "gRFC A95: no LEDS",
        |m| place(m).lb_config = Some(LbConfig::LedsClusterLocalityConfig(Default::default())),
        "endpoints[0].leds_cluster_locality_config: LEDS is not supported",
    ),
    (
        "Envoy: min_len 1",
        |m| {
            drops(m, 1, 0);
            m.policy.as_mut().unwrap().drop_overloads[0].category.clear();
        },
        "policy.drop_overloads[0].category: empty",
    ),
    (
        "Envoy: the denominator",
        |m| drops(m, 1, 3),
        "policy.drop_overloads[0].drop_percentage.denominator: 3",
    ),
    (
        "Envoy: > 0",
        |m| m.policy = Some(Policy { overprovisioning_factor: n(0), ..Default::default() }),
        "policy.overprovisioning_factor: 0",
    ),
];

#[test]
fn what_is_refused() {
    for (rule, change, error) in REFUSED {
        let mut message = assignment(&["10.0.0.1"]);
        change(&mut message);
        check_refused(&decode_endpoints(&message), rule, error);
    }
}

#[track_caller]
fn made(message: &ClusterLoadAssignment) -> XdsEndpoints {
    match decode_endpoints(message).resource {
        Ok(Resource::Endpoints(found)) => Arc::unwrap_or_clone(found),
        other => panic!("{other:#?}"),
    }
}

#[test]
fn no_endpoints_are_an_empty_assignment() {
    let found = made(&assignment(&[]));
    assert!(found.assignment.is_empty());
    assert_eq!((&*found.name, found.assignment.localities.len()), ("e", 1));
    let none = ClusterLoadAssignment { cluster_name: "e".into(), ..Default::default() };
    assert_eq!(made(&none).assignment.localities, []);
}

#[test]
fn what_is_said_of_an_endpoint() {
    let mut message = assignment(&["10.0.0.1", "::1"]);
    first(&mut message).load_balancing_weight = n(7);
    first(&mut message).metadata = Some(Metadata {
        filter_metadata: [("envoy.lb".into(), structure("hash_key", "k"))].into(),
        ..Default::default()
    });
    inner(&mut message).hostname = "a.b".into();
    place(&mut message).lb_endpoints.push(lb_endpoint("10.0.0.2"));
    let found = made(&message);
    let endpoints = &found.assignment.localities[0].endpoints;
    let texts: Vec<_> = endpoints.iter().map(|e| e.address.to_string()).collect();
    assert_eq!(texts, ["10.0.0.1:80", "[::1]:80", "10.0.0.2:80"]);
    assert_eq!(endpoints[0].weight, 7);
    assert_eq!(endpoints[0].hostname.as_deref(), Some("a.b"));
    assert_eq!(endpoints[0].hash_key.as_deref(), Some("k"), "gRFC A76");
    assert_eq!((endpoints[1].weight, &endpoints[1].hostname), (1, &None));
    inner(&mut message).address = pipe("/run/app.sock");
    let unix = made(&message).assignment.localities[0].endpoints[0].address.to_string();
    assert_eq!(unix, "unix:/run/app.sock");
}

/// gRFC A76 and Envoy's `transport_socket_matches`: other metadata is reported, this is not.
#[test]
fn what_decides_how_endpoints_are_secured() {
    let of = |name: &str, value: &str| {
        let label = ("envoy.transport_socket_match".into(), structure(name, value));
        Some(Metadata { filter_metadata: [label].into(), ..Default::default() })
    };
    let mut message = assignment(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    message.endpoints[0].metadata = of("zone", "a");
    for (index, value) in [(0, "istio"), (1, "disabled"), (3, "istio")] {
        message.endpoints[0].lb_endpoints[index].metadata = of("tlsMode", value);
    }
    let decoded = decode_endpoints(&message);
    assert_eq!(ignored(&decoded), [""; 0]);
    let found = made(&message);
    let locality = &found.assignment.localities[0];
    let text = |labels: &Option<Arc<TlsLabels>>| labels.as_ref().map(ToString::to_string);
    assert_eq!(text(&locality.tls_labels).as_deref(), Some("zone=a"));
    let endpoints = &locality.endpoints;
    let said: Vec<_> = endpoints.iter().map(|endpoint| text(&endpoint.tls_labels)).collect();
    let said: Vec<_> = said.iter().map(Option::as_deref).collect();
    let expected = [Some("tlsMode=istio"), Some("tlsMode=disabled"), None, Some("tlsMode=istio")];
    assert_eq!(said, expected);
    let pointer = |index: usize| endpoints[index].tls_labels.as_ref().map(Arc::as_ptr);
    assert_eq!(pointer(0), pointer(3), "what many say is there once");
}

#[test]
fn every_health() {
    use HealthStatus::{Degraded, Draining, Healthy, Timeout, Unhealthy, Unknown};
    for (number, expected) in (0..).zip([Unknown, Healthy, Unhealthy, Draining, Timeout, Degraded])
    {
        let mut message = assignment(&["10.0.0.1"]);
        first(&mut message).health_status = number;
        assert_eq!(made(&message).assignment.localities[0].endpoints[0].health, expected);
    }
}

#[test]
fn localities_without_weight_are_left_out_where_others_have_one() {
    let mut message = assignment(&["10.0.0.1"]);
    message.endpoints.push(locality("b", &["10.0.0.2"]));
    let zones = |message: &ClusterLoadAssignment| {
        let found = made(message);
        let localities = found.assignment.localities.iter();
        localities.map(|l| (l.locality.zone.to_string(), l.weight)).collect::<Vec<_>>()
    };
    assert_eq!(zones(&message), [("a".into(), 1), ("b".into(), 1)], "Envoy: no weights at all");
    assert!(!made(&message).has_locality_weights);
    message.endpoints[1].load_balancing_weight = n(5);
    assert_eq!(zones(&message), [("b".into(), 5)], "gRFC A27");
    assert!(made(&message).has_locality_weights);
    assert_eq!(ignored(&decode_endpoints(&message)), ["endpoints[0].lb_endpoints"]);
    message.endpoints[1].load_balancing_weight = n(0);
    assert_eq!(zones(&message), [], "gRFC A27: weight 0");
}

#[test]
fn shares_that_are_dropped() {
    for (numerator, denominator, expected) in [
        (30, 0, Fraction::percent(30)),
        (150, 1, Fraction::per_million(15_000)),
        (7, 2, Fraction::per_million(7)),
        (101, 0, Fraction::ALL),
        (u32::MAX, 0, Fraction::ALL),
        (0, 0, Fraction::NONE),
    ] {
        let mut message = assignment(&["10.0.0.1"]);
        drops(&mut message, numerator, denominator);
        message.policy.as_mut().unwrap().overprovisioning_factor = n(100);
        let found = made(&message);
        assert_eq!(found.assignment.drop_overloads, [DropOverload::new("x", expected)]);
        assert_eq!(found.overprovisioning_factor, Some(100));
    }
}

#[test]
fn what_does_nothing_is_reported_once() {
    let mut message = assignment(&["10.0.0.1", "10.0.0.2"]);
    for endpoint in &mut message.endpoints[0].lb_endpoints {
        endpoint.metadata = Some(Metadata {
            filter_metadata: [("istio".into(), structure("workload", "x"))].into(),
            ..Default::default()
        });
    }
    message.endpoints[0].metadata = Some(Metadata::default());
    message.policy = Some(Policy { endpoint_stale_after: secs(1), ..Default::default() });
    let decoded = decode_endpoints(&message);
    let expected = [
        "endpoints[0].metadata",
        "endpoints[0].lb_endpoints[0].metadata",
        "policy.endpoint_stale_after",
    ];
    assert_eq!(ignored(&decoded), expected);
    assert!(decoded.resource.is_ok());
}

#[test]
fn what_is_no_message_is_refused_without_a_name() {
    let bytes = broken::<ClusterLoadAssignment>().value;
    let decoded = super::decode(&bytes, &crate::decode::testing::context());
    check_refused(&decoded, "first phase", "not a valid message");
    assert_eq!(decoded.name, None);
    assert!(ClusterLoadAssignment::decode(&*bytes).is_err());
}
