//! A control plane of one cluster, that takes load reports.

use crate::fixture::bounded;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ConfigSource, Locality, SelfConfigSource, SocketAddress,
    address, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::{
    Policy, policy::DropOverload,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route_action, route_match,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_server::{
    LoadReportingService, LoadReportingServiceServer,
};
use envoy_types::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration, UInt32Value};
use futures_core::Stream;
use prost::{Message, Name};
use std::net::SocketAddr;
use std::pin::Pin;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Ends when dropped.
pub(super) struct ControlPlane {
    pub(super) address: SocketAddr,
    endpoints: watch::Sender<Any>,
    opened: mpsc::Receiver<Reports>,
    task: JoinHandle<()>,
}

/// A stream of load reports; dropping it ends it.
pub(super) struct Reports {
    requests: Streaming<LoadStatsRequest>,
    answers: mpsc::Sender<Result<LoadStatsResponse, Status>>,
}

impl Reports {
    /// The next request.
    pub(super) async fn next(&mut self) -> LoadStatsRequest {
        bounded(self.requests.message()).await.unwrap().unwrap()
    }

    /// Asks for a report in so many seconds, of one cluster or of all.
    pub(super) async fn answer(&self, seconds: i64, cluster: Option<&str>) {
        let answer = LoadStatsResponse {
            clusters: cluster.into_iter().map(str::to_owned).collect(),
            send_all_clusters: cluster.is_none(),
            load_reporting_interval: Some(PbDuration { seconds, nanos: 0 }),
            report_endpoint_granularity: false,
        };
        self.answers.send(Ok(answer)).await.unwrap();
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ControlPlane {
    /// Serves the cluster `a` under the authority `shop`: the zones `near` and `far`.
    pub(super) async fn start(servers: [SocketAddr; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (opening, opened) = mpsc::channel(8);
        let (endpoints, changes) = watch::channel(packed(&assignment(servers)));
        let plane = Plane { opening, changes };
        let serving = tonic::transport::Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(plane.clone()))
            .add_service(LoadReportingServiceServer::new(plane))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self { address, endpoints, opened, task }
    }

    /// The next stream of load reports that the mesh opens.
    pub(super) async fn reports(&mut self) -> Reports {
        bounded(self.opened.recv()).await.unwrap()
    }

    /// From now on everything is dropped.
    pub(super) fn drop_all(&self, category: &str) {
        self.endpoints.send_modify(|packed_endpoints| {
            let mut message = ClusterLoadAssignment::decode(&*packed_endpoints.value).unwrap();
            let drop_percentage = Some(FractionalPercent { numerator: 100, denominator: 0 });
            let drop = DropOverload { category: category.to_owned(), drop_percentage };
            message.policy = Some(Policy { drop_overloads: vec![drop], ..Policy::default() });
            *packed_endpoints = packed(&message);
        });
    }
}

#[derive(Clone)]
struct Plane {
    opening: mpsc::Sender<Reports>,
    changes: watch::Receiver<Any>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl LoadReportingService for Plane {
    type StreamLoadStatsStream = Responses<LoadStatsResponse>;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        let (answers, receiver) = mpsc::channel(8);
        let reports = Reports { requests: request.into_inner(), answers };
        self.opening.send(reports).await.unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Plane {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (responses, receiver) = mpsc::channel(8);
        let (mut requests, mut changes) = (request.into_inner(), self.changes.clone());
        tokio::spawn(async move {
            let mut version = 0;
            loop {
                let resource = tokio::select! {
                    request = requests.message() => {
                        let Ok(Some(request)) = request else { return };
                        // An answer, good or bad, wants nothing new.
                        if !request.response_nonce.is_empty() {
                            assert_eq!(request.error_detail, None);
                            continue;
                        }
                        match request.type_url.rsplit('.').next() {
                            Some("Listener") => packed(&listener()),
                            Some("Cluster") => packed(&cluster()),
                            _ => changes.borrow().clone(),
                        }
                    }
                    changed = changes.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        changes.borrow_and_update().clone()
                    }
                };
                version += 1;
                let response = DiscoveryResponse {
                    version_info: version.to_string(),
                    nonce: version.to_string(),
                    type_url: resource.type_url.clone(),
                    resources: vec![resource],
                    ..DiscoveryResponse::default()
                };
                if responses.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}

fn packed<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

fn listener() -> Listener {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster("a".into())),
        ..RouteAction::default()
    };
    let path = route_match::PathSpecifier::Prefix("/".into());
    let route = Route {
        r#match: Some(RouteMatch { path_specifier: Some(path), ..RouteMatch::default() }),
        action: Some(Action::Route(action)),
        ..Route::default()
    };
    let host = VirtualHost {
        name: "any".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    let routes = RouteConfiguration { virtual_hosts: vec![host], ..RouteConfiguration::default() };
    let router = HttpFilter {
        name: "router".into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(packed(&Router::default()))),
        ..HttpFilter::default()
    };
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        http_filters: vec![router],
        ..HttpConnectionManager::default()
    };
    Listener {
        name: "shop".into(),
        api_listener: Some(ApiListener { api_listener: Some(packed(&manager)) }),
        ..Listener::default()
    }
}

fn cluster() -> Cluster {
    let from = |specifier| {
        Some(ConfigSource { config_source_specifier: Some(specifier), ..ConfigSource::default() })
    };
    Cluster {
        name: "a".into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: from(ConfigSourceSpecifier::Ads(AggregatedConfigSource::default())),
            service_name: "a-endpoints".into(),
        }),
        lrs_server: from(ConfigSourceSpecifier::Self_(SelfConfigSource::default())),
        ..Cluster::default()
    }
}

fn assignment(servers: [SocketAddr; 2]) -> ClusterLoadAssignment {
    let localities = servers.iter().zip(["near", "far"]).map(|(server, zone)| {
        let address = SocketAddress {
            address: server.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(server.port().into())),
            ..SocketAddress::default()
        };
        let address = Some(Address { address: Some(address::Address::SocketAddress(address)) });
        let endpoint = Endpoint { address, ..Endpoint::default() };
        LocalityLbEndpoints {
            locality: Some(Locality {
                region: "r".into(),
                zone: zone.into(),
                ..Locality::default()
            }),
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
                ..LbEndpoint::default()
            }],
            load_balancing_weight: Some(UInt32Value { value: 1 }),
            ..LocalityLbEndpoints::default()
        }
    });
    ClusterLoadAssignment {
        cluster_name: "a-endpoints".into(),
        endpoints: localities.collect(),
        ..ClusterLoadAssignment::default()
    }
}
