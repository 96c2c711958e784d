//! Hops behind each other: each server is a client of the next hop, and the last one fails.
//!
//! `cargo test -p mesh-core --test it chain -- --nocapture` prints the amplification of each case.

use super::network::Behaviour;
use super::setting::{address, endpoints, mesh_of, retries};
use super::world::{Happening, World};
use mesh_core::Timestamp;
use mesh_core::model::Cluster;
use mesh_core::model::cluster::{RetryBudgetPolicy, RetryConcurrency};
use mesh_core::random::SplitMix64;
use std::sync::Arc;
use std::time::Duration;

/// A chain and its load.
#[derive(Clone, Debug)]
struct Chain {
    hops: usize,
    budget: RetryBudgetPolicy,
    /// Servers tell the hop above when the hop below is exhausted.
    announces: bool,
    /// Percent of the last servers' answers that are 503.
    failing: u64,
    calls_per_second: u64,
    seconds: u64,
}

/// What became of the load.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Attempts that reached the last servers, for each call of the first clients.
    amplification: f64,
    /// Part of the first clients' calls that succeeded.
    succeeded: f64,
}

const RETRIES: u32 = 3;

fn tokens_only() -> RetryBudgetPolicy {
    let mut budget = RetryBudgetPolicy::default();
    budget.min_per_second = 0;
    budget
}

impl Chain {
    fn new(hops: usize) -> Self {
        Self {
            hops,
            budget: tokens_only(),
            announces: false,
            failing: 100,
            calls_per_second: 200,
            seconds: 15,
        }
    }

    fn run(&self) -> Load {
        let mut world = World::new(self.hops, SplitMix64::new(1));
        world.announces = self.announces;
        for hop in 0..self.hops {
            let mut cluster = Cluster::new("a");
            cluster.retry_budget = self.budget;
            cluster.circuit_breakers.default.max_requests = u32::MAX;
            let policy = Arc::new(retries(RETRIES, Duration::from_millis(1)));
            world.apply(
                hop,
                mesh_of(cluster, endpoints(1..=5), |action| {
                    action.retry_policy = Some(policy);
                    action.timeout = Duration::from_secs(3600);
                }),
            );
        }
        for port in 1..=5 {
            let last = &mut world.hops[self.hops - 1].network;
            last.set_latency(&address(port), Duration::from_millis(2));
            last.set(&address(port), Behaviour::Erroring(self.failing));
        }
        let calls = self.calls_per_second * self.seconds;
        for call in 0..calls {
            let at = Timestamp::from_nanos(call * 1_000_000_000 / self.calls_per_second);
            world.clock.plan(at, Happening::Call("a".into()));
        }
        assert!(!world.run_to_step());
        world.is_quiet();
        self.check(&world);
        let succeeded = world.ended.iter().filter(|(_, well)| *well).count();
        assert_eq!(world.ended.len() as u64, calls);
        Load {
            amplification: world.hops[self.hops - 1].network.arrived as f64 / calls as f64,
            succeeded: succeeded as f64 / calls as f64,
        }
    }

    /// Each hop keeps within its budget.
    fn check(&self, world: &World) {
        if !self.budget.enabled {
            return;
        }
        // Timers of calls that ended go on longer.
        let last = world.ended.last().map_or(Timestamp::ZERO, |(at, _)| *at);
        let seconds = last.as_nanos() as f64 / 1e9;
        for hop in &world.hops {
            let tally = hop.total();
            let reserve = f64::from(self.budget.min_per_second) * (seconds + 1.0);
            let most = self.budget.ratio * tally.calls as f64 + reserve;
            assert!(tally.retries as f64 <= most, "{tally:?}: more than {most}");
        }
    }
}

#[test]
fn an_outage_grows_by_a_fifth_per_hop_at_most() {
    for hops in 1..=5 {
        let load = Chain::new(hops).run();
        let most = 1.2_f64.powi(hops as i32);
        println!("{hops} hops, all failing, budget: {:.2} (at most {most:.2})", load.amplification);
        assert!(load.amplification <= most + 1e-9, "{hops} hops: {load:?}");
        assert!(load.succeeded < f64::EPSILON);
        // The budget is used, too.
        assert!(load.amplification > 0.9 * most, "{hops} hops: {load:?}");
    }
}

#[test]
fn only_the_hop_nearest_to_a_failure_tries_again_when_hops_tell() {
    for hops in 1..=5 {
        let mut chain = Chain::new(hops);
        chain.announces = true;
        let load = chain.run();
        println!("{hops} hops, all failing, budget, told: {:.2}", load.amplification);
        assert!(load.amplification <= 1.2 + 1e-9, "{hops} hops: {load:?}");
    }
}

#[test]
fn without_a_budget_an_outage_grows_fourfold_per_hop() {
    for hops in 1..=4 {
        let mut chain = Chain::new(hops);
        chain.budget.enabled = false;
        (chain.calls_per_second, chain.seconds) = (20, 5);
        let load = chain.run();
        println!("{hops} hops, all failing, no budget: {:.0}", load.amplification);
        assert!((load.amplification - 4_f64.powi(hops as i32)).abs() < 1e-9, "{load:?}");
    }
}

#[test]
fn a_partial_failure_is_hidden_at_little_cost() {
    for (failing, least) in [(5, 0.999), (10, 0.995), (30, 0.8)] {
        for announces in [false, true] {
            let mut chain = Chain::new(3);
            (chain.failing, chain.announces) = (failing, announces);
            let Load { amplification, succeeded } = chain.run();
            println!(
                "3 hops, {failing} % failing, told: {announces}: {amplification:.2}, {succeeded:.4} succeed"
            );
            assert!(succeeded >= if announces { least - 0.1 } else { least }, "{succeeded}");
            assert!(amplification <= 1.2_f64.powi(3));
        }
    }
}

#[test]
fn the_reserve_costs_what_it_says() {
    let mut chain = Chain::new(3);
    chain.budget = RetryBudgetPolicy::default();
    let load = chain.run();
    println!("3 hops, all failing, default budget at 200/s: {:.2}", load.amplification);
    // 10 retries per second beside 200 calls: a twentieth more at each hop.
    assert!(load.amplification <= (1.2 + 0.06_f64).powi(3), "{load:?}");
}

#[test]
fn a_share_of_the_calls_in_flight_alone_is_no_bound() {
    // Envoy's `retry_budget`: fast failures are never many at the same time.
    let mut chain = Chain::new(1);
    chain.budget.ratio = f64::MAX;
    chain.budget.concurrency = Some(RetryConcurrency::default());
    chain.calls_per_second = 1_000;
    chain.seconds = 5;
    let load = chain.run();
    println!("1 hop, all failing, 20 % in flight: {:.2}", load.amplification);
    assert!(load.amplification > 1.5, "{load:?}");
}
