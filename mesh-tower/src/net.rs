//! [`Net`]: what this crate hangs on the core's live state. The one `Attach` there is.

mod endpoint;

pub(crate) use endpoint::NetEndpoint;

#[cfg(feature = "tls")]
use crate::connect;
use crate::connect::{Connect, OwnPorts, PoolLimits, PoolSettings, Speaks};
use crate::dns::{AnyAddress, ResolveError};
use crate::observe::access_log::Logs;
use crate::observe::cluster::{ClusterCells, LocalityCells};
use crate::observe::events::{CloseReason, Security};
use crate::observe::registry::Registry;
use crate::observe::spans::Spans;
use crate::observe::target::{self, TargetCells};
use crate::route::DIRECT;
use crate::source::demand::Interests;
#[cfg(feature = "tls")]
use crate::tls::client::ClientTls;
use arc_swap::{ArcSwap, ArcSwapOption};
use endpoint::Ways;
use http::response;
use mesh_core::Random;
use mesh_core::breaker::{Breaker, Resource};
use mesh_core::model::{self, Address, Cluster, Discovery, Locality, RoutingPriority, TlsPolicy};
use mesh_core::outcome::{Class, ConnectFailure};
use mesh_core::state::{Attach, TargetLabels};
use mesh_core::update::Secrets;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The random numbers of the call path: the thread's own generator, not fit for secrets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw;

impl Random for Draw {
    fn next_u64(&mut self) -> u64 {
        fastrand::u64(..)
    }
}

/// Says whether a response that looks fine is a failure, or the other way round.
///
/// What it says counts everywhere: in metrics, in outlier detection and in retries.
pub(crate) trait Classify: Send + Sync {
    /// What `response` is; `None`: what its status says. Called once per response head, on the call
    /// path: it must not block.
    fn classify(&self, response: &response::Parts) -> Option<Class>;
}

impl<F> Classify for F
where
    F: Fn(&response::Parts) -> Option<Class> + Send + Sync,
{
    fn classify(&self, response: &response::Parts) -> Option<Class> {
        self(response)
    }
}

/// What all parts of a mesh share.
pub(crate) struct Shared {
    pub(crate) runtime: Handle,
    pub(crate) dial: Arc<dyn Connect>,
    /// Where a proxy of this mesh listens.
    pub(crate) own_ports: Arc<OwnPorts>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) classify: Option<Arc<dyn Classify>>,
    /// What calls of the mesh's own client have in common (gRPC: `io.grpc.channel_id`).
    pub(crate) channel_id: u64,
    /// Wakes the driver: an endpoint crossed a threshold.
    pub(crate) attention: Notify,
    pub(crate) settings: Settings,
    /// What calls ask a source for that works on demand.
    pub(crate) interests: Arc<Interests>,
    /// What connections are made with.
    pub(crate) secrets: Arc<ArcSwap<Secrets>>,
    /// Who we are.
    #[cfg(feature = "tls")]
    pub(crate) credentials: crate::identity::Credentials,
    /// Who writes lines of calls and of served requests.
    pub(crate) logs: Logs,
}

/// What the builder was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The most bytes of a request body that are kept for another attempt.
    pub(crate) replay_limit: usize,
    /// Every call carries a report.
    pub(crate) report: bool,
    /// Adds `x-envoy-expected-rq-timeout-ms`.
    pub(crate) expected_timeout_header: bool,
    /// Obeys `x-envoy-*` of requests.
    pub(crate) trusted_overrides: bool,
    /// Answers over HTTP/1.1 keep the case of their names, for a server that writes them so.
    pub(crate) preserve_header_case: bool,
    /// See [`Leaf::IGNORES_EXTENSIONS`](crate::leaf::Leaf::IGNORES_EXTENSIONS).
    pub(crate) ignores_extensions: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            replay_limit: crate::call::DEFAULT_REPLAY_LIMIT,
            report: false,
            expected_timeout_header: false,
            trusted_overrides: false,
            preserve_header_case: false,
            ignores_extensions: false,
        }
    }
}

/// A wake-up is for the driver.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.attention.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.attention.notify_one();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("dial", &self.dial)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The factory of what hangs on the live state.
#[derive(Clone, Debug)]
#[expect(unnameable_types, reason = "what the mesh hangs on its state is its own")]
pub struct Net {
    pub(crate) shared: Arc<Shared>,
}

