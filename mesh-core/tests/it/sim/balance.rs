//! Shares: who gets how much of the traffic.

use super::network::Behaviour;
use super::setting::{address, endpoints, mesh_of};
use super::world::{Happening, World};
use mesh_core::model::{Cluster, LbAlgorithm, LbPolicy, OutlierDetection};
use mesh_core::random::SplitMix64;
use mesh_core::{ConfigUpdate, Timestamp};
use std::sync::Arc;
use std::time::Duration;

const SECOND: u64 = 1_000;

fn cluster(algorithm: LbAlgorithm) -> Cluster {
    let mut cluster = Cluster::new("a");
    cluster.lb_policy = LbPolicy::new(algorithm);
    cluster
}

fn config(cluster: Cluster, ports: u16) -> ConfigUpdate {
    mesh_of(cluster, endpoints(1..=ports), |_| {})
}

/// Ten servers of about 20 ms.
fn world(cluster: Cluster) -> World {
    let mut world = World::new(1, SplitMix64::new(1));
    world.apply(0, config(cluster, 10));
    for port in 1..=10 {
        world.hops[0].network.set_latency(&address(port), Duration::from_millis(20));
    }
    world
}

/// Calls at a steady rate from one second to another; then what is in progress ends.
fn calls(world: &mut World, per_second: u64, (from, to): (u64, u64)) {
    for call in 0..per_second * (to - from) {
        let at = Timestamp::from_nanos((from * per_second + call) * 1_000_000_000 / per_second);
        world.clock.plan(at, Happening::Call("a".into()));
    }
    world.clock.plan(Timestamp::from_millis(to * SECOND), Happening::Step);
    assert!(world.run_to_step());
}

/// The part of the picks of some seconds that went to a port.
fn share(world: &World, port: u16, (from, to): (u64, u64)) -> f64 {
    let (from, to) = (Timestamp::from_millis(from * SECOND), Timestamp::from_millis(to * SECOND));
    let picks = || world.picks.iter().filter(|(at, _)| (from..to).contains(at));
    let here = picks().filter(|(_, picked)| *picked == address(port)).count();
    here as f64 / picks().count() as f64
}

#[test]
fn an_endpoint_that_fails_fast_draws_no_calls() {
    for (algorithm, most) in [
        // Fewest in flight is what one that fails at once always has; two draws bound it.
        (LbAlgorithm::least_request(), 2.0 / 10.0 + 0.02),
        (LbAlgorithm::peak_ewma(), 0.01),
    ] {
        let mut world = world(cluster(algorithm.clone()));
        world.hops[0].network.set(&address(3), Behaviour::Erroring(100));
        calls(&mut world, 400, (0, 10));
        let share = share(&world, 3, (0, 10));
        assert!(share <= most, "{algorithm:?}: {share}");
    }
}

#[test]
fn ejection_takes_the_fast_failures_away() {
    let mut cluster = cluster(LbAlgorithm::least_request());
    cluster.outlier_detection = Some(OutlierDetection::default());
    let mut world = world(cluster);
    world.hops[0].network.set(&address(3), Behaviour::Erroring(100));
    calls(&mut world, 400, (0, 10));
    let failed = world.ended.iter().filter(|(_, well)| !well).count();
    // Five in a row, and those in flight until the writer came.
    assert!((5..10).contains(&failed), "{failed}");
}

#[test]
fn a_slow_endpoint_gets_less() {
    for algorithm in [LbAlgorithm::least_request(), LbAlgorithm::peak_ewma()] {
        let mut world = world(cluster(algorithm.clone()));
        world.hops[0].network.set(&address(3), Behaviour::Slow(10));
        calls(&mut world, 400, (0, 10));
        let share = share(&world, 3, (1, 10));
        assert!(share < 0.06, "{algorithm:?}: {share}");
    }
}

#[test]
fn who_was_down_gets_its_share_again() {
    let mut world = world(cluster(LbAlgorithm::RoundRobin));
    calls(&mut world, 200, (0, 2));
    world.hops[0].network.set(&address(3), Behaviour::Down);
    calls(&mut world, 200, (2, 6));
    let down = share(&world, 3, (3, 6));
    assert!(down < 0.01, "{down}");
    assert_eq!(world.ended.iter().filter(|(_, well)| !well).count(), 0, "others took its calls");
    world.hops[0].network.set(&address(3), Behaviour::Well);
    calls(&mut world, 200, (6, 20));
    let well = share(&world, 3, (15, 20));
    assert!((0.08..0.12).contains(&well), "{well}");
}

#[test]
fn an_endpoint_that_hangs_is_found_by_timeouts() {
    let mut cluster = cluster(LbAlgorithm::RoundRobin);
    cluster.outlier_detection = Some(OutlierDetection::default());
    let mut world = world(cluster.clone());
    let mut policy = super::setting::retries(1, Duration::from_millis(1));
    policy.per_try_timeout = Some(Duration::from_millis(100));
    let policy = Arc::new(policy);
    let update = mesh_of(cluster, endpoints(1..=10), |action| action.retry_policy = Some(policy));
    world.apply(0, update);
    world.hops[0].network.set(&address(3), Behaviour::Hanging);
    calls(&mut world, 200, (0, 10));
    assert!(share(&world, 3, (1, 10)) < f64::EPSILON);
    assert_eq!(world.ended.iter().filter(|(_, well)| !well).count(), 0);
}
