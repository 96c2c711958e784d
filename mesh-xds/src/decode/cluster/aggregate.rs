//! The cluster type `envoy.clusters.aggregate`: other clusters, the earlier ones first (gRFC A37).
//!
//! How deep aggregates nest, and whether they name each other in a circle, is checked where resources
//! are linked: only there are the others known.

use crate::decode::common::{self, Walk};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::ClusterDiscoveryType;
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Whether this is an aggregate cluster.
pub(super) fn is_one(message: &Cluster) -> bool {
    match &message.cluster_discovery_type {
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            custom.typed_config.as_ref().is_some_and(common::holds::<ClusterConfig>)
        }
        _ => false,
    }
}

/// The clusters of an aggregate.
pub(super) fn decode(walk: &mut Walk, own: &str, config: &ClusterConfig) -> Vec<Arc<str>> {
    if config.clusters.is_empty() {
        walk.error_at("clusters", "it is empty (Envoy: min_items 1); name at least one cluster");
    }
    let mut seen = BTreeSet::new();
    let mut clusters: Vec<Arc<str>> = Vec::with_capacity(config.clusters.len());
    for (index, name) in config.clusters.iter().enumerate() {
        let field = format_args!("clusters[{index}]");
        if name.is_empty() {
            walk.error_at(field, "a cluster's name is empty");
        } else if name == own {
            walk.error_at(field, format_args!("`{name}` names itself (gRFC A37: no cycles)"));
        } else if seen.insert(name) {
            clusters.push(name.as_str().into());
        } else {
            walk.ignored(true, field, "of two equal names the earlier one counts (gRFC A37)");
        }
    }
    clusters
}
