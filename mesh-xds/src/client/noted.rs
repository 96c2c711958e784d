//! [`Noted`]: a connection that remembers why it was lost.
//!
//! With TLS 1.3 a server judges our certificate after the handshake: its alert comes when tonic has the
//! connection already, and tonic answers by asking for another one. There is none (each stream dials anew), and
//! what is told of that is what was noted here.

use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What errors of a lost connection begin with.
pub(super) const LOST: &str = "the connection was lost";

/// A connection that remembers why it was lost.
pub(super) struct Noted<S> {
    inner: S,
    lost: Lost,
}

/// Why a connection was lost, as far as is known.
#[derive(Clone, Default)]
pub(super) struct Lost(Arc<Mutex<Option<io::Error>>>);

impl<S> Noted<S> {
    /// `lost` is told why the connection is lost.
    pub(super) fn new(inner: S, lost: &Lost) -> Self {
        Self { inner, lost: lost.clone() }
    }
}

impl Lost {
    /// What TLS says counts more than that the socket is closed; else the first word counts.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            let mut noted = self.0.lock();
            if noted.is_none() || error.kind() == io::ErrorKind::InvalidData {
                *noted = Some(io::Error::new(error.kind(), error.to_string()));
            }
        }
        result
    }

    /// For whoever asks for the connection once more.
    pub(super) fn error(&self) -> io::Error {
        match &*self.0.lock() {
            Some(why) => io::Error::other(format!("{LOST}: {why}")),
            None => io::Error::other(LOST),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        Poll::Ready(self.lost.note(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
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
}
