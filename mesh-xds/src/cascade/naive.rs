//! [`Naive`]: what a cascade is to say, found the simple way: everything is walked each time.

use super::walk::{Walk, Walked};
use super::{Key, Watches, aggregate, domains};
use crate::store::Store;
use mesh_core::model::{RouteConfiguration, VirtualHost};
use mesh_core::update::{Answer, ConfigUpdate};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Served = (Arc<VirtualHost>, BTreeSet<Arc<str>>);
/// `None`: none yet.
type Known = Option<Result<Served, Arc<str>>>;

/// A cascade that remembers the last complete routes of each authority, and nothing else.
#[derive(Default)]
pub(super) struct Naive {
    /// The names that the listener may have, and the answer.
    pub(super) authorities: BTreeMap<Arc<str>, (Vec<Arc<str>>, Known)>,
    pub(super) watched: BTreeSet<Key>,
}

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
    pub(super) fn configuration(&self, store: &Store) -> ConfigUpdate {
        let mut update = ConfigUpdate::default();
        let mut routes = RouteConfiguration::default();
        let mut answers = BTreeMap::new();
        for (name, (_, served)) in &self.authorities {
            let answer = match served {
                None => continue,
                Some(Err(why)) => Answer::Absent(Arc::clone(why)),
                Some(Ok((host, clusters))) => {
                    routes.virtual_hosts.push(domains::exposed(host, name));
                    for cluster in clusters {
                        let made = aggregate::resolve(store, cluster).0;
                        update.clusters.extend(made.map(|made| (Arc::clone(cluster), made)));
                    }
                    Answer::Served
                }
            };
            answers.insert(Arc::clone(name), answer);
        }
        update.route_configuration = Arc::new(routes);
        update.on_demand = Some(Arc::new(answers));
        update
    }
}
