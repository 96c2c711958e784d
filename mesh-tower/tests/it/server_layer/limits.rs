//! Limits and faults: what is enforced, what only would be, and that whatever was held is free again.

use super::kit::{
    Service, ask, behind, connection, decided, echo, listener, mesh, rbac, refused, request, send,
    streamed, told,
};
use crate::fixture::{Count, bounded, metric};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use mesh_core::identity::Peer;
use mesh_core::model::http_filter::{
    Fault, FaultAbort, FaultDelay, FaultDuration, FaultPercentage, FaultStatus,
};
use mesh_core::model::{
    BodySizeLimit, ConcurrencyLimit, Fraction, HttpFilter, HttpFilterConfig, LocalRateLimit,
    TokenBucket,
};
use mesh_tower::server::{RequestBody, ServerLayer};
use mesh_tower::{BoxError, Mesh, MeshBody};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;

const GET: &str = "GET /\nhost: a";
const GRPC: &str = "POST /a.B/C\nhost: a\ncontent-type: application/grpc";
const MS: Duration = Duration::from_millis(1);

fn rate(change: impl FnOnce(&mut LocalRateLimit)) -> HttpFilter {
    let mut limit = LocalRateLimit::new(TokenBucket::new(2, 2, Duration::from_secs(1)));
    change(&mut limit);
    HttpFilter::new("rate", HttpFilterConfig::LocalRateLimit(Arc::new(limit)))
}

fn concurrency(enforced: Fraction) -> HttpFilter {
    let mut limit = ConcurrencyLimit::default();
    (limit.max_concurrent_requests, limit.enforced) = (1, enforced);
    HttpFilter::new("one", HttpFilterConfig::ConcurrencyLimit(Arc::new(limit)))
}

fn with(filters: Vec<HttpFilter>) -> Mesh {
    mesh(listener(|http| http.http_filters = filters))
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_and_answers_say_what_is_left() {
    let mesh = with(vec![rate(|limit| limit.enable_x_ratelimit_headers = true)]);
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    for (status, left, by) in [(200, "1", ""), (200, "0", ""), (429, "0", "limited/rate/")] {
        let response = send(&service, &connection, request(GET)).await;
        assert_eq!((response.status().as_u16(), &*refused(&response)), (status, by));
        assert_eq!(response.headers()["x-ratelimit-remaining"], left);
    }
    assert_eq!(ask(&service, &connection, GRPC).await, "grpc 14 local_rate_limited");
    assert_eq!(decided(&mesh, "rate"), "allowed:2 limited:2");
    let labels = [("reason", "limited"), ("filter", "rate")];
    assert_eq!(metric(&mesh, "mesh_server_refused_total", &labels), 2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&service, &connection, GET).await, "200 / /a");
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_all_pass_and_are_counted() {
    let mesh = with(vec![
        rate(|limit| limit.filter_enforced = Fraction::NONE),
        concurrency(Fraction::NONE),
    ]);
    let (service, connection) = (echo(&mesh), connection(&mesh, Peer::Plaintext));
    // Nobody reads this one, so it stays inside.
    let first = send(&service, &connection, request(GET)).await;
    for _ in 0..3 {
        assert_eq!(ask(&service, &connection, GET).await, "200 / /a");
    }
    drop(first);
    assert_eq!(ask(&service, &connection, GET).await, "200 / /a");
    assert_eq!(decided(&mesh, "rate"), "allowed:2 would_be_limited:3");
    assert_eq!(decided(&mesh, "one"), "allowed:2 would_be_limited:3");
    assert_eq!(metric(&mesh, "mesh_server_refused_total", &[]), 0);
}

/// Answers as the path says, all but `/`: in ways that end late, or badly.
fn slow(mesh: &Mesh) -> Service {
    behind(&ServerLayer::new(mesh, "web"), |request| async move {
        let first = stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"x")))]);
        let body = match request.uri().path() {
            "/open" => MeshBody::new(StreamBody::new(first.chain(stream::pending()))),
            "/broken" => {
                let broken = stream::iter([Err::<Frame<Bytes>, _>(BoxError::from("broken"))]);
                MeshBody::new(StreamBody::new(first.chain(broken)))
            }
            "/never" => std::future::pending().await,
            _ => MeshBody::empty(),
        };
        Response::new(body)
    })
}

