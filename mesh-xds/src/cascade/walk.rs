//! One walk from an authority down to endpoints and secrets.

use super::{Key, aggregate, domains};
use crate::protocol::canonical;
use crate::store::{Known, Store};
use crate::{EndpointSource, Resource, ResourceType, RouteSource, XdsRouteConfiguration};
use mesh_core::model::VirtualHost;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The deepest that aggregate clusters may nest (gRFC A37).
pub(super) const MAX_DEPTH: usize = 16;

/// Whether resources of this type name no others: another one changes no walk.
pub(super) const fn leads_nowhere(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Endpoints | ResourceType::Secret)
}

/// What a walk found.
#[derive(Debug)]
pub(super) enum Walked {
    /// Everything has its answer: the virtual host, and the clusters that it names, those that aggregates
    /// stand for among them.
    Complete(Arc<VirtualHost>, BTreeSet<Arc<str>>),
    /// The authority can't be served.
    Failed(Arc<str>),
    /// Something has no answer yet.
    Pending,
}

/// A walk, which notes what it needs.
pub(super) struct Walk<'a> {
    store: &'a Store,
    needed: &'a mut BTreeSet<Key>,
    /// Aggregates that this walk has been through: one may name itself.
    aggregates: BTreeSet<Arc<str>>,
    pending: bool,
    /// What leads nowhere and has no answer yet: endpoints, secrets.
    waits_for: BTreeSet<Key>,
    /// The listener and the routes that it went through.
    through: Vec<Key>,
}

impl<'a> Walk<'a> {
    pub(super) const fn new(store: &'a Store, needed: &'a mut BTreeSet<Key>) -> Self {
        Self {
            store,
            needed,
            aggregates: BTreeSet::new(),
            pending: false,
            waits_for: BTreeSet::new(),
            through: Vec::new(),
        }
    }

    /// What leads nowhere and has no answer yet, and what the virtual host follows from.
    pub(super) fn end(self) -> (BTreeSet<Key>, Vec<Key>) {
        (self.waits_for, self.through)
    }

    /// Whether something that was met has no answer yet.
    pub(super) const fn is_pending(&self) -> bool {
        self.pending
    }

    fn look(&mut self, kind: ResourceType, name: &Arc<str>) -> Known<'a> {
        let name = &canonical(name);
        self.needed.insert((kind, Arc::clone(name)));
        let known = self.store.look(kind, name);
        if known == Known::Pending {
            self.pending = true;
            if leads_nowhere(kind) {
                self.waits_for.insert((kind, Arc::clone(name)));
            }
        }
        known
    }

    /// Everything behind `authority`, whose listener has one of these names.
    pub(super) fn authority(&mut self, authority: &Arc<str>, listeners: &[Arc<str>]) -> Walked {
        let (mut missing, mut found) = (None, None);
        for name in listeners {
            match self.look(ResourceType::Listener, name) {
                Known::Value(Resource::Listener(listener)) => {
                    found = found.or(Some((name, listener)));
                }
                Known::Missing(error) => missing = missing.or(Some((name, error))),
                Known::Value(_) | Known::Pending => {}
            }
        }
        // Another name that is still unknown does not hold up the one that is there.
        self.pending &= found.is_none();
        let Some((name, listener)) = found else {
            return match (self.pending, missing) {
                (false, Some((name, error))) => failed(ResourceType::Listener, name, error),
                _ => Walked::Pending,
            };
        };
        self.through.push((ResourceType::Listener, Arc::clone(name)));
        let Some(http) = &listener.http else {
            let why = match &listener.not_for_calls {
                Some(why) => format!("listener {} is not for calls: {why}", listener.name),
                None => format!("listener {} has no HTTP connection manager", listener.name),
            };
            return Walked::Failed(why.into());
        };
        let routes = match &http.routes {
            RouteSource::Inline(routes) => routes,
            RouteSource::Rds(name) => match self.look(ResourceType::RouteConfiguration, name) {
                Known::Value(Resource::RouteConfiguration(routes)) => {
                    self.through.push((ResourceType::RouteConfiguration, Arc::clone(name)));
                    routes
                }
                Known::Missing(error) => {
                    return failed(ResourceType::RouteConfiguration, name, error);
                }
                Known::Value(_) | Known::Pending => return Walked::Pending,
            },
        };
        self.virtual_host(authority, routes, http.max_stream_duration)
    }

    fn virtual_host(
        &mut self,
        authority: &str,
        routes: &XdsRouteConfiguration,
        max_stream_duration: Option<std::time::Duration>,
    ) -> Walked {
        // gRFC A28: an authority that no virtual host serves is an error for all its calls.
        let Some(at) = domains::find(&routes.model.virtual_hosts, authority) else {
            let why = format!("route configuration {} has no virtual host for it", routes.name);
            return Walked::Failed(why.into());
        };
        let mut clusters = routes.clusters.get(at).cloned().unwrap_or_default();
        clusters.iter().for_each(|cluster| self.need_cluster(cluster));
        if self.pending {
            return Walked::Pending;
        }
        // gRFC A75: what an aggregate stands for are clusters of their own.
        let leaves: Vec<_> =
            clusters.iter().flat_map(|name| aggregate::leaves(self.store, name)).collect();
        clusters.extend(leaves);
        let host = &routes.model.virtual_hosts[at];
        let host = domains::with_levels(host, &routes.model.headers, max_stream_duration);
        Walked::Complete(host, clusters)
    }

    /// A cluster and all that is behind it.
    pub(super) fn need_cluster(&mut self, name: &Arc<str>) {
        self.need_cluster_at(name, 0);
    }

    fn need_cluster_at(&mut self, name: &Arc<str>, depth: usize) {
        let Known::Value(Resource::Cluster(cluster)) = self.look(ResourceType::Cluster, name)
        else {
            return;
        };
        for secret in cluster.model.secrets() {
            self.look(ResourceType::Secret, secret);
        }
        match &cluster.endpoints {
            EndpointSource::Eds(service) => {
                self.look(ResourceType::Endpoints, service);
            }
            EndpointSource::Aggregate(children)
                if depth < MAX_DEPTH && self.aggregates.insert(Arc::clone(name)) =>
            {
                children.iter().for_each(|child| self.need_cluster_at(child, depth + 1));
            }
            EndpointSource::Aggregate(_) | EndpointSource::Inline(_) | EndpointSource::Dns => {}
        }
    }
}

fn failed(kind: ResourceType, name: &str, error: &str) -> Walked {
    Walked::Failed(format!("{kind} {name}: {error}").into())
}
