//! The control plane over a socket, asked by the client that is generated from Envoy's protos.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::rpc::Status as Refusal;
use mesh_xds::ResourceType;
use mesh_xds::encode::Encoded;
use mesh_xds::protocol::Variant;
use mesh_xds::server::{AdsServer, Client, MAX_NAMES, Progress, ServeError, Snapshot};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

const PATIENCE: Duration = Duration::from_secs(10);
const CDS: &str = ResourceType::Cluster.type_url();

/// Clusters of these names; the body is nothing that the server looks into.
fn clusters(names: &[&str]) -> Snapshot {
    let cluster = |name: &&str| {
        let body = Bytes::copy_from_slice(name.as_bytes());
        Encoded::new(ResourceType::Cluster, *name, body)
    };
    Snapshot::new(names.iter().map(cluster))
}

struct Running {
    server: AdsServer,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

async fn start(snapshot: Snapshot) -> Running {
    let server = AdsServer::new(snapshot);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn({
        let server = server.clone();
        async move { server.serve(listener, async { stopped.await.unwrap_or_default() }).await }
    });
    Running { server, address, stop, serving }
}

impl Running {
    async fn sotw(&self) -> (mpsc::Sender<DiscoveryRequest>, Streaming<DiscoveryResponse>) {
        let (sender, requests) = mpsc::channel(8);
        let mut client =
            AggregatedDiscoveryServiceClient::connect(format!("http://{}", self.address))
                .await
                .unwrap();
        let opened = client.stream_aggregated_resources(ReceiverStream::new(requests)).await;
        (sender, opened.unwrap().into_inner())
    }

    async fn delta(
        &self,
    ) -> (mpsc::Sender<DeltaDiscoveryRequest>, Streaming<DeltaDiscoveryResponse>) {
        let (sender, requests) = mpsc::channel(8);
        let mut client =
            AggregatedDiscoveryServiceClient::connect(format!("http://{}", self.address))
                .await
                .unwrap();
        let opened = client.delta_aggregated_resources(ReceiverStream::new(requests)).await;
        (sender, opened.unwrap().into_inner())
    }

