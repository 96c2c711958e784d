//! The two ways of a request: through Envoy, and through a mesh; and what came of it.

use super::echo::ARRIVED;
use super::requests::Question;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_tower::{Mesh, MeshBody};
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::net::TcpStream;
use tower::ServiceExt;

/// What Envoy adds to requests and the mesh does not; `docs/headers.md` has the mesh's own.
const OF_REQUESTS: [&str; 11] = [
    "x-forwarded-proto",
    "x-request-id",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-original-path",
    "x-envoy-original-host",
    "grpc-timeout",
    // Of the connection, not of the call.
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "host",
];

/// The same of responses.
const OF_RESPONSES: [&str; 5] =
    ["date", "x-envoy-upstream-service-time", "connection", "content-length", "transfer-encoding"];

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Outcome {
    /// 0: a gRPC call that was refused before any endpoint, however its status says so.
    status: u16,
    /// What the endpoint saw, its headers sorted.
    seen: String,
    headers: Vec<(String, String)>,
    /// Of an answer that came from no endpoint.
    body: String,
}

/// A mesh.
pub(crate) async fn through_mesh(mesh: &Mesh, question: &Question) -> Outcome {
    let uri = format!("http://{}{}", question.authority, question.path);
    let request = request(question, uri.parse().unwrap_or_else(|e| panic!("{uri}: {e}")));
    match mesh.client().oneshot(request.map(|()| MeshBody::empty())).await {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            outcome(question, parts.status.as_u16(), &parts.headers, &body)
        }
        // Where a proxy answers for itself, the mesh gives an error.
        Err(error) => {
            outcome(question, error.http_status().as_u16(), &HeaderMap::new(), &Bytes::new())
        }
    }
}

/// Envoy's listener on `port`.
pub(crate) async fn through_envoy(port: u16, question: &Question) -> Outcome {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let io = TokioIo::new(stream);
    let response = if question.version() == Version::HTTP_2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let uri = format!("http://{}{}", question.authority, question.path);
        sender
            .send_request(request(question, uri.parse().unwrap()).map(|()| Empty::<Bytes>::new()))
            .await
    } else {
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let mut request = request(question, question.path.parse().unwrap());
        request.headers_mut().insert("host", question.authority.parse().unwrap());
        sender.send_request(request.map(|()| Empty::<Bytes>::new())).await
    };
    let response: Response<Incoming> =
        response.unwrap_or_else(|error| panic!("{question:?}: {error}"));
    let (parts, body) = response.into_parts();
    let body =
        body.collect().await.unwrap_or_else(|error| panic!("{question:?}: {error}")).to_bytes();
    outcome(question, parts.status.as_u16(), &parts.headers, &body)
}

fn request(question: &Question, uri: Uri) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = question.version();
    for (name, value) in &question.headers {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

fn outcome(question: &Question, status: u16, headers: &HeaderMap, body: &Bytes) -> Outcome {
    // A HEAD has no body to tell the cluster in; the echo's headers tell that it arrived.
    let seen = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object);
    let arrived = seen.is_some() || headers.contains_key(ARRIVED);
    let is_grpc = question.version() == Version::HTTP_2;
    if is_grpc && !arrived {
        // gRPC and Envoy differ in the status: docs/grpc-and-http.md.
        return Outcome {
            status: 0,
            seen: String::new(),
            headers: Vec::new(),
            body: String::new(),
        };
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = headers.iter().map(|(name, value)| {
        (name.to_string(), made_cookie(name.as_str(), &text(value.as_bytes())))
    });
    let mut headers = without(headers.collect(), &OF_RESPONSES);
    let is_head = question.method == Method::HEAD;
    if !arrived && (body.is_empty() || is_head) && status >= 400 {
        // Where Envoy answers by itself, edits of the route are in its answer; the mesh has an error.
        headers.clear();
    }
    if !arrived {
        // Envoy says that its own answers are text.
        headers.retain(|(name, value)| name != "content-type" || value != "text/plain");
    }
    let body = if arrived { String::new() } else { text(body) };
    Outcome { status, seen: seen.map(sorted).unwrap_or_default(), headers, body }
}

/// The value of a cookie that was made is another one each time.
fn made_cookie(name: &str, value: &str) -> String {
    match value.split_once('=') {
        Some((cookie, rest)) if name == "set-cookie" => {
            let attributes = rest.split_once(';').map_or("", |(_, attributes)| attributes);
            format!("{cookie}=…;{attributes}")
        }
        _ => value.to_owned(),
    }
}

fn without(mut headers: Vec<(String, String)>, names: &[&str]) -> Vec<(String, String)> {
    headers.retain(|(name, _)| !names.contains(&name.as_str()));
    // Stable: values of one name keep their order.
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    headers
}

/// Values of one name are joined: Envoy does so with some headers and not with others (RFC 9110 §5.3).
fn sorted(mut seen: Value) -> String {
    let headers = serde_json::from_value(seen["headers"].take()).unwrap();
    let mut joined = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in without(headers, &OF_REQUESTS) {
        joined.entry(name).or_default().push(value);
    }
    let joined = joined.into_iter().map(|(name, values)| (name, values.join(",")));
    seen["headers"] = serde_json::to_value(joined.collect::<BTreeMap<_, _>>()).unwrap();
    seen.to_string()
}
