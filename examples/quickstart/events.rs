//! What the mesh says of itself while it runs: its log lines, and the counters of its metrics.

use mesh_tower::Mesh;
use parking_lot::Mutex;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The warnings that the mesh logged, with the seconds since the start.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    lines: Arc<Mutex<Vec<String>>>,
    start: Instant,
}

impl Events {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { lines: Arc::default(), start: Instant::now() }
    }

    /// Collects what the whole program logs from now on.
    pub(crate) fn collect(&self) -> Result<(), super::BoxError> {
        let subscriber = tracing_subscriber::registry().with(self.clone());
        Ok(tracing::subscriber::set_global_default(subscriber)?)
    }

    /// The newest `count` of them.
    pub(crate) fn newest(&self, count: usize) -> Vec<String> {
        let lines = self.lines.lock();
        lines[lines.len().saturating_sub(count)..].to_vec()
    }
}

impl<S: Subscriber> Layer<S> for Events {
    /// Only what the mesh has to say; everything else that is instrumented stays switched off.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == "mesh" && *metadata.level() <= Level::WARN
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(format!("{:5.2}s", self.start.elapsed().as_secs_f64()));
        event.record(&mut line);
        self.lines.lock().push(line.0);
    }
}

/// ` 0.31s  what the mesh said`.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a string can't fail.
            write!(self.0, "  {value:?}").unwrap_or_default();
        }
    }
}

/// The mesh's own counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) retries: u64,
    pub(crate) ejections: u64,
    /// Endpoints that are out now.
    pub(crate) ejected: u64,
}

impl Counters {
    pub(crate) fn of(mesh: &Mesh) -> Self {
        let text = mesh.metrics().prometheus_text();
        Self {
            retries: sum(&text, "mesh_retries_total", "outcome=\"started\"")
                + sum(&text, "mesh_transparent_retries_total", ""),
            ejections: sum(&text, "mesh_ejections_total", "outcome=\"enforced\""),
            ejected: sum(&text, "mesh_endpoints", "state=\"ejected\""),
        }
    }
}

/// The sum of all series of `metric` that have `label`.
pub(crate) fn sum(text: &str, metric: &str, label: &str) -> u64 {
    let series = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'));
    let values = series.filter_map(|series| series.rsplit_once("} "));
    let values = values.filter(|(labels, _)| labels.contains(label));
    values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}
