//! [`XdsSource`]: an xDS control plane.
//!
//! By name, as gRPC clients ask: the authority that a call is made to is the name of a listener, and the
//! first call to it makes it known ([`Demand`](super::Demand)); an authority that no call uses any more is
//! let go of. Or everything at once, as Envoy asks ([`XdsSource::wildcard`]). Either way what was learnt stays
//! in force when the control plane is lost.

mod idle;
mod keeper;
#[cfg(feature = "tls")]
mod providers;
mod running;
mod writes;

use super::xds_status::XdsStatus;
use super::{Sink, Source};
use futures_core::future::BoxFuture;
use keeper::Place;
use mesh_core::model::Domain;
use mesh_xds::last_good;
use running::Running;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use mesh_xds::bootstrap::{Bootstrap, BootstrapError};
pub use mesh_xds::protocol::Variant;

/// Configuration from an xDS control plane.
///
/// # Examples
/// ```no_run
/// use mesh_tower::Mesh;
/// use mesh_tower::source::{Bootstrap, XdsSource};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bootstrap = Bootstrap::parse(r#"{
///     "xds_servers": [{ "server_uri": "127.0.0.1:18000", "channel_creds": [{ "type": "insecure" }] }],
///     "node": { "id": "checkout-7" }
/// }"#)?;
/// let source = XdsSource::new(bootstrap).last_good("/var/lib/checkout/mesh.last-good");
/// let mesh = Mesh::builder().source(source).build()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct XdsSource {
    bootstrap: Bootstrap,
    variant: Variant,
    wildcard: bool,
    authorities: Vec<Arc<str>>,
    xds_authority: Option<Arc<str>>,
    xds_authorities: Vec<(Domain, Arc<str>)>,
    last_good: Option<PathBuf>,
    last_good_max_bytes: usize,
    idle_timeout: Duration,
    status: XdsStatus,
}

impl XdsSource {
    /// How long an authority may go unused, unless another time is given.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

    /// The control plane that `bootstrap` names, asked in the state of the world.
    #[must_use]
    pub fn new(bootstrap: Bootstrap) -> Self {
        Self {
            status: XdsStatus::new(&bootstrap),
            bootstrap,
            variant: Variant::StateOfTheWorld,
            wildcard: false,
            authorities: Vec::new(),
            xds_authority: None,
            xds_authorities: Vec::new(),
            last_good: None,
            last_good_max_bytes: last_good::DEFAULT_MAX_BYTES,
            idle_timeout: Self::IDLE_TIMEOUT,
        }
    }

    /// Asks in this variant first. A server that does not speak it is asked in the other one.
    #[must_use]
    pub const fn variant(mut self, variant: Variant) -> Self {
        self.variant = variant;
        self
    }

    /// Asks for everything that the control plane has for this node, as Envoy does, instead of what calls
    /// ask for: listeners and clusters by the wildcard, and the routes and endpoints that these name.
    ///
    /// Which is right is up to the control plane. One for gRPC clients has a listener with an
    /// `api_listener` for each name; one for Envoy has listeners with ports, and these are what the wildcard
    /// is answered with. Calls are routed by the domains of all listeners together: `domain` where only one
    /// listener serves it, `domain:port` with the listener's port where several do (see `docs/xds.md`).
    ///
    /// - [`Mesh::ready`](crate::Mesh::ready) resolves on the first configuration that is complete: all
    ///   listeners with their routes, all clusters that these name with their endpoints. Calls before it
    ///   are refused with `not_configured`: none waits for a name.
    /// - A host that no listener serves is refused with `NR`.
    /// - Servers are served: by a listener's name, or by the address that it has (`docs/xds.md`).
    /// - New versions of a listener or a cluster go live as they are complete, and what is gone is gone.
    /// - [`authority`](Self::authority), [`xds_authority`](Self::xds_authority) and
    ///   [`idle_timeout`](Self::idle_timeout) have no effect: nothing is asked for by a call.
    #[must_use]
    pub const fn wildcard(mut self) -> Self {
        self.wildcard = true;
        self
    }

