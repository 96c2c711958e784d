//! Telemetry to a collector: an argument, and OpenTelemetry's variables.

use crate::cli::Failure;
use mesh_core::otlp::{OtlpEndpoint, OtlpSettings};
use mesh_tower::Mesh;
use mesh_tower::observe::{Otlp, OtlpExport};

/// Arguments of telemetry.
#[derive(Debug, clap::Args)]
pub(super) struct TelemetryArguments {
    /// Sends metrics, and spans of what callers sampled, to a collector that takes OTLP over gRPC: `http://127.0.0.1:4317`. Default: what
    /// OTEL_EXPORTER_OTLP_ENDPOINT names, else nowhere. OpenTelemetry's other variables say the rest.
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    otlp: Option<OtlpEndpoint>,
}

fn endpoint(text: &str) -> Result<OtlpEndpoint, String> {
    OtlpEndpoint::parse(text).map_err(str::to_owned)
}

impl TelemetryArguments {
    /// What is exported.
    pub(super) fn settings(&self) -> Result<OtlpSettings, Failure> {
        OtlpSettings::read(self.otlp.clone(), |name| std::env::var_os(name))
            .map_err(|error| Failure::new("otlp", error.to_string()))
    }
}

/// Begins to export, if anything is to be.
pub(super) fn start(settings: OtlpSettings, mesh: &Mesh) -> Result<Option<OtlpExport>, Failure> {
    if settings.is_empty() {
        return Ok(None);
    }
    let started = Otlp::new(settings).start(mesh);
    started.map(Some).map_err(|error| Failure::new("otlp", format!("can't export: {error}")))
}
