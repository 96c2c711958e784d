//! One span for each call, one for each attempt. In a process of its own, as the subscriber is global.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use bytes::Bytes;
use futures_core::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use mesh_tower::source::{Sink, Source};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{BoxError, CallOptions, Mesh, MeshBody};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use tower::ServiceExt;
use tracing_subscriber::fmt::format::FmtSpan;

const ADDRESS: &str = "10.0.0.1:80";

const CONFIG: &str = r#"
version: 1
virtual_hosts:
  any:
    domains: ["*"]
    routes: [{ name: all, cluster: a, retry: { retry_on: [5xx] } }]
clusters: { a: { endpoints: ["10.0.0.1:80"] } }
"#;

/// An answer, with this gRPC status in its trailers.
fn answer(status: u16, grpc_status: Option<&'static str>) -> Response<MeshBody> {
    let trailers = grpc_status.map(|status| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        Ok::<Frame<Bytes>, BoxError>(Frame::trailers(trailers))
    });
    let body = MeshBody::new(StreamBody::new(futures_util::stream::iter(trailers)));
    Response::builder()
        .status(status)
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap()
}

/// What a formatting subscriber wrote.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The spans that have ended so far, as `target{fields}` of the innermost.
    fn ended(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        let closed = text.lines().filter(|line| line.contains(" close "));
        closed.map(|line| line.split_once("DEBUG ").unwrap().1.to_owned()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_a_span_for_each_call_and_each_attempt_until_the_body_ends() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let network = MemoryNetwork::new();
    let calls = Arc::new(AtomicU32::new(0));
    network.serve_fn(ADDRESS.parse::<std::net::SocketAddr>().unwrap(), move |_| {
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { answer(503, None) } else { answer(200, Some("0")) } }
    });
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), CONFIG).unwrap();
    let mesh = Mesh::builder().connector(network).file(file.path()).build().unwrap();
    let uri = "http://u:SECRET@a/shop.Reviews/List?token=SECRET";
    let mut request = Request::post(uri).body(MeshBody::empty()).unwrap();
    *request.version_mut() = http::Version::HTTP_2;
    for name in ["authorization", "cookie", "x-key"] {
        request.headers_mut().insert(name, HeaderValue::from_static("SECRET"));
    }
    let content_type = HeaderValue::from_static("application/grpc");
    request.headers_mut().insert("content-type", content_type);
    let response = mesh.client().oneshot(request).await.unwrap();
    let ended = lines.ended();
    assert_eq!(ended.len(), 1, "only the first attempt has ended: {ended:#?}");
    assert!(ended[0].contains("attempt{number=1 cluster=\"a\" endpoint=10.0.0.1:80 status=503"));
    drop(response.into_body().collect().await.unwrap());
    let ended = lines.ended();
    assert_eq!(ended.len(), 3, "{ended:#?}");
    let (attempt, of_call) = (&ended[1], &ended[2]);
    assert!(attempt.contains("attempt{number=2 cluster=\"a\" endpoint=10.0.0.1:80 status=200"));
    assert!(attempt.contains("grpc_status=0}"), "{attempt}");
    for field in [
        "call{method=POST authority=\"a\" path=\"/shop.Reviews/List\"",
        "virtual_host=\"any\" route=\"all\" cluster=\"a\"",
        "attempts=2",
        "status=200",
        "grpc_status=0",
    ] {
        assert!(of_call.contains(field), "{field}: {of_call}");
    }
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    assert!(!text.contains("SECRET"), "{text}");
    // The attempt's span is within the call's.
    assert!(attempt.starts_with("call{"), "{attempt}");
    the_wait_for_a_source_is_in_the_span_of_the_call(&lines).await;
}

/// Is asked, and does not answer.
#[derive(Debug)]
struct Mute;

impl Source for Mute {
    fn is_on_demand(&self) -> bool {
        true
    }

    fn start(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let _demand = sink.on_demand();
            sink.closed().await;
        })
    }
}

async fn the_wait_for_a_source_is_in_the_span_of_the_call(lines: &Lines) {
    let before = lines.ended().len();
    let mesh = Mesh::builder().source(Mute).build().unwrap();
    let request = Request::get("http://b/").body(MeshBody::empty()).unwrap();
    let waiting = mesh.client().oneshot(request);
    assert!(timeout(Duration::from_secs(1), waiting).await.is_err());
    let given_up = &lines.ended()[before..];
    assert_eq!(given_up.len(), 1, "{given_up:#?}");
    assert!(given_up[0].contains("call{method=GET authority=\"b\""), "{given_up:#?}");

    let mut request = Request::get("http://b/").body(MeshBody::empty()).unwrap();
    request.extensions_mut().insert(CallOptions::new().timeout(Duration::from_secs(1)));
    drop(mesh.client().oneshot(request).await.unwrap_err());
    let failed = &lines.ended()[before + 1..];
    assert_eq!(failed.len(), 1, "one span for the wait and the rest: {failed:#?}");
    assert!(failed[0].contains("response_flag=\"NFCF\""), "{failed:#?}");
}
