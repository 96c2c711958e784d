//! What is published when, and when what was replaced is freed.

use super::fixture::{World, assignment, at, cluster, config, routes};
use crate::model::{DropOverload, Fraction};
use crate::state::{PickRequest, Picked};
use crate::update::{Mode, Origin, UnknownHosts};
use std::sync::Arc;

#[test]
fn the_same_configuration_publishes_nothing() {
    let mut world = World::new();
    let update = config([(cluster("a"), Some("1")), (cluster("b"), None)]);
    world.apply(update.clone(), 0).unwrap();
    world.log();
    let snapshot = Arc::clone(&world.mesh.snapshot());
    let applied = world.apply(update, 1).unwrap();
    assert_eq!(applied, crate::state::Applied::default());
    assert_eq!(world.log(), [""; 0]);
    assert!(Arc::ptr_eq(&snapshot, &world.mesh.snapshot()));
}

/// A source that reads its file anew makes everything anew.
#[test]
fn an_equal_configuration_publishes_nothing_and_is_replaced_by_what_is_in_force() {
    let mut world = World::new();
    let read = || config([(cluster("a"), Some("1 2 | 3")), (cluster("b"), None)]);
    world.apply(read(), 0).unwrap();
    world.log();
    let (before, snapshot) = (world.updater.config().clone(), world.mesh.snapshot());
    let applied = world.apply(read(), 1).unwrap();
    assert_eq!(applied, crate::state::Applied::default());
    assert_eq!(world.log(), [""; 0]);
    assert!(Arc::ptr_eq(&snapshot, &world.mesh.snapshot()));
    let after = world.updater.config();
    assert!(Arc::ptr_eq(&before.route_configuration, &after.route_configuration));
    for (name, cluster) in &after.clusters {
        assert!(Arc::ptr_eq(&before.clusters[name].cluster, &cluster.cluster), "{name}");
    }
    let endpoints = |update: &crate::ConfigUpdate| update.clusters["a"].endpoints.clone().unwrap();
    assert!(Arc::ptr_eq(&endpoints(&before), &endpoints(after)));
}

#[test]
fn virtual_hosts_that_are_equal_stay_the_same() {
    let mut world = World::new();
    let mut update = config([(cluster("a"), Some("1")), (cluster("b"), Some("2"))]);
    world.apply(update.clone(), 0).unwrap();
    let before = Arc::clone(&world.updater.config().route_configuration);
    update.route_configuration = routes(["b", "x", "a"]);
    assert!(world.apply(update, 1).unwrap().routes_changed);
    let after = &world.updater.config().route_configuration;
    assert!(Arc::ptr_eq(&before.virtual_hosts[1], &after.virtual_hosts[0]));
    assert!(Arc::ptr_eq(&before.virtual_hosts[0], &after.virtual_hosts[2]));
}

#[test]
fn only_the_cluster_that_changed_gets_a_picker() {
    let mut world = World::new();
    let mut update = config([(cluster("a"), Some("1")), (cluster("b"), Some("2"))]);
    world.apply(update.clone(), 0).unwrap();
    world.log();
    update.clusters.get_mut("b").unwrap().endpoints = Some(Arc::new(assignment("2 3")));
    let applied = world.apply(update, 1).unwrap();
    assert_eq!((applied.clusters_changed, applied.endpoints_added), (0, 1));
    assert_eq!(world.log(), ["1 b3 new", "1 b picker"]);
}

