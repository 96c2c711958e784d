//! What is done to a message before it is shown: what nobody may see is taken out, and what nobody can read is
//! named.
//!
//! By the types of messages, wherever they stand, also within an `Any`:
//!
//! | message, field | what becomes of it |
//! |---|---|
//! | `core.v3.HeaderValue`, `value` and `raw_value` | a word, unless [`Showing::header_values`]: a token that a route adds stands there |
//! | `route.v3.HeaderMatcher` of a header that carries credentials | it compares with a word, unless [`Showing::header_values`] |
//! | `jwt_authn.v3.JwtProvider`, `local_jwks` in line | a word: keys may be symmetric ones |
//! | `Any` of a type that is not known | `xds.type.v3.TypedStruct`, which names the type, without the content |
//!
//! Private keys and passwords of TLS went before ([`redact`](crate::status::redact)).

use crate::files::descriptors;
use crate::status::redact::REDACTED;
use mesh_core::head::carries_credentials;
use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

/// What is shown of a message that is left out by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Showing {
    /// The values that headers are given, and those that credentials are compared with. Default: no.
    pub header_values: bool,
}

impl Showing {
    /// With the values of headers.
    #[must_use]
    pub const fn with_header_values(mut self, shown: bool) -> Self {
        self.header_values = shown;
        self
    }
}

/// How many messages may stand in each other, those within an `Any` counted: what is deeper is left out.
const MAX_DEPTH: u32 = 128;

/// What an unknown type is written as.
const TYPED_STRUCT: &str = "xds.type.v3.TypedStruct";

/// Makes `message` fit to be shown.
pub(super) fn fit(message: &mut DynamicMessage, showing: Showing) {
    message_within(message, showing, MAX_DEPTH);
}

fn message_within(message: &mut DynamicMessage, showing: Showing, depth: u32) {
    match message.descriptor().full_name() {
        "google.protobuf.Any" => return any(message, showing, depth),
        "envoy.config.core.v3.HeaderValue" if !showing.header_values => header_value(message),
        "envoy.config.route.v3.HeaderMatcher" if !showing.header_values => header_matcher(message),
        "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider" => local_keys(message),
        _ => {}
    }
    let Some(depth) = depth.checked_sub(1) else {
        let fields: Vec<_> = message.fields().map(|(field, _)| field).collect();
        return fields.iter().for_each(|field| message.clear_field(field));
    };
    for (_, value) in message.fields_mut() {
        value_within(value, showing, depth);
    }
}

fn value_within(value: &mut Value, showing: Showing, depth: u32) {
    match value {
        Value::Message(message) => message_within(message, showing, depth),
        Value::List(items) => {
            items.iter_mut().for_each(|item| value_within(item, showing, depth));
        }
        Value::Map(entries) => {
            entries.values_mut().for_each(|item| value_within(item, showing, depth));
        }
        _ => {}
    }
}

/// What stands in it is made fit; what can't be read is named.
fn any(any: &mut DynamicMessage, showing: Showing, depth: u32) {
    let url = text(any, "type_url");
    let content = any.get_field_by_name("value");
    let content = content.as_ref().and_then(|value| value.as_bytes().cloned()).unwrap_or_default();
    let known = url.rsplit('/').next().and_then(descriptors::message);
    let known = known.and_then(|known| DynamicMessage::decode(known, &*content).ok());
    let fitted = known.zip(depth.checked_sub(1)).map(|(mut inner, depth)| {
        message_within(&mut inner, showing, depth);
        inner
    });
    let (url, inner) = match fitted {
        Some(inner) => (url, Some(inner)),
        None => (format!("type.googleapis.com/{TYPED_STRUCT}"), named(url)),
    };
    let bytes = inner.map(|inner| inner.encode_to_vec()).unwrap_or_default();
    any.set_field_by_name("type_url", Value::String(url));
    any.set_field_by_name("value", Value::Bytes(bytes.into()));
}

/// A message that says of which type something is.
fn named(url: String) -> Option<DynamicMessage> {
    let mut typed = DynamicMessage::new(descriptors::message(TYPED_STRUCT)?);
    typed.set_field_by_name("type_url", Value::String(url));
    Some(typed)
}

fn header_value(header: &mut DynamicMessage) {
    header.clear_field_by_name("raw_value");
    header.set_field_by_name("value", Value::String(REDACTED.to_owned()));
}

/// Of a condition on a header without credentials nothing is changed, nor of one that asks whether it is there.
fn header_matcher(matcher: &mut DynamicMessage) {
    let asks_for_presence = matcher.has_field_by_name("present_match");
    if !carries_credentials(&text(matcher, "name")) || asks_for_presence {
        return;
    }
    let Some(described) = descriptors::message("envoy.type.matcher.v3.StringMatcher") else {
        return;
    };
    let mut compared = DynamicMessage::new(described);
    compared.set_field_by_name("exact", Value::String(REDACTED.to_owned()));
    // One of several fields: the others go.
    matcher.set_field_by_name("string_match", Value::Message(compared));
}

fn local_keys(provider: &mut DynamicMessage) {
    if !provider.has_field_by_name("local_jwks") {
        return;
    }
    if let Some(Value::Message(source)) = provider.get_field_by_name_mut("local_jwks")
        && ["inline_string", "inline_bytes"].iter().any(|field| source.has_field_by_name(field))
    {
        source.set_field_by_name("inline_string", Value::String(REDACTED.to_owned()));
    }
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    value.as_ref().and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}
