//! `TcpProxy` of a proxy's port: where bytes go.
//!
//! It becomes a route that takes everything, by the name of its listener: a connection of bytes is routed as a call.

use crate::XdsRouteConfiguration;
use crate::decode::common::{self, Walk, ignored, refused};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use envoy_types::pb::envoy::r#type::v3::{
    HashPolicy as PbHashPolicy, hash_policy::PolicySpecifier,
};
use mesh_core::model::{
    ClusterSpecifier, Domain, ForwardAction, HashPolicy, HashSource, Route, RouteConfiguration,
    Split, SplitCluster, VirtualHost,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tcp_proxy::weighted_cluster::ClusterWeight;

/// Envoy's default of `idle_timeout`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
const SUBSETS: &str = "subsets of a cluster are not supported, and all of it would get the connections: give each \
                       subset a cluster";

/// Where bytes go.
pub(super) struct Bytes {
    pub(super) routes: XdsRouteConfiguration,
    /// `None`: no limit.
    pub(super) idle_timeout: Option<Duration>,
}

/// Where the bytes of the listener called `listener` go.
pub(super) fn decode(walk: &mut Walk, message: &TcpProxy, listener: &Arc<str>) -> Option<Bytes> {
    without_effect(walk, message);
    let idle = common::duration(walk, "idle_timeout", message.idle_timeout.as_ref());
    let hash = hash(walk, &message.hash_policy);
    let specifier = match &message.cluster_specifier {
        Some(tcp_proxy::ClusterSpecifier::Cluster(name)) if !name.is_empty() => {
            Some(ClusterSpecifier::Cluster(Arc::from(&**name)))
        }
        Some(tcp_proxy::ClusterSpecifier::WeightedClusters(split)) => {
            walk.at("weighted_clusters", |walk| weighted(walk, &split.clusters))
        }
        Some(tcp_proxy::ClusterSpecifier::Cluster(_)) | None => {
            walk.error_at(
                "cluster",
                "nothing says where the bytes go: set `cluster` or `weighted_clusters`",
            );
            None
        }
    }?;
    let clusters: BTreeSet<Arc<str>> = match &specifier {
        ClusterSpecifier::Cluster(name) => [Arc::clone(name)].into(),
        ClusterSpecifier::Split(split) => {
            split.clusters.iter().map(|part| Arc::clone(&part.cluster)).collect()
        }
        _ => BTreeSet::new(),
    };
    let mut action = ForwardAction::new(specifier);
    action.hash_policy = hash;
    let host = VirtualHost::new(Arc::clone(listener), vec![Domain::Any]);
    let mut routes = RouteConfiguration::default();
    routes.name = Arc::clone(listener);
    routes.virtual_hosts = vec![Arc::new(host.route(Route::forward(action)))];
    let routes = XdsRouteConfiguration::new(Arc::clone(listener), Arc::new(routes), vec![clusters]);
    // Envoy: unset is one hour, zero is none.
    let idle_timeout = Some(idle.unwrap_or(IDLE_TIMEOUT)).filter(|idle| !idle.is_zero());
    Some(Bytes { routes, idle_timeout })
}

#[expect(deprecated, reason = "files still have the old fields: they are reported")]
fn without_effect(walk: &mut Walk, message: &TcpProxy) {
    const LOG: &str = "logs are the proxy's own setting";
    const DURATION: &str = "a connection ends by itself, or by `idle_timeout`";
    refused!(walk, message, {
        metadata_match: SUBSETS,
        tunneling_config: "bytes are passed on as they are, and not within HTTP: leave it out",
    });
    ignored!(walk, message, {
        stat_prefix: "metrics are named after the listener",
        on_demand: "no cluster is asked for: list them in the file",
        downstream_idle_timeout: "the connection's `idle_timeout` counts",
        upstream_idle_timeout: "the connection's `idle_timeout` counts",
        access_log: LOG,
        max_connect_attempts: "a connection that can't be made is tried as calls are",
        backoff_options: "a connection that can't be made is tried as calls are",
        max_downstream_connection_duration: DURATION,
        max_downstream_connection_duration_jitter_percentage: DURATION,
        access_log_flush_interval: LOG,
        flush_access_log_on_connected: LOG,
        access_log_options: LOG,
        proxy_protocol_tlvs: "the PROXY protocol is written with addresses alone",
        proxy_protocol_tlv_merge_policy: "the PROXY protocol is written with addresses alone",
        upstream_connect_mode: "the endpoint is connected to at once",
        max_early_data_bytes: "the endpoint is connected to at once",
        check_drain_close: "connections end by `--drain-timeout`",
    });
}

fn weighted(walk: &mut Walk, messages: &[ClusterWeight]) -> Option<ClusterSpecifier> {
    let before = walk.errors();
    let mut parts = Vec::with_capacity(messages.len());
    for (at, part) in messages.iter().enumerate() {
        walk.at(format_args!("clusters[{at}]"), |walk| {
            refused!(walk, part, { metadata_match: SUBSETS });
            if part.name.is_empty() {
                walk.error_at("name", "a cluster has a name");
            }
            if part.weight == 0 {
                walk.error_at("weight", "0 gets nothing (Envoy: 1 or more): leave the cluster out");
            }
            parts.push(SplitCluster::new(&*part.name, part.weight));
        });
    }
    if parts.is_empty() {
        walk.error_at("clusters", "there is none: nobody would get the bytes");
    }
    (walk.errors() == before).then(|| ClusterSpecifier::Split(Split::new(parts)))
}

/// By what the endpoint of a connection is chosen; of Envoy's inputs there is the other end's address.
fn hash(walk: &mut Walk, messages: &[PbHashPolicy]) -> Vec<HashPolicy> {
    let mut found = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        match &message.policy_specifier {
            Some(PolicySpecifier::SourceIp(_)) => found.push(HashPolicy::new(HashSource::SourceIp)),
            Some(PolicySpecifier::FilterState(_)) | None => {
                walk.ignored(true, format_args!("hash_policy[{at}]"), "only `source_ip` is hashed");
            }
        }
    }
    found
}
