//! [`Link`]: one stream to one server, over gRPC.
//!
//! The stream's response head may come only with the first response, and the first response only after a
//! request: so requests are sent as soon as the transport is connected, and the head is waited for beside.

use super::wire::Outgoing;
use crate::bootstrap::{ChannelCreds, Server, Target};
use crate::protocol::{CloseReason, Variant};
use discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use futures_core::Stream;
use futures_core::future::BoxFuture;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

/// The largest response, in bytes. Larger ones end the stream.
pub const MAX_RESPONSE: usize = 256 << 20;

/// How many requests may wait for the transport: a few more than there are types. More are made later,
/// from what is wanted then.
const QUEUE: usize = 16;

/// HTTP/2 PINGs on an idle connection, so that a half-open one does not hang in silence (grpc-go and
/// grpc-java: 5 min).
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

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

type Connecting = BoxFuture<'static, Result<Channel, String>>;
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
    requests: mpsc::Sender<Q>,
    responses: Responses<R>,
}

enum Responses<R> {
    Opening(Opening<R>),
    Open(Box<Streaming<R>>),
}

impl Link {
    /// Begins to connect.
    pub(super) fn connect(server: &Server, variant: Variant) -> Self {
        let (server, target) = (server.clone(), server.target().clone());
        let connecting = async move {
            if !matches!(server.channel_creds(), ChannelCreds::Insecure) {
                return Err("channel_creds other than `insecure` can't be used yet".to_owned());
            }
            let failed = |error: tonic::transport::Error| {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                format!("{error}{}", source.unwrap_or_default())
            };
            match target {
                Target::Dns { host, port } => {
                    let endpoint = endpoint(&format!("http://{host}:{port}"))?;
                    endpoint.connect().await.map_err(failed)
                }
                Target::Addresses(addresses) => {
                    let mut last = "no address".to_owned();
                    for address in addresses.iter() {
                        match endpoint(&format!("http://{address}"))?.connect().await {
                            Ok(channel) => return Ok(channel),
                            Err(error) => last = failed(error),
                        }
                    }
                    Err(last)
                }
                Target::Unix(path) => {
                    let endpoint = endpoint("http://localhost")?;
                    let connector = tower::service_fn(move |_: http::Uri| {
                        let path = std::sync::Arc::clone(&path);
                        async move {
                            let stream = tokio::net::UnixStream::connect(&*path).await?;
                            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
                        }
                    });
                    endpoint.connect_with_connector(connector).await.map_err(failed)
                }
                other => Err(format!("{other} is a target that can't be connected to yet")),
            }
        };
        Self::Connecting(Box::pin(connecting), variant)
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
                Ok(channel) => {
                    *self = Self::open(channel, *variant);
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

    fn open(channel: Channel, variant: Variant) -> Self {
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE);
        match variant {
            Variant::StateOfTheWorld => {
                let (requests, receiver) = mpsc::channel(QUEUE);
                let opening = async move {
                    client.stream_aggregated_resources(ReceiverStream::new(receiver)).await
                };
                let responses = Responses::Opening(Box::pin(opening));
                Self::StateOfTheWorld(Open { requests, responses })
            }
            Variant::Delta => {
                let (requests, receiver) = mpsc::channel(QUEUE);
                let opening = async move {
                    client.delta_aggregated_resources(ReceiverStream::new(receiver)).await
                };
                let responses = Responses::Opening(Box::pin(opening));
                Self::Delta(Open { requests, responses })
            }
        }
    }
}

impl<Q, R> Open<Q, R> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<R, CloseReason>> {
        if let Responses::Opening(opening) = &mut self.responses {
            match ready!(opening.as_mut().poll(cx)) {
                Ok(response) => self.responses = Responses::Open(Box::new(response.into_inner())),
                Err(status) => return Poll::Ready(Err(closed(&status))),
            }
        }
        let Responses::Open(stream) = &mut self.responses else { return Poll::Pending };
        Poll::Ready(match ready!(Pin::new(&mut **stream).poll_next(cx)) {
            Some(Ok(message)) => Ok(message),
            Some(Err(status)) => Err(closed(&status)),
            None => Err(CloseReason::Ended),
        })
    }
}

fn closed(status: &Status) -> CloseReason {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Unimplemented => CloseReason::Unimplemented(text.into()),
        _ => CloseReason::Failed(text.into()),
    }
}

fn endpoint(uri: &str) -> Result<Endpoint, String> {
    let endpoint =
        Endpoint::from_shared(uri.to_owned()).map_err(|error| format!("{uri}: {error}"))?;
    Ok(endpoint
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}
