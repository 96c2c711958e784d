//! `mesh schema`: the JSON Schema of mesh.yaml, or its reference for people.

use crate::cli::Failure;
use crate::output;
use std::process::ExitCode;

/// Arguments of `mesh schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Prints the JSON Schema on one line.
    #[arg(long, conflicts_with = "format")]
    compact: bool,
    /// A JSON Schema for editors, or a reference of every key for people.
    #[arg(long, value_enum, default_value_t = Form::Json)]
    format: Form,
}

/// What is printed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Form {
    Json,
    Markdown,
}

/// Prints the schema.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    output::print(&match arguments.format {
        Form::Markdown => mesh_core::config::reference(),
        Form::Json if arguments.compact => format!("{}\n", mesh_core::config::json_schema()),
        Form::Json => format!("{:#}\n", mesh_core::config::json_schema()),
    })?;
    Ok(ExitCode::SUCCESS)
}
