//! Explanations for programs (feature `config`). Keys may be added; those that are there stay.

use super::reasons::{CodeKind, Meaning};
use super::report::{ChildReport, ClusterReport, EndpointReport};
use super::{Conclusion, Explained, Forward, HeaderChange, Part, Passthrough};
use crate::Json;
use crate::call::MAX_RETRIES;
use crate::model::{
    CircuitBreakers, Discovery, DropOverload, HeaderMatcher, HealthStatus, LbAlgorithm,
    OutlierDetection, RetryOn, RetryPolicy, Thresholds, TlsPolicy,
};
use crate::router::{RewrittenHost, wanted_value};
use http::HeaderMap;
use serde_json::{Value, json};
use std::time::Duration;

impl Explained {
    /// All of it as one JSON object; durations are in milliseconds, shares from 0 to 1.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let routing = &self.routing;
        let host = routing.host.as_ref();
        let route = routing.route.as_ref().map(|choice| &choice.route);
        let misses = routing.near_misses.iter().map(|miss| {
            json!({ "index": miss.index, "route": &*miss.route, "why": miss.mismatch.to_string() })
        });
        let similar = routing.closest.iter().map(ToString::to_string);
        let (key, told) = conclusion(&self.conclusion);
        Json(json!({
            "request": {
                "method": self.request.method.as_str(),
                "authority": self.request.authority(),
                "path": self.request.path_and_query(),
            },
            "virtual_host": host.map(|h| json!({ "name": &*h.name, "domain": h.pattern.to_string() })),
            "route": route.map(|route| json!({ "index": route.index(), "name": &**route.name() })),
            "near_misses": misses.collect::<Value>(),
            "similar": similar.collect::<Value>(),
            "conclusion": key,
            key: told,
        }))
    }
}

impl Meaning {
    /// As one JSON object.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let kind = match &self.kind {
            CodeKind::Flag(_) => "flag",
            CodeKind::Reason(_) => "reason",
            CodeKind::RetryStop(_) => "retry_stop",
            CodeKind::Event => "event",
            CodeKind::Refusal => "refusal",
            CodeKind::Check { refuses: true } => "error",
            CodeKind::Check { refuses: false } => "warning",
        };
        let mut object = json!({
            "code": self.code,
            "kind": kind,
            "meaning": self.meaning,
            "causes": self.causes,
            "look_at": self.look_at,
        });
        if let CodeKind::Reason(reason) = &self.kind {
            object["flag"] = json!(reason.flag().as_str());
            object["http_status"] = json!(reason.http_status().as_u16());
            object["grpc_status"] = json!(reason.grpc_status());
        }
        Json(object)
    }
}

/// Several meanings as one JSON list.
#[must_use]
pub fn to_json(meanings: &[Meaning]) -> Json {
    Json(meanings.iter().map(|meaning| meaning.to_json().0).collect())
}

fn conclusion(conclusion: &Conclusion) -> (&'static str, Value) {
    match conclusion {
        Conclusion::Forward(forward) => ("forward", forwarded(forward)),
        Conclusion::Reply(reply) => {
            let (status, body) = (reply.status().as_u16(), reply.body().len());
            let headers = headers(reply.headers());
            ("reply", json!({ "status": status, "headers": headers, "body_bytes": body }))
        }
        Conclusion::Passthrough(why) => {
            let why = match why {
                Passthrough::Observing => "observing",
                Passthrough::UnknownHost => "unknown_host",
                Passthrough::Listed(_) => "listed",
                Passthrough::Unlisted(_) => "unlisted",
            };
            ("passthrough", json!({ "why": why }))
        }
        Conclusion::Refused(reason) => (
            "refused",
            json!({
                "code": reason.code(),
                "message": reason.to_string(),
                "flag": reason.flag().as_str(),
                "http_status": reason.http_status().as_u16(),
                "grpc_status": reason.grpc_status(),
            }),
        ),
    }
}

