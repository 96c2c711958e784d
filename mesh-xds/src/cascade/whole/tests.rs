//! Tables of listeners, and who serves which domain.

use super::*;
use crate::{XdsCluster, XdsEndpoints};
use mesh_core::model::{Cluster, ClusterLoadAssignment, ForwardAction, Route, VirtualHost};

/// A virtual host: its name, which is its cluster as well, and its domains.
type Host<'a> = (&'a str, &'a str);

fn routes(name: &str, hosts: &[Host<'_>]) -> Arc<XdsRouteConfiguration> {
    let mut model = RouteConfiguration::default();
    let mut clusters = Vec::new();
    for (name, domains) in hosts {
        let domains = domains.split(' ').map(|text| Domain::parse(text).unwrap()).collect();
        let host = VirtualHost::new(*name, domains).route(Route::forward(ForwardAction::to(*name)));
        model.virtual_hosts.push(Arc::new(host));
        clusters.push(BTreeSet::from([Arc::from(*name)]));
    }
    Arc::new(XdsRouteConfiguration::new(name, Arc::new(model), clusters))
}

fn listener(name: &str, port: Option<u16>, source: RouteSource) -> Resource {
    let mut listener = XdsListener::new(name);
    listener.http = Some(HttpConnectionManager::new(source));
    listener.port = port;
    listener.is_api = port.is_none();
    Resource::Listener(Arc::new(listener))
}

fn inline(name: &str, port: Option<u16>, hosts: &[Host<'_>]) -> Resource {
    listener(name, port, RouteSource::Inline(routes(name, hosts)))
}

fn by_name(name: &str, port: u16, routes: &str) -> Resource {
    listener(name, Some(port), RouteSource::Rds(routes.into()))
}

fn cluster(name: &str) -> Resource {
    let endpoints = EndpointSource::Inline(Arc::new(ClusterLoadAssignment::default()));
    Resource::Cluster(Arc::new(XdsCluster::new(Arc::new(Cluster::new(name)), endpoints)))
}

/// Each virtual host as `name: domains`, and the notes.
fn shown(resources: &[Resource]) -> (Vec<String>, Vec<String>) {
    let Whole { update, notes } = whole(resources);
    let hosts = update.route_configuration.virtual_hosts.iter().map(|host| {
        let domains: Vec<_> = host.domains.iter().map(ToString::to_string).collect();
        format!("{}: {}", host.name, domains.join(" "))
    });
    let notes = notes.iter().map(|Note { at, kind }| {
        let kind = match kind {
            NoteKind::Missing(kind, name) => format!("no {kind} {name}"),
            NoteKind::Shared(domains, other) => {
                let domains: Vec<_> = domains.iter().map(ToString::to_string).collect();
                format!("{} also at {other}", domains.join(" "))
            }
            NoteKind::Taken(domain, other) => format!("{domain} is {other}'s"),
            NoteKind::Unused(why) => (*why).to_owned(),
            NoteKind::CanNotServe(why) => why.to_string(),
            NoteKind::NoPort(path, why) => format!("no port, {path}: {why}"),
        };
        format!("{}: {kind}", at.1)
    });
    (hosts.collect(), notes.collect())
}

#[track_caller]
fn check(resources: &[Resource], hosts: &[&str], notes: &[&str]) {
    let clusters = ["a", "b", "c"].map(cluster);
    let all: Vec<_> = resources.iter().cloned().chain(clusters).collect();
    let (found, told) = shown(&all);
    assert_eq!(found, hosts);
    assert_eq!(told, notes);
}

#[test]
fn one_listener_serves_its_domains_as_they_are_written() {
    let hosts = [("a", "a *.a a:80"), ("b", "*")];
    check(&[inline("web", Some(80), &hosts)], &["a: a *.a a:80", "b: *"], &[]);
}

#[test]
fn listeners_with_the_same_routes_are_one() {
    let all = Resource::RouteConfiguration(routes("all", &[("a", "a *")]));
    check(&[by_name("v4", 80, "all"), by_name("v6", 81, "all"), all], &["a: a *"], &[]);
}

#[test]
fn without_a_listener_all_routes_are_taken() {
    let resources = [("all", "a", "a"), ("more", "b", "b")]
        .map(|(name, host, domain)| Resource::RouteConfiguration(routes(name, &[(host, domain)])));
    check(&resources, &["a: a", "b: b"], &[]);
}

#[test]
fn of_several_listeners_each_serves_its_port_and_what_is_its_alone() {
    let resources = [
        inline("one", Some(80), &[("a", "a *.a a.*")]),
        inline("two", Some(81), &[("b", "b b:9")]),
    ];
    check(&resources, &["a: a:80 a *.a:80 *.a a.*", "b: b:81 b b:9"], &[]);
}

#[test]
fn what_two_listeners_serve_is_told_apart_by_the_port_only() {
    let resources =
        [inline("one", Some(80), &[("a", "a")]), inline("two", Some(81), &[("b", "a *")])];
    check(
        &resources,
        &["a: a:80", "b: a:81 *:81"],
        &["one: a also at two", "two: a * also at one"],
    );
    let resources =
        [inline("one", Some(80), &[("a", "*")]), inline("two", Some(81), &[("b", "*")])];
    check(&resources, &["a: *:80", "b: *:81"], &["one: * also at two", "two: * also at one"]);
}

#[test]
fn of_two_at_one_port_the_earlier_is_taken() {
    let resources =
        [inline("one", Some(80), &[("a", "a")]), inline("two", Some(80), &[("b", "a b")])];
    check(
        &resources,
        &["a: a:80", "b: b:80 b"],
        &["one: a also at two", "two: a:80 is one's", "two: a also at one"],
    );
}

#[test]
fn an_api_listener_is_the_authority_that_it_is_called() {
    let resources = [
        inline("A:80", None, &[("a", "b"), ("b", "*")]),
        inline("web", Some(80), &[("c", "a:80 c")]),
    ];
    check(&resources, &["b: a:80", "c: c:80 c"], &["web: a:80 is A:80's"]);
    let nobody = [inline("c", None, &[("a", "b")])];
    check(&nobody, &[], &["c: its routes have no virtual host for its name"]);
}

#[test]
fn what_is_named_and_not_there_is_told() {
    let endpoints = XdsEndpoints::new("e", Arc::default());
    let eds = XdsCluster::new(Arc::new(Cluster::new("eds")), EndpointSource::Eds("f".into()));
    let children = EndpointSource::Aggregate(vec!["a".into(), "g".into()]);
    let all = XdsCluster::new(Arc::new(Cluster::new("all")), children);
    let resources = [
        by_name("web", 80, "all"),
        inline("api", Some(81), &[("d", "d")]),
        Resource::RouteConfiguration(routes("other", &[])),
        Resource::Cluster(Arc::new(eds)),
        Resource::Cluster(Arc::new(all)),
        Resource::Endpoints(Arc::new(endpoints)),
    ];
    let told = [
        "web: no RDS all",
        "api: no CDS d",
        "eds: no EDS f",
        "all: no CDS g",
        "other: no listener names it",
        "e: no cluster names it",
    ];
    check(&resources, &["d: d"], &told);
}

#[test]
fn what_levels_above_say_goes_into_virtual_hosts() {
    let mut manager = HttpConnectionManager::new(RouteSource::Inline(routes("web", &[("a", "a")])));
    manager.max_stream_duration = Some(Duration::from_secs(7));
    let mut web = XdsListener::new("web");
    web.http = Some(manager);
    let whole = whole(&[Resource::Listener(Arc::new(web)), cluster("a")]);
    let route = &whole.update.route_configuration.virtual_hosts[0].routes[0];
    let mesh_core::model::RouteAction::Forward(forward) = &route.action else { panic!() };
    let limit = forward.max_stream_duration.and_then(|limit| limit.max_stream_duration);
    assert_eq!(limit, Some(Duration::from_secs(7)));
}

/// A listener of a server has its routes put in, and these are no client's.
#[test]
fn listeners_of_servers() {
    use super::super::tests::{routes, servers::listener};
    let inbound = [
        listener("in", &["rds=r", "rds=gone"]),
        Resource::RouteConfiguration(Arc::new(routes("r", &["a:x"]))),
        listener("bad", &["bad"]),
    ];
    let notes = ["in: no RDS gone", "bad: filter_chains: is wrong"];
    check(&inbound, &[], &notes);
    let Whole { update, .. } = whole(&inbound);
    let chains = update.listeners["in"].chains();
    let hosts =
        chains.map(|chain| chain.http.as_ref().unwrap().route_configuration.virtual_hosts.len());
    assert_eq!(hosts.collect::<Vec<_>>(), [1, 0]);
    assert!(!update.listeners.contains_key("bad"));
}
