//! `envoy.admin.v3.Clusters`.

use crate::admin::view::{BreakerView, ClusterView, EndpointView};
use mesh_core::breaker::Resource;
use mesh_core::model::{Address, HealthStatus};
use serde_json::{Map, Value, json};

pub(super) fn clusters(clusters: &[ClusterView]) -> Value {
    json!({ "cluster_statuses": clusters.iter().map(cluster).collect::<Value>() })
}

fn cluster(view: &ClusterView) -> Value {
    let endpoints = view.endpoints.iter().flatten();
    json!({
        "name": view.name(),
        "observability_name": view.name(),
        "added_via_api": true,
        "host_statuses": endpoints.map(endpoint).collect::<Value>(),
        "circuit_breakers": { "thresholds": view.breakers.iter().map(thresholds).collect::<Value>() },
    })
}

/// `envoy.config.cluster.v3.CircuitBreakers.Thresholds`. A limit that is off is not there.
fn thresholds(view: &BreakerView) -> Value {
    let mut thresholds = Map::new();
    thresholds.insert("priority".to_owned(), view.name.to_ascii_uppercase().into());
    for (limit, resource) in view.limits.iter().zip(Resource::ALL) {
        if resource != Resource::Retries || limit.limit != u32::MAX {
            thresholds.insert(limit.name.to_owned(), limit.limit.into());
        }
    }
    thresholds.into()
}

fn endpoint(view: &EndpointView) -> Value {
    let gauge = |name: &str, value: u64| {
        // protobuf's JSON: numbers of 64 bits are texts.
        json!({ "type": "GAUGE", "name": name, "value": value.to_string() })
    };
    let connections = u64::try_from(view.open_connections()).unwrap_or(u64::MAX);
    json!({
        "address": address(&view.address),
        "hostname": view.hostname.as_deref().unwrap_or_default(),
        "stats": [gauge("cx_active", connections), gauge("rq_active", view.active.into())],
        "health_status": {
            "failed_outlier_check": view.is_ejected,
            "eds_health_status": health(view.health),
        },
        "weight": view.weight,
        "priority": view.priority,
        "locality": {
            "region": &*view.locality.region,
            "zone": &*view.locality.zone,
            "sub_zone": &*view.locality.sub_zone,
        },
    })
}

/// `envoy.config.core.v3.Address`.
pub(in crate::admin::page) fn address(address: &Address) -> Value {
    match address {
        Address::Socket(address) => json!({
            "socket_address": { "address": address.ip().to_string(), "port_value": address.port() },
        }),
        Address::Unix(path) => json!({ "pipe": { "path": path.display().to_string() } }),
    }
}

/// `envoy.config.core.v3.HealthStatus`. Envoy, too, shows those of whom nothing is said as healthy.
const fn health(health: HealthStatus) -> &'static str {
    match health {
        HealthStatus::Unknown | HealthStatus::Healthy => "HEALTHY",
        HealthStatus::Unhealthy => "UNHEALTHY",
        HealthStatus::Draining => "DRAINING",
        HealthStatus::Timeout => "TIMEOUT",
        HealthStatus::Degraded => "DEGRADED",
    }
}
