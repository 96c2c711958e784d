//! Old endpoints + new assignment → next endpoints, keeping what has the same key.
//!
//! What the two assignments have in common at their start and end stays as it is, by the chunk; only
//! the middle is matched. A few endpoints are matched by comparing, many go through a map.

use super::chunks::Chunks;
use super::diff::Diff;
use super::{Attach, EndpointSet, LiveEndpoint};
use crate::model::{Address, ClusterLoadAssignment, Endpoint};
use hashbrown::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The next endpoints, and the old ones that are gone.
pub(super) struct Reconciled<A: Attach> {
    pub(super) endpoints: Chunks<Arc<LiveEndpoint<A>>>,
    pub(super) removed: Vec<Arc<LiveEndpoint<A>>>,
    pub(super) added: usize,
}

/// An address of a middle: the endpoint, if there is one already, and whether it stays.
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

/// Matches `new` against `old` by address; `make` is called once for each address that is new, and
/// `is_known` says of an address, if it can, that it is not among the old ones.
///
/// An address is one endpoint, however often it is listed.
pub(super) fn reconcile<A: Attach>(
    old: &EndpointSet<A>,
    new: &ClusterLoadAssignment,
    diff: &Diff,
    is_known: impl Fn(&Address) -> bool,
    mut make: impl FnMut(&Address) -> Arc<LiveEndpoint<A>>,
) -> Reconciled<A> {
    let before = || range(&old.assignment, diff.old.clone());
    let after = || range(new, diff.new.clone());
    let mut known = Places::of(before().chain(after()), diff.old.len() + diff.new.len());
    if old.has_repeats() {
        known.find_in(old, &diff.old);
    } else {
        for (index, endpoint) in diff.old.clone().zip(before()) {
            known.place(&endpoint.address).live = old.endpoints.get(index).cloned();
        }
        let is_elsewhere = |address| known.is_open(address) && is_known(address);
        if after().any(|endpoint| is_elsewhere(&endpoint.address)) {
            known.find_in(old, &diff.old);
        }
    }
    let mut added = 0;
    let middle = after().map(|endpoint| {
        let place = known.place(&endpoint.address);
        place.is_kept = true;
        let live = place.live.get_or_insert_with(|| {
            added += 1;
            make(&endpoint.address)
        });
        Arc::clone(live)
    });
    let middle: Vec<_> = middle.collect();
    let endpoints = old.endpoints.splice(diff.old.clone(), middle);
    let removed = before().filter_map(|endpoint| {
        let place = known.place(&endpoint.address);
        if place.is_kept { None } else { place.live.take() }
    });
    let removed = removed.collect();
    Reconciled { endpoints, removed, added }
}

/// The addresses of both middles.
enum Places<'a, A: Attach> {
    /// Compared one by one.
    Few(Vec<(&'a Address, Place<A>)>),
    Many(HashMap<&'a Address, Place<A>>),
}

/// The most endpoints of both middles that are compared one by one. Hashing 100,000 addresses takes
/// longer than comparing each with these.
const FEW: usize = 4;

impl<'a, A: Attach> Places<'a, A> {
    fn of(endpoints: impl Iterator<Item = &'a Endpoint>, count: usize) -> Self {
        let places = endpoints.map(|endpoint| (&endpoint.address, Place::default()));
        if count > FEW {
            return Self::Many(places.collect());
        }
        let mut few: Vec<(&Address, Place<A>)> = Vec::with_capacity(count);
        for (address, place) in places {
            if few.iter().all(|(known, _)| *known != address) {
                few.push((address, place));
            }
        }
        Self::Few(few)
    }

    /// Finds the endpoint of each address. It looks at all of `old`: an address that is listed twice
    /// may be outside of the middle, too, and then it stays.
    fn find_in(&mut self, old: &EndpointSet<A>, middle: &Range<usize>) {
        if self.is_empty() {
            return;
        }
        let mut index = 0;
        for locality in &old.assignment.localities {
            for endpoint in &locality.endpoints {
                if let Some(place) = self.find(&endpoint.address) {
                    place.live = old.endpoints.get(index).cloned();
                    place.is_kept |= !middle.contains(&index);
                }
                index += 1;
            }
        }
    }

    fn find(&mut self, address: &Address) -> Option<&mut Place<A>> {
        match self {
            Self::Few(few) => {
                let found = few.iter_mut().find(|(known, _)| *known == address);
                found.map(|(_, place)| place)
            }
            Self::Many(many) => many.get_mut(address),
        }
    }

    /// The place of an address of one of the middles.
    fn place(&mut self, address: &'a Address) -> &mut Place<A> {
        match self {
            Self::Few(few) => {
                let known = few.iter().position(|(known, _)| *known == address);
                let at = known.unwrap_or_else(|| {
                    few.push((address, Place::default()));
                    few.len() - 1
                });
                &mut few[at].1
            }
            Self::Many(many) => many.entry(address).or_default(),
        }
    }

    /// Whether the endpoint of an address is not found yet.
    fn is_open(&self, address: &Address) -> bool {
        let place = match self {
            Self::Few(few) => few.iter().find(|(known, _)| *known == address).map(|(_, p)| p),
            Self::Many(many) => many.get(address),
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

/// Some endpoints of an assignment, counted through its localities.
pub(super) fn range(
    assignment: &ClusterLoadAssignment,
    range: Range<usize>,
) -> impl Iterator<Item = &Endpoint> {
    let mut start = 0;
    let parts = assignment.localities.iter().map(move |locality| {
        let endpoints = &locality.endpoints[..];
        let end = start + endpoints.len();
        let from = range.start.clamp(start, end) - start;
        let to = range.end.clamp(start, end) - start;
        start = end;
        &endpoints[from..to.max(from)]
    });
    parts.flatten()
}
