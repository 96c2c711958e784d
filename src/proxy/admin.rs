//! The admin's pages of a proxy: what it alone knows of them.

use super::takeover::Taken;
use crate::cli::Failure;
use crate::output::{self, Logging};
use mesh_tower::Mesh;
use mesh_tower::admin::{Admin as Pages, AdminServer};
use mesh_tower::proxy::{PortState, Proxy};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// The pages, until they are dropped; or none.
pub(super) struct Admin {
    server: Option<AdminServer>,
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
        (logging, taken): (Logging, &mut Taken),
    ) -> Result<Self, Failure> {
        let (asks, drain) = watch::channel(false);
        let (asks, proxy) = (Arc::new(asks), Arc::<OnceLock<Proxy>>::default());
        let server = match address {
            Some(address) => {
                let pages = pages(mesh, (logging, &asks, &proxy));
                Some(serve(pages, address, taken.admin(address))?)
            }
            None => None,
        };
        Ok(Self { server, drain, _asks: asks, proxy })
    }

    /// The socket that the pages are served on, for who takes it over.
    pub(super) fn socket(&self) -> Option<TcpListener> {
        // Without it the other can't serve them until this one has ended.
        self.server.as_ref().and_then(|server| server.socket().try_clone().ok())
    }

    /// Ends the pages: another process has them.
    pub(super) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
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

fn pages(mesh: &Mesh, (logging, asks, proxy): Given<'_>) -> Pages {
    let (asks, proxy, filter) = (Arc::clone(asks), Arc::clone(proxy), logging.clone());
    Pages::new(mesh)
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
        )
}

/// Serves them at `address`, on the socket of who was there before, if there is one.
fn serve(
    pages: Pages,
    address: SocketAddr,
    taken: Option<TcpListener>,
) -> Result<AdminServer, Failure> {
    let served = match taken {
        Some(socket) => pages.serve(socket),
        None => pages.bind(address),
    };
    let server = served.map_err(|error| {
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
