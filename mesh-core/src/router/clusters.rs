//! Cluster names become slots here, when a router is built, and never on the way of a call.
//!
//! A pair of a route and a cluster is a *target*. Targets are numbered from 0 without a gap, so that
//! whoever hangs something on them (metrics) uses an array. A name without a slot makes a target as
//! well: its calls answer [`RouteError::UnknownCluster`](super::RouteError::UnknownCluster).

use super::compile::Scope;
use super::split::CompiledSplit;
use crate::head::RequestHead;
use crate::model::ClusterSpecifier;
use crate::random::Random;
use hashbrown::HashMap;
use http::{HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The clusters of a configuration: the slot of each name.
pub trait ClusterSlots {
    /// The slot of the cluster called `name`.
    fn slot(&self, name: &str) -> Option<u32>;

    /// Every name with its slot, in any order.
    fn all(&self) -> impl Iterator<Item = (&Arc<str>, u32)>;
}

impl ClusterSlots for BTreeMap<Arc<str>, u32> {
    fn slot(&self, name: &str) -> Option<u32> {
        self.get(name).copied()
    }

    fn all(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.iter().map(|(name, slot)| (name, *slot))
    }
}

/// A cluster that a route names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedCluster {
    pub(super) name: Arc<str>,
    pub(super) slot: Option<u32>,
}

/// Every cluster, for routes that take the name from a request.
#[derive(Clone, Debug, Default)]
pub(super) struct ClusterTable {
    /// By name, in the order of names.
    pub(super) clusters: Box<[NamedCluster]>,
    index: HashMap<Arc<str>, u32>,
}

impl ClusterTable {
    pub(super) fn new(slots: &impl ClusterSlots) -> Self {
        let all =
            slots.all().map(|(name, slot)| NamedCluster { name: name.clone(), slot: Some(slot) });
        let mut clusters: Vec<_> = all.collect();
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        let index = clusters.iter().map(|cluster| cluster.name.clone()).zip(0..).collect();
        Self { clusters: clusters.into(), index }
    }
}

/// The clusters of one route.
#[derive(Clone, Debug)]
pub(super) struct RouteClusters {
    choice: Choice,
    /// The number of the route's first target, counted within its virtual host.
    first: u32,
}

#[derive(Clone, Debug)]
enum Choice {
    One(NamedCluster),
    /// Targets in the order of the split's parts, with and without weight.
    Split(CompiledSplit, Box<[NamedCluster]>),
    Header(HeaderName, Arc<ClusterTable>),
}

/// What was chosen for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The target's number within its virtual host.
    pub(super) target: u32,
    pub(super) slot: Option<u32>,
    pub(super) split: Option<usize>,
}

impl RouteClusters {
    /// `first` is the number of targets that the virtual host has so far; `table` is asked for only
    /// by a route that takes the name from a header.
    pub(super) fn compile(
        specifier: &ClusterSpecifier,
        first: u32,
        slots: &impl ClusterSlots,
        table: impl FnOnce() -> Arc<ClusterTable>,
        scope: &mut Scope<'_>,
    ) -> Option<Self> {
        let named = |name: &Arc<str>| NamedCluster { name: name.clone(), slot: slots.slot(name) };
        let choice = match specifier {
            ClusterSpecifier::Cluster(name) => Choice::One(named(name)),
            ClusterSpecifier::Split(split) => {
                let parts = split.clusters.iter().map(|part| named(&part.cluster)).collect();
                Choice::Split(CompiledSplit::compile(split, scope)?, parts)
            }
            ClusterSpecifier::Header(name) => Choice::Header(name.clone(), table()),
        };
        Some(Self { choice, first })
    }

    /// Chooses for a call; `None` when the request names no cluster. Cookies that the choice makes are
    /// added to `set_cookies`.
    #[inline]
    pub(super) fn choose(
        &self,
        head: &RequestHead<'_>,
        set_cookies: &mut Vec<HeaderValue>,
        random: &mut impl Random,
    ) -> Option<Chosen> {
        let (at, slot, split) = match &self.choice {
            Choice::One(cluster) => (0, cluster.slot, None),
            Choice::Split(split, parts) => {
                let at = split.draw(head, set_cookies, random);
                (at as u32, parts.get(at).and_then(|part| part.slot), Some(at))
            }
            Choice::Header(name, table) => {
                let name = head.headers.get(name)?.to_str().ok();
                let at = name.and_then(|name| table.index.get(name).copied());
                let slot = at.and_then(|at| table.clusters[at as usize].slot);
                (at.unwrap_or(0), slot, None)
            }
        };
        Some(Chosen { target: self.first + at, slot, split })
    }

    /// The clusters in the order of their targets.
    pub(super) fn targets(&self) -> &[NamedCluster] {
        match &self.choice {
            Choice::One(cluster) => std::slice::from_ref(cluster),
            Choice::Split(_, parts) => parts,
            Choice::Header(_, table) => &table.clusters,
        }
    }

    pub(super) const fn split(&self) -> Option<&CompiledSplit> {
        match &self.choice {
            Choice::Split(split, _) => Some(split),
            Choice::One(_) | Choice::Header(..) => None,
        }
    }

    pub(super) const fn header(&self) -> Option<&HeaderName> {
        match &self.choice {
            Choice::Header(name, _) => Some(name),
            Choice::One(_) | Choice::Split(..) => None,
        }
    }

    /// Whether `slots` still gives every cluster the slot it has here.
    pub(super) fn still_hold(&self, slots: &impl ClusterSlots) -> bool {
        let targets = self.targets();
        targets.iter().all(|cluster| slots.slot(&cluster.name) == cluster.slot)
            && (self.header().is_none() || slots.all().count() == targets.len())
    }
}
