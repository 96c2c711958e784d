//! The one background task: it owns the [`Updater`], and everything that is not a call.
//!
//! Configuration that sources publish, addresses that names resolve to, thresholds that calls crossed,
//! sweeps and ends of ejections: all of it comes here, one thing after another, and leaves as published
//! pickers and snapshots. Control work never runs on the call path.
//!
//! What is ready is served in turn, at random: an outage that keeps crossing thresholds must not keep a
//! new configuration, or the end of an ejection, from being heard.

mod announce;
mod tell;

use crate::clock;
use crate::dns::{DnsCluster, DnsClusters, DnsEvent, Resolve};
use crate::net::{Draw, Net, Shared};
use crate::observe::Changes;
use crate::observe::cluster::ReadCluster;
use crate::passthrough::Passthrough;
use crate::source::{SinkReceiver, SourceEvent};
use announce::Announcer;
use mesh_core::WallTime;
use mesh_core::model::Address;
use mesh_core::state::{ApplyError, LiveCluster, Mesh, Turn, Updater};
use mesh_core::update::{ConfigUpdate, EndpointsUpdate, Origin};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tell::Lines;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

/// How often a drain looks whether the calls in flight have ended.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// How far the configuration has come, for [`Mesh::ready`](crate::Mesh::ready) and for reports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Configurations applied.
    pub(crate) generation: u64,
    /// Where the last of them came from.
    pub(crate) origin: Origin,
    /// Why the newest one was refused, when it was.
    pub(crate) refused: Option<Arc<str>>,
    /// Where that one came from.
    pub(crate) refused_source: Arc<str>,
    /// Whether a configuration was applied that leaves nothing open.
    pub(crate) complete: bool,
    /// When the copy was written that some of what is in force comes from.
    pub(crate) stale: Option<WallTime>,
    /// Whether the mesh was shut down.
    pub(crate) ended: bool,
}

/// Ends the driver: with a drain when asked to, at once when the last handle of the mesh is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    stop: parking_lot::Mutex<Option<oneshot::Sender<Duration>>>,
}

impl Guard {
    /// Refuses new calls, gives those in flight until `deadline` to finish, and ends the driver.
    pub(crate) fn stop(&self, deadline: Duration) {
        // A driver that has ended already is what was asked for.
        let _ended_already = self.stop.lock().take().map(|stop| stop.send(deadline));
    }
}

/// What a driver works with.
#[derive(Debug)]
pub(crate) struct Around {
    pub(crate) shared: Arc<Shared>,
    pub(crate) passthrough: Arc<Passthrough>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) source: SinkReceiver,
    /// What the program has itself.
    pub(crate) own: Option<Arc<ConfigUpdate>>,
}

/// The driver, before it runs.
#[derive(Debug)]
pub(crate) struct Driver {
    updater: Updater<Net>,
    state: Mesh<Net>,
    shared: Arc<Shared>,
    passthrough: Arc<Passthrough>,
    dns: DnsClusters,
    source: SinkReceiver,
    announcer: Announcer,
    progress: watch::Sender<Progress>,
    stop: oneshot::Receiver<Duration>,
    /// The newest configuration, while it is refused, and why: endpoints that come meanwhile belong to it,
    /// and with them it may be good.
    refused: Option<(ConfigUpdate, Arc<str>)>,
    own: Option<Arc<ConfigUpdate>>,
    lines: Lines,
}

impl Driver {
    /// A driver, the guard that ends it, and where its progress is read.
    pub(crate) fn new(
        (updater, state): (Updater<Net>, Mesh<Net>),
        around: Around,
    ) -> (Self, Guard, watch::Receiver<Progress>) {
        let (stop_sender, stop) = oneshot::channel();
        let (progress, reader) = watch::channel(Progress::default());
        let Around { shared, passthrough, resolver, source, own } = around;
        let dns = DnsClusters::new(resolver);
        let announcer = Announcer::new(Arc::clone(&shared.registry));
        let (refused, lines) = (None, Lines::default());
        let driver = Self {
            updater,
            state,
            shared,
            passthrough,
            dns,
            source,
            announcer,
            progress,
            stop,
            refused,
            own,
            lines,
        };
        (driver, Guard { stop: parking_lot::Mutex::new(Some(stop_sender)) }, reader)
    }

