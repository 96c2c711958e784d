//! Admission control.

use super::values::{checked, flag};
use super::{Kind, message};
use crate::decode::common::{self, Walk};
use envoy_types::pb::envoy::config::core::v3::{RuntimePercent, RuntimeUInt32};
use envoy_types::pb::envoy::extensions::filters::http::admission_control::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::{AdmissionControl, HttpFilterConfig};
use pb::admission_control::{EvaluationCriteria, SuccessCriteria};
use std::ops::Range;
use std::sync::Arc;

/// Envoy has nothing for routes here.
pub(super) const KIND: Kind = Kind {
    config: "envoy.extensions.filters.http.admission_control.v3.AdmissionControl",
    decode: config,
    route: None,
};

fn config(walk: &mut Walk, any: &Any) -> Option<HttpFilterConfig> {
    let message: pb::AdmissionControl = message(walk, any)?;
    let before = walk.errors();
    let mut control = AdmissionControl::default();
    control.enabled = flag(walk, "enabled", message.enabled.as_ref());
    match &message.evaluation_criteria {
        Some(EvaluationCriteria::SuccessCriteria(criteria)) => {
            walk.at("success_criteria", |walk| self::criteria(walk, criteria, &mut control));
        }
        None => walk.error_at("success_criteria", "it is missing (Envoy: required)"),
    }
    let window = common::duration(walk, "sampling_window", message.sampling_window.as_ref());
    control.sampling_window = window.unwrap_or(control.sampling_window);
    if let Some(aggression) = &message.aggression {
        runtime_key(walk, "aggression", &aggression.runtime_key);
        control.aggression = aggression.default_value;
    }
    let percent = percent(walk, "sr_threshold", message.sr_threshold.as_ref());
    control.sr_threshold = percent.unwrap_or(control.sr_threshold);
    control.rps_threshold = rate(walk, message.rps_threshold.as_ref());
    let most = message.max_rejection_probability.as_ref();
    let percent = self::percent(walk, "max_rejection_probability", most);
    control.max_rejection_probability = percent.unwrap_or(control.max_rejection_probability);
    if walk.errors() > before {
        return None;
    }
    checked(walk, HttpFilterConfig::AdmissionControl(Arc::new(control)))
}

/// Without a list, Envoy's defaults hold. One that is there and empty would make every answer a failure.
fn criteria(walk: &mut Walk, message: &SuccessCriteria, control: &mut AdmissionControl) {
    let empty = "it is empty (Envoy: at least one)";
    if let Some(http) = &message.http_criteria {
        if http.http_success_status.is_empty() {
            walk.error_at("http_criteria.http_success_status", empty);
        }
        let ranges = http.http_success_status.iter().enumerate();
        let found = ranges.filter_map(|(at, range)| {
            let field = format!("http_criteria.http_success_status[{at}]");
            range_of(walk, &field, range.start, range.end)
        });
        control.http_success_status = found.collect();
    }
    if let Some(grpc) = &message.grpc_criteria {
        if grpc.grpc_success_status.is_empty() {
            walk.error_at("grpc_criteria.grpc_success_status", empty);
        }
        for (at, status) in grpc.grpc_success_status.iter().enumerate() {
            if *status > 16 {
                // Envoy: "invalid gRPC code".
                let field = format!("grpc_criteria.grpc_success_status[{at}]");
                walk.error_at(field, format_args!("{status} is no status of gRPC: 0 to 16"));
            }
        }
        control.grpc_success_status = grpc.grpc_success_status.clone();
    }
}

/// Envoy: `validHttpRange`.
fn range_of(walk: &mut Walk, field: &str, start: i32, end: i32) -> Option<Range<u16>> {
    let numbers = u16::try_from(start).ok().zip(u16::try_from(end).ok());
    let found = numbers.filter(|(start, end)| *start >= 100 && start <= end && *end <= 600);
    if found.is_none() {
        walk.error_at(
            field,
            format_args!("{start} to {end} is no range of statuses within 100 and 600"),
        );
    }
    found.map(|(start, end)| start..end)
}

fn percent(walk: &mut Walk, field: &str, message: Option<&RuntimePercent>) -> Option<f64> {
    let message = message?;
    runtime_key(walk, field, &message.runtime_key);
    common::percent(walk, field, message.default_value.as_ref())
}

fn rate(walk: &mut Walk, message: Option<&RuntimeUInt32>) -> u32 {
    let Some(message) = message else { return 0 };
    runtime_key(walk, "rps_threshold", &message.runtime_key);
    message.default_value
}

fn runtime_key(walk: &mut Walk, field: &str, key: &str) {
    walk.at(field, |walk| super::values::runtime_key(walk, key));
}
