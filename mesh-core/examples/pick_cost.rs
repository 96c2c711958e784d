//! What one pick costs, and building what it reads: `pick_cost ALGORITHM [ENDPOINTS] [PICKS] [unequal]`.
//!
//! ALGORITHM: `rr`, `random`, `lr`, `ewma`, `ring` or `maglev`. `unequal` gives weights from 1 to 5.
//! One thread, nothing else running; under callgrind, give few picks and compare instructions.

#![expect(clippy::print_stdout, reason = "it is a program")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a measurement reads the clock"
)]

use mesh_core::lb::{
    Balancer, EjectedBits, EndpointId, Loads, PeakEwma, PickContext, PickResult, Sequence,
};
use mesh_core::model::{Address, ClusterLoadAssignment, Endpoint, LbAlgorithm, LbPolicy};
use mesh_core::random::{Random, SplitMix64};
use mesh_core::time::Timestamp;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

struct Live {
    id: EndpointId,
    active: AtomicU32,
    ewma: PeakEwma,
}

struct Set(Vec<Live>);

impl Loads for Set {
    fn id(&self, index: u32) -> EndpointId {
        self.0[index as usize].id
    }
    fn active(&self, index: u32) -> u32 {
        self.0[index as usize].active.load(Ordering::Relaxed)
    }
    fn ewma(&self, index: u32) -> &PeakEwma {
        &self.0[index as usize].ewma
    }
    fn is_suspect(&self, _: u32) -> bool {
        false
    }
    fn available_since(&self, _: u32) -> Timestamp {
        Timestamp::ZERO
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |position: usize, default: &str| {
        arguments.get(position).cloned().unwrap_or_else(|| default.to_owned())
    };
    let name = argument(0, "rr");
    let endpoints: u32 = argument(1, "16").parse()?;
    let picks: u64 = argument(2, "10000000").parse()?;
    let unequal = argument(3, "") == "unequal";
    let Some(algorithm) = algorithm(&name, endpoints) else {
        return Err(format!("unknown algorithm `{name}`").into());
    };

    let assignment = ClusterLoadAssignment::of((0..endpoints).map(|number| {
        let [_, a, b, c] = number.to_be_bytes();
        let mut endpoint = Endpoint::new(Address::from(SocketAddr::from(([10, a, b, c], 80))));
        endpoint.weight = if unequal { 1 + number % 5 } else { 1 };
        endpoint
    }));
    let (policy, none) = (LbPolicy::new(algorithm), EjectedBits::default());
    let build = || Balancer::build(&policy, &assignment, &none, None, None);
    let balancer = build()?;
    // The least of a few, and the large tables only once or twice.
    let repeats = if name == "maglev" || name == "ring" { 2 } else { 50 };
    let (built, ()) = least_time(repeats, || build().map(drop).unwrap_or_default());
    let one: EjectedBits = [endpoints / 2].into_iter().collect();
    let (ejected, _) = least_time(repeats, || balancer.with_ejected(&one));
    println!("build {:.3} ms, with_ejected {:.3} ms", millis(built), millis(ejected));

    let live = |number| Live {
        id: EndpointId::new(number),
        active: AtomicU32::new(0),
        ewma: PeakEwma::default(),
    };
    let set = Set((0..u64::from(endpoints)).map(live).collect());
    let (sequence, mut random) = (Sequence::default(), SplitMix64::new(1));
    let run = || {
        let mut sum = 0u64;
        for _ in 0..picks {
            let hash = Some(random.next_u64());
            let mut cx = PickContext {
                now: Timestamp::from_millis(60_000),
                random: &mut random,
                hash,
                previous: &[],
                max_reselect: 3,
                total_active: 0,
                sequence: &sequence,
            };
            if let PickResult::Endpoint(index) = balancer.pick(&mut cx, &set) {
                sum += u64::from(index);
            }
        }
        sum
    };
    let (elapsed, sum) = least_time(1, run);
    let nanos = elapsed.as_secs_f64() * 1e9 / picks as f64;
    println!("{name}, {endpoints} endpoints: {nanos:.1} ns per pick (sum {sum})");
    Ok(())
}

fn algorithm(name: &str, endpoints: u32) -> Option<LbAlgorithm> {
    Some(match name {
        "rr" => LbAlgorithm::RoundRobin,
        "random" => LbAlgorithm::Random,
        "lr" => LbAlgorithm::least_request(),
        "ewma" => LbAlgorithm::peak_ewma(),
        // Ten points for each endpoint.
        "ring" => LbAlgorithm::RingHash {
            minimum_ring_size: 1024.max(endpoints * 10),
            maximum_ring_size: 8_388_608,
            hash_balance_factor: None,
        },
        "maglev" => LbAlgorithm::Maglev {
            table_size: if endpoints > 10_000 { 5_000_011 } else { 65_537 },
            hash_balance_factor: None,
        },
        _ => return None,
    })
}

fn least_time<T>(times: u32, mut run: impl FnMut() -> T) -> (Duration, T) {
    let mut timed = || {
        let start = Instant::now();
        let value = run();
        (start.elapsed(), value)
    };
    let mut best = timed();
    for _ in 1..times {
        let next = timed();
        if next.0 < best.0 {
            best = next;
        }
    }
    best
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
