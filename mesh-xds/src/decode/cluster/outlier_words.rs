//! Our own words of outlier detection: rules that are off, that only measure, or whose numbers for
//! local errors are others than for all errors, which Envoy has no fields for.

use crate::decode::common::Walk;
use crate::decode::words::Words;
use envoy_types::pb::envoy::config::cluster::v3::OutlierDetection as Message;
use envoy_types::pb::google::protobuf::UInt32Value;
use mesh_core::model::OutlierDetection;
use mesh_core::model::outlier_detection::{CapRule, FailurePercentage, SuccessRate};
use std::time::Duration;

const OFF: &[(&str, ())] = &[("off", ())];
const ON: &[(&str, ())] = &[("on", ())];

/// Reads the words into `rules`, which `message` has been read into.
pub(super) fn decode(
    walk: &mut Walk,
    words: &mut Words<'_>,
    message: &Message,
    rules: &mut OutlierDetection,
) {
    if let Some(is_grpc) = words.flag(walk, "a50_cap") {
        rules.cap_rule = if is_grpc { CapRule::Grpc } else { CapRule::Envoy };
    }
    let longest = words.time(walk, "max_ejection_time", Duration::ZERO);
    rules.max_ejection_time = longest.unwrap_or(rules.max_ejection_time);
    let after = words.time(walk, "count_cancelled_after", Duration::ZERO);
    rules.count_cancelled_after = after.or(rules.count_cancelled_after);
    success_rates(walk, words, rules);
    failure_percentages(walk, words, message, rules);
}

fn success_rates(walk: &mut Walk, words: &mut Words<'_>, rules: &mut OutlierDetection) {
    if words.one_of(walk, "success_rate", OFF).is_some() {
        rules.success_rate = None;
    }
    const LOCAL: &str = "local_origin_success_rate";
    if words.is_text(LOCAL) {
        if words.one_of(walk, LOCAL, OFF).is_some() {
            rules.local_origin_success_rate = None;
        }
    } else if let Some(local) = &mut rules.local_origin_success_rate {
        words.within(walk, LOCAL, |walk, words| {
            let SuccessRate { stdev_factor, minimum_hosts, request_volume, .. } = local;
            number(walk, words, "stdev_factor", stdev_factor);
            number(walk, words, "minimum_hosts", minimum_hosts);
            number(walk, words, "request_volume", request_volume);
        });
    }
}

fn failure_percentages(
    walk: &mut Walk,
    words: &mut Words<'_>,
    message: &Message,
    rules: &mut OutlierDetection,
) {
    if words.one_of(walk, "failure_percentage", ON).is_some() {
        let enforcing = message.enforcing_failure_percentage.as_ref();
        rules.failure_percentage = Some(measured(message, enforcing));
    }
    words.within(walk, "local_origin_failure_percentage", |walk, words| {
        let enforcing = message.enforcing_failure_percentage_local_origin.as_ref();
        let mut local = measured(message, enforcing);
        if let Some(threshold) = words.number(walk, "threshold", 0..=100) {
            local.threshold = threshold;
        }
        number(walk, words, "minimum_hosts", &mut local.minimum_hosts);
        number(walk, words, "request_volume", &mut local.request_volume);
        let is_on = words.flag(walk, "on").unwrap_or_default();
        rules.local_origin_failure_percentage = is_on.then_some(local);
    });
}

/// The rule as the fields have it, whether or not it is enforced. Their bounds were checked before.
fn measured(message: &Message, enforcing: Option<&UInt32Value>) -> FailurePercentage {
    let mut rule = FailurePercentage::default();
    for (said, target) in [
        (message.failure_percentage_threshold.as_ref(), &mut rule.threshold),
        (message.failure_percentage_minimum_hosts.as_ref(), &mut rule.minimum_hosts),
        (message.failure_percentage_request_volume.as_ref(), &mut rule.request_volume),
        (enforcing, &mut rule.enforcing),
    ] {
        *target = said.map_or(*target, |said| said.value);
    }
    rule
}

fn number(walk: &mut Walk, words: &mut Words<'_>, key: &str, target: &mut u32) {
    if let Some(said) = words.number(walk, key, 0..=u32::MAX) {
        *target = said;
    }
}
