//! `mesh iptables`: the rules of the system that lead connections to the ports of `capture`. It prints; a shell applies.

use crate::cli::Failure;
use crate::{files, output};
use mesh_core::model::Cidr;
use mesh_core::proxy::capture::Rules;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `mesh iptables`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: mesh iptables --config mesh.yaml --user mesh-proxy | sh")]
pub(crate) struct Arguments {
    /// A file, or a directory of which every *.yaml is taken: its ports of `outbound` with `capture`. May be given
    /// several times: they are one configuration.
    #[arg(long, short, value_name = "FILE", required = true)]
    config: Vec<PathBuf>,
    /// The user that the proxy runs as, by name or number: what it calls is not captured. Nobody else should run as it.
    #[arg(long, value_name = "USER")]
    user: String,
    /// A block of addresses that is not captured. May be given several times.
    #[arg(long, value_name = "CIDR", value_parser = block)]
    exclude: Vec<Cidr>,
    /// A port that is not captured. May be given several times.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    exclude_port: Vec<u16>,
    /// What others call here at PORT is led to TO, a port of `inbound`. May be given several times.
    #[arg(long, value_name = "PORT:TO", value_parser = pair)]
    inbound: Vec<(u16, u16)>,
    /// Prints what takes the rules away, and nothing else.
    #[arg(long)]
    undo: bool,
}

fn block(text: &str) -> Result<Cidr, String> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address.parse().map_err(|error| format!("`{address}`: {error}"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Ok(most), |prefix| {
        prefix.parse().map_err(|error| format!("`{prefix}` is no number of bits: {error}"))
    })?;
    Cidr::new(address, prefix).map_err(|error| error.to_string())
}

fn pair(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        let port = text.parse().ok().filter(|port| *port > 0);
        port.ok_or_else(|| format!("`{text}` is no port: 1 to 65535"))
    };
    let (from, to) =
        text.split_once(':').ok_or("two ports with `:` between them, as `8080:8443`")?;
    Ok((port(from)?, port(to)?))
}

/// Runs `mesh iptables`.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let snapshot = output::in_force(files::configuration(&arguments.config)?)?;
    let listeners = snapshot.listeners().values().map(|listener| &**listener.model());
    let mut rules = Rules::new(listeners, &arguments.user)
        .map_err(|error| Failure::new("no_rules", error.to_string()))?;
    rules.exclude.clone_from(&arguments.exclude);
    rules.exclude_ports.clone_from(&arguments.exclude_port);
    rules.inbound.clone_from(&arguments.inbound);
    let script = if arguments.undo { rules.undo() } else { rules.apply() };
    output::print(&script)?;
    Ok(ExitCode::SUCCESS)
}
