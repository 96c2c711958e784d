//! How each algorithm shares the traffic out.

use super::*;

/// With nothing in flight, picks follow the odds that `mesh explain` prints.
#[test]
fn at_rest_the_picks_follow_the_odds() {
    let groups = ["3@0: h h5 h2 d3", "1@0: h4 u h", "2@1: h h9"];
    for algorithm in algorithms() {
        let algorithm = match algorithm {
            LbAlgorithm::PeakEwma { .. } => continue, // Its estimates decide; see below.
            // With many slots, each has its part of them.
            LbAlgorithm::Maglev { hash_balance_factor, .. } => {
                LbAlgorithm::Maglev { table_size: 65_537, hash_balance_factor }
            }
            other => other,
        };
        for (by_locality, out) in
            [(false, vec![]), (true, vec![]), (true, vec![0, 1]), (false, vec![7])]
        {
            let mut policy = policy(algorithm.clone());
            policy.locality_weighted = by_locality;
            let balancer = build(&policy, &assignment(&groups), &out);
            let mut client = Client::new(11);
            let counts = client.counts(20_000, &balancer, &Fake::new(9));
            let (odds, mut off) = (balancer.odds().unwrap(), 0.0);
            if matches!(algorithm, LbAlgorithm::Maglev { .. }) {
                // Where a third is out, the odds of what they give up are right to a percent only.
                off = 0.01;
            }
            check_nearly(&counts, &odds, off);
        }
    }
}

/// Within 5 sigma and `off` of all picks.
#[track_caller]
fn check_nearly(counts: &[u32], odds: &[f64], off: f64) {
    let picks = f64::from(counts.iter().sum::<u32>());
    for (index, (count, share)) in counts.iter().zip(odds).enumerate() {
        let bound = 5.0 * (picks * share * (1.0 - share)).sqrt() + picks * off + 1e-9;
        let apart = (f64::from(*count) - picks * share).abs();
        assert!(apart <= bound, "{index}: {count} of {picks}, expected {share}");
    }
}

#[test]
fn localities_share_by_effective_weight() {
    // Envoy: half of the first locality available: 70 : 200.
    let groups = ["1@0: h h u u", "2@0: h h h h"];
    let mut policy = policy(LbAlgorithm::Random);
    policy.locality_weighted = true;
    let odds = build(&policy, &assignment(&groups), &[]).odds().unwrap();
    let first: f64 = odds[..4].iter().sum();
    assert!((first - 70.0 / 270.0).abs() < 1e-9, "{first}");
    // Weights of nothing at all: one pool.
    let odds = build(&policy, &assignment(&["0@0: h h", "0@0: h h"]), &[]).odds().unwrap();
    assert!(odds.iter().all(|share| (share - 0.25).abs() < 1e-9));
    // In panic too, as in Envoy.
    let odds = build(&policy, &assignment(&["1@0: h u u", "9@0: u"]), &[]).odds().unwrap();
    assert!(odds.iter().all(|share| (share - 0.25).abs() < 1e-9));
}

#[test]
fn least_request_takes_the_less_loaded_of_two() {
    let balancer = build(&policy(LbAlgorithm::least_request()), &weighted(&[1; 4]), &[]);
    let mut loads = Fake::new(4);
    loads.active = vec![0, 1, 2, 3];
    let counts = Client::new(3).counts(100_000, &balancer, &loads);
    // Two draws with replacement: the i-th of four wins with (2(4 - i) + 1) / 16.
    check_shares(&counts, &[7.0 / 16.0, 5.0 / 16.0, 3.0 / 16.0, 1.0 / 16.0], 5.0);
}

/// Attempts that last for ever are held in these parts after a while.
fn held(algorithm: LbAlgorithm, weights: &[u32], attempts: u32) -> Vec<f64> {
    let balancer = build(&policy(algorithm), &weighted(weights), &[]);
    let (mut client, mut loads) = (Client::new(5), Fake::new(weights.len()));
    for _ in 0..attempts {
        let index = client.pick(&balancer, &loads);
        loads.active[index as usize] += 1;
    }
    loads.active.iter().map(|&active| f64::from(active) / f64::from(attempts)).collect()
}

