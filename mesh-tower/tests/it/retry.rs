//! Retries: of what, how often, how soon, with which body.

use crate::fixture::{
    Count, at, bounded, call, cluster, config, flags, get, grpc, idle, mesh, metric, outcome,
    over_h2, post, reply, simple, text,
};
use crate::wire::{Act, GRPC_OK, Headers, OK, channel, data, h2_server, perform, raw_h1, scripted};
use bytes::Bytes;
use h2::Reason;
use http::Request;
use http_body_util::BodyExt;
use mesh_core::model::retry_policy::{ResetHeader, ResetHeaderFormat};
use mesh_core::model::{
    ForwardAction, HedgePolicy, LbAlgorithm, LbPolicy, RateLimitedBackOff, RetryOn, RetryPolicy,
};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{CallOptions, Mesh, MeshBody};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) fn retry(
    on: RetryOn,
    change: impl FnOnce(&mut RetryPolicy),
) -> impl FnOnce(&mut ForwardAction) {
    let mut policy = RetryPolicy::new(on);
    change(&mut policy);
    move |action| action.retry_policy = Some(Arc::new(policy))
}

/// Under `on`, with one retry, a first attempt that ends in `act` is tried again or not.
async fn is_retried(on: RetryOn, act: &'static [Act]) -> bool {
    let network = MemoryNetwork::new();
    let (_server, calls) = scripted(&network, 1, act);
    let mesh = simple(&network, 1, |action| {
        retry(on, |policy| policy.retriable_status_codes = vec![418])(action);
        action.transparent_retry = false;
    });
    let is_grpc = matches!(act[1], Act::Grpc(..));
    let request = if is_grpc { grpc("/") } else { over_h2(get("/")) };
    let ended = outcome(&mesh, request).await;
    idle(&mesh).await;
    assert!(calls.get() <= 2, "{on:?} {act:?}: {} attempts", calls.get());
    if calls.get() == 2 {
        assert!(matches!(ended, Ok((200, _))), "{on:?} {act:?}: {ended:?}");
        assert_eq!(metric(&mesh, "mesh_retries_total", &[("outcome", "success")]), 1, "{act:?}");
    }
    calls.get() == 2
}

