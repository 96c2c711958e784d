//! [`Store`]: the last good value of each resource, and what is known when there is none.
//!
//! The protocol says what happened; this holds what is left of it. A value outlives a newer one that was
//! refused, and a deletion that the rules ignore (gRFC A88): then its error stands beside it.
//!
//! Beside each value are its bytes as they were received: a copy on disk and CSDS show what the control
//! plane sent, and not what became of it here. Names that are spelt differently and mean the same (gRFC
//! A47: the parameters of `xdstp:` names) are one.
//!
//! On request it remembers what was held when what was made of it went into force (`in_force.rs`).

mod in_force;

use crate::protocol::canonical;
use crate::{Resource, ResourceType};
use bytes::Bytes;
use in_force::{Journal, Key};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The resources that were asked for.
#[derive(Clone, Debug, Default)]
pub struct Store {
    entries: BTreeMap<Key, Entry>,
    /// `None`: nobody wants to know what is in force.
    journal: Option<Journal>,
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
#[derive(Clone, Default, PartialEq, Eq)]
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
        let key = (kind, canonical(name));
        self.note(&key);
        self.entries.insert(key, entry);
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
        let key = (kind, canonical(name));
        self.note(&key);
        self.entries.entry(key).or_insert(entry);
    }

    /// A copy on disk is without it, and this is why: it is not there until the control plane sends it, unless
    /// something is known already.
    pub fn withhold(&mut self, kind: ResourceType, name: &Arc<str>, why: Arc<str>) {
        let entry = Entry { error: Some(why), stale: true, ..Entry::default() };
        self.entries.entry((kind, canonical(name))).or_insert(entry);
    }

    /// Something is wrong with it. `kept`: the last good value, if there is one, stays.
    pub fn fail(&mut self, kind: ResourceType, name: &Arc<str>, error: Arc<str>, kept: bool) {
        let key = (kind, canonical(name));
        if !kept {
            self.note(&key);
        }
        let entry = self.entries.entry(key).or_default();
        if !kept {
            (entry.value, entry.received, entry.stale) = (None, Received::default(), false);
        }
        entry.error = Some(error);
    }

    /// Nothing is wrong with it any more, and its value, if there is one, is good. Whether something was.
    pub fn restored(&mut self, kind: ResourceType, name: &Arc<str>) -> bool {
        let entry = self.entries.get_mut(&(kind, canonical(name)));
        let with_value = entry.filter(|entry| entry.value.is_some());
        with_value.and_then(|entry| entry.error.take()).is_some()
    }

    /// Nobody asks for it any more.
    pub fn forget(&mut self, kind: ResourceType, name: &Arc<str>) {
        let key = (kind, canonical(name));
        self.note(&key);
        self.entries.remove(&key);
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

    /// Whether what is known comes from a copy on disk, and the control plane has not sent it since.
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
        self.entries.iter().map(|(key, entry)| stored(key, entry))
    }

    /// Remembers from now on what is in force: see [`in_force`](Self::in_force).
    pub fn remember(&mut self) {
        self.journal.get_or_insert_default();
    }

    /// A configuration that was made of all that is held is told to the mesh; `is_whole`: not only its
    /// endpoints are new.
    pub fn told(&mut self, version: &Arc<str>, is_whole: bool) {
        if let Some(journal) = &mut self.journal {
            journal.told(version, is_whole);
        }
    }

    /// The mesh works with the configuration of this version. Whether anything but endpoints is new in it;
    /// `None`: it was acknowledged before, or never told.
    pub fn acknowledged(&mut self, version: &str) -> Option<bool> {
        self.journal.as_mut()?.acknowledged(version)
    }

    /// Whether it [remembers](Self::remember) what is in force.
    #[must_use]
    pub const fn is_remembering(&self) -> bool {
        self.journal.is_some()
    }

    /// Whether what is held is what is in force. Without [`remember`](Self::remember) it counts as that.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.journal.as_ref().is_none_or(Journal::is_settled)
    }

    /// All that was held when the configuration that is in force was told, in no order; without
    /// [`remember`](Self::remember) what is held now.
    pub fn in_force(&self) -> impl Iterator<Item = Stored<'_>> {
        let before = self.journal.as_ref().map(Journal::before).unwrap_or_default();
        let others = before.clone().into_iter();
        let others = others.filter_map(|(key, entry)| Some(stored(key, entry?)));
        let unchanged = self.entries.iter().filter(move |(key, _)| !before.contains_key(key));
        unchanged.map(|(key, entry)| stored(key, entry)).chain(others)
    }

    fn note(&mut self, key: &Key) {
        if let Some(journal) = &mut self.journal {
            journal.note(key, self.entries.get(key));
        }
    }
}

