//! [`relay`]: bytes both ways between two streams, until both have ended.

use crate::clock;
use mesh_core::Timestamp;
use mesh_core::proxy::stream::StreamEnd;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How bytes are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayOptions {
    /// How long nothing may go over, in either direction, before it ends; `None`: for ever. Default: one hour
    /// (Envoy: `TcpProxy.idle_timeout`).
    pub idle_timeout: Option<Duration>,
    /// The size of the buffer of each direction, in bytes, at least 1. Default: 16 KiB. That is all that is held: who
    /// does not read holds the other back.
    pub buffer: usize,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self { idle_timeout: Some(Duration::from_secs(3600)), buffer: 16 << 10 }
    }
}

impl RelayOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends when nothing went over for so long; `None`: never.
    #[must_use]
    pub const fn idle_timeout(mut self, idle_timeout: Option<Duration>) -> Self {
        self.idle_timeout = idle_timeout;
        self
    }

    /// Holds at most so many bytes for each direction.
    #[must_use]
    pub const fn buffer(mut self, bytes: usize) -> Self {
        self.buffer = bytes;
        self
    }
}

/// What went over, and how it ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Relayed {
    /// Bytes from the first stream that were written to the second.
    pub first_to_second: u64,
    /// Bytes from the second stream that were written to the first.
    pub second_to_first: u64,
    /// How it ended.
    pub end: RelayEnd,
    /// Whether the stream that did not break has been told of no end, so that closing it as ever would be a good one.
    is_cut: bool,
}

impl Relayed {
    /// Whether the first stream must not end well, since the second broke before its end.
    pub(crate) const fn cuts_first(&self) -> bool {
        self.is_cut && matches!(self.end, RelayEnd::SecondBroke(_))
    }

    /// The same of the second.
    pub(crate) const fn cuts_second(&self) -> bool {
        self.is_cut && matches!(self.end, RelayEnd::FirstBroke(_))
    }
}

/// How passing bytes on ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum RelayEnd {
    /// Both streams came to their end.
    Complete,
    /// Nothing went over for the idle timeout.
    Idle,
    /// The first stream broke.
    FirstBroke(io::Error),
    /// The second stream broke.
    SecondBroke(io::Error),
}

impl RelayEnd {
    /// The same, where the first stream is a client's, and the second leads to an endpoint.
    #[must_use]
    pub const fn of_client(&self) -> StreamEnd {
        match self {
            Self::Complete => StreamEnd::Complete,
            Self::Idle => StreamEnd::Idle,
            Self::FirstBroke(_) => StreamEnd::Client,
            Self::SecondBroke(_) => StreamEnd::Endpoint,
        }
    }
}

/// Passes bytes on both ways until both streams have ended, one breaks, or nothing goes over for too long.
///
/// Where one stream ends, the other's writing half is shut down once all of it is written, and the other direction goes
/// on: protocols that end their requests so get their answers. What was read before one broke is written before it is
/// told where that is still possible.
///
/// # Cancel safety
/// Dropping the future leaves both streams as they are; bytes that it has read and not written are lost.
///
/// # Examples
/// ```no_run
/// # async fn example(mesh: &mesh_tower::Mesh, mut client: tokio::net::TcpStream) -> Result<(), mesh_tower::Error> {
/// use mesh_tower::tcp::{RelayOptions, relay};
///
/// let mut endpoint = mesh.connect("orders-db").await?;
/// let relayed = relay(&mut client, &mut endpoint, RelayOptions::new()).await;
/// println!("{} bytes there, {} back", relayed.first_to_second, relayed.second_to_first);
/// # Ok(()) }
/// ```
pub async fn relay<A, B>(first: &mut A, second: &mut B, options: RelayOptions) -> Relayed
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let (mut there, mut back) = (Pump::new(options.buffer), Pump::new(options.buffer));
    let mut idle = pin!(Idle::new(options.idle_timeout));
    let end = poll_fn(|cx| {
        // Both, always: each has its own waker to register.
        let before = there.moved + back.moved;
        let (forth, return_) = (there.poll(first, second, cx), back.poll(second, first, cx));
        let is_moving = there.moved + back.moved > before;
        match (forth, return_) {
            (Poll::Ready(Err(broke)), _) => Poll::Ready(broke.seen_from(true)),
            (_, Poll::Ready(Err(broke))) => Poll::Ready(broke.seen_from(false)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(RelayEnd::Complete),
            _ => idle.as_mut().poll(is_moving, cx).map(|()| RelayEnd::Idle),
        }
    })
    .await;
    let is_cut = match &end {
        RelayEnd::FirstBroke(error) => !there.is_done && is_broken(error),
        RelayEnd::SecondBroke(error) => !back.is_done && is_broken(error),
        RelayEnd::Complete | RelayEnd::Idle => false,
    };
    Relayed { first_to_second: there.written, second_to_first: back.written, end, is_cut }
}

