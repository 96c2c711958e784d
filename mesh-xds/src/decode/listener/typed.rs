//! `Any` and what may be wrapped in it.

use envoy_types::pb::google::protobuf::Any;
use prost::{DecodeError, Message};

/// `xds.type.v3.TypedStruct`, and `udpa.type.v1.TypedStruct` before it: a configuration as JSON, of the
/// type that `type_url` names. The JSON itself (`value`, 2) is not needed here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TypedStruct {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
}

/// The types that wrap another as JSON (gRFC A39).
pub(super) const TYPED_STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];

/// The message's name: what follows the last `/` of its URL.
pub(super) fn name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or_default()
}

/// The type URL of what `any` holds, without the wrapper.
pub(super) fn type_url(any: &Any) -> Result<String, DecodeError> {
    if TYPED_STRUCTS.contains(&name(&any.type_url)) {
        return TypedStruct::decode(&*any.value).map(|inner| inner.type_url);
    }
    Ok(any.type_url.clone())
}