fn stored<'a>((kind, name): &'a Key, entry: &'a Entry) -> Stored<'a> {
    Stored {
        kind: *kind,
        name,
        value: entry.value.as_ref().map(|value| (value, &entry.received)),
        error: entry.error.as_ref(),
        stale: entry.stale,
    }
}

impl Received {
    /// What was received: version, hash and bytes.
    #[must_use]
    pub const fn new(version: Arc<str>, hash: u64, body: Bytes) -> Self {
        Self { version, hash, body }
    }
}

impl fmt::Debug for Received {
    /// Without the bytes, which may hold a private key: their number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, hash, body } = self;
        write!(f, "Received({version}, {hash:016x}, {} bytes)", body.len())
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
        assert!(store.restored(LISTENER, &a) && !store.restored(LISTENER, &a));
        check(&store, &[("a", Some(b"one"), false, false)]);
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

    /// What is in force after these words: `a=1` a value, `a!` a deletion, `a-` forgotten, `>v` told as
    /// version `v`, `*v` the same with endpoints only, `^v` acknowledged.
    #[track_caller]
    fn check_in_force(words: &str, expected: &str) {
        let mut store = Store::new();
        store.remember();
        for word in words.split_whitespace() {
            let name = |name: &str| Arc::<str>::from(name);
            if let Some(version) = word.strip_prefix('>') {
                store.told(&version.into(), true);
            } else if let Some(version) = word.strip_prefix('*') {
                store.told(&version.into(), false);
            } else if let Some(version) = word.strip_prefix('^') {
                store.acknowledged(version);
            } else if let Some((of, version)) = word.split_once('=') {
                let received = Received::new(version.into(), 7, Bytes::new());
                store.insert(LISTENER, &name(of), listener(of), received);
            } else if let Some(of) = word.strip_suffix('!') {
                store.fail(LISTENER, &name(of), "gone".into(), false);
            } else if let Some(of) = word.strip_suffix('-') {
                store.forget(LISTENER, &name(of));
            }
        }
        let flat = |held: Stored<'_>| Some(format!("{}={}", held.name, held.value?.1.version));
        let mut held: Vec<_> = store.in_force().filter_map(flat).collect();
        held.sort();
        assert_eq!(held.join(" "), expected, "{words}");
    }

    #[test]
    fn what_is_in_force_is_what_was_told_and_acknowledged() {
        for (words, expected) in [
            ("a=1 b=1", ""),
            ("a=1 b=1 >1", ""),
            ("a=1 b=1 >1 ^1", "a=1 b=1"),
            ("a=1 >1 ^1 a=2", "a=1"),
            ("a=1 >1 ^1 a=2 >2", "a=1"),
            ("a=1 >1 ^1 a=2 >2 ^2", "a=2"),
            // A newer one may come before the answer to the older one.
            ("a=1 >1 ^1 a=2 >2 a=3 >3 a=4 ^2", "a=2"),
            ("a=1 >1 ^1 a=2 >2 a=3 >3 a=4 ^3", "a=3"),
            // What is refused is not acknowledged, and what was good before stays.
            ("a=1 b=1 >1 ^1 a=2 >2 b! >3 a- >4", "a=1 b=1"),
            ("a=1 b=1 >1 ^1 a=2 >2 b! >3 a- >4 ^4", ""),
            ("a=1 >1 ^1 a- a=2 c=1 >2", "a=1"),
            // There and back: the content counts, and so its version.
            ("a=1 >1 a=2 >2 a=1 >1 ^1", "a=1"),
            ("a=1 >1 ^1 ^0 ^unknown a=2", "a=1"),
        ] {
            check_in_force(words, expected);
        }
    }

    #[test]
    fn what_is_told_and_never_acknowledged_is_bounded() {
        let many: Vec<_> = (2..200).map(|at| format!("a={at} b{at}=1 >{at}")).collect();
        let words = format!("a=1 >1 ^1 {}", many.join(" "));
        check_in_force(&words, "a=1");
        let acknowledged = format!("{words} ^199");
        check_in_force(&format!("{acknowledged} a=200"), &{
            let mut all: Vec<_> = (2..200).map(|at| format!("b{at}=1")).collect();
            all.push("a=199".to_owned());
            all.sort();
            all.join(" ")
        });
    }

    #[test]
    fn an_acknowledgement_says_whether_only_endpoints_are_new() {
        let mut store = Store::new();
        store.remember();
        for (version, is_whole) in
            [("1", true), ("2", false), ("3", false), ("4", true), ("5", false)]
        {
            store.told(&version.into(), is_whole);
        }
        let acknowledged = ["1", "3", "2", "5"].map(|version| store.acknowledged(version));
        assert_eq!(acknowledged, [Some(true), Some(false), None, Some(true)]);
        assert!(store.is_in_force());
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