/// TLS that ends without saying so (RFC 8446 section 6.1) is an end: most peers just close.
fn is_broken(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::UnexpectedEof
}

/// One direction.
struct Pump {
    buffer: Box<[u8]>,
    /// What is in the buffer and not written yet.
    start: usize,
    end: usize,
    /// Whether the reader has ended, or broke.
    is_over: bool,
    /// How it broke: told once all that came before is written.
    broke: Option<io::Error>,
    /// Whether all is done: written, flushed, and the writer shut down.
    is_done: bool,
    written: u64,
    /// Bytes that were read, and that were written: what shows that it moves.
    moved: u64,
}

/// Which end broke.
enum Broke {
    Reader(io::Error),
    Writer(io::Error),
}

impl Broke {
    /// `forth`: the first stream is the reader.
    fn seen_from(self, forth: bool) -> RelayEnd {
        match (self, forth) {
            (Self::Reader(error), true) | (Self::Writer(error), false) => {
                RelayEnd::FirstBroke(error)
            }
            (Self::Reader(error), false) | (Self::Writer(error), true) => {
                RelayEnd::SecondBroke(error)
            }
        }
    }
}

impl Pump {
    fn new(buffer: usize) -> Self {
        Self {
            buffer: vec![0; buffer.max(1)].into(),
            start: 0,
            end: 0,
            is_over: false,
            broke: None,
            is_done: false,
            written: 0,
            moved: 0,
        }
    }

    /// Moves what can be moved. Ready: the reader has ended, and the writer knows.
    fn poll<R, W>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broke>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        if self.is_done {
            return Poll::Ready(Ok(()));
        }
        loop {
            let reads = self.fill(reader, cx);
            while self.start < self.end {
                let writes =
                    Pin::new(&mut *writer).poll_write(cx, &self.buffer[self.start..self.end]);
                let count = ready!(writes).map_err(Broke::Writer)?;
                if count == 0 {
                    return Poll::Ready(Err(Broke::Writer(io::ErrorKind::WriteZero.into())));
                }
                self.start += count;
                self.written += count as u64;
                self.moved += count as u64;
            }
            (self.start, self.end) = (0, 0);
            if let Some(error) = self.broke.take() {
                return Poll::Ready(Err(Broke::Reader(error)));
            }
            match reads {
                // There may be more.
                Poll::Ready(()) if !self.is_over => {}
                Poll::Ready(()) => {
                    let shut = Pin::new(&mut *writer).poll_shutdown(cx);
                    ready!(shut).map_err(Broke::Writer)?;
                    self.is_done = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    // While nothing comes, nobody must wait for what is there; and streams of HTTP/2 say here
                    // that who would read has reset them.
                    ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(Broke::Writer)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads into what is free of the buffer, if that is anything. Ready: something came, the reader has ended or broke,
    /// or there was no room.
    fn fill<R>(&mut self, reader: &mut R, cx: &mut Context<'_>) -> Poll<()>
    where
        R: AsyncRead + Unpin + ?Sized,
    {
        if self.is_over || self.end == self.buffer.len() {
            return Poll::Ready(());
        }
        let mut free = ReadBuf::new(&mut self.buffer[self.end..]);
        match ready!(Pin::new(reader).poll_read(cx, &mut free)) {
            Ok(()) => {
                let count = free.filled().len();
                self.is_over = count == 0;
                self.end += count;
                self.moved += count as u64;
            }
            Err(error) => (self.is_over, self.broke) = (true, Some(error)),
        }
        Poll::Ready(())
    }
}

/// The time of silence. The timer is not set anew for each byte: when it goes off, it is looked how long ago the last
/// one was.
#[pin_project::pin_project]
struct Idle {
    timeout: Option<Duration>,
    moved: Timestamp,
    #[pin]
    timer: Option<tokio::time::Sleep>,
}

impl Idle {
    fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, moved: clock::now(), timer: None }
    }

    /// Ready: nothing has moved for so long.
    fn poll(self: Pin<&mut Self>, is_moving: bool, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(timeout) = *this.timeout else { return Poll::Pending };
        if is_moving {
            *this.moved = clock::now();
        }
        loop {
            let over = *this.moved + timeout;
            if this.timer.is_none() {
                this.timer.set(Some(tokio::time::sleep_until(clock::instant(over))));
            }
            let Some(mut timer) = this.timer.as_mut().as_pin_mut() else { return Poll::Pending };
            ready!(timer.as_mut().poll(cx));
            if over <= clock::now() {
                return Poll::Ready(());
            }
            timer.reset(clock::instant(over));
        }
    }
}

#[cfg(test)]
mod tests;
