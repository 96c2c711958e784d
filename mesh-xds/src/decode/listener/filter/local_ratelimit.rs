//! Local rate limit. Descriptors are refused: without them more would pass than is meant.

use super::values::{checked, refusal, share};
use super::{Kind, message};
use crate::decode::common::{self, Walk, ignored, refused};
use crate::decode::route::header;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::XRateLimitHeadersRfcVersion;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3 as pb;
use envoy_types::pb::envoy::r#type::v3 as types;
use envoy_types::pb::google::protobuf::Any;
use http::StatusCode;
use mesh_core::model::{
    HttpFilterConfig, HttpFilterOverride, LocalRateLimit, RateLimitScope, TokenBucket,
};
use std::sync::Arc;

const NAME: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";

pub(super) const KIND: Kind = Kind { config: NAME, decode: config, route: Some((NAME, route)) };

fn config(walk: &mut Walk, any: &Any) -> Option<HttpFilterConfig> {
    let message = message(walk, any)?;
    decode(walk, &message)
}

fn route(walk: &mut Walk, any: &Any) -> Option<HttpFilterOverride> {
    let message: pb::LocalRateLimit = message(walk, any)?;
    if message.token_bucket.is_none() {
        // Envoy: "local rate limit token bucket must be set for per filter configs".
        walk.error_at("token_bucket", "it is missing: a route that says something has a limit");
    }
    decode(walk, &message).map(HttpFilterOverride::Config)
}

fn decode(walk: &mut Walk, message: &pb::LocalRateLimit) -> Option<HttpFilterConfig> {
    const DESCRIPTORS: &str =
        "descriptors are not supported: give routes a limit in `typed_per_filter_config`";
    let before = walk.errors();
    refused!(walk, message, {
        descriptors: DESCRIPTORS,
        local_cluster_rate_limit: "a limit is not shared out among the cluster's endpoints",
    });
    ignored!(walk, message, {
        stat_prefix: "metrics are named after the filter",
        stage: DESCRIPTORS,
        vh_rate_limits: DESCRIPTORS,
        always_consume_default_token_bucket: DESCRIPTORS,
        rate_limits: DESCRIPTORS,
        max_dynamic_descriptors: DESCRIPTORS,
    });
    let mut limit = LocalRateLimit::default();
    limit.token_bucket =
        message.token_bucket.as_ref().and_then(|bucket| token_bucket(walk, bucket));
    limit.scope = match message.local_rate_limit_per_downstream_connection {
        true => RateLimitScope::Connection,
        false => RateLimitScope::Process,
    };
    limit.filter_enabled = share(walk, "filter_enabled", message.filter_enabled.as_ref())?;
    limit.filter_enforced = share(walk, "filter_enforced", message.filter_enforced.as_ref())?;
    limit.status = refusal(walk, "status", message.status, StatusCode::TOO_MANY_REQUESTS)?;
    limit.rate_limited_as_resource_exhausted = message.rate_limited_as_resource_exhausted;
    limit.request_headers_to_add_when_not_enforced = header::additions(
        walk,
        "request_headers_to_add_when_not_enforced",
        "request",
        &message.request_headers_to_add_when_not_enforced,
    );
    limit.response_headers_to_add = header::additions(
        walk,
        "response_headers_to_add",
        "response",
        &message.response_headers_to_add,
    );
    let version = common::enumeration::<XRateLimitHeadersRfcVersion>(
        walk,
        "enable_x_ratelimit_headers",
        message.enable_x_ratelimit_headers,
    )?;
    limit.enable_x_ratelimit_headers = version == XRateLimitHeadersRfcVersion::DraftVersion03;
    limit.enable_retry_after_header = message.enable_retry_after_header;
    if walk.errors() > before {
        return None;
    }
    checked(walk, HttpFilterConfig::LocalRateLimit(Arc::new(limit)))
}

fn token_bucket(walk: &mut Walk, message: &types::TokenBucket) -> Option<TokenBucket> {
    walk.at("token_bucket", |walk| {
        let interval = message.fill_interval.as_ref();
        if interval.is_none() {
            walk.error_at("fill_interval", "it is missing (Envoy: required)");
        }
        let interval = common::duration(walk, "fill_interval", interval)?;
        let per_fill = message.tokens_per_fill.as_ref().map_or(1, |tokens| tokens.value);
        Some(TokenBucket::new(message.max_tokens, per_fill, interval))
    })
}
