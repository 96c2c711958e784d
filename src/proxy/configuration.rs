//! Where a proxy's ports come from, and where what they lead to.

use crate::cli::Failure;
use crate::{files, output};
use mesh_core::ConfigUpdate;
use mesh_core::config::{Bounds, Document, load};
use mesh_tower::source::{Bootstrap, XdsSource};
use mesh_tower::{Builder, Mesh};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Arguments that say what is configured where.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigurationArguments {
    /// A mesh.yaml, or a file of Envoy's, or a directory; several are one configuration, and followed. The listeners of
    /// Envoy's files are ports. Default: what GRPC_XDS_BOOTSTRAP, GRPC_XDS_BOOTSTRAP_CONFIG or MESH_CONFIG names, the
    /// first that is set.
    #[arg(long, value_name = "PATH")]
    config: Vec<PathBuf>,
    /// A port that is opened beside those of the configuration, and sends each request where its authority leads:
    /// `127.0.0.1:15001`. May be given several times.
    #[arg(long, value_name = "ADDR")]
    outbound: Vec<SocketAddr>,
    /// A bootstrap file of gRPC's: its control plane has the names and clusters, and `--config` the ports, who we are
    /// and where calls may go. That is read once.
    #[arg(long, value_name = "BOOTSTRAP")]
    xds: Option<PathBuf>,
    /// With --xds: asks for all that the control plane has, as Envoy does, instead of by name, as gRPC does.
    #[arg(long, requires = "xds")]
    wildcard: bool,
    /// With --xds: a file to keep what was in force last, and to start from while the control plane can't be reached.
    #[arg(long, value_name = "FILE", requires = "xds")]
    last_good: Option<PathBuf>,
}

impl ConfigurationArguments {
    /// A mesh that is configured so, before it is built.
    pub(super) fn builder(&self) -> Result<Builder, Failure> {
        let mut own = outbound(&self.outbound)?;
        // Who is answered may have learnt names as the endpoint writes them.
        let builder = Mesh::builder().preserve_header_case();
        let builder = match (&self.xds, &*self.config) {
            (Some(bootstrap), files) => {
                if !files.is_empty() {
                    own.add_own_ports(files)?;
                }
                has_ports(&own.0)?;
                builder.source(self.control_plane(bootstrap)?)
            }
            (None, []) => builder.environment(),
            (None, files) => {
                let found = read(files)?;
                if own.0.listeners.is_empty() {
                    has_ports(&found)?;
                }
                files.iter().fold(builder, |builder, path| builder.file(path))
            }
        };
        Ok(if own.0.listeners.is_empty() { builder } else { builder.own(own.0) })
    }

    fn control_plane(&self, path: &Path) -> Result<XdsSource, Failure> {
        let name = path.display();
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::new("unreadable_file", format!("can't read `{name}`: {error}"))
        })?;
        let bootstrap = Bootstrap::parse(&text)
            .map_err(|error| Failure::new("invalid_bootstrap", format!("`{name}`: {error}")))?;
        let mut source = XdsSource::new(bootstrap);
        if self.wildcard {
            source = source.wildcard();
        }
        Ok(match &self.last_good {
            Some(path) => source.last_good(path),
            None => source,
        })
    }
}

/// What the proxy has itself.
struct Own(ConfigUpdate);

impl Own {
    /// Adds the ports of files, whose names and clusters are a control plane's.
    fn add_own_ports(&mut self, files: &[PathBuf]) -> Result<(), Failure> {
        let mut found = read(files)?;
        let hosts = &found.route_configuration.virtual_hosts;
        // Those of ports have a `|` in their names.
        if let Some(host) = hosts.iter().find(|host| !host.name.contains('|')) {
            let message = format!(
                "the virtual host `{}` is in a file, and with --xds all are the control plane's: leave it out",
                host.name
            );
            return Err(Failure::new("hosts_beside_xds", message));
        }
        found.listeners.append(&mut self.0.listeners);
        self.0 = found;
        Ok(())
    }
}

/// The ports of `--outbound`, as `mesh.yaml` would have them, and checked alike.
fn outbound(addresses: &[SocketAddr]) -> Result<Own, Failure> {
    if addresses.is_empty() {
        return Ok(Own(ConfigUpdate::in_code()));
    }
    let mut text = "version: 1\noutbound:\n".to_owned();
    for (at, address) in addresses.iter().enumerate() {
        // Writing to memory does not fail.
        let _written = writeln!(text, "  argument-{}: {{ listen: \"{address}\" }}", at + 1);
    }
    let documents = [Document { name: "--outbound", text: &text }];
    let loaded = load(&documents, &(), &Bounds::default());
    loaded.update.map(Own).ok_or_else(|| {
        let wrong: Vec<_> =
            loaded.diagnostics.iter().map(|wrong| wrong.message.to_string()).collect();
        Failure::new("invalid_outbound", format!("--outbound: {}", wrong.join("; ")))
    })
}

/// Says what is wrong with files as `mesh check` does.
fn read(files: &[PathBuf]) -> Result<ConfigUpdate, Failure> {
    let mut configuration = files::configuration(files)?;
    match configuration.update.take() {
        Some(update) => Ok(update),
        None => match output::in_force(configuration) {
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::new("wrong_configuration", "the configuration has errors")),
        },
    }
}

fn has_ports(update: &ConfigUpdate) -> Result<(), Failure> {
    let mut listeners = update.listeners.values();
    if listeners.any(|listener| listener.forward.is_some() && listener.address.is_some()) {
        return Ok(());
    }
    Err(no_ports())
}

/// There is nothing to do.
pub(super) fn no_ports() -> Failure {
    let message = "the configuration has no port to open: add `outbound`, or `listen` and \
                   `forward` to a port of `inbound`; or listeners with an address, in a file of \
                   Envoy's; or give --outbound";
    Failure::new("no_ports", message)
}
