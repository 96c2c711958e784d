//! Snapshots: versions, names that lead nowhere, listeners that are made when they are asked for.

use super::super::Snapshot;
use super::World;
use crate::ResourceType;
use crate::encode::{Encoded, socket_listener, tcp_listener};
use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use envoy_types::pb::envoy::config::core::v3::GrpcService;
use envoy_types::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use envoy_types::pb::envoy::config::route::v3::{
    self as pb, route::Action, route_action::ClusterSpecifier,
};
use envoy_types::pb::envoy::config::trace::v3::{ZipkinConfig, tracing};
use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use envoy_types::pb::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier,
    http_connection_manager::Tracing, http_filter,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::ConfigUpdate;
use mesh_core::model::{Cluster, Domain, ForwardAction, Route, RouteConfiguration, VirtualHost};
use prost::{Message, Name};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Two virtual hosts, one of them by a wildcard; a cluster with endpoints, one that is missing.
fn update() -> ConfigUpdate {
    let host = |name: &str, domain: &str, cluster: &str| {
        VirtualHost::new(name, vec![Domain::parse(domain).expect("a domain")])
            .route(Route::forward(ForwardAction::to(cluster)))
    };
    ConfigUpdate::in_code()
        .virtual_host(host("reviews", "reviews", "v1"))
        .virtual_host(host("shop", "*.shop", "missing"))
        .virtual_host(host("ported", "reviews:81", "v1"))
        .cluster(Cluster::new("v1"), [SocketAddr::from(([127, 0, 0, 1], 8081))])
}

fn names(snapshot: &Snapshot, kind: ResourceType) -> Vec<String> {
    snapshot.resources(kind).map(|served| served.name.to_string()).collect()
}

#[test]
fn a_configuration_has_these_resources() {
    let snapshot = Snapshot::of(&update(), []);
    assert_eq!(
        names(&snapshot, ResourceType::Listener),
        ["reviews", "reviews:443", "reviews:80", "reviews:81"]
    );
    assert_eq!(
        names(&snapshot, ResourceType::RouteConfiguration),
        ["mesh", "mesh/ported", "mesh/reviews", "mesh/shop"]
    );
    assert_eq!(names(&snapshot, ResourceType::Cluster), ["v1"]);
    assert_eq!(names(&snapshot, ResourceType::Endpoints), ["v1"]);
}

#[test]
fn a_listener_is_made_for_an_authority_that_is_dialled() {
    let snapshot = Snapshot::of(&update(), []);
    let routes = |name: &str| {
        let served = snapshot.find(ResourceType::Listener, name)?;
        assert_eq!(&*served.name, name);
        assert!(served.by_name_only);
        let names = super::super::references::of(ResourceType::Listener, &served.body);
        names.into_iter().next().map(|(_, name)| name)
    };
    for (dialled, expected) in [
        ("reviews", Some("mesh/reviews")),
        ("reviews:9080", Some("mesh/reviews")),
        ("reviews:81", Some("mesh/ported")),
        ("Reviews:82", Some("mesh/reviews")),
        ("cart.shop:80", Some("mesh/shop")),
        ("cart.shop", Some("mesh/shop")),
        (".shop", None),
        ("other", None),
        ("[::1]:80", None),
    ] {
        assert_eq!(routes(dialled).as_deref(), expected, "{dialled}");
    }
    assert_eq!(snapshot.find(ResourceType::Cluster, "cart.shop"), None);
}

