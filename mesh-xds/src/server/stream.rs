//! What both kinds of streams share: subscriptions, what a client said, the order of kinds.

use super::change::Seen;
use super::clients::cut;
use super::snapshot::{Served, Snapshot};
use crate::ResourceType;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::rpc::Status;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most names that a client may subscribe to, for each kind, on one stream.
pub const MAX_NAMES: usize = 100_000;

/// The most bytes that a client may have a server keep by what one stream subscribes to, all kinds together: those of
/// the names, and 64 for each. The same bounds what the first request of a kind says that the client has, which
/// is kept until it is answered.
///
/// Of all [`MAX_STREAMS`](super::MAX_STREAMS) streams together that is 156 GiB, which nobody comes near but on purpose:
/// where strangers may connect, clients are to show certificates.
pub const MAX_HELD: usize = 16 << 20;

/// What a name costs beside its bytes.
pub(super) const A_NAME: usize = 64;

/// The name that stands for every resource of a kind.
pub(super) const WILDCARD: &str = "*";

/// xDS protocol, "Eventual consistency considerations": clusters before their endpoints, both before
/// listeners, all before the routes that lead to them.
pub(super) const MAKE: [ResourceType; 5] = [
    ResourceType::Cluster,
    ResourceType::Endpoints,
    ResourceType::Listener,
    ResourceType::RouteConfiguration,
    ResourceType::Secret,
];

/// Why a request ends its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It subscribes to too many names.
    #[error(
        "{kind}: more than {MAX_NAMES} names on one stream; ask for all with `*`, or by several streams"
    )]
    TooManyNames {
        /// The kind of resource.
        kind: ResourceType,
    },
    /// It subscribes to a name that is longer than any is.
    #[error("{kind}: a name of {length} bytes; a name has {MAX_NAME} at most")]
    NameTooLong {
        /// The kind of resource.
        kind: ResourceType,
        /// The bytes of the name.
        length: usize,
    },
    /// It says that it has a version that is longer than any is.
    #[error("{kind}: a version of {length} bytes; a version has {MAX_NAME} at most")]
    VersionTooLong {
        /// The kind of resource.
        kind: ResourceType,
        /// The bytes of the version.
        length: usize,
    },
    /// What it subscribes to is too much to be kept, or what it says that it has.
    #[error(
        "{kind}: the names of one stream, of all kinds, and with them the versions that a client has, take {MAX_HELD} \
         bytes at most, {A_NAME} for each counted along; ask for all with `*`, or by several streams"
    )]
    TooMuchHeld {
        /// The kind of resource that is beyond it.
        kind: ResourceType,
    },
}

/// The most bytes of a name, and of a version that a client says it has.
pub const MAX_NAME: usize = 2 << 10;

/// Refuses a name that is too long.
const fn check_name(kind: ResourceType, name: &str) -> Result<(), Refused> {
    match name.len() {
        length if length > MAX_NAME => Err(Refused::NameTooLong { kind, length }),
        _ => Ok(()),
    }
}

/// Refuses a version that is too long.
const fn check_version(kind: ResourceType, version: &str) -> Result<(), Refused> {
    match version.len() {
        length if length > MAX_NAME => Err(Refused::VersionTooLong { kind, length }),
        _ => Ok(()),
    }
}

/// What is known of a client's state, for one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// The version that it accepted last: of the state of the world what it said, of an incremental
    /// stream the system's at that time; empty: none yet.
    pub version: String,
    /// The nonce of the last response to it; empty: there was none.
    pub nonce: String,
    /// What it refused; `None`: it accepted the last response that it answered.
    pub nack: Option<Nack>,
}

/// A response that a client refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nack {
    /// The version of the response.
    pub version: String,
    /// The nonce of the response.
    pub nonce: String,
    /// Why, in the client's words.
    pub message: String,
}

impl View {
    /// Takes what a client answers to the last response. `version`: of that response.
    pub(super) fn answer(&mut self, version: &str, error: Option<&Status>) {
        match error {
            // The presence of `error_detail` makes it a NACK, not the versions.
            Some(error) => {
                self.nack = Some(Nack {
                    version: version.to_owned(),
                    nonce: self.nonce.clone(),
                    message: cut(&error.message),
                });
            }
            None => {
                version.clone_into(&mut self.version);
                self.nack = None;
            }
        }
    }
}

/// What a client subscribes to, of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Everything that is not by name only.
    pub(super) wildcard: bool,
    pub(super) names: BTreeSet<Arc<str>>,
    /// What the names take, of [`MAX_HELD`].
    held: usize,
}

/// What else a stream holds beside the names of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Others(usize);

