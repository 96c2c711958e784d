//! The mesh at work: real servers on loopback, one of them sick, and a split that is moved while
//! calls are running.
//!
//! `cargo run --release --example quickstart`, and for programs
//! `cargo run --release --example quickstart -- --requests 5000 --json`.
//!
//! What to read first: `examples/quickstart.yaml`, the configuration, and `load.rs`, which calls
//! `http://reviews/1` through one layer. Nothing there knows of endpoints, splits, retries or ejections.

mod backends;
mod configuration;
mod events;
#[path = "../greeter/mod.rs"]
mod greeter;
mod load;
mod summary;
mod tally;
mod view;

use backends::Backends;
use configuration::{Configuration, Edits};
use events::{Counters, Events};
use mesh_tower::Mesh;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
pub(crate) use summary::Summary;
use tally::Tally;
use tokio::sync::oneshot;
use view::View;

/// Any error: an example only reports it.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How many calls, at least 4: some before the edit and some after it. Default 5,000.
    pub(crate) requests: u32,
    /// No view, and one line of JSON at the end.
    pub(crate) json: bool,
}

impl Options {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, BoxError> {
        let mut options = Self { requests: 5_000, json: false };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => options.json = true,
                "--requests" => {
                    let number = arguments.next().ok_or("--requests wants a number")?;
                    let number =
                        number.parse::<u32>().map_err(|error| format!("{number}: {error}"))?;
                    if number < 4 {
                        return Err("--requests wants at least 4".into());
                    }
                    options.requests = number;
                }
                _ => return Err(format!("{argument}? [--requests N] [--json]").into()),
            }
        }
        Ok(options)
    }
}

/// Starts everything, makes the calls, and says what happened.
pub(crate) async fn run(options: Options) -> Result<Summary, BoxError> {
    let events = Events::new();
    let backends = Backends::start().await?;
    let configuration = Arc::new(Configuration::write(&backends.addresses)?);
    let mesh = Mesh::from_file(configuration.path())?;
    mesh.ready().await?;
    let before = mesh.configuration().generation;

    let tally = Arc::new(Tally::default());
    let (end, ended) = oneshot::channel();
    let view = if options.json {
        None
    } else {
        events.collect()?;
        let (mesh, tally, turn) = (mesh.clone(), Arc::clone(&tally), backends.turn.clone());
        let view = View { mesh, tally, turn, events, requests: options.requests };
        Some(tokio::spawn(view.run(ended)))
    };

    let started = Instant::now();
    let edits = load::drive(&mesh, options.requests, &configuration, &tally).await;
    let elapsed = started.elapsed();
    drop(end);
    if let Some(view) = view {
        view.await?;
    }
    Ok(Summary {
        requests: options.requests,
        counts: tally.counts(),
        counters: Counters::of(&mesh),
        edits: edits?,
        reloads: mesh.configuration().generation - before,
        sick: backends.sick,
        elapsed,
    })
}

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that shows something")]
async fn main() -> Result<ExitCode, BoxError> {
    let options = Options::parse(std::env::args().skip(1))?;
    let summary = run(options).await?;
    if options.json {
        println!("{}", summary.json());
    } else {
        println!("{summary}");
    }
    let Some(complaint) = summary.complaint() else { return Ok(ExitCode::SUCCESS) };
    eprintln!("not as it should be: {complaint}");
    Ok(ExitCode::FAILURE)
}
