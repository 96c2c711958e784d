//! [`Noted`]: a connection that remembers why it was lost.
//!
//! With TLS 1.3 a server judges our certificate after the handshake: its alert comes when tonic has the
//! connection already, and tonic answers by asking for another one. There is none (each stream dials anew), and
//! what is told of that is what was noted here.
//!
//! Our first write may come after the server has closed its end. Then HTTP/2 gives up because of the write, and
//! the alert lies unread in the socket. So a connection that is let go leaves itself here, and
//! [`Lost::settle`] reads the rest: for [`SETTLE`], and [`MOST_READS`] times [`READ`] bytes, at most.

use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::timeout;

/// What errors of a lost connection begin with.
pub(super) const LOST: &str = "the connection was lost";

/// How long the rest of a connection is waited for. An alert is behind us by a flight of the network at most.
const SETTLE: Duration = Duration::from_millis(500);

/// How much of it is read: an alert comes after what the server sent before.
const MOST_READS: usize = 16;
const READ: usize = 4096;

/// Plain or secured.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that remembers why it was lost.
pub(super) struct Noted {
    inner: Box<dyn Stream>,
    lost: Lost,
}

/// Why a connection was lost, as far as is known.
#[derive(Clone, Default)]
pub(super) struct Lost(Arc<Shared>);

#[derive(Default)]
struct Shared {
    why: Mutex<Option<io::Error>>,
    /// The connection, once nobody uses it any more.
    rest: Mutex<Option<Box<dyn Stream>>>,
    let_go: Notify,
}

impl Noted {
    /// `lost` is told why the connection is lost.
    pub(super) fn new(inner: Box<dyn Stream>, lost: &Lost) -> Self {
        Self { inner, lost: lost.clone() }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let rest = std::mem::replace(&mut self.inner, Box::new(tokio::io::empty()));
        *self.lost.0.rest.lock() = Some(rest);
        self.lost.0.let_go.notify_one();
    }
}