/// What hangs on a cluster.
#[derive(Debug)]
#[expect(unnameable_types, reason = "what the mesh hangs on its state is its own")]
pub struct NetCluster {
    shared: Arc<Shared>,
    model: ArcSwap<Cluster>,
    /// In which ways its endpoints are secured.
    ways: Ways,
    limits: Arc<ClusterLimits>,
    /// A picker was published.
    changed: Arc<Notify>,
    /// Where a logical cluster's name leads; its connections try all of them.
    addresses: Arc<ArcSwap<Vec<Address>>>,
    /// Why the cluster's names lead nowhere.
    unresolved: ArcSwapOption<ResolveError>,
    pub(crate) cells: Arc<ClusterCells>,
    /// Of calls by its name.
    direct: OnceLock<Arc<TargetCells>>,
}

impl NetCluster {
    /// Completes when a picker is published after this moment.
    pub(crate) fn endpoints_changed(&self) -> Pin<Box<OwnedNotified>> {
        let mut notified = Box::pin(Arc::clone(&self.changed).notified_owned());
        notified.as_mut().enable();
        notified
    }

    /// Why the cluster has no endpoints, when that is because its names did not resolve.
    pub(crate) fn unresolved(&self) -> Option<Arc<ResolveError>> {
        self.unresolved.load_full()
    }

    /// The cluster's names lead nowhere, for this reason, or somewhere again.
    pub(crate) fn set_unresolved(&self, why: Option<Arc<ResolveError>>) {
        self.unresolved.store(why);
    }

    /// Where the cluster's name leads from now on, when it is a logical cluster.
    pub(crate) fn set_addresses(&self, addresses: &[Address]) {
        self.addresses.store(Arc::new(addresses.to_vec()));
    }

    /// Where calls by the cluster's name are counted, as long as there is the cluster.
    pub(crate) fn direct(&self) -> Arc<TargetCells> {
        let make = || {
            let (virtual_host, route) = (Arc::from(DIRECT), Arc::from(DIRECT));
            let cluster = Arc::clone(self.cells.name());
            self.shared.registry.target(&target::TargetLabels { virtual_host, route, cluster })
        };
        Arc::clone(self.direct.get_or_init(make))
    }

    /// Where spans of attempts go; `None`: nobody wants them.
    pub(crate) fn spans(&self) -> Option<&Arc<Spans>> {
        self.shared.registry.spans()
    }

    /// Tells the driver that an endpoint crossed a threshold.
    pub(crate) fn wake_driver(&self) {
        self.shared.attention.notify_one();
    }

    /// The user's classifier, when there is one.
    pub(crate) fn classifier(&self) -> Option<&dyn Classify> {
        self.shared.classify.as_deref()
    }
}

/// The part of a cluster's circuit breakers that is about connections, which are counted against the default
/// priority: a connection serves calls of both. Who waits for one counts against his own.
#[derive(Debug)]
struct ClusterLimits {
    breaker: Arc<Breaker>,
    cells: Arc<ClusterCells>,
}

impl PoolLimits for ClusterLimits {
    fn try_connection(&self, first: bool) -> bool {
        // Envoy: an endpoint without any connection may have one beyond the limit.
        let acquired = self.breaker.try_acquire(RoutingPriority::Default, Resource::Connections);
        match acquired {
            Ok(()) => true,
            Err(overflow) if first => {
                self.breaker.acquire_beyond(RoutingPriority::Default, Resource::Connections);
                self.cells.overflow(overflow);
                true
            }
            Err(overflow) => {
                self.cells.overflow(overflow);
                false
            }
        }
    }

    fn release_connection(&self) {
        self.breaker.release(RoutingPriority::Default, Resource::Connections);
    }

    fn connection_opened(&self, security: &Security, calls: &Arc<AtomicU64>) {
        self.cells.connection_opened(security, calls);
    }

    fn connection_failed(&self, why: ConnectFailure) {
        self.cells.connection_failed(why);
    }

    fn connection_closed(&self, reason: CloseReason) {
        self.cells.connection_closed(reason);
    }

    fn try_pending(&self, priority: RoutingPriority) -> bool {
        self.breaker.try_acquire(priority, Resource::Pending).is_ok()
    }

    fn release_pending(&self, priority: RoutingPriority) {
        self.breaker.release(priority, Resource::Pending);
    }
}

#[cfg(feature = "tls")]
impl Net {
    /// Who secures the connections of a cluster's endpoints of one way, and what they speak then. While the
    /// policy stays, it is the same one: it knows the connections that are there.
    fn secure(
        &self,
        cluster: &Cluster,
        tls: &TlsPolicy,
        dial: &dyn Connect,
        before: Option<&PoolSettings>,
    ) -> (Option<Arc<ClientTls>>, Speaks) {
        let TlsPolicy::On(policy) = tls else {
            return (None, Speaks::of(cluster.protocol));
        };
        if dial.secures() {
            return (None, Speaks::of(cluster.protocol));
        }
        let same = before.and_then(|before| before.secure.as_ref());
        let same = same.filter(|tls| tls.policy() == policy).map(Arc::clone);
        let secure = same.unwrap_or_else(|| {
            let secrets = Arc::clone(&self.shared.secrets);
            let credentials = self.shared.credentials.clone();
            Arc::new(ClientTls::new(Arc::clone(policy), secrets, credentials))
        });
        (Some(secure), connect::alpn::speaks(cluster.protocol, &policy.alpn))
    }
}

