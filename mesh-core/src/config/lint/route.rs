//! Lints of one route: timeouts, retries, splits, hashes.

use crate::config::document::Draft;
use crate::config::duration::show;
use crate::config::virtual_host::{HostSite, RouteSite};
use crate::config::{code, reader::Reader, split};
use crate::model::{
    ClusterSpecifier, ForwardAction, LbAlgorithm, Protocol, RetryOn, RetryPolicy, RouteAction,
    RoutingPriority,
};
use std::sync::Arc;

pub(super) fn check(
    reader: &mut Reader<'_>,
    host: &HostSite<'_>,
    site: &RouteSite<'_>,
    draft: &Draft<'_>,
) {
    let RouteAction::Forward(forward) = &site.route.action else { return };
    let retry = forward.retry_policy.as_ref().or(host.value.retry_policy.as_ref());
    let retry = retry.filter(|retry| retry.num_retries > 0).map(Arc::as_ref);
    match retry {
        Some(retry) => {
            timeouts(reader, site, forward, retry);
            conditions(reader, site, retry);
            refused(reader, site, forward, draft);
        }
        None => unbounded(reader, site, forward),
    }
    hedge(reader, host, site, forward);
    if let ClusterSpecifier::Split(parts) = &forward.cluster
        && let Some(only) = split::decided(parts)
    {
        reader
            .report
            .add(
                code::DECIDED_SPLIT,
                site.span("split"),
                format!("all of this split goes to `{only}`"),
            )
            .suggest(format!("if it is to stay, write `cluster: {only}`"));
    }
    hash(reader, site, forward, draft);
    tcp(reader, site, forward, draft);
}

/// A cluster that carries bytes, not requests.
fn tcp(reader: &mut Reader<'_>, site: &RouteSite<'_>, forward: &ForwardAction, draft: &Draft<'_>) {
    let found = clusters(forward).into_iter().filter_map(|name| draft.clusters.get(name));
    for cluster in found.filter(|site| site.value.cluster.protocol == Protocol::Tcp) {
        let key = if site.node.get("split").is_some() { "split" } else { "cluster" };
        let message = format!("`{}` speaks plain TCP, no HTTP", cluster.value.cluster.name);
        reader
            .report
            .add(code::ROUTE_TO_TCP, site.span(key), message)
            .suggest("give it another `protocol`, or leave it to listeners")
            .label(cluster.key_span("protocol"), "this cluster");
    }
}

fn timeouts(
    reader: &mut Reader<'_>,
    site: &RouteSite<'_>,
    forward: &ForwardAction,
    retry: &RetryPolicy,
) {
    let Some(per_try) = retry.per_try_timeout else { return unbounded(reader, site, forward) };
    if forward.timeout.is_zero() {
        return;
    }
    let timeout = show(forward.timeout);
    if per_try >= forward.timeout {
        let message =
            format!("per_try_timeout {} is not shorter than the timeout {timeout}", show(per_try));
        reader
            .report
            .add(code::PER_TRY_TIMEOUT_TOO_LONG, site.span("retry"), message)
            .suggest("a slow attempt is never retried: lower per_try_timeout");
        return;
    }
    let all = per_try.saturating_mul(retry.num_retries.saturating_add(1));
    if all > forward.timeout {
        let attempts = u64::from(retry.num_retries) + 1;
        let message = format!(
            "{attempts} attempts of {} may take {}, longer than the timeout {timeout}",
            show(per_try),
            show(all)
        );
        reader
            .report
            .add(code::RETRIES_EXCEED_TIMEOUT, site.span("retry"), message)
            .suggest("raise `timeout`, or lower num_retries or per_try_timeout");
    }
}

fn unbounded(reader: &mut Reader<'_>, site: &RouteSite<'_>, forward: &ForwardAction) {
    let stream = forward.max_stream_duration.and_then(|limits| limits.max_stream_duration);
    let bounded = !forward.timeout.is_zero()
        || forward.idle_timeout.is_some()
        || stream.is_some_and(|limit| !limit.is_zero());
    if !bounded {
        reader
            .report
            .add(code::UNBOUNDED_CALL, site.span("timeout"), "a call to a hung endpoint never ends")
            .suggest("set max_stream_duration, idle_timeout or retry.per_try_timeout");
    }
}

