//! Flow control: a control plane can't send faster than its client takes.

use crate::client::{Heard, client, hear};
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use mesh_xds::ResourceType;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

const RESPONSE: usize = 256 * 1024;
/// What the sockets of both sides, HTTP/2's windows and our queues may hold, with room: the client that read
/// all the time would take thousands meanwhile.
const MOST: usize = 64 * 1024 * 1024 / RESPONSE;
/// As many as it is offered at most.
const OFFERED: usize = 100_000;

/// A control plane that sends without end, and counts what it got rid of.
#[derive(Clone, Default)]
struct Flood {
    sent: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Flood {
    type StreamAggregatedResourcesStream =
        ReceiverStream<Result<discovery::DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        ReceiverStream<Result<discovery::DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        let sent = Arc::clone(&self.sent);
        tokio::spawn(async move {
            let _requests = request.into_inner();
            for number in 0..OFFERED {
                let response = discovery::DiscoveryResponse {
                    type_url: ResourceType::Listener.type_url().to_owned(),
                    version_info: "v".repeat(RESPONSE),
                    nonce: number.to_string(),
                    ..Default::default()
                };
                if sender.send(Ok(response)).await.is_err() {
                    break;
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn delta_aggregated_resources(
        &self,
        _request: Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only the state of the world"))
    }
}

/// How many were sent once no more are; at most [`OFFERED`].
async fn settled(sent: &AtomicUsize) -> usize {
    let mut last = usize::MAX;
    loop {
        let now = sent.load(Ordering::Relaxed);
        if now == last {
            return now;
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn a_server_that_floods_waits_for_us() {
    let flood = Flood::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = listener.local_addr().unwrap().to_string();
    let service = AggregatedDiscoveryServiceServer::new(flood.clone());
    tokio::spawn(Server::builder().serve_with_incoming(service, TcpIncoming::from(listener)));

    let mut client = client(&uri, &json!([{ "type": "insecure" }]), &json!([]));
    assert_eq!(hear(&mut client).await, Heard::Answer);
    let held = settled(&flood.sent).await;
    assert!(held <= MOST, "{held} responses, of which nobody took a second one");

    // It goes on when we do.
    let goes_on = tokio::time::timeout(Duration::from_millis(500), async {
        loop {
            let _event = client.next().await;
        }
    });
    assert!(goes_on.await.is_err(), "the client ended");
    assert!(flood.sent.load(Ordering::Relaxed) > held);
}
