//! [`ConfigUpdate`]: one complete, validated configuration, as a source hands it over.
//!
//! Complete in gRFC A74's sense: routes, clusters, endpoints and secrets that belong together come
//! together.
//! It shares structure: every resource is behind an `Arc`, and what is the same pointer as before is
//! not looked at again. [`EndpointsUpdate`] is for a source that knows that only endpoints or
//! secrets changed: among 10,000 clusters even a pointer each is a millisecond.

mod restricted;
#[cfg(test)]
mod tests;

use crate::model::{
    Cluster, ClusterLoadAssignment, Discovery, Egress, Endpoint, IdentityConfig, Listener,
    RouteConfiguration, Secret, VirtualHost,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One complete configuration.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ConfigUpdate {
    /// Where it comes from, for logs and errors.
    pub origin: Origin,
    /// Whether the mesh acts or only measures.
    pub mode: Mode,
    /// What becomes of authorities without a virtual host.
    pub unknown_hosts: UnknownHosts,
    /// Where calls may go that no virtual host serves, unless all may.
    pub egress: Arc<Egress>,
    /// The routes. Every cluster that they name is in [`clusters`](Self::clusters), unless
    /// [`dangling`](crate::router::Router::compile) references are to answer with
    /// [`Reason::UnknownCluster`](crate::local_reply::Reason::UnknownCluster).
    pub route_configuration: Arc<RouteConfiguration>,
    /// The clusters by name, those that aggregates stand for among them. A child that is not there is
    /// left out; an aggregate without any is like a cluster that is not there.
    pub clusters: BTreeMap<Arc<str>, ClusterUpdate>,
    /// What servers do, by the names that they ask for (gRFC A36; `mesh.yaml`: `inbound`).
    pub listeners: BTreeMap<Arc<str>, Arc<Listener>>,
    /// Those that a server asked for and that are not there, each with the reason: it does not serve (gRFC
    /// A36). Set by a source that works on demand.
    pub absent_listeners: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    /// Who the mesh is (`mesh.yaml`: `identity`); `None`: the configuration does not say. What was in force
    /// stays then, and so it does until another identity is there.
    pub identity: Option<Arc<IdentityConfig>>,
    /// The secrets that clusters and listeners name, and no others. One that is named and not in here is missing: the
    /// cluster stays, and no connection of it is made.
    pub secrets: Arc<Secrets>,
    /// Set by a source that answers for authorities as calls ask for them: what it has answered so far.
    /// Another authority is asked for, and its calls wait; see [`Answer`].
    pub on_demand: Option<Arc<BTreeMap<Arc<str>, Answer>>>,
    /// Something that the source was told to ask for has no answer yet: it is in force like any other, but
    /// whoever waits for the first complete configuration waits on. Default: no.
    pub is_partial: bool,
}

/// What is known of each secret, by the name that clusters have for it.
///
/// They stand beside the clusters and not in them: one secret may be the identity of 10,000 clusters, and
/// when it rotates, none of those is another cluster.
pub type Secrets = BTreeMap<Arc<str>, SecretAnswer>;

/// What is known of a secret that a cluster names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: it is there or it is not")]
pub enum SecretAnswer {
    /// It is there.
    Known(Arc<Secret>),
    /// It is not, and this is why: it does not exist, was refused, or has not come since a start from a copy
    /// on disk, which holds no private keys.
    Missing(Arc<str>),
}

/// What a source that works on demand says of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: it is served or it is not")]
pub enum Answer {
    /// There are routes for it.
    Served,
    /// There are none, and this is why.
    Absent(Arc<str>),
}

impl ConfigUpdate {
    /// A configuration that is written in code, with nothing in it yet.
    ///
    /// # Examples
    /// ```
    /// use mesh_core::ConfigUpdate;
    /// use mesh_core::model::{Cluster, ForwardAction, Route, VirtualHost};
    /// use std::net::SocketAddr;
    ///
    /// let reviews = VirtualHost::of("reviews")?.route(Route::forward(ForwardAction::to("v1")));
    /// let update = ConfigUpdate::in_code()
    ///     .virtual_host(reviews)
    ///     .cluster(Cluster::new("v1"), [SocketAddr::from(([127, 0, 0, 1], 8081))]);
    /// assert_eq!(update.clusters["v1"].endpoints.as_ref().map(|v1| v1.len()), Some(1));
    /// # Ok::<_, mesh_core::model::virtual_host::InvalidDomain>(())
    /// ```
    #[must_use]
    pub fn in_code() -> Self {
        Self { origin: Origin::new("code", ""), ..Self::default() }
    }

    /// Adds what a program has itself, whatever its source says: its listeners, and the routes, clusters and secrets
    /// that those need, in place of the source's of the same names. What it says of its mode, of unknown hosts and of
    /// where calls may go comes first, if it is not the default; who it is, unless the source says it.
    ///
    /// # Examples
    /// ```
    /// use mesh_core::ConfigUpdate;
    /// use mesh_core::model::Listener;
    /// use std::sync::Arc;
    ///
    /// let mut own = ConfigUpdate::in_code();
    /// own.listeners.insert("web".into(), Arc::new(Listener::new("web")));
    /// let mut update = ConfigUpdate::default();
    /// update.add_own(&own);
    /// assert!(update.listeners.contains_key("web"));
    /// ```
    pub fn add_own(&mut self, own: &Self) {
        // What is as if nothing had been said is the source's to say.
        if own.mode != Mode::default() {
            self.mode = own.mode;
        }
        if own.unknown_hosts != UnknownHosts::default() {
            self.unknown_hosts = own.unknown_hosts;
        }
        if *own.egress != Egress::default() {
            self.egress = Arc::clone(&own.egress);
        }
        self.identity = self.identity.take().or_else(|| own.identity.clone());
        own.clusters.iter().for_each(|(name, cluster)| {
            self.clusters.insert(Arc::clone(name), cluster.clone());
        });
        own.listeners.iter().for_each(|(name, listener)| {
            self.listeners.insert(Arc::clone(name), Arc::clone(listener));
        });
        if own.listeners.keys().any(|name| self.absent_listeners.contains_key(name)) {
            let absent = Arc::make_mut(&mut self.absent_listeners);
            absent.retain(|name, _| !own.listeners.contains_key(name));
        }
        if !own.secrets.is_empty() {
            let theirs = own.secrets.iter().map(|(name, own)| (Arc::clone(name), own.clone()));
            Arc::make_mut(&mut self.secrets).extend(theirs);
        }
        self.add_hosts(&own.route_configuration.virtual_hosts);
    }

    /// Adds virtual hosts, in place of those of the same names, for which nobody has to be asked.
    fn add_hosts(&mut self, hosts: &[Arc<VirtualHost>]) {
        if hosts.is_empty() {
            return;
        }
        let routes = Arc::make_mut(&mut self.route_configuration);
        routes.virtual_hosts.retain(|host| !hosts.iter().any(|own| own.name == host.name));
        routes.virtual_hosts.extend(hosts.iter().cloned());
        if let Some(answers) = &mut self.on_demand {
            let served = hosts.iter().map(|host| (Arc::clone(&host.name), Answer::Served));
            Arc::make_mut(answers).extend(served);
        }
    }

    /// Takes over what came later than it.
    pub fn merge(&mut self, later: EndpointsUpdate) {
        self.origin = later.origin;
        for (name, endpoints) in later.clusters {
            if let Some(cluster) = self.clusters.get_mut(&name) {
                cluster.endpoints = endpoints;
            }
        }
        replace_secrets(&mut self.secrets, later.secrets);
    }

    /// Adds a virtual host, after those that are there.
    #[must_use]
    pub fn virtual_host(mut self, host: VirtualHost) -> Self {
        let routes = Arc::make_mut(&mut self.route_configuration);
        routes.virtual_hosts.push(Arc::new(host));
        self
    }

    /// Adds a cluster of these endpoints, in one locality; in place of one of the same name.
    #[must_use]
    pub fn cluster<E: Into<Endpoint>>(
        self,
        cluster: Cluster,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Self {
        let endpoints = ClusterLoadAssignment::of(endpoints.into_iter().map(Into::into));
        self.assigned(cluster, Some(endpoints))
    }

    /// Adds a cluster that stands for `children`, the earlier ones first; in place of one of the same
    /// name.
    ///
    /// # Examples
    /// ```
    /// use mesh_core::ConfigUpdate;
    /// use mesh_core::model::Cluster;
    /// use std::net::SocketAddr;
    ///
    /// let at = |port| [SocketAddr::from(([127, 0, 0, 1], port))];
    /// let update = ConfigUpdate::in_code()
    ///     .cluster(Cluster::new("near"), at(8081))
    ///     .cluster(Cluster::new("far"), at(8082))
    ///     .aggregate(Cluster::new("reviews"), ["near", "far"]);
    /// assert_eq!(update.clusters.len(), 3);
    /// ```
    #[must_use]
    pub fn aggregate<N: Into<Arc<str>>>(
        self,
        mut cluster: Cluster,
        children: impl IntoIterator<Item = N>,
    ) -> Self {
        cluster.discovery = Discovery::Aggregate(children.into_iter().map(Into::into).collect());
        self.assigned(cluster, Some(ClusterLoadAssignment::default()))
    }

    /// Adds a cluster whose endpoints are grouped, or are not known yet; in place of one of the same
    /// name.
    #[must_use]
    pub fn assigned(mut self, cluster: Cluster, endpoints: Option<ClusterLoadAssignment>) -> Self {
        let name = Arc::clone(&cluster.name);
        let update = ClusterUpdate::new(Arc::new(cluster), endpoints.map(Arc::new));
        self.clusters.insert(name, update);
        self
    }
}

/// Other endpoints and other secrets for clusters of the configuration before, and nothing else: what changes
/// by itself, without what does not change with it.
///
/// Secrets are in it because they change as endpoints do: they lead nowhere, so that no route and no cluster
/// has to be looked at, and the same rules of merging hold for both.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct EndpointsUpdate {
    /// What the configuration is called from now on.
    pub origin: Origin,
    /// The endpoints by cluster; `None`: not known any more. Names that are not configured are ignored.
    pub clusters: BTreeMap<Arc<str>, Option<Arc<ClusterLoadAssignment>>>,
    /// What became of these secrets. Names that no cluster of the configuration has are ignored.
    pub secrets: Secrets,
}

impl EndpointsUpdate {
    /// Nobody changed yet.
    #[must_use]
    pub const fn new(origin: Origin) -> Self {
        Self { origin, clusters: BTreeMap::new(), secrets: BTreeMap::new() }
    }

    /// Takes over what came later.
    pub fn merge(&mut self, later: Self) {
        self.origin = later.origin;
        self.clusters.extend(later.clusters);
        self.secrets.extend(later.secrets);
    }
}

/// Puts what became of secrets in the place of what was known; whether anything is another now. Equal ones
/// stay the same pointer, and so does the whole when nothing changed.
pub(crate) fn replace_secrets(known: &mut Arc<Secrets>, later: Secrets) -> bool {
    let differs = |(name, answer): &(Arc<str>, SecretAnswer)| {
        known.get(name).is_some_and(|before| before != answer)
    };
    let changed: Vec<_> = later.into_iter().filter(differs).collect();
    if changed.is_empty() {
        return false;
    }
    Arc::make_mut(known).extend(changed);
    true
}

/// One cluster and its endpoints.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClusterUpdate {
    /// How to talk to it.
    pub cluster: Arc<Cluster>,
    /// Its endpoints; `None`: not known yet (a name that was not resolved, EDS that did not come):
    /// calls wait for them, within their deadline.
    pub endpoints: Option<Arc<ClusterLoadAssignment>>,
}

impl ClusterUpdate {
    /// A cluster with its endpoints.
    #[must_use]
    pub const fn new(cluster: Arc<Cluster>, endpoints: Option<Arc<ClusterLoadAssignment>>) -> Self {
        Self { cluster, endpoints }
    }
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// A path, a control plane's name, or `code`.
    pub source: Arc<str>,
    /// A version, or the hash of the content.
    pub version: Arc<str>,
}

impl Origin {
    /// `version` of `source`.
    #[must_use]
    pub fn new(source: impl Into<Arc<str>>, version: impl Into<Arc<str>>) -> Self {
        Self { source: source.into(), version: version.into() }
    }
}

/// Whether the mesh acts or only measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: it acts or it does not")]
pub enum Mode {
    /// Calls go through routes, policies and balancing.
    #[default]
    Enforce,
    /// Every call passes by every policy to where its URI points, and is measured.
    Observe,
}

/// What becomes of an authority without a virtual host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: refused, let through, or both told")]
pub enum UnknownHosts {
    /// Refused with flag NR, but for what [`ConfigUpdate::egress`] lists.
    #[default]
    Refuse,
    /// Sent where its URI points, and measured; what the list has not is told.
    Log,
    /// Sent where its URI points, and measured.
    Passthrough,
}
