//! What holds for all algorithms and all endpoints.

use super::*;

const HEALTH: [HealthStatus; 6] = [
    HealthStatus::Unknown,
    HealthStatus::Healthy,
    HealthStatus::Unhealthy,
    HealthStatus::Draining,
    HealthStatus::Timeout,
    HealthStatus::Degraded,
];

/// (priority, locality weight, endpoints: (health, weight)).
type Groups = Vec<(u32, u32, Vec<(usize, u32)>)>;

fn groups() -> impl Strategy<Value = Groups> {
    let weight = prop_oneof![Just(1), 0u32..10, any::<u32>()];
    let endpoints = prop::collection::vec((0usize..6, weight), 0..12);
    prop::collection::vec((0u32..3, 0u32..4, endpoints), 0..5)
}

fn assignment_of(groups: &Groups) -> ClusterLoadAssignment {
    let mut assignment = ClusterLoadAssignment::default();
    let mut port = 0;
    for (priority, weight, endpoints) in groups {
        let mut locality = LocalityEndpoints::new(Locality::default());
        (locality.priority, locality.weight) = (*priority, *weight);
        for (health, weight) in endpoints {
            port += 1;
            let mut endpoint = endpoint(port, "h");
            (endpoint.health, endpoint.weight) = (HEALTH[*health], *weight);
            locality.endpoints.push(endpoint);
        }
        assignment.localities.push(Arc::new(locality));
    }
    assignment
}

#[derive(Clone, Debug)]
struct Case {
    groups: Groups,
    policy: LbPolicy,
    ejected: EjectedBits,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let policy = (prop::sample::select(algorithms()), 0u32..101, any::<bool>(), any::<bool>());
    let ejected = prop::collection::vec(0u32..60, 0..20);
    (groups(), policy, ejected, any::<u64>(), any::<bool>()).prop_map(
        |(groups, (algorithm, threshold, by_locality, fails), ejected, seed, slowly)| {
            let mut policy = LbPolicy::new(algorithm);
            policy.panic_threshold = threshold;
            policy.locality_weighted = by_locality;
            policy.fail_traffic_on_panic = fails;
            // Over before the client picks, but for the time of the newest.
            policy.slow_start = slowly.then(|| SlowStart::new(Duration::from_secs(2000)));
            Case { groups, policy, ejected: ejected.into_iter().collect(), seed }
        },
    )
}

