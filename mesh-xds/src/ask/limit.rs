//! `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.

use super::header;
use envoy_types::pb::envoy::config::core::v3::HeaderValue as PbValue;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3 as pb;
use envoy_types::pb::google::protobuf::UInt64Value;
use mesh_core::filter::ask::{Limit, LimitAnswer, LimitQuestion, LimitStatus};
use mesh_core::model::{AppendAction, HeaderMutation};
use pb::rate_limit_response::rate_limit::Unit;
use pb::rate_limit_response::{Code, DescriptorStatus};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

/// The path of the method.
pub const LIMIT_PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// A question as a `RateLimitRequest`.
#[must_use]
pub fn encode_limit(question: &LimitQuestion) -> Vec<u8> {
    let descriptors = question.descriptors.iter().map(|descriptor| {
        let entries = descriptor.entries.iter();
        let entries = entries.map(|(k, v)| Entry { key: k.to_string(), value: v.to_string() });
        RateLimitDescriptor {
            entries: entries.collect(),
            hits_addend: descriptor.hits_addend.map(|value| UInt64Value { value }),
            ..RateLimitDescriptor::default()
        }
    });
    let request = pb::RateLimitRequest {
        domain: question.domain.to_string(),
        descriptors: descriptors.collect(),
        hits_addend: 0,
    };
    request.encode_to_vec()
}

/// What a `RateLimitResponse` says.
///
/// # Errors
/// Why it can't be read.
pub fn decode_limit(bytes: &[u8]) -> Result<LimitAnswer, Arc<str>> {
    let message = pb::RateLimitResponse::decode(bytes)
        .map_err(|invalid| Arc::from(format!("it is no RateLimitResponse: {invalid}")))?;
    let mut answer = LimitAnswer::default();
    answer.over_limit = match Code::try_from(message.overall_code) {
        Ok(Code::OverLimit) => true,
        Ok(Code::Ok) => false,
        Ok(Code::Unknown) | Err(_) => {
            return Err(Arc::from(format!("{} is no verdict", message.overall_code)));
        }
    };
    answer.statuses = message.statuses.iter().map(status).collect();
    answer.request_headers = additions(&message.request_headers_to_add);
    answer.response_headers = additions(&message.response_headers_to_add);
    answer.body = message.raw_body.into();
    Ok(answer)
}

/// Headers that are added; those that can't be written are left out.
fn additions(messages: &[PbValue]) -> Vec<HeaderMutation> {
    let headers = messages.iter().filter_map(header);
    let action = AppendAction::AppendIfExistsOrAdd;
    headers.map(|(name, value)| HeaderMutation::Append { name, value, action }).collect()
}

fn status(message: &DescriptorStatus) -> LimitStatus {
    let mut status = LimitStatus::default();
    status.limit = message.current_limit.as_ref().map(|limit| Limit {
        name: limit.name.as_str().into(),
        requests: limit.requests_per_unit,
        unit: Unit::try_from(limit.unit).map(seconds).unwrap_or_default(),
    });
    status.remaining = message.limit_remaining;
    let reset = message.duration_until_reset.as_ref();
    let reset = reset.and_then(|reset| u64::try_from(reset.seconds).ok());
    status.reset = Duration::from_secs(reset.unwrap_or_default());
    status
}

/// Envoy: a month has 30 days, and a year 365.
const fn seconds(unit: Unit) -> Duration {
    const DAY: u64 = 86_400;
    Duration::from_secs(match unit {
        Unit::Unknown => 0,
        Unit::Second => 1,
        Unit::Minute => 60,
        Unit::Hour => 3600,
        Unit::Day => DAY,
        Unit::Week => 7 * DAY,
        Unit::Month => 30 * DAY,
        Unit::Year => 365 * DAY,
    })
}