impl Lost {
    /// What TLS says counts more than that the socket is closed; else the first word counts.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            let mut noted = self.0.why.lock();
            if noted.is_none() || error.kind() == io::ErrorKind::InvalidData {
                *noted = Some(io::Error::new(error.kind(), error.to_string()));
            }
        }
        result
    }

    /// Reads what is left of a connection that was let go, or is about to be, until TLS has said why.
    ///
    /// # Cancel safety
    /// What was read is noted; the rest of the connection is gone.
    #[cfg_attr(not(any(feature = "tls", test)), expect(dead_code, reason = "TLS alone has words"))]
    pub(super) async fn settle(&self) {
        let settled = async {
            if self.has_word_of_tls() {
                return;
            }
            self.0.let_go.notified().await;
            let rest = self.0.rest.lock().take();
            let (Some(mut rest), false) = (rest, self.has_word_of_tls()) else { return };
            let mut unused = vec![0; READ];
            for _ in 0..MOST_READS {
                match rest.read(&mut unused).await {
                    Ok(0) => {
                        let _noted = self.note::<()>(Err(closed())).is_err();
                        return;
                    }
                    read => {
                        if self.note(read).is_err() {
                            return;
                        }
                    }
                }
            }
        };
        // Late: what is known by now is told.
        let _in_time = timeout(SETTLE, settled).await.is_ok();
    }

    fn has_word_of_tls(&self) -> bool {
        self.0.why.lock().as_ref().is_some_and(|why| why.kind() == io::ErrorKind::InvalidData)
    }

    /// For whoever asks for the connection once more.
    pub(super) fn error(&self) -> io::Error {
        match &*self.0.why.lock() {
            Some(why) => io::Error::other(format!("{LOST}: {why}")),
            None => io::Error::other(LOST),
        }
    }

    /// What an error leaves out that says `text`. Before a stream has its head (`opening`) that the connection
    /// is lost is told in any case: the server may not want us. Later only what TLS says is.
    #[cfg_attr(not(any(feature = "tls", test)), expect(dead_code, reason = "TLS alone has words"))]
    pub(super) fn left_out_of(&self, text: &str, opening: bool) -> Option<String> {
        let noted = self.0.why.lock();
        let why = noted.as_ref()?;
        let told = match why.kind() {
            io::ErrorKind::InvalidData => text.contains(&why.to_string()),
            _ => !opening || text.contains(LOST),
        };
        (!told).then(|| format!(": {LOST}: {why}"))
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it")
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        Poll::Ready(self.lost.note(read))
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        Poll::Ready(self.lost.note(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, parts));
        Poll::Ready(self.lost.note(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        Poll::Ready(self.lost.note(flushed))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = ready!(Pin::new(&mut self.inner).poll_shutdown(cx));
        Poll::Ready(self.lost.note(shut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use tokio::io::AsyncWriteExt as _;

    #[test]
    fn the_first_word_counts_unless_tls_says_more() {
        let lost = Lost::default();
        assert_eq!(lost.error().to_string(), LOST);
        for (kind, text, expected) in [
            (ErrorKind::ConnectionReset, "reset", "the connection was lost: reset"),
            (ErrorKind::BrokenPipe, "broken pipe", "the connection was lost: reset"),
            (ErrorKind::InvalidData, "alert", "the connection was lost: alert"),
            (ErrorKind::BrokenPipe, "broken pipe", "the connection was lost: alert"),
        ] {
            let result: io::Result<()> = Err(io::Error::new(kind, text));
            assert!(lost.note(result).is_err());
            assert_eq!(lost.error().to_string(), expected);
        }
    }

    #[test]
    fn what_an_error_leaves_out_is_told() {
        let tls = (ErrorKind::InvalidData, "received fatal alert: UnknownCA");
        let socket = (ErrorKind::BrokenPipe, "broken pipe");
        for ((kind, why), text, opening, expected) in [
            (
                tls,
                "broken pipe",
                true,
                ": the connection was lost: received fatal alert: UnknownCA",
            ),
            (
                tls,
                "broken pipe",
                false,
                ": the connection was lost: received fatal alert: UnknownCA",
            ),
            (tls, "h2: received fatal alert: UnknownCA", true, ""),
            (socket, "broken pipe", true, ": the connection was lost: broken pipe"),
            (socket, "the connection was lost: broken pipe", true, ""),
            (socket, "broken pipe", false, ""),
        ] {
            let lost = Lost::default();
            assert_eq!(lost.left_out_of(text, opening), None);
            let _noted = lost.note::<()>(Err(io::Error::new(kind, why))).is_err();
            let found = lost.left_out_of(text, opening).unwrap_or_default();
            assert_eq!(found, expected, "{text}, {opening}");
        }
    }

    /// Writes fail; after a while so many bytes are read, and then this.
    struct Broken {
        silence: Pin<Box<tokio::time::Sleep>>,
        bytes: usize,
        end: Option<ErrorKind>,
    }

    impl AsyncRead for Broken {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            ready!(self.silence.as_mut().poll(cx));
            let read = self.bytes.min(buffer.remaining());
            self.bytes -= read;
            buffer.put_slice(&vec![0; read]);
            match self.end {
                Some(kind) if read == 0 => Poll::Ready(Err(io::Error::new(kind, "alert"))),
                _ => Poll::Ready(Ok(())),
            }
        }
    }

    impl AsyncWrite for Broken {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::Error::new(ErrorKind::BrokenPipe, "broken pipe")))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_a_connection_is_read_until_tls_has_spoken() {
        const TLS: Option<ErrorKind> = Some(ErrorKind::InvalidData);
        for (silence, bytes, end, expected) in [
            (Duration::ZERO, 0, TLS, "alert"),
            (Duration::ZERO, 3 * READ, TLS, "alert"),
            (Duration::ZERO, 2 * MOST_READS * READ, TLS, "broken pipe"),
            (SETTLE / 2, 0, TLS, "alert"),
            (SETTLE * 2, 0, TLS, "broken pipe"),
            (Duration::ZERO, 0, Some(ErrorKind::ConnectionReset), "broken pipe"),
            (Duration::ZERO, 0, None, "broken pipe"),
        ] {
            let lost = Lost::default();
            let silence = Box::pin(tokio::time::sleep(silence));
            let mut noted = Noted::new(Box::new(Broken { silence, bytes, end }), &lost);
            assert!(noted.write_all(b"request").await.is_err());
            drop(noted);
            lost.settle().await;
            assert_eq!(lost.error().to_string(), format!("{LOST}: {expected}"));
        }
    }

    #[tokio::test]
    async fn a_connection_that_the_server_has_closed_is_told_as_that() {
        let lost = Lost::default();
        drop(Noted::new(Box::new(tokio::io::empty()), &lost));
        lost.settle().await;
        assert_eq!(lost.error().to_string(), format!("{LOST}: the server closed it"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_still_used_is_waited_for_so_long() {
        let lost = Lost::default();
        let _used = Noted::new(Box::new(tokio::io::empty()), &lost);
        let begun = tokio::time::Instant::now();
        lost.settle().await;
        assert_eq!(begun.elapsed(), SETTLE);
        assert_eq!(lost.error().to_string(), LOST);
    }
}
