//! Policies in force, in plain words: rows of a label and a text.

use super::Forward;
use crate::call::MAX_RETRIES;
use crate::model::outlier_detection::{CapRule, FailurePercentage, SuccessRate};
use crate::model::route::MaxStreamDuration;
use crate::model::{
    Cluster, Discovery, LbAlgorithm, LbPolicy, OutlierDetection, Protocol, RetryOn, RetryPolicy,
    RoutingPriority, Thresholds, TlsPolicy,
};
use crate::router::{CompiledForward, wanted_value};
use std::time::Duration;

/// A label and what is said under it; rows of the same label follow one another.
pub(super) type Row = (&'static str, String);

/// What a route says about a call as a whole.
pub(super) fn of_route(forward: &Forward) -> Vec<Row> {
    let policies = &*forward.policies;
    let mut rows = vec![("timeout", timeout(policies))];
    if let Some(limits) = policies.max_stream_duration {
        rows.push(("streams", streams(limits)));
    }
    if let Some(idle) = policies.idle_timeout.filter(|idle| !idle.is_zero()) {
        rows.push(("idle", format!("ends when the response is silent for {}", time(idle))));
    }
    match policies.retry_policy.as_ref().map(|compiled| &*compiled.policy) {
        Some(policy) if policy.num_retries > 0 => retry(policy, &mut rows),
        _ => rows.push(("retries", "none by policy".to_owned())),
    }
    if policies.transparent_retry {
        rows.push(("re-sends", "what no server processed goes elsewhere".to_owned()));
    }
    if policies.hedge_policy.is_some_and(|hedge| hedge.hedge_on_per_try_timeout) {
        let text = "a per-try timeout starts the next attempt, and the first answer wins";
        rows.push(("hedging", text.to_owned()));
    }
    if policies.priority == RoutingPriority::High {
        rows.push(("priority", "high: circuit breakers of their own count it".to_owned()));
    }
    rows
}

fn timeout(policies: &CompiledForward) -> String {
    if policies.timeout.is_zero() {
        return "none for the call as a whole".to_owned();
    }
    format!("{} for the whole call, retries and response body included", time(policies.timeout))
}

fn streams(limits: MaxStreamDuration) -> String {
    let mut texts = Vec::new();
    if let Some(limit) = limits.max_stream_duration {
        texts.push(match limit.is_zero() {
            true => "no limit".to_owned(),
            false => format!("at most {}", time(limit)),
        });
    }
    if let Some(limit) = limits.grpc_timeout_header_max {
        texts.push(match limit.is_zero() {
            true => "the caller's grpc-timeout as it is".to_owned(),
            false => format!("the caller's grpc-timeout up to {}", time(limit)),
        });
    }
    texts.join(", ")
}

fn retry(policy: &RetryPolicy, rows: &mut Vec<Row>) {
    let conditions = RetryOn::NAMES.iter().filter(|(_, on)| policy.retry_on.contains(*on));
    let conditions: Vec<_> = conditions.map(|(name, _)| *name).collect();
    let conditions =
        if conditions.is_empty() { "nothing".to_owned() } else { conditions.join(", ") };
    let most = policy.num_retries.min(MAX_RETRIES);
    rows.push(("retries", format!("up to {most} on {conditions}")));
    if !policy.retriable_status_codes.is_empty() {
        let codes: Vec<_> = policy.retriable_status_codes.iter().map(u16::to_string).collect();
        rows.push(("", format!("status codes {}", codes.join(", "))));
    }
    for (matchers, what) in [
        (&policy.retriable_headers, "response header"),
        (&policy.retriable_request_headers, "only requests with header"),
    ] {
        let texts =
            matchers.iter().map(|matcher| format!("`{}`: {}", matcher.name, wanted_value(matcher)));
        let texts: Vec<_> = texts.collect();
        if !texts.is_empty() {
            rows.push(("", format!("{what} {}", texts.join(" or "))));
        }
    }
    if let Some(limit) = policy.per_try_timeout {
        rows.push(("", format!("{} for each attempt", time(limit))));
    }
    if let Some(limit) = policy.per_try_idle_timeout {
        rows.push(("", format!("{} of silence within an attempt", time(limit))));
    }
    if !policy.previous_hosts {
        rows.push(("", "endpoints that were tried may be tried again".to_owned()));
    }
    let (base, max) = (policy.back_off.base_interval, policy.back_off.max_interval);
    rows.push((
        "back-off",
        format!("at random up to {}, doubling to at most {}", time(base), time(max)),
    ));
    if let Some(obeyed) = &policy.rate_limited_back_off {
        let names: Vec<_> =
            obeyed.reset_headers.iter().map(|header| header.name.as_str()).collect();
        let text = format!("obeys {} up to {}", names.join(", "), time(obeyed.max_interval));
        rows.push(("", text));
    }
}

/// What a cluster says about its calls.
pub(super) fn of_cluster(cluster: &Cluster, priority: RoutingPriority) -> Vec<Row> {
    let mut rows = balancing(&cluster.lb_policy);
    rows.push(("connection", connection(cluster)));
    rows.push(("budget", budget(cluster)));
    let breakers = &cluster.circuit_breakers;
    let thresholds = match priority {
        RoutingPriority::Default => &breakers.default,
        RoutingPriority::High => &breakers.high,
    };
    rows.push(("breakers", limits(thresholds)));
    if let Some(limit) = breakers.max_connections_per_endpoint {
        rows.push(("", format!("at most {limit} connections to one endpoint")));
    }
    match &cluster.outlier_detection {
        None => rows.push(("outliers", "never ejected".to_owned())),
        Some(rules) => outliers(rules, &mut rows),
    }
    rows
}

/// What an aggregate says of a call as a whole; the rest its children say.
pub(super) fn of_aggregate(cluster: &Cluster, priority: RoutingPriority) -> Vec<Row> {
    let breakers = &cluster.circuit_breakers;
    let thresholds = match priority {
        RoutingPriority::Default => &breakers.default,
        RoutingPriority::High => &breakers.high,
    };
    let mut rows = vec![("budget", budget(cluster))];
    if let Some(most) = thresholds.max_retries {
        rows.push(("breakers", format!("at most {most} retries")));
    }
    rows
}

/// Where a cluster's endpoints come from, when the configuration doesn't list them.
pub(super) fn discovery(cluster: &Cluster) -> String {
    let (how, options) = match &cluster.discovery {
        Discovery::Static => return "not known yet".to_owned(),
        Discovery::StrictDns(options) => ("every address", options),
        Discovery::LogicalDns(options) => ("one address at a time", options),
        Discovery::Aggregate(children) => return children.join(", then "),
    };
    let names: Vec<_> = options.names.iter().map(|(name, port)| format!("{name}:{port}")).collect();
    format!("{}, resolved at run time ({how})", names.join(", "))
}

fn balancing(policy: &LbPolicy) -> Vec<Row> {
    let algorithm = match &policy.algorithm {
        LbAlgorithm::RoundRobin => "round_robin".to_owned(),
        LbAlgorithm::Random => "random".to_owned(),
        LbAlgorithm::LeastRequest { choice_count, .. } => {
            format!("least_request, of {choice_count} drawn")
        }
        LbAlgorithm::PeakEwma { decay, .. } => {
            format!("peak_ewma, latencies fade in {}", time(*decay))
        }
        LbAlgorithm::RingHash { .. } => "ring_hash".to_owned(),
        LbAlgorithm::Maglev { .. } => "maglev".to_owned(),
        LbAlgorithm::Custom(name) => format!("custom policy `{name}`"),
    };
    let panic = match (policy.panic_threshold, policy.fail_traffic_on_panic) {
        (0, _) => "never panics".to_owned(),
        (threshold, false) => format!("all endpoints take calls below {threshold} % healthy"),
        (threshold, true) => format!("calls fail below {threshold} % healthy"),
    };
    let mut rows = vec![("balancing", algorithm), ("", panic)];
    if policy.locality_weighted {
        rows.push(("", "a locality is chosen by weight first".to_owned()));
    }
    if let Some(slow) = &policy.slow_start {
        rows.push(("", format!("new endpoints take their share within {}", time(slow.window))));
    }
    rows
}

fn connection(cluster: &Cluster) -> String {
    let protocol = match cluster.protocol {
        Protocol::Auto => "HTTP/1.1 or HTTP/2 as the call",
        Protocol::Http1 => "HTTP/1.1",
        Protocol::Http2 => "HTTP/2",
        Protocol::Tcp => "TCP",
    };
    let security = security(&cluster.tls);
    let (or_by, timeout) = match cluster.tls_matches.len() {
        0 => ("", time(cluster.connection.connect_timeout)),
        _ => (" unless a match says otherwise", time(cluster.connection.connect_timeout)),
    };
    format!("{protocol}, {security}{or_by}, {timeout} to connect")
}

/// How connections are secured: what is shown to whom is not told here.
pub(super) const fn security(tls: &TlsPolicy) -> &'static str {
    match tls {
        TlsPolicy::Off => "plaintext",
        TlsPolicy::On(_) => "TLS",
    }
}

