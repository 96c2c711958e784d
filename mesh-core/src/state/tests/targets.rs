//! Which target a route leads to.

use super::fixture::{World, cluster, config, routes, routes_hashed};
use crate::head::RequestHead;
use crate::local_reply::Reason;
use crate::model::{HashPolicy, HashSource};
use crate::random::SplitMix64;
use http::{HeaderMap, Method};
use xxhash_rust::xxh64::xxh64;

#[test]
fn a_route_to_an_unknown_cluster_moves_no_other_route() {
    let mut world = World::new();
    let mut update = config([(cluster("a"), Some("1")), (cluster("b"), Some("2"))]);
    update.route_configuration = routes(["missing", "a", "b"]);
    world.apply(update, 0).unwrap();
    assert_eq!(world.target("missing").unwrap_err(), Reason::UnknownCluster);
    assert_eq!(world.target("a").unwrap().attached(), "a>a");
    assert_eq!(world.target("b").unwrap().attached(), "b>b");
}

#[test]
fn a_cluster_that_comes_later_is_found_by_the_same_routes() {
    let mut world = World::new();
    let mut update = config([(cluster("a"), Some("1"))]);
    update.route_configuration = routes(["b", "a"]);
    world.apply(update.clone(), 0).unwrap();
    let (name, late) = config([(cluster("b"), Some("2"))]).clusters.pop_first().unwrap();
    update.clusters.insert(name, late);
    assert!(!world.apply(update.clone(), 1).unwrap().routes_changed);
    assert_eq!(world.target("b").unwrap().attached(), "b>b");
    update.clusters.remove("b");
    world.apply(update, 2).unwrap();
    assert_eq!(world.target("b").unwrap_err(), Reason::UnknownCluster);
    assert_eq!(world.target("a").unwrap().attached(), "a>a");
}

#[test]
fn nobody_is_found_before_the_first_configuration() {
    let world = World::new();
    assert_eq!(world.target("a").unwrap_err(), Reason::NotConfigured);
}

/// The route's inputs count before the cluster's, unless the cluster has some and says otherwise.
#[test]
fn who_says_what_is_hashed() {
    let by = |name: &str| vec![HashPolicy::new(HashSource::QueryParameter(name.into()))];
    let check = |route: Vec<HashPolicy>, cluster_says: Vec<HashPolicy>, first, expected: &str| {
        let mut world = World::new();
        let mut a = cluster("a");
        (a.lb_policy.hash_policy, a.lb_policy.hash_policy_first) = (cluster_says, first);
        let mut update = config([(a, Some("1"))]);
        update.route_configuration = routes_hashed("a", route);
        world.apply(update, 0).unwrap();
        let headers = HeaderMap::new();
        let head = RequestHead::new(&Method::GET, "a", "/?route=r&cluster=c", &headers);
        let hash = world.target("a").unwrap().hash(&head, Vec::new(), &mut SplitMix64::new(1));
        assert_eq!(hash.hash, Some(xxh64(expected.as_bytes(), 0)), "{first} {expected}");
    };
    check(by("route"), by("cluster"), false, "r");
    check(by("route"), by("cluster"), true, "c");
    check(by("route"), Vec::new(), true, "r");
    check(Vec::new(), by("cluster"), false, "c");
    check(Vec::new(), by("cluster"), true, "c");
}

#[test]
fn a_cluster_that_hashes_from_now_on_is_hashed_by() {
    let mut world = World::new();
    let update = |by: Vec<HashPolicy>| {
        let mut a = cluster("a");
        a.lb_policy.hash_policy = by;
        config([(a, Some("1"))])
    };
    let hash = |world: &World| {
        let headers = HeaderMap::new();
        let head = RequestHead::new(&Method::GET, "a", "/?cluster=c", &headers);
        world.target("a").unwrap().hash(&head, Vec::new(), &mut SplitMix64::new(1)).hash
    };
    world.apply(update(Vec::new()), 0).unwrap();
    assert_eq!(hash(&world), None);
    let by = vec![HashPolicy::new(HashSource::QueryParameter("cluster".into()))];
    world.apply(update(by), 1).unwrap();
    assert_eq!(hash(&world), Some(xxh64(b"c", 0)));
    world.apply(update(Vec::new()), 2).unwrap();
    assert_eq!(hash(&world), None);
}
