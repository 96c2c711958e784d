//! HTTP/2 connections: GOAWAY, resets, limits, keep-alive, handshakes.

use super::*;
use ::h2::server::{Builder, SendResponse};
use ::h2::{Reason, RecvStream};
use futures_util::task::AtomicWaker;
use std::io;
use std::sync::atomic::AtomicBool;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

type Call = (Request<RecvStream>, SendResponse<Bytes>);

/// An HTTP/2 server that hands each call to `answer`, with its number on the connection.
fn serving(
    build: impl Fn(&mut Builder) + Send + Sync + 'static,
    answer: impl Fn(usize, Call) -> Served + Send + Sync + 'static,
) -> Arc<dyn Connect> {
    let shared = Arc::new((build, answer));
    dial(move |_, io| {
        let shared = Arc::clone(&shared);
        async move {
            let mut builder = Builder::new();
            (shared.0)(&mut builder);
            let Ok(mut connection) = builder.handshake(io).await else { return };
            let mut number = 0;
            while let Some(Ok(call)) = connection.accept().await {
                tokio::spawn((shared.1)(number, call));
                number += 1;
            }
        }
    })
}

fn ok(mut reply: SendResponse<Bytes>) {
    let mut stream = reply.send_response(Response::new(()), false).unwrap();
    stream.send_data(Bytes::from_static(b"ok"), true).unwrap();
}

