//! HTTP filters of a server, and what routes say of them: the way back of `decode::filter`.
//!
//! What Envoy has no field for can't be said, and `filters.rs` decides what becomes of it: a concurrency
//! limit, a rate per peer, and the shadow mode of what in Envoy has none. Filters that ask somebody are in
//! files of their own.

mod ext_authz;
mod jwt_authn;
pub(super) mod rate_limit;
mod service;

use super::headers;
use super::matcher::{fraction, header};
use super::rbac::rbac_filter;
use super::wrap::{any, duration, flag, percent, uint32};
use crate::decode::UNSET_RUNTIME_KEY;
use envoy_types::pb::envoy::config::common::mutation_rules::v3 as rules;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3::FilterConfig;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3 as pb_fault;
use envoy_types::pb::envoy::extensions::filters::http as pb;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::r#type::v3 as types;
use envoy_types::pb::google::protobuf::{Any, UInt64Value};
use http::StatusCode;
use mesh_core::model::http_filter::{
    Fault, FaultAbort, FaultDelay, FaultDenominator, FaultDuration, FaultPercentage, FaultStatus,
    MinRtt,
};
use mesh_core::model::{
    AdaptiveConcurrency, AdmissionControl, Fraction, HeaderMutation, HeaderMutations, HttpFilter,
    HttpFilterConfig, HttpFilterOverride, LocalRateLimit, RateLimitScope,
};
use pb::adaptive_concurrency::v3 as pb_adaptive;
use pb::admission_control::v3 as pb_admission;
use pb::header_mutation::v3 as pb_mutation;
use std::sync::Arc;

/// A filter of a connection manager; `None`: Envoy has none that does this.
#[must_use]
pub fn http_filter(model: &HttpFilter) -> Option<hcm::HttpFilter> {
    Some(hcm::HttpFilter {
        name: model.name.to_string(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(filter_config(&model.config)?)),
        disabled: model.disabled,
        ..hcm::HttpFilter::default()
    })
}

/// The configuration of a filter; `None`: Envoy has none that does this.
#[must_use]
pub fn filter_config(config: &HttpFilterConfig) -> Option<Any> {
    Some(match config {
        HttpFilterConfig::Rbac(model) => any(&rbac_filter(model)),
        HttpFilterConfig::JwtAuthn(model) => any(&jwt_authn::filter(model)?),
        HttpFilterConfig::ExtAuthz(model) => any(&ext_authz::filter(model)?),
        HttpFilterConfig::RateLimit(model) => any(&rate_limit::filter(model)?),
        HttpFilterConfig::LocalRateLimit(model) => any(&local_rate_limit(model)?),
        HttpFilterConfig::AdaptiveConcurrency(model) => any(&adaptive_concurrency(model)?),
        HttpFilterConfig::AdmissionControl(model) => any(&admission_control(model)?),
        HttpFilterConfig::Fault(model) => any(&fault(model)),
        HttpFilterConfig::BodySizeLimit(model) if model.enforced == Fraction::ALL => {
            any(&pb::body_size_limit::v3::BodySizeLimit {
                max_request_bytes: Some(UInt64Value { value: model.max_request_bytes }),
            })
        }
        HttpFilterConfig::HeaderMutation(model) => any(&pb_mutation::HeaderMutation {
            mutations: Some(mutations(&model.mutations)),
            most_specific_header_mutations_wins: model.most_specific_header_mutations_wins,
        }),
        // What Envoy lacks, and kinds that this encoder does not know yet.
        _ => return None,
    })
}

/// What a level says of one filter; `None`: Envoy has no way to say it.
#[must_use]
pub fn filter_override(said: &HttpFilterOverride) -> Option<Any> {
    Some(match said {
        HttpFilterOverride::Disabled => {
            any(&FilterConfig { disabled: true, ..FilterConfig::default() })
        }
        HttpFilterOverride::Enabled => any(&FilterConfig::default()),
        HttpFilterOverride::Config(HttpFilterConfig::Rbac(model)) => {
            any(&pb::rbac::v3::RbacPerRoute { rbac: Some(rbac_filter(model)) })
        }
        HttpFilterOverride::Config(HttpFilterConfig::HeaderMutation(model)) => {
            let mutations = Some(mutations(&model.mutations));
            any(&pb_mutation::HeaderMutationPerRoute { mutations })
        }
        HttpFilterOverride::Config(config) => filter_config(config)?,
        HttpFilterOverride::JwtRequirement(name) => any(&jwt_authn::per_route(name)),
        HttpFilterOverride::ExtAuthz(said) => any(&ext_authz::per_route(said)?),
        HttpFilterOverride::RateLimit(said) => any(&rate_limit::per_route(said)?),
        // A kind that this encoder does not know yet.
        _ => return None,
    })
}

