//! `mesh explain`: why a request goes where it goes, or what a code means.
//!
//! One word asks for a code, everything with a `/`, `.` or `:` for a URL: no code has one of these, and
//! no URL lacks all. With `--config` it is a URL in any case, so that a bare host can be asked about.

use crate::certs;
use crate::cli::Failure;
use crate::files;
use crate::output::{self, Format};
use http::Method;
use http::header::{HeaderName, HeaderValue};
use mesh_core::explain::reasons;
use mesh_core::explain::{
    Conclusion, InboundConclusion, InboundRequest, Request, explain, explain_inbound,
};
use mesh_core::identity::SpiffeId;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `mesh explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A URL, to be told what becomes of a request to it; or a response flag (UH), a reason
    /// (no_route), an event (outlier_ejected) or a code of `mesh check`, to be told what it means.
    ///
    /// With `--inbound`: the path, or the method and the path.
    #[arg(value_name = "URL|CODE|METHOD")]
    what: String,
    /// With `--inbound`, after a method: the path.
    #[arg(value_name = "PATH", requires = "inbound")]
    path: Option<String>,
    /// A port of `inbound`, to be told whether it takes the request, by which rule, and what was close.
    #[arg(long, value_name = "PORT")]
    inbound: Option<String>,
    /// With `--inbound`: the SPIFFE id that the caller proves. Default: it comes in plaintext.
    #[arg(long, value_name = "SPIFFE-ID", requires = "inbound", value_parser = spiffe_id)]
    from: Option<SpiffeId>,
    /// A file, or a directory of which every *.yaml is taken; needed for a URL. May be given several
    /// times: they are one configuration.
    #[arg(long, short, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// The request's method.
    #[arg(long, short = 'X', default_value = "GET")]
    method: Method,
    /// A header of the request, as `name: value`. May be given several times.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The IP address that the request comes from.
    #[arg(long, value_name = "IP")]
    peer: Option<IpAddr>,
    /// How the answer is printed: lines of plain words, or one object.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

fn spiffe_id(text: &str) -> Result<SpiffeId, String> {
    SpiffeId::parse(text).map_err(|error| error.to_string())
}

/// A header as it is written in arguments.
pub(crate) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write `name: value`")?;
    let name = HeaderName::try_from(name.trim()).map_err(|error| error.to_string())?;
    let value = HeaderValue::try_from(value.trim()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

/// Explains, and prints.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if let Some(port) = &arguments.inbound {
        return inbound(arguments, port);
    }
    let is_url = !arguments.config.is_empty() || arguments.what.contains(['/', '.', ':']);
    if is_url { url(arguments) } else { code(&arguments.what, arguments.format) }
}

/// What becomes of a request. Refused is a "no".
fn url(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut request = Request::new(&arguments.what)
        .map_err(|error| Failure::new("invalid_url", error.to_string()))?;
    if arguments.config.is_empty() {
        let message = "which configuration? add `--config FILE`";
        return Err(Failure::new("no_configuration", message));
    }
    request.method = arguments.method.clone();
    request.headers.extend(arguments.headers.iter().cloned());
    request.peer = arguments.peer.map(|address| SocketAddr::new(address, 0));
    let snapshot = output::in_force(files::configuration(&arguments.config)?)?;
    let explained = explain(&snapshot, &request);
    output::print(&match arguments.format {
        Format::Human => explained.to_string(),
        Format::Json => format!("{:#}\n", explained.to_json()),
    })?;
    let refused = matches!(explained.conclusion, Conclusion::Refused(_));
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What a port makes of a request. Refused is a "no".
fn inbound(arguments: &Arguments, port: &str) -> Result<ExitCode, Failure> {
    if arguments.config.is_empty() {
        let message = "which configuration? add `--config FILE`";
        return Err(Failure::new("no_configuration", message));
    }
    let flag = arguments.method.as_str();
    let (method, path) = match &arguments.path {
        Some(path) => (arguments.what.as_str(), path),
        None => (flag, &arguments.what),
    };
    let wrong = |message: String| Failure::new("invalid_url", message);
    if !path.starts_with('/') {
        let message = format!("`{path}` is no path: it starts with `/`, as in `GET /reviews`");
        return Err(wrong(message));
    }
    let mut request = InboundRequest::new(path.as_str());
    request.method =
        method.parse().map_err(|error| wrong(format!("`{method}` is no method: {error}")))?;
    request.from = arguments.from.clone();
    request.now = Some(certs::now());
    request.address = arguments.peer.map(|address| SocketAddr::new(address, 0));
    let host = arguments.headers.iter().find(|(name, _)| *name == http::header::HOST);
    let host = host.and_then(|(_, value)| value.to_str().ok()).unwrap_or_default();
    request.authority = host.to_owned();
    request.headers.extend(arguments.headers.iter().cloned());
    let snapshot = output::in_force(files::configuration(&arguments.config)?)?;
    let Some(listener) = snapshot.listeners().get(port) else {
        let known: Vec<_> = snapshot.listeners().keys().map(|name| format!("`{name}`")).collect();
        let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
        let message = format!("there is no port `{port}` under `inbound`; known: {known}");
        return Err(Failure::new("unknown_port", message));
    };
    let explained = explain_inbound(listener, &request);
    output::print(&match arguments.format {
        Format::Human => format!("{} {}\n\n{explained}", request.method, request.path),
        Format::Json => format!("{:#}\n", explained.to_json()),
    })?;
    let allowed = explained.conclusion == InboundConclusion::Allowed;
    Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a code means; several with commas, as access logs show flags.
fn code(text: &str, format: Format) -> Result<ExitCode, Failure> {
    let mut meanings = Vec::new();
    for code in text.split(',') {
        let found = reasons::find(code);
        if found.is_empty() {
            return Err(unknown(code));
        }
        meanings.extend(found);
    }
    output::print(&match format {
        Format::Human => {
            let texts: Vec<_> = meanings.iter().map(ToString::to_string).collect();
            texts.join("\n")
        }
        Format::Json => format!("{:#}\n", reasons::to_json(&meanings)),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn unknown(code: &str) -> Failure {
    let hint = match reasons::closest(code) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("to ask about a host, write `http://{code}/` and `--config FILE`"),
    };
    Failure::new("unknown_code", format!("`{code}` is no code; {hint}"))
}
