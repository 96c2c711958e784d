//! Clusters of names.

use super::{Accepted, Refused, check_all, check_all_refused};
use crate::decode::testing::{
    assignment, custom, kind, lb_endpoint, locality, n, nanos, pipe, secs, socket, yes,
};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::DiscoveryType;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, SocketAddress, address};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{Endpoint, LbEndpoint};
use envoy_types::pb::envoy::extensions::clusters::dns::v3::DnsCluster;
use mesh_core::model::{self, Discovery, DnsLookupFamily, DnsOptions};
use std::time::Duration;

fn strict(cluster: &mut Cluster) {
    cluster.eds_cluster_config = None;
    cluster.cluster_discovery_type = kind(DiscoveryType::StrictDns);
    let mut assignment = assignment(&["db.internal"]);
    assignment.endpoints[0].locality = None;
    cluster.load_assignment = Some(assignment);
}

fn logical(cluster: &mut Cluster) {
    strict(cluster);
    cluster.cluster_discovery_type = kind(DiscoveryType::LogicalDns);
}

fn extension(cluster: &mut Cluster, config: &DnsCluster) {
    strict(cluster);
    custom(cluster, config);
}

fn first(cluster: &mut Cluster) -> &mut LbEndpoint {
    &mut cluster.load_assignment.as_mut().unwrap().endpoints[0].lb_endpoints[0]
}

fn endpoint(cluster: &mut Cluster) -> &mut Endpoint {
    match &mut first(cluster).host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
        other => panic!("{other:?}"),
    }
}

fn edit(cluster: &mut Cluster, change: impl FnOnce(&mut SocketAddress)) {
    let mut found = socket("db.internal", 80);
    change(&mut found);
    endpoint(cluster).address =
        Some(Address { address: Some(address::Address::SocketAddress(found)) });
}

fn expect_strict(model: &mut model::Cluster, change: impl FnOnce(&mut DnsOptions)) {
    let mut options = DnsOptions::new("db.internal", 80);
    options.respect_ttl = false;
    change(&mut options);
    model.discovery = Discovery::StrictDns(options);
}

const REFUSED: &[Refused] = &[
    (
        "gRFC A37: names are needed",
        |c| {
            strict(c);
            c.load_assignment = None;
        },
        "load_assignment: A37",
    ),
    (
        "no name",
        |c| {
            strict(c);
            c.load_assignment = Some(assignment(&[]));
        },
        "load_assignment.endpoints: no name",
    ),
    (
        "gRFC A37: one endpoint",
        |c| {
            logical(c);
            c.load_assignment = Some(assignment(&["a", "b"]));
        },
        "load_assignment.endpoints: not 1 with 2",
    ),
    (
        "gRFC A37: one locality",
        |c| {
            logical(c);
            c.load_assignment.as_mut().unwrap().endpoints.push(locality("b", &["b"]));
        },
        "load_assignment.endpoints: not 2 with 2",
    ),
    (
        "gRFC A37: an endpoint",
        |c| {
            logical(c);
            c.load_assignment = Some(assignment(&[]));
        },
        "load_assignment.endpoints: not 1 with 0",
    ),
    (
        "gRFC A37: a socket address",
        |c| {
            logical(c);
            endpoint(c).address = pipe("/x");
        },
        "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address: socket_address",
    ),
    (
        "gRFC A37: no resolver",
        |c| {
            logical(c);
            edit(c, |socket| socket.resolver_name = "mine".into());
        },
        "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.resolver_name: A37",
    ),
    (
        "gRFC A37: a port",
        |c| {
            logical(c);
            edit(c, |socket| socket.port_specifier = None);
        },
        "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: no port",
    ),
    (
        "gRFC A37: no named port",
        |c| {
            strict(c);
            edit(c, |socket| {
                socket.port_specifier = Some(PortSpecifier::NamedPort("http".into()));
            });
        },
        "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.named_port: port_value",
    ),
    (
        "RFC 1123",
        |c| {
            strict(c);
            edit(c, |socket| socket.address = "a b".into());
        },
        "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: `a b` is no host name",
    ),
    (
        "an endpoint is needed",
        |c| {
            strict(c);
            first(c).host_identifier = None;
        },
        "load_assignment.endpoints[0].lb_endpoints[0].endpoint: A37",
    ),
    (
        "gRFC A27: once",
        |c| {
            strict(c);
            c.load_assignment = Some(assignment(&["a", "a"]));
        },
        "load_assignment.endpoints[0].lb_endpoints[1]: a:80 stands twice",
    ),
    (
        "one priority",
        |c| {
            strict(c);
            c.load_assignment.as_mut().unwrap().endpoints[0].priority = 1;
        },
        "load_assignment.endpoints[0].priority: aggregate",
    ),
    (
        "Envoy: dns_refresh_rate > 1 ms",
        |c| {
            extension(c, &DnsCluster { dns_refresh_rate: nanos(1_000_000), ..Default::default() });
        },
        "cluster_type.typed_config.dns_refresh_rate: 1 ms",
    ),
    (
        "Envoy: dns_min_refresh_rate >= 1 s",
        |c| {
            let dns_min_refresh_rate = nanos(999_999_999);
            extension(c, &DnsCluster { dns_min_refresh_rate, ..Default::default() });
        },
        "cluster_type.typed_config.dns_min_refresh_rate: 1 s",
    ),
    (
        "Envoy: the family",
        |c| extension(c, &DnsCluster { dns_lookup_family: 77, ..Default::default() }),
        "cluster_type.typed_config.dns_lookup_family: 77",
    ),
    (
        "Envoy: the family",
        |c| {
            strict(c);
            c.dns_lookup_family = 5;
        },
        "dns_lookup_family: 5",
    ),
    (
        "Envoy: no eds_config in others",
        |c| {
            let eds = c.eds_cluster_config.take();
            strict(c);
            c.eds_cluster_config = eds;
        },
        "eds_cluster_config: only",
    ),
];

