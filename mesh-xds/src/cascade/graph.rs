//! [`Graph`]: what is asked for, and what follows from the answers: by name, or everything.

use super::kept::Restored;
use super::{Cascade, Change, Everything, Watches};
use crate::last_good::KeptListener;
use crate::load_report::LoadKey;
use crate::store::{Received, Store};
use crate::{Resource, ResourceType};
use mesh_core::{ConfigUpdate, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One of two.
#[derive(Debug)]
pub(crate) enum Graph {
    ByName(Box<Cascade>),
    Everything(Box<Everything>),
}

/// Hands the same to either.
macro_rules! either {
    ($graph:expr, $one:ident => $do:expr) => {
        match $graph {
            Graph::ByName($one) => $do,
            Graph::Everything($one) => $do,
        }
    };
}

impl Graph {
    /// See [`Cascade::add`]; of everything there are no authorities.
    pub(crate) fn add(&mut self, authority: &Arc<str>, listeners: Vec<Arc<str>>) {
        if let Self::ByName(cascade) = self {
            cascade.add(authority, listeners);
        }
    }

    /// See [`Cascade::remove`].
    pub(crate) fn remove(&mut self, authority: &Arc<str>) {
        if let Self::ByName(cascade) = self {
            cascade.remove(authority);
        }
    }

    /// See [`Cascade::add_server`] and [`Everything::add_server`].
    pub(crate) fn add_server(&mut self, name: &Arc<str>, resource: Result<Arc<str>, Arc<str>>) {
        either!(self, graph => graph.add_server(name, resource));
    }

    /// See [`Cascade::remove_server`].
    pub(crate) fn remove_server(&mut self, name: &Arc<str>) {
        either!(self, graph => graph.remove_server(name));
    }

    /// See [`Cascade::handle_changed`].
    pub(crate) fn handle_changed(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        resource: Resource,
        received: Received,
    ) {
        either!(self, graph => graph.handle_changed(kind, name, resource, received));
    }

    /// See [`Cascade::handle_restored`].
    pub(crate) fn handle_restored(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        resource: Resource,
        received: Received,
    ) {
        either!(self, graph => graph.handle_restored(kind, name, resource, received));
    }

    /// See [`Cascade::handle_kept`].
    pub(crate) fn handle_kept(&mut self, name: &Arc<str>, restored: Restored) {
        either!(self, graph => graph.handle_kept(name, restored));
    }

    /// See [`Cascade::handle_failed`].
    pub(crate) fn handle_failed(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        error: Arc<str>,
        kept: bool,
    ) {
        either!(self, graph => graph.handle_failed(kind, name, error, kept));
    }

    /// See [`Cascade::handle_forgotten`].
    pub(crate) fn handle_forgotten(&mut self, kind: ResourceType, name: &Arc<str>) {
        either!(self, graph => graph.handle_forgotten(kind, name));
    }

    /// The last good values.
    pub(crate) const fn store(&self) -> &Store {
        either!(self, graph => graph.store())
    }

    /// The same, for what is in force of it.
    pub(crate) const fn store_mut(&mut self) -> &mut Store {
        either!(self, graph => graph.store_mut())
    }

    /// See [`Cascade::handle_withheld`].
    pub(crate) fn handle_withheld(&mut self, kind: ResourceType, name: &Arc<str>, why: Arc<str>) {
        either!(self, graph => graph.handle_withheld(kind, name, why));
    }

    /// What to watch now; the wildcard is the name `*`.
    pub(crate) fn poll_watches(&mut self, now: Timestamp) -> Watches {
        match self {
            Self::ByName(cascade) => cascade.poll_watches(),
            Self::Everything(everything) => everything.poll_watches(now),
        }
    }

    /// When there may be a change although nothing happened.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::ByName(_) => None,
            Self::Everything(everything) => everything.poll_timeout(),
        }
    }

    /// What became of the configuration.
    pub(crate) fn poll_change(&mut self) -> Option<Change> {
        either!(self, graph => graph.poll_change())
    }

    /// The configuration in force.
    pub(crate) fn configuration(&mut self) -> ConfigUpdate {
        either!(self, graph => graph.configuration())
    }

    /// The listeners of servers of which the last that could be stays, and why.
    pub(crate) fn kept_listeners(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        either!(self, graph => graph.kept_listeners())
    }

    /// What is in force of them, as it was received, by their names.
    pub(crate) fn kept_forms(&self) -> BTreeMap<Arc<str>, KeptListener> {
        either!(self, graph => graph.kept_forms())
    }

    /// The clusters whose load is to be reported.
    pub(crate) fn load_reports(&self) -> BTreeSet<LoadKey> {
        either!(self, graph => graph.load_reports())
    }

    /// Whether all that was asked for has its answer; of everything, whether there was a complete
    /// configuration.
    pub(crate) fn is_complete(&self) -> bool {
        either!(self, graph => graph.is_complete())
    }

    /// Whether there is anything to say yet. By name there is: that nothing is wanted is an answer.
    pub(crate) fn has_begun(&self) -> bool {
        match self {
            Self::ByName(_) => true,
            Self::Everything(everything) => everything.has_begun(),
        }
    }

    /// The graph of everything, if it is that.
    pub(crate) const fn everything(&mut self) -> Option<&mut Everything> {
        match self {
            Self::ByName(_) => None,
            Self::Everything(everything) => Some(everything),
        }
    }
}
