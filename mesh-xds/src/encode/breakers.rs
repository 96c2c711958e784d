//! Circuit breakers and retry budgets.

use super::words::Words;
use super::wrap::{percent, uint32};
use envoy_types::pb::envoy::config::cluster::v3::{
    self as pb,
    circuit_breakers::{Thresholds as PbThresholds, thresholds::RetryBudget},
};
use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use mesh_core::model::{Cluster, RetryBudgetPolicy, Thresholds};

/// The `CircuitBreakers` of a cluster.
///
/// A limit of retries that the model leaves to its budget of tokens is left out here too, and Envoy
/// takes its own: 3.
pub(super) fn circuit_breakers(model: &Cluster, words: &mut Words) -> pb::CircuitBreakers {
    let budget = model.retry_budget;
    let breakers = model.circuit_breakers;
    // gRFC A32: gRPC reads the first set of default priority.
    let thresholds = vec![
        thresholds(RoutingPriority::Default, breakers.default, budget),
        thresholds(RoutingPriority::High, breakers.high, budget),
    ];
    let per_host_thresholds = breakers
        .max_connections_per_endpoint
        .map(|limit| PbThresholds { max_connections: uint32(limit), ..PbThresholds::default() })
        .into_iter()
        .collect();
    words.nest("retry_budget", tokens(budget));
    // Envoy: a `retry_budget` takes the place of `max_retries`; the model keeps both.
    if budget.concurrency.is_some() {
        let mut limits = Words::default();
        for (priority, set) in [("default", breakers.default), ("high", breakers.high)] {
            if let Some(limit) = set.max_retries {
                limits.set(priority, limit);
            }
        }
        words.nest("max_retries", limits);
    }
    pb::CircuitBreakers { thresholds, per_host_thresholds }
}

/// What counts of an aggregate: the limits of retries. `None`: the defaults.
pub(super) fn of_retries(model: &Cluster, words: &mut Words) -> Option<pb::CircuitBreakers> {
    let mut encoded = circuit_breakers(model, words);
    encoded.per_host_thresholds.clear();
    for set in &mut encoded.thresholds {
        (set.max_connections, set.max_pending_requests, set.max_requests) = (None, None, None);
    }
    encoded.thresholds.retain(|set| set.max_retries.is_some() || set.retry_budget.is_some());
    (!encoded.thresholds.is_empty()).then_some(encoded)
}

fn thresholds(
    priority: RoutingPriority,
    model: Thresholds,
    budget: RetryBudgetPolicy,
) -> PbThresholds {
    PbThresholds {
        priority: priority.into(),
        max_connections: uint32(model.max_connections),
        max_pending_requests: uint32(model.max_pending_requests),
        max_requests: uint32(model.max_requests),
        // Envoy: beside a `retry_budget` it does not count.
        max_retries: model.max_retries.filter(|_| budget.concurrency.is_none()).and_then(uint32),
        retry_budget: budget.concurrency.map(|rule| RetryBudget {
            budget_percent: percent(rule.budget_percent.clamp(0.0, 100.0)),
            budget_interval: None,
            min_retry_concurrency: uint32(rule.min_retry_concurrency),
        }),
        ..PbThresholds::default()
    }
}

/// The budget of tokens, which Envoy does not have.
fn tokens(model: RetryBudgetPolicy) -> Words {
    let default = RetryBudgetPolicy::default();
    let mut words = Words::default();
    words.differs("enabled", model.enabled, &default.enabled);
    words.differs("ratio", model.ratio, &default.ratio);
    words.differs("min_per_second", model.min_per_second, &default.min_per_second);
    words.differs("window", model.window, &default.window);
    words
}
