use super::super::code::Code;
use super::super::events::RetryOutcome;
use super::super::fixture::{attempt, busy, call, labels};
use super::*;
use mesh_core::model::Locality;
use std::thread;
use std::time::Duration;

fn numbers(registry: &Registry, metric: Metric) -> Vec<(String, u64)> {
    let mut numbers = Vec::new();
    registry.visit(metric, &mut |labels, value| match value {
        Value::Number(number) => numbers.push((labels.join("|"), number)),
        Value::Histogram(snapshot) => numbers.push((labels.join("|"), snapshot.count())),
    });
    numbers
}

fn total(registry: &Registry, metric: Metric) -> u64 {
    numbers(registry, metric).iter().map(|(_, number)| number).sum()
}

#[test]
fn the_same_labels_give_the_same_cells_while_they_live() {
    let registry = Registry::new();
    let first = registry.target(&labels("v", "r", "c"));
    assert!(Arc::ptr_eq(&first, &registry.target(&labels("v", "r", "c"))));
    assert!(!Arc::ptr_eq(&first, &registry.target(&labels("v", "r", "d"))));
    let cluster = registry.cluster(&"c".into());
    assert!(Arc::ptr_eq(&cluster, first.cluster().unwrap()));
    let place = Locality::new("r", "z", "");
    let locality = cluster.locality(&place);
    assert!(Arc::ptr_eq(&locality, &cluster.locality(&place)));
    assert!(Arc::ptr_eq(&cluster, locality.cluster()));
    assert!(!Arc::ptr_eq(&locality, &cluster.locality(&Locality::default())));
}

#[test]
fn a_route_that_answers_by_itself_has_no_cluster() {
    let registry = Registry::new();
    let target = registry.target(&labels("v", "r", ""));
    assert!(target.cluster().is_none());
    target.call_started();
    target.call_finished(&call(308, Duration::ZERO));
    assert_eq!(numbers(&registry, Metric::Calls), [("v|r||308||".to_owned(), 1)]);
}

#[test]
fn series_go_when_the_last_owner_goes_and_start_anew() {
    let registry = Registry::new();
    let first = registry.target(&labels("v", "r", "c"));
    let running = Arc::clone(&first);
    first.call_started();
    first.call_finished(&call(200, Duration::from_millis(1)));
    drop(first);
    assert_eq!(total(&registry, Metric::Calls), 1);
    drop(running);
    assert_eq!(total(&registry, Metric::Calls), 0);
    assert!(registry.targets.lock().is_empty());
    assert!(registry.clusters.lock().is_empty());

    let second = registry.target(&labels("v", "r", "c"));
    second.call_started();
    second.call_finished(&call(200, Duration::from_millis(1)));
    assert_eq!(total(&registry, Metric::Calls), 1);
}

#[test]
fn a_locality_that_leaves_takes_only_its_own_series() {
    let registry = Registry::new();
    let cluster = registry.cluster(&"c".into());
    let (one, two) =
        (cluster.locality(&Locality::new("1", "", "")), cluster.locality(&Locality::default()));
    for locality in [&one, &two] {
        let _reported = locality.attempt_started();
        locality.attempt_finished(&attempt(200, Duration::from_millis(1)));
    }
    cluster.attempt_unplaced(Code::default());
    let expected =
        [("c||||".to_owned(), 1), ("c||200||".to_owned(), 1), ("c|1//|200||".to_owned(), 1)];
    assert_eq!(numbers(&registry, Metric::Attempts), expected);
    drop(one);
    assert_eq!(numbers(&registry, Metric::Attempts), expected[..2]);
    // The durations are the cluster's.
    assert_eq!(total(&registry, Metric::AttemptDuration), 2);
    assert_eq!(total(&registry, Metric::AttemptsActive), 0);
}

#[test]
fn cells_may_outlive_their_registry() {
    let target = Registry::new().target(&labels("v", "r", "c"));
    target.call_started();
    target.call_finished(&call(200, Duration::ZERO));
}

#[test]
fn exporting_while_owners_come_and_go_neither_blocks_nor_doubles() {
    let registry = Registry::new();
    thread::scope(|scope| {
        let churn = || {
            for round in 0..2_000 {
                let target = registry.target(&labels("v", "r", ["a", "b"][round % 2]));
                let locality = target.cluster().map(|c| c.locality(&Locality::new("r", "", "")));
                target.call_started();
                target.call_finished(&call(200, Duration::from_micros(5)));
                drop((locality, target));
            }
        };
        scope.spawn(churn);
        scope.spawn(churn);
        for _ in 0..200 {
            let series = numbers(&registry, Metric::Calls);
            assert!(series.len() <= 2, "{series:?}");
            registry.prometheus(&mut String::new());
        }
    });
    assert!(registry.targets.lock().is_empty());
    assert!(registry.clusters.lock().is_empty());
}

#[test]
fn counts_of_many_threads_are_exact_and_gauges_return_to_zero() {
    const THREADS: u64 = 8;
    const CALLS: u64 = 5_000;
    let registry = Registry::new();
    let target = registry.target(&labels("v", "r", "c"));
    let cluster = registry.cluster(&"c".into());
    let locality = cluster.locality(&Locality::new("r", "z", "s"));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (target, cluster, locality) = (&target, &cluster, &locality);
            scope.spawn(move || {
                for index in 0..CALLS {
                    let status = [200, 404, 503][(thread + index) as usize % 3];
                    let duration = Duration::from_micros(index);
                    target.call_started();
                    let _reported = locality.attempt_started();
                    locality.attempt_finished(&attempt(status, duration));
                    cluster.retry(RetryOutcome::Started);
                    target.call_finished(&call(status, duration));
                }
            });
        }
    });
    for metric in [
        Metric::Calls,
        Metric::CallDuration,
        Metric::Attempts,
        Metric::AttemptDuration,
        Metric::Retries,
    ] {
        assert_eq!(total(&registry, metric), THREADS * CALLS, "{}", metric.name());
    }
    assert_eq!(total(&registry, Metric::CallsActive), 0);
    assert_eq!(total(&registry, Metric::AttemptsActive), 0);
}

#[test]
fn counters_never_fall_while_they_are_read() {
    let registry = Registry::new();
    let target = registry.target(&labels("v", "r", "c"));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    target.call_started();
                    target.call_finished(&call(200, Duration::from_millis(1)));
                }
            });
        }
        let mut last = 0;
        for _ in 0..500 {
            let now = total(&registry, Metric::Calls);
            assert!(now >= last, "{now} after {last}");
            assert!(total(&registry, Metric::CallsActive) <= 60_000);
            last = now;
        }
    });
}

#[test]
fn idle_cells_are_small() {
    use super::super::cluster::{ClusterCells, LocalityCells};
    // Two reference counts, and the registry's key and pointer at most half used.
    let counts = 2 * size_of::<usize>();
    let target = size_of::<TargetCells>() + counts;
    assert!(target + 2 * size_of::<(TargetLabels, Weak<TargetCells>)>() <= 512, "{target}");
    let cluster = size_of::<ClusterCells>() + counts;
    let locality = size_of::<LocalityCells>() + counts;
    assert!(cluster + locality <= 1_536, "{cluster} + {locality}");
    assert_eq!((target, cluster, locality), (240, 320, 272));
}

#[test]
fn everything_can_be_dropped_in_any_order() {
    let busy = busy();
    let (target, cluster, locality) = (busy.target, busy.cluster, busy.locality);
    drop(busy.registry);
    drop(busy.served);
    drop(cluster);
    drop(target);
    drop(locality);
}
