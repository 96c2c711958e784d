//! `envoy.config.endpoint.v3.ClusterLoadAssignment`: the endpoints of a cluster.
//!
//! The rules are gRFC A27's, with Envoy's bounds where A27 has none:
//!
//! - The priorities have no gaps, and each has a locality only once; the weights of a priority's
//!   localities add up to a `u32`.
//! - An address stands once in the whole assignment.
//! - A locality without weight takes no traffic and is left out, but only where others have one: an
//!   assignment that weighs nothing means "all alike" (Envoy: without weights, localities are one pool).
//!   Of a cluster's own assignment (static), nothing is left out.
//! - No endpoints are an empty assignment, not an error: calls fail, they do not wait.
//!
//! A field that does nothing is reported at its first place only: there may be a hundred thousand.

mod lb_endpoint;
mod policy;
#[cfg(test)]
mod tests;

pub(super) use policy::policy;

use super::common::{self, Walk};
use super::{Context, Decoded};
use crate::resource::{Resource, XdsEndpoints};
use crate::tls_labels;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as proto;
use envoy_types::pb::envoy::config::endpoint::v3::locality_lb_endpoints::LbConfig;
use mesh_core::model::{Address, ClusterLoadAssignment, Locality, LocalityEndpoints, TlsLabels};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The lowest priority (Envoy: `LocalityLbEndpoints.priority`).
pub(super) const LOWEST_PRIORITY: u32 = 128;

/// Where an assignment comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A resource of its own.
    Eds,
    /// Within a cluster.
    Inline,
}