/// By index: the position of its priority among those in use, and whether it is healthy or degraded.
fn standing(case: &Case) -> Vec<(usize, bool, bool)> {
    let mut priorities: Vec<u32> = case.groups.iter().map(|(priority, ..)| *priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let mut standing = Vec::new();
    for (priority, _, endpoints) in &case.groups {
        let level = priorities.binary_search(priority).unwrap();
        for (health, _) in endpoints {
            let in_use = !case.ejected.contains(standing.len() as u32);
            let healthy = matches!(HEALTH[*health], HealthStatus::Unknown | HealthStatus::Healthy);
            let degraded = HEALTH[*health] == HealthStatus::Degraded;
            standing.push((level, in_use && healthy, in_use && degraded));
        }
    }
    standing
}

fn pick_some(case: &Case, balancer: &Balancer, picks: u32) -> Vec<PickResult> {
    let mut client = Client::new(case.seed);
    let mut loads = Fake::new(balancer.len() as usize);
    let mut random = SplitMix64::new(!case.seed);
    let mut results = Vec::new();
    for _ in 0..picks {
        client.hash = (random.below(4) > 0).then(|| random.next_u64());
        client.previous = (0..random.below(3)).map(|id| EndpointId::new(1000 + id)).collect();
        let result = client.try_pick(balancer, &loads);
        if let PickResult::Endpoint(index) = result {
            loads.active[index as usize] += 1;
            loads.total_active += 1;
            loads.suspect[index as usize] = random.below(5) == 0;
        }
        results.push(result);
    }
    results
}

proptest! {
    #[test]
    fn nobody_is_picked_who_may_not_be(case in cases()) {
        let assignment = assignment_of(&case.groups);
        let balancer =
            Balancer::build(&case.policy, &assignment, &case.ejected, None, None).unwrap();
        let (standing, priorities) = (standing(&case), balancer.priorities());
        let anybody = standing.iter().any(|&(_, healthy, degraded)| healthy || degraded);
        for result in pick_some(&case, &balancer, 40) {
            match result {
                PickResult::Endpoint(index) => {
                    let (level, healthy, degraded) = standing[index as usize];
                    let state = &priorities[level];
                    prop_assert!(state.load + state.degraded_load > 0);
                    prop_assert!(!state.panic || !case.policy.fail_traffic_on_panic);
                    let as_healthy = healthy && state.load > 0;
                    let as_degraded = degraded && state.degraded_load > 0;
                    prop_assert!(state.panic || as_healthy || as_degraded);
                }
                PickResult::Fail(counts) => {
                    prop_assert_eq!(counts, balancer.counts());
                    let fails = case.policy.fail_traffic_on_panic
                        && priorities.iter().any(|state| state.panic);
                    let panics = case.policy.panic_threshold > 0 && !standing.is_empty();
                    prop_assert!(fails || !(anybody || panics));
                }
            }
        }
    }

    #[test]
    fn an_ejection_gives_what_a_build_gives(case in cases(), before in prop::collection::vec(0u32..60, 0..20)) {
        let assignment = assignment_of(&case.groups);
        let build = |ejected: &EjectedBits| {
            Balancer::build(&case.policy, &assignment, ejected, None, None).unwrap()
        };
        let before: EjectedBits = before.into_iter().collect();
        let (built, changed) = (build(&case.ejected), build(&before).with_ejected(&case.ejected));
        prop_assert_eq!(built.priorities(), changed.priorities());
        prop_assert_eq!(built.counts(), changed.counts());
        prop_assert_eq!(built.odds(), changed.odds());
        prop_assert_eq!(pick_some(&case, &built, 30), pick_some(&case, &changed, 30));
    }

    #[test]
    fn counts_add_up_and_odds_are_shares(case in cases()) {
        let assignment = assignment_of(&case.groups);
        let balancer =
            Balancer::build(&case.policy, &assignment, &case.ejected, None, None).unwrap();
        let counts = balancer.counts();
        let sum = counts.healthy + counts.degraded + counts.unhealthy + counts.draining + counts.ejected;
        prop_assert_eq!(counts.total, sum);
        prop_assert_eq!(counts.total, balancer.len());
        let sum: f64 = balancer.odds().unwrap().iter().sum();
        let failing = |state: &&PriorityState| state.panic && case.policy.fail_traffic_on_panic;
        let loads = |states: Vec<&PriorityState>| -> u32 {
            states.iter().map(|state| state.load + state.degraded_load).sum()
        };
        let failed = loads(balancer.priorities().iter().filter(failing).collect());
        let all = loads(balancer.priorities().iter().collect());
        prop_assert!((sum - f64::from(all - failed) / 100.0).abs() < 1e-6, "{} {} {}", sum, all, failed);
    }

    #[test]
    fn equal_weights_take_turns_evenly(len in 1u32..200, out in prop::collection::btree_set(0u32..200, 0..100), picks in 1u32..1000) {
        let out: Vec<u32> = out.into_iter().filter(|index| *index < len && *index > 0).collect();
        let mut policy = policy(LbAlgorithm::RoundRobin);
        policy.panic_threshold = 0;
        let balancer = build(&policy, &weighted(&vec![7; len as usize]), &out);
        let counts = Client::new(1).counts(picks, &balancer, &Fake::new(len as usize));
        let share = picks / (len - out.len() as u32);
        for (index, count) in counts.iter().enumerate() {
            let least = if out.contains(&(index as u32)) { 0 } else { share };
            prop_assert!((least..=least + 1).contains(count) || (least == 0 && *count <= 1));
        }
    }
}

/// Wherever the sequence stands when an endpoint is ejected, the rest goes on evenly.
#[test]
fn turns_go_on_over_an_ejection() {
    let balancer = build(&policy(LbAlgorithm::RoundRobin), &weighted(&[1; 10]), &[]);
    let (mut client, loads) = (Client::new(1), Fake::new(10));
    client.counts(13, &balancer, &loads);
    let after = balancer.with_ejected(&ejected(&[4]));
    let counts = client.counts(90, &after, &loads);
    assert_eq!(counts, [10, 10, 10, 10, 0, 10, 10, 10, 10, 10]);
}

#[test]
fn a_hundred_thousand_endpoints_take_turns() {
    let len = 100_000;
    let balancer = build(&policy(LbAlgorithm::RoundRobin), &weighted(&vec![1; len]), &[5]);
    let counts = Client::new(1).counts(3 * (len as u32 - 1), &balancer, &Fake::new(len));
    assert!(
        counts.iter().enumerate().all(|(index, count)| *count == if index == 5 { 0 } else { 3 })
    );
}

#[test]
fn the_greatest_weights_are_shared_correctly() {
    let mut weights = vec![1; 100_000];
    weights[77] = u32::MAX;
    weights[99_999] = u32::MAX;
    for algorithm in [LbAlgorithm::RoundRobin, LbAlgorithm::Random, LbAlgorithm::least_request()] {
        let balancer = build(&policy(algorithm), &weighted(&weights), &[]);
        let counts = Client::new(1).counts(10_000, &balancer, &Fake::new(100_000));
        // All others together: 1.2 in 100,000.
        let both = counts[77] + counts[99_999];
        assert!(both >= 9_990, "{both}");
        assert!(counts[77].abs_diff(5000) < 250, "5 sigma: {}", counts[77]);
    }
}