    /// Applies a configuration before the driver runs, so that the first call finds it.
    pub(crate) fn apply_first(&mut self, update: ConfigUpdate) -> Result<(), ApplyError> {
        self.apply(update)
    }

    /// Runs until the mesh is dropped or shut down.
    pub(crate) async fn run(mut self) {
        let asked = loop {
            self.updater.free_retired();
            let timeout = self.updater.poll_timeout();
            let due = async {
                match timeout {
                    Some((at, _)) => sleep_until(clock::instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                asked = &mut self.stop => break asked,
                () = self.shared.attention.notified() => {
                    let turn = self.updater.handle_attention(clock::now(), &mut Draw);
                    self.report(&turn);
                }
                event = self.source.next() => self.source_event(event),
                change = self.dns.next() => self.resolved(&change.cluster, change.event),
                () = due => {
                    let turn = self.updater.handle_timeout(clock::now(), &mut Draw);
                    self.report(&turn);
                }
            }
        };
        // Without a word the last handle was dropped: nobody can call any more, and what is in flight
        // keeps its own connection until it ends.
        if let Ok(deadline) = asked {
            self.drain(deadline).await;
        }
    }

    /// Waits for the calls in flight until `deadline`, then closes what is left.
    async fn drain(&mut self, deadline: Duration) {
        let endpoints = self.updater.shut_down();
        // Without a time so late, for ever.
        let until = Instant::now().checked_add(deadline);
        let is_over = |now| until.is_some_and(|until| until <= now);
        let busy =
            || endpoints.iter().any(|endpoint| endpoint.active() > 0) || self.passthrough.is_busy();
        while busy() && !is_over(Instant::now()) {
            let next = Instant::now() + DRAIN_POLL;
            sleep_until(until.map_or(next, |until| until.min(next))).await;
        }
        for endpoint in &endpoints {
            endpoint.attached().pool().close();
        }
        self.passthrough.close();
    }

    fn source_event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Update(mut update) => {
                self.refused = None;
                if let Some(own) = &self.own {
                    update.add_own(own);
                }
                self.update(update, None);
            }
            SourceEvent::Endpoints(endpoints) => match self.refused.take() {
                Some((mut update, why)) => {
                    update.merge(endpoints);
                    self.update(update, Some(&why));
                }
                None => self.endpoints(endpoints),
            },
            SourceEvent::Rejected(rejected) => self.rejected(&rejected),
            SourceEvent::Restored(origin) => self.restored(&origin),
            SourceEvent::Connected(connected) => self.shared.registry.mesh().connected(connected),
            SourceEvent::Stale(since) => {
                self.shared.registry.mesh().stale(since);
                self.progress.send_modify(|progress| progress.stale = since);
            }
        }
    }

    /// Puts a configuration into force; `before`: why it was refused, without the endpoints that it has now.
    fn update(&mut self, update: ConfigUpdate, before: Option<&str>) {
        let origin = update.origin.clone();
        if self.is_in_force(&origin) {
            self.unchanged(&origin);
            let complete = !update.is_partial;
            self.progress.send_modify(|progress| {
                progress.complete |= complete;
                progress.refused = None;
            });
            return;
        }
        let changes = Changes::between(self.updater.config(), &update);
        // A pointer for each cluster, beside the time that building them takes.
        let again = update.clone();
        match self.apply(update) {
            Ok(()) => self.source.in_force(origin),
            Err(error) => self.refuse(again, &error, changes, before),
        }
    }

    fn endpoints(&mut self, update: EndpointsUpdate) {
        let origin = update.origin.clone();
        let before = self.state.snapshot().generation();
        match self.updater.apply_endpoints_update(&update, clock::now()) {
            Ok(applied) => {
                #[cfg(feature = "tls")]
                if applied.secrets_changed {
                    let Shared { credentials, registry, .. } = &*self.shared;
                    credentials.follow_named(self.updater.config(), registry);
                }
                self.applied_endpoints(&origin, before, &applied, update.clusters.keys());
                self.source.in_force(origin);
            }
            Err(error) => {
                let changes = Changes::of_endpoints(update.clusters.keys());
                let mut whole = self.updater.config().clone();
                whole.merge(update);
                self.refuse(whole, &error, changes, None);
            }
        }
    }

