//! HTTP/2 streams: bodies both ways, flow control, trailers, giving up.

use super::*;
use ::h2::Reason;

#[tokio::test(start_paused = true)]
async fn the_head_is_fitted() {
    let bench = Bench::new(Protocol::Http2, hyper_h2());
    let mut request = post("/head", MeshBody::full("12"));
    request.headers_mut().insert("host", "other".parse().unwrap());
    request.headers_mut().insert("connection", "keep-alive".parse().unwrap());
    let head = bench.text(request).await;
    assert_eq!(head, "HTTP/2.0 http://other/head\ncontent-length: 2");
}

/// What a server saw of a request: its frames' lengths, which of them ended the stream, the trailers.
async fn frames(body: MeshBody) -> String {
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = Mutex::new(Some(tell));
    let server = dial(move |_, io| {
        let tell = tell.lock().take();
        async move {
            let mut connection = ::h2::server::handshake(io).await.unwrap();
            let Some(Ok((request, mut reply))) = connection.accept().await else { return };
            tokio::spawn(async move { while connection.accept().await.is_some() {} });
            let mut body = request.into_body();
            let mut seen = String::new();
            if body.is_end_stream() {
                seen.push_str("end ");
            }
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                seen.push_str(&format!(
                    "{}{} ",
                    data.len(),
                    if body.is_end_stream() { "!" } else { "" }
                ));
            }
            if let Some(trailers) = body.trailers().await.unwrap() {
                seen.push_str(&format!("{trailers:?}"));
            }
            reply.send_response(Response::new(()), true).unwrap();
            tell.unwrap().send(seen.trim_end().to_owned()).unwrap();
        }
    });
    let bench = Bench::new(Protocol::Http2, server);
    bench.call(post("/", body)).await.unwrap();
    told.await.unwrap()
}

fn stream(frames: Vec<Result<Frame<Bytes>, BoxError>>) -> MeshBody {
    MeshBody::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
}

