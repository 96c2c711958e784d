//! [`Made`] and [`Restored`]: what a server's listener is made from, so that one that outlives its newest form outlives
//! the process as well.
//!
//! A listener that nobody can serve by, or that waits for its routes, leaves the one before it in force (gRFC A88), and the
//! bytes that are held are those of the newest. So what is in force of it is kept beside them, as it was received, goes into the copy on disk
//! ([`KeptListener`]), and stands in the place of the one before when a process starts by that.

use super::servers::{Good, refused, with_all_routes};
use super::version::Part;
use crate::last_good::{KeptListener, RawResource};
use crate::protocol::canonical;
use crate::store::{Received, Store};
use crate::{ResourceType, XdsRouteConfiguration, XdsServer};
use mesh_core::model::Listener;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The bytes that what a server does by a listener is made from.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    listener: Received,
    routes: Vec<(Arc<str>, Received)>,
}

/// What a server did by a listener in another process, although there was a newer one.
#[derive(Clone, Debug)]
pub(crate) struct Restored {
    pub(super) listener: Arc<Listener>,
    pub(super) good: Good,
    pub(super) made: Made,
}

impl Made {
    /// From the last good listener, and the routes that it names now.
    pub(super) fn of(good: &Good, store: &Store) -> Self {
        let kind = ResourceType::RouteConfiguration;
        let routes = good.server.routes.iter().flatten();
        let routes =
            routes.filter_map(|name| Some((canonical(name), store.received(kind, name)?.clone())));
        Self { listener: good.received.clone(), routes: routes.collect() }
    }

    /// As it goes to disk.
    pub(super) fn raw(&self, name: &Arc<str>) -> KeptListener {
        let raw = |kind, name: &Arc<str>, Received { version, body, .. }: &Received| {
            RawResource::new(kind, Arc::clone(name), Arc::clone(version), body.clone())
        };
        let routes = self.routes.iter();
        let routes = routes.map(|(name, of)| raw(ResourceType::RouteConfiguration, name, of));
        KeptListener::new(raw(ResourceType::Listener, name, &self.listener), routes.collect())
    }

    /// Whether it is what came last, of the listener `name`.
    pub(super) fn is_newest(&self, name: &Arc<str>, store: &Store) -> bool {
        let is = |kind, name: &Arc<str>, own: &Received| {
            store.received(kind, name).is_some_and(|newest| newest.hash == own.hash)
        };
        let kind = ResourceType::RouteConfiguration;
        is(ResourceType::Listener, name, &self.listener)
            && self.routes.iter().all(|(name, own)| is(kind, name, own))
    }

    /// The names of its routes.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.routes.iter().map(|(name, _)| name)
    }

    /// A hash of it, for a version.
    pub(super) fn hash(&self, name: &str) -> u64 {
        let mut hash = Part::new("kept", name);
        hash.number(self.listener.hash);
        for (name, routes) in &self.routes {
            hash.text(name);
            hash.number(routes.hash);
        }
        hash.hash()
    }
}

impl Restored {
    /// What a server did by `server` with the routes that it names; `None`: nobody can serve by it.
    pub(crate) fn new(
        server: &Arc<XdsServer>,
        received: Received,
        routes: &BTreeMap<Arc<str>, (Arc<XdsRouteConfiguration>, Received)>,
    ) -> Option<Self> {
        let find = |name: &Arc<str>| routes.get(&canonical(name)).map(|(found, _)| &found.model);
        let listener = Arc::new(with_all_routes(server, find));
        if refused(&listener, None).is_some() {
            return None;
        }
        let routes = routes.iter().map(|(name, (_, of))| (Arc::clone(name), of.clone()));
        let made = Made { listener: received.clone(), routes: routes.collect() };
        Some(Self { listener, good: Good { server: Arc::clone(server), received }, made })
    }
}
