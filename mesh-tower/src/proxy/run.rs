//! [`Proxy`]: the ports that the configuration has, open.
//!
//! It follows the configuration: a port that is new is opened, one that is gone is closed, and its connections have the
//! time that those of a changed listener have. One that can't be opened is tried again, every second and whenever the
//! configuration changes, and told once. A port that is another one at the same address goes on with its socket, and who
//! waits to be accepted there loses nothing.

use super::Forwards;
use super::bind::{Socket, WeakSocket, bind};
use super::bytes::ForwardBytes;
use super::capture::Capturing;
use super::http::ForwardHttp;
use super::sockets::{Kept, Sockets};
use crate::mesh::Mesh;
use crate::net::Draw;
use crate::server::{MeshServer, WeakServer};
use futures_util::future::join_all;
use http::HeaderValue;
use mesh_core::Random;
use mesh_core::model::{Address, Forward, ForwardTo, Listener};
use mesh_core::state::Listeners;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a port that can't be opened waits for the next try.
const AGAIN: Duration = Duration::from_secs(1);

/// The ports of a mesh's configuration, open, as `mesh proxy` has them. Dropping the last clone closes them;
/// connections go on.
///
/// # Examples
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use mesh_tower::Mesh;
/// use mesh_tower::proxy::Proxy;
/// use std::time::Duration;
///
/// let mesh = Mesh::from_file("mesh.yaml")?;
/// let proxy = Proxy::open(&mesh)?;
/// for port in proxy.ports() {
///     println!("{port}");
/// }
/// tokio::signal::ctrl_c().await?;
/// proxy.drain(Duration::from_secs(30)).await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    mesh: Mesh,
    /// What tells requests that have passed it from those that have passed another.
    id: String,
    ports: Mutex<Ports>,
    /// It ends, or is gone.
    wake: Arc<Notify>,
}

#[derive(Default)]
struct Ports {
    open: BTreeMap<Arc<str>, Port>,
    /// Those that can't be opened, with the reason.
    failed: BTreeMap<Arc<str>, Failed>,
    /// Sockets that wait for their ports: of ports that are others now, and those that were handed over.
    kept: Vec<Kept>,
    /// Servers of ports that are gone, or others now, whose connections have not ended; whether they are outbound.
    replaced: Vec<(bool, WeakServer)>,
    is_ending: bool,
}

/// A port that is open.
struct Port {
    /// As it was configured.
    address: Address,
    to: ForwardTo,
    captures: bool,
    bound: Address,
    server: MeshServer,
    socket: WeakSocket,
    accepting: JoinHandle<()>,
}

struct Failed {
    address: Address,
    outbound: bool,
    why: Arc<str>,
}

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// A port can't be opened.
    #[error("the port `{port}` can't listen at {address}: {source}; choose another address")]
    Bind {
        /// Its name.
        port: Arc<str>,
        /// Where it was to listen.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

/// A port, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyPort {
    /// The name of its listener: `web` of `inbound`, `outbound|web` of `outbound`.
    pub name: Arc<str>,
    /// Whether it is for what the application calls, and not for who calls it.
    pub outbound: bool,
    /// Where it listens, or was to.
    pub address: Address,
    /// Whether it does.
    pub state: PortState,
}

/// Whether a port is open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: it is, or it is not")]
pub enum PortState {
    /// It is.
    Open,
    /// It is not, and this is why; it is tried again.
    Failed(Arc<str>),
}

