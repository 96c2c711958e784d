//! [`Opening`]: a connection of one caller's own, for what is not HTTP.
//!
//! It is in the same limits as those that calls share, and is counted with them. Nobody waits in a queue for it:
//! where there is no room it fails, as in Envoy's TCP proxy. It lives where it is polled, and ends when its stream is
//! dropped; an endpoint that is removed keeps those that it has, since bytes can't be sent elsewhere.

use super::io::{Gate, NetIo};
use super::lanes::{Refusal, Took};
use super::raw::{self, Raw};
use super::shared::Shared;
use super::{PoolLimits, PoolSettings};
use mesh_core::outcome::{ConnectFailure, Failure, Overflow};
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

/// The future of a connection of one's own. Boxed: it waits for the network anyway.
pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<Opened, Refused>> + Send>>;

/// A connection that is open.
pub(crate) struct Opened {
    pub(crate) stream: OwnStream,
    /// How long connecting took.
    pub(crate) connect: Duration,
    /// And the handshake of TLS; zero without.
    pub(crate) tls: Duration,
}

/// Why there is none.
pub(crate) struct Refused {
    pub(crate) failure: Failure,
    pub(crate) source: Option<Arc<io::Error>>,
}

impl From<Refusal> for Refused {
    fn from(Refusal { failure, source }: Refusal) -> Self {
        Self { failure, source }
    }
}

/// The place of a connection in the limits, from before it is dialled until its stream is gone.
pub(super) struct OwnPermit {
    shared: Arc<Shared>,
    settings: Arc<PoolSettings>,
}

impl OwnPermit {
    pub(super) fn limits(&self) -> &dyn PoolLimits {
        &*self.settings.limits
    }
}

impl Drop for OwnPermit {
    fn drop(&mut self) {
        self.settings.limits.release_connection();
        self.shared.give_own();
    }
}

/// A place among those that wait for a connection.
struct Pending<'a>(&'a dyn PoolLimits);

impl<'a> Pending<'a> {
    fn take(limits: &'a dyn PoolLimits) -> Result<Self, Refusal> {
        let overflow = || Refusal::new(Failure::Overflow(Overflow::Pending));
        limits.try_pending().then(|| Self(limits)).ok_or_else(overflow)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.release_pending();
    }
}

pub(super) fn open(shared: Arc<Shared>, settings: Arc<PoolSettings>) -> Opening {
    Box::pin(async move {
        shared.take_own(&settings)?;
        let permit = OwnPermit { shared: Arc::clone(&shared), settings: Arc::clone(&settings) };
        let (raw, took) = establish(&shared, &settings).await?;
        let gate = Arc::new(Gate::default());
        shared.watch(&gate);
        gate.call();
        settings.limits.connection_opened(&raw.security, gate.calls());
        gate.usable();
        let stream = OwnStream(NetIo::own(raw.io, gate, permit));
        Ok(Opened { stream, connect: took.connect, tls: took.tls })
    })
}

async fn establish(shared: &Shared, settings: &PoolSettings) -> Result<(Raw, Took), Refusal> {
    let _pending = Pending::take(&*settings.limits)?;
    let begun = Instant::now();
    let connecting = timeout(settings.options.connect_timeout, connect(shared, settings));
    let timed_out = |_| Err(Refusal::connect(ConnectFailure::Timeout));
    let made = connecting.await.unwrap_or_else(timed_out);
    if let Err(Refusal { failure: Failure::Connect(why), .. }) = &made {
        settings.limits.connection_failed(*why);
    }
    let raw = made?;
    let tls = raw.handshake;
    Ok((raw, Took { connect: begun.elapsed().saturating_sub(tls), tls }))
}

/// Offers what the configuration names, and nothing otherwise: what is spoken is the caller's affair.
async fn connect(shared: &Shared, settings: &PoolSettings) -> Result<Raw, Refusal> {
    #[cfg(feature = "tls")]
    let offers: Vec<&str> = match &settings.secure {
        Some(tls) => tls.policy().alpn.iter().map(|token| &**token).collect(),
        None => Vec::new(),
    };
    #[cfg(not(feature = "tls"))]
    let offers = [];
    raw::connect(shared, settings, &offers).await
}

/// A connection of one caller's own. Dropping it closes it.
pub(crate) struct OwnStream(NetIo);

impl Drop for OwnStream {
    fn drop(&mut self) {
        self.0.gate().blame_caller();
    }
}

impl AsyncRead for OwnStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for OwnStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl fmt::Debug for OwnStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnStream").finish_non_exhaustive()
    }
}
