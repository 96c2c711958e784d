//! `type`, `cluster_type`, `eds_cluster_config`, `load_assignment`: where endpoints come from.

use super::{aggregate, dns};
use crate::decode::address::shorten;
use crate::decode::common::{self, Walk};
use crate::decode::endpoint::{self, Source};
use crate::resource::EndpointSource;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType,
};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use envoy_types::pb::envoy::extensions::clusters::dns::v3::DnsCluster;
use mesh_core::model;
use std::sync::Arc;

/// Where the endpoints come from; what the message says of them goes into `model`.
pub(super) fn decode(
    walk: &mut Walk,
    message: &Cluster,
    model: &mut model::Cluster,
) -> Option<EndpointSource> {
    // Envoy: nothing said is `STATIC`.
    let said = message.cluster_discovery_type.as_ref();
    let kind = match said {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => common::enumeration(walk, "type", *kind)?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            refuse_eds_config(walk, message);
            return walk.at("cluster_type", |walk| cluster_type(walk, custom, message, model));
        }
    };
    if kind != DiscoveryType::Eds {
        refuse_eds_config(walk, message);
    }
    match kind {
        DiscoveryType::Eds => eds(walk, message),
        DiscoveryType::Static => Some(inline(walk, message, model)),
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            dns::legacy(walk, message, model, kind == DiscoveryType::LogicalDns)
        }
        DiscoveryType::OriginalDst => {
            walk.error_at(
                "type",
                "ORIGINAL_DST is not supported: there is no redirected connection to follow; use EDS, STATIC or DNS",
            );
            None
        }
    }
}

/// Envoy: "cannot set eds_cluster_config in a non-EDS cluster".
fn refuse_eds_config(walk: &mut Walk, message: &Cluster) {
    if message.eds_cluster_config.is_some() {
        walk.error_at("eds_cluster_config", "it is only for clusters of type EDS (Envoy)");
    }
}

fn eds(walk: &mut Walk, message: &Cluster) -> Option<EndpointSource> {
    ignore_assignment(walk, message);
    let Some(config) = &message.eds_cluster_config else {
        walk.error_at("eds_cluster_config", "a cluster of type EDS needs it (gRFC A27)");
        return None;
    };
    walk.at("eds_cluster_config", |walk| {
        common::same_server(walk, "eds_config", config.eds_config.as_ref(), true);
        // gRFC A47: a cluster with an xdstp name must say the name of its endpoints.
        if config.service_name.is_empty() && message.name.starts_with("xdstp:") {
            walk.error_at("service_name", "a cluster with an xdstp name needs it (gRFC A47)");
        }
    });
    // gRFC A27: without a service name, the cluster's own.
    let named = Some(&config.service_name).filter(|name| !name.is_empty());
    Some(EndpointSource::Eds(named.unwrap_or(&message.name).as_str().into()))
}

fn inline(walk: &mut Walk, message: &Cluster, model: &mut model::Cluster) -> EndpointSource {
    let Some(assignment) = &message.load_assignment else {
        return EndpointSource::Inline(Arc::default());
    };
    walk.at("load_assignment", |walk| {
        let drops = policy(walk, assignment, model);
        let mut found = endpoint::assignment(walk, assignment, Source::Inline);
        found.drop_overloads = drops;
        EndpointSource::Inline(Arc::new(found))
    })
}

/// The policy of an assignment within a cluster: how much health counts goes into `model`, what is dropped
/// is handed back.
pub(super) fn policy(
    walk: &mut Walk,
    assignment: &ClusterLoadAssignment,
    model: &mut model::Cluster,
) -> Vec<model::DropOverload> {
    let policy = endpoint::policy(walk, assignment.policy.as_ref());
    if let Some(factor) = policy.overprovisioning_factor {
        model.lb_policy.overprovisioning_factor = factor;
    }
    policy.drop_overloads
}

fn ignore_assignment(walk: &mut Walk, message: &Cluster) {
    walk.ignored(
        message.load_assignment.is_some(),
        "load_assignment",
        "the endpoints come from elsewhere",
    );
}

fn cluster_type(
    walk: &mut Walk,
    custom: &CustomClusterType,
    message: &Cluster,
    model: &mut model::Cluster,
) -> Option<EndpointSource> {
    let Some(config) = &custom.typed_config else {
        walk.error_at(
            "typed_config",
            format_args!("`{}` has no configuration", shorten(&custom.name)),
        );
        return None;
    };
    walk.at("typed_config", |walk| {
        if common::holds::<ClusterConfig>(config) {
            let config = common::unpack::<ClusterConfig>(walk, config)?;
            walk.root(|walk| ignore_assignment(walk, message));
            let children = aggregate::decode(walk, &message.name, &config);
            model.discovery = model::Discovery::Aggregate(children.as_slice().into());
            return Some(EndpointSource::Aggregate(children));
        }
        if common::holds::<DnsCluster>(config) {
            let config = common::unpack::<DnsCluster>(walk, config)?;
            return dns::extension(walk, &config, message, model);
        }
        let name = common::type_name(&config.type_url);
        walk.error(format_args!(
            "`{}` is not supported; of the cluster types, the aggregate and the DNS cluster are",
            shorten(name)
        ));
        None
    })
}
