//! [`Securities`]: how the endpoints of two assignments are secured, as numbers.
//!
//! An endpoint's key is its address and how its connections are secured. Policies are large and comparing them
//! per endpoint would take long, and which match of its cluster an endpoint has says nothing: matches are
//! put in another order, and two may say the same. So the policies of the cluster before and after are
//! numbered once, equal ones alike.

use crate::model::{Cluster, Endpoint, LocalityEndpoints, TlsLabels, TlsPolicy};

/// How endpoints are secured before and after a change. The default: all alike, in plaintext.
#[derive(Debug, Default)]
pub(super) struct Securities<'c> {
    /// By their numbers; no two are equal.
    policies: Vec<&'c TlsPolicy>,
    old: Side<'c>,
    new: Side<'c>,
    /// Both clusters say the same: equal labels are secured alike.
    is_same: bool,
}

/// One of the clusters.
#[derive(Debug, Default)]
struct Side<'c> {
    /// `None`: it secures all endpoints alike.
    chooses: Option<&'c Cluster>,
    /// The number of its own policy, then of those of its matches.
    numbers: Vec<u32>,
}

static PLAINTEXT: TlsPolicy = TlsPolicy::Off;

impl<'c> Securities<'c> {
    /// The cluster of before and the one after.
    pub(super) fn between(old: &'c Cluster, new: &'c Cluster) -> Self {
        let mut policies = Vec::new();
        let old_side = Side::new(old, &mut policies);
        let new_side = Side::new(new, &mut policies);
        let is_same =
            std::ptr::eq(old, new) || (old.tls == new.tls && old.tls_matches == new.tls_matches);
        Self { policies, old: old_side, new: new_side, is_same }
    }

    /// Whether both clusters say the same.
    pub(super) fn are_same(&self) -> bool {
        // The default has no cluster, and says nothing of any.
        self.is_same || self.policies.is_empty()
    }

    /// The number of how an endpoint of before is secured.
    pub(super) fn of_old(&self, locality: &LocalityEndpoints, endpoint: &Endpoint) -> u32 {
        self.old.number(locality.tls_labels.as_deref(), endpoint)
    }

    /// The number of how an endpoint from now on is secured.
    pub(super) fn of_new(&self, locality: &LocalityEndpoints, endpoint: &Endpoint) -> u32 {
        self.new.number(locality.tls_labels.as_deref(), endpoint)
    }

    /// Whether an endpoint before and one after, with the labels of their localities, are secured alike.
    pub(super) fn are_alike(
        &self,
        (old_place, old): (Option<&TlsLabels>, &Endpoint),
        (new_place, new): (Option<&TlsLabels>, &Endpoint),
    ) -> bool {
        if self.are_same() && self.new.chooses.is_none() {
            return true;
        }
        self.old.number(old_place, old) == self.new.number(new_place, new)
    }

    /// The policy of a number.
    pub(super) fn policy(&self, number: u32) -> &'c TlsPolicy {
        self.policies.get(number as usize).copied().unwrap_or(&PLAINTEXT)
    }
}

impl<'c> Side<'c> {
    fn new(cluster: &'c Cluster, policies: &mut Vec<&'c TlsPolicy>) -> Self {
        let number = |policy: &'c TlsPolicy| {
            let known = policies.iter().position(|known| *known == policy);
            let at = known.unwrap_or_else(|| {
                policies.push(policy);
                policies.len() - 1
            });
            u32::try_from(at).unwrap_or(u32::MAX)
        };
        let numbers = cluster.tls_policies().map(number).collect();
        Self { chooses: Some(cluster).filter(|cluster| !cluster.tls_matches.is_empty()), numbers }
    }

    fn number(&self, locality: Option<&TlsLabels>, endpoint: &Endpoint) -> u32 {
        let found = self
            .chooses
            .and_then(|cluster| cluster.tls_match_at(locality, endpoint.tls_labels.as_deref()));
        // The first number is the cluster's own.
        self.numbers.get(found.map_or(0, |at| at + 1)).copied().unwrap_or_default()
    }
}
