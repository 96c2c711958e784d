//! What was learnt outlives a change of configuration.

use super::fixture::{World, address, assignment, at, balanced, cluster, config};
use crate::breaker::Resource;
use crate::lb::EndpointId;
use crate::model::{LbAlgorithm, OutlierDetection, RoutingPriority};
use crate::random::SplitMix64;
use crate::state::{InFlight, LiveEndpoint, PickRequest, Picked, Updater};
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

const REQUESTS: (RoutingPriority, Resource) = (RoutingPriority::Default, Resource::Requests);

/// An attempt in flight at the endpoint of `a` at `port`.
fn attempt(world: &World, port: u16) -> InFlight<super::fixture::Recorder> {
    let target = world.target("a").unwrap();
    target.cluster().breaker().try_acquire(REQUESTS.0, REQUESTS.1).unwrap();
    InFlight::begin(target, world.endpoint(port), REQUESTS.0)
}

/// What was learnt of an endpoint.
fn learnt<A: crate::state::Attach>(
    endpoint: &LiveEndpoint<A>,
) -> (EndpointId, u32, bool, u16, Timestamp, bool) {
    (
        endpoint.id(),
        endpoint.active(),
        endpoint.monitor().is_ejected(),
        endpoint.monitor().ejections(),
        endpoint.available_since(),
        endpoint.ewma().estimate(at(1000), SECOND, (SECOND, at(0))) > 1.1e9,
    )
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

fn watched() -> crate::model::Cluster {
    let mut cluster = balanced("a", LbAlgorithm::peak_ewma());
    let mut detection = OutlierDetection::default();
    detection.max_ejection_percent = 60;
    cluster.outlier_detection = Some(detection);
    cluster
}

#[test]
fn load_latency_and_ejection_stay_with_the_address() {
    for after in ["1 2 3", "9 3 2 1", "3 1 8 2", "1*5 2-", "p1 2 | 1 7", "2 7"] {
        let mut world = World::with(watched(), "1 2 3");
        let _attempts = [attempt(&world, 2), attempt(&world, 2)];
        assert!(world.answer(2, 503, 5));
        world.updater.handle_attention(at(5), &mut world.random.clone());
        let before = world.endpoint(2);
        let known = learnt(&before);
        assert_eq!((known.1, known.2), (2, true));

        let mut update = config([(watched(), Some(after))]);
        let cluster = Arc::make_mut(&mut update.clusters.get_mut("a").unwrap().cluster);
        cluster.circuit_breakers.default.max_requests = 7;
        world.apply(update, 10).unwrap();
        let now = world.endpoint(2);
        assert!(Arc::ptr_eq(&before, &now), "{after}");
        assert_eq!(learnt(&now), known, "{after}");
        assert!(world.members().contains("2#2!"), "{after}: {}", world.members());
    }
}

#[test]
fn who_is_new_is_available_from_now_on() {
    let mut world = World::with(cluster("a"), "1");
    world.endpoints("1 2", 70);
    assert_eq!(world.endpoint(1).available_since(), at(0));
    assert_eq!(world.endpoint(2).available_since(), at(70));
    // Gone and back is new.
    world.endpoints("2", 80);
    world.endpoints("1 2", 90);
    assert_eq!(world.endpoint(1).available_since(), at(90));
    assert_eq!(world.members(), "1#3 2#2");
}

#[test]
fn a_cluster_keeps_its_slot_breaker_budget_and_turn() {
    let mut world = World::with(cluster("a"), "1 2 3");
    let attempt = attempt(&world, 1);
    let before = world.cluster("a");
    for _ in 0..5 {
        before.budget().deposit();
    }
    let turns = [world.pick(0), world.pick(0)];

    let mut changed = cluster("a");
    changed.circuit_breakers.default.max_requests = 1;
    changed.retry_budget.min_per_second = 0;
    world.apply(config([(cluster("0"), Some("9")), (changed, Some("1 2 3"))]), 1).unwrap();
    let now = world.cluster("a");
    assert!(Arc::ptr_eq(&before, &now));
    assert_eq!((now.slot(), now.active()), (0, 1));
    assert!(now.breaker().try_acquire(REQUESTS.0, REQUESTS.1).is_err(), "the lowered limit");
    assert_eq!(now.policy().cluster.circuit_breakers.default.max_requests, 1);
    assert_eq!([now.budget().withdraw(at(1)), now.budget().withdraw(at(1))], [true, false]);
    assert_eq!(world.pick(1), 6 - turns[0] - turns[1], "round robin goes on");
    assert_eq!(world.cluster("0").slot(), 1);
    drop(attempt);
    assert_eq!(now.active(), 0);
}

#[test]
fn a_slot_is_given_again_only_after_its_cluster_is_gone() {
    let mut world = World::new();
    let names = |names: &[&str]| config(names.iter().map(|name| (cluster(name), Some("1"))));
    let slot = |world: &World, name| world.cluster(name).slot();
    world.apply(names(&["a", "b"]), 0).unwrap();
    // `b` goes as `c` comes: never both in one place.
    world.apply(names(&["a", "c"]), 1).unwrap();
    assert_eq!((slot(&world, "a"), slot(&world, "c")), (0, 2));
    world.updater.free_retired();
    world.apply(names(&["a", "c", "d"]), 2).unwrap();
    assert_eq!(slot(&world, "d"), 1);
    // A name that comes back while calls hold its cluster is that cluster.
    let old = world.cluster("d");
    world.apply(names(&["a", "c"]), 3).unwrap();
    world.updater.free_retired();
    world.apply(names(&["a", "c", "d"]), 4).unwrap();
    assert!(Arc::ptr_eq(&old, &world.cluster("d")));
    // Later it is another one.
    let is_gone = Arc::downgrade(&old);
    drop(old);
    world.apply(names(&["a", "c"]), 5).unwrap();
    world.updater.free_retired();
    world.apply(names(&["a", "c", "d"]), 6).unwrap();
    assert!(is_gone.upgrade().is_none());
}

#[test]
fn calls_finish_with_a_cluster_that_was_removed() {
    let mut world = World::with(cluster("a"), "1 2");
    let held = world.cluster("a");
    world.log();
    world.apply(config([]), 1).unwrap();
    world.updater.free_retired();
    let request = PickRequest { now: at(1), hash: None, previous: &[], max_reselect: 5 };
    let mut random = world.random.clone();
    let picked = |random: &mut _| {
        let picker = held.picker();
        matches!(picker.pick(&held, request, random), Picked::Endpoint(..))
    };
    assert!(picked(&mut random), "a retry finds its endpoints");
    assert_eq!(world.log(), ["2 a picker"]);
    // Nobody has to publish anything for its end.
    let (due, why) = world.updater.poll_timeout().unwrap();
    assert_eq!((due, why), (at(101), "leaving clusters"));
    world.updater.handle_timeout(due, &mut random);
    assert!(picked(&mut random) && world.log().is_empty());
    drop(held);
    let (due, _) = world.updater.poll_timeout().unwrap();
    world.updater.handle_timeout(due, &mut random);
    assert_eq!(world.log(), ["2 a picker", "2 a1 gone", "2 a2 gone", "2 a gone"]);
    assert_eq!(world.updater.poll_timeout(), None);
}

#[test]
fn an_attempt_outlives_its_endpoint_and_its_cluster() {
    let mut world = World::with(cluster("a"), "1 2");
    let attempt = attempt(&world, 1);
    let (cluster, endpoint) = (world.cluster("a"), world.endpoint(1));
    world.endpoints("2", 1);
    assert_eq!((endpoint.active(), cluster.active()), (1, 1));
    world.apply(config([]), 2).unwrap();
    assert_eq!(attempt.endpoint().address(), &address(1));
    drop(attempt);
    assert_eq!((endpoint.active(), cluster.active()), (0, 0));
}

#[test]
fn places_follow_the_assignment() {
    let world = World::with(cluster("a"), "1 2*3 | | p1 3-");
    let cluster = world.cluster("a");
    let picker = cluster.picker();
    let set = picker.set();
    assert_eq!((set.len(), **set.assignment() == assignment("1 2*3 | | p1 3-")), (3, true));
    let weight = |index| set.configured(index).map(|endpoint| endpoint.weight);
    assert_eq!([weight(0), weight(1), weight(2), weight(3)], [Some(1), Some(3), Some(1), None]);
    let zone = |index| set.locality(index).map(|locality| locality.zone.to_string());
    assert_eq!(
        [zone(0), zone(1), zone(2), zone(3)].map(Option::unwrap_or_default),
        ["0", "0", "2", ""]
    );
    let attached = |index| set.attached_locality(index).map(String::as_str);
    assert_eq!([attached(1), attached(2), attached(3)], [Some("a/0"), Some("a/2"), None]);
}

/// Otherwise all processes of a fleet that starts would call the same endpoint first.
#[test]
fn round_robin_begins_elsewhere_for_each_seed_and_cluster() {
    let first = |seed, name: &str| {
        let (mut updater, mesh) = Updater::seeded((), seed);
        updater.apply(config([(cluster(name), Some("1 2 3 4 5 6 7 8"))]), at(0)).unwrap();
        let cluster = Arc::clone(mesh.snapshot().cluster(name).unwrap());
        let request = PickRequest { now: at(0), hash: None, previous: &[], max_reselect: 5 };
        match cluster.picker().pick(&cluster, request, SplitMix64::new(1)) {
            Picked::Endpoint(index, _) => index,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(first(0, "a"), 0, "without a seed");
    let seeds: BTreeSet<_> = (1..100).map(|seed| first(seed, "a")).collect();
    let names: BTreeSet<_> = (0..100).map(|number| first(7, &format!("c{number}"))).collect();
    assert_eq!((seeds.len(), names.len()), (8, 8));
    assert_eq!(first(7, "a"), first(7, "a"));
}
