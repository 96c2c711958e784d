//! Call credentials: which token a control plane gets to see.

use crate::certificates::Authority;
use crate::client::{Heard, acceptor, client, hear};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use mesh_xds::client::Client;
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

/// A control plane that writes down the tokens of streams, and refuses them.
#[derive(Clone, Default)]
struct Door {
    seen: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Door {
    fn refuse<Q, R>(&self, request: &Request<Q>) -> Result<R, Status> {
        let tokens = request.metadata().get_all("authorization").iter();
        self.seen.lock().push(tokens.map(|token| token.to_str().unwrap().to_owned()).collect());
        Err(Status::unauthenticated("not for you"))
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Door {
    type StreamAggregatedResourcesStream =
        ReceiverStream<Result<discovery::DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        ReceiverStream<Result<discovery::DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.refuse(&request)
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.refuse(&request)
    }
}

fn token(number: u32) -> String {
    let claims = BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"exp\":9999999999,\"jti\":{number}}}"));
    format!("e30.{claims}.c2ln")
}

#[tokio::test]
async fn the_token_is_sent_with_each_stream_as_it_is_then() {
    let ca = Authority::new("ours");
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("ca.pem"), ca.pem()).unwrap();
    ca.issue(&["localhost"]).write(directory.path(), "server");

    let door = Door::default();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = plain.local_addr().unwrap();
    let service = AggregatedDiscoveryServiceServer::new(door.clone());
    tokio::spawn(Server::builder().serve_with_incoming(service, TcpIncoming::from(plain)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = acceptor(directory.path(), &[b"h2"]);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut behind = TcpStream::connect(behind).await.unwrap();
            tokio::spawn(async move {
                tokio::io::copy_bidirectional(&mut stream, &mut behind).await.unwrap_or_default()
            });
        }
    });

    let channel = json!([{ "type": "tls", "config": { "ca_certificate_file": path("ca.pem") } }]);
    let call = json!([
        { "type": "of_another" },
        { "type": "jwt_token_file", "config": { "jwt_token_file": path("token") } },
    ]);
    let mut client = client(&format!("localhost:{port}"), &channel, &call);
    let failure = async |client: &mut Client| match hear(client).await {
        Heard::Failure(error) => error,
        Heard::Answer => panic!("nobody answers here"),
    };
    let error = failure(&mut client).await;
    assert!(error.contains("Unavailable: the token file `"), "{error}");
    assert!(door.seen.lock().is_empty(), "without a token nobody is bothered");
    for number in [1, 2] {
        std::fs::write(path("token"), token(number)).unwrap();
        let error = failure(&mut client).await;
        assert!(error.contains("not for you"), "{error}");
        assert_eq!(door.seen.lock().last().unwrap(), &[format!("Bearer {}", token(number))]);
    }
}

#[test]
fn no_token_without_tls() {
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": "localhost:1", "channel_creds": [{ "type": "insecure" }],
            "call_creds": [{ "type": "jwt_token_file", "config": { "jwt_token_file": "/token" } }],
        }],
    });
    let refused = mesh_xds::bootstrap::Bootstrap::parse(&bootstrap.to_string()).unwrap_err();
    assert!(refused.to_string().contains("sent in the clear"), "{refused}");
}
