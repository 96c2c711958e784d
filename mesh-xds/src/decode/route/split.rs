//! `WeightedCluster`: several clusters by weight.
//!
//! A part of weight 0 is left out: it gets nothing, so its cluster is not asked for (as in grpc-go).
//! The sum of weights counts; `total_weight` is not needed any more (Envoy, gRPC).

use super::header;
use crate::decode::common::{Walk, ignored, refused};
use crate::decode::listener::http_filter;
use envoy_types::pb::envoy::config::route::v3 as pb;
use mesh_core::model::{ClusterSpecifier, HashPolicy, Split, SplitBy, SplitCluster};
use pb::weighted_cluster::{ClusterWeight, RandomValueSpecifier};

/// Decodes a split whose draw may be made by the route's hash.
#[expect(deprecated, reason = "control planes still send `total_weight`")]
pub(super) fn decode(
    walk: &mut Walk,
    message: &pb::WeightedCluster,
    hash: &[HashPolicy],
) -> Option<Split> {
    ignored!(walk, message, {
        runtime_key_prefix: "there are no run-time settings; the weights hold",
    });
    let mut clusters = Vec::with_capacity(message.clusters.len());
    for (at, part) in message.clusters.iter().enumerate() {
        clusters.extend(walk.at(format_args!("clusters[{at}]"), |walk| decode_part(walk, part)));
    }
    let weights = message.clusters.iter().filter_map(|part| part.weight);
    let sum: u64 = weights.map(|weight| u64::from(weight.value)).sum();
    if sum == 0 {
        walk.error_at("clusters", "the weights add up to 0: nothing would get the calls");
    } else if sum > u64::from(u32::MAX) {
        // gRFC A28, Envoy.
        walk.error_at(
            "clusters",
            format_args!(
                "the weights add up to {sum}, more than {}: only their ratio counts",
                u32::MAX
            ),
        );
    }
    let total = message.total_weight.map_or(0, |total| u64::from(total.value));
    walk.ignored(
        total != 0 && total != sum,
        "total_weight",
        "it is not the sum of the weights, which counts",
    );
    let mut split = Split::new(clusters);
    split.by = match &message.random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => {
            SplitBy::HeaderValue(header::header_name(walk, "header_name", name)?)
        }
        Some(RandomValueSpecifier::UseHashPolicy(by)) if by.value => SplitBy::Hash(hash.to_vec()),
        Some(RandomValueSpecifier::UseHashPolicy(_)) | None => SplitBy::Random,
    };
    Some(split)
}

fn decode_part(walk: &mut Walk, message: &ClusterWeight) -> Option<SplitCluster> {
    refused!(walk, message, {
        cluster_header: "a part of a split has a `name`: no header names it here",
        metadata_match:
            "subsets of a cluster are not supported, and all of it would get the calls: give each \
             subset a cluster",
        host_rewrite_specifier:
            "the authority is changed for the whole route: set `host_rewrite_literal` there",
    });
    if message.name.is_empty() && message.cluster_header.is_empty() {
        walk.error_at("name", "a cluster has a name");
    }
    let filters = http_filter::overrides(walk, &message.typed_per_filter_config);
    let reason = "filters are a server's, which has no parts";
    walk.unguarded(!filters.is_empty(), "typed_per_filter_config", reason);
    let headers = header::edits(walk, &header::lists!(message));
    let weight = message.weight.map_or(0, |weight| weight.value);
    let mut part = SplitCluster::new(&*message.name, weight);
    part.headers = headers;
    (weight > 0).then_some(part)
}

/// The parts of a split.
pub(super) fn parts(specifier: &ClusterSpecifier) -> Option<&Vec<SplitCluster>> {
    match specifier {
        ClusterSpecifier::Split(split) => Some(&split.clusters),
        _ => None,
    }
}