fn conditions(reader: &mut Reader<'_>, site: &RouteSite<'_>, retry: &RetryPolicy) {
    let pairs = [
        (
            "retriable-status-codes",
            RetryOn::RETRIABLE_STATUS_CODES,
            "retriable_status_codes",
            retry.retriable_status_codes.is_empty(),
        ),
        (
            "retriable-headers",
            RetryOn::RETRIABLE_HEADERS,
            "retriable_headers",
            retry.retriable_headers.is_empty(),
        ),
    ];
    for (condition, bit, list, empty) in pairs {
        let listed = retry.retry_on.contains(bit);
        let message = match (listed, empty) {
            (true, true) => format!("`{condition}` matches nothing without `{list}`"),
            (false, false) => format!("`{list}` has no effect without `{condition}` in retry_on"),
            _ => continue,
        };
        let missing = if listed { list } else { condition };
        reader
            .report
            .add(code::INCOMPLETE_RETRY_ON, site.span("retry"), message)
            .suggest(format!("add `{missing}`"));
    }
}

/// The names of the clusters that a route may send to, as far as the file says.
fn clusters(forward: &ForwardAction) -> Vec<&Arc<str>> {
    match &forward.cluster {
        ClusterSpecifier::Cluster(name) => vec![name],
        ClusterSpecifier::Split(split) => split.clusters.iter().map(|part| &part.cluster).collect(),
        ClusterSpecifier::Header(_) => Vec::new(),
    }
}

fn refused(
    reader: &mut Reader<'_>,
    site: &RouteSite<'_>,
    forward: &ForwardAction,
    draft: &Draft<'_>,
) {
    for name in clusters(forward) {
        let Some(cluster) = draft.clusters.get(name) else { continue };
        let breakers = &cluster.value.cluster.circuit_breakers;
        let thresholds = match forward.priority {
            RoutingPriority::Default => &breakers.default,
            RoutingPriority::High => &breakers.high,
        };
        if thresholds.max_retries == Some(0) {
            let message =
                format!("the circuit breaker of `{name}` refuses every retry of this route");
            reader
                .report
                .add(code::RETRIES_REFUSED, site.span("retry"), message)
                .suggest("raise max_retries, or write `retry: off`")
                .label(cluster.key_span("circuit_breakers"), "max_retries is 0");
        }
    }
}

fn hedge(
    reader: &mut Reader<'_>,
    host: &HostSite<'_>,
    site: &RouteSite<'_>,
    forward: &ForwardAction,
) {
    let hedge = forward.hedge_policy.or(host.value.hedge_policy).unwrap_or_default();
    let retry = forward.retry_policy.as_ref().or(host.value.retry_policy.as_ref());
    let armed = retry.is_some_and(|retry| retry.num_retries > 0 && retry.per_try_timeout.is_some());
    if hedge.hedge_on_per_try_timeout && !armed {
        reader
            .report
            .add(
                code::HEDGE_WITHOUT_TIMEOUT,
                site.span("hedge"),
                "this never hedges: there is no per-try timeout to start it",
            )
            .suggest("set retry.per_try_timeout, and num_retries of at least 1");
    }
}

fn hash(reader: &mut Reader<'_>, site: &RouteSite<'_>, forward: &ForwardAction, draft: &Draft<'_>) {
    // Only the route's own: a default is for those who can use it.
    let Some(entry) = site.node.get("hash") else { return };
    let found: Vec<_> =
        clusters(forward).into_iter().filter_map(|n| draft.clusters.get(n)).collect();
    let hashes = |algorithm: &LbAlgorithm| match algorithm {
        LbAlgorithm::RingHash { .. } | LbAlgorithm::Maglev { .. } | LbAlgorithm::Custom(_) => true,
        LbAlgorithm::RoundRobin
        | LbAlgorithm::Random
        | LbAlgorithm::LeastRequest { .. }
        | LbAlgorithm::PeakEwma { .. } => false,
    };
    let Some(first) = found.first() else { return };
    if !found.iter().any(|site| hashes(&site.value.cluster.lb_policy.algorithm)) {
        let message = format!("`{}` does not balance by hash", first.value.cluster.name);
        reader
            .report
            .add(code::UNUSED_HASH, entry.key_span, message)
            .suggest("give the cluster `lb: ring_hash` or `lb: maglev`")
            .label(first.key_span("lb"), "this cluster");
    }
}
