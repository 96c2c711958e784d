use super::{Message, Set, fields};
use crate::decode::testing::{address, assignment, decode_endpoints, n, secs, socket, structure};
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use envoy_types::pb::envoy::config::endpoint::v3::endpoint::AdditionalAddress;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::locality_lb_endpoints::LbConfig;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};

fn base() -> ClusterLoadAssignment {
    assignment(&["10.0.0.1"])
}

fn lb_endpoint(message: &mut ClusterLoadAssignment) -> &mut LbEndpoint {
    &mut message.endpoints[0].lb_endpoints[0]
}

fn endpoint(message: &mut ClusterLoadAssignment) -> &mut Endpoint {
    match &mut lb_endpoint(message).host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(
    name: &'static str,
    path: &'static str,
    fields: &[&'static str],
    changes: &[Set<ClusterLoadAssignment>],
) {
    Message { name, path, fields, base, decode: decode_endpoints, changes }.check();
}

#[test]
fn cluster_load_assignment() {
    let fields =
        fields!(ClusterLoadAssignment { cluster_name, endpoints, named_endpoints, policy });
    let changes: [Set<ClusterLoadAssignment>; 4] = [
        ("cluster_name", |m| m.cluster_name = "other".into()),
        ("endpoints", |m| m.endpoints.clear()),
        ("named_endpoints", |m| m.named_endpoints = [("x".into(), Endpoint::default())].into()),
        ("policy", |m| {
            m.policy = Some(Policy { overprovisioning_factor: n(100), ..Default::default() });
        }),
    ];
    check("ClusterLoadAssignment", "", &fields, &changes);
}

#[test]
#[expect(deprecated, reason = "every field")]
fn locality_lb_endpoints() {
    let _ = fields!(LocalityLbEndpoints {
        locality,
        metadata,
        lb_endpoints,
        load_balancing_weight,
        priority,
        proximity,
        lb_config,
    });
    let fields = [
        "locality",
        "metadata",
        "lb_endpoints",
        "load_balancing_weight",
        "priority",
        "proximity",
        "load_balancer_endpoints",
        "leds_cluster_locality_config",
    ];
    let changes: [Set<ClusterLoadAssignment>; 8] = [
        ("locality", |m| m.endpoints[0].locality = None),
        ("metadata", |m| {
            m.endpoints[0].metadata = Some(Metadata {
                filter_metadata: [("envoy.transport_socket_match".into(), structure("a", "b"))]
                    .into(),
                ..Default::default()
            });
        }),
        ("lb_endpoints", |m| m.endpoints[0].lb_endpoints.clear()),
        ("load_balancing_weight", |m| m.endpoints[0].load_balancing_weight = n(2)),
        ("priority", |m| {
            let mut first = m.endpoints[0].clone();
            first.lb_endpoints.clear();
            m.endpoints[0].priority = 1;
            m.endpoints.push(first);
        }),
        ("proximity", |m| m.endpoints[0].proximity = n(1)),
        ("load_balancer_endpoints", |m| {
            m.endpoints[0].lb_config = Some(LbConfig::LoadBalancerEndpoints(Default::default()));
        }),
        ("leds_cluster_locality_config", |m| {
            m.endpoints[0].lb_config =
                Some(LbConfig::LedsClusterLocalityConfig(Default::default()));
        }),
    ];
    check("LocalityLbEndpoints", "endpoints[0]", &fields, &changes);
}

#[test]
fn an_lb_endpoint() {
    let _ = fields!(LbEndpoint { health_status, metadata, load_balancing_weight, host_identifier });
    let fields =
        ["endpoint", "endpoint_name", "health_status", "metadata", "load_balancing_weight"];
    let changes: [Set<ClusterLoadAssignment>; 5] = [
        ("endpoint", |m| endpoint(m).hostname = "a".into()),
        ("endpoint_name", |m| {
            lb_endpoint(m).host_identifier = Some(HostIdentifier::EndpointName("x".into()));
        }),
        ("health_status", |m| lb_endpoint(m).health_status = 2),
        ("metadata", |m| {
            lb_endpoint(m).metadata = Some(Metadata {
                filter_metadata: [("envoy.lb".into(), structure("hash_key", "k"))].into(),
                ..Default::default()
            });
        }),
        ("load_balancing_weight", |m| lb_endpoint(m).load_balancing_weight = n(2)),
    ];
    check("LbEndpoint", "endpoints[0].lb_endpoints[0]", &fields, &changes);
}

#[test]
fn an_endpoint() {
    let fields = fields!(Endpoint {
        address,
        health_check_config,
        hostname,
        additional_addresses,
        observability_name,
    });
    let changes: [Set<ClusterLoadAssignment>; 5] = [
        ("address", |m| endpoint(m).address = address(socket("10.0.0.2", 81))),
        ("health_check_config", |m| endpoint(m).health_check_config = Some(Default::default())),
        ("hostname", |m| endpoint(m).hostname = "a".into()),
        ("additional_addresses", |m| {
            let address = address(socket("10.0.0.2", 81));
            endpoint(m).additional_addresses = vec![AdditionalAddress { address }];
        }),
        ("observability_name", |m| endpoint(m).observability_name = "x".into()),
    ];
    check("Endpoint", "endpoints[0].lb_endpoints[0].endpoint", &fields, &changes);
}

#[test]
fn a_policy_is_reported_by_its_own_fields() {
    let mut message = base();
    message.policy = Some(Policy {
        endpoint_stale_after: secs(1),
        weighted_priority_health: true,
        ..Default::default()
    });
    let decoded = decode_endpoints(&message);
    let expected = ["policy.endpoint_stale_after", "policy.weighted_priority_health"];
    assert_eq!(crate::decode::testing::ignored(&decoded), expected);
}
