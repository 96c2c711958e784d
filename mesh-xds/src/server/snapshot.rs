//! [`Snapshot`]: every resource of a control plane at one time.

use super::references::{self, Dangling};
use crate::ResourceType;
use crate::encode::{self, Authorities, Encoded};
use bytes::Bytes;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::ConfigUpdate;
use std::collections::BTreeMap;
use std::sync::Arc;
use xxhash_rust::xxh64::Xxh64;

/// Every resource of a control plane at one time, with versions by content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    kinds: BTreeMap<ResourceType, Held>,
    authorities: Authorities,
}

/// A resource as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// Its name.
    pub name: Arc<str>,
    /// Its message.
    pub body: Bytes,
    /// The hash of its message: XXH64, in hexadecimal digits.
    pub version: Arc<str>,
    /// Whether it is only for those who ask for it by name.
    pub by_name_only: bool,
}

/// The resources of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    resources: BTreeMap<Arc<str>, Served>,
    version: Arc<str>,
}

impl Snapshot {
    /// A snapshot of `resources`; of two with one kind and name, the later.
    #[must_use]
    pub fn new(resources: impl IntoIterator<Item = Encoded>) -> Self {
        let mut by_kind: BTreeMap<ResourceType, BTreeMap<Arc<str>, Served>> = BTreeMap::new();
        for encoded in resources {
            let served = Served::new(&encoded);
            by_kind.entry(encoded.kind).or_default().insert(encoded.name, served);
        }
        let kinds = by_kind.into_iter().map(|(kind, held)| (kind, Held::new(held))).collect();
        Self { kinds, authorities: Authorities::default() }
    }

    /// A snapshot of a configuration and of the listeners that a caller opens.
    #[must_use]
    pub fn of(update: &ConfigUpdate, listeners: impl IntoIterator<Item = Encoded>) -> Self {
        let resources = encode::resources(update).into_iter().chain(listeners);
        Self { authorities: encode::authorities(update), ..Self::new(resources) }
    }

    /// Also answers for listeners of these authorities, when they are asked for by name.
    #[must_use]
    pub fn with_authorities(mut self, authorities: Authorities) -> Self {
        self.authorities = authorities;
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
        held.cloned().or_else(|| {
            let routes = self.authorities.find(name).filter(|_| kind == ResourceType::Listener)?;
            Some(Served::new(&Encoded::listener(&encode::api_listener(name, routes))))
        })
    }

    /// Every resource of a kind, those for everyone and those by name only.
    pub fn resources(&self, kind: ResourceType) -> impl Iterator<Item = &Served> {
        self.kinds.get(&kind).into_iter().flat_map(|held| held.resources.values())
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
                    if self.find(wanted, &name).is_none() {
                        dangling.push(Dangling::new(kind, &served.name, wanted, name));
                    }
                }
            }
        }
        if dangling.is_empty() { Ok(()) } else { Err(dangling) }
    }
}

impl Held {
    fn new(resources: BTreeMap<Arc<str>, Served>) -> Self {
        let mut hash = Xxh64::new(0);
        for served in resources.values() {
            // Lengths apart: no two lists of names and versions give the same bytes.
            hash.update(&served.name.len().to_le_bytes());
            hash.update(served.name.as_bytes());
            hash.update(served.version.as_bytes());
        }
        Self { resources, version: digits(&hash) }
    }
}

impl Served {
    fn new(encoded: &Encoded) -> Self {
        let mut hash = Xxh64::new(0);
        hash.update(&encoded.body);
        Self {
            name: Arc::clone(&encoded.name),
            body: encoded.body.clone(),
            version: digits(&hash),
            by_name_only: encoded.by_name_only,
        }
    }

    /// It as an `Any`.
    pub(super) fn any(&self, kind: ResourceType) -> Any {
        Any { type_url: kind.type_url().to_owned(), value: self.body.to_vec() }
    }
}

fn digits(hash: &Xxh64) -> Arc<str> {
    format!("{:016x}", hash.digest()).into()
}
