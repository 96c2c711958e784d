//! `mesh`, the command line tool. Wiring only: deleting it takes nothing from users of the library.

mod ads;
mod certs;
mod check;
mod cli;
mod diagnostics;
mod explain;
mod files;
mod output;
#[cfg(unix)]
mod proxy;
mod schema;
mod shell;
mod test;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
