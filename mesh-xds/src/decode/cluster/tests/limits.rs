//! `circuit_breakers` and `outlier_detection`.

use super::{Accepted, Refused, check_all, check_all_refused};
use crate::decode::testing::{n, nanos, pct, secs, yes};
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::thresholds::RetryBudget;
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster, OutlierDetection};
use envoy_types::pb::google::protobuf::Duration as PbDuration;
use mesh_core::model;
use mesh_core::model::cluster::RetryConcurrency;
use mesh_core::model::outlier_detection::{FailurePercentage, SuccessRate};
use std::time::Duration;

fn breakers(cluster: &mut Cluster, thresholds: Vec<Thresholds>) {
    cluster.circuit_breakers = Some(CircuitBreakers { thresholds, ..Default::default() });
}

fn per_host(cluster: &mut Cluster, thresholds: Thresholds) {
    cluster.circuit_breakers =
        Some(CircuitBreakers { per_host_thresholds: vec![thresholds], ..Default::default() });
}

fn budget(budget_percent: f64) -> Thresholds {
    let budget = RetryBudget { budget_percent: pct(budget_percent), ..Default::default() };
    Thresholds { retry_budget: Some(budget), ..Default::default() }
}

fn outlier(cluster: &mut Cluster, change: impl FnOnce(&mut OutlierDetection)) {
    change(cluster.outlier_detection.get_or_insert_default());
}

fn expect_outlier(model: &mut model::Cluster, change: impl FnOnce(&mut model::OutlierDetection)) {
    change(model.outlier_detection.get_or_insert_default());
}

const REFUSED: &[Refused] = &[
    (
        "Envoy: the priority",
        |c| breakers(c, vec![Thresholds { priority: 5, ..Default::default() }]),
        "circuit_breakers.thresholds[0].priority: 5",
    ),
    (
        "Envoy: a percentage",
        |c| breakers(c, vec![budget(100.1)]),
        "circuit_breakers.thresholds[0].retry_budget.budget_percent: 100.1",
    ),
    (
        "a percentage is a number",
        |c| breakers(c, vec![budget(f64::NAN)]),
        "circuit_breakers.thresholds[0].retry_budget.budget_percent: NaN",
    ),
    (
        "a budget of the other priority is checked too",
        |c| breakers(c, vec![Thresholds { priority: 1, ..budget(-1.0) }]),
        "circuit_breakers.thresholds[0].retry_budget.budget_percent: -1",
    ),
    (
        "gRFC A105: 0",
        |c| per_host(c, Thresholds { max_connections: n(0), ..Default::default() }),
        "circuit_breakers.per_host_thresholds[0].max_connections: 0",
    ),
    ("Envoy: > 0", |c| outlier(c, |o| o.interval = secs(0)), "outlier_detection.interval: 0 s"),
    ("gRFC A50", |c| outlier(c, |o| o.interval = secs(-1)), "outlier_detection.interval: -1s"),
    (
        "gRFC A50: nanos are not negative",
        |c| outlier(c, |o| o.base_ejection_time = nanos(-1)),
        "outlier_detection.base_ejection_time: -1ns",
    ),
    (
        "Envoy: > 0",
        |c| outlier(c, |o| o.base_ejection_time = secs(0)),
        "outlier_detection.base_ejection_time: 0 s",
    ),
    (
        "gRFC A50",
        |c| outlier(c, |o| o.max_ejection_time = secs(-1)),
        "outlier_detection.max_ejection_time: -1s",
    ),
    (
        "protobuf: nanos < 10^9",
        |c| outlier(c, |o| o.max_ejection_time = nanos(1_000_000_000)),
        "outlier_detection.max_ejection_time: 1000000000ns",
    ),
    (
        "Envoy: max >= base",
        |c| outlier(c, |o| o.max_ejection_time = secs(29)),
        "outlier_detection.max_ejection_time: shorter than base_ejection_time",
    ),
    (
        "gRFC A50",
        |c| outlier(c, |o| o.max_ejection_time_jitter = secs(-1)),
        "outlier_detection.max_ejection_time_jitter: -1s",
    ),
    (
        "gRFC A50: <= 100",
        |c| outlier(c, |o| o.max_ejection_percent = n(101)),
        "outlier_detection.max_ejection_percent: 101",
    ),
    (
        "gRFC A50: <= 100",
        |c| outlier(c, |o| o.enforcing_consecutive_5xx = n(101)),
        "outlier_detection.enforcing_consecutive_5xx: 101",
    ),
    (
        "gRFC A50: <= 100",
        |c| outlier(c, |o| o.enforcing_consecutive_gateway_failure = n(101)),
        "outlier_detection.enforcing_consecutive_gateway_failure: 101",
    ),
    (
        "gRFC A50: <= 100",
        |c| outlier(c, |o| o.enforcing_consecutive_local_origin_failure = n(101)),
        "outlier_detection.enforcing_consecutive_local_origin_failure: 101",
    ),
    (
        "gRFC A50: <= 100",
        |c| outlier(c, |o| o.enforcing_success_rate = n(101)),
        "outlier_detection.enforcing_success_rate: 101",
    ),
    (
        "gRFC A50: <= 100",
        |c| outlier(c, |o| o.enforcing_local_origin_success_rate = n(101)),
        "outlier_detection.enforcing_local_origin_success_rate: 101",
    ),
    (
        "gRFC A50: <= 100",
        |c| outlier(c, |o| o.failure_percentage_threshold = n(101)),
        "outlier_detection.failure_percentage_threshold: 101",
    ),
    (
        "gRFC A50: <= 100",
        |c| outlier(c, |o| o.enforcing_failure_percentage = n(u32::MAX)),
        "outlier_detection.enforcing_failure_percentage: 4294967295",
    ),
    (
        "gRFC A50: <= 100",
        |c| outlier(c, |o| o.enforcing_failure_percentage_local_origin = n(101)),
        "outlier_detection.enforcing_failure_percentage_local_origin: 101",
    ),
    (
        "protobuf: the longest duration",
        |c| {
            outlier(c, |o| {
                o.interval = Some(PbDuration { seconds: 315_576_000_001, nanos: 0 });
            });
        },
        "outlier_detection.interval: 315576000001s",
    ),
];

