//! Deadlines: of the call, of the caller, of silence.

use crate::fixture::{
    Count, at, bounded, call, cluster, config, config_with, flags, get, grpc, idle, mesh, outcome,
    over_h2, post, reply, simple,
};
use crate::retry::retry;
use crate::wire::{Act, OK, channel, data, scripted};
use bytes::Bytes;
use http::HeaderValue;
use http_body_util::BodyExt;
use mesh_core::model::RetryOn;
use mesh_core::model::route::MaxStreamDuration;
use mesh_tower::source::Updates;
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{CallOptions, Mesh, MeshBody};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// A server whose body comes as the test sends it: one frame at once, then one after each pause.
fn dripping(network: &MemoryNetwork, pauses: &'static [Duration]) {
    network.serve_fn(at(1), move |_| async move {
        let (sender, body) = channel();
        tokio::spawn(async move {
            for pause in pauses {
                if sender.send(data("drop")).await.is_err() {
                    return;
                }
                tokio::time::sleep(*pause).await;
            }
            drop(sender.send(data("last")).await);
        });
        http::Response::new(body)
    });
}

#[tokio::test(start_paused = true)]
async fn the_routes_timeout_ends_the_wait_for_the_head_to_the_millisecond() {
    let network = MemoryNetwork::new();
    let (_server, calls) = scripted(&network, 1, &[Act::Hang]);
    let mesh = simple(&network, 1, |action| action.timeout = 3 * SECOND);
    for request in [over_h2(get("/")), grpc("/")] {
        let begun = Instant::now();
        let error = call(&mesh, request).await.unwrap_err();
        assert_eq!(begun.elapsed(), 3 * SECOND);
        assert!(error.is_timeout());
        let statuses = (error.http_status().as_u16(), error.grpc_status());
        assert_eq!(
            (error.code(), error.response_flag().as_str(), statuses),
            ("timeout", "UT", (504, 4))
        );
    }
    assert_eq!(calls.get(), 2);
    idle(&mesh).await;
    assert_eq!(flags(&mesh), "UT:2");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_wherever_the_call_is() {
    let network = MemoryNetwork::new();
    let (server, _) = scripted(&network, 1, &[Act::Head(503, &[])]);
    server.hang();
    let timeout = |action: &mut mesh_core::model::ForwardAction| action.timeout = SECOND;
    // While connecting.
    let connecting = simple(&network, 1, timeout);
    // While nothing is known about endpoints.
    let unknown = mesh(&network, config_with(cluster(|_| {}), None, timeout));
    for mesh in [connecting, unknown] {
        let begun = Instant::now();
        assert_eq!(outcome(&mesh, over_h2(get("/"))).await, Err("timeout".to_owned()));
        assert_eq!(begun.elapsed(), SECOND);
        idle(&mesh).await;
    }
    // Between two attempts: the pause would be longer than what is left.
    server.accept();
    let mesh = simple(&network, 1, |action| {
        retry(RetryOn::SERVER_ERROR, |policy| {
            policy.num_retries = 100;
            policy.back_off.base_interval = SECOND;
            policy.back_off.max_interval = SECOND;
        })(action);
        action.timeout = 5 * SECOND;
    });
    let begun = Instant::now();
    assert_eq!(outcome(&mesh, over_h2(get("/"))).await.map(|(status, _)| status), Ok(503));
    assert!(begun.elapsed() < 5 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_deadline_goes_on_in_the_body_and_then_the_body_is_over() {
    let network = MemoryNetwork::new();
    dripping(&network, &[SECOND, SECOND, SECOND, SECOND]);
    let mesh = simple(&network, 1, |action| action.timeout = Duration::from_millis(2500));
    for request in [get("/"), over_h2(get("/"))] {
        let begun = Instant::now();
        let mut body = call(&mesh, request).await.unwrap().into_body();
        for _ in 0..3 {
            assert_eq!(bounded(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "drop");
        }
        let error = bounded(body.frame()).await.unwrap().unwrap_err();
        assert_eq!(begun.elapsed(), Duration::from_millis(2500));
        assert_eq!((error.code(), error.is_timeout()), ("timeout", true));
        assert_eq!(error.station().cluster.as_deref(), Some("a"));
        assert!(bounded(body.frame()).await.is_none(), "a body that failed goes on");
        idle(&mesh).await;
    }
    assert_eq!(flags(&mesh), "UT:2");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_body_and_progress_does_not() {
    let network = MemoryNetwork::new();
    dripping(&network, const { &[SECOND, SECOND, SECOND, Duration::from_secs(60)] });
    let mesh = simple(&network, 1, |action| {
        action.timeout = Duration::ZERO;
        action.idle_timeout = Some(2 * SECOND);
    });
    for request in [get("/"), over_h2(get("/"))] {
        let begun = Instant::now();
        let body = call(&mesh, request).await.unwrap().into_body();
        let error = bounded(body.collect()).await.unwrap_err();
        assert_eq!((error.code(), error.response_flag().as_str()), ("idle_timeout", "SI"));
        assert_eq!(begun.elapsed(), 5 * SECOND);
        idle(&mesh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_goes_on_after_the_head_is_no_silence() {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |request| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            drop(request.into_body().collect().await);
            std::future::pending::<()>().await;
            drop(sender);
        });
        http::Response::new(body)
    });
    let idle_timeout = simple(&network, 1, |action| {
        action.timeout = Duration::ZERO;
        action.idle_timeout = Some(2 * SECOND);
    });
    let per_try = simple(&network, 1, |action| {
        retry(RetryOn::RESET, |policy| policy.per_try_idle_timeout = Some(2 * SECOND))(action);
        action.timeout = Duration::ZERO;
    });
    for mesh in [idle_timeout, per_try] {
        for h2 in [true, false] {
            let (sender, body) = channel();
            let request = if h2 { over_h2(post("/", body)) } else { post("/", body) };
            let begun = Instant::now();
            let mut answer = call(&mesh, request).await.unwrap().into_body();
            tokio::spawn(async move {
                for _ in 0..4 {
                    tokio::time::sleep(1500 * MILLI).await;
                    drop(sender.send(data("part")).await);
                }
                std::future::pending::<()>().await;
            });
            let error = bounded(answer.frame()).await.unwrap().unwrap_err();
            assert_eq!((error.code(), begun.elapsed()), ("idle_timeout", 8 * SECOND), "{h2}");
            drop(answer);
            idle(&mesh).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn silence_before_the_head_ends_the_call_too() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Hang]);
    let mesh = simple(&network, 1, |action| {
        action.timeout = Duration::ZERO;
        action.idle_timeout = Some(2 * SECOND);
    });
    let begun = Instant::now();
    let error = call(&mesh, over_h2(get("/"))).await.unwrap_err();
    assert_eq!((error.code(), begun.elapsed()), ("idle_timeout", 2 * SECOND));
    // An upload that goes on is not silent.
    let (sender, body) = channel();
    let begun = Instant::now();
    tokio::spawn(async move {
        for _ in 0..4 {
            tokio::time::sleep(SECOND).await;
            drop(sender.send(data("part")).await);
        }
        std::future::pending::<()>().await;
    });
    let error = call(&mesh, over_h2(post("/", body))).await.unwrap_err();
    assert_eq!((error.code(), begun.elapsed()), ("idle_timeout", 6 * SECOND));
    idle(&mesh).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_silence() {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |_| async { reply(200, "all at once") });
    let mesh = simple(&network, 1, |action| {
        action.timeout = Duration::ZERO;
        action.idle_timeout = Some(2 * SECOND);
    });
    let body = call(&mesh, get("/")).await.unwrap().into_body();
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(bounded(body.collect()).await.unwrap().to_bytes(), "all at once");
}

#[tokio::test(start_paused = true)]
async fn a_callers_grpc_timeout_is_never_extended_and_passed_on_as_what_is_left() {
    let network = MemoryNetwork::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let saw = Arc::clone(&seen);
    network.serve_fn(at(1), move |request| {
        let value =
            request.headers().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
        saw.lock().push(value.unwrap_or_default());
        async { std::future::pending::<http::Response<MeshBody>>().await }
    });
    let mesh = simple(&network, 1, |action| {
        retry(RetryOn::DEADLINE_EXCEEDED, |policy| {
            policy.per_try_timeout = Some(Duration::from_millis(1500));
            policy.back_off.base_interval = Duration::from_nanos(2);
            policy.back_off.max_interval = Duration::from_nanos(2);
        })(action);
        action.timeout = 10 * SECOND;
    });
    let mut request = grpc("/");
    request.headers_mut().insert("grpc-timeout", HeaderValue::from_static("2S"));
    let begun = Instant::now();
    let error = call(&mesh, request).await.unwrap_err();
    assert_eq!(begun.elapsed(), 2 * SECOND);
    assert_eq!((error.code(), error.grpc_status()), ("deadline_exceeded", 4));
    let seen = seen.lock();
    assert_eq!(seen[0], "1500m");
    let left: u64 = seen[1].trim_end_matches(['m', 'u', 'n']).parse().unwrap();
    let left = if seen[1].ends_with('n') {
        left / 1_000_000
    } else if seen[1].ends_with('u') {
        left / 1000
    } else {
        left
    };
    assert!((498..=500).contains(&left), "{seen:?}");
}

/// Milliseconds of a `grpc-timeout`.
fn millis(timeout: &str) -> u64 {
    let (number, unit) = timeout.split_at(timeout.len() - 1);
    let number: u64 = number.parse().unwrap();
    match unit {
        "m" => number,
        "u" => number / 1000,
        other => panic!("{other}"),
    }
}

/// A server that takes two and a half seconds to connect to, and what its requests say of the time that is left.
fn slow_to_connect(network: &MemoryNetwork) -> Arc<Mutex<Vec<[String; 2]>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let saw = Arc::clone(&seen);
    let server = network.serve_fn(at(1), move |request| {
        let headers = ["grpc-timeout", "x-envoy-expected-rq-timeout-ms"];
        let value = |name| request.headers().get(name).map(|value| value.to_str().unwrap().into());
        saw.lock().push(headers.map(|name| value(name).unwrap_or_default()));
        async { reply(200, "") }
    });
    server.delay(2500 * MILLI);
    seen
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_told_as_of_when_the_request_is_sent() {
    for per_try in [None, Some(1500 * MILLI)] {
        let network = MemoryNetwork::new();
        let seen = slow_to_connect(&network);
        let update = config(cluster(|_| {}), &[at(1)], |action| {
            retry(RetryOn::RESET, |policy| policy.per_try_timeout = per_try)(action);
            action.timeout = 3 * SECOND;
        });
        let builder = Mesh::builder().connector(network).config(update);
        let mesh = builder.expected_timeout_header().build().unwrap();
        // The second is sent at once. An attempt's own limit runs from the connection.
        let (waited, at_once) = (500, per_try.map_or(3000, |_| 1500));
        for expected in [waited, at_once] {
            let mut request = grpc("/");
            request.headers_mut().insert("grpc-timeout", HeaderValue::from_static("3S"));
            assert!(bounded(call(&mesh, request)).await.is_ok());
            let [left, expected_left] = seen.lock().pop().unwrap();
            assert!((expected - 5..=expected).contains(&millis(&left)), "{left}");
            let expected_left = expected_left.parse().unwrap();
            assert!((expected - 5..=expected).contains(&expected_left), "{expected_left}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempts_limit_is_told_whole_after_a_wait() {
    let network = MemoryNetwork::new();
    let seen = slow_to_connect(&network);
    let mesh = simple(&network, 1, |action| {
        retry(RetryOn::RESET, |policy| policy.per_try_timeout = Some(1500 * MILLI))(action);
        action.timeout = 10 * SECOND;
    });
    assert!(bounded(call(&mesh, grpc("/"))).await.is_ok());
    assert_eq!(*seen.lock(), [["1500m", ""]]);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_after_the_wait_for_an_endpoint_is_told() {
    let network = MemoryNetwork::new();
    let seen = slow_to_connect(&network);
    let (updates, source) = Updates::new();
    let update =
        |endpoints: &[_]| config(cluster(|_| {}), endpoints, |action| action.timeout = 10 * SECOND);
    let builder = Mesh::builder().connector(network).config(update(&[])).source(source);
    let mesh = builder.build().unwrap();
    let mut request = grpc("/");
    request.extensions_mut().insert(CallOptions::new().wait_for_ready());
    let waiting = tokio::spawn(async move { call(&mesh, request).await.is_ok() });
    tokio::time::sleep(2 * SECOND).await;
    updates.apply(update(&[at(1)]));
    assert!(bounded(waiting).await.unwrap());
    let [left, _] = seen.lock().pop().unwrap();
    assert!((5490..=5500).contains(&millis(&left)), "{left}");
}

#[tokio::test(start_paused = true)]
async fn max_stream_duration_takes_the_timeouts_place_for_grpc() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Hang]);
    let mesh = simple(&network, 1, |action| {
        action.timeout = SECOND;
        let mut limits = MaxStreamDuration::default();
        limits.max_stream_duration = Some(20 * SECOND);
        action.max_stream_duration = Some(limits);
    });
    for (request, code, after) in
        [(grpc("/"), "max_stream_duration", 20), (over_h2(get("/")), "timeout", 1)]
    {
        let begun = Instant::now();
        let error = call(&mesh, request).await.unwrap_err();
        assert_eq!((error.code(), begun.elapsed().as_secs()), (code, after));
    }
}

/// How long a call to a silent endpoint lasts when the route says 3 s.
async fn ends_after(options: CallOptions) -> Duration {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Hang, OK]);
    let mesh = simple(&network, 1, |action| action.timeout = 3 * SECOND);
    let mut request = over_h2(get("/"));
    request.extensions_mut().insert(options);
    let begun = Instant::now();
    let ended = tokio::time::timeout(50 * SECOND, call(&mesh, request)).await;
    assert!(ended.is_err() || ended.unwrap().unwrap_err().is_timeout());
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_calls_own_timeout_takes_the_routes_place() {
    assert_eq!(ends_after(CallOptions::new()).await, 3 * SECOND);
    assert_eq!(ends_after(CallOptions::new().timeout(SECOND)).await, SECOND);
    assert_eq!(ends_after(CallOptions::new().timeout(9 * SECOND)).await, 9 * SECOND);
    let unlimited = ends_after(CallOptions::new().timeout(Duration::ZERO)).await;
    assert_eq!(unlimited, 50 * SECOND);
}

// === One attempt's limits ===

const MILLI: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn the_per_try_timeout_runs_from_the_connection() {
    let network = MemoryNetwork::new();
    let (server, calls) = scripted(&network, 1, &[Act::Slow(50 * MILLI), Act::Slow(150 * MILLI)]);
    server.delay(300 * MILLI);
    let per_try = || retry(RetryOn::RESET, |policy| policy.per_try_timeout = Some(100 * MILLI));
    let mesh = simple(&network, 1, per_try());
    let begun = Instant::now();
    assert_eq!(outcome(&mesh, over_h2(get("/"))).await.map(|(status, _)| status), Ok(200));
    assert_eq!((begun.elapsed(), calls.get()), (350 * MILLI, 1));
    // Over the connection that is there now it runs at once.
    let error = call(&mesh, over_h2(get("/"))).await.unwrap_err();
    assert_eq!((error.code(), calls.get()), ("per_try_timeout", 3));

    // The wait for an endpoint is none of an attempt's time either.
    let (updates, source) = Updates::new();
    let update = |endpoints: &[_]| config(cluster(|_| {}), endpoints, per_try());
    let mesh = Mesh::builder()
        .connector(network.clone())
        .config(update(&[]))
        .source(source)
        .build()
        .unwrap();
    scripted(&network, 1, &[OK]);
    let mut request = over_h2(get("/"));
    request.extensions_mut().insert(CallOptions::new().wait_for_ready());
    let waiting = tokio::spawn(async move { outcome(&mesh, request).await });
    tokio::time::sleep(2 * SECOND).await;
    updates.apply(update(&[at(1)]));
    assert_eq!(waiting.await.unwrap().map(|(status, _)| status), Ok(200));
}

#[tokio::test(start_paused = true)]
async fn silence_of_an_attempt_is_counted_from_the_last_sign_of_life() {
    let network = MemoryNetwork::new();
    let uploads = network.serve_fn(at(1), |request| async {
        reply(200, if request.into_body().collect().await.is_ok() { "whole" } else { "broken" })
    });
    let mesh = simple(&network, 1, |action| {
        retry(RetryOn::RESET, |policy| {
            policy.per_try_idle_timeout = Some(SECOND);
            policy.num_retries = 0;
        })(action);
        action.timeout = Duration::ZERO;
    });
    for (pause, expected) in [
        (800 * MILLI, Ok((200, Bytes::from("whole")))),
        (1200 * MILLI, Err("per_try_timeout".to_owned())),
    ] {
        for h2 in [true, false] {
            let (sender, body) = channel();
            let upload = post("/", body);
            let upload = if h2 { over_h2(upload) } else { upload };
            tokio::spawn(async move {
                for _ in 0..5 {
                    tokio::time::sleep(pause).await;
                    drop(sender.send(data("part")).await);
                }
            });
            assert_eq!(bounded(outcome(&mesh, upload)).await, expected, "{pause:?} {h2}");
        }
    }
    // It goes on after the head.
    uploads.close();
    tokio::time::sleep(MILLI).await;
    const PAUSES: [Duration; 2] = [Duration::from_millis(800), Duration::from_millis(1200)];
    dripping(&network, &PAUSES);
    let body = call(&mesh, over_h2(get("/"))).await.unwrap().into_body();
    assert_eq!(bounded(body.collect()).await.unwrap_err().code(), "idle_timeout");
    idle(&mesh).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_always_ready_ends_at_the_deadline_too() {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |_| async {
        let endless = futures_util::stream::repeat_with(|| data("more"));
        http::Response::new(MeshBody::new(http_body_util::StreamBody::new(endless)))
    });
    let mesh = simple(&network, 1, |action| action.timeout = SECOND);
    for request in [get("/"), over_h2(get("/"))] {
        let begun = Instant::now();
        let mut body = call(&mesh, request).await.unwrap().into_body();
        let error = loop {
            match bounded(body.frame()).await.unwrap() {
                Ok(_) => tokio::time::sleep(10 * MILLI).await,
                Err(error) => break error,
            }
        };
        assert_eq!((error.code(), begun.elapsed()), ("timeout", SECOND));
        drop(body);
        idle(&mesh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_timeout_is_the_attempts_and_not_the_calls() {
    let network = MemoryNetwork::new();
    let count = Count::default();
    network.serve_fn(at(1), |_| async { reply(200, "") }).hang();
    network.serve_fn(at(2), move |_| {
        count.add();
        async { reply(200, "") }
    });
    let quick = cluster(|cluster| cluster.connection.connect_timeout = Duration::from_millis(100));
    let mesh: Mesh = mesh(&network, config(quick, &[at(1), at(2)], |_| {}));
    for _ in 0..4 {
        let begun = Instant::now();
        assert_eq!(outcome(&mesh, get("/")).await.map(|(status, _)| status), Ok(200));
        assert!(begun.elapsed() <= Duration::from_millis(100), "{:?}", begun.elapsed());
    }
}
