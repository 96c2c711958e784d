//! [`Connection`]: a byte stream from a client, and who is at its other end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
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

/// A connection as tonic takes it.
pub(super) struct Accepted<S> {
    connection: Connection<S>,
    /// When nothing is read from it any more: a client that stays on it would never prove anything again.
    end: Option<Pin<Box<Sleep>>>,
}

impl<S> Accepted<S> {
    pub(super) fn new(connection: Connection<S>) -> Self {
        let end = connection.peer.until.map(|until| Box::pin(sleep_until(until + LAST_WORDS)));
        Self { connection, end }
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
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            let why = "who is at the other end is to be proven again";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        Pin::new(&mut self.connection.stream).poll_read(cx, buffer)
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
