//! A request of HTTP/1.1 on a connection of its own, which may go on in another protocol.
//!
//! Connections that calls share are no place for it: once the server agrees, nothing is left to share. And what would
//! be agreed on by ALPN for the others may be HTTP/2, which has no `upgrade`.

use super::failure;
use super::h1::{self, Outgoing};
use super::head;
use super::io::NetIo;
use super::net_body::{NetBody, NetBodyError};
use super::own_h2::H2Stream;
use super::shared::Shared;
use super::{PoolSettings, SendError};
use crate::MeshBody;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mesh_core::outcome::ConnectFailure;
use mesh_core::outcome::Failure;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The body of an answer on a connection of its own. As long as it is not dropped, or read to its end, the attempt
/// counts as in flight.
pub(crate) enum OwnBody {
    /// The connection: a byte stream.
    Bytes(Box<NetIo>),
    /// The server did not agree to anything else.
    Http(Incoming),
    /// The same, over HTTP/2.
    Net(NetBody),
    /// The server agreed: the connection is what comes of this.
    Upgraded(OnUpgrade),
    /// The server agreed over HTTP/2.
    Stream(Box<H2Stream>),
    /// It was taken out.
    Taken,
}

/// Sends `request` on `stream`, whose driver is a task. What comes of it is dropped with the answer's body.
#[expect(clippy::disallowed_methods, reason = "a connection is a task")]
pub(super) async fn ask(
    shared: &Arc<Shared>,
    settings: &Arc<PoolSettings>,
    stream: NetIo,
    mut request: Request<MeshBody>,
) -> Result<Response<OwnBody>, SendError> {
    if let Err(reason) = head::prepare_h1(&mut request, shared.address(), &mut None) {
        return Err(SendError::invalid(reason, request));
    }
    let made = h1::builder(settings).handshake(TokioIo::new(stream)).await;
    let (mut send, connection) = match made {
        Ok(made) => made,
        Err(error) => {
            let failure = Failure::Connect(ConnectFailure::Handshake);
            return Err(SendError::new(failure).with_request(request).with_source(error));
        }
    };
    let address = shared.address().clone();
    drop(settings.runtime.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%address, %error, "a connection of its own ended");
        }
    }));
    let request = request.map(|body| Outgoing::new(body, Arc::default()));
    let mut response = send.try_send_request(request).await.map_err(|mut error| {
        let unsent = error.take_message();
        let error = error.into_error();
        match unsent {
            Some(unsent) => SendError::unsent(error, unsent.map(Outgoing::into_body)),
            None => SendError::new(failure::of_h1(&error)).with_source(error),
        }
    })?;
    let upgrade = (response.status() == StatusCode::SWITCHING_PROTOCOLS)
        .then(|| hyper::upgrade::on(&mut response));
    Ok(response.map(|body| upgrade.map_or(OwnBody::Http(body), OwnBody::Upgraded)))
}

impl Body for OwnBody {
    type Data = Bytes;
    type Error = NetBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NetBodyError>>> {
        match &mut *self {
            Self::Http(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|f| f.map_err(NetBodyError::h1))),
            Self::Net(body) => Pin::new(body).poll_frame(cx),
            Self::Bytes(_) | Self::Upgraded(_) | Self::Stream(_) | Self::Taken => Poll::Ready(None),
        }
    }

    /// What is no body has no end: who holds it says when.
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http(body) => body.is_end_stream(),
            Self::Net(body) => body.is_end_stream(),
            Self::Bytes(_) | Self::Upgraded(_) | Self::Stream(_) | Self::Taken => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http(body) => body.size_hint(),
            Self::Net(body) => body.size_hint(),
            Self::Bytes(_) | Self::Upgraded(_) | Self::Stream(_) | Self::Taken => {
                SizeHint::default()
            }
        }
    }
}

impl fmt::Debug for OwnBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "Bytes",
            Self::Http(_) => "Http",
            Self::Net(_) => "Net",
            Self::Upgraded(_) => "Upgraded",
            Self::Stream(_) => "Stream",
            Self::Taken => "Taken",
        })
    }
}
