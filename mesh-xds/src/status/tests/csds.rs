//! The service over a socket, asked by the client that is generated from Envoy's protos.

use super::{Run, bootstrap};
use crate::ResourceType;
use crate::protocol::Variant;
use crate::status::{Status, serve};
use envoy_types::pb::envoy::admin::v3::ClientResourceStatus;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::envoy::service::status::v3::ClientStatusRequest;
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
use envoy_types::pb::envoy::r#type::matcher::v3::NodeMatcher;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

async fn client(status: &Status) -> ClientStatusDiscoveryServiceClient<Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(status.clone(), listener));
    ClientStatusDiscoveryServiceClient::connect(format!("http://{address}")).await.unwrap()
}

/// A client of xDS that knows one of each.
fn run() -> Run {
    let mut run = Run::new(Variant::StateOfTheWorld);
    for watch in ["LDS a", "CDS good", "CDS bad", "EDS none", "SDS key"] {
        run.event(1, &format!("watch {watch}"));
    }
    run.event(2, "connected");
    run.event(3, "LDS 7 a=listener");
    run.event(4, "CDS 8 good=cluster bad=!wrong");
    run.event(5, "SDS 9 key=hunter2");
    run.event(17, "timer");
    run
}

fn find<'a>(all: &'a [GenericXdsConfig], name: &str) -> &'a GenericXdsConfig {
    all.iter().find(|config| config.name == name).unwrap()
}

#[tokio::test]
async fn everything_is_told_in_the_generic_form() {
    let run = run();
    let mut client = client(&run.status).await;
    let answer = client.fetch_client_status(ClientStatusRequest::default()).await.unwrap();
    let [config] = &answer.get_ref().config[..] else { panic!("{answer:?}") };
    assert_eq!(config.node.as_ref().unwrap().id, "n1");
    assert_eq!(config.client_scope, "#mesh");
    let all = &config.generic_xds_configs;
    assert_eq!(all.len(), 5);

    let listener = find(all, "a");
    assert_eq!(listener.type_url, ResourceType::Listener.type_url());
    assert_eq!(listener.version_info, "7");
    assert_eq!(listener.client_status(), ClientResourceStatus::Acked);
    assert_eq!(listener.last_updated.as_ref().unwrap().seconds, 3);
    let content = listener.xds_config.as_ref().unwrap();
    assert_eq!((&*content.type_url, &content.value[..]), (&*listener.type_url, &b"listener"[..]));
    assert_eq!(listener.error_state, None);

    let bad = find(all, "bad");
    assert_eq!(bad.client_status(), ClientResourceStatus::Nacked);
    assert_eq!((&*bad.version_info, &bad.xds_config, &bad.last_updated), ("", &None, &None));
    let error = bad.error_state.as_ref().unwrap();
    assert_eq!((&*error.details, &*error.version_info), ("wrong", "8"));
    assert_eq!(error.last_update_attempt.as_ref().unwrap().seconds, 4);

    assert_eq!(find(all, "none").client_status(), ClientResourceStatus::DoesNotExist);
    let secret = find(all, "key").xds_config.as_ref().unwrap();
    let shown = Secret::decode(&*secret.value).unwrap();
    assert_eq!(shown, Secret { name: "key".to_owned(), ..Secret::default() });
}

#[tokio::test]
async fn contents_may_be_left_out_and_matchers_are_refused() {
    let run = run();
    let mut client = client(&run.status).await;
    let request =
        ClientStatusRequest { exclude_resource_contents: true, ..ClientStatusRequest::default() };
    let answer = client.fetch_client_status(request).await.unwrap().into_inner();
    let all = &answer.config[0].generic_xds_configs;
    assert!(all.iter().all(|config| config.xds_config.is_none()));
    assert_eq!(find(all, "a").version_info, "7");

    let request = ClientStatusRequest {
        node_matchers: vec![NodeMatcher::default()],
        ..ClientStatusRequest::default()
    };
    let refused = client.fetch_client_status(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

#[tokio::test]
async fn each_request_of_a_stream_is_answered_with_what_is_known_then() {
    let status = Status::new(&bootstrap());
    let mut run = Run::of(&status, "xds:1", Variant::StateOfTheWorld);
    let mut client = client(&status).await;
    let (sender, requests) = mpsc::channel(4);
    sender.send(ClientStatusRequest::default()).await.unwrap();
    let answers = client.stream_client_status(ReceiverStream::new(requests)).await;
    let mut answers = answers.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    assert_eq!(first.config[0].generic_xds_configs.len(), 0);

    run.event(1, "watch LDS a");
    sender.send(ClientStatusRequest::default()).await.unwrap();
    let second = answers.message().await.unwrap().unwrap();
    let status = second.config[0].generic_xds_configs[0].client_status();
    assert_eq!(status, ClientResourceStatus::Requested);

    let matchers = vec![NodeMatcher::default()];
    let wrong = ClientStatusRequest { node_matchers: matchers, ..ClientStatusRequest::default() };
    sender.send(wrong).await.unwrap();
    let refused = answers.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}
