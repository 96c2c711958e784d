//! Configurations as text, and the [`Recorder`] that writes down what it is told.

use crate::breaker::Breaker;
use crate::head::RequestHead;
use crate::local_reply::Reason;
use crate::model::{
    Address, Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, Endpoint, ForwardAction,
    HashPolicy, HealthStatus, LbAlgorithm, LbPolicy, Locality, LocalityEndpoints, Route,
    RouteAction, RouteConfiguration, RouteMatch, TlsPolicy, VirtualHost,
};
use crate::outcome::{Outcome, ResponseOutcome};
use crate::random::SplitMix64;
use crate::state::{
    Applied, ApplyError, Attach, LiveCluster, LiveEndpoint, Mesh, PickRequest, Picked, Routing,
    Target, TargetLabels, Updater,
};
use crate::time::Timestamp;
use crate::update::{ClusterUpdate, ConfigUpdate, Origin, Secrets};
use http::{HeaderMap, Method, StatusCode};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Hangs names on everything, and writes down what it is told with the snapshot that was in force.
#[derive(Debug)]
pub(super) struct Recorder {
    log: Sender<String>,
    mesh: Arc<OnceLock<Mesh<Self>>>,
}

impl Recorder {
    fn say(&self, line: &str) {
        let generation = self.mesh.get().map_or(0, |mesh| mesh.snapshot().generation());
        self.log.send(format!("{generation} {line}")).unwrap();
    }
}

impl Attach for Recorder {
    type Cluster = Arc<str>;
    type Endpoint = String;
    type Locality = String;
    type Target = String;

    fn secrets_changed(&self, secrets: &Arc<Secrets>) {
        self.say(&format!("secrets {}", super::secrets::show(secrets)));
    }

    fn cluster(&self, cluster: &Arc<Cluster>, _: &Arc<Breaker>) -> Arc<str> {
        self.say(&format!("{} new", cluster.name));
        Arc::clone(&cluster.name)
    }

    fn cluster_changed(&self, cluster: &Arc<str>, _: &Arc<Cluster>) {
        self.say(&format!("{cluster} changed"));
    }

    fn picker_changed(&self, cluster: &Arc<str>) {
        self.say(&format!("{cluster} picker"));
    }

    fn cluster_removed(&self, cluster: &Arc<str>) {
        self.say(&format!("{cluster} gone"));
    }

    fn endpoint(&self, cluster: &Arc<str>, address: &Address, tls: &TlsPolicy) -> String {
        let name = format!("{cluster}{}", port(address));
        let secured = if *tls == TlsPolicy::Off { "" } else { ", secured" };
        self.say(&format!("{name} new{secured}"));
        name
    }

    fn endpoint_removed(&self, endpoint: &String) {
        self.say(&format!("{endpoint} gone"));
    }

    fn locality(&self, cluster: &Arc<str>, locality: &Locality) -> String {
        format!("{cluster}/{}", locality.zone)
    }

    fn target(&self, cluster: Option<&Arc<str>>, labels: TargetLabels<'_>) -> String {
        format!("{}>{}", labels.virtual_host, cluster.map_or("", |name| name))
    }
}

/// A mesh with a recorder, driven as a driver would.
#[derive(Debug)]
pub(super) struct World {
    pub(super) updater: Updater<Recorder>,
    pub(super) mesh: Mesh<Recorder>,
    pub(super) random: SplitMix64,
    log: Receiver<String>,
}

impl World {
    pub(super) fn new() -> Self {
        let (sender, log) = channel();
        let late = Arc::new(OnceLock::new());
        let (updater, mesh) = Updater::new(Recorder { log: sender, mesh: Arc::clone(&late) });
        late.set(mesh.clone()).unwrap();
        Self { updater, mesh, random: SplitMix64::new(1), log }
    }

    /// A mesh with one cluster `a`.
    pub(super) fn with(cluster: Cluster, endpoints: &str) -> Self {
        let mut world = Self::new();
        world.apply(config([(cluster, Some(endpoints))]), 0).unwrap();
        world.log();
        world
    }

    /// Applies `update` at `millis`.
    pub(super) fn apply(
        &mut self,
        update: ConfigUpdate,
        millis: u64,
    ) -> Result<Applied, ApplyError> {
        self.updater.apply(update, at(millis))
    }

    /// Replaces the endpoints of `a`.
    pub(super) fn endpoints(&mut self, text: &str, millis: u64) -> Applied {
        let endpoints = Some(Arc::new(assignment(text)));
        self.updater.apply_endpoints("a", endpoints, at(millis)).unwrap()
    }

