//! Old endpoints + new assignment → next endpoints, keeping what has the same key: address, and how its
//! connections are secured.
//!
//! What the two assignments have in common at their start and end stays as it is, by the chunk; only
//! the middle is matched. A few endpoints are matched by comparing, many go through a map.

use super::chunks::Chunks;
use super::diff::Diff;
use super::securities::Securities;
use super::{Attach, EndpointSet, LiveEndpoint};
use crate::model::{Address, ClusterLoadAssignment, Endpoint, LocalityEndpoints};
use hashbrown::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The next endpoints, and the old ones that are gone.
pub(super) struct Reconciled<A: Attach> {
    pub(super) endpoints: Chunks<Arc<LiveEndpoint<A>>>,
    pub(super) removed: Vec<Arc<LiveEndpoint<A>>>,
    pub(super) added: usize,
}

/// What an endpoint is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key<'a> {
    pub(super) address: &'a Address,
    /// How its connections are secured ([`Securities`]).
    pub(super) security: u32,
}

/// A key of a middle: the endpoint, if there is one already, and whether it stays.
#[derive(Debug)]
struct Place<A: Attach> {
    live: Option<Arc<LiveEndpoint<A>>>,
    is_kept: bool,
}

impl<A: Attach> Default for Place<A> {
    fn default() -> Self {
        Self { live: None, is_kept: false }
    }
}

/// Matches `new` against `old` by key; `make` is called once for each key that is new, and
/// `is_known` says of an address, if it can, that it is not among the old ones.
///
/// A key is one endpoint, however often it is listed.
pub(super) fn reconcile<A: Attach>(
    old: &EndpointSet<A>,
    new: &ClusterLoadAssignment,
    diff: &Diff,
    securities: &Securities<'_>,
    is_known: impl Fn(&Address) -> bool,
    mut make: impl FnMut(Key<'_>) -> Arc<LiveEndpoint<A>>,
) -> Reconciled<A> {
    let before = || {
        range(&old.assignment, diff.old.clone()).map(|(locality, endpoint)| Key {
            address: &endpoint.address,
            security: securities.of_old(locality, endpoint),
        })
    };
    let after = || {
        range(new, diff.new.clone()).map(|(locality, endpoint)| Key {
            address: &endpoint.address,
            security: securities.of_new(locality, endpoint),
        })
    };
    let mut known = Places::of(before().chain(after()), diff.old.len() + diff.new.len());
    if old.has_repeats() {
        known.find_in(old, &diff.old, securities);
    } else {
        for (index, key) in diff.old.clone().zip(before()) {
            known.place(key).live = old.endpoints.get(index).cloned();
        }
        if after().any(|key| known.is_open(key) && is_known(key.address)) {
            known.find_in(old, &diff.old, securities);
        }
    }
    let mut added = 0;
    let middle = after().map(|key| {
        let place = known.place(key);
        place.is_kept = true;
        let live = place.live.get_or_insert_with(|| {
            added += 1;
            make(key)
        });
        Arc::clone(live)
    });
    let middle: Vec<_> = middle.collect();
    let endpoints = old.endpoints.splice(diff.old.clone(), middle);
    let removed = before().filter_map(|key| {
        let place = known.place(key);
        if place.is_kept { None } else { place.live.take() }
    });
    let removed = removed.collect();
    Reconciled { endpoints, removed, added }
}

/// The keys of both middles.
enum Places<'a, A: Attach> {
    /// Compared one by one.
    Few(Vec<(Key<'a>, Place<A>)>),
    Many(HashMap<Key<'a>, Place<A>>),
}

/// The most endpoints of both middles that are compared one by one. Hashing 100,000 addresses takes
/// longer than comparing each with these.
const FEW: usize = 4;

impl<'a, A: Attach> Places<'a, A> {
    fn of(keys: impl Iterator<Item = Key<'a>>, count: usize) -> Self {
        let places = keys.map(|key| (key, Place::default()));
        if count > FEW {
            return Self::Many(places.collect());
        }
        let mut few: Vec<(Key<'_>, Place<A>)> = Vec::with_capacity(count);
        for (key, place) in places {
            if few.iter().all(|(known, _)| *known != key) {
                few.push((key, place));
            }
        }
        Self::Few(few)
    }

    /// Finds the endpoint of each key. It looks at all of `old`: one that is listed twice
    /// may be outside of the middle, too, and then it stays.
    fn find_in(
        &mut self,
        old: &'a EndpointSet<A>,
        middle: &Range<usize>,
        securities: &Securities<'_>,
    ) {
        if self.is_empty() {
            return;
        }
        let mut index = 0;
        for locality in &old.assignment.localities {
            for endpoint in &locality.endpoints {
                let security = securities.of_old(locality, endpoint);
                if let Some(place) = self.find(Key { address: &endpoint.address, security }) {
                    place.live = old.endpoints.get(index).cloned();
                    place.is_kept |= !middle.contains(&index);
                }
                index += 1;
            }
        }
    }

    fn find(&mut self, key: Key<'a>) -> Option<&mut Place<A>> {
        match self {
            Self::Few(few) => {
                let found = few.iter_mut().find(|(known, _)| *known == key);
                found.map(|(_, place)| place)
            }
            Self::Many(many) => many.get_mut(&key),
        }
    }

    /// The place of a key of one of the middles.
    fn place(&mut self, key: Key<'a>) -> &mut Place<A> {
        match self {
            Self::Few(few) => {
                let known = few.iter().position(|(known, _)| *known == key);
                let at = known.unwrap_or_else(|| {
                    few.push((key, Place::default()));
                    few.len() - 1
                });
                &mut few[at].1
            }
            Self::Many(many) => many.entry(key).or_default(),
        }
    }

    /// Whether the endpoint of a key is not found yet.
    fn is_open(&self, key: Key<'a>) -> bool {
        let place = match self {
            Self::Few(few) => few.iter().find(|(known, _)| *known == key).map(|(_, p)| p),
            Self::Many(many) => many.get(&key),
        };
        place.is_some_and(|place| place.live.is_none())
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }
}

/// Some endpoints of an assignment, counted through its localities, each with its own.
pub(super) fn range(
    assignment: &ClusterLoadAssignment,
    range: Range<usize>,
) -> impl Iterator<Item = (&LocalityEndpoints, &Endpoint)> {
    let mut start = 0;
    let parts = assignment.localities.iter().map(move |locality| {
        let endpoints = &locality.endpoints[..];
        let end = start + endpoints.len();
        let from = range.start.clamp(start, end) - start;
        let to = range.end.clamp(start, end) - start;
        start = end;
        endpoints[from..to.max(from)].iter().map(move |endpoint| (&**locality, endpoint))
    });
    parts.flatten()
}