#[tokio::test(start_paused = true)]
async fn resets_are_told_apart() {
    for (reason, failure) in [
        (Reason::REFUSED_STREAM, reset(ResetReason::RefusedStream, Processed::No)),
        (Reason::CANCEL, reset(ResetReason::Remote(8), Processed::Maybe)),
        (Reason::INTERNAL_ERROR, reset(ResetReason::Remote(2), Processed::Maybe)),
    ] {
        let server = serving(
            |_| {},
            move |_, (_, mut reply)| Box::pin(async move { reply.send_reset(reason) }),
        );
        let bench = Bench::new(Protocol::Http2, server);
        assert_eq!(bench.fails(get("/")).await, (failure, false));
        assert_eq!(bench.pool.connections().streams, 0);
        assert_eq!(bench.limits.open(), 1, "the connection lives on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_the_body_is_its_error() {
    let server = serving(
        |_| {},
        |_, (_, mut reply)| {
            Box::pin(async move {
                let mut stream = reply.send_response(Response::new(()), false).unwrap();
                stream.send_data(Bytes::from_static(b"some"), false).unwrap();
                sleep(Duration::from_millis(10)).await;
                stream.send_reset(Reason::INTERNAL_ERROR);
            })
        },
    );
    let bench = Bench::new(Protocol::Http2, server);
    let mut body = bench.call(get("/")).await.unwrap().into_body();
    assert_eq!(bounded(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "some");
    let error = bounded(body.frame()).await.unwrap().unwrap_err();
    assert_eq!(error.reset_code(), Some(2));
    assert_eq!(bench.pool.connections().streams, 0);
}

#[tokio::test(start_paused = true)]
async fn graceful_goaways_lose_no_call() {
    // Each connection says GOAWAY after 7 calls, and finishes those that it took.
    let server = dial(|_, io| async move {
        let mut connection = ::h2::server::handshake(io).await.unwrap();
        let mut number = 0;
        while let Some(Ok((_, reply))) = connection.accept().await {
            number += 1;
            if number == 7 {
                connection.graceful_shutdown();
            }
            tokio::spawn(async move {
                sleep(Duration::from_millis(number % 3)).await;
                ok(reply);
            });
        }
    });
    let bench = Bench::new(Protocol::Http2, server);
    let calls = (0..10).map(|_| async {
        for _ in 0..40 {
            assert_eq!(bench.text(post("/", MeshBody::full("x"))).await, "ok");
        }
    });
    futures_util::future::join_all(calls).await;
    bench.pool.drain();
    eventually("all closed", || bench.limits.are_released()).await;
}

/// Frames by hand, for what no server library says.
mod raw {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Reads frames until one of `kind`; answers with its stream.
    pub(super) async fn until(io: &mut DuplexStream, kind: u8) -> u32 {
        loop {
            let mut head = [0; 9];
            io.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            io.read_exact(&mut payload).await.unwrap();
            if head[3] == kind {
                return u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            }
        }
    }

    /// The preface, and our empty SETTINGS.
    pub(super) async fn handshake(io: &mut DuplexStream) {
        io.read_exact(&mut [0; 24]).await.unwrap();
        io.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    }
}

/// A connection with one call on it, and its server's end, where nothing was read but the handshake.
async fn one_call_out() -> (Bench, Sending, DuplexStream) {
    let (give, mut take) = tokio::sync::mpsc::channel(1);
    let server = dial(move |_, mut io| {
        let give = give.clone();
        async move {
            raw::handshake(&mut io).await;
            give.send(io).await.unwrap();
        }
    });
    let bench = Bench::new(Protocol::Http2, server);
    let mut first = bench.send(get("/"));
    assert!(poll_times(&mut first, 20).await.is_none());
    let io = take.recv().await.unwrap();
    (bench, first, io)
}

/// Nobody but calls is polled here: the connection's own task would let out all of them, and later.
#[tokio::test(start_paused = true)]
async fn calls_let_out_what_half_of_them_have_queued() {
    let (bench, first, mut io) = one_call_out().await;
    assert_eq!(raw::until(&mut io, 1).await, 1);
    assert_eq!(raw::until(&mut io, 1).now_or_never(), None);

    let mut calls = vec![first];
    let mut begun = 3;
    for (silent, of_them) in [(7, 8), (8, 9), (17, 18)] {
        calls.extend((0..silent).map(|_| bench.send(get("/"))));
        assert_eq!(raw::until(&mut io, 1).now_or_never(), None, "{silent} of {of_them}");
        calls.push(bench.send(get("/")));
        for _ in 0..of_them {
            assert_eq!(raw::until(&mut io, 1).now_or_never(), Some(begun));
            begun += 2;
        }
    }
}

/// What ends a connection may come in a call's own turn.
#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_in_a_calls_turn_is_over() {
    use tokio::io::AsyncWriteExt;
    let (bench, first, mut io) = one_call_out().await;
    // DATA on stream 0 is an error of the connection (RFC 9113 section 6.1).
    io.write_all(&raw::frame(0, 0, 0, b"?")).now_or_never().unwrap().unwrap();
    let mut calls: Vec<_> = (0..8).map(|_| bench.send(get("/"))).collect();
    calls.push(first);
    for call in calls {
        bounded(call).await.unwrap_err();
    }
    assert_eq!(bench.pool.connections().streams, 0);
    eventually("it is closed", || bench.limits.are_released()).await;
    assert_eq!(bench.limits.closed(), [CloseReason::Error]);
}

#[tokio::test(start_paused = true)]
async fn streams_above_a_goaway_were_not_processed() {
    use tokio::io::AsyncWriteExt;
    let server = dial(|_, mut io| async move {
        raw::handshake(&mut io).await;
        assert_eq!(raw::until(&mut io, 1).await, 1);
        assert_eq!(raw::until(&mut io, 1).await, 3);
        // GOAWAY: the last stream is 1, no error; then `:status: 200` with END_STREAM on 1.
        io.write_all(&raw::frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        io.write_all(&raw::frame(1, 5, 1, &[0x88])).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    });
    let bench = Bench::new(Protocol::Http2, server);
    let (mut first, mut second) = (bench.send(get("/")), bench.send(get("/")));
    // In this order onto the connection.
    assert!(poll_times(&mut first, 20).await.is_none());
    let error = bounded(&mut second).await.unwrap_err();
    assert_eq!(bounded(first).await.unwrap().status(), 200);
    assert_eq!(error.failure, reset(ResetReason::GoAway, Processed::No));
    assert_eq!(bench.pool.connections().streams, 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_does_not_wait_for_a_connection_going_away() {
    use tokio::io::AsyncWriteExt;
    // The first connection takes one stream, says GOAWAY, and never ends its call.
    let server = dial(|number, mut io| async move {
        if number > 0 {
            let mut connection = ::h2::server::handshake(io).await.unwrap();
            while let Some(Ok((_, reply))) = connection.accept().await {
                ok(reply);
            }
            return;
        }
        raw::handshake(&mut io).await;
        raw::until(&mut io, 1).await;
        sleep(Duration::from_millis(10)).await;
        io.write_all(&raw::frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await.unwrap();
        std::future::pending::<()>().await;
    });
    let bench = Bench::with(Protocol::Http2, server, Limits::new(1, 9), |settings| {
        settings.options.max_concurrent_streams = 1;
    });
    let mut hang = bench.send(get("/"));
    assert!(poll_times(&mut hang, 8).await.is_none());
    assert_eq!(bench.text(get("/")).await, "ok");
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_before_the_head_may_have_acted() {
    let server = dial(|_, io| async move {
        let mut connection = ::h2::server::handshake(io).await.unwrap();
        let _call = connection.accept().await;
    });
    let bench = Bench::new(Protocol::Http2, server);
    let failure = bench.fails(get("/")).await;
    assert_eq!(failure, (reset(ResetReason::ConnectionTermination, Processed::Maybe), false));
    eventually("closed", || bench.limits.are_released()).await;
    assert_eq!(bench.pool.connections(), Connections::default());
}

#[tokio::test(start_paused = true)]
async fn the_peers_stream_limit_holds() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen_now, seen_most) = (Arc::clone(&now), Arc::clone(&most));
    let server = serving(
        |builder| {
            builder.max_concurrent_streams(1);
        },
        move |_, (_, reply)| {
            let (now, most) = (Arc::clone(&seen_now), Arc::clone(&seen_most));
            Box::pin(async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(10)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                ok(reply);
            })
        },
    );
    // One stream each: as many connections as calls, up to the limit; the rest waits.
    let bench = Bench::with(Protocol::Http2, server, Limits::new(3, 99), |_| {});
    let all = (0..20).map(|_| bench.text(get("/")));
    assert!(futures_util::future::join_all(all).await.iter().all(|text| text == "ok"));
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(bench.limits.open(), 3);
    assert_eq!(bench.pool.connections().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_plain_http1_server_is_no_http2_handshake() {
    let bench = Bench::new(Protocol::Http2, hyper_h1());
    let (failure, handed_back) = bench.fails(get("/")).await;
    assert_eq!(failure, Failure::Connect(ConnectFailure::Handshake));
    assert!(handed_back);
    let closing = Bench::new(Protocol::Http2, dial(|_, io| async move { drop(io) }));
    let failure = closing.fails(get("/")).await.0;
    assert_eq!(failure, Failure::Connect(ConnectFailure::Handshake));
    eventually("released", || closing.limits.are_released()).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_found_by_pings() {
    let server = dial(|_, mut io| async move {
        raw::handshake(&mut io).await;
        std::future::pending::<()>().await;
    });
    let bench = Bench::with(Protocol::Http2, server, Limits::default(), |settings| {
        settings.options.keepalive_interval = Duration::from_secs(10);
        settings.options.keepalive_timeout = Duration::from_secs(2);
    });
    let start = tokio::time::Instant::now();
    let failure = bench.fails(get("/")).await.0;
    assert_eq!(failure, reset(ResetReason::ConnectionTermination, Processed::Maybe));
    let took = start.elapsed().as_secs();
    assert!((12..=15).contains(&took), "{took}");
    eventually("closed", || bench.limits.are_released()).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_found_by_calls_that_give_up_sooner() {
    let server = dial(|_, mut io| async move {
        raw::handshake(&mut io).await;
        std::future::pending::<()>().await;
    });
    let bench = Bench::with(Protocol::Http2, server, Limits::default(), |settings| {
        settings.options.keepalive_interval = Duration::from_secs(4);
        settings.options.keepalive_timeout = Duration::from_secs(2);
    });
    for _ in 0..4 {
        assert!(timeout(Duration::from_secs(2), bench.send(get("/"))).await.is_err());
        sleep(Duration::from_secs(2)).await;
    }
    assert!(bench.limits.closed().contains(&CloseReason::KeepAlive), "{:?}", bench.limits.closed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closes_does_not_wait_for_a_peer_that_reads_nothing() {
    let (bench, call, io) = one_call_out().await;
    let (sender, body) = channel();
    let upload = bench.send(post("/echo", body));
    // More than all buffers and windows hold.
    for _ in 0..64 {
        let piece = Bytes::from(vec![b'x'; 4 << 10]);
        if timeout(Duration::from_secs(1), sender.send(Ok(Frame::data(piece)))).await.is_err() {
            break;
        }
    }
    drop((call, upload, sender));
    bench.pool.drain();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.limits.open(), 1, "it may still take it");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.limits.open(), 0);
    drop(io);
}

/// When a [`Late`] stream is read.
#[derive(Default)]
struct Reading {
    is_held: AtomicBool,
    reader: AtomicWaker,
}

impl Reading {
    fn hold(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::SeqCst);
        self.reader.wake();
    }
}

/// A stream on which for a while nothing is found to read though it has come, as on a socket whose event is still to be
/// told; writes fail as soon as its peer is gone.
struct Late(DuplexStream, Arc<Reading>);

impl AsyncRead for Late {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1.reader.register(cx.waker());
        if self.1.is_held.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Late {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Connects once, to what is in it.
struct Once(Mutex<Option<BoxedIo>>);

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl Connect for Once {
    fn connect<'a>(&'a self, _: &'a Address) -> Connecting<'a> {
        let io = self.0.lock().take().ok_or_else(|| io::ErrorKind::ConnectionRefused.into());
        async move { io }.boxed()
    }
}

/// Two calls whose peer has answered the first, has not seen the second, and is gone, which was not read when a third
/// was written.
async fn gone_with_a_word() -> (Bench, [Sending; 3], Arc<Reading>) {
    let (client, mut server) = tokio::io::duplex(64 << 10);
    let reading = Arc::new(Reading::default());
    let io: BoxedIo = Box::new(Late(client, Arc::clone(&reading)));
    let bench = Bench::new(Protocol::Http2, Arc::new(Once(Mutex::new(Some(io)))));
    let [mut first, mut second] = [bench.send(get("/")), bench.send(get("/"))];
    assert!(poll_times(&mut first, 5).await.is_none());
    assert!(poll_times(&mut second, 5).await.is_none());
    raw::handshake(&mut server).await;
    assert!(poll_times(&mut first, 20).await.is_none());
    assert!(poll_times(&mut second, 20).await.is_none());
    assert_eq!(raw::until(&mut server, 1).await, 1);
    assert_eq!(raw::until(&mut server, 1).await, 3);
    reading.hold(true);
    // `:status: 200` is one byte (RFC 7541 appendix A).
    server.write_all(&raw::frame(1, 5, 1, &[0x88])).await.unwrap();
    server.write_all(&raw::frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await.unwrap();
    drop(server);
    let mut third = bench.send(get("/"));
    assert!(poll_times(&mut third, 20).await.is_none(), "it fails before the rest is read");
    (bench, [first, second, third], reading)
}

/// What a peer said before it closed counts, though a write fails before that is read.
#[tokio::test(start_paused = true)]
async fn the_last_word_of_who_takes_nothing_more_is_heard() {
    let (bench, [first, second, third], reading) = gone_with_a_word().await;
    // Nobody is sent to where nothing is taken.
    let fourth = bench.send(get("/"));
    reading.hold(false);
    assert_eq!(text(bounded(first).await.unwrap().into_body()).await, "");
    assert!(bounded(second).await.unwrap_err().failure.is_unprocessed());
    assert!(bounded(third).await.unwrap_err().failure.is_unprocessed());
    let refused = Failure::Connect(ConnectFailure::Refused);
    assert_eq!(bounded(fourth).await.unwrap_err().failure, refused);
    eventually("closed", || bench.limits.are_released()).await;
    assert_eq!(bench.limits.closed(), [CloseReason::Remote]);
}

#[tokio::test(start_paused = true)]
async fn the_last_word_is_not_waited_for_for_ever() {
    let (bench, calls, _reading) = gone_with_a_word().await;
    let began = tokio::time::Instant::now();
    for call in calls {
        assert!(!bounded(call).await.unwrap_err().failure.is_unprocessed());
    }
    assert_eq!(began.elapsed().as_secs(), 10);
    eventually("closed", || bench.limits.are_released()).await;
    assert_eq!(bench.limits.closed(), [CloseReason::Error]);
}

#[tokio::test(start_paused = true)]
async fn pings_keep_a_slow_call() {
    let server = serving(
        |_| {},
        |_, (_, reply)| {
            Box::pin(async move {
                sleep(Duration::from_secs(60)).await;
                ok(reply);
            })
        },
    );
    let bench = Bench::with(Protocol::Http2, server, Limits::default(), |settings| {
        settings.options.keepalive_interval = Duration::from_secs(10);
        settings.options.keepalive_timeout = Duration::from_secs(2);
    });
    assert_eq!(bench.text(get("/")).await, "ok");
}

/// `h2` tells them from heads above the limit by nothing, so the reason says both.
#[tokio::test(start_paused = true)]
async fn rfc9113_8_1_1_malformed_heads_are_named_beside_large_ones() {
    use tokio::io::AsyncWriteExt;
    // `:status: 200`, `connection: close`; and `x: y` alone.
    for head in [&b"\x88\0\x0aconnection\x05close"[..], b"\0\x01x\x01y"] {
        let server = dial(move |_, mut io| async move {
            raw::handshake(&mut io).await;
            assert_eq!(raw::until(&mut io, 1).await, 1);
            io.write_all(&raw::frame(1, 5, 1, head)).await.unwrap();
            std::future::pending::<()>().await;
        });
        let bench = Bench::new(Protocol::Http2, server);
        let failure = bench.fails(get("/")).await.0;
        let text = failure.to_string();
        assert!(text.contains("larger than the limit, or malformed"), "{head:?}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn large_heads_pass_up_to_the_limit() {
    let bench = Bench::with(Protocol::Http2, hyper_h2(), Limits::default(), |settings| {
        settings.options.max_response_head = 80 << 10;
        settings.options.max_response_headers = 302;
    });
    // 300 headers of 190 bytes: 60 KiB, and 32 bytes each by HPACK's way of counting.
    assert_eq!(bench.call(get("/headers")).await.unwrap().headers().len(), 302);
    let bench = Bench::with(Protocol::Http2, hyper_h2(), Limits::default(), |settings| {
        settings.options.max_response_head = 40 << 10;
        settings.options.max_response_headers = 302;
    });
    let failure = bench.fails(get("/headers")).await.0;
    assert_eq!(failure, Failure::Protocol(ProtocolFailure::ResponseHeadTooLarge));
    let bench = Bench::with(Protocol::Http2, hyper_h2(), Limits::default(), |settings| {
        settings.options.max_response_head = 80 << 10;
        settings.options.max_response_headers = 301;
    });
    let failure = bench.fails(get("/headers")).await.0;
    assert_eq!(failure, Failure::Protocol(ProtocolFailure::ResponseHeadTooLarge));
    assert_eq!(bench.text(get("/")).await, "hello");
}
