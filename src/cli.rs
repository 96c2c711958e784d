//! Arguments and exit codes. One file per subcommand.
//!
//! Exit codes of those that answer: 0 for yes, 1 for no (`call`: an error status or no response, `check`: mistakes, `explain`: the request is refused,
//! `test`: a difference), 2 when the question could not be put (wrong usage, a file that can't be read, a code that
//! does not exist; for `explain` and `test` a configuration with mistakes). A failure ends with its code in brackets.
//! `mesh proxy … -- COMMAND` exits with the command's own code, or 128 and the number of the signal that ended it.

#[cfg(unix)]
use crate::proxy;
use crate::{ads, call, certs, check, explain, iptables, output, schema, shell, test};
use clap::{CommandFactory, Parser, Subcommand};
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

/// A service mesh without proxies.
#[derive(Debug, Parser)]
#[command(name = "mesh", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves configuration files to Envoy and gRPC, as an xDS control plane.
    Ads(ads::Arguments),
    /// Makes a call as a program of the mesh would, and tells what became of it and why.
    Call(call::Arguments),
    /// Makes certificates for trying things out, and tells what is in one.
    Certs(certs::Arguments),
    /// Checks configuration files as a whole, and says what is wrong where.
    Check(check::Arguments),
    /// Tells what becomes of a request and why, or what a code means.
    Explain(explain::Arguments),
    /// Prints the rules that lead connections to the ports of `capture`, for a shell, or what takes them away.
    Iptables(iptables::Arguments),
    /// Compares what becomes of requests with what is expected.
    Test(test::Arguments),
    /// Passes on what comes to the ports of a configuration, beside or around a service in any language.
    #[cfg(unix)]
    Proxy(proxy::Arguments),
    /// Prints the JSON Schema of mesh.yaml, for editors.
    Schema(schema::Arguments),
    /// Prints what completes a command line, for a shell.
    Completions(shell::CompletionsArguments),
    /// Prints the manual page, or writes one for each command.
    Man(shell::ManArguments),
}

/// A length of time, as arguments have it.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    mesh_core::config::duration(text).ok_or_else(|| {
        "write a number and a unit, at most a year: `500ms`, `30s`, `2m`, `1h`".to_owned()
    })
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
        Command::Ads(arguments) => ads::run(&arguments),
        Command::Call(arguments) => call::run(&arguments),
        Command::Certs(arguments) => certs::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Iptables(arguments) => iptables::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Completions(arguments) => shell::completions(&arguments, Cli::command()),
        Command::Man(arguments) => shell::man(&arguments, Cli::command()),
        #[cfg(unix)]
        Command::Proxy(arguments) => proxy::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
    };
    result.unwrap_or_else(|failure| {
        output::complain(&format!("{failure}\n"));
        ExitCode::from(2)
    })
}
