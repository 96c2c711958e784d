//! Who may be picked: priorities, panic, what a call has tried, and custom policies.

use super::*;

/// Percents per group of endpoints, by the odds.
#[track_caller]
fn check_loads(policy: &LbPolicy, groups: &[&str], out: &[u32], expected: &[u32]) {
    let assignment = assignment(groups);
    let odds = build(policy, &assignment, out).odds().unwrap();
    let mut odds = odds.iter();
    for (locality, expected) in assignment.localities.iter().zip(expected) {
        let load: f64 = odds.by_ref().take(locality.endpoints.len()).sum();
        assert_eq!((load * 100.0).round() as u32, *expected, "{groups:?}");
    }
}

#[test]
fn priorities_spill_over() {
    let policy = LbPolicy::default();
    check_loads(&policy, &["1@0: h h", "1@1: h h"], &[], &[100, 0]);
    check_loads(&policy, &["1@0: h u", "1@1: h h"], &[], &[70, 30]);
    check_loads(&policy, &["1@0: h h", "1@1: h h"], &[1], &[70, 30]);
    check_loads(&policy, &["1@1: h h", "1@0: h u u u"], &[], &[65, 35]);
    check_loads(&policy, &["1@0: u u", "1@7: h h"], &[], &[0, 100]);
    check_loads(&policy, &["1@0:", "1@1: h h"], &[], &[0, 100]);
}

#[test]
fn ejecting_everybody_panics_unless_the_threshold_is_zero() {
    let groups = ["1@0: h h", "1@1: h h"];
    let mut policy = LbPolicy::default();
    check_loads(&policy, &groups, &[0, 1, 2, 3], &[100, 0]);
    policy.panic_threshold = 0;
    let balancer = build(&policy, &assignment(&groups), &[0, 1, 2, 3]);
    let PickResult::Fail(counts) = Client::new(1).try_pick(&balancer, &Fake::new(4)) else {
        panic!("picked");
    };
    assert_eq!((counts.total, counts.ejected, counts.healthy), (4, 4, 0));
    let balancer = balancer.with_ejected(&ejected(&[0, 1, 2]));
    assert_eq!(Client::new(1).counts(5, &balancer, &Fake::new(4)), [0, 0, 0, 5]);
}

#[test]
fn panic_reaches_the_draining_and_the_ejected() {
    let mut policy = policy(LbAlgorithm::RoundRobin);
    let assignment = assignment(&["1@0: h g u t d h"]);
    let balancer = build(&policy, &assignment, &[5, 4]);
    assert!(balancer.priorities()[0].panic);
    assert_eq!(Client::new(1).counts(12, &balancer, &Fake::new(6)), [2; 6]);
    policy.fail_traffic_on_panic = true;
    let balancer = build(&policy, &assignment, &[5, 4]);
    let PickResult::Fail(counts) = Client::new(1).try_pick(&balancer, &Fake::new(6)) else {
        panic!("picked");
    };
    assert_eq!((counts.healthy, counts.ejected, counts.draining, counts.unhealthy), (1, 2, 1, 2));
}

#[test]
fn degraded_ones_take_over_in_their_own_tier() {
    let balancer = build(&LbPolicy::default(), &assignment(&["1@0: h d"]), &[]);
    let odds = balancer.odds().unwrap();
    assert!((odds[0] - 0.7).abs() < 1e-9 && (odds[1] - 0.3).abs() < 1e-9);
    check_shares(&Client::new(4).counts(50_000, &balancer, &Fake::new(2)), &odds, 5.0);
}

#[test]
fn the_hash_chooses_the_priority() {
    let algorithm = LbAlgorithm::Maglev { table_size: 251, hash_balance_factor: None };
    let balancer = build(&policy(algorithm), &assignment(&["1@0: h u", "1@1: h"]), &[]);
    for hash in 0..1000 {
        let expected = if hash % 100 < 70 { 0 } else { 2 };
        assert_eq!(pick_hash(&balancer, &Fake::new(3), hash), Some(expected), "{hash}");
    }
}

#[test]
fn what_was_tried_or_is_suspect_is_passed_over_while_there_is_another() {
    for algorithm in algorithms() {
        let balancer = build(&policy(algorithm), &weighted(&[1, 5, 1, 1]), &[]);
        let (mut client, mut loads) = (Client::new(8), Fake::new(4));
        client.previous = vec![EndpointId::new(1001), EndpointId::new(1003)];
        loads.suspect[0] = true;
        assert_eq!(client.counts(500, &balancer, &loads), [0, 0, 500, 0]);
        // Nobody fresh: the suspect comes before those that were tried.
        client.previous.push(EndpointId::new(1002));
        assert_eq!(client.counts(500, &balancer, &loads), [500, 0, 0, 0]);
        // Everybody tried: somebody, but not the suspect.
        client.previous.push(EndpointId::new(1000));
        let counts = client.counts(500, &balancer, &loads);
        assert_eq!((counts[0], counts.iter().sum::<u32>()), (0, 500));
    }
}