    /// Keeps what was refused: endpoints that come later belong to it. `before`: why it was refused without
    /// those that came last.
    fn refuse(
        &mut self,
        update: ConfigUpdate,
        error: &ApplyError,
        changes: Changes,
        before: Option<&str>,
    ) {
        let why: Arc<str> = error.to_string().into();
        self.source.refused(update.origin.clone());
        self.shared.registry.mesh().rejected_resources(1);
        if before == Some(&*why) {
            self.refused_again(&update.origin, &why);
        } else {
            self.record_refused(&update.origin, &why, changes);
            self.refused(&update.origin.source, &why);
        }
        self.refused = Some((update, why));
    }

    /// Whether this very content is what is applied already. Code has no version to go by.
    fn is_in_force(&self, origin: &Origin) -> bool {
        !origin.version.is_empty() && self.updater.config().origin == *origin
    }

    fn apply(&mut self, mut update: ConfigUpdate) -> Result<(), ApplyError> {
        let specs: Vec<_> =
            update.clusters.values().filter_map(|c| DnsCluster::of(&c.cluster)).collect();
        for spec in &specs {
            // A configuration knows names; the addresses that they had last stay until new ones come.
            if let Some(cluster) = update.clusters.get_mut(&spec.name) {
                cluster.endpoints = self.dns.endpoints(&spec.name);
            }
        }
        let (origin, complete) = (update.origin.clone(), !update.is_partial);
        let before = self.state.snapshot().generation();
        let changes = Changes::between(self.updater.config(), &update);
        let learn = update.egress.learn.clone();
        #[cfg(feature = "tls")]
        let identity = update.identity.clone();
        let applied = self.updater.apply(update, clock::now())?;
        self.dns.set(specs);
        self.shared.registry.mesh().egress().learn_to(learn);
        #[cfg(feature = "tls")]
        {
            let Shared { credentials, runtime, registry, .. } = &*self.shared;
            credentials.follow(identity.as_ref(), runtime, registry);
            credentials.follow_named(self.updater.config(), registry);
        }
        for cluster in self.state.snapshot().clusters() {
            let reading: Weak<dyn ReadCluster> = Arc::downgrade(cluster) as _;
            cluster.attached().cells.read_from(reading);
        }
        self.applied_whole((&origin, complete), before, &applied, changes);
        Ok(())
    }

    fn resolved(&mut self, cluster: &Arc<str>, event: DnsEvent) {
        match event {
            DnsEvent::Endpoints(endpoints) => {
                let count = endpoints.len();
                let applied = self.updater.apply_endpoints(cluster, Some(endpoints), clock::now());
                match applied {
                    Ok(applied) => {
                        tracing::debug!(target: "mesh", %cluster, count, "names resolved");
                        self.report(&applied.happened);
                    }
                    Err(error) => self.refused(cluster, &error.to_string()),
                }
                if count > 0 {
                    self.with_cluster(cluster, |live| live.attached().set_unresolved(None));
                }
            }
            DnsEvent::Addresses(addresses) => self.moved(cluster, &addresses),
            DnsEvent::Failed { error, kept } => {
                tracing::warn!(target: "mesh", %cluster, kept, "name not resolved: {error}");
                if !kept {
                    let why = Some(Arc::new(error));
                    self.with_cluster(cluster, |live| live.attached().set_unresolved(why));
                }
            }
            DnsEvent::Recovered => tracing::info!(target: "mesh", %cluster, "names resolve again"),
        }
    }

    /// A logical cluster's name leads elsewhere: its next connections go there.
    fn moved(&self, cluster: &Arc<str>, addresses: &[Address]) {
        self.with_cluster(cluster, |live| live.attached().set_addresses(addresses));
    }

    fn with_cluster(&self, name: &str, tell: impl FnOnce(&LiveCluster<Net>)) {
        if let Some(cluster) = self.state.snapshot().cluster(name) {
            tell(cluster);
        }
    }

    fn report(&mut self, turn: &Turn) {
        self.announcer.announce(turn, clock::now());
    }
}

/// Whoever waits must hear of the end, also when it is that of the runtime: then the driver is dropped
/// in the middle of what it does.
impl Drop for Driver {
    fn drop(&mut self) {
        self.updater.abandon();
        self.progress.send_modify(|progress| progress.ended = true);
    }
}
