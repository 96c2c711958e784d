//! What filters ask gRPC services, as Envoy's messages: [`encode_check`] and [`decode_check`] of
//! `envoy.service.auth.v3`, [`encode_limit`] and [`decode_limit`] of `envoy.service.ratelimit.v3`.
//!
//! Pure: bytes in, bytes out. It is here because this crate knows protobuf and `mesh-tower`, which makes
//! the calls through its own client, does not.

mod check;
mod limit;
#[cfg(test)]
mod tests;

pub use check::{CHECK_PATH, decode_check, encode_check};
pub use limit::{LIMIT_PATH, decode_limit, encode_limit};

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue as PbValue, HeaderValueOption};
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use http::{HeaderName, HeaderValue};
use mesh_core::model::{AppendAction, HeaderMutation, MetadataValue};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A header as it can be written.
fn header(message: &PbValue) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(message.key.as_bytes()).ok()?;
    let bytes = match message.raw_value.is_empty() {
        true => message.value.as_bytes(),
        false => &message.raw_value,
    };
    Some((name, HeaderValue::from_bytes(bytes).ok()?))
}

/// Edits; whether one of them can't be written. `plain`: what is done with one that says nothing of values
/// that are there.
fn edits(
    messages: &[HeaderValueOption],
    plain: AppendAction,
    found: &mut Vec<HeaderMutation>,
) -> bool {
    let mut invalid = false;
    for message in messages {
        match (message.header.as_ref().and_then(header), action(message, plain)) {
            (Some((name, value)), Some(action)) => {
                found.push(HeaderMutation::Append { name, value, action });
            }
            _ => invalid = true,
        }
    }
    invalid
}

/// What is done with values that are there. `append_action` counts where it says more than its default;
/// else what authorizers wrote before it was there, `append`, which for the request is false without a
/// value (Envoy: `OkHttpResponse.headers`).
fn action(message: &HeaderValueOption, plain: AppendAction) -> Option<AppendAction> {
    #[expect(deprecated, reason = "authorizers write it")]
    let append = message.append.as_ref().map(|append| append.value);
    Some(match HeaderAppendAction::try_from(message.append_action).ok()? {
        HeaderAppendAction::AppendIfExistsOrAdd => match append {
            Some(true) => AppendAction::AppendIfExistsOrAdd,
            Some(false) => AppendAction::OverwriteIfExistsOrAdd,
            None => plain,
        },
        HeaderAppendAction::AddIfAbsent => AppendAction::AddIfAbsent,
        HeaderAppendAction::OverwriteIfExistsOrAdd => AppendAction::OverwriteIfExistsOrAdd,
        HeaderAppendAction::OverwriteIfExists => AppendAction::OverwriteIfExists,
    })
}

pub(crate) fn metadata(message: Struct) -> BTreeMap<Arc<str>, MetadataValue> {
    message.fields.into_iter().map(|(key, value)| (key.into(), from_value(value))).collect()
}

/// prost bounds how deep messages are.
fn from_value(message: Value) -> MetadataValue {
    match message.kind {
        None | Some(Kind::NullValue(_)) => MetadataValue::Null,
        Some(Kind::NumberValue(number)) => MetadataValue::Number(number),
        Some(Kind::StringValue(text)) => MetadataValue::Text(text.into()),
        Some(Kind::BoolValue(flag)) => MetadataValue::Bool(flag),
        Some(Kind::StructValue(fields)) => MetadataValue::Struct(metadata(fields)),
        Some(Kind::ListValue(list)) => {
            MetadataValue::List(list.values.into_iter().map(from_value).collect())
        }
    }
}

fn to_value(value: &MetadataValue) -> Value {
    let kind = match value {
        MetadataValue::Null => Kind::NullValue(0),
        MetadataValue::Bool(flag) => Kind::BoolValue(*flag),
        MetadataValue::Number(number) => Kind::NumberValue(*number),
        MetadataValue::Text(text) => Kind::StringValue(text.to_string()),
        MetadataValue::List(list) => {
            let values = list.iter().map(to_value).collect();
            Kind::ListValue(envoy_types::pb::google::protobuf::ListValue { values })
        }
        MetadataValue::Struct(fields) => Kind::StructValue(to_struct(fields)),
    };
    Value { kind: Some(kind) }
}

pub(crate) fn to_struct(fields: &BTreeMap<Arc<str>, MetadataValue>) -> Struct {
    let fields = fields.iter().map(|(key, value)| (key.to_string(), to_value(value)));
    Struct { fields: fields.collect() }
}