/// However a request ends, its place is free for the next one, and only then.
#[tokio::test(start_paused = true)]
async fn a_place_is_free_again_when_its_request_has_ended() {
    let mesh = with(vec![concurrency(Fraction::ALL)]);
    let (service, connection) = (slow(&mesh), connection(&mesh, Peer::Plaintext));
    let full = "503 1 requests are served already (max_concurrent_requests)";
    let sent = |text: &str| {
        let mut request = request(text);
        request.extensions_mut().insert(Arc::clone(&connection));
        service.clone().oneshot(request)
    };
    let next = || ask(&service, &connection, GET);

    let open = bounded(sent("GET /open\nhost: a")).await.unwrap();
    assert_eq!(next().await, full, "its body is open");
    drop(open);
    assert_eq!(next().await, "200", "its body was dropped");

    let mut never = Box::pin(sent("GET /never\nhost: a"));
    assert!(futures_util::poll!(never.as_mut()).is_pending());
    assert_eq!(next().await, full, "its service has not answered");
    drop(never);
    assert_eq!(next().await, "200", "its caller went away");

    let broken = bounded(sent("GET /broken\nhost: a")).await.unwrap();
    assert_eq!(next().await, full, "its body will break");
    assert_eq!(told(broken).await, "200 broken: broken");
    assert_eq!(next().await, "200", "its body broke");

    for path in ["/never", "/open"] {
        let late = GRPC.replace("/a.B/C", path) + "\ngrpc-timeout: 50m";
        assert_eq!(ask(&service, &connection, &late).await, "grpc 4 the caller's deadline passed");
        assert_eq!(next().await, "200", "its deadline passed at {path}");
    }
    assert_eq!(decided(&mesh, "one"), "allowed:10 limited:3");
    assert_eq!(metric(&mesh, "mesh_server_requests_active", &[]), 0);
}

#[tokio::test]
async fn of_two_bounds_on_a_body_the_smaller_counts() {
    for (own, filters, expected, by) in [
        (
            9,
            5,
            "413 the body of the request is larger than the limit of 5 (max_request_bytes)",
            "limited/size/",
        ),
        (5, 9, "413 the request's body has more bytes than the limit of 5", "body_too_large//"),
        (9, 9, "200 123456", ""),
    ] {
        let limit = HttpFilterConfig::BodySizeLimit(Arc::new(BodySizeLimit::new(filters)));
        let mesh = mesh(listener(|http| {
            http.limits.max_body_bytes = Some(own);
            http.http_filters = vec![HttpFilter::new("size", limit)];
        }));
        let service = behind(&ServerLayer::new(&mesh, "web"), |request| async move {
            match request.into_body().collect().await {
                Ok(body) => Response::new(MeshBody::full(body.to_bytes())),
                Err(_) => Response::builder().status(500).body(MeshBody::empty()).unwrap(),
            }
        });
        let connection = connection(&mesh, Peer::Plaintext);
        let mut request = request("POST /\nhost: a");
        *request.body_mut() = streamed(&["123", "456"]);
        let response = send(&service, &connection, request).await;
        assert_eq!(refused(&response), by);
        assert_eq!(told(response).await, expected);
    }
}

fn size(max: u64, enforced: Fraction) -> HttpFilter {
    let mut limit = BodySizeLimit::new(max);
    limit.enforced = enforced;
    HttpFilter::new("size", HttpFilterConfig::BodySizeLimit(Arc::new(limit)))
}

/// Answers how many bytes of the body it got: at its end, or, at `/early`, with a head before that.
fn reader(mesh: &Mesh) -> Service {
    async fn read(request: http::Request<RequestBody<MeshBody>>) -> Bytes {
        match request.into_body().collect().await {
            Ok(body) => Bytes::from(body.to_bytes().len().to_string()),
            Err(error) => Bytes::from(error.to_string()),
        }
    }
    behind(&ServerLayer::new(mesh, "web"), |request| async move {
        if request.uri().path() != "/early" {
            return Response::new(MeshBody::full(read(request).await));
        }
        let body = stream::once(async { Ok::<_, BoxError>(Frame::data(read(request).await)) });
        Response::new(MeshBody::new(StreamBody::new(body)))
    })
}

/// However long a body turns out to be, and whenever: a request is counted once.
#[tokio::test]
async fn a_body_of_unknown_length_is_told_of_exactly_once() {
    const OVER: &str = "the body of the request is larger than the limit of 6 (max_request_bytes)";
    const BROKEN: &str = "the request's body has more bytes than the limit of 6";
    let within = || streamed(&["123", "456"]);
    let beyond = || streamed(&["123", "456", "7"]);
    for (path, body, enforced, expected, outcome, refused) in [
        ("/", within(), Fraction::ALL, "200 6".to_owned(), "allowed:1", 0),
        ("/", within(), Fraction::NONE, "200 6".to_owned(), "allowed:1", 0),
        ("/", beyond(), Fraction::ALL, format!("413 {OVER}"), "limited:1", 1),
        ("/", beyond(), Fraction::NONE, "200 7".to_owned(), "would_be_limited:1", 0),
        ("/early", within(), Fraction::ALL, "200 6".to_owned(), "allowed:1", 0),
        ("/early", beyond(), Fraction::ALL, format!("200 {BROKEN}"), "limited:1", 1),
        ("/early", beyond(), Fraction::NONE, "200 7".to_owned(), "would_be_limited:1", 0),
        ("/", MeshBody::full("1234567"), Fraction::ALL, format!("413 {OVER}"), "limited:1", 1),
        ("/", MeshBody::empty(), Fraction::ALL, "200 0".to_owned(), "allowed:1", 0),
    ] {
        let mesh = with(vec![size(6, enforced)]);
        let mut request = request(&format!("POST {path}\nhost: a"));
        *request.body_mut() = body;
        let service = reader(&mesh);
        let response = send(&service, &connection(&mesh, Peer::Plaintext), request).await;
        assert_eq!(told(response).await, expected, "{path}");
        assert_eq!(decided(&mesh, "size"), outcome, "{path} {expected}");
        let labels = [("reason", "limited"), ("filter", "size")];
        assert_eq!(metric(&mesh, "mesh_server_refused_total", &labels), refused, "{expected}");
    }
}