fn forwarded(forward: &Forward) -> Value {
    let policies = &forward.policies;
    let retry = policies.retry_policy.as_ref().map(|compiled| retry(&compiled.policy));
    let streams = policies.max_stream_duration.unwrap_or_default();
    json!({
        "path": forward.path,
        "host": common_host(forward),
        "timeout_ms": millis(policies.timeout),
        "max_stream_duration_ms": streams.max_stream_duration.map(millis),
        "grpc_timeout_header_max_ms": streams.grpc_timeout_header_max.map(millis),
        "idle_timeout_ms": policies.idle_timeout.map(millis),
        "retry": retry,
        "transparent_retry": policies.transparent_retry,
        "hedge": policies.hedge_policy.is_some_and(|hedge| hedge.hedge_on_per_try_timeout),
        "clusters": forward.parts.iter().map(part).collect::<Value>(),
    })
}

fn retry(policy: &RetryPolicy) -> Value {
    let on = RetryOn::NAMES.iter().filter(|(_, on)| policy.retry_on.contains(*on));
    json!({
        "on": on.map(|(name, _)| *name).collect::<Value>(),
        "status_codes": policy.retriable_status_codes,
        "headers": policy.retriable_headers.iter().map(condition).collect::<Value>(),
        "request_headers":
            policy.retriable_request_headers.iter().map(condition).collect::<Value>(),
        "num_retries": policy.num_retries.min(MAX_RETRIES),
        "per_try_timeout_ms": policy.per_try_timeout.map(millis),
        "per_try_idle_timeout_ms": policy.per_try_idle_timeout.map(millis),
        "previous_hosts": policy.previous_hosts,
        "back_off_base_ms": millis(policy.back_off.base_interval),
        "back_off_max_ms": millis(policy.back_off.max_interval),
    })
}

fn condition(matcher: &HeaderMatcher) -> Value {
    json!({ "name": matcher.name.as_str(), "wanted": wanted_value(matcher) })
}

fn part(part: &Part) -> Value {
    let mut object = part.cluster.as_ref().map_or_else(|| json!({}), cluster);
    object["name"] = json!(&*part.share.cluster);
    object["odds"] = json!(part.share.odds);
    object["known"] = json!(part.share.known);
    object["host"] = host(&part.host);
    object["headers"] = headers(&part.headers);
    object["request_edits"] = part.request_edits.iter().map(change).collect();
    object["response_edits"] = part.response_edits.iter().map(change).collect();
    object
}

fn host(host: &RewrittenHost) -> Value {
    match host {
        RewrittenHost::Unchanged => json!("unchanged"),
        RewrittenHost::To(authority) => json!({ "to": authority.as_str() }),
        RewrittenHost::EndpointHostname => json!("endpoint_hostname"),
    }
}

/// The authority that all clusters see; null when they differ.
fn common_host(forward: &Forward) -> Value {
    match &*forward.parts {
        [first, others @ ..] if others.iter().all(|part| part.host == first.host) => {
            host(&first.host)
        }
        _ => Value::Null,
    }
}

fn change(change: &HeaderChange) -> Value {
    let texts = |values: &[http::HeaderValue]| -> Value {
        values.iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect()
    };
    json!({
        "name": change.name.as_str(),
        "before": texts(&change.before),
        "after": texts(&change.after),
    })
}

fn headers(headers: &HeaderMap) -> Value {
    let one = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    headers.iter().map(one).collect()
}

