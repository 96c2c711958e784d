//! `mesh`, the command line tool. Wiring only: deleting it takes nothing from users of the library.

mod check;
mod cli;
mod diagnostics;
mod schema;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
