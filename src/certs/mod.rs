//! `mesh certs`: certificates for trying things out, and what is in a certificate.

mod authority;
mod known;
mod new;
mod show;

use crate::cli::Failure;
use mesh_core::WallTime;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Arguments of `mesh certs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Makes a CA for tests, and certificates with SPIFFE ids.
    New(new::Arguments),
    /// Tells what is in a file of certificates, keys or lists of revoked ones.
    Show(show::Arguments),
}

/// Does what is asked.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Command::New(arguments) => new::run(arguments),
        Command::Show(arguments) => show::run(arguments),
    }
}

/// The time of day; before 1970 it is 1970.
pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_unix_seconds(since.as_secs())
}