fn local_rate_limit(model: &LocalRateLimit) -> Option<pb::local_ratelimit::v3::LocalRateLimit> {
    let per_connection = match model.scope {
        RateLimitScope::Process => false,
        RateLimitScope::Connection => true,
        _ => return None,
    };
    let share = |share| Some(runtime_fraction(share));
    Some(pb::local_ratelimit::v3::LocalRateLimit {
        stat_prefix: "mesh".to_owned(),
        status: Some(status(model.status)?),
        token_bucket: model.token_bucket.map(|bucket| types::TokenBucket {
            max_tokens: bucket.max_tokens,
            tokens_per_fill: uint32(bucket.tokens_per_fill),
            fill_interval: duration(bucket.fill_interval),
        }),
        filter_enabled: share(model.filter_enabled),
        filter_enforced: share(model.filter_enforced),
        request_headers_to_add_when_not_enforced: added(
            &model.request_headers_to_add_when_not_enforced,
        )?,
        response_headers_to_add: added(&model.response_headers_to_add)?,
        local_rate_limit_per_downstream_connection: per_connection,
        enable_x_ratelimit_headers: i32::from(model.enable_x_ratelimit_headers),
        rate_limited_as_resource_exhausted: model.rate_limited_as_resource_exhausted,
        enable_retry_after_header: model.enable_retry_after_header,
        ..Default::default()
    })
}

fn adaptive_concurrency(model: &AdaptiveConcurrency) -> Option<pb_adaptive::AdaptiveConcurrency> {
    use pb_adaptive::adaptive_concurrency::ConcurrencyControllerConfig as Config;
    use pb_adaptive::gradient_controller_config as params;
    if model.enforced != Fraction::ALL {
        return None;
    }
    let mut rtt = params::MinimumRttCalculationParams {
        min_concurrency: uint32(model.min_concurrency),
        buffer: percent(model.buffer),
        ..Default::default()
    };
    match model.min_rtt {
        MinRtt::Sampled { interval, request_count, jitter } => {
            rtt.interval = duration(interval);
            rtt.request_count = uint32(request_count);
            rtt.jitter = percent(jitter);
        }
        MinRtt::Fixed(fixed) => rtt.fixed_value = duration(fixed),
    }
    let controller = pb_adaptive::GradientControllerConfig {
        sample_aggregate_percentile: percent(model.sample_aggregate_percentile),
        concurrency_limit_params: Some(params::ConcurrencyLimitCalculationParams {
            max_concurrency_limit: uint32(model.max_concurrency_limit),
            concurrency_update_interval: duration(model.concurrency_update_interval),
            min_concurrency_limit: model.min_concurrency_limit.and_then(uint32),
        }),
        min_rtt_calc_params: Some(rtt),
    };
    Some(pb_adaptive::AdaptiveConcurrency {
        enabled: enabled(model.enabled),
        concurrency_limit_exceeded_status: Some(status(model.status)?),
        concurrency_controller_config: Some(Config::GradientControllerConfig(controller)),
    })
}

fn admission_control(model: &AdmissionControl) -> Option<pb_admission::AdmissionControl> {
    use pb_admission::admission_control::{EvaluationCriteria, SuccessCriteria, success_criteria};
    if model.enforced != Fraction::ALL {
        return None;
    }
    let ranges = model.http_success_status.iter();
    let ranges =
        ranges.map(|range| types::Int32Range { start: range.start.into(), end: range.end.into() });
    let criteria = SuccessCriteria {
        http_criteria: Some(success_criteria::HttpCriteria {
            http_success_status: ranges.collect(),
        }),
        grpc_criteria: Some(success_criteria::GrpcCriteria {
            grpc_success_status: model.grpc_success_status.clone(),
        }),
    };
    let runtime = |value| core::RuntimePercent {
        default_value: percent(value),
        runtime_key: UNSET_RUNTIME_KEY.to_owned(),
    };
    Some(pb_admission::AdmissionControl {
        enabled: enabled(model.enabled),
        sampling_window: duration(model.sampling_window),
        aggression: Some(core::RuntimeDouble {
            default_value: model.aggression,
            runtime_key: UNSET_RUNTIME_KEY.to_owned(),
        }),
        sr_threshold: Some(runtime(model.sr_threshold)),
        rps_threshold: Some(core::RuntimeUInt32 {
            default_value: model.rps_threshold,
            runtime_key: UNSET_RUNTIME_KEY.to_owned(),
        }),
        max_rejection_probability: Some(runtime(model.max_rejection_probability)),
        evaluation_criteria: Some(EvaluationCriteria::SuccessCriteria(criteria)),
    })
}