    /// The only client, once it is like this.
    async fn until(&self, what: &str, is_it: impl Fn(&Client, &Progress) -> bool) -> Client {
        let seen = timeout(PATIENCE, async {
            loop {
                for client in self.server.clients().connected() {
                    let kind = client.kinds.get(&ResourceType::Cluster);
                    if kind.is_some_and(|progress| is_it(&client, progress)) {
                        return client;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let clients = self.server.clients();
        seen.await.unwrap_or_else(|_| panic!("{what}: {:#}", clients.to_json()))
    }
}

async fn next<R>(responses: &mut Streaming<R>) -> Result<Option<R>, Status> {
    timeout(PATIENCE, responses.message()).await.expect("a response in time")
}

fn node(id: &str) -> Option<Node> {
    Some(Node { id: id.to_owned(), ..Node::default() })
}

fn refusal(why: &str) -> Option<Refusal> {
    Some(Refusal { code: 3, message: why.to_owned(), details: Vec::new() })
}

/// A request of the state of the world for all clusters.
fn ask(nonce: &str, error: Option<Refusal>) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: CDS.to_owned(),
        response_nonce: nonce.to_owned(),
        error_detail: error,
        node: node("sotw-1"),
        ..DiscoveryRequest::default()
    }
}

fn ask_delta(nonce: &str, error: Option<Refusal>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: CDS.to_owned(),
        response_nonce: nonce.to_owned(),
        error_detail: error,
        node: node("delta-1"),
        ..DeltaDiscoveryRequest::default()
    }
}

#[tokio::test]
async fn the_state_of_the_world_is_answered_pushed_and_followed() {
    let running = start(clusters(&["a", "b"])).await;
    let (requests, mut responses) = running.sotw().await;

    requests.send(ask("", None)).await.unwrap();
    let first = next(&mut responses).await.unwrap().unwrap();
    assert_eq!(first.resources.len(), 2);
    requests.send(ask(&first.nonce, None)).await.unwrap();
    let client = running.until("an ACK", |_, kind| kind.acked == first.version_info).await;
    assert_eq!((&*client.node_id, client.variant), ("sotw-1", Variant::StateOfTheWorld));
    assert!(client.peer.is_some_and(|peer| peer.ip().is_loopback()));

    assert!(running.server.publish(clusters(&["a", "b", "c"])));
    assert!(!running.server.publish(clusters(&["a", "b", "c"])), "what is equal is not published");
    let second = next(&mut responses).await.unwrap().unwrap();
    assert_eq!(second.resources.len(), 3);
    requests.send(ask(&second.nonce, refusal("c is bad"))).await.unwrap();
    let client = running.until("a NACK", |_, kind| kind.nacked.is_some()).await;
    let kind = &client.kinds[&ResourceType::Cluster];
    let nacked = kind.nacked.as_ref().unwrap();
    assert_eq!((&nacked.version, &*nacked.message), (&second.version_info, "c is bad"));
    assert_eq!((&kind.acked, &kind.sent), (&first.version_info, &second.version_info));
    assert_eq!((kind.totals.pushes, kind.totals.acks, kind.totals.nacks), (2, 1, 1));

    let text = running.server.clients().to_prometheus();
    for line in [
        "mesh_ads_clients{variant=\"sotw\"} 1",
        "mesh_ads_pushes_total{type=\"CDS\"} 2",
        "mesh_ads_nacks_total{type=\"CDS\"} 1",
        "mesh_ads_clients_refusing{type=\"CDS\"} 1",
        "mesh_ads_ack_lag_seconds_count{type=\"CDS\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let json = running.server.clients().to_json();
    assert_eq!(json[0]["types"]["CDS"]["nacked"]["why"], "c is bad", "{json:#}");
}

#[tokio::test]
async fn the_incremental_variant_is_answered_pushed_and_followed() {
    let running = start(clusters(&["a", "b"])).await;
    let (requests, mut responses) = running.delta().await;

    requests.send(ask_delta("", None)).await.unwrap();
    let first = next(&mut responses).await.unwrap().unwrap();
    assert_eq!(first.resources.len(), 2);
    requests.send(ask_delta(&first.nonce, None)).await.unwrap();
    let version = &first.system_version_info;
    let client = running.until("an ACK", |_, kind| kind.acked == *version).await;
    assert_eq!((&*client.node_id, client.variant), ("delta-1", Variant::Delta));

    running.server.publish(clusters(&["a", "c"]));
    let made = next(&mut responses).await.unwrap().unwrap();
    assert_eq!(made.resources.len(), 1, "only what changed");
    let broken = next(&mut responses).await.unwrap().unwrap();
    assert_eq!(broken.removed_resources, ["b"], "what is gone goes last");
    requests.send(ask_delta(&made.nonce, refusal("c is bad"))).await.unwrap();
    requests.send(ask_delta(&broken.nonce, None)).await.unwrap();
    let client = running.until("both answers", |_, kind| kind.totals.acks == 2).await;
    let kind = &client.kinds[&ResourceType::Cluster];
    let nacked = kind.nacked.as_ref().expect("half of the version is refused");
    assert_eq!(nacked.message, "c is bad");
    assert_eq!((&kind.acked, kind.unanswered()), (version, 0));
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_a_few_responses_and_ends_with_the_newest() {
    const EDITS: usize = 50;
    // Larger than what the connection takes before the client reads.
    const SIZE: usize = 3 << 20;
    let of = |edit: usize| {
        let body = Bytes::from(vec![u8::try_from(edit).unwrap(); SIZE]);
        Snapshot::new([Encoded::new(ResourceType::Cluster, "large", body)])
    };
    let running = start(of(0)).await;
    let (requests, responses) = running.sotw().await;
    requests.send(ask("", None)).await.unwrap();
    running.until("the first response", |_, kind| !kind.sent.is_empty()).await;
    for edit in 1..=EDITS {
        assert!(running.server.publish(of(edit)));
        // As long as the task of the stream could take it.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut responses = responses;
    let mut seen = Vec::new();
    while seen.last() != Some(&u8::try_from(EDITS).unwrap()) {
        let response = next(&mut responses).await.unwrap().expect("more to come");
        seen.push(*response.resources[0].value.last().unwrap());
    }
    // Two with the connection, two that wait, one that the task would send, and the newest.
    assert!(seen.len() <= 6, "{seen:?}");
    assert!(seen.is_sorted(), "{seen:?}");
}

#[tokio::test]
async fn a_type_that_is_not_known_gets_no_answer_and_the_stream_lives() {
    let running = start(clusters(&["a"])).await;
    let (requests, mut responses) = running.sotw().await;
    let unknown = "type.googleapis.com/envoy.service.runtime.v3.Runtime".to_owned();
    let request = DiscoveryRequest { type_url: unknown, ..ask("", None) };
    requests.send(request).await.unwrap();
    requests.send(ask("", None)).await.unwrap();
    let first = next(&mut responses).await.unwrap().unwrap();
    assert_eq!(first.type_url, CDS);
}

#[tokio::test]
async fn too_many_names_end_the_stream_with_a_reason() {
    let running = start(Snapshot::default()).await;
    let (requests, mut responses) = running.sotw().await;
    let names = (0..=MAX_NAMES).map(|name| name.to_string()).collect();
    requests.send(DiscoveryRequest { resource_names: names, ..ask("", None) }).await.unwrap();
    let status = next(&mut responses).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("100000 names"), "{status}");
    assert_eq!(running.server.clients().connected(), []);
}

#[tokio::test]
async fn the_end_of_the_server_is_told_and_clients_that_leave_are_forgotten() {
    let running = start(clusters(&["a"])).await;
    let (requests, mut responses) = running.sotw().await;
    requests.send(ask("", None)).await.unwrap();
    next(&mut responses).await.unwrap();
    let (gone, _responses) = running.delta().await;
    assert_eq!(running.server.clients().connected().len(), 2);
    drop(gone);
    running.until("one left", |_, _| running.server.clients().connected().len() == 1).await;

    running.stop.send(()).unwrap();
    let status = next(&mut responses).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    drop((requests, responses));
    timeout(PATIENCE, running.serving).await.unwrap().unwrap().unwrap();
    assert_eq!(running.server.clients().connected(), []);
}