#[tokio::test(start_paused = true)]
async fn the_end_travels_with_the_last_data() {
    assert_eq!(frames(MeshBody::empty()).await, "end");
    assert_eq!(frames(MeshBody::full("four")).await, "4!");
    // Bodies that do not say that they are at their end, as tonic's.
    assert_eq!(frames(stream(vec![])).await, "end");
    assert_eq!(frames(stream(vec![data("four")])).await, "4!");
    let with_trailers = vec![data("four"), trailers("x-end", "yes")];
    assert_eq!(frames(stream(with_trailers)).await, r#"4 {"x-end": "yes"}"#);
    assert_eq!(frames(stream(vec![trailers("x-end", "yes")])).await, r#"{"x-end": "yes"}"#);
    assert_eq!(frames(stream(vec![data("four"), data("three"), data("x")])).await, "4 5 1 0!");
}

#[tokio::test(start_paused = true)]
async fn both_directions_stream_at_once() {
    let bench = Bench::new(Protocol::Http2, hyper_h2());
    assert_eq!(bench.text(get("/")).await, "hello");
    let (sender, body) = channel();
    let sending = bench.send(post("/echo", body));
    // Nobody polls the response yet, and the channel holds four.
    for _ in 0..8 {
        bounded(sender.send(data("early "))).await.unwrap();
    }
    let mut body = bounded(sending).await.unwrap().into_body();
    for _ in 0..8 {
        assert_eq!(bounded(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "early ");
    }
    for _ in 0..3 {
        bounded(sender.send(data("ping"))).await.unwrap();
        assert_eq!(bounded(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "ping");
    }
    bounded(sender.send(trailers("x-end", "yes"))).await.unwrap();
    let end = bounded(body.frame()).await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(end["x-end"], "yes");
    assert!(body.is_end_stream());
    assert!(bounded(body.frame()).await.is_none());
    assert_eq!(bench.pool.connections().streams, 0, "given back at the end, not at the drop");
}

#[tokio::test(start_paused = true)]
async fn big_bodies_pass_both_ways() {
    let bench = Bench::new(Protocol::Http2, hyper_h2());
    let big = Bytes::from(vec![7; 10 << 20]);
    assert_eq!(
        bench.text(post("/count", MeshBody::full(big.clone()))).await,
        (10 << 20).to_string()
    );
    let pieces = big.chunks(100_000).map(|piece| Ok(Frame::data(big.slice_ref(piece)))).collect();
    assert_eq!(bench.text(post("/count", stream(pieces))).await, (10 << 20).to_string());
    let mut body = bench.call(get("/big")).await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(10 << 20));
    let mut length = 0;
    while let Some(frame) = bounded(body.frame()).await {
        length += frame.unwrap().into_data().unwrap().len();
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((length, bench.pool.connections().streams), (10 << 20, 0));
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_hold_up_no_others() {
    let bench = Bench::new(Protocol::Http2, hyper_h2());
    let mut unread = Vec::new();
    for _ in 0..8 {
        unread.push(bench.call(get("/big")).await.unwrap());
    }
    // All that comes has come.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.text(get("/")).await, "hello");
    let big = bench.text(get("/big")).await;
    assert_eq!((big.len(), bench.limits.open()), (10 << 20, 1));
    for response in unread {
        assert_eq!(text(response.into_body()).await.len(), 10 << 20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_withheld_window_holds_the_body_back() {
    // The server takes the head and reads nothing: its window of 64 KiB fills up.
    let server = dial(|_, io| async move {
        let mut connection = ::h2::server::handshake(io).await.unwrap();
        let mut held = Vec::new();
        while let Some(Ok(call)) = connection.accept().await {
            held.push(call);
        }
    });
    let bench = Bench::new(Protocol::Http2, server);
    let polled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&polled);
    let endless = futures_util::stream::repeat_with(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok::<_, BoxError>(Frame::data(Bytes::from_static(&[0; 16 << 10])))
    });
    let body = MeshBody::new(http_body_util::StreamBody::new(endless));
    let mut sending = bench.send(post("/", body));
    assert!(poll_times(&mut sending, 200).await.is_none());
    sleep(Duration::from_secs(1)).await;
    let taken = polled.load(Ordering::SeqCst);
    assert!((4..=8).contains(&taken), "{taken} pieces of 16 KiB for a window of 64");
    drop(sending);
    eventually("the stream ends", || bench.pool.connections().streams == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_cancels_its_stream() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = dial(move |_, io| {
        let tell = tell.clone();
        async move {
            let mut connection = ::h2::server::handshake(io).await.unwrap();
            while let Some(Ok((request, mut reply))) = connection.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    let answers = request.uri().path() == "/answer";
                    let mut stream =
                        answers.then(|| reply.send_response(Response::new(()), false).unwrap());
                    let reason = match &mut stream {
                        Some(stream) => std::future::poll_fn(|cx| stream.poll_reset(cx)).await,
                        None => std::future::poll_fn(|cx| reply.poll_reset(cx)).await,
                    };
                    tell.send(reason.unwrap()).unwrap();
                });
            }
        }
    });
    let bench = Bench::new(Protocol::Http2, server);
    for streaming in [false, true] {
        let make = || if streaming { channel() } else { (channel().0, MeshBody::full("x")) };
        // Before the head.
        let (_sender, body) = make();
        let mut sending = bench.send(post("/hang", body));
        assert!(poll_times(&mut sending, 8).await.is_none());
        drop(sending);
        assert_eq!(bounded(told.recv()).await, Some(Reason::CANCEL));
        // In the body.
        let (_sender, body) = make();
        let response = bench.call(post("/answer", body)).await.unwrap();
        drop(response);
        assert_eq!(bounded(told.recv()).await, Some(Reason::CANCEL));
        eventually("given back", || bench.pool.connections().streams == 0).await;
    }
    assert_eq!(bench.limits.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_request_body_is_the_callers_fault() {
    let bench = Bench::new(Protocol::Http2, hyper_h2());
    // At once: nothing is sent.
    let failed = bench.fails(post("/count", stream(vec![Err("broken".into())]))).await.0;
    assert_eq!(failed, reset(ResetReason::RequestBody, Processed::No));
    let (sender, body) = channel();
    let sending = bench.send(post("/count", body));
    sender.send(data("some")).await.unwrap();
    sender.send(Err("broken".into())).await.unwrap();
    let error = bounded(sending).await.unwrap_err();
    assert_eq!(error.failure, reset(ResetReason::RequestBody, Processed::Maybe));
    assert_eq!(error.source.unwrap().to_string(), "broken");
    assert_eq!(bench.limits.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn trailers_that_can_not_be_sent_end_the_call() {
    let bench = Bench::new(Protocol::Http2, hyper_h2());
    let at_once = stream(vec![data("some"), trailers("connection", "close")]);
    let failure = bench.fails(post("/count", at_once)).await.0;
    assert_eq!(failure, reset(ResetReason::RequestBody, Processed::Maybe));
    let (sender, body) = channel();
    let sending = bench.send(post("/count", body));
    sender.send(data("some")).await.unwrap();
    sender.send(trailers("connection", "close")).await.unwrap();
    let error = bounded(sending).await.unwrap_err();
    assert_eq!(error.failure, reset(ResetReason::RequestBody, Processed::Maybe));
    eventually("given back", || bench.pool.connections().streams == 0).await;
}

#[tokio::test(start_paused = true)]
async fn many_cancelled_calls_do_not_end_the_connection() {
    // The server answers late: its frames arrive for streams that were given up.
    let server = dial(|_, io| async move {
        let mut connection = ::h2::server::handshake(io).await.unwrap();
        while let Some(Ok((_, mut reply))) = connection.accept().await {
            tokio::spawn(async move {
                sleep(Duration::from_millis(1)).await;
                // Fails where the reset was first.
                drop(reply.send_response(Response::new(()), true));
            });
        }
    });
    let bench = Bench::new(Protocol::Http2, server);
    for _ in 0..6 {
        let mut all: Vec<_> = (0..1000).map(|_| bench.send(get("/"))).collect();
        for sending in &mut all {
            drop(poll_times(sending, 1).await);
        }
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bench.call(get("/")).await.unwrap().status(), 200);
    assert_eq!(bench.limits.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn early_responses_are_passed_on() {
    let bench = Bench::new(Protocol::Http2, hyper_h2());
    let (sender, body) = channel();
    let response = bench.call(post("/early", body)).await.unwrap();
    assert_eq!(text(response.into_body()).await, "hello");
    // Nobody wants the rest of the request: its body is dropped.
    bounded(sender.closed()).await;
    eventually("given back", || bench.pool.connections().streams == 0).await;
    assert_eq!(bench.limits.open(), 1);
}
