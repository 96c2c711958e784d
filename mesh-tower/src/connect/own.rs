//! [`Opening`]: a connection of one caller's own: for what is not HTTP, and for what may not stay so.
//!
//! CONNECT opens a byte stream, which is the answer's body. Any other request is sent over HTTP/1.1 on it, and is
//! answered, or agreed to be an upgrade ([`own_http`](super::own_http)). Where the cluster speaks HTTP/2, that is a
//! stream of a connection that calls share ([`own_h2`](super::own_h2)).
//!
//! It is in the same limits as those that calls share, and is counted with them. Nobody waits in a queue for it:
//! where there is no room it fails, as in Envoy's TCP proxy. It lives where it is polled, and ends when its stream is
//! dropped; an endpoint that is removed keeps those that it has, since bytes can't be sent elsewhere.

#[cfg(feature = "tls")]
use super::Kind;
#[cfg(feature = "tls")]
use super::alpn;
use super::io::{Gate, NetIo};
use super::lanes::{Refusal, Took};
use super::own_h2;
use super::own_http::{self, OwnBody};
use super::raw::{self, Raw};
use super::shared::Shared;
use super::{PoolLimits, PoolSettings, SendError, Speaks};
use crate::MeshBody;
use crate::tcp::Proxied;
use bytes::Bytes;
use http::{Extensions, Method, Request, Response, Version};
use mesh_core::model::RoutingPriority;
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
    pub(crate) response: Response<OwnBody>,
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
struct Pending<'a>(&'a dyn PoolLimits, RoutingPriority);

impl<'a> Pending<'a> {
    fn take(limits: &'a dyn PoolLimits, priority: RoutingPriority) -> Result<Self, Refusal> {
        let overflow = || Refusal::new(Failure::Overflow(Overflow::Pending));
        limits.try_pending(priority).then(|| Self(limits, priority)).ok_or_else(overflow)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.release_pending(self.1);
    }
}

/// Nothing is sent of `request`: it comes back with the failure.
pub(super) fn open(
    shared: Arc<Shared>,
    settings: Arc<PoolSettings>,
    request: Request<MeshBody>,
    priority: RoutingPriority,
) -> Opening {
    Box::pin(async move {
        let bytes = *request.method() == Method::CONNECT;
        // HTTP/2 has no way to hand a connection over: a stream of it is as good.
        if !bytes && settings.speaks == Speaks::Http2 {
            return own_h2::ask(&shared, &settings, request, priority).await;
        }
        let purpose = Purpose { bytes, preface: preface(&settings, &request), priority };
        match establish_in_limits(&shared, &settings, &purpose).await {
            Err(refusal) => Err(SendError::refused(refusal, request)),
            Ok((stream, Took { connect, tls })) => {
                let response = match bytes {
                    true => Response::new(OwnBody::Bytes(Box::new(stream))),
                    false => own_http::ask(&shared, &settings, stream, request).await?,
                };
                Ok(Opened { response, connect, tls })
            }
        }
    })
}

/// What a connection is made for.
struct Purpose {
    /// Not for HTTP.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only TLS has agreements"))]
    bytes: bool,
    /// What it begins with, before anything else.
    preface: Bytes,
    /// Who counts it while it is made.
    priority: RoutingPriority,
}

/// Who connects, where the cluster's endpoints want to be told.
fn preface(settings: &PoolSettings, request: &Request<MeshBody>) -> Bytes {
    let Some(version) = settings.proxy_protocol else { return Bytes::new() };
    request.extensions().get::<Proxied>().copied().unwrap_or_default().header(version)
}

async fn establish_in_limits(
    shared: &Arc<Shared>,
    settings: &Arc<PoolSettings>,
    purpose: &Purpose,
) -> Result<(NetIo, Took), Refusal> {
    shared.take_own(settings)?;
    let permit = OwnPermit { shared: Arc::clone(shared), settings: Arc::clone(settings) };
    // Before it is dialled: a pool that is closed meanwhile closes it, too.
    let gate = Arc::new(Gate::default());
    shared.watch(&gate);
    let (raw, took) = establish(shared, settings, purpose).await?;
    gate.call(Version::HTTP_11, &Extensions::new());
    settings.limits.connection_opened(&raw.security, gate.calls());
    gate.usable();
    Ok((NetIo::own(raw.io, gate, permit), took))
}

async fn establish(
    shared: &Shared,
    settings: &PoolSettings,
    purpose: &Purpose,
) -> Result<(Raw, Took), Refusal> {
    let _pending = Pending::take(&*settings.limits, purpose.priority)?;
    let begun = Instant::now();
    let connecting = timeout(settings.options.connect_timeout, connect(shared, settings, purpose));
    let timed_out = |_| Err(Refusal::connect(ConnectFailure::Timeout));
    let made = connecting.await.unwrap_or_else(timed_out);
    if let Err(Refusal { failure: Failure::Connect(why), .. }) = &made {
        settings.limits.connection_failed(*why);
    }
    let raw = made?;
    let tls = raw.handshake;
    Ok((raw, Took { connect: begun.elapsed().saturating_sub(tls), tls }))
}

async fn connect(
    shared: &Shared,
    settings: &PoolSettings,
    purpose: &Purpose,
) -> Result<Raw, Refusal> {
    #[cfg(feature = "tls")]
    let offers = match &settings.secure {
        Some(tls) if purpose.bytes => alpn::all_of(&tls.policy().alpn),
        Some(tls) => alpn::offers(Speaks::Http1, &tls.policy().alpn, Kind::H1),
        None => Vec::new(),
    };
    #[cfg(not(feature = "tls"))]
    let offers = [];
    raw::connect(shared, settings, (&purpose.preface, &offers)).await
}
