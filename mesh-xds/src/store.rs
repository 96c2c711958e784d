//! [`Store`]: the last good value of each resource, and what is known when there is none.
//!
//! The protocol says what happened; this holds what is left of it. A value outlives a newer one that was
//! refused, and a deletion that the rules ignore (gRFC A88): then its error stands beside it.

use crate::{Resource, ResourceType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The resources that were asked for.
#[derive(Clone, Debug, Default)]
pub struct Store {
    entries: BTreeMap<(ResourceType, Arc<str>), Entry>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    value: Option<Resource>,
    version: Arc<str>,
    /// Of the value's bytes.
    hash: u64,
    error: Option<Arc<str>>,
}

/// What is known of a resource.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "closed: it is there, it is not, or nobody knows yet")]
pub enum Known<'a> {
    /// Its last good value.
    Value(&'a Resource),
    /// There is none, and this is why.
    Missing(&'a Arc<str>),
    /// No answer yet.
    Pending,
}

impl Store {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new value under the name that it is watched by, with its version and a hash of its bytes.
    pub fn insert(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        resource: Resource,
        (version, hash): (Arc<str>, u64),
    ) {
        let entry = Entry { value: Some(resource), version, hash, error: None };
        self.entries.insert((kind, Arc::clone(name)), entry);
    }

    /// Something is wrong with it. `kept`: the last good value, if there is one, stays.
    pub fn fail(&mut self, kind: ResourceType, name: &Arc<str>, error: Arc<str>, kept: bool) {
        let entry = self.entries.entry((kind, Arc::clone(name))).or_default();
        if !kept {
            entry.value = None;
        }
        entry.error = Some(error);
    }

    /// Nobody asks for it any more.
    pub fn forget(&mut self, kind: ResourceType, name: &Arc<str>) {
        self.entries.remove(&(kind, Arc::clone(name)));
    }

    /// What is known of a resource.
    #[must_use]
    pub fn look(&self, kind: ResourceType, name: &Arc<str>) -> Known<'_> {
        match self.entries.get(&(kind, Arc::clone(name))) {
            Some(Entry { value: Some(value), .. }) => Known::Value(value),
            Some(Entry { error: Some(error), .. }) => Known::Missing(error),
            Some(_) | None => Known::Pending,
        }
    }

    /// The hash of a value that is there.
    #[must_use]
    pub fn hash(&self, kind: ResourceType, name: &Arc<str>) -> Option<u64> {
        let entry = self.entries.get(&(kind, Arc::clone(name)))?;
        entry.value.as_ref().map(|_| entry.hash)
    }

    /// The version of a value that is there.
    #[must_use]
    pub fn version(&self, kind: ResourceType, name: &Arc<str>) -> Option<&Arc<str>> {
        let entry = self.entries.get(&(kind, Arc::clone(name)))?;
        entry.value.as_ref().map(|_| &entry.version)
    }
}
