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
    /// The clusters as they were made last: one stays as it was until its secrets, or all leaves of an
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
        let served: BTreeSet<_> = served.flat_map(|(_, clusters)| clusters.clone()).collect();
        self.make(store, &served);
        for (name, (_, served)) in &self.authorities {
            let answer = match served {
                None => continue,
                Some(Err(why)) => Answer::Absent(Arc::clone(why)),
                Some(Ok((host, _))) => {
                    routes.virtual_hosts.push(domains::exposed(host, name));
                    Answer::Served
                }
            };
            answers.insert(Arc::clone(name), answer);
        }
        update.route_configuration = Arc::new(routes);
        update.on_demand = Some(Arc::new(answers));
        let told = self.clusters.keys().filter_map(|name| Some((name.clone(), self.told(name)?)));
        update.clusters = told.collect();
        let named = self.clusters.values().flat_map(|one| clusters::secrets(Some(one)));
        let secrets = named.map(|name| (Arc::clone(name), self.secret(store, name))).collect();
        self.secrets = secrets;
        update.secrets = Arc::new(self.secrets.clone());
        update
    }

    /// Makes each of `served`, and each that those stand for, until no more can be made.
    fn make(&mut self, store: &Store, served: &BTreeSet<Arc<str>>) {
        let names = self.with_leaves(served);
        self.clusters.retain(|name, _| names.contains(name));
        loop {
            let before = self.clusters.clone();
            for name in &names {
                let Some(made) = self.cluster(store, name, &names) else { continue };
                match made {
                    Some(made) => self.clusters.insert(Arc::clone(name), made),
                    None => self.clusters.remove(name),
                };
            }
            if self.clusters == before {
                break;
            }
        }
        let names = self.with_leaves(served);
        self.clusters.retain(|name, _| names.contains(name));
    }

    /// These clusters, and all that they stand for.
    fn with_leaves(&self, served: &BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        let mut names = served.clone();
        loop {
            let known = names.len();
            let made: Vec<_> = names.iter().filter_map(|name| self.clusters.get(name)).collect();
            names.extend(made.into_iter().flat_map(leaves).cloned());
            if names.len() == known {
                return names;
            }
        }
    }

    /// What is told of a cluster: an aggregate with those of its leaves that are there.
    fn told(&self, name: &Arc<str>) -> Option<ClusterUpdate> {
        let made = self.clusters.get(name)?;
        if leaves(made).is_empty() {
            return Some(made.clone());
        }
        let mut found = Vec::new();
        for leaf in leaves(made) {
            match self.told(leaf) {
                None => {}
                Some(told) if leaves(&told).is_empty() => found.push(Arc::clone(leaf)),
                Some(told) => found.extend(leaves(&told).iter().cloned()),
            }
        }
        let mut seen = BTreeSet::new();
        found.retain(|leaf| seen.insert(Arc::clone(leaf)));
        (!found.is_empty()).then(|| aggregate::standing_for(made, &found))
    }

    /// As it is to be; `None`: it waits, for secrets or for leaves that are not among `names` or are
    /// aggregates still.
    fn cluster(
        &self,
        store: &Store,
        name: &Arc<str>,
        names: &BTreeSet<Arc<str>>,
    ) -> Option<Option<ClusterUpdate>> {
        let made = aggregate::resolve(store, name);
        let waits = self.clusters.contains_key(name)
            && clusters::secrets(made.update.as_ref())
                .any(|name| self.secret(store, name) == SecretAnswer::Missing(NO_ANSWER.into()));
        let is_leaf = |leaf: &Arc<str>| {
            names.contains(leaf)
                && self.clusters.get(leaf).is_none_or(|leaf| leaves(leaf).is_empty())
        };
        let is_complete = !made.is_pending && made.leaves.iter().all(is_leaf);
        (is_complete && !waits).then_some(made.update)
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
