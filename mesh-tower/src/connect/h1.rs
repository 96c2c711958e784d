//! HTTP/1.1 connections: one call at a time, over hyper's `client::conn::http1`.
//!
//! hyper's response future has no name, so each connection keeps one box for it and uses it again.
//!
//! A connection whose response ended is given back. It is not always ready at once: its task may have
//! to see the end first, or still sends the request (a server may answer early). It then waits in its
//! own slot until its task finds it ready.

use super::failure::{self, RequestBodyError};
use super::io::{Gate, NetIo};
use super::lanes::Refusal;
use super::net_body::NetBody;
#[cfg(feature = "tls")]
use super::raw;
use super::shared::Shared;
use super::upkeep::{Activity, Due, Upkeep};
use super::{PoolSettings, SendError, head};
use crate::observe::events::CloseReason;
use crate::{BoxError, MeshBody};
use bytes::Bytes;
use http::header::UPGRADE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use mesh_core::head::MOST_HEADERS;
use mesh_core::outcome::{ConnectFailure, Failure, ProtocolFailure};
use parking_lot::Mutex;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use tokio::time::Instant;
use tokio_util::sync::ReusableBoxFuture;

/// The most headers that hyper takes by itself, for which it needs no memory.
const MAX_HEADERS: u32 = 100;

/// How much of an answer is read ahead of who reads it (hyper's own: 400 KiB, two or three times for each client that
/// reads nothing). It bounds a head, too.
const MAX_BUFFER: usize = 64 << 10;

type Sent = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>;

/// An HTTP/1.1 connection, held by whoever uses it: the pool's idle list, a call, or its own slot.
pub(super) struct H1Connection {
    send: SendRequest<Outgoing>,
    response: ReusableBoxFuture<'static, Sent>,
    core: Arc<Core>,
    /// Whether it served a call before: a failure to send may only mean that the server closed it.
    reused: bool,
    /// Whether the latest request asks to go on in another protocol.
    asks: bool,
    /// The `host` that it wrote last: most calls of a connection have the same.
    host: Option<HeaderValue>,
}

/// What the connection's task and its holder share.
struct Core {
    shared: Arc<Shared>,
    settings: Arc<PoolSettings>,
    gate: Arc<Gate>,
    calls: AtomicU32,
    busy: AtomicBool,
    /// Whether hyper has taken the whole request of the latest call.
    request_sent: Arc<AtomicBool>,
    /// Takes no new calls.
    retired: AtomicBool,
    /// Whether there is something in the slot.
    parked: AtomicBool,
    slot: Mutex<Option<Box<H1Connection>>>,
}

/// Starts HTTP/1.1 on `io`.
pub(super) async fn handshake(
    io: NetIo,
    gate: Arc<Gate>,
    shared: &Arc<Shared>,
    settings: &Arc<PoolSettings>,
) -> Result<(Box<H1Connection>, Driver), Refusal> {
    let options = &settings.options;
    let handshake = builder(settings).handshake(TokioIo::new(io)).await;
    let (send, connection) = handshake.map_err(|error| Refusal {
        source: Some(Arc::new(io::Error::other(error))),
        ..Refusal::connect(ConnectFailure::Handshake)
    })?;
    let core = Arc::new(Core {
        shared: Arc::clone(shared),
        settings: Arc::clone(settings),
        gate,
        calls: AtomicU32::new(0),
        busy: AtomicBool::new(false),
        request_sent: Arc::default(),
        retired: AtomicBool::new(false),
        parked: AtomicBool::new(false),
        slot: Mutex::new(None),
    });
    let driver = Driver {
        connection: Box::pin(connection.with_upgrades()),
        upkeep: Upkeep::new(options, false, Instant::now()),
        core: Arc::clone(&core),
    };
    let response = ReusableBoxFuture::new(std::future::pending());
    Ok((
        Box::new(H1Connection { send, response, core, reused: false, asks: false, host: None }),
        driver,
    ))
}

pub(super) fn builder(settings: &PoolSettings) -> Builder {
    let options = &settings.options;
    let head = options.max_response_head as usize;
    let mut builder = Builder::new();
    builder
        .preserve_header_case(settings.preserve_header_case)
        .max_header_size(head)
        .max_buf_size(MAX_BUFFER.max(head));
    if options.max_response_headers != MAX_HEADERS {
        builder.max_headers(options.max_response_headers.min(MOST_HEADERS) as usize);
    }
    builder
}

impl H1Connection {
    /// Sends `request`; the connection is the call's until its response ended.
    pub(super) fn start(
        mut self: Box<Self>,
        mut request: Request<MeshBody>,
    ) -> Result<InFlight, SendError> {
        let prepared = head::prepare_h1(&mut request, self.core.shared.address(), &mut self.host);
        if let Err(reason) = prepared {
            self.give_back();
            return Err(SendError::invalid(reason, request));
        }
        let length = request.body().size_hint().exact();
        head::state_length(&mut request, length);
        self.core.calls.fetch_add(1, Ordering::Relaxed);
        self.core.gate.call(http::Version::HTTP_11, request.extensions());
        self.core.gate.unread(false);
        self.asks = request.headers().contains_key(UPGRADE);
        let sent = Arc::clone(&self.core.request_sent);
        let sent = self.send.try_send_request(request.map(|body| Outgoing::new(body, sent)));
        self.response.set(sent);
        Ok(InFlight(Some(self)))
    }

