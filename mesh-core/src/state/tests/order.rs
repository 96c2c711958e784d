//! Make before break, as an attachment sees it.

use super::fixture::{World, assignment, cluster, config, port};
use crate::model::tls::UpstreamTls;
use crate::model::{Cluster, ClusterLoadAssignment, TlsLabels, TlsMatch, TlsPolicy};
use crate::update::{ClusterUpdate, ConfigUpdate};
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
    let told = [
        "1 a1 new, secured",
        "1 a2 new, secured",
        "1 a changed",
        "1 a picker",
        "1 a1 gone",
        "1 a2 gone",
    ];
    assert_eq!(world.log(), told);
}

/// A configuration of `a` with the endpoints of `text`, of which those at `mutual` say `tlsMode=istio`.
fn secured(text: &str, mutual: &[u16], own: &TlsPolicy, matches: &[TlsMatch]) -> ConfigUpdate {
    let mut model = cluster("a");
    model.tls = own.clone();
    model.tls_matches = matches.to_vec();
    let mut update = config([(model, None)]);
    let mut endpoints = assignment(text);
    for locality in &mut endpoints.localities {
        for endpoint in &mut Arc::make_mut(locality).endpoints {
            if mutual.contains(&port(&endpoint.address)) {
                endpoint.tls_labels = Some(Arc::new(TlsLabels::text("tlsMode", "istio")));
            }
        }
    }
    let model = Arc::clone(&update.clusters["a"].cluster);
    update.clusters.insert("a".into(), ClusterUpdate::new(model, Some(Arc::new(endpoints))));
    update
}

fn to(sni: &str) -> TlsPolicy {
    let mut tls = UpstreamTls::default();
    tls.sni = Some(sni.into());
    TlsPolicy::On(Arc::new(tls))
}

fn by(value: &str, tls: &TlsPolicy) -> TlsMatch {
    TlsMatch::new(value, TlsLabels::text("tlsMode", value), tls.clone())
}

/// Envoy: `transport_socket_matches`. What counts is how an endpoint is secured in the end.
#[test]
fn an_endpoint_stays_the_same_while_it_is_secured_alike() {
    let (off, x, y) = (TlsPolicy::Off, to("x"), to("y"));
    let steps: [(&str, ConfigUpdate, &str); 9] = [
        ("one of three", secured("1 2 3", &[2], &off, &[by("istio", &x)]), "1#1 2#2 3#3"),
        ("nothing new", secured("1 2 3", &[2], &off, &[by("istio", &x)]), "1#1 2#2 3#3"),
        ("one more", secured("1 2 3", &[2, 3], &off, &[by("istio", &x)]), "1#1 2#2 3#4"),
        (
            "other matches, in another order",
            secured("1 2 3", &[2, 3], &off, &[by("no", &y), by("istio", &x)]),
            "1#1 2#2 3#4",
        ),
        ("in another way", secured("1 2 3", &[2, 3], &off, &[by("istio", &y)]), "1#1 2#5 3#6"),
        ("the others, too", secured("1 2 3", &[2, 3], &x, &[by("istio", &y)]), "1#7 2#5 3#6"),
        ("all alike", secured("1 2 3", &[], &y, &[]), "1#8 2#5 3#6"),
        ("by labels again", secured("3 1 2", &[1], &y, &[by("istio", &off)]), "3#6 1#9 2#5"),
        (
            "a place that says so",
            in_place(secured("3 1 2", &[], &y, &[by("istio", &off)])),
            "3#10 1#9 2#11",
        ),
    ];
    let mut world = World::new();
    let mut before = 0;
    for (step, update, expected) in steps {
        let applied = world.apply(update, 0).unwrap();
        assert_eq!(world.members(), expected, "{step}");
        let made = world.log().iter().filter(|line| line.contains("new")).count();
        // The first step makes the cluster, too.
        assert_eq!(applied.endpoints_added + usize::from(before == 0), made, "{step}");
        before += made;
    }
}

/// All endpoints are in a locality that says `tlsMode=istio`.
fn in_place(mut update: ConfigUpdate) -> ConfigUpdate {
    let known = &update.clusters["a"];
    let mut endpoints = ClusterLoadAssignment::clone(known.endpoints.as_ref().unwrap());
    let labels = Arc::new(TlsLabels::text("tlsMode", "istio"));
    Arc::make_mut(&mut endpoints.localities[0]).tls_labels = Some(labels);
    let known = ClusterUpdate::new(Arc::clone(&known.cluster), Some(Arc::new(endpoints)));
    update.clusters.insert("a".into(), known);
    update
}

#[test]
fn an_address_that_is_secured_in_two_ways_is_two_endpoints() {
    let mut update = secured("1 | 1", &[], &TlsPolicy::Off, &[by("istio", &to("x"))]);
    let mut world = World::new();
    world.apply(in_place(update.clone()), 0).unwrap();
    assert_eq!(world.members(), "1#1 1#2");
    assert!(world.log().iter().any(|line| line.ends_with("a1 new, secured")));
    // Without the locality that said so, the other one stays.
    update = secured("1", &[], &TlsPolicy::Off, &[by("istio", &to("x"))]);
    let applied = world.apply(update, 1).unwrap();
    assert_eq!((world.members().as_str(), applied.endpoints_removed), ("1#2", 1));
}

#[test]
fn other_endpoints_alone_need_no_snapshot() {
    let mut world = World::with(cluster("a"), "1 2");
    let applied = world.endpoints("2 3", 1);
    assert_eq!((applied.endpoints_added, applied.endpoints_removed), (1, 1));
    assert_eq!(world.log(), ["1 a3 new", "1 a picker", "1 a1 gone"]);
}