fn runtime_fraction(share: Fraction) -> core::RuntimeFractionalPercent {
    core::RuntimeFractionalPercent {
        default_value: Some(fraction(share)),
        runtime_key: String::new(),
    }
}

fn enabled(value: bool) -> Option<core::RuntimeFeatureFlag> {
    let runtime_key = UNSET_RUNTIME_KEY.to_owned();
    Some(core::RuntimeFeatureFlag { default_value: flag(value), runtime_key })
}

fn fault(model: &Fault) -> pb::fault::v3::HttpFault {
    pb::fault::v3::HttpFault {
        delay: model.delay.as_ref().map(delay),
        abort: model.abort.as_ref().map(abort),
        headers: model.headers.iter().map(header).collect(),
        downstream_nodes: model.downstream_nodes.iter().map(ToString::to_string).collect(),
        max_active_faults: model.max_active_faults.and_then(uint32),
        ..Default::default()
    }
}

fn delay(model: &FaultDelay) -> pb_fault::FaultDelay {
    use pb_fault::fault_delay::{FaultDelaySecifier, HeaderDelay};
    pb_fault::FaultDelay {
        percentage: Some(percentage(model.percentage)),
        fault_delay_secifier: match model.duration {
            FaultDuration::Fixed(time) => duration(time).map(FaultDelaySecifier::FixedDelay),
            FaultDuration::Header => Some(FaultDelaySecifier::HeaderDelay(HeaderDelay {})),
        },
    }
}

fn abort(model: &FaultAbort) -> pb::fault::v3::FaultAbort {
    use pb::fault::v3::fault_abort::{ErrorType, HeaderAbort};
    pb::fault::v3::FaultAbort {
        percentage: Some(percentage(model.percentage)),
        response_body: model.response_body.to_string(),
        error_type: Some(match model.status {
            FaultStatus::Http(status) => ErrorType::HttpStatus(status.as_u16().into()),
            FaultStatus::Grpc(status) => ErrorType::GrpcStatus(status),
            FaultStatus::Header => ErrorType::HeaderAbort(HeaderAbort {}),
        }),
    }
}

fn percentage(model: FaultPercentage) -> types::FractionalPercent {
    use types::fractional_percent::DenominatorType;
    types::FractionalPercent {
        numerator: model.numerator,
        denominator: match model.denominator {
            FaultDenominator::Hundred => DenominatorType::Hundred,
            FaultDenominator::TenThousand => DenominatorType::TenThousand,
            FaultDenominator::Million => DenominatorType::Million,
        }
        .into(),
    }
}

fn mutations(model: &HeaderMutations) -> pb_mutation::Mutations {
    pb_mutation::Mutations {
        request_mutations: model.request.iter().map(edit).collect(),
        response_mutations: model.response.iter().map(edit).collect(),
        ..Default::default()
    }
}

fn edit(model: &HeaderMutation) -> rules::HeaderMutation {
    use rules::header_mutation::Action;
    let (mut add, mut remove) = headers::edits(std::slice::from_ref(model));
    let action = remove.pop().map(Action::Remove).or_else(|| add.pop().map(Action::Append));
    rules::HeaderMutation { action }
}

/// Additions; `None`: there is a removal among them.
fn added(model: &[HeaderMutation]) -> Option<Vec<core::HeaderValueOption>> {
    let (add, remove) = headers::edits(model);
    remove.is_empty().then_some(add)
}

fn texts(models: &[Arc<str>]) -> Vec<String> {
    models.iter().map(ToString::to_string).collect()
}

/// A status of Envoy's enumeration; `None`: it is not in it.
fn status(model: StatusCode) -> Option<types::HttpStatus> {
    let code = types::StatusCode::try_from(i32::from(model.as_u16())).ok()?;
    Some(types::HttpStatus { code: code.into() })
}
