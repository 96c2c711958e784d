//! `mesh ads`: serves configuration files to Envoy and to every gRPC, as a control plane.
//!
//! Files are read as `mesh check` reads them, and followed: an edit goes to every client; one with
//! mistakes goes to nobody, is told on standard error, and what was served stays. A directory's files are
//! listed at the start only.
//!
//! Clients that ask by name (gRPC) get API listeners for the authorities of the virtual hosts. Clients
//! that ask for all (Envoy) get the listeners of `--envoy-listener`.

mod admin;
mod tls;

use crate::cli::Failure;
use crate::files::{self, Surroundings};
use crate::output;
use admin::Status;
use mesh_core::ConfigUpdate;
use mesh_core::config::{Bounds, Diagnostic, Document, Severity, load};
use mesh_tower::source::{FileSource, Rejected, Sink, SinkReceiver, Source, SourceEvent};
use mesh_xds::ResourceType;
use mesh_xds::encode::{ALL_ROUTES, Encoded, socket_listener};
use mesh_xds::server::{AdsServer, Snapshot};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Arguments of `mesh ads`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where clients connect, by gRPC. Port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Where /ready, /metrics and /clients are served over HTTP.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// A listener that Envoy opens on its side, over all virtual hosts. May be given several times.
    #[arg(long = "envoy-listener", value_name = "NAME=ADDR", value_parser = listener)]
    envoy_listeners: Vec<(String, SocketAddr)>,
    #[command(flatten)]
    tls: tls::TlsArguments,
    /// Files, or directories of which every *.yaml is taken. They are one configuration.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

fn listener(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("write `name=address:port`")?;
    if name.is_empty() {
        return Err("the name is empty; write `name=address:port`".to_owned());
    }
    let address = address
        .parse()
        .map_err(|error| format!("`{address}`: {error}; write an IP address and a port"))?;
    Ok((name.to_owned(), address))
}

/// Serves until a signal ends it.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut names = BTreeSet::new();
    if let Some((twice, _)) = arguments.envoy_listeners.iter().find(|(name, _)| !names.insert(name))
    {
        let message = format!("`--envoy-listener {twice}=…` is given twice; choose another name");
        return Err(Failure::new("defined_twice", message));
    }
    let configuration = files::configuration(&arguments.paths)?;
    let Some(update) = configuration.update.clone() else {
        // It has errors, which are shown.
        output::in_force(configuration)?;
        return Ok(ExitCode::from(2));
    };
    let paths: Vec<_> =
        configuration.sources.iter().map(|source| PathBuf::from(&source.name)).collect();
    log();
    let failed = |error| Failure::new("runtime", format!("can't start: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(serve(arguments, &update, paths))?;
    Ok(ExitCode::SUCCESS)
}

/// Diagnostics go to standard error, as `RUST_LOG` says.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info"));
    let colour = output::colour(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour);
    // An error: there is a subscriber already, which is as good.
    let _set = log.with_writer(std::io::stderr).try_init().is_ok();
}

async fn serve(
    arguments: &Arguments,
    update: &ConfigUpdate,
    paths: Vec<PathBuf>,
) -> Result<(), Failure> {
    let tls = arguments.tls.load()?;
    let server = AdsServer::new(snapshot(update, &arguments.envoy_listeners));
    let status = Arc::new(Status::new(server.clone()));
    let ads = bind(arguments.listen).await?;
    let ending = watch::Sender::new(false);
    output::print(&format!("listening on {}{}\n", ads.local_addr()?, arguments.tls.told()))?;
    if let Some(address) = arguments.admin {
        let listener = bind(address).await?;
        output::print(&format!("admin on http://{}/\n", listener.local_addr()?))?;
        tokio::spawn(admin::serve(listener, Arc::clone(&status)));
    }
    output::print(&told(&server))?;

    let (sink, receiver) = Sink::channel();
    let source = FileSource::with_parser(paths, parse);
    tokio::spawn(Box::new(source).start(sink));
    let follow = follow(receiver, &server, &status, &arguments.envoy_listeners);
    let mut ended = ending.subscribe();
    let ended = async {
        // An error: nobody can end it any more.
        let _ended = ended.wait_for(|ended| *ended).await.is_ok();
    };
    let serving = async {
        match tls {
            None => server.serve(ads, ended).await,
            Some(tls) => server.serve_tls(ads, tls, ended).await,
        }
    };
    let stop = async {
        tokio::select! {
            signal = signal() => {
                ending.send_replace(true);
                signal
            }
            failed = follow => failed,
        }
    };
    let (served, stopped) = tokio::join!(serving, stop);
    let signal = stopped?;
    served.map_err(|error| Failure::new("listener", error.to_string()))?;
    output::print(&format!("ended by {signal}\n"))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("can't listen on {address}: {error}; choose another address");
        Failure::new("listener", message)
    })
}

