//! [`ClusterReport`]: a cluster as one request would find it.

use crate::head::RequestHead;
use crate::lb::Balancer;
use crate::lb::failover::Capacity;
use crate::model::{Address, Cluster, DropOverload, HealthStatus, Locality, TlsPolicy};
use crate::outcome::NoEndpoint;
use crate::router::OnlyCertain;
use crate::state::{Attach, ChildShare, PickRequest, Picked, Picker, Target};
use crate::time::Timestamp;
use std::sync::Arc;

/// A cluster as one request would find it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterReport {
    /// Its configuration.
    pub cluster: Arc<Cluster>,
    /// Its endpoints in the order of the configuration; `None`: not known yet, they are resolved at
    /// run time ([`Cluster::discovery`] says how).
    pub endpoints: Option<Vec<EndpointReport>>,
    /// How many endpoints there are of each kind.
    pub counts: NoEndpoint,
    /// The priorities in panic: too few of their endpoints are healthy, so all of them take calls.
    pub panic: Vec<u32>,
    /// Shares of attempts that are dropped before anybody is picked, each of what earlier ones leave.
    pub drop_overloads: Vec<DropOverload>,
    /// For consistent hashing: where this request goes, while membership stands.
    pub hash: Option<HashPick>,
    /// The clusters that an aggregate stands for, in order; those that are not there are left out.
    pub children: Vec<ChildReport>,
}

/// A child of an aggregate cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildReport {
    /// What it gets of the aggregate's calls, from 0 to 1 ([`failover`](crate::lb::failover)), while
    /// connections can be made.
    pub share: f64,
    /// Why: what its endpoints can carry.
    pub capacity: Capacity,
    /// The child; the [`odds`](EndpointReport::odds) of its endpoints are shares of the aggregate's
    /// calls.
    pub cluster: ClusterReport,
}

/// An endpoint and its share.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EndpointReport {
    /// Its address.
    pub address: Address,
    /// Its expected share of the cluster's calls, from 0 to 1 ([`Balancer::odds`]); `None`: only a
    /// custom policy knows.
    pub odds: Option<f64>,
    /// Its weight among its neighbours.
    pub weight: u32,
    /// What the configuration says of its health.
    pub health: HealthStatus,
    /// Its priority; 0 is the highest.
    pub priority: u32,
    /// Where it is.
    pub locality: Locality,
    /// Its name.
    pub hostname: Option<Arc<str>>,
    /// Whether it is ejected.
    pub ejected: bool,
    /// How connections to it are secured.
    pub tls: TlsPolicy,
    /// The name of the match that says so; `None`: the cluster says it for all
    /// ([`Cluster::tls_matches`]).
    pub tls_match: Option<Arc<str>>,
}

/// What consistent hashing makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HashPick {
    /// The request's hash; `None`: it carries nothing to hash by, so the pick is random.
    pub hash: Option<u64>,
    /// The endpoint that the hash falls on.
    pub endpoint: Option<Address>,
}

impl ClusterReport {
    pub(super) fn of<A: Attach>(target: &Target<A>, head: &RequestHead<'_>) -> Self {
        let live = target.cluster();
        let picker = live.picker();
        let balancer = picker.balancer();
        let panic = balancer.map(Balancer::priorities).unwrap_or_default().iter();
        Self {
            cluster: Arc::clone(&live.policy().cluster),
            endpoints: balancer.map(|balancer| {
                endpoints(&live.policy().cluster, &picker, balancer.odds().as_deref())
            }),
            counts: balancer.map(Balancer::counts).unwrap_or_default(),
            drop_overloads: picker.set().assignment().drop_overloads.clone(),
            panic: panic.filter(|state| state.panic).map(|state| state.priority).collect(),
            hash: balancer.filter(|b| b.uses_hash()).map(|_| hash_pick(target, &picker, head)),
            children: children(target, head),
        }
    }
}

fn children<A: Attach>(target: &Target<A>, head: &RequestHead<'_>) -> Vec<ChildReport> {
    let children = target.children().iter().zip(target.child_shares());
    let reports = children.map(|(child, ChildShare { share, odds, capacity })| {
        let mut cluster = ClusterReport::of(child, head);
        let endpoints = cluster.endpoints.iter_mut().flatten();
        for (index, endpoint) in endpoints.enumerate() {
            endpoint.odds = odds.as_ref().and_then(|odds| odds.get(index).copied());
        }
        ChildReport { share, capacity, cluster }
    });
    reports.collect()
}

fn endpoints<A: Attach>(
    cluster: &Cluster,
    picker: &Picker<A>,
    odds: Option<&[f64]>,
) -> Vec<EndpointReport> {
    let live = picker.set().endpoints();
    let localities = picker.set().assignment().localities.iter();
    let configured = localities
        .flat_map(|locality| locality.endpoints.iter().map(move |endpoint| (locality, endpoint)));
    let reports = configured.zip(live).enumerate().map(|(index, ((locality, endpoint), live))| {
        let by = cluster.tls_match(locality, endpoint);
        EndpointReport {
            address: endpoint.address.clone(),
            odds: odds.and_then(|odds| odds.get(index).copied()),
            weight: endpoint.weight,
            health: endpoint.health,
            priority: locality.priority,
            locality: locality.locality.clone(),
            hostname: endpoint.hostname.clone(),
            ejected: live.monitor().is_ejected(),
            tls: by.map_or(&cluster.tls, |by| &by.tls).clone(),
            tls_match: by.map(|by| Arc::clone(&by.name)),
        }
    });
    reports.collect()
}

fn hash_pick<A: Attach>(
    target: &Target<A>,
    picker: &Picker<A>,
    head: &RequestHead<'_>,
) -> HashPick {
    // A cookie that would be made is random: no hash of this request.
    let route = &target.forward().hash_policy;
    let policy = target.cluster().policy();
    let inputs = policy.inputs(route);
    let Some(hash) = inputs.hash(head) else { return HashPick { hash: None, endpoint: None } };
    let request =
        PickRequest { now: Timestamp::ZERO, hash: Some(hash), previous: &[], max_reselect: 0 };
    let endpoint = match picker.pick(target.cluster(), request, OnlyCertain) {
        Picked::Endpoint(_, endpoint) => Some(endpoint.address().clone()),
        Picked::Wait | Picked::Fail(_) | Picked::Gone(_) => None,
    };
    HashPick { hash: Some(hash), endpoint }
}