#[test]
fn what_is_refused() {
    check_all_refused(REFUSED);
}

#[test]
fn limits_that_are_accepted() {
    check_all(LIMITS);
}

const LIMITS: &[Accepted] = &[
    ("Envoy: no thresholds, the defaults", |c| breakers(c, vec![]), |_| {}, &[]),
    (
        "Envoy: both priorities",
        |c| {
            let default =
                Thresholds { max_requests: n(7), max_retries: n(3), ..Default::default() };
            let high = Thresholds {
                priority: 1,
                max_connections: n(0),
                max_pending_requests: n(u32::MAX),
                ..Default::default()
            };
            breakers(c, vec![high, default]);
        },
        |m| {
            m.circuit_breakers.default.max_requests = 7;
            m.circuit_breakers.default.max_retries = Some(3);
            m.circuit_breakers.high.max_connections = 0;
            m.circuit_breakers.high.max_pending_requests = u32::MAX;
        },
        &[],
    ),
    (
        "gRFC A32: the first of a priority",
        |c| {
            let first = Thresholds { max_requests: n(7), ..Default::default() };
            let second =
                Thresholds { max_requests: n(8), max_connections: n(8), ..Default::default() };
            breakers(c, vec![first, second]);
        },
        |m| m.circuit_breakers.default.max_requests = 7,
        &["circuit_breakers.thresholds[1].priority"],
    ),
    (
        "Envoy: a budget, with its defaults",
        |c| {
            let thresholds =
                Thresholds { retry_budget: Some(RetryBudget::default()), ..Default::default() };
            breakers(c, vec![thresholds]);
        },
        |m| m.retry_budget.concurrency = Some(RetryConcurrency::default()),
        &[],
    ),
    (
        "Envoy: beside a budget max_retries does not count",
        |c| {
            let mut thresholds = Thresholds { max_retries: n(1), ..budget(50.0) };
            thresholds.retry_budget.as_mut().unwrap().min_retry_concurrency = n(9);
            breakers(c, vec![thresholds]);
        },
        |m| {
            let mut concurrency = RetryConcurrency::default();
            concurrency.budget_percent = 50.0;
            concurrency.min_retry_concurrency = 9;
            m.retry_budget.concurrency = Some(concurrency);
        },
        &["circuit_breakers.thresholds[0].max_retries"],
    ),
    (
        "one budget per cluster",
        |c| breakers(c, vec![Thresholds { priority: 1, ..budget(50.0) }]),
        |_| {},
        &["circuit_breakers.thresholds[0].retry_budget"],
    ),
    (
        "gRFC A105: connections per endpoint",
        |c| {
            let thresholds =
                Thresholds { max_connections: n(2), max_requests: n(3), ..Default::default() };
            per_host(c, thresholds);
        },
        |m| m.circuit_breakers.max_connections_per_endpoint = Some(2),
        &["circuit_breakers.per_host_thresholds[0].max_requests"],
    ),
];

