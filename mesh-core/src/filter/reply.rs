//! [`FilterReply`]: what a filter answers in the service's place.

use crate::outcome::grpc;
use crate::rbac::Denied;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;

/// An answer that a filter makes.
///
/// A gRPC call gets it as `grpc-status` and `grpc-message` under status 200, as every local reply.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FilterReply {
    /// The filter that made it.
    pub filter: Arc<str>,
    /// The status of HTTP.
    pub status: StatusCode,
    /// The status of gRPC; `None`: what the status of HTTP stands for.
    pub grpc_status: Option<u32>,
    /// Headers of the answer.
    pub headers: HeaderMap,
    /// The body; gRPC: the message.
    pub body: Bytes,
    /// What logs say of it, and the caller is not told (Envoy: `%RESPONSE_CODE_DETAILS%`).
    pub details: Arc<str>,
}

impl FilterReply {
    /// An answer of `filter` without headers and body.
    #[must_use]
    pub fn new(filter: &Arc<str>, status: StatusCode, details: impl Into<Arc<str>>) -> Self {
        Self {
            filter: Arc::clone(filter),
            status,
            grpc_status: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            details: details.into(),
        }
    }

    /// A policy denied, or none allowed.
    #[must_use]
    pub fn denied(filter: &Arc<str>, denied: &Denied) -> Self {
        Self {
            grpc_status: Some(grpc::PERMISSION_DENIED),
            body: Bytes::from_static(Denied::BODY.as_bytes()),
            ..Self::new(filter, StatusCode::FORBIDDEN, denied.response_code_details())
        }
    }

    /// A limit is reached; `text` names it, and its value. A gRPC call gets what `status` stands for.
    #[must_use]
    pub fn limited(
        filter: &Arc<str>,
        status: StatusCode,
        details: &'static str,
        text: impl Into<Bytes>,
    ) -> Self {
        Self { body: text.into(), ..Self::new(filter, status, details) }
    }
}
