//! Where answers go.

use crate::cli::Failure;
use crate::diagnostics;
use crate::files::Configuration;
use mesh_core::config::Severity;
use mesh_core::explain::snapshot;
use mesh_core::state::Snapshot;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

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

/// Says something on standard error. Where nobody can hear it, the exit status tells.
pub(crate) fn complain(text: &str) {
    let _unheard = io::stderr().lock().write_all(text.as_bytes());
}

/// Colours where someone looks, unless <https://no-color.org> is followed.
pub(crate) fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Diagnostics go to standard error, as `RUST_LOG` says.
pub(crate) fn log() {
    drop(log_reloadable());
}

/// Which diagnostics there are, to be read and changed.
#[cfg_attr(not(unix), expect(dead_code, reason = "who changes them is a proxy"))]
pub(crate) type Logging = tracing_subscriber::reload::Handle<EnvFilter, Registry>;

/// As [`log`].
pub(crate) fn log_reloadable() -> Logging {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("info"));
    let (filter, handle) = tracing_subscriber::reload::Layer::new(filter);
    let colour = colour(&io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_ansi(colour).with_writer(io::stderr);
    // An error: there is a subscriber already, which is as good.
    let _set = tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok();
    handle
}

/// The routes and clusters that a configuration makes. One with errors can't be asked: they are shown
/// on standard error.
pub(crate) fn in_force(configuration: Configuration) -> Result<Arc<Snapshot<()>>, Failure> {
    let Configuration { sources, update, mut diagnostics } = configuration;
    if let Some(update) = update {
        return snapshot(update).map_err(|error| Failure::new("not_applied", error.to_string()));
    }
    diagnostics.retain(|diagnostic| diagnostic.severity == Severity::Error);
    let text = diagnostics::human(&sources, &diagnostics, colour(&io::stderr()));
    complain(&text);
    Err(Failure::new("wrong_configuration", "the configuration has errors"))
}
