//! All metrics as OpenTelemetry instruments, read by the SDK when it collects.
//!
//! Every instrument is observable: its callback walks the cells, and nothing happens on the call path.
//! The meter is an argument and never the global provider's (gRFC A66). The API has no observable
//! histogram, so a histogram is three counters, as in the Prometheus text: `mesh.call_duration.bucket`
//! with the upper bound in seconds as attribute `le`, `….count` and `….sum`.
//!
//! The SDK keeps at most 2,000 series per instrument by default and folds the rest into one. A mesh
//! with more raises `cardinality_limit` by a view.

use super::histogram::HistogramSnapshot;
use super::names::{Kind, Metric};
use super::prometheus::{Seconds, cumulative};
use super::registry::{Registry, Value};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Registers every metric on `meter`. The instruments do not keep `registry` alive; they
/// observe nothing once it is gone.
pub(super) fn register(registry: &Arc<Registry>, meter: &Meter) {
    for metric in Metric::ALL.iter().copied() {
        let registry = Arc::downgrade(registry);
        if metric.kind() == Kind::Histogram {
            register_histogram(&registry, metric, meter);
            continue;
        }
        let observe = move |instrument: &dyn AsyncInstrument<u64>| {
            observe(&registry, metric, instrument);
        };
        let (name, unit, help) = (metric.otel_name(), metric.unit(), metric.help());
        match metric.kind() {
            Kind::Counter => {
                let builder = meter.u64_observable_counter(name).with_unit(unit);
                builder.with_description(help).with_callback(observe).build();
            }
            Kind::Gauge | Kind::Histogram => {
                let builder = meter.u64_observable_gauge(name).with_unit(unit);
                builder.with_description(help).with_callback(observe).build();
            }
        }
    }
}

/// The parts of a histogram, each a counter.
#[derive(Clone, Copy)]
enum Part {
    Bucket,
    Count,
}

fn register_histogram(registry: &Weak<Registry>, metric: Metric, meter: &Meter) {
    let (name, help) = (metric.otel_name(), metric.help());
    for (part, suffix, unit) in [(Part::Bucket, "bucket", "1"), (Part::Count, "count", "1")] {
        let registry = Weak::clone(registry);
        let builder = meter.u64_observable_counter(format!("{name}.{suffix}")).with_unit(unit);
        let observe = move |instrument: &dyn AsyncInstrument<u64>| {
            histograms(&registry, metric, &mut |snapshot, attributes| match part {
                Part::Count => instrument.observe(snapshot.count(), attributes),
                Part::Bucket => buckets(snapshot, attributes, instrument),
            });
        };
        builder.with_description(help).with_callback(observe).build();
    }
    let registry = Weak::clone(registry);
    let builder = meter.f64_observable_counter(format!("{name}.sum")).with_unit(metric.unit());
    let observe = move |instrument: &dyn AsyncInstrument<f64>| {
        histograms(&registry, metric, &mut |snapshot, attributes| {
            let nanos = snapshot.sum_nanos();
            instrument.observe(Duration::from_nanos(nanos).as_secs_f64(), attributes);
        });
    };
    builder.with_description(help).with_callback(observe).build();
}

fn histograms(
    registry: &Weak<Registry>,
    metric: Metric,
    visit: &mut dyn FnMut(&HistogramSnapshot, &[KeyValue]),
) {
    let Some(registry) = registry.upgrade() else { return };
    registry.visit(metric, &mut |values, value| {
        if let Value::Histogram(snapshot) = value {
            visit(snapshot, &attributes(metric, values));
        }
    });
}

fn buckets(
    snapshot: &HistogramSnapshot,
    attributes: &[KeyValue],
    instrument: &dyn AsyncInstrument<u64>,
) {
    let mut attributes = attributes.to_vec();
    let bounds = cumulative(snapshot).map(|(le, count)| (Seconds(le).to_string(), count));
    for (le, count) in bounds.chain([("+Inf".to_owned(), snapshot.count())]) {
        attributes.push(KeyValue::new("le", le));
        instrument.observe(count, &attributes);
        attributes.pop();
    }
}

fn observe(registry: &Weak<Registry>, metric: Metric, instrument: &dyn AsyncInstrument<u64>) {
    let Some(registry) = registry.upgrade() else { return };
    registry.visit(metric, &mut |values, value| {
        let Value::Number(number) = value else { return };
        instrument.observe(number, &attributes(metric, values));
    });
}

/// An attribute that does not apply is left out: OpenTelemetry has no empty ones by custom.
fn attributes(metric: Metric, values: &[&str]) -> Vec<KeyValue> {
    let pairs = metric.labels().iter().zip(values).filter(|(_, value)| !value.is_empty());
    let pair = |(name, value): (&&'static str, &&str)| {
        KeyValue::new(Metric::attribute(name), (*value).to_owned())
    };
    pairs.map(pair).collect()
}

#[cfg(test)]
mod tests;
