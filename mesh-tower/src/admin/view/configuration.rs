//! [`ConfigurationView`]: which configuration is in force, and since when; and the configuration itself.

use crate::clock;
use crate::mesh::Mesh;
use crate::net::Net;
use mesh_core::model::Listener;
use mesh_core::state::Snapshot;
use mesh_core::update::{ClusterUpdate, Mode};
use mesh_core::{ConfigUpdate, WallTime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Which configuration is in force.
#[derive(Clone, Debug)]
pub(in crate::admin) struct ConfigurationView {
    /// How many were applied; 0: none yet.
    pub(in crate::admin) generation: u64,
    pub(in crate::admin) source: Arc<str>,
    pub(in crate::admin) version: Arc<str>,
    /// Since when routes, clusters and secrets are as they are; other endpoints alone change nothing of it.
    pub(in crate::admin) applied_at: Option<WallTime>,
    pub(in crate::admin) age: Option<Duration>,
    /// Why a newer one was refused.
    pub(in crate::admin) refused: Option<Arc<str>>,
    /// When the copy on disk was written that some of it comes from.
    pub(in crate::admin) stale_since: Option<WallTime>,
    /// Whether the mesh acts, or only measures.
    pub(in crate::admin) observes: bool,
}

impl ConfigurationView {
    pub(in crate::admin) fn of(mesh: &Mesh, snapshot: &Snapshot<Net>) -> Self {
        let configuration = mesh.configuration();
        let now = clock::now();
        let age = snapshot.applied_at().map(|at| now.saturating_duration_since(at));
        let applied_at = age.map(|age| {
            let seconds = clock::wall().as_unix_seconds().saturating_sub(age.as_secs());
            WallTime::from_unix_seconds(seconds)
        });
        Self {
            generation: configuration.generation,
            source: configuration.source,
            version: configuration.version,
            applied_at,
            age,
            refused: configuration.refused,
            stale_since: configuration.stale_since,
            observes: snapshot.mode() == Mode::Observe,
        }
    }
}

/// The configuration in force, put together again from what was made of it. Parts are shared with it.
pub(in crate::admin) fn in_force(snapshot: &Snapshot<Net>) -> ConfigUpdate {
    let mut update = ConfigUpdate::in_code();
    update.origin = snapshot.origin().clone();
    update.mode = snapshot.mode();
    update.unknown_hosts = snapshot.egress().unknown_hosts();
    update.egress = Arc::clone(snapshot.egress().model());
    update.route_configuration = Arc::clone(snapshot.router().configuration());
    update.clusters = snapshot
        .clusters()
        .map(|live| {
            let picker = live.picker();
            let known = picker.balancer().map(|_| Arc::clone(picker.set().assignment()));
            (Arc::clone(live.name()), ClusterUpdate::new(Arc::clone(&live.policy().cluster), known))
        })
        .collect();
    update.listeners = listeners(snapshot);
    update.secrets = Arc::clone(snapshot.secrets());
    update
}

fn listeners(snapshot: &Snapshot<Net>) -> BTreeMap<Arc<str>, Arc<Listener>> {
    let listeners = snapshot.listeners().iter();
    listeners.map(|(name, compiled)| (Arc::clone(name), Arc::clone(compiled.model()))).collect()
}