/// The neighbour of a suspect must not get its share on top.
#[test]
fn the_share_of_a_suspect_is_spread() {
    for algorithm in [LbAlgorithm::RoundRobin, LbAlgorithm::Random] {
        let balancer = build(&policy(algorithm), &weighted(&[1; 10]), &[]);
        let (mut client, mut loads) = (Client::new(8), Fake::new(10));
        loads.suspect[3] = true;
        let mut odds = [1.0 / 9.0; 10];
        odds[3] = 0.0;
        check_shares(&client.counts(90_000, &balancer, &loads), &odds, 5.0);
    }
}

/// After an outage everybody is suspect: the load must not go to one of them.
#[test]
fn suspects_share_when_there_is_nobody_else() {
    for algorithm in [LbAlgorithm::RoundRobin, LbAlgorithm::Random] {
        for count in [2, 3, 4, 6] {
            let balancer = build(&policy(algorithm.clone()), &weighted(&vec![1; count]), &[]);
            let (mut client, mut loads) = (Client::new(9), Fake::new(count));
            loads.suspect = vec![true; count];
            let odds = vec![1.0 / count as f64; count];
            check_shares(&client.counts(20_000, &balancer, &loads), &odds, 5.0);
        }
    }
}

#[test]
fn nobody_is_a_failure_and_not_a_panic() {
    for algorithm in algorithms() {
        let policy = policy(algorithm);
        for groups in [vec![], vec!["1@0:"], vec!["1@0:", "1@3:"]] {
            let balancer = build(&policy, &assignment(&groups), &[9]);
            let result = Client::new(1).try_pick(&balancer, &Fake::new(0));
            assert_eq!(result, PickResult::Fail(NoEndpoint::default()));
            assert!(balancer.is_empty());
        }
    }
}

/// Answers with the candidate at a fixed index, and checks what it is shown.
#[derive(Debug)]
struct Fixed(u32);

impl Pick for Fixed {
    fn pick(&self, cx: &CustomPick<'_>) -> Option<u32> {
        assert_eq!(cx.candidates().count(), cx.len());
        assert_eq!(cx.candidate(cx.len()), None);
        Some(self.0)
    }
}

/// The heaviest of those not passed over.
#[derive(Debug)]
struct Heaviest;

impl Pick for Heaviest {
    fn pick(&self, cx: &CustomPick<'_>) -> Option<u32> {
        let fresh = cx.candidates().filter(|candidate| !candidate.is_passed_over);
        fresh.max_by_key(|candidate| candidate.weight).map(|candidate| candidate.index)
    }
}

#[test]
fn a_custom_policy_is_held_to_its_candidates() {
    let custom = |pick: Arc<dyn Pick>| {
        let policy = policy(LbAlgorithm::Custom("mine".into()));
        let assignment = assignment(&["1@0: h2 u9 h5 h3", "1@1: h7"]);
        Balancer::build(&policy, &assignment, &ejected(&[]), Some(pick), None).unwrap()
    };
    let (mut client, mut loads) = (Client::new(1), Fake::new(5));
    let balancer = custom(Arc::new(Heaviest));
    assert!(balancer.uses_hash() && balancer.odds().is_none());
    assert_eq!(client.pick(&balancer, &loads), 2);
    client.previous = vec![EndpointId::new(1002)];
    assert_eq!(client.pick(&balancer, &loads), 3);
    loads.suspect[3] = true;
    assert_eq!(client.pick(&balancer, &loads), 0);
    assert_eq!(client.pick(&custom(Arc::new(Fixed(3))), &loads), 3);
    for outside in [1, 4, 5] {
        let result = client.try_pick(&custom(Arc::new(Fixed(outside))), &loads);
        assert!(matches!(result, PickResult::Fail(_)), "{outside}");
    }
}

#[test]
fn candidates_in_panic_tell_their_health() {
    #[derive(Debug)]
    struct Only(CandidateHealth);
    impl Pick for Only {
        fn pick(&self, cx: &CustomPick<'_>) -> Option<u32> {
            cx.candidates().find(|candidate| candidate.health == self.0).map(|found| found.index)
        }
    }
    let policy = policy(LbAlgorithm::Custom("mine".into()));
    let assignment = assignment(&["1@0: u u d u h"]);
    for (health, index) in [
        (CandidateHealth::Healthy, 4),
        (CandidateHealth::Degraded, 2),
        (CandidateHealth::Unavailable, 0),
    ] {
        let pick: Arc<dyn Pick> = Arc::new(Only(health));
        let balancer =
            Balancer::build(&policy, &assignment, &ejected(&[]), Some(pick), None).unwrap();
        assert_eq!(Client::new(1).pick(&balancer, &Fake::new(5)), index);
    }
}
