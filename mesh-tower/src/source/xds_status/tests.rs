//! A mesh and a control plane on loopback: what is shown of it in metrics, in the status and in the history.

use super::super::{Bootstrap, XdsSource};
use super::*;
use crate::Mesh;
use crate::observe::ConfigurationOutcome;
use mesh_core::ConfigUpdate;
use mesh_core::model::{Cluster, ForwardAction, Route, VirtualHost};
use mesh_xds::encode::{Encoded, resources};
use mesh_xds::server::{AdsServer, Snapshot};
use std::net::SocketAddr;
use std::time::Duration;

/// The four types that a route to a cluster takes, as gRPC names them.
const TYPES: [&str; 4] = [
    "envoy.config.listener.v3.Listener",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
];

/// A cluster `v1` of a type that there is not.
const BROKEN: &[u8] = b"\x0a\x02v1\x10\x63";

struct Planes {
    server: AdsServer,
    uri: String,
    mesh: Mesh,
    status: XdsStatus,
}

/// `shop` leads to `v1`, which has endpoints on these ports.
fn update(ports: &[u16]) -> ConfigUpdate {
    let route = Route::forward(ForwardAction::to("v1"));
    let address = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
    ConfigUpdate::in_code()
        .virtual_host(VirtualHost::of("shop").unwrap().route(route))
        .cluster(Cluster::new("v1"), ports.iter().map(address))
}

async fn start() -> Planes {
    let server = AdsServer::new(Snapshot::new(resources(&update(&[1]))));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = listener.local_addr().unwrap().to_string();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    let bootstrap = Bootstrap::parse(&format!(
        r#"{{ "xds_servers": [{{ "server_uri": "{uri}", "channel_creds": [{{ "type": "insecure" }}] }}],
              "node": {{ "id": "n1" }} }}"#
    ));
    let source = XdsSource::new(bootstrap.unwrap()).authority("shop");
    let status = source.status();
    let mesh = Mesh::builder().source(source).build().unwrap();
    mesh.ready().await.unwrap();
    Planes { server, uri, mesh, status }
}

impl Planes {
    /// The value of a series, written as in the Prometheus text.
    fn metric(&self, series: &str) -> Option<f64> {
        let text = self.mesh.metrics().prometheus_text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        let text = || self.mesh.metrics().prometheus_text();
        assert!(waited.is_ok(), "{what} did not come true:\n{}", text());
    }

    fn resources(&self, state: &str, kind: &str) -> Option<f64> {
        self.metric(&format!(
            "grpc_xds_client_resources{{grpc_target=\"#mesh\",grpc_xds_authority=\"#old\",\
             grpc_xds_cache_state=\"{state}\",grpc_xds_resource_type=\"{kind}\"}}"
        ))
    }
}

#[tokio::test]
async fn metrics_of_a_good_configuration() {
    let planes = start().await;
    planes.until("the endpoints", |planes| planes.resources("acked", TYPES[3]) == Some(1.0)).await;
    let server = format!("grpc_target=\"#mesh\",grpc_xds_server=\"{}\"", planes.uri);
    let value = |name: &str, labels: &str| planes.metric(&format!("{name}{{{labels}}}"));
    assert_eq!(value("grpc_xds_client_connected", &server), Some(1.0));
    assert_eq!(value("grpc_xds_client_server_failure_total", &server), Some(0.0));
    for kind in TYPES {
        let of = format!("{server},grpc_xds_resource_type=\"{kind}\"");
        let valid = value("grpc_xds_client_resource_updates_valid_total", &of);
        assert!(valid >= Some(1.0), "{kind}: {valid:?}");
        assert_eq!(value("grpc_xds_client_resource_updates_invalid_total", &of), Some(0.0));
        let since = value(
            "mesh_xds_last_good_timestamp_seconds",
            &format!("server=\"{}\",resource_type=\"{kind}\"", planes.uri),
        );
        assert!(since >= Some(1.7e9), "{kind}: {since:?}");
        for histogram in ["mesh_xds_ack_duration_seconds", "mesh_xds_live_duration_seconds"] {
            let count = format!("{histogram}_count{{resource_type=\"{kind}\"}}");
            let fed = |planes: &Planes| planes.metric(&count) >= Some(1.0);
            planes.until(&count, fed).await;
        }
    }
    let text = planes.mesh.metrics().prometheus_text();
    let versions = text.lines().filter(|line| line.starts_with("mesh_xds_version_info{"));
    assert_eq!(versions.count(), TYPES.len());
    assert_eq!(planes.metric("mesh_config_rejected_resources"), Some(0.0));
}

