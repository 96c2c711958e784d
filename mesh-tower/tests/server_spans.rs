//! One span for each request of a server. In a process of its own, as the subscriber is global.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use mesh_core::identity::{Peer, PeerCertificate, SpiffeId};
use mesh_core::model::rbac::{Permission, Policy, Principal, Rbac, RbacFilter};
use mesh_core::model::{
    FilterChain, HttpConnectionManager, HttpFilter, HttpFilterConfig, Listener,
};
use mesh_core::model::{StringMatcher, matcher::StringPattern};
use mesh_core::update::ConfigUpdate;
use mesh_tower::server::{Connection, RequestBody, ServerLayer};
use mesh_tower::{BoxError, Mesh, MeshBody};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use tower::{Layer, ServiceExt, service_fn};
use tracing_subscriber::fmt::format::FmtSpan;

const PEER: &str = "spiffe://mesh.example/cart";

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
    /// Lines with this word so far.
    fn with(&self, word: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
    }
}

/// Lets `/shop` through, by the policy `shops`.
fn config() -> ConfigUpdate {
    let path = StringMatcher::new(StringPattern::Prefix("/shop".into()));
    let policy = Policy {
        permissions: vec![Permission::UrlPath(path)],
        principals: vec![Principal::Any],
        condition: None,
    };
    let mut rules = Rbac::default();
    rules.policies.insert("shops".into(), policy);
    let mut filter = RbacFilter::default();
    filter.rules = Some(Arc::new(rules));
    let filter = HttpFilter::new("rbac", HttpFilterConfig::Rbac(Arc::new(filter)));
    let http = HttpConnectionManager::serving(vec![filter]);
    let mut listener = Listener::new("web");
    listener.filter_chains.push(Arc::new(FilterChain::new("any", Some(Arc::new(http)))));
    let mut update = ConfigUpdate::in_code();
    update.listeners.insert("web".into(), Arc::new(listener));
    update
}

async fn answer(_: Request<RequestBody<MeshBody>>) -> Result<Response<MeshBody>, Infallible> {
    tracing::info!(target: "application", "it works");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("5"));
    let frames = [Ok::<_, BoxError>(Frame::data(Bytes::from("x"))), Ok(Frame::trailers(trailers))];
    let body = MeshBody::new(StreamBody::new(futures_util::stream::iter(frames)));
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(body).unwrap())
}

#[tokio::test]
async fn there_is_a_span_for_each_request_until_its_body_ends() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mesh = Mesh::builder().config(config()).build().unwrap();
    let from = Some(([10, 0, 0, 9], 4000).into());
    let mut connection = Connection::plaintext(&mesh, "web", from, None).unwrap();
    let id = SpiffeId::parse(PEER).unwrap();
    connection.peer = Peer::Certified(Arc::new(PeerCertificate::of(&id)));
    let connection = Arc::new(connection);
    let service = ServerLayer::new(&mesh, "web").layer(service_fn(answer));
    let request = |path: &str| {
        let request = Request::post(format!("http://u:p@shop{path}"))
            .version(http::Version::HTTP_11)
            .header("host", "shop")
            .header("content-type", "application/grpc")
            .header("grpc-previous-rpc-attempts", "1")
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        request.extension(Arc::clone(&connection)).body(MeshBody::empty()).unwrap()
    };
    let response = service.clone().oneshot(request("/shop/List?secret=1")).await.unwrap();
    assert!(lines.with(" close ").is_empty(), "its body has not ended");
    drop(response.into_body().collect().await.unwrap());
    let ended = lines.with(" close ");
    assert_eq!(ended.len(), 1, "{ended:#?}");
    let span = "request{listener=\"web\" method=POST authority=\"shop\" path=\"/shop/List\"";
    for field in [
        span,
        &format!("peer=\"{PEER}\""),
        "attempt=2",
        "trace_id=0af7651916cd43dd8448eb211c80319c",
        "parent_id=b7ad6b7169203331",
        "virtual_host=\"all\" route=\"all\"",
        "policy=\"shops\"",
        "status=200",
        "grpc_status=5",
    ] {
        assert!(ended[0].contains(field), "{field}: {ended:#?}");
    }
    assert!(!ended[0].contains("secret") && !ended[0].contains("error="), "{ended:#?}");
    // The application is in it, and so is the line of the log.
    for word in ["it works", "mesh::access"] {
        let within = lines.with(word);
        assert!(within.len() == 1 && within[0].contains(span), "{within:#?}");
    }

    let denied = service.oneshot(request("/admin")).await.unwrap();
    drop(denied.into_body().collect().await.unwrap());
    let ended = lines.with(" close ");
    assert_eq!(ended.len(), 2, "{ended:#?}");
    for field in ["path=\"/admin\"", "grpc_status=7", "error=\"rbac_access_denied"] {
        assert!(ended[1].contains(field), "{field}: {ended:#?}");
    }
    assert!(!ended[1].contains("policy="), "no policy allowed it: {ended:#?}");
}