#[test]
fn under_load_least_request_holds_attempts_by_weight() {
    let held_with = |bias| {
        let algorithm = LbAlgorithm::LeastRequest { choice_count: 2, active_request_bias: bias };
        held(algorithm, &[1, 1, 2, 4], 8000)
    };
    let check = |bias: f64, expected: [f64; 4], off: f64| {
        for (held, expected) in held_with(bias).iter().zip(expected) {
            assert!((held - expected).abs() < off, "{bias}: {held} not {expected}");
        }
    };
    check(1.0, [0.125, 0.125, 0.25, 0.5], 0.005);
    check(0.5, [0.125, 0.125, 0.25, 0.5], 0.01);
    // By weight without a look at load: 5 sigma of a binomial share of a half.
    check(0.0, [0.125, 0.125, 0.25, 0.5], 0.03);
    // active² / weight even: by the root of the weight, which draws by weight can just reach.
    check(2.0, [0.185, 0.185, 0.261, 0.369], 0.02);
}

#[test]
fn without_bias_the_busy_one_is_picked_as_often() {
    let algorithm = LbAlgorithm::LeastRequest { choice_count: 2, active_request_bias: 0.0 };
    let balancer = build(&policy(algorithm), &weighted(&[1, 3]), &[]);
    let mut loads = Fake::new(2);
    loads.active = vec![0, 1000];
    check_shares(&Client::new(1).counts(10_000, &balancer, &loads), &[0.25, 0.75], 5.0);
}

#[test]
fn peak_ewma_takes_the_faster_and_shuns_the_one_that_fails_fast() {
    let balancer = build(&policy(LbAlgorithm::peak_ewma()), &weighted(&[1; 3]), &[]);
    let (mut client, mut loads) = (Client::new(2), Fake::new(3));
    let (now, decay) = (client.now, Duration::from_secs(10));
    loads.ewma[0].record(Duration::from_millis(10), now, decay);
    loads.ewma[1].record(Duration::from_millis(20), now, decay);
    loads.ewma[2].record_failure(Duration::from_micros(50), Duration::from_secs(5), now, decay);
    // Two distinct: the best is in two of three pairs, the worst wins none.
    let counts = client.counts(10_000, &balancer, &loads);
    check_shares(&counts, &[2.0 / 3.0, 1.0 / 3.0, 0.0], 5.0);
    // Three in flight at 10 ms cost more than one at 20 ms.
    loads.active = vec![3, 0, 0];
    assert!(client.counts(3000, &balancer, &loads)[0] < 1200);
    // A minute later the penalty is worth 12 ms, and the failing one is tried again.
    client.now = now + Duration::from_secs(60);
    loads.ewma[0].record(Duration::from_millis(30), client.now, decay);
    loads.ewma[1].record(Duration::from_millis(30), client.now, decay);
    loads.active = vec![0; 3];
    assert!(client.counts(3000, &balancer, &loads)[2] > 1800);
}

#[test]
fn under_load_peak_ewma_holds_attempts_by_weight() {
    for (held, expected) in
        held(LbAlgorithm::peak_ewma(), &[1, 1, 2, 4], 8000).iter().zip([0.125, 0.125, 0.25, 0.5])
    {
        assert!((held - expected).abs() < 0.01, "{held} not {expected}");
    }
}

#[test]
fn the_one_and_only_is_picked_by_all() {
    for algorithm in algorithms() {
        let balancer = build(&policy(algorithm), &weighted(&[3]), &[]);
        let mut client = Client::new(1);
        client.previous = vec![EndpointId::new(1000)];
        let mut loads = Fake::new(1);
        loads.suspect[0] = true;
        assert_eq!(client.counts(10, &balancer, &loads), [10]);
    }
}

#[test]
fn slow_start_gives_a_new_endpoint_its_part() {
    for algorithm in [LbAlgorithm::RoundRobin, LbAlgorithm::Random, LbAlgorithm::least_request()] {
        let mut policy = policy(algorithm);
        policy.slow_start = Some(SlowStart::new(Duration::from_secs(100)));
        for (weights, age, odds) in [
            ([1, 1, 1], 25, [0.25 / 2.25, 1.0 / 2.25, 1.0 / 2.25]),
            ([1, 1, 1], 0, [0.1 / 2.1, 1.0 / 2.1, 1.0 / 2.1]),
            ([4, 1, 1], 50, [0.5, 0.25, 0.25]),
            ([1, 1, 1], 100, [1.0 / 3.0; 3]),
        ] {
            let balancer = build(&policy, &weighted(&weights), &[]);
            let (mut client, mut loads) = (Client::new(9), Fake::new(3));
            loads.since[0] = client.now - Duration::from_secs(age);
            check_shares(&client.counts(60_000, &balancer, &loads), &odds, 5.0);
        }
    }
}

