//! Each test is a list of steps: what the server says, and what is watched and served after it.

mod incremental;
pub(super) mod secrets;
pub(super) mod servers;

use super::*;
use crate::{
    EndpointSource, HttpConnectionManager, RouteSource, XdsCluster, XdsEndpoints, XdsListener,
    XdsRouteConfiguration,
};
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, Discovery, Domain, DropOverload, Endpoint, ForwardAction,
    Fraction, HeaderMutations, Route, VirtualHost,
};
use std::net::{Ipv4Addr, SocketAddr};

/// Runs steps `EVENT -> WATCHES | SERVED`.
///
/// Events: `ask AUTHORITY [LISTENER…]`, `drop AUTHORITY`, `LDS name rds=routes`, `LDS name inline=host:c1,c2`,
/// `LDS name tcp`, `RDS name host:c1,c2 …` (also `off=filter`, `edits=filter`: what its hosts say of a filter), `CDS name eds[=service] | static=7 | dns | of=c1,c2`,
/// `EDS name 1 2 3`, `SDS name text`, `fail KIND name [gone]`, `withhold name`, `forget KIND name`; behind
/// CDS `id=secret` and `roots=secret`. Watches: `+KIND name`, `-KIND name`. Served:
/// `authority=c1[1 2],c2[?],g(c1[1 2] c2[?])`, or `authority!why`; behind a cluster `{secret=text secret!why}`.
#[track_caller]
fn check(script: &str) {
    let mut cascade = Cascade::new("test");
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    let (mut expected, mut actual) = (Vec::new(), Vec::new());
    for line in lines {
        let (event, output) = line.split_once(" ->").unwrap_or_else(|| panic!("{line}"));
        step(&mut cascade, event.trim());
        let watches = cascade.poll_watches();
        let text = format!("{} -> {}", event.trim(), told(&mut cascade, &watches));
        expected.push(format!("{} -> {}", event.trim(), output.trim()));
        actual.push(text);
    }
    assert_eq!(actual, expected);
}

fn step(cascade: &mut Cascade, event: &str) {
    let words: Vec<_> = event.split_whitespace().collect();
    let rest = words.get(2..).unwrap_or_default();
    let version: Arc<str> = "1".into();
    let hash = xxhash_rust::xxh64::xxh64(event.as_bytes(), 0);
    let mut value = |kind, resource: Resource| {
        let name = Arc::clone(resource.name());
        cascade.handle_changed(kind, &name, resource, (Arc::clone(&version), hash));
    };
    match words[0] {
        "ask" => {
            let listeners = if rest.is_empty() { &words[1..2] } else { rest };
            let listeners = listeners.iter().map(|name| Arc::from(*name)).collect();
            cascade.add(&words[1].into(), listeners);
        }
        "drop" => cascade.remove(&words[1].into()),
        "fail" => {
            let kind = kind(words[1]);
            let kept = words.get(3) != Some(&"gone");
            cascade.handle_failed(kind, &words[2].into(), "no such".into(), kept);
        }
        "serve" => cascade.add_server(&words[1].into(), Ok(words[1].into())),
        "nameless" => cascade.add_server(&words[1].into(), Err("no template".into())),
        "unserve" => cascade.remove_server(&words[1].into()),
        "server" => value(ResourceType::Listener, servers::listener(words[1], rest)),
        "LDS" => value(ResourceType::Listener, listener(words[1], rest[0])),
        "RDS" => {
            let routes = Arc::new(routes(words[1], rest));
            value(ResourceType::RouteConfiguration, Resource::RouteConfiguration(routes));
        }
        "CDS" => value(ResourceType::Cluster, cluster(words[1], rest[0], &rest[1..])),
        "SDS" => value(ResourceType::Secret, secrets::secret(words[1], rest[0])),
        "withhold" => {
            cascade.handle_withheld(ResourceType::Secret, &words[1].into(), "not kept".into());
        }
        "forget" => cascade.handle_forgotten(kind(words[1]), &words[2].into()),
        "EDS" => {
            let endpoints = XdsEndpoints::new(words[1], Arc::new(assignment(rest)));
            value(ResourceType::Endpoints, Resource::Endpoints(Arc::new(endpoints)));
        }
        other => panic!("{other}"),
    }
}