/// Reports fields that do nothing, each at its first place.
#[derive(Debug, Default)]
pub(super) struct Once(BTreeSet<&'static str>);

impl Once {
    /// As [`Walk::ignored`].
    pub(super) fn ignored(
        &mut self,
        walk: &mut Walk,
        set: bool,
        field: &'static str,
        reason: &'static str,
    ) {
        if set && self.0.insert(field) {
            walk.ignored(true, field, reason);
        }
    }
}

/// Decodes an EDS resource.
pub(super) fn decode(body: &[u8], _: &Context) -> Decoded {
    let message = match common::parse::<proto::ClusterLoadAssignment>(body) {
        Ok(message) => message,
        Err(broken) => return broken,
    };
    let mut walk = Walk::default();
    let name: Option<Arc<str>> =
        (!message.cluster_name.is_empty()).then(|| message.cluster_name.as_str().into());
    if name.is_none() {
        walk.error_at("cluster_name", "it is empty; it is the resource's name");
    }
    let mut found = assignment(&mut walk, &message, Source::Eds);
    let policy = policy(&mut walk, message.policy.as_ref());
    found.drop_overloads = policy.drop_overloads;
    let resource = name.clone().map(|name| {
        let mut endpoints = XdsEndpoints::new(name, Arc::new(found));
        endpoints.overprovisioning_factor = policy.overprovisioning_factor;
        endpoints.has_locality_weights = has_weights(&message);
        Resource::Endpoints(Arc::new(endpoints))
    });
    walk.finish(name, resource)
}

/// The localities of an assignment.
pub(super) fn assignment(
    walk: &mut Walk,
    message: &proto::ClusterLoadAssignment,
    source: Source,
) -> ClusterLoadAssignment {
    // Envoy: "not implemented" in its own words; only an `endpoint_name` could refer to them.
    walk.ignored(!message.named_endpoints.is_empty(), "named_endpoints", "Envoy has no use for it");
    let mut reading = Reading {
        once: Once::default(),
        addresses: BTreeSet::new(),
        labels: Vec::new(),
        // gRFC A27: a locality without a weight is left out.
        weighed: source == Source::Eds && has_weights(message),
    };
    let mut places = BTreeSet::new();
    let mut weights = BTreeMap::<u32, u64>::new();
    let mut found = ClusterLoadAssignment::default();
    for (index, message) in message.endpoints.iter().enumerate() {
        walk.at(format_args!("endpoints[{index}]"), |walk| {
            let Some(locality) = reading.locality(walk, message) else { return };
            *weights.entry(locality.priority).or_default() += u64::from(locality.weight);
            // gRFC A27: a locality stands once in a priority.
            if !places.insert((locality.priority, locality.locality.clone())) {
                let Locality { region, zone, sub_zone, .. } = &locality.locality;
                walk.error_at(
                    "locality",
                    format_args!(
                        "`{region}/{zone}/{sub_zone}` stands twice in priority {} (gRFC A27); put its endpoints together",
                        locality.priority
                    ),
                );
            }
            found.localities.push(Arc::new(locality));
        });
    }
    check_priorities(walk, &weights);
    found
}

/// gRFC A27: priorities without gaps, and the weights of each add up to a `u32`.
fn check_priorities(walk: &mut Walk, weights: &BTreeMap<u32, u64>) {
    for (expected, (priority, sum)) in (0..).zip(weights) {
        if *priority != expected {
            walk.error_at(
                "endpoints",
                format_args!(
                    "there is priority {priority}, but no priority {expected} (gRFC A27: 0, 1, 2, … without gaps)"
                ),
            );
            break;
        }
        if *sum > u64::from(u32::MAX) {
            walk.error_at(
                "endpoints",
                format_args!(
                    "the weights of priority {priority} add up to {sum}, more than {} (gRFC A27); only their ratio counts",
                    u32::MAX
                ),
            );
        }
    }
}

/// What is known while the localities are read one after the other.
struct Reading {
    once: Once,
    addresses: BTreeSet<Address>,
    /// What endpoints and localities say of how they are secured.
    labels: Vec<Arc<TlsLabels>>,
    weighed: bool,
}

impl Reading {
    /// A locality, unless it is left out.
    fn locality(
        &mut self,
        walk: &mut Walk,
        message: &proto::LocalityLbEndpoints,
    ) -> Option<LocalityEndpoints> {
        let weight = weight(message);
        if self.weighed && weight == 0 {
            self.once.ignored(
                walk,
                true,
                "lb_endpoints",
                "a locality without load_balancing_weight takes no traffic (gRFC A27)",
            );
            return None;
        }
        if weight == 0 && message.load_balancing_weight.is_some() {
            walk.error_at("load_balancing_weight", "0 is not allowed (Envoy: at least 1)");
        }
        refuse_other_lists(walk, message);
        if message.priority > LOWEST_PRIORITY {
            walk.error_at(
                "priority",
                format_args!("{} is above {LOWEST_PRIORITY} (Envoy)", message.priority),
            );
            return None;
        }
        let unused = [
            (message.proximity.is_some(), "proximity", "Envoy has no use for it"),
            (
                is_of_no_use(message.metadata.as_ref()),
                "metadata",
                "of a locality's metadata only `envoy.transport_socket_match` is used",
            ),
        ];
        for (set, field, reason) in unused {
            // The same words name fields of endpoints: told apart by the reason.
            if set && self.once.0.insert(reason) {
                walk.ignored(true, field, reason);
            }
        }
        let mut locality = LocalityEndpoints::new(place(message.locality.as_ref()));
        locality.priority = message.priority;
        locality.weight = weight.max(1);
        locality.tls_labels = self.tls_labels(message.metadata.as_ref());
        for (index, endpoint) in message.lb_endpoints.iter().enumerate() {
            walk.at(format_args!("lb_endpoints[{index}]"), |walk| {
                if let Some(endpoint) = self.lb_endpoint(walk, endpoint) {
                    locality.endpoints.push(endpoint);
                }
            });
        }
        // Envoy: the weights of a locality's endpoints add up to a `u32` too.
        let sum: u64 = locality.endpoints.iter().map(|e| u64::from(e.weight)).sum();
        if sum > u64::from(u32::MAX) {
            walk.error_at(
                "lb_endpoints",
                format_args!(
                    "their weights add up to {sum}, more than {} (Envoy); only their ratio counts",
                    u32::MAX
                ),
            );
        }
        Some(locality)
    }
}

/// Endpoints stand in the locality itself.
fn refuse_other_lists(walk: &mut Walk, message: &proto::LocalityLbEndpoints) {
    match &message.lb_config {
        None => {}
        Some(LbConfig::LedsClusterLocalityConfig(_)) => walk.error_at(
            "leds_cluster_locality_config",
            "LEDS is not supported; list the endpoints in `lb_endpoints`",
        ),
        #[expect(deprecated, reason = "it is refused, by its name")]
        Some(LbConfig::LoadBalancerEndpoints(_)) => walk.error_at(
            "load_balancer_endpoints",
            "it is not supported, nor by Envoy; list the endpoints in `lb_endpoints`",
        ),
    }
}

/// Whether there is metadata, and it says more than how endpoints are secured, or nothing.
fn is_of_no_use(metadata: Option<&core::Metadata>) -> bool {
    metadata.is_some_and(|metadata| {
        let mut names =
            metadata.filter_metadata.keys().chain(metadata.typed_filter_metadata.keys());
        names.clone().next().is_none() || names.any(|name| name != tls_labels::NAME)
    })
}

/// Whether any locality has a weight, were it 0.
fn has_weights(message: &proto::ClusterLoadAssignment) -> bool {
    message.endpoints.iter().any(|locality| locality.load_balancing_weight.is_some())
}

/// A locality's weight; 0: none.
fn weight(message: &proto::LocalityLbEndpoints) -> u32 {
    message.load_balancing_weight.as_ref().map_or(0, |weight| weight.value)
}

/// Where a locality is; none is a place without a name (Envoy; gRPC refuses it).
fn place(message: Option<&core::Locality>) -> Locality {
    message.map_or_else(Locality::default, |place| {
        Locality::new(place.region.as_str(), place.zone.as_str(), place.sub_zone.as_str())
    })
}
