//! [`Mesh`], the handle that everything else is made from.

use crate::CallOptions;
use crate::builder::Builder;
use crate::client::{Client, MeshService};
use crate::driver::{self, Progress};
use crate::error::{Error, Station};
use crate::net::{Net, Shared};
use crate::observe::target::{TargetCells, TargetLabels};
use crate::observe::{ConfigurationRecord, Metrics};
use crate::passthrough::Passthrough;
use crate::server::{Acceptor, MeshServer, WeakServer};
use crate::tcp::{self, MeshStream};
use crate::transport::Transport;
use futures_util::future::join_all;
use mesh_core::WallTime;
use mesh_core::explain::{self, Explained};
use mesh_core::local_reply::Reason;
use mesh_core::state::{self, DirectRoute};
use parking_lot::Mutex;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A mesh: configuration, connections and statistics, shared by everything that is made from it.
///
/// Cheap to clone. When the last clone, and everything made from it, is dropped, its background task
/// ends and its connections close.
///
/// # Examples
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use mesh_tower::{Mesh, MeshBody};
/// use tower_service::Service;
///
/// let mesh = Mesh::from_file("mesh.yaml")?;
/// let mut client = mesh.client();
/// let request = http::Request::get("http://reviews/1").body(MeshBody::empty())?;
/// let response = client.call(request).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Mesh(Arc<Inner>);

struct Inner {
    state: state::Mesh<Net>,
    shared: Arc<Shared>,
    transport: Transport,
    progress: watch::Receiver<Progress>,
    driver: driver::Guard,
    /// Calls that no route took.
    unrouted: Arc<TargetCells>,
    /// They end before the calls that they make.
    servers: Mutex<Vec<WeakServer>>,
    /// That of byte streams.
    byte_route: LazyLock<Option<DirectRoute>>,
}