pub(super) fn kind(name: &str) -> ResourceType {
    ResourceType::ALL.into_iter().find(|kind| kind.to_string() == name).unwrap()
}

pub(super) fn listener(name: &str, what: &str) -> Resource {
    let mut listener = XdsListener::new(name);
    listener.is_api = true;
    listener.http = match what.split_once('=') {
        Some(("rds", routes)) => Some(HttpConnectionManager::new(RouteSource::Rds(routes.into()))),
        Some(("inline", host)) => {
            let routes = Arc::new(routes("inline", &[host]));
            Some(HttpConnectionManager::new(RouteSource::Inline(routes)))
        }
        _ => None,
    };
    listener.not_for_calls = (what == "guarded").then(|| "it asks for tokens".into());
    Resource::Listener(Arc::new(listener))
}

pub(super) fn routes(name: &str, hosts: &[&str]) -> XdsRouteConfiguration {
    let mut model = RouteConfiguration::default();
    let mut clusters = Vec::new();
    let said = servers::said(hosts);
    for (domain, names) in hosts.iter().filter_map(|host| host.rsplit_once(':')) {
        let names: Vec<_> = names.split(',').collect();
        let mut host = VirtualHost::of(domain).unwrap();
        host.filters.clone_from(&said);
        for name in &names {
            host = host.route(Route::forward(ForwardAction::to(*name)));
        }
        model.virtual_hosts.push(Arc::new(host));
        clusters.push(names.into_iter().map(Arc::from).collect());
    }
    XdsRouteConfiguration::new(name, Arc::new(model), clusters)
}

pub(super) fn cluster(name: &str, what: &str, secrets: &[&str]) -> Resource {
    let (what, reports_load) = match what.strip_suffix("+lrs") {
        Some(what) => (what, true),
        None => (what, false),
    };
    let endpoints = match what.split_once('=').unwrap_or((what, "")) {
        ("eds", "") => EndpointSource::Eds(name.into()),
        ("eds", service) => EndpointSource::Eds(service.into()),
        ("static", number) => EndpointSource::Inline(Arc::new(assignment(&[number]))),
        ("of", children) => EndpointSource::Aggregate(children.split(',').map(Arc::from).collect()),
        _ => EndpointSource::Dns,
    };
    let mut model = Cluster::new(name);
    model.tls = secrets::policy(secrets);
    let mut cluster = XdsCluster::new(Arc::new(model), endpoints);
    cluster.reports_load = reports_load;
    Resource::Cluster(Arc::new(cluster))
}

/// Endpoints by their last number, each in a priority of its own after `/`.
pub(super) fn assignment(numbers: &[&str]) -> ClusterLoadAssignment {
    ClusterLoadAssignment::of(numbers.iter().map(|number| {
        let address = Ipv4Addr::new(10, 0, 0, number.parse().unwrap());
        Endpoint::from(SocketAddr::from((address, 80)))
    }))
}

fn told(cascade: &mut Cascade, watches: &Watches) -> String {
    let signed = |sign: &'static str| move |(kind, name): &Key| format!("{sign}{kind} {name}");
    let added = watches.added.iter().map(signed("+"));
    let removed = watches.removed.iter().map(signed("-"));
    let watches: Vec<_> = added.chain(removed).collect();
    let update = cascade.configuration();
    let mut served = Vec::new();
    for (authority, answer) in update.on_demand.as_deref().unwrap() {
        match answer {
            Answer::Absent(why) => served.push(format!("{authority}!{why}")),
            Answer::Served => {
                let hosts = &update.route_configuration.virtual_hosts;
                let domain = Domain::Exact(Arc::clone(authority));
                let host = hosts.iter().find(|host| host.domains == [domain.clone()]).unwrap();
                let clusters: Vec<_> =
                    host.routes.iter().map(|route| told_cluster(&update, route)).collect();
                served.push(format!("{authority}={}", clusters.join(",")));
            }
        }
    }
    format!("{} | {}", watches.join(" "), served.join(" ")).trim().to_owned()
}

pub(super) fn told_cluster(update: &ConfigUpdate, route: &Route) -> String {
    use mesh_core::model::{ClusterSpecifier, RouteAction};
    let RouteAction::Forward(forward) = &route.action else { panic!("{route:?}") };
    let ClusterSpecifier::Cluster(name) = &forward.cluster else { panic!("{route:?}") };
    told_name(update, name)
}

