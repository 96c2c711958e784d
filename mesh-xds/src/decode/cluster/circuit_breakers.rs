//! `circuit_breakers`: concurrency limits, a set per routing priority.
//!
//! Of several sets for a priority the first counts (Envoy; gRFC A32), and each limit that is not said
//! is 1024. `max_retries` is the exception: Envoy's default is 3, here the retry budget is the limit.

use crate::decode::common::{self, Walk};
use envoy_types::pb::envoy::config::cluster::v3::CircuitBreakers;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::thresholds::RetryBudget;
use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use envoy_types::pb::google::protobuf::UInt32Value;
use mesh_core::model;
use mesh_core::model::cluster::RetryConcurrency;

const FIRST: &str = "of several thresholds of one priority the first counts (Envoy, gRFC A32)";

/// Reads the limits, and the retry budget among them, into `model`.
pub(super) fn decode(
    walk: &mut Walk,
    message: Option<&CircuitBreakers>,
    model: &mut model::Cluster,
) {
    let Some(message) = message else { return };
    walk.at("circuit_breakers", |walk| {
        let mut seen = Seen::default();
        for (index, thresholds) in message.thresholds.iter().enumerate() {
            walk.at(format_args!("thresholds[{index}]"), |walk| {
                let Some(priority) = seen.first(walk, thresholds) else { return };
                per_priority(walk, thresholds, priority, model);
            });
        }
        let mut seen = Seen::default();
        for (index, thresholds) in message.per_host_thresholds.iter().enumerate() {
            walk.at(format_args!("per_host_thresholds[{index}]"), |walk| {
                let Some(priority) = seen.first(walk, thresholds) else { return };
                per_host(walk, thresholds, priority, model);
            });
        }
    });
}

/// The priorities that have their thresholds.
#[derive(Default)]
struct Seen {
    default: bool,
    high: bool,
}

impl Seen {
    /// The priority of thresholds that are the first for it.
    fn first(&mut self, walk: &mut Walk, thresholds: &Thresholds) -> Option<RoutingPriority> {
        let priority = common::enumeration(walk, "priority", thresholds.priority)?;
        let seen = match priority {
            RoutingPriority::Default => &mut self.default,
            RoutingPriority::High => &mut self.high,
        };
        let first = !std::mem::replace(seen, true);
        walk.ignored(!first, "priority", FIRST);
        first.then_some(priority)
    }
}

fn per_priority(
    walk: &mut Walk,
    message: &Thresholds,
    priority: RoutingPriority,
    model: &mut model::Cluster,
) {
    walk.ignored(
        message.track_remaining,
        "track_remaining",
        "what is in use is always measured, and what remains follows",
    );
    walk.ignored(
        message.max_connection_pools.is_some(),
        "max_connection_pools",
        "an endpoint has one pool",
    );
    let budget = message.retry_budget.as_ref();
    let target = match priority {
        RoutingPriority::Default => &mut model.circuit_breakers.default,
        RoutingPriority::High => &mut model.circuit_breakers.high,
    };
    set(message.max_connections.as_ref(), &mut target.max_connections);
    set(message.max_pending_requests.as_ref(), &mut target.max_pending_requests);
    set(message.max_requests.as_ref(), &mut target.max_requests);
    // Envoy: with a retry budget, `max_retries` does not count.
    let retries = message.max_retries.as_ref();
    walk.ignored(
        budget.is_some() && retries.is_some(),
        "max_retries",
        "beside a retry_budget it does not count (Envoy)",
    );
    target.max_retries = retries.filter(|_| budget.is_none()).map(|retries| retries.value);
    let Some(budget) = budget else { return };
    match priority {
        RoutingPriority::Default => {
            model.retry_budget.concurrency = Some(retry_budget(walk, budget));
        }
        RoutingPriority::High => {
            retry_budget(walk, budget);
            walk.ignored(
                true,
                "retry_budget",
                "a cluster has one retry budget, that of the default priority",
            );
        }
    }
}

fn retry_budget(walk: &mut Walk, message: &RetryBudget) -> RetryConcurrency {
    walk.at("retry_budget", |walk| {
        walk.ignored(
            message.budget_interval.is_some(),
            "budget_interval",
            "what counts is in flight now",
        );
        let mut found = RetryConcurrency::default();
        let percent = common::percent(walk, "budget_percent", message.budget_percent.as_ref());
        found.budget_percent = percent.unwrap_or(found.budget_percent);
        set(message.min_retry_concurrency.as_ref(), &mut found.min_retry_concurrency);
        found
    })
}

/// Envoy: of the limits per host, only `max_connections`; gRFC A105: at least 1.
fn per_host(
    walk: &mut Walk,
    message: &Thresholds,
    priority: RoutingPriority,
    model: &mut model::Cluster,
) {
    const ONLY_CONNECTIONS: &str = "of per_host_thresholds only max_connections is used (Envoy)";
    for (set, field) in [
        (message.max_pending_requests.is_some(), "max_pending_requests"),
        (message.max_requests.is_some(), "max_requests"),
        (message.max_retries.is_some(), "max_retries"),
        (message.retry_budget.is_some(), "retry_budget"),
        (message.track_remaining, "track_remaining"),
        (message.max_connection_pools.is_some(), "max_connection_pools"),
    ] {
        walk.ignored(set, field, ONLY_CONNECTIONS);
    }
    let most = message.max_connections.as_ref();
    let most = common::uint32(walk, "max_connections", most, 1..=u32::MAX);
    match priority {
        RoutingPriority::Default => model.circuit_breakers.max_connections_per_endpoint = most,
        RoutingPriority::High => walk.ignored(
            most.is_some(),
            "max_connections",
            "connections to an endpoint have one limit, that of the default priority",
        ),
    }
}

fn set(value: Option<&UInt32Value>, target: &mut u32) {
    if let Some(value) = value {
        *target = value.value;
    }
}
