//! An xDS update at scale: a mesh that learns many clusters from our own control plane over loopback.
//!
//! `cargo bench --bench xds_scale` runs 10,000 clusters of 100 endpoints in both variants of the protocol
//! and in two shapes (an authority for each cluster; one authority whose routes lead to all), and prints
//! what the first configuration, a changed endpoint, and a thousand of them cost. The control plane is a
//! process of its own (`--serve`), and so is each client (`--client`): CPU time and memory are theirs alone.
//!
//! - `-- --clusters N --endpoints N --changes N`: other sizes.
//! - `-- --only delta/authorities`: one of the four.
//! - `-- --files`: what reading the same from files costs, without a client.
//!
//! A changed endpoint is timed from before the control plane encodes it until a call through the mesh has
//! gone to it. Both clocks are the system's.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is a program that fails loudly and prints"
)]

mod client;
mod files;
mod measure;
mod server;
mod world;

use std::process::{Command, ExitCode};
use world::{Shape, World};

/// What is measured.
#[derive(Clone, Debug)]
struct Arguments {
    world: World,
    /// Endpoints that are changed one after the other while their CPU time is taken.
    changes: u32,
    only: Option<String>,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    All,
    Serve,
    Client,
    Files,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self {
            world: World { clusters: 10_000, endpoints: 100, shape: Shape::Authorities },
            changes: 1_000,
            only: None,
            mode: Mode::All,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().expect("a value after the option");
            let number = |text: String| text.parse().expect("a number");
            match word.as_str() {
                "--clusters" => read.world.clusters = number(value()),
                "--endpoints" => read.world.endpoints = number(value()),
                "--changes" => read.changes = number(value()),
                "--only" => read.only = Some(value()),
                "--serve" => read.mode = Mode::Serve,
                "--client" => read.mode = Mode::Client,
                "--files" => read.mode = Mode::Files,
                // `cargo bench` adds it.
                "--bench" => {}
                other => panic!("{other} is no option of this bench"),
            }
        }
        if let Some(only) = &read.only {
            read.world.shape = Shape::of(only);
        }
        read
    }

    /// The same for a process beside this one.
    fn command(&self, mode: &str, only: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        for (option, value) in [
            ("--clusters", self.world.clusters),
            ("--endpoints", self.world.endpoints),
            ("--changes", self.changes),
        ] {
            command.arg(option).arg(value.to_string());
        }
        command.args(["--only", only, mode]);
        command
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::read();
    match arguments.mode {
        Mode::Serve => server::run(arguments.world),
        Mode::Client => client::run(&arguments),
        Mode::Files => files::run(arguments.world),
        Mode::All => {
            let World { clusters, endpoints, .. } = arguments.world;
            println!("{clusters} clusters of {endpoints} endpoints, {} changes", arguments.changes);
            for name in ["delta/authorities", "sotw/authorities", "delta/routes", "sotw/routes"] {
                if arguments.only.as_ref().is_some_and(|only| only != name) {
                    continue;
                }
                println!("\n{name}");
                let status = arguments.command("--client", name).status().expect("a client");
                if !status.success() {
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    ExitCode::SUCCESS
}
