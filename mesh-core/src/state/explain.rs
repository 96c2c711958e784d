//! What [`crate::explain`] needs to see of a snapshot: the targets of one route.

use super::snapshot::TargetSlot;
use super::{Attach, Snapshot, Target};
use crate::router::CompiledRoute;
use std::sync::Arc;

impl<A: Attach> Snapshot<A> {
    /// The target that a call gets on `route` when `cluster` is chosen, by the part `split` of its
    /// split if it has one. Looks through all targets.
    pub(crate) fn target_of(
        &self,
        route: &Arc<CompiledRoute>,
        cluster: &str,
        split: Option<usize>,
    ) -> Option<&Arc<Target<A>>> {
        let found = self.router.targets().find(|target| {
            Arc::ptr_eq(target.route, route)
                && target.split == split
                && target.cluster.is_some_and(|name| **name == *cluster)
        })?;
        match self.targets.get(found.id as usize)? {
            TargetSlot::Forward(target) => Some(target),
            TargetSlot::Reply(_) | TargetSlot::UnknownCluster => None,
        }
    }
}
