//! Old endpoints + new assignment → next endpoints, keeping what has the same key.
//!
//! An update rarely changes much, and 100,000 endpoints are many: what the old and the new assignment
//! have in common at their start and end is found by comparing two arrays (a locality that is the same
//! pointer is not even compared), and only the middle goes through a map.

use super::{Attach, EndpointSet, LiveEndpoint};
use crate::model::{Address, ClusterLoadAssignment, Endpoint};
use hashbrown::HashMap;
use std::sync::Arc;

/// The next endpoints, and the old ones that are gone.
pub(super) struct Reconciled<A: Attach> {
    pub(super) endpoints: Box<[Arc<LiveEndpoint<A>>]>,
    pub(super) removed: Vec<Arc<LiveEndpoint<A>>>,
    pub(super) added: usize,
}

/// Matches `new` against `old` by address; `make` is called once for each address that is new.
///
/// An address is one endpoint, however often it is listed.
pub(super) fn reconcile<A: Attach>(
    old: &EndpointSet<A>,
    new: &ClusterLoadAssignment,
    mut make: impl FnMut(&Address) -> Arc<LiveEndpoint<A>>,
) -> Reconciled<A> {
    let (before, after) = (flatten(&old.assignment), flatten(new));
    let prefix = common(before.iter(), after.iter());
    let (old_rest, new_rest) = (&before[prefix..], &after[prefix..]);
    let suffix = common(old_rest.iter().rev(), new_rest.iter().rev());
    let old_middle = prefix..before.len() - suffix;
    let new_middle = prefix..after.len() - suffix;

    // What each address of the middles is, and whether it stays.
    let middles = before[old_middle.clone()].iter().chain(&after[new_middle.clone()]);
    let mut known: HashMap<&Address, (Option<Arc<LiveEndpoint<A>>>, bool)> =
        middles.map(|endpoint| (&endpoint.address, (None, false))).collect();
    if !known.is_empty() {
        // All of `before`: an address that is listed twice may be outside its middle, too.
        for (index, endpoint) in before.iter().enumerate() {
            if let Some((live, kept)) = known.get_mut(&endpoint.address) {
                *live = Some(Arc::clone(&old.endpoints[index]));
                *kept |= !old_middle.contains(&index);
            }
        }
    }
    let mut added = 0;
    let mut endpoints = Vec::with_capacity(after.len());
    endpoints.extend_from_slice(&old.endpoints[..prefix]);
    for endpoint in &after[new_middle] {
        let (live, kept) = known.entry(&endpoint.address).or_default();
        *kept = true;
        let live = live.get_or_insert_with(|| {
            added += 1;
            make(&endpoint.address)
        });
        endpoints.push(Arc::clone(live));
    }
    endpoints.extend_from_slice(&old.endpoints[old_middle.end..]);

    let removed = old_middle
        .filter_map(|index| match known.get_mut(&before[index].address)? {
            (_, true) => None,
            (live, false) => live.take(),
        })
        .collect();
    Reconciled { endpoints: endpoints.into(), removed, added }
}

fn flatten(assignment: &ClusterLoadAssignment) -> Vec<&Endpoint> {
    let mut endpoints = Vec::with_capacity(assignment.len());
    for locality in &assignment.localities {
        endpoints.extend(&locality.endpoints);
    }
    endpoints
}

/// How many endpoints two sequences share at their start, by address.
fn common<'a>(
    before: impl Iterator<Item = &'a &'a Endpoint>,
    after: impl Iterator<Item = &'a &'a Endpoint>,
) -> usize {
    before
        .zip(after)
        .take_while(|(before, after)| {
            std::ptr::eq(**before, **after) || before.address == after.address
        })
        .count()
}
