//! [`whole`]: a set of resources that is complete in itself → one configuration, as Envoy would take it.
//!
//! A client that asks by name knows whom it calls, and walks from there; files, and whoever asks for
//! everything, hold all listeners at once. In Envoy the address that a connection was made to chooses the
//! listener, and only then the domain chooses a virtual host. A call by name was made to no address, but its
//! authority may have the port:
//!
//! - Listeners with the same routes are one.
//! - **One listener** (or none: all route configurations that there are): its virtual hosts serve their
//!   domains as they are written; without a port, any port.
//! - **Several**: a virtual host of a listener at port P serves `domain:P`, and `domain` as well, unless
//!   another listener might serve that too: then nobody does, and it is said. `*` is `*:P`; what ends in
//!   `*` can't be told apart by a port.
//! - **API listeners** are authorities themselves (gRFC A27): each serves its own name, before all others.
//! - Of two that claim the same, the earlier one is taken, and it is said.
//! - Header edits of route configurations and `max_stream_duration` of listeners go into virtual hosts,
//!   where there are several.
//!
//! Listeners with an address are ports of `mesh proxy` as well, each with its own routes (`ports.rs`).
//!
//! What is named and not there is a [`Note`]; clusters that nothing names stay, as routes may name them by a
//! header. Pure: nothing is asked for, and nothing is waited for.

mod claims;
mod ports;

use super::servers::{refused, with_all_routes};
use super::{Key, aggregate, domains};
use crate::store::{Known, Store};
use crate::{EndpointSource, HttpConnectionManager, Resource, ResourceType, RouteSource};
use crate::{XdsListener, XdsRouteConfiguration};
use claims::Claims;
use mesh_core::model::{Domain, HeaderMutations, Listener, RouteConfiguration};
use mesh_core::update::{ClusterUpdate, ConfigUpdate, SecretAnswer};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A configuration, and what there is to say of it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Whole {
    /// The configuration; it lacks what is missing.
    pub update: ConfigUpdate,
    /// What is missing, shared or unused, in the order of resources.
    pub notes: Vec<Note>,
}

/// Something to say of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Note {
    /// The resource.
    pub at: Key,
    /// What there is to say.
    pub kind: NoteKind,
}

/// What there is to say of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum NoteKind {
    /// It names a resource that is not there.
    Missing(ResourceType, Arc<str>),
    /// These domains of its routes are served by another listener as well: only their ports tell them apart.
    Shared(Vec<Domain>, Arc<str>),
    /// A domain is another listener's already.
    Taken(Domain, Arc<str>),
    /// It has no effect, and this is why.
    Unused(&'static str),
    /// An inbound listener that no server here can serve by, with all that is wrong.
    CanNotServe(Arc<str>),
    /// A listener that `mesh proxy` can't open as a port: the path of the first field that is wrong, and all that is.
    NoPort(String, Arc<str>),
}

impl fmt::Display for Note {
    /// `LDS web: there is no RDS all`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = &self.at;
        write!(f, "{kind} {name}: ")?;
        match &self.kind {
            NoteKind::Missing(kind, name) => write!(f, "there is no {kind} {name}"),
            NoteKind::Shared(domains, other) => {
                let (shown, rest) = domains.split_at(domains.len().min(MOST_DOMAINS));
                for (at, domain) in shown.iter().enumerate() {
                    write!(f, "{}`{domain}`", if at == 0 { "" } else { ", " })?;
                }
                if !rest.is_empty() {
                    write!(f, " and {} more", rest.len())?;
                }
                write!(f, " also served by {other}: calls have to name the listener's port")
            }
            NoteKind::Taken(domain, other) => {
                write!(f, "`{domain}` is served by {other} already, which came first")
            }
            NoteKind::Unused(why) => f.write_str(why),
            NoteKind::CanNotServe(why) => write!(f, "no server can serve by it: {why}"),
            NoteKind::NoPort(_, why) => write!(f, "no port is opened for it: {why}"),
        }
    }
}

/// Domains that one text lists.
const MOST_DOMAINS: usize = 5;

/// The configuration that some resources make. Of two with one kind and name, the later.
#[must_use]
pub fn whole(resources: &[Resource]) -> Whole {
    let mut store = Store::new();
    for resource in resources {
        let version = (Arc::from(""), 0);
        store.insert(kind_of(resource), resource.name(), resource.clone(), version);
    }
    let mut linking = Linking::new(&store);
    let mut of_servers = ConfigUpdate::default();
    linking.ports(resources, &mut of_servers);
    linking.servers(resources, &mut of_servers);
    let groups = linking.groups(resources);
    linking.clusters_of_routes(&groups);
    let mut update = serve(&groups, &mut linking.notes);
    (update.listeners, update.secrets) = (of_servers.listeners, of_servers.secrets);
    linking.clusters(resources, &mut update);
    linking.unused(resources);
    Whole { update, notes: linking.notes }
}

