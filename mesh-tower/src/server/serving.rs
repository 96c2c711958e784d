//! A connection of HTTP, from its first byte to its end.
//!
//! ```text
//!            something came          h2 or hyper
//!  Rest ──────────────────────> serves it ────────> it has ended
//!   ^                               │
//!   └────── silent for a second ────┘  HTTP/1.1
//! ```
//!
//! What serves has memory of its own, which is given back with it: a connection that rests is small.

use super::accept::Acceptor;
use super::drain::Plan;
use super::drive::{End, drive, idle, plan_or_idle};
use super::guarded::{Found, Guarded};
use super::head_timer::{self, HEAD, HeadTimer, Late, REST};
use super::http::{PerConnection, Seen};
use super::http2::Http2;
use super::incoming::Incoming;
use super::io::{AcceptedIo, Rewind};
use super::layer::Kept;
use super::rest::{Rest, Spoken};
use super::serve::ServeError;
use super::streams::{Running, Streams};
use super::when_woken::WhenWoken;
use crate::body::BoxError;
use crate::corked::{Cork, Corked, corked};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use mesh_core::head::MOST_HEADERS;
use mesh_core::model::filter_chain::{ConnectionTimeouts, RequestLimits};
use pin_project::pin_project;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

/// The least buffer that hyper takes for HTTP/1.1.
const MIN_BUFFER: usize = 8192;

/// What a connection of HTTP is served with.
pub(super) struct Serving<'c, E> {
    pub(super) acceptor: &'c Acceptor,
    pub(super) limits: RequestLimits,
    pub(super) timeouts: ConnectionTimeouts,
    pub(super) seen: &'c Seen,
    pub(super) heads: HeadTimer,
    pub(super) found: Found,
    /// Tells when the whole server ends.
    pub(super) over: E,
}

/// What is asked of a service that answers with bodies of `B`, in one word.
pub(super) trait Answers<B>:
    Service<
        Request<Incoming>,
        Response = Response<B>,
        Error: Into<BoxError>,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S, B> Answers<B> for S where
    S: Service<
            Request<Incoming>,
            Response = Response<B>,
            Error: Into<BoxError>,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// The bytes of a connection.
type Bare<I> = Rewind<Guarded<AcceptedIo<I>>>;

/// The same, as hyper reads them of HTTP/1.1.
type Http1Io<I> = TokioIo<Bare<I>>;

/// What a connection of HTTP/1.1 over TCP has become is closed with a reset.
pub(crate) fn reset(upgraded: Upgraded) {
    if let Ok(parts) = upgraded.downcast::<Http1Io<TcpStream>>() {
        resets_on_close(&parts.io);
    }
}

fn resets_on_close<I: 'static>(io: &Http1Io<I>) {
    io.inner().get_ref().inner().resets_on_close();
}

/// The service has failed, or the body of its answer.
fn is_of_service(error: &ServeError) -> bool {
    let ServeError::Http(error) = error else { return false };
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user)
}

/// Of HTTP/2.
type Http2Io<I> = Corked<Bare<I>>;

/// A connection that was silent, to go on with when something comes.
struct Silent<I, S> {
    io: Guarded<AcceptedIo<I>>,
    service: PerConnection<S>,
    /// What came after all.
    came: Bytes,
}

