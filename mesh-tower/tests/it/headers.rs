//! Heads: what the caller wrote arrives as it was, and what is added is what is documented.

use crate::fixture::{
    at, bounded, call, config, config_with, get, grpc, mesh, over_h2, post, simple,
};
use crate::retry::retry;
use crate::wire::{h2_server, raw_h1};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_core::model::route::HostRewrite;
use mesh_core::model::{Cluster, ClusterLoadAssignment, Endpoint, RetryOn};
use mesh_tower::observe::{TraceContext, TraceState};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{Mesh, MeshBody};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Answer-Case: Kept\r\n\r\nok";

/// The head lines of a request as they came, sorted.
fn lines(head: &str) -> Vec<&str> {
    let mut lines: Vec<_> = head.split("\r\n\r\n").next().unwrap().split("\r\n").collect();
    lines[1..].sort_unstable();
    lines
}

#[tokio::test(start_paused = true)]
async fn over_http1_only_the_host_is_added() {
    let network = MemoryNetwork::new();
    let (_, mut received) = raw_h1(&network, 1, |_| OK);
    let mesh = simple(&network, 1, |action| {
        // Everything that could make the mesh talkative.
        retry(RetryOn::SERVER_ERROR, |policy| {
            policy.per_try_timeout = Some(Duration::from_secs(1))
        })(action);
    });
    let mut request = get("/path?query=1");
    for (name, value) in
        [("x-mine", "1"), ("x-mine", "2"), ("accept", "*/*"), ("x-envoy-max-retries", "9")]
    {
        request.headers_mut().append(name, HeaderValue::from_static(value));
    }
    call(&mesh, request).await.unwrap();
    let head = received.recv().await.unwrap();
    let expected = [
        "GET /path?query=1 HTTP/1.1",
        "accept: */*",
        "host: a",
        "x-envoy-max-retries: 9",
        "x-mine: 1",
        "x-mine: 2",
    ];
    assert_eq!(lines(&head), expected);
    call(&mesh, post("/", "four")).await.unwrap();
    let head = received.recv().await.unwrap();
    assert_eq!(lines(&head), ["POST / HTTP/1.1", "content-length: 4", "host: a"]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_the_caller_wrote_is_what_the_server_sees() {
    let network = MemoryNetwork::new();
    let (_, mut received) = raw_h1(&network, 1, |_| OK);
    let mut request = get("/");
    request.headers_mut().insert("host", HeaderValue::from_static("reviews.example.com:81"));
    call(&simple(&network, 1, |_| {}), request).await.unwrap();
    let head = received.recv().await.unwrap();
    assert_eq!(lines(&head), ["GET / HTTP/1.1", "host: reviews.example.com:81"]);
    let mut request = over_h2(get("/"));
    request.headers_mut().insert("host", HeaderValue::from_static("reviews.example.com:81"));
    let seen = seen_over_h2(simple(&network, 1, |_| {}), &network, request).await;
    assert_eq!(seen, ["GET http://reviews.example.com:81/"]);
}

/// What an attempt was given for its endpoint is not the next one's.
#[tokio::test(start_paused = true)]
async fn each_attempt_has_the_authority_of_its_own_endpoint() {
    let network = MemoryNetwork::new();
    let mut endpoints = [1, 2, 3].map(|number| Endpoint::new(at(number).into()));
    endpoints[0].hostname = Some("first.internal".into());
    endpoints[2].hostname = Some("third.internal".into());
    for saved in [true, false] {
        let update = config_with(
            Cluster::new("a"),
            Some(ClusterLoadAssignment::of(endpoints.clone())),
            |action| {
                action.host_rewrite = Some(HostRewrite::Auto);
                action.transparent_retry = saved;
            },
        );
        // The first refuses connections, so the request comes back from there.
        let seen = seen_over_h2_at(2, mesh(&network, update), &network, over_h2(get("/"))).await;
        assert_eq!(seen, ["GET http://a/"], "saved: {saved}");
    }
}

/// The request headers that an HTTP/2 server saw, sorted.
async fn seen_over_h2(
    mesh: Mesh,
    network: &MemoryNetwork,
    request: Request<MeshBody>,
) -> Vec<String> {
    seen_over_h2_at(1, mesh, network, request).await
}

async fn seen_over_h2_at(
    number: u8,
    mesh: Mesh,
    network: &MemoryNetwork,
    request: Request<MeshBody>,
) -> Vec<String> {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    h2_server(network, number, move |request, mut respond| {
        let headers = request.headers().iter();
        let mut lines: Vec<_> =
            headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines.insert(0, format!("{} {}", request.method(), request.uri()));
        sender.send(lines).unwrap();
        async move { drop(respond.send_response(Response::new(()), true)) }
    });
    call(&mesh, request).await.unwrap();
    seen.recv().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn over_http2_nothing_is_added_but_what_the_table_says() {
    let network = MemoryNetwork::new();
    let plain = || simple(&network, 1, |_| {});
    let mut request = over_h2(get("/x"));
    request.headers_mut().insert("x-mine", HeaderValue::from_static("1"));
    assert_eq!(seen_over_h2(plain(), &network, request).await, ["GET http://a/x", "x-mine: 1"]);
    // gRPC: the route's timeout of 15 s goes with it.
    let seen = seen_over_h2(plain(), &network, grpc("/S/M")).await;
    let timeout = seen[2].trim_start_matches("grpc-timeout: ").to_owned();
    assert_eq!(
        seen,
        [
            "POST http://a/S/M",
            "content-type: application/grpc",
            &format!("grpc-timeout: {timeout}")
        ]
    );
    assert!(timeout == "15S" || timeout == "15000m", "{timeout}");
    let endless = simple(&network, 1, |action| action.timeout = Duration::ZERO);
    let seen = seen_over_h2(endless, &network, grpc("/S/M")).await;
    assert_eq!(seen[1..], ["content-type: application/grpc"]);
    // Asked for at the builder.
    let update = config(Cluster::new("a"), &[at(1)], |_| {});
    let talkative = Mesh::builder()
        .seed(0)
        .connector(network.clone())
        .config(update)
        .expected_timeout_header()
        .build()
        .unwrap();
    let seen = seen_over_h2(talkative, &network, over_h2(get("/"))).await;
    assert_eq!(seen[1..], ["x-envoy-expected-rq-timeout-ms: 15000"]);
}

#[tokio::test(start_paused = true)]
async fn a6_a_retry_counts_on_from_what_the_call_came_with() {
    let network = MemoryNetwork::new();
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    h2_server(&network, 1, move |request, mut respond| {
        let told = request.headers().get_all("grpc-previous-rpc-attempts").iter();
        sender.send(told.map(|told| told.to_str().unwrap().to_owned()).collect()).unwrap();
        let head = Response::builder().header("content-type", "application/grpc");
        let head = head.header("grpc-status", "14").body(()).unwrap();
        async move { drop(respond.send_response(head, true)) }
    });
    for saved in [true, false] {
        let mesh = simple(&network, 1, |action| {
            retry(RetryOn::UNAVAILABLE, |policy| policy.num_retries = 2)(action);
            action.transparent_retry = saved;
        });
        let mut request = grpc("/S/M");
        let before = HeaderValue::from_static("5");
        request.headers_mut().insert("grpc-previous-rpc-attempts", before);
        call(&mesh, request).await.unwrap();
        for expected in ["5", "6", "7"] {
            let told: Vec<String> = bounded(seen.recv()).await.unwrap();
            assert_eq!(told, [expected]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_goes_on_and_the_callers_own_wins() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let network = MemoryNetwork::new();
    let mut headers = http::HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(PARENT));
    let context = TraceContext::extract(&headers).unwrap().0;
    let mut request = over_h2(get("/"));
    request.extensions_mut().insert(context);
    let seen = seen_over_h2(simple(&network, 1, |_| {}), &network, request).await;
    assert_eq!(seen[1..], [format!("traceparent: {PARENT}")]);
    let mut request = over_h2(get("/"));
    request.extensions_mut().insert(context);
    headers.insert("tracestate", HeaderValue::from_static("b=2"));
    request.extensions_mut().insert(TraceState::extract(&headers).unwrap());
    let seen = seen_over_h2(simple(&network, 1, |_| {}), &network, request).await;
    assert_eq!(seen[1..], [format!("traceparent: {PARENT}"), "tracestate: b=2".to_owned()]);
    let mut request = over_h2(get("/"));
    request.extensions_mut().insert(context);
    request.headers_mut().insert("tracestate", HeaderValue::from_static("a=1"));
    let seen = seen_over_h2(simple(&network, 1, |_| {}), &network, request).await;
    assert_eq!(seen[2..], ["tracestate: a=1"]);
    let mut request = over_h2(get("/"));
    request.extensions_mut().insert(context);
    request.headers_mut().insert("traceparent", HeaderValue::from_static("mine"));
    let seen = seen_over_h2(simple(&network, 1, |_| {}), &network, request).await;
    assert_eq!(seen[1..], ["traceparent: mine"]);
}

#[tokio::test(start_paused = true)]
async fn trusted_overrides_are_obeyed_and_taken_off() {
    let network = MemoryNetwork::new();
    let (_, mut received) = raw_h1(&network, 1, |connection| match connection {
        0 | 1 => b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        _ => OK,
    });
    let update = config(Cluster::new("a"), &[at(1)], |_| {});
    let mesh = Mesh::builder()
        .seed(0)
        .connector(network)
        .config(update)
        .trusted_overrides()
        .build()
        .unwrap();
    let mut request = get("/");
    for (name, value) in
        [("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "2"), ("x-mine", "1")]
    {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    assert_eq!(call(&mesh, request).await.unwrap().status(), 200);
    for _ in 0..3 {
        let head = received.recv().await.unwrap();
        assert_eq!(lines(&head), ["GET / HTTP/1.1", "host: a", "x-mine: 1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_case_of_http1_headers_survives_a_hop_in_both_directions() {
    let network = MemoryNetwork::new();
    let (_, mut received) = raw_h1(&network, 1, |_| OK);
    let update = config(Cluster::new("a"), &[at(1)], retry(RetryOn::SERVER_ERROR, |_| {}));
    let builder = Mesh::builder().seed(0).connector(network).config(update);
    let mesh = builder.preserve_header_case().build().unwrap();
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let hop = service_fn(move |request: Request<Incoming>| {
        let mesh = mesh.clone();
        async move { call(&mesh, request.map(MeshBody::new)).await }
    });
    tokio::spawn(async move {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.preserve_header_case(true);
        drop(builder.serve_connection(TokioIo::new(server), hop).await);
    });
    client
        .write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nX-MiXed-CaSe: V\r\nX-UPPER: U\r\n\r\n")
        .await
        .unwrap();
    let head = received.recv().await.unwrap();
    assert!(
        head.contains("\r\nX-MiXed-CaSe: V\r\n") && head.contains("\r\nX-UPPER: U\r\n"),
        "{head}"
    );
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok") {
        assert_ne!(bounded(client.read_buf(&mut answer)).await.unwrap(), 0);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("\r\nX-Answer-Case: Kept\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn response_heads_of_60_kib_pass_over_both_protocols() {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |request: Request<Incoming>| async move {
        let mut response = Response::new(Full::<Bytes>::default());
        let size: usize = request.uri().path()[1..].parse().unwrap();
        // A name, a value and 32 bytes each, as HTTP/2 counts.
        for number in 0..size / 1024 {
            let name: http::HeaderName = format!("x-h-{number:03}").parse().unwrap();
            let value = "v".repeat(1024 - 32 - name.as_str().len());
            response.headers_mut().insert(name, HeaderValue::try_from(value).unwrap());
        }
        response
    });
    let mesh = simple(&network, 1, |_| {});
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let make = |path: &str| {
            let mut request = get(path);
            *request.version_mut() = version;
            request
        };
        let response = call(&mesh, make("/61440")).await.unwrap();
        assert_eq!(
            response.headers().keys().filter(|name| name.as_str().starts_with("x-h-")).count(),
            60
        );
        drop(bounded(response.into_body().collect()).await);
        let error = call(&mesh, make("/102400")).await.unwrap_err();
        assert_eq!(
            (error.code(), error.http_status().as_u16()),
            ("response_head_too_large", 502),
            "{version:?}"
        );
        // The connection's other calls are not harmed.
        assert!(call(&mesh, make("/0")).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn the_length_of_a_body_that_comes_later_is_still_stated() {
    struct Later(Option<Bytes>, std::pin::Pin<Box<tokio::time::Sleep>>);
    impl http_body::Body for Later {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            std::task::ready!(self.1.as_mut().poll(cx));
            std::task::Poll::Ready(self.0.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
        }
        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
        }
    }
    use std::future::Future;
    let network = MemoryNetwork::new();
    let (_, mut received) = raw_h1(&network, 1, |_| OK);
    for transparent in [false, true] {
        let update =
            config(Cluster::new("a"), &[at(1)], |action| action.transparent_retry = transparent);
        let mesh = mesh(&network, update);
        let later = Box::pin(tokio::time::sleep(Duration::from_millis(5)));
        let body = MeshBody::new(Later(Some(Bytes::from("later")), later));
        call(&mesh, post("/", body)).await.unwrap();
        let head = received.recv().await.unwrap();
        let expected = ["POST / HTTP/1.1", "content-length: 5", "host: a"];
        assert_eq!(lines(&head), expected, "transparent_retry: {transparent}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_extended_connect_keeps_its_protocol() {
    let network = MemoryNetwork::new();
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    network.serve_io(at(1), move |io| {
        let sender = sender.clone();
        async move {
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol();
            let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let protocol = request.extensions().get::<h2::ext::Protocol>();
                sender.send(protocol.map(|protocol| protocol.as_str().to_owned())).unwrap();
                drop(respond.send_response(Response::new(()), true));
            }
        }
    });
    for transparent in [false, true] {
        let update =
            config(Cluster::new("a"), &[at(1)], |action| action.transparent_retry = transparent);
        let mesh = mesh(&network, update);
        let mut request = over_h2(get("/chat"));
        *request.method_mut() = http::Method::CONNECT;
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        call(&mesh, request).await.unwrap();
        let protocol = seen.recv().await.unwrap();
        assert_eq!(protocol.as_deref(), Some("websocket"), "transparent_retry: {transparent}");
    }
}