fn budget(cluster: &Cluster) -> String {
    let budget = &cluster.retry_budget;
    if !budget.enabled {
        return "retries are not limited by tokens".to_owned();
    }
    let mut text = format!(
        "{} retries per call within {}, and {} per second",
        budget.ratio,
        time(budget.window),
        budget.min_per_second
    );
    if let Some(rule) = budget.concurrency {
        text.push_str(&format!(
            "; at most {} % of calls in flight, or {}",
            rule.budget_percent, rule.min_retry_concurrency
        ));
    }
    text
}

fn limits(thresholds: &Thresholds) -> String {
    let limit = |limit: u32, what: &str| match limit {
        u32::MAX => format!("any number of {what}"),
        limit => format!("{limit} {what}"),
    };
    let mut texts = vec![
        limit(thresholds.max_requests, "requests"),
        limit(thresholds.max_pending_requests, "pending"),
        limit(thresholds.max_connections, "connections"),
    ];
    texts.extend(thresholds.max_retries.map(|most| limit(most, "retries")));
    texts.join(", ")
}

fn outliers(rules: &OutlierDetection, rows: &mut Vec<Row>) {
    let cap = match rules.cap_rule {
        CapRule::Envoy => "after the ejection",
        CapRule::Grpc => "before the ejection",
    };
    let one = if rules.always_eject_one_endpoint { ", but always one" } else { "" };
    rows.push((
        "outliers",
        format!(
            "ejected for {}, longer each time; at most {} % {cap}{one}",
            time(rules.base_ejection_time),
            rules.max_ejection_percent
        ),
    ));
    let split = rules.split_external_local_origin_errors;
    let in_a_row = [
        (rules.consecutive_5xx, rules.enforcing_consecutive_5xx, "server errors in a row"),
        (
            rules.consecutive_gateway_failure,
            rules.enforcing_consecutive_gateway_failure,
            "gateway failures in a row",
        ),
        (
            rules.consecutive_local_origin_failure.filter(|_| split),
            rules.enforcing_consecutive_local_origin_failure,
            "local failures in a row",
        ),
    ];
    for (count, enforcing, what) in in_a_row {
        if let Some(count) = count {
            rows.push(("", format!("by {count} {what}{}", enforced(enforcing))));
        }
    }
    let local = |what: &str| format!("{what} of local failures");
    rows.extend(rules.success_rate.map(|rule| ("", success_rate(rule, "success rate"))));
    let rule = rules.local_origin_success_rate.filter(|_| split);
    rows.extend(rule.map(|rule| ("", success_rate(rule, &local("success rate")))));
    rows.extend(rules.failure_percentage.map(|rule| ("", failures(rule, "failures"))));
    let rule = rules.local_origin_failure_percentage.filter(|_| split);
    rows.extend(rule.map(|rule| ("", failures(rule, "local failures"))));
}

fn success_rate(rule: SuccessRate, what: &str) -> String {
    format!(
        "by a {what} {} standard deviations below the others'{}",
        f64::from(rule.stdev_factor) / 1000.0,
        enforced(rule.enforcing)
    )
}

fn failures(rule: FailurePercentage, what: &str) -> String {
    format!("by {} % {what}{}", rule.threshold, enforced(rule.enforcing))
}

fn enforced(percent: u32) -> String {
    match percent {
        100.. => String::new(),
        0 => " (only reported)".to_owned(),
        percent => format!(" (enforced in {percent} %)"),
    }
}

/// A duration as it would be written.
pub(super) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() != 0 {
        format!("{}ms", duration.as_nanos() as f64 / 1e6)
    } else if seconds >= 3600 && seconds.is_multiple_of(3600) {
        format!("{}h", seconds / 3600)
    } else if seconds >= 60 && seconds.is_multiple_of(60) {
        format!("{}m", seconds / 60)
    } else {
        format!("{seconds}s")
    }
}