    /// Takes it out of the idle list; `false`: it is closed, or who retired it is about to take it out.
    pub(super) fn take_from_idle(&self) -> bool {
        self.core.busy.store(true, Ordering::Relaxed);
        !self.send.is_closed() && !self.is_retired()
    }

    /// Whether it takes no new calls.
    pub(super) fn is_retired(&self) -> bool {
        self.core.retired.load(Ordering::SeqCst)
    }

    #[cfg(feature = "tls")]
    pub(super) fn retirement(&self) -> Retirement {
        Retirement(Arc::downgrade(&self.core))
    }

    pub(super) fn put_into_idle(&self) {
        self.core.busy.store(false, Ordering::Relaxed);
    }

    /// Which connection this is, for the idle list.
    pub(super) fn id(&self) -> *const () {
        Arc::as_ptr(&self.core).cast()
    }

    /// Offers it to the next call, now or as soon as it is ready. Not under the pool's lock.
    pub(super) fn give_back(self: Box<Self>) {
        let core = Arc::clone(&self.core);
        let max = core.settings.options.max_requests_per_connection;
        if max != 0 && core.calls.load(Ordering::Relaxed) >= max {
            core.retire(CloseReason::MaxRequests);
        }
        if core.retired.load(Ordering::Relaxed) || self.send.is_closed() {
            return;
        }
        *core.slot.lock() = Some(self);
        core.parked.store(true, Ordering::SeqCst);
        // It may have become ready, or closed, just before: then its task will not look again.
        core.offer_parked();
    }
}

impl Core {
    /// Offers the parked connection if it is ready, drops it if it is closed.
    fn offer_parked(&self) {
        let connection = {
            let mut slot = self.slot.lock();
            match &*slot {
                Some(c) if c.send.is_ready() || c.send.is_closed() => slot.take(),
                // Its task may be gone already: nobody would look again.
                Some(_) if self.retired.load(Ordering::SeqCst) => slot.take(),
                _ => None,
            }
        };
        let Some(mut connection) = connection else { return };
        self.parked.store(false, Ordering::SeqCst);
        if connection.send.is_ready() && !self.retired.load(Ordering::Relaxed) {
            connection.reused = true;
            self.shared.offer_h1(connection);
        }
    }

    /// Takes no new calls from now on; idle, it closes now.
    fn retire(self: &Arc<Self>, why: CloseReason) {
        self.gate.blame(why);
        self.leave();
    }

    #[cfg(feature = "tls")]
    fn is_open(&self) -> bool {
        !self.retired.load(Ordering::SeqCst)
    }

    fn leave(self: &Arc<Self>) {
        if !self.retired.swap(true, Ordering::SeqCst) {
            self.shared.left_h1(Arc::as_ptr(self).cast());
        }
    }
}

/// Retires it from outside.
#[cfg(feature = "tls")]
pub(super) struct Retirement(std::sync::Weak<Core>);

#[cfg(feature = "tls")]
impl crate::tls::client_watch::Retire for Retirement {
    fn is_there(&self) -> bool {
        self.0.upgrade().is_some_and(|core| core.is_open())
    }

    fn hostname(&self) -> Option<Arc<str>> {
        self.0.upgrade()?.shared.hostname()
    }

    fn retire(&self, why: CloseReason) {
        if let Some(core) = self.0.upgrade() {
            core.retire(why);
        }
    }
}

/// A connection in the middle of a call: dropped like this, it is closed, as HTTP/1.1 has no other way
/// to give a call up.
pub(super) struct InFlight(Option<Box<H1Connection>>);