/// A configuration of these routes, without clusters.
pub(super) fn serve(groups: &[Group<'_>], notes: &mut Vec<Note>) -> ConfigUpdate {
    let mut update = ConfigUpdate::default();
    update.mode = groups.iter().find_map(|group| group.routes.mode).unwrap_or_default();
    update.unknown_hosts =
        groups.iter().find_map(|group| group.routes.unknown_hosts).unwrap_or_default();
    update.route_configuration = Arc::new(match groups {
        [one] if one.authorities.is_empty() => alone(one),
        several => Claims::new(several, notes).routes(several),
    });
    update
}

const fn kind_of(resource: &Resource) -> ResourceType {
    match resource {
        Resource::Listener(_) => ResourceType::Listener,
        Resource::RouteConfiguration(_) => ResourceType::RouteConfiguration,
        Resource::Cluster(_) => ResourceType::Cluster,
        Resource::Endpoints(_) => ResourceType::Endpoints,
        Resource::Secret(_) => ResourceType::Secret,
    }
}

/// Listeners with the same routes.
pub(super) struct Group<'a> {
    /// The first of them, or the routes themselves.
    at: Key,
    routes: &'a Arc<XdsRouteConfiguration>,
    max_stream_duration: Option<Duration>,
    /// The ports of its socket listeners.
    ports: BTreeSet<u16>,
    /// The names of its API listeners.
    authorities: Vec<Arc<str>>,
    /// There is a listener that is no API listener.
    has_socket: bool,
}

struct Linking<'a> {
    store: &'a Store,
    notes: Vec<Note>,
    /// What was noted: of many routes that name the same, one is told.
    noted: BTreeSet<Note>,
    used: BTreeSet<Key>,
}

impl<'a> Linking<'a> {
    const fn new(store: &'a Store) -> Self {
        Self { store, notes: Vec::new(), noted: BTreeSet::new(), used: BTreeSet::new() }
    }

    fn note(&mut self, at: &Key, kind: NoteKind) {
        let note = Note { at: at.clone(), kind };
        if self.noted.insert(note.clone()) {
            self.notes.push(note);
        }
    }

    fn missing(&mut self, at: &Key, kind: ResourceType, name: &Arc<str>) {
        self.note(at, NoteKind::Missing(kind, Arc::clone(name)));
    }

