//! The one method that everybody calls: it gives 100 bytes back.

use bytes::Bytes;
use http::uri::PathAndQuery;

/// Bytes of a payload.
pub const PAYLOAD: usize = 100;
/// The gRPC method.
pub const METHOD: PathAndQuery = PathAndQuery::from_static("/bench.Echo/Call");
/// The same without gRPC: the body comes back.
pub const PLAIN_PATH: &str = "/echo";
/// The name of the service in every configuration.
pub const SERVICE: &str = "greeter";
/// The time that every call has.
pub const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// Request and response.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Echo {
    #[prost(bytes = "bytes", tag = "1")]
    pub payload: Bytes,
}

/// What is sent.
pub const fn payload() -> Bytes {
    Bytes::from_static(&[b'm'; PAYLOAD])
}
