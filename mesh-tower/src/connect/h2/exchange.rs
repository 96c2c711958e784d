//! One call on a leased stream: head and body out, response head in.

use super::Lease;
use super::pump::{Pump, Shared as PumpShared};
use crate::connect::SendError;
use crate::connect::failure;
use crate::connect::head;
use crate::connect::net_body::NetBody;
use crate::outgoing::{Split, split};
use crate::{BoxError, MeshBody};
use bytes::Bytes;
use h2::client::ResponseFuture;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body, Frame};
use mesh_core::head::content_length;
use mesh_core::outcome::{Failure, ProtocolFailure};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::task::AbortHandle;

/// What a call holds until its response body ends.
pub(in crate::connect) enum Exchange {
    /// The request is sent: only the stream is held.
    Sent(#[expect(dead_code, reason = "held to be dropped")] Lease),
    /// The request body is still going out.
    Pumped {
        /// Shared with the pump: the stream is free when both are done with it.
        shared: Option<Arc<PumpShared>>,
        pump: AbortHandle,
    },
    /// Nothing any more.
    Ended,
}

impl Exchange {
    /// The response ended. A pump may go on until the body is dropped.
    pub(in crate::connect) fn end(&mut self) {
        match self {
            Self::Pumped { shared, .. } => *shared = None,
            Self::Sent(_) | Self::Ended => *self = Self::Ended,
        }
    }

    /// Why the request body failed, if that is what ended the call.
    pub(in crate::connect) fn take_body_error(&self) -> Option<BoxError> {
        match self {
            Self::Pumped { shared: Some(shared), .. } => shared.take_error(),
            _ => None,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Nobody waits for the response any more: what is left of the request is not sent
        // (Envoy resets the stream then too).
        if let Self::Pumped { pump, .. } = self {
            pump.abort();
        }
    }
}

/// A request under way.
pub(in crate::connect) struct Started {
    response: ResponseFuture,
    exchange: Exchange,
    /// The most headers of the response.
    max_headers: u32,
}

/// Why a request is not under way.
pub(in crate::connect) enum NotStarted {
    /// The connection opens no streams any more; it is retired, and another will do.
    Gone(Box<Request<MeshBody>>),
    /// The request failed.
    Failed(SendError),
}

/// What of a body could be had without waiting.
enum Opening {
    /// There is none.
    Empty,
    /// All of it.
    Whole(Bytes),
    /// All of it, with trailers.
    Trailers(Option<Bytes>, HeaderMap),
    /// The beginning; the next data too when it was there.
    Begun(Option<Bytes>, Option<Bytes>),
}

#[cold]
fn no_extended_connect(request: Request<MeshBody>) -> SendError {
    let failure = Failure::Protocol(ProtocolFailure::VersionUnsupported);
    let why = "the endpoint takes no extended CONNECT (RFC 8441: SETTINGS_ENABLE_CONNECT_PROTOCOL)";
    SendError::new(failure).with_request(request).with_source(why)
}

impl Lease {
    /// Sends the head and what is there of the body, and pumps the rest.
    pub(in crate::connect) fn start(
        self,
        mut request: Request<MeshBody>,
    ) -> Result<Started, NotStarted> {
        let connection = &*self.0;
        let mut send = connection.send.clone();
        let mut cx = Context::from_waker(Waker::noop());
        if !matches!(send.poll_ready(&mut cx), Poll::Ready(Ok(()))) {
            connection.gone_away();
            return Err(NotStarted::Gone(Box::new(request)));
        }
        if connection.wire.is_deaf() {
            connection.leave();
            return Err(NotStarted::Gone(Box::new(request)));
        }
        connection.retire_if_used_up();
        connection.gate.call(http::Version::HTTP_2, request.extensions());
        if let Err(reason) =
            head::prepare_h2(&mut request, &connection.scheme, connection.shared.address())
        {
            return Err(NotStarted::Failed(SendError::invalid(reason, request)));
        }
        if *request.method() == Method::CONNECT && !connection.takes(&request) {
            return Err(NotStarted::Failed(no_extended_connect(request)));
        }
        let length = request.body().size_hint().exact();
        head::state_length(&mut request, length);
        let (head, mut body) = request.into_parts();
        let opening = open(&mut body)
            .map_err(|error| NotStarted::Failed(SendError::body_failed_first(error)))?;
        let head = Request::from_parts(head, ());
        let ends = matches!(opening, Opening::Empty);
        let max_headers = connection.max_headers;
        // The connection was in order a moment ago: losing the head here takes a GOAWAY or an end that
        // is processed on another thread in between.
        match send.send_request(head, ends) {
            Ok((response, stream)) => {
                let exchange = self.send_body(stream, opening, body);
                Ok(Started { response, exchange, max_headers })
            }
            Err(error) => Err(unopened(error)),
        }
    }

