//! [`Naive`]: what a cascade is to say, found the simple way: everything is walked each time.

use super::walk::{Walk, Walked};
use super::{Key, Watches, aggregate, clusters, domains};
use crate::store::{self, Store};
use crate::{Resource, ResourceType};
use mesh_core::model::{Discovery, RouteConfiguration, VirtualHost};
use mesh_core::update::{Answer, ClusterUpdate, ConfigUpdate, SecretAnswer, Secrets};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Served = (Arc<VirtualHost>, BTreeSet<Arc<str>>);
/// `None`: none yet.
type Known = Option<Result<Served, Arc<str>>>;

/// A cascade that remembers the last complete routes of each authority, the last clusters whose secrets had
/// their answers, the last answers, and nothing else.
#[derive(Default)]
pub(super) struct Naive {
    /// The names that the listener may have, and the answer.
    pub(super) authorities: BTreeMap<Arc<str>, (Vec<Arc<str>>, Known)>,
    pub(super) watched: BTreeSet<Key>,
    /// The clusters that were served last: one stays as it was until its secrets, or all leaves of an
    /// aggregate, are there.
    clusters: BTreeMap<Arc<str>, ClusterUpdate>,
    secrets: Secrets,
}

const NO_ANSWER: &str = "nobody has answered for it yet";

impl Naive {
    /// Walks everything.
    pub(super) fn poll_watches(&mut self, store: &Store) -> Watches {
        let mut needed = BTreeSet::new();
        for (name, (listeners, served)) in &mut self.authorities {
            match Walk::new(store, &mut needed).authority(name, listeners) {
                Walked::Complete(host, clusters) => *served = Some(Ok((host, clusters))),
                Walked::Failed(why) => *served = Some(Err(why)),
                Walked::Pending => {}
            }
            if let Some(Ok((_, clusters))) = served {
                let mut walk = Walk::new(store, &mut needed);
                clusters.iter().for_each(|cluster| walk.need_cluster(cluster));
            }
        }
        let added = needed.difference(&self.watched).cloned().collect();
        let removed = self.watched.difference(&needed).cloned().collect();
        self.watched = needed;
        Watches { added, removed }
    }

    /// Everything, without its origin.
    pub(super) fn configuration(&mut self, store: &Store) -> ConfigUpdate {
        let mut update = ConfigUpdate::default();
        let mut routes = RouteConfiguration::default();
        let mut answers = BTreeMap::new();
        let served =
            self.authorities.values().filter_map(|(_, served)| served.as_ref()?.as_ref().ok());
        let mut names: BTreeSet<_> = served.flat_map(|(_, clusters)| clusters.clone()).collect();
        let in_force: Vec<_> = names.iter().filter_map(|name| self.clusters.get(name)).collect();
        let kept: Vec<_> = in_force.into_iter().flat_map(leaves).cloned().collect();
        names.extend(kept);
        for (name, (_, served)) in &self.authorities {
            let answer = match served {
                None => continue,
                Some(Err(why)) => Answer::Absent(Arc::clone(why)),
                Some(Ok((host, clusters))) => {
                    routes.virtual_hosts.push(domains::exposed(host, name));
                    for cluster in clusters {
                        let made = self.cluster(store, cluster, &names);
                        update.clusters.extend(made.map(|made| (Arc::clone(cluster), made)));
                    }
                    Answer::Served
                }
            };
            answers.insert(Arc::clone(name), answer);
        }
        let behind: Vec<_> = update.clusters.values().flat_map(leaves).cloned().collect();
        for leaf in behind {
            let made = self.cluster(store, &leaf, &names);
            update.clusters.extend(made.map(|made| (leaf, made)));
        }
        update.route_configuration = Arc::new(routes);
        update.on_demand = Some(Arc::new(answers));
        self.clusters = update.clusters.clone();
        let named = self.clusters.values().flat_map(|one| clusters::secrets(Some(one)));
        let secrets = named.map(|name| (Arc::clone(name), self.secret(store, name))).collect();
        self.secrets = secrets;
        update.secrets = Arc::new(self.secrets.clone());
        update
    }

    /// As it will be, or as it was while secrets have no answer or leaves are not among `names`.
    fn cluster(
        &self,
        store: &Store,
        name: &Arc<str>,
        names: &BTreeSet<Arc<str>>,
    ) -> Option<ClusterUpdate> {
        let made = aggregate::resolve(store, name);
        let waits = clusters::secrets(made.update.as_ref())
            .any(|name| self.secret(store, name) == SecretAnswer::Missing(NO_ANSWER.into()));
        let known = made.leaves.iter().all(|leaf| names.contains(leaf));
        let before = self.clusters.get(name).cloned();
        match made.is_pending || !known {
            true => before,
            false => before.filter(|_| waits).or(made.update),
        }
    }

    fn secret(&self, store: &Store, name: &Arc<str>) -> SecretAnswer {
        match store.look(ResourceType::Secret, name) {
            store::Known::Value(Resource::Secret(secret)) => {
                SecretAnswer::Known(Arc::clone(secret))
            }
            store::Known::Missing(why) => SecretAnswer::Missing(Arc::clone(why)),
            store::Known::Value(_) | store::Known::Pending => {
                let before = self.secrets.get(name).cloned();
                before.unwrap_or_else(|| SecretAnswer::Missing(NO_ANSWER.into()))
            }
        }
    }
}

/// The clusters that an aggregate stands for.
pub(super) fn leaves(cluster: &ClusterUpdate) -> &[Arc<str>] {
    match &cluster.cluster.discovery {
        Discovery::Aggregate(leaves) => leaves,
        _ => &[],
    }
}
