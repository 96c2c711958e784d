//! `RouteAction`: how a request goes to a cluster.
//!
//! Both of Envoy's and gRPC's limits are read: `timeout` (Envoy, 15 s by default) and
//! `max_stream_duration`, which takes its place for gRPC calls (gRFC A31). A control plane for gRPC
//! clients alone sets neither; then gRPC calls have Envoy's 15 s too, as they have in Envoy.

use super::{Around, hash, header, retry, rewrite, split};
use crate::decode::common::{self, Walk, ignored, refused};
use crate::decode::listener::filter::rate_limit;
use envoy_types::pb::envoy::config::core::v3::RoutingPriority as PbPriority;
use envoy_types::pb::envoy::config::route::v3 as pb;
use mesh_core::model::http_filter::{RateLimitPolicy, VhRateLimits};
use mesh_core::model::route::MaxStreamDuration;
use mesh_core::model::{ClusterSpecifier, ForwardAction, RoutingPriority};
use pb::route_action::ClusterSpecifier as Specifier;
use std::sync::Arc;
use std::time::Duration;

const SKIPPED_PLUGIN: &str = "the route is skipped: its cluster specifier plugin is not supported";
const SKIPPED_SPECIFIER: &str =
    "the route is skipped: it names its cluster in no way that is known here";

/// Decodes a forwarding action; `None`: its route is skipped, or has an error.
pub(super) fn decode(
    walk: &mut Walk,
    message: &pb::RouteAction,
    around: &Around<'_>,
) -> Option<ForwardAction> {
    without_effect(walk, message);
    // Decoded first: a split may be drawn by it.
    let hash_policy = hash::policies(walk, &message.hash_policy);
    let cluster = cluster(walk, message, around, &hash_policy);
    // The options are read whatever the cluster, so that their mistakes are shown too.
    let nowhere = || ClusterSpecifier::Cluster(Arc::from(""));
    let mut forward = ForwardAction::new(cluster.clone().unwrap_or_else(nowhere));
    forward.hash_policy = hash_policy;
    limits(walk, message, &mut forward);
    forward.retry_policy = message
        .retry_policy
        .as_ref()
        .map(|policy| Arc::new(walk.at("retry_policy", |walk| retry::policy(walk, policy))));
    forward.hedge_policy = message
        .hedge_policy
        .as_ref()
        .map(|policy| walk.at("hedge_policy", |walk| retry::hedge(walk, policy)));
    forward.path_rewrite = rewrite::path(walk, message);
    forward.host_rewrite = rewrite::host(walk, message, around.context);
    forward.priority = match PbPriority::try_from(message.priority) {
        Ok(PbPriority::Default) => RoutingPriority::Default,
        Ok(PbPriority::High) => RoutingPriority::High,
        Err(_) => {
            let number = message.priority;
            walk.error_at("priority", format_args!("{number} is neither DEFAULT nor HIGH"));
            RoutingPriority::Default
        }
    };
    cluster.map(|_| forward)
}

#[expect(deprecated, reason = "control planes still send the old fields: they are reported")]
fn without_effect(walk: &mut Walk, message: &pb::RouteAction) {
    refused!(walk, message, {
        metadata_match:
            "subsets of a cluster are not supported, and all of it would get the calls: give each \
             subset a cluster",
    });
    ignored!(walk, message, {
        cluster_not_found_response_code: "a cluster that is missing answers 503",
        append_x_forwarded_host: "it is for proxies",
        flush_timeout: "a response is flushed by its reader",
        early_data_policy: "no request is sent as early data",
        retry_policy_typed_config: "extensions of retry policies are not supported: use `retry_policy`",
        request_mirror_policies: "requests are not mirrored",
        cors: "it is for browsers, at a gateway",
        grpc_timeout_offset: "the whole of grpc-timeout is kept",
        upgrade_configs: "upgrades are the client's setting",
        internal_redirect_policy: "redirects are handed to the caller",
        internal_redirect_action: "redirects are handed to the caller",
        max_internal_redirects: "redirects are handed to the caller",
    });
}

