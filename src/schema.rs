//! `mesh schema`: the JSON Schema of mesh.yaml.

use crate::cli::Failure;
use std::io::Write;
use std::process::ExitCode;

/// Arguments of `mesh schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Prints it on one line.
    #[arg(long)]
    compact: bool,
}

/// Prints the schema.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let schema = mesh_core::config::json_schema();
    let text = if arguments.compact { schema.to_string() } else { format!("{schema:#}") };
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
