//! [`Snapshot`]: every resource of a control plane at one time.
//!
//! Control planes change a little at a time, and 1,000,000 endpoints are many. So the next snapshot is made
//! from the one before ([`Snapshot::next`]): what a source hands over as the same pointer is not encoded
//! again, kinds without a change are shared, and what did change is known by name, so that no stream has to
//! compare everything.

use super::change::{Change, Id, Seen};
use super::made::Made;
use super::references::{self, Dangling};
use crate::ResourceType;
use crate::encode::{self, Authorities, Encoded};
use bytes::Bytes;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::ConfigUpdate;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use xxhash_rust::xxh64::Xxh64;

/// Every resource of a control plane at one time, with versions by content.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    kinds: BTreeMap<ResourceType, Arc<Held>>,
    authorities: Arc<Authorities>,
    made: Made,
    id: Id,
    /// How it differs from the one that it was made from; `None`: from nothing that is known.
    change: Option<Change>,
}

/// The same resources for the same names. How they came about does not count.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.kinds == other.kinds && self.authorities == other.authorities
    }
}

impl Eq for Snapshot {}

/// A resource as it is served.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// Its name.
    pub name: Arc<str>,
    /// The hash of its message: XXH64, in hexadecimal digits.
    pub version: Arc<str>,
    /// Its message.
    pub body: Bytes,
    /// Whether it is only for those who ask for it by name.
    pub by_name_only: bool,
}

/// The resources of one kind by name. Most are shared with the snapshot before.
pub(super) type Resources = BTreeMap<Arc<str>, Arc<Served>>;

/// The resources of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    // First, because it tells most differences at once.
    version: Arc<str>,
    pub(super) resources: Resources,
}

impl Snapshot {
    /// A snapshot of `resources`; of two with one kind and name, the later.
    #[must_use]
    pub fn new(resources: impl IntoIterator<Item = Encoded>) -> Self {
        let mut by_kind: BTreeMap<ResourceType, Resources> = BTreeMap::new();
        for encoded in resources {
            let served = Arc::new(Served::new(&encoded));
            by_kind.entry(encoded.kind).or_default().insert(encoded.name, served);
        }
        let held = by_kind.into_iter().map(|(kind, held)| (kind, Arc::new(Held::new(held))));
        Self { kinds: held.collect(), ..Self::default() }
    }

    /// A snapshot of a configuration and of the listeners that a caller opens.
    #[must_use]
    pub fn of(update: &ConfigUpdate, listeners: impl IntoIterator<Item = Encoded>) -> Self {
        Self::default().next(update, listeners)
    }

    /// The snapshot of a configuration and of listeners that comes after this one: the same as
    /// [`of`](Self::of) gives, but what `update` shares with the configuration before (by pointer) is not
    /// looked at.
    #[must_use]
    pub fn next(
        &self,
        update: &ConfigUpdate,
        listeners: impl IntoIterator<Item = Encoded>,
    ) -> Self {
        let listeners: Vec<Encoded> = listeners.into_iter().collect();
        let mut kinds = BTreeMap::new();
        let mut authorities = Arc::clone(&self.authorities);
        if self.made.has_routes(update, &listeners) {
            for kind in [ResourceType::Listener, ResourceType::RouteConfiguration] {
                kinds.extend(self.kinds.get(&kind).map(|held| (kind, Arc::clone(held))));
            }
        } else {
            let made = encode::route_resources(update).into_iter();
            let made =
                made.chain(encode::server_listeners(update)).chain(listeners.iter().cloned());
            kinds = Self::new(made).kinds;
            authorities = Arc::new(encode::authorities(update));
        }
        let of_clusters = [ResourceType::Cluster, ResourceType::Endpoints];
        let none = Resources::new();
        let before = of_clusters.map(|kind| {
            let held = self.kinds.get(&kind).filter(|_| self.made.is_known());
            held.map_or(&none, |held| &held.resources)
        });
        for (kind, resources) in of_clusters.into_iter().zip(self.made.clusters(update, before)) {
            let held = match resources {
                Some(resources) => Some(Arc::new(Held::new(resources))),
                None => self.kinds.get(&kind).filter(|_| self.made.is_known()).cloned(),
            };
            let held = held.filter(|held| !held.resources.is_empty());
            kinds.extend(held.map(|held| (kind, held)));
        }
        let secrets = match self.made.has_secrets(update) {
            true => self.kinds.get(&ResourceType::Secret).cloned(),
            false => {
                Self::new(encode::secret_resources(&update.secrets)).kinds.into_values().next()
            }
        };
        kinds.extend(secrets.map(|held| (ResourceType::Secret, held)));
        self.followed_by(kinds, authorities, Made::of(update, listeners))
    }

    /// What is equal stays the same pointer.
    fn followed_by(
        &self,
        mut kinds: BTreeMap<ResourceType, Arc<Held>>,
        authorities: Arc<Authorities>,
        made: Made,
    ) -> Self {
        for (kind, held) in &mut kinds {
            if let Some(before) = self.kinds.get(kind).filter(|before| *before == held) {
                held.clone_from(before);
            }
        }
        // Listeners that are made when they are asked for follow from the authorities.
        let known = authorities == self.authorities;
        let change = known.then(|| Change::between((&self.id, &self.kinds), &kinds));
        Self { kinds, authorities, made, id: Id::default(), change }
    }