/// Publishes what the files say. Never ends by itself but with a failure of output.
async fn follow(
    mut receiver: SinkReceiver,
    server: &AdsServer,
    status: &Status,
    listeners: &[(String, SocketAddr)],
) -> Result<&'static str, Failure> {
    loop {
        match receiver.next().await {
            SourceEvent::Update(update) => {
                let published = server.publish(snapshot(&update, listeners));
                status.accepted(published);
                if published {
                    output::print(&told(server))?;
                }
            }
            // The source has logged it, with its reasons.
            SourceEvent::Rejected(_) => status.rejected(),
            SourceEvent::Restored(_) => status.accepted(false),
            _ => {}
        }
    }
}

/// What is served, in one line.
fn told(server: &AdsServer) -> String {
    let snapshot = server.snapshot();
    let kinds = ResourceType::ALL.iter().filter_map(|kind| {
        let count = snapshot.resources(*kind).count();
        (count > 0).then(|| format!("{count} {kind} {}", snapshot.version(*kind)))
    });
    let kinds: Vec<_> = kinds.collect();
    format!("serving {}\n", if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") })
}

/// What a configuration is to clients. Names that lead nowhere are told and served.
fn snapshot(update: &ConfigUpdate, listeners: &[(String, SocketAddr)]) -> Snapshot {
    let own = Snapshot::of(update, []);
    for (name, _) in listeners {
        if own.resources(ResourceType::Listener).any(|served| *served.name == **name) {
            tracing::warn!(
                name,
                "a listener for Envoy has the name of a domain: who asks for the domain by name gets it; \
                 choose another name"
            );
        }
    }
    let listeners = listeners
        .iter()
        .map(|(name, address)| Encoded::listener(&socket_listener(name, *address, ALL_ROUTES)));
    let snapshot = Snapshot::of(update, listeners);
    for dangling in snapshot.check().err().unwrap_or_default() {
        tracing::warn!("{dangling}");
    }
    snapshot
}

/// The parser of the files that are followed. Warnings are logged.
fn parse(files: &[(PathBuf, String)]) -> Result<ConfigUpdate, Rejected> {
    let names: Vec<_> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    let documents = names.iter().zip(files).map(|(name, (_, text))| Document { name, text });
    let documents: Vec<_> = documents.collect();
    let loaded = load(&documents, &Surroundings, &Bounds::default());
    let line = |found: &Diagnostic| {
        let name = names.get(found.document).map_or("", String::as_str);
        let help = found.suggestion.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
        let Diagnostic { line, column, message, code, .. } = found;
        format!("{name}:{line}:{column}: {message}{help} [{code}]")
    };
    match loaded.update {
        Some(update) => {
            for warning in &loaded.diagnostics {
                tracing::warn!("{}", line(warning));
            }
            Ok(update)
        }
        None => {
            let errors = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error);
            Err(Rejected::invalid(errors.map(line)))
        }
    }
}

/// Waits for the signal that ends the process.
#[cfg(unix)]
async fn signal() -> Result<&'static str, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error| Failure::new("signal", format!("can't wait for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}

/// Waits for the signal that ends the process.
#[cfg(not(unix))]
async fn signal() -> Result<&'static str, Failure> {
    let failed = |error| Failure::new("signal", format!("can't wait for signals: {error}"));
    tokio::signal::ctrl_c().await.map_err(failed)?;
    Ok("Ctrl-C")
}
