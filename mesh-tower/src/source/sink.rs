//! [`Sink`]: the narrow way from a source to the mesh.
//!
//! A configuration is complete, so only the newest matters: at most one event of each kind waits,
//! and a source never waits for the mesh. The order between kinds is kept. Endpoints alone are not
//! complete: those that come while others wait, or while a configuration does, are merged into what
//! waits, so that none are lost and none come before their clusters. Nor is a rejection: a control plane may
//! send several bad resources at once, so that one waits for each origin, [`MAX_REJECTED`] in all; so of what is good again.
//!
//! On the way back comes what the mesh made of it: which configuration is in force, and which was refused.

use super::demand::{Demand, Interests};
use crate::observe::registry::Registry;
use crate::observe::source::SourceCells;
use mesh_core::update::{EndpointsUpdate, Origin};
use mesh_core::{ConfigUpdate, WallTime};
use parking_lot::Mutex;
#[cfg(feature = "xds")]
use std::collections::BTreeMap;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The most rejections that wait, and the most ends of some; the oldest gives way.
const MAX_REJECTED: usize = 32;

/// The source's end. Cheap to clone, never waits, keeps at most one event of each kind, and of rejections one
/// for each origin, at most 32.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
    /// The counters of the mesh; `None`: there is no mesh at the other end.
    registry: Option<Arc<Registry>>,
    interests: Arc<Interests>,
    cells: Arc<SourceCells>,
    lb_policies: Arc<BTreeSet<Arc<str>>>,
    closed: CancellationToken,
}

impl Sink {
    /// A sink and the end that takes from it.
    #[must_use]
    pub fn channel() -> (Self, SinkReceiver) {
        let (shared, closed) = (Arc::<Shared>::default(), CancellationToken::new());
        let receiver =
            SinkReceiver { shared: shared.clone(), _closes: closed.clone().drop_guard() };
        let (interests, cells, lb_policies) = Default::default();
        (Self { shared, registry: None, interests, cells, lb_policies, closed }, receiver)
    }

    /// Hands a complete configuration over. One that was not taken yet is replaced.
    pub fn publish(&self, update: ConfigUpdate) {
        self.send(SourceEvent::Update(update));
    }

    /// Hands other endpoints over, for clusters of the configuration that was published last.
    pub fn publish_endpoints(&self, update: EndpointsUpdate) {
        self.send(SourceEvent::Endpoints(update));
    }

    /// Reports a configuration that cannot be used. What is in force stays.
    pub fn reject(&self, rejected: Rejected) {
        self.send(SourceEvent::Rejected(rejected));
    }

    /// Reports that after a rejection the source holds again what is in force.
    pub fn restored(&self, origin: Origin) {
        self.send(SourceEvent::Restored(origin));
    }

    /// Reports whether the source's origin can be reached: a control plane, a server. For metrics: it
    /// changes no call.
    pub fn connected(&self, connected: bool) {
        self.send(SourceEvent::Connected(connected));
    }

    /// Reports that what was published last is a copy from `since`, in part at least; `None`: no longer.
    pub fn stale(&self, since: Option<WallTime>) {
        self.send(SourceEvent::Stale(since));
    }

    /// What the mesh could not put into force of what this source published, unless it could with
    /// something later.
    #[must_use]
    pub fn refused(&self) -> Option<Origin> {
        self.shared.judged.lock().refused.clone()
    }

    /// What the mesh has put into force last of what this source published; `None`: nothing yet.
    #[must_use]
    pub fn in_force(&self) -> Option<Origin> {
        self.shared.judged.lock().in_force.clone()
    }

