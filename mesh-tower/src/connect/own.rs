//! [`Opening`]: a connection of one caller's own, for what is not HTTP.
//!
//! It is in the same limits as those that calls share, and is counted with them. Nobody waits in a queue for it:
//! where there is no room it fails, as in Envoy's TCP proxy. It lives where it is polled, and ends when its stream is
//! dropped; an endpoint that is removed keeps those that it has, since bytes can't be sent elsewhere.

#[cfg(feature = "tls")]
use super::alpn;
use super::io::{Gate, NetIo};
use super::lanes::{Refusal, Took};
use super::raw::{self, Raw};
use super::shared::Shared;
use super::{PoolLimits, PoolSettings, SendError};
use crate::MeshBody;
use http::{Extensions, Request};
use mesh_core::outcome::{ConnectFailure, Failure, Overflow};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The future of a connection of one's own. Boxed: it waits for the network anyway.
pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<Opened, SendError>> + Send>>;

/// A connection that is open.
pub(crate) struct Opened {
    pub(crate) stream: NetIo,
    /// How long connecting took.
    pub(crate) connect: Duration,
    /// And the handshake of TLS; zero without.
    pub(crate) tls: Duration,
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

/// Nothing is sent of `request`: it comes back with the failure.
pub(super) fn open(
    shared: Arc<Shared>,
    settings: Arc<PoolSettings>,
    request: Request<MeshBody>,
) -> Opening {
    Box::pin(async move {
        let opened = establish_in_limits(&shared, &settings).await;
        opened.map_err(|refusal| SendError::refused(refusal, request))
    })
}

async fn establish_in_limits(
    shared: &Arc<Shared>,
    settings: &Arc<PoolSettings>,
) -> Result<Opened, Refusal> {
    shared.take_own(settings)?;
    let permit = OwnPermit { shared: Arc::clone(shared), settings: Arc::clone(settings) };
    let (raw, Took { connect, tls }) = establish(shared, settings).await?;
    let gate = Arc::new(Gate::default());
    shared.watch(&gate);
    gate.call(&Extensions::new());
    settings.limits.connection_opened(&raw.security, gate.calls());
    gate.usable();
    Ok(Opened { stream: NetIo::own(raw.io, gate, permit), connect, tls })
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

async fn connect(shared: &Shared, settings: &PoolSettings) -> Result<Raw, Refusal> {
    #[cfg(feature = "tls")]
    let offers = match &settings.secure {
        Some(tls) => alpn::all_of(&tls.policy().alpn),
        None => Vec::new(),
    };
    #[cfg(not(feature = "tls"))]
    let offers = [];
    raw::connect(shared, settings, &offers).await
}
