//! The stack over a user's own transport.

use crate::fixture::{Count, at, bounded, cluster, config_of, get, idle, metric, post, reply};
use crate::retry::retry;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use mesh_core::ConfigUpdate;
use mesh_core::model::tls::UpstreamTls;
use mesh_core::model::{Address, Cluster, ForwardAction, RetryOn, TlsPolicy};
use mesh_core::outcome::{ConnectFailure, Failure, Processed, ResetReason};
use mesh_core::update::UnknownHosts;
use mesh_tower::{BoxError, Endpoint, Mesh, MeshBody, MeshLayer};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service, ServiceExt, service_fn};

type Reply = Result<Response<Full<Bytes>>, BoxError>;

fn mesh(cluster: Cluster, endpoints: &[Address], change: impl FnOnce(&mut ForwardAction)) -> Mesh {
    Mesh::builder()
        .seed(0)
        .config(config_of(cluster, endpoints.iter().cloned(), change))
        .build()
        .unwrap()
}

fn address(number: u8) -> Address {
    Address::Socket(at(number))
}

#[tokio::test]
async fn the_transport_is_told_where_to_go_and_the_rest_is_the_callers() {
    let mesh = mesh(cluster(|_| {}), &[address(7)], |_| {});
    let transport = service_fn(|request: Request<MeshBody>| async move {
        let endpoint = request.extensions().get::<Endpoint>().unwrap();
        assert_eq!((&endpoint.address, &*endpoint.cluster), (&address(7), "a"));
        assert_eq!(request.extensions().get::<u32>(), Some(&7), "the caller's own extensions stay");
        assert_eq!(request.uri(), "http://a/path?q");
        assert_eq!(request.headers()["host"], "mine");
        Reply::Ok(reply(200, "hello"))
    });
    let mut request = get("/path?q");
    request.extensions_mut().insert(7_u32);
    request.headers_mut().insert("host", HeaderValue::from_static("mine"));
    let response = bounded(MeshLayer::new(&mesh).layer(transport).oneshot(request)).await.unwrap();
    assert_eq!(bounded(response.into_body().collect()).await.unwrap().to_bytes(), "hello");
    assert_eq!(metric(&mesh, "mesh_attempts_total", &[("status", "200")]), 1);
}

#[tokio::test]
async fn the_authority_is_rewritten_only_on_request() {
    let unix = Address::Unix(std::path::Path::new("/run/x.sock").into());
    for (endpoint, rewrite, expected) in [
        (address(1), false, "http://a/"),
        (address(1), true, "http://10.0.0.1:80/"),
        (unix.clone(), false, "http://a/"),
    ] {
        let mesh = mesh(cluster(|_| {}), &[endpoint], |_| {});
        let transport = service_fn(|request: Request<MeshBody>| async move {
            Reply::Ok(Response::new(Full::from(request.uri().to_string())))
        });
        let layer = MeshLayer::new(&mesh);
        let layer = if rewrite { layer.rewrite_authority() } else { layer };
        let response = bounded(layer.layer(transport).oneshot(get("/"))).await.unwrap();
        assert_eq!(bounded(response.into_body().collect()).await.unwrap().to_bytes(), expected);
    }
    // A socket's path is no authority: better no call than one to wherever the name points.
    let mesh = mesh(cluster(|_| {}), &[unix], |_| {});
    let unused = service_fn(|_: Request<MeshBody>| async { Reply::Ok(reply(200, "")) });
    let layer = MeshLayer::new(&mesh).rewrite_authority();
    let error = bounded(layer.layer(unused).oneshot(get("/"))).await.unwrap_err();
    assert_eq!(error.code(), "connect_unreachable");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("Unix socket"), "{source}");
}