impl Net {
    fn pool_settings(
        &self,
        attached: &NetCluster,
        cluster: &Cluster,
        tls: &TlsPolicy,
        before: Option<&PoolSettings>,
    ) -> PoolSettings {
        let (limits, addresses) = (&attached.limits, &attached.addresses);
        let mut dial = Arc::clone(&self.shared.dial);
        if let Discovery::LogicalDns(_) = cluster.discovery {
            let (addresses, delay) =
                (Arc::clone(addresses), cluster.connection.happy_eyeballs_delay);
            dial = Arc::new(AnyAddress { addresses, dial, delay });
        }
        #[cfg(feature = "tls")]
        let (secure, speaks) = self.secure(cluster, tls, &*dial, before);
        #[cfg(not(feature = "tls"))]
        let (speaks, _nobody_secures) = (Speaks::of(cluster.protocol), before);
        PoolSettings {
            speaks,
            options: cluster.connection,
            preserve_header_case: self.shared.settings.preserve_header_case,
            max_connections_per_endpoint: cluster.circuit_breakers.max_connections_per_endpoint,
            proxy_protocol: cluster.proxy_protocol,
            tls: tls.clone(),
            #[cfg(feature = "tls")]
            secure,
            secrets: Arc::clone(&self.shared.secrets),
            dial,
            runtime: self.shared.runtime.clone(),
            limits: Arc::clone(limits) as Arc<dyn PoolLimits>,
        }
    }
}

impl Attach for Net {
    type Cluster = NetCluster;
    type Endpoint = NetEndpoint;
    type Locality = Arc<LocalityCells>;
    type Target = Arc<TargetCells>;

    fn writer(&self) -> Waker {
        Waker::from(Arc::clone(&self.shared))
    }

    fn secrets_changed(&self, secrets: &Arc<Secrets>) {
        self.shared.secrets.store(Arc::clone(secrets));
    }

    fn cluster(&self, cluster: &Arc<Cluster>, breaker: &Arc<Breaker>) -> NetCluster {
        let cells = self.shared.registry.cluster(&cluster.name);
        let breaker = Arc::clone(breaker);
        let limits = Arc::new(ClusterLimits { breaker, cells: Arc::clone(&cells) });
        NetCluster {
            shared: Arc::clone(&self.shared),
            model: ArcSwap::new(Arc::clone(cluster)),
            ways: Ways::default(),
            limits,
            changed: Arc::default(),
            addresses: Arc::default(),
            unresolved: ArcSwapOption::empty(),
            cells,
            direct: OnceLock::new(),
        }
    }

    fn cluster_changed(&self, attached: &NetCluster, cluster: &Arc<Cluster>) {
        attached.model.store(Arc::clone(cluster));
        attached
            .ways
            .renew(|before| self.pool_settings(attached, cluster, &before.tls, Some(before)));
    }

    fn picker_changed(&self, attached: &NetCluster) {
        attached.changed.notify_waiters();
    }

    fn cluster_removed(&self, attached: &NetCluster) {
        // Calls that wait for an endpoint of it look again, and find none.
        attached.changed.notify_waiters();
    }

    fn endpoint(&self, cluster: &NetCluster, address: &Address, tls: &TlsPolicy) -> NetEndpoint {
        // Of a cluster that is just changing this is what it was; it is told of the change next.
        let model = cluster.model.load();
        let way = cluster.ways.of(tls, || self.pool_settings(cluster, &model, tls, None));
        NetEndpoint::new(address.clone(), way)
    }

    fn endpoint_listed(&self, attached: &NetEndpoint, endpoint: &model::Endpoint) {
        attached.pool().set_hostname(endpoint.hostname.as_ref());
    }

    fn endpoint_removed(&self, attached: &NetEndpoint) {
        attached.pool().drain();
    }

    fn locality(&self, cluster: &NetCluster, locality: &Locality) -> Arc<LocalityCells> {
        cluster.cells.locality(locality)
    }

    fn target(&self, _: Option<&NetCluster>, labels: TargetLabels<'_>) -> Arc<TargetCells> {
        let labels = target::TargetLabels {
            virtual_host: Arc::clone(labels.virtual_host),
            route: Arc::clone(labels.route),
            cluster: labels.cluster.map(Arc::clone).unwrap_or_default(),
        };
        self.shared.registry.target(&labels)
    }
}
