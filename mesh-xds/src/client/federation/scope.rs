//! [`Scope`]: the names and the servers of one authority.

use super::ServerAt;
use crate::cascade::Key;
use std::collections::BTreeMap;

/// One authority, or all names of the old style.
#[derive(Debug)]
pub(super) struct Scope {
    /// The preferred ones first, each once; one at least.
    pub(super) servers: Vec<ServerAt>,
    /// The place of the one that counts.
    pub(super) active: usize,
    /// gRFC A95.
    reachability_only: bool,
    names: BTreeMap<Key, Name>,
    /// How many names have no answer.
    unanswered: usize,
}

/// A name that is watched.
#[derive(Debug, Default)]
struct Name {
    watchers: u32,
    answered: bool,
}

impl Scope {
    pub(super) const fn new(servers: Vec<ServerAt>, reachability_only: bool) -> Self {
        let names = BTreeMap::new();
        Self { servers, active: 0, reachability_only, names, unanswered: 0 }
    }

    /// One watcher more; `true`: the first.
    pub(super) fn watch(&mut self, key: &Key) -> bool {
        let name = self.names.entry(key.clone()).or_default();
        name.watchers = name.watchers.saturating_add(1);
        let first = name.watchers == 1;
        self.unanswered += usize::from(first);
        first
    }

    /// One watcher less; `true`: that was the last.
    pub(super) fn unwatch(&mut self, key: &Key) -> bool {
        let Some(name) = self.names.get_mut(key) else { return false };
        name.watchers -= 1;
        let last = name.watchers == 0;
        if last && let Some(name) = self.names.remove(key) {
            self.unanswered -= usize::from(!name.answered);
        }
        last
    }

    /// There is an answer for a name, or none any more.
    pub(super) fn set_answered(&mut self, key: &Key, answered: bool) {
        let Some(name) = self.names.get_mut(key) else { return };
        match (name.answered, answered) {
            (false, true) => self.unanswered -= 1,
            (true, false) => self.unanswered += 1,
            (false, false) | (true, true) => {}
        }
        name.answered = answered;
    }

    pub(super) fn watches(&self, key: &Key) -> bool {
        self.names.contains_key(key)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Key> {
        self.names.keys()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether an active server that can't be reached is reason enough for the next one.
    pub(super) fn needs_fallback(&self) -> bool {
        !self.is_idle() && (self.reachability_only || self.unanswered > 0)
    }
}