#[tokio::test]
async fn a_cluster_with_tls_is_refused_unless_the_transport_secures_itself() {
    let secured =
        || cluster(|cluster| cluster.tls = TlsPolicy::On(Arc::new(UpstreamTls::default())));
    let called = Count::default();
    let transport = {
        let called = called.clone();
        service_fn(move |_: Request<MeshBody>| {
            called.add();
            async { Reply::Ok(reply(200, "")) }
        })
    };
    let all = RetryOn::SERVER_ERROR | RetryOn::CONNECT_FAILURE | RetryOn::RESET;
    let mesh =
        mesh(secured(), &[address(1), address(2)], retry(all, |policy| policy.num_retries = 3));
    let error = bounded(MeshLayer::new(&mesh).layer(transport.clone()).oneshot(get("/")))
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.station().attempts), ("connect_tls_unavailable", 1));
    assert_eq!(called.get(), 0);
    let layer = MeshLayer::new(&mesh).transport_secures_itself();
    assert!(bounded(layer.layer(transport).oneshot(get("/"))).await.is_ok());
    // Our own connections do it, and of a name that nobody asks for there is no proof.
    let error = bounded(mesh.client().oneshot(get("/"))).await.unwrap_err();
    assert_eq!(error.code(), "connect_tls_name");
}

#[derive(Debug, thiserror::Error)]
#[error("the transport's own error")]
struct Wrapped(#[source] BoxError);

/// What the stack makes of an error of the transport: its code, and how often it was tried.
async fn classified(
    make: fn() -> BoxError,
    layer: impl FnOnce(MeshLayer) -> MeshLayer,
) -> (String, usize) {
    let calls = Count::default();
    let counted = calls.clone();
    let transport = service_fn(move |_: Request<MeshBody>| {
        counted.add();
        async move { Reply::Err(Box::new(Wrapped(make()))) }
    });
    let mesh = mesh(cluster(|_| {}), &[address(1), address(2)], |_| {});
    let service = layer(MeshLayer::new(&mesh)).layer(transport);
    let error = bounded(service.oneshot(post("/", "body"))).await.unwrap_err();
    idle(&mesh).await;
    (error.code().to_owned(), calls.get())
}

#[tokio::test]
async fn errors_are_read_by_their_sources() {
    let plain = |make| classified(make, |layer| layer);
    // Nothing of the request was processed: it goes elsewhere, body and all.
    let refused = plain(|| io::Error::from(io::ErrorKind::ConnectionRefused).into()).await;
    assert_eq!(refused, ("connect_refused".to_owned(), 4));
    let stream = plain(|| h2::Error::from(h2::Reason::REFUSED_STREAM).into()).await;
    assert_eq!(stream, ("reset_refused_stream".to_owned(), 2));
    // It may have been: it does not.
    let reset = plain(|| io::Error::from(io::ErrorKind::ConnectionReset).into()).await;
    assert_eq!(reset, ("reset_connection".to_owned(), 1));
    assert_eq!(plain(|| "no idea".into()).await, ("reset_connection".to_owned(), 1));
}

#[tokio::test]
async fn the_users_classifier_comes_first() {
    let ended = classified(
        || "no idea".into(),
        |layer| {
            layer.classify_errors(|error| {
                error.is::<Wrapped>().then_some(Failure::Connect(ConnectFailure::Unreachable))
            })
        },
    )
    .await;
    assert_eq!(ended, ("connect_unreachable".to_owned(), 4));
    let ended = classified(
        || io::Error::from(io::ErrorKind::ConnectionRefused).into(),
        |layer| {
            layer.classify_errors(|_| {
                let (reason, processed) = (ResetReason::Local, Processed::Maybe);
                Some(Failure::Reset { reason, processed })
            })
        },
    )
    .await;
    assert_eq!(ended, ("reset_local".to_owned(), 1));
}

/// A transport that must be made ready before each call, and checks that it was.
#[derive(Debug)]
struct Strict {
    ready: bool,
    log: Arc<Mutex<Vec<&'static str>>>,
    fails: Arc<Mutex<u32>>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        // A clone is not ready, whatever the original was.
        Self { ready: false, log: Arc::clone(&self.log), fails: Arc::clone(&self.fails) }
    }
}

impl Service<Request<MeshBody>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = std::future::Ready<Reply>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let mut fails = self.fails.lock();
        if *fails > 0 {
            *fails -= 1;
            self.log.lock().push("not ready");
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()));
        }
        if !self.ready {
            self.ready = true;
            self.log.lock().push("pending");
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.log.lock().push("ready");
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<MeshBody>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        self.log.lock().push("call");
        std::future::ready(Ok(reply(200, "")))
    }
}

