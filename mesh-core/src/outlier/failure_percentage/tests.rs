use super::super::monitor::Calls;
use super::*;

#[track_caller]
fn check(rule: &FailurePercentage, dialect: CapRule, failures: &[(u32, u32)], expected: &[u32]) {
    let samples: Vec<_> = (0..)
        .zip(failures)
        .map(|(index, (failures, total))| Sample {
            index,
            calls: Calls { successes: total - failures, total: *total },
        })
        .collect();
    let found: Vec<_> =
        outliers(rule, dialect, &samples).into_iter().map(|(index, _)| index).collect();
    assert_eq!(found, expected, "{dialect:?} {rule:?} {failures:?}");
}

fn rule(threshold: u32, minimum_hosts: u32, request_volume: u32) -> FailurePercentage {
    FailurePercentage { threshold, minimum_hosts, request_volume, ..FailurePercentage::default() }
}

/// Envoy: `>=`; gRFC A50, "Failure Percentage Algorithm": "greater than".
#[test]
fn the_dialects_differ_at_the_threshold() {
    let failures = [(84, 100), (85, 100), (86, 100)];
    check(&rule(85, 1, 1), CapRule::Envoy, &failures, &[2, 1]);
    check(&rule(85, 1, 1), CapRule::Grpc, &failures, &[2]);
    check(&rule(100, 1, 1), CapRule::Envoy, &[(7, 7)], &[0]);
    check(&rule(100, 1, 1), CapRule::Grpc, &[(7, 7)], &[]);
    check(&rule(0, 1, 1), CapRule::Envoy, &[(0, 7)], &[0]);
    check(&rule(0, 1, 1), CapRule::Grpc, &[(0, 7)], &[]);
}

#[test]
fn volume_and_hosts_decide_who_counts() {
    let failures = [(50, 50), (49, 49), (0, 50)];
    check(&rule(85, 2, 50), CapRule::Envoy, &failures, &[0]);
    check(&rule(85, 3, 50), CapRule::Envoy, &failures, &[]);
    check(&rule(85, 3, 49), CapRule::Envoy, &failures, &[0, 1]);
    check(&rule(85, 0, 0), CapRule::Envoy, &[], &[]);
}

#[test]
fn the_evidence_is_in_percent() {
    let samples = [Sample { index: 4, calls: Calls { successes: 8, total: 64 } }];
    let found = outliers(&rule(85, 1, 1), CapRule::Envoy, &samples);
    let expected = Evidence::FailurePercentage { percentage: 87.5, threshold: 85, volume: 64 };
    assert_eq!(found, [(4, expected)]);
}