    /// Waits until the mesh has put something into force or refused it since the last call that returned. For
    /// one task at a time.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn judged(&self) {
        self.shared.was_judged.notified().await;
    }

    /// Says that this source answers for authorities as calls ask for them: from now on they come
    /// through here, and calls to others than those in
    /// [`on_demand`](ConfigUpdate::on_demand) wait. For one source at a time.
    #[must_use = "calls wait for as long as it is open"]
    pub fn on_demand(&self) -> Demand {
        self.interests.open()
    }

    /// The load-balancing policies that the program has registered
    /// ([`Builder::lb_policy`](crate::Builder::lb_policy)), by name: what a source takes from a list of which
    /// the first that is supported counts (gRFC A52).
    #[must_use]
    pub fn lb_policies(&self) -> &BTreeSet<Arc<str>> {
        &self.lb_policies
    }

    /// The mesh at the other end has these load-balancing policies.
    pub(crate) fn knowing(mut self, lb_policies: Arc<BTreeSet<Arc<str>>>) -> Self {
        self.lb_policies = lb_policies;
        self
    }

    /// With the counters of the mesh at the other end.
    pub(crate) fn counting(mut self, registry: &Arc<Registry>) -> Self {
        self.registry = Some(Arc::clone(registry));
        self
    }

    #[cfg(feature = "xds")]
    pub(super) const fn registry(&self) -> Option<&Arc<Registry>> {
        self.registry.as_ref()
    }

    /// Calls by virtual host: how many were begun, and whether any is in flight.
    #[cfg(feature = "xds")]
    pub(super) fn calls(&self) -> BTreeMap<Arc<str>, (u64, bool)> {
        self.interests.calls()
    }

    /// Where the source's metrics go.
    #[cfg(feature = "xds")]
    pub(crate) const fn cells(&self) -> &Arc<SourceCells> {
        &self.cells
    }

    /// The source's metrics go here from now on.
    pub(crate) fn count_in(&mut self, cells: &Arc<SourceCells>) {
        self.cells = Arc::clone(cells);
    }

    pub(crate) const fn interests(&self) -> &Arc<Interests> {
        &self.interests
    }

    /// Waits until nobody takes from this sink any more.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    pub(super) fn send(&self, event: SourceEvent) {
        let mut pending = self.shared.pending.lock();
        if let Some(event) = merged(&mut pending, event) {
            pending.retain(|waiting| !is_replaced(waiting, &event));
            let kind = discriminant(&event);
            pending.push_back(event);
            bound(&mut pending, kind);
        }
        drop(pending);
        self.shared.arrived.notify_one();
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// Merges endpoints into what waits; anything else, and endpoints that nothing waits for, is given back.
fn merged(pending: &mut VecDeque<SourceEvent>, event: SourceEvent) -> Option<SourceEvent> {
    let SourceEvent::Endpoints(update) = event else { return Some(event) };
    for waiting in pending.iter_mut().rev() {
        match waiting {
            SourceEvent::Update(waiting) => waiting.merge(update),
            SourceEvent::Endpoints(waiting) => waiting.merge(update),
            SourceEvent::Rejected(_)
            | SourceEvent::Restored(_)
            | SourceEvent::Connected(_)
            | SourceEvent::Stale(_) => continue,
        }
        return None;
    }
    Some(SourceEvent::Endpoints(update))
}

/// Whether `event` makes what waits obsolete: a newer one of its kind, or endpoints that the configuration
/// has.
fn is_replaced(waiting: &SourceEvent, event: &SourceEvent) -> bool {
    match (waiting, event) {
        (SourceEvent::Rejected(one), SourceEvent::Rejected(other)) => {
            one.origin.source == other.origin.source
        }
        (SourceEvent::Restored(one), SourceEvent::Restored(other)) => one.source == other.source,
        (SourceEvent::Endpoints(_), SourceEvent::Update(_)) => true,
        _ => discriminant(waiting) == discriminant(event),
    }
}

/// Lets go of the oldest event of a kind if there are too many.
fn bound(pending: &mut VecDeque<SourceEvent>, kind: Discriminant<SourceEvent>) {
    let is_of_kind = |event: &SourceEvent| discriminant(event) == kind;
    if pending.iter().filter(|event| is_of_kind(event)).count() > MAX_REJECTED
        && let Some(oldest) = pending.iter().position(is_of_kind)
    {
        pending.remove(oldest);
    }
}

/// The mesh's end. Dropping it closes the sink.
#[derive(Debug)]
pub struct SinkReceiver {
    shared: Arc<Shared>,
    _closes: DropGuard,
}

impl SinkReceiver {
    /// Waits for the next event. Never completes once the source has ended and all was taken.
    ///
    /// # Cancel safety
    /// Cancel safe: an event is taken only when it is returned.
    pub async fn next(&mut self) -> SourceEvent {
        loop {
            if let Some(event) = self.shared.pending.lock().pop_front() {
                return event;
            }
            self.shared.arrived.notified().await;
        }
    }

    /// Tells the source that what it published is in force.
    pub fn in_force(&self, origin: Origin) {
        *self.shared.judged.lock() = Judged { in_force: Some(origin), refused: None };
        self.shared.was_judged.notify_one();
    }

