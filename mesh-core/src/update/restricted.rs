//! A part of a configuration: what one reader of a control plane may have.

use super::{ClusterUpdate, ConfigUpdate};
use crate::model::{
    ClusterSpecifier, Discovery, DownstreamTls, Forward, Listener, RouteAction, RouteConfiguration,
    VirtualHost,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl ConfigUpdate {
    /// The virtual hosts and listeners whose names `may_read` takes, with the virtual hosts by which these listeners
    /// forward, the clusters and secrets that all of them lead to, those that filters of a listener ask somebody in
    /// among them, and nothing else. A route that takes its cluster from a header leads to every cluster.
    #[must_use]
    pub fn restricted(&self, may_read: impl Fn(&str) -> bool) -> Self {
        let listeners = self.listeners.iter().filter(|(name, _)| may_read(name));
        let listeners: BTreeMap<_, _> =
            listeners.map(|(name, listener)| (Arc::clone(name), Arc::clone(listener))).collect();
        let forwards = listeners.values().filter_map(|listener| listener.forward.as_ref());
        let authorities: BTreeSet<_> = forwards.filter_map(Forward::authority).collect();
        let hosts = self.route_configuration.virtual_hosts.iter();
        let hosts = hosts.filter(|host| may_read(&host.name) || authorities.contains(&host.name));
        let hosts: Vec<_> = hosts.cloned().collect();
        let asked = listeners.values().flat_map(|listener| listener.clusters()).collect();
        let clusters = self.reachable(&hosts, asked);
        let of_clusters = clusters.values().flat_map(|update| update.cluster.secrets());
        let of_listeners = listeners.values().flat_map(|listener| secrets(listener));
        let secrets = of_clusters.chain(of_listeners).filter_map(|name| {
            let (name, answer) = self.secrets.get_key_value(name)?;
            Some((Arc::clone(name), answer.clone()))
        });
        let secrets = Arc::new(secrets.collect());
        let route_configuration = Arc::new(RouteConfiguration {
            virtual_hosts: hosts,
            ..RouteConfiguration::clone(&self.route_configuration)
        });
        Self { route_configuration, clusters, listeners, secrets, ..self.clone() }
    }

    /// The clusters of these names, and those that `hosts` lead to, with the children of aggregates.
    fn reachable<'a>(
        &'a self,
        hosts: &'a [Arc<VirtualHost>],
        mut names: BTreeSet<&'a Arc<str>>,
    ) -> BTreeMap<Arc<str>, ClusterUpdate> {
        for route in hosts.iter().flat_map(|host| &host.routes) {
            let RouteAction::Forward(forward) = &route.action else { continue };
            match &forward.cluster {
                ClusterSpecifier::Cluster(name) => drop(names.insert(name)),
                ClusterSpecifier::Split(split) => {
                    names.extend(split.clusters.iter().map(|part| &part.cluster));
                }
                ClusterSpecifier::Header(_) => return self.clusters.clone(),
            }
        }
        let mut clusters = BTreeMap::new();
        let mut next: Vec<&Arc<str>> = names.into_iter().collect();
        while let Some(name) = next.pop() {
            let Some((name, update)) = self.clusters.get_key_value(name) else { continue };
            if clusters.insert(Arc::clone(name), update.clone()).is_none()
                && let Discovery::Aggregate(children) = &update.cluster.discovery
            {
                next.extend(children.iter());
            }
        }
        clusters
    }
}

/// The secrets that a listener names.
fn secrets(listener: &Listener) -> impl Iterator<Item = &Arc<str>> {
    let contexts = listener.chains().filter_map(|chain| chain.tls.as_deref());
    contexts.flat_map(DownstreamTls::secrets)
}
