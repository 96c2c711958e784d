//! Envoy's messages as protobuf's JSON, as its admin pages and tools write and read them (feature `json`).
//!
//! What a person or a tool is shown is not what goes over the wire: it has no secrets, and it can be read to its
//! end whatever is in it. So a message is first made fit to be shown ([`Showing`]), and then written by the
//! descriptors of Envoy's own `.proto` files.
//!
//! - Fields are called as in the `.proto` files, and defaults are left out, as Envoy's admin does it.
//! - What stands in an `Any` is written in place, with its `@type`. A type that is not known here is written as
//!   `xds.type.v3.TypedStruct` that names it and has none of its content.
//! - Keys, passwords, keys of tokens and values of headers are replaced by a word (`shown.rs`).
//!
//! What it does not do: read configuration (`files`, which knows places and mistakes).

mod shown;
#[cfg(test)]
mod tests;

pub use shown::Showing;

use crate::ResourceType;
use crate::files::descriptors;
use crate::status::redact::redact;
use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage as _, SerializeOptions};
use serde_json::Value;

/// Why a message is not there in its other form.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct JsonError(#[from] Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("there is no description of the message `{0}`")]
    Unknown(String),
    #[error("the bytes are no `{name}`")]
    Bytes { name: String, source: prost::DecodeError },
    #[error("the JSON is no `{name}`")]
    Json { name: String, source: serde_json::Error },
}

/// A resource as JSON with its `@type`, fit to be shown.
///
/// # Errors
/// [`JsonError`]: `body` is no resource of this kind.
pub fn resource(
    kind: ResourceType,
    name: &str,
    mut body: Bytes,
    showing: Showing,
) -> Result<Value, JsonError> {
    redact(kind, name, &mut body);
    let url = kind.type_url();
    let mut message = dynamic(url.rsplit('/').next().unwrap_or(url), &body)?;
    shown::fit(&mut message, showing);
    let mut json = write(&message)?;
    if let Value::Object(fields) = &mut json {
        fields.insert("@type".to_owned(), url.into());
    }
    Ok(json)
}

/// The bytes of the message of this full name, such as `envoy.admin.v3.Clusters`, of its JSON. What the message has
/// no field for is an error.
///
/// # Errors
/// [`JsonError`]: `text` is no such message.
pub fn from_json(name: &str, text: &str) -> Result<Vec<u8>, JsonError> {
    let described = described(name)?;
    let wrong = |source| Cause::Json { name: name.to_owned(), source };
    let mut reader = serde_json::Deserializer::from_str(text);
    let message = DynamicMessage::deserialize(described, &mut reader).map_err(wrong)?;
    reader.end().map_err(wrong)?;
    Ok(message.encode_to_vec())
}

fn described(name: &str) -> Result<MessageDescriptor, JsonError> {
    Ok(descriptors::message(name).ok_or_else(|| Cause::Unknown(name.to_owned()))?)
}

fn dynamic(name: &str, body: &[u8]) -> Result<DynamicMessage, JsonError> {
    let wrong = |source| Cause::Bytes { name: name.to_owned(), source };
    Ok(DynamicMessage::decode(described(name)?, body).map_err(wrong)?)
}

fn write(message: &DynamicMessage) -> Result<Value, JsonError> {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let written = message.serialize_with_options(serde_json::value::Serializer, &options);
    let wrong = |source| {
        let name = message.descriptor().full_name().to_owned();
        Cause::Json { name, source }
    };
    Ok(written.map_err(wrong)?)
}
