//! [`Change`]: how one snapshot differs from the one before, by name.
//!
//! It is found once, when a snapshot is made, and read by every stream: a stream that has sent all of the
//! snapshot before looks at these names only. One that has missed a snapshot looks at everything.

use super::snapshot::{Held, Resources, Snapshot};
use crate::ResourceType;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which snapshot it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Id(Arc<()>);

impl Id {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The snapshot whose content a stream has sent, as far as its client asks for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Option<Id>);

impl Seen {
    pub(super) fn is(&self, id: &Id) -> bool {
        self.0.as_ref().is_some_and(|seen| seen.is(id))
    }

    /// All of `snapshot` was looked at.
    pub(super) fn all_of(&mut self, snapshot: &Snapshot) {
        self.0 = Some(snapshot.id().clone());
    }

    /// A part of `snapshot` was looked at, `first`: and nothing of another.
    pub(super) fn part_of(&mut self, snapshot: &Snapshot, first: bool) {
        if first {
            self.all_of(snapshot);
        } else if !self.is(snapshot.id()) {
            self.0 = None;
        }
    }
}

/// How a snapshot differs from the one before.
#[derive(Clone, Debug)]
pub(super) struct Change {
    before: Id,
    /// What is new, other or gone; kinds without a difference are missing.
    names: Arc<BTreeMap<ResourceType, Vec<Arc<str>>>>,
}

impl Change {
    /// Kinds that are the same pointer are not looked at.
    pub(super) fn between(
        (id, before): (&Id, &BTreeMap<ResourceType, Arc<Held>>),
        after: &BTreeMap<ResourceType, Arc<Held>>,
    ) -> Self {
        let none = Resources::new();
        let mut names = BTreeMap::new();
        for kind in ResourceType::ALL {
            let (before, after) = (before.get(&kind), after.get(&kind));
            if before.map(Arc::as_ptr) == after.map(Arc::as_ptr) {
                continue;
            }
            let before = before.map_or(&none, |held| &held.resources);
            let after = after.map_or(&none, |held| &held.resources);
            names.insert(kind, differ(before, after));
        }
        Self { before: id.clone(), names: Arc::new(names) }
    }

    /// The snapshot that it is the difference to.
    pub(super) const fn before(&self) -> &Id {
        &self.before
    }

    /// The names of a kind that are new, other or gone.
    pub(super) fn of(&self, kind: ResourceType) -> &[Arc<str>] {
        self.names.get(&kind).map_or(&[], |names| names)
    }
}

/// The names under which two lists differ: both are walked once.
fn differ(before: &Resources, after: &Resources) -> Vec<Arc<str>> {
    let (mut before, mut after) = (before.values().peekable(), after.values().peekable());
    let mut names = Vec::new();
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => {
                before.next();
                after.next();
                continue;
            }
            (Some(old), Some(new)) => old.name.cmp(&new.name),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return names,
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        let same = old.zip(new).is_some_and(|(old, new)| old.is_same(new));
        names.extend(old.or(new).filter(|_| !same).map(|one| Arc::clone(&one.name)));
    }
}
