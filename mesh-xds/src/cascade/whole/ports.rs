//! Listeners that are ports of `mesh proxy`: each of their chains with the routes that are its own, as in Envoy.
//!
//! A listener whose routes hand nothing on (`non_forwarding_action`) is a gRPC server's (gRFC A36), and no port.

use super::super::Key;
use super::super::servers::refused;
use super::{Linking, NoteKind, limited};
use crate::{Resource, ResourceType, RouteSource, XdsChainRoutes, XdsPort, XdsRouteConfiguration};
use mesh_core::model::{
    ChainForward, FilterChain, Forward, HttpConnectionManager, Listener, Route, RouteAction,
    RouteConfiguration,
};
use mesh_core::update::ConfigUpdate;
use std::sync::Arc;

impl<'a> Linking<'a> {
    /// The listeners that are ports, with their routes put in.
    pub(super) fn ports(&mut self, resources: &'a [Resource], update: &mut ConfigUpdate) {
        for resource in resources {
            let Resource::Listener(listener) = resource else { continue };
            let at = (ResourceType::Listener, Arc::clone(&listener.name));
            let serves = matches!(listener.server, Some(Ok(_)));
            match &listener.proxy {
                Some(Ok(port)) => {
                    let (found, unguarded) = self.port(&at, port);
                    let found = Arc::new(found);
                    if serves && !hands_on(&found) {
                        continue;
                    }
                    match unguarded.or_else(|| refused(&found, None)) {
                        None => self.listener(&at, &found, update),
                        Some(why) => self.note(&at, NoteKind::NoPort("name".to_owned(), why)),
                    }
                }
                Some(Err(errors)) if !serves => {
                    let first = errors.first().map(|error| error.path.clone());
                    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                    let why = errors.join("; ").into();
                    self.note(&at, NoteKind::NoPort(first.unwrap_or_default(), why));
                }
                Some(Err(_)) | None => {}
            }
        }
    }

    /// A port with its routes; and why it may not go by them.
    fn port(&mut self, at: &Key, port: &'a XdsPort) -> (Listener, Option<Arc<str>>) {
        let (mut found, mut unguarded) = ((*port.listener).clone(), None);
        let chains = found.filter_chains.iter_mut().chain(&mut found.default_filter_chain);
        for (chain, own) in chains.zip(&port.routes) {
            if let Some((at, routes)) = self.routes_of(at, own) {
                self.clusters_of(&at, routes.clusters.iter().flatten());
                let why = || routes.unguarded.as_ref().map(|why| why_not(own, why));
                unguarded = unguarded.or_else(why);
                *chain = Arc::new(with_routes(chain, own, &routes.model));
            }
        }
        (found, unguarded)
    }

    /// The routes of a chain, and the resource that they stand in.
    fn routes_of(
        &mut self,
        at: &Key,
        own: &'a XdsChainRoutes,
    ) -> Option<(Key, &'a Arc<XdsRouteConfiguration>)> {
        let name = match &own.source {
            RouteSource::Inline(routes) => return Some((at.clone(), routes)),
            RouteSource::Rds(name) => name,
        };
        match self.look(ResourceType::RouteConfiguration, name) {
            Some(Resource::RouteConfiguration(routes)) => {
                Some(((ResourceType::RouteConfiguration, Arc::clone(name)), routes))
            }
            _ => {
                self.missing(at, ResourceType::RouteConfiguration, name);
                None
            }
        }
    }
}

/// Names the route configuration that is not in the listener.
fn why_not(own: &XdsChainRoutes, why: &Arc<str>) -> Arc<str> {
    match &own.source {
        RouteSource::Inline(_) => Arc::clone(why),
        RouteSource::Rds(name) => format!("route configuration `{name}`: {why}").into(),
    }
}

/// A chain that sends by `routes`, once its filters have been asked.
fn with_routes(
    chain: &FilterChain,
    own: &XdsChainRoutes,
    routes: &Arc<RouteConfiguration>,
) -> FilterChain {
    let mut chain = chain.clone();
    let routes = match own.max_stream_duration {
        Some(_) => Arc::new(limited(routes, own.max_stream_duration)),
        None => Arc::clone(routes),
    };
    if let Some(http) = &mut chain.http {
        // With all that is said of filters: a name that none has is told, for whoever wrote the file meant one.
        *http = Arc::new(HttpConnectionManager::clone(http).before(&routes));
    }
    let mut forward = ChainForward::new(routes);
    forward.idle_timeout = own.idle_timeout;
    chain.forward = Some(Arc::new(forward));
    chain
}

/// Whether anything goes on from it, by a route or as bytes; of one that is not inbound, or is answered by a route.
fn hands_on(listener: &Listener) -> bool {
    let is_outbound = listener.forward.as_ref().is_some_and(Forward::is_outbound);
    let is_handed_on = |route: &Arc<Route>| match route.action {
        RouteAction::Forward(_) => true,
        RouteAction::Redirect(_) | RouteAction::DirectResponse(_) => is_outbound,
        _ => false,
    };
    let routes = listener.chains().filter_map(|chain| chain.forward.as_ref());
    let mut hosts = routes.flat_map(|forward| &forward.routes.virtual_hosts);
    hosts.any(|host| host.routes.iter().any(is_handed_on))
}