#[tokio::test]
async fn each_attempt_drives_a_clone_to_readiness_before_it_calls() {
    let mesh = mesh(cluster(|_| {}), &[address(1), address(2)], |_| {});
    let strict = Strict { ready: false, log: Arc::default(), fails: Arc::new(Mutex::new(1)) };
    let log = Arc::clone(&strict.log);
    let service = MeshLayer::new(&mesh).layer(strict);
    assert!(bounded(service.oneshot(post("/", "kept"))).await.is_ok());
    assert_eq!(*log.lock(), ["not ready", "pending", "ready", "call"]);
}

#[tokio::test]
async fn layers_under_the_mesh_see_attempts_and_layers_above_see_calls() {
    let (above, below) = (Count::default(), Count::default());
    let mesh = mesh(
        cluster(|_| {}),
        &[address(1)],
        retry(RetryOn::SERVER_ERROR, |policy| policy.num_retries = 2),
    );
    let transport = {
        let below = below.clone();
        service_fn(move |_: Request<MeshBody>| {
            let status = if below.add() < 2 { 503 } else { 200 };
            async move { Reply::Ok(reply(status, "")) }
        })
    };
    let counted = above.clone();
    let service = tower::ServiceBuilder::new()
        .map_request(move |request: Request<MeshBody>| {
            counted.add();
            request
        })
        .layer(MeshLayer::new(&mesh))
        .service(transport);
    let response = bounded(service.oneshot(get("/"))).await.unwrap();
    assert_eq!((response.status().as_u16(), above.get(), below.get()), (200, 1, 3));
}

#[tokio::test]
async fn a_request_that_the_stack_gives_back_names_its_new_endpoint_only() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let saw = Arc::clone(&seen);
    let transport = service_fn(move |request: Request<MeshBody>| {
        let endpoint = request.extensions().get::<Endpoint>().unwrap().address.clone();
        let mut saw = saw.lock();
        saw.push((endpoint, request.uri().authority().unwrap().to_string()));
        let first = saw.len() == 1;
        async move {
            if first {
                Reply::Err(io::Error::from(io::ErrorKind::ConnectionRefused).into())
            } else {
                Ok(reply(200, ""))
            }
        }
    });
    let mesh = mesh(cluster(|_| {}), &[address(1), address(2)], |_| {});
    let service = MeshLayer::new(&mesh).rewrite_authority().layer(transport);
    bounded(service.oneshot(get("/"))).await.unwrap();
    let seen = seen.lock();
    assert_ne!(seen[0].0, seen[1].0);
    assert!(
        seen.iter().all(|(endpoint, authority)| endpoint.to_string() == *authority),
        "{seen:?}"
    );
}

/// Over HTTP/2 an answer to HEAD may end in a later frame than its head, which nobody who passes it on waits for.
#[tokio::test]
async fn an_answer_to_head_is_complete_without_its_end() {
    let mut passing = ConfigUpdate::in_code();
    passing.unknown_hosts = UnknownHosts::Passthrough;
    let passing = || Mesh::builder().config(passing.clone()).build().unwrap();
    let routed = || mesh(cluster(|_| {}), &[address(7)], |_| {});
    for (mesh, method, given_up) in
        [(routed(), "HEAD", 0), (routed(), "GET", 1), (passing(), "HEAD", 0), (passing(), "GET", 1)]
    {
        let transport = service_fn(|_: Request<MeshBody>| async move {
            let unended = futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>();
            Ok::<_, BoxError>(Response::new(StreamBody::new(unended)))
        });
        let mut request = get("/");
        *request.method_mut() = method.parse().unwrap();
        let layer = MeshLayer::new(&mesh);
        drop(bounded(layer.layer(transport).oneshot(request)).await.unwrap());
        assert_eq!(metric(&mesh, "mesh_calls_total", &[("status", "200")]), 1, "{method}");
        let labels = [("response_flag", "DC")];
        assert_eq!(metric(&mesh, "mesh_calls_total", &labels), given_up, "{method}");
    }
}