    fn look(&mut self, kind: ResourceType, name: &Arc<str>) -> Option<&'a Resource> {
        self.used.insert((kind, Arc::clone(name)));
        match self.store.look(kind, name) {
            Known::Value(resource) => Some(resource),
            Known::Missing(_) | Known::Pending => None,
        }
    }

    /// The listeners that are for servers alone, with their routes put in.
    fn servers(&mut self, resources: &'a [Resource], update: &mut ConfigUpdate) {
        for resource in resources {
            let Resource::Listener(listener) = resource else { continue };
            if update.listeners.contains_key(&listener.name) {
                continue;
            }
            let at = (ResourceType::Listener, Arc::clone(&listener.name));
            let server = match (&listener.server, &listener.http) {
                (Some(Ok(server)), None) => server,
                (Some(Err(errors)), None) if !matches!(listener.proxy, Some(Err(_))) => {
                    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                    self.note(&at, NoteKind::CanNotServe(errors.join("; ").into()));
                    continue;
                }
                _ => continue,
            };
            let found = with_all_routes(server, |name| {
                match self.look(ResourceType::RouteConfiguration, name) {
                    Some(Resource::RouteConfiguration(routes)) => Some(&routes.model),
                    _ => {
                        self.missing(&at, ResourceType::RouteConfiguration, name);
                        None
                    }
                }
            });
            let found = Arc::new(found);
            match refused(&found, None) {
                None => self.listener(&at, &found, update),
                Some(why) => self.note(&at, NoteKind::CanNotServe(why)),
            }
        }
    }

    /// A listener of a server or of a port, which is in force, with the secrets that it names.
    fn listener(&mut self, at: &Key, found: &Arc<Listener>, update: &mut ConfigUpdate) {
        found.secrets().for_each(|name| self.secret(at, name, update));
        self.clusters_of(at, found.clusters());
        update.listeners.insert(Arc::clone(&found.name), Arc::clone(found));
    }

    /// The clusters that `at` names.
    fn clusters_of<'n>(&mut self, at: &Key, names: impl Iterator<Item = &'n Arc<str>>) {
        for name in names {
            if self.look(ResourceType::Cluster, name).is_none() {
                self.missing(at, ResourceType::Cluster, name);
            }
        }
    }

    /// All listeners with HTTP, by their routes; without one, all routes that no server has.
    fn groups(&mut self, resources: &'a [Resource]) -> Vec<Group<'a>> {
        let mut groups: Vec<Group<'a>> = Vec::new();
        let mut is_served = false;
        for resource in resources {
            let Resource::Listener(listener) = resource else { continue };
            let Some(http) = &listener.http else { continue };
            is_served = true;
            let routes = match &http.routes {
                RouteSource::Inline(routes) => routes,
                RouteSource::Rds(name) => match self.look(ResourceType::RouteConfiguration, name) {
                    Some(Resource::RouteConfiguration(routes)) => routes,
                    _ => {
                        let at = (ResourceType::Listener, Arc::clone(&listener.name));
                        self.missing(&at, ResourceType::RouteConfiguration, name);
                        continue;
                    }
                },
            };
            add(&mut groups, listener, http, routes);
        }
        if is_served {
            return groups;
        }
        for resource in resources {
            let Resource::RouteConfiguration(routes) = resource else { continue };
            let at = (ResourceType::RouteConfiguration, Arc::clone(&routes.name));
            if !self.used.insert(at.clone()) {
                continue;
            }
            groups.push(Group {
                at,
                routes,
                max_stream_duration: None,
                ports: BTreeSet::new(),
                authorities: Vec::new(),
                has_socket: true,
            });
        }
        groups
    }

    fn clusters_of_routes(&mut self, groups: &[Group<'a>]) {
        for group in groups {
            // What routes name stands in the routes, if these are a resource of their own.
            let own = (ResourceType::RouteConfiguration, Arc::clone(&group.routes.name));
            let at = if self.used.contains(&own) { own } else { group.at.clone() };
            self.clusters_of(&at, group.routes.clusters.iter().flatten());
        }
    }

    fn clusters(&mut self, resources: &'a [Resource], update: &mut ConfigUpdate) {
        for resource in resources {
            let Resource::Cluster(cluster) = resource else { continue };
            let name = &cluster.model.name;
            let at = (ResourceType::Cluster, Arc::clone(name));
            match &cluster.endpoints {
                EndpointSource::Eds(service) => {
                    if self.look(ResourceType::Endpoints, service).is_none() {
                        self.missing(&at, ResourceType::Endpoints, service);
                    }
                }
                EndpointSource::Aggregate(children) => {
                    for child in children {
                        if self.look(ResourceType::Cluster, child).is_none() {
                            self.missing(&at, ResourceType::Cluster, child);
                        }
                    }
                }
                EndpointSource::Inline(_) | EndpointSource::Dns => {}
            }
            if let Some(cluster) = aggregate::resolve(self.store, name).update {
                self.secrets(&at, &cluster, update);
                update.clusters.insert(Arc::clone(name), cluster);
            }
        }
    }

    /// The secrets that a cluster names.
    fn secrets(&mut self, at: &Key, cluster: &ClusterUpdate, update: &mut ConfigUpdate) {
        for name in cluster.cluster.secrets() {
            self.secret(at, name, update);
        }
    }

    fn secret(&mut self, at: &Key, name: &Arc<str>, update: &mut ConfigUpdate) {
        match self.look(ResourceType::Secret, name) {
            Some(Resource::Secret(secret)) => {
                let answer = SecretAnswer::Known(Arc::clone(secret));
                Arc::make_mut(&mut update.secrets).insert(Arc::clone(name), answer);
            }
            _ => self.missing(at, ResourceType::Secret, name),
        }
    }

    /// Routes, endpoints and secrets that nothing leads to.
    fn unused(&mut self, resources: &[Resource]) {
        for resource in resources {
            let kind = kind_of(resource);
            let at = (kind, Arc::clone(resource.name()));
            let why = match kind {
                ResourceType::RouteConfiguration => "no listener names it",
                ResourceType::Endpoints => "no cluster names it",
                ResourceType::Secret => "no cluster and no listener names it",
                ResourceType::Listener | ResourceType::Cluster => continue,
            };
            if !self.used.contains(&at) {
                self.note(&at, NoteKind::Unused(why));
            }
        }
    }
}

/// One listener more.
pub(super) fn add<'a>(
    groups: &mut Vec<Group<'a>>,
    listener: &XdsListener,
    http: &HttpConnectionManager,
    routes: &'a Arc<XdsRouteConfiguration>,
) {
    let same = |group: &Group<'a>| {
        group.max_stream_duration == http.max_stream_duration
            && (Arc::ptr_eq(group.routes, routes) || group.routes == routes)
    };
    let index = match groups.iter().position(same) {
        Some(index) => index,
        None => {
            groups.push(Group {
                at: (ResourceType::Listener, Arc::clone(&listener.name)),
                routes,
                max_stream_duration: http.max_stream_duration,
                ports: BTreeSet::new(),
                authorities: Vec::new(),
                has_socket: false,
            });
            groups.len() - 1
        }
    };
    let group = &mut groups[index];
    if listener.is_api {
        group.authorities.push(Arc::clone(&listener.name));
    } else {
        group.has_socket = true;
        group.ports.extend(listener.port);
    }
}

/// One listener: its routes as they are.
fn alone(group: &Group<'_>) -> RouteConfiguration {
    limited(&group.routes.model, group.max_stream_duration)
}

/// Routes with the `max_stream_duration` of their listener, where they say nothing.
fn limited(routes: &RouteConfiguration, longest: Option<Duration>) -> RouteConfiguration {
    let mut routes = routes.clone();
    let none = HeaderMutations::default();
    for host in &mut routes.virtual_hosts {
        *host = domains::with_levels(host, &none, longest);
    }
    routes
}

#[cfg(test)]
mod tests;
