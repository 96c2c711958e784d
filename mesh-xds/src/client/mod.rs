//! [`Client`]: the one place that waits; everything that is decided is decided elsewhere.
//!
//! ```text
//!             ┌───── Request ── Protocol <── Federation <── Watches ── Cascade <── authorities
//!  servers ── Link                 │  (which server)                    ^  │       that calls ask for
//!             └───── Response ─────┴── Event, value, if it counts ──────┘  └── ConfigUpdate, over 10 ms
//! ```
//!
//! Losing a server changes nothing: what was learnt stays in force, new names wait or are asked of the next
//! server (gRFC A71), and the stream is opened again by the rules of the protocol. A server of which
//! nothing is watched has no stream.
//!
//! What was in use can be written down ([`Client::in_use`]) and put back in a process that starts
//! without its control plane ([`Client::restore`]).

mod copy;
mod credentials;
mod dial;
mod everything;
mod federation;
mod heard;
mod kept;
mod link;
mod lrs;
mod naming;
mod noted;
mod slot;
#[cfg(feature = "tls")]
mod tls;
mod token;
mod wall;
mod wildcards;
mod wire;

pub use copy::InUse;
pub use link::MAX_RESPONSE;
pub use lrs::{LoadReports, LoadReportsEvent, MAX_LRS_RESPONSE};

use crate::ResourceType;
use crate::bootstrap::{Bootstrap, Server};
use crate::cascade::graph::Graph;
use crate::cascade::whole::Note;
use crate::cascade::{Cascade, Key};
use crate::load_report::LoadKey;
use crate::protocol::Variant;
use crate::status::Status;
use crate::store::Known;
use envoy_types::pb::envoy::config::core::v3::Node;
use federation::{Federation, ServerAt};
use mesh_core::head::port_start;
use mesh_core::model::Domain;
use mesh_core::update::EndpointsUpdate;
use mesh_core::{ConfigUpdate, Random, Timestamp, WallTime};
use naming::Naming;
use slot::{Done, Slot};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use wildcards::Wildcards;

/// Changes that come together go live together (gRFC A74): so long is waited for more of them.
const MERGE: Duration = Duration::from_millis(10);

/// A client of the control planes of one bootstrap.
pub struct Client {
    node: Node,
    bootstrap: Bootstrap,
    slots: Vec<Slot>,
    /// The server that is listened to first: each in turn, so that one that always speaks drowns no other.
    turn: ServerAt,
    federation: Federation,
    wildcards: Wildcards,
    cascade: Graph,
    naming: Naming,
    /// What is wanted, with the port that stands for none.
    wanted: BTreeMap<Arc<str>, u16>,
    /// Names that are not watched any more, whose values may still be held.
    leaving: BTreeSet<Key>,
    /// When the copy was written that something in use still comes from.
    stale: Option<WallTime>,
    /// When the copy was written that this client began with.
    restored: Option<WallTime>,
    /// What was said with the last configuration: who says so, and whether something is open.
    told: Option<(Arc<str>, bool)>,
    status: Status,
    epoch: Instant,
    /// When what changed is to be told.
    publish_at: Option<Instant>,
    events: VecDeque<ClientEvent>,
    /// What was said of the last configuration.
    notes: BTreeSet<Note>,
    /// The listeners of servers of which it was said that the last that could be stays, and why.
    kept: BTreeMap<Arc<str>, Arc<str>>,
    /// What is in force of them, for the copy on disk.
    forms: kept::Forms,
    /// What servers ask for, with the names of the resources.
    serving: BTreeMap<Arc<str>, Arc<str>>,
}

/// What a client has to say.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The configuration from now on.
    Update(ConfigUpdate),
    /// Other endpoints in the configuration that was told last.
    Endpoints(EndpointsUpdate),
    /// A resource was refused; what was good before stays, if there was one. So is a server's listener that can't be
    /// with the routes that it names.
    Refused {
        /// Its type.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
        /// All that is wrong with it.
        error: Arc<str>,
        /// Whether a last good value stays in force.
        kept: bool,
    },
    /// A resource of which something was wrong is good again; if it is not what it was, the configuration
    /// follows.
    Restored {
        /// Its type.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
    },
    /// A control plane can't be reached, and no other one stands in; what was learnt stays in force.
    Unreachable {
        /// Which one.
        server: Arc<str>,
        /// Why.
        error: Arc<str>,
        /// How many attempts in a row.
        failures: u32,
    },
    /// A control plane answers, for the first time or again.
    Reachable {
        /// Which one.
        server: Arc<str>,
    },
    /// What there is to say of the configuration that was told last, and was not said of the one before:
    /// names that lead nowhere, domains that several listeners have. Only of everything.
    Noted(Vec<Note>),
}

