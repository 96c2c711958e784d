use super::*;
use crate::lb::tests::{Fake, ejected, pick_hash, policy};
use crate::lb::{Algorithm, Balancer};
use crate::model::{LbAlgorithm, Locality};
use proptest::prelude::*;
use std::net::SocketAddr;
use std::path::Path;
use xxhash_rust::xxh64::xxh64;

fn ring_hash(least: u32, most: u32) -> LbAlgorithm {
    LbAlgorithm::RingHash {
        minimum_ring_size: least,
        maximum_ring_size: most,
        hash_balance_factor: None,
    }
}

fn maglev() -> LbAlgorithm {
    LbAlgorithm::Maglev { table_size: 1009, hash_balance_factor: None }
}

fn local(port: u16) -> Endpoint {
    Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)).into())
}

fn build(algorithm: LbAlgorithm, assignment: &ClusterLoadAssignment, out: &[u32]) -> Balancer {
    Balancer::build(&policy(algorithm), assignment, &ejected(out), None, None).unwrap()
}

fn tables(balancer: &Balancer) -> &Arc<Consistent> {
    let Algorithm::Consistent(tables, _) = &balancer.plan.algorithm else { panic!("not hashed") };
    tables
}

fn points(balancer: &Balancer, level: usize) -> Vec<(u64, u32)> {
    let Table::Ring(ring) = &tables(balancer).tables[level] else { panic!("not a ring") };
    ring.points()
}

// Envoy: ring_hash_lb_test, hosts 127.0.0.1:90 to 95, minimum ring size 12.
#[test]
fn the_ring_is_envoys() {
    let assignment = ClusterLoadAssignment::of((90..96).map(local));
    let balancer = build(ring_hash(12, 1024), &assignment, &[]);
    let expected = [
        (833_437_586_790_550_860, 94),
        (928_266_305_478_181_108, 92),
        (1_033_482_794_131_418_490, 90),
        (3_551_244_743_356_806_947, 95),
        (3_851_675_632_748_031_481, 93),
        (5_583_722_120_771_150_861, 91),
        (6_311_230_543_546_372_928, 91),
        (7_700_377_290_971_790_572, 93),
        (13_144_177_310_400_110_813, 95),
        (13_444_792_449_719_432_967, 92),
        (15_516_499_411_664_133_160, 94),
        (16_117_243_373_044_804_889, 90),
    ];
    assert_eq!(points(&balancer, 0), expected.map(|(hash, port)| (hash, port - 90)));
    let loads = Fake::new(6);
    for (hash, port) in
        [(0, 94), (3_551_244_743_356_806_947, 95), (3_551_244_743_356_806_948, 93), (u64::MAX, 94)]
    {
        assert_eq!(pick_hash(&balancer, &loads, hash), Some(port - 90), "{hash}");
    }
}

#[test]
fn ring_sizes_follow_the_least_weight_within_the_bounds() {
    for (weights, least, most, points_of) in [
        (vec![1, 1], 3, 1024, vec![2, 2]),
        (vec![1, 2], 3, 1024, vec![1, 2]),
        (vec![1, 2], 5, 1024, vec![2, 4]),
        (vec![1, 1, 1], 1, 2, vec![1, 1, 0]),
        (vec![1, 1000], 1, 10, vec![1, 9]),
        (vec![1], 7, 8, vec![7]),
    ] {
        let endpoints = weights.iter().zip(1..).map(|(&weight, port)| {
            let mut endpoint = local(port);
            endpoint.weight = weight;
            endpoint
        });
        let balancer = build(ring_hash(least, most), &ClusterLoadAssignment::of(endpoints), &[]);
        let mut counts = vec![0; weights.len()];
        points(&balancer, 0).iter().for_each(|(_, owner)| counts[*owner as usize] += 1);
        assert_eq!(counts, points_of, "{weights:?} {least} {most}");
    }
}

#[test]
fn keys_are_the_hash_key_or_the_address() {
    let mut named = local(1);
    named.hash_key = Some("one".into());
    let mut unnamed = local(2);
    unnamed.hash_key = Some("".into());
    let unix = Endpoint::new(Address::Unix(Arc::from(Path::new("/run/a.sock"))));
    for (endpoint, key) in [(named, "one"), (unnamed, "127.0.0.1:2"), (unix, "/run/a.sock")] {
        let balancer = build(ring_hash(1, 1), &ClusterLoadAssignment::of([endpoint]), &[]);
        assert_eq!(points(&balancer, 0), [(xxh64(format!("{key}_0").as_bytes(), 0), 0)]);
    }
}

