//! Make before break, as an attachment sees it.

use super::fixture::{World, cluster, config};
use crate::model::tls::UpstreamTls;
use crate::model::{Cluster, TlsPolicy};
use std::sync::Arc;

type Listed<'a> = &'a [(&'a str, &'a str)];

fn clusters<'a>(listed: Listed<'a>) -> impl Iterator<Item = (Cluster, Option<&'a str>)> {
    listed.iter().map(|(name, endpoints)| (cluster(name), Some(*endpoints)))
}

/// What is told when `after` follows `before`, each behind the generation in force.
#[track_caller]
fn check(before: Listed<'_>, after: Listed<'_>, expected: &[&str]) {
    let mut world = World::new();
    world.apply(config(clusters(before)), 0).unwrap();
    world.log();
    world.apply(config(clusters(after)), 1).unwrap();
    // No call holds a cluster that left.
    world.updater.free_retired();
    assert_eq!(world.log(), expected);
}

#[test]
fn what_is_new_is_there_before_anybody_is_sent_to_it() {
    check(&[], &[("a", "1")], &["1 a new", "1 a1 new", "1 a picker"]);
}

#[test]
fn what_is_gone_hears_of_it_after_everything_is_published() {
    check(
        &[("a", "1 2"), ("b", "3")],
        &[("a", "2 4"), ("c", "5")],
        &[
            "1 a4 new",
            "1 c new",
            "1 c5 new",
            "1 a picker",
            "1 c picker",
            "2 a1 gone",
            "2 b picker",
            "2 b picker",
            "2 b3 gone",
            "2 b gone",
        ],
    );
}

#[test]
fn an_endpoint_that_is_listed_twice_goes_once() {
    check(&[("a", "1 1")], &[], &["2 a picker", "2 a picker", "2 a1 gone", "2 a gone"]);
}

#[test]
fn another_transport_security_is_another_endpoint() {
    let mut world = World::with(cluster("a"), "1 1 2");
    let mut secured = cluster("a");
    secured.tls = TlsPolicy::On(Arc::new(UpstreamTls::default()));
    let applied = world.apply(config([(secured, Some("1 2"))]), 1).unwrap();
    assert_eq!((applied.endpoints_added, applied.endpoints_removed), (2, 2));
    assert_eq!(world.members(), "1#3 2#4");
    let told = ["1 a1 new", "1 a2 new", "1 a changed", "1 a picker", "1 a1 gone", "1 a2 gone"];
    assert_eq!(world.log(), told);
}

#[test]
fn other_endpoints_alone_need_no_snapshot() {
    let mut world = World::with(cluster("a"), "1 2");
    let applied = world.endpoints("2 3", 1);
    assert_eq!((applied.endpoints_added, applied.endpoints_removed), (1, 1));
    assert_eq!(world.log(), ["1 a3 new", "1 a picker", "1 a1 gone"]);
}
