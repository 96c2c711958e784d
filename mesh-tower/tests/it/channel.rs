//! The channel for tonic's clients: all four kinds of calls, and statuses that are right.

use crate::fixture::{at, bounded, cluster, config, flags, idle, mesh, metric, simple};
use crate::retry::retry;
use crate::rpc::{EchoClient, serve, text};
use crate::wire::{Act, GRPC_OK, scripted};
use h2::Reason;
use http::StatusCode;
use mesh_core::model::{
    DirectResponse, Domain, ForwardAction, Redirect, RetryOn, Route, RouteAction,
    RouteConfiguration, RouteMatch, VirtualHost,
};
use mesh_tower::testing::{MemoryNetwork, one_cluster};
use mesh_tower::{Error, Mesh};
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

fn client(mesh: &Mesh) -> EchoClient {
    EchoClient::new(mesh.channel("a").unwrap())
}

fn served(change: impl FnOnce(&mut ForwardAction)) -> Mesh {
    let network = MemoryNetwork::new();
    serve(&network, 1);
    simple(&network, 1, change)
}

#[tokio::test(start_paused = true)]
async fn all_four_kinds_of_calls_work() {
    for armed in [false, true] {
        let mesh = served(|action| {
            if armed {
                retry(RetryOn::UNAVAILABLE | RetryOn::SERVER_ERROR, |_| {})(action);
            }
        });
        let mut client = client(&mesh);
        assert_eq!(bounded(client.unary(Request::new(text("one")))).await.unwrap().text, "ONE");
        let texts = tokio_stream::iter(["a", "b", "c"].map(text));
        assert_eq!(bounded(client.client(texts)).await.unwrap().text, "ABC");
        let mut answers = bounded(client.server(Request::new(text("x y z")))).await.unwrap();
        for expected in ["X", "Y", "Z"] {
            assert_eq!(bounded(answers.message()).await.unwrap().unwrap().text, expected);
        }
        assert!(bounded(answers.message()).await.unwrap().is_none());
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let mut answers = bounded(client.bidi(ReceiverStream::new(receiver))).await.unwrap();
        for number in 0..50 {
            sender.send(text(format!("ping {number}"))).await.unwrap();
            let pong = bounded(answers.message()).await.unwrap().unwrap();
            assert_eq!(pong.text, format!("PING {number}"));
        }
        drop(sender);
        assert!(bounded(answers.message()).await.unwrap().is_none());
        drop(answers);
        idle(&mesh).await;
        assert_eq!(flags(&mesh), "-:4", "armed: {armed}");
        assert_eq!(metric(&mesh, "mesh_calls_total", &[("grpc_status", "0")]), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_servers_status_arrives_with_text_and_metadata() {
    let mesh = served(|_| {});
    let mut client = client(&mesh);
    for code in [3, 5, 7, 13, 14, 16] {
        let status =
            bounded(client.unary(Request::new(text(format!("fail {code}"))))).await.unwrap_err();
        assert_eq!((status.code() as i32, status.message()), (code, "as you wish: ü"));
        assert_eq!(status.metadata().get("x-why").unwrap(), "asked");
        let count = metric(&mesh, "mesh_calls_total", &[("grpc_status", &code.to_string())]);
        assert_eq!(count, 1, "code {code}");
    }
    assert_eq!(
        bounded(client.method("/test.Echo/None")).await.unwrap_err().code(),
        Code::Unimplemented
    );
    // A failure in the middle of a stream.
    let mut answers = bounded(client.server(Request::new(text("one fail_8")))).await.unwrap();
    assert_eq!(bounded(answers.message()).await.unwrap().unwrap().text, "ONE");
    assert_eq!(bounded(answers.message()).await.unwrap_err().code(), Code::ResourceExhausted);
    idle(&mesh).await;
    assert_eq!(flags(&mesh), "-:8");
}

#[tokio::test(start_paused = true)]
async fn what_the_mesh_refuses_is_a_status_with_the_error_in_the_extensions() {
    let empty = MemoryNetwork::new();
    let mut connect = client(&simple(&empty, 1, |_| {}));
    let status = bounded(connect.unary(Request::new(text("x")))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().contains("connection refused") && status.message().contains("cluster a"),
        "{status}"
    );

    let full = cluster(|cluster| cluster.circuit_breakers.default.max_requests = 0);
    let mut overflow = client(&mesh(&empty, config(full, &[at(1)], |_| {})));
    let status = bounded(overflow.unary(Request::new(text("x")))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().ends_with("[overflow_requests]"), "{status}");

    let mut slow = client(&served(|action| action.timeout = Duration::from_secs(1)));
    let status = bounded(slow.unary(Request::new(text("sleep 5000")))).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");

    // The error itself, for who talks to the channel without tonic's client.
    let mut channel = simple(&empty, 1, |_| {}).channel("a").unwrap();
    let request = http::Request::post("/S/M").body(tonic::body::Body::empty()).unwrap();
    let response = bounded(tower::Service::call(&mut channel, request)).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
    let error = response.extensions().get::<Arc<Error>>().unwrap();
    assert_eq!(error.code(), "connect_refused");
}

async fn status_of_the_second_message(mesh: &Mesh, request: Request<crate::rpc::Text>) -> Status {
    let mut answers = bounded(client(mesh).server(request)).await.unwrap();
    bounded(answers.message()).await.unwrap().unwrap();
    bounded(answers.message()).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_a_stream_is_deadline_exceeded() {
    let mesh = served(|action| action.timeout = Duration::from_millis(1500));
    let status = status_of_the_second_message(&mesh, Request::new(text("slow a b c"))).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    // The caller's own.
    let mesh = served(|action| action.timeout = Duration::ZERO);
    let mut request = Request::new(text("slow a b c"));
    request.set_timeout(Duration::from_millis(1500));
    let status = status_of_the_second_message(&mesh, request).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    let mesh = served(|action| {
        action.timeout = Duration::ZERO;
        action.idle_timeout = Some(Duration::from_millis(500));
    });
    let mut answers = bounded(client(&mesh).server(Request::new(text("slow a")))).await.unwrap();
    let status = bounded(answers.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_server_breaks_off_is_unavailable_as_before_its_head() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM] {
        let network = MemoryNetwork::new();
        scripted(&network, 1, &[Act::Break(Duration::from_millis(1), reason)]);
        let mesh = simple(&network, 1, |action| action.timeout = Duration::ZERO);
        let ended = match bounded(client(&mesh).server(Request::new(text("x")))).await {
            Ok(mut answers) => bounded(answers.message()).await.map(drop),
            Err(status) => Err(status),
        };
        let status = ended.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{reason:?}");
        let error = std::error::Error::source(&status).unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(error.code(), "reset_remote");
    }
}

#[tokio::test(start_paused = true)]
async fn a_unary_call_is_retried_by_its_status() {
    let network = MemoryNetwork::new();
    static ACTS: &[Act] = &[
        Act::Grpc(Duration::ZERO, &[("grpc-status", "14"), ("grpc-message", "later")]),
        Act::Head(200, &[("content-type", "application/grpc"), ("grpc-status", "14")]),
        GRPC_OK,
    ];
    let (_, calls) = scripted(&network, 1, ACTS);
    let mesh = simple(&network, 1, retry(RetryOn::UNAVAILABLE, |policy| policy.num_retries = 3));
    assert_eq!(bounded(client(&mesh).unary(Request::new(text("x")))).await.unwrap().text, "");
    assert_eq!(calls.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_tonics_request_is_obeyed() {
    let mesh = served(|action| action.timeout = Duration::ZERO);
    let mut request = Request::new(text("sleep 60000"));
    request.set_timeout(Duration::from_secs(2));
    let begun = tokio::time::Instant::now();
    let status = bounded(client(&mesh).unary(request)).await.unwrap_err();
    assert_eq!((status.code(), begun.elapsed()), (Code::DeadlineExceeded, Duration::from_secs(2)));
    idle(&mesh).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_is_given_up() {
    let mesh = served(|action| action.timeout = Duration::ZERO);
    let answers = bounded(client(&mesh).server(Request::new(text("slow a b c d")))).await.unwrap();
    assert_eq!(metric(&mesh, "mesh_calls_active", &[]), 1);
    drop(answers);
    idle(&mesh).await;
    assert_eq!(flags(&mesh), "DC:1");
}

#[tokio::test(start_paused = true)]
async fn a_channel_needs_a_host() {
    let mesh = served(|_| {});
    assert!(mesh.channel("a:50051").is_ok() && mesh.channel("http://a").is_ok());
    for bad in ["", "a b", "a/b c", ":80"] {
        assert!(mesh.channel(bad).is_err(), "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_or_direct_response_is_a_status_to_a_grpc_client() {
    let answer = |status, body: &'static str| {
        RouteAction::DirectResponse(DirectResponse::new(status, body.into()))
    };
    let actions = [
        (
            RouteAction::Redirect(Redirect::default()),
            (Code::Unavailable, "redirected to http://a/"),
        ),
        (answer(StatusCode::SERVICE_UNAVAILABLE, ""), (Code::Unavailable, "")),
        (answer(StatusCode::NOT_FOUND, "not here: 0 %"), (Code::Unimplemented, "not here: 0 %")),
    ];
    for (action, expected) in actions {
        let mut update = one_cluster("a", [at(1)]);
        let mut host = VirtualHost::new("any", vec![Domain::Any]);
        host.routes.push(Arc::new(Route::new("all", RouteMatch::any(), action)));
        let mut routes = RouteConfiguration::default();
        routes.virtual_hosts.push(Arc::new(host));
        update.route_configuration = Arc::new(routes);
        let mesh = mesh(&MemoryNetwork::new(), update);
        let status = bounded(client(&mesh).unary(Request::new(text("x")))).await.unwrap_err();
        let told = (status.code(), &status.message()[..expected.1.len()]);
        assert_eq!(told, expected, "{status:?}");
    }
}
