//! Global rate limits (Envoy: `ratelimit`).

use super::service::{grpc, options, status, text};
use super::{Kind, checked, message};
use crate::decode::common::{self, Walk, ignored, refused};
use crate::decode::route::{header, matcher};
use envoy_types::pb::envoy::config::route::v3 as pb_route;
use envoy_types::pb::envoy::extensions::filters::http::ratelimit::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::http_filter::{
    RateLimit, RateLimitAction, RateLimitPerRoute, RateLimitPolicy, RateLimitRule, VhRateLimits,
};
use mesh_core::model::{HttpFilterConfig, HttpFilterOverride};
use pb::rate_limit_per_route::VhRateLimitsOptions;
use pb_route::rate_limit::action::ActionSpecifier;
use pb_route::rate_limit::{Action, HitsAddend};
use std::sync::Arc;
use std::time::Duration;

pub(super) const KIND: Kind = Kind {
    config: "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
    decode: config,
    route: Some(("envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute", route)),
};

/// Envoy's default of the filter's timeout.
const TIMEOUT: Duration = Duration::from_millis(20);
/// The last stage (Envoy: `stage.lte`).
const MAX_STAGE: u32 = 10;
const SHARE: &str = "a share of requests can't be said: leave it out";

fn config(walk: &mut Walk, any: &Any) -> Option<HttpFilterConfig> {
    let message: pb::RateLimit = message(walk, any)?;
    let before = walk.errors();
    refused!(walk, message, {
        filter_enabled: SHARE,
        filter_enforced: SHARE,
        failure_mode_deny_percent: SHARE,
    });
    ignored!(walk, message, {
        stat_prefix: "metrics have the filter's name",
        metadata_namespace: "what whoever counts says in metadata is not kept",
        enable_retry_after_header: "an answer has the headers that whoever counts writes",
    });
    if message.domain.is_empty() {
        walk.error_at("domain", "it is not empty (Envoy: min_len 1)");
    }
    let timeout = common::duration(walk, "timeout", message.timeout.as_ref());
    let service = message.rate_limit_service.as_ref().and_then(|it| it.grpc_service.as_ref());
    let Some(service) = service else {
        walk.error_at("rate_limit_service", "it names a gRPC service");
        return None;
    };
    let service = walk.at("rate_limit_service.grpc_service", |walk| grpc(walk, service, TIMEOUT));
    let mut service = service?;
    // Envoy: the filter's own timeout is the one that counts.
    service.timeout = timeout.unwrap_or(TIMEOUT);
    let mut filter = RateLimit::new(message.domain.as_str(), service);
    filter.stage = stage(walk, message.stage);
    match &*message.request_type {
        "" | "both" => {}
        "internal" | "external" => walk.error_at(
            "request_type",
            "nothing says here who is inside: use `both`, and a descriptor that says whom it is for",
        ),
        other => walk.error_at(
            "request_type",
            format_args!("`{other}` is not `internal`, `external` or `both`"),
        ),
    }
    filter.failure_mode_deny = message.failure_mode_deny;
    filter.rate_limited_as_resource_exhausted = message.rate_limited_as_resource_exhausted;
    let limited = message.rate_limited_status.as_ref();
    let limited = status(walk, "rate_limited_status", limited, filter.rate_limited_status);
    // Envoy: one below 400 says nothing.
    filter.rate_limited_status =
        if limited.as_u16() < 400 { filter.rate_limited_status } else { limited };
    let on_error = message.status_on_error.as_ref();
    filter.status_on_error = status(walk, "status_on_error", on_error, filter.status_on_error);
    filter.response_headers_to_add =
        options(walk, "response_headers_to_add", &message.response_headers_to_add);
    filter.x_ratelimit_headers = message.enable_x_ratelimit_headers != 0;
    filter.disable_x_envoy_ratelimited_header = message.disable_x_envoy_ratelimited_header;
    filter.rules = rules(walk, "rate_limits", &message.rate_limits);
    if walk.errors() > before {
        return None;
    }
    checked(walk, HttpFilterConfig::RateLimit(Arc::new(filter)))
}

fn route(walk: &mut Walk, any: &Any) -> Option<HttpFilterOverride> {
    let message: pb::RateLimitPerRoute = message(walk, any)?;
    let before = walk.errors();
    ignored!(walk, message, {
        override_option: "the most specific rules count alone (Envoy: not implemented)",
    });
    let mut said = RateLimitPerRoute::default();
    let of_host =
        common::enumeration::<VhRateLimitsOptions>(walk, "vh_rate_limits", message.vh_rate_limits);
    said.vh_rate_limits = match of_host {
        Some(VhRateLimitsOptions::Include) => VhRateLimits::Include,
        Some(VhRateLimitsOptions::Ignore) => VhRateLimits::Ignore,
        Some(VhRateLimitsOptions::Override) | None => VhRateLimits::Override,
    };
    said.domain = text(&message.domain);
    said.rules = rules(walk, "rate_limits", &message.rate_limits);
    (walk.errors() == before).then(|| HttpFilterOverride::RateLimit(Arc::new(said)))
}