fn told_name(update: &ConfigUpdate, name: &Arc<str>) -> String {
    use mesh_core::model::Address;
    let Some(cluster) = update.clusters.get(name) else { return format!("{name}-") };
    assert_eq!(cluster.cluster.name, *name);
    if let Discovery::Aggregate(children) = &cluster.cluster.discovery {
        let children: Vec<_> = children.iter().map(|child| told_name(update, child)).collect();
        return format!("{name}({})", children.join(" "));
    }
    let secrets = secrets::told(update, &cluster.cluster.tls);
    let Some(endpoints) = &cluster.endpoints else { return format!("{name}[?]{secrets}") };
    let mut numbers = Vec::new();
    for locality in &endpoints.localities {
        for endpoint in &locality.endpoints {
            let Address::Socket(SocketAddr::V4(address)) = &endpoint.address else { panic!() };
            let number = address.ip().octets()[3];
            numbers.push(match locality.priority {
                0 => number.to_string(),
                priority => format!("{number}/{priority}"),
            });
        }
    }
    format!("{name}[{}]{secrets}", numbers.join(" "))
}

#[test]
fn an_authority_is_served_once_everything_behind_it_has_its_answer() {
    check(
        "ask a -> +LDS a |
         LDS a rds=r -> +RDS r |
         RDS r a:c -> +CDS c |
         CDS c eds=s -> +EDS s |
         EDS s 1 2 -> | a=c[1 2]
         EDS s 3 -> | a=c[3]",
    );
}

#[test]
fn inline_routes_and_clusters_that_need_nothing_more() {
    check(
        "ask a -> +LDS a |
         LDS a inline=*:c,d -> +CDS c +CDS d |
         CDS c static=7 -> |
         CDS d dns -> | a=c[7],d[?]",
    );
}

#[test]
fn only_the_virtual_host_of_the_authority_counts() {
    check(
        "ask a.b -> +LDS a.b |
         LDS a.b rds=r -> +RDS r |
         RDS r *:x *.b:y a.*:z -> +CDS y |
         CDS y static=1 -> | a.b=y[1]
         RDS r *:x a.b:w -> +CDS w | a.b=y[1]
         CDS w static=2 -> -CDS y | a.b=w[2]",
    );
    check(
        "ask a -> +LDS a |\n LDS a inline=b:x -> | a!route configuration inline has no virtual host for it",
    );
}

#[test]
fn what_serves_is_kept_until_its_successor_is_complete() {
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c -> +CDS c |
         CDS c eds -> +EDS c |
         EDS c 1 -> | a=c[1]
         LDS a inline=a:d -> +CDS d | a=c[1]
         CDS d eds -> +EDS d | a=c[1]
         EDS c 9 -> | a=c[9]
         EDS d 2 -> -CDS c -EDS c | a=d[2]",
    );
}

#[test]
fn what_does_not_exist_is_an_answer() {
    check(
        "ask a -> +LDS a |
         fail LDS a gone -> | a!LDS a: no such
         LDS a rds=r -> +RDS r | a!LDS a: no such
         fail RDS r gone -> | a!RDS r: no such
         RDS r a:c,d -> +CDS c +CDS d | a!RDS r: no such
         fail CDS c gone -> | a!RDS r: no such
         CDS d eds -> +EDS d | a!RDS r: no such
         fail EDS d gone -> | a=c-,d[]
         CDS c static=1 -> | a=c[1],d[]
         EDS d 2 -> | a=c[1],d[2]",
    );
    check("ask a -> +LDS a |\n LDS a tcp -> | a!listener a has no HTTP connection manager");
    check(
        "ask a -> +LDS a |\n LDS a guarded -> | a!listener a is not for calls: it asks for tokens",
    );
}

#[test]
fn a_value_outlives_what_was_refused() {
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c -> +CDS c |
         CDS c static=1 -> | a=c[1]
         fail CDS c -> | a=c[1]
         fail LDS a -> | a=c[1]
         fail CDS c gone -> | a=c-",
    );
}

