//! Calls of the mesh's own to a cluster by its name: filters ask authorizers, and fetch keys.
//!
//! They go the way of all calls from the choice of the cluster on: its breaker, its endpoints, its
//! connections. No route of the configuration says anything about them.

use super::publish::children;
use super::{Attach, LiveCluster, Snapshot, Target};
use crate::model::{
    ClusterSpecifier, Discovery, Domain, ForwardAction, Route, RouteConfiguration, VirtualHost,
};
use crate::router::{CompiledForward, CompiledRoute, Router};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The route of such calls: one attempt, and no timeout but the call's own.
#[derive(Clone, Debug)]
pub struct DirectRoute {
    route: Arc<CompiledRoute>,
    forward: Arc<CompiledForward>,
}

impl DirectRoute {
    /// A route that metrics know as `name`.
    ///
    /// `None` is never the case: it compiles from nothing that could be wrong.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let mut action = ForwardAction::new(ClusterSpecifier::Cluster(Arc::from("")));
        action.timeout = Duration::ZERO;
        let mut host = VirtualHost::new(name, vec![Domain::Any]);
        host.routes.push(Arc::new(Route::forward(action)));
        let virtual_hosts = vec![Arc::new(host)];
        let routes = RouteConfiguration { virtual_hosts, ..RouteConfiguration::default() };
        let router = Router::compile(&Arc::new(routes), &BTreeMap::new(), None).ok()?;
        let route = Arc::clone(router.targets().next()?.route);
        let forward = Arc::clone(route.forward()?);
        Some(Self { route, forward })
    }
}

impl<A: Attach> Snapshot<A> {
    /// The cluster called `name`, as the target of a call of the mesh's own; `attached` is what hangs on
    /// it. `None`: there is no such cluster, or it is an aggregate of none.
    pub fn direct(
        &self,
        name: &str,
        route: &DirectRoute,
        attached: impl Fn(&LiveCluster<A>) -> A::Target,
    ) -> Option<Arc<Target<A>>> {
        let target = |cluster: &Arc<LiveCluster<A>>, children| {
            Arc::new(Target {
                route: Arc::clone(&route.route),
                forward: Arc::clone(&route.forward),
                cluster: Arc::clone(cluster),
                split: None,
                attached: attached(cluster),
                children,
            })
        };
        let cluster = self.clusters.get(name)?;
        let Discovery::Aggregate(names) = &cluster.policy().cluster.discovery else {
            return Some(target(cluster, Box::default()));
        };
        let found: Box<[_]> =
            children(names, &self.clusters).map(|child| target(child, Box::default())).collect();
        (!found.is_empty()).then(|| target(cluster, found))
    }
}
