//! `RetryPolicy` and `HedgePolicy`.
//!
//! Words of `retry_on` that are not known are passed over and reported (gRFC A44; Envoy reads them from
//! headers the same way). A policy that is left without any is kept, for it still takes the place of
//! its virtual host's. `num_retries: 0` means no retries, as in Envoy; gRFC A44 would refuse it.

use super::header::header_name;
use super::matcher;
use crate::decode::common::{self, Walk, ignored};
use envoy_types::pb::envoy::config::route::v3 as pb;
use mesh_core::call::MAX_RETRIES;
use mesh_core::model::retry_policy::{ResetHeader, ResetHeaderFormat};
use mesh_core::model::{BackOff, HedgePolicy, RateLimitedBackOff, RetryOn, RetryPolicy};
use pb::retry_policy as pb_retry;
use std::time::Duration;

/// How an endpoint that a call has tried is passed over.
const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
const PREVIOUS_HOSTS_NAME: &str = "envoy.retry_host_predicates.previous_hosts";
/// gRFC A44, Envoy: shorter pauses are rounded up.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Decodes a retry policy.
pub(super) fn policy(walk: &mut Walk, message: &pb::RetryPolicy) -> RetryPolicy {
    ignored!(walk, message, {
        retry_priority: "a retry balances over the same priorities",
        retry_options_predicates: "extensions of retries are not supported",
        refresh_cluster_on_retry: "attempts of a call stay with its cluster (gRFC A31)",
    });
    let mut policy = RetryPolicy::new(retry_on(walk, &message.retry_on));
    let retries = message.num_retries.map_or(1, |retries| retries.value);
    walk.ignored(retries > MAX_RETRIES, "num_retries", "a call has at most 100 retries");
    policy.num_retries = retries.min(MAX_RETRIES);
    // Envoy: zero is no limit.
    let per_try = common::duration(walk, "per_try_timeout", message.per_try_timeout.as_ref());
    policy.per_try_timeout = per_try.filter(|limit| !limit.is_zero());
    let idle =
        common::duration(walk, "per_try_idle_timeout", message.per_try_idle_timeout.as_ref());
    policy.per_try_idle_timeout = idle.filter(|limit| !limit.is_zero());
    policy.retriable_status_codes = status_codes(walk, &message.retriable_status_codes);
    policy.retriable_headers =
        matcher::headers(walk, "retriable_headers", &message.retriable_headers);
    policy.retriable_request_headers =
        matcher::headers(walk, "retriable_request_headers", &message.retriable_request_headers);
    if let Some(back_off) = &message.retry_back_off {
        policy.back_off =
            walk.at("retry_back_off", |walk| self::back_off(walk, back_off)).unwrap_or_default();
    }
    policy.rate_limited_back_off = message.rate_limited_retry_back_off.as_ref().map(|back_off| {
        walk.at("rate_limited_retry_back_off", |walk| rate_limited(walk, back_off))
    });
    policy.previous_hosts = predicates(walk, &message.retry_host_predicate);
    policy.host_selection_max_attempts =
        selections(walk, message.host_selection_retry_max_attempts);
    policy
}

pub(super) fn retry_on(walk: &mut Walk, text: &str) -> RetryOn {
    let mut found = RetryOn::NONE;
    let mut unknown = false;
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match RetryOn::from_name(name) {
            Some(condition) => found |= condition,
            None => unknown = true,
        }
    }
    walk.ignored(unknown, "retry_on", "words that are not known here are passed over (gRFC A44)");
    found
}

fn status_codes(walk: &mut Walk, codes: &[u32]) -> Vec<u16> {
    let mut found = Vec::with_capacity(codes.len());
    for (at, code) in codes.iter().enumerate() {
        match u16::try_from(*code).ok().filter(|code| (100..600).contains(code)) {
            Some(code) => found.push(code),
            None => walk.error_at(
                format_args!("retriable_status_codes[{at}]"),
                format_args!("{code} is no HTTP status: 100 to 599"),
            ),
        }
    }
    found
}

