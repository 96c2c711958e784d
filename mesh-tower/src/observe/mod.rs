//! What the mesh says about itself: metrics, the report of a call, trace context.
//!
//! A request touches a dozen series. Looked up by label, each would cost more than the routing of the
//! call (77 ns for one OpenTelemetry counter with five attributes, 160 with two threads on it), and
//! labels taken from requests let strangers fill the memory. So the cells are the mesh's own: resolved
//! when a snapshot is built, hung on the routes, clusters and localities it holds, and counted in by
//! pointer. Exporters read the same cells: the Prometheus text directly, OpenTelemetry by callbacks.
//!
//! Rules:
//! - no look-up by label and no lock on the call path; no allocation once cells are warm;
//! - series are bounded by the configuration, status codes by a table of 32 per owner;
//! - what leaves the configuration leaves the metrics; what stays goes on counting;
//! - telemetry fails open: nothing here can refuse or delay a call.
//!
//! Spans of sampled requests go to a collector, with the feature `otlp`. Others go through [`tracing`] where
//! calls are driven: one of target `mesh::call` for each call and one of target `mesh::attempt` for each
//! attempt, both of level debug, both until the end of the response body. Without a subscriber that wants them they cost nothing to speak of.
//!
//! # Metrics
//!
#![doc = include_str!("metrics.md")]
//!
//! Values that do not apply are empty. The OpenTelemetry name of `mesh_calls_total` is `mesh.calls`,
//! and so on; the unit is an attribute of the instrument. Names that begin with `grpc_xds_client_` are those
//! of gRFC A78: `grpc.xds_client.connected` with the attributes `grpc.target`, `grpc.xds.server` and so on.
//! `grpc.target` is always `#mesh`: where gRPC has a client of xDS for each target, a mesh has one. At most
//! 64 authorities of resources are counted by name, further ones as `#other`.
#![cfg_attr(not(test), expect(dead_code, reason = "the client stack counts here"))]

pub(crate) mod access_log;
mod attached;
mod cell;
mod changes;
pub(crate) mod cluster;
pub(crate) mod code;
pub(crate) mod connection;
pub(crate) mod decisions;
mod drops;
pub(crate) mod egress;
pub(crate) mod events;
mod exported;
#[cfg(test)]
mod fixture;
mod histogram;
mod history;
pub(crate) mod identity;
pub(crate) mod load;
pub(crate) mod mesh;
pub(crate) mod names;
mod otel;
#[cfg(feature = "otlp")]
mod otlp;
mod peers;
mod phases;
pub(crate) mod port;
mod prometheus;
mod refusals;
pub(crate) mod registry;
pub(crate) mod report;
pub(crate) mod server;
mod server_time;
pub(crate) mod source;
pub(crate) mod span;
pub(crate) mod spans;
pub(crate) mod target;
mod trace_context;

pub use access_log::{AccessLog, AccessLogBuilder, AccessLogCounts, AccessLogSink};
pub use changes::{Changed, Changes, Names};
pub use connection::{ConnectionReport, TlsReport};
pub use egress::{EgressDestination, MAX_DESTINATIONS, allow_list};
pub use history::{ConfigurationOutcome, ConfigurationRecord, MAX_CONFIGURATIONS};
#[cfg(feature = "otlp")]
pub use otlp::{Otlp, OtlpCounts, OtlpExport};
pub use phases::{Phase, Phases};
pub use prometheus::CONTENT_TYPE as PROMETHEUS_CONTENT_TYPE;
pub use report::{AttemptOutcome, AttemptReport, CallReport};
pub use server_time::ServerTime;
pub use trace_context::{TraceContext, TraceContextError, TraceState};

use opentelemetry::metrics::Meter;
use registry::Registry;
use std::fmt;
use std::sync::Arc;

/// The metrics of a mesh, for exporters. Clones are handles to the same.
#[derive(Clone)]
pub struct Metrics(Arc<Registry>);

impl Metrics {
    /// The metrics that `registry` collects.
    pub(crate) const fn new(registry: Arc<Registry>) -> Self {
        Self(registry)
    }

    /// All metrics as Prometheus text, to be served as [`PROMETHEUS_CONTENT_TYPE`].
    ///
    /// Walks all cells: for a scrape, not for a call.
    #[must_use]
    pub fn prometheus_text(&self) -> String {
        let mut text = String::new();
        self.0.prometheus(&mut text);
        text
    }

    /// Registers all metrics on `meter`, as observable instruments.
    ///
    /// Once per meter. The instruments do not keep the mesh alive. OpenTelemetry has no observable
    /// histogram, so each is three counters: `mesh.call_duration.bucket` with the upper bound in
    /// seconds as attribute `le`, `mesh.call_duration.count` and `mesh.call_duration.sum`.
    pub fn register(&self, meter: &Meter) {
        otel::register(&self.0, meter);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
