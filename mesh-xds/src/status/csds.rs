//! [`Csds`]: the status as a gRPC service, `envoy.service.status.v3.ClientStatusDiscoveryService` (gRFC A40).
//!
//! - One `ClientConfig`, of the one client; all in the generic form; `client_scope` is `#mesh`.
//! - `node_matchers` are for proxies of many clients: with one, the answer is `INVALID_ARGUMENT` (gRFC A40).
//! - Unary and streaming: each request on a stream is answered with all that is known then.
//! - `exclude_resource_contents` leaves the contents out, for clients that take no large messages.
//!
//! - A value in force from a copy on disk is `ACKED`, with its version, and `last_updated` is the copy's date: a
//!   process of this node has received and acknowledged it, and calls go by it. `REQUESTED` would say that they
//!   wait (`ClientResourceStatus`). That it is stale says `error_state`, which a good update clears.
//!
//! What it does not do: TLS, or say which configurations were in force before: the format has no place for
//! that.

use super::table::ResourceDump;
use super::{CLIENT_SCOPE, Status};
use crate::protocol::ResourceState;
use envoy_types::pb::envoy::admin::v3::{ClientResourceStatus, UpdateFailureState};
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_server::{
    ClientStatusDiscoveryService, ClientStatusDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse,
};
use envoy_types::pb::google::protobuf::{Any, Timestamp};
use futures_core::Stream;
use mesh_core::WallTime;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::net::TcpListener;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Streaming};

/// The service; made by [`csds`].
#[derive(Clone, Debug)]
pub struct Csds(Status);

/// The service, as it is added to a server.
pub type CsdsServer = ClientStatusDiscoveryServiceServer<Csds>;

/// The status as a service, to be added to a server. Its answers are as large as what is known.
#[must_use]
pub fn csds(status: Status) -> CsdsServer {
    ClientStatusDiscoveryServiceServer::new(Csds(status)).max_encoding_message_size(usize::MAX)
}

/// A listener on which the status can't be served.
#[derive(Debug, thiserror::Error)]
#[error("the status of xDS can't be served on its listener")]
pub struct ServeStatusError {
    #[source]
    source: tonic::transport::Error,
}

/// Serves the status on `listener`, in the clear and to everyone who can reach it, until it is dropped.
///
/// # Errors
/// [`ServeStatusError`]: the listener is broken for good.
///
/// # Cancel safety
/// Dropping it closes the listener; connections stay until their clients close them.
pub async fn serve(status: Status, listener: TcpListener) -> Result<(), ServeStatusError> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .max_concurrent_streams(STREAMS_OF_A_CONNECTION)
        .serve_with_incoming_shutdown(csds(status), incoming, std::future::pending());
    serving.await.map_err(|source| ServeStatusError { source })
}

/// The most streams of one connection; the next waits.
const STREAMS_OF_A_CONNECTION: u32 = 16;

#[tonic::async_trait]
impl ClientStatusDiscoveryService for Csds {
    type StreamClientStatusStream = Answers;

    async fn stream_client_status(
        &self,
        request: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Answers>, tonic::Status> {
        let requests = Some(request.into_inner());
        Ok(Response::new(Answers { requests, csds: self.clone() }))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, tonic::Status> {
        self.answer(request.get_ref()).map(Response::new)
    }
}

impl Csds {
    fn answer(&self, request: &ClientStatusRequest) -> Result<ClientStatusResponse, tonic::Status> {
        if !request.node_matchers.is_empty() {
            return Err(tonic::Status::invalid_argument(
                "node_matchers are not supported: there is one client, leave them out",
            ));
        }
        let with_contents = !request.exclude_resource_contents;
        let resources = self.0.resources().into_iter();
        let config = ClientConfig {
            node: Some(self.0.node().clone()),
            generic_xds_configs: resources.map(|dump| generic(dump, with_contents)).collect(),
            client_scope: CLIENT_SCOPE.to_owned(),
            ..ClientConfig::default()
        };
        Ok(ClientStatusResponse { config: vec![config] })
    }
}

/// The answers of one stream. One that is wrong ends it.
#[derive(Debug)]
pub struct Answers {
    requests: Option<Streaming<ClientStatusRequest>>,
    csds: Csds,
}

impl Stream for Answers {
    type Item = Result<ClientStatusResponse, tonic::Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(requests) = &mut self.requests else { return Poll::Ready(None) };
        let request = ready!(Pin::new(requests).poll_next(cx));
        let answer = request.map(|request| request.and_then(|request| self.csds.answer(&request)));
        if !matches!(answer, Some(Ok(_))) {
            self.requests = None;
        }
        Poll::Ready(answer)
    }
}

pub(super) fn generic(dump: ResourceDump, with_contents: bool) -> GenericXdsConfig {
    let type_url = dump.kind.type_url().to_owned();
    let body = dump.body.filter(|_| with_contents);
    let error_state = dump.error.map(|error| UpdateFailureState {
        last_update_attempt: Some(timestamp(error.at)),
        details: error.details.to_string(),
        version_info: error.version.as_deref().unwrap_or_default().to_owned(),
        ..UpdateFailureState::default()
    });
    let stale = dump
        .stale
        .map(|_| UpdateFailureState { details: STALE.to_owned(), ..UpdateFailureState::default() });
    let status = match (dump.state, &stale) {
        (ResourceState::Requested, Some(_)) => ClientResourceStatus::Acked,
        (state, _) => client_status(state),
    };
    GenericXdsConfig {
        xds_config: body.map(|body| Any { type_url: type_url.clone(), value: body.into() }),
        type_url,
        name: dump.name.to_string(),
        version_info: dump.version.as_deref().unwrap_or_default().to_owned(),
        last_updated: dump.last_updated.map(timestamp),
        client_status: status.into(),
        error_state: error_state.or(stale),
        ..GenericXdsConfig::default()
    }
}

/// What is said of a value from a copy on disk.
const STALE: &str =
    "in force from the copy on disk: the control plane has not sent it to this process yet";

const fn client_status(state: ResourceState) -> ClientResourceStatus {
    match state {
        ResourceState::Requested => ClientResourceStatus::Requested,
        ResourceState::DoesNotExist => ClientResourceStatus::DoesNotExist,
        ResourceState::Acked => ClientResourceStatus::Acked,
        ResourceState::Nacked => ClientResourceStatus::Nacked,
        ResourceState::ReceivedError => ClientResourceStatus::ReceivedError,
        ResourceState::Timeout => ClientResourceStatus::Timeout,
    }
}

fn timestamp(at: WallTime) -> Timestamp {
    let seconds = i64::try_from(at.as_unix_seconds()).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: 0 }
}