#[test]
fn what_is_dropped_changes_without_the_endpoints() {
    let mut world = World::with(cluster("a"), "1 2");
    let picker = |world: &World| Arc::clone(&world.mesh.snapshot().cluster("a").unwrap().picker());
    let before = picker(&world);
    assert!(!before.is_special() && before.dropped(&mut world.random).is_none());
    let mut endpoints = assignment("1 2");
    endpoints.drop_overloads = vec![DropOverload::new("lb", Fraction::ALL)];
    let update = Some(Arc::new(endpoints));
    let applied = world.updater.apply_endpoints("a", update.clone(), at(1)).unwrap();
    assert_eq!((applied.endpoints_added, applied.endpoints_removed), (0, 0));
    assert_eq!(world.log(), ["1 a picker"]);
    let after = picker(&world);
    assert_eq!(after.dropped(&mut world.random).map(|category| &**category), Some("lb"));
    for (old, new) in before.set().endpoints().zip(after.set().endpoints()) {
        assert!(Arc::ptr_eq(old, new));
    }
    // The same again is nothing new.
    world.updater.apply_endpoints("a", update, at(2)).unwrap();
    assert_eq!(world.log(), [""; 0]);
    world.endpoints("1 2", 3);
    assert!(!picker(&world).is_special());
}

#[test]
fn generations_count_snapshots() {
    let mut world = World::new();
    let generation = |world: &World| world.mesh.snapshot().generation();
    assert_eq!((generation(&world), world.mesh.snapshot().applied_at()), (0, None));
    let mut update = config([(cluster("a"), Some("1"))]);
    world.apply(update.clone(), 5).unwrap();
    assert_eq!((generation(&world), world.mesh.snapshot().applied_at()), (1, Some(at(5))));
    world.endpoints("1 2", 6);
    assert_eq!(generation(&world), 1, "endpoints are not part of it");
    update.origin = Origin::new("test", "2");
    world.apply(update.clone(), 7).unwrap();
    assert_eq!((generation(&world), &*world.mesh.snapshot().origin().version), (2, "2"));
    update.route_configuration = routes(["a", "x"]);
    assert!(world.apply(update.clone(), 8).unwrap().routes_changed);
    update.mode = Mode::Observe;
    assert!(!world.apply(update.clone(), 9).unwrap().routes_changed);
    assert_eq!((generation(&world), world.mesh.snapshot().mode()), (4, Mode::Observe));
    update.unknown_hosts = UnknownHosts::Passthrough;
    world.apply(update, 10).unwrap();
    assert_eq!(generation(&world), 5);
}

#[test]
fn endpoints_of_an_unknown_cluster_are_ignored() {
    let mut world = World::with(cluster("a"), "1");
    let endpoints = Some(Arc::new(assignment("1")));
    let applied = world.updater.apply_endpoints("x", endpoints, at(1)).unwrap();
    assert_eq!(applied, crate::state::Applied::default());
    assert_eq!(world.log(), [""; 0]);
}

#[test]
fn endpoints_come_and_go_by_themselves() {
    let mut world = World::new();
    world.apply(config([(cluster("a"), None)]), 0).unwrap();
    let request = PickRequest { now: at(0), hash: None, previous: &[], max_reselect: 5 };
    let live = world.cluster("a");
    let pick =
        |random: &mut crate::random::SplitMix64| match live.picker().pick(&live, request, random) {
            Picked::Endpoint(..) => "endpoint",
            Picked::Wait => "wait",
            Picked::Fail(_) => "fail",
            Picked::Gone(_) => "gone",
        };
    let mut random = world.random.clone();
    assert_eq!(pick(&mut random), "wait");
    world.endpoints("", 1);
    assert_eq!(pick(&mut random), "fail");
    world.endpoints("1", 2);
    assert_eq!(pick(&mut random), "endpoint");
    assert_eq!(world.updater.config().clusters["a"].endpoints, Some(Arc::new(assignment("1"))));
    let applied = world.updater.apply_endpoints("a", None, at(3)).unwrap();
    assert_eq!((applied.endpoints_removed, pick(&mut random)), (1, "wait"));
    world.apply(config([]), 4).unwrap();
    assert_eq!(pick(&mut random), "gone", "nothing is worth waiting for");
}