impl Mesh {
    /// Begins to build a mesh.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A mesh that is configured by a `mesh.yaml` file and follows it.
    ///
    /// # Errors
    /// [`BuildError`](crate::BuildError) when the file can't be read or used, with every diagnostic.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, crate::BuildError> {
        Self::builder().file(path).build()
    }

    /// A mesh that is configured by what the process's environment names: `GRPC_XDS_BOOTSTRAP` or
    /// `GRPC_XDS_BOOTSTRAP_CONFIG`, as for gRPC, or else `MESH_CONFIG`, the path of a `mesh.yaml`.
    /// [`Builder::environment`] has the rules, and is the way to a default of one's own.
    ///
    /// A control plane is asked for what calls need, so [`ready`](Self::ready) waits for a first call
    /// then.
    ///
    /// # Errors
    /// [`BuildError::Environment`](crate::BuildError::Environment) when none of them is set, or the first
    /// that is can't be used.
    pub fn from_env() -> Result<Self, crate::BuildError> {
        Self::builder().environment().build()
    }

    pub(crate) fn new(
        state: state::Mesh<Net>,
        shared: Arc<Shared>,
        passthrough: Arc<Passthrough>,
        progress: watch::Receiver<Progress>,
        driver: driver::Guard,
    ) -> Self {
        let transport = Transport::new(passthrough);
        let unrouted = shared.registry.target(&TargetLabels::default());
        let servers = Mutex::default();
        let byte_route = LazyLock::new(tcp::route as fn() -> _);
        Self(Arc::new(Inner {
            state,
            shared,
            transport,
            progress,
            driver,
            unrouted,
            servers,
            byte_route,
        }))
    }

    /// The client: the whole stack over our own connections. A tower service for
    /// `http::Request<B>` with any body; clone it per task.
    #[must_use]
    pub fn client(&self) -> Client {
        MeshService::new(self.clone(), self.transport())
    }

    /// Our own connections alone, to put [`MeshLayer`](crate::MeshLayer) over.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.0.transport.clone()
    }

    /// A channel for tonic-generated clients, to `authority`: `greeter`, `greeter:50051`.
    ///
    /// # Errors
    /// When `authority` is not a host with an optional port.
    #[cfg(feature = "tonic")]
    pub fn channel(&self, authority: &str) -> Result<crate::Channel, http::uri::InvalidUri> {
        crate::Channel::new(self, authority)
    }

    /// Connects to an endpoint of `cluster`, for what is not HTTP: the same endpoints, load balancing, circuit
    /// breakers, outlier detection and TLS as for calls ([`tcp`](crate::tcp)). What is spoken on the stream is the
    /// caller's affair: by ALPN nothing is offered but what the cluster's configuration names.
    ///
    /// The stream lives in the runtime of who calls this.
    ///
    /// # Errors
    /// When the configuration has no such cluster, it has no endpoint to pick, a limit of it is reached
    /// (`max_connections`, `max_requests`, `max_pending_requests`), or every endpoint that was tried failed within its
    /// `connect_timeout`, or was not who it should be.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future gives the connection up.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(mesh: &mesh_tower::Mesh) -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// let mut stream = mesh.connect("orders-db").await?;
    /// stream.write_all(b"PING\r\n").await?;
    /// let mut answer = [0; 7];
    /// stream.read_exact(&mut answer).await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect(&self, cluster: &str) -> Result<MeshStream, Error> {
        self.connect_with(cluster, CallOptions::new()).await
    }

    /// As [`connect`](Self::connect), with what the caller says about it: `timeout` bounds connecting, and not the
    /// stream; `hash_key` decides where ring hash and Maglev place it; `wait_for_ready` waits for an endpoint.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect).
    pub async fn connect_with(
        &self,
        cluster: &str,
        options: CallOptions,
    ) -> Result<MeshStream, Error> {
        tcp::connect(self, cluster, self.0.byte_route.as_ref(), options).await
    }

    /// What becomes of `request`, and why, by the configuration in force and by what was learnt of endpoints until now:
    /// what `mesh explain` says. Nothing is sent, and nothing is counted.
    ///
    /// It has values that the configuration gives to headers; [`Explained::redact`] takes them out.
    ///
    /// # Examples
    /// ```no_run
    /// # fn example(mesh: &mesh_tower::Mesh) -> Result<(), Box<dyn std::error::Error>> {
    /// use mesh_core::explain::Request;
    ///
    /// println!("{}", mesh.explain(&Request::new("http://reviews/1")?));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn explain(&self, request: &explain::Request) -> Explained {
        explain::explain(&self.0.state.snapshot(), request)
    }

    /// Has files of configuration read again, and each identity asked for anew: the mesh's own, those of certificate
    /// providers, and the files that clusters and listeners name. It waits for none of them. It is what a program does at
    /// SIGHUP; all are followed anyway. What has not changed stays.
    pub fn reload(&self) {
        self.0.shared.interests.reload();
        #[cfg(feature = "tls")]
        self.0.shared.credentials.reload();
    }

    /// How many configurations were applied so far, and why the newest was refused, if it was.
    #[must_use]
    pub fn configuration(&self) -> Configuration {
        let progress = self.0.progress.borrow().clone();
        Configuration {
            generation: progress.generation,
            source: progress.origin.source,
            version: progress.origin.version,
            refused: progress.refused,
            stale_since: progress.stale,
        }
    }

    /// The last configurations that were applied or refused, the newest first, with what changed; at most
    /// [`MAX_CONFIGURATIONS`](crate::observe::MAX_CONFIGURATIONS). Endpoints that change one after another are
    /// one of them.
    ///
    /// # Examples
    /// ```
    /// # fn example(mesh: &mesh_tower::Mesh) {
    /// for configuration in mesh.configurations() {
    ///     println!("{} {configuration}", configuration.at.as_unix_seconds());
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn configurations(&self) -> Vec<Arc<ConfigurationRecord>> {
        self.0.shared.registry.history().recent()
    }

    /// Waits until `generation` or a later configuration is applied.
    ///
    /// # Errors
    /// With [`Reason::ShutDown`] when the mesh ended first.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn applied(&self, generation: u64) -> Result<(), Error> {
        let mut progress = self.0.progress.clone();
        let applied =
            progress.wait_for(|progress| progress.generation >= generation || progress.ended).await;
        match applied {
            Ok(progress) if progress.generation >= generation => Ok(()),
            _ => Err(Error::new(Reason::ShutDown, Station::default())),
        }
    }

    /// The mesh's own identity and what became of its renewals; `None`: it has none.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn identities(&self) -> Option<&crate::identity::Identities> {
        self.0.shared.credentials.own()
    }

    /// The destinations of calls that no virtual host serves, by name, at most
    /// [`MAX_DESTINATIONS`](crate::observe::MAX_DESTINATIONS): who was called, and whether that is allowed.
    /// [`allow_list`](crate::observe::allow_list) makes of them the list that would be needed.
    #[must_use]
    pub fn egress_destinations(&self) -> Vec<crate::observe::EgressDestination> {
        self.0.shared.registry.mesh().egress().destinations()
    }

    /// A server asks for its listener: see
    /// [`Interests::want_listener`](crate::source::demand::Interests::want_listener). The snapshot has it under
    /// `name`, or why it is not there.
    ///
    /// # Errors
    /// [`TooManyListeners`](crate::source::demand::TooManyListeners): servers ask for too many.
    pub(crate) fn want_listener(
        &self,
        name: &str,
    ) -> Result<(), crate::source::demand::TooManyListeners> {
        self.0.shared.interests.want_listener(name)
    }

    /// Accepts connections by the listener `name` of the configuration, for a server loop of one's own.
    #[must_use]
    pub fn acceptor(&self, name: impl Into<Arc<str>>) -> Acceptor {
        Acceptor::new(self.clone(), name.into())
    }

    /// A server by the listener `name` of the configuration. It ends with [`shutdown`](Self::shutdown).
    #[must_use]
    pub fn server(&self, name: impl Into<Arc<str>>) -> MeshServer {
        let server = MeshServer::new(self.clone(), name.into());
        let mut servers = self.0.servers.lock();
        servers.retain(|server| server.upgrade().is_some());
        servers.push(server.downgrade());
        server
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(Arc::clone(&self.0.shared.registry))
    }

    /// Ends the mesh: its servers are drained, and then new calls are refused; those in flight have until
    /// `deadline` to finish, also those that pass through unrouted and those at endpoints that were removed
    /// before. Then the lines of its access logs are written, as far as that takes no longer than a second.
    ///
    /// # Cancel safety
    /// Cancel safe; the mesh stays ended.
    pub async fn shutdown(&self, deadline: Duration) {
        let begun = Instant::now();
        let servers = self.servers();
        join_all(servers.iter().map(|server| server.drain(deadline))).await;
        let deadline = deadline.saturating_sub(begun.elapsed());
        self.0.driver.stop(deadline);
        let mut progress = self.0.progress.clone();
        // The driver drains and says when it has ended; a driver that is gone has.
        let ended = progress.wait_for(|progress| progress.ended);
        // Ended, or late: what it looked at is let go of before the next wait.
        drop(tokio::time::timeout(deadline.saturating_add(DRAIN_SLACK), ended).await);
        // The lines of the last calls are written, unless that takes too long.
        drop(tokio::time::timeout(DRAIN_SLACK, self.0.shared.logs.flush()).await);
    }

    /// The servers that are there.
    pub(crate) fn servers(&self) -> Vec<MeshServer> {
        self.0.servers.lock().iter().filter_map(WeakServer::upgrade).collect()
    }

    /// The snapshot in force.
    pub(crate) fn snapshot(&self) -> impl std::ops::Deref<Target = Arc<state::Snapshot<Net>>> {
        self.0.state.snapshot()
    }

    /// A number that changes with the snapshot in force.
    pub(crate) fn version(&self) -> u64 {
        self.0.state.version()
    }

    /// How far the configuration has come.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.0.progress.clone()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn unrouted(&self) -> &Arc<TargetCells> {
        &self.0.unrouted
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("configuration", &self.configuration()).finish_non_exhaustive()
    }
}

/// What closing connections may take after the calls were given up.
const DRAIN_SLACK: Duration = Duration::from_secs(1);

/// Which configuration is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Configuration {
    /// How many were applied so far; 0: none yet.
    pub generation: u64,
    /// Where it comes from.
    pub source: Arc<str>,
    /// Its version, or the hash of its content.
    pub version: Arc<str>,
    /// Why the newest one was refused, if it was; then this is the last good one.
    pub refused: Option<Arc<str>>,
    /// When the copy on disk was written that it comes from, in part at least, because the control plane
    /// has not sent all of it since; `None`: it is as its source has it.
    pub stale_since: Option<WallTime>,
}
