//! Streams are pipes of a few bytes, or say beforehand what happens to them.

use super::*;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Two ends, with a relay between them that reads and writes `buffer` bytes at a time.
fn relayed(
    buffer: usize,
    idle: Option<Duration>,
) -> (DuplexStream, DuplexStream, JoinHandle<Relayed>) {
    let ((one, mut first), (two, mut second)) = (duplex(5), duplex(3));
    let options = RelayOptions::new().buffer(buffer).idle_timeout(idle);
    let task = tokio::spawn(async move { relay(&mut first, &mut second, options).await });
    (one, two, task)
}

#[tokio::test(start_paused = true)]
async fn all_goes_over_in_both_directions_whatever_the_buffers() {
    let bytes: Arc<Vec<u8>> = Arc::new((0..=255).cycle().take(10_000).collect());
    for buffer in [0, 1, 2, 7, 16 << 10] {
        let (one, two, task) = relayed(buffer, None);
        let ends = [one, two].map(|end| {
            let bytes = Arc::clone(&bytes);
            let (mut reader, mut writer) = tokio::io::split(end);
            async move {
                let mut came = Vec::new();
                let send = async {
                    writer.write_all(&bytes).await.unwrap();
                    writer.shutdown().await.unwrap();
                };
                let (read, ()) = tokio::join!(reader.read_to_end(&mut came), send);
                assert_eq!(read.unwrap(), bytes.len());
                assert!(came == **bytes);
            }
        });
        let [one, two] = ends;
        tokio::join!(one, two);
        let relayed = task.await.unwrap();
        assert_eq!((relayed.first_to_second, relayed.second_to_first), (10_000, 10_000));
        assert!(matches!(relayed.end, RelayEnd::Complete));
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_ended_is_still_answered() {
    let (mut one, mut two, task) = relayed(16, None);
    one.write_all(b"ask").await.unwrap();
    one.shutdown().await.unwrap();
    let mut asked = String::new();
    two.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "ask");
    sleep(Duration::from_secs(5)).await;
    assert!(!task.is_finished());
    two.write_all(b"answer").await.unwrap_or_default();
    drop(two);
    let mut answered = String::new();
    one.read_to_string(&mut answered).await.unwrap();
    assert_eq!(answered, "answer");
    let relayed = task.await.unwrap();
    assert_eq!((relayed.first_to_second, relayed.second_to_first), (3, 6));
    assert!(matches!(relayed.end, RelayEnd::Complete));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_holds_the_other_back() {
    let (mut one, mut two, _task) = relayed(10, None);
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_secs(1), one.write_u8(1)).await.is_ok() {
        sent += 1;
    }
    // Pipes of five and of three, and at most ten in between.
    assert!((5 + 3..=5 + 10 + 3).contains(&sent), "{sent}");
    let mut bytes = [0; 5 + 3];
    two.read_exact(&mut bytes).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), one.write_u8(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn silence_ends_it_and_bytes_in_one_direction_are_none() {
    let begun = Instant::now();
    let (mut one, mut two, task) = relayed(16, Some(Duration::from_secs(10)));
    for _ in 0..5 {
        sleep(Duration::from_secs(9)).await;
        two.write_u8(1).await.unwrap();
        one.read_u8().await.unwrap();
    }
    let relayed = task.await.unwrap();
    assert!(matches!(relayed.end, RelayEnd::Idle), "{relayed:?}");
    let took = begun.elapsed();
    assert!((55_000..56_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!((relayed.first_to_second, relayed.second_to_first), (0, 5));
}

/// Reads what is given, the last first, and then for ever nothing; an error is told once, and then that it is over, as
/// sockets do. Fails to write if it is told so, and is not ready to write at first.
struct Scripted {
    reads: Vec<io::Result<&'static [u8]>>,
    writes: Result<Vec<u8>, io::ErrorKind>,
    /// How often it is not ready.
    waits: u8,
}

impl AsyncRead for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.reads.pop() {
            Some(Ok(bytes)) => {
                buf.put_slice(bytes);
                Poll::Ready(Ok(()))
            }
            Some(Err(error)) => {
                self.reads.push(Ok(b""));
                Poll::Ready(Err(error))
            }
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(left) = self.waits.checked_sub(1) {
            self.waits = left;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(match &mut self.writes {
            Ok(written) => {
                written.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Err(io::ErrorKind::WriteZero) => Ok(0),
            Err(kind) => Err((*kind).into()),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn whose_fault_it_was_is_told() {
    let reset = || Err(io::ErrorKind::ConnectionReset.into());
    let quiet = || Scripted { reads: vec![], writes: Ok(vec![]), waits: 2 };
    let reads = || Scripted { reads: vec![reset(), Ok(b"last")], ..quiet() };
    let writes = |kind| Scripted { writes: Err(kind), ..quiet() };
    let sends = || Scripted { reads: vec![Ok(b"bytes")], ..quiet() };
    let refuses = || writes(io::ErrorKind::BrokenPipe);
    let table = [
        (reads(), quiet(), "FirstBroke(Kind(ConnectionReset))", (4, 0)),
        (quiet(), reads(), "SecondBroke(Kind(ConnectionReset))", (0, 4)),
        (sends(), refuses(), "SecondBroke(Kind(BrokenPipe))", (0, 0)),
        (refuses(), sends(), "FirstBroke(Kind(BrokenPipe))", (0, 0)),
        (sends(), writes(io::ErrorKind::WriteZero), "SecondBroke(Kind(WriteZero))", (0, 0)),
    ];
    for (mut first, mut second, expected, counts) in table {
        let relayed = relay(&mut first, &mut second, RelayOptions::new()).await;
        assert_eq!(format!("{:?}", relayed.end), expected);
        assert_eq!((relayed.first_to_second, relayed.second_to_first), counts);
        // What came before it broke went over.
        for stream in [first, second] {
            assert!(stream.writes.is_err() || matches!(stream.writes, Ok(w) if w.len() <= 4));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_told_of_no_end_is_cut() {
    let quiet = || Scripted { reads: vec![], writes: Ok(vec![]), waits: 0 };
    let breaks = |kind: io::ErrorKind| Scripted { reads: vec![Err(kind.into())], ..quiet() };
    let refuses = |reads| Scripted { reads, writes: Err(io::ErrorKind::BrokenPipe), ..quiet() };
    let sends = || Scripted { reads: vec![Ok(b"bytes")], ..quiet() };
    let reset = || breaks(io::ErrorKind::ConnectionReset);
    // TLS without a farewell.
    let leaves = || breaks(io::ErrorKind::UnexpectedEof);
    let table = [
        (reset(), quiet(), (false, true)),
        (quiet(), reset(), (true, false)),
        (leaves(), quiet(), (false, false)),
        (quiet(), leaves(), (false, false)),
        (sends(), refuses(vec![]), (true, false)),
        // It had ended before.
        (sends(), refuses(vec![Ok(b"")]), (false, false)),
        (Scripted { reads: vec![Ok(b"")], ..quiet() }, sends(), (false, false)),
    ];
    for (at, (mut first, mut second, expected)) in table.into_iter().enumerate() {
        let options = RelayOptions::new().idle_timeout(Some(Duration::from_secs(1)));
        let relayed = relay(&mut first, &mut second, options).await;
        assert_eq!((relayed.cuts_first(), relayed.cuts_second()), expected, "{at}");
    }
}
