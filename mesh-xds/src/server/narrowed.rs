//! A part of a snapshot: what one reader of resources that are served as they are written may have.

use super::references::{self, Beside};
use super::snapshot::Snapshot;
use crate::ResourceType;
use crate::encode::Encoded;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Snapshot {
    /// The listeners whose names `may_read` takes, with everything that they lead to, and nothing else. A route that
    /// takes its cluster from a header leads to every cluster, and with them to every secret that one of those names,
    /// private keys among them ([`by_header`](Self::by_header)); and a listener to those that its access loggers and its
    /// tracer report to.
    ///
    /// Every message of it is read once more, so this is for files: what changes a thousand times a second
    /// is narrowed before it is encoded ([`ConfigUpdate::restricted`](mesh_core::ConfigUpdate::restricted)).
    #[must_use]
    pub fn narrowed(&self, may_read: impl Fn(&str) -> bool) -> Self {
        let listeners = self.resources(ResourceType::Listener);
        let listeners = listeners.filter(|served| may_read(&served.name));
        let mut next: Vec<(ResourceType, String)> =
            listeners.map(|served| (ResourceType::Listener, served.name.to_string())).collect();
        let (mut taken, mut known) = (Vec::new(), BTreeSet::new());
        while let Some((kind, name)) = next.pop() {
            let Some(served) = self.find(kind, &name) else { continue };
            if !known.insert((kind, name)) {
                continue;
            }
            next.extend(references::of(kind, &served.body));
            let Beside { clusters, any_cluster } = references::beside(kind, &served.body);
            let any = self.resources(ResourceType::Cluster).filter(|_| any_cluster);
            let beside = clusters.into_iter().chain(any.map(|served| served.name.to_string()));
            next.extend(beside.map(|name| (ResourceType::Cluster, name)));
            taken.push(Encoded {
                kind,
                name: Arc::clone(&served.name),
                body: served.body.clone(),
                by_name_only: served.by_name_only,
            });
        }
        Self::new(taken)
    }

    /// What takes a cluster from a header: which one is meant nobody knows before the request, so whoever may read it
    /// may read all clusters and the secrets of all.
    #[must_use]
    pub fn by_header(&self) -> Vec<(ResourceType, Arc<str>)> {
        let kinds = [ResourceType::Listener, ResourceType::RouteConfiguration];
        let all = kinds.into_iter().flat_map(|kind| {
            let any = self.resources(kind);
            let any = any.filter(move |any| references::beside(kind, &any.body).any_cluster);
            any.map(move |any| (kind, Arc::clone(&any.name)))
        });
        all.collect()
    }
}