#[test]
fn authorities_share_what_they_both_need() {
    check(
        "ask a -> +LDS a |
         ask b -> +LDS b |
         LDS a rds=r -> +RDS r |
         RDS r a:c b:c,d -> +CDS c |
         CDS c static=1 -> | a=c[1]
         LDS b rds=r -> +CDS d | a=c[1]
         CDS d static=2 -> | a=c[1] b=c[1],d[2]
         drop a -> -LDS a | b=c[1],d[2]
         drop b -> -LDS b -RDS r -CDS c -CDS d |",
    );
}

#[test]
fn a_listener_may_have_one_of_several_names() {
    check(
        "ask a a a:80 -> +LDS a +LDS a:80 |
         LDS a:80 inline=a:c -> +CDS c |
         CDS c static=1 -> | a=c[1]
         fail LDS a gone -> | a=c[1]
         LDS a inline=a:d -> +CDS d | a=c[1]
         CDS d static=2 -> -CDS c | a=d[2]",
    );
    check(
        "ask a a a:80 -> +LDS a +LDS a:80 |
         fail LDS a gone -> |
         fail LDS a:80 gone -> | a!LDS a: no such",
    );
}

#[test]
fn an_aggregate_names_its_leaves_in_order_each_once() {
    check(
        "ask a -> +LDS a |
         LDS a inline=a:g -> +CDS g |
         CDS g of=c,h -> +CDS c +CDS h |
         CDS h of=d,c,g -> +CDS d |
         CDS c eds -> +EDS c |
         CDS d dns -> |
         EDS c 1 2 -> | a=g(c[1 2] d[?])
         EDS c -> | a=g(c[] d[?])
         fail CDS c gone -> -EDS c | a=g(d[?])
         CDS c static=4 -> | a=g(c[4] d[?])
         fail CDS c gone -> | a=g(d[?])
         fail CDS d gone -> | a=g-",
    );
}

#[test]
fn an_aggregate_changes_over_once_all_of_it_has_its_answer() {
    check(
        "ask a -> +LDS a |
         LDS a rds=r -> +RDS r |
         RDS r a:g -> +CDS g |
         CDS g of=c -> +CDS c |
         CDS c eds -> +EDS c |
         EDS c 1 -> | a=g(c[1])
         CDS g of=d -> +CDS d | a=g(c[1])
         CDS d eds -> +EDS d | a=g(c[1])
         EDS c 2 -> | a=g(c[2])
         RDS r a:g,h -> +CDS h | a=g(c[2])
         EDS d 3 -> | a=g(c[2])
         CDS h static=7 -> -CDS c -EDS c | a=g(d[3]),h[7]",
    );
}

#[test]
fn an_aggregate_that_waits_names_those_of_its_last_leaves_that_are_there() {
    check(
        "ask a -> +LDS a |
         ask b -> +LDS b |
         LDS a inline=a:g -> +CDS g |
         LDS b inline=b:d -> +CDS d |
         CDS g of=c,d -> +CDS c |
         CDS c static=1 -> |
         CDS d static=2 -> | a=g(c[1] d[2]) b=d[2]
         CDS g of=e -> +CDS e | a=g(c[1] d[2]) b=d[2]
         fail CDS c gone -> | a=g(d[2]) b=d[2]
         CDS c static=3 -> | a=g(c[3] d[2]) b=d[2]
         CDS c of=d -> | a=g(d[2]) b=d[2]
         fail CDS d gone -> | a=g- b=d-
         CDS d static=4 -> | a=g(d[4]) b=d[4]
         CDS e static=5 -> -CDS c | a=g(e[5]) b=d[4]",
    );
}

#[test]
fn leaves_are_shared_with_routes_that_name_them_and_deeper_ones_are_left_out() {
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c,g -> +CDS c +CDS g |
         CDS c static=1 -> |
         CDS g of=g,c -> | a=c[1],g(c[1])
         CDS g static=2 -> | a=c[1],g[2]
         CDS g of=c -> | a=c[1],g(c[1])",
    );
    let mut script = "ask a -> +LDS a |\nLDS a inline=a:g0 -> +CDS g0 |\n".to_owned();
    for depth in 0..16 {
        let next = depth + 1;
        script.push_str(&format!("CDS g{depth} of=g{next} -> +CDS g{next} |\n"));
    }
    check(&format!("{script}CDS g16 static=1 -> | a=g0(g16[1])\nCDS g16 of=g17 -> | a=g0-"));
}

