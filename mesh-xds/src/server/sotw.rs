//! [`SotwStream`]: one stream of the state of the world, on the server's side.

use super::snapshot::{Served, Snapshot};
use super::stream::{Common, MAKE, Nonces, Others, Refused, Subscription, View};
use crate::ResourceType;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One `StreamAggregatedResources`, on the server's side.
#[derive(Clone, Debug, Default)]
pub struct SotwStream {
    kinds: BTreeMap<ResourceType, Kind>,
    common: Common,
}

/// What is known of one kind; it begins with the first request of it.
#[derive(Clone, Debug, Default)]
struct Kind {
    subscription: Subscription,
    /// Whether a name was ever asked for: from then on, no names are no wildcard.
    ever_named: bool,
    /// What the client was sent and still subscribes to.
    held: BTreeMap<Arc<str>, Served>,
    /// The version of the last response.
    version: String,
    view: View,
}

/// What a request changes.
struct Change {
    wildcard_begun: bool,
    added: Vec<Arc<str>>,
}

impl SotwStream {
    /// A stream before its first request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The node's name, once a request told it.
    #[must_use]
    pub const fn node_id(&self) -> Option<&Arc<str>> {
        self.common.node_id()
    }

    /// What is known of the client's state, for each kind that it asked for.
    pub fn views(&self) -> impl Iterator<Item = (ResourceType, &View)> {
        self.kinds.iter().map(|(kind, state)| (*kind, &state.view))
    }

    /// Takes a request and gives the responses to it, to be sent in their order.
    ///
    /// A request for a type that is not known is not answered.
    ///
    /// # Errors
    /// [`Refused`]: the stream is to be ended (`RESOURCE_EXHAUSTED`).
    pub fn handle_request(
        &mut self,
        request: &DiscoveryRequest,
        snapshot: &Snapshot,
    ) -> Result<Vec<DiscoveryResponse>, Refused> {
        let Some(kind) = self.common.begin(request.node.as_ref(), &request.type_url) else {
            return Ok(Vec::new());
        };
        self.common.seen.part_of(snapshot, self.kinds.is_empty());
        let first = !self.kinds.contains_key(&kind);
        let others = self.kinds.iter().filter(|(other, _)| **other != kind);
        let others = Others::of(others.map(|(_, state)| &state.subscription));
        let state = self.kinds.entry(kind).or_default();
        let nonce = request.response_nonce.as_str();
        let answered = !state.view.nonce.is_empty();
        if answered && !nonce.is_empty() && nonce != state.view.nonce {
            // The client had not seen the last response when it wrote this; it will answer that one,
            // with all its names.
            return Ok(Vec::new());
        }
        match answered && !nonce.is_empty() {
            true => state.view.answer(&state.version, request.error_detail.as_ref()),
            // The version of an earlier stream, with a nonce of that stream or none.
            false if first => request.version_info.clone_into(&mut state.view.version),
            false => {}
        }
        let change = state.subscribe(kind, &request.resource_names, others)?;
        let is_held = first
            && state.subscription.wildcard
            && state.subscription.names.is_empty()
            && !request.version_info.is_empty()
            && request.version_info == snapshot.version(kind);
        if is_held {
            state.held = state.subscription.select(kind, snapshot);
            return Ok(Vec::new());
        }
        let response = state.respond(kind, &change, snapshot, &mut self.common.nonces);
        Ok(response.into_iter().collect())
    }

    /// Takes a new snapshot and gives the responses that it makes, to be sent in their order.
    pub fn handle_snapshot(&mut self, snapshot: &Snapshot) -> Vec<DiscoveryResponse> {
        let mut responses = Vec::new();
        let mut last = None;
        for kind in MAKE {
            let Some(state) = self.kinds.get_mut(&kind) else { continue };
            let version = snapshot.version(kind);
            let names = snapshot.changed_since(&self.common.seen, kind);
            if !kind.is_full_state() {
                let changed = match names {
                    Some(names) => state.take_some(kind, names, snapshot),
                    None => state.take_all(kind, snapshot),
                };
                if !changed.is_empty() {
                    responses.push(state.send(kind, changed, version, &mut self.common.nonces));
                }
                continue;
            }
            if names.is_some_and(|names| !state.concerns(kind, names, snapshot)) {
                continue;
            }
            let selected = state.subscription.select(kind, snapshot);
            let changed = state.changed(&selected);
            let gone = state.held.keys().any(|name| !selected.contains_key(name));
            if kind == ResourceType::Cluster && gone {
                // Make before break: routes may still lead to what is gone.
                if !changed.is_empty() {
                    let mut both = state.held.clone();
                    both.extend(selected.clone());
                    // Not the version of either: a client that ends here is not up to date.
                    let version = format!("{version}+{}", state.version);
                    responses.push(state.send(kind, both, &version, &mut self.common.nonces));
                }
                last = Some(selected);
            } else if gone || !changed.is_empty() {
                state.held.clear();
                responses.push(state.send(kind, selected, version, &mut self.common.nonces));
            }
        }
        let clusters = self.kinds.get_mut(&ResourceType::Cluster);
        if let Some((selected, state)) = last.zip(clusters) {
            let version = snapshot.version(ResourceType::Cluster);
            state.held.clear();
            responses.push(state.send(
                ResourceType::Cluster,
                selected,
                version,
                &mut self.common.nonces,
            ));
        }
        self.common.seen.all_of(snapshot);
        responses
    }
}

