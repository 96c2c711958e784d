//! What filters ask gRPC services, as their messages: the crate that knows protobuf makes them, and this
//! directory is where that is named.

use crate::filter::Codec;

/// Envoy's messages.
pub(crate) const CODEC: Codec = Codec {
    check_path: mesh_xds::ask::CHECK_PATH,
    encode_check: mesh_xds::ask::encode_check,
    decode_check: mesh_xds::ask::decode_check,
    limit_path: mesh_xds::ask::LIMIT_PATH,
    encode_limit: mesh_xds::ask::encode_limit,
    decode_limit: mesh_xds::ask::decode_limit,
};
