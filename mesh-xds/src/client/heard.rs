//! What is heard from a server, and what becomes of it: values and errors for the cascade, if the server
//! is the one that counts, and events for whoever owns the client.

use super::federation::{Authority, Cause, Op, ServerAt};
use super::link::LinkEvent;
use super::wall::wall;
use super::wire::Incoming;
use super::{Client, ClientEvent, Draw};
use crate::ResourceType;
use crate::protocol::{Deletion, Event, Name, ResourceState, ResourceStatus};
use crate::store::{Known, Stored};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why there is no value, or none that is newer.
struct Failure {
    error: Arc<str>,
    /// The value that is held stays.
    kept: bool,
    /// The server said nothing for too long.
    silent: bool,
}

impl Client {
    /// The clusters that are asked for and of which it is known that there is no value, each with the reason.
    #[must_use]
    pub fn missing_clusters(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        let is_asked = |held: &Stored<'_>| {
            held.kind == ResourceType::Cluster && self.federation.is_watched(held.kind, held.name)
        };
        let all = self.cascade.store().iter().filter(is_asked);
        let missing = all.filter(|held| held.value.is_none());
        missing.filter_map(|held| Some((Arc::clone(held.name), Arc::clone(held.error?)))).collect()
    }

    pub(super) fn link_event(&mut self, server: ServerAt, event: LinkEvent) {
        let now = self.now();
        let slot = &mut self.slots[server];
        match event {
            LinkEvent::Connected => {
                slot.protocol.handle_connected(now);
                slot.recorder.connected(&slot.protocol);
            }
            LinkEvent::Closed(reason) => {
                slot.protocol.handle_closed(reason, now, &mut Draw);
                slot.recorder.closed(&slot.protocol, wall());
                self.wildcards.handle_closed(server);
            }
            LinkEvent::Message(message) => {
                let incoming = slot.decode(message);
                self.federation.handle_response(server);
                match incoming {
                    Some(mut incoming) => {
                        slot.protocol.handle_response(&incoming.response, now);
                        let (response, body) = (&incoming.response, |at| incoming.body(at));
                        slot.recorder.responded(&slot.protocol, response, body, (now, wall()));
                        let settled = self.heard_of_all(server, &incoming.response);
                        while let Some(event) = self.slots[server].protocol.poll_event() {
                            self.protocol_event(server, event, Some(&mut incoming));
                        }
                        if let Some(settled) = settled {
                            self.settled(settled);
                        }
                    }
                    None => slot.protocol.handle_unknown_response(),
                }
            }
        }
    }

    /// `incoming` is the response that the event is about.
    pub(super) fn protocol_event(
        &mut self,
        server: ServerAt,
        event: Event,
        incoming: Option<&mut Incoming>,
    ) {
        let slot = &self.slots[server];
        slot.recorder.told(&slot.protocol, &event, (self.now(), wall()));
        match event {
            Event::Changed { kind, name, index } => {
                let taken = incoming.and_then(|incoming| incoming.take(index));
                let Some((value, received)) = taken else { return };
                if self.federation.handle_value(server, kind, &name) {
                    self.restored(kind, &name);
                    self.cascade.handle_changed(kind, &name, value, received);
                    self.publish_soon();
                }
            }
            Event::Deleted { kind, name, cause, kept } => {
                let error = match cause {
                    Deletion::Omitted | Deletion::Removed => "the control plane deleted it",
                    Deletion::Expired => "its time to live is over",
                };
                let failure = Failure { error: error.into(), kept, silent: false };
                self.missed(server, kind, &name, failure);
            }
            Event::DoesNotExist { kind, name, timed_out: silent } => {
                let error = match silent {
                    true => "the control plane does not have it (no answer in time)",
                    false => "the control plane does not have it",
                };
                // What nobody asked for by name is not kept, as the protocol does not keep it.
                let is_wild = self.federation.is_wild(kind, &name);
                let kept = !is_wild && !self.slots[server].fails_on_data_errors();
                self.missed(server, kind, &name, Failure { error: error.into(), kept, silent });
            }
            Event::TimedOut { kind, name } => {
                let error = "the control plane did not answer in time".into();
                self.missed(server, kind, &name, Failure { error, kept: true, silent: true });
            }
            Event::Refused { kind, name, error, kept } => {
                let keeps = kept || !self.slots[server].fails_on_data_errors();
                let failure = Failure { error: Arc::clone(&error), kept: keeps, silent: false };
                self.failed(server, kind, &name, failure);
                let kept = matches!(self.cascade.store().look(kind, &name), Known::Value(_));
                self.events.push_back(ClientEvent::Refused { kind, name, error, kept });
            }
            Event::ServerError { kind, name, code, error, kept } => {
                // gRFC A88: NOT_FOUND (5) and PERMISSION_DENIED (7) are data errors.
                let drops = self.slots[server].fails_on_data_errors() && matches!(code, 5 | 7);
                let failure = Failure { error, kept: kept || !drops, silent: false };
                self.missed(server, kind, &name, failure);
            }
            Event::Unreachable { error, failures } => self.unreachable(server, error, failures),
            Event::Reachable => {
                self.federation.handle_response(server);
                if self.federation.is_active(server) {
                    let server = Arc::clone(self.slots[server].server.uri());
                    self.events.push_back(ClientEvent::Reachable { server });
                }
            }
            Event::VariantChanged { to, error } => {
                tracing::info!(target: "mesh::xds", ?to, "another variant is spoken: {error}");
            }
            // What is let go of is seen to in `sweep`: another server may still hold it.
            Event::Forgotten { kind, name } => self.wildcards.handle_forgotten(server, kind, &name),
            Event::Restored { kind, name } => self.restored(kind, &name),
        }
    }

    /// Also a value that is what it was, and so changes nothing, ends an error.
    fn restored(&mut self, kind: ResourceType, name: &Arc<str>) {
        if self.cascade.store_mut().restored(kind, name) {
            self.events.push_back(ClientEvent::Restored { kind, name: Arc::clone(name) });
        }
    }

    /// A server has no value for a name. What is held may be another server's, or from a copy on disk: the
    /// protocol does not know of it and says that nothing is kept, but the rule is the same (gRFC A88).
    fn failed(&mut self, server: ServerAt, kind: ResourceType, name: &Arc<str>, why: Failure) {
        let Failure { error, kept, silent } = why;
        if self.federation.handle_failed(server, kind, name, silent) {
            self.cascade.handle_failed(kind, name, error, kept);
            if !self.cascade.store().is_stale(kind, name) {
                self.status.not_copied(kind, name);
            }
            self.publish_soon();
        }
    }

    /// Tells of listeners of servers of which the last that could be stays: as good as refused, although nothing was
    /// wrong with any resource alone.
    pub(super) fn tell_kept(&mut self) {
        let kind = ResourceType::Listener;
        let before = std::mem::replace(&mut self.kept, self.cascade.kept_listeners());
        for (name, error) in &self.kept {
            if before.get(name) != Some(error) {
                let (name, error) = (Arc::clone(name), Arc::clone(error));
                self.events.push_back(ClientEvent::Refused { kind, name, error, kept: true });
            }
        }
        for name in before.into_keys().filter(|name| !self.kept.contains_key(name)) {
            self.events.push_back(ClientEvent::Restored { kind, name });
        }
    }

    /// The same, with a line of the log.
    fn missed(&mut self, server: ServerAt, kind: ResourceType, name: &Arc<str>, why: Failure) {
        match !why.kept && self.federation.is_wild(kind, name) {
            // That is how a control plane takes something away.
            true => tracing::info!(target: "mesh::xds", %kind, %name, "{}", why.error),
            false => {
                tracing::warn!(target: "mesh::xds", %kind, %name, kept = why.kept, "{}", why.error);
            }
        }
        self.failed(server, kind, name, why);
    }

    /// gRFC A71: watchers hear of it only when no other server stands in.
    fn unreachable(&mut self, server: ServerAt, error: Arc<str>, failures: u32) {
        self.federation.handle_unreachable(server);
        let uri = Arc::clone(self.slots[server].server.uri());
        match self.federation.is_active(server) {
            true => {
                self.events.push_back(ClientEvent::Unreachable { server: uri, error, failures });
            }
            false => {
                tracing::warn!(target: "mesh::xds", server = %uri, failures, "unreachable: {error}");
            }
        }
    }

    /// Does what the federation has decided; `false`: nothing.
    pub(super) fn federate(&mut self) -> bool {
        let now = self.now();
        let mut busy = false;
        while let Some(op) = self.federation.poll_op() {
            busy = true;
            match op {
                Op::Watch { server, key: (kind, name) } => {
                    let watched = Name::Of(Arc::clone(&name));
                    let slot = &mut self.slots[server];
                    let answer = slot.protocol.handle_watch(kind, &watched, now);
                    slot.recorder.watched(&slot.protocol, kind, &name, wall());
                    if let Err(refused) = answer {
                        let error = refused.to_string().into();
                        self.failed(
                            server,
                            kind,
                            &name,
                            Failure { error, kept: false, silent: false },
                        );
                    }
                }
                Op::Unwatch { server, key: (kind, name) } => {
                    let slot = &mut self.slots[server];
                    slot.protocol.handle_unwatch(kind, &Name::Of(Arc::clone(&name)), now);
                    slot.recorder.watched(&slot.protocol, kind, &name, wall());
                }
                Op::Replaced { server } => {
                    let slot = &mut self.slots[server];
                    slot.protocol.handle_replaced(now);
                    slot.recorder.closed(&slot.protocol, wall());
                }
                Op::Close { server } => {
                    let slot = &mut self.slots[server];
                    slot.protocol.handle_idle(now);
                    slot.recorder.closed(&slot.protocol, wall());
                }
                Op::Switched { authority, from, to, cause } => {
                    self.switched(&authority, from, to, cause);
                }
            }
        }
        busy
    }

    fn switched(&mut self, authority: &Authority, from: ServerAt, to: ServerAt, cause: Cause) {
        let uri = |at: ServerAt| self.slots[at].server.uri();
        let (old, new) = (uri(from), uri(to));
        match cause {
            Cause::Unreachable => tracing::warn!(
                target: "mesh::xds", ?authority, from = %old, to = %new,
                "a control plane can't be reached and something is missing: the next one is asked"
            ),
            Cause::Returned => tracing::info!(
                target: "mesh::xds", ?authority, from = %old, to = %new,
                "a better control plane is back"
            ),
        }
        // What it said before it counted was not taken in, and is not said again.
        let names: Vec<_> = self.federation.names(authority).cloned().collect();
        for (kind, name) in names {
            let is_pending = matches!(self.cascade.store().look(kind, &name), Known::Pending);
            let known = self.slots[to].protocol.resource(kind, &name).filter(|_| is_pending);
            if let Some(error) = known.and_then(|known| untold(&known)) {
                self.failed(to, kind, &name, Failure { error, kept: true, silent: false });
            }
        }
        self.publish_soon();
    }
}

