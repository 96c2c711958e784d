//! Shares: who gets how much of the traffic.

use super::network::Behaviour;
use super::setting::{address, endpoints, mesh_of};
use super::world::{Happening, World};
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, LbAlgorithm, LbPolicy, OutlierDetection, SlowStart,
};
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
fn an_endpoint_that_fails_fast_draws_no_more_calls_than_its_draws() {
    for (algorithm, most) in [
        // Fewest in flight is what one that fails at once always has: it wins whenever it is drawn, and
        // of two draws with replacement from ten, 1 − (9/10)² are its own. 5 sigma of 4,000 picks.
        (LbAlgorithm::least_request(), 0.19 + 5.0 * (0.19f64 * 0.81 / 4000.0).sqrt()),
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

/// One of ten comes 100 s late, with slow start over 50 s and a weight of 3: window by window it gets
/// w · f / Σ (w · f), with f = max(10 %, (age / window)^(1 / aggression)).
#[test]
fn slow_start_ramps() {
    const PER_SECOND: u64 = 4_000;
    const WINDOW: f64 = 50.0;
    let algorithms = [LbAlgorithm::RoundRobin, LbAlgorithm::Random, LbAlgorithm::least_request()];
    for (algorithm, aggression) in algorithms.into_iter().zip([1.0, 2.0, 1.0]) {
        let mut cluster = cluster(algorithm.clone());
        let mut slow_start = SlowStart::new(Duration::from_secs_f64(WINDOW));
        slow_start.aggression = aggression;
        cluster.lb_policy.slow_start = Some(slow_start);
        let mut world = World::new(1, SplitMix64::new(3));
        let weighted = |ports| {
            let mut assignment = ClusterLoadAssignment::clone(&endpoints(1..=ports));
            let locality = Arc::make_mut(&mut assignment.localities[0]);
            locality.endpoints[..].iter_mut().skip(9).for_each(|endpoint| endpoint.weight = 3);
            Arc::new(assignment)
        };
        world.apply(0, mesh_of(cluster.clone(), weighted(9), |_| {}));
        for port in 1..=10 {
            // Nothing is in flight when the next call comes, so load plays no part.
            world.hops[0].network.set_latency(&address(port), Duration::from_micros(2));
        }
        world.clock.plan(Timestamp::from_millis(100 * SECOND), Happening::Step);
        assert!(world.run_to_step());
        world.apply(0, mesh_of(cluster, weighted(10), |_| {}));
        for (from, to) in [(100, 106), (120, 126), (144, 150), (155, 161)] {
            calls(&mut world, PER_SECOND, (from, to));
            let (mut expected, mut variance, mut picks) = (0.0, 0.0, 0u32);
            let mut here = 0u32;
            let start = Timestamp::from_millis(from * SECOND);
            for (at, picked) in world.picks.iter().filter(|(at, _)| *at >= start) {
                let age = (at.as_nanos() as f64 / 1e9 - 100.0).max(1e-3);
                let factor = (age / WINDOW).powf(1.0 / aggression).clamp(0.1, 1.0);
                let share = 3.0 * factor / (9.0 + 3.0 * factor);
                (expected, variance) = (expected + share, variance + share * (1.0 - share));
                here += u32::from(*picked == address(10));
                picks += 1;
            }
            assert!(picks >= 20_000, "{picks} picks");
            let off = (f64::from(here) - expected).abs();
            let bound = 5.0 * variance.sqrt();
            assert!(off <= bound, "{algorithm:?} {from}: {here} of {picks}, expected {expected}");
        }
    }
}
