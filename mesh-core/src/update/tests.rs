use super::*;
use crate::model::http_filter::{AuthzService, ExtAuthz, GrpcService};
use crate::model::secret::{SecretContent, SecretRoots, SecretValidation};
use crate::model::tls::{TlsIdentity, UpstreamTls};
use crate::model::{
    ClusterSpecifier, DownstreamTls, FilterChain, Forward, ForwardAction, ForwardTo,
    HttpConnectionManager, HttpFilter, HttpFilterConfig, Route, RouteAction, RouteMatch, TlsPolicy,
};
use http::HeaderName;
use std::net::SocketAddr;
use std::time::Duration;

fn cluster(name: &str, secret: Option<&str>) -> Cluster {
    let mut cluster = Cluster::new(name);
    if let Some(secret) = secret {
        let mut tls = UpstreamTls::default();
        tls.identity = TlsIdentity::Secret(secret.into());
        cluster.tls = TlsPolicy::On(Arc::new(tls));
    }
    cluster
}

fn host(name: &str, cluster: &str) -> VirtualHost {
    VirtualHost::of(name).unwrap().route(Route::forward(ForwardAction::to(cluster)))
}

fn whole() -> ConfigUpdate {
    let at = [SocketAddr::from(([127, 0, 0, 1], 80))];
    let mut update = ConfigUpdate::in_code()
        .virtual_host(host("reviews", "both"))
        .virtual_host(host("ratings", "rated"))
        .cluster(cluster("near", Some("a")), at)
        .cluster(cluster("far", None), at)
        .aggregate(Cluster::new("both"), ["near", "far"])
        .cluster(cluster("rated", Some("b")), at)
        .cluster(cluster("asked", Some("d")), at)
        .cluster(cluster("unused", None), at);
    let secret = |name: &str| {
        let content = SecretContent::Validation(SecretValidation::new(SecretRoots::System));
        (Arc::from(name), SecretAnswer::Known(Arc::new(Secret::new(name, content))))
    };
    update.secrets = Arc::new(["a", "b", "c", "d"].map(secret).into());
    let mut tls = DownstreamTls::mutual();
    tls.identity = TlsIdentity::Secret("c".into());
    let service = GrpcService::new("asked", Duration::from_secs(1));
    let authz = ExtAuthz::new(AuthzService::Grpc(service));
    let authz = HttpFilter::new("authz", HttpFilterConfig::ExtAuthz(Arc::new(authz)));
    let manager = HttpConnectionManager::new(Arc::default(), vec![authz]);
    let mut chain = FilterChain::new("all", Some(Arc::new(manager)));
    chain.tls = Some(Arc::new(tls));
    let mut listener = Listener::new("web");
    listener.filter_chains = vec![Arc::new(chain)];
    update.listeners.insert("web".into(), Arc::new(listener));
    // A port of a proxy, before the application at `inbound|door`.
    let mut door = Listener::new("door");
    door.forward = Some(Forward::new(ForwardTo::Application("inbound|door".into())));
    update.listeners.insert("door".into(), Arc::new(door));
    update.virtual_host(host("inbound|door", "here")).cluster(cluster("here", None), at)
}

/// Virtual hosts, clusters, listeners and secrets that are left.
#[track_caller]
fn check(update: &ConfigUpdate, may_read: &[&str], expected: &str) {
    let left = update.restricted(|name| may_read.contains(&name));
    let hosts = left.route_configuration.virtual_hosts.iter().map(|host| &*host.name);
    let all = [
        hosts.collect::<Vec<_>>(),
        left.clusters.keys().map(|name| &**name).collect(),
        left.listeners.keys().map(|name| &**name).collect(),
        left.secrets.keys().map(|name| &**name).collect(),
    ];
    assert_eq!(all.map(|names| names.join(" ")).join(" | "), expected, "{may_read:?}");
}

#[test]
fn a_reader_has_what_its_names_lead_to() {
    let update = whole();
    check(&update, &["reviews"], "reviews | both far near |  | a");
    check(&update, &["ratings"], "ratings | rated |  | b");
    check(&update, &["web"], " | asked | web | c d");
    check(&update, &["web", "ratings"], "ratings | asked rated | web | b c d");
    check(&update, &["door"], "inbound|door | here | door | ");
    check(&update, &[], " |  |  | ");
    // The name of a cluster is none of a reader's.
    check(&update, &["rated"], " |  |  | ");
}

#[test]
fn a_route_by_header_leads_to_every_cluster() {
    let specifier = ClusterSpecifier::Header(HeaderName::from_static("x-cluster"));
    let action = ForwardAction { cluster: specifier, ..ForwardAction::to("") };
    let route = Route::new("r", RouteMatch::any(), RouteAction::Forward(action));
    let update = whole().virtual_host(VirtualHost::of("any").unwrap().route(route));
    check(&update, &["any"], "any | asked both far here near rated unused |  | a b d");
}

/// What a program has itself is there, whatever its source says, and nobody is asked for it.
#[test]
fn what_a_program_has_itself_comes_first() {
    let listener = |name: &str| Arc::new(Listener::new(name));
    let named = |name: &str| Arc::new(VirtualHost::new(name, Vec::new()));
    let mut own =
        ConfigUpdate::in_code().cluster(Cluster::new("a"), [SocketAddr::from(([127, 0, 0, 1], 1))]);
    own.listeners.insert("web".into(), listener("web"));
    Arc::make_mut(&mut own.route_configuration).virtual_hosts = vec![named("outbound|p")];
    own.unknown_hosts = UnknownHosts::Passthrough;
    let mut update =
        ConfigUpdate::in_code().cluster(Cluster::new("a"), [SocketAddr::from(([127, 0, 0, 1], 2))]);
    update = update.cluster(Cluster::new("b"), [SocketAddr::from(([127, 0, 0, 1], 3))]);
    update.absent_listeners = Arc::new([("web".into(), "no".into())].into());
    update.on_demand = Some(Arc::default());
    Arc::make_mut(&mut update.route_configuration).virtual_hosts =
        vec![named("c"), named("outbound|p")];
    let origin = update.origin.clone();
    update.add_own(&own);
    assert_eq!(update.clusters["a"], own.clusters["a"]);
    assert!(update.clusters.contains_key("b") && update.absent_listeners.is_empty());
    assert!(update.listeners.contains_key("web") && update.origin == origin);
    let hosts: Vec<_> = update.route_configuration.virtual_hosts.iter().map(|h| &*h.name).collect();
    assert_eq!(hosts, ["c", "outbound|p"]);
    assert_eq!(update.on_demand.unwrap()["outbound|p"], Answer::Served);
    assert_eq!(update.unknown_hosts, UnknownHosts::Passthrough);
}

/// A program that says nothing of it leaves what its source says of unknown hosts.
#[test]
fn what_a_program_does_not_say_is_its_sources() {
    let mut update = ConfigUpdate::in_code();
    (update.mode, update.unknown_hosts) = (Mode::Observe, UnknownHosts::Log);
    Arc::make_mut(&mut update.egress).learn = Some(std::path::Path::new("list").into());
    let before = update.clone();
    update.add_own(&ConfigUpdate::in_code());
    assert_eq!(update, before);
}
