//! [`Connection`]: a byte stream from a client, and who is at its other end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::transport::server::Connected;

/// A connection of a client that was accepted: TCP, a Unix socket, TLS over one of them.
///
/// Who is at the other end is not asked: what is said here is shown with the clients.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    peer: Peer,
}

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) address: Option<SocketAddr>,
    pub(super) identity: Option<Arc<str>>,
    /// When this is to be proven again.
    pub(super) until: Option<Instant>,
}

impl<S> Connection<S> {
    /// A connection of somebody.
    #[must_use]
    pub const fn new(stream: S) -> Self {
        Self { stream, peer: Peer { address: None, identity: None, until: None } }
    }

    /// From this address.
    #[must_use]
    pub const fn with_address(mut self, address: SocketAddr) -> Self {
        self.peer.address = Some(address);
        self
    }

    /// Of this identity, which must be proven: the SPIFFE id of a certificate that was verified.
    #[must_use]
    pub fn with_identity(mut self, identity: impl Into<Arc<str>>) -> Self {
        self.peer.identity = Some(identity.into());
        self
    }

    /// Who it is holds until then: its streams end with `UNAVAILABLE`, and soon after the connection. Default: for
    /// as long as it is open.
    #[must_use]
    pub const fn until(mut self, end: Instant) -> Self {
        self.peer.until = Some(end);
        self
    }
}

/// How long clients have that were told to connect anew.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long a client may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// The bytes that HTTP/2 begins with (RFC 9113, 3.4). After them, whoever is silent is asked whether he is there.
const PREFACE: usize = 24;

/// A connection as tonic takes it.
pub(super) struct Accepted<S> {
    connection: Connection<S>,
    /// When nothing is read from it any more: a client that stays on it would never prove anything again.
    end: Option<Pin<Box<Sleep>>>,
    /// When nothing is read from it any more, unless it has begun; `None`: it has.
    begins: Option<Pin<Box<Sleep>>>,
    /// The bytes that are missing of its beginning.
    missing: usize,
}

impl<S> Accepted<S> {
    pub(super) fn new(connection: Connection<S>) -> Self {
        let end = connection.peer.until.map(|until| Box::pin(sleep_until(until + LAST_WORDS)));
        let begins = Some(Box::pin(sleep(PATIENCE)));
        Self { connection, end, begins, missing: PREFACE }
    }

    /// Why nothing is read from it any more.
    fn is_over(&mut self, cx: &mut Context<'_>) -> Option<&'static str> {
        let mut passed = |timer: &mut Option<Pin<Box<Sleep>>>| {
            timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
        };
        if passed(&mut self.end) {
            return Some("who is at the other end is to be proven again");
        }
        passed(&mut self.begins).then_some("it did not begin with HTTP/2 in time")
    }
}

impl<S> Connected for Accepted<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.connection.peer.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Accepted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(why) = self.is_over(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.connection.stream).poll_read(cx, buffer))?;
        if self.begins.is_some() {
            self.missing = self.missing.saturating_sub(buffer.filled().len() - before);
            if self.missing == 0 {
                self.begins = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Accepted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// What becomes of a connection whose client says so much and no more: how long it is read from.
    async fn read_for(bytes: usize) -> Option<Duration> {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(&[b'x'; 64][..bytes]).await.unwrap();
        let mut accepted = Accepted::new(Connection::new(server));
        let begun = Instant::now();
        let all = async {
            let mut buffer = [0; 8];
            loop {
                if let Err(error) = accepted.read(&mut buffer).await {
                    return error.kind();
                }
            }
        };
        let read = tokio::time::timeout(Duration::from_secs(3600), all).await.ok()?;
        assert_eq!(read, io::ErrorKind::TimedOut);
        Some(begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_begin_is_not_waited_for() {
        assert_eq!(read_for(0).await, Some(PATIENCE));
        assert_eq!(read_for(PREFACE - 1).await, Some(PATIENCE));
        assert_eq!(read_for(PREFACE).await, None);
    }
}