#[test]
fn rules_of_ejection_that_are_accepted() {
    check_all(EJECTIONS);
}

const EJECTIONS: &[Accepted] = &[
    ("Envoy: the defaults", |c| outlier(c, |_| {}), |m| expect_outlier(m, |_| {}), &[]),
    (
        "gRFC A50: max is at least the base",
        |c| outlier(c, |o| o.base_ejection_time = secs(400)),
        |m| {
            expect_outlier(m, |o| {
                o.base_ejection_time = Duration::from_secs(400);
                o.max_ejection_time = Duration::from_secs(400);
            });
        },
        &[],
    ),
    (
        "Envoy: times and the cap",
        |c| {
            outlier(c, |o| {
                o.interval = nanos(1);
                o.max_ejection_time = secs(30);
                o.max_ejection_time_jitter = secs(1);
                o.max_ejection_percent = n(100);
                o.always_eject_one_host = yes();
            });
        },
        |m| {
            expect_outlier(m, |o| {
                o.interval = Duration::from_nanos(1);
                o.max_ejection_time = Duration::from_secs(30);
                o.max_ejection_time_jitter = Duration::from_secs(1);
                o.max_ejection_percent = 100;
                o.always_eject_one_endpoint = true;
            });
        },
        &[],
    ),
    (
        "Envoy: failures in a row, and 0 watches nothing",
        |c| {
            outlier(c, |o| {
                o.consecutive_5xx = n(7);
                o.consecutive_gateway_failure = n(0);
                o.enforcing_consecutive_gateway_failure = n(50);
                o.split_external_local_origin_errors = true;
                o.consecutive_local_origin_failure = n(3);
            });
        },
        |m| {
            expect_outlier(m, |o| {
                o.consecutive_5xx = Some(7);
                o.consecutive_gateway_failure = None;
                o.enforcing_consecutive_gateway_failure = 50;
                o.split_external_local_origin_errors = true;
                o.consecutive_local_origin_failure = Some(3);
            });
        },
        &[],
    ),
    (
        "Envoy: success rates share all but enforcing",
        |c| {
            outlier(c, |o| {
                o.success_rate_minimum_hosts = n(2);
                o.success_rate_request_volume = n(3);
                o.success_rate_stdev_factor = n(4);
                o.enforcing_success_rate = n(0);
            });
        },
        |m| {
            expect_outlier(m, |o| {
                let mut rate = SuccessRate::default();
                (rate.minimum_hosts, rate.request_volume, rate.stdev_factor) = (2, 3, 4);
                o.local_origin_success_rate = Some(rate);
                rate.enforcing = 0;
                o.success_rate = Some(rate);
            });
        },
        &[],
    ),
    (
        "gRFC A50: failure percentages run when they are enforced",
        |c| {
            outlier(c, |o| {
                o.failure_percentage_threshold = n(10);
                o.enforcing_failure_percentage = n(100);
            });
        },
        |m| {
            expect_outlier(m, |o| {
                let mut rule = FailurePercentage::default();
                (rule.threshold, rule.enforcing) = (10, 100);
                o.failure_percentage = Some(rule);
            });
        },
        &[],
    ),
    (
        "gRFC A50: and not otherwise",
        |c| outlier(c, |o| o.failure_percentage_threshold = n(10)),
        |m| expect_outlier(m, |_| {}),
        &[],
    ),
];
