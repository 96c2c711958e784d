//! [`Echo`]: the endpoint of one cluster, which answers with what it saw.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use std::convert::Infallible;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A header of every answer of an endpoint.
pub(crate) const ARRIVED: &str = "x-arrived";

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A server of HTTP/1.1 and HTTP/2 that says which cluster it is of, and what arrived; ends when dropped.
pub(crate) struct Echo {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Echo {
    pub(crate) async fn start(cluster: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cluster = cluster.to_owned();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let cluster = cluster.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let response = answer(&cluster, &request);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, task }
    }
}

fn answer(cluster: &str, request: &Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let headers = request.headers();
    let host = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let host = host.or_else(|| headers.get(HOST).map(HeaderValue::as_bytes)).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let seen: Vec<_> = headers
        .iter()
        .filter(|(name, _)| *name != HOST)
        .map(|(name, value)| (name.as_str(), text(value.as_bytes())))
        .collect();
    let body = json!({
        "cluster": cluster,
        "method": request.method().as_str(),
        "authority": text(host),
        "path": request.uri().path_and_query().map_or("", |path| path.as_str()),
        "headers": seen,
    });
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let status = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    let trailers = kind.starts_with(b"application/grpc").then_some(Ok(status));
    let body = Full::from(body.to_string()).with_trailers(std::future::ready(trailers));
    let mut response = Response::new(body.boxed());
    // Names that configurations edit, so that edits of what is there show; and one that none does.
    let edited = [("server", "echo"), ("x-a", "of the echo"), ("x-split", "of the echo")];
    for (name, value) in edited.into_iter().chain([(ARRIVED, "yes")]) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
