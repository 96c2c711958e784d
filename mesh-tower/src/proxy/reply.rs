//! What a request is told that nobody answered, and [`ForwardBody`], the body of what it is told.

use crate::body::BoxError;
use crate::client::ResponseBody;
use crate::connect::OwnBody;
use crate::endpoint::MeshResponseBody;
use crate::error::{Error, with_sources};
use crate::grpc;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use mesh_core::outcome::http_to_grpc;
use mesh_core::proxy::hop_by_hop::UnknownCoding;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Which of Envoy's flags says why a proxy answered by itself.
pub(super) const X_MESH_RESPONSE_FLAG: HeaderName = HeaderName::from_static("x-mesh-response-flag");

/// The body of an answer.
#[derive(Debug)]
pub(super) enum ForwardBody {
    /// Of an endpoint.
    Endpoint(ResponseBody),
    /// Of an endpoint that did not agree to an upgrade.
    Own(MeshResponseBody<OwnBody>),
    /// Of the proxy itself.
    Text(Option<Bytes>),
}

impl ForwardBody {
    pub(super) const fn empty() -> Self {
        Self::Text(None)
    }
}

impl Body for ForwardBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Endpoint(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Endpoint(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
            Self::Text(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Endpoint(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |t| t.len() as u64)),
        }
    }
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// By gRPC.
    pub(super) grpc: bool,
    /// The application beside the proxy, which may know everything; others learn the reason, and not where it is.
    pub(super) local: bool,
}

/// A call that failed.
#[cold]
pub(super) fn failed(error: &Error, told: Told) -> Response<ForwardBody> {
    let text = match told.local {
        true => with_sources(error),
        false => format!("{} [{}]", error.reason(), error.code()),
    };
    let mut reply = match told.grpc {
        true => of_grpc(error.grpc_status(), &text),
        false => plain(error.http_status(), text),
    };
    let flag = HeaderValue::from_static(error.response_flag().as_str());
    reply.headers_mut().insert(X_MESH_RESPONSE_FLAG, flag);
    reply
}

/// A request that can't be passed on.
#[cold]
pub(super) fn refused(status: StatusCode, text: String, told: Told) -> Response<ForwardBody> {
    match told.grpc {
        true => of_grpc(http_to_grpc(status), &text),
        false => plain(status, text),
    }
}

/// An answer that can't be passed on.
#[cold]
pub(super) fn unreadable(unknown: &UnknownCoding, told: Told) -> Response<ForwardBody> {
    refused(StatusCode::BAD_GATEWAY, unknown.to_string(), told)
}

fn plain(status: StatusCode, mut text: String) -> Response<ForwardBody> {
    text.push('\n');
    let mut reply = Response::new(ForwardBody::Text(Some(Bytes::from(text))));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    reply
}

fn of_grpc(status: u32, text: &str) -> Response<ForwardBody> {
    let mut reply = Response::new(ForwardBody::empty());
    grpc::trailers_only(reply.headers_mut(), status, text);
    reply
}
