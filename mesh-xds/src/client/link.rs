//! [`Link`]: one stream to one server, over gRPC.
//!
//! The stream's response head may come only with the first response, and the first response only after a
//! request: so requests are sent as soon as the transport is connected, and the head is waited for beside.

use super::credentials::Credentials;
use super::dial::Dialed;
use super::wire::Outgoing;
use crate::bootstrap::Server;
use crate::protocol::{CloseReason, Variant};
use discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use futures_core::Stream;
use futures_core::future::BoxFuture;
use std::error::Error as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

/// The largest response, in bytes. Larger ones end the stream.
pub const MAX_RESPONSE: usize = 256 << 20;

/// How many requests may wait for the transport: a few more than there are types. More are made later,
/// from what is wanted then.
const QUEUE: usize = 16;

/// What is received.
#[derive(Debug)]
pub(super) enum Message {
    StateOfTheWorld(Box<discovery::DiscoveryResponse>),
    Delta(Box<discovery::DeltaDiscoveryResponse>),
}

/// What happened on a link.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// The transport is connected; requests can be sent.
    Connected,
    Message(Message),
    Closed(CloseReason),
}

/// A connection that is being made, or why it could not be.
pub(super) type Connecting = BoxFuture<'static, Result<Dialed, String>>;
type Opening<T> = BoxFuture<'static, Result<Response<Streaming<T>>, Status>>;

/// One stream to one server.
#[derive(Default)]
pub(super) enum Link {
    #[default]
    Down,
    Connecting(Connecting, Variant),
    StateOfTheWorld(Open<discovery::DiscoveryRequest, discovery::DiscoveryResponse>),
    Delta(Open<discovery::DeltaDiscoveryRequest, discovery::DeltaDiscoveryResponse>),
}

/// An open stream.
pub(super) struct Open<Q, R> {
    pub(super) requests: mpsc::Sender<Q>,
    responses: Responses<R>,
    dialed: Dialed,
}

enum Responses<R> {
    Opening(Opening<R>),
    Open(Box<Streaming<R>>),
    /// It has failed; what the connection says of that is being read.
    Closing(BoxFuture<'static, CloseReason>),
}

impl Link {
    /// Begins to connect. `credentials` are those of `server`; `failures` streams in a row had no response.
    pub(super) fn connect(
        server: &Server,
        credentials: &Credentials,
        failures: usize,
        variant: Variant,
    ) -> Self {
        Self::Connecting(connect(server, credentials, failures), variant)
    }

    /// Whether a request could be sent now.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Down | Self::Connecting(..) => false,
            Self::StateOfTheWorld(open) => open.requests.capacity() > 0,
            Self::Delta(open) => open.requests.capacity() > 0,
        }
    }

    /// Sends a request; only after [`has_room`](Self::has_room). One of the other variant, or one for a
    /// stream that has ended meanwhile, is dropped: the end of the stream is heard apart.
    pub(super) fn send(&self, request: Outgoing) {
        let _ended = match (self, request) {
            (Self::StateOfTheWorld(open), Outgoing::StateOfTheWorld(request)) => {
                open.requests.try_send(*request).is_err()
            }
            (Self::Delta(open), Outgoing::Delta(request)) => {
                open.requests.try_send(*request).is_err()
            }
            _ => true,
        };
    }

    /// The next thing that happens; never, while it is down.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        let closed = match self {
            Self::Down => return Poll::Pending,
            Self::Connecting(connecting, variant) => match ready!(connecting.as_mut().poll(cx)) {
                Ok(dialed) => {
                    *self = Self::open(dialed, *variant);
                    return Poll::Ready(LinkEvent::Connected);
                }
                Err(error) => CloseReason::Failed(error.into()),
            },
            Self::StateOfTheWorld(open) => match ready!(open.poll(cx)) {
                Ok(message) => {
                    let message = Message::StateOfTheWorld(Box::new(message));
                    return Poll::Ready(LinkEvent::Message(message));
                }
                Err(reason) => reason,
            },
            Self::Delta(open) => match ready!(open.poll(cx)) {
                Ok(message) => {
                    return Poll::Ready(LinkEvent::Message(Message::Delta(Box::new(message))));
                }
                Err(reason) => reason,
            },
        };
        *self = Self::Down;
        Poll::Ready(LinkEvent::Closed(closed))
    }

    fn open(dialed: Dialed, variant: Variant) -> Self {
        let mut client = AggregatedDiscoveryServiceClient::new(dialed.channel.clone())
            .max_decoding_message_size(MAX_RESPONSE);
        match variant {
            Variant::StateOfTheWorld => {
                let (requests, receiver) = mpsc::channel(QUEUE);
                let request = dialed.request(ReceiverStream::new(receiver));
                let opening = async move { client.stream_aggregated_resources(request).await };
                Self::StateOfTheWorld(Open::new(requests, Box::pin(opening), dialed))
            }
            Variant::Delta => {
                let (requests, receiver) = mpsc::channel(QUEUE);
                let request = dialed.request(ReceiverStream::new(receiver));
                let opening = async move { client.delta_aggregated_resources(request).await };
                Self::Delta(Open::new(requests, Box::pin(opening), dialed))
            }
        }
    }
}

/// A connection to `server`, once it is made. `credentials` are those of `server`; `failures` streams in a
/// row had no response.
pub(super) fn connect(server: &Server, credentials: &Credentials, failures: usize) -> Connecting {
    let (server, credentials) = (server.clone(), credentials.clone());
    Box::pin(async move { Dialed::new(&server, &credentials, failures).await })
}

impl<Q, R> Open<Q, R> {
    /// A stream that is being opened: the server may hold its head back until it has something to say.
    pub(super) fn new(requests: mpsc::Sender<Q>, opening: Opening<R>, dialed: Dialed) -> Self {
        Self { requests, responses: Responses::Opening(opening), dialed }
    }

    /// The next message, or why there is none.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<R, CloseReason>> {
        if let Responses::Opening(opening) = &mut self.responses {
            self.responses = match ready!(opening.as_mut().poll(cx)) {
                Ok(response) => Responses::Open(Box::new(response.into_inner())),
                Err(status) => Responses::Closing(closing(&status, &self.dialed, true)),
            };
        }
        if let Responses::Open(stream) = &mut self.responses {
            match ready!(Pin::new(&mut **stream).poll_next(cx)) {
                Some(Ok(message)) => return Poll::Ready(Ok(message)),
                Some(Err(status)) => {
                    self.responses = Responses::Closing(closing(&status, &self.dialed, false));
                }
                None => return Poll::Ready(Err(CloseReason::Ended)),
            }
        }
        let Responses::Closing(closing) = &mut self.responses else { return Poll::Pending };
        Poll::Ready(Err(ready!(closing.as_mut().poll(cx))))
    }
}

/// With what the connection says of its end, if that was the reason.
fn closing(status: &Status, dialed: &Dialed, opening: bool) -> BoxFuture<'static, CloseReason> {
    let code = status.code();
    let text = format!("{code:?}: {}", status.message());
    let told = status.source().map(|source| dialed.told(source, opening));
    Box::pin(async move {
        let text = match told {
            Some(told) => format!("{text}: {}", told.await),
            None => text,
        };
        match code {
            Code::Unimplemented => CloseReason::Unimplemented(text.into()),
            _ => CloseReason::Failed(text.into()),
        }
    })
}