/// The owner of the first point at or after the hash whose owner is not out, by looking at all points.
fn naive(ports: &[u16], per_endpoint: u32, out: &[u32], hash: u64) -> Option<u32> {
    let mut points = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        for number in 0..per_endpoint {
            let point = xxh64(format!("127.0.0.1:{port}_{number}").as_bytes(), 0);
            points.push((point < hash, point, index as u32));
        }
    }
    points.sort_unstable();
    points.into_iter().map(|(_, _, index)| index).find(|index| !out.contains(index))
}

proptest! {
    #[test]
    fn picks_equal_the_naive_ring(
        ports in prop::collection::btree_set(1u16..1000, 1..20),
        out in prop::collection::btree_set(0u32..20, 0..10),
        hashes in prop::collection::vec(any::<u64>(), 10),
    ) {
        let (ports, out): (Vec<_>, Vec<_>) = (ports.into_iter().collect(), out.into_iter().collect());
        let assignment = ClusterLoadAssignment::of(ports.iter().copied().map(local));
        let size = 8 * ports.len() as u32;
        let mut policy = policy(ring_hash(size, size));
        policy.panic_threshold = 0;
        let balancer = Balancer::build(&policy, &assignment, &ejected(&out), None, None).unwrap();
        // Rounding may make it 9, as in Envoy.
        let per_endpoint = points(&balancer, 0).iter().filter(|(_, owner)| *owner == 0).count();
        for hash in hashes {
            let picked = pick_hash(&balancer, &Fake::new(ports.len()), hash);
            prop_assert_eq!(picked, naive(&ports, per_endpoint as u32, &out, hash));
        }
    }

    #[test]
    fn an_ejection_moves_only_what_the_ejected_had(
        is_ring: bool,
        gone in 0u32..10,
        hashes in prop::collection::vec(any::<u64>(), 50),
    ) {
        let assignment = ClusterLoadAssignment::of((0..10).map(local));
        let algorithm = if is_ring { ring_hash(1000, 1000) } else { maglev() };
        let before = build(algorithm, &assignment, &[]);
        let after = before.with_ejected(&ejected(&[gone]));
        let loads = Fake::new(10);
        for hash in hashes {
            let (old, new) = (pick_hash(&before, &loads, hash), pick_hash(&after, &loads, hash));
            prop_assert!(old == new || old == Some(gone));
            prop_assert_ne!(new, Some(gone));
        }
    }
}

#[test]
fn what_an_ejected_endpoint_had_is_spread() {
    let assignment = ClusterLoadAssignment::of((0..10).map(local));
    for algorithm in [ring_hash(10_000, 10_000), maglev()] {
        let balancer = build(algorithm, &assignment, &[3]);
        let odds = balancer.odds().unwrap();
        assert!(odds[3].abs() < 1e-12);
        let others = odds.iter().enumerate().filter(|(index, _)| *index != 3);
        // 1/9, give or take what 1,000 points and 100 slots allow.
        others.for_each(|(index, odds)| assert!((odds - 1.0 / 9.0).abs() < 0.02, "{index} {odds}"));
    }
}

#[test]
fn with_almost_everybody_out_the_rest_is_found() {
    let assignment = ClusterLoadAssignment::of((0..10_000).map(local));
    let out: Vec<u32> = (0..10_000).filter(|index| index % 5000 != 17).collect();
    for algorithm in [ring_hash(100_000, 100_000), maglev()] {
        let mut policy = policy(algorithm);
        policy.panic_threshold = 0;
        let balancer = Balancer::build(&policy, &assignment, &ejected(&out), None, None).unwrap();
        let loads = Fake::new(10_000);
        let picks = (0..200).map(|number| pick_hash(&balancer, &loads, xxh64(&[number], 7)));
        let mut counts = [0; 2];
        picks.for_each(|index| counts[if index == Some(17) { 0 } else { 1 }] += 1);
        // 100 each; sigma is 7.
        assert!(counts.iter().all(|&count| count > 60), "{counts:?}");
    }
}

#[test]
fn localities_weigh_on_the_ring_when_they_are_to() {
    let locality = |weight, ports: std::ops::Range<u16>| {
        let mut locality = LocalityEndpoints::new(Locality::default());
        locality.weight = weight;
        locality.endpoints = ports.map(local).collect();
        Arc::new(locality)
    };
    let localities = vec![locality(3, 0..2), locality(1, 2..4), locality(0, 4..9)];
    let assignment = ClusterLoadAssignment { localities, drop_overloads: Vec::new() };
    let mut policy = policy(ring_hash(80, 80));
    for (weighted, expected) in [(true, [30, 30, 10, 10, 0]), (false, [9; 5])] {
        policy.locality_weighted = weighted;
        let balancer = Balancer::build(&policy, &assignment, &ejected(&[]), None, None).unwrap();
        let mut counts = [0; 9];
        points(&balancer, 0).iter().for_each(|(_, owner)| counts[*owner as usize] += 1);
        assert_eq!(counts[..4], expected[..4]);
        assert!(counts[4..].iter().all(|&count| (count == 0) == weighted));
    }
}

