//! Answers of the mesh's own as a gRPC caller reads them: Trailers-Only.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use mesh_core::outcome::{grpc, http_to_grpc};
use std::fmt::Write as _;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Makes `headers` those of a Trailers-Only answer (gRPC over HTTP/2, "Responses").
pub(crate) fn trailers_only(headers: &mut HeaderMap, status: u32, message: &str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(status));
    if let Ok(message) = HeaderValue::try_from(encoded(message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
}

/// A route's own answer, for a gRPC caller: the status that its HTTP status stands for, and its body as
/// the message (Envoy: local replies). A redirect is nothing that a gRPC client follows.
pub(crate) fn of_reply(mut reply: Response<bytes::Bytes>) -> Response<bytes::Bytes> {
    let (status, message) = if reply.status().is_redirection() {
        let to = reply.headers().get(LOCATION).map(HeaderValue::as_bytes).unwrap_or_default();
        (grpc::UNAVAILABLE, format!("redirected to {}", String::from_utf8_lossy(to)))
    } else {
        let body = String::from_utf8_lossy(reply.body()).into_owned();
        let status = match reply.status() {
            // An answer without a message is not one that a gRPC caller could take for success.
            StatusCode::OK => grpc::UNKNOWN,
            status => http_to_grpc(status),
        };
        (status, body)
    };
    *reply.status_mut() = StatusCode::OK;
    *reply.body_mut() = bytes::Bytes::new();
    reply.headers_mut().remove(CONTENT_LENGTH);
    trailers_only(reply.headers_mut(), status, &message);
    reply
}

/// gRPC over HTTP/2, "Percent-Encoded": what is not a printable ASCII letter, and `%`.
fn encoded(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a string can't fail.
            _ => write!(out, "%{byte:02X}").unwrap_or_default(),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &'static str, expected: (&str, &str)) {
        let mut reply = Response::new(bytes::Bytes::from(body));
        *reply.status_mut() = StatusCode::from_u16(status).unwrap();
        reply.headers_mut().insert(LOCATION, HeaderValue::from_static("http://b/"));
        reply.headers_mut().insert("x-mine", HeaderValue::from_static("kept"));
        let reply = of_reply(reply);
        let text = |name: &str| reply.headers()[name].to_str().unwrap();
        assert_eq!((text("grpc-status"), text("grpc-message")), expected, "{status}");
        assert_eq!((reply.status().as_u16(), reply.body().len()), (200, 0));
        assert_eq!((text("content-type"), text("x-mine")), ("application/grpc", "kept"));
    }

    #[test]
    fn a_routes_own_answer_is_a_grpc_status() {
        check(503, "down: 100 %\nsorry ü", ("14", "down: 100 %25%0Asorry %C3%BC"));
        check(403, "no", ("7", "no"));
        check(200, "", ("2", ""));
        check(308, "", ("14", "redirected to http://b/"));
    }
}
