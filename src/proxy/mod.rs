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
mod configuration;
mod drain;
mod running;
mod signals;
mod takeover;
mod telemetry;
mod wrap;

use crate::cli::{Failure, time};
use crate::output;
use access_log::AccessLogArguments;
use admin::Admin;
use configuration::ConfigurationArguments;
use mesh_core::otlp::OtlpSettings;
use mesh_tower::observe::AccessLog;
use mesh_tower::proxy::Proxy;
use mesh_tower::{Builder, Mesh, OverloadLimits};
use running::{Running, tell};
use sd_notify::NotifyState;
use signals::{Came, Signals};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use telemetry::TelemetryArguments;
use wrap::{Ended, Wrapped};

/// Arguments of `mesh proxy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,
    /// How long what is in flight has when it ends: `30s`, `2m`.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    drain_timeout: Duration,
    /// How many threads carry traffic. Default: as many as the process may use CPUs, its control group's quota counted.
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// How much memory it may use, `512MiB`: near it, requests and connections are refused. Default: the limits of its
    /// control group and of the process.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_limit: Option<u64>,
    /// Where the admin's pages are served, on a thread of their own: `127.0.0.1:9901`.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// A socket through which a new process, started with the same arguments, goes on with the ports of this one, which
    /// then drains and ends: no connection is lost.
    #[arg(long, value_name = "SOCKET", conflicts_with = "command")]
    takeover: Option<PathBuf>,
    #[command(flatten)]
    access_log: AccessLogArguments,
    #[command(flatten)]
    telemetry: TelemetryArguments,
    /// A command that is run once the ports are open. The proxy ends with it, and with its exit code.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("B", 0), ("", 0)];
    let parsed = units.into_iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
    });
    parsed.ok_or_else(|| {
        "write a number of bytes and a unit: `65536KiB`, `512MiB`, `2GiB`".to_owned()
    })
}

/// Passes on until a signal, or the command, ends it.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let telemetry = arguments.telemetry.settings()?;
    let mesh = arguments.configuration.builder()?;
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
    let runtime = builder.enable_all().build().map_err(failed)?;
    let code = runtime.block_on(serve(arguments, mesh, (logging, telemetry)));
    // What a thread waits for outside of it (a file, a name) is waited for no longer.
    runtime.shutdown_background();
    code
}

async fn serve(
    arguments: &Arguments,
    mesh: Builder,
    (logging, telemetry): (output::Logging, OtlpSettings),
) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let path = arguments.takeover.as_deref();
    let mut taken = takeover::ask(path).await?;
    let log = arguments.access_log.open()?;
    let limits = OverloadLimits::new();
    let limits = arguments.memory_limit.map_or(limits, |bytes| limits.memory(bytes));
    let mesh = build(mesh.overload(limits), log.clone())?;
    let exporting = telemetry::start(telemetry, &mesh)?;
    let admin = Admin::start(&mesh, arguments.admin, (logging, &mut taken))?;
    if let Some(signal) = ready(&mesh, log.as_ref(), &mut signals).await? {
        return Ok(ExitCode::from(signals::code(signal)));
    }
    let proxy = Proxy::open_with(&mesh, taken.sockets()?)
        .map_err(|error| Failure::new("listener", error.to_string()))?;
    admin.opened(&proxy);
    if proxy.ports().is_empty() {
        return Err(configuration::no_ports());
    }
    for port in proxy.ports() {
        output::print(&format!("{port}\n"))?;
    }
    let (has_taken, handover) = taken.done(path).await?;
    // The service goes on in another process, if it had one.
    let main = has_taken.then(|| NotifyState::MainPid(std::process::id()));
    tell(&[NotifyState::Ready].into_iter().chain(main).collect::<Vec<_>>());
    let wrapped = match arguments.command.split_first() {
        Some((program, arguments)) => Some(Wrapped::start(program, arguments)?),
        None => None,
    };
    let mut running = Running { mesh, proxy, log, admin, signals, wrapped, handover };
    let end = running.until_the_end().await?;
    if end == End::TakenOver {
        running.admin.stop();
    } else {
        tell(&[NotifyState::Stopping]);
    }
    // Who asks now finds nobody, instead of one that has nothing to give.
    running.handover = None;
    let code = drain::all(&mut running, end, arguments.drain_timeout).await;
    // What was drained is counted, too.
    if let Some(exporting) = exporting {
        exporting.stop().await;
    }
    code.map(ExitCode::from)
}

/// Waits until the mesh is ready: who we are may come later than what is to be done. A signal that ends it before.
async fn ready(
    mesh: &Mesh,
    log: Option<&AccessLog>,
    signals: &mut Signals,
) -> Result<Option<i32>, Failure> {
    let mut ready = std::pin::pin!(mesh.ready());
    loop {
        tokio::select! {
            ready = ready.as_mut() => {
                return ready.map(|()| None).map_err(|error| Failure::new("not_ready", error.to_string()));
            }
            came = signals.next() => match came {
                Came::Ending(signal) => return Ok(Some(signal)),
                Came::Other(signals::HANGUP) => running::read_again(mesh, log),
                Came::Other(_) => {}
            }
        }
    }
}

fn build(mut builder: Builder, log: Option<AccessLog>) -> Result<Mesh, Failure> {
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
    /// Another process has its sockets.
    TakenOver,
}
