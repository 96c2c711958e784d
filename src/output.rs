//! Where answers go.

use crate::cli::Failure;
use crate::diagnostics;
use crate::files::Configuration;
use mesh_core::config::Severity;
use mesh_core::explain::snapshot;
use mesh_core::state::Snapshot;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// Prints an answer.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has seen enough (`mesh check … | head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Colours where someone looks, unless <https://no-color.org> is followed.
pub(crate) fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Diagnostics go to standard error, as `RUST_LOG` says.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info"));
    let colour = colour(&io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour);
    // An error: there is a subscriber already, which is as good.
    let _set = log.with_writer(io::stderr).try_init().is_ok();
}

/// The routes and clusters that a configuration makes. One with errors can't be asked: they are shown
/// on standard error.
pub(crate) fn in_force(configuration: Configuration) -> Result<Arc<Snapshot<()>>, Failure> {
    let Configuration { sources, update, mut diagnostics } = configuration;
    if let Some(update) = update {
        return snapshot(update).map_err(|error| Failure::new("not_applied", error.to_string()));
    }
    diagnostics.retain(|diagnostic| diagnostic.severity == Severity::Error);
    let errors = io::stderr();
    let text = diagnostics::human(&sources, &diagnostics, colour(&errors));
    errors.lock().write_all(text.as_bytes())?;
    Err(Failure::new("wrong_configuration", "the configuration has errors"))
}
