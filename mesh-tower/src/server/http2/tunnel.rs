//! CONNECT over HTTP/2: a stream of the connection becomes bytes (RFC 9113 section 8.5, RFC 8441).

use crate::server::streams::{Counts, Held};
use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The most bytes of a write that are one piece of the stream.
const PIECE: usize = 16 << 10;

/// In the extensions of a request of CONNECT over HTTP/2: the stream as bytes, when the request is answered with success.
///
/// # Errors
/// It was answered otherwise, or not at all.
///
/// # Cancel safety
/// Dropping it gives the stream up, when it is answered with success.
#[derive(Clone, Debug)]
pub struct OnTunnel(Arc<parking_lot::Mutex<Option<oneshot::Receiver<TunnelStream>>>>);

/// Who waits for it is told.
pub(super) struct Opening {
    stream: RecvStream,
    opened: oneshot::Sender<TunnelStream>,
    counts: Arc<Counts>,
    breaks_with: Reason,
}

/// `is_extended`: it stands for an upgrade (RFC 8441).
pub(super) fn pending(
    stream: RecvStream,
    counts: &Arc<Counts>,
    is_extended: bool,
) -> (Opening, OnTunnel) {
    let (opened, opens) = oneshot::channel();
    // RFC 8441 section 5, RFC 9113 section 8.5.
    let breaks_with = if is_extended { Reason::CANCEL } else { Reason::CONNECT_ERROR };
    let opening = Opening { stream, opened, counts: Arc::clone(counts), breaks_with };
    (opening, OnTunnel(Arc::new(parking_lot::Mutex::new(Some(opens)))))
}

impl Opening {
    /// The request was answered with success.
    pub(super) fn open(self, writes: SendStream<Bytes>) {
        let Self { stream: reads, opened, counts, breaks_with } = self;
        let stream = TunnelStream {
            reads,
            rest: Bytes::new(),
            has_ended: false,
            writes,
            is_shut: false,
            breaks_with,
            _held: Counts::hold(&counts),
        };
        // Nobody waits: dropping it resets the stream.
        drop(opened.send(stream));
    }
}

impl Future for OnTunnel {
    type Output = io::Result<TunnelStream>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<TunnelStream>> {
        let mut opens = self.0.lock();
        let opened = match &mut *opens {
            Some(opens) => ready!(Pin::new(opens).poll(cx)).map_err(|_gone| ()),
            None => Err(()),
        };
        *opens = None;
        Poll::Ready(opened.map_err(|()| io::Error::other("the request became no tunnel")))
    }
}

/// A stream of HTTP/2 as bytes. Shutting it down ends our half; dropped before, or [reset](Self::reset), it breaks off.
pub struct TunnelStream {
    reads: RecvStream,
    /// What came, and was not read yet.
    rest: Bytes,
    has_ended: bool,
    writes: SendStream<Bytes>,
    is_shut: bool,
    breaks_with: Reason,
    _held: Held,
}

impl TunnelStream {
    /// Breaks it off, as a connection of TCP is reset: RST_STREAM with CONNECT_ERROR (RFC 9113 section 8.5), of extended
    /// CONNECT with CANCEL (RFC 8441 section 5).
    pub fn reset(mut self) {
        self.writes.send_reset(self.breaks_with);
    }
}

/// A stream that its client has reset is broken, also if he was done with it.
fn broken(error: h2::Error) -> io::Error {
    if error.is_reset() {
        return io::Error::new(io::ErrorKind::ConnectionReset, error);
    }
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    io::Error::other(error)
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.has_ended {
            match ready!(self.reads.poll_data(cx)) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => self.has_ended = true,
            }
        }
        let length = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        if length > 0 {
            // The room of what is read is the client's again; it has come, so it is never too much.
            drop(self.reads.flow_control().release_capacity(length));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.writes.reserve_capacity(buf.len().min(PIECE));
        while self.writes.capacity() == 0 {
            match ready!(self.writes.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => {
                    let error = self.reset_by_client(cx);
                    return Poll::Ready(Err(
                        error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
                    ));
                }
            }
        }
        let piece = &buf[..buf.len().min(PIECE).min(self.writes.capacity())];
        self.writes.send_data(Bytes::copy_from_slice(piece), false).map_err(broken)?;
        Poll::Ready(Ok(piece.len()))
    }

    /// Nothing waits here. Fails if the client has reset the stream, and wakes the task when he does.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_shut {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.reset_by_client(cx).map_or(Ok(()), Err))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            self.is_shut = true;
            // A stream that the client has reset has ended anyway.
            drop(self.writes.send_data(Bytes::new(), true));
        }
        Poll::Ready(Ok(()))
    }
}

impl TunnelStream {
    /// That nothing can be written any more; `None`: it can, as far as is known, and the task is woken when that changes.
    fn reset_by_client(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        match self.writes.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => {
                Some(io::Error::new(io::ErrorKind::ConnectionReset, h2::Error::from(reason)))
            }
            Poll::Ready(Err(error)) => Some(broken(error)),
            Poll::Pending => None,
        }
    }
}

impl fmt::Debug for TunnelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelStream").field("id", &self.writes.stream_id()).finish_non_exhaustive()
    }
}
