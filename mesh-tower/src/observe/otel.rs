//! Counters and gauges as OpenTelemetry instruments, read by the SDK when it collects.
//!
//! Every instrument is observable: its callback walks the cells, and nothing happens on the call path.
//! The meter is an argument and never the global provider's (gRFC A66). Histograms are not here: the
//! API has no observable histogram, so they are encoded by whoever exports them.
//!
//! The SDK keeps at most 2,000 series per instrument by default and folds the rest into one. A mesh
//! with more raises `cardinality_limit` by a view.

use super::names::{Kind, Metric};
use super::registry::{Registry, Value};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use std::sync::{Arc, Weak};

/// Registers every counter and gauge on `meter`. The instruments do not keep `registry` alive; they
/// observe nothing once it is gone.
pub(super) fn register(registry: &Arc<Registry>, meter: &Meter) {
    for metric in Metric::ALL.iter().copied() {
        let registry = Arc::downgrade(registry);
        let observe = move |instrument: &dyn AsyncInstrument<u64>| {
            observe(&registry, metric, instrument);
        };
        let (name, unit, help) = (metric.otel_name(), metric.unit(), metric.help());
        match metric.kind() {
            Kind::Counter => {
                let builder = meter.u64_observable_counter(name).with_unit(unit);
                builder.with_description(help).with_callback(observe).build();
            }
            Kind::Gauge => {
                let builder = meter.u64_observable_gauge(name).with_unit(unit);
                builder.with_description(help).with_callback(observe).build();
            }
            Kind::Histogram => {}
        }
    }
}

fn observe(registry: &Weak<Registry>, metric: Metric, instrument: &dyn AsyncInstrument<u64>) {
    let Some(registry) = registry.upgrade() else { return };
    registry.visit(metric, &mut |values, value| {
        let Value::Number(number) = value else { return };
        // An attribute that does not apply is left out: OpenTelemetry has no empty ones by custom.
        let attributes: Vec<_> = (metric.labels().iter().zip(values))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| KeyValue::new(*name, (*value).to_owned()))
            .collect();
        instrument.observe(number, &attributes);
    });
}

#[cfg(test)]
mod tests;
