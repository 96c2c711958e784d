//! What the request passes on: its deadline, its attempt, its trace; and what comes back of its calls.

use super::kit::{
    Failed, ask, behind, connection, echo, listener, mesh, peer, request, send, told,
};
use crate::fixture::{at, bounded, cluster, config, idle, over_h2, reply};
use crate::retry::retry;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use mesh_core::identity::Peer;
use mesh_core::model::RetryOn;
use mesh_core::update::ConfigUpdate;
use mesh_tower::server::ServerLayer;
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{CallOptions, Inbound, Mesh, MeshBody};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;

const GRPC: &str = "POST /a.B/C\nhost: a\ncontent-type: application/grpc\ngrpc-timeout: 50m";

/// Says when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_callers_deadline_the_service_is_dropped_and_the_caller_told() {
    let mesh = mesh(listener(|_| {}));
    let expected = "GET /\nhost: a\nx-envoy-expected-rq-timeout-ms: 50";
    for (text, who, told_at, answer) in [
        (GRPC, Peer::Plaintext, 50, "grpc 4 the caller's deadline passed"),
        (expected, peer("spiffe://m/a"), 50, "504 the caller's deadline passed"),
        // Who is not known is not believed.
        (expected, Peer::Plaintext, 1000, "200 "),
    ] {
        let dropped = Arc::new(AtomicBool::new(false));
        let guard = Arc::clone(&dropped);
        let layer = ServerLayer::new(&mesh, "web");
        let service = behind(&layer, move |_| {
            let guard = Dropped(Arc::clone(&guard));
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(guard);
                Response::new(MeshBody::empty())
            }
        });
        let begun = Instant::now();
        let response = send(&service, &connection(&mesh, who), request(text)).await;
        assert!(dropped.load(Ordering::SeqCst));
        assert_eq!((begun.elapsed().as_millis(), &*told(response).await), (told_at, answer));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_reaches_no_service() {
    let mesh = mesh(listener(|_| {}));
    let text = GRPC.replace("50m", "0m");
    let told = ask(&echo(&mesh), &connection(&mesh, Peer::Plaintext), &text).await;
    assert_eq!(told, "grpc 4 the caller's deadline passed");
    let text = GRPC.replace("50m", "soon");
    let told = ask(&echo(&mesh), &connection(&mesh, Peer::Plaintext), &text).await;
    assert!(told.starts_with("grpc 13 the request's grpc-timeout can't be read"), "{told}");
}

/// A body of one frame that says what it is polled within, and then never ends.
struct Endless(bool);

impl Body for Endless {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Pending;
        }
        let within = Inbound::current().is_some_and(|inbound| inbound.deadline().is_some());
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(format!("within: {within}"))))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_polled_within_it_and_cut_off_at_the_deadline() {
    let mesh = mesh(listener(|_| {}));
    let layer = ServerLayer::new(&mesh, "web");
    let service = behind(&layer, |_| async { Response::new(MeshBody::new(Endless(false))) });
    let expected = "GET /\nhost: a\nx-envoy-expected-rq-timeout-ms: 50";
    let broken = "200 broken: the caller's deadline passed before the response was complete";
    for (text, answer) in [(GRPC, "grpc 4 the caller's deadline passed"), (expected, broken)] {
        let begun = Instant::now();
        let response =
            send(&service, &connection(&mesh, peer("spiffe://m/a")), request(text)).await;
        assert_eq!((&*told(response).await, begun.elapsed().as_millis()), (answer, 50));
    }
}

/// A mesh of a listener `web` and of a cluster whose one endpoint answers by `answer`.
fn hop<F, Fut>(answer: F) -> (Mesh, MemoryNetwork)
where
    F: Fn(Request<hyper::body::Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<http_body_util::Full<Bytes>>> + Send + 'static,
{
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), answer);
    let mut update = config(cluster(|_| {}), &[at(1)], |action| {
        retry(RetryOn::SERVER_ERROR | RetryOn::UNAVAILABLE, |_| {})(action);
    });
    let listeners: ConfigUpdate = listener(|_| {});
    update.listeners = listeners.listeners;
    let mesh = Mesh::builder().seed(0).connector(network.clone()).config(update).build().unwrap();
    (mesh, network)
}

