//! A server and a client of it that share an access log.

use crate::fixture::{bounded, call, eventually, idle};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use mesh_core::access_log::Format;
use mesh_tower::observe::{AccessLog, AccessLogBuilder, AccessLogSink};
use mesh_tower::server::{Incoming, RequestBody};
use mesh_tower::{BoxError, Mesh, MeshBody};
use parking_lot::Mutex;
use serde_json::Value;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What was written.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<String>>);

impl AccessLogSink for Lines {
    fn write(&self, lines: &[u8]) -> io::Result<()> {
        self.0.lock().push_str(std::str::from_utf8(lines).unwrap());
        Ok(())
    }
}

impl Lines {
    /// A log that writes here.
    pub(crate) fn log(&self, builder: AccessLogBuilder) -> AccessLog {
        builder.sink(Arc::new(self.clone())).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().clone()
    }

    /// The lines of one side, once there are as many.
    pub(crate) async fn of(&self, side: &str, count: usize) -> Vec<Value> {
        let read = || -> Vec<Value> {
            let lines = self.text();
            let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap());
            lines.filter(|line: &Value| line["side"] == side).collect()
        };
        eventually(&format!("{count} lines of the {side}"), || read().len() >= count).await;
        let lines = read();
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }

    pub(crate) async fn one(&self, side: &str) -> Value {
        self.of(side, 1).await.remove(0)
    }
}

/// A server by a listener `web`, and a client of it, that share a log.
pub(crate) struct World {
    pub(crate) lines: Lines,
    pub(crate) client: Mesh,
    #[expect(dead_code, reason = "so that it serves")]
    pub(crate) server: Mesh,
}

/// A socket on which nobody listens.
pub(crate) async fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A mesh by this `mesh.yaml`, whose files stay where they are.
pub(crate) fn mesh(text: &str, log: AccessLog) -> Mesh {
    let directory = tempfile::tempdir().unwrap().keep();
    std::fs::write(directory.join("mesh.yaml"), text).unwrap();
    let builder = Mesh::builder().seed(0).file(directory.join("mesh.yaml"));
    builder.access_log(log).build().unwrap()
}

/// A client that tries a dead endpoint first, and then the server; `more`: lines of the route and of the cluster.
pub(crate) fn client_yaml(address: SocketAddr, dead: SocketAddr, more: [&str; 2]) -> String {
    let [identity, cluster] = more;
    format!(
        r#"
version: 1
{identity}
virtual_hosts:
  reviews:
    include_request_attempt_count: true
    routes:
      - {{ name: retried, match: {{ prefix: /retried }}, cluster: two, retry: {{ retry_on: [connect-failure], num_retries: 1 }} }}
      - {{ name: dead, match: {{ prefix: /dead }}, cluster: dead }}
      - {{ name: here, match: {{ prefix: /here }}, direct_response: {{ status: 410, body: gone }} }}
      - {{ name: all, cluster: one }}
clusters:
  one: {{ endpoints: ["{address}"]{cluster} }}
  two: {{ endpoints: ["{dead}", "{address}"]{cluster} }}
  dead: {{ endpoints: ["{dead}"] }}
"#
    )
}

/// A mesh that serves `web` on a port of its own; `identity`: a line of the file, or none.
pub(crate) async fn serve(log: AccessLog, identity: &str, mtls: &str) -> (Mesh, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let served = mesh(
        &format!(
            r#"
version: 1
{identity}
inbound:
  web:
    listen: "{address}"
    mtls: {mtls}
    deny: [ {{ name: no-admin, match: [{{ prefix: /admin }}] }} ]
    allow: [ {{ name: everybody, from: anyone, match: [{{ prefix: / }}] }} ]
"#
        ),
        log,
    );
    let server = served.server("web");
    tokio::spawn(async move { server.serve(socket, tower::service_fn(answer)).await });
    (served, address)
}

/// Reads the whole request, and answers eleven bytes; a gRPC call with trailers, `/slow` never.
async fn answer(request: Request<RequestBody<Incoming>>) -> Result<Response<MeshBody>, Infallible> {
    let (head, body) = request.into_parts();
    let _read = body.collect().await;
    if head.uri.path() == "/slow" {
        std::future::pending::<()>().await;
    }
    let mut response = Response::new(MeshBody::full("eleven bytes".split_at(11).0.to_owned()));
    if head.headers.get("content-type").is_some_and(|value| value == "application/grpc") {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("5"));
        trailers.insert("grpc-message", HeaderValue::from_static("nothing"));
        let frames = [Frame::data(Bytes::from_static(b"\0\0\0\0\0")), Frame::trailers(trailers)];
        let frames = futures_util::stream::iter(frames.map(Ok::<_, BoxError>));
        *response.body_mut() = MeshBody::new(StreamBody::new(frames));
        let value = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", value);
    }
    response.headers_mut().insert("set-cookie", HeaderValue::from_static("session=SECRET"));
    Ok(response)
}

impl World {
    pub(crate) async fn new() -> Self {
        let lines = Lines::default();
        let log = lines.log(AccessLog::builder(Format::default_json()));
        let (server, address) = serve(log.clone(), "", "off").await;
        let yaml = client_yaml(address, refusing().await, ["", ""]);
        Self { client: mesh(&yaml, log), server, lines }
    }

    /// Sends a request to its end; its status.
    pub(crate) async fn send(&self, request: Request<MeshBody>) -> Result<u16, &'static str> {
        let response = call(&self.client, request).await.map_err(|error| error.code())?;
        let status = response.status().as_u16();
        bounded(response.into_body().collect()).await.unwrap();
        idle(&self.client).await;
        Ok(status)
    }
}

pub(crate) fn request(method: &str, path: &str, body: MeshBody) -> Request<MeshBody> {
    let request = Request::builder().method(method).uri(format!("http://reviews{path}"));
    request.header("x-request-id", "id-1").body(body).unwrap()
}

/// Some fields of a line, as `name=value` in this order.
#[track_caller]
pub(crate) fn check(line: &Value, expected: &[(&str, Value)]) {
    for (name, value) in expected {
        assert_eq!(&line[name], value, "{name} of {line}");
    }
}