/// What a server shows, and whom its filters ask, goes with its listener.
#[test]
fn a_servers_listener_leads_to_whom_its_filters_ask() {
    use crate::encode::server_listener;
    use mesh_core::model::http_filter::{AuthzService, ExtAuthz, ExtAuthzPerRoute, GrpcService};
    use mesh_core::model::tls::{DownstreamTls, TlsIdentity};
    use mesh_core::model::{
        FilterChain, HttpConnectionManager, HttpFilter, HttpFilterConfig, HttpFilterOverride,
        Listener, RouteConfiguration,
    };
    use std::sync::Arc;
    let service = |name| AuthzService::Grpc(GrpcService::new(name, Duration::from_secs(1)));
    let authz = HttpFilterConfig::ExtAuthz(Arc::new(ExtAuthz::new(service("one"))));
    let mut said = ExtAuthzPerRoute::default();
    said.service = Some(service("other"));
    let mut host = VirtualHost::new("all", vec![Domain::Any]);
    host.filters.insert("authz".into(), HttpFilterOverride::ExtAuthz(Arc::new(said)));
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts = vec![Arc::new(host)];
    let filters = vec![HttpFilter::new("authz", authz)];
    let manager = HttpConnectionManager::new(Arc::new(routes), filters);
    let mut chain = FilterChain::new("all", Some(Arc::new(manager)));
    let mut tls = DownstreamTls::mutual();
    (tls.identity, tls.roots) = (TlsIdentity::Secret("own".into()), None);
    chain.tls = Some(Arc::new(tls));
    let mut listener = Listener::new("in");
    listener.default_filter_chain = Some(Arc::new(chain));

    let served = Encoded::listener(&server_listener(&listener));
    let names = super::super::references::of(ResourceType::Listener, &served.body);
    let expected = [
        (ResourceType::Cluster, "one"),
        (ResourceType::Cluster, "other"),
        (ResourceType::Secret, "own"),
    ];
    assert_eq!(names, expected.map(|(kind, name)| (kind, name.to_owned())).into());
}

#[test]
fn what_leads_nowhere_is_named() {
    let address = SocketAddr::from(([127, 0, 0, 1], 15001));
    let listeners = [
        Encoded::listener(&socket_listener("web", address, "mesh")),
        Encoded::listener(&socket_listener("old", address, "gone")),
        Encoded::listener(&tcp_listener("db", address, "orders")),
    ];
    let update = update().assigned(Cluster::new("unresolved"), None);
    let dangling = Snapshot::of(&update, listeners).check().expect_err("some are missing");
    let lines: Vec<_> = dangling.iter().map(ToString::to_string).collect();
    let end = "which does not exist: define it, or take the name out";
    assert_eq!(
        lines,
        [
            format!("LDS `db` names CDS `orders`, {end}"),
            format!("LDS `old` names RDS `gone`, {end}"),
            format!("RDS `mesh` names CDS `missing`, {end}"),
            format!("RDS `mesh/shop` names CDS `missing`, {end}"),
            format!("CDS `unresolved` names EDS `unresolved`, {end}"),
        ]
    );
}

#[test]
fn secrets_are_served_to_those_who_ask_by_name() {
    use mesh_core::model::secret::{SecretContent, SecretRoots, SecretValidation};
    use mesh_core::model::tls::{TlsIdentity, TlsRoots, UpstreamTls, ValidationSecret};
    use mesh_core::model::{Secret, TlsPolicy};
    use mesh_core::update::SecretAnswer;
    let secret = |name: &str| {
        let content = SecretContent::Validation(SecretValidation::new(SecretRoots::System));
        (Arc::from(name), SecretAnswer::Known(Arc::new(Secret::new(name, content))))
    };
    let mut tls = UpstreamTls::default();
    tls.identity = TlsIdentity::Secret("id".into());
    tls.roots = TlsRoots::Secret(ValidationSecret::new("roots"));
    let mut cluster = Cluster::new("secured");
    cluster.tls = TlsPolicy::On(Arc::new(tls));
    let nobody = mesh_core::model::ClusterLoadAssignment::default();
    let mut update = ConfigUpdate::in_code().assigned(cluster, Some(nobody));
    update.secrets = Arc::new([secret("roots")].into());
    let first = Snapshot::of(&update, []);
    assert!(first.find(ResourceType::Secret, "roots").unwrap().by_name_only);
    let dangling = first.check().expect_err("one is missing");
    let lines: Vec<_> = dangling.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("CDS `secured` names SDS `id`,"), "{lines:?}");
    // The same pointer is not looked at again, another one is; a name more leads elsewhere.
    let same = first.next(&update, []);
    assert!(same == first && same.leads_as(&first));
    update.secrets = Arc::new([secret("roots"), secret("id")].into());
    let second = first.next(&update, []);
    assert!(second.check().is_ok() && !second.leads_as(&first));
    assert_eq!(second, Snapshot::of(&update, []));
    update.secrets = Arc::default();
    assert_eq!(second.next(&update, []).find(ResourceType::Secret, "id"), None);
}

