//! The byte stream under a connection, with a switch that closes it whoever holds it.
//!
//! Dropping a connection's future does not always close its socket (an upgraded HTTP/1.1 connection
//! lives on elsewhere), so closing at a drain deadline goes through the stream itself. The stream also
//! carries the connection's [`Permit`]: a connection is open, and counts, as long as its stream exists.

use super::dial::BoxedIo;
use super::lanes::Permit;
use futures_util::task::AtomicWaker;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Closes a byte stream from outside, and counts what arrives on it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: AtomicBool,
    reads: AtomicU32,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Gate {
    /// Fails all reads and writes from now on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
    }

    /// How often something arrived; wraps.
    pub(super) fn reads(&self) -> u32 {
        self.reads.load(Ordering::Relaxed)
    }

    fn check(&self) -> io::Result<()> {
        if self.closed.load(Ordering::Relaxed) { Err(closed()) } else { Ok(()) }
    }
}

#[cold]
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was closed by the mesh")
}

/// The byte stream of one connection.
pub(super) struct NetIo {
    io: BoxedIo,
    gate: std::sync::Arc<Gate>,
    _permit: Permit,
}

impl NetIo {
    pub(super) fn new(io: BoxedIo, gate: std::sync::Arc<Gate>, permit: Permit) -> Self {
        Self { io, gate, _permit: permit }
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut BoxedIo>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.gate.check()?;
        let written = write(Pin::new(&mut self.io), cx);
        if written.is_pending() {
            self.gate.writer.register(cx.waker());
            self.gate.check()?;
        }
        written
    }
}

impl AsyncRead for NetIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.gate.check()?;
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_pending() {
            self.gate.reader.register(cx.waker());
            self.gate.check()?;
        } else {
            // Only one task reads: no read-modify-write is needed.
            let reads = self.gate.reads.load(Ordering::Relaxed);
            self.gate.reads.store(reads.wrapping_add(1), Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for NetIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |io, cx| io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |io, cx| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gate.check()?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gate.check()?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
