//! `mesh call`: a real call, by the same stack and with the same identity as a program's, and what became of it.
//!
//! All that it does is `mesh_tower::Mesh`: a program that sends the request with `CallOptions::report` finds the same
//! in the response's extensions or in the error, and `Mesh::explain` says why. Here are arguments and words.
//!
//! The response's body goes to standard output, everything else to standard error.

mod body;
mod compare;
mod exchange;
mod json;
mod question;
mod report;

use crate::cli::{self, Failure};
use crate::explain::header;
use crate::output::{self, Format};
use crate::{certs, files};
use body::Sink;
use exchange::Came;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use mesh_tower::source::EnvironmentError;
use mesh_tower::{BuildError, Mesh};
use question::Question;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `mesh call`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Whom to call, by the name that a program would use: `http://reviews/1`, or `reviews/1`.
    #[arg(value_name = "URL")]
    url: String,
    /// The request's method. Default: GET, and POST with --data.
    #[arg(long, short = 'X')]
    method: Option<Method>,
    /// A header of the request, as `name: value`. May be given several times.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The request's body, at most 16 MiB: a text, or `@FILE`, or `@-` for standard input. It is sent as it is.
    #[arg(long, short = 'd', value_name = "DATA")]
    data: Option<String>,
    /// A mesh.yaml, or a file of Envoy's, or a directory; several are one configuration. Default: what
    /// GRPC_XDS_BOOTSTRAP, GRPC_XDS_BOOTSTRAP_CONFIG or MESH_CONFIG names, the first that is set; without one of them
    /// the call goes where the URL points, as it does from a program that has no configuration.
    #[arg(long, short, value_name = "PATH")]
    config: Vec<PathBuf>,
    /// Speaks HTTP/2 where the cluster leaves it to the call.
    #[arg(long)]
    http2: bool,
    /// How long the whole call may take, in place of the route's timeout: `500ms`, `30s`.
    #[arg(long, value_name = "TIME", value_parser = cli::time)]
    timeout: Option<Duration>,
    /// Shows the response's headers and all of its trailers, too.
    #[arg(long, short)]
    include: bool,
    /// Where the response's body goes; `-` is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// How the report is printed: lines of plain words on standard error, or one object on standard output, with the
    /// first MiB of the body in it unless --output names a file.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Makes so many calls through the mesh and as many without it to the endpoint that was picked, in turn, and
    /// compares their times. Bodies may have 1 MiB.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    compare: Option<u32>,
}

/// Calls, and tells. An error status, or no response, is a "no".
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let question = Question::new(arguments)?;
    if std::env::var_os("RUST_LOG").is_some() {
        output::log();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("runtime", format!("can't start: {error}")))?;
    let code = runtime.block_on(call(arguments, &question));
    // What a thread waits for outside of it (a file, a name) is waited for no longer.
    runtime.shutdown_background();
    code
}

async fn call(arguments: &Arguments, question: &Question) -> Result<ExitCode, Failure> {
    let mesh = mesh(&arguments.config)?;
    let patience = arguments.timeout.unwrap_or(READY);
    if is_of_files(&arguments.config) {
        let ready = mesh.ready_within(patience).await;
        ready.map_err(|error| Failure::new("not_ready", error.to_string()))?;
    }
    let mut sink = Sink::new(&arguments.output, arguments.format);
    let came = exchange::ask(&mesh, question, &mut sink).await?;
    let kept = sink.finish()?;
    let compared = match arguments.compare {
        Some(calls) if came.is_good() => Some(compare::run(&mesh, question, &came, calls).await),
        _ => None,
    };
    let (compared, not_compared) = match compared {
        Some(Ok(compared)) => (Some(compared), None),
        Some(Err(failure)) => (None, Some(failure)),
        None => (None, None),
    };
    match arguments.format {
        Format::Human => {
            let mut text = report::human(&came, arguments.include, certs::now());
            match &compared {
                Some(compared) => text.push_str(&compared.to_string()),
                None if arguments.compare.is_some() && !came.is_good() => {
                    text.push_str("compared    not, because the call has failed\n");
                }
                None => {}
            }
            output::complain(&text);
        }
        Format::Json => {
            let mut told = json::object(&came, kept.as_ref(), arguments.include, certs::now());
            if let Some(compared) = &compared {
                told["compared"] = compared.to_json();
            }
            output::print(&format!("{told:#}\n"))?;
        }
    }
    let has_failed = compared.is_some_and(|compared| compared.has_failed());
    match not_compared {
        Some(failure) => Err(failure),
        None if came.is_good() && !has_failed => Ok(ExitCode::SUCCESS),
        None => Ok(ExitCode::FAILURE),
    }
}

/// A mesh as the files say, or the environment, or nobody.
fn mesh(config: &[PathBuf]) -> Result<Mesh, Failure> {
    let built = if config.is_empty() {
        Mesh::builder().environment().build()
    } else {
        // What is wrong with them is said as `mesh check` says it.
        drop(output::in_force(files::configuration(config)?)?);
        config.iter().fold(Mesh::builder(), |builder, path| builder.file(path)).build()
    };
    let built = match built {
        Err(BuildError::Environment(EnvironmentError::Nothing)) => Mesh::builder().build(),
        built => built,
    };
    built.map_err(|error| Failure::new("wrong_configuration", error.to_string()))
}

/// Whether files say what is to be done. A control plane is asked for it by the call, and without either there is
/// nothing to wait for.
fn is_of_files(config: &[PathBuf]) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let of_control_plane =
        ["GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG"].into_iter().any(is_set);
    !config.is_empty() || (is_set("MESH_CONFIG") && !of_control_plane)
}

/// How long a configuration and an identity are waited for, where no timeout is given.
const READY: Duration = Duration::from_secs(10);

impl Came {
    /// Whether there is a whole response that is no error.
    fn is_good(&self) -> bool {
        let of_http = |status: StatusCode| status.as_u16() < 400;
        self.failed.is_none()
            && self.received.as_ref().is_some_and(|received| of_http(received.head.status))
            && self.grpc_status().is_none_or(|status| status == mesh_core::outcome::grpc::OK)
    }
}
