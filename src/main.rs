//! `mesh`, the command line tool. Wiring only: deleting it takes nothing from users of the library.

mod ads;
mod call;
mod certs;
mod check;
mod cli;
mod diagnostics;
mod explain;
mod files;
mod iptables;
mod output;
#[cfg(unix)]
mod proxy;
mod schema;
mod shell;
mod test;

use std::process::ExitCode;

/// What a burst needed is given back a second later (`.cargo/config.toml`), and not kept for ever: near its limit a
/// proxy would refuse work for memory that nobody uses.
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run()
}