impl<E, F> Serving<'_, E>
where
    E: Fn() -> F,
    F: Future<Output = ()>,
{
    /// Serves it to its end, or to that of its drain.
    pub(super) async fn serve<I, S, B>(
        &self,
        io: AcceptedIo<I>,
        mut service: PerConnection<S>,
        drained: impl Future<Output = Plan>,
    ) -> Result<(), ServeError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Answers<B>,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let mut rest = Rest::new(Guarded::new(io, self.heads.clone(), self.found.clone()));
        let mut drained = pin!(Planned { future: WhenWoken::new(drained), plan: None });
        loop {
            let Some(spoken) = self.begins(&mut rest, drained.as_mut()).await? else {
                rest.close().await;
                return Ok(());
            };
            let mut io = rest.into_io();
            // What serves is on the heap as long as it does.
            if spoken == Spoken::Http2 {
                return Box::pin(self.http2(io, service, drained)).await;
            }
            let silent = loop {
                let served = Box::pin(self.http1(io, service, drained.as_mut())).await?;
                let Some(silent) = served else { return Ok(()) };
                if silent.came.is_empty() {
                    break silent;
                }
                // The beginning of a request was there already. It rests again when the whole of it has come, so nothing
                // goes round here by itself.
                (io, service) = (Rewind::new(silent.came, silent.io), silent.service);
            };
            (rest, service) = (Rest::new(silent.io), silent.service);
        }
    }

    /// Waits until there is something to be served; `None`: there will be nothing.
    async fn begins<I>(
        &self,
        rest: &mut Rest<AcceptedIo<I>>,
        mut drained: Pin<&mut Planned<impl Future<Output = Plan>>>,
    ) -> Result<Option<Spoken>, ServeError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        if drained.plan.is_none() {
            let begun = tokio::select! {
                biased;
                begun = self.begins_in_time(rest) => Some(begun),
                _plan = drained.as_mut() => None,
            };
            if let Some(begun) = begun {
                return begun;
            }
        }
        // A request may be on its way: what answers it says that it is the last.
        let plan = drained.await;
        self.seen.drain();
        // On the heap: one that rests is small.
        let over = Box::pin((self.over)());
        tokio::select! {
            biased;
            begun = timeout_at(plan.quiet, rest.begins()) => match begun {
                Ok(begun) => begun.map_err(|error| ServeError::Http(error.into())),
                Err(_) => Ok(None),
            },
            () = over => Ok(None),
        }
    }

    /// The same, of one that is not drained.
    async fn begins_in_time<I>(
        &self,
        rest: &mut Rest<AcceptedIo<I>>,
    ) -> Result<Option<Spoken>, ServeError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let silent_until = self.heads.silent_until();
        // One that rests was silent for a while before.
        let before = if silent_until.is_some() { Duration::ZERO } else { REST };
        let idle_until =
            self.timeouts.idle.map(|idle| Instant::now() + idle.saturating_sub(before));
        let Some(until) = silent_until.into_iter().chain(idle_until).min() else {
            return rest.begins().await.map_err(|error| ServeError::Http(error.into()));
        };
        match timeout_at(until, rest.begins()).await {
            Ok(begun) => begun.map_err(|error| ServeError::Http(error.into())),
            Err(_) if Some(until) == silent_until => Err(ServeError::Http(Late::Silent.into())),
            Err(_) => Ok(None),
        }
    }

    /// Serves a connection of HTTP/1.1; `Some`: until it was silent for a while.
    async fn http1<I, S, B>(
        &self,
        io: Rewind<Guarded<AcceptedIo<I>>>,
        service: PerConnection<S>,
        drained: Pin<&mut Planned<impl Future<Output = Plan>>>,
    ) -> Result<Option<Silent<I, S>>, ServeError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Answers<B>,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        let head = usize::try_from(self.limits.max_header_bytes).unwrap_or(usize::MAX);
        builder.timer(self.heads.clone()).header_read_timeout(HEAD);
        builder.max_buf_size(head.max(MIN_BUFFER));
        // hyper's own, for which it needs no memory.
        if self.limits.max_headers != RequestLimits::default().max_headers {
            builder.max_headers(self.limits.max_headers.min(MOST_HEADERS) as usize);
        }
        let served = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
        self.heads.serves();
        let heads = WhenWoken::new(self.heads.clone().look(true));
        let mut served = pin!(Http1 { heads, common: Kept::default(), served: Some(served) });
        let shut_down =
            |served: Pin<&mut Http1<_, http1::UpgradeableConnection<Http1Io<I>, _>>>| {
                if let Some(served) = served.project().served {
                    Pin::new(served).graceful_shutdown();
                }
            };
        let plans = (drained, (self.over)());
        let driven = drive(served.as_mut(), shut_down, plans, (self.seen, || false)).await;
        // A body that its connection delimits has no other way to say that it is not whole (RFC 9112 section 8).
        if self.seen.is_http10()
            && driven.as_ref().is_err_and(is_of_service)
            && let Some(parts) =
                served.as_mut().project().served.take().and_then(|s| s.into_parts())
        {
            resets_on_close(&parts.io);
        }
        if driven? == End::Done {
            return Ok(None);
        }
        let parts = served.project().served.take().and_then(|served| served.into_parts());
        Ok(parts.map(|parts| {
            // What was read first was read long ago.
            let (_read, io) = parts.io.into_inner().into_parts();
            Silent { io, service: parts.service, came: parts.read_buf }
        }))
    }

    async fn http2<I, S, B>(
        &self,
        io: Rewind<Guarded<AcceptedIo<I>>>,
        service: PerConnection<S>,
        drained: Pin<&mut Planned<impl Future<Output = Plan>>>,
    ) -> Result<(), ServeError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Answers<B>,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let streams = Streams::new(self.acceptor.stalled(), self.timeouts.stream_flush);
        let (counts, connection) = (Arc::clone(streams.counts()), Arc::clone(&service.connection));
        // What is larger than its chain allows, and not twice as large, is answered by us, with a reason; the rest by h2.
        let heads = self.limits.max_header_bytes.saturating_mul(2);
        let (io, cork) = corked(io);
        let served = Http2::new(io, service, streams.clone(), heads);
        let heads = WhenWoken::new(self.heads.clone().look(false));
        let served = pin!(Http2Served { heads, running: Running::new(streams), served, cork });
        let shut_down = |served: Pin<&mut Http2Served<_, Http2<Http2Io<I>, S>, _>>| {
            served.project().served.graceful_shutdown();
        };
        let idle = idle(self.timeouts.idle, self.seen, &counts);
        let planned = plan_or_idle((self.acceptor, &connection), drained, idle);
        let planned = pin!(WhenWoken::new(planned));
        let is_busy = || counts.live() > 0;
        let plans = (planned, (self.over)());
        drive(served, shut_down, plans, (self.seen, is_busy)).await.map(drop)
    }
}

