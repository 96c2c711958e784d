//! [`Authority`]: one root of the graph: what its last walk met, and what it is served by.

use super::version::Part;
use super::walk::{Walk, Walked};
use super::{Key, domains};
use crate::store::Store;
use mesh_core::model::VirtualHost;
use mesh_core::update::Answer;
use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

/// An authority that calls are made to.
#[derive(Debug)]
pub(super) struct Authority {
    /// The names that its listener may have, the better ones first.
    listeners: Vec<Arc<str>>,
    serving: Serving,
    /// What its last walk met.
    needs: Arc<BTreeSet<Key>>,
    /// The endpoints and secrets without an answer that stand between it and its next routes.
    waits_for: BTreeSet<Key>,
    /// Of its answer.
    hash: Option<u64>,
}

/// By what an authority is served, or why it is not; `None`: no answer yet.
pub(super) type Serving = Option<Result<Arc<Served>, Arc<str>>>;

/// The last complete routes of an authority.
#[derive(Debug)]
pub(super) struct Served {
    /// As the control plane has it.
    host: Arc<VirtualHost>,
    /// With the authority as its only domain.
    pub(super) exposed: Arc<VirtualHost>,
    pub(super) clusters: BTreeSet<Arc<str>>,
}

/// What a walk has changed, each before and after it.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) needs: (Arc<BTreeSet<Key>>, Arc<BTreeSet<Key>>),
    pub(super) serving: (Serving, Serving),
    pub(super) hash: (Option<u64>, Option<u64>),
}

impl Authority {
    pub(super) fn new(listeners: Vec<Arc<str>>) -> Self {
        let (needs, waits_for) = (Arc::default(), BTreeSet::new());
        Self { listeners, serving: None, needs, waits_for, hash: None }
    }

    /// The virtual host that serves it.
    pub(super) fn host(&self) -> Option<&Arc<VirtualHost>> {
        self.serving.as_ref()?.as_ref().ok().map(|served| &served.exposed)
    }

    /// Its answer; `None`: none yet.
    pub(super) fn answer(&self) -> Option<Answer> {
        Some(match self.serving.as_ref()? {
            Ok(_) => Answer::Served,
            Err(why) => Answer::Absent(Arc::clone(why)),
        })
    }

    /// Endpoints, or a secret, have their first answer. Whether it waited for them, and waits for no others
    /// now: then it has to be walked.
    pub(super) fn handle_answer(&mut self, key: &Key) -> bool {
        self.waits_for.remove(key) && self.waits_for.is_empty()
    }

    /// Walks from it.
    pub(super) fn walk(&mut self, name: &Arc<str>, store: &Store) -> Effect {
        let before = (self.serving.clone(), self.hash);
        let mut needs = BTreeSet::new();
        let mut walk = Walk::new(store, &mut needs);
        let walked = walk.authority(name, &self.listeners);
        let (waits_for, met) = walk.end();
        self.waits_for = waits_for;
        match walked {
            Walked::Complete(host, clusters) => {
                let mut hash = Part::new("served", name);
                met.iter().for_each(|(kind, name)| hash.resource(store, *kind, name));
                self.hash = Some(hash.hash());
                self.serve(name, host, clusters);
            }
            Walked::Failed(why) => {
                let mut hash = Part::new("absent", name);
                hash.text(&why);
                self.hash = Some(hash.hash());
                self.serving = Some(Err(why));
            }
            Walked::Pending => {}
        }
        // What still serves is kept until its successor is complete.
        if let Some(Ok(served)) = &self.serving {
            let mut walk = Walk::new(store, &mut needs);
            served.clusters.iter().for_each(|cluster| walk.need_cluster(cluster));
        }
        self.effect(needs, before)
    }

    /// Ends it.
    pub(super) fn clear(&mut self) -> Effect {
        let before = (self.serving.take(), self.hash.take());
        self.effect(BTreeSet::new(), before)
    }

    /// What is equal stays the same pointer, so that nobody looks at it again.
    fn serve(&mut self, name: &Arc<str>, host: Arc<VirtualHost>, clusters: BTreeSet<Arc<str>>) {
        let exposed = match &self.serving {
            Some(Ok(served)) if Arc::ptr_eq(&served.host, &host) || served.host == host => {
                if served.clusters == clusters {
                    return;
                }
                Arc::clone(&served.exposed)
            }
            _ => domains::exposed(&host, name),
        };
        self.serving = Some(Ok(Arc::new(Served { host, exposed, clusters })));
    }

    fn effect(&mut self, needs: BTreeSet<Key>, (serving, hash): (Serving, Option<u64>)) -> Effect {
        let before = mem::replace(&mut self.needs, Arc::new(needs));
        Effect {
            needs: (before, Arc::clone(&self.needs)),
            serving: (serving, self.serving.clone()),
            hash: (hash, self.hash),
        }
    }
}

impl Effect {
    /// Whether its answer is another, or its virtual host.
    pub(super) fn is_visible(&self) -> bool {
        match &self.serving {
            (Some(Ok(before)), Some(Ok(after))) => !Arc::ptr_eq(&before.exposed, &after.exposed),
            (Some(Err(before)), Some(Err(after))) => before != after,
            (None, None) => false,
            _ => true,
        }
    }

    /// Whether it is served by the same clusters through the same virtual host.
    pub(super) fn serves_on(&self) -> bool {
        matches!(&self.serving, (Some(Ok(before)), Some(Ok(after))) if Arc::ptr_eq(before, after))
    }
}

/// The clusters that an authority is served by.
pub(super) fn clusters(serving: &Serving) -> impl Iterator<Item = &Arc<str>> {
    serving.iter().flatten().flat_map(|served| &served.clusters)
}