    /// Tells the source that what it published could not be put into force.
    pub fn refused(&self, origin: Origin) {
        self.shared.judged.lock().refused = Some(origin);
        self.shared.was_judged.notify_one();
    }
}

/// What a source says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SourceEvent {
    /// The configuration from now on.
    Update(ConfigUpdate),
    /// Other endpoints for clusters of the last configuration.
    Endpoints(EndpointsUpdate),
    /// Something cannot be used; what is in force stays.
    Rejected(Rejected),
    /// After `Rejected`: the source holds again what is in force.
    Restored(Origin),
    /// Whether the source's origin can be reached.
    Connected(bool),
    /// What was published last is a copy from then; `None`: it is not.
    Stale(Option<WallTime>),
}

/// Why a source could not publish.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// What was rejected; the version is empty when there was no content.
    pub origin: Origin,
    /// What is wrong in general.
    pub cause: RejectCause,
    /// What is wrong in detail, one text for each problem, fit to be printed.
    pub diagnostics: Vec<String>,
    /// What this source published last and what therefore stays; `None`: nothing yet.
    pub kept: Option<Origin>,
    /// How many files or resources are wrong, at least 1. They count as refused until a good load.
    pub count: u64,
}

impl Rejected {
    /// Content that was read and is wrong. Who calls the parser fills the origin in.
    #[must_use]
    pub fn invalid(diagnostics: impl IntoIterator<Item = String>) -> Self {
        Self::new(RejectCause::Invalid, diagnostics)
    }

    /// A rejection of nothing in particular yet.
    #[must_use]
    pub fn new(cause: RejectCause, diagnostics: impl IntoIterator<Item = String>) -> Self {
        let diagnostics = diagnostics.into_iter().collect();
        Self { origin: Origin::default(), cause, diagnostics, kept: None, count: 1 }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.origin.source, self.cause)?;
        for (at, diagnostic) in self.diagnostics.iter().enumerate() {
            write!(f, "{}{diagnostic}", if at == 0 { ": " } else { "; " })?;
        }
        match &self.kept {
            Some(kept) => write!(f, " (version {} stays in force)", kept.version),
            None => write!(f, " (nothing is in force yet)"),
        }
    }
}

impl std::error::Error for Rejected {}

/// What is wrong with a configuration, in general.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectCause {
    /// It is not there, or no longer.
    Missing,
    /// It is there but cannot be read.
    Unreadable,
    /// It was read and is wrong.
    Invalid,
}

impl fmt::Display for RejectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Invalid => "invalid",
        })
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// At most one of each kind, and of rejections one of each origin; oldest first.
    pending: Mutex<VecDeque<SourceEvent>>,
    arrived: Notify,
    judged: Mutex<Judged>,
    was_judged: Notify,
}

/// What the mesh made of what it took.
#[derive(Debug, Default)]
struct Judged {
    in_force: Option<Origin>,
    /// Since that one.
    refused: Option<Origin>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn update(version: &str) -> ConfigUpdate {
        let mut update = ConfigUpdate::default();
        update.origin = Origin::new("code", version);
        update
    }

    #[test]
    fn the_newest_of_each_kind_wins_and_kinds_keep_their_order() {
        let (sink, mut receiver) = Sink::channel();
        let bad = |text: &str| Rejected::invalid([text.to_owned()]);
        for version in 0..100 {
            sink.publish(update(&version.to_string()));
            sink.reject(bad("first"));
        }
        sink.reject(bad("second"));
        sink.publish(update("last"));
        assert_eq!(receiver.next().now_or_never(), Some(SourceEvent::Rejected(bad("second"))));
        assert_eq!(receiver.next().now_or_never(), Some(SourceEvent::Update(update("last"))));
        assert_eq!(receiver.next().now_or_never(), None);
    }

    #[test]
    fn what_several_origins_have_wrong_is_told_of_each() {
        let (sink, mut receiver) = Sink::channel();
        let bad = |origin: usize, text: &str| {
            let mut rejected = Rejected::invalid([text.to_owned()]);
            rejected.origin = Origin::new(format!("CDS {origin}"), "");
            rejected
        };
        for origin in [1, 2, 1] {
            sink.reject(bad(origin, "first"));
            sink.reject(bad(origin, "second"));
        }
        for origin in [2, 1] {
            let expected = SourceEvent::Rejected(bad(origin, "second"));
            assert_eq!(receiver.next().now_or_never(), Some(expected));
        }
        assert_eq!(receiver.next().now_or_never(), None);
        // They are bounded, and nothing else gives way to them.
        sink.publish(update("1"));
        (0..1_000).for_each(|origin| sink.reject(bad(origin, "no")));
        assert_eq!(receiver.next().now_or_never(), Some(SourceEvent::Update(update("1"))));
        for origin in 1_000 - MAX_REJECTED..1_000 {
            let expected = SourceEvent::Rejected(bad(origin, "no"));
            assert_eq!(receiver.next().now_or_never(), Some(expected));
        }
        assert_eq!(receiver.next().now_or_never(), None);
    }