#[test]
fn what_was_replaced_is_freed_once_no_call_holds_it() {
    let mut world = World::with(cluster("a"), "1");
    let live = world.cluster("a");
    let (picker, snapshot) = (Arc::clone(&live.picker()), Arc::clone(&world.mesh.snapshot()));
    let (old_picker, old_snapshot) = (Arc::downgrade(&picker), Arc::downgrade(&snapshot));
    let (cluster_gone, endpoint_gone) = (Arc::downgrade(&live), Arc::downgrade(&world.endpoint(1)));
    drop(live);
    world.apply(config([(cluster("b"), Some("2"))]), 1).unwrap();
    world.updater.free_retired();
    assert_eq!(
        world.updater.retired.len(),
        2,
        "the snapshot, which holds the cluster, and the picker that a call still holds"
    );
    drop(picker);
    drop(snapshot);
    assert!(old_picker.upgrade().is_some() && old_snapshot.upgrade().is_some(), "not by a call");
    world.updater.free_retired();
    assert_eq!(world.updater.retired.len(), 0);
    assert!(old_picker.upgrade().is_none() && old_snapshot.upgrade().is_none());
    assert!(cluster_gone.upgrade().is_none() && endpoint_gone.upgrade().is_none());
}

#[test]
fn nothing_retires_for_good_under_many_updates() {
    let mut world = World::with(cluster("a"), "1");
    for round in 0..50 {
        world.endpoints(if round % 2 == 0 { "1 2" } else { "1" }, round);
        let routes = routes(["a"]);
        let mut update = world.updater.config().clone();
        update.route_configuration = routes;
        world.apply(update, round).unwrap();
        world.updater.free_retired();
        assert_eq!(world.updater.retired.len(), 0, "round {round}");
    }
}

#[test]
fn who_waits_is_told_when_the_writer_goes_away() {
    let mut world = World::new();
    let clusters = [("unknown", None), ("nobody", Some("")), ("a", Some("1"))];
    world.apply(config(clusters.map(|(name, endpoints)| (cluster(name), endpoints))), 0).unwrap();
    world.log();
    world.updater.abandon();
    assert_eq!(world.log(), ["1 a picker", "1 nobody picker", "1 unknown picker"]);
    for name in ["unknown", "nobody"] {
        let live = world.cluster(name);
        let request = PickRequest { now: at(0), hash: None, previous: &[], max_reselect: 5 };
        let picker = live.picker();
        let picked = picker.pick(&live, request, &mut world.random);
        assert!(matches!(picked, Picked::Gone(_)), "{name}: {picked:?}");
    }
    assert_eq!(world.pick(0), 1, "what is known stays");
}

#[test]
fn other_endpoints_of_some_clusters_come_with_another_name() {
    use crate::update::EndpointsUpdate;
    let mut world = World::new();
    let names = ["a", "b", "c"];
    world.apply(config(names.map(|name| (cluster(name), Some("1 2")))), 0).unwrap();
    world.log();
    let mut update = EndpointsUpdate::new(Origin::new("test", "2"));
    for (name, endpoints) in [("a", "1 3"), ("b", "1 2"), ("unknown", "9")] {
        update.clusters.insert(name.into(), Some(Arc::new(assignment(endpoints))));
    }
    update.clusters.insert("c".into(), None);
    let applied = world.updater.apply_endpoints_update(&update, at(1)).unwrap();
    assert_eq!((applied.endpoints_added, applied.endpoints_removed), (1, 3));
    let log = world.log();
    let pickers = log.iter().filter_map(|line| line.strip_suffix(" picker"));
    assert_eq!(pickers.collect::<Vec<_>>(), ["1 a", "1 c"]);
    let snapshot = Arc::clone(&world.mesh.snapshot());
    assert_eq!((snapshot.origin(), snapshot.generation()), (&update.origin, 2));
    assert_eq!(world.updater.config().origin, update.origin);
    assert_eq!(world.updater.config().clusters["c"].endpoints, None);
    assert!(!world.updater.config().clusters.contains_key("unknown"));
    // The same once more is nothing.
    world.updater.apply_endpoints_update(&update, at(2)).unwrap();
    assert_eq!(world.log(), [""; 0]);
    assert!(Arc::ptr_eq(&snapshot, &world.mesh.snapshot()));
}
