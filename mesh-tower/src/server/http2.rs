//! [`Http2`]: a connection of HTTP/2, over `h2` itself.
//!
//! It takes requests from the connection and hands each to the service; what becomes of it is an [`Exchange`], which
//! [`Streams`] runs. What the module does, beside what `h2` does, is what RFC 9113 leaves to a server: headers of a
//! connection end here (section 8.2.2), an answer has a date (RFC 9110 section 6.6.1) and states its length, a client
//! that resets its stream ends the request, who expects 100 is told when the body is wanted, and CONNECT becomes bytes
//! ([`OnTunnel`]).

mod date;
mod exchange;
pub(super) mod expects;
mod tunnel;

pub use tunnel::{OnTunnel, TunnelStream};

use super::http::PerConnection;
use super::incoming::Incoming;
use super::streams::{self, Next, Streams};
use crate::body::BoxError;
use bytes::Bytes;
use exchange::{Asker, Exchange};
use expects::Expects;
use h2::ext::Protocol;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use http_body::Body;
use mesh_core::head::content_length;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

/// How much waits for a client on a stream.
const MAX_WAITS: usize = 64 * 1024;

/// How much of what a client sends on a stream may be here that nobody has read yet.
const STREAM_WINDOW: u32 = 1 << 20;

/// The same of a connection: more, or one request whose body is not read would hold up all others.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The most requests at a time.
pub(super) const MAX_STREAMS: u32 = 200;

/// How many resets that `h2` says for errors of a client end a connection.
const MAX_ERROR_RESETS: usize = 1024;

/// How many requests are taken from the connection before they are handed on. What takes them and what is done with them
/// is each more code than the nearest cache holds, and one would drive the other out for every request.
const TOGETHER: usize = 32;

/// A request, and who waits for its answer.
type Taken = (Request<RecvStream>, SendResponse<Bytes>);

thread_local! {
    /// Where requests are until they are handed on: empty between turns, so all connections of a thread use the same.
    static TAKEN: Cell<Vec<Taken>> = const { Cell::new(Vec::new()) };
}

/// A connection that is served.
pub(super) struct Http2<I, S> {
    state: State<I>,
    service: PerConnection<S>,
    streams: Streams,
    /// It was told to end before its client had said who it is.
    shuts_down: bool,
}

enum State<I> {
    Handshake(Handshake<I, Bytes>),
    Open(Connection<I, Bytes>),
}

impl<I, S> Http2<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    /// Serves `io`; heads are at most so long.
    pub(super) fn new(io: I, service: PerConnection<S>, streams: Streams, heads: u32) -> Self {
        let mut builder = Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(heads)
            .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
            .max_send_buffer_size(MAX_WAITS);
        if service.identifies {
            builder.enable_connect_protocol();
        }
        Self { state: State::Handshake(builder.handshake(io)), service, streams, shuts_down: false }
    }

    /// Takes no new requests from now on, and ends with the last one.
    pub(super) fn graceful_shutdown(&mut self) {
        match &mut self.state {
            State::Handshake(_) => self.shuts_down = true,
            State::Open(connection) => connection.graceful_shutdown(),
        }
    }

    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<&mut Connection<I, Bytes>, h2::Error>> {
        if let State::Handshake(handshake) = &mut self.state {
            let mut connection = ready!(Pin::new(handshake).poll(cx))?;
            if self.shuts_down {
                connection.graceful_shutdown();
            }
            self.state = State::Open(connection);
        }
        match &mut self.state {
            State::Open(connection) => Poll::Ready(Ok(connection)),
            State::Handshake(_) => Poll::Pending,
        }
    }

    /// Takes requests that have come, as many as are taken [together](TOGETHER). `None`: there may be more.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        taken: &mut Vec<Taken>,
    ) -> Option<Poll<Result<(), h2::Error>>> {
        while taken.len() < TOGETHER {
            streams::looks();
            let connection = match self.poll_open(cx) {
                Poll::Ready(Ok(connection)) => connection,
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            };
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok(request))) => taken.push(request),
                Poll::Ready(Some(Err(error))) => return Some(Poll::Ready(Err(error))),
                Poll::Ready(None) => return Some(Poll::Ready(Ok(()))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        None
    }
}

impl<I, S, B> Future for Http2<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<(), h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut taken = TAKEN.try_with(Cell::take).unwrap_or_default();
        let polled = loop {
            let polled = self.poll_take(cx, &mut taken);
            for (request, reply) in taken.drain(..) {
                self.hand_on(request, reply);
            }
            if let Some(polled) = polled {
                break polled;
            }
        };
        // On a thread that ends nobody needs it.
        let _ended = TAKEN.try_with(|kept| kept.set(taken));
        polled
    }
}

impl<I, S, B> Http2<I, S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    fn hand_on(&self, request: Request<RecvStream>, reply: SendResponse<Bytes>) {
        if *request.method() == Method::CONNECT {
            return self.hand_on_connect(request, reply);
        }
        let length = content_length(request.headers());
        // `h2` refuses a head that is all and says that something follows (RFC 9113 section 8.1.1).
        let is_empty = length.is_none_or(|length| length == 0) && request.body().is_end_stream();
        let expects = Expects::of(request.headers()).filter(|_| !is_empty);
        let asker = Asker { reply, opening: None, expects: expects.clone() };
        // What is large is moved once, to where it is taken from.
        let body = |stream| match is_empty {
            true => Incoming::empty(),
            false => Incoming::http2(stream, length, expects),
        };
        self.execute(Some(Next((request.map(body), asker))));
    }

    #[cold]
    fn hand_on_connect(&self, request: Request<RecvStream>, mut reply: SendResponse<Bytes>) {
        let (mut parts, stream) = request.into_parts();
        // What follows is no body (RFC 9110 section 9.3.6).
        if content_length(&parts.headers).is_some_and(|length| length != 0) {
            return reply.send_reset(Reason::PROTOCOL_ERROR);
        }
        let is_extended = parts.extensions.get::<Protocol>().is_some();
        let (opening, on_tunnel) = tunnel::pending(stream, self.streams.counts(), is_extended);
        parts.extensions.insert(on_tunnel);
        let asker = Asker { reply, opening: Some(opening), expects: None };
        self.execute(Some(Next((Request::from_parts(parts, Incoming::empty()), asker))));
    }

    #[inline(always)]
    fn execute(&self, mut next: Option<Next<Exchange<S, B>>>) {
        if let Some(Next((request, _))) = &mut next {
            self.service.take_in(request);
        }
        self.streams.execute(&mut next, || Exchange::new(self.service.service()));
    }
}