#[test]
fn what_is_refused() {
    check_all_refused(REFUSED);
}

#[test]
fn what_is_accepted() {
    check_all(ACCEPTED);
}

#[expect(deprecated, reason = "the fields that these types are configured by")]
const ACCEPTED: &[Accepted] = &[
    ("Envoy: STRICT_DNS", strict, |m| expect_strict(m, |_| {}), &[]),
    (
        "Envoy: the rates",
        |c| {
            strict(c);
            c.dns_refresh_rate = secs(60);
            c.respect_dns_ttl = true;
            c.dns_lookup_family = 1;
        },
        |m| {
            expect_strict(m, |options| {
                options.refresh_rate = Duration::from_secs(60);
                options.respect_ttl = true;
                options.lookup_family = Some(DnsLookupFamily::V4Only);
            });
        },
        &[],
    ),
    (
        "several names are one pool",
        |c| {
            strict(c);
            let assignment = c.load_assignment.as_mut().unwrap();
            assignment.endpoints.push(locality("b", &["10.0.0.1"]));
        },
        |m| expect_strict(m, |options| options.names.push(("10.0.0.1".into(), 80))),
        &["load_assignment.endpoints[1].locality"],
    ),
    (
        "gRFC A37: LOGICAL_DNS",
        logical,
        |m| {
            let mut options = DnsOptions::new("db.internal", 80);
            options.respect_ttl = false;
            m.discovery = Discovery::LogicalDns(options);
        },
        &[],
    ),
    (
        "Envoy: the DNS cluster is strict",
        |c| {
            let dns_lookup_family = 1;
            let dns_min_refresh_rate = secs(2);
            let config =
                DnsCluster { dns_lookup_family, dns_min_refresh_rate, ..Default::default() };
            extension(c, &config);
        },
        |m| {
            expect_strict(m, |options| {
                options.lookup_family = Some(DnsLookupFamily::Auto);
                options.min_refresh_rate = Duration::from_secs(2);
            });
        },
        &[],
    ),
    (
        "Envoy: or logical",
        |c| {
            let config = DnsCluster {
                all_addresses_in_single_endpoint: true,
                respect_dns_ttl: true,
                dns_jitter: secs(1),
                ..Default::default()
            };
            extension(c, &config);
        },
        |m| m.discovery = Discovery::LogicalDns(DnsOptions::new("db.internal", 80)),
        &["cluster_type.typed_config.dns_jitter"],
    ),
    (
        "an address has no health of its own",
        |c| {
            strict(c);
            let mut second = lb_endpoint("b");
            second.health_status = 2;
            let assignment = c.load_assignment.as_mut().unwrap();
            assignment.endpoints[0].lb_endpoints.push(second);
            first(c).health_status = 1;
            first(c).load_balancing_weight = n(2);
            c.wait_for_warm_on_init = yes();
        },
        |m| expect_strict(m, |options| options.names.push(("b".into(), 80))),
        &[
            "wait_for_warm_on_init",
            "load_assignment.endpoints[0].lb_endpoints[0].health_status",
            "load_assignment.endpoints[0].lb_endpoints[0].load_balancing_weight",
        ],
    ),
];
