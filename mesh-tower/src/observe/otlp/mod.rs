//! [`Otlp`]: telemetry sent to a collector, over OTLP/gRPC.
//!
//! Who wants an SDK of OpenTelemetry has [`Metrics::register`](super::Metrics::register), and histograms in three
//! parts, because the API has no observable histogram. This writes OTLP itself, from the same cells: histograms are
//! histograms, nothing is counted twice, and there is no SDK to be set up.
//!
//! Rules:
//! - It has a thread of its own. No call waits for it, takes a lock of it, or knows of it: telemetry fails open.
//! - One request is on its way at a time, and one batch is held at most. Points are cumulative, so a batch that could
//!   not be sent is dropped, and the next one has all that it had.
//! - A batch has one time limit ([`OtlpTarget::timeout`](mesh_core::otlp::OtlpTarget)). Within it, what may succeed
//!   later is tried again, with waits that grow and differ ([`mesh_core::otlp`]).
//! - What was exported, what was dropped and why, and what waits is counted: `mesh_telemetry_exported_total`,
//!   `mesh_telemetry_dropped_total`, `mesh_telemetry_queued`.
//! - Spans are of requests that are sampled ([`Sampler`](mesh_core::otlp::Sampler)); a queue holds those that wait, and
//!   what finds no room in it is dropped.
//! - Memory: one encoding of all series, in requests of 1 MiB, and 100 bytes for each series.
//!
//! ```text
//! cells ── interval ──> requests ──> link ── gRPC ──> collector
//!                                     │ again, until the batch's time is up
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `metrics.rs`, `starts.rs`, `export.rs` | cells → requests; since when each series counts; when they are sent |
//! | `traces.rs` | spans that have ended → requests, and when they are sent |
//! | `wire.rs` | protobuf |
//! | `link.rs`, `dial.rs` | requests → answers, connections |
//! | `answer.rs` | what answers say |

mod answer;
mod dial;
mod export;
mod link;
mod metrics;
mod starts;
mod traces;
mod wire;

use super::exported::Signal;
use super::registry::Registry;
use super::spans::Spans;
use crate::Mesh;
use crate::net::Draw;
use export::MetricsExport;
use mesh_core::Random as _;
use mesh_core::otlp::{OtlpSettings, OtlpTarget};
use std::sync::Arc;
use std::{fmt, io, thread};
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use traces::TracesExport;
use wire::Message;

/// An exporter of OTLP that has not begun.
///
/// # Examples
/// ```no_run
/// use mesh_core::otlp::OtlpSettings;
/// use mesh_tower::Mesh;
/// use mesh_tower::observe::Otlp;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mesh = Mesh::from_file("mesh.yaml")?;
/// let settings = OtlpSettings::read(None, |name| std::env::var_os(name))?;
/// let export = Otlp::new(settings).start(&mesh)?;
/// // At the end of the program:
/// export.stop().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Otlp(OtlpSettings);

/// An exporter that runs: until it is [stopped](Self::stop) or dropped.
#[must_use = "dropping it ends the exports"]
pub struct OtlpExport {
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
    registry: Arc<Registry>,
}

/// What became of the points of metrics, or of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtlpCounts {
    /// The collector took them.
    pub exported: u64,
    /// They could not be sent, or were refused.
    pub dropped: u64,
    /// They wait, or are on their way.
    pub queued: u64,
}

impl Otlp {
    /// Exports what `settings` say.
    #[must_use]
    pub const fn new(settings: OtlpSettings) -> Self {
        Self(settings)
    }

