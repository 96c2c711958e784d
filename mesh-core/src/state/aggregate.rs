//! Which child of an aggregate serves an attempt, and which endpoint of it.
//!
//! An aggregate has no endpoints: an attempt goes to one of its children (gRFC A37, A75; Envoy:
//! `envoy.clusters.aggregate`), and from then on belongs to that: its circuit breakers, drops, ejections,
//! connections, metrics and load reports are the child's, the same ones that a route directly to the child
//! has. What belongs to the call as a whole stays with the aggregate: the retry budget, the limit of
//! retries, waiting for an endpoint.
//!
//! 1. How much of the calls each child takes is Envoy's arithmetic over the children's priorities, one below
//!    the other: see [`crate::lb::failover`]. A request with a hash is placed by it, so it keeps its child.
//! 2. The child's own policy picks. If that is somebody worth trying, all is decided.
//! 3. Else (this call has tried all of it, or nobody can be connected to: gRPC's TRANSIENT_FAILURE) the other
//!    children are asked, the earlier ones first, for somebody healthy who is worth trying.
//! 4. Else the first choice stands: a suspect is better than nobody.
//!
//! So a child whose endpoints died is left by the next attempt, a retry too, and is tried again by one call
//! at a time, as every suspect is. A child whose endpoints are not known yet takes nothing; it is waited for
//! only when no other child serves (Envoy: a child without hosts is left out. gRFC A56 would wait 10 s).
//!
//! A child that drops an attempt or whose circuit breaker is full ends it: that is load, and to move it would
//! take the next child down too (gRFC A32; Envoy).

use super::{Attach, PickRequest, Picker, Target};
use crate::lb::Balancer;
use crate::lb::failover::{Arithmetic, Calm, Capacity, choose, parts};
use crate::outcome::NoEndpoint;
use crate::random::Random;
use std::sync::Arc;

/// What a pick among the children of an aggregate gave.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "closed: whoever picks must act on each")]
pub enum PickedChild<A: Attach> {
    /// This endpoint of this child.
    Endpoint(PickedIn<A>),
    /// Nobody yet, and the endpoints of some child are not known: wait for its next picker, within the
    /// call's deadline.
    Wait,
    /// Nobody can be picked, of all the children's endpoints; waiting for the next picker may help.
    Fail(NoEndpoint),
    /// Nobody can be picked, and no other picker comes.
    Gone(NoEndpoint),
}

/// An endpoint of a child.
#[derive(Debug)]
#[non_exhaustive]
pub struct PickedIn<A: Attach> {
    /// The route to the child: the attempt belongs to it.
    pub target: Arc<Target<A>>,
    /// The child's picker.
    pub picker: Arc<Picker<A>>,
    /// The endpoint's index in the picker's set.
    pub index: u32,
}

/// What a child gets of an aggregate's calls.
#[derive(Clone, Debug)]
pub(crate) struct ChildShare {
    /// From 0 to 1.
    pub(crate) share: f64,
    /// The same by endpoint; `None`: they are not known, or only a custom policy knows.
    pub(crate) odds: Option<Vec<f64>>,
    pub(crate) capacity: Capacity,
}

impl<A: Attach> Target<A> {
    /// Chooses a child of the aggregate and an endpoint of it for one attempt. Takes no lock and allocates
    /// nothing. Without [`children`](Self::children) nobody is found.
    pub fn pick_child<R: Random>(&self, request: PickRequest<'_>, mut random: R) -> PickedChild<A> {
        let draw = request.hash.unwrap_or_else(|| random.next_u64());
        let capacities = self.children.iter().map(|child| child.cluster.picker().capacity());
        let first = choose(capacities, draw);
        let mut stale = None;
        if let Some((at, arithmetic)) = first {
            match self.pick_in(at, arithmetic, request, &mut random) {
                Some((picked, true)) => return PickedChild::Endpoint(picked),
                Some((picked, false)) => stale = Some(picked),
                None => {}
            }
        }
        self.pick_other(first.map(|(at, _)| at), stale, request, random)
    }

    /// The pick when the child that was chosen has nobody worth trying, or no child has capacity.
    #[cold]
    fn pick_other<R: Random>(
        &self,
        asked: Option<usize>,
        mut stale: Option<PickedIn<A>>,
        request: PickRequest<'_>,
        mut random: R,
    ) -> PickedChild<A> {
        for at in (0..self.children.len()).filter(|at| Some(*at) != asked) {
            let capacity = self.children[at].cluster.picker().capacity();
            // Without capacity anywhere, the first child that finds somebody by its own rules: panic.
            let arithmetic = match (Calm::all(capacity), asked) {
                (Some(calm), _) => Arithmetic::Calm(calm),
                (None, None) => Arithmetic::Own,
                (None, Some(_)) => continue,
            };
            match self.pick_in(at, arithmetic, request, &mut random) {
                Some((picked, true)) => return PickedChild::Endpoint(picked),
                Some((picked, false)) => stale = stale.or(Some(picked)),
                None => {}
            }
        }
        stale.map_or_else(|| self.nobody(), PickedChild::Endpoint)
    }

    /// An endpoint of the child `at`, and whether it is worth trying.
    fn pick_in<R: Random>(
        &self,
        at: usize,
        arithmetic: Arithmetic,
        request: PickRequest<'_>,
        random: R,
    ) -> Option<(PickedIn<A>, bool)> {
        let target = &self.children[at];
        let picker = target.cluster.picker();
        let picked = picker.pick_as_child(&target.cluster, arithmetic, request, random);
        let (index, is_fresh) = picked?;
        let (target, picker) = (Arc::clone(target), Arc::clone(&picker));
        Some((PickedIn { target, picker, index }, is_fresh))
    }

    /// What each child gets of the calls, as things stand, to explain them to whoever asks.
    pub(crate) fn child_shares(&self) -> Vec<ChildShare> {
        let pickers: Vec<_> = self.children.iter().map(|child| child.cluster.picker()).collect();
        let capacities: Vec<_> = pickers.iter().map(|picker| picker.capacity()).collect();
        let mut parts = parts(&capacities);
        if parts.iter().all(Vec::is_empty) {
            let serves = |picker: &Picker<A>| {
                let states = picker.balancer().map(Balancer::priorities).unwrap_or_default();
                states.iter().any(|state| state.load + state.degraded_load > 0)
            };
            if let Some(first) = pickers.iter().position(|picker| serves(picker)) {
                parts[first].push((Arithmetic::Own, 100.0));
            }
        }
        let shares = pickers.iter().zip(&parts).zip(capacities);
        let shares = shares.map(|((picker, parts), capacity)| ChildShare {
            share: parts.iter().map(|(_, percent)| percent / 100.0).sum(),
            odds: picker.balancer().and_then(|balancer| balancer.odds_as_child(parts)),
            capacity,
        });
        shares.collect()
    }

    fn nobody(&self) -> PickedChild<A> {
        let (mut counts, mut is_unknown, mut is_final) = (NoEndpoint::default(), false, true);
        for child in &self.children {
            let picker = child.cluster.picker();
            counts = counts.and(picker.counts());
            is_unknown |= picker.balancer.is_none() && !picker.is_final;
            is_final &= picker.is_final;
        }
        match (is_final, is_unknown) {
            (true, _) => PickedChild::Gone(counts),
            (false, true) => PickedChild::Wait,
            (false, false) => PickedChild::Fail(counts),
        }
    }
}
