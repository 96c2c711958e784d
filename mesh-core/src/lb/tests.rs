//! The balancer as a whole: what every algorithm must keep to, and how each shares the traffic out.
//!
//! Statistical bounds are 5 sigma of the binomial distribution unless said otherwise: with a fixed
//! seed they hold or they don't, and a change of the draws may fail one in a million.

use super::*;
use crate::model::{Address, Endpoint, HealthStatus, Locality, LocalityEndpoints, SlowStart};
use crate::random::{Random, SplitMix64};
use crate::time::Timestamp;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::time::Duration;

mod algorithms;
mod properties;
mod selection;

/// Loads that a test sets.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) active: Vec<u32>,
    pub(super) suspect: Vec<bool>,
    pub(super) ewma: Vec<PeakEwma>,
    pub(super) since: Vec<Timestamp>,
    pub(super) total_active: u64,
}

impl Fake {
    pub(super) fn new(len: usize) -> Self {
        Self {
            active: vec![0; len],
            suspect: vec![false; len],
            ewma: (0..len).map(|_| PeakEwma::default()).collect(),
            since: vec![Timestamp::ZERO; len],
            total_active: 0,
        }
    }
}

impl Loads for Fake {
    fn id(&self, index: u32) -> EndpointId {
        EndpointId::new(1000 + u64::from(index))
    }
    fn active(&self, index: u32) -> u32 {
        self.active[index as usize]
    }
    fn ewma(&self, index: u32) -> &PeakEwma {
        &self.ewma[index as usize]
    }
    fn is_suspect(&self, index: u32) -> bool {
        self.suspect[index as usize]
    }
    fn available_since(&self, index: u32) -> Timestamp {
        self.since[index as usize]
    }
}

/// A client that picks: its random numbers and its sequence.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) random: SplitMix64,
    pub(super) sequence: Sequence,
    pub(super) now: Timestamp,
    pub(super) hash: Option<u64>,
    pub(super) previous: Vec<EndpointId>,
}

impl Client {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: SplitMix64::new(seed),
            sequence: Sequence::default(),
            now: Timestamp::from_millis(1_000_000),
            hash: None,
            previous: Vec::new(),
        }
    }

    pub(super) fn try_pick(&mut self, balancer: &Balancer, loads: &Fake) -> PickResult {
        let mut cx = PickContext {
            now: self.now,
            random: &mut self.random,
            hash: self.hash,
            previous: &self.previous,
            max_reselect: 3,
            total_active: loads.total_active,
            sequence: &self.sequence,
        };
        balancer.pick(&mut cx, loads)
    }

    #[track_caller]
    pub(super) fn pick(&mut self, balancer: &Balancer, loads: &Fake) -> u32 {
        match self.try_pick(balancer, loads) {
            PickResult::Endpoint(index) => index,
            PickResult::Fail(counts) => panic!("nobody: {counts:?}"),
        }
    }

    #[track_caller]
    pub(super) fn counts(&mut self, picks: u32, balancer: &Balancer, loads: &Fake) -> Vec<u32> {
        let mut counts = vec![0; balancer.len() as usize];
        (0..picks).for_each(|_| counts[self.pick(balancer, loads) as usize] += 1);
        counts
    }
}

pub(super) fn pick_hash(balancer: &Balancer, loads: &Fake, hash: u64) -> Option<u32> {
    let mut client = Client::new(1);
    client.hash = Some(hash);
    match client.try_pick(balancer, loads) {
        PickResult::Endpoint(index) => Some(index),
        PickResult::Fail(_) => None,
    }
}

pub(super) fn policy(algorithm: LbAlgorithm) -> LbPolicy {
    LbPolicy::new(algorithm)
}

pub(super) fn ejected(indexes: &[u32]) -> EjectedBits {
    indexes.iter().copied().collect()
}

/// Endpoints in groups: `weight@priority: h h2 d u`, one group per locality; a letter for the health
/// (`h`ealthy, `d`egraded, `u`nhealthy, `t`imeout, draining `g`) and a weight, 1 if left out.
pub(super) fn assignment(groups: &[&str]) -> ClusterLoadAssignment {
    let mut assignment = ClusterLoadAssignment::default();
    let mut port = 1000u32;
    for group in groups {
        let (head, endpoints) = group.split_once(':').unwrap();
        let (weight, priority) = head.split_once('@').unwrap();
        let mut locality = LocalityEndpoints::new(Locality::default());
        locality.weight = weight.parse().unwrap();
        locality.priority = priority.parse().unwrap();
        for text in endpoints.split_whitespace() {
            port += 1;
            locality.endpoints.push(endpoint(port, text));
        }
        assignment.localities.push(Arc::new(locality));
    }
    assignment
}

fn endpoint(port: u32, text: &str) -> Endpoint {
    let address = SocketAddr::from(([10, 0, (port >> 16) as u8, (port >> 8) as u8], port as u16));
    let mut endpoint = Endpoint::new(Address::from(address));
    endpoint.health = match text.as_bytes()[0] {
        b'h' => HealthStatus::Healthy,
        b'd' => HealthStatus::Degraded,
        b'u' => HealthStatus::Unhealthy,
        b't' => HealthStatus::Timeout,
        b'g' => HealthStatus::Draining,
        other => panic!("{other}"),
    };
    if text.len() > 1 {
        endpoint.weight = text[1..].parse().unwrap();
    }
    endpoint
}

/// One locality of priority 0 with these weights.
pub(super) fn weighted(weights: &[u32]) -> ClusterLoadAssignment {
    let endpoints = weights.iter().zip(1..).map(|(weight, port)| {
        let mut endpoint = endpoint(port, "h");
        endpoint.weight = *weight;
        endpoint
    });
    ClusterLoadAssignment::of(endpoints)
}

#[track_caller]
pub(super) fn build(
    policy: &LbPolicy,
    assignment: &ClusterLoadAssignment,
    out: &[u32],
) -> Balancer {
    Balancer::build(policy, assignment, &ejected(out), None, None).unwrap()
}

/// `counts` are within `sigmas` of the binomial distribution with these odds.
#[track_caller]
pub(super) fn check_shares(counts: &[u32], odds: &[f64], sigmas: f64) {
    let picks = f64::from(counts.iter().sum::<u32>());
    for (index, (count, share)) in counts.iter().zip(odds).enumerate() {
        let bound = sigmas * (picks * share * (1.0 - share)).sqrt() + 1e-9;
        let off = (f64::from(*count) - picks * share).abs();
        assert!(off <= bound, "{index}: {count} of {picks}, expected {share}: off {off} > {bound}");
    }
}

/// Every algorithm, with tables of a size for tests.
pub(super) fn algorithms() -> Vec<LbAlgorithm> {
    vec![
        LbAlgorithm::RoundRobin,
        LbAlgorithm::Random,
        LbAlgorithm::least_request(),
        LbAlgorithm::LeastRequest { choice_count: 3, active_request_bias: 2.0 },
        LbAlgorithm::peak_ewma(),
        LbAlgorithm::RingHash {
            minimum_ring_size: 64,
            maximum_ring_size: 512,
            hash_balance_factor: None,
        },
        LbAlgorithm::RingHash {
            minimum_ring_size: 64,
            maximum_ring_size: 512,
            hash_balance_factor: Some(120),
        },
        LbAlgorithm::Maglev { table_size: 251, hash_balance_factor: None },
    ]
}
