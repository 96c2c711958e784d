//! What is told of ejections, panic and overflow.

use super::fixture::{World, assignment, at, cluster, config};
use crate::breaker::Resource;
use crate::event::Event;
use crate::model::{Cluster, OutlierDetection, RoutingPriority};
use crate::state::{Applied, Turn};
use std::sync::Arc;
use std::time::Duration;

/// All but one may go.
fn watched(panic_threshold: u32) -> Cluster {
    let mut cluster = cluster("a");
    let mut detection = OutlierDetection::default();
    detection.max_ejection_percent = 99;
    detection.base_ejection_time = Duration::from_secs(1);
    cluster.outlier_detection = Some(detection);
    cluster.lb_policy.panic_threshold = panic_threshold;
    cluster
}

/// Each with its cluster.
fn texts(turn: &Turn) -> Vec<String> {
    assert_eq!(turn.suppressed, [], "few events");
    turn.events.iter().map(|(cluster, event)| format!("{cluster}: {event}")).collect()
}

fn codes(turn: &Turn) -> Vec<&'static str> {
    turn.events.iter().map(|(_, event)| event.code()).collect()
}

fn eject(world: &mut World, ports: &[u16], millis: u64) -> Turn {
    for port in ports {
        let _woken = world.answer(*port, 500, 5);
    }
    world.updater.handle_attention(at(millis), &mut world.random)
}

#[test]
fn panic_is_told_when_it_begins_and_when_it_ends() {
    let mut world = World::with(watched(50), "1 2 3 4");
    assert_eq!(codes(&eject(&mut world, &[1, 2], 0)), ["outlier_ejected", "outlier_ejected"]);
    let turn = eject(&mut world, &[3], 10);
    assert_eq!(codes(&turn), ["outlier_ejected", "panic_entered"]);
    let panic = "a: panic: 1 of 4 endpoints of priority 0 are healthy, threshold 50%, so calls go to \
                 all endpoints, whatever their health";
    assert_eq!(texts(&turn)[1], panic);
    // Once: the next picker is in panic as the last was.
    assert_eq!(codes(&world.endpoints("1 2 3 4 5-", 20).happened), [""; 0]);
    let turn = world.updater.handle_timeout(at(10_000), &mut world.random);
    assert_eq!(codes(&turn).last(), Some(&"panic_left"));
}

#[test]
fn a_configuration_can_begin_and_end_panic() {
    let mut world = World::new();
    let apply = |world: &mut World, endpoints, millis| {
        let update = config([(cluster("a"), Some(endpoints))]);
        codes(&world.apply(update, millis).unwrap().happened)
    };
    assert_eq!(apply(&mut world, "1 2- 3-", 0), ["panic_entered"], "at first sight");
    assert_eq!(apply(&mut world, "1 2- 3", 1), ["panic_left"]);
    assert_eq!(apply(&mut world, "1 2- 3 | p1 4-", 2), ["panic_entered"], "of the other");
    assert_eq!(apply(&mut world, "1- 2- 3 | p1 4-", 3), ["panic_entered"]);
}

#[test]
fn a_full_circuit_breaker_is_told_once_while_it_refuses() {
    let mut cluster = cluster("a");
    cluster.circuit_breakers.default.max_requests = 1;
    let mut world = World::with(cluster, "1");
    let live = world.cluster("a");
    let acquire = || live.breaker().try_acquire(RoutingPriority::Default, Resource::Requests);
    acquire().unwrap();
    assert_eq!(codes(&world.updater.handle_attention(at(0), &mut world.random)), [""; 0]);
    for _ in 0..10 {
        acquire().unwrap_err();
    }
    let turn = world.updater.handle_attention(at(1), &mut world.random);
    assert_eq!(texts(&turn), ["a: circuit breaker is full: max_requests is 1, in use 1"]);
    let Event::Overflow { value: 1, threshold: 1, .. } = &turn.events[0].1 else {
        panic!("{turn:?}");
    };
    acquire().unwrap_err();
    assert_eq!(codes(&world.updater.handle_attention(at(2), &mut world.random)), [""; 0]);
    // It is looked at until it refuses nobody for a second.
    assert_eq!(world.updater.poll_timeout().map(|(due, _)| due), Some(at(1001)));
    assert_eq!(codes(&world.updater.handle_timeout(at(1001), &mut world.random)), [""; 0]);
    assert_eq!(codes(&world.updater.handle_timeout(at(2001), &mut world.random)), [""; 0]);
    assert_eq!(world.updater.poll_timeout(), None);
    acquire().unwrap_err();
    let turn = world.updater.handle_attention(at(3000), &mut world.random);
    assert_eq!(codes(&turn), ["breaker_overflow"]);
    // Watching goes on over a change of the endpoints.
    world.endpoints("1 2", 3100);
    assert_eq!(world.updater.poll_timeout().map(|(due, _)| due), Some(at(4000)));
}

