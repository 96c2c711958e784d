//! What a configuration becomes as a whole, and that it is the same bytes every time.

use super::super::{Encoded, resources, route_configuration, route_configuration_of};
use super::{generated, words};
use crate::ResourceType;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment as PbAssignment;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration as PbRoutes;
use mesh_core::ConfigUpdate;
use mesh_core::model::{
    Cluster, Discovery, DnsOptions, Domain, ForwardAction, Route, RouteConfiguration, VirtualHost,
};
use mesh_core::update::{Mode, UnknownHosts};
use proptest::prelude::*;
use prost::Message;
use std::net::SocketAddr;
use std::sync::Arc;

fn host(name: &str, domains: &[&str]) -> VirtualHost {
    let domains = domains.iter().map(|domain| Domain::parse(domain).expect("a domain")).collect();
    VirtualHost::new(name, domains).route(Route::forward(ForwardAction::to("v1")))
}

fn names(resources: &[Encoded], kind: ResourceType) -> Vec<&str> {
    resources.iter().filter(|one| one.kind == kind).map(|one| &*one.name).collect()
}

#[test]
fn names_of_virtual_hosts_are_told_apart() {
    let update = ConfigUpdate::in_code()
        .virtual_host(host("a", &["a"]))
        .virtual_host(host("a", &["b"]))
        .virtual_host(host("", &["c"]));
    let resources = resources(&update);
    assert_eq!(
        names(&resources, ResourceType::RouteConfiguration),
        ["mesh", "mesh/a", "mesh/a#1", "mesh/#2"]
    );
}

/// Domains of all virtual hosts, as they go out in `mesh`, and whether ports are ignored.
#[track_caller]
fn check_domains(hosts: &[&[&str]], expected: &[&[&str]], ignores_ports: bool) {
    let mut model = RouteConfiguration::default();
    model.virtual_hosts = hosts.iter().map(|domains| Arc::new(host("h", domains))).collect();
    let encoded = route_configuration("mesh", &model);
    let domains: Vec<_> = encoded.virtual_hosts.iter().map(|host| host.domains.clone()).collect();
    assert_eq!(domains, expected);
    assert_eq!(encoded.ignore_port_in_host_matching, ignores_ports);
}

#[test]
fn a_domain_without_a_port_takes_every_port() {
    check_domains(&[&["a", "*.b"], &["*"]], &[&["a", "*.b"], &["*"]], true);
    check_domains(&[&["a"], &["a:81"]], &[&["a", "a:*"], &["a:81"]], false);
    check_domains(&[&["a", "b:80"], &["a:*"]], &[&["a", "b:80"], &["a:*"]], false);
    check_domains(&[&["[::1]", "::2"]], &[&["[::1]", "::2"]], true);
    check_domains(&[&["*.b:1"]], &[&["*.b:1"]], false);
}

#[test]
fn routes_for_one_authority_take_any() {
    let model = RouteConfiguration::default();
    let domains = |host: &VirtualHost| {
        route_configuration_of("mesh/h", &model, host).virtual_hosts[0].domains.clone()
    };
    assert_eq!(domains(&host("h", &["a", "*.b"])), ["a", "*.b", "*"]);
    assert_eq!(domains(&host("h", &["*"])), ["*"]);
}

#[test]
fn what_holds_for_the_whole_configuration() {
    let mut update = ConfigUpdate::in_code();
    update.mode = Mode::Observe;
    update.unknown_hosts = UnknownHosts::Passthrough;
    let resources = resources(&update);
    let routes = PbRoutes::decode(&*resources[0].body).expect("a message");
    assert_eq!(
        words(routes.metadata.as_ref()),
        "{ mode: \"observe\", unknown_hosts: \"passthrough\" }"
    );
}

#[test]
fn endpoints_of_clusters() {
    let mut named = Cluster::new("named");
    named.discovery = Discovery::StrictDns(DnsOptions::new("a", 1));
    let mut eager = Cluster::new("eager");
    eager.lb_policy.overprovisioning_factor = 100;
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let update = ConfigUpdate::in_code()
        .cluster(named, [address])
        .cluster(eager, [address])
        .assigned(Cluster::new("unknown"), None);
    let resources = resources(&update);
    assert_eq!(names(&resources, ResourceType::Cluster), ["eager", "named", "unknown"]);
    assert_eq!(names(&resources, ResourceType::Endpoints), ["eager"]);
    let endpoints = resources.iter().find(|one| one.kind == ResourceType::Endpoints);
    let endpoints = PbAssignment::decode(&*endpoints.expect("one").body).expect("a message");
    let factor = endpoints.policy.and_then(|policy| policy.overprovisioning_factor);
    assert_eq!(factor.map(|factor| factor.value), Some(100));
}

proptest! {
    /// Maps are in another order in every process, and in every map of one process.
    #[test]
    fn the_same_content_is_the_same_bytes(seed: u64) {
        let update = generated::update(seed, generated::Range::All);
        let (first, second) = (resources(&update), resources(&update));
        prop_assert_eq!(first, second);
    }

    /// Sorting entries moves bytes and changes nothing else.
    #[test]
    fn the_bytes_are_the_message(seed: u64) {
        let update = generated::update(seed, generated::Range::All);
        let routes = route_configuration("mesh", &update.route_configuration);
        let bytes = super::super::deterministic::route_configuration(&routes);
        prop_assert_eq!(PbRoutes::decode(&*bytes), Ok(routes));
        for update in update.clusters.values() {
            let cluster = super::super::cluster(&update.cluster);
            let bytes = super::super::deterministic::cluster(&cluster);
            prop_assert_eq!(Message::decode(&*bytes), Ok(cluster));
        }
    }
}