#[test]
fn versions_are_the_content() {
    let version = |lines: &[&str]| {
        let mut world = World::default();
        lines.iter().for_each(|line| world.set(line));
        world.snapshot().version(ResourceType::Cluster).to_owned()
    };
    assert_eq!(version(&["CDS a=1 b=1"]), version(&["CDS b=1 a=1", "EDS a=1"]));
    assert_ne!(version(&["CDS a=1 b=1"]), version(&["CDS a=1 b=2"]));
    assert_ne!(version(&["CDS a=1 b=1"]), version(&["CDS a=1"]));
    assert_eq!(version(&[]), "");
    assert_eq!(version(&["CDS a=1"]).len(), 16);
    let twice = [Snapshot::of(&update(), []), Snapshot::of(&update(), [])];
    assert_eq!(twice[0], twice[1]);
}

/// A listener of a file of Envoy's with these routes in it.
fn inline(routes: pb::RouteConfiguration) -> Encoded {
    listener(&HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        ..HttpConnectionManager::default()
    })
}

fn any<M: Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// The listener `web` with this filter.
fn listener(filter: &impl Name) -> Encoded {
    let config_type = Some(ConfigType::TypedConfig(any(filter)));
    let filter = Filter { config_type, ..Filter::default() };
    let chain = FilterChain { filters: vec![filter], ..FilterChain::default() };
    let message = Listener { filter_chains: vec![chain], ..Listener::default() };
    Encoded::new(ResourceType::Listener, "web", message.encode_to_vec())
}

/// Clusters that a reader of the listener has.
fn narrowed(edit: impl FnOnce(&mut pb::RouteConfiguration)) -> Vec<String> {
    let forward = ForwardAction::to("named");
    let host = VirtualHost::new("any", vec![Domain::Any]).route(Route::forward(forward));
    let at = [SocketAddr::from(([127, 0, 0, 1], 80))];
    let update = ["named", "shadow", "other"]
        .into_iter()
        .fold(ConfigUpdate::in_code(), |all, name| all.cluster(Cluster::new(name), at));
    let mut model = RouteConfiguration::default();
    model.virtual_hosts.push(Arc::new(host));
    let mut routes = crate::encode::route_configuration("r", &model);
    edit(&mut routes);
    let listener = inline(routes);
    let clusters = Snapshot::of(&update, [listener]);
    names(&clusters.narrowed(|name| name == "web"), ResourceType::Cluster)
}

fn action(routes: &mut pb::RouteConfiguration) -> &mut pb::RouteAction {
    match &mut routes.virtual_hosts[0].routes[0].action {
        Some(Action::Route(action)) => action,
        other => panic!("{other:?}"),
    }
}

/// Envoy refuses a listener whose routes in it mirror to a cluster that it has not.
#[test]
fn a_reader_has_where_requests_are_mirrored_to_and_what_headers_may_name() {
    let mirror = |name: &str, header: &str| pb::route_action::RequestMirrorPolicy {
        cluster: name.to_owned(),
        cluster_header: header.to_owned(),
        ..Default::default()
    };
    assert_eq!(narrowed(|_| {}), ["named"]);
    let mirrored = ["named", "shadow"];
    assert_eq!(
        narrowed(|m| action(m).request_mirror_policies = vec![mirror("shadow", "")]),
        mirrored
    );
    let of_host = |m: &mut pb::RouteConfiguration| {
        m.virtual_hosts[0].request_mirror_policies = vec![mirror("shadow", "")];
    };
    assert_eq!(narrowed(of_host), mirrored);
    assert_eq!(narrowed(|m| m.request_mirror_policies = vec![mirror("shadow", "")]), mirrored);
    // One that is not there is nobody's.
    assert_eq!(narrowed(|m| m.request_mirror_policies = vec![mirror("gone", "")]), ["named"]);
    let all = ["named", "other", "shadow"];
    assert_eq!(narrowed(|m| m.request_mirror_policies = vec![mirror("", "x-where")]), all);
    let by_header = |m: &mut pb::RouteConfiguration| {
        action(m).cluster_specifier = Some(ClusterSpecifier::ClusterHeader("x-where".into()));
    };
    assert_eq!(narrowed(by_header), all);
}