impl Kind {
    /// Takes the names of a request, which are all that the client subscribes to.
    fn subscribe(
        &mut self,
        kind: ResourceType,
        names: &[String],
        others: Others,
    ) -> Result<Change, Refused> {
        self.ever_named |= !names.is_empty();
        if self.subscription.is(kind, names, self.ever_named) {
            // An answer repeats all names, and 10,000 are many to take in.
            return Ok(Change { wildcard_begun: false, added: Vec::new() });
        }
        let mut next = Subscription::default();
        for name in names {
            next.add(kind, name, others)?;
        }
        // xDS protocol: no names at all are a wildcard, until a name was sent on this stream.
        next.wildcard |= kind.is_full_state() && !self.ever_named;
        let before = std::mem::replace(&mut self.subscription, next);
        let added = self.subscription.names.difference(&before.names).cloned().collect();
        let wildcard_begun = self.subscription.wildcard && !before.wildcard;
        let Subscription { wildcard, names, .. } = &self.subscription;
        let covers = |served: &Served| *wildcard && !served.by_name_only;
        self.held.retain(|name, served| covers(served) || names.contains(name));
        Ok(Change { wildcard_begun, added })
    }

    /// The response to what a request changed, if there is one.
    fn respond(
        &mut self,
        kind: ResourceType,
        change: &Change,
        snapshot: &Snapshot,
        nonces: &mut Nonces,
    ) -> Option<DiscoveryResponse> {
        let version = snapshot.version(kind);
        if kind.is_full_state() {
            // Also without resources: a client that starts waits for the answer, and "none" is one.
            let due = change.wildcard_begun || !change.added.is_empty();
            let selected = due.then(|| self.subscription.select(kind, snapshot))?;
            self.held.clear();
            return Some(self.send(kind, selected, version, nonces));
        }
        // Envoy takes a response without the resource for "there is none" and stops waiting: so there
        // is none until it is there.
        let found = change
            .added
            .iter()
            .filter_map(|name| Some((Arc::clone(name), snapshot.find(kind, name)?)));
        let found: BTreeMap<_, _> = found.collect();
        if found.is_empty() { None } else { Some(self.send(kind, found, version, nonces)) }
    }

    /// What is other for the client, of everything; what is gone is not told and not held any more.
    fn take_all(&mut self, kind: ResourceType, snapshot: &Snapshot) -> BTreeMap<Arc<str>, Served> {
        let selected = self.subscription.select(kind, snapshot);
        self.held.retain(|name, _| selected.contains_key(name));
        self.changed(&selected)
    }

    /// The same, of these names.
    fn take_some(
        &mut self,
        kind: ResourceType,
        names: &[Arc<str>],
        snapshot: &Snapshot,
    ) -> BTreeMap<Arc<str>, Served> {
        let mut changed = BTreeMap::new();
        for name in names {
            match self.subscription.select_one(kind, name, snapshot) {
                Some(served) if !self.has(name, &served) => {
                    changed.insert(Arc::clone(name), served);
                }
                Some(_) => {}
                None => drop(self.held.remove(name)),
            }
        }
        changed
    }

    /// Whether any of these names is other for the client.
    fn concerns(&self, kind: ResourceType, names: &[Arc<str>], snapshot: &Snapshot) -> bool {
        names.iter().any(|name| match self.subscription.select_one(kind, name, snapshot) {
            Some(served) => !self.has(name, &served),
            None => self.held.contains_key(name),
        })
    }

    fn has(&self, name: &Arc<str>, served: &Served) -> bool {
        self.held.get(name).is_some_and(|held| held.version == served.version)
    }

    /// What of `selected` the client does not have like this.
    fn changed(&self, selected: &BTreeMap<Arc<str>, Served>) -> BTreeMap<Arc<str>, Served> {
        let changed = selected.iter().filter(|(name, served)| !self.has(name, served));
        changed.map(|(name, served)| (Arc::clone(name), served.clone())).collect()
    }

    fn send(
        &mut self,
        kind: ResourceType,
        resources: BTreeMap<Arc<str>, Served>,
        version: &str,
        nonces: &mut Nonces,
    ) -> DiscoveryResponse {
        self.view.nonce = nonces.next();
        version.clone_into(&mut self.version);
        let response = DiscoveryResponse {
            version_info: version.to_owned(),
            resources: resources.values().map(|served| served.any(kind)).collect(),
            type_url: kind.type_url().to_owned(),
            nonce: self.view.nonce.clone(),
            ..DiscoveryResponse::default()
        };
        self.held.extend(resources);
        response
    }
}
