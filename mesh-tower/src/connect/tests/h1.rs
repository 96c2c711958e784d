//! HTTP/1.1.

use super::*;
use mesh_core::head::MOST_HEADERS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server that answers the n-th connection's requests with what `reply` says, byte for byte, and
/// closes when there is nothing left.
fn scripted(replies: &'static [&'static [&'static str]]) -> Arc<dyn Connect> {
    dial(move |number, mut io| async move {
        let mut buffer = vec![0; 64 << 10];
        for reply in replies.get(number).copied().unwrap_or_default() {
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match io.read(&mut buffer).await {
                    Ok(n) if n > 0 => head.extend_from_slice(&buffer[..n]),
                    _ => return,
                }
            }
            if io.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test(start_paused = true)]
async fn connections_are_used_again() {
    let bench = Bench::new(Protocol::Http1, hyper_h1());
    for _ in 0..5 {
        assert_eq!(bench.text(get("/")).await, "hello");
        assert_eq!(bench.text(post("/count", MeshBody::full("12345"))).await, "5");
    }
    assert_eq!(bench.limits.open(), 1);
    // As many as there are calls at a time; then they wait idle.
    let all = futures_util::future::join_all((0..8).map(|_| bench.text(get("/")))).await;
    assert_eq!(all.len(), 8);
    eventually("all are idle", || bench.pool.connections().h1_idle == 8).await;
    assert_eq!(bench.pool.connections().h1, 8);
}

#[tokio::test(start_paused = true)]
async fn the_head_is_fitted() {
    let bench = Bench::new(Protocol::Http1, hyper_h1());
    let mut request = get("/head?q=1");
    *request.version_mut() = http::Version::HTTP_2;
    let head = bench.text(request).await;
    assert_eq!(head, "HTTP/1.1 /head?q=1\nhost: test");
}

#[tokio::test(start_paused = true)]
async fn connection_close_is_honoured() {
    let bench = Bench::new(Protocol::Http1, hyper_h1());
    for _ in 0..3 {
        assert_eq!(bench.text(get("/close")).await, "hello");
        eventually("closed", || bench.limits.open() == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_costs_no_call() {
    // Each server connection serves one request and closes without saying so.
    let bench = Bench::new(Protocol::Http1, scripted(&[&[OK], &[OK], &[OK], &[OK]]));
    for _ in 0..4 {
        assert_eq!(bench.text(post("/", MeshBody::full("body"))).await, "ok");
    }
    eventually("closed", || bench.limits.open() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_before_the_head_may_have_acted() {
    let bench = Bench::new(Protocol::Http1, scripted(&[&[""], &["HTTP/1.1 200 OK\r\nx:"]]));
    for _ in 0..2 {
        let (failure, handed_back) = bench.fails(get("/")).await;
        assert_eq!(failure, reset(ResetReason::ConnectionTermination, Processed::Maybe));
        assert!(!handed_back);
    }
}

#[tokio::test(start_paused = true)]
async fn broken_responses_are_named() {
    let bench = Bench::new(Protocol::Http1, scripted(&[&["SSH-2.0-OpenSSH\r\n\r\n"]]));
    let failure = bench.fails(get("/")).await.0;
    assert_eq!(failure, Failure::Protocol(ProtocolFailure::InvalidResponse));

    const SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour";
    let bench = Bench::new(Protocol::Http1, scripted(&[&[SHORT]]));
    let mut body = bench.call(get("/")).await.unwrap().into_body();
    assert_eq!(bounded(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "four");
    let error = bounded(body.frame()).await.unwrap().unwrap_err();
    let terminated = reset(ResetReason::ConnectionTermination, Processed::Maybe);
    assert_eq!(*error.failure(), terminated);
    drop(body);
    eventually("closed", || bench.limits.open() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn large_heads_pass_up_to_the_limit() {
    for most in [302, 301] {
        let bench = Bench::with(Protocol::Http1, hyper_h1(), Limits::default(), |settings| {
            settings.options.max_response_headers = most;
        });
        if most == 302 {
            assert_eq!(bench.call(get("/headers")).await.unwrap().headers().len(), 302);
        } else {
            let failure = bench.fails(get("/headers")).await.0;
            assert_eq!(failure, Failure::Protocol(ProtocolFailure::ResponseHeadTooLarge));
        }
    }
    let bench = Bench::with(Protocol::Http1, hyper_h1(), Limits::default(), |settings| {
        settings.options.max_response_headers = 302;
        settings.options.max_response_head = 32 << 10;
    });
    let failure = bench.fails(get("/headers")).await.0;
    assert_eq!(failure, Failure::Protocol(ProtocolFailure::ResponseHeadTooLarge));
}

#[tokio::test(start_paused = true)]
async fn no_head_has_more_headers_than_there_can_be() {
    let dial = dial(|number, mut io| async move {
        let mut asked = [0; 1024];
        if io.read(&mut asked).await.is_ok_and(|n| n > 0) {
            let headers = "a: b\r\n".repeat(MOST_HEADERS as usize - 2 + number);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{headers}\r\nok");
            // Who has seen enough does not read the rest.
            drop(io.write_all(head.as_bytes()).await);
            drop(io.read(&mut asked).await);
        }
    });
    let bench = Bench::with(Protocol::Http1, dial, Limits::default(), |settings| {
        settings.options.max_response_headers = u32::MAX;
        settings.options.max_response_head = 1 << 20;
        settings.options.max_requests_per_connection = 1;
    });
    for fits in [true, true, false] {
        if fits {
            assert_eq!(bench.text(get("/")).await, "ok");
        } else {
            let failure = bench.fails(get("/")).await.0;
            assert_eq!(failure, Failure::Protocol(ProtocolFailure::ResponseHeadTooLarge));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_pass_both_ways() {
    let bench = Bench::new(Protocol::Http1, hyper_h1());
    let (sender, body) = channel();
    let mut request = post("/echo", body);
    request.headers_mut().insert("trailer", "x-end".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let sending = bench.send(request);
    sender.send(data("data")).await.unwrap();
    sender.send(trailers("x-end", "yes")).await.unwrap();
    drop(sender);
    let body = bounded(sending).await.unwrap().into_body();
    let collected = bounded(body.collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-end"], "yes");
    assert_eq!(collected.to_bytes(), "data");
    assert_eq!(bench.text(get("/")).await, "hello");
    assert_eq!(bench.limits.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_request_body_is_the_callers_fault() {
    let bench = Bench::new(Protocol::Http1, hyper_h1());
    let (sender, body) = channel();
    let sending = bench.send(post("/count", body));
    sender.send(data("some")).await.unwrap();
    sender.send(Err("broken".into())).await.unwrap();
    let error = bounded(sending).await.unwrap_err();
    assert_eq!(error.failure, reset(ResetReason::RequestBody, Processed::Maybe));
    eventually("closed", || bench.limits.open() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn early_responses_are_passed_on() {
    // The server answers from the head alone; the request body goes on while the answer is held, and
    // then the connection serves on.
    let bench = Bench::new(Protocol::Http1, scripted(&[&[OK, "", OK], &[OK, OK]]));
    let (sender, body) = channel();
    let mut response = bench.call(post("/", body)).await.unwrap();
    let frame = bounded(response.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "ok");
    assert!(bounded(response.body_mut().frame()).await.is_none());
    assert_eq!(bench.pool.connections().h1_idle, 0, "its request is not sent yet");
    assert_eq!(bench.text(get("/")).await, "ok");
    eventually("the second is ready", || bench.pool.connections().h1_idle == 1).await;
    drop(sender);
    sleep(Duration::from_millis(1)).await;
    drop(response);
    eventually("the first is ready", || bench.pool.connections().h1_idle == 2).await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_ends_with_the_answer_that_came_before_its_end() {
    let bench = Bench::new(Protocol::Http1, scripted(&[&[OK, ""]]));
    let (sender, body) = channel();
    let response = bench.call(post("/", body)).await.unwrap();
    assert_eq!(text(response.into_body()).await, "ok");
    bounded(sender.closed()).await;
    eventually("closed", || bench.limits.are_released()).await;
    assert_eq!(bench.limits.closed(), [CloseReason::CallDropped]);
}

#[tokio::test(start_paused = true)]
async fn a_short_answer_that_nobody_read_costs_no_connection() {
    let bench = Bench::new(Protocol::Http1, hyper_h1());
    for _ in 0..5 {
        let request = post("/", MeshBody::full("x"));
        drop(bench.call(request).await.unwrap());
        eventually("idle", || bench.pool.connections().h1_idle == 1).await;
    }
    assert_eq!(bench.limits.opened.load(Ordering::SeqCst), 1);
    let (sender, body) = channel_of(4);
    sender.send(data("1234")).await.unwrap();
    assert_eq!(bench.text(post("/count", body)).await, "4");
    eventually("its length is stated", || bench.pool.connections().h1_idle == 1).await;
    drop(sender);
}

/// A body of a stated length that its sender writes.
fn channel_of(
    length: u64,
) -> (tokio::sync::mpsc::Sender<Result<Frame<Bytes>, BoxError>>, MeshBody) {
    #[pin_project::pin_project]
    struct Sized(#[pin] MeshBody, u64);
    impl Body for Sized {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            self.project().0.poll_frame(cx)
        }
        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(self.1)
        }
    }
    let (sender, body) = channel();
    (sender, MeshBody::new(Sized(body, length)))
}

#[tokio::test(start_paused = true)]
async fn big_bodies_pass_both_ways() {
    let bench = Bench::new(Protocol::Http1, hyper_h1());
    let big = Bytes::from(vec![7; 10 << 20]);
    assert_eq!(bench.text(post("/count", MeshBody::full(big))).await, (10 << 20).to_string());
    let mut body = bench.call(get("/big")).await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(10 << 20));
    let mut length = 0;
    while let Some(frame) = bounded(body.frame()).await {
        length += frame.unwrap().into_data().unwrap().len();
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(length, 10 << 20);
    assert_eq!(bench.limits.open(), 1);
}

const UPGRADE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nraw";

#[tokio::test(start_paused = true)]
async fn rfc9110_7_8_nobody_goes_on_in_another_protocol_unasked() {
    let bench = Bench::new(Protocol::Http1, scripted(&[&[OK, UPGRADE, "never"], &[OK]]));
    assert_eq!(bench.text(get("/")).await, "ok");
    let (failure, handed_back) = bench.fails(get("/")).await;
    assert_eq!(failure, Failure::Protocol(ProtocolFailure::InvalidResponse));
    assert!(!handed_back);
    eventually("its connection is closed", || bench.limits.are_released()).await;
    assert_eq!(bench.limits.closed(), [CloseReason::Error]);
    assert_eq!(bench.text(get("/")).await, "ok");
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_counts_until_it_closes() {
    let bench = Bench::new(Protocol::Http1, scripted(&[&[UPGRADE, "never"]]));
    let mut request = get("/");
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "x".parse().unwrap());
    let response = bench.call(request).await.unwrap();
    let upgraded = bounded(hyper::upgrade::on(response)).await.unwrap();
    let mut io = TokioIo::new(upgraded);
    let mut raw = [0; 3];
    bounded(io.read_exact(&mut raw)).await.unwrap();
    assert_eq!(&raw, b"raw");
    assert_eq!((bench.limits.open(), bench.pool.connections().h1_idle), (1, 0));
    // The kill switch reaches it too.
    bench.pool.close();
    assert!(bounded(io.read_exact(&mut raw)).await.is_err());
    drop(io);
    eventually("closed", || bench.limits.are_released()).await;
}
