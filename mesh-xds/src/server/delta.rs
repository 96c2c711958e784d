//! [`DeltaStream`]: one incremental stream, on the server's side.

use super::snapshot::{Served, Snapshot};
use super::stream::{
    Common, MAKE, Nonces, Others, Refused, Subscription, View, WILDCARD, check_versions,
};
use crate::ResourceType;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One `DeltaAggregatedResources`, on the server's side.
#[derive(Clone, Debug, Default)]
pub struct DeltaStream {
    kinds: BTreeMap<ResourceType, Kind>,
    common: Common,
}

/// What is known of one kind; it begins with the first request of it.
#[derive(Clone, Debug, Default)]
struct Kind {
    subscription: Subscription,
    /// The versions of what the client has, as it said or was sent.
    held: BTreeMap<Arc<str>, Arc<str>>,
    /// The version of the system at the last response.
    version: String,
    view: View,
}

/// What a response says.
#[derive(Debug, Default)]
struct Difference {
    resources: BTreeMap<Arc<str>, Served>,
    removed: BTreeSet<Arc<str>>,
}

/// What a request asks for.
#[derive(Debug, Default)]
struct Asked {
    /// Names that must be answered, with the resource or its removal.
    names: BTreeSet<Arc<str>>,
    /// Everything that is subscribed is compared: the first request, and a new wildcard.
    all: bool,
    /// The client waits for an answer, even for an empty one.
    waits: bool,
}

impl DeltaStream {
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

    /// Takes a request and gives the response to it, if there is one.
    ///
    /// A request for a type that is not known is not answered.
    ///
    /// # Errors
    /// [`Refused`]: the stream is to be ended (`RESOURCE_EXHAUSTED`).
    pub fn handle_request(
        &mut self,
        request: &DeltaDiscoveryRequest,
        snapshot: &Snapshot,
    ) -> Result<Vec<DeltaDiscoveryResponse>, Refused> {
        let Some(kind) = self.common.begin(request.node.as_ref(), &request.type_url) else {
            return Ok(Vec::new());
        };
        self.common.seen.part_of(snapshot, self.kinds.is_empty());
        let first = !self.kinds.contains_key(&kind);
        let others = self.kinds.iter().filter(|(other, _)| **other != kind);
        let others = Others::of(others.map(|(_, state)| &state.subscription));
        let state = self.kinds.entry(kind).or_default();
        let nonce = request.response_nonce.as_str();
        // A stale answer says nothing; the subscriptions beside it count.
        if !nonce.is_empty() && nonce == state.view.nonce {
            state.view.answer(&state.version, request.error_detail.as_ref());
        }
        let asked = state.subscribe(kind, request, first, others)?;
        let difference = state.answer(kind, &asked, snapshot);
        if difference.is_empty() && !asked.waits {
            return Ok(Vec::new());
        }
        Ok(vec![state.send(kind, difference, snapshot.version(kind), &mut self.common.nonces)])
    }

    /// Takes a new snapshot and gives the responses that it makes, to be sent in their order.
    pub fn handle_snapshot(&mut self, snapshot: &Snapshot) -> Vec<DeltaDiscoveryResponse> {
        let mut responses = Vec::new();
        let mut gone = Vec::new();
        for kind in MAKE {
            let Some(state) = self.kinds.get_mut(&kind) else { continue };
            let difference = match snapshot.changed_since(&self.common.seen, kind) {
                Some(names) => state.compare_some(kind, names, snapshot),
                None => state.compare(kind, snapshot),
            };
            let Difference { resources, removed } = difference;
            let made = Difference { resources, ..Difference::default() };
            let broken = Difference { removed, ..Difference::default() };
            if !made.is_empty() {
                responses.push(state.send(
                    kind,
                    made,
                    snapshot.version(kind),
                    &mut self.common.nonces,
                ));
            }
            if !broken.is_empty() {
                gone.push((kind, broken));
            }
        }
        // Make before break: routes go before the clusters that they led to.
        for (kind, broken) in gone.into_iter().rev() {
            if let Some(state) = self.kinds.get_mut(&kind) {
                responses.push(state.send(
                    kind,
                    broken,
                    snapshot.version(kind),
                    &mut self.common.nonces,
                ));
            }
        }
        self.common.seen.all_of(snapshot);
        responses
    }
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }
}

