//! The admin's pages of a proxy: what it alone knows of them.

use crate::cli::Failure;
use crate::output::{self, Logging};
use mesh_tower::Mesh;
use mesh_tower::admin::{Admin as Pages, AdminServer};
use mesh_tower::proxy::{PortState, Proxy};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// The pages, until they are dropped; or none.
pub(super) struct Admin {
    _server: Option<AdminServer>,
    drain: watch::Receiver<bool>,
    /// As long as it is there, somebody may ask for a drain.
    _asks: Arc<watch::Sender<bool>>,
    proxy: Arc<OnceLock<Proxy>>,
}

impl Admin {
    /// Serves the pages at `address`, if there is one.
    pub(super) fn start(
        mesh: &Mesh,
        address: Option<SocketAddr>,
        logging: Logging,
    ) -> Result<Self, Failure> {
        let (asks, drain) = watch::channel(false);
        let (asks, proxy) = (Arc::new(asks), Arc::<OnceLock<Proxy>>::default());
        let server = match address {
            Some(address) => Some(serve(mesh, address, (logging, &asks, &proxy))?),
            None => None,
        };
        Ok(Self { _server: server, drain, _asks: asks, proxy })
    }

    /// The ports are open.
    pub(super) fn opened(&self, proxy: &Proxy) {
        // Once.
        let _first = self.proxy.set(proxy.clone()).is_ok();
    }

    /// Waits until somebody wants it to end.
    pub(super) async fn drain(&mut self) {
        // The sender is here.
        drop(self.drain.wait_for(|asked| *asked).await);
    }
}

type Given<'g> = (Logging, &'g Arc<watch::Sender<bool>>, &'g Arc<OnceLock<Proxy>>);

fn serve(
    mesh: &Mesh,
    address: SocketAddr,
    (logging, asks, proxy): Given<'_>,
) -> Result<AdminServer, Failure> {
    let (asks, proxy, filter) = (Arc::clone(asks), Arc::clone(proxy), logging.clone());
    let pages = Pages::new(mesh)
        .on_drain(move || {
            asks.send_replace(true);
        })
        .ready_when(move || ports_are_open(proxy.get()))
        .logging(
            move || filter.with_current(ToString::to_string).unwrap_or_default(),
            move |level| {
                let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
                logging.reload(filter).map_err(|error| error.to_string())
            },
        );
    let server = pages.bind(address).map_err(|error| {
        let message =
            format!("the admin can't listen at {address}: {error}; choose another address");
        Failure::new("listener", message)
    })?;
    output::print(&format!("admin on http://{}/\n", server.local_addr()))?;
    Ok(server)
}

fn ports_are_open(proxy: Option<&Proxy>) -> Result<(), String> {
    let proxy = proxy.ok_or("the ports are not open yet")?;
    let closed = proxy.ports().into_iter().find(|port| port.state != PortState::Open);
    match closed {
        Some(port) => Err(port.to_string()),
        None if !proxy.is_ready() => Err("it ends".to_owned()),
        None => Ok(()),
    }
}