/// Which cluster a header names nobody knows before, so their keys go along; and that is told.
#[test]
fn a_header_leads_to_the_secrets_of_all_clusters() {
    use mesh_core::model::secret::{SecretContent, SecretRoots, SecretValidation};
    use mesh_core::model::tls::{TlsIdentity, UpstreamTls};
    use mesh_core::model::{Secret, TlsPolicy};
    let mut tls = UpstreamTls::default();
    tls.identity = TlsIdentity::Secret("key".into());
    let mut other = Cluster::new("other");
    other.tls = TlsPolicy::On(Arc::new(tls));
    let content = SecretContent::Validation(SecretValidation::new(SecretRoots::System));
    let secret = mesh_core::update::SecretAnswer::Known(Arc::new(Secret::new("key", content)));
    let at = [SocketAddr::from(([127, 0, 0, 1], 80))];
    let named = Route::forward(ForwardAction::to("named"));
    let mut model = RouteConfiguration::default();
    model.virtual_hosts.push(Arc::new(VirtualHost::new("any", vec![Domain::Any]).route(named)));
    let update = ConfigUpdate::in_code().cluster(Cluster::new("named"), at);
    let mut update = update.cluster(other, at);
    update.secrets = Arc::new([(Arc::from("key"), secret)].into());
    let narrowed = |edit: fn(&mut pb::RouteConfiguration)| {
        let mut routes = crate::encode::route_configuration("r", &model);
        edit(&mut routes);
        let snapshot = Snapshot::of(&update, [inline(routes)]);
        let narrowed = snapshot.narrowed(|name| name == "web");
        (names(&narrowed, ResourceType::Secret), narrowed.by_header())
    };
    assert_eq!(narrowed(|_| {}), (vec![], vec![]));
    let by_header = narrowed(|m| {
        action(m).cluster_specifier = Some(ClusterSpecifier::ClusterHeader("x-where".into()));
    });
    let web = (ResourceType::Listener, Arc::from("web"));
    assert_eq!(by_header, (vec!["key".to_owned()], vec![web]));
}

/// Clusters that a reader of this listener has, where those of these names are served.
fn led_to(listener: Encoded, served: &[&str]) -> Vec<String> {
    let at = [SocketAddr::from(([127, 0, 0, 1], 80))];
    let all = served
        .iter()
        .fold(ConfigUpdate::in_code(), |all, name| all.cluster(Cluster::new(*name), at));
    let snapshot = Snapshot::of(&all, [listener]);
    names(&snapshot.narrowed(|name| name == "web"), ResourceType::Cluster)
}

#[test]
fn a_reader_has_where_access_loggers_and_tracers_report_to() {
    let grpc = |cluster: &str| GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: cluster.to_owned(),
            ..EnvoyGrpc::default()
        })),
        ..GrpcService::default()
    };
    let common = |cluster: &str| {
        Some(CommonGrpcAccessLogConfig {
            grpc_service: Some(grpc(cluster)),
            ..CommonGrpcAccessLogConfig::default()
        })
    };
    let log = |config: Any| AccessLog {
        config_type: Some(access_log::ConfigType::TypedConfig(config)),
        ..AccessLog::default()
    };
    let http = HttpGrpcAccessLogConfig { common_config: common("log"), ..Default::default() };
    let tcp = TcpGrpcAccessLogConfig { common_config: common("bytes") };
    let otlp =
        OpenTelemetryAccessLogConfig { grpc_service: Some(grpc("otlp")), ..Default::default() };
    let zipkin = ZipkinConfig { collector_cluster: "spans".to_owned(), ..Default::default() };
    let provider = tracing::Http {
        config_type: Some(tracing::http::ConfigType::TypedConfig(any(&zipkin))),
        ..tracing::Http::default()
    };
    let router = Router { upstream_log: vec![log(any(&otlp))], ..Router::default() };
    let router = HttpFilter {
        config_type: Some(http_filter::ConfigType::TypedConfig(any(&router))),
        ..HttpFilter::default()
    };
    let manager = HttpConnectionManager {
        access_log: vec![log(any(&http))],
        tracing: Some(Tracing { provider: Some(provider), ..Tracing::default() }),
        http_filters: vec![router],
        ..HttpConnectionManager::default()
    };
    let served = ["bytes", "log", "other", "otlp", "spans"];
    assert_eq!(led_to(listener(&manager), &served), ["log", "otlp", "spans"]);
    assert_eq!(led_to(listener(&manager), &["log", "other"]), ["log"], "none that is not there");
    let proxy = TcpProxy { access_log: vec![log(any(&tcp))], ..TcpProxy::default() };
    assert_eq!(led_to(listener(&proxy), &served), ["bytes"]);
}
