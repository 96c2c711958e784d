//! `outlier_detection`: when an endpoint is taken out (gRFC A50, and what Envoy has beyond it).
//!
//! The cap is read as Envoy reads it: the share after the ejection is within
//! `max_ejection_percent`. A count of 0 failures in a row watches nothing, as in Envoy, where a
//! counter is compared after it was raised.

use crate::decode::common::{self, Walk};
use envoy_types::pb::envoy::config::cluster::v3::OutlierDetection;
use envoy_types::pb::google::protobuf::UInt32Value;
use mesh_core::model;
use mesh_core::model::outlier_detection::{FailurePercentage, SuccessRate};

/// The rules of ejection; `None`: nothing is ejected.
pub(super) fn decode(
    walk: &mut Walk,
    message: Option<&OutlierDetection>,
) -> Option<model::OutlierDetection> {
    let message = message?;
    walk.at("outlier_detection", |walk| {
        report(walk, message);
        let mut rules = model::OutlierDetection::default();
        times(walk, message, &mut rules);
        percentage(
            walk,
            "max_ejection_percent",
            message.max_ejection_percent.as_ref(),
            &mut rules.max_ejection_percent,
        );
        let one = message.always_eject_one_host.as_ref();
        rules.always_eject_one_endpoint = one.is_some_and(|one| one.value);
        rules.split_external_local_origin_errors = message.split_external_local_origin_errors;
        in_a_row(walk, message, &mut rules);
        success_rates(walk, message, &mut rules);
        failure_percentages(walk, message, &mut rules);
        Some(rules)
    })
}

fn report(walk: &mut Walk, message: &OutlierDetection) {
    for (set, field, reason) in [
        (
            message.successful_active_health_check_uneject_host.is_some(),
            "successful_active_health_check_uneject_host",
            "there are no active health checks",
        ),
        (!message.monitors.is_empty(), "monitors", "custom monitors are not supported"),
        (
            message.detect_degraded_hosts.is_some(),
            "detect_degraded_hosts",
            "only EDS says that an endpoint is degraded",
        ),
    ] {
        walk.ignored(set, field, reason);
    }
}

/// gRFC A50: no duration is negative. Envoy: interval, base and most are more than 0 s, and the most
/// is not less than the base.
fn times(walk: &mut Walk, message: &OutlierDetection, rules: &mut model::OutlierDetection) {
    let interval = common::positive_duration(walk, "interval", message.interval.as_ref());
    rules.interval = interval.unwrap_or(rules.interval);
    let base = message.base_ejection_time.as_ref();
    let base = common::positive_duration(walk, "base_ejection_time", base);
    rules.base_ejection_time = base.unwrap_or(rules.base_ejection_time);
    rules.max_ejection_time = rules.max_ejection_time.max(rules.base_ejection_time);
    let most = message.max_ejection_time.as_ref();
    if let Some(most) = common::positive_duration(walk, "max_ejection_time", most) {
        if most < rules.base_ejection_time {
            walk.error_at(
                "max_ejection_time",
                format_args!(
                    "{most:?} is shorter than base_ejection_time, {:?} (Envoy)",
                    rules.base_ejection_time
                ),
            );
        }
        rules.max_ejection_time = most;
    }
    let jitter = message.max_ejection_time_jitter.as_ref();
    let jitter = common::duration(walk, "max_ejection_time_jitter", jitter);
    rules.max_ejection_time_jitter = jitter.unwrap_or_default();
}

fn in_a_row(walk: &mut Walk, message: &OutlierDetection, rules: &mut model::OutlierDetection) {
    count(message.consecutive_5xx.as_ref(), &mut rules.consecutive_5xx);
    percentage(
        walk,
        "enforcing_consecutive_5xx",
        message.enforcing_consecutive_5xx.as_ref(),
        &mut rules.enforcing_consecutive_5xx,
    );
    let gateway = message.consecutive_gateway_failure.as_ref();
    count(gateway, &mut rules.consecutive_gateway_failure);
    percentage(
        walk,
        "enforcing_consecutive_gateway_failure",
        message.enforcing_consecutive_gateway_failure.as_ref(),
        &mut rules.enforcing_consecutive_gateway_failure,
    );
    let local = message.consecutive_local_origin_failure.as_ref();
    count(local, &mut rules.consecutive_local_origin_failure);
    percentage(
        walk,
        "enforcing_consecutive_local_origin_failure",
        message.enforcing_consecutive_local_origin_failure.as_ref(),
        &mut rules.enforcing_consecutive_local_origin_failure,
    );
}

fn success_rates(walk: &mut Walk, message: &OutlierDetection, rules: &mut model::OutlierDetection) {
    let mut rate = SuccessRate::default();
    set(message.success_rate_minimum_hosts.as_ref(), &mut rate.minimum_hosts);
    set(message.success_rate_request_volume.as_ref(), &mut rate.request_volume);
    set(message.success_rate_stdev_factor.as_ref(), &mut rate.stdev_factor);
    let mut local = rate;
    percentage(
        walk,
        "enforcing_success_rate",
        message.enforcing_success_rate.as_ref(),
        &mut rate.enforcing,
    );
    percentage(
        walk,
        "enforcing_local_origin_success_rate",
        message.enforcing_local_origin_success_rate.as_ref(),
        &mut local.enforcing,
    );
    rules.success_rate = Some(rate);
    rules.local_origin_success_rate = Some(local);
}

/// gRFC A50: runs only when it is enforced, that is when `enforcing_failure_percentage` is more than
/// 0; Envoy counts without it, and ejects nothing.
fn failure_percentages(
    walk: &mut Walk,
    message: &OutlierDetection,
    rules: &mut model::OutlierDetection,
) {
    let mut rule = FailurePercentage::default();
    percentage(
        walk,
        "failure_percentage_threshold",
        message.failure_percentage_threshold.as_ref(),
        &mut rule.threshold,
    );
    set(message.failure_percentage_minimum_hosts.as_ref(), &mut rule.minimum_hosts);
    set(message.failure_percentage_request_volume.as_ref(), &mut rule.request_volume);
    let mut local = rule;
    percentage(
        walk,
        "enforcing_failure_percentage",
        message.enforcing_failure_percentage.as_ref(),
        &mut rule.enforcing,
    );
    percentage(
        walk,
        "enforcing_failure_percentage_local_origin",
        message.enforcing_failure_percentage_local_origin.as_ref(),
        &mut local.enforcing,
    );
    rules.failure_percentage = (rule.enforcing > 0).then_some(rule);
    rules.local_origin_failure_percentage = (local.enforcing > 0).then_some(local);
}

fn set(value: Option<&UInt32Value>, target: &mut u32) {
    if let Some(value) = value {
        *target = value.value;
    }
}

/// A count of failures in a row; 0 is never reached.
fn count(value: Option<&UInt32Value>, target: &mut Option<u32>) {
    if let Some(value) = value {
        *target = Some(value.value).filter(|count| *count > 0);
    }
}

/// gRFC A50: percentages are at most 100.
fn percentage(walk: &mut Walk, field: &str, value: Option<&UInt32Value>, target: &mut u32) {
    if let Some(percent) = common::uint32(walk, field, value, 0..=100) {
        *target = percent;
    }
}
