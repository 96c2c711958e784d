//! Wrapper messages: the boxes that protobuf puts around numbers, durations and typed configurations.

use envoy_types::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiVersion, ConfigSource, TypedExtensionConfig,
    config_source::ConfigSourceSpecifier,
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value, UInt64Value};
use prost::{Message, Name};

/// The longest duration that protobuf knows, in seconds (protobuf: `google.protobuf.Duration`).
pub(super) const LONGEST: u64 = 315_576_000_000;

/// `value`, present.
pub(super) const fn uint32(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// `value`, present.
pub(super) fn uint64(value: u32) -> Option<UInt64Value> {
    Some(UInt64Value { value: value.into() })
}

/// `value`, present.
pub(super) const fn flag(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

/// `value` of a hundred, present.
pub(super) const fn percent(value: f64) -> Option<Percent> {
    Some(Percent { value })
}

/// `value`, present; what is longer than 10,000 years is 10,000 years.
pub(super) fn duration(value: std::time::Duration) -> Option<Duration> {
    let (seconds, nanos) = match value.as_secs() < LONGEST {
        true => (value.as_secs(), value.subsec_nanos()),
        false => (LONGEST, 0),
    };
    Some(Duration {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos).unwrap_or_default(),
    })
}

/// `value` unless it is zero, which means "none" in the model and is refused by Envoy in fields that
/// are `gt {}`.
pub(super) fn positive(value: std::time::Duration) -> Option<Duration> {
    if value.is_zero() { None } else { duration(value) }
}

/// `message` with its type URL.
pub(super) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// An extension's configuration under its well-known name.
pub(super) fn extension<M: Message + Name>(name: &str, message: &M) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(any(message)) }
}

/// "From the stream that this came from" (gRFC A27: RDS and EDS must say ADS).
pub(super) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}
