//! Arguments and exit codes. One file per subcommand.
//!
//! Exit codes: 0 for yes, 1 for no (a configuration with mistakes), 2 when the question could not be
//! put (wrong usage, a file that can't be read). A failure ends with its code in brackets.

use crate::{check, schema};
use clap::{Parser, Subcommand};
use std::fmt;
use std::process::ExitCode;

/// A service mesh without proxies.
#[derive(Debug, Parser)]
#[command(name = "mesh", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks configuration files as a whole, and says what is wrong where.
    Check(check::Arguments),
    /// Prints the JSON Schema of mesh.yaml, for editors.
    Schema(schema::Arguments),
}

/// Why a subcommand could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    code: &'static str,
    message: String,
}

impl Failure {
    /// `message` in lower case without full stop; `code` is stable.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {} [{}]", self.message, self.code)
    }
}

impl From<std::io::Error> for Failure {
    /// Only output fails without a better message.
    fn from(error: std::io::Error) -> Self {
        Self::new("output", format!("can't write: {error}"))
    }
}

/// Reads the arguments and runs what they say.
pub(crate) fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("{failure}");
        ExitCode::from(2)
    })
}
