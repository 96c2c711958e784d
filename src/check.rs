//! `mesh check`: is this configuration right?
//!
//! All files are read as one configuration, as the mesh would: they unite by name, and a route in one
//! may name a cluster in another. The certificates that `identity` names are
//! looked at, and the roots that clusters name, as of now. They are `mesh.yaml` ones or Envoy's, not both.

use crate::cli::Failure;
use crate::output::{self, Format};
use crate::{diagnostics, files};
use mesh_core::config::Severity;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `mesh check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files, or directories of which every *.yaml is taken. They are one configuration.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How diagnostics are printed: the lines in question with marks, or one array of objects.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Makes warnings count as errors for the exit code.
    #[arg(long, value_enum, value_name = "WHAT")]
    deny: Option<Deny>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Deny {
    Warnings,
}

/// Checks, and prints what was found.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let found = files::examined(&arguments.files)?;
    let (sources, diagnostics) = (&found.sources, &found.diagnostics);
    output::print(&match arguments.format {
        Format::Human => {
            diagnostics::human(sources, diagnostics, output::colour(&std::io::stdout()))
        }
        Format::Json => diagnostics::json(sources, diagnostics),
    })?;
    let refused =
        diagnostics.iter().any(|d| d.severity == Severity::Error || arguments.deny.is_some());
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