/// A service that calls the cluster as `call` says, and passes its answer on.
fn calling(
    mesh: &Mesh,
    call: impl Fn() -> Request<MeshBody> + Clone + Send + Sync + 'static,
) -> super::kit::Service {
    let client = mesh.client();
    behind(&ServerLayer::new(mesh, "web"), move |_| {
        let (client, call) = (client.clone(), call());
        async move {
            match client.oneshot(call).await {
                Ok(response) => response.map(MeshBody::new),
                Err(error) => {
                    let body = MeshBody::full(error.code().to_owned());
                    Response::builder().status(error.http_status()).body(body).unwrap()
                }
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_service_end_with_its_callers_deadline_and_are_in_its_trace() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (mesh, _network) = hop(|request| async move {
        let text = |name: &str| {
            let value = request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            value.unwrap_or_default()
        };
        let (trace, timeout) = (text("traceparent"), text("grpc-timeout"));
        if request.uri().path() == "/slow" {
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
        Response::new(http_body_util::Full::from(format!("{trace} {timeout}")))
    });
    let of = |path: &'static str| move || crate::fixture::get(path);
    let traced =
        format!("{}\ntraceparent: {PARENT}", GRPC.replace("application/grpc", "text/plain"));
    let connection = connection(&mesh, peer("spiffe://m/a"));
    let told = ask(&calling(&mesh, of("/")), &connection, &traced).await;
    assert_eq!(told, format!("200 {PARENT}"));
    // As gRPC: what is left of the caller's 50 ms is what the next hop has.
    let grpc = || crate::fixture::grpc("/a");
    let response = send(&calling(&mesh, grpc), &connection, request(GRPC)).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, " 50000u");
    // Longer limits of its own are cut, shorter ones are not.
    for (own, expected) in [(None, 50), (Some(20), 20), (Some(500), 50)] {
        let call = move || {
            let mut request = crate::fixture::get("/slow");
            let options = CallOptions::new();
            let options = own.map_or(options, |own| options.timeout(Duration::from_millis(own)));
            request.extensions_mut().insert(options);
            request
        };
        let begun = Instant::now();
        let text = "GET /\nhost: a\nx-envoy-expected-rq-timeout-ms: 50";
        let told = ask(&calling(&mesh, call), &connection, text).await;
        assert_eq!((&told[..3], begun.elapsed().as_millis()), ("504", expected));
    }
    idle(&mesh).await;
}

/// A hop that passes the caller's head on, as a proxy does, and was not built to tell anything of its own.
#[tokio::test(start_paused = true)]
async fn what_the_caller_expects_is_passed_on_as_what_is_left() {
    const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";
    let (mesh, _network) = hop(|request| async move {
        let told = request.headers().get_all(EXPECTED).iter();
        let told: Vec<_> = told.map(|told| told.to_str().unwrap()).collect();
        Response::new(http_body_util::Full::from(told.join(" ")))
    });
    let connection = connection(&mesh, peer("spiffe://m/a"));
    // What came, how long the hop needs, and what it gives its call, in milliseconds.
    for (came, needs, own, told) in [
        ("50", 0, None, "200 50"),
        ("50", 20, None, "200 30"),
        ("50", 0, Some(10), "200 10"),
        ("50\nx-envoy-expected-rq-timeout-ms: 70", 0, Some(10), "200 10"),
        ("0", 0, None, "200 15000"),
    ] {
        let client = mesh.client();
        let service = behind(&ServerLayer::new(&mesh, "web"), move |request| {
            let mut call = crate::fixture::get("/");
            *call.headers_mut() = request.headers().clone();
            if let Some(own) = own {
                let options = CallOptions::new().timeout(Duration::from_millis(own));
                call.extensions_mut().insert(options);
            }
            let client = client.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(needs)).await;
                client.oneshot(call).await.unwrap().map(MeshBody::new)
            }
        });
        let text = format!("GET /\nhost: a\n{EXPECTED}: {came}");
        assert_eq!(ask(&service, &connection, &text).await, told, "{came} {needs} {own:?}");
    }
    // What nobody is answered for is its caller's own.
    let mut own = crate::fixture::get("/");
    own.headers_mut().insert(EXPECTED, "20000".parse().unwrap());
    let answer = bounded(mesh.client().oneshot(own)).await.unwrap();
    assert_eq!(crate::fixture::text(answer).await, "20000");
}

/// A request, why its service fails or does not, the call that it makes, what its caller is told.
type Pushed = (&'static str, &'static str, fn() -> Request<MeshBody>, &'static str);

#[tokio::test(start_paused = true)]
async fn who_has_tried_all_there_was_says_so_and_only_then() {
    let (mesh, network) = hop(|request| async move {
        match request.uri().path() {
            "/grpc" => {
                let mut response = reply(200, "");
                let headers = response.headers_mut();
                headers.insert("content-type", "application/grpc".parse().unwrap());
                headers.insert("grpc-status", "14".parse().unwrap());
                response
            }
            "/bad" => reply(400, "no"),
            "/tried" => {
                let mut response = reply(503, "down");
                response.headers_mut().insert("x-mesh-retry", "no".parse().unwrap());
                response
            }
            _ => reply(503, "down"),
        }
    });
    let _network = network;
    let connection = connection(&mesh, Peer::Plaintext);
    let grpc = "POST /a.B/C\nhost: a\ncontent-type: application/grpc";
    let no_retry = || {
        let mut request = crate::fixture::get("/");
        request.extensions_mut().insert(CallOptions::new().no_retry());
        request
    };
    // Who does not retry himself passes on that it was tried.
    let below = || {
        let mut request = crate::fixture::get("/tried");
        request.extensions_mut().insert(CallOptions::new().no_retry());
        request
    };
    let calls: [Pushed; 5] = [
        ("GET /\nhost: a", "tried below", below, "x-mesh-retry: no"),
        ("GET /\nhost: a", "exhausted", || crate::fixture::get("/"), "x-mesh-retry: no"),
        (grpc, "exhausted", || crate::fixture::grpc("/grpc"), "grpc-retry-pushback-ms: -1"),
        ("GET /\nhost: a", "not its failure", || crate::fixture::get("/bad"), ""),
        ("GET /\nhost: a", "not tried", no_retry, ""),
    ];
    for (text, what, call, expected) in calls {
        let response = send(&calling(&mesh, call), &connection, request(text)).await;
        let said = ["x-mesh-retry", "grpc-retry-pushback-ms"].into_iter().filter_map(|name| {
            let value = response.headers().get(name)?;
            Some(format!("{name}: {}", value.to_str().unwrap()))
        });
        assert_eq!(said.collect::<Vec<_>>().join(" "), expected, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn which_attempt_it_is_can_be_seen() {
    let mesh = mesh(listener(|_| {}));
    let service = behind(&ServerLayer::new(&mesh, "web"), |_request| async move {
        Response::new(MeshBody::full(Inbound::current().unwrap().attempts().to_string()))
    });
    let connection = connection(&mesh, Peer::Plaintext);
    for (line, expected) in [
        ("", "200 1"),
        ("\ngrpc-previous-rpc-attempts: 2", "200 3"),
        ("\nx-envoy-attempt-count: 2", "200 2"),
    ] {
        let told = ask(&service, &connection, &format!("GET /\nhost: a{line}")).await;
        assert_eq!(told, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_callers_report_tells_application_mesh_and_wire_apart() {
    let network = MemoryNetwork::new();
    let server = mesh(listener(|_| {}));
    let connection = connection(&server, Peer::Plaintext);
    let service = behind(&ServerLayer::new(&server, "web").timing(), |_| async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        Response::new(MeshBody::empty())
    });
    network.serve(
        at(1),
        tower::service_fn(move |request: Request<hyper::body::Incoming>| {
            let (service, mut request) = (service.clone(), request.map(MeshBody::new));
            request.extensions_mut().insert(Arc::clone(&connection));
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                service.oneshot(request).await
            }
        }),
    );
    let client = crate::fixture::simple(&network, 1, |_| {});
    let mut request = over_h2(crate::fixture::get("/"));
    request.extensions_mut().insert(CallOptions::new().report());
    let response = bounded(client.client().oneshot(request)).await.unwrap();
    let report = response.extensions().get::<mesh_tower::observe::CallReport>().unwrap();
    let attempt = &report.attempts[0];
    let time = attempt.server.expect("the server says where its time went");
    let wire = attempt.duration - time.total();
    let millis = [time.application, time.mesh, wire].map(|time| time.as_millis());
    assert_eq!(millis, [30, 0, 10]);
}

/// A body that always has something.
struct Always;

impl Body for Always {
    type Data = Bytes;
    type Error = mesh_tower::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more")))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_always_has_something_ends_at_the_callers_deadline() {
    let mesh = mesh(listener(|_| {}));
    let expected = "GET /\nhost: a\nx-envoy-expected-rq-timeout-ms: 50";
    for (text, end) in [
        (GRPC, "grpc 4 the caller's deadline passed"),
        (expected, "the caller's deadline passed before the response was complete"),
    ] {
        let layer = ServerLayer::new(&mesh, "web");
        let service = behind(&layer, |_| async { Response::new(MeshBody::new(Always)) });
        let who = connection(&mesh, peer("spiffe://m/a"));
        let mut body = send(&service, &who, request(text)).await.into_body();
        let mut parts = 0;
        let last = loop {
            match body.frame().await.unwrap() {
                Ok(frame) if frame.is_data() => parts += 1,
                Ok(frame) => break trailers(&frame),
                Err(error) => break error.to_string(),
            }
            assert!(parts < 100, "it goes on and on");
            tokio::time::advance(Duration::from_millis(10)).await;
        };
        assert_eq!((parts, &*last), (5, end));
        assert!(body.frame().await.is_none());
    }
}

fn trailers(frame: &Frame<Bytes>) -> String {
    let trailers = frame.trailers_ref().unwrap();
    let text = |name: &str| trailers[name].to_str().unwrap().to_owned();
    format!("grpc {} {}", text("grpc-status"), text("grpc-message"))
}