    /// What is known of each resource, to be served as CSDS or looked at. Take it before the source goes to
    /// the mesh.
    #[must_use]
    pub fn status(&self) -> XdsStatus {
        self.status.clone()
    }

    /// Asks for `authority` from the start and for the life of the mesh, and not only while calls are
    /// made to it. [`Mesh::ready`](crate::Mesh::ready) waits for the answer.
    #[must_use]
    pub fn authority(mut self, authority: &str) -> Self {
        self.authorities.push(authority.to_ascii_lowercase().into());
        self
    }

    /// Names listeners as gRPC's targets `xds://<name>/…` do, by the template of an entry of `authorities` in
    /// the bootstrap, and so asks the servers of that entry (gRFC A47). One that is not there is an error
    /// for each call. Default: as `xds:///…`, by `client_default_listener_resource_name_template`.
    #[must_use]
    pub fn xds_authority(mut self, name: impl Into<Arc<str>>) -> Self {
        self.xds_authority = Some(name.into());
        self
    }

    /// The same, for calls to the hosts of `domain` alone: teams with control planes of their own. Of several
    /// domains that fit the best one counts, as among those of virtual hosts; other hosts keep
    /// [`xds_authority`](Self::xds_authority).
    ///
    /// # Examples
    /// ```
    /// # use mesh_core::model::{Domain, virtual_host::InvalidDomain};
    /// # use mesh_tower::source::XdsSource;
    /// # fn example(source: XdsSource) -> Result<XdsSource, InvalidDomain> {
    /// Ok(source.xds_authority_for(Domain::parse("*.payments.example")?, "payments"))
    /// # }
    /// ```
    #[must_use]
    pub fn xds_authority_for(mut self, domain: Domain, name: impl Into<Arc<str>>) -> Self {
        self.xds_authorities.push((domain, name.into()));
        self
    }

    /// Keeps a copy of what is in use in the file at `path`, so that a process that starts while its
    /// control plane is down serves calls at once, by what was good last. Default: no copy.
    ///
    /// The file is read once, at the start, and written whenever something else is in force: of endpoints
    /// alone every 60 s at most and 1 MiB/s on average, of anything else every 5 s and 4 MiB/s, and at the end
    /// of the mesh. A write that fails changes no call; it is logged once, counted in
    /// `mesh_xds_copy_writes_total`, and tried again later. The file is readable by its owner only and never holds a private key: what needs one waits for the control
    /// plane. A file that is damaged, too large, of another control plane or of another node is reported
    /// and not used. Each process needs its own path.
    ///
    /// What comes from the copy is stale until the control plane has sent it again; meanwhile
    /// [`Configuration::stale_since`](crate::Configuration::stale_since) says how old it is.
    #[must_use]
    pub fn last_good(mut self, path: impl Into<PathBuf>) -> Self {
        self.last_good = Some(path.into());
        self
    }

    /// The largest copy that is written and read, in bytes. Default: 64 MiB.
    #[must_use]
    pub const fn last_good_max_bytes(mut self, bytes: usize) -> Self {
        self.last_good_max_bytes = bytes;
        self
    }

    /// Lets go of an authority that no call used for this long, at least 1 s and give or take a quarter; the
    /// next call to it asks again and waits. Default: [`IDLE_TIMEOUT`](Self::IDLE_TIMEOUT), 30 min.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout.max(Duration::from_secs(1));
        self
    }

    fn place(&self) -> Option<Place> {
        let path = self.last_good.as_deref()?.into();
        let origin = last_good::Origin::of(&self.bootstrap);
        Some(Place { path, max_bytes: self.last_good_max_bytes, origin })
    }
}

impl Source for XdsSource {
    fn start(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        Box::pin(async move { Running::new(&self, sink).run().await })
    }

    fn is_on_demand(&self) -> bool {
        !self.wildcard
    }

    /// Those of the bootstrap whose plugin is `file_watcher`.
    #[cfg(feature = "tls")]
    fn certificate_providers(&self) -> Vec<(Arc<str>, Box<dyn crate::identity::IdentitySource>)> {
        providers::sources(&self.bootstrap)
    }
}
