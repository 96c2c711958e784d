//! What the SDK sees when it collects.

use super::super::fixture::{Busy, HOSTILE, busy};
use super::*;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use std::collections::{BTreeMap, BTreeSet};

type Series = BTreeMap<String, u64>;

struct Sdk {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Sdk {
    fn new(registry: &Arc<Registry>) -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        super::super::Metrics::new(Arc::clone(registry)).register(&provider.meter("mesh"));
        Self { provider, exporter }
    }

    /// All series by instrument: `a=1,b=2` → value.
    fn collect(&self) -> BTreeMap<String, Series> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let collected = self.exporter.get_finished_metrics().unwrap();
        let scopes = collected.iter().flat_map(|resource| resource.scope_metrics());
        let metrics = scopes.flat_map(|scope| scope.metrics());
        metrics.map(|metric| (metric.name().to_owned(), series(metric.data()))).collect()
    }
}

fn series(data: &AggregatedMetrics) -> Series {
    match data {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            assert!(sum.is_monotonic());
            sum.data_points().map(|point| (attributes(point.attributes()), point.value())).collect()
        }
        AggregatedMetrics::F64(MetricData::Sum(sum)) => {
            assert!(sum.is_monotonic());
            let points = sum.data_points();
            let micros = |value: f64| (value * 1e6).round() as u64;
            points.map(|point| (attributes(point.attributes()), micros(point.value()))).collect()
        }
        AggregatedMetrics::U64(MetricData::Gauge(gauge)) => {
            let points = gauge.data_points();
            points.map(|point| (attributes(point.attributes()), point.value())).collect()
        }
        other => panic!("not registered here: {other:?}"),
    }
}

fn attributes<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut pairs: Vec<_> =
        attributes.map(|pair| format!("{}={}", pair.key, pair.value.as_str())).collect();
    pairs.sort();
    pairs.join(",")
}

#[test]
fn every_metric_is_observed() {
    let Busy { registry, target: _target, locality: _locality, state: _state, .. } = &busy();
    let collected = Sdk::new(registry).collect();
    let names: BTreeSet<_> = collected.keys().cloned().collect();
    let expected: BTreeSet<_> = (Metric::ALL.iter())
        .flat_map(|metric| {
            let suffixes: &[&str] = match metric.kind() {
                Kind::Histogram => &[".bucket", ".count", ".sum"],
                Kind::Counter | Kind::Gauge => &[""],
            };
            suffixes.iter().map(|suffix| metric.otel_name() + suffix)
        })
        .collect();
    assert_eq!(names, expected);
    let labels = format!("cluster=reviews,route={HOSTILE},status=503,virtual_host=shop");
    assert_eq!(collected["mesh.calls"][&labels], 1);
    let route = format!("cluster=reviews,route={HOSTILE},virtual_host=shop");
    assert_eq!(collected["mesh.call_duration.count"][&route], 3);
    assert_eq!(collected["mesh.call_duration.sum"][&route], 111_000, "microseconds");
    let bucket = |le: &str| {
        collected["mesh.call_duration.bucket"]
            [&format!("cluster=reviews,le={le},route={HOSTILE},virtual_host=shop")]
    };
    assert_eq!(["0.001", "0.01", "0.05", "+Inf"].map(bucket), [1, 2, 2, 3]);
    assert_eq!(collected["mesh.endpoints"]["cluster=reviews,state=healthy"], 3);
    assert_eq!(collected["mesh.cluster_panic"]["cluster=reviews"], 0);
    assert_eq!(collected["mesh.snapshot_swaps"][""], 1);
    let server = "grpc.target=#mesh,grpc.xds.server=xds:1";
    assert_eq!(collected["grpc.xds_client.connected"][server], 1);
    assert_eq!(collected["grpc.xds_client.server_failure"][server], 3);
}

#[test]
fn what_leaves_the_configuration_leaves_the_instruments() {
    let busy = busy();
    let sdk = Sdk::new(&busy.registry);
    assert!(sdk.collect().contains_key("mesh.hedges"));
    let registry = Arc::clone(&busy.registry);
    drop(busy);
    let collected = sdk.collect();
    assert!(!collected.contains_key("mesh.hedges"), "{collected:?}");
    assert!(collected.contains_key("mesh.snapshot_swaps"));
    drop(registry);
    assert!(sdk.collect().is_empty());
}
