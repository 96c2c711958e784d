//! Streams: both ways at once, trailers, large bodies, and giving up at any point.

use crate::fixture::{
    at, bounded, call, flags, get, grpc, idle, metric, over_h2, post, reply, simple,
};
use crate::retry::retry;
use crate::wire::{Act, channel, data, h2_server, raw_h1, scripted};
use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mesh_core::model::RetryOn;
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{Mesh, MeshBody};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tower::ServiceExt;

fn echo(network: &MemoryNetwork) {
    network.serve_fn(at(1), |request: Request<Incoming>| async {
        let mut response = Response::new(MeshBody::new(request.into_body()));
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-end"));
        response
    });
}

fn trailers(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("x-end".parse().unwrap(), HeaderValue::from_static(value))])
}

#[tokio::test(start_paused = true)]
async fn both_directions_flow_at_once() {
    let network = MemoryNetwork::new();
    echo(&network);
    for armed in [false, true] {
        let mesh = simple(&network, 1, |action| {
            action.transparent_retry = armed;
            if armed {
                retry(RetryOn::SERVER_ERROR | RetryOn::UNAVAILABLE, |_| {})(action);
            }
        });
        let (sender, body) = channel();
        let mut request = grpc("/");
        *request.body_mut() = body;
        // The head comes before anything was sent.
        let mut answers = call(&mesh, request).await.unwrap().into_body();
        for number in 0..100 {
            let ping = Bytes::from(format!("ping {number}"));
            sender.send(data(ping.clone())).await.unwrap();
            let pong = bounded(answers.frame()).await.unwrap().unwrap();
            assert_eq!(pong.into_data().unwrap(), ping);
        }
        sender.send(Ok(Frame::trailers(trailers("bye")))).await.unwrap();
        drop(sender);
        let last = bounded(answers.frame()).await.unwrap().unwrap();
        assert_eq!(last.into_trailers().unwrap()["x-end"], "bye", "armed: {armed}");
        assert!(bounded(answers.frame()).await.is_none());
        idle(&mesh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_go_both_ways_over_both_protocols() {
    let network = MemoryNetwork::new();
    echo(&network);
    let mesh = simple(&network, 1, |_| {});
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (sender, body) = channel();
        let mut request = post("/", body);
        *request.version_mut() = version;
        let headers = request.headers_mut();
        headers.insert("trailer", HeaderValue::from_static("x-end"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        tokio::spawn(async move {
            sender.send(data("body")).await.unwrap();
            sender.send(Ok(Frame::trailers(trailers("both ways")))).await.unwrap();
        });
        let answer =
            bounded(call(&mesh, request).await.unwrap().into_body().collect()).await.unwrap();
        assert_eq!(answer.trailers().unwrap()["x-end"], "both ways", "{version:?}");
        assert_eq!(answer.to_bytes(), "body");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_mebibytes_go_both_ways_unchanged() {
    const PART: usize = 100_003;
    let network = MemoryNetwork::new();
    echo(&network);
    let pattern = |from: usize| (from..from + PART).map(|n| (n % 251) as u8).collect::<Vec<_>>();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mesh = simple(&network, 1, |_| {});
        let (sender, body) = channel();
        let mut request = post("/", body);
        *request.version_mut() = version;
        tokio::spawn(async move {
            for number in 0..105 {
                sender.send(data(pattern(number * PART))).await.unwrap();
            }
        });
        let answer =
            bounded(call(&mesh, request).await.unwrap().into_body().collect()).await.unwrap();
        let bytes = answer.to_bytes();
        assert_eq!(bytes.len(), 105 * PART);
        assert!(bytes.iter().enumerate().all(|(n, byte)| *byte == (n % 251) as u8), "{version:?}");
        idle(&mesh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_the_server_back() {
    let network = MemoryNetwork::new();
    let sent = crate::fixture::Count::default();
    let counted = sent.clone();
    network.serve_fn(at(1), move |_| {
        let (sender, body) = channel();
        let counted = counted.clone();
        tokio::spawn(async move {
            for _ in 0..1000 {
                if sender.send(data(vec![0; 100_000])).await.is_err() {
                    return;
                }
                counted.add();
            }
        });
        async move { Response::new(body) }
    });
    let mesh = simple(&network, 1, |action| action.timeout = Duration::ZERO);
    for request in [get("/"), over_h2(get("/"))] {
        let before = sent.get();
        let response = call(&mesh, request).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        let sent = sent.get() - before;
        assert!(sent < 80, "{sent} parts of 100 kB for a reader that reads nothing");
        drop(response);
        idle(&mesh).await;
    }
}

/// Polls a whole call at most `polls` times, with everybody else's turns in between, and drops it.
async fn dropped_after(polls: usize, mesh: &Mesh, request: Request<MeshBody>) -> bool {
    let whole = async {
        let response = mesh.client().oneshot(request).await;
        let Ok(response) = response else { return };
        let mut body = response.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    };
    let mut whole = pin!(whole);
    for _ in 0..polls {
        if poll_fn(|cx| Poll::Ready(whole.as_mut().poll(cx).is_ready())).await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_point_releases_everything() {
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), |request: Request<Incoming>| async move {
        let (sender, body) = channel();
        tokio::spawn(async move {
            drop(request.into_body().collect().await);
            for _ in 0..5 {
                if sender.send(data("part")).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        Response::new(body)
    });
    // A call that waits for a connection, one that is retried, and one whose body streams.
    for kind in 0..6 {
        let mesh = simple(
            &network,
            1,
            retry(RetryOn::SERVER_ERROR, |policy| {
                policy.per_try_timeout = Some(Duration::from_secs(1));
            }),
        );
        let mut completed = false;
        for polls in 0..400 {
            if kind % 3 == 2 {
                server.close();
            }
            let request = if kind % 3 == 1 {
                let (sender, body) = channel();
                tokio::spawn(async move {
                    for _ in 0..5 {
                        if sender.send(data("part")).await.is_err() {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                });
                post("/", body)
            } else {
                post("/", "all of it")
            };
            let request = if kind < 3 { request } else { over_h2(request) };
            completed = dropped_after(polls, &mesh, request).await;
            if completed {
                break;
            }
        }
        assert!(completed, "kind {kind} never came to its end");
        idle(&mesh).await;
        assert_eq!(metric(&mesh, "mesh_attempts_pending", &[]), 0);
        // Nothing that was given up is in the way of the next.
        let whole = bounded(call(&mesh, post("/", "x")).await.unwrap().into_body().collect()).await;
        assert_eq!(whole.unwrap().to_bytes(), "partpartpartpartpart");
    }
}

#[tokio::test(start_paused = true)]
async fn giving_up_an_answer_stops_the_server() {
    let network = MemoryNetwork::new();
    let stopped = crate::fixture::Count::default();
    let counted = stopped.clone();
    network.serve_fn(at(1), move |_| {
        let (sender, body) = channel();
        let counted = counted.clone();
        tokio::spawn(async move {
            while sender.send(data("more")).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            counted.add();
        });
        async move { Response::new(body) }
    });
    let mesh = simple(&network, 1, |_| {});
    for (number, request) in [get("/"), over_h2(get("/"))].into_iter().enumerate() {
        let mut response = call(&mesh, request).await.unwrap();
        bounded(response.body_mut().frame()).await.unwrap().unwrap();
        drop(response);
        crate::fixture::eventually("the server is told", || stopped.get() == number + 1).await;
    }
    assert_eq!(flags(&mesh), "DC:2");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_says_how() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Break(Duration::from_millis(5), Reason::INTERNAL_ERROR)]);
    let mesh = simple(&network, 1, |_| {});
    let mut body = call(&mesh, over_h2(get("/"))).await.unwrap().into_body();
    assert_eq!(bounded(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "part");
    let error = bounded(body.frame()).await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.response_flag().as_str()), ("reset_remote", "UR"), "{error}");
    assert_eq!(flags(&mesh), "UR:1");
    assert!(bounded(body.frame()).await.is_none(), "a body that failed goes on");
}

/// Answers with nothing, or with text whose end is known with its last byte.
fn short(network: &MemoryNetwork) {
    network.serve_fn(at(1), |request: Request<Incoming>| async move {
        match request.uri().path() {
            "/empty" => reply(200, ""),
            "/none" => reply(204, ""),
            _ => reply(200, "text"),
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_answer_was_read_as_far_as_there_is_something_went_well() {
    let network = MemoryNetwork::new();
    short(&network);
    for h2 in [false, true] {
        let mesh = simple(&network, 1, |_| {});
        for path in ["/empty", "/none"] {
            let request = if h2 { over_h2(get(path)) } else { get(path) };
            let response = call(&mesh, request).await.unwrap();
            assert!(http_body::Body::is_end_stream(response.body()), "{path}");
            // Who is told that nothing comes does not ask for it.
            drop(response);
        }
        assert_eq!(flags(&mesh), "-:2", "h2: {h2}");
    }
    let mesh = simple(&network, 1, |_| {});
    let mut response = call(&mesh, get("/text")).await.unwrap();
    bounded(response.body_mut().frame()).await.unwrap().unwrap();
    assert!(http_body::Body::is_end_stream(response.body()));
    drop(response);
    assert_eq!(flags(&mesh), "-:1");
}

#[tokio::test(start_paused = true)]
async fn a_grpc_answer_ends_with_its_trailers() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Grpc(Duration::from_millis(5), &[("grpc-status", "0")])]);
    let mesh = simple(&network, 1, |_| {});
    let mut body = call(&mesh, grpc("/")).await.unwrap().into_body();
    while let Some(frame) = bounded(body.frame()).await {
        if frame.unwrap().is_trailers() {
            break;
        }
    }
    drop(body);
    assert_eq!(flags(&mesh), "-:1");
    assert_eq!(metric(&mesh, "mesh_calls_total", &[("grpc_status", "0")]), 1);
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_the_answer_is_not_the_answer() {
    let network = MemoryNetwork::new();
    const EARLY: &[u8] =
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    raw_h1(&network, 1, |_| EARLY);
    let mesh = simple(&network, 1, |_| {});
    let response = call(&mesh, get("/")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(crate::fixture::text(response).await, "ok");
    h2_server(&network, 1, |_, mut respond| async move {
        let early = Response::builder().status(103).body(()).unwrap();
        respond.send_informational(early).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(respond.send_response(Response::new(()), true));
    });
    let mesh = simple(&network, 1, |_| {});
    assert_eq!(call(&mesh, over_h2(get("/"))).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_head_has_a_length_and_no_body() {
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), |_| async { reply(200, "twelve bytes") });
    let mesh = simple(&network, 1, |_| {});
    for number in 0..8 {
        let request = if number < 4 { get("/") } else { over_h2(get("/")) };
        let (mut parts, body) = request.into_parts();
        parts.method = http::Method::HEAD;
        let response = call(&mesh, Request::from_parts(parts, body)).await.unwrap();
        assert_eq!(response.headers()["content-length"], "12");
        // Over HTTP/2 the end is a frame of its own, which may come later.
        let ended = http_body::Body::is_end_stream(response.body());
        assert!(number >= 4 || ended);
        assert_eq!(crate::fixture::text(response).await, "");
    }
    assert_eq!(server.opened(), 2, "a connection of each kind is used again");
    assert_eq!(flags(&mesh), "-:8");
}