/// A pause, which is longer than none.
fn pause(
    walk: &mut Walk,
    field: &str,
    value: Option<&envoy_types::pb::google::protobuf::Duration>,
) -> Option<Duration> {
    let pause = common::duration(walk, field, value)?;
    if pause.is_zero() {
        walk.error_at(field, "a pause of 0 s is none (gRFC A44, Envoy: more than 0)");
        return None;
    }
    Some(pause.max(SHORTEST_PAUSE))
}

fn back_off(walk: &mut Walk, message: &pb_retry::RetryBackOff) -> Option<BackOff> {
    if message.base_interval.is_none() {
        walk.error_at("base_interval", "a back-off has a base (gRFC A44, Envoy: required)");
    }
    let base = pause(walk, "base_interval", message.base_interval.as_ref());
    let max = pause(walk, "max_interval", message.max_interval.as_ref());
    let base = base?;
    let max = max.unwrap_or_else(|| base.saturating_mul(10));
    if max < base {
        walk.error_at(
            "max_interval",
            format_args!("{max:?} is shorter than base_interval, {base:?} (gRFC A44)"),
        );
    }
    Some(BackOff::new(base, max))
}

fn rate_limited(
    walk: &mut Walk,
    message: &pb_retry::RateLimitedRetryBackOff,
) -> RateLimitedBackOff {
    if message.reset_headers.is_empty() {
        walk.error_at("reset_headers", "there is at least one header that says how long");
    }
    let mut headers = Vec::with_capacity(message.reset_headers.len());
    for (at, header) in message.reset_headers.iter().enumerate() {
        let header = walk.at(format_args!("reset_headers[{at}]"), |walk| {
            let name = header_name(walk, "name", &header.name);
            let format = match pb::retry_policy::ResetHeaderFormat::try_from(header.format) {
                Ok(pb::retry_policy::ResetHeaderFormat::Seconds) => ResetHeaderFormat::Seconds,
                Ok(pb::retry_policy::ResetHeaderFormat::UnixTimestamp) => {
                    ResetHeaderFormat::UnixTimestamp
                }
                Err(_) => {
                    let number = header.format;
                    walk.error_at("format", format_args!("{number} is no format known here"));
                    return None;
                }
            };
            Some(ResetHeader { name: name?, format })
        });
        headers.extend(header);
    }
    let mut back_off = RateLimitedBackOff::new(headers);
    if let Some(max) = pause(walk, "max_interval", message.max_interval.as_ref()) {
        back_off.max_interval = max;
    }
    back_off
}

/// Whether endpoints that were tried are passed over. Envoy: only with the predicate.
fn predicates(walk: &mut Walk, predicates: &[pb_retry::RetryHostPredicate]) -> bool {
    let mut previous = false;
    for (at, predicate) in predicates.iter().enumerate() {
        use pb_retry::retry_host_predicate::ConfigType;
        let known = match &predicate.config_type {
            Some(ConfigType::TypedConfig(config)) => {
                config.type_url.rsplit('/').next() == Some(PREVIOUS_HOSTS)
            }
            None => predicate.name == PREVIOUS_HOSTS_NAME,
        };
        previous |= known;
        walk.ignored(
            !known,
            format_args!("retry_host_predicate[{at}]"),
            "endpoints are passed over only because they were tried (`previous_hosts`)",
        );
    }
    previous
}

fn selections(walk: &mut Walk, attempts: i64) -> u32 {
    if attempts < 0 {
        walk.error_at(
            "host_selection_retry_max_attempts",
            format_args!("{attempts} is less than none"),
        );
    }
    // Envoy: one without a setting.
    u32::try_from(attempts.max(1)).unwrap_or(u32::MAX)
}

/// Decodes a hedge policy.
pub(super) fn hedge(walk: &mut Walk, message: &pb::HedgePolicy) -> HedgePolicy {
    // Envoy implements neither.
    walk.ignored(
        message.initial_requests.is_some_and(|requests| requests.value > 1),
        "initial_requests",
        "a call starts with one attempt",
    );
    ignored!(walk, message, {
        additional_request_chance: "a second attempt starts at a per-try timeout only",
    });
    let mut policy = HedgePolicy::default();
    policy.hedge_on_per_try_timeout = message.hedge_on_per_try_timeout;
    policy
}
