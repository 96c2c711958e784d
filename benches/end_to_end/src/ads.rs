//! A static control plane for tonic-xds: LDS, RDS, CDS and EDS of one service, state of the world.
//!
//! Every subscription is answered once per type and set of names; acknowledgements are not answered
//! (Envoy: "xDS REST and gRPC protocol"). A rejected resource ends the stream with the reason, because
//! the benchmark could not go on anyway.

use crate::echo::SERVICE;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ConfigSource, Locality, SocketAddress, address,
    config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
    route_action::ClusterSpecifier, route_match::PathSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use futures_util::stream::{self, BoxStream, StreamExt};
use prost::Message;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// A control plane that knows one service at one endpoint.
#[derive(Clone)]
pub struct Ads {
    /// By type URL: name and resource.
    resources: Arc<HashMap<&'static str, (&'static str, Any)>>,
}

impl Ads {
    /// The service at `endpoint`, as a tower service.
    pub fn service(endpoint: SocketAddr) -> AggregatedDiscoveryServiceServer<Self> {
        let resources = [
            (LISTENER, SERVICE, any(LISTENER, &listener())),
            (ROUTE, ROUTE_NAME, any(ROUTE, &route())),
            (CLUSTER, SERVICE, any(CLUSTER, &cluster())),
            (ASSIGNMENT, SERVICE, any(ASSIGNMENT, &assignment(endpoint))),
        ];
        let resources =
            resources.into_iter().map(|(kind, name, resource)| (kind, (name, resource))).collect();
        AggregatedDiscoveryServiceServer::new(Self { resources: Arc::new(resources) })
    }

    fn answer(&self, request: &DiscoveryRequest) -> Option<DiscoveryResponse> {
        let (name, resource) = self.resources.get(request.type_url.as_str())?;
        let wanted =
            request.resource_names.is_empty() || request.resource_names.iter().any(|n| n == name);
        Some(DiscoveryResponse {
            version_info: "1".to_owned(),
            nonce: "1".to_owned(),
            type_url: request.type_url.clone(),
            resources: wanted.then(|| resource.clone()).into_iter().collect(),
            ..DiscoveryResponse::default()
        })
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = BoxStream<'static, Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        BoxStream<'static, Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let session =
            Session { ads: self.clone(), requests: request.into_inner(), sent: HashMap::new() };
        let responses = stream::try_unfold(session, |mut session| async move {
            let response = session.next().await?;
            Ok(response.map(|response| (response, session)))
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn delta_aggregated_resources(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only the state of the world"))
    }
}

/// One stream.
struct Session {
    ads: Ads,
    requests: Streaming<DiscoveryRequest>,
    /// By type URL: the names that the last answer was for.
    sent: HashMap<String, Vec<String>>,
}

impl Session {
    async fn next(&mut self) -> Result<Option<DiscoveryResponse>, Status> {
        while let Some(request) = self.requests.message().await? {
            if let Some(error) = &request.error_detail {
                eprintln!("{} was rejected: {}", request.type_url, error.message);
                return Err(Status::invalid_argument(error.message.clone()));
            }
            if self.sent.get(&request.type_url) == Some(&request.resource_names) {
                continue;
            }
            if let Some(response) = self.ads.answer(&request) {
                self.sent.insert(request.type_url, request.resource_names);
                return Ok(Some(response));
            }
        }
        Ok(None)
    }
}

fn listener() -> Listener {
    let rds = Rds { config_source: Some(from_ads()), route_config_name: ROUTE_NAME.to_owned() };
    let connections = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(rds)),
        ..HttpConnectionManager::default()
    };
    Listener {
        name: SERVICE.to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(any(CONNECTION_MANAGER, &connections)),
        }),
        ..Listener::default()
    }
}

fn route() -> RouteConfiguration {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(SERVICE.to_owned())),
        ..RouteAction::default()
    };
    let matcher = RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix(String::new())),
        ..RouteMatch::default()
    };
    let route =
        Route { r#match: Some(matcher), action: Some(Action::Route(action)), ..Route::default() };
    let host = VirtualHost {
        name: SERVICE.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    RouteConfiguration {
        name: ROUTE_NAME.to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    }
}

fn cluster() -> Cluster {
    Cluster {
        name: SERVICE.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(from_ads()),
            service_name: String::new(),
        }),
        ..Cluster::default()
    }
}

fn assignment(endpoint: SocketAddr) -> ClusterLoadAssignment {
    let socket = SocketAddress {
        address: endpoint.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(endpoint.port().into())),
        ..SocketAddress::default()
    };
    let endpoint = Endpoint {
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        ..Endpoint::default()
    };
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    };
    let locality = LocalityLbEndpoints {
        locality: Some(Locality::default()),
        lb_endpoints: vec![endpoint],
        load_balancing_weight: Some(UInt32Value { value: 1 }),
        ..LocalityLbEndpoints::default()
    };
    ClusterLoadAssignment {
        cluster_name: SERVICE.to_owned(),
        endpoints: vec![locality],
        ..ClusterLoadAssignment::default()
    }
}

fn from_ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

fn any(type_url: &str, message: &impl Message) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

const ROUTE_NAME: &str = "greeter-routes";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ASSIGNMENT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const CONNECTION_MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