#[tokio::test(start_paused = true)]
async fn each_failure_is_retried_under_its_conditions_and_no_other() {
    const NOW: Duration = Duration::ZERO;
    const GRPC: Headers = &[("content-type", "application/grpc"), ("grpc-status", "14")];
    const LIMITED: Headers = &[("x-envoy-ratelimited", "true")];
    let cases: &[(&'static [Act], &str)] = &[
        (&[Act::Head(500, &[]), OK], "5xx"),
        (&[Act::Head(502, &[]), OK], "5xx gateway-error"),
        (&[Act::Head(503, &[]), OK], "5xx gateway-error"),
        (&[Act::Head(409, &[]), OK], "retriable-4xx"),
        (&[Act::Head(418, &[]), OK], "retriable-status-codes"),
        (&[Act::Head(404, &[]), OK], ""),
        (&[Act::Head(429, LIMITED), OK], "envoy-ratelimited"),
        (&[Act::Reset(Reason::INTERNAL_ERROR), OK], "5xx gateway-error reset"),
        (&[Act::Reset(Reason::REFUSED_STREAM), OK], "5xx gateway-error reset refused-stream"),
        (&[Act::Head(200, GRPC), GRPC_OK], "unavailable"),
        (&[Act::Grpc(NOW, &[("grpc-status", "1")]), GRPC_OK], "cancelled"),
        (&[Act::Grpc(NOW, &[("grpc-status", "4")]), GRPC_OK], "deadline-exceeded"),
        (&[Act::Grpc(NOW, &[("grpc-status", "8")]), GRPC_OK], "resource-exhausted"),
        (&[Act::Grpc(NOW, &[("grpc-status", "13")]), GRPC_OK], "internal"),
        (&[Act::Grpc(NOW, &[("grpc-status", "14")]), GRPC_OK], "unavailable"),
        (&[Act::Grpc(NOW, &[("grpc-status", "0")]), GRPC_OK], ""),
    ];
    for (acts, expected) in cases {
        let mut retried = Vec::new();
        for (name, condition) in RetryOn::NAMES {
            if is_retried(*condition, acts).await {
                retried.push(*name);
            }
        }
        let expected: Vec<_> = expected.split_whitespace().collect();
        assert_eq!(retried, expected, "{acts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_under_a_call_is_retried_as_a_reset() {
    for (on, expected) in [(RetryOn::RESET, Ok(200)), (RetryOn::CONNECT_FAILURE, Err(()))] {
        let network = MemoryNetwork::new();
        let (_server, _) = raw_h1(&network, 1, |connection| {
            if connection == 0 { b"" } else { b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" }
        });
        let mesh = simple(&network, 1, retry(on, |_| {}));
        let ended = outcome(&mesh, get("/")).await;
        assert_eq!(ended.map(|(status, _)| status).map_err(drop), expected, "{on:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn late_trailers_are_waited_for_only_where_the_method_is_known_to_be_unary() {
    static ACTS: &[Act] = &[
        Act::Grpc(Duration::from_secs(1), &[("grpc-status", "14")]),
        Act::Grpc(Duration::from_secs(1), &[("grpc-status", "0")]),
    ];
    // Those of the last attempt decide about nothing any more.
    for (wait, attempts, head_after) in [(true, 2, 1), (false, 1, 0)] {
        let network = MemoryNetwork::new();
        let (_server, calls) = scripted(&network, 1, ACTS);
        let mesh = simple(&network, 1, |action| {
            action.peek_trailers_wait = wait;
            retry(RetryOn::UNAVAILABLE, |_| {})(action);
        });
        let begun = Instant::now();
        let response = call(&mesh, grpc("/")).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), head_after, "wait: {wait}");
        let trailers = bounded(response.into_body().collect()).await.unwrap();
        let status = trailers.trailers().unwrap()["grpc-status"].to_str().unwrap().to_owned();
        assert_eq!((calls.get(), &*status), (attempts, if wait { "0" } else { "14" }));
        idle(&mesh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_pause_that_the_server_asks_for_is_kept() {
    let cases: &[(&'static [Act], bool, std::ops::Range<f64>)] = &[
        (&[Act::Head(503, &[("retry-after", "3")]), OK], false, 3.0..4.6),
        (&[Act::Head(503, &[]), OK], false, 0.0..0.1),
        (
            &[
                Act::Grpc(
                    Duration::ZERO,
                    &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "5000")],
                ),
                GRPC_OK,
            ],
            true,
            5.0..5.1,
        ),
    ];
    for (acts, is_grpc, range) in cases {
        let network = MemoryNetwork::new();
        let (_server, calls) = scripted(&network, 1, acts);
        let name = http::header::RETRY_AFTER;
        let header = ResetHeader { name, format: ResetHeaderFormat::RetryAfter };
        let on = RetryOn::SERVER_ERROR | RetryOn::UNAVAILABLE;
        let mesh = simple(&network, 1, |action| {
            retry(on, |policy| {
                policy.rate_limited_back_off = Some(RateLimitedBackOff::new(vec![header]));
            })(action);
        });
        let begun = Instant::now();
        let request = if *is_grpc { grpc("/") } else { over_h2(get("/")) };
        outcome(&mesh, request).await.unwrap();
        let took = begun.elapsed().as_secs_f64();
        assert!(range.contains(&took) && calls.get() == 2, "{acts:?}: {took} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forbids_a_retry_gets_none() {
    for acts in [
        &[Act::Head(503, &[("x-mesh-retry", "no")]), OK],
        &[
            Act::Head(
                503,
                &[("content-type", "application/grpc"), ("grpc-retry-pushback-ms", "-1")],
            ),
            OK,
        ],
    ] as [&'static [Act]; 2]
    {
        let network = MemoryNetwork::new();
        let (_server, calls) = scripted(&network, 1, acts);
        let mesh = simple(&network, 1, retry(RetryOn::SERVER_ERROR, |_| {}));
        assert_eq!(outcome(&mesh, grpc("/")).await.unwrap().0, 503);
        assert_eq!(calls.get(), 1, "{acts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_without_a_pause_does_not_overflow_by_its_own_first_attempt() {
    static ACTS: &[Act] = &[
        Act::Grpc(Duration::ZERO, &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "0")]),
        GRPC_OK,
    ];
    let network = MemoryNetwork::new();
    let (_server, calls) = scripted(&network, 1, ACTS);
    let one = cluster(|cluster| cluster.circuit_breakers.default.max_requests = 1);
    let mesh = mesh(&network, config(one, &[at(1)], retry(RetryOn::UNAVAILABLE, |_| {})));
    assert_eq!(outcome(&mesh, grpc("/")).await.map(|(status, _)| status), Ok(200));
    assert_eq!(calls.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn as_many_retries_as_allowed_and_the_last_answer_is_the_callers() {
    let network = MemoryNetwork::new();
    let (_server, calls) = scripted(&network, 1, &[Act::Head(503, &[("x-which", "last")])]);
    let mesh = simple(&network, 1, retry(RetryOn::SERVER_ERROR, |policy| policy.num_retries = 4));
    let response = call(&mesh, over_h2(get("/"))).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-which"]),
        (503, &"last".parse().unwrap())
    );
    assert_eq!(calls.get(), 5);
    drop(response);
    let limit = metric(&mesh, "mesh_retries_total", &[("outcome", "limit_exceeded")]);
    let started = metric(&mesh, "mesh_retries_total", &[("outcome", "started")]);
    assert_eq!((started, limit), (4, 1));
    let mut request = over_h2(get("/"));
    request.extensions_mut().insert(CallOptions::new().no_retry());
    assert_eq!(outcome(&mesh, request).await.unwrap().0, 503);
    assert_eq!(calls.get(), 6);
}

#[tokio::test(start_paused = true)]
async fn retries_and_transparent_retries_are_counted_apart() {
    let network = MemoryNetwork::new();
    static ACTS: &[Act] = &[Act::Reset(Reason::REFUSED_STREAM), Act::Head(503, &[]), OK];
    let (_server, calls) = scripted(&network, 1, ACTS);
    let mesh = simple(&network, 1, retry(RetryOn::GATEWAY_ERROR, |_| {}));
    assert_eq!(outcome(&mesh, over_h2(get("/"))).await.unwrap().0, 200);
    assert_eq!(calls.get(), 3);
    let started = metric(&mesh, "mesh_retries_total", &[("outcome", "started")]);
    let transparent = metric(&mesh, "mesh_transparent_retries_total", &[]);
    assert_eq!((started, transparent), (1, 1));
    assert_eq!(metric(&mesh, "mesh_call_extra_attempts_total", &[]), 2);
}

// === The budget ===

/// Makes `per_second` calls per second for ten seconds, and waits for all.
async fn storm(mesh: &Mesh, per_second: u32, make: fn() -> Request<MeshBody>) -> usize {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..per_second * 10 {
        let mesh = mesh.clone();
        calls.spawn(async move { drop(outcome(&mesh, make()).await) });
        tokio::time::sleep(Duration::from_secs(1) / per_second).await;
    }
    let count = calls.len();
    bounded(calls.join_all()).await;
    count
}

#[tokio::test(start_paused = true)]
async fn when_everything_fails_retries_stay_within_the_budget() {
    for act in [&[Act::Head(503, &[])], &[Act::Reset(Reason::INTERNAL_ERROR)], &[Act::Hang]]
        as [&'static [Act]; 3]
    {
        let network = MemoryNetwork::new();
        let servers = [1, 2, 3].map(|number| scripted(&network, number, act).1);
        let mesh = simple(&network, 3, |action| {
            retry(RetryOn::SERVER_ERROR, |policy| {
                policy.num_retries = 5;
                policy.per_try_timeout = Some(Duration::from_millis(100));
            })(action);
        });
        let calls = storm(&mesh, 100, || over_h2(get("/"))).await;
        let attempts: usize = servers.iter().map(Count::get).sum();
        let budget = calls * 12 / 10 + 10 * 10 + 10;
        assert!(attempts > calls + 100, "{act:?}: {attempts} attempts for {calls} calls");
        assert!(attempts <= budget, "{act:?}: {attempts} attempts for {calls} calls");
        assert!(metric(&mesh, "mesh_retries_total", &[("outcome", "budget_exhausted")]) > 0);
        idle(&mesh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn when_every_stream_is_refused_each_call_goes_elsewhere_once_beside_the_budget() {
    let network = MemoryNetwork::new();
    let act: &'static [Act] = &[Act::Reset(Reason::REFUSED_STREAM)];
    let servers = [1, 2, 3].map(|number| scripted(&network, number, act).1);
    let mesh = simple(&network, 3, retry(RetryOn::REFUSED_STREAM, |policy| policy.num_retries = 5));
    let calls = storm(&mesh, 100, || over_h2(get("/"))).await;
    let attempts: usize = servers.iter().map(Count::get).sum();
    assert!(attempts <= calls * 22 / 10 + 110, "{attempts} attempts for {calls} calls");
}

const UNAVAILABLE: Act = Act::Grpc(Duration::ZERO, &[("grpc-status", "14")]);

#[tokio::test(start_paused = true)]
async fn a_trusted_callers_conditions_look_at_trailers_too() {
    let network = MemoryNetwork::new();
    let (_, calls) = scripted(&network, 1, &[UNAVAILABLE, GRPC_OK]);
    let update = config(cluster(|_| {}), &[at(1)], |_| {});
    let mesh =
        Mesh::builder().connector(network).config(update).trusted_overrides().build().unwrap();
    let mut request = grpc("/s/m");
    let unavailable = http::HeaderValue::from_static("unavailable");
    request.headers_mut().insert("x-envoy-retry-grpc-on", unavailable);
    // The trailers may come a moment after the head: then the answer stands as it is.
    drop(outcome(&mesh, request).await);
    assert_eq!(calls.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_ended_is_as_good_as_a_message() {
    let network = MemoryNetwork::new();
    let calls = Count::default();
    let asked = calls.clone();
    h2_server(&network, 1, move |request, respond| {
        let act = if asked.add() == 0 { UNAVAILABLE } else { GRPC_OK };
        async move {
            let mut body = request.into_body();
            while let Some(Ok(part)) = body.data().await {
                body.flow_control().release_capacity(part.len()).unwrap();
            }
            perform(act, respond).await;
        }
    });
    let mesh = simple(&network, 1, |action| {
        retry(RetryOn::UNAVAILABLE, |_| {})(action);
        action.peek_trailers_wait = true;
    });
    let (sender, body) = channel();
    let (parts, _) = grpc("/s/m").into_parts();
    tokio::spawn(async move {
        for _ in 0..3 {
            tokio::task::yield_now().await;
            drop(sender.send(data("part")).await);
        }
    });
    let response = call(&mesh, Request::from_parts(parts, body)).await.unwrap();
    drop(text(response).await);
    assert_eq!(calls.get(), 2);
}

// === Per-try timeout and hedging ===

/// One endpoint hangs, the other answers; picks are at random.
fn one_hangs(change: impl FnOnce(&mut ForwardAction)) -> (Mesh, Count, Count) {
    let network = MemoryNetwork::new();
    let (_, hung) = scripted(&network, 1, &[Act::Hang]);
    let (_, good) = scripted(&network, 2, &[OK]);
    let random = cluster(|cluster| cluster.lb_policy = LbPolicy::new(LbAlgorithm::Random));
    (mesh(&network, config(random, &[at(1), at(2)], change)), hung, good)
}

#[tokio::test(start_paused = true)]
async fn after_a_per_try_timeout_another_endpoint_is_tried() {
    let (mesh, hung, _) = one_hangs(retry(RetryOn::RESET, |policy| {
        policy.per_try_timeout = Some(Duration::from_millis(100));
    }));
    for number in 0..40 {
        let begun = Instant::now();
        let ended = outcome(&mesh, over_h2(get("/"))).await;
        assert_eq!(ended.map(|(status, _)| status), Ok(200), "call {number}");
        assert!(begun.elapsed() < Duration::from_millis(130), "{:?}", begun.elapsed());
        // The retry budget is another test's matter.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(hung.get() > 5, "the hung endpoint was never picked");
    idle(&mesh).await;
}

#[tokio::test(start_paused = true)]
async fn a_hedge_goes_to_another_endpoint_and_the_first_answer_wins() {
    let (mesh, hung, good) = one_hangs(|action| {
        retry(RetryOn::RESET, |policy| policy.per_try_timeout = Some(Duration::from_millis(100)))(
            action,
        );
        let mut hedge = HedgePolicy::default();
        hedge.hedge_on_per_try_timeout = true;
        action.hedge_policy = Some(hedge);
    });
    for number in 0..40 {
        let begun = Instant::now();
        let ended = outcome(&mesh, over_h2(get("/"))).await;
        assert_eq!(ended.map(|(status, _)| status), Ok(200), "call {number}");
        assert!(begun.elapsed() < Duration::from_millis(110), "{:?}", begun.elapsed());
        // The retry budget is another test's matter.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(good.get(), 40);
    assert!(hung.get() > 5, "the hung endpoint was never picked");
    idle(&mesh).await;
    assert_eq!(metric(&mesh, "mesh_hedges_total", &[]), hung.get() as u64);
}

#[tokio::test(start_paused = true)]
async fn hedges_are_counted_as_often_as_they_start() {
    let network = MemoryNetwork::new();
    // The first two hang; the third fails, is retried by policy beside them, and the fourth answers.
    let acts: [&'static [Act]; 4] =
        [&[Act::Hang], &[Act::Hang], &[Act::Reset(Reason::INTERNAL_ERROR)], &[OK]];
    for (number, act) in (1..).zip(acts) {
        scripted(&network, number, act);
    }
    let mesh = simple(&network, 4, |action| {
        retry(RetryOn::RESET, |policy| {
            policy.per_try_timeout = Some(Duration::from_millis(100));
            policy.num_retries = 5;
        })(action);
        let mut hedge = HedgePolicy::default();
        hedge.hedge_on_per_try_timeout = true;
        action.hedge_policy = Some(hedge);
    });
    let ended = outcome(&mesh, over_h2(get("/"))).await;
    assert_eq!(ended.map(|(status, _)| status), Ok(200));
    assert_eq!(metric(&mesh, "mesh_hedges_total", &[]), 2);
    assert_eq!(metric(&mesh, "mesh_retries_total", &[("outcome", "started")]), 3);
    idle(&mesh).await;
}

#[tokio::test(start_paused = true)]
async fn a_hedged_stream_reaches_both_attempts_whole() {
    let network = MemoryNetwork::new();
    let servers: Vec<_> = (1..=2)
        .map(|number| {
            let bodies = Arc::new(parking_lot::Mutex::new(Vec::new()));
            let seen = Arc::clone(&bodies);
            network.serve_fn(at(number), move |request| {
                let seen = Arc::clone(&seen);
                async move {
                    let body = request.into_body().collect().await.map(|body| body.to_bytes());
                    seen.lock().push(body.map_err(drop));
                    // The answer comes later than the other attempt's body.
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    reply(200, "")
                }
            });
            bodies
        })
        .collect();
    let mesh = simple(&network, 2, |action| {
        retry(RetryOn::RESET, |policy| policy.per_try_timeout = Some(Duration::from_millis(100)))(
            action,
        );
        let mut hedge = HedgePolicy::default();
        hedge.hedge_on_per_try_timeout = true;
        action.hedge_policy = Some(hedge);
    });
    let (sender, body) = channel();
    let answer = tokio::spawn({
        let mesh = mesh.clone();
        async move { outcome(&mesh, over_h2(post("/", body))).await }
    });
    for part in ["one ", "two ", "three"] {
        sender.send(data(part)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    drop(sender);
    assert_eq!(bounded(answer).await.unwrap().map(|(status, _)| status), Ok(200));
    for bodies in &servers {
        assert_eq!(*bodies.lock(), [Ok(Bytes::from("one two three"))]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_is_not_sent_as_if_it_were_whole() {
    let network = MemoryNetwork::new();
    let whole = Count::default();
    for number in 1..=2 {
        let whole = whole.clone();
        network.serve_fn(at(number), move |request| {
            let whole = whole.clone();
            async move {
                if request.into_body().collect().await.is_ok() {
                    whole.add();
                }
                reply(200, "")
            }
        });
    }
    let mesh = simple(&network, 2, |action| {
        retry(RetryOn::RESET, |policy| policy.per_try_timeout = Some(Duration::from_millis(100)))(
            action,
        );
        let mut hedge = HedgePolicy::default();
        hedge.hedge_on_per_try_timeout = true;
        action.hedge_policy = Some(hedge);
    });
    let (sender, body) = channel();
    let answer = tokio::spawn({
        let mesh = mesh.clone();
        async move { outcome(&mesh, over_h2(post("/", body))).await }
    });
    sender.send(data("one")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    sender.send(Err("broken".into())).await.unwrap();
    let ended = bounded(answer).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((ended, whole.get()), (Err("request_body".to_owned()), 0));
}

// === Bodies ===

/// A server that answers 503 once, and gives back the length of what it got the second time.
fn fails_once(network: &MemoryNetwork) -> Count {
    let calls = Count::default();
    let counted = calls.clone();
    network.serve_fn(at(1), move |request| {
        let counted = counted.clone();
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let status = if counted.add() == 0 { 503 } else { 200 };
            http::Response::builder()
                .status(status)
                .body(MeshBody::full(body.len().to_string()))
                .unwrap()
        }
    });
    calls
}

#[tokio::test(start_paused = true)]
async fn bodies_are_kept_up_to_64_kib_and_no_further() {
    const KIB: usize = 1024;
    for (size, stream, limit, retried) in [
        (0, false, None, true),
        (64 * KIB, false, None, true),
        (64 * KIB + 1, false, None, false),
        (64 * KIB, true, None, true),
        (64 * KIB + 1, true, None, false),
        (200 * KIB, true, None, false),
        (10, false, Some(10), true),
        (11, false, Some(10), false),
        (200 * KIB, true, Some(KIB * KIB), true),
    ] {
        let network = MemoryNetwork::new();
        let calls = fails_once(&network);
        let update = config(cluster(|_| {}), &[at(1)], retry(RetryOn::SERVER_ERROR, |_| {}));
        let mut builder = Mesh::builder().seed(0).connector(network).config(update);
        if let Some(limit) = limit {
            builder = builder.replay_limit(limit);
        }
        let mesh = builder.build().unwrap();
        let request = if stream {
            let (sender, body) = channel();
            tokio::spawn(async move {
                let whole = Bytes::from(vec![b'x'; size]);
                for part in whole.chunks(10_000) {
                    sender.send(data(Bytes::copy_from_slice(part))).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            post("/", body)
        } else {
            post("/", "x".repeat(size))
        };
        let response = call(&mesh, request).await.unwrap();
        let expected = if retried { (200, 2) } else { (503, 1) };
        let what = format!("{size} bytes, stream: {stream}, limit: {limit:?}");
        assert_eq!((response.status().as_u16(), calls.get()), expected, "{what}");
        assert_eq!(text(response).await, size.to_string(), "{what}");
        idle(&mesh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_end_of_the_request_is_retried_with_the_whole_request() {
    let network = MemoryNetwork::new();
    let calls = Count::default();
    let counted = calls.clone();
    network.serve_fn(at(1), move |request| {
        let number = counted.add();
        async move {
            if number % 2 == 0 {
                return http::Response::builder().status(503).body(MeshBody::empty()).unwrap();
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            http::Response::new(MeshBody::full(body))
        }
    });
    for version in [http::Version::HTTP_11, http::Version::HTTP_2] {
        let mesh = simple(&network, 1, retry(RetryOn::SERVER_ERROR, |_| {}));
        let (sender, body) = channel();
        let mut request = post("/", body);
        *request.version_mut() = version;
        let answer = tokio::spawn({
            let mesh = mesh.clone();
            async move { outcome(&mesh, request).await }
        });
        for part in ["one ", "two ", "three"] {
            sender.send(data(part)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        drop(sender);
        assert_eq!(bounded(answer).await.unwrap(), Ok((200, Bytes::from("one two three"))));
        idle(&mesh).await;
        assert_eq!(flags(&mesh), "-:1");
    }
    assert_eq!(calls.get(), 4);
}

#[tokio::test(start_paused = true)]
async fn trailers_of_a_request_are_sent_again_too() {
    let network = MemoryNetwork::new();
    let calls = Count::default();
    let counted = calls.clone();
    network.serve_fn(at(1), move |request| {
        let number = counted.add();
        async move {
            let body = request.into_body().collect().await.unwrap();
            let checksum = body.trailers().map(|trailers| trailers["x-checksum"].clone());
            let status = if number % 2 == 0 { 503 } else { 200 };
            let checksum =
                checksum.map_or_else(String::new, |value| value.to_str().unwrap().to_owned());
            http::Response::builder().status(status).body(MeshBody::full(checksum)).unwrap()
        }
    });
    for pause in [Duration::ZERO, Duration::from_millis(5)] {
        let mesh = simple(&network, 1, retry(RetryOn::SERVER_ERROR, |_| {}));
        let (sender, body) = channel();
        tokio::spawn(async move {
            sender.send(data("body")).await.unwrap();
            tokio::time::sleep(pause).await;
            let trailers = crate::wire::map(&[("x-checksum", "42")]);
            sender.send(Ok(http_body::Frame::trailers(trailers))).await.unwrap();
        });
        let ended = outcome(&mesh, over_h2(post("/", body))).await;
        assert_eq!(ended, Ok((200, Bytes::from("42"))), "pause: {pause:?}");
    }
    assert_eq!(calls.get(), 4);
}
