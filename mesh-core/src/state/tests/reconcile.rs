//! Which endpoints stay the same when a load assignment changes.

use super::fixture::{assignment, port};
use crate::lb::EndpointId;
use crate::model::{Address, ClusterLoadAssignment, Endpoint, Locality, LocalityEndpoints};
use crate::state::diff::Diff;
use crate::state::reconcile::{Reconciled, reconcile};
use crate::state::securities::Securities;
use crate::state::{EndpointSet, LiveEndpoint};
use crate::time::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Assignments, one after another.
#[derive(Default)]
struct Series {
    set: Option<EndpointSet<()>>,
    made: u64,
    /// Whether an address that is new may be taken for a known one.
    guesses: bool,
}

impl Series {
    fn next(&mut self, assignment: ClusterLoadAssignment) -> (Vec<u16>, usize) {
        let empty = EndpointSet::empty();
        let made = &mut self.made;
        let old = self.set.as_ref().unwrap_or(&empty);
        let diff = Diff::between(&old.assignment, &assignment, &Securities::default());
        let known: BTreeSet<_> = old.endpoints().map(|endpoint| endpoint.address()).collect();
        let is_known = |address: &Address| self.guesses || known.contains(address);
        let Reconciled { endpoints, removed, added } =
            reconcile(old, &assignment, &diff, &Securities::default(), is_known, |key| {
                *made += 1;
                let id = EndpointId::new(*made);
                Arc::new(LiveEndpoint::new(id, key.address.clone(), Timestamp::ZERO, ()))
            });
        let assignment = Arc::new(assignment);
        let distinct = old.distinct_len() + added - removed.len();
        let set = EndpointSet { assignment, endpoints, localities: Box::default(), once: None };
        self.set = Some(set.settle(distinct));
        (removed.iter().map(|endpoint| port(endpoint.address())).collect(), added)
    }

    /// Address and identity in order.
    fn members(&self) -> Vec<(u16, u64)> {
        let endpoints = self.set.iter().flat_map(|set| set.endpoints());
        endpoints.map(|endpoint| (port(endpoint.address()), endpoint.id().as_u64())).collect()
    }
}

/// From `before`, whose distinct endpoints get the ids 1, 2, …, to `after`: `port#id…`, and who is
/// gone.
#[track_caller]
fn check(before: &str, after: &str, expected: &str, gone: &[u16]) {
    let mut series = Series::default();
    series.next(assignment(before));
    let made = series.made;
    let (removed, added) = series.next(assignment(after));
    let members = series.members();
    let text: Vec<_> = members.iter().map(|(port, id)| format!("{port}#{id}")).collect();
    assert_eq!(text.join(" "), expected, "{before} -> {after}");
    assert_eq!(removed, gone, "{before} -> {after}");
    assert_eq!(added as u64, series.made - made);
}

#[test]
fn what_has_the_same_address_is_the_same() {
    check("1 2 3", "1 2 3", "1#1 2#2 3#3", &[]);
    check("1 2 3", "4 1 2 3", "4#4 1#1 2#2 3#3", &[]);
    check("1 2 3", "1 2 3 4", "1#1 2#2 3#3 4#4", &[]);
    check("1 2 3", "1 4 2 3", "1#1 4#4 2#2 3#3", &[]);
    check("1 2 3", "1 3", "1#1 3#3", &[2]);
    check("1 2 3", "2 3", "2#2 3#3", &[1]);
    check("1 2 3", "3 1 2", "3#3 1#1 2#2", &[]);
    check("1 2 3", "5 2 6", "5#4 2#2 6#5", &[1, 3]);
    check("1 2 3", "", "", &[1, 2, 3]);
    check("", "1", "1#1", &[]);
}

#[test]
fn weight_health_locality_and_priority_are_not_identity() {
    check("1 2", "1*7 2-", "1#1 2#2", &[]);
    check("1 2 3", "1 | 2 3", "1#1 2#2 3#3", &[]);
    check("1 2 | p1 3 4", "1 3 | p1 2 4", "1#1 3#3 2#2 4#4", &[]);
    check("1 | p1 2", "p1 1 | 2", "1#1 2#2", &[]);
}

#[test]
fn an_address_that_is_listed_twice_is_one_endpoint() {
    check("", "1 1", "1#1 1#1", &[]);
    check("1 2", "1 1 2", "1#1 1#1 2#2", &[]);
    check("1 2", "2 1 2", "2#2 1#1 2#2", &[]);
    check("1 1", "1", "1#1", &[]);
    check("1 2 1", "1", "1#1", &[2]);
    check("1 1 2", "2", "2#2", &[1]);
    check("1 1 2", "2 3 3", "2#2 3#3 3#3", &[1]);
}

fn assignments() -> impl Strategy<Value = ClusterLoadAssignment> {
    let endpoint = (0..12u16, 1..3u32).prop_map(|(port, weight)| {
        let mut endpoint = Endpoint::new(super::fixture::address(port));
        endpoint.weight = weight;
        endpoint
    });
    let locality = prop::collection::vec(endpoint, 0..6).prop_map(|endpoints| {
        let mut locality = LocalityEndpoints::new(Locality::default());
        locality.endpoints = endpoints;
        Arc::new(locality)
    });
    prop::collection::vec(locality, 0..4).prop_map(|localities| {
        let mut assignment = ClusterLoadAssignment::default();
        assignment.localities = localities;
        assignment
    })
}

proptest! {
    /// Against a map from address to identity.
    #[test]
    fn it_agrees_with_a_map(series in prop::collection::vec(assignments(), 1..8), guesses: bool) {
        let mut under_test = Series { guesses, ..Series::default() };
        let mut known: BTreeMap<u16, u64> = BTreeMap::new();
        for assignment in series {
            let listed: Vec<u16> = assignment
                .localities
                .iter()
                .flat_map(|locality| &locality.endpoints)
                .map(|endpoint: &Endpoint| -> &Address { &endpoint.address })
                .map(port)
                .collect();
            let (removed, added) = under_test.next(assignment);
            let members = under_test.members();
            prop_assert_eq!(members.iter().map(|(port, _)| *port).collect::<Vec<_>>(), listed.clone());

            let after: BTreeMap<u16, u64> = members.iter().copied().collect();
            let ids: BTreeSet<u64> = members.iter().map(|(_, id)| *id).collect();
            prop_assert_eq!(ids.len(), after.len(), "one identity for each address");
            for (port, id) in &known {
                prop_assert!(after.get(port).is_none_or(|now| now == id), "{} was kept", port);
            }
            let gone: Vec<u16> =
                known.keys().filter(|port| !after.contains_key(port)).copied().collect();
            let mut removed = removed;
            removed.sort_unstable();
            prop_assert_eq!(removed, gone);
            let new = after.keys().filter(|port| !known.contains_key(port)).count();
            prop_assert_eq!(added, new);
            known = after;
        }
    }
}
