//! [`SplitView`]: what a split is to be, and what became of it.

use crate::net::Net;
use mesh_core::model::{ClusterSpecifier, RouteAction, Split, SplitCluster};
use mesh_core::router::CompiledRoute;
use mesh_core::state::{Snapshot, Target};
use std::sync::Arc;

/// The split of one route.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::admin) struct SplitView {
    pub(in crate::admin) virtual_host: Arc<str>,
    pub(in crate::admin) route: Arc<str>,
    pub(in crate::admin) parts: Vec<PartView>,
}

/// One cluster of a split.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::admin) struct PartView {
    pub(in crate::admin) cluster: Arc<str>,
    /// Whether the configuration has the cluster; calls that are drawn for another are refused.
    pub(in crate::admin) known: bool,
    /// The share that is configured, from 0 to 1.
    pub(in crate::admin) configured: f64,
    /// Calls by this route to this cluster, for as long as the configuration has had them.
    pub(in crate::admin) calls: u64,
    /// Their share of the split's calls, from 0 to 1; `None`: there were no calls.
    pub(in crate::admin) achieved: Option<f64>,
}

/// All splits, in the order of the configuration.
pub(in crate::admin) fn splits(snapshot: &Snapshot<Net>) -> Vec<SplitView> {
    let mut splits = Vec::new();
    let mut targets = snapshot.targets().filter(|target| target.split().is_some()).peekable();
    while let Some(first) = targets.next() {
        let mut parts = vec![first];
        while let Some(next) = targets.next_if(|next| Arc::ptr_eq(next.route(), first.route())) {
            parts.push(next);
        }
        splits.extend(split(first.route(), &parts));
    }
    splits
}

fn split(route: &CompiledRoute, targets: &[&Arc<Target<Net>>]) -> Option<SplitView> {
    let split = model(route)?;
    let calls = |place| {
        let target = targets.iter().find(|target| target.split() == Some(place));
        target.map(|target| target.attached().calls())
    };
    let calls: Vec<Option<u64>> = (0..split.clusters.len()).map(calls).collect();
    let all: u64 = calls.iter().flatten().sum();
    let weights: u64 = split.clusters.iter().map(|part| u64::from(part.weight)).sum();
    let part =
        |(SplitCluster { cluster, weight, .. }, calls): (&SplitCluster, &Option<u64>)| PartView {
            cluster: Arc::clone(cluster),
            known: calls.is_some(),
            configured: share(u64::from(*weight), weights).unwrap_or_default(),
            calls: calls.unwrap_or_default(),
            achieved: share(calls.unwrap_or_default(), all),
        };
    Some(SplitView {
        virtual_host: Arc::clone(route.virtual_host()),
        route: Arc::clone(route.name()),
        parts: split.clusters.iter().zip(&calls).map(part).collect(),
    })
}

fn model(route: &CompiledRoute) -> Option<&Split> {
    match &route.model().action {
        RouteAction::Forward(action) => match &action.cluster {
            ClusterSpecifier::Split(split) => Some(split),
            _ => None,
        },
        _ => None,
    }
}

/// `part` of `all`; `None`: there is nothing.
#[expect(clippy::cast_precision_loss, reason = "a share for people: 53 bits are enough")]
fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}
