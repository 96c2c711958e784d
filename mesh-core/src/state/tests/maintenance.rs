//! Ejections, their ends, and what they publish.

use super::fixture::{World, at, cluster, config};
use crate::event::Event;
use crate::model::{Cluster, LbAlgorithm, LbPolicy, OutlierDetection, SlowStart};
use std::time::Duration;

/// Two of four may go, for 1 s; sweeps every 10 s.
fn watched() -> Cluster {
    let mut cluster = cluster("a");
    let mut detection = OutlierDetection::default();
    detection.max_ejection_percent = 50;
    detection.base_ejection_time = Duration::from_secs(1);
    cluster.outlier_detection = Some(detection);
    cluster.lb_policy.slow_start = Some(SlowStart::new(Duration::from_secs(10)));
    cluster
}

fn attention(world: &mut World, millis: u64) -> Vec<&'static str> {
    let turn = world.updater.handle_attention(at(millis), &mut world.random);
    turn.events.iter().map(|(_, event)| event.code()).collect()
}

fn timeout(world: &mut World, millis: u64) -> Vec<&'static str> {
    let turn = world.updater.handle_timeout(at(millis), &mut world.random);
    turn.events.iter().map(|(_, event)| event.code()).collect()
}

#[test]
fn a_threshold_asks_for_attention_once_and_publishes_once() {
    let mut world = World::with(watched(), "1 2 3 4");
    assert!(!world.answer(2, 500, 4));
    assert!(world.answer(2, 500, 1), "the fifth wakes the driver");
    assert!(!world.answer(3, 500, 5), "it is awake");
    assert_eq!(world.log(), [""; 0], "calls publish nothing");
    assert_eq!(attention(&mut world, 1).len(), 2);
    assert_eq!(world.log(), ["1 a picker"], "one for both");
    assert_eq!(world.members(), "1#1 2#2! 3#3! 4#4");
    let picked: std::collections::BTreeSet<_> = (0..20).map(|_| world.pick(1)).collect();
    assert_eq!(picked, [1, 4].into());
    assert_eq!(attention(&mut world, 2), [""; 0]);
    assert_eq!(world.log(), [""; 0]);
}

#[test]
fn a_refused_ejection_publishes_nothing() {
    let mut world = World::with(watched(), "1");
    assert!(world.answer(1, 500, 5));
    let turn = world.updater.handle_attention(at(1), &mut world.random);
    assert!(matches!(&turn.events[..], [(name, Event::Outlier { .. })] if **name == *"a"));
    assert_eq!((world.log(), world.members()), (Vec::new(), "1#1".to_owned()));
}

#[test]
fn the_sweep_brings_back_and_slow_start_begins_anew() {
    let mut world = World::with(watched(), "1 2 3 4");
    assert!(world.answer(2, 500, 5));
    attention(&mut world, 100);
    assert_eq!(world.endpoint(2).available_since(), at(0));
    assert_eq!(world.updater.poll_timeout().map(|(due, _)| due), Some(at(10_000)));
    assert_eq!(timeout(&mut world, 9_999), [""; 0]);
    assert!(world.members().contains("2#2!"));
    world.log();
    assert_eq!(timeout(&mut world, 10_000).len(), 1);
    assert_eq!(
        (world.members(), world.log()),
        ("1#1 2#2 3#3 4#4".into(), vec!["1 a picker".into()])
    );
    assert_eq!(world.endpoint(2).available_since(), at(10_000));
    assert_eq!(world.endpoint(1).available_since(), at(0));
}

#[test]
fn switched_off_everybody_is_back_and_slow_start_begins_anew() {
    let mut world = World::with(watched(), "1 2 3 4");
    assert!(world.answer(2, 500, 5));
    attention(&mut world, 1);
    let mut unwatched = watched();
    unwatched.outlier_detection = None;
    let applied = world.apply(config([(unwatched, Some("1 2 3 4"))]), 50).unwrap();
    assert_eq!((applied.happened.events.len(), world.members()), (1, "1#1 2#2 3#3 4#4".into()));
    assert_eq!(world.endpoint(2).available_since(), at(50));
    assert_eq!(world.updater.poll_timeout(), None);
    assert!(!world.answer(2, 500, 50), "nothing is counted");
}

#[test]
fn a_changed_configuration_keeps_the_phase_of_the_sweep() {
    // gRFC A50, "Outlier Detection Behavior".
    let mut world = World::with(watched(), "1 2 3 4");
    world.endpoints("1 2 3 4 5", 3_000);
    assert_eq!(world.updater.poll_timeout().map(|(due, _)| due), Some(at(10_000)));
    let mut faster = watched();
    let detection = faster.outlier_detection.as_mut().unwrap();
    detection.interval = Duration::from_secs(4);
    world.apply(config([(faster, Some("1 2 3 4"))]), 3_500).unwrap();
    assert_eq!(world.updater.poll_timeout().map(|(due, _)| due), Some(at(4_000)));
}

#[test]
fn attention_of_a_cluster_that_is_gone_is_harmless() {
    let mut world = World::with(watched(), "1 2 3 4");
    assert!(world.answer(2, 500, 5));
    world.apply(config([]), 1).unwrap();
    assert_eq!(attention(&mut world, 2), [""; 0]);
}

/// A call path that finds nothing to do for a cluster does not ask again for each call: it must be told.
#[test]
fn switched_on_while_calls_run_outcomes_count_and_latency_is_measured() {
    const DECAY: Duration = Duration::from_secs(10);
    let mut world = World::with(cluster("a"), "1 2 3 4");
    let rtt = Duration::from_millis(30);
    let estimate = |world: &World| world.endpoint(2).ewma().estimate(at(0), DECAY, (rtt, at(0)));
    let unmeasured = estimate(&world);
    assert!(!world.answer(2, 500, 50), "nothing is counted");
    assert_eq!(estimate(&world).to_bits(), unmeasured.to_bits());
    let mut measured = watched();
    let algorithm = LbAlgorithm::PeakEwma {
        decay: DECAY,
        default_rtt: rtt,
        failure_penalty: Duration::from_secs(1),
    };
    measured.lb_policy = LbPolicy::new(algorithm);
    world.apply(config([(measured, Some("1 2 3 4"))]), 1).unwrap();
    assert!(world.answer(2, 500, 5), "the fifth wakes the driver");
    assert!(estimate(&world) > 10.0 * unmeasured, "a failure is a second");
}
