//! An upgrade towards an endpoint of HTTP/2: extended CONNECT (RFC 8441), a stream of a connection that calls share.
//!
//! The request that asks is one of HTTP/1.1, and so is the answer that comes back: what is between is this module's.

use super::own::Opened;
use super::own_http::OwnBody;
use super::sending::{Phases, Sending};
use super::shared::Shared;
use super::{NetBody, PoolSettings, SendError};
use crate::{BoxError, MeshBody};
use bytes::{Buf, Bytes};
use h2::ext::Protocol;
use http::request::Parts;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use mesh_core::model::RoutingPriority;
use mesh_core::outcome::{Failure, ProtocolFailure};
use mesh_core::proxy::upgrade::Extends;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;

/// The most bytes of a write that are one piece of the stream.
const PIECE: usize = 16 << 10;

/// How many pieces wait while the endpoint gives no room.
const PIECES: usize = 1;

/// Asks for it; `request` comes back as it was, if nothing of it was sent.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    settings: &Arc<PoolSettings>,
    request: Request<MeshBody>,
    priority: RoutingPriority,
) -> Result<Opened, SendError> {
    let (parts, body) = request.into_parts();
    if !body.is_end_stream() {
        let why = "an upgrade with a body can't be asked for over HTTP/2 (RFC 8441): the cluster needs `protocol: http1`";
        return Err(refused(parts, body, why));
    }
    let mut asking = parts.clone();
    let Some(extends) = Extends::write(&mut asking.method, &mut asking.headers) else {
        return Err(refused(parts, body, "the request names no protocol to go on in"));
    };
    asking.version = Version::HTTP_2;
    asking.extensions.insert(Protocol::from(extends.protocol()));
    let ((writes, pieces), (sends, sent_all)) = (mpsc::channel(PIECES), oneshot::channel());
    let asking = Request::from_parts(asking, MeshBody::new(Written { pieces, _sends: sends }));
    let mut sending = pin!(Sending::over_h2(shared, settings, asking, Sending::first(priority)));
    let sent = sending.as_mut().await;
    let Phases { connect, tls, .. } = sending.phases().unwrap_or_default();
    let response = sent.map_err(|error| SendError {
        request: error.request.map(|_asking| Box::new(Request::from_parts(parts, body))),
        ..error
    })?;
    let (mut head, reads) = response.into_parts();
    let body = if head.status.is_success() {
        extends.agree(&mut head.status, &mut head.headers);
        let (writes, sent_all) = (Some(PollSender::new(writes)), Some(sent_all));
        let (rest, has_ended) = (Bytes::new(), false);
        OwnBody::Stream(Box::new(H2Stream { reads, rest, has_ended, writes, sent_all }))
    } else {
        OwnBody::Net(reads)
    };
    Ok(Opened { response: http::Response::from_parts(head, body), connect, tls })
}

#[cold]
fn refused(parts: Parts, body: MeshBody, why: &'static str) -> SendError {
    let failure = Failure::Protocol(ProtocolFailure::VersionUnsupported);
    SendError::new(failure).with_request(Request::from_parts(parts, body)).with_source(why)
}

/// A stream of HTTP/2 as bytes. Shutting it down ends our half, once all that was written is on its way; dropping it
/// resets what has not ended.
pub(crate) struct H2Stream {
    reads: NetBody,
    /// What came, and was not read yet.
    rest: Bytes,
    has_ended: bool,
    /// `None`: our half has ended.
    writes: Option<PollSender<Bytes>>,
    /// Ends when nothing of it is left to be sent; `None`: that was told.
    sent_all: Option<oneshot::Receiver<Infallible>>,
}

impl AsyncRead for H2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.has_ended {
            match ready!(Pin::new(&mut self.reads).poll_frame(cx)) {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    self.has_ended = true;
                    return Poll::Ready(Err(io::Error::other(error)));
                }
                None => self.has_ended = true,
            }
        }
        let length = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let Some(writes) = &mut self.writes else { return Poll::Ready(Err(broken())) };
        if ready!(writes.poll_reserve(cx)).is_err() {
            return Poll::Ready(Err(broken()));
        }
        let piece = &buf[..buf.len().min(PIECE)];
        if writes.send_item(Bytes::copy_from_slice(piece)).is_err() {
            return Poll::Ready(Err(broken()));
        }
        Poll::Ready(Ok(piece.len()))
    }

    /// What is written is on its way by itself. Fails if the endpoint takes no more, and wakes the task when that
    /// happens.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writes.is_some()
            && let Some(sent_all) = &mut self.sent_all
            && Pin::new(sent_all).poll(cx).is_ready()
        {
            self.sent_all = None;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writes = None;
        if let Some(sent_all) = &mut self.sent_all {
            // Nobody ever says anything: the other end is gone.
            drop(ready!(Pin::new(sent_all).poll(cx)));
            self.sent_all = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// What is written, as the body of the request.
struct Written {
    pieces: mpsc::Receiver<Bytes>,
    /// Gone with who sends it.
    _sends: oneshot::Sender<Infallible>,
}

impl Body for Written {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
