//! Global rate limits: the way back of `decode`'s `rate_limit`.

use super::ext_authz::V3;
use super::service::grpc;
use super::{added, pb, status};
use crate::encode::matcher::header;
use crate::encode::wrap::{duration, flag, uint32};
use envoy_types::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use envoy_types::pb::envoy::config::route::v3 as pb_route;
use envoy_types::pb::google::protobuf::UInt64Value;
use mesh_core::model::http_filter::{
    RateLimit, RateLimitAction, RateLimitPerRoute, RateLimitPolicy, RateLimitRule, VhRateLimits,
};
use pb::ratelimit::v3 as pb_limit;
use pb_limit::rate_limit_per_route::VhRateLimitsOptions;
use pb_route::rate_limit::action::{self as pb_action, ActionSpecifier};
use pb_route::rate_limit::{Action, HitsAddend};

/// A filter; `None`: Envoy has no way to say it.
pub(super) fn filter(model: &RateLimit) -> Option<pb_limit::RateLimit> {
    // Envoy has no shadow mode of it.
    if model.shadow {
        return None;
    }
    Some(pb_limit::RateLimit {
        domain: model.domain.to_string(),
        stage: model.stage,
        // Envoy: the filter's own timeout is the one that counts.
        timeout: duration(model.service.timeout),
        failure_mode_deny: model.failure_mode_deny,
        rate_limited_as_resource_exhausted: model.rate_limited_as_resource_exhausted,
        rate_limit_service: Some(RateLimitServiceConfig {
            grpc_service: Some(grpc(&model.service)),
            transport_api_version: V3,
        }),
        enable_x_ratelimit_headers: i32::from(model.x_ratelimit_headers),
        disable_x_envoy_ratelimited_header: model.disable_x_envoy_ratelimited_header,
        rate_limited_status: Some(status(model.rate_limited_status)?),
        response_headers_to_add: added(&model.response_headers_to_add)?,
        status_on_error: Some(status(model.status_on_error)?),
        rate_limits: rules(&model.rules)?,
        ..Default::default()
    })
}

/// What a route says; `None`: Envoy has no way to say it.
pub(super) fn per_route(model: &RateLimitPerRoute) -> Option<pb_limit::RateLimitPerRoute> {
    Some(pb_limit::RateLimitPerRoute {
        rate_limits: rules(&model.rules)?,
        domain: model.domain.as_deref().unwrap_or_default().to_owned(),
        vh_rate_limits: match model.vh_rate_limits {
            VhRateLimits::Override => VhRateLimitsOptions::Override,
            VhRateLimits::Include => VhRateLimitsOptions::Include,
            VhRateLimits::Ignore => VhRateLimitsOptions::Ignore,
        }
        .into(),
        ..Default::default()
    })
}

/// What a route or a virtual host has requests count as. Of what can't be said stands a rule without actions, so that
/// nobody limits by less than is meant.
pub(in crate::encode) fn policy(model: Option<&RateLimitPolicy>) -> Vec<pb_route::RateLimit> {
    let Some(model) = model else { return Vec::new() };
    let unsaid = || vec![pb_route::RateLimit::default()];
    match &model.unsupported {
        Some(_) => unsaid(),
        None => rules(&model.rules).unwrap_or_else(unsaid),
    }
}

fn rules(models: &[RateLimitRule]) -> Option<Vec<pb_route::RateLimit>> {
    let rule = |model: &RateLimitRule| {
        Some(pb_route::RateLimit {
            stage: uint32(model.stage),
            actions: model.actions.iter().map(action).collect::<Option<_>>()?,
            hits_addend: model.hits_addend.map(|value| HitsAddend {
                number: Some(UInt64Value { value }),
                ..HitsAddend::default()
            }),
            ..Default::default()
        })
    };
    models.iter().map(rule).collect()
}

fn action(model: &RateLimitAction) -> Option<Action> {
    let specifier = match model {
        RateLimitAction::RequestHeaders { name, descriptor_key, skip_if_absent } => {
            ActionSpecifier::RequestHeaders(pb_action::RequestHeaders {
                header_name: name.to_string(),
                descriptor_key: descriptor_key.to_string(),
                skip_if_absent: *skip_if_absent,
            })
        }
        RateLimitAction::QueryParameters { name, descriptor_key, skip_if_absent } => {
            ActionSpecifier::QueryParameters(pb_action::QueryParameters {
                query_parameter_name: name.to_string(),
                descriptor_key: descriptor_key.to_string(),
                skip_if_absent: *skip_if_absent,
            })
        }
        RateLimitAction::RemoteAddress => {
            ActionSpecifier::RemoteAddress(pb_action::RemoteAddress {})
        }
        RateLimitAction::MaskedRemoteAddress { v4_prefix_mask_len, v6_prefix_mask_len } => {
            ActionSpecifier::MaskedRemoteAddress(pb_action::MaskedRemoteAddress {
                v4_prefix_mask_len: uint32((*v4_prefix_mask_len).into()),
                v6_prefix_mask_len: uint32((*v6_prefix_mask_len).into()),
            })
        }
        RateLimitAction::GenericKey { descriptor_key, descriptor_value } => {
            ActionSpecifier::GenericKey(pb_action::GenericKey {
                descriptor_key: descriptor_key.to_string(),
                descriptor_value: descriptor_value.to_string(),
                ..Default::default()
            })
        }
        RateLimitAction::HeaderValueMatch {
            descriptor_key,
            descriptor_value,
            expect_match,
            headers,
        } => ActionSpecifier::HeaderValueMatch(pb_action::HeaderValueMatch {
            descriptor_key: descriptor_key.to_string(),
            descriptor_value: descriptor_value.to_string(),
            expect_match: flag(*expect_match),
            headers: headers.iter().map(header).collect(),
            ..Default::default()
        }),
        // Those that `decode` does not read, and kinds that this encoder does not know yet.
        _ => return None,
    };
    Some(Action { action_specifier: Some(specifier) })
}
