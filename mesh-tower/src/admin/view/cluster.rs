//! [`ClusterView`]: a cluster with its endpoints and limits.

use super::EndpointView;
use crate::clock;
use crate::net::Net;
use mesh_core::Timestamp;
use mesh_core::breaker::Resource;
use mesh_core::lb::Balancer;
use mesh_core::model::{Cluster, Discovery, RoutingPriority};
use mesh_core::outcome::NoEndpoint;
use mesh_core::state::{LiveCluster, Picker, Snapshot};
use std::sync::Arc;

/// A cluster at one moment.
#[derive(Clone, Debug)]
pub(in crate::admin) struct ClusterView {
    pub(in crate::admin) model: Arc<Cluster>,
    /// In the order of the configuration; `None`: not known yet.
    pub(in crate::admin) endpoints: Option<Vec<EndpointView>>,
    pub(in crate::admin) counts: NoEndpoint,
    /// The priorities in panic.
    pub(in crate::admin) panic: Vec<u32>,
    /// Of the default priority, then of the high one.
    pub(in crate::admin) breakers: [BreakerView; 2],
    /// Attempts in flight.
    pub(in crate::admin) active: u64,
    /// Why its names lead nowhere.
    pub(in crate::admin) unresolved: Option<String>,
}

/// The limits of one routing priority, and what of them is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) struct BreakerView {
    pub(in crate::admin) name: &'static str,
    /// In the order of [`Resource::ALL`].
    pub(in crate::admin) limits: [LimitView; Resource::ALL.len()],
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) struct LimitView {
    /// The field that sets it.
    pub(in crate::admin) name: &'static str,
    pub(in crate::admin) in_use: u32,
    /// `u32::MAX`: none.
    pub(in crate::admin) limit: u32,
    /// How often it has refused.
    pub(in crate::admin) refused: u64,
}

/// All clusters, by name.
pub(in crate::admin) fn clusters(snapshot: &Snapshot<Net>) -> Vec<ClusterView> {
    let now = clock::now();
    snapshot.clusters().map(|cluster| ClusterView::of(cluster, now)).collect()
}

impl ClusterView {
    fn of(live: &LiveCluster<Net>, now: Timestamp) -> Self {
        let picker = live.picker();
        let balancer = picker.balancer();
        let priorities = balancer.map(Balancer::priorities).unwrap_or_default().iter();
        let unresolved = live.attached().unresolved();
        Self {
            model: Arc::clone(&live.policy().cluster),
            endpoints: balancer.map(|_| endpoints(&picker, now)),
            counts: balancer.map(Balancer::counts).unwrap_or_default(),
            panic: priorities.filter(|state| state.panic).map(|state| state.priority).collect(),
            breakers: [RoutingPriority::Default, RoutingPriority::High]
                .map(|priority| breaker(live, priority)),
            active: live.active(),
            unresolved: unresolved.map(|why| why.to_string()),
        }
    }

    pub(in crate::admin) fn name(&self) -> &str {
        &self.model.name
    }

    /// Where its endpoints come from.
    pub(in crate::admin) fn discovery(&self) -> &'static str {
        match &self.model.discovery {
            Discovery::Static => "static",
            Discovery::StrictDns(_) => "strict_dns",
            Discovery::LogicalDns(_) => "logical_dns",
            Discovery::Aggregate(_) => "aggregate",
            _ => "other",
        }
    }

    /// The clusters that it stands for.
    pub(in crate::admin) fn children(&self) -> &[Arc<str>] {
        match &self.model.discovery {
            Discovery::Aggregate(children) => children,
            _ => &[],
        }
    }

    /// How an endpoint is chosen.
    pub(in crate::admin) fn algorithm(&self) -> &str {
        self.model.lb_policy.algorithm.name()
    }
}

fn endpoints(picker: &Picker<Net>, now: Timestamp) -> Vec<EndpointView> {
    let set = picker.set();
    let configured = set.assignment().localities.iter();
    let configured = configured
        .flat_map(|locality| locality.endpoints.iter().map(move |endpoint| (locality, endpoint)));
    let endpoints = set.endpoints().zip(configured);
    endpoints
        .map(|(live, (place, endpoint))| EndpointView::of(live, endpoint, place, now))
        .collect()
}

fn breaker(live: &LiveCluster<Net>, priority: RoutingPriority) -> BreakerView {
    let breaker = live.breaker();
    let limits = Resource::ALL.map(|resource| LimitView {
        name: mesh_core::outcome::Overflow::from(resource).limit(),
        in_use: breaker.active(priority, resource),
        limit: breaker.limit(priority, resource),
        refused: breaker.overflows(priority, resource),
    });
    let name = match priority {
        RoutingPriority::Default => "default",
        RoutingPriority::High => "high",
    };
    BreakerView { name, limits }
}
