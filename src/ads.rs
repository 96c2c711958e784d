//! `mesh ads`: serves configuration files to Envoy and to every gRPC, as a control plane.
//!
//! Files are read as `mesh check` reads them, and followed: an edit goes to every client; one with
//! mistakes goes to nobody, is told on standard error, and what was served stays. Files that are added to a
//! directory or removed from it are an edit like another.
//!
//! Clients that ask by name (gRPC) get API listeners for the authorities of the virtual hosts. Clients
//! that ask for all (Envoy) get the listeners of `--envoy-listener`. Of Envoy's files, everyone gets the
//! resources as they are written, and no others ([`content`]).

mod admin;
mod content;
mod tls;

use crate::cli::Failure;
use crate::files;
use crate::output;
use admin::Status;
use content::Content;
use mesh_core::ConfigUpdate;
use mesh_tower::source::{Beside, FileSource, Sink, SinkReceiver, Source, SourceEvent};
use mesh_xds::ResourceType;
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
    /// A listener that Envoy opens on its side, over all virtual hosts of a mesh.yaml. May be given several
    /// times. Files of Envoy's have listeners of their own.
    #[arg(long = "envoy-listener", value_name = "NAME=ADDR", value_parser = listener)]
    envoy_listeners: Vec<(String, SocketAddr)>,
    #[command(flatten)]
    tls: tls::TlsArguments,
    /// Files, or directories of which every *.yaml is taken but those that begin with a dot. They are one
    /// configuration, and followed: edits, and files that come and go.
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
    let content = Content::of(&configuration.sources)?;
    if content.is_envoys() && !arguments.envoy_listeners.is_empty() {
        let message =
            "`--envoy-listener` is for a mesh.yaml: Envoy's files have listeners of their own";
        return Err(Failure::new("listener", message));
    }
    output::log();
    let failed = |error| Failure::new("runtime", format!("can't start: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(serve(arguments, &update, content))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(
    arguments: &Arguments,
    update: &ConfigUpdate,
    content: Content,
) -> Result<(), Failure> {
    let tls = arguments.tls.load()?;
    let first = content.snapshot(&Snapshot::default(), update, &arguments.envoy_listeners);
    let server = AdsServer::new(first);
    let server = match arguments.tls.readers() {
        Some(readers) => server.with_readers(readers),
        None => server,
    };
    publish_views(&server, &content, update, arguments);
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
    let contents = watch::Sender::new(content);
    let latest = contents.subscribe();
    let paths = arguments.paths.iter();
    let beside = Arc::<Beside>::default();
    let named = Arc::clone(&beside);
    let parse = move |files: &_| content::parse(files, &named, &contents);
    let source = FileSource::with_parser(paths, parse).beside(beside);
    tokio::spawn(Box::new(source).start(sink));
    let follow = follow(receiver, latest, (&server, &status), arguments);
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
    latest: watch::Receiver<Content>,
    (server, status): (&AdsServer, &Status),
    arguments: &Arguments,
) -> Result<&'static str, Failure> {
    loop {
        match receiver.next().await {
            SourceEvent::Update(update) => {
                // It may be of a still newer reading, whose update then comes next.
                let content = latest.borrow().clone();
                let listeners = &arguments.envoy_listeners;
                let published =
                    server.publish(content.snapshot(&server.snapshot(), &update, listeners));
                publish_views(server, &content, &update, arguments);
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

/// Publishes what each rule of `--allow` leaves.
fn publish_views(
    server: &AdsServer,
    content: &Content,
    update: &ConfigUpdate,
    arguments: &Arguments,
) {
    for (rule, allowed) in arguments.tls.allowed().iter().enumerate() {
        let before = server.snapshot_for(rule).unwrap_or_default();
        let made = (update, arguments.envoy_listeners.as_slice());
        let _changed = server.publish_for(rule, content::view(content, &before, made, allowed));
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
