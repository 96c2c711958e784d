//! [`Users`]: who has looked at which resource, so that a change goes to those whom it concerns.

use super::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The users of each resource, by their names. A resource without users is not in here.
#[derive(Debug, Default)]
pub(super) struct Users(BTreeMap<Key, BTreeSet<Arc<str>>>);

impl Users {
    /// Who uses a resource.
    pub(super) fn of(&self, key: &Key) -> impl Iterator<Item = &Arc<str>> {
        self.0.get(key).into_iter().flatten()
    }

    /// Whether anybody does.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// Takes in that `user` uses `after` in place of `before`. `first_or_last` is told each resource that
    /// gets its first user or loses its last one, before that happens.
    pub(super) fn replace(
        &mut self,
        user: &Arc<str>,
        before: &BTreeSet<Key>,
        after: &BTreeSet<Key>,
        mut first_or_last: impl FnMut(&Key, bool),
    ) {
        for key in after.difference(before) {
            let users = self.0.entry(key.clone()).or_default();
            if users.is_empty() {
                first_or_last(key, false);
            }
            users.insert(Arc::clone(user));
        }
        for key in before.difference(after) {
            let Some(users) = self.0.get_mut(key) else { continue };
            users.remove(user);
            if users.is_empty() {
                first_or_last(key, true);
                self.0.remove(key);
            }
        }
    }
}
