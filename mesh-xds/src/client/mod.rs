//! [`Client`]: the one place that waits; everything that is decided is decided elsewhere.
//!
//! ```text
//!            ┌──────── Request ── Protocol <── Watches ── Cascade <── authorities that calls ask for
//!  server ── Link                    │                       ^  │
//!            └──────── Response ─────┴── Event, value ───────┘  └── ConfigUpdate, merged over 10 ms
//! ```
//!
//! Losing the server changes nothing: what was learnt stays in force, new names wait, and the stream is
//! opened again by the rules of the protocol.

mod link;
mod wire;

pub use link::MAX_RESPONSE;

use crate::ResourceType;
use crate::bootstrap::{Bootstrap, Server, ServerFeature};
use crate::cascade::Cascade;
use crate::decode::Context;
use crate::protocol::{self, Action, Deletion, Name, Options, Protocol, Variant};
use envoy_types::pb::envoy::config::core::v3::Node;
use link::{Link, LinkEvent, Message};
use mesh_core::{ConfigUpdate, Random, Timestamp};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use wire::Incoming;

/// Changes that come together go live together (gRFC A74): so long is waited for more of them.
const MERGE: Duration = Duration::from_millis(10);

/// A client of one control plane.
pub struct Client {
    server: Server,
    node: Node,
    context: Context,
    bootstrap: Bootstrap,
    protocol: Protocol,
    cascade: Cascade,
    link: Link,
    epoch: Instant,
    /// When what changed is to be told.
    publish_at: Option<Instant>,
    events: VecDeque<ClientEvent>,
}

/// What a client has to say.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The configuration from now on.
    Update(ConfigUpdate),
    /// A resource was refused; what was good before stays, if there was one.
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
    /// The control plane can't be reached; what was learnt stays in force.
    Unreachable {
        /// Which one.
        server: Arc<str>,
        /// Why.
        error: Arc<str>,
        /// How many attempts in a row.
        failures: u32,
    },
    /// The control plane answers, for the first time or again.
    Reachable {
        /// Which one.
        server: Arc<str>,
    },
}

impl Client {
    /// A client of the first server of `bootstrap` that speaks `variant` first. It connects when the
    /// first authority is asked for.
    #[must_use]
    pub fn new(bootstrap: &Bootstrap, variant: Variant) -> Self {
        let server = bootstrap.servers()[0].clone();
        let mut options = Options::new(variant);
        options.fail_on_data_errors = server.has(ServerFeature::FailOnDataErrors);
        options.resource_timer_is_transient_error =
            server.has(ServerFeature::ResourceTimerIsTransientError);
        let context = Context {
            trusted_server: server.has(ServerFeature::TrustedXdsServer),
            certificate_providers: bootstrap.certificate_provider_names().cloned().collect(),
            ..Context::default()
        };
        Self {
            node: bootstrap.node().to_proto(),
            context,
            protocol: Protocol::new(options),
            cascade: Cascade::new(Arc::clone(server.uri())),
            bootstrap: bootstrap.clone(),
            server,
            link: Link::Down,
            epoch: Instant::now(),
            publish_at: None,
            events: VecDeque::new(),
        }
    }

    /// Calls are made to `authority`. Its listener has its name, or with `default_port` if it has no
    /// port.
    pub fn want(&mut self, authority: &Arc<str>, default_port: u16) {
        let name = |service: &str| self.bootstrap.client_listener_name(None, service).ok();
        let mut listeners: Vec<Arc<str>> = name(authority).into_iter().map(Arc::from).collect();
        if !has_port(authority) {
            let with_port = name(&format!("{authority}:{default_port}"));
            listeners.extend(with_port.map(Arc::from));
        }
        self.cascade.add(authority, listeners);
        self.publish_soon();
    }

