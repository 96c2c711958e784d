//! One listener of everything: what it is in force with, and what it comes to by what is known.

use super::super::Key;
use super::super::kept::{Made, Restored};
use super::super::servers::{Good, refused, with_all_routes};
use super::super::version::Part;
use super::{Now, is_named};
use crate::last_good::KeptListener;
use crate::protocol::canonical;
use crate::store::{Known, Store};
use crate::{Resource, ResourceType, RouteSource, XdsListener, XdsRouteConfiguration, XdsServer};
use mesh_core::model::Listener;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A listener and its routes; `None`: there are none.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) listener: Arc<XdsListener>,
    pub(super) routes: Option<Arc<XdsRouteConfiguration>>,
    /// What a server does by it, with its routes put in; `None`: none serves by it.
    pub(super) server: Option<Arc<Listener>>,
    /// The last that a server can serve by, without its routes.
    pub(super) good: Option<Good>,
    /// The hash of what a server does is made from.
    made: u64,
    /// The same as bytes, if a server does anything.
    made_of: Made,
    /// Why none can serve by the newest: `server` is what served before, if anything did.
    pub(super) trouble: Option<Arc<str>>,
}

/// What a listener comes to.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) next: Option<InForce>,
    pub(super) needs: BTreeSet<Key>,
    pub(super) waits_for: BTreeSet<Arc<str>>,
    /// Clusters that are not there.
    pub(super) absent: BTreeSet<Arc<str>>,
    /// Its routes have no answer, or the secrets of a server.
    pub(super) lacks: bool,
}

/// What is known of clusters and secrets.
pub(super) trait Behind {
    /// Whether a cluster, and everything behind it, has its answer.
    fn is_cluster_answered(&self, name: &Arc<str>) -> bool;
    /// Whether a secret has its answer.
    fn is_secret_answered(&self, name: &Arc<str>) -> bool;
}

impl InForce {
    /// What served by `listener` in another process.
    pub(super) fn restored(listener: &Arc<XdsListener>, restored: &Restored) -> Self {
        Self {
            listener: Arc::clone(listener),
            routes: None,
            server: Some(Arc::clone(&restored.listener)),
            good: Some(restored.good.clone()),
            made: restored.made.hash(&listener.name),
            made_of: restored.made.clone(),
            trouble: None,
        }
    }

    pub(super) fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.of_routes().chain(self.of_server())
    }

    pub(super) fn of_routes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.routes.iter().flat_map(|routes| routes.clusters.iter().flatten())
    }

    /// The clusters that the filters of a server ask somebody in.
    pub(super) fn of_server(&self) -> impl Iterator<Item = &Arc<str>> {
        self.server.iter().flat_map(|server| server.clusters())
    }

    /// The secrets of a server.
    pub(super) fn secrets(&self) -> Vec<Arc<str>> {
        self.server.iter().flat_map(|server| server.secrets()).cloned().collect()
    }

    /// The clusters that are asked for by their names.
    pub(super) fn named_clusters(&self) -> impl Iterator<Item = Key> {
        self.clusters().map(cluster).filter(is_named)
    }

    /// Where its clusters are named.
    pub(super) fn place(&self) -> Key {
        match self.listener.http.as_ref().map(|http| &http.routes) {
            Some(RouteSource::Rds(name)) => (ResourceType::RouteConfiguration, Arc::clone(name)),
            Some(RouteSource::Inline(_)) | None => {
                (ResourceType::Listener, Arc::clone(&self.listener.name))
            }
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.listener == other.listener
            && self.routes == other.routes
            && self.server == other.server
            && self.trouble == other.trouble
    }

    /// One that nobody can serve by leaves in force what a server does by the one before it.
    pub(super) fn checked(mut self, before: Option<&Self>) -> Self {
        let serving = before.and_then(|before| before.server.as_ref());
        if let Some(why) = self.server.as_ref().and_then(|next| refused(next, serving)) {
            self.trouble = Some(why);
            self.server = serving.cloned();
            self.made = before.map_or(0, |before| before.made);
            self.made_of = before.map(|before| before.made_of.clone()).unwrap_or_default();
        }
        self
    }

    /// Why the newest is not in force for servers, where the one before stays.
    pub(super) fn kept(&self) -> Option<&Arc<str>> {
        self.trouble.as_ref().filter(|_| self.server.is_some())
    }

    /// What is in force for servers, as it goes to disk, where it is not what came last.
    pub(super) fn kept_form(&self, store: &Store) -> Option<KeptListener> {
        let name = &self.listener.name;
        let is_kept = self.trouble.is_some() || !self.made_of.is_newest(name, store);
        (is_kept && self.server.is_some()).then(|| self.made_of.raw(name))
    }

    pub(super) fn hash(&self, name: &Arc<str>, store: &Store) -> u64 {
        let mut hash = Part::new("listener", name);
        hash.resource(store, ResourceType::Listener, name);
        let (kind, routes) = self.place();
        if kind == ResourceType::RouteConfiguration {
            hash.resource(store, kind, &routes);
        }
        if self.server.is_some() {
            hash.text("server");
            hash.number(self.made);
        }
        if let Some(why) = &self.trouble {
            hash.text(why);
        }
        hash.hash()
    }
}

