//! The command line.

use clap::{Parser, Subcommand};
use std::time::Duration;

/// Measures what a call costs through the mesh and through others.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Rounds per table; every client has one turn in each
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Length of one turn
    #[arg(long, default_value_t = 0.5)]
    seconds_per_round: f64,
    /// Calls in flight, one table each
    #[arg(long, value_delimiter = ',', default_value = "1,64")]
    pub in_flight: Vec<usize>,
    /// Only these clients (and what they are compared with); may be repeated
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Worker threads of the client; 0: everything on one thread
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// Runs of one table until its control holds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub attempts: u32,
    /// Prints JSON in place of tables
    #[arg(long)]
    pub json: bool,
    /// Runs one client alone in a loop, for a profiler to look at
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Length of `--profile`
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves until stdin ends (started by the benchmark)
    #[command(hide = true)]
    Serve,
    /// Runs a program until stdin ends (started by the benchmark)
    #[command(hide = true)]
    Keep {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<String>,
    },
}

impl Arguments {
    /// Length of one turn, at least a millisecond and at most a minute.
    pub fn turn(&self) -> Duration {
        Duration::from_secs_f64(self.seconds_per_round.clamp(0.001, 60.0))
    }

    /// Length of `--profile`, at most ten minutes.
    pub fn profile_length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.001, 600.0))
    }

    /// The names of clients that were given.
    pub fn asked(&self) -> impl Iterator<Item = &str> {
        self.only.iter().chain(&self.profile).map(String::as_str)
    }

    /// Whether the client called `name` takes part.
    pub fn wants(&self, name: &str) -> bool {
        match &self.profile {
            Some(profiled) => profiled == name,
            None => self.only.is_empty() || self.only.iter().any(|only| only == name),
        }
    }
}
