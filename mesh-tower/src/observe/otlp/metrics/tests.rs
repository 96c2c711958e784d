//! Requests are read by the messages that OpenTelemetry publishes.

use super::super::super::fixture::{HOSTILE, busy};
use super::super::super::target::TargetLabels;
use super::*;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{self as proto, number_data_point};
use prost::Message as _;
use std::collections::BTreeSet;

const BEGUN: u64 = 1_000;
const NOW: u64 = 2_000;

fn resource() -> Vec<u8> {
    let mut written = Vec::new();
    Message(&mut written).message(1, |pair| attribute(pair, "service.name", "shop"));
    written
}

fn read(requests: &[Request]) -> Vec<proto::Metric> {
    let read = requests.iter().flat_map(|request| {
        let read = ExportMetricsServiceRequest::decode(&*request.message).unwrap();
        let [resource] = <[_; 1]>::try_from(read.resource_metrics).unwrap();
        assert_eq!(text(&resource.resource.unwrap().attributes), "service.name=shop");
        let [scope] = <[_; 1]>::try_from(resource.scope_metrics).unwrap();
        let name = scope.scope.unwrap();
        assert_eq!((&*name.name, &*name.version), ("mesh-tower", env!("CARGO_PKG_VERSION")));
        let points: usize = scope.metrics.iter().map(points).sum();
        assert_eq!(points as u64, request.items);
        scope.metrics
    });
    read.collect()
}

fn points(metric: &proto::Metric) -> usize {
    match metric.data.as_ref().unwrap() {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        other => panic!("{other:?}"),
    }
}

fn text(attributes: &[KeyValue]) -> String {
    let pairs = attributes.iter().map(|pair| match pair.value.as_ref().unwrap().value.as_ref() {
        Some(any_value::Value::StringValue(value)) => format!("{}={value}", pair.key),
        other => panic!("{other:?}"),
    });
    pairs.collect::<Vec<_>>().join(",")
}

fn numbers(points: &[proto::NumberDataPoint]) -> Vec<(String, i64, u64)> {
    let point = |point: &proto::NumberDataPoint| {
        assert_eq!(point.time_unix_nano, NOW);
        let Some(number_data_point::Value::AsInt(value)) = point.value else { panic!("{point:?}") };
        (text(&point.attributes), value, point.start_time_unix_nano)
    };
    points.iter().map(point).collect()
}

#[test]
fn every_metric_is_there_as_what_it_is() {
    let busy = busy();
    let requests = requests(&busy.registry, &resource(), &mut Starts::new(BEGUN), NOW);
    assert_eq!(requests.len(), 1);
    let metrics = read(&requests);
    let names: Vec<_> = metrics.iter().map(|metric| metric.name.clone()).collect();
    let expected: Vec<_> = Metric::ALL.iter().map(|metric| metric.otel_name()).collect();
    assert_eq!(names, expected);
    for (metric, read) in Metric::ALL.iter().zip(&metrics) {
        assert_eq!((&*read.unit, &*read.description), (metric.unit(), metric.help()));
        match (metric.kind(), read.data.as_ref().unwrap()) {
            (Kind::Gauge, Data::Gauge(gauge)) => {
                let points = numbers(&gauge.data_points);
                assert!(points.iter().all(|(_, _, start)| *start == 0), "{read:?}");
            }
            (Kind::Counter, Data::Sum(sum)) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{read:?}");
                let points = numbers(&sum.data_points);
                assert!(points.iter().all(|(_, _, start)| *start == BEGUN), "{read:?}");
            }
            (Kind::Histogram, Data::Histogram(histogram)) => {
                assert_eq!(histogram.aggregation_temporality, 2);
            }
            (kind, data) => panic!("{kind:?}: {data:?}"),
        }
    }
    let Some(Data::Sum(calls)) = &metrics[0].data else { panic!("{:?}", metrics[0]) };
    let failed = format!("virtual_host=shop,route={HOSTILE},cluster=reviews,status=503");
    assert!(numbers(&calls.data_points).contains(&(failed, 1, BEGUN)), "{calls:?}");
}

/// Calls of 1, 10 and 100 ms.
#[test]
fn a_histogram_has_its_bounds_and_counts() {
    let busy = busy();
    let metrics = read(&requests(&busy.registry, &resource(), &mut Starts::new(BEGUN), NOW));
    let metric = metrics.iter().find(|metric| metric.name == "mesh.call_duration").unwrap();
    let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
    let [point] = &*histogram.data_points else { panic!("{histogram:?}") };
    assert_eq!(
        text(&point.attributes),
        format!("virtual_host=shop,route={HOSTILE},cluster=reviews")
    );
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (BEGUN, NOW));
    assert_eq!((point.count, point.sum), (3, Some(0.111)));
    assert_eq!(point.explicit_bounds.len(), LE.len());
    assert_eq!(point.bucket_counts.len(), LE.len() + 1);
    assert!(point.explicit_bounds.is_sorted());
    let mut counted = BTreeSet::new();
    for (at, count) in point.bucket_counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        assert_eq!(*count, 1);
        counted.insert(format!("{}", point.explicit_bounds[at]));
    }
    assert_eq!(counted, ["0.001", "0.01", "0.1"].map(str::to_owned).into());
}

#[test]
fn many_series_are_several_requests_and_none_is_lost() {
    let registry = Registry::new();
    let name = "x".repeat(2_000);
    let cells: Vec<_> = (0..1_000)
        .map(|number| {
            let cells = registry.target(&TargetLabels {
                virtual_host: format!("{name}{number}").into(),
                route: "r".into(),
                cluster: "c".into(),
            });
            cells.call_started();
            cells
        })
        .collect();
    let requests = requests(&registry, &resource(), &mut Starts::new(BEGUN), NOW);
    // Each host has a gauge, at least.
    assert!(requests.len() > 1, "{}", requests.len());
    assert!(requests.iter().all(|request| request.message.len() < MAX_REQUEST + 8_192));
    let metrics = read(&requests);
    let active = metrics.iter().filter(|metric| metric.name == "mesh.calls_active");
    let hosts: BTreeSet<_> = active
        .flat_map(|metric| match &metric.data {
            Some(Data::Gauge(gauge)) => numbers(&gauge.data_points),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(hosts.len(), cells.len());
}

#[test]
fn a_mesh_that_has_nothing_to_say_says_it_in_one_request() {
    let requests = requests(&Registry::new(), &resource(), &mut Starts::new(BEGUN), NOW);
    assert!(requests.len() <= 1 && requests.iter().all(|request| request.items > 0));
}
