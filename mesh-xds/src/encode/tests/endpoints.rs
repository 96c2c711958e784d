//! Endpoints: the model → Envoy's fields.

use super::super::endpoints;
use super::short;
use mesh_core::model::{
    Address, ClusterLoadAssignment, Endpoint, HealthStatus, Locality, LocalityEndpoints,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

#[test]
fn endpoints_and_localities() {
    let mut first = Endpoint::new(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80)).into());
    first.health = HealthStatus::Draining;
    first.hostname = Some("h".into());
    first.hash_key = Some("k".into());
    first.weight = 0;
    let second = Endpoint::new(Address::Unix(Arc::from(Path::new("/run/a.sock"))));
    let mut near = LocalityEndpoints::new(Locality::new("r", "z", "s"));
    near.endpoints = vec![first, second];
    let mut far = LocalityEndpoints::new(Locality::default());
    (far.priority, far.weight) = (1, 0);
    let mut model = ClusterLoadAssignment::default();
    model.localities = vec![Arc::new(near), Arc::new(far)];
    let encoded = endpoints("c", &model);
    let localities = encoded.endpoints.iter().map(|one| {
        let place =
            one.locality.as_ref().map(|l| format!("{}/{}/{}", l.region, l.zone, l.sub_zone));
        let weight = short(&one.load_balancing_weight);
        format!("{} {weight} {}", place.unwrap_or_default(), one.priority)
    });
    // Envoy: a weight is at least 1; none is no traffic.
    assert_eq!(localities.collect::<Vec<_>>(), ["r/z/s 1 0", "// None 1"]);
    let lines: Vec<_> = encoded.endpoints[0]
        .lb_endpoints
        .iter()
        .map(|one| {
            use envoy_types::pb::envoy::config::core::v3::address::Address as Kind;
            use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
            let Some(HostIdentifier::Endpoint(endpoint)) = &one.host_identifier else {
                panic!("named")
            };
            let address = match endpoint.address.as_ref().and_then(|a| a.address.as_ref()) {
                Some(Kind::SocketAddress(socket)) => {
                    format!("{} {}", socket.address, short(&socket.port_specifier))
                }
                Some(Kind::Pipe(pipe)) => pipe.path.clone(),
                _ => "none".to_owned(),
            };
            let key = one.metadata.as_ref().map(|m| m.filter_metadata["envoy.lb"].fields.len());
            let (health, weight) = (one.health_status(), short(&one.load_balancing_weight));
            format!("{address} {health:?} {weight} {:?} {}", endpoint.hostname, short(&key))
        })
        .collect();
    let expected = ["::1 PortValue(80) Draining 1 \"h\" 1", "/run/a.sock Unknown 1 \"\" None"];
    assert_eq!(lines, expected);
}
