//! [`Corked`]: what a connection of HTTP/2 writes in one turn leaves together.
//!
//! `h2` hands every DATA frame of 256 bytes and more to its stream at once, with what was before it, so that a call of
//! 1 KiB is a system call there and one back, and each wakes the peer. Here frames are held until the connection has no
//! more to say in this turn: whoever polls the connection then calls [`Cork::poll_out`]. Of more than [`HOLD`] bytes
//! nothing is held, and large frames are never copied.
//!
//! Both halves are used by whoever has the connection's turn, and nobody else: the lock is never waited for.
//!
//! A server's `h2` looks for more to read before each request that it gives. Once there was nothing, whoever polls the
//! connection was promised to be woken, and within the same turn is not asked again ([`Cork::turn`]).

use parking_lot::Mutex;
use smallvec::SmallVec;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that are held: one record of TLS (RFC 8446 section 5.1).
const HOLD: usize = 16 * 1024;

/// The memory that is kept between turns: a call of the usual size costs no allocation.
const KEPT: usize = 2 * 1024;

/// How many pieces are written together.
const PIECES: usize = 8;

/// The byte stream of a connection, for who makes frames.
#[derive(Debug)]
pub(crate) struct Corked<I>(Arc<Shared<I>>);

/// Lets out what the connection has written, for who polls it.
#[derive(Debug)]
pub(crate) struct Cork<I>(Arc<Shared<I>>);

#[derive(Debug)]
struct Shared<I> {
    held: Mutex<Held<I>>,
    /// [`ASKS`], [`TURN`] or [`DRY`].
    reads: AtomicU8,
}

/// Nobody says when turns begin: each read asks the stream.
const ASKS: u8 = 0;
/// In this turn there was something each time.
const TURN: u8 = 1;
/// In this turn there is nothing any more.
const DRY: u8 = 2;

#[derive(Debug)]
struct Held<I> {
    io: I,
    /// What was taken and is not written; empty, it has [`KEPT`] bytes of memory at most.
    bytes: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// Something was written that may be held below.
    is_unflushed: bool,
    /// The stream takes nothing of what is too large to be held; it wakes the task that writes it.
    is_stuck: bool,
    failure: Failure,
}

/// What a write that fails means.
#[derive(Debug)]
enum Failure {
    /// The end, for who makes frames.
    Ends,
    /// Nothing to who makes frames, and there was none yet.
    Outlived,
    /// There was this one.
    Untold(io::Error),
    /// [`Cork::poll_out`] has told it: nothing is written any more.
    Told,
}

/// `io`, and who has to call [`Cork::poll_out`] after each turn.
pub(crate) fn corked<I>(io: I) -> (Corked<I>, Cork<I>) {
    with(io, Failure::Ends)
}

/// The same, but a write that fails is no end: whoever makes frames goes on reading, and what it writes is dropped.
///
/// A peer may have said something before it closed, as which calls it did not see, and that is still to be read when
/// the next write fails. [`Cork::poll_out`] tells the error, once.
pub(crate) fn corked_to_the_last_word<I>(io: I) -> (Corked<I>, Cork<I>) {
    with(io, Failure::Outlived)
}

fn with<I>(io: I, failure: Failure) -> (Corked<I>, Cork<I>) {
    let (is_unflushed, is_stuck) = (false, false);
    let held = Held { io, bytes: Vec::new(), written: 0, is_unflushed, is_stuck, failure };
    let shared = Arc::new(Shared { held: Mutex::new(held), reads: AtomicU8::new(ASKS) });
    (Corked(Arc::clone(&shared)), Cork(shared))
}

impl<I> Cork<I> {
    /// A turn begins. To be called at every one from the first on, by who then polls with one waker only.
    pub(crate) fn turn(&self) {
        self.0.reads.store(TURN, Ordering::Relaxed);
    }
}

