use super::*;
use bytes::Bytes;
use http::{Request, Response};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A stream that takes what it is told to, one number for each write: 0, nothing for now.
#[derive(Debug, Default)]
struct Narrow {
    takes: VecDeque<usize>,
    out: Vec<u8>,
    writes: usize,
    flushes: usize,
    is_shut: bool,
    fails: bool,
    /// There is nothing to read, and so often somebody looked.
    dry: Option<usize>,
}

impl AsyncRead for Narrow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(looks) = &mut self.dry {
            *looks += 1;
            return Poll::Pending;
        }
        buf.put_slice(b"read");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Narrow {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.fails {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let takes = self.takes.pop_front().unwrap_or(usize::MAX);
        if takes == 0 {
            return Poll::Pending;
        }
        let before = self.out.len();
        for buf in bufs {
            let left = takes - (self.out.len() - before);
            self.out.extend_from_slice(&buf[..buf.len().min(left)]);
        }
        self.writes += 1;
        Poll::Ready(Ok(self.out.len() - before))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

fn with<T>(poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
    poll(&mut Context::from_waker(futures_util::task::noop_waker_ref()))
}

fn write(into: &mut Corked<Narrow>, bufs: &[&[u8]]) -> Poll<io::Result<usize>> {
    let bufs: Vec<IoSlice<'_>> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
    with(|cx| Pin::new(into).poll_write_vectored(cx, &bufs))
}

fn out(cork: &Cork<Narrow>) -> Poll<io::Result<()>> {
    with(|cx| cork.poll_out(cx))
}

/// How often it was written to and flushed.
fn counts(cork: &Cork<Narrow>) -> (usize, usize) {
    let held = cork.0.held.lock();
    (held.io.writes, held.io.flushes)
}

#[test]
fn what_is_written_in_a_turn_leaves_at_its_end_in_one_piece() {
    let (mut io, cork) = corked(Narrow::default());
    for _ in 0..10 {
        assert!(matches!(write(&mut io, &[b"head", &[b'x'; 1024]]), Poll::Ready(Ok(1028))));
        assert!(with(|cx| Pin::new(&mut io).poll_flush(cx)).is_ready());
    }
    assert_eq!(counts(&cork), (0, 0));
    assert!(matches!(out(&cork), Poll::Ready(Ok(()))));
    let held = cork.0.held.lock();
    assert_eq!((held.io.writes, held.io.flushes, held.io.out.len()), (1, 1, 10_280));
    assert!(held.bytes.capacity() <= KEPT, "of one that has nothing to say little is kept");
    drop(held);
    // Nothing was written since.
    assert!(matches!(out(&cork), Poll::Ready(Ok(()))));
    assert_eq!(counts(&cork), (1, 1));
}

#[test]
fn more_than_is_held_goes_at_once_with_what_was_before_it() {
    let (mut io, cork) = corked(Narrow::default());
    assert!(matches!(write(&mut io, &[&[1; 1000]]), Poll::Ready(Ok(1000))));
    assert!(matches!(write(&mut io, &[&[2; 9], &[3; HOLD]]), Poll::Ready(Ok(n)) if n == 9 + HOLD));
    let held = cork.0.held.lock();
    assert_eq!((held.io.writes, held.io.out.len()), (1, 1009 + HOLD));
    assert_eq!((held.io.out[999], held.io.out[1000], held.io.out[1009]), (1, 2, 3));
    assert!(held.is_empty());
}

#[test]
fn a_stream_that_takes_nothing_holds_no_more_than_its_bound() {
    let narrow = Narrow { takes: VecDeque::from([0; 40]), ..Narrow::default() };
    let (mut io, cork) = corked(narrow);
    let taken = (0..30).filter(|_| write(&mut io, &[&[7; 1024]]).is_ready()).count();
    assert_eq!(taken, HOLD / 1024);
    assert!(out(&cork).is_pending());
    assert_eq!(cork.0.held.lock().bytes.len(), HOLD);
    cork.0.held.lock().io.takes.clear();
    assert!(matches!(out(&cork), Poll::Ready(Ok(()))));
    assert_eq!(cork.0.held.lock().io.out, [7; HOLD]);
}

#[test]
fn who_takes_nothing_of_what_is_not_held_is_not_flushed() {
    let narrow = Narrow { takes: VecDeque::from([10, 0, 0]), ..Narrow::default() };
    let (mut io, cork) = corked(narrow);
    assert!(matches!(write(&mut io, &[&[7; 2 * HOLD]]), Poll::Ready(Ok(10))));
    assert!(write(&mut io, &[&[7; 2 * HOLD - 10]]).is_pending());
    assert!(out(&cork).is_pending());
    assert_eq!(counts(&cork), (1, 0));
    cork.0.held.lock().io.takes.clear();
    assert!(write(&mut io, &[&[7; 2 * HOLD - 10]]).is_ready());
    assert!(out(&cork).is_ready());
    assert_eq!(counts(&cork), (2, 1));
}

#[tokio::test]
async fn shutting_down_says_what_is_held_first() {
    let (mut io, cork) = corked(Narrow::default());
    io.write_all(b"goodbye").await.unwrap();
    assert!(cork.0.held.lock().io.out.is_empty());
    io.shutdown().await.unwrap();
    assert_eq!(cork.0.held.lock().io.out, b"goodbye");
    assert!(cork.0.held.lock().io.is_shut);
    let mut came = [0; 4];
    io.read_exact(&mut came).await.unwrap();
    assert_eq!(&came, b"read");
}

/// Whoever says when turns begin is promised to be woken by the first look in vain, and there is no other in that turn.
#[test]
fn a_stream_that_has_nothing_is_asked_once_a_turn() {
    for (begins, looks) in [(true, [1, 1, 2]), (false, [1, 2, 3])] {
        let (mut io, cork) = corked(Narrow { dry: Some(0), ..Narrow::default() });
        let mut read = || {
            let mut buf = [0; 4];
            let mut buf = ReadBuf::new(&mut buf);
            with(|cx| Pin::new(&mut io).poll_read(cx, &mut buf)).is_ready()
        };
        for (at, looks) in looks.into_iter().enumerate() {
            if begins && at != 1 {
                cork.turn();
            }
            assert!(!read());
            assert_eq!(cork.0.held.lock().io.dry, Some(looks), "{begins} {at}");
        }
        cork.0.held.lock().io.dry = None;
        assert_eq!(read(), !begins, "it may come at any time, but is told of at the next turn");
        cork.turn();
        assert!(read() && read(), "as long as there is something, it is asked");
    }
}

#[test]
fn who_lets_it_out_is_told_that_the_stream_broke() {
    let (mut io, cork) = corked(Narrow { fails: true, ..Narrow::default() });
    assert!(matches!(write(&mut io, &[b"x"]), Poll::Ready(Ok(1))));
    let Poll::Ready(Err(error)) = out(&cork) else { panic!("it is broken") };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

/// Little, which is held, and much, which is not.
#[test]
fn who_reads_to_the_last_word_writes_on_and_is_told_once() {
    for length in [1, 2 * HOLD] {
        let (mut io, cork) = corked_to_the_last_word(Narrow { fails: true, ..Narrow::default() });
        let bytes = vec![7; length];
        assert!(matches!(write(&mut io, &[&bytes]), Poll::Ready(Ok(n)) if n == length));
        let Poll::Ready(Err(error)) = out(&cork) else { panic!("it is told") };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(matches!(write(&mut io, &[&bytes]), Poll::Ready(Ok(n)) if n == length));
        assert!(matches!(out(&cork), Poll::Ready(Ok(()))));
        assert!(matches!(with(|cx| Pin::new(&mut io).poll_shutdown(cx)), Poll::Ready(Ok(()))));
        let mut read = [0; 8];
        let mut read = ReadBuf::new(&mut read);
        assert!(with(|cx| Pin::new(&mut io).poll_read(cx, &mut read)).is_ready());
        assert_eq!(read.filled(), b"read");
        assert!(cork.0.held.lock().bytes.capacity() == 0, "nothing is kept of what nobody takes");
    }
}

/// A stream whose writes are counted.
struct Counted(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn answer(stream: DuplexStream) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        respond.send_response(Response::new(()), true).unwrap();
    }
}

/// How often a connection over `io` writes for ten requests of 1 KiB that are made at once; `out` is called after each
/// of its turns.
async fn writes_of_ten<I>(
    io: I,
    writes: Arc<AtomicUsize>,
    mut out: impl FnMut(&mut Context<'_>) + Send + 'static,
) -> usize
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut send, mut connection) = h2::client::handshake(io).await.unwrap();
    let driver = tokio::spawn(poll_fn(move |cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        out(cx);
        ended
    }));
    // The beginning has writes of its own.
    send.send_request(Request::new(()), true).unwrap().0.await.unwrap();
    let before = writes.load(Ordering::Relaxed);
    let responses: Vec<_> = (0..10)
        .map(|_| {
            let (response, mut body) = send.send_request(Request::new(()), false).unwrap();
            body.send_data(Bytes::from_static(&[b'x'; 1024]), true).unwrap();
            response
        })
        .collect();
    for response in responses {
        assert_eq!(response.await.unwrap().status(), 200);
    }
    driver.abort();
    writes.load(Ordering::Relaxed) - before
}

