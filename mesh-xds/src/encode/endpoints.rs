//! Endpoints: `ClusterLoadAssignment`.

use super::matcher::fraction;
use super::words::Words;
use super::wrap::uint32;
use crate::tls_labels;
use envoy_types::pb::envoy::config::core::v3::{
    Address as PbAddress, HealthStatus as PbHealth, Locality as PbLocality, Pipe, SocketAddress,
    address, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    self as pb, LbEndpoint, LocalityLbEndpoints, cluster_load_assignment::Policy,
    cluster_load_assignment::policy::DropOverload as PbDropOverload, lb_endpoint::HostIdentifier,
};
use mesh_core::model::{
    Address, ClusterLoadAssignment, Endpoint, HealthStatus, Locality, LocalityEndpoints,
};
use std::sync::Arc;

/// The metadata that endpoints' hash keys are in (gRFC A76; Envoy: `envoy.lb`).
const LB_METADATA: &str = "envoy.lb";

/// The endpoints of the cluster `name`.
///
/// A Unix socket's path that is no UTF-8 is written with replacements, and then leads nowhere:
/// protobuf has no other texts.
#[must_use]
pub fn endpoints(name: &str, model: &ClusterLoadAssignment) -> pb::ClusterLoadAssignment {
    pb::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: model.localities.iter().map(|locality| locality_endpoints(locality)).collect(),
        policy: policy(model),
        ..pb::ClusterLoadAssignment::default()
    }
}

fn policy(model: &ClusterLoadAssignment) -> Option<Policy> {
    let drops = model.drop_overloads.iter().map(|drop| PbDropOverload {
        category: drop.category.to_string(),
        drop_percentage: Some(fraction(drop.share)),
    });
    let drop_overloads: Vec<_> = drops.collect();
    (!drop_overloads.is_empty()).then(|| Policy { drop_overloads, ..Policy::default() })
}

/// The names of a DNS cluster, as endpoints of one locality.
pub(super) fn names<'a>(
    cluster: &str,
    names: impl Iterator<Item = &'a (Arc<str>, u16)>,
) -> pb::ClusterLoadAssignment {
    let lb_endpoints = names.map(|(name, port)| lb_endpoint(socket(name, *port))).collect();
    pb::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints { lb_endpoints, ..LocalityLbEndpoints::default() }],
        ..pb::ClusterLoadAssignment::default()
    }
}

fn locality_endpoints(model: &LocalityEndpoints) -> LocalityLbEndpoints {
    let mut metadata = None;
    tls_labels::say(model.tls_labels.as_deref(), &mut metadata);
    LocalityLbEndpoints {
        metadata,
        locality: Some(locality(&model.locality)),
        lb_endpoints: model.endpoints.iter().map(endpoint).collect(),
        // Envoy: at least 1. Nothing said takes no traffic (gRFC A27; Envoy when it weighs
        // localities), which is what 0 means.
        load_balancing_weight: if model.weight == 0 { None } else { uint32(model.weight) },
        priority: model.priority,
        ..LocalityLbEndpoints::default()
    }
}

fn locality(model: &Locality) -> PbLocality {
    PbLocality {
        region: model.region.to_string(),
        zone: model.zone.to_string(),
        sub_zone: model.sub_zone.to_string(),
    }
}

fn endpoint(model: &Endpoint) -> LbEndpoint {
    let mut encoded = lb_endpoint(specifier(&model.address));
    if let Some(HostIdentifier::Endpoint(endpoint)) = &mut encoded.host_identifier {
        endpoint.hostname = model.hostname.as_deref().unwrap_or_default().to_owned();
    }
    encoded.set_health_status(match model.health {
        HealthStatus::Unknown => PbHealth::Unknown,
        HealthStatus::Healthy => PbHealth::Healthy,
        HealthStatus::Unhealthy => PbHealth::Unhealthy,
        HealthStatus::Draining => PbHealth::Draining,
        HealthStatus::Timeout => PbHealth::Timeout,
        HealthStatus::Degraded => PbHealth::Degraded,
    });
    encoded.load_balancing_weight = uint32(model.weight.max(1));
    if let Some(key) = &model.hash_key {
        let mut words = Words::default();
        words.set("hash_key", &**key);
        encoded.metadata = words.into_metadata_as(LB_METADATA);
    }
    tls_labels::say(model.tls_labels.as_deref(), &mut encoded.metadata);
    encoded
}

/// An address.
pub(super) fn address(model: &Address) -> PbAddress {
    PbAddress { address: Some(specifier(model)) }
}

fn specifier(model: &Address) -> address::Address {
    match model {
        Address::Socket(address) => socket(&address.ip().to_string(), address.port()),
        Address::Unix(path) => {
            address::Address::Pipe(Pipe { path: path.to_string_lossy().into_owned(), mode: 0 })
        }
    }
}

fn lb_endpoint(address: address::Address) -> LbEndpoint {
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(pb::Endpoint {
            address: Some(PbAddress { address: Some(address) }),
            ..pb::Endpoint::default()
        })),
        ..LbEndpoint::default()
    }
}

/// An IP address, or a name, with its port.
pub(super) fn socket(host: &str, port: u16) -> address::Address {
    address::Address::SocketAddress(SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    })
}
