//! The mesh at work: real servers on loopback, one of them sick, and a split that is moved while
//! calls are running.
//!
//! `cargo run --release --example quickstart`, and for programs
//! `cargo run --release --example quickstart -- --requests 5000 --json`. With `--xds` the mesh does not read
//! the file: `mesh ads`, a process of its own, does, and the mesh learns from it over xDS. With `--mtls` every
//! hop is mutual TLS, and certificates are issued anew every 2 s.
//!
//! What to read first: `examples/quickstart.yaml`, the configuration, and `load.rs`, which calls
//! `http://reviews/1` through one layer. Nothing there knows of endpoints, splits, retries or ejections.

mod ads;
mod backends;
mod certificates;
mod configuration;
mod events;
#[path = "../greeter/mod.rs"]
mod greeter;
mod load;
mod mtls;
mod strangers;
mod summary;
mod tally;
mod view;

use backends::Backends;
use configuration::{Configuration, Edits};
use events::{Counters, Events};
use mtls::Mtls;
use std::path::PathBuf;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// How many calls, at least 4: some before the edit and some after it. Default 5,000.
    pub(crate) requests: u32,
    /// No view, and one line of JSON at the end.
    pub(crate) json: bool,
    /// Through a control plane.
    pub(crate) xds: bool,
    /// Every hop encrypted and authenticated.
    pub(crate) mtls: bool,
    /// The tool whose `mesh ads` that is; `None`: the one beside this example.
    pub(crate) mesh: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, BoxError> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => options.json = true,
                "--xds" => options.xds = true,
                "--mtls" => options.mtls = true,
                "--mesh" => {
                    let path = arguments.next().ok_or("--mesh wants the path of the tool")?;
                    options.mesh = Some(path.into());
                }
                "--requests" => {
                    let number = arguments.next().ok_or("--requests wants a number")?;
                    let number =
                        number.parse::<u32>().map_err(|error| format!("{number}: {error}"))?;
                    if number < 4 {
                        return Err("--requests wants at least 4".into());
                    }
                    options.requests = number;
                }
                _ => {
                    return Err(format!(
                        "{argument}? [--requests N] [--json] [--mtls | --xds [--mesh PATH]]"
                    )
                    .into());
                }
            }
        }
        if options.mtls && options.xds {
            return Err("--mtls or --xds, not both".into());
        }
        Ok(options)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { requests: 5_000, json: false, xds: false, mtls: false, mesh: None }
    }
}

/// Starts everything, makes the calls, and says what happened.
pub(crate) async fn run(options: Options) -> Result<Summary, BoxError> {
    let events = Events::new();
    let mtls = options.mtls.then(Mtls::new).transpose()?.map(Arc::new);
    let backends = Backends::start(mtls.as_deref()).await?;
    let mut configuration = Configuration::write(&backends.addresses)?;
    if options.xds {
        let tool = match options.mesh {
            Some(tool) => tool,
            None => ads::tool().await?,
        };
        configuration.serve(&tool).await?;
    }
    let configuration = Arc::new(configuration);
    let mesh = configuration.mesh(mtls.as_deref()).await?;
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
    let running = match &mtls {
        Some(mtls) => Some(mtls.run(mesh.clone(), &backends, &configuration.path())?),
        None => None,
    };
    let edits = load::drive(&mesh, options.requests, &configuration, &tally).await;
    let elapsed = started.elapsed();
    let secured = match running {
        Some(running) => Some(running.end(&backends).await?),
        None => None,
    };
    drop(end);
    if let Some(view) = view {
        view.await?;
    }
    Ok(Summary {
        requests: options.requests,
        source: configuration.source(),
        counts: tally.counts(),
        counters: Counters::of(&mesh),
        edits: edits?,
        secured,
        reloads: mesh.configuration().generation - before,
        sick: backends.sick,
        elapsed,
    })
}

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that shows something")]
async fn main() -> Result<ExitCode, BoxError> {
    let options = Options::parse(std::env::args().skip(1))?;
    let json = options.json;
    let summary = run(options).await?;
    if json {
        println!("{}", summary.json());
    } else {
        println!("{summary}");
    }
    let Some(complaint) = summary.complaint() else { return Ok(ExitCode::SUCCESS) };
    eprintln!("not as it should be: {complaint}");
    Ok(ExitCode::FAILURE)
}