/// One is ejected while there is another, and then the other goes.
#[track_caller]
fn check_kept(max_percent: u32, after: &str, expected: &[&str], members: &str) {
    let mut cluster = watched(0);
    cluster.outlier_detection.as_mut().unwrap().max_ejection_percent = max_percent;
    let mut world = World::with(cluster, "1 2 3");
    eject(&mut world, &[2], 5);
    eject(&mut world, &[1], 10);
    assert_eq!(world.members(), "1#1! 2#2! 3#3");
    let applied: Applied = world.endpoints(after, 100);
    assert_eq!(
        (texts(&applied.happened), world.members()),
        (expected.iter().map(|text| (*text).to_owned()).collect(), members.to_owned(),)
    );
}

#[test]
fn a_change_of_membership_or_health_never_leaves_nobody_in_silence() {
    let back = "a: 10.0.0.1:2 takes calls again after 0.095s: no other endpoint does any more";
    check_kept(99, "1 2", &[back], "1#1! 2#2");
    check_kept(99, "1 2 3-", &[back], "1#1! 2#2 3#3");
    // The longest out is unhealthy, too.
    let back = "a: 10.0.0.1:1 takes calls again after 0.090s: no other endpoint does any more";
    check_kept(99, "1 2- 3-", &[back], "1#1 2#2! 3#3");
    check_kept(99, "1 2 4", &[], "1#1! 2#2! 4#4");
    // The configuration says that nobody may be left.
    check_kept(100, "1 2", &[], "1#1! 2#2!");
}

#[test]
fn an_address_that_is_listed_twice_is_one_outlier() {
    let mut world = World::with(watched(0), "1 1 2-");
    let turn = eject(&mut world, &[1], 0);
    assert_eq!(codes(&turn), ["outlier_refused_as_last"]);
    assert!(texts(&turn)[0].contains("no other of 2 takes calls"), "{:?}", texts(&turn));
    world.endpoints("1 1- 2 2", 10);
    assert_eq!(codes(&eject(&mut world, &[1], 20)), ["outlier_ejected"]);
    assert_eq!(world.members(), "1#1! 1#1! 2#2 2#2");
    assert!((0..20).all(|_| world.pick(20) == 2));
    let set = world.cluster("a").picker().set().assignment().clone();
    assert_eq!(*set, assignment("1 1- 2 2"));
}

#[test]
fn ejections_follow_their_endpoints_to_other_places() {
    for (after, members) in [
        ("9 1 2 3", "9#4 1#1 2#2! 3#3"),
        ("2 3", "2#2! 3#3"),
        ("1 2 9 3", "1#1 2#2! 9#4 3#3"),
        ("3 2 1", "3#3 2#2! 1#1"),
        ("1 2*2 3", "1#1 2#2! 3#3"),
        ("1 | 2 3", "1#1 2#2! 3#3"),
    ] {
        let mut world = World::with(watched(0), "1 2 3");
        eject(&mut world, &[2], 0);
        world.endpoints(after, 1);
        assert_eq!(world.members(), members, "{after}");
        assert!((0..20).all(|_| world.pick(2) != 2), "{after}");
        let updater = &world.updater;
        let bits = crate::state::prepare::ejected_bits(&updater.entries["a"].set);
        assert_eq!(bits, updater.entries["a"].ejected, "{after}");
    }
}

#[test]
fn removed_endpoints_that_still_serve_are_drained_too() {
    let mut world = World::with(cluster("a"), "1 2");
    let held = world.endpoint(1);
    world.endpoints("2", 1);
    world.updater.free_retired();
    let mut drained: Vec<_> =
        world.updater.shut_down().iter().map(|endpoint| endpoint.id().as_u64()).collect();
    drained.sort_unstable();
    assert_eq!(drained, [1, 2]);
    drop(held);
    let live = world.updater.shut_down();
    assert!(live.is_empty());
    assert!(Arc::strong_count(&world.mesh.snapshot()) >= 1);
}