fn stage(walk: &mut Walk, stage: u32) -> u32 {
    if stage > MAX_STAGE {
        walk.error_at("stage", format_args!("{stage} is not within 0 to {MAX_STAGE}"));
    }
    stage
}

/// What a route or a virtual host has requests count as (Envoy: `rate_limits`). What can't be evaluated is no error of the
/// routes, which may be for clients, or for servers that do not limit: a filter that goes by it is refused.
pub(in crate::decode) fn policy(
    walk: &mut Walk,
    messages: &[pb_route::RateLimit],
) -> RateLimitPolicy {
    let mut own = Walk::default();
    let mut found = RateLimitPolicy::default();
    found.rules = rules(&mut own, "rate_limits", messages);
    let (errors, ignored) = own.into_parts();
    walk.take_in(Vec::new(), ignored);
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    found.unsupported = (!errors.is_empty()).then(|| errors.join("; ").into());
    found
}

/// What requests count as, of a filter or of a route.
fn rules(walk: &mut Walk, field: &str, messages: &[pb_route::RateLimit]) -> Vec<RateLimitRule> {
    let mut found = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        found.extend(walk.at(format_args!("{field}[{at}]"), |walk| rule(walk, message)));
    }
    found
}

fn rule(walk: &mut Walk, message: &pb_route::RateLimit) -> Option<RateLimitRule> {
    refused!(walk, message, {
        limit: "a limit of the request's own is not sent: leave it to whoever counts",
        apply_on_stream_done: "a request counts before it is answered: leave it out",
    });
    ignored!(walk, message, {
        disable_key: "there is no runtime: leave the rule out instead",
        x_ratelimit_option: "the filter says which headers are written",
    });
    let mut rule = RateLimitRule::new(Vec::new());
    rule.stage = stage(walk, message.stage.as_ref().map_or(0, |stage| stage.value));
    rule.hits_addend = message.hits_addend.as_ref().and_then(|hits| addend(walk, hits));
    if message.actions.is_empty() {
        walk.error_at("actions", "there is at least one (Envoy: min_items 1)");
    }
    for (at, message) in message.actions.iter().enumerate() {
        rule.actions.push(walk.at(format_args!("actions[{at}]"), |walk| action(walk, message))?);
    }
    Some(rule)
}

fn addend(walk: &mut Walk, message: &HitsAddend) -> Option<u64> {
    if !message.format.is_empty() {
        walk.error_at("hits_addend.format", "formats are not evaluated here: use `number`");
    }
    message.number.as_ref().map(|number| number.value)
}

fn action(walk: &mut Walk, message: &Action) -> Option<RateLimitAction> {
    let key = |key: &str, default: &str| match key.is_empty() {
        true => Arc::from(default),
        false => Arc::from(key),
    };
    match message.action_specifier.as_ref() {
        Some(ActionSpecifier::RequestHeaders(it)) => Some(RateLimitAction::RequestHeaders {
            name: header::header_name(walk, "request_headers.header_name", &it.header_name)?,
            descriptor_key: it.descriptor_key.as_str().into(),
            skip_if_absent: it.skip_if_absent,
        }),
        Some(ActionSpecifier::QueryParameters(it)) => Some(RateLimitAction::QueryParameters {
            name: it.query_parameter_name.as_str().into(),
            descriptor_key: it.descriptor_key.as_str().into(),
            skip_if_absent: it.skip_if_absent,
        }),
        Some(ActionSpecifier::RemoteAddress(_)) => Some(RateLimitAction::RemoteAddress),
        Some(ActionSpecifier::MaskedRemoteAddress(it)) => {
            walk.at("masked_remote_address", |walk| {
                let v4 = it.v4_prefix_mask_len.as_ref();
                let v6 = it.v6_prefix_mask_len.as_ref();
                let bits = |found: Option<u32>, most: u8| {
                    found.and_then(|n| u8::try_from(n).ok()).unwrap_or(most)
                };
                Some(RateLimitAction::MaskedRemoteAddress {
                    v4_prefix_mask_len: bits(
                        common::uint32(walk, "v4_prefix_mask_len", v4, 0..=32),
                        32,
                    ),
                    v6_prefix_mask_len: bits(
                        common::uint32(walk, "v6_prefix_mask_len", v6, 0..=128),
                        128,
                    ),
                })
            })
        }
        Some(ActionSpecifier::GenericKey(it)) => Some(RateLimitAction::GenericKey {
            descriptor_key: key(&it.descriptor_key, "generic_key"),
            descriptor_value: it.descriptor_value.as_str().into(),
        }),
        Some(ActionSpecifier::HeaderValueMatch(it)) => Some(RateLimitAction::HeaderValueMatch {
            descriptor_key: key(&it.descriptor_key, "header_match"),
            descriptor_value: it.descriptor_value.as_str().into(),
            expect_match: it.expect_match.as_ref().is_none_or(|expect| expect.value),
            headers: matcher::headers(walk, "header_value_match.headers", &it.headers),
        }),
        _ => {
            walk.error(
                "the action is not supported: `request_headers`, `query_parameters`, `remote_address`, \
                 `masked_remote_address`, `generic_key` and `header_value_match` are",
            );
            None
        }
    }
}