impl Proxy {
    /// Opens the ports of the configuration in force, and follows it. It lives in the runtime that this is called in.
    ///
    /// # Errors
    /// [`ProxyError::Bind`]: one can't be opened; none is then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(mesh: &Mesh) -> Result<Self, ProxyError> {
        Self::open_with(mesh, Sockets::default())
    }

    /// As [`open`](Self::open), with sockets that listen already, as another process [handed them
    /// over](super::Takeover): ports of their addresses take them. Those that no port wants are closed.
    ///
    /// # Errors
    /// [`ProxyError::Bind`]: a port can't be opened; none is then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open_with(mesh: &Mesh, sockets: Sockets) -> Result<Self, ProxyError> {
        let id = format!("{:08x}", Draw.next_u64() >> 32);
        let ports = Ports { kept: sockets.0, ..Ports::default() };
        let (ports, wake) = (Mutex::new(ports), Arc::new(Notify::new()));
        let inner = Arc::new(Inner { mesh: mesh.clone(), id, ports, wake });
        let mut first = None;
        inner.open(&mut |name, listener, source| {
            if let (None, Some(address)) = (&first, &listener.address) {
                first = Some((Arc::clone(name), address.clone(), source));
            }
        });
        if let Some((port, address, source)) = first {
            return Err(ProxyError::Bind { port, address, source });
        }
        follow(&inner);
        Ok(Self(inner))
    }

    /// The sockets of its ports, for who takes them over: both accept from them until one ends.
    ///
    /// Those of a proxy that ends, or has ended, are not among them.
    #[must_use]
    pub fn sockets(&self) -> Sockets {
        let ports = self.0.ports.lock();
        let open = ports.open.iter().filter(|_| !ports.is_ending);
        let sockets = open.filter_map(|(name, port)| {
            let (name, address) = (Arc::clone(name), port.address.clone());
            Some(Kept { name, address, socket: port.socket.upgrade()? })
        });
        Sockets(sockets.collect())
    }

    /// The ports, in the order of their names.
    #[must_use]
    pub fn ports(&self) -> Vec<ProxyPort> {
        let ports = self.0.ports.lock();
        let open = ports.open.iter().map(|(name, port)| ProxyPort {
            name: Arc::clone(name),
            outbound: port.to.is_outbound(),
            address: port.bound.clone(),
            state: PortState::Open,
        });
        let failed = ports.failed.iter().map(|(name, failed)| ProxyPort {
            name: Arc::clone(name),
            outbound: failed.outbound,
            address: failed.address.clone(),
            state: PortState::Failed(Arc::clone(&failed.why)),
        });
        let mut all: Vec<_> = open.chain(failed).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Whether there is a configuration in force, all its ports are open, and none of it ends.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let ports = self.0.ports.lock();
        self.0.mesh.configuration().generation > 0 && ports.failed.is_empty() && !ports.is_ending
    }

    /// Ends it without losing a call: first who calls the application is told and let finish, as
    /// [`MeshServer::drain`] does, then what the application calls. All of it until `deadline`, when what is left is
    /// closed. The mesh goes on: [`Mesh::shutdown`] ends it.
    ///
    /// # Cancel safety
    /// Once polled, it goes on, but for the ports of `outbound`, whose turn may not have come.
    pub async fn drain(&self, deadline: Duration) {
        let begun = Instant::now();
        self.drain_inbound(deadline).await;
        let left = deadline.saturating_sub(begun.elapsed());
        self.drain_side(true, left).await;
    }

    /// The first half of [`drain`](Self::drain), after which the application may end: nobody calls it any more, and it
    /// can still call others. From now on the configuration is not followed.
    ///
    /// # Cancel safety
    /// Once polled, it goes on.
    pub async fn drain_inbound(&self, deadline: Duration) {
        self.0.ports.lock().is_ending = true;
        self.0.wake.notify_one();
        self.drain_side(false, deadline).await;
    }

    async fn drain_side(&self, outbound: bool, deadline: Duration) {
        let servers: Vec<MeshServer> = {
            let ports = self.0.ports.lock();
            let side = ports.open.values().filter(|port| port.to.is_outbound() == outbound);
            let replaced = ports.replaced.iter().filter(|(side, _)| *side == outbound);
            let replaced = replaced.filter_map(|(_, server)| server.upgrade());
            side.map(|port| port.server.clone()).chain(replaced).collect()
        };
        join_all(servers.iter().map(|server| server.drain(deadline))).await;
    }
}

impl Inner {
    /// Closes the ports that the configuration in force does not have, or has otherwise. What ends with them.
    fn close(&self) -> Vec<(JoinHandle<()>, MeshServer)> {
        let mut ports = self.ports.lock();
        if ports.is_ending {
            return Vec::new();
        }
        let snapshot = self.mesh.snapshot();
        let wanted: BTreeMap<_, _> = wanted(snapshot.listeners()).collect();
        ports.failed.retain(|name, failed| {
            wanted.get(name).is_some_and(|(_, address, _)| **address == failed.address)
        });
        let is_gone = |(name, port): (&Arc<str>, &Port)| {
            let stays = wanted.get(name).is_some_and(|(model, address, forward)| {
                port.address == **address
                    && port.to == forward.to
                    && port.captures == model.capture.is_some()
            });
            (!stays).then(|| Arc::clone(name))
        };
        let gone: Vec<_> = ports.open.iter().filter_map(is_gone).collect();
        let mut ends = Vec::with_capacity(gone.len());
        for name in gone {
            let Some(port) = ports.open.remove(&name) else { continue };
            let socket = port.socket.upgrade();
            port.accepting.abort();
            ports.replaced.retain(|(_, server)| server.upgrade().is_some());
            ports.replaced.push((port.to.is_outbound(), port.server.downgrade()));
            ends.push((port.accepting, port.server));
            let kept = socket.map(|socket| Kept { name, address: port.address, socket });
            let is_wanted = |kept: &Kept| {
                wanted.iter().any(|(name, (_, address, _))| kept.is_for(name, address))
            };
            ports.kept.extend(kept.filter(is_wanted));
        }
        ends
    }

