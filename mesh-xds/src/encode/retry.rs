//! Retry and hedge policies.

use super::matcher::header;
use super::words::{Word, Words};
use super::wrap::{any, duration, uint32};
use envoy_types::pb::envoy::config::route::v3::{
    self as pb,
    retry_policy::{
        RateLimitedRetryBackOff, ResetHeader as PbResetHeader, ResetHeaderFormat as PbFormat,
        RetryBackOff, RetryHostPredicate, retry_host_predicate::ConfigType,
    },
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use mesh_core::model::retry_policy::ResetHeaderFormat;
use mesh_core::model::{BackOff, HedgePolicy, RateLimitedBackOff, RetryOn, RetryPolicy};
use std::time::Duration;

/// The shortest back-off: Envoy and gRPC round what is less up to it (gRFC A44).
const SHORTEST_BACK_OFF: Duration = Duration::from_millis(1);
const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";

/// A `RetryPolicy`; what it has no field for goes to `retry_policy` of `words`.
pub(super) fn policy(model: &RetryPolicy, words: &mut Words) -> pb::RetryPolicy {
    let mut ours = Words::default();
    let retry_on = names(model.retry_on);
    // gRFC A44: `num_retries: 0` is refused. A policy that retries nothing says the same, and still
    // takes the place of the virtual host's.
    let never = model.num_retries == 0;
    if never {
        ours.set("num_retries", 0u32);
        ours.set("retry_on", &*retry_on);
    }
    // Envoy: 0 is "not said", which is 1.
    if model.host_selection_max_attempts == 0 {
        ours.set("host_selection_max_attempts", 0u32);
    }
    let predicate = RetryHostPredicate {
        name: PREVIOUS_HOSTS.to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&PreviousHostsPredicate {}))),
    };
    let policy = pb::RetryPolicy {
        retry_on: if never { String::new() } else { retry_on },
        num_retries: uint32(model.num_retries.max(1)),
        per_try_timeout: model.per_try_timeout.and_then(duration),
        per_try_idle_timeout: model.per_try_idle_timeout.and_then(duration),
        retriable_status_codes: model
            .retriable_status_codes
            .iter()
            .copied()
            .map(u32::from)
            .collect(),
        retriable_headers: model.retriable_headers.iter().map(header).collect(),
        retriable_request_headers: model.retriable_request_headers.iter().map(header).collect(),
        retry_back_off: Some(back_off(model.back_off, &mut ours)),
        rate_limited_retry_back_off: model
            .rate_limited_back_off
            .as_ref()
            .and_then(|back_off| rate_limited(back_off, &mut ours)),
        retry_host_predicate: if model.previous_hosts { vec![predicate] } else { Vec::new() },
        host_selection_retry_max_attempts: model.host_selection_max_attempts.into(),
        ..pb::RetryPolicy::default()
    };
    words.nest("retry_policy", ours);
    policy
}

/// The conditions, as Envoy lists them.
fn names(retry_on: RetryOn) -> String {
    let names: Vec<_> = RetryOn::NAMES
        .iter()
        .filter(|(_, condition)| retry_on.contains(*condition))
        .map(|(name, _)| *name)
        .collect();
    names.join(",")
}

fn back_off(model: BackOff, words: &mut Words) -> RetryBackOff {
    // Envoy: `base_interval` is more than zero, `max_interval` is no less than it.
    let base = model.base_interval.max(SHORTEST_BACK_OFF);
    let longest = model.max_interval.max(base);
    if (base, longest) != (model.base_interval, model.max_interval) {
        let mut exact = Words::default();
        exact.set("base_interval", model.base_interval);
        exact.set("max_interval", model.max_interval);
        words.nest("back_off", exact);
    }
    RetryBackOff { base_interval: duration(base), max_interval: duration(longest) }
}

/// `None`: without headers there is nothing to listen to (Envoy: `reset_headers` has at least one).
fn rate_limited(model: &RateLimitedBackOff, words: &mut Words) -> Option<RateLimitedRetryBackOff> {
    if model.reset_headers.is_empty() {
        return None;
    }
    // RFC 9110 §10.2.3: `Retry-After` may be a date. Envoy reads seconds only.
    let dates: Vec<_> = model
        .reset_headers
        .iter()
        .filter(|header| header.format == ResetHeaderFormat::RetryAfter)
        .map(|header| header.name.as_str())
        .collect();
    if !dates.is_empty() {
        words.set("retry_after", Word::list(dates));
    }
    let reset_headers = model
        .reset_headers
        .iter()
        .map(|header| PbResetHeader {
            name: header.name.to_string(),
            format: match header.format {
                ResetHeaderFormat::Seconds | ResetHeaderFormat::RetryAfter => PbFormat::Seconds,
                ResetHeaderFormat::UnixTimestamp => PbFormat::UnixTimestamp,
            }
            .into(),
        })
        .collect();
    let max_interval = duration(model.max_interval.max(SHORTEST_BACK_OFF));
    Some(RateLimitedRetryBackOff { reset_headers, max_interval })
}

/// A `HedgePolicy`.
pub(super) fn hedge(model: HedgePolicy) -> pb::HedgePolicy {
    pb::HedgePolicy {
        hedge_on_per_try_timeout: model.hedge_on_per_try_timeout,
        ..pb::HedgePolicy::default()
    }
}