/// The hash of what a server's listener is made from.
fn made(good: &Good, name: &str, store: &Store) -> u64 {
    let mut hash = Part::new("server", name);
    hash.number(good.received.hash);
    let routes = good.server.routes.iter().flatten();
    routes.for_each(|name| hash.resource(store, ResourceType::RouteConfiguration, name));
    hash.hash()
}

/// What a listener comes to by what is known; a server asks for it, or not, and this is what it does now.
pub(super) fn look(
    listener: &Arc<XdsListener>,
    known: Now<'_>,
    behind: &impl Behind,
    (is_asked, before): (bool, Option<&InForce>),
) -> Looked {
    let Now { store, .. } = known;
    let mut looked = Looked::default();
    let routes = match listener.http.as_ref().map(|http| &http.routes) {
        None => None,
        Some(RouteSource::Inline(routes)) => Some(Arc::clone(routes)),
        Some(RouteSource::Rds(name)) => {
            looked.routes(name, known);
            found(store, name).cloned()
        }
    };
    let (good, wrong) = Good::of(listener, store, before.and_then(|before| before.good.as_ref()));
    let served = good.as_ref().filter(|_| is_asked || listener.http.is_none());
    let made = served.map_or(0, |good| made(good, &listener.name, store));
    let made_of = served.map(|good| Made::of(good, store)).unwrap_or_default();
    let before = before.and_then(|before| before.server.as_ref());
    let server = served.map(|good| looked.server(&good.server, before, known, behind));
    let trouble = wrong.filter(|_| server.is_some());
    let listener = Arc::clone(listener);
    let next = InForce { listener, routes, server, good, made, made_of, trouble };
    looked.needs.extend(next.named_clusters());
    for name in next.clusters() {
        if !behind.is_cluster_answered(name) {
            looked.waits_for.insert(canonical(name));
        } else if store.look(ResourceType::Cluster, name) == Known::Pending {
            looked.absent.insert(canonical(name));
        }
    }
    looked.next = Some(next);
    looked
}

impl Looked {
    /// A route configuration is needed.
    fn routes(&mut self, name: &Arc<str>, Now { store, asked, .. }: Now<'_>) {
        let key = (ResourceType::RouteConfiguration, canonical(name));
        self.lacks |= !asked.is_answered(store, &key);
        self.needs.insert(key);
    }

    /// What a server does: with its routes, and the secrets that it needs. What is equal to `before` stays the same
    /// pointer.
    fn server(
        &mut self,
        server: &XdsServer,
        before: Option<&Arc<Listener>>,
        known: Now<'_>,
        behind: &impl Behind,
    ) -> Arc<Listener> {
        server.routes.iter().flatten().for_each(|name| self.routes(name, known));
        let mut made =
            with_all_routes(server, |name| found(known.store, name).map(|routes| &routes.model));
        for name in made.secrets() {
            self.lacks |= !behind.is_secret_answered(name);
            self.needs.insert(secret(Arc::clone(name)));
        }
        let chains = made.filter_chains.iter_mut().chain(&mut made.default_filter_chain);
        for chain in chains {
            let same = before.and_then(|before| before.chains().find(|old| *old == &*chain));
            if let Some(same) = same {
                *chain = Arc::clone(same);
            }
        }
        match before {
            Some(before) if **before == made => Arc::clone(before),
            _ => Arc::new(made),
        }
    }
}

/// The routes of this name.
pub(super) fn found<'s>(
    store: &'s Store,
    name: &Arc<str>,
) -> Option<&'s Arc<XdsRouteConfiguration>> {
    match store.look(ResourceType::RouteConfiguration, name) {
        Known::Value(Resource::RouteConfiguration(routes)) => Some(routes),
        Known::Value(_) | Known::Missing(_) | Known::Pending => None,
    }
}

fn cluster(name: &Arc<str>) -> Key {
    (ResourceType::Cluster, canonical(name))
}

pub(super) fn secret(name: Arc<str>) -> Key {
    (ResourceType::Secret, name)
}