impl Client {
    /// A client of the servers of `bootstrap` that speaks `variant` first. It connects when the first
    /// authority is asked for; if none is, the first thing that it says is an empty configuration.
    #[must_use]
    pub fn new(bootstrap: &Bootstrap, variant: Variant) -> Self {
        Self::with(bootstrap, variant, |source| Graph::ByName(Box::new(Cascade::new(source))))
    }

    fn with(
        bootstrap: &Bootstrap,
        variant: Variant,
        graph: impl FnOnce(Arc<str>) -> Graph,
    ) -> Self {
        let (federation, servers) = Federation::new(bootstrap);
        let source = servers.first().map(|server| Arc::clone(server.uri())).unwrap_or_default();
        let status = Status::new(bootstrap);
        let slot = |server| Slot::new(bootstrap, server, variant, &status);
        Self {
            node: bootstrap.node().to_proto(),
            slots: servers.into_iter().map(slot).collect(),
            turn: 0,
            status,
            federation,
            wildcards: Wildcards::default(),
            cascade: graph(source),
            bootstrap: bootstrap.clone(),
            naming: Naming::default(),
            wanted: BTreeMap::new(),
            leaving: BTreeSet::new(),
            stale: None,
            restored: None,
            told: None,
            epoch: Instant::now(),
            publish_at: Some(Instant::now() + MERGE),
            events: VecDeque::new(),
            notes: BTreeSet::new(),
            kept: BTreeMap::new(),
            forms: kept::Forms::default(),
            serving: BTreeMap::new(),
        }
    }

    /// Names listeners as targets `xds://<authority>/…` do (gRFC A47), by the template of this authority:
    /// before anything is wanted. One that the bootstrap lacks is an error for each name. Default: as
    /// `xds:///…`, by the template for names without an authority.
    #[must_use]
    pub fn in_authority(mut self, authority: impl Into<Arc<str>>) -> Self {
        self.naming.default = Some(authority.into());
        self
    }

    /// The same, for the hosts of `domain` alone; of several that fit the best one counts, as among the domains
    /// of virtual hosts (gRFC A28).
    #[must_use]
    pub fn in_authority_for(mut self, domain: Domain, authority: impl Into<Arc<str>>) -> Self {
        self.naming.insert(domain, authority.into());
        self
    }

    /// Takes the load-balancing policies that are registered in code under these names where a control plane
    /// names them (gRFC A52): before anything is wanted. Default: none.
    #[must_use]
    pub fn with_lb_policies(mut self, names: &BTreeSet<Arc<str>>) -> Self {
        for slot in &mut self.slots {
            slot.know_lb_policies(names);
        }
        self
    }

