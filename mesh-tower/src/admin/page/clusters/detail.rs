//! All that there is to say of clusters, in the mesh's own words.

use crate::admin::view::{BreakerView, ClusterView, EndpointView};
use serde_json::{Value, json};

pub(super) fn clusters(clusters: &[ClusterView]) -> Value {
    json!({ "clusters": clusters.iter().map(cluster).collect::<Value>() })
}

/// One cluster.
pub(in crate::admin::page) fn cluster(view: &ClusterView) -> Value {
    let counts = &view.counts;
    let endpoints = view.endpoints.as_ref();
    json!({
        "name": view.name(),
        "discovery": view.discovery(),
        "children": view.children().iter().map(|child| &**child).collect::<Value>(),
        "lb": view.algorithm(),
        "active": view.active,
        "counts": {
            "total": counts.total,
            "healthy": counts.healthy,
            "degraded": counts.degraded,
            "unhealthy": counts.unhealthy,
            "draining": counts.draining,
            "ejected": counts.ejected,
        },
        "panic": view.panic,
        "unresolved": view.unresolved,
        "outlier_detection": view.model.outlier_detection.is_some(),
        "circuit_breakers": view.breakers.iter().map(breaker).collect::<Value>(),
        "endpoints": endpoints.map(|all| all.iter().map(endpoint).collect::<Value>()),
    })
}

fn breaker(view: &BreakerView) -> Value {
    let limits = view.limits.iter().map(|limit| {
        let bound = (limit.limit != u32::MAX).then_some(limit.limit);
        let (name, in_use, refused) = (limit.name, limit.in_use, limit.refused);
        json!({ "name": name, "in_use": in_use, "limit": bound, "refused": refused })
    });
    json!({ "priority": view.name, "limits": limits.collect::<Value>() })
}

fn endpoint(view: &EndpointView) -> Value {
    let (place, connections) = (&view.locality, &view.connections);
    json!({
        "address": view.address.to_string(),
        "hostname": view.hostname.as_deref(),
        "state": view.state.as_str(),
        "reason": view.reason(),
        "ejected": view.is_ejected,
        "ejections": view.ejections,
        "connect_failing": view.is_suspect,
        "weight": view.weight,
        "priority": view.priority,
        "region": &*place.region,
        "zone": &*place.zone,
        "sub_zone": &*place.sub_zone,
        "active": view.active,
        "connections": {
            "open": view.open_connections(),
            "connecting": connections.connecting,
            "http1": connections.h1,
            "http1_idle": connections.h1_idle,
            "http2": connections.h2,
            "http2_streams": connections.streams,
            "byte_streams": connections.own,
            "waiting": connections.waiting,
        },
    })
}
