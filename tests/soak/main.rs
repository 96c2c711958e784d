//! Mixed load through two `mesh proxy` processes and a control plane, while something breaks every few seconds.
//!
//! ```text
//!   callers ── web (proxy) ══ mutual TLS ══ app (proxy) ── three backends
//!                  └── mesh ads                     (a namespace of the network each, where that is permitted)
//! ```
//!
//! What it asks is at [`verdict`]: nobody crashes, nothing leaks, every call ends by its deadline, and every call that
//! failed is explained by a flag. What breaks is at [`faults`]. In a plain `cargo test` it does nothing, as if it were
//! ignored; [docs/soak.md](../../docs/soak.md) has the commands and what was measured.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what went wrong by ending"
)]

mod backend;
mod calls;
mod certificates;
mod faults;
mod lines;
mod load;
mod network;
mod place;
mod process;
mod run;
mod settings;
mod verdict;

use settings::{Asked, Settings};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Settings::from_arguments(std::env::args().skip(1)) {
        Asked::Nothing => {
            println!("1 ignored: `--ignored` runs the short form, docs/soak.md has the others");
            ExitCode::SUCCESS
        }
        Asked::Backend { name, http, bytes } => backend::serve(&name, http, bytes),
        Asked::Soak(settings) => match network::enter(settings.loopback) {
            network::Entered::Now(inside) => run::soak(&settings, &inside),
            network::Entered::Child(code) => code,
        },
    }
}
