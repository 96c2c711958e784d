//! [`AcceptedIo`]: the bytes of a connection that was accepted.

use crate::reset;
use bytes::{Buf, Bytes};
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes of a connection that was accepted: decrypted, if it is TLS.
pub struct AcceptedIo<I>(pub(super) Kind<I>);

pub(super) enum Kind<I> {
    Plain(Rewind<I>),
    #[cfg(feature = "tls")]
    Tls(Box<Rewind<tokio_rustls::server::TlsStream<Rewind<I>>>>),
}

impl<I> AcceptedIo<I> {
    /// What was read of it is read again, before what is still to come.
    pub(super) fn put_back(&mut self, read: Bytes) {
        match &mut self.0 {
            Kind::Plain(io) => io.put_back(read),
            #[cfg(feature = "tls")]
            Kind::Tls(io) => io.put_back(read),
        }
    }
}

impl<I: 'static> AcceptedIo<I> {
    /// Closing it resets it from now on, where it is a TCP socket.
    pub(crate) fn resets_on_close(&self) {
        reset::on_close(match &self.0 {
            Kind::Plain(io) => &io.io,
            #[cfg(feature = "tls")]
            Kind::Tls(io) => &io.io.get_ref().0.io,
        });
    }
}

/// A stream whose first bytes were read already, and are read again.
pub(super) struct Rewind<I> {
    read: Bytes,
    io: I,
}

impl<I> Rewind<I> {
    pub(super) const fn new(read: Bytes, io: I) -> Self {
        Self { read, io }
    }

    fn put_back(&mut self, read: Bytes) {
        if self.read.is_empty() {
            self.read = read;
        } else if !read.is_empty() {
            self.read = [read, std::mem::take(&mut self.read)].concat().into();
        }
    }

    pub(super) const fn get_ref(&self) -> &I {
        &self.io
    }

    /// The stream, and what is still to be read before it.
    pub(super) fn into_parts(self) -> (Bytes, I) {
        (self.read, self.io)
    }
}

impl<I> fmt::Debug for AcceptedIo<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_tls = !matches!(self.0, Kind::Plain(_));
        f.debug_struct("AcceptedIo").field("is_tls", &is_tls).finish_non_exhaustive()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Rewind<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..count]);
        self.read.advance(count);
        if self.read.is_empty() {
            self.read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Rewind<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for AcceptedIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(io) => Pin::new(io).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Kind::Tls(io) => {
                let before = buf.filled().len();
                let read = std::task::ready!(Pin::new(io).poll_read(cx, buf));
                match read {
                    // A peer that leaves without a farewell. What it sent is delimited by HTTP.
                    Err(error)
                        if error.kind() == io::ErrorKind::UnexpectedEof
                            && buf.filled().len() == before =>
                    {
                        Poll::Ready(Ok(()))
                    }
                    read => Poll::Ready(read),
                }
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for AcceptedIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(io) => Pin::new(io).poll_write(cx, buf),
            #[cfg(feature = "tls")]
            Kind::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(io) => Pin::new(io).poll_flush(cx),
            #[cfg(feature = "tls")]
            Kind::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(io) => Pin::new(io).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Kind::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            #[cfg(feature = "tls")]
            Kind::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Plain(io) => io.is_write_vectored(),
            #[cfg(feature = "tls")]
            Kind::Tls(io) => io.is_write_vectored(),
        }
    }
}