#[tokio::test]
async fn a_refusal_is_shown_everywhere() {
    let planes = start().await;
    let mut broken = resources(&update(&[1]));
    broken.retain(|resource| resource.kind != ResourceType::Cluster);
    broken.push(Encoded::new(ResourceType::Cluster, "v1", BROKEN));
    planes.server.publish(Snapshot::new(broken));
    let nacked = |planes: &Planes| planes.resources("nacked_but_cached", TYPES[2]) == Some(1.0);
    planes.until("the refusal", nacked).await;
    assert_eq!(planes.metric("mesh_config_rejected_resources"), Some(1.0));
    assert_eq!(planes.resources("acked", TYPES[2]), None);

    let all = planes.status.resources();
    let cluster = all.iter().find(|of| of.kind == ResourceType::Cluster).unwrap();
    assert_eq!((&*cluster.name, cluster.state), ("v1", ResourceState::Nacked));
    assert!(cluster.body.as_ref().is_some_and(|body| body.len() > 1), "the last good one");
    let error = cluster.error.as_ref().unwrap();
    assert_ne!(error.version, cluster.version);

    let is_refused = |planes: &Planes| {
        let newest = planes.mesh.configurations();
        newest.first().is_some_and(|newest| newest.outcome != ConfigurationOutcome::Applied)
    };
    planes.until("the history", is_refused).await;
    let newest = &planes.mesh.configurations()[0];
    assert!(newest.source.contains("v1"), "{newest}");
    assert!(newest.to_string().contains(&*error.details), "{newest}");
}

#[tokio::test]
async fn the_history_names_what_changed() {
    let planes = start().await;
    planes
        .until("the first", |planes| {
            planes.metric("mesh_endpoints{cluster=\"v1\",state=\"healthy\"}") == Some(1.0)
        })
        .await;
    planes.server.publish(Snapshot::new(resources(&update(&[1, 2]))));
    planes
        .until("the second", |planes| {
            planes.metric("mesh_endpoints{cluster=\"v1\",state=\"healthy\"}") == Some(2.0)
        })
        .await;
    let history = planes.mesh.configurations();
    let newest = &history[0];
    assert_eq!(newest.outcome, ConfigurationOutcome::Applied);
    assert_eq!(newest.changes.to_string(), "endpoints ~1 (v1)");
    assert_eq!(*newest.source, *planes.uri);
    assert!(newest.at.as_unix_seconds() > 1_700_000_000 && !newest.version.is_empty());
    let first = history.iter().rev().find(|of| of.changes.clusters.added.count > 0).unwrap();
    assert!(first.to_string().contains("virtual hosts +1 (shop"), "{first}");
}

#[cfg(feature = "tonic")]
#[tokio::test]
async fn the_service_can_be_added_to_a_server() {
    let planes = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let serving = tonic::transport::Server::builder().add_service(planes.status.csds());
    tokio::spawn(serving.serve_with_incoming(incoming));
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = tonic::client::Grpc::new(channel.connect().await.unwrap());
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(
        "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus",
    );
    // An empty message is a request without wishes, and the only one that needs no generated code.
    let codec = tonic_prost::ProstCodec::<(), Answer>::default();
    let answer = client.unary(tonic::Request::new(()), path, codec).await.unwrap().into_inner();
    assert_eq!(answer.config[0].client_scope, "#mesh");
}

/// As much of `ClientStatusResponse` as is looked at.
#[cfg(feature = "tonic")]
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, repeated, tag = "1")]
    config: Vec<Config>,
}

#[cfg(feature = "tonic")]
#[derive(Clone, PartialEq, prost::Message)]
struct Config {
    #[prost(string, tag = "4")]
    client_scope: String,
}