/// What requests count as, for the rate limits of a server; `None`: the route does not say so.
#[expect(deprecated, reason = "Envoy still goes by `include_vh_rate_limits`")]
pub(super) fn rate_limits(
    walk: &mut Walk,
    message: &pb::RouteAction,
) -> Option<Arc<RateLimitPolicy>> {
    let mut found = rate_limit::policy(walk, &message.rate_limits);
    if message.include_vh_rate_limits.as_ref().is_some_and(|on| on.value) {
        found.vh_rate_limits = Some(VhRateLimits::Include);
    }
    (found != RateLimitPolicy::default()).then(|| Arc::new(found))
}

/// Which cluster; `None`: the route is skipped, or has an error.
fn cluster(
    walk: &mut Walk,
    message: &pb::RouteAction,
    around: &Around<'_>,
    hash: &[mesh_core::model::HashPolicy],
) -> Option<ClusterSpecifier> {
    match &message.cluster_specifier {
        Some(Specifier::Cluster(name)) => {
            if name.is_empty() {
                walk.error_at("cluster", "a cluster has a name");
                return None;
            }
            Some(ClusterSpecifier::Cluster(Arc::from(&**name)))
        }
        Some(Specifier::ClusterHeader(name)) => {
            header::header_name(walk, "cluster_header", name).map(ClusterSpecifier::Header)
        }
        Some(Specifier::WeightedClusters(message)) => walk
            .at("weighted_clusters", |walk| split::decode(walk, message, hash))
            .map(ClusterSpecifier::Split),
        Some(Specifier::ClusterSpecifierPlugin(name)) => {
            // One that is not optional is an error where it is listed.
            match around.plugins.get(&**name) {
                Some(_) => walk.unguarded(true, "cluster_specifier_plugin", SKIPPED_PLUGIN),
                None => walk.error_at(
                    "cluster_specifier_plugin",
                    format_args!("`{name}` is not in `cluster_specifier_plugins`"),
                ),
            }
            None
        }
        Some(Specifier::InlineClusterSpecifierPlugin(plugin)) => {
            let field = "inline_cluster_specifier_plugin";
            if plugin.is_optional {
                walk.unguarded(true, field, SKIPPED_PLUGIN);
            } else {
                walk.error_at(
                    field,
                    "cluster specifier plugins are not supported: set `is_optional` to have the \
                     route skipped",
                );
            }
            None
        }
        None => {
            // gRFC A28: an unknown specifier skips its route.
            walk.unguarded(true, "cluster_specifier", SKIPPED_SPECIFIER);
            None
        }
    }
}

/// The limits of time.
#[expect(deprecated, reason = "`max_grpc_timeout` is the old name of grpc_timeout_header_max")]
fn limits(walk: &mut Walk, message: &pb::RouteAction, forward: &mut ForwardAction) {
    if let Some(timeout) = common::duration(walk, "timeout", message.timeout.as_ref()) {
        forward.timeout = timeout;
    }
    // Envoy: zero switches it off.
    let idle = common::duration(walk, "idle_timeout", message.idle_timeout.as_ref());
    forward.idle_timeout = idle.filter(|idle| !idle.is_zero());
    let old = common::duration(walk, "max_grpc_timeout", message.max_grpc_timeout.as_ref());
    forward.max_stream_duration = match &message.max_stream_duration {
        Some(limits) => {
            Some(walk.at("max_stream_duration", |walk| max_stream_duration(walk, limits)))
        }
        None => old.map(header_max),
    };
}

fn header_max(max: Duration) -> MaxStreamDuration {
    let mut limits = MaxStreamDuration::default();
    limits.grpc_timeout_header_max = Some(max);
    limits
}

fn max_stream_duration(
    walk: &mut Walk,
    message: &pb::route_action::MaxStreamDuration,
) -> MaxStreamDuration {
    ignored!(walk, message, {
        grpc_timeout_header_offset: "the whole of grpc-timeout is kept (gRFC A31 ignores it too)",
    });
    let mut limits = MaxStreamDuration::default();
    limits.max_stream_duration =
        common::duration(walk, "max_stream_duration", message.max_stream_duration.as_ref());
    limits.grpc_timeout_header_max =
        common::duration(walk, "grpc_timeout_header_max", message.grpc_timeout_header_max.as_ref());
    limits
}