/// The listener's own bound, once the answer has begun.
#[tokio::test]
async fn what_is_cut_off_after_the_head_is_counted_as_refused() {
    let mesh = mesh(listener(|http| {
        http.limits.max_body_bytes = Some(5);
        http.http_filters = vec![size(6, Fraction::ALL)];
    }));
    let mut request = request("POST /early\nhost: a");
    *request.body_mut() = streamed(&["123", "4567"]);
    let service = reader(&mesh);
    let response = send(&service, &connection(&mesh, Peer::Plaintext), request).await;
    assert_eq!(told(response).await, "200 the request's body has more bytes than the limit of 5");
    assert_eq!(
        decided(&mesh, "size"),
        "allowed:1",
        "what the listener cuts off is not the filter's"
    );
    let labels = [("reason", "body_too_large"), ("filter", "")];
    assert_eq!(metric(&mesh, "mesh_server_refused_total", &labels), 1);
}

/// What nobody read to its end was within the bound, as far as anybody knows.
#[tokio::test]
async fn a_request_that_gets_no_further_is_told_of_once() {
    let mesh = with(vec![size(1, Fraction::ALL), rbac("deny", "DENY all: / *")]);
    let mut denied = request("POST /\nhost: a");
    *denied.body_mut() = streamed(&["123"]);
    let connection = connection(&mesh, Peer::Plaintext);
    let service = reader(&mesh);
    let response = send(&service, &connection, denied).await;
    assert_eq!(refused(&response), "rbac_denied/deny/all");
    assert_eq!(decided(&mesh, "size"), "allowed:1");
}

fn fault(change: impl FnOnce(&mut Fault)) -> HttpFilter {
    let mut fault = Fault::default();
    let (duration, percentage) = (FaultDuration::Fixed(40 * MS), FaultPercentage::percent(100));
    fault.delay = Some(FaultDelay { duration, percentage });
    change(&mut fault);
    HttpFilter::new("fault", HttpFilterConfig::Fault(Arc::new(fault)))
}

#[tokio::test(start_paused = true)]
async fn a_fault_delays_and_answers_within_the_deadline() {
    let abort = |fault: &mut Fault| {
        let (status, percentage) = (FaultStatus::Grpc(14), FaultPercentage::percent(100));
        fault.abort = Some(FaultAbort { status, percentage, response_body: "".into() });
    };
    let late = format!("{GRPC}\ngrpc-timeout: 30m");
    let passed = "grpc 4 the caller's deadline passed";
    for (aborts, text, answer, after, outcomes) in [
        (false, GET, "200 / /a", 40, "delayed:1"),
        (true, GET, "503 fault filter abort", 40, "aborted:1 delayed:1"),
        (true, GRPC, "grpc 14 fault filter abort", 40, "aborted:1 delayed:1"),
        (true, &*late, passed, 30, "delayed:1"),
    ] {
        let mesh = with(vec![fault(|fault| {
            if aborts {
                abort(fault)
            }
        })]);
        let (service, begun) = (echo(&mesh), Instant::now());
        let found = ask(&service, &connection(&mesh, Peer::Plaintext), text).await;
        assert_eq!((&*found, begun.elapsed()), (answer, after * MS));
        assert_eq!(decided(&mesh, "fault"), outcomes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_ends_with_the_request_that_waits_for_it() {
    let mesh = with(vec![fault(|fault| fault.max_active_faults = Some(1))]);
    let called = Count::default();
    let count = called.clone();
    let service = behind(&ServerLayer::new(&mesh, "web"), move |_| {
        count.add();
        async { Response::new(MeshBody::empty()) }
    });
    let connection = connection(&mesh, Peer::Plaintext);
    let mut waiting = request(GET);
    waiting.extensions_mut().insert(Arc::clone(&connection));
    let mut waiting = Box::pin(service.clone().oneshot(waiting));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    let begun = Instant::now();
    assert_eq!(ask(&service, &connection, GET).await, "200");
    assert_eq!(begun.elapsed(), Duration::ZERO, "there is a fault already");
    drop(waiting);
    assert_eq!(ask(&service, &connection, GET).await, "200");
    assert_eq!(begun.elapsed(), 40 * MS);
    assert_eq!(called.get(), 2);
    assert_eq!(decided(&mesh, "fault"), "delayed:2 overflow:1");
}
