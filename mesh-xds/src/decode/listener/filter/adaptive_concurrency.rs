//! Adaptive concurrency.

use super::values::{checked, flag, refusal};
use super::{Kind, message};
use crate::decode::common::{self, Walk};
use envoy_types::pb::envoy::extensions::filters::http::adaptive_concurrency::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use http::StatusCode;
use mesh_core::model::http_filter::MinRtt;
use mesh_core::model::{AdaptiveConcurrency, HttpFilterConfig};
use pb::adaptive_concurrency::ConcurrencyControllerConfig;
use pb::gradient_controller_config::{
    ConcurrencyLimitCalculationParams, MinimumRttCalculationParams,
};
use std::sync::Arc;
use std::time::Duration;

/// Envoy has nothing for routes here.
pub(super) const KIND: Kind = Kind {
    config: "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
    decode: config,
    route: None,
};

fn config(walk: &mut Walk, any: &Any) -> Option<HttpFilterConfig> {
    let message: pb::AdaptiveConcurrency = message(walk, any)?;
    let before = walk.errors();
    let Some(controller) = &message.concurrency_controller_config else {
        walk.error_at("gradient_controller_config", "it is missing (Envoy: required)");
        return None;
    };
    let ConcurrencyControllerConfig::GradientControllerConfig(controller) = controller;
    let mut limit =
        walk.at("gradient_controller_config", |walk| self::controller(walk, controller))?;
    limit.enabled = flag(walk, "enabled", message.enabled.as_ref());
    limit.status = refusal(
        walk,
        "concurrency_limit_exceeded_status",
        message.concurrency_limit_exceeded_status,
        StatusCode::SERVICE_UNAVAILABLE,
    )?;
    if walk.errors() > before {
        return None;
    }
    checked(walk, HttpFilterConfig::AdaptiveConcurrency(Arc::new(limit)))
}

fn controller(
    walk: &mut Walk,
    message: &pb::GradientControllerConfig,
) -> Option<AdaptiveConcurrency> {
    // The two intervals have no default in Envoy; both are put in below.
    let mut limit = AdaptiveConcurrency::new(Duration::ZERO, Duration::ZERO);
    if let Some(percentile) = &message.sample_aggregate_percentile {
        limit.sample_aggregate_percentile = percentile.value;
    }
    match &message.concurrency_limit_params {
        Some(params) => {
            walk.at("concurrency_limit_params", |walk| limit_params(walk, params, &mut limit))?;
        }
        None => walk.error_at("concurrency_limit_params", "it is missing (Envoy: required)"),
    }
    match &message.min_rtt_calc_params {
        Some(params) => {
            walk.at("min_rtt_calc_params", |walk| rtt_params(walk, params, &mut limit))?;
        }
        None => walk.error_at("min_rtt_calc_params", "it is missing (Envoy: required)"),
    }
    Some(limit)
}

fn limit_params(
    walk: &mut Walk,
    message: &ConcurrencyLimitCalculationParams,
    limit: &mut AdaptiveConcurrency,
) -> Option<()> {
    if let Some(most) = &message.max_concurrency_limit {
        limit.max_concurrency_limit = most.value;
    }
    limit.min_concurrency_limit = message.min_concurrency_limit.as_ref().map(|least| least.value);
    let interval = message.concurrency_update_interval.as_ref();
    if interval.is_none() {
        walk.error_at("concurrency_update_interval", "it is missing (Envoy: required)");
    }
    limit.concurrency_update_interval =
        common::duration(walk, "concurrency_update_interval", interval)?;
    Some(())
}

fn rtt_params(
    walk: &mut Walk,
    message: &MinimumRttCalculationParams,
    limit: &mut AdaptiveConcurrency,
) -> Option<()> {
    if let Some(least) = &message.min_concurrency {
        limit.min_concurrency = least.value;
    }
    if let Some(buffer) = &message.buffer {
        limit.buffer = buffer.value;
    }
    let interval = common::duration(walk, "interval", message.interval.as_ref());
    let interval = interval.filter(|interval| !interval.is_zero());
    let fixed = common::duration(walk, "fixed_value", message.fixed_value.as_ref());
    limit.min_rtt = match (interval, fixed) {
        // Envoy: the fixed value counts when nothing is sampled.
        (Some(interval), _) => MinRtt::Sampled {
            interval,
            request_count: message.request_count.as_ref().map_or(50, |count| count.value),
            jitter: message.jitter.map_or(15.0, |jitter| jitter.value),
        },
        (None, Some(fixed)) => MinRtt::Fixed(fixed),
        (None, None) => {
            walk.error_at("fixed_value", "without an `interval`, it has to be set (Envoy)");
            return None;
        }
    };
    walk.ignored(
        interval.is_some() && fixed.is_some(),
        "fixed_value",
        "with an `interval` the latency is measured",
    );
    Some(())
}