    /// What was told since the last time, each line behind the generation that was in force.
    pub(super) fn log(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    #[track_caller]
    pub(super) fn cluster(&self, name: &str) -> Arc<LiveCluster<Recorder>> {
        Arc::clone(self.mesh.snapshot().cluster(name).unwrap())
    }

    /// The endpoint of `a` at this port.
    #[track_caller]
    pub(super) fn endpoint(&self, number: u16) -> Arc<LiveEndpoint<Recorder>> {
        let cluster = self.cluster("a");
        let picker = cluster.picker();
        let found = picker.set().endpoints().find(|e| *e.address() == address(number));
        Arc::clone(found.unwrap())
    }

    /// `port#id` of each endpoint of `a`, in order; `!` behind the ejected ones.
    pub(super) fn members(&self) -> String {
        let cluster = self.cluster("a");
        let picker = cluster.picker();
        let members = picker.set().endpoints().map(|endpoint| {
            let ejected = if endpoint.monitor().is_ejected() { "!" } else { "" };
            format!("{}#{}{ejected}", port(endpoint.address()), endpoint.id().as_u64())
        });
        members.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn target(&self, host: &str) -> Result<Arc<Target<Recorder>>, Reason> {
        let headers = HeaderMap::new();
        let head = RequestHead::new(&Method::GET, host, "/", &headers);
        match self.mesh.snapshot().route(&head, &mut SplitMix64::new(1))? {
            Routing::Forward(target, _) => Ok(target),
            other @ (Routing::Reply(..) | Routing::Passthrough(_)) => panic!("{other:?}"),
        }
    }

    /// The port of the endpoint of `a` that a call would go to.
    pub(super) fn pick(&mut self, millis: u64) -> u16 {
        let cluster = self.cluster("a");
        let request = PickRequest { now: at(millis), hash: None, previous: &[], max_reselect: 5 };
        match cluster.picker().pick(&cluster, request, &mut self.random) {
            Picked::Endpoint(_, endpoint) => port(endpoint.address()),
            other @ (Picked::Wait | Picked::Fail(_) | Picked::Gone(_)) => panic!("{other:?}"),
        }
    }

    /// `times` answers of `status` by the endpoint of `a` at a port; whether the driver must wake.
    pub(super) fn answer(&self, number: u16, status: u16, times: u32) -> bool {
        let headers = HeaderMap::new();
        let status = StatusCode::from_u16(status).unwrap();
        let response = ResponseOutcome::new(status, &headers, None, false);
        self.outcome(number, &Outcome::Response(response), (times, 0))
    }

    fn outcome(&self, number: u16, outcome: &Outcome<'_>, (times, millis): (u32, u64)) -> bool {
        let (cluster, endpoint) = (self.cluster("a"), self.endpoint(number));
        let elapsed = Duration::from_millis(10);
        let woken = (0..times).map(|_| cluster.record(&endpoint, outcome, elapsed, at(millis)));
        woken.fold(false, |any, woken| any | woken)
    }
}

pub(super) const fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(super) fn address(port: u16) -> Address {
    Address::from(SocketAddr::from(([10, 0, 0, 1], port)))
}

pub(super) fn port(address: &Address) -> u16 {
    match address {
        Address::Socket(address) => address.port(),
        Address::Unix(_) => panic!("{address}"),
    }
}

/// `port[*weight][-]…`, `-`: unhealthy. `|` starts the next locality, a word `pN` is its priority.
pub(in crate::state) fn assignment(text: &str) -> ClusterLoadAssignment {
    let mut assignment = ClusterLoadAssignment::default();
    for (zone, text) in text.split('|').enumerate() {
        let mut locality = LocalityEndpoints::new(Locality::new("", zone.to_string(), ""));
        for word in text.split_whitespace() {
            if let Some(priority) = word.strip_prefix('p') {
                locality.priority = priority.parse().unwrap();
                continue;
            }
            let healthy = word.trim_end_matches('-');
            let (port, weight) = healthy.split_once('*').unwrap_or((healthy, "1"));
            let mut endpoint = Endpoint::new(address(port.parse().unwrap()));
            endpoint.weight = weight.parse().unwrap();
            if healthy != word {
                endpoint.health = HealthStatus::Unhealthy;
            }
            locality.endpoints.push(endpoint);
        }
        assignment.localities.push(Arc::new(locality));
    }
    assignment
}

/// The clusters, with a virtual host of the same name for each. `None`: endpoints are not known yet.
pub(super) fn config<'a>(
    clusters: impl IntoIterator<Item = (Cluster, Option<&'a str>)>,
) -> ConfigUpdate {
    let mut update = ConfigUpdate::default();
    let mut names = Vec::new();
    for (cluster, endpoints) in clusters {
        names.push(cluster.name.to_string());
        let endpoints = endpoints.map(|text| Arc::new(assignment(text)));
        let name = Arc::clone(&cluster.name);
        update.clusters.insert(name, ClusterUpdate::new(Arc::new(cluster), endpoints));
    }
    update.route_configuration = routes(names.iter().map(String::as_str));
    update.origin = Origin::new("test", "");
    update
}

/// One authority and its route, which is hashed by these.
pub(super) fn routes_hashed(name: &str, by: Vec<HashPolicy>) -> Arc<RouteConfiguration> {
    let mut action = ForwardAction::new(ClusterSpecifier::Cluster(name.into()));
    action.hash_policy = by;
    let route = Route::new("all", RouteMatch::any(), RouteAction::Forward(action));
    let mut host = VirtualHost::new(name, vec![Domain::Exact(name.into())]);
    host.routes.push(Arc::new(route));
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts.push(Arc::new(host));
    Arc::new(routes)
}

/// A virtual host for each name, with a route to the cluster of the same name.
pub(super) fn routes<'a>(names: impl IntoIterator<Item = &'a str>) -> Arc<RouteConfiguration> {
    let mut routes = RouteConfiguration::default();
    for name in names {
        let action = ForwardAction::new(ClusterSpecifier::Cluster(name.into()));
        let route = Route::new("all", RouteMatch::any(), RouteAction::Forward(action));
        let mut host = VirtualHost::new(name, vec![Domain::Exact(name.into())]);
        host.routes.push(Arc::new(route));
        routes.virtual_hosts.push(Arc::new(host));
    }
    Arc::new(routes)
}

pub(super) fn cluster(name: &str) -> Cluster {
    Cluster::new(name)
}

pub(super) fn balanced(name: &str, algorithm: LbAlgorithm) -> Cluster {
    let mut cluster = Cluster::new(name);
    cluster.lb_policy = LbPolicy::new(algorithm);
    cluster
}
