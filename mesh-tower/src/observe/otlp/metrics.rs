//! All metrics as requests of OTLP (`opentelemetry/proto/metrics/v1/metrics.proto`).
//!
//! - Counters are monotonic sums, gauges gauges, and histograms histograms: with the explicit bounds of the Prometheus
//!   text, each of which is a bound of ours, so every count is exact.
//! - All of them are cumulative, so one that is lost costs resolution and no count.
//! - A request is cut where it would be larger than [`MAX_REQUEST`]: collectors take 4 MiB, unless told otherwise.

use super::super::histogram::HistogramSnapshot;
use super::super::names::{Kind, Metric};
use super::super::prometheus::{LE, cumulative};
use super::super::registry::{Registry, Value};
use super::starts::Starts;
use super::wire::Message;
use bytes::Bytes;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// About the size of a request, in bytes; one point more than this at most.
pub(super) const MAX_REQUEST: usize = 1 << 20;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;

/// What is sent at once.
pub(super) struct Request {
    /// `ExportMetricsServiceRequest`, or its like.
    pub(super) message: Bytes,
    /// Its points, or spans.
    pub(super) items: u64,
}

/// Everything that `registry` holds as of `now`, in nanoseconds since the Unix epoch. `resource` is a `Resource`.
pub(super) fn requests(
    registry: &Registry,
    resource: &[u8],
    starts: &mut Starts,
    now: u64,
) -> Vec<Request> {
    let mut writer = Writer { resource, requests: Vec::new(), metrics: Vec::new(), items: 0 };
    let mut points = Vec::new();
    for metric in Metric::ALL {
        let mut count = 0;
        registry.visit(*metric, &mut |values, value| {
            let total = match &value {
                Value::Number(number) => *number,
                Value::Histogram(snapshot) => snapshot.count(),
            };
            let start =
                (metric.kind() != Kind::Gauge).then(|| starts.of(key_of(*metric, values), total));
            // Fields of `Gauge`, `Sum` and `Histogram`: `data_points` is the first of all of them.
            Message(&mut points).message(1, |point| {
                match value {
                    Value::Number(number) => number_point(point, number),
                    Value::Histogram(snapshot) => histogram_point(point, snapshot),
                }
                .common(*metric, values, start, now)
            });
            count += 1;
            if writer.metrics.len() + points.len() >= MAX_REQUEST {
                writer.metric(*metric, &mut points, std::mem::take(&mut count));
                writer.request();
            }
        });
        writer.metric(*metric, &mut points, count);
    }
    writer.request();
    starts.end(now);
    writer.requests
}

/// Requests, and the metrics of the next one.
struct Writer<'r> {
    resource: &'r [u8],
    requests: Vec<Request>,
    metrics: Vec<u8>,
    items: u64,
}

impl Writer<'_> {
    /// Takes the points of a metric, if there are any.
    fn metric(&mut self, metric: Metric, points: &mut Vec<u8>, count: u64) {
        if count == 0 {
            return;
        }
        self.items += count;
        // `ScopeMetrics.metrics`.
        Message(&mut self.metrics).message(2, |message| {
            message.text(1, &metric.otel_name());
            message.text(2, metric.help());
            message.text(3, metric.unit());
            let field = match metric.kind() {
                Kind::Gauge => 5,
                Kind::Counter => 7,
                Kind::Histogram => 9,
            };
            message.message(field, |data| {
                data.0.append(points);
                if metric.kind() != Kind::Gauge {
                    data.number(2, CUMULATIVE);
                }
                if metric.kind() == Kind::Counter {
                    // `is_monotonic`.
                    data.number(3, 1);
                }
            });
        });
    }

    /// Makes a request of what there is, if there is anything.
    fn request(&mut self) {
        if self.items == 0 {
            return;
        }
        let mut message = Vec::with_capacity(self.metrics.len() + self.resource.len() + 128);
        // `resource_metrics`, `scope_metrics`.
        Message(&mut message).message(1, |resource| {
            resource.bytes(1, self.resource);
            resource.message(2, |scope| {
                own_scope(scope);
                scope.0.append(&mut self.metrics);
            });
        });
        let items = std::mem::take(&mut self.items);
        self.requests.push(Request { message: message.into(), items });
    }
}

/// `InstrumentationScope`, the first field of all scopes.
pub(super) fn own_scope(scope: &mut Message<'_>) {
    scope.message(1, |scope| {
        scope.text(1, env!("CARGO_PKG_NAME"));
        scope.text(2, env!("CARGO_PKG_VERSION"));
    });
}

/// A series, by what it is of.
fn key_of(metric: Metric, values: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (metric.name(), values).hash(&mut hasher);
    hasher.finish()
}

/// A point without what all points have.
struct Point<'p, 'm> {
    point: &'p mut Message<'m>,
    /// The number of the field `attributes`.
    attributes: u32,
}

/// `NumberDataPoint`: `as_int`, which is an `sfixed64`.
fn number_point<'p, 'm>(point: &'p mut Message<'m>, number: u64) -> Point<'p, 'm> {
    point.fixed64(6, number.min(i64::MAX as u64));
    Point { point, attributes: 7 }
}

/// `HistogramDataPoint`: `count`, `sum`, `bucket_counts`, `explicit_bounds`.
fn histogram_point<'p, 'm>(
    point: &'p mut Message<'m>,
    snapshot: &HistogramSnapshot,
) -> Point<'p, 'm> {
    let count = snapshot.count();
    point.fixed64(4, count);
    point.fixed64(5, seconds(snapshot.sum_nanos()).to_bits());
    let mut before = 0;
    let up_to = cumulative(snapshot).map(|(_, up_to)| up_to).chain([count]);
    let counts = up_to.map(|up_to| up_to - std::mem::replace(&mut before, up_to));
    point.packed64(6, LE.len() + 1, counts);
    let bounds = LE.iter().map(|bound| seconds(*bound).to_bits());
    point.packed64(7, LE.len(), bounds);
    Point { point, attributes: 9 }
}

impl Point<'_, '_> {
    /// Attributes that don't apply are left out.
    fn common(self, metric: Metric, values: &[&str], start: Option<u64>, now: u64) {
        let Point { point, attributes } = self;
        if let Some(start) = start {
            point.fixed64(2, start);
        }
        point.fixed64(3, now);
        for (label, value) in metric.labels().iter().zip(values) {
            if !value.is_empty() {
                point.message(attributes, |pair| attribute(pair, Metric::attribute(label), value));
            }
        }
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

/// `KeyValue`, with a text.
pub(super) fn attribute(pair: &mut Message<'_>, key: &str, value: &str) {
    pair.text(1, key);
    pair.message(2, |any| any.text(1, value));
}

#[cfg(test)]
mod tests;