    /// Begins, on a thread of its own. A mesh has one exporter, or its counts are those of all.
    ///
    /// Whether there is a collector is seen later, and no error: the log tells, and metrics do.
    ///
    /// # Errors
    /// `https` without the feature `tls`; the system has no thread.
    pub fn start(self, mesh: &Mesh) -> io::Result<OtlpExport> {
        let registry = mesh.metrics().0;
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let export = OtlpExport { stop, ended, registry: Arc::clone(&registry) };
        let settings = self.0;
        if settings.is_empty() {
            return Ok(export);
        }
        let targets = [&settings.metrics, &settings.traces];
        let secure = |target: &&OtlpTarget| target.endpoint.is_secure();
        if let Some(target) = targets.into_iter().flatten().find(secure).filter(|_| !dial::HAS_TLS)
        {
            let message = format!("{}: built without the feature `tls`", target.endpoint);
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let resource = resource(&settings);
        let traces = traces(&settings, &registry, &resource);
        let metrics = settings.metrics.map(|target| {
            registry.exported().begun(Signal::Metrics);
            MetricsExport::new(registry, target, settings.interval, resource)
        });
        let run = move || {
            let also = stopped.clone();
            runtime.block_on(async {
                tokio::join!(
                    async {
                        if let Some(metrics) = metrics {
                            metrics.run(stopped).await;
                        }
                    },
                    async {
                        if let Some(traces) = traces {
                            traces.run(also).await;
                        }
                    }
                )
            });
            // A name that is still being looked up is not waited for.
            runtime.shutdown_background();
            drop(end);
        };
        thread::Builder::new().name("mesh-otlp".to_owned()).spawn(run)?;
        Ok(export)
    }
}

/// From now on spans are made.
fn traces(
    settings: &OtlpSettings,
    registry: &Arc<Registry>,
    resource: &[u8],
) -> Option<TracesExport> {
    let target = settings.traces.clone()?;
    let size = (settings.max_spans, settings.span_batch);
    let (spans, ended) = Spans::new(settings.sampler, size, registry.exported());
    // Another exporter has them.
    if !registry.set_spans(spans) {
        return None;
    }
    registry.exported().begun(Signal::Spans);
    let often = (settings.span_batch, settings.span_delay);
    Some(TracesExport::new(Arc::clone(registry), target, ended, often, resource.to_vec()))
}

impl OtlpExport {
    /// Exports once more what there is now, and ends; within three seconds, whatever the collector does.
    ///
    /// # Cancel safety
    /// Cancel safe: it ends without being waited for.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // Nothing is ever sent: its end is what is waited for.
        let _ended = (&mut self.ended).await.is_err();
    }

    /// What became of the points of metrics so far.
    #[must_use]
    pub fn counts(&self) -> OtlpCounts {
        self.of(Signal::Metrics)
    }

    /// What became of the spans so far.
    #[must_use]
    pub fn span_counts(&self) -> OtlpCounts {
        self.of(Signal::Spans)
    }

    fn of(&self, signal: Signal) -> OtlpCounts {
        let [exported, dropped, queued] = self.registry.exported().counts(signal);
        OtlpCounts { exported, dropped, queued }
    }
}

impl fmt::Debug for OtlpExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpExport").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// A `Resource`, with what nobody said of it.
fn resource(settings: &OtlpSettings) -> Vec<u8> {
    let given = settings.resource.iter().map(|(key, value)| (&**key, value.clone()));
    let added = [
        ("service.name", service as fn() -> String),
        ("service.instance.id", instance),
        ("telemetry.sdk.name", || env!("CARGO_PKG_NAME").to_owned()),
        ("telemetry.sdk.language", || "rust".to_owned()),
        ("telemetry.sdk.version", || env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let added = added.into_iter().filter(|(key, _)| settings.resource(key).is_none());
    let mut written = Vec::new();
    for (key, value) in given.chain(added.map(|(key, value)| (key, value()))) {
        Message(&mut written).message(1, |pair| metrics::attribute(pair, key, &value));
    }
    written
}

/// Semantic conventions, "Service": what is said where nobody says which it is.
fn service() -> String {
    let program = std::env::current_exe().ok();
    let name =
        program.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
    name.map_or_else(|| "unknown_service".to_owned(), |name| format!("unknown_service:{name}"))
}

/// A UUID of version 4 (RFC 9562): two processes of one service must not be one series.
fn instance() -> String {
    let bits = u128::from(Draw.next_u64()) << 64 | u128::from(Draw.next_u64());
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_a_uuid_of_its_own() {
        let (one, two) = (instance(), instance());
        assert_ne!(one, two);
        let parts: Vec<_> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert!(one[14..].starts_with('4') && "89ab".contains(&one[19..20]), "{one}");
    }
}