impl<I: AsyncWrite + Unpin> Cork<I> {
    /// Writes what is held. Pending: the stream takes no more, and wakes the task when it does.
    ///
    /// # Errors
    /// Those of the stream.
    pub(crate) fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.held.lock();
        if !held.is_over() {
            match held.poll_out(cx) {
                Poll::Ready(Err(error)) => held.fails(error)?,
                out => return out,
            }
        }
        held.tell()
    }
}

impl<I: AsyncWrite + Unpin> Held<I> {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_stuck && self.is_empty() {
            // A flush, which most streams have no use for, would say that it is not.
            Poll::Pending
        } else if self.is_unflushed || !self.is_empty() {
            self.poll_flush(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

impl<I> Held<I> {
    const fn is_empty(&self) -> bool {
        self.bytes.len() == self.written
    }

    /// Whether there is room for so many more.
    const fn fits(&self, more: usize) -> bool {
        self.bytes.len() + more <= HOLD
    }

    fn hold(&mut self, bytes: &[u8]) {
        let length = self.bytes.len() + bytes.len();
        if length > self.bytes.capacity() {
            let wanted = if length > KEPT { HOLD } else { KEPT };
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// A write failed.
    fn fails(&mut self, error: io::Error) -> io::Result<()> {
        if let Failure::Ends = self.failure {
            return Err(error);
        }
        self.failure = Failure::Untold(error);
        (self.bytes, self.written, self.is_stuck) = (Vec::new(), 0, false);
        Ok(())
    }

    /// What failed, once.
    fn tell(&mut self) -> Poll<io::Result<()>> {
        match std::mem::replace(&mut self.failure, Failure::Told) {
            Failure::Untold(error) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Nothing is written any more.
    const fn is_over(&self) -> bool {
        matches!(self.failure, Failure::Untold(_) | Failure::Told)
    }

    /// So many bytes were written; how many of them were not held.
    fn went(&mut self, written: usize) -> usize {
        self.is_unflushed = true;
        let held = written.min(self.bytes.len() - self.written);
        self.written += held;
        if self.is_empty() {
            self.written = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
        }
        written - held
    }
}

impl<I: AsyncWrite + Unpin> Held<I> {
    /// Writes what is held, and then `more`; how much of `more` was written, which is something.
    fn poll_with(&mut self, cx: &mut Context<'_>, more: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let io = Pin::new(&mut self.io);
            let polled = if self.bytes.is_empty() {
                io.poll_write_vectored(cx, more)
            } else {
                let held = std::iter::once(IoSlice::new(&self.bytes[self.written..]));
                let all: SmallVec<[IoSlice<'_>; PIECES]> =
                    held.chain(more.iter().copied()).take(PIECES).collect();
                io.poll_write_vectored(cx, &all)
            };
            self.is_stuck = polled.is_pending();
            let written = ready!(polled)?;
            let more = self.went(written);
            if more > 0 || written == 0 {
                return Poll::Ready(Ok(more));
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let left = &self.bytes[self.written..];
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, left))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.went(written);
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.is_unflushed = false;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Corked<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let reads = &self.0.reads;
        // One task has both halves, so nothing comes in between.
        if reads.load(Ordering::Relaxed) == DRY {
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.0.held.lock().io).poll_read(cx, buf);
        if read.is_pending() && reads.load(Ordering::Relaxed) == TURN {
            reads.store(DRY, Ordering::Relaxed);
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Corked<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut held = self.0.held.lock();
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if held.is_over() {
            return Poll::Ready(Ok(all));
        }
        if !held.fits(all) {
            return match ready!(held.poll_with(cx, bufs)) {
                Err(error) => Poll::Ready(held.fails(error).map(|()| all)),
                written => Poll::Ready(written),
            };
        }
        bufs.iter().for_each(|buf| held.hold(buf));
        Poll::Ready(Ok(all))
    }

    /// Nothing: [`Cork::poll_out`] does.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.held.lock();
        if held.is_over() {
            return Poll::Ready(Ok(()));
        }
        if let Err(error) = ready!(held.poll_flush(cx)) {
            return Poll::Ready(held.fails(error));
        }
        Pin::new(&mut held.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