impl Others {
    pub(super) fn of<'s>(subscriptions: impl Iterator<Item = &'s Subscription>) -> Self {
        Self(subscriptions.map(|subscription| subscription.held).sum())
    }

    /// Refuses what is too much beside them.
    const fn check(self, kind: ResourceType, held: usize) -> Result<(), Refused> {
        match self.0.saturating_add(held) > MAX_HELD {
            true => Err(Refused::TooMuchHeld { kind }),
            false => Ok(()),
        }
    }
}

/// Refuses names and versions that a client has, when they are too many, too long or too much.
pub(super) fn check_versions<'v>(
    kind: ResourceType,
    versions: impl ExactSizeIterator<Item = (&'v String, &'v String)>,
) -> Result<(), Refused> {
    if versions.len() > MAX_NAMES {
        return Err(Refused::TooManyNames { kind });
    }
    let mut held = 0_usize;
    for (name, version) in versions {
        check_name(kind, name)?;
        check_version(kind, version)?;
        held += A_NAME + name.len() + version.len();
    }
    Others(0).check(kind, held)
}

impl Subscription {
    /// Adds a name, or the wildcard, on a stream that holds `others` as well. Whether it is new.
    pub(super) fn add(
        &mut self,
        kind: ResourceType,
        name: &str,
        others: Others,
    ) -> Result<bool, Refused> {
        if name == WILDCARD && kind.is_full_state() {
            return Ok(!std::mem::replace(&mut self.wildcard, true));
        }
        if self.names.contains(name) {
            return Ok(false);
        }
        if self.names.len() >= MAX_NAMES {
            return Err(Refused::TooManyNames { kind });
        }
        check_name(kind, name)?;
        let held = self.held + A_NAME + name.len();
        others.check(kind, held)?;
        self.held = held;
        Ok(self.names.insert(name.into()))
    }

    /// Takes a name out.
    pub(super) fn remove(&mut self, name: &str) {
        if self.names.remove(name) {
            self.held = self.held.saturating_sub(A_NAME + name.len());
        }
    }

    /// Whether a request with these names, in the state of the world, subscribes to just this. May say no
    /// when they are in another order than clients write them in.
    pub(super) fn is(&self, kind: ResourceType, names: &[String], ever_named: bool) -> bool {
        let wildcard = kind.is_full_state()
            && (names.iter().any(|name| name == WILDCARD) || names.is_empty() && !ever_named);
        let names = names.iter().filter(|name| !kind.is_full_state() || *name != WILDCARD);
        self.wildcard == wildcard && names.map(String::as_str).eq(self.names.iter().map(|n| &**n))
    }

    /// What it selects of a snapshot, by name.
    pub(super) fn select(
        &self,
        kind: ResourceType,
        snapshot: &Snapshot,
    ) -> BTreeMap<Arc<str>, Served> {
        let mut selected: BTreeMap<_, _> = self
            .names
            .iter()
            .filter_map(|name| Some((Arc::clone(name), snapshot.find(kind, name)?)))
            .collect();
        if self.wildcard {
            let for_all = snapshot.resources(kind).filter(|served| !served.by_name_only);
            selected.extend(for_all.map(|served| (Arc::clone(&served.name), served.clone())));
        }
        selected
    }

    /// What it selects of a snapshot under one name.
    pub(super) fn select_one(
        &self,
        kind: ResourceType,
        name: &str,
        snapshot: &Snapshot,
    ) -> Option<Served> {
        let by_name = self.names.contains(name);
        snapshot.find(kind, name).filter(|served| by_name || self.wildcard && !served.by_name_only)
    }
}

/// What a stream of either variant knows beside its kinds.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) nonces: Nonces,
    pub(super) seen: Seen,
    node_id: Option<Arc<str>>,
}

impl Common {
    /// Takes the head of a request: the node, which only the first one must have, and the kind; `None`: it
    /// is not known.
    pub(super) fn begin(&mut self, node: Option<&Node>, type_url: &str) -> Option<ResourceType> {
        if let Some(node) = node.filter(|_| self.node_id.is_none()) {
            self.node_id = Some(cut(&node.id).into());
        }
        ResourceType::from_type_url(type_url)
    }

    pub(super) const fn node_id(&self) -> Option<&Arc<str>> {
        self.node_id.as_ref()
    }
}

/// The nonces of a stream: 1, 2, 3, …
#[derive(Clone, Debug, Default)]
pub(super) struct Nonces(u64);

impl Nonces {
    pub(super) fn next(&mut self) -> String {
        self.0 = self.0.wrapping_add(1);
        self.0.to_string()
    }
}