    /// Tells `status` what becomes of its resources from now on.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        for slot in &mut self.slots {
            slot.recorder = status.recorder(slot.server.uri());
        }
        self.status = status;
        self
    }

    /// Calls are made to `authority`. Its listener has its name, or with `default_port` if it has no
    /// port.
    pub fn want(&mut self, authority: &Arc<str>, default_port: u16) {
        let mut listeners = vec![self.listener_name(authority)];
        if port_start(authority.as_bytes()).is_none() {
            listeners.push(self.listener_name(&format!("{authority}:{default_port}")));
        }
        self.wanted.entry(Arc::clone(authority)).or_insert(default_port);
        self.cascade.add(authority, listeners);
        self.publish_soon();
    }

    /// The clusters whose load is to be reported, as the last update has them, by the server that they
    /// are asked of: it gets the reports (`lrs_server: self`).
    #[must_use]
    pub fn load_reports(&self) -> Vec<(&Server, BTreeSet<LoadKey>)> {
        let mut by_server: BTreeMap<usize, BTreeSet<LoadKey>> = BTreeMap::new();
        for key in self.cascade.load_reports() {
            if let Some(server) = self.federation.server_of(ResourceType::Cluster, &key.cluster) {
                by_server.entry(server).or_default().insert(key);
            }
        }
        by_server.into_iter().map(|(server, keys)| (&self.slots[server].server, keys)).collect()
    }

    /// No calls are made to `authority` any more.
    pub fn unwant(&mut self, authority: &Arc<str>) {
        self.wanted.remove(authority);
        self.cascade.remove(authority);
        self.publish_soon();
    }

    /// A server asks for its listener (gRFC A36). `name` is an address with a port, where the server listens:
    /// then the listener's name follows from the bootstrap's `server_listener_resource_name_template`. Anything
    /// else is the listener's own name. [`ConfigUpdate::listeners`] has it by `name`, or
    /// [`ConfigUpdate::absent_listeners`] has why it is not there: without a template that is an answer, too.
    /// Asking twice is asking once. Of everything, all inbound listeners come anyway, by their own names; an address
    /// without a template is that of a listener.
    pub fn serve(&mut self, name: &Arc<str>) {
        let resource = match name.parse() {
            Ok(bound) => self.bootstrap.server_listener_name(bound).map(Into::into),
            Err(_) => Ok(Arc::clone(name)),
        };
        let resource = resource.map_err(|error| error.to_string().into());
        if let Ok(resource) = &resource {
            self.serving.insert(Arc::clone(name), crate::protocol::canonical(resource));
            self.know_servers();
        }
        self.cascade.add_server(name, resource);
        self.publish_soon();
    }

    /// gRFC A36: what servers ask for is refused if none can serve by it.
    fn know_servers(&mut self) {
        let names = self.serving.values().cloned().collect();
        self.slots.iter_mut().for_each(|slot| slot.know_servers(&names));
    }

    /// No server asks for the listener any more.
    pub fn unserve(&mut self, name: &Arc<str>) {
        if self.serving.remove(name).is_some() {
            self.know_servers();
        }
        self.cascade.remove_server(name);
        self.publish_soon();
    }

    /// Whether every authority that is wanted has its answer; of everything, whether there was a complete
    /// configuration.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.cascade.is_complete()
    }

    /// Whether the control planes that count can be reached; `None`: nothing is asked for, or one was not
    /// heard of yet.
    #[must_use]
    pub fn is_reachable(&self) -> Option<bool> {
        self.federation.is_reachable()
    }

    /// Runs the client until there is something to say. It must be called again and again: nothing
    /// happens in between.
    ///
    /// # Cancel safety
    /// Cancel safe: whatever had begun goes on with the next call.
    pub async fn next(&mut self) -> ClientEvent {
        loop {
            self.settle();
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let now = Instant::now();
            let timeouts = self.slots.iter().filter_map(|slot| slot.protocol.poll_timeout());
            let timeouts = timeouts.map(|(at, _)| at).chain(self.wildcards.poll_timeout());
            let timeouts = timeouts.chain(self.cascade.poll_timeout());
            let due = timeouts.map(|at| self.instant(at)).chain(self.publish_at).min();
            let timer = async {
                match due {
                    Some(at) => sleep_until(at.max(now)).await,
                    None => std::future::pending().await,
                }
            };
            let (slots, turn) = (&mut self.slots, self.turn);
            let heard = std::future::poll_fn(|cx| {
                let ready =
                    in_turn(slots.len(), turn).find_map(|server| match slots[server].poll(cx) {
                        Poll::Ready(event) => Some((server, event)),
                        Poll::Pending => None,
                    });
                ready.map_or(Poll::Pending, Poll::Ready)
            });
            tokio::select! {
                (server, event) = heard => {
                    self.turn = server + 1;
                    self.link_event(server, event);
                }
                () = timer => {
                    let now = self.now();
                    for slot in &mut self.slots {
                        slot.protocol.handle_timeout(now, &mut Draw);
                    }
                    if self.cascade.poll_timeout().is_some_and(|due| due <= now) {
                        self.publish_soon();
                    }
                    for settled in self.wildcards.handle_timeout(now) {
                        self.settled(settled);
                    }
                }
            }
        }
    }

    fn listener_name(&self, service: &str) -> Arc<str> {
        self.naming.listener(&self.bootstrap, service)
    }

    /// Does everything that can be done without waiting.
    fn settle(&mut self) {
        loop {
            let mut busy = false;
            for server in 0..self.slots.len() {
                while let Some(event) = self.slots[server].protocol.poll_event() {
                    self.protocol_event(server, event, None);
                    busy = true;
                }
            }
            busy |= self.tell_answered();
            busy |= self.rewatch();
            busy |= self.federate();
            let now = self.now();
            for (server, slot) in self.slots.iter_mut().enumerate() {
                busy |= slot.drive(&self.node, now, |done| match done {
                    Done::Request(kind) => self.wildcards.handle_sent(server, kind, now),
                    Done::Stream => self.wildcards.handle_closed(server),
                });
            }
            if !busy {
                break;
            }
        }
        self.sweep();
        if self.publish_at.is_some_and(|at| at <= Instant::now()) {
            self.publish_at = None;
            if let Some(event) = self.poll_change() {
                self.status.published(self.now());
                let is_whole = matches!(event, ClientEvent::Update(_));
                self.events.push_back(event);
                if is_whole {
                    self.note();
                    self.tell_kept();
                }
            }
        }
    }

    /// Watches what is needed now, and no longer what is not; `false`: nothing changed.
    fn rewatch(&mut self) -> bool {
        let watches = self.cascade.poll_watches(self.now());
        let busy = !(watches.added.is_empty() && watches.removed.is_empty());
        // First what is new: a server that is left with nothing loses its stream.
        for (kind, name) in watches.added {
            let store = self.cascade.store();
            let answered =
                !store.is_stale(kind, &name) && store.look(kind, &name) != Known::Pending;
            if let Err(error) = self.federation.handle_watch(kind, &name, answered) {
                tracing::warn!(target: "mesh::xds", %kind, %name, "can't be asked for: {error}");
                self.cascade.handle_failed(kind, &name, error, false);
                self.publish_soon();
            }
        }
        for (kind, name) in watches.removed {
            self.federation.handle_unwatch(kind, &name);
            self.leaving.insert((kind, name));
        }
        busy
    }

    /// Forgets what is not watched any more. Not before every protocol has: one that still holds it does
    /// not tell it again to whoever watches it meanwhile.
    fn sweep(&mut self) {
        let Self { leaving, federation, slots, cascade, status, .. } = self;
        leaving.retain(|(kind, name)| {
            let is_held = |slot: &Slot| slot.protocol.resource(*kind, name).is_some();
            let is_watched = federation.is_watched(*kind, name);
            if !is_watched && slots.iter().any(is_held) {
                return true;
            }
            if !is_watched {
                cascade.handle_forgotten(*kind, name);
                status.not_copied(*kind, name);
            }
            false
        });
    }

    fn publish_soon(&mut self) {
        self.publish_at.get_or_insert_with(|| Instant::now() + MERGE);
    }

    fn now(&self) -> Timestamp {
        let nanos = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Timestamp::from_nanos(nanos)
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.epoch + Duration::from_nanos(at.as_nanos())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.slots.iter().map(|slot| slot.server.uri()).collect();
        f.debug_struct("Client").field("servers", &servers).finish_non_exhaustive()
    }
}

/// So many servers, each once, from this one on.
fn in_turn(servers: usize, first: ServerAt) -> impl Iterator<Item = ServerAt> {
    (0..servers).map(move |at| (first + at) % servers)
}

/// Spreads pauses.
struct Draw;

impl Random for Draw {
    fn next_u64(&mut self) -> u64 {
        fastrand::u64(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_always_speaks_drowns_no_other() {
        // All three have always something to say.
        let (mut turn, mut heard) = (0, Vec::new());
        for _ in 0..7 {
            let server = in_turn(3, turn).next().unwrap();
            heard.push(server);
            turn = server + 1;
        }
        assert_eq!(heard, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(in_turn(3, 2).collect::<Vec<_>>(), [2, 0, 1]);
        assert_eq!(in_turn(0, 7).count(), 0);
    }
}
