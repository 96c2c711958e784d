//! The byte stream under a connection, with a switch that closes it whoever holds it.
//!
//! Dropping a connection's future does not always close its socket (an upgraded HTTP/1.1 connection
//! lives on elsewhere), so closing at a drain deadline goes through the stream itself. The stream also
//! carries the connection's [`Permit`]: a connection is open, and counts, as long as its stream exists.
//! And it is where a connection's end is counted, once, by the reason that was told first.

use super::PoolLimits;
use super::dial::BoxedIo;
use super::lanes::Permit;
use super::own::OwnPermit;
use crate::observe::connection::{ConnectionReport, ConnectionSlot, TlsReport};
use crate::observe::events::CloseReason;
use crate::reset;
#[cfg(feature = "tls")]
use crate::tls::client_refused::NotSecured;
use futures_util::task::AtomicWaker;
use http::{Extensions, Version};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Closes a byte stream from outside, counts what arrives on it, and knows why it ended.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: AtomicBool,
    /// The endpoint closed its half.
    ended: AtomicBool,
    /// The handshake is done: it counts as a connection.
    usable: AtomicBool,
    /// Its last answer was not read to its end: that may end it.
    unread: AtomicBool,
    /// Why it ends: 0, or one more than the reason's index.
    why: AtomicU8,
    /// Calls that were sent on it.
    calls: Arc<AtomicU64>,
    /// How the mesh secured it, if it did.
    tls: OnceLock<Arc<TlsReport>>,
    reads: AtomicU32,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// The endpoint's late word on who we are (TLS 1.3): it ends the connection, and whoever wants to send on
    /// it hears from hyper only that it has ended.
    #[cfg(feature = "tls")]
    refused: OnceLock<NotSecured>,
}

impl Gate {
    /// Fails all reads and writes from now on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
    }

    /// Says why the connection ends, before or after it did. Who says it first is believed.
    pub(super) fn blame(&self, reason: CloseReason) {
        let (nobody, code) = (0, reason as u8 + 1);
        match self.why.compare_exchange(nobody, code, Ordering::Relaxed, Ordering::Relaxed) {
            // Another reason was first.
            Ok(_) | Err(_) => {}
        }
    }

    /// The endpoint said that it leaves; unless it has left already, without a word.
    pub(super) fn blame_goaway(&self) {
        if !self.ended.load(Ordering::Relaxed) {
            self.blame(CloseReason::GoAway);
        }
    }

    /// Something broke; unless that is only how the endpoint's leaving was noticed.
    pub(super) fn blame_unless_ended(&self) {
        if !self.ended.load(Ordering::Relaxed) {
            self.blame(CloseReason::Error);
        }
    }

    /// Whoever had it closed it; unless the endpoint had ended its half before.
    pub(super) fn blame_caller(&self) {
        if !self.ended.load(Ordering::Relaxed) {
            self.blame(CloseReason::Local);
        }
    }

    /// Reading failed.
    #[cold]
    fn broke(&self, #[cfg_attr(not(feature = "tls"), expect(unused_variables))] error: &io::Error) {
        #[cfg(feature = "tls")]
        if let Some(refused) = NotSecured::behind(error) {
            self.refused.get_or_init(|| refused.clone());
        }
        self.blame(CloseReason::Error);
    }

    /// Why the endpoint ended it, if that is who we are.
    #[cfg(feature = "tls")]
    pub(super) fn refused(&self) -> Option<&NotSecured> {
        self.refused.get()
    }

    /// Whether its last answer was given up before its end.
    pub(super) fn unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    /// How it is secured, before the first call.
    #[cfg(feature = "tls")]
    pub(super) fn secured(&self, tls: Arc<TlsReport>) {
        self.tls.get_or_init(|| tls);
    }

    /// A call is sent on it in this version of HTTP, with these extensions.
    pub(super) fn call(&self, version: Version, extensions: &Extensions) {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        ConnectionSlot::tell(extensions, || ConnectionReport {
            version,
            reused: before > 0,
            tls: self.tls.get().cloned(),
        });
    }

    /// How many were.
    pub(super) const fn calls(&self) -> &Arc<AtomicU64> {
        &self.calls
    }

    /// The handshake is done.
    pub(super) fn usable(&self) {
        self.usable.store(true, Ordering::Relaxed);
    }

    /// Why the connection ended. One that nobody ended, and on which nothing broke, the endpoint let
    /// end: by GOAWAY, or by `connection: close`.
    fn reason(&self) -> CloseReason {
        let said = usize::from(self.why.load(Ordering::Relaxed)).checked_sub(1);
        match said.and_then(|index| CloseReason::ALL.get(index)) {
            Some(reason) => *reason,
            None if self.unread.load(Ordering::Relaxed) => CloseReason::CallDropped,
            None if self.ended.load(Ordering::Relaxed) => CloseReason::Remote,
            None => CloseReason::GoAway,
        }
    }

    /// Whether the endpoint closed it, or it broke, before anything came.
    #[cfg(feature = "tls")]
    pub(super) fn ended_unheard(&self) -> bool {
        let why = self.reason();
        self.reads() == 0 && matches!(why, CloseReason::Remote | CloseReason::Error)
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

/// A connection's place in the limits.
pub(super) enum Held {
    /// Of the calls that are sent on it.
    Lane(Permit),
    /// Of one caller alone.
    Own(OwnPermit),
}

impl Held {
    fn limits(&self) -> &dyn PoolLimits {
        match self {
            Self::Lane(permit) => &*permit.settings().limits,
            Self::Own(permit) => permit.limits(),
        }
    }
}

/// The byte stream of one connection.
pub(crate) struct NetIo {
    io: BoxedIo,
    gate: Arc<Gate>,
    held: Held,
}

impl NetIo {
    pub(super) fn new(io: BoxedIo, gate: Arc<Gate>, permit: Permit) -> Self {
        Self { io, gate, held: Held::Lane(permit) }
    }

    /// That of one caller alone.
    pub(super) fn own(io: BoxedIo, gate: Arc<Gate>, permit: OwnPermit) -> Self {
        Self { io, gate, held: Held::Own(permit) }
    }

    /// Closes it with a reset, where it is a TCP socket.
    pub(crate) fn reset(self) {
        reset::on_close_of(&self.io);
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

impl Drop for NetIo {
    fn drop(&mut self) {
        if let Held::Own(_) = self.held {
            self.gate.blame_caller();
        }
        if self.gate.usable.load(Ordering::Relaxed) {
            self.held.limits().connection_closed(self.gate.reason());
        }
    }
}

impl AsyncRead for NetIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.gate.check()?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        match &read {
            Poll::Pending => {
                self.gate.reader.register(cx.waker());
                self.gate.check()?;
            }
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                // Only one task reads: no read-modify-write is needed.
                let reads = self.gate.reads.load(Ordering::Relaxed);
                self.gate.reads.store(reads.wrapping_add(1), Ordering::Relaxed);
            }
            Poll::Ready(Ok(())) => self.gate.ended.store(true, Ordering::Relaxed),
            // TLS that ends without saying so (RFC 8446 section 6.1): most servers just close.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.gate.ended.store(true, Ordering::Relaxed);
            }
            Poll::Ready(Err(error)) => self.gate.broke(error),
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