#[test]
fn header_edits_and_limits_of_upper_levels_are_taken_over() {
    use http::{HeaderName, HeaderValue};
    use mesh_core::model::{AppendAction, HeaderMutation, RouteAction};
    use std::time::Duration;
    let host =
        Arc::new(VirtualHost::of("a").unwrap().route(Route::forward(ForwardAction::to("c"))));
    let mut above = HeaderMutations::default();
    above.request.push(HeaderMutation::Append {
        name: HeaderName::from_static("x-mesh"),
        value: HeaderValue::from_static("1"),
        action: AppendAction::OverwriteIfExistsOrAdd,
    });
    let made = domains::with_levels(&host, &above, Some(Duration::from_secs(3)));
    assert_eq!(made.headers, above);
    let RouteAction::Forward(forward) = &made.routes[0].action else { panic!() };
    let limit = forward.max_stream_duration.unwrap();
    assert_eq!(limit.max_stream_duration, Some(Duration::from_secs(3)));
    let same = domains::with_levels(&host, &HeaderMutations::default(), Some(Duration::ZERO));
    assert!(Arc::ptr_eq(&host, &same));
}

#[test]
fn the_version_is_that_of_the_content() {
    let version = |hash: u64| {
        let mut cascade = Cascade::new("test");
        for event in ["ask a", "LDS a inline=a:c", "CDS c eds"] {
            step(&mut cascade, event);
            cascade.poll_watches();
        }
        let empty = Resource::Endpoints(Arc::new(XdsEndpoints::new("c", Arc::default())));
        cascade.handle_changed(ResourceType::Endpoints, &"c".into(), empty, ("1".into(), hash));
        cascade.poll_watches();
        cascade.configuration().origin.version
    };
    assert_eq!(version(1), version(1));
    assert_ne!(version(1), version(2));
}

#[test]
fn load_is_reported_of_clusters_that_serve_and_say_so() {
    let mut cascade = Cascade::new("test");
    let mut keys = |events: &[&str]| {
        for event in events {
            step(&mut cascade, event);
            let _watches = cascade.poll_watches();
        }
        let show = |key: &LoadKey| match &key.service {
            Some(service) => format!("{}/{service}", key.cluster),
            None => key.cluster.to_string(),
        };
        cascade.load_reports().iter().map(show).collect::<Vec<_>>()
    };
    let begin = ["ask h", "LDS h rds=r", "RDS r h:a,b,c,d,e", "CDS a eds=s+lrs", "CDS b eds=b"];
    assert!(keys(&begin).is_empty(), "nothing serves yet");
    let rest = ["CDS c static=7+lrs", "CDS d dns+lrs", "CDS e of=a+lrs", "EDS s 1", "EDS b 2"];
    assert_eq!(keys(&rest), ["a/s", "c", "d"], "`a` for itself, and not for `e` again");
    assert_eq!(keys(&["CDS a eds=t+lrs", "EDS t 3"]), ["a/t", "c", "d"]);
    assert_eq!(keys(&["CDS a eds=t"]), ["c", "d"]);
    assert!(keys(&["drop h"]).is_empty());
}

#[test]
fn what_a_child_drops_stays_its_own() {
    let mut cascade = Cascade::new("test");
    for event in ["ask h", "LDS h rds=r", "RDS r h:e", "CDS e of=a,b", "CDS a eds", "CDS b eds"] {
        step(&mut cascade, event);
        let _watches = cascade.poll_watches();
    }
    for (name, category) in [("a", "first"), ("b", "second")] {
        let mut all = assignment(&["1"]);
        all.drop_overloads = vec![DropOverload::new(category, Fraction::percent(5))];
        let endpoints = Arc::new(XdsEndpoints::new(name, Arc::new(all)));
        let value = (ResourceType::Endpoints, Resource::Endpoints(endpoints));
        cascade.handle_changed(value.0, &name.into(), value.1, ("1".into(), 1));
        let _watches = cascade.poll_watches();
    }
    let update = cascade.configuration();
    let drops = |name: &str| {
        let drops = &update.clusters[name].endpoints.as_ref().unwrap().drop_overloads;
        drops.iter().map(|drop| drop.category.to_string()).collect::<Vec<_>>()
    };
    assert_eq!([drops("a"), drops("b"), drops("e")], [vec!["first"], vec!["second"], vec![]]);
}