    /// No calls are made to `authority` any more.
    pub fn unwant(&mut self, authority: &Arc<str>) {
        self.cascade.remove(authority);
        self.publish_soon();
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
            let due = self.protocol.poll_timeout().map(|(at, _)| self.instant(at));
            let due = due.into_iter().chain(self.publish_at).min();
            let timer = async {
                match due {
                    Some(at) => sleep_until(at.max(now)).await,
                    None => std::future::pending().await,
                }
            };
            let link = std::future::poll_fn(|cx| self.link.poll(cx));
            tokio::select! {
                event = link => self.link_event(event),
                () = timer => {
                    let now = self.now();
                    self.protocol.handle_timeout(now, &mut Draw);
                }
            }
        }
    }

    /// Does everything that can be done without waiting.
    fn settle(&mut self) {
        loop {
            let mut idle = true;
            let now = self.now();
            while let Some(event) = self.protocol.poll_event() {
                self.protocol_event(event, None);
                idle = false;
            }
            let watches = self.cascade.poll_watches();
            for (kind, name) in watches.removed {
                self.protocol.handle_unwatch(kind, &Name::Of(name), now);
                idle = false;
            }
            for (kind, name) in watches.added {
                idle = false;
                if let Err(refused) =
                    self.protocol.handle_watch(kind, &Name::Of(Arc::clone(&name)), now)
                {
                    self.cascade.handle_failed(kind, &name, refused.to_string().into(), false);
                }
            }
            while let Some(action) = self.protocol.poll_action() {
                self.link = match action {
                    Action::Connect(variant) => Link::connect(&self.server, variant),
                    Action::Close => Link::Down,
                };
                idle = false;
            }
            while self.link.has_room()
                && let Some(request) = self.protocol.poll_request(now)
            {
                self.link.send(wire::request(request, &self.node));
                idle = false;
            }
            if idle {
                break;
            }
        }
        if self.publish_at.is_some_and(|at| at <= Instant::now()) {
            self.publish_at = None;
            self.events.push_back(ClientEvent::Update(self.cascade.configuration()));
        }
    }

    fn link_event(&mut self, event: LinkEvent) {
        let now = self.now();
        match event {
            LinkEvent::Connected => self.protocol.handle_connected(now),
            LinkEvent::Closed(reason) => self.protocol.handle_closed(reason, now, &mut Draw),
            LinkEvent::Message(message) => {
                let incoming = match message {
                    Message::StateOfTheWorld(message) => {
                        wire::state_of_the_world(*message, &self.context)
                    }
                    Message::Delta(message) => wire::delta(*message, &self.context),
                };
                match incoming {
                    Some(mut incoming) => {
                        self.protocol.handle_response(&incoming.response, now);
                        while let Some(event) = self.protocol.poll_event() {
                            self.protocol_event(event, Some(&mut incoming));
                        }
                    }
                    None => self.protocol.handle_unknown_response(),
                }
            }
        }
    }

    /// `incoming` is the response that the event is about.
    fn protocol_event(&mut self, event: protocol::Event, incoming: Option<&mut Incoming>) {
        use protocol::Event;
        match event {
            Event::Changed { kind, name, index } => {
                let taken = incoming.and_then(|incoming| incoming.take(index));
                let Some((value, received)) = taken else { return };
                self.cascade.handle_changed(kind, &name, value, received);
                self.publish_soon();
            }
            Event::Deleted { kind, name, cause, kept } => {
                let why = match cause {
                    Deletion::Omitted | Deletion::Removed => "the control plane deleted it",
                    Deletion::Expired => "its time to live is over",
                };
                tracing::warn!(target: "mesh::xds", %kind, %name, kept, "{why}");
                self.failed(kind, &name, why.into(), kept);
            }
            Event::DoesNotExist { kind, name, timed_out } => {
                let why = match timed_out {
                    true => "the control plane does not have it (no answer in time)",
                    false => "the control plane does not have it",
                };
                tracing::warn!(target: "mesh::xds", %kind, %name, "{why}");
                self.failed(kind, &name, why.into(), false);
            }
            Event::TimedOut { kind, name } => {
                self.failed(kind, &name, "the control plane did not answer in time".into(), false);
            }
            Event::Refused { kind, name, error, kept } => {
                self.failed(kind, &name, Arc::clone(&error), kept);
                self.events.push_back(ClientEvent::Refused { kind, name, error, kept });
            }
            Event::ServerError { kind, name, error, kept, .. } => {
                tracing::warn!(target: "mesh::xds", %kind, %name, kept, "{error}");
                self.failed(kind, &name, error, kept);
            }
            Event::Unreachable { error, failures } => {
                let server = Arc::clone(self.server.uri());
                self.events.push_back(ClientEvent::Unreachable { server, error, failures });
            }
            Event::Reachable => {
                let server = Arc::clone(self.server.uri());
                self.events.push_back(ClientEvent::Reachable { server });
            }
            Event::VariantChanged { to, error } => {
                tracing::info!(target: "mesh::xds", ?to, "another variant is spoken: {error}");
            }
            Event::Forgotten { kind, name } => self.cascade.handle_forgotten(kind, &name),
            Event::Restored { .. } => {}
        }
    }

    fn failed(&mut self, kind: ResourceType, name: &Arc<str>, error: Arc<str>, kept: bool) {
        self.cascade.handle_failed(kind, name, error, kept);
        self.publish_soon();
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

/// Whether an authority has a port; the colons of an IPv6 address are none.
fn has_port(authority: &str) -> bool {
    let host_end = authority.rfind(']').map_or(0, |end| end + 1);
    authority[host_end..].contains(':')
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.server).finish_non_exhaustive()
    }
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
    use super::has_port;

    #[test]
    fn a_port_follows_the_host() {
        for (authority, expected) in
            [("a", false), ("a:80", true), ("[::1]", false), ("[::1]:80", true), ("1.2.3.4", false)]
        {
            assert_eq!(has_port(authority), expected, "{authority}");
        }
    }
}
