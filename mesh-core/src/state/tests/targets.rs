//! Which target a route leads to.

use super::fixture::{World, cluster, config, routes};
use crate::local_reply::Reason;

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