/// One old endpoint and 99 that are at one percent: half of the traffic is the old one's, and a draw
/// finds it once in a hundred times.
#[test]
fn among_many_new_ones_the_old_one_gets_its_share() {
    for algorithm in [LbAlgorithm::RoundRobin, LbAlgorithm::Random, LbAlgorithm::least_request()] {
        let mut policy = policy(algorithm);
        let mut slow_start = SlowStart::new(Duration::from_secs(100));
        slow_start.min_weight_percent = 1;
        policy.slow_start = Some(slow_start);
        let balancer = build(&policy, &weighted(&[1; 100]), &[]);
        let (mut client, mut loads) = (Client::new(9), Fake::new(100));
        loads.since = vec![client.now; 100];
        loads.since[0] = Timestamp::ZERO;
        let counts = client.counts(20_000, &balancer, &loads);
        let others: u32 = counts[1..].iter().sum();
        check_shares(&[counts[0], others], &[1.0 / 1.99, 0.99 / 1.99], 5.0);
    }
}

#[test]
fn once_slow_start_is_over_the_bias_plays_no_part_among_equals() {
    let algorithm = LbAlgorithm::LeastRequest { choice_count: 2, active_request_bias: 0.0 };
    let mut policy = policy(algorithm);
    policy.slow_start = Some(SlowStart::new(Duration::from_secs(100)));
    let balancer = build(&policy, &weighted(&[1; 4]), &[]);
    let mut loads = Fake::new(4);
    loads.active = vec![0, 1, 2, 3];
    let counts = Client::new(3).counts(100_000, &balancer, &loads);
    check_shares(&counts, &[7.0 / 16.0, 5.0 / 16.0, 3.0 / 16.0, 1.0 / 16.0], 5.0);
}

#[test]
fn a_locality_without_weight_gets_no_hash_while_another_is_there() {
    for algorithm in [LbAlgorithm::ring_hash(), LbAlgorithm::maglev()] {
        let mut policy = policy(algorithm);
        (policy.locality_weighted, policy.panic_threshold) = (true, 0);
        // All of the first locality but one are out, and that one is suspect.
        let groups = ["1@0: h h h h", "0@0: h h h h"];
        let balancer = build(&policy, &assignment(&groups), &[0, 1, 2]);
        let mut loads = Fake::new(8);
        loads.suspect[3] = true;
        for hash in 0..500u64 {
            let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert_eq!(pick_hash(&balancer, &loads, hash), Some(3));
        }
        // When nobody else is left, better those than nobody.
        let balancer = build(&policy, &assignment(&groups), &[0, 1, 2, 3]);
        assert!(pick_hash(&balancer, &loads, 7).is_some_and(|index| index >= 4));
    }
}

#[test]
fn when_all_are_new_slow_start_makes_no_difference() {
    let mut policy = policy(LbAlgorithm::RoundRobin);
    policy.slow_start = Some(SlowStart::new(Duration::from_secs(100)));
    let balancer = build(&policy, &weighted(&[1; 4]), &[]);
    let (mut client, mut loads) = (Client::new(9), Fake::new(4));
    loads.since = vec![client.now; 4];
    check_shares(&client.counts(20_000, &balancer, &loads), &[0.25; 4], 5.0);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let least_request = |choice_count, active_request_bias| LbAlgorithm::LeastRequest {
        choice_count,
        active_request_bias,
    };
    let peak_ewma = |decay, default_rtt| LbAlgorithm::PeakEwma {
        decay,
        default_rtt,
        failure_penalty: Duration::ZERO,
    };
    let second = Duration::from_secs(1);
    for (algorithm, expected) in [
        (least_request(1, 1.0), "choice_count is 1: must be from 2 to 100"),
        (least_request(101, 1.0), "choice_count is 101: must be from 2 to 100"),
        (least_request(2, -0.5), "active_request_bias is -0.5: must be at least 0 and finite"),
        (least_request(2, f64::NAN), "active_request_bias is NaN: must be at least 0 and finite"),
        (peak_ewma(Duration::ZERO, second), "decay is 0: must be above 0 nanoseconds"),
        (peak_ewma(second, Duration::ZERO), "default_rtt is 0: must be above 0 nanoseconds"),
        (
            LbAlgorithm::Maglev { table_size: 4, hash_balance_factor: None },
            "table_size is 4: must be a prime number",
        ),
        (LbAlgorithm::Custom("mine".into()), "no load-balancing policy is registered as `mine`"),
    ] {
        let built = Balancer::build(&policy(algorithm), &weighted(&[1]), &ejected(&[]), None, None);
        assert_eq!(built.unwrap_err().to_string(), expected);
    }
    let policy = LbPolicy { overprovisioning_factor: 0, ..LbPolicy::default() };
    let built = Balancer::build(&policy, &weighted(&[1]), &ejected(&[]), None, None);
    assert_eq!(built.unwrap_err().to_string(), "overprovisioning_factor is 0: must be above 0");
}