/// When the connection is to end, as often as it is asked.
#[pin_project]
struct Planned<F> {
    #[pin]
    future: WhenWoken<F>,
    plan: Option<Plan>,
}

impl<F: Future<Output = Plan>> Future for Planned<F> {
    type Output = Plan;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Plan> {
        let this = self.project();
        let plan = match this.plan {
            Some(plan) => *plan,
            None => *this.plan.insert(ready!(this.future.poll(cx))),
        };
        Poll::Ready(plan)
    }
}

/// A connection of HTTP/1.1, and what it does itself in hyper's place: it looks at its heads, first, so that hyper sees
/// what it says.
#[pin_project]
struct Http1<T, C> {
    #[pin]
    heads: WhenWoken<T>,
    /// What its requests have in common.
    common: Kept,
    /// `None`: it rests.
    served: Option<C>,
}

impl<T, C> Future for Http1<T, C>
where
    T: Future<Output = head_timer::Seen>,
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    type Output = Result<End, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.heads.poll(cx) {
            Poll::Ready(head_timer::Seen::Late(late)) => return Poll::Ready(Err(late.into())),
            Poll::Ready(head_timer::Seen::Rests) => return Poll::Ready(Ok(End::Rests)),
            Poll::Pending => {}
        }
        let Some(served) = this.served else { return Poll::Pending };
        let polled = this.common.within(|| Pin::new(served).poll(cx));
        polled.map_ok(|()| End::Done).map_err(Into::into)
    }
}

/// One of HTTP/2: it runs its requests, too.
#[pin_project]
struct Http2Served<T, C, I> {
    #[pin]
    heads: WhenWoken<T>,
    running: Running,
    served: C,
    /// Lets out what it writes.
    cork: Cork<I>,
}

impl<T, C, I> Future for Http2Served<T, C, I>
where
    T: Future<Output = head_timer::Seen>,
    C: Future<Output = Result<(), h2::Error>> + Unpin,
    I: AsyncWrite + Unpin,
{
    type Output = Result<End, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(head_timer::Seen::Late(late)) = this.heads.poll(cx) {
            return Poll::Ready(Err(late.into()));
        }
        this.cork.turn();
        this.running.poll(cx, |cx| {
            let served =
                Pin::new(&mut *this.served).poll(cx).map_ok(|()| End::Done).map_err(Into::into);
            // Also what it said last, and before requests are run, which takes its time.
            match this.cork.poll_out(cx) {
                Poll::Ready(Err(broken)) if served.is_pending() => Poll::Ready(Err(broken.into())),
                _ => served,
            }
        })
    }
}
