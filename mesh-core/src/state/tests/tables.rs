//! Ports whose filter chains have routes of their own.

use super::fixture::{World, cluster, config, routes};
use crate::head::RequestHead;
use crate::inbound::CompiledFilterChain;
use crate::local_reply::Reason;
use crate::model::{
    ChainForward, Domain, FilterChain, ForwardAction, HttpConnectionManager, Listener, PathMatcher,
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use crate::random::SplitMix64;
use crate::state::{ApplyError, Routing};
use crate::update::ConfigUpdate;
use http::{HeaderMap, Method};
use std::sync::Arc;

/// A virtual host for everything, with a route for each prefix.
fn table(host: &str, prefixes: &[(&str, &str)]) -> Arc<RouteConfiguration> {
    let mut host = VirtualHost::new(host, vec![Domain::Any]);
    for (prefix, cluster) in prefixes {
        let matcher = RouteMatch::new(PathMatcher::Prefix((*prefix).into()));
        let action = RouteAction::Forward(ForwardAction::to(*cluster));
        host = host.route(Route::new(*prefix, matcher, action));
    }
    let virtual_hosts = vec![Arc::new(host)];
    Arc::new(RouteConfiguration { virtual_hosts, ..RouteConfiguration::default() })
}

fn listener(name: &str, routes: &Arc<RouteConfiguration>) -> Arc<Listener> {
    let http = HttpConnectionManager::serving(Vec::new()).before(routes);
    let mut chain = FilterChain::new("chain", Some(Arc::new(http)));
    chain.forward = Some(Arc::new(ChainForward::new(Arc::clone(routes))));
    let mut listener = Listener::new(name);
    listener.filter_chains = vec![Arc::new(chain)];
    Arc::new(listener)
}

/// Clusters `a` and `b`, and ports with these routes.
fn ports(ports: &[(&str, &Arc<RouteConfiguration>)]) -> ConfigUpdate {
    let mut update = config([(cluster("a"), Some("1")), (cluster("b"), Some("2"))]);
    for (name, routes) in ports {
        update.listeners.insert((*name).into(), listener(name, routes));
    }
    update
}

fn chain(world: &World, port: &str) -> Arc<CompiledFilterChain> {
    let snapshot = world.mesh.snapshot();
    Arc::clone(snapshot.listeners()[port].chain("chain").unwrap())
}

/// What is found for a path at a port, whose chain has found the route of number `taken`.
fn found(
    world: &World,
    (port, chain): (&str, &Arc<CompiledFilterChain>),
    taken: Option<u32>,
    path: &str,
) -> Result<String, Reason> {
    let headers = HeaderMap::new();
    let head = RequestHead::new(&Method::GET, "same", path, &headers);
    let snapshot = world.mesh.snapshot();
    match snapshot.route_chain((port, chain), taken, &head, &mut SplitMix64::new(1))? {
        Routing::Forward(target, _) => Ok(target.attached().clone()),
        other @ (Routing::Reply(..) | Routing::Passthrough(_)) => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(world: &World, port: &str, path: &str, expected: Result<&str, Reason>) {
    let chain = chain(world, port);
    assert_eq!(found(world, (port, &chain), None, path), expected.map(str::to_owned), "{path}");
}

#[test]
fn each_port_has_its_own_routes_for_the_same_host() {
    let mut world = World::new();
    let (one, two) = (table("one", &[("/", "a")]), table("two", &[("/x", "a"), ("/", "b")]));
    world.apply(ports(&[("one", &one), ("two", &two)]), 0).unwrap();
    check(&world, "one", "/x", Ok("one>a"));
    check(&world, "two", "/x", Ok("two>a"));
    check(&world, "two", "/", Ok("two>b"));
    // Calls by name know nothing of them, and they nothing of those.
    assert_eq!(world.target("same").unwrap_err(), Reason::NoVirtualHost);
    assert_eq!(world.target("a").unwrap().attached(), "a>a");
    let all: Vec<_> =
        world.mesh.snapshot().targets().map(|target| target.attached().clone()).collect();
    assert_eq!(all, ["a>a", "b>b", "one>a", "two>a", "two>b"]);
}

#[test]
fn a_cluster_that_comes_or_goes_is_noticed_by_routes_that_stay() {
    let mut world = World::new();
    let routes = table("one", &[("/a", "a"), ("/c", "c")]);
    let update = ports(&[("one", &routes)]);
    world.apply(update.clone(), 0).unwrap();
    check(&world, "one", "/c", Err(Reason::UnknownCluster));
    let mut more = update.clone();
    more.clusters.extend(config([(cluster("c"), Some("3"))]).clusters);
    assert!(!world.apply(more, 1).unwrap().listeners_changed);
    check(&world, "one", "/c", Ok("one>c"));
    world.apply(update, 2).unwrap();
    check(&world, "one", "/c", Err(Reason::UnknownCluster));
    check(&world, "one", "/a", Ok("one>a"));
}

#[test]
fn a_request_goes_by_the_route_that_its_chain_has_found() {
    let mut world = World::new();
    let before = table("one", &[("/x", "a"), ("/", "b")]);
    world.apply(ports(&[("one", &before)]), 0).unwrap();
    let old = chain(&world, "one");
    // Whatever became of its path since.
    assert_eq!(found(&world, ("one", &old), Some(0), "/"), Ok("one>a".to_owned()));
    assert_eq!(found(&world, ("one", &old), Some(1), "/x"), Ok("one>b".to_owned()));
    assert_eq!(found(&world, ("one", &old), Some(2), "/x"), Err(Reason::NoRoute));
    // Another chain comes: of this one nothing has changed.
    let changed = |change: &dyn Fn(&mut FilterChain)| {
        let mut update = ports(&[("one", &before)]);
        let mut listener = Listener::clone(&update.listeners["one"]);
        let mut chain = FilterChain::clone(&listener.filter_chains[0]);
        let mut other = FilterChain::new("other", chain.http.clone());
        other.matcher.source_ports = vec![1];
        change(&mut chain);
        listener.filter_chains = vec![Arc::new(chain), Arc::new(other)];
        update.listeners.insert("one".into(), Arc::new(listener));
        update
    };
    world.apply(changed(&|_| ()), 1).unwrap();
    assert!(!Arc::ptr_eq(&old, &chain(&world, "one")));
    assert_eq!(found(&world, ("one", &old), Some(0), "/"), Ok("one>a".to_owned()));
    // One that lets in others, or others than before, is another chain, whatever its name is.
    world.apply(changed(&|chain| chain.matcher.source_ports = vec![2]), 2).unwrap();
    assert_eq!(found(&world, ("one", &old), Some(0), "/"), Err(Reason::NoVirtualHost));
    let denies = |chain: &mut FilterChain| chain.network_rbac.push(Arc::default());
    world.apply(changed(&denies), 3).unwrap();
    assert_eq!(found(&world, ("one", &old), None, "/"), Err(Reason::NoVirtualHost));
    // Numbers of one configuration mean nothing in another.
    let after = table("one", &[("/", "b"), ("/y", "a")]);
    world.apply(ports(&[("one", &after)]), 4).unwrap();
    assert_eq!(found(&world, ("one", &old), Some(1), "/x"), Ok("one>b".to_owned()));
    world.apply(ports(&[]), 5).unwrap();
    assert_eq!(found(&world, ("one", &old), Some(0), "/"), Err(Reason::NoVirtualHost));
}

/// A chain counts the routes that it has seen as the routes are counted that it hands on to.
#[test]
fn routes_are_counted_alike_on_both_sides() {
    let mut world = World::new();
    let mut both = RouteConfiguration::clone(&table("one", &[("/x", "a"), ("/", "b")]));
    let mut named = VirtualHost::clone(&table("two", &[("/x", "b"), ("/", "a")]).virtual_hosts[0]);
    named.domains = vec![Domain::Exact("same".into())];
    both.virtual_hosts.push(Arc::new(named));
    world.apply(ports(&[("one", &Arc::new(both))]), 0).unwrap();
    let chain = chain(&world, "one");
    let headers = HeaderMap::new();
    for (authority, path, number, expected) in [
        ("other", "/x", 0, "one>a"),
        ("other", "/", 1, "one>b"),
        ("same", "/x", 2, "two>b"),
        ("same", "/", 3, "two>a"),
    ] {
        let head = RequestHead::new(&Method::GET, authority, path, &headers);
        let (decision, _) = chain.http().unwrap().route(&head, &mut SplitMix64::new(1)).unwrap();
        let crate::router::Decision::NonForwarding { target, .. } = decision else {
            panic!("{decision:?}")
        };
        assert_eq!(target, number);
        let taken = found(&world, ("one", &chain), Some(target), "/elsewhere");
        assert_eq!(taken, Ok(expected.to_owned()));
    }
}

#[test]
fn routes_that_do_not_compile_are_refused_with_their_chain() {
    let mut world = World::new();
    let good = table("one", &[("/", "a")]);
    world.apply(ports(&[("one", &good)]), 0).unwrap();
    let mut bad = RouteConfiguration::clone(&good);
    bad.virtual_hosts.extend(routes(["a", "a"]).virtual_hosts.iter().cloned());
    // The filters' side of it is good.
    let mut update = ports(&[("one", &good)]);
    let mut changed = Listener::clone(&update.listeners["one"]);
    let mut chain = FilterChain::clone(&changed.filter_chains[0]);
    chain.forward = Some(Arc::new(ChainForward::new(Arc::new(bad))));
    changed.filter_chains = vec![Arc::new(chain)];
    update.listeners.insert("one".into(), Arc::new(changed));
    let refused = world.apply(update, 1).unwrap_err();
    assert!(matches!(refused, ApplyError::Listener { .. }));
    let text = refused.to_string();
    assert!(text.starts_with("listener `one`: filter chain `chain`: virtual host `a`"), "{text}");
    check(&world, "one", "/", Ok("one>a"));
}
