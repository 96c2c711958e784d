//! What may be wrapped in an `Any`: a configuration as JSON, of a type that it names.

use super::common::type_name;
use envoy_types::pb::google::protobuf::{Any, Struct};
use prost::{DecodeError, Message};

/// `xds.type.v3.TypedStruct`, and `udpa.type.v1.TypedStruct` before it: the same two fields on the wire.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TypedStruct {
    /// The type that is meant.
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    /// Its configuration.
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<Struct>,
}

/// The types that wrap another as JSON (gRFC A39, A52).
pub(super) const TYPED_STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];

/// Whether `any` holds a [`TypedStruct`].
pub(super) fn is_typed_struct(any: &Any) -> bool {
    TYPED_STRUCTS.contains(&type_name(&any.type_url))
}

/// The type URL of what `any` holds, without the wrapper.
pub(super) fn type_url(any: &Any) -> Result<String, DecodeError> {
    if is_typed_struct(any) {
        return TypedStruct::decode(&*any.value).map(|inner| inner.type_url);
    }
    Ok(any.type_url.clone())
}