    /// Sends the beginning of the body. A stream that the peer ended meanwhile takes none: the response
    /// tells why. One that is open still and refuses is reset, and the response tells that.
    fn send_body(
        self,
        mut stream: h2::SendStream<Bytes>,
        opening: Opening,
        body: MeshBody,
    ) -> Exchange {
        let sent = match opening {
            Opening::Empty => Ok(()),
            Opening::Whole(data) => stream.send_data(data, true),
            Opening::Trailers(data, trailers) => data
                .map_or(Ok(()), |data| stream.send_data(data, false))
                .and_then(|()| stream.send_trailers(trailers)),
            Opening::Begun(first, next) => {
                match first.map_or(Ok(()), |first| stream.send_data(first, false)) {
                    Ok(()) => {
                        self.0.queued();
                        return self.pump(stream, body, next);
                    }
                    Err(error) => Err(error),
                }
            }
        };
        if sent.is_err() {
            stream.send_reset(h2::Reason::CANCEL);
        }
        self.0.queued();
        Exchange::Sent(self)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a body that streams outlives the poll that sent the head"
    )]
    fn pump(self, stream: h2::SendStream<Bytes>, body: MeshBody, next: Option<Bytes>) -> Exchange {
        let runtime = self.0.runtime.clone();
        let shared = Arc::new(PumpShared::new(self));
        let pump = Pump::new(stream, body, next, Arc::clone(&shared));
        Exchange::Pumped { shared: Some(shared), pump: runtime.spawn(pump).abort_handle() }
    }
}

#[cold]
fn unopened(error: h2::Error) -> NotStarted {
    NotStarted::Failed(SendError::new(failure::of_unopened(&error)).with_source(error))
}

/// Takes what is there of `body` without waiting: at most two frames, so that the last data carries
/// END_STREAM wherever the body's end can be seen.
///
/// Nobody is woken by what is polled here: who finds the body pending polls it again.
fn open(body: &mut MeshBody) -> Result<Opening, BoxError> {
    if body.is_end_stream() {
        return Ok(Opening::Empty);
    }
    let first = match poll_now(body) {
        Poll::Pending => return Ok(Opening::Begun(None, None)),
        Poll::Ready(None) => return Ok(Opening::Empty),
        Poll::Ready(Some(frame)) => frame?,
    };
    let first = match split(first) {
        Split::Trailers(trailers) => return Ok(Opening::Trailers(None, trailers)),
        Split::Data(data) => data,
    };
    if body.is_end_stream() {
        return Ok(Opening::Whole(first));
    }
    Ok(match poll_now(body) {
        Poll::Pending => Opening::Begun(Some(first), None),
        Poll::Ready(None) => Opening::Whole(first),
        Poll::Ready(Some(frame)) => match split(frame?) {
            Split::Trailers(trailers) => Opening::Trailers(Some(first), trailers),
            Split::Data(next) => Opening::Begun(Some(first), Some(next)),
        },
    })
}

fn poll_now(body: &mut MeshBody) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

impl Started {
    /// Waits for the response head.
    pub(in crate::connect) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<NetBody>, SendError>> {
        let polled = std::task::ready!(Pin::new(&mut self.response).poll(cx));
        let exchange = std::mem::replace(&mut self.exchange, Exchange::Ended);
        Poll::Ready(match polled {
            // Envoy: `max_headers_count`. What is left of the response is given up.
            Ok(response) if response.headers().len() > self.max_headers as usize => {
                Err(SendError::new(Failure::Protocol(ProtocolFailure::ResponseHeadTooLarge)))
            }
            Ok(response) => Ok(respond(response, exchange)),
            Err(error) if failure::is_ours(&error) => {
                let source = exchange.take_body_error().unwrap_or_else(|| error.into());
                Err(SendError::new(failure::REQUEST_BODY).with_source(source))
            }
            Err(error) => Err(SendError::new(failure::of_h2(&error)).with_source(error)),
        })
    }
}

fn respond(response: Response<h2::RecvStream>, exchange: Exchange) -> Response<NetBody> {
    let length = content_length(response.headers());
    response.map(|stream| NetBody::h2(stream, exchange, length))
}