impl Kind {
    fn subscribe(
        &mut self,
        kind: ResourceType,
        request: &DeltaDiscoveryRequest,
        first: bool,
        others: Others,
    ) -> Result<Asked, Refused> {
        let mut asked = Asked { all: first, ..Asked::default() };
        let mut wildcard_begun = false;
        if first {
            let versions = request.initial_resource_versions.iter();
            check_versions(kind, versions.clone())?;
            self.held = versions
                .map(|(name, version)| (name.as_str().into(), version.as_str().into()))
                .collect();
            // xDS protocol: a first request without names is a wildcard.
            if request.resource_names_subscribe.is_empty() && kind.is_full_state() {
                self.subscription.wildcard = true;
                wildcard_begun = true;
            }
        }
        for name in &request.resource_names_subscribe {
            let is_new = self.subscription.add(kind, name, others)?;
            match name == WILDCARD && kind.is_full_state() {
                true => wildcard_begun |= is_new,
                // Asked for again means: send it again. On a new stream what the client has is known.
                false if first && self.held.contains_key(name.as_str()) => {}
                false => {
                    asked.names.insert(name.as_str().into());
                }
            }
        }
        for name in &request.resource_names_unsubscribe {
            self.unsubscribe(kind, name, &mut asked);
        }
        asked.all |= wildcard_begun;
        // Envoy waits for the first answer to a wildcard before it takes traffic.
        asked.waits = wildcard_begun && self.held.is_empty();
        Ok(asked)
    }

    fn unsubscribe(&mut self, kind: ResourceType, name: &str, asked: &mut Asked) {
        if name == WILDCARD && kind.is_full_state() {
            self.subscription.wildcard = false;
            let names = &self.subscription.names;
            self.held.retain(|name, _| names.contains(name));
            return;
        }
        self.subscription.remove(name);
        asked.names.remove(name);
        if self.subscription.wildcard {
            // xDS protocol: the client does not know whether the wildcard covers it, and is told.
            asked.names.insert(name.into());
        } else {
            self.held.remove(name);
        }
    }

    fn answer(&self, kind: ResourceType, asked: &Asked, snapshot: &Snapshot) -> Difference {
        let mut difference = match asked.all {
            true => self.compare(kind, snapshot),
            false => Difference::default(),
        };
        for name in &asked.names {
            match self.subscription.select_one(kind, name, snapshot) {
                None => {
                    difference.removed.insert(Arc::clone(name));
                }
                Some(served) => {
                    difference.resources.insert(Arc::clone(name), served);
                }
            }
        }
        difference
    }

    /// Everything that is subscribed, compared with what the client has.
    fn compare(&self, kind: ResourceType, snapshot: &Snapshot) -> Difference {
        let selected = self.subscription.select(kind, snapshot);
        let gone = self.held.keys().filter(|name| !selected.contains_key(*name));
        let removed = gone.cloned().collect();
        let changed = selected.into_iter().filter(|(name, served)| {
            self.held.get(name).is_none_or(|version| *version != served.version)
        });
        Difference { resources: changed.collect(), removed }
    }

    /// What is subscribed under these names, compared with what the client has.
    fn compare_some(
        &self,
        kind: ResourceType,
        names: &[Arc<str>],
        snapshot: &Snapshot,
    ) -> Difference {
        let mut difference = Difference::default();
        for name in names {
            let held = self.held.get(name);
            match self.subscription.select_one(kind, name, snapshot) {
                Some(served) if held != Some(&served.version) => {
                    difference.resources.insert(Arc::clone(name), served);
                }
                None if held.is_some() => {
                    difference.removed.insert(Arc::clone(name));
                }
                Some(_) | None => {}
            }
        }
        difference
    }

    fn send(
        &mut self,
        kind: ResourceType,
        difference: Difference,
        version: &str,
        nonces: &mut Nonces,
    ) -> DeltaDiscoveryResponse {
        self.view.nonce = nonces.next();
        version.clone_into(&mut self.version);
        for name in &difference.removed {
            self.held.remove(name);
        }
        for (name, served) in &difference.resources {
            self.held.insert(Arc::clone(name), Arc::clone(&served.version));
        }
        let resource = |served: Served| Resource {
            name: served.name.to_string(),
            version: served.version.to_string(),
            resource: Some(served.any(kind)),
            ..Resource::default()
        };
        DeltaDiscoveryResponse {
            system_version_info: version.to_owned(),
            resources: difference.resources.into_values().map(resource).collect(),
            type_url: kind.type_url().to_owned(),
            removed_resources: difference.removed.iter().map(ToString::to_string).collect(),
            nonce: self.view.nonce.clone(),
            ..DeltaDiscoveryResponse::default()
        }
    }
}
