//! `mesh proxy`: opens the ports of a configuration, beside a service in any language or around it.
//!
//! All that it does is `mesh_tower::proxy`; here are arguments, signals and the order of the end.
//!
//! | signal | does |
//! |---|---|
//! | SIGTERM, SIGINT | drains ([`drain`]); a second one ends it at once |
//! | SIGHUP | reads the configuration again, and the identity, and opens the access log anew; passed on to the command, too |
//! | SIGUSR1, SIGUSR2, SIGQUIT | passed on to the command |

mod access_log;
mod admin;
mod drain;
mod signals;
mod wrap;

use crate::cli::Failure;
use crate::{files, output};
use access_log::AccessLogArguments;
use admin::Admin;
use mesh_tower::Mesh;
use mesh_tower::observe::AccessLog;
use mesh_tower::proxy::Proxy;
use sd_notify::NotifyState;
use signals::{Came, Signals};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use wrap::{Ended, Wrapped};

/// Arguments of `mesh proxy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A mesh.yaml, or a file of Envoy's, or a directory; several are one configuration, and followed. Default: what
    /// MESH_CONFIG names.
    #[arg(long, value_name = "PATH")]
    config: Vec<PathBuf>,
    /// How long what is in flight has when it ends: `30s`, `2m`.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    drain_timeout: Duration,
    /// How many threads carry traffic. Default: as many as the process may use CPUs, its control group's quota counted.
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Where the admin's pages are served, on a thread of their own: `127.0.0.1:9901`.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    access_log: AccessLogArguments,
    /// A command that is run once the ports are open. The proxy ends with it, and with its exit code.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn time(text: &str) -> Result<Duration, String> {
    mesh_core::config::duration(text).ok_or_else(|| {
        "write a number and a unit, at most a year: `500ms`, `30s`, `2m`, `1h`".to_owned()
    })
}

/// Passes on until a signal, or the command, ends it.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if !arguments.config.is_empty() {
        check(arguments)?;
    }
    let logging = output::log_reloadable();
    let failed = |error| Failure::new("runtime", format!("can't start: {error}"));
    let workers = arguments.workers.or_else(|| std::thread::available_parallelism().ok());
    // One thread needs nobody to share with.
    let mut builder = match workers.map_or(1, NonZeroUsize::get) {
        1 => tokio::runtime::Builder::new_current_thread(),
        many => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(many);
            builder
        }
    };
    builder.enable_all().build().map_err(failed)?.block_on(serve(arguments, logging))
}

/// Says what is wrong with files as `mesh check` does, and that they have no ports.
fn check(arguments: &Arguments) -> Result<(), Failure> {
    let configuration = files::configuration(&arguments.config)?;
    let Some(update) = &configuration.update else {
        output::in_force(configuration)?;
        return Ok(());
    };
    let mut listeners = update.listeners.values();
    if !listeners.any(|listener| listener.forward.is_some() && listener.address.is_some()) {
        let message = "the configuration has no port to open: add `outbound`, or `listen` and \
                       `forward` to a port of `inbound`";
        return Err(Failure::new("no_ports", message));
    }
    Ok(())
}

async fn serve(arguments: &Arguments, logging: output::Logging) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let log = arguments.access_log.open()?;
    let mesh = mesh(arguments, log.clone())?;
    let mut admin = Admin::start(&mesh, arguments.admin, logging)?;
    // Who we are may come later than what is to be done.
    let ready = tokio::select! {
        ready = mesh.ready() => ready,
        signal = signals.end() => {
            return Ok(ExitCode::from(signals::code(signal)));
        }
    };
    ready.map_err(|error| Failure::new("not_ready", error.to_string()))?;
    let proxy = Proxy::open(&mesh).map_err(|error| Failure::new("listener", error.to_string()))?;
    admin.opened(&proxy);
    for port in proxy.ports() {
        output::print(&format!("{port}\n"))?;
    }
    tell(&[NotifyState::Ready]);
    let mut wrapped = match arguments.command.split_first() {
        Some((program, arguments)) => Some(Wrapped::start(program, arguments)?),
        None => None,
    };
    let around = Around { mesh: &mesh, log: log.as_ref(), admin: &mut admin };
    let end = until_the_end(around, &mut signals, wrapped.as_mut()).await?;
    tell(&[NotifyState::Stopping]);
    let draining = drain::all(&mesh, &proxy, (end, wrapped.as_mut()), arguments.drain_timeout);
    let code = tokio::select! {
        biased;
        code = draining => code?,
        signal = signals.end() => {
            if let Some(wrapped) = &mut wrapped {
                wrapped.kill();
            }
            signals::code(signal)
        }
    };
    Ok(ExitCode::from(code))
}

fn mesh(arguments: &Arguments, log: Option<AccessLog>) -> Result<Mesh, Failure> {
    let mut builder = Mesh::builder();
    builder = match &*arguments.config {
        [] => builder.environment(),
        paths => paths.iter().fold(builder, |builder, path| builder.file(path)),
    };
    if let Some(log) = log {
        builder = builder.access_log(log);
    }
    builder.build().map_err(|error| Failure::new("wrong_configuration", error.to_string()))
}

/// What ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A signal, of this number.
    Signal(i32),
    /// The command.
    Command(Ended),
    /// Somebody, by the admin's pages.
    Admin,
}

/// What a proxy has beside its ports.
struct Around<'p> {
    mesh: &'p Mesh,
    log: Option<&'p AccessLog>,
    admin: &'p mut Admin,
}

async fn until_the_end(
    Around { mesh, log, admin }: Around<'_>,
    signals: &mut Signals,
    mut wrapped: Option<&mut Wrapped>,
) -> Result<End, Failure> {
    loop {
        let ended = async {
            match &mut wrapped {
                Some(wrapped) => wrapped.ended().await,
                None => std::future::pending().await,
            }
        };
        let other = tokio::select! {
            biased;
            ended = ended => return Ok(End::Command(ended?)),
            () = admin.drain() => return Ok(End::Admin),
            came = signals.next() => match came {
                Came::Ending(signal) => return Ok(End::Signal(signal)),
                Came::Other(signal) => signal,
            },
        };
        if other == signals::HANGUP {
            reload(mesh, log);
        }
        if let Some(wrapped) = &wrapped {
            wrapped.signal(other);
        }
    }
}

/// Reads the configuration again, and tells systemd so (sd_notify(3): `RELOADING=1` comes with the time).
fn reload(mesh: &Mesh, log: Option<&AccessLog>) {
    let now = NotifyState::monotonic_usec_now().ok();
    let reloading: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
    tell(&reloading);
    mesh.reload();
    if let Some(log) = log {
        log.reopen();
    }
    tell(&[NotifyState::Ready]);
}

/// Tells systemd, if it wants to know.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd can't be told: {error}");
    }
}