impl InFlight {
    /// Waits for the response head. Not polled again once ready.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<NetBody>, Failed>> {
        let Some(connection) = &mut self.0 else { return Poll::Pending };
        let sent = ready!(connection.response.poll(cx));
        let call = Self(self.0.take());
        Poll::Ready(match sent {
            Ok(response) => respond(response, call),
            Err(error) => Err(call.failed(error)),
        })
    }

    /// The response ended: the connection may serve others, once the request has been sent. Before, the
    /// call keeps it: it ends with the response body then, as on HTTP/2.
    pub(super) fn finish_if_sent(mut self) -> Option<Self> {
        let sent = |connection: &H1Connection| connection.core.request_sent.load(Ordering::Acquire);
        if !self.0.as_deref().is_some_and(sent) {
            return Some(self);
        }
        if let Some(connection) = self.0.take() {
            connection.give_back();
        }
        None
    }

    /// The response is given up; without its body hyper reads what is here of it already, and ends the
    /// connection unless that is all.
    pub(super) fn unread(&self) {
        if let Some(connection) = &self.0 {
            connection.core.gate.unread(true);
        }
    }

    /// The connection's stream is somebody else's now.
    fn detach(mut self) {
        drop(self.0.take());
    }

    fn failed(self, mut error: TrySendError<Request<Outgoing>>) -> Failed {
        let request = error.take_message().map(|request| request.map(|outgoing| outgoing.body));
        let error = error.into_error();
        match (request, &self.0) {
            (Some(request), Some(connection)) if connection.reused => {
                let shared = Arc::clone(&connection.core.shared);
                let settings = Arc::clone(&connection.core.settings);
                let request = Box::new(request);
                Failed::Stale { request, shared, settings, error }
            }
            #[cfg(feature = "tls")]
            (Some(request), Some(connection)) if connection.core.gate.refused().is_some() => {
                let refused = connection.core.gate.refused().cloned();
                let refusal = refused.map_or_else(Refusal::gone, raw::not_secured);
                Failed::Error(SendError::refused(refusal, request))
            }
            (Some(request), _) => Failed::Error(SendError::unsent(error, request)),
            (None, _) => Failed::Error(SendError::new(failure::of_h1(&error)).with_source(error)),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            let gate = &connection.core.gate;
            gate.blame(CloseReason::CallDropped);
            gate.close();
        }
    }
}

/// Why there is no response head.
pub(super) enum Failed {
    /// The server had closed the idle connection, and nothing was sent: another will do.
    Stale {
        request: Box<Request<MeshBody>>,
        shared: Arc<Shared>,
        settings: Arc<PoolSettings>,
        error: hyper::Error,
    },
    /// The call failed.
    Error(SendError),
}

fn respond(response: Response<Incoming>, call: InFlight) -> Result<Response<NetBody>, Failed> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(connection) = call.0.as_ref().filter(|connection| !connection.asks)
    {
        connection.core.gate.blame(CloseReason::Error);
        return Err(unasked());
    }
    let upgrades = response.extensions().get::<hyper::upgrade::OnUpgrade>().is_some();
    Ok(response.map(|incoming| {
        let call = if upgrades {
            call.detach();
            None
        } else {
            Some(call)
        };
        NetBody::h1(incoming, call)
    }))
}

/// RFC 9110 section 7.8: a server goes on in another protocol only where the client has asked.
#[cold]
fn unasked() -> Failed {
    let why = "the endpoint answered 101 (Switching Protocols), which nobody has asked for";
    let failure = Failure::Protocol(ProtocolFailure::InvalidResponse);
    Failed::Error(SendError::new(failure).with_source(why))
}

type Conn = dyn Future<Output = hyper::Result<()>> + Send;

/// Drives a connection until it is closed, or its stream is handed over by an upgrade.
pub(super) struct Driver {
    connection: Pin<Box<Conn>>,
    core: Arc<Core>,
    upkeep: Option<Upkeep>,
}

impl Driver {
    fn poll_upkeep(&mut self, cx: &mut Context<'_>) {
        let Some(upkeep) = &mut self.upkeep else { return };
        while upkeep.poll_fired(cx) {
            let activity = Activity {
                busy: self.core.busy.load(Ordering::Relaxed),
                calls: self.core.calls.load(Ordering::Relaxed),
                reads: self.core.gate.reads(),
            };
            if let Due::Retire(why) = upkeep.look(activity, Instant::now()) {
                self.core.retire(why);
            }
        }
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.core.gate
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(ended) = self.connection.as_mut().poll(cx) {
            if let Err(error) = ended {
                self.core.gate.blame_unless_ended();
                let address = self.core.shared.address();
                tracing::debug!(%address, %error, "HTTP/1.1 connection ended");
            }
            return Poll::Ready(());
        }
        if self.core.parked.load(Ordering::SeqCst) {
            self.core.offer_parked();
        }
        self.poll_upkeep(cx);
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.core.leave();
        drop(self.core.slot.lock().take());
    }
}

/// A request body whose errors are known again after hyper.
pub(super) struct Outgoing {
    body: MeshBody,
    /// What is still to come, of a body that states its length: hyper does not ask for an end then.
    remaining: Option<u64>,
    /// Told when hyper has taken all of it.
    sent: Arc<AtomicBool>,
}

impl Outgoing {
    pub(super) fn new(body: MeshBody, sent: Arc<AtomicBool>) -> Self {
        sent.store(body.is_end_stream(), Ordering::Release);
        Self { remaining: body.size_hint().exact(), body, sent }
    }

    /// The body as it came.
    pub(super) fn into_body(self) -> MeshBody {
        self.body
    }

    fn taken(&mut self, frame: &Frame<Bytes>) {
        if let (Some(remaining), Some(data)) = (&mut self.remaining, frame.data_ref()) {
            *remaining = remaining.saturating_sub(data.len() as u64);
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &polled {
            self.taken(frame);
        }
        if polled.is_none() || self.remaining == Some(0) || self.body.is_end_stream() {
            self.sent.store(true, Ordering::Release);
        }
        Poll::Ready(
            polled.map(|frame| frame.map_err(|error| BoxError::from(RequestBodyError(error)))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