#[test]
fn tables_are_shared_until_keys_or_weights_change() {
    for algorithm in [ring_hash(100, 100), maglev()] {
        let policy = policy(algorithm);
        let build = |assignment: &ClusterLoadAssignment, previous: Option<&Balancer>| {
            Balancer::build(&policy, assignment, &ejected(&[]), None, previous).unwrap()
        };
        let of = |endpoint| ClusterLoadAssignment::of([local(1), endpoint]);
        let first = build(&of(local(2)), None);
        let mut sick = local(2);
        sick.health = crate::model::HealthStatus::Unhealthy;
        let second = build(&of(sick), Some(&first));
        assert!(Arc::ptr_eq(tables(&first), tables(&second)));
        assert!(Arc::ptr_eq(tables(&first), tables(&first.with_ejected(&ejected(&[1])))));
        let mut heavy = local(2);
        heavy.weight = 2;
        let mut named = local(2);
        named.hash_key = Some("two".into());
        for changed in [heavy, named, local(3)] {
            assert!(!Arc::ptr_eq(tables(&first), tables(&build(&of(changed), Some(&first)))));
        }
    }
}

#[test]
fn bounded_load_passes_an_overloaded_endpoint_over() {
    let assignment = ClusterLoadAssignment::of((0..10).map(local));
    let ring = |hash_balance_factor| LbAlgorithm::RingHash {
        minimum_ring_size: 1000,
        maximum_ring_size: 1000,
        hash_balance_factor,
    };
    let (free, bounded) =
        (build(ring(None), &assignment, &[]), build(ring(Some(150)), &assignment, &[]));
    let mut loads = Fake::new(10);
    // One hash, again and again, nothing ends.
    let first = pick_hash(&bounded, &loads, 42).unwrap();
    for active in 1..=200u64 {
        assert_eq!(pick_hash(&free, &loads, 42), Some(first));
        let index = pick_hash(&bounded, &loads, 42).unwrap();
        loads.active[index as usize] += 1;
        loads.total_active = active;
        // Envoy refuses whoever holds more than its slots, so one more than those is the most.
        let slots = ((active * 150).div_ceil(100) as f64 / 10.0).ceil();
        assert!(f64::from(loads.active[index as usize]) <= slots + 1.0, "{active}: {index}");
    }
    assert!(loads.active.iter().filter(|&&active| active > 0).count() >= 6);
}

#[test]
fn when_all_are_overloaded_the_least_is_taken() {
    let assignment = ClusterLoadAssignment::of((0..4).map(local));
    let algorithm = LbAlgorithm::Maglev { table_size: 1009, hash_balance_factor: Some(100) };
    let balancer = build(algorithm, &assignment, &[]);
    let mut loads = Fake::new(4);
    // The counts move on while they are read: the sum is behind.
    loads.active = vec![50, 40, 30, 60];
    loads.total_active = 4;
    assert!((0..100).all(|hash| pick_hash(&balancer, &loads, hash) == Some(2)));
}

#[test]
fn jumps_visit_everybody_once() {
    for count in [1u16, 2, 3, 12, 97, 210] {
        let assignment = ClusterLoadAssignment::of((0..count).map(local));
        let balancer = build(maglev(), &assignment, &[]);
        for hash in 0..20 {
            let mut visited: Vec<u32> = jumps(&balancer.eligibility.pools[0], hash).collect();
            visited.sort_unstable();
            assert_eq!(visited, (0..u32::from(count)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn sizes_out_of_range_are_refused() {
    for (least, most, rule) in [
        (0, 1024, "minimum_ring_size is 0: must be from 1 to 8388608"),
        (1, 8_388_609, "maximum_ring_size is 8388609: must be from 1 to 8388608"),
        (20, 10, "minimum_ring_size is 20: must be at most maximum_ring_size"),
    ] {
        assert_eq!(RingSize::new(least, most).unwrap_err().to_string(), rule);
    }
    let error = Bound::new(Some(99)).unwrap_err();
    assert_eq!(error.to_string(), "hash_balance_factor is 99: must be at least 100");
}
