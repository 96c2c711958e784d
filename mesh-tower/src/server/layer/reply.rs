//! Answers of the layer's own, in HTTP and in gRPC, and [`Refused`]: why, for who is above.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode, Version};
use mesh_core::filter::FilterReply;
use mesh_core::inbound::Refusal;
use mesh_core::outcome::http_to_grpc;
use std::sync::Arc;

/// Why a request was refused, in the extensions of the answer: for layers above, and for tests. It is not
/// sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// A stable name: label `reason` of `mesh_server_refused_total`.
    pub reason: &'static str,
    /// The filter that refused; empty: none did.
    pub filter: Arc<str>,
    /// The policy that denied, or `none`: none allowed it; empty: it was no policy's decision.
    pub policy: Arc<str>,
    /// What the log says of it (Envoy: `%RESPONSE_CODE_DETAILS%`).
    pub details: Arc<str>,
}

impl Refused {
    /// The layer refused.
    pub(super) fn by_layer(refusal: &Refusal) -> Self {
        let nothing = Arc::from("");
        Self {
            reason: refusal.code(),
            filter: Arc::clone(&nothing),
            policy: nothing,
            details: refusal.to_string().into(),
        }
    }

    /// A filter refused, for `reason`; `denied`: by this policy.
    pub(super) fn by_filter(
        filter: &FilterReply,
        reason: &'static str,
        denied: Option<Arc<str>>,
    ) -> Self {
        Self {
            reason,
            filter: Arc::clone(&filter.filter),
            policy: denied.unwrap_or_default(),
            details: Arc::clone(&filter.details),
        }
    }
}

/// What a refusal answers. Over HTTP/1.1 a connection that is of no use any more is closed after it; over
/// HTTP/2 it is the acceptor that drains it.
pub(super) fn refusal(refusal: &Refusal, grpc: bool, version: Version) -> Response<Bytes> {
    let text = refusal.to_string();
    let mut reply = Response::new(Bytes::new());
    if grpc {
        crate::grpc::trailers_only(reply.headers_mut(), refusal.grpc_status(), &text);
    } else {
        *reply.status_mut() = refusal.http_status();
        plain_text(&mut reply, Bytes::from(text));
    }
    if refusal.ends_connection() && version < Version::HTTP_2 {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

/// What a filter answers.
pub(super) fn filter(filter: &FilterReply, grpc: bool) -> Response<Bytes> {
    let mut reply = Response::new(Bytes::new());
    reply.headers_mut().clone_from(&filter.headers);
    if grpc {
        let status = filter.grpc_status.unwrap_or_else(|| http_to_grpc(filter.status));
        let message = String::from_utf8_lossy(&filter.body);
        crate::grpc::trailers_only(reply.headers_mut(), status, &message);
    } else {
        *reply.status_mut() = filter.status;
        if !filter.body.is_empty() {
            plain_text(&mut reply, filter.body.clone());
        }
    }
    reply
}

fn plain_text(reply: &mut Response<Bytes>, body: Bytes) {
    let text = HeaderValue::from_static("text/plain");
    reply.headers_mut().entry(CONTENT_TYPE).or_insert(text);
    *reply.body_mut() = body;
}

/// Sends the caller to another path (Envoy: `UNESCAPE_AND_REDIRECT`).
pub(super) fn redirect(path: HeaderValue) -> Response<Bytes> {
    let mut reply = Response::new(Bytes::new());
    *reply.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    reply.headers_mut().insert(LOCATION, path);
    reply
}