/// What a server said of a name that it has no value for, while it did not count.
fn untold(known: &ResourceStatus<'_>) -> Option<Arc<str>> {
    let said = known.error.map(|(details, _)| Arc::clone(details));
    match known.state {
        ResourceState::Requested | ResourceState::Acked => None,
        ResourceState::DoesNotExist => Some("the control plane does not have it".into()),
        ResourceState::Timeout => Some("the control plane did not answer in time".into()),
        ResourceState::Nacked | ResourceState::ReceivedError => {
            Some(said.unwrap_or_else(|| "the control plane has no good value of it".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::link::Message;
    use super::*;
    use crate::bootstrap::Bootstrap;
    use crate::encode;
    use crate::protocol::Variant;
    use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
    use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
    use envoy_types::pb::google::protobuf::Any;
    use prost::Message as _;

    const LISTENER: ResourceType = ResourceType::Listener;

    /// Two servers that nobody listens at, of which the second stands in; `shop` is wanted.
    fn fallen_back() -> Client {
        let server = |port| {
            format!(
                r#"{{ "server_uri": "127.0.0.1:{port}", "channel_creds": [{{ "type": "insecure" }}] }}"#
            )
        };
        let text = format!(r#"{{ "xds_servers": [{}, {}] }}"#, server(8), server(9));
        let mut client = Client::new(&Bootstrap::parse(&text).unwrap(), Variant::StateOfTheWorld);
        client.want(&"shop".into(), 80);
        client.settle();
        client.federation.handle_unreachable(0);
        client.settle();
        assert_eq!(client.federation.active(&None), Some(1));
        client
    }

    fn answer(client: &mut Client, server: ServerAt, version: &str, listeners: &[Listener]) {
        let resource = |listener: &Listener| Any {
            type_url: LISTENER.type_url().to_owned(),
            value: listener.encode_to_vec(),
        };
        let response = DiscoveryResponse {
            version_info: version.to_owned(),
            nonce: version.to_owned(),
            type_url: LISTENER.type_url().to_owned(),
            resources: listeners.iter().map(resource).collect(),
            ..DiscoveryResponse::default()
        };
        let message = Message::StateOfTheWorld(Box::new(response));
        client.link_event(server, LinkEvent::Message(message));
        client.settle();
    }

    fn good(name: &str) -> Listener {
        encode::api_listener(name, "routes")
    }

    fn bad(name: &str) -> Listener {
        let none = Any { type_url: "nothing".to_owned(), ..Any::default() };
        let api_listener = Some(ApiListener { api_listener: Some(none) });
        Listener { name: name.to_owned(), api_listener, ..Listener::default() }
    }

    /// It counts from its first value on, and has said before that of another name nothing good is to be had.
    #[tokio::test]
    async fn what_a_better_server_refused_before_it_counted_is_known_when_it_counts() {
        let mut client = fallen_back();
        client.link_event(0, LinkEvent::Connected);
        client.settle();
        answer(&mut client, 0, "1", &[bad("shop:80"), good("shop")]);
        assert_eq!(client.federation.active(&None), Some(0));
        let known = client.cascade.store().look(LISTENER, &"shop:80".into());
        assert!(matches!(known, Known::Missing(_)), "{known:?}");
    }

    /// Nothing follows from it, and whoever was told of the error waits for its end.
    #[tokio::test]
    async fn a_value_that_is_what_it_was_ends_the_error() {
        let mut client = fallen_back();
        client.link_event(1, LinkEvent::Connected);
        client.settle();
        let said = |client: &mut Client| {
            let events = std::mem::take(&mut client.events).into_iter();
            let words = events.filter_map(|event| match event {
                ClientEvent::Refused { kind, name, .. } => Some(format!("refused {kind} {name}")),
                ClientEvent::Restored { kind, name } => Some(format!("restored {kind} {name}")),
                _ => None,
            });
            words.collect::<Vec<_>>()
        };
        for (version, listener, expected) in [
            ("1", good("shop"), None),
            ("2", bad("shop"), Some("refused LDS shop")),
            ("3", good("shop"), Some("restored LDS shop")),
            ("4", good("shop"), None),
        ] {
            answer(&mut client, 1, version, &[listener]);
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(said(&mut client), expected, "version {version}");
        }
    }

    /// gRFC A36, A88: also one that clients could use is refused, and the last good one stays.
    #[tokio::test]
    async fn what_a_server_asks_for_is_refused_if_none_can_serve_by_it() {
        use envoy_types::pb::google::protobuf::BoolValue;
        use mesh_core::model::{self, FilterChain, HttpConnectionManager};
        let mut client = fallen_back();
        client.serve(&"in".into());
        client.link_event(1, LinkEvent::Connected);
        client.settle();
        let mut listener = model::Listener::new("in");
        listener.address = Some(model::Address::Socket(([127, 0, 0, 1], 80).into()));
        let http = Arc::new(HttpConnectionManager::serving(Vec::new()));
        listener.filter_chains.push(Arc::new(FilterChain::new("all", Some(http))));
        let mut listener = encode::server_listener(&listener);
        listener.traffic_direction = 0;
        answer(&mut client, 1, "1", &[listener.clone()]);
        listener.use_original_dst = Some(BoolValue { value: true });
        answer(&mut client, 1, "2", &[listener]);
        let refused =
            |event: &ClientEvent| matches!(event, ClientEvent::Refused { kept: true, .. });
        assert!(client.events.iter().any(refused), "{:?}", client.events);
        let update = client.cascade.configuration();
        assert!(update.listeners.contains_key("in") && update.absent_listeners.is_empty());
    }
}
