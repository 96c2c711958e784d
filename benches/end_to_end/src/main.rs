//! The end-to-end benchmark: what a call costs through the mesh, and what it costs through others.
//!
//! "As fast as no mesh" is a promise about real sockets, real HTTP/2 and a real client, so it is
//! measured with them: raw hyper as the floor, tonic's channel as what people use today, tonic-xds as
//! the same idea done otherwise, and one Envoy hop as what a sidecar costs.
//!
//! - One process calls, another one serves, so that the client's CPU time can be told apart.
//! - All clients take turns within each round; only ratios within a round are compared.
//! - tonic's channel takes part twice. Where the two differ, the machine was not quiet.
//! - The server counts header names: clients that send other headers than the rest end the run.
//!
//! Not here: the cost of decisions alone (the workspace's `benches/`), failures, many endpoints.
//!
//! ```text
//! this binary ── calls ──> `serve`: the same binary         (ended by end of its stdin)
//!      └─────── calls ──> Envoy, held by `keep` ──> `serve` (the same)
//! ```

mod ads;
mod arguments;
mod bench;
mod child;
mod clients;
mod cpu;
mod echo;
mod keep;
mod load;
mod machine;
mod profile;
mod report;
mod sample;
mod serve;

use arguments::{Arguments, Command};
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

/// What anything here may fail with: it is printed and ends the run.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, BoxError> {
    match &arguments.command {
        Some(Command::Serve) => runtime(0)?.block_on(serve::serve())?,
        Some(Command::Keep { program }) => runtime(0)?.block_on(keep::keep(program))?,
        None => {
            // Children end with their stdin, which closes when the future is dropped.
            let session = async {
                tokio::select! {
                    result = session(arguments) => result,
                    interrupt = tokio::signal::ctrl_c() => {
                        interrupt?;
                        Err("interrupted".into())
                    }
                }
            };
            return runtime(arguments.workers)?.block_on(session);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn session(arguments: &Arguments) -> Result<ExitCode, BoxError> {
    if cfg!(debug_assertions) {
        eprintln!("warning: a debug build measures nothing; use `cargo run --release`");
    }
    match &arguments.profile {
        Some(name) => profile::profile(arguments, name).await?,
        None => {
            let outcome = bench::bench(arguments).await?;
            let text = if arguments.json {
                serde_json::to_string_pretty(&outcome)? + "\n"
            } else {
                report::render(&outcome)
            };
            std::io::stdout().write_all(text.as_bytes())?;
            if !outcome.trustworthy() {
                return Ok(ExitCode::from(2));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A current-thread runtime, or one with `workers` threads.
fn runtime(workers: usize) -> std::io::Result<Runtime> {
    match workers {
        0 => Builder::new_current_thread().enable_all().build(),
        workers => Builder::new_multi_thread().worker_threads(workers).enable_all().build(),
    }
}