fn cluster(report: &ClusterReport) -> Value {
    let cluster = &report.cluster;
    let budget = &cluster.retry_budget;
    let names = match &cluster.discovery {
        Discovery::Static | Discovery::Aggregate(_) => None,
        Discovery::StrictDns(options) | Discovery::LogicalDns(options) => {
            let names = options.names.iter().map(|(name, port)| format!("{name}:{port}"));
            Some(names.collect::<Value>())
        }
    };
    json!({
        "drop_overloads": report.drop_overloads.iter().map(dropping).collect::<Value>(),
        "endpoints": report.endpoints.as_ref().map(|e| e.iter().map(endpoint).collect::<Value>()),
        "resolves": names,
        "children": report.children.iter().map(child).collect::<Value>(),
        "panic": report.panic,
        "hash": report.hash.as_ref().map(|pick| json!({
            "hash": pick.hash.map(|hash| format!("{hash:016x}")),
            "endpoint": pick.endpoint.as_ref().map(ToString::to_string),
        })),
        "lb": algorithm(&cluster.lb_policy.algorithm),
        "tls": matches!(cluster.tls, TlsPolicy::On(_)),
        "connect_timeout_ms": millis(cluster.connection.connect_timeout),
        "retry_budget": budget.enabled.then(|| json!({
            "ratio": budget.ratio,
            "min_per_second": budget.min_per_second,
            "window_ms": millis(budget.window),
        })),
        "circuit_breakers": breakers(&cluster.circuit_breakers),
        "outlier_detection": cluster.outlier_detection.as_ref().map(outliers),
    })
}

fn child(child: &ChildReport) -> Value {
    let mut object = cluster(&child.cluster);
    object["cluster"] = json!(&*child.cluster.cluster.name);
    object["share"] = json!(child.share);
    object["carries"] =
        json!({ "healthy": child.capacity.healthy, "degraded": child.capacity.degraded });
    object
}

fn dropping(drop: &DropOverload) -> Value {
    let share = f64::from(drop.share.as_per_million()) / 1_000_000.0;
    json!({ "category": &*drop.category, "share": share })
}

fn endpoint(endpoint: &EndpointReport) -> Value {
    let health = match endpoint.health {
        HealthStatus::Unknown => "unknown",
        HealthStatus::Healthy => "healthy",
        HealthStatus::Unhealthy => "unhealthy",
        HealthStatus::Draining => "draining",
        HealthStatus::Timeout => "timeout",
        HealthStatus::Degraded => "degraded",
    };
    let place = &endpoint.locality;
    json!({
        "address": endpoint.address.to_string(),
        "odds": endpoint.odds,
        "weight": endpoint.weight,
        "priority": endpoint.priority,
        "region": &*place.region,
        "zone": &*place.zone,
        "sub_zone": &*place.sub_zone,
        "health": health,
        "hostname": endpoint.hostname.as_deref(),
        "ejected": endpoint.ejected,
        "tls": matches!(endpoint.tls, TlsPolicy::On(_)),
        "tls_match": endpoint.tls_match.as_deref(),
    })
}

fn algorithm(algorithm: &LbAlgorithm) -> Value {
    match algorithm {
        LbAlgorithm::Custom(name) => json!({ "custom": &**name }),
        algorithm => json!(algorithm.name()),
    }
}

fn breakers(breakers: &CircuitBreakers) -> Value {
    let thresholds = |thresholds: &Thresholds| {
        json!({
            "max_connections": thresholds.max_connections,
            "max_pending_requests": thresholds.max_pending_requests,
            "max_requests": thresholds.max_requests,
            "max_retries": thresholds.max_retries,
        })
    };
    json!({
        "default": thresholds(&breakers.default),
        "high": thresholds(&breakers.high),
        "max_connections_per_endpoint": breakers.max_connections_per_endpoint,
    })
}

fn outliers(rules: &OutlierDetection) -> Value {
    json!({
        "interval_ms": millis(rules.interval),
        "base_ejection_time_ms": millis(rules.base_ejection_time),
        "max_ejection_percent": rules.max_ejection_percent,
        "consecutive_5xx": rules.consecutive_5xx,
        "consecutive_gateway_failure": rules.consecutive_gateway_failure,
        "success_rate": rules.success_rate.is_some(),
        "failure_percentage": rules.failure_percentage.is_some(),
    })
}

fn millis(duration: Duration) -> Value {
    json!(duration.as_secs_f64() * 1000.0)
}
