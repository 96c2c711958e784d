//! Outlier detection.

use super::words::Words;
use super::wrap::{duration, flag, positive, uint32};
use envoy_types::pb::envoy::config::cluster::v3 as pb;
use mesh_core::model::OutlierDetection;
use mesh_core::model::outlier_detection::{CapRule, FailurePercentage, SuccessRate};

/// An `OutlierDetection`; what it has no field for goes to `outlier_detection` of `words`.
///
/// A rule that is not watched is one that never ejects: a count of 0, which no run of failures equals
/// (Envoy: it ejects on equality), or an enforcement of 0 %.
pub(super) fn outlier_detection(
    model: &OutlierDetection,
    words: &mut Words,
) -> pb::OutlierDetection {
    let mut ours = Words::default();
    ours.differs("a50_cap", model.cap_rule == CapRule::Grpc, &false);
    if let Some(after) = model.count_cancelled_after {
        ours.set("count_cancelled_after", after);
    }
    let longest = model.max_ejection_time.max(model.base_ejection_time);
    ours.differs("max_ejection_time", model.max_ejection_time, &longest);
    let mut encoded = pb::OutlierDetection {
        interval: positive(model.interval),
        base_ejection_time: positive(model.base_ejection_time),
        // Envoy: no less than the base.
        max_ejection_time: positive(longest),
        max_ejection_time_jitter: duration(model.max_ejection_time_jitter),
        max_ejection_percent: share(model.max_ejection_percent),
        always_eject_one_host: flag(model.always_eject_one_endpoint),
        consecutive_5xx: uint32(model.consecutive_5xx.unwrap_or_default()),
        enforcing_consecutive_5xx: share(model.enforcing_consecutive_5xx),
        consecutive_gateway_failure: uint32(model.consecutive_gateway_failure.unwrap_or_default()),
        enforcing_consecutive_gateway_failure: share(model.enforcing_consecutive_gateway_failure),
        split_external_local_origin_errors: model.split_external_local_origin_errors,
        consecutive_local_origin_failure: uint32(
            model.consecutive_local_origin_failure.unwrap_or_default(),
        ),
        enforcing_consecutive_local_origin_failure: share(
            model.enforcing_consecutive_local_origin_failure,
        ),
        ..pb::OutlierDetection::default()
    };
    success_rate(model, &mut encoded, &mut ours);
    failure_percentage(model, &mut encoded, &mut ours);
    words.nest("outlier_detection", ours);
    encoded
}

/// Envoy: every percentage is at most 100.
fn share(percent: u32) -> Option<envoy_types::pb::google::protobuf::UInt32Value> {
    uint32(percent.min(100))
}

/// Envoy has one set of numbers for both kinds of errors, and an enforcement for each.
fn success_rate(model: &OutlierDetection, encoded: &mut pb::OutlierDetection, words: &mut Words) {
    let (outer, local) = (model.success_rate, model.local_origin_success_rate);
    let shared = outer.or(local).unwrap_or_default();
    encoded.success_rate_stdev_factor = uint32(shared.stdev_factor);
    encoded.success_rate_minimum_hosts = uint32(shared.minimum_hosts);
    encoded.success_rate_request_volume = uint32(shared.request_volume);
    let enforced = |rule: Option<SuccessRate>| share(rule.map_or(0, |rule| rule.enforcing));
    encoded.enforcing_success_rate = enforced(outer);
    encoded.enforcing_local_origin_success_rate = enforced(local);
    if outer.is_none() {
        words.set("success_rate", "off");
    }
    match local {
        None => words.set("local_origin_success_rate", "off"),
        Some(local) => {
            let mut own = Words::default();
            own.differs("stdev_factor", local.stdev_factor, &shared.stdev_factor);
            own.differs("minimum_hosts", local.minimum_hosts, &shared.minimum_hosts);
            own.differs("request_volume", local.request_volume, &shared.request_volume);
            words.nest("local_origin_success_rate", own);
        }
    }
}

/// As for success rates. Both are off unless said: Envoy's enforcement is 0 by default.
fn failure_percentage(
    model: &OutlierDetection,
    encoded: &mut pb::OutlierDetection,
    words: &mut Words,
) {
    let (outer, local) = (model.failure_percentage, model.local_origin_failure_percentage);
    let enforced = |rule: Option<FailurePercentage>| share(rule.map_or(0, |rule| rule.enforcing));
    encoded.enforcing_failure_percentage = enforced(outer);
    encoded.enforcing_failure_percentage_local_origin = enforced(local);
    let Some(shared) = outer.or(local) else { return };
    encoded.failure_percentage_threshold = share(shared.threshold);
    encoded.failure_percentage_minimum_hosts = uint32(shared.minimum_hosts);
    encoded.failure_percentage_request_volume = uint32(shared.request_volume);
    // A rule that only measures looks like none.
    if outer.is_some() {
        words.set("failure_percentage", "on");
    }
    if let Some(local) = local {
        let mut own = Words::default();
        own.differs("threshold", local.threshold, &shared.threshold);
        own.differs("minimum_hosts", local.minimum_hosts, &shared.minimum_hosts);
        own.differs("request_volume", local.request_volume, &shared.request_volume);
        own.set("on", true);
        words.nest("local_origin_failure_percentage", own);
    }
}
