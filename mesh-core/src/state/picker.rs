//! [`Picker`]: everything that one attempt's choice of endpoint reads, in one immutable value.

use super::updater::Entry;
use super::{Attach, EndpointSet, LiveCluster, LiveEndpoint};
use crate::lb::failover::{Arithmetic, Capacity};
use crate::lb::{Balancer, EndpointId, PickContext, PickResult, drop_overload};
use crate::model::Discovery;
use crate::outcome::NoEndpoint;
use crate::random::Random;
use crate::time::Timestamp;
use std::sync::Arc;

/// The endpoints of a cluster and how one is chosen.
#[derive(Debug)]
pub struct Picker<A: Attach> {
    pub(super) set: Arc<EndpointSet<A>>,
    pub(super) balancer: Option<Balancer>,
    /// No other picker comes.
    pub(super) is_final: bool,
    /// Whether attempts are dropped or go to children: all that those pay for it that do neither.
    is_special: bool,
}

/// What a pick gave.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "closed: whoever picks must act on each")]
pub enum Picked<'a, A: Attach> {
    /// This endpoint, at this index of the set.
    Endpoint(u32, &'a Arc<LiveEndpoint<A>>),
    /// The endpoints are not known yet: wait for the next picker, within the call's deadline.
    Wait,
    /// Nobody can be picked; waiting for the next picker may help.
    Fail(NoEndpoint),
    /// Nobody can be picked, and no other picker comes: the cluster is not configured any more, or
    /// whoever wrote the mesh has ended.
    Gone(NoEndpoint),
}

impl<A: Attach> Picker<A> {
    pub(super) fn new(
        set: Arc<EndpointSet<A>>,
        balancer: Option<Balancer>,
        is_final: bool,
    ) -> Self {
        let is_special = !set.assignment.drop_overloads.is_empty();
        Self { set, balancer, is_final, is_special }
    }

    /// The picker of a cluster as the writer sees it.
    pub(super) fn of(entry: &Entry<A>, is_final: bool) -> Self {
        let mut picker = Self::new(Arc::clone(&entry.set), entry.balancer.clone(), is_final);
        let discovery = &entry.update.cluster.discovery;
        picker.is_special |= matches!(discovery, Discovery::Aggregate(_));
        picker
    }

    /// The picker of a cluster whose endpoints are not known yet.
    pub(super) fn unknown() -> Self {
        Self::new(Arc::new(EndpointSet::empty()), None, false)
    }

    /// The picker of a cluster that is gone: nobody can be picked, and nothing will change that.
    pub(super) fn gone() -> Self {
        Self { is_final: true, ..Self::unknown() }
    }

    /// The endpoints.
    #[must_use]
    pub const fn set(&self) -> &Arc<EndpointSet<A>> {
        &self.set
    }

    /// How one is chosen; `None`: the endpoints are not known yet.
    #[must_use]
    pub const fn balancer(&self) -> Option<&Balancer> {
        self.balancer.as_ref()
    }

    /// Draws whether an attempt is dropped, and gives the category that drops it (gRFC A27). Once for
    /// each attempt, retries included, before a place in the circuit breaker is taken.
    #[inline]
    pub fn dropped<R: Random>(&self, random: &mut R) -> Option<&Arc<str>> {
        if !self.is_special {
            return None;
        }
        drop_overload::drawn(&self.set.assignment.drop_overloads, random)
    }

    /// Whether any attempts are dropped, or the cluster is an aggregate, whose children are picked from
    /// ([`Target::pick_child`](super::Target::pick_child)).
    #[must_use]
    pub const fn is_special(&self) -> bool {
        self.is_special
    }

    /// What its endpoints can carry; those that are not known yet, nothing.
    pub(super) fn capacity(&self) -> Capacity {
        self.balancer.as_ref().map(Balancer::capacity).unwrap_or_default()
    }

    /// How many endpoints there are of each kind.
    pub(super) fn counts(&self) -> NoEndpoint {
        self.balancer.as_ref().map(Balancer::counts).unwrap_or_default()
    }

    /// Chooses an endpoint for one attempt of a call to an aggregate, of which `cluster` is a child, and
    /// says whether it is worth trying; `None`: nobody can be picked.
    pub(super) fn pick_as_child<R: Random>(
        &self,
        cluster: &LiveCluster<A>,
        arithmetic: Arithmetic,
        request: PickRequest<'_>,
        random: R,
    ) -> Option<(u32, bool)> {
        let balancer = self.balancer.as_ref()?;
        let mut cx = Self::context(cluster, request, random);
        let picked = match arithmetic {
            Arithmetic::Own => balancer.pick(&mut cx, &*self.set),
            Arithmetic::Calm(calm) => balancer.pick_calm(calm, &mut cx, &*self.set),
        };
        let PickResult::Endpoint(index) = picked else { return None };
        let endpoint = self.set.endpoint(index)?;
        let is_fresh = Balancer::is_fresh(index, &cx, &*self.set) && endpoint.may_try(request.now);
        Some((index, is_fresh))
    }

    #[inline]
    fn context<'a, R>(
        cluster: &'a LiveCluster<A>,
        request: PickRequest<'a>,
        random: R,
    ) -> PickContext<'a, R> {
        PickContext {
            now: request.now,
            random,
            hash: request.hash,
            previous: request.previous,
            max_reselect: request.max_reselect,
            total_active: cluster.active(),
            sequence: cluster.sequence(),
        }
    }

    /// Chooses an endpoint for one attempt of a call to `cluster`.
    pub fn pick<R: Random>(
        &self,
        cluster: &LiveCluster<A>,
        request: PickRequest<'_>,
        random: R,
    ) -> Picked<'_, A> {
        let Some(balancer) = &self.balancer else {
            return if self.is_final { Picked::Gone(NoEndpoint::default()) } else { Picked::Wait };
        };
        let mut cx = Self::context(cluster, request, random);
        if let PickResult::Endpoint(index) = balancer.pick(&mut cx, &*self.set)
            && let Some(endpoint) = self.set.endpoint(index)
            && endpoint.may_try(request.now)
        {
            return Picked::Endpoint(index, endpoint);
        }
        self.pick_again(balancer, &mut cx)
    }

    /// The choice once more, when it was nobody, or somebody whom another call is trying just now: that
    /// one is passed over again; or all are passed over, and then one is as good as another.
    #[cold]
    #[inline(never)]
    fn pick_again<R: Random>(
        &self,
        balancer: &Balancer,
        cx: &mut PickContext<'_, R>,
    ) -> Picked<'_, A> {
        match balancer.pick(cx, &*self.set) {
            PickResult::Endpoint(index) => match self.set.endpoint(index) {
                Some(endpoint) => Picked::Endpoint(index, endpoint),
                None => Picked::Fail(balancer.counts()),
            },
            PickResult::Fail(counts) if self.is_final => Picked::Gone(counts),
            PickResult::Fail(counts) => Picked::Fail(counts),
        }
    }
}

/// What an attempt brings to the choice of its endpoint.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by every adapter; a new field is to be thought of by each"
)]
pub struct PickRequest<'a> {
    /// The time.
    pub now: Timestamp,
    /// The request's hash, for consistent hashing.
    pub hash: Option<u64>,
    /// The endpoints that this call has tried.
    pub previous: &'a [EndpointId],
    /// How often the choice is repeated to find one not tried.
    pub max_reselect: u32,
}
