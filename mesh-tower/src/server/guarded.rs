//! [`Guarded`]: the bytes of a connection of HTTP, looked at on their way to hyper or h2.
//!
//! What hyper and h2 bound, they bound: the size of heads, CONTINUATION, streams that are reset before they were
//! taken, what is held for a stream. What they let pass is seen by its bytes: frames that carry nothing, and streams
//! that are reset right after they were taken ([`Frames`]). It also tells the connection's timer who says nothing and
//! who reads nothing.

use super::head_timer::HeadTimer;
use super::rest::Spoken;
use super::tunnels::{Tunnel, Tunnels};
use crate::clock;
use mesh_core::inbound::flood::{Flood, Frames};
use parking_lot::Mutex;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is found out about a connection. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Found(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    /// How many streams of HTTP/2 were opened.
    opened: AtomicU64,
    flood: Mutex<Option<Flood>>,
    last: Mutex<Option<Flood>>,
    /// It was handed over to its service, and is a tunnel.
    is_handed_over: AtomicBool,
    tunnel: Mutex<Option<Tunnel>>,
}

impl Found {
    /// What it was ended for.
    pub(super) fn flood(&self) -> Option<Flood> {
        *self.0.flood.lock()
    }

    /// What carried nothing last: what it was, where h2 says that it was too much.
    pub(super) fn last(&self) -> Option<Flood> {
        *self.0.last.lock()
    }

    /// How many streams of HTTP/2 were opened.
    pub(super) fn opened(&self) -> u64 {
        self.0.opened.load(Ordering::Relaxed)
    }

    /// The service is given the connection: what it carries from now on is a tunnel, for as long as its bytes are there.
    pub(super) fn hand_over(&self, tunnels: &Tunnels) {
        *self.0.tunnel.lock() = Some(tunnels.open());
        self.0.is_handed_over.store(true, Ordering::Release);
    }
}

/// The bytes of a connection of HTTP.
pub(super) struct Guarded<I> {
    io: I,
    frames: Frames,
    timer: HeadTimer,
    found: Found,
    /// Whether the timer knows what is spoken.
    is_begun: bool,
    /// What `found` has of it.
    last: Option<Flood>,
    /// Of a tunnel: that it is to end, for who reads and for who writes, which may be two tasks.
    closed: [Option<Pin<Box<dyn Future<Output = ()> + Send>>>; 2],
}

/// Who asks whether a tunnel goes on.
#[derive(Clone, Copy)]
enum Half {
    Reading,
    Writing,
}

impl<I> Drop for Guarded<I> {
    fn drop(&mut self) {
        if self.found.0.is_handed_over.load(Ordering::Acquire) {
            *self.found.0.tunnel.lock() = None;
        }
    }
}

impl<I> Guarded<I> {
    pub(super) fn new(io: I, timer: HeadTimer, found: Found) -> Self {
        let frames = Frames::new(clock::now());
        Self { io, frames, timer, found, is_begun: false, last: None, closed: [None, None] }
    }

    /// The connection.
    pub(super) const fn inner(&self) -> &I {
        &self.io
    }

    /// What the client speaks; `None`: that is not known yet.
    pub(super) const fn spoken(&self) -> Option<Spoken> {
        if !self.frames.is_begun() {
            None
        } else if self.frames.is_http2() {
            Some(Spoken::Http2)
        } else {
            Some(Spoken::Http1)
        }
    }

    /// Whoever has it holds on to what is to end.
    ///
    /// # Errors
    /// It is a tunnel that was told to end.
    fn goes_on(&mut self, half: Half, cx: &mut Context<'_>) -> io::Result<()> {
        match self.found.0.is_handed_over.load(Ordering::Acquire) {
            true => self.tunnel_goes_on(half, cx),
            false => Ok(()),
        }
    }

    #[cold]
    fn tunnel_goes_on(&mut self, half: Half, cx: &mut Context<'_>) -> io::Result<()> {
        let closed = &mut self.closed[half as usize];
        if closed.is_none() {
            let tunnel = self.found.0.tunnel.lock();
            let Some(tunnel) = &*tunnel else { return Ok(()) };
            *closed = Some(Box::pin(tunnel.tunnels().closed()));
        }
        match closed.as_mut().map(|closed| closed.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => {
                // Once ready it is asked no more.
                *closed = Some(Box::pin(std::future::ready(())));
                let why = "the connection was told to end, and its time is over";
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))
            }
            _ => Ok(()),
        }
    }

    fn came(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !bytes.is_empty() {
            self.timer.heard();
        }
        let is_low = self.frames.read(bytes);
        self.found.0.opened.store(self.frames.opened(), Ordering::Relaxed);
        if !self.is_begun && self.frames.is_begun() {
            self.is_begun = true;
            self.timer.begun();
        }
        if self.last != self.frames.last() {
            self.last = self.frames.last();
            *self.found.0.last.lock() = self.last;
        }
        if is_low && let Err(flood) = self.frames.settle(clock::now()) {
            *self.found.0.flood.lock() = Some(flood);
            return Err(io::Error::other(flood));
        }
        Ok(())
    }

    /// Takes in what became of writing, and how many bytes were taken.
    fn went<T>(&mut self, written: &Poll<io::Result<T>>, bytes: impl FnOnce(&T) -> usize) {
        self.timer.stalls(written.is_pending());
        if let Poll::Ready(Ok(written)) = written {
            self.frames.wrote(bytes(written));
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guarded<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.goes_on(Half::Reading, cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = read {
            self.came(&buf.filled()[before..])?;
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guarded<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.goes_on(Half::Writing, cx)?;
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.went(&written, |bytes| *bytes);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.went(&flushed, |()| 0);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.io).poll_shutdown(cx);
        self.went(&ended, |()| 0);
        ended
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.goes_on(Half::Writing, cx)?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.went(&written, |bytes| *bytes);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