    /// Which resources may differ from those that a stream has seen; `None`: any.
    pub(super) fn changed_since(&self, seen: &Seen, kind: ResourceType) -> Option<&[Arc<str>]> {
        if seen.is(&self.id) {
            return Some(&[]);
        }
        self.change.as_ref().filter(|change| seen.is(change.before())).map(|change| change.of(kind))
    }

    /// The same resources as what comes after `before`.
    #[cfg(test)]
    pub(super) fn after(self, before: &Self) -> Self {
        before.followed_by(self.kinds, self.authorities, self.made)
    }

    pub(super) const fn id(&self) -> &Id {
        &self.id
    }

    /// Whether every name leads where it led before: then [`check`](Self::check) has nothing new to say.
    #[must_use]
    pub fn leads_as(&self, before: &Self) -> bool {
        let held = |snapshot: &Self, kind| snapshot.kinds.get(&kind).map(Arc::as_ptr);
        let names = |snapshot: &Self, kind| snapshot.kinds.get(&kind).map(Arc::clone);
        let leads_nowhere = |kind| matches!(kind, ResourceType::Endpoints | ResourceType::Secret);
        ResourceType::ALL.into_iter().all(|kind| {
            held(self, kind) == held(before, kind)
                || leads_nowhere(kind)
                    && match (names(self, kind), names(before, kind)) {
                        (Some(now), Some(then)) => now.resources.keys().eq(then.resources.keys()),
                        (now, then) => now.is_none() && then.is_none(),
                    }
        })
    }

    /// Also answers for listeners of these authorities, when they are asked for by name.
    #[must_use]
    pub fn with_authorities(mut self, authorities: Authorities) -> Self {
        self.authorities = Arc::new(authorities);
        (self.id, self.change) = (Id::default(), None);
        self
    }

    /// The version of all resources of a kind; empty: there is none.
    #[must_use]
    pub fn version(&self, kind: ResourceType) -> &str {
        self.kinds.get(&kind).map_or("", |held| &held.version)
    }

    /// The resource of this name. A listener that is not held is made when a virtual host serves the
    /// authority that its name is.
    #[must_use]
    pub fn find(&self, kind: ResourceType, name: &str) -> Option<Served> {
        let held = self.kinds.get(&kind).and_then(|held| held.resources.get(name));
        held.map(|served| Served::clone(served)).or_else(|| {
            let routes = self.authorities.find(name).filter(|_| kind == ResourceType::Listener)?;
            Some(Served::new(&Encoded::listener(&encode::api_listener(name, routes))))
        })
    }

    /// Every resource of a kind, those for everyone and those by name only.
    pub fn resources(&self, kind: ResourceType) -> impl Iterator<Item = &Served> {
        let held = self.kinds.get(&kind).into_iter();
        held.flat_map(|held| held.resources.values()).map(|served| &**served)
    }

    /// Checks that every resource that is named by another exists.
    ///
    /// # Errors
    /// Each [`Dangling`] name. One is no reason to refuse the whole: clients wait for what is missing,
    /// or fail the calls that need it.
    pub fn check(&self) -> Result<(), Vec<Dangling>> {
        let mut dangling = Vec::new();
        for kind in ResourceType::ALL {
            for served in self.resources(kind) {
                for (wanted, name) in references::of(kind, &served.body) {
                    if !self.has(wanted, &name) {
                        dangling.push(Dangling::new(kind, &served.name, wanted, name));
                    }
                }
            }
        }
        if dangling.is_empty() { Ok(()) } else { Err(dangling) }
    }

    fn has(&self, kind: ResourceType, name: &str) -> bool {
        self.kinds.get(&kind).is_some_and(|held| held.resources.contains_key(name))
            || kind == ResourceType::Listener && self.authorities.find(name).is_some()
    }
}

impl Held {
    fn new(resources: Resources) -> Self {
        let mut hash = Xxh64::new(0);
        for served in resources.values() {
            // Lengths apart: no two lists of names and versions give the same bytes.
            hash.update(&served.name.len().to_le_bytes());
            hash.update(served.name.as_bytes());
            hash.update(served.version.as_bytes());
        }
        Self { version: digits(&hash), resources }
    }
}

impl Served {
    pub(super) fn new(encoded: &Encoded) -> Self {
        let mut hash = Xxh64::new(0);
        hash.update(&encoded.body);
        Self {
            name: Arc::clone(&encoded.name),
            version: digits(&hash),
            body: encoded.body.clone(),
            by_name_only: encoded.by_name_only,
        }
    }

    /// Whether a client that has one needs not the other: the version is the content.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.by_name_only == other.by_name_only
            && (Arc::ptr_eq(&self.version, &other.version) || self.version == other.version)
    }

    /// It as an `Any`.
    pub(super) fn any(&self, kind: ResourceType) -> Any {
        Any { type_url: kind.type_url().to_owned(), value: self.body.to_vec() }
    }
}

impl fmt::Debug for Served {
    /// Without the message, which may hold a private key: its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, body, by_name_only } = self;
        write!(f, "{name} {version} ({} bytes, by name only: {by_name_only})", body.len())
    }
}

fn digits(hash: &Xxh64) -> Arc<str> {
    format!("{:016x}", hash.digest()).into()
}