/// The second half is why there is a cork: when `h2` writes once a turn by itself, it can go.
#[tokio::test]
async fn ten_requests_of_a_turn_are_one_write_and_ten_without_a_cork() {
    for is_corked in [true, false] {
        let (near, far) = tokio::io::duplex(1 << 20);
        let server = tokio::spawn(answer(far));
        let writes = Arc::new(AtomicUsize::new(0));
        let io = Counted(near, Arc::clone(&writes));
        let made = if is_corked {
            let (io, cork) = corked(io);
            writes_of_ten(io, writes, move |cx| drop(cork.poll_out(cx))).await
        } else {
            writes_of_ten(io, writes, |_| ()).await
        };
        assert!(if is_corked { made == 1 } else { made >= 10 }, "{is_corked}: {made} writes");
        server.abort();
    }
}

proptest! {
    /// However the stream takes it, and whenever it is let out: every byte, once, in order.
    #[test]
    fn every_byte_leaves_once_and_in_order(
        takes in prop::collection::vec(prop_oneof![Just(0usize), 1usize..40_000], 0..40),
        frames in prop::collection::vec((prop_oneof![0usize..2000, 0usize..40_000], any::<bool>()), 1..30),
    ) {
        let (mut io, cork) = corked(Narrow { takes: takes.into(), ..Narrow::default() });
        let mut expected = Vec::new();
        for (at, (len, ends_turn)) in frames.into_iter().enumerate() {
            let frame: Vec<u8> = (0..len).map(|byte| (byte + at) as u8).collect();
            expected.extend_from_slice(&frame);
            let mut left = &frame[..];
            while !left.is_empty() {
                let (head, rest) = left.split_at(left.len().min(9));
                if let Poll::Ready(written) = write(&mut io, &[head, rest]) {
                    let written = written.unwrap();
                    prop_assert!(written > 0);
                    left = &left[written..];
                }
                prop_assert!(cork.0.held.lock().bytes.len() <= HOLD);
            }
            if ends_turn {
                drop(out(&cork));
            }
        }
        while out(&cork).is_pending() {}
        prop_assert_eq!(&cork.0.held.lock().io.out, &expected);
    }
}
