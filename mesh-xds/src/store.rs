//! [`Store`]: the last good value of each resource, and what is known when there is none.
//!
//! The protocol says what happened; this holds what is left of it. A value outlives a newer one that was
//! refused, and a deletion that the rules ignore (gRFC A88): then its error stands beside it.
//!
//! Beside each value are its bytes as they were received: a copy on disk and CSDS show what the control
//! plane sent, and not what became of it here. Names that are spelt differently and mean the same (gRFC
//! A47: the parameters of `xdstp:` names) are one.

use crate::protocol::canonical;
use crate::{Resource, ResourceType};
use bytes::Bytes;
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
    received: Received,
    error: Option<Arc<str>>,
    /// It comes from a copy on disk, and the control plane has not sent it since.
    stale: bool,
}

/// How a value was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Its version, as the control plane calls it.
    pub version: Arc<str>,
    /// A hash of its bytes.
    pub hash: u64,
    /// Its bytes: `value` of the `Any` that it came in.
    pub body: Bytes,
}

/// A resource that is asked for, with all that is held of it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Stored<'a> {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: &'a Arc<str>,
    /// Its last good value, and how that was received.
    pub value: Option<(&'a Resource, &'a Received)>,
    /// What is wrong with it, if something is.
    pub error: Option<&'a Arc<str>>,
    /// Whether the value comes from a copy on disk, and the control plane has not sent it since.
    pub stale: bool,
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

    /// A new value under the name that it is watched by.
    pub fn insert(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        resource: Resource,
        received: impl Into<Received>,
    ) {
        let received = received.into();
        let entry = Entry { value: Some(resource), received, error: None, stale: false };
        self.entries.insert((kind, canonical(name)), entry);
    }

    /// A value from a copy on disk, unless something is known already.
    pub fn restore(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        resource: Resource,
        received: impl Into<Received>,
    ) {
        let received = received.into();
        let entry = Entry { value: Some(resource), received, error: None, stale: true };
        self.entries.entry((kind, canonical(name))).or_insert(entry);
    }

    /// Something is wrong with it. `kept`: the last good value, if there is one, stays.
    pub fn fail(&mut self, kind: ResourceType, name: &Arc<str>, error: Arc<str>, kept: bool) {
        let entry = self.entries.entry((kind, canonical(name))).or_default();
        if !kept {
            (entry.value, entry.received, entry.stale) = (None, Received::default(), false);
        }
        entry.error = Some(error);
    }

    /// Nobody asks for it any more.
    pub fn forget(&mut self, kind: ResourceType, name: &Arc<str>) {
        self.entries.remove(&(kind, canonical(name)));
    }

    /// What is known of a resource.
    #[must_use]
    pub fn look(&self, kind: ResourceType, name: &Arc<str>) -> Known<'_> {
        match self.entries.get(&(kind, canonical(name))) {
            Some(Entry { value: Some(value), .. }) => Known::Value(value),
            Some(Entry { error: Some(error), .. }) => Known::Missing(error),
            Some(_) | None => Known::Pending,
        }
    }

    /// The hash of a value that is there.
    #[must_use]
    pub fn hash(&self, kind: ResourceType, name: &Arc<str>) -> Option<u64> {
        self.received(kind, name).map(|received| received.hash)
    }

    /// The version of a value that is there.
    #[must_use]
    pub fn version(&self, kind: ResourceType, name: &Arc<str>) -> Option<&Arc<str>> {
        self.received(kind, name).map(|received| &received.version)
    }

    /// Whether a value is there that comes from a copy on disk, and that the control plane has not sent since.
    #[must_use]
    pub fn is_stale(&self, kind: ResourceType, name: &Arc<str>) -> bool {
        self.entries.get(&(kind, canonical(name))).is_some_and(|entry| entry.stale)
    }

    /// How a value that is there was received.
    #[must_use]
    pub fn received(&self, kind: ResourceType, name: &Arc<str>) -> Option<&Received> {
        let entry = self.entries.get(&(kind, canonical(name)))?;
        entry.value.as_ref().map(|_| &entry.received)
    }

    /// All that is held, by type and name.
    pub fn iter(&self) -> impl Iterator<Item = Stored<'_>> {
        self.entries.iter().map(|((kind, name), entry)| Stored {
            kind: *kind,
            name,
            value: entry.value.as_ref().map(|value| (value, &entry.received)),
            error: entry.error.as_ref(),
            stale: entry.stale,
        })
    }
}

impl Received {
    /// What was received: version, hash and bytes.
    #[must_use]
    pub const fn new(version: Arc<str>, hash: u64, body: Bytes) -> Self {
        Self { version, hash, body }
    }
}

impl From<(Arc<str>, u64)> for Received {
    /// A version and a hash, without bytes.
    fn from((version, hash): (Arc<str>, u64)) -> Self {
        Self::new(version, hash, Bytes::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::XdsListener;

    const LISTENER: ResourceType = ResourceType::Listener;

    fn listener(name: &str) -> Resource {
        Resource::Listener(Arc::new(XdsListener::new(name)))
    }

    fn received(body: &'static [u8]) -> Received {
        Received::new("1".into(), 7, Bytes::from_static(body))
    }

    #[track_caller]
    fn check(store: &Store, expected: &[(&str, Option<&[u8]>, bool, bool)]) {
        let flat = |held: Stored<'_>| {
            let body = held.value.map(|(_, received)| received.body.to_vec());
            (held.name.to_string(), body, held.error.is_some(), held.stale)
        };
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, body, error, stale)| {
                ((*name).to_owned(), body.map(<[u8]>::to_vec), *error, *stale)
            })
            .collect();
        assert_eq!(store.iter().map(flat).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn bytes_stay_with_the_last_good_value() {
        let (mut store, a) = (Store::new(), Arc::from("a"));
        store.insert(LISTENER, &a, listener("a"), received(b"one"));
        store.fail(LISTENER, &a, "refused".into(), true);
        check(&store, &[("a", Some(b"one"), true, false)]);
        store.insert(LISTENER, &a, listener("a"), received(b"two"));
        check(&store, &[("a", Some(b"two"), false, false)]);
        store.fail(LISTENER, &a, "deleted".into(), false);
        check(&store, &[("a", None, true, false)]);
        assert_eq!(store.received(LISTENER, &a), None);
        store.forget(LISTENER, &a);
        check(&store, &[]);
    }

    #[test]
    fn a_copy_on_disk_is_stale_until_the_control_plane_speaks() {
        let (mut store, a, b) = (Store::new(), Arc::from("a"), Arc::from("b"));
        store.restore(LISTENER, &a, listener("a"), received(b"old"));
        store.restore(LISTENER, &b, listener("b"), received(b"old"));
        store.insert(LISTENER, &a, listener("a"), received(b"new"));
        store.fail(LISTENER, &b, "unreachable".into(), true);
        check(&store, &[("a", Some(b"new"), false, false), ("b", Some(b"old"), true, true)]);
        store.restore(LISTENER, &a, listener("a"), received(b"old"));
        store.fail(LISTENER, &b, "deleted".into(), false);
        check(&store, &[("a", Some(b"new"), false, false), ("b", None, true, false)]);
    }

    #[test]
    fn two_spellings_of_a_name_are_one() {
        let mut store = Store::new();
        store.insert(LISTENER, &"xdstp://x/t/a?b=1&a=2".into(), listener("a"), received(b"one"));
        assert!(store.received(LISTENER, &"xdstp://x/t/a?a=2&b=1".into()).is_some());
        store.forget(LISTENER, &"xdstp://x/t/a?a=2&b=1".into());
        check(&store, &[]);
    }
}
