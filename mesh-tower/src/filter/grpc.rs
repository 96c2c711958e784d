//! A unary gRPC call (grpc/grpc `doc/PROTOCOL-HTTP2.md`), and whose messages they are.

use super::call::{Caller, uri};
use crate::MeshBody;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, StatusCode, Version};
use mesh_core::filter::ask::{
    AskFailure, AskFailureKind, CheckAnswer, CheckQuestion, LimitAnswer, LimitQuestion,
};
use mesh_core::model::http_filter::GrpcService;
use mesh_core::outcome;
use std::sync::Arc;

/// The messages of the services that filters ask.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "xds"), allow(dead_code, reason = "nobody makes one"))]
pub(crate) struct Codec {
    pub(crate) check_path: &'static str,
    pub(crate) encode_check: fn(&CheckQuestion, &str, &Bytes) -> Vec<u8>,
    pub(crate) decode_check: fn(&[u8]) -> Result<CheckAnswer, Arc<str>>,
    pub(crate) limit_path: &'static str,
    pub(crate) encode_limit: fn(&LimitQuestion) -> Vec<u8>,
    pub(crate) decode_limit: fn(&[u8]) -> Result<LimitAnswer, Arc<str>>,
}

#[cfg(feature = "xds")]
const CODEC: Option<Codec> = Some(crate::source::ask_codec::CODEC);
#[cfg(not(feature = "xds"))]
const CODEC: Option<Codec> = None;

/// The largest answer, in bytes: gRPC's default of what clients take.
const MAX_ANSWER: usize = 4 << 20;
/// Whether it is compressed, and how long it is.
const PREFIX: usize = 5;

/// A method, and its request.
pub(super) struct Method<E> {
    pub(super) path: fn(&Codec) -> &'static str,
    pub(super) encode: E,
}

impl Caller {
    /// Calls a method of a service, once.
    ///
    /// # Errors
    /// [`AskFailure`]: whatever is not an answer under status OK.
    pub(super) async fn unary<T>(
        &self,
        service: &GrpcService,
        method: Method<impl FnOnce(&Codec) -> Vec<u8>>,
        decode: impl FnOnce(&Codec) -> fn(&[u8]) -> Result<T, Arc<str>>,
    ) -> Result<T, AskFailure> {
        let answer = async {
            let codec = CODEC.ok_or(AskFailureKind::Unsupported(
                "gRPC services of filters need the feature `xds`, which has their messages",
            ))?;
            let request = request(service, (method.path)(&codec), &(method.encode)(&codec))?;
            let (response, trailers) = self.send(&service.cluster, request, MAX_ANSWER).await?;
            let (parts, body) = response.into_parts();
            let message = message(parts.status, &parts.headers, trailers.as_ref(), &body)?;
            decode(&codec)(message).map_err(AskFailureKind::Malformed)
        };
        answer.await.map_err(|kind| AskFailure::new(&service.cluster, kind))
    }
}

fn request(
    service: &GrpcService,
    path: &str,
    message: &[u8],
) -> Result<Request<MeshBody>, AskFailureKind> {
    let length = u32::try_from(message.len());
    let length =
        length.map_err(|_too_long| AskFailureKind::Unsupported("the question is too long"))?;
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(length);
    framed.put_slice(message);
    let mut request = Request::new(MeshBody::full(framed.freeze()));
    let authority = service.authority.as_ref().unwrap_or(&service.cluster);
    *request.uri_mut() = uri(authority, &service.cluster, path)?;
    *request.method_mut() = HttpMethod::POST;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    for (name, value) in &service.initial_metadata {
        headers.append(name, value.clone());
    }
    Ok(request)
}

/// The one message of an answer.
fn message<'b>(
    status: StatusCode,
    headers: &HeaderMap,
    trailers: Option<&HeaderMap>,
    body: &'b [u8],
) -> Result<&'b [u8], AskFailureKind> {
    let malformed = |why: &str| AskFailureKind::Malformed(why.into());
    let grpc = trailers.and_then(outcome::grpc_status).or_else(|| outcome::grpc_status(headers));
    match grpc {
        Some(0) => {}
        Some(other) => return Err(AskFailureKind::Status(other)),
        // doc/http-grpc-status-mapping.md
        None if status != StatusCode::OK => {
            return Err(AskFailureKind::Status(outcome::http_to_grpc(status)));
        }
        None => return Err(malformed("it has no `grpc-status`")),
    }
    let (prefix, message) =
        body.split_first_chunk::<PREFIX>().ok_or_else(|| malformed("it has no message"))?;
    let [compressed, length @ ..] = prefix;
    if *compressed != 0 {
        return Err(malformed("its message is compressed, which was not asked for"));
    }
    let length = usize::try_from(u32::from_be_bytes(*length));
    if length != Ok(message.len()) {
        return Err(malformed("it has not one message"));
    }
    Ok(message)
}