    /// Opens the ports of the configuration in force that are not open; who can't be is told to `failed`, once.
    fn open(&self, failed: &mut dyn FnMut(&Arc<str>, &Listener, io::Error)) {
        let mut ports = self.ports.lock();
        if ports.is_ending {
            return;
        }
        let snapshot = self.mesh.snapshot();
        for (name, (model, address, forward)) in wanted(snapshot.listeners()) {
            if ports.open.contains_key(name) {
                continue;
            }
            let kept = ports.kept.iter().position(|kept| kept.is_for(name, address));
            let kept = kept.map(|kept| ports.kept.swap_remove(kept).socket);
            match kept.map_or_else(|| bind(address), Ok) {
                Ok(socket) => {
                    ports.failed.remove(name);
                    let port = self.start(name, (model, address, forward), socket);
                    ports.open.insert(Arc::clone(name), port);
                }
                Err(error) => {
                    let (outbound, why) = (forward.is_outbound(), Arc::from(error.to_string()));
                    let entry = Failed { address: address.clone(), outbound, why };
                    if ports.failed.insert(Arc::clone(name), entry).is_none() {
                        failed(name, model, error);
                    }
                }
            }
        }
        ports.kept.clear();
        let is_own =
            |port: &&Port| matches!(port.to, ForwardTo::Authority(_) | ForwardTo::EachAuthority);
        // What Envoy's routes lead to is what they say, a port of the same proxy as well.
        let own = ports.open.values().filter(is_own);
        self.mesh.shared().own_ports.are(own.map(|port| port.bound.clone()).collect());
    }

    #[expect(clippy::disallowed_methods, reason = "a port is a task")]
    fn start(
        &self,
        name: &Arc<str>,
        (model, address, forward): (&Listener, &Address, &Forward),
        socket: Socket,
    ) -> Port {
        let captures = model.capture.is_some();
        let bound = socket.address().unwrap_or_else(|| address.clone());
        let weak = socket.downgrade();
        let server = self.mesh.server(Arc::clone(name));
        let http = ForwardHttp::new(&self.mesh, name, forward, mark(&self.id, name));
        let bytes = ForwardBytes::new(&self.mesh, name, forward, captures);
        let forwards = Some(Forwards { bytes });
        let serving = server.clone();
        let accepting = tokio::spawn(async move {
            // It ends when it is drained.
            let _ended = match socket {
                Socket::Tcp(listener) if captures => {
                    serving.accept_all(Capturing(listener), http, forwards).await
                }
                Socket::Tcp(listener) => serving.accept_all(listener, http, forwards).await,
                #[cfg(unix)]
                Socket::Unix(listener) => serving.accept_all(listener, http, forwards).await,
            };
        });
        let (address, to) = (address.clone(), forward.to.clone());
        Port { address, to, captures, bound, server, socket: weak, accepting }
    }

    fn has_failed(&self) -> bool {
        !self.ports.lock().failed.is_empty()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for port in self.ports.get_mut().open.values() {
            port.accepting.abort();
        }
        self.mesh.shared().own_ports.are(Vec::new());
        self.wake.notify_one();
    }
}

/// Follows the configuration, until the proxy is gone, or ends.
#[expect(clippy::disallowed_methods, reason = "a proxy's watch over the configuration is a task")]
fn follow(proxy: &Arc<Inner>) {
    let weak = Arc::downgrade(proxy);
    let wake = Arc::clone(&proxy.wake);
    let mut progress = proxy.mesh.progress();
    drop(tokio::spawn(async move {
        loop {
            let Some(again) = settle(&weak).await else { return };
            let again = async {
                match again {
                    true => tokio::time::sleep(AGAIN).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = progress.changed() => if changed.is_err() { return },
                () = wake.notified() => {}
                () = again => {}
            }
        }
    }));
}

/// Whether some can't be opened; `None`: the proxy is gone, or ends.
async fn settle(proxy: &Weak<Inner>) -> Option<bool> {
    let closed = {
        let proxy = proxy.upgrade()?;
        if proxy.ports.lock().is_ending {
            return None;
        }
        proxy.close()
    };
    // Others may be opened where these were.
    for (closed, server) in closed {
        let _aborted = closed.await;
        // Not before: who waits to be accepted is the next port's.
        server.replaced();
    }
    let proxy = proxy.upgrade()?;
    proxy.open(&mut |name, listener, error| {
        let address = listener.address.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(target: "mesh::proxy", port = %name, address, "a port can't be opened: {error}");
    });
    Some(proxy.has_failed())
}

/// The ports of a configuration.
fn wanted(
    listeners: &Listeners,
) -> impl Iterator<Item = (&Arc<str>, (&Listener, &Address, &Forward))> {
    listeners.iter().filter_map(|(name, listener)| {
        let model = listener.model();
        Some((name, (&**model, model.address.as_ref()?, model.forward.as_ref()?)))
    })
}

/// What requests carry that have passed the port `name`: visible, and without what separates marks.
fn mark(id: &str, name: &str) -> HeaderValue {
    let visible = |c: char| if c.is_ascii_graphic() && c != ',' { c } else { '_' };
    let name: String = name.chars().map(visible).collect();
    HeaderValue::try_from(format!("{id}/{name}"))
        .unwrap_or_else(|_never| HeaderValue::from_static("port"))
}

impl fmt::Display for ProxyPort {
    /// `outbound|web on 127.0.0.1:15001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.name, self.address)?;
        match &self.state {
            PortState::Open => Ok(()),
            PortState::Failed(why) => write!(f, ": not open: {why}"),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("ports", &self.ports()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_one_visible_word() {
        for (name, expected) in
            [("web", "7/web"), ("outbound|a b", "7/outbound|a_b"), ("ü,x", "7/__x")]
        {
            assert_eq!(mark("7", name), expected);
        }
    }
}
