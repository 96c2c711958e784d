//! What mutual TLS costs: each call on a warm connection, and each handshake.
//!
//! "As cheap as hyper and rustls" is a promise about real sockets, so it is measured with them: hyper over
//! tokio-rustls on both sides is the base; the mesh takes the place of one side, of the other, and of both.
//! The same rows in plaintext show what of the difference is the mesh, and what is TLS. Handshakes are
//! counted beside those of one worker of Envoy's.
//!
//! - Client and server are threads of their own, each with one runtime and its own CPU time.
//! - All rows of a table take turns within each round; only ratios within a round are compared.
//! - The base takes part twice. Where the two differ by more than 2 %, the machine was not quiet: the table is
//!   measured again, and marked when the control never held.
//! - A turn in which a connection was made does not count as one on warm connections: it is repeated.
//!
//! Not here: what the layers of a server cost (`benches/server.rs`), and gRPC (`benches/end_to_end`).
//!
//! ```sh
//! cargo bench -p mesh-tower --bench mtls                  # all of it: some minutes; Envoy: tests/interop/install
//! cargo bench -p mesh-tower --bench mtls -- --only calls  # or `handshakes`
//! ```
//!
//! | option | default | |
//! |---|---|---|
//! | `--rounds N` | 15 | rounds for each table |
//! | `--turn S` | 0.25 | length of a turn on warm connections, in seconds; of handshakes three times that |
//! | `--attempts N` | 3 | times that a table is measured until its control holds |
//! | `--only WHAT` | all | `calls` or `handshakes` |
//! | `--envoy PATH` | of `tests/interop/install` | the binary of Envoy 1.40 |
//! | `--profile ROW` | | this row of `calls` alone, for a profiler: `h1` or `h2`, `mtls` or `plain`, and its name, as in `h2/mtls/server`; with `--turn` for its length and `--in-flight N` (64) |
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench is a program that prints, and owns its tasks"
)]

mod arguments;
mod calls;
mod certificates;
mod client;
mod envoy;
mod handshakes;
mod load;
mod place;
mod quantity;
mod serve;
mod table;

use arguments::Arguments;
use certificates::Certificates;
use std::process::ExitCode;

/// What anything here may fail with: it is printed and ends the run.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whether a connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    /// TLS 1.3; both sides show a certificate.
    Mutual,
    Plaintext,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Http {
    One,
    Two,
}

fn main() -> ExitCode {
    let run = || -> Result<bool, BoxError> {
        let arguments = Arguments::parse(std::env::args().skip(1))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(&arguments))
    };
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        // A control did not hold.
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures what is asked for; whether all controls held.
async fn run(arguments: &Arguments) -> Result<bool, BoxError> {
    let certificates = Certificates::issue()?;
    if let Some(row) = &arguments.profile {
        calls::profile(arguments, row, &certificates).await?;
        return Ok(true);
    }
    let mut held = true;
    if arguments.wants("calls") {
        for http in [Http::One, Http::Two] {
            held &= calls::measure(arguments, http, &certificates).await?;
        }
    }
    if arguments.wants("handshakes") {
        held &= handshakes::measure(arguments, &certificates).await?;
    }
    Ok(held)
}