    #[test]
    fn a_source_hears_what_became_of_what_it_published() {
        let (sink, receiver) = Sink::channel();
        let origin = |version: &str| Origin::new("code", version);
        assert_eq!((sink.in_force(), sink.refused()), (None, None));
        receiver.in_force(origin("1"));
        receiver.refused(origin("2"));
        assert_eq!(sink.judged().now_or_never(), Some(()));
        assert_eq!(sink.judged().now_or_never(), None);
        assert_eq!((sink.in_force(), sink.refused()), (Some(origin("1")), Some(origin("2"))));
        receiver.in_force(origin("3"));
        assert_eq!((sink.in_force(), sink.refused()), (Some(origin("3")), None));
        assert_eq!(sink.judged().now_or_never(), Some(()));
    }

    #[test]
    fn endpoints_are_merged_into_what_waits() {
        use mesh_core::model::{Cluster, ClusterLoadAssignment};
        let (sink, mut receiver) = Sink::channel();
        let somebody = |port: u16| {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            Some(Arc::new(ClusterLoadAssignment::of([address.into()])))
        };
        let endpoints = |version: &str, of: &[(&str, u16)]| {
            let mut update = EndpointsUpdate::new(Origin::new("code", version));
            update.clusters = of.iter().map(|(n, port)| (Arc::from(*n), somebody(*port))).collect();
            update
        };
        // One after the other they are one.
        sink.publish_endpoints(endpoints("1", &[("a", 1), ("b", 1)]));
        sink.reject(Rejected::invalid(["no".to_owned()]));
        sink.publish_endpoints(endpoints("2", &[("b", 2), ("c", 2)]));
        let merged = endpoints("2", &[("a", 1), ("b", 2), ("c", 2)]);
        assert_eq!(receiver.next().now_or_never(), Some(SourceEvent::Endpoints(merged)));
        assert!(matches!(receiver.next().now_or_never(), Some(SourceEvent::Rejected(_))));
        // A configuration has all of them.
        let base = update("3").assigned(Cluster::new("a"), None).assigned(Cluster::new("b"), None);
        sink.publish_endpoints(endpoints("2", &[("a", 1)]));
        sink.publish(base);
        // Behind it they are part of it.
        sink.publish_endpoints(endpoints("4", &[("b", 4), ("unknown", 4)]));
        let Some(SourceEvent::Update(taken)) = receiver.next().now_or_never() else {
            panic!("a configuration waits")
        };
        assert_eq!(&*taken.origin.version, "4");
        let told = taken.clusters.values().map(|cluster| cluster.endpoints.clone());
        assert_eq!(told.collect::<Vec<_>>(), [None, somebody(4)]);
        assert_eq!(receiver.next().now_or_never(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn events_wake_the_receiver_and_dropping_it_closes_the_sink() {
        let (sink, mut receiver) = Sink::channel();
        let other = sink.clone();
        let (event, ()) = tokio::join!(receiver.next(), async {
            tokio::task::yield_now().await;
            other.restored(Origin::new("a", "1"));
        });
        assert_eq!(event, SourceEvent::Restored(Origin::new("a", "1")));
        assert_eq!(sink.closed().now_or_never(), None);
        drop(receiver);
        assert_eq!(sink.closed().now_or_never(), Some(()));
    }

    #[test]
    fn a_rejection_reads_as_a_sentence() {
        let mut rejected = Rejected::invalid(["line 3: no".to_owned(), "line 4: no".to_owned()]);
        rejected.origin = Origin::new("mesh.yaml", "ab");
        assert_eq!(
            rejected.to_string(),
            "mesh.yaml is invalid: line 3: no; line 4: no (nothing is in force yet)"
        );
        rejected.kept = Some(Origin::new("mesh.yaml", "aa"));
        assert!(rejected.to_string().ends_with("(version aa stays in force)"));
    }
}
