//! [`Held`]: the secrets that clusters in force name, each once, however many clusters share it.
//!
//! A secret leads nowhere: another one changes no walk and no cluster, only this table. What the store no
//! longer has, because the next version of a cluster does without it, stays here as long as a cluster in
//! force names it.

use super::version::{Part, Version};
use crate::store::{Known, Store};
use crate::{Resource, ResourceType};
use mesh_core::update::{SecretAnswer, Secrets};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const KIND: ResourceType = ResourceType::Secret;

/// The secrets of a configuration.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// How many clusters name it, and the hash of what is known.
    entries: BTreeMap<Arc<str>, (usize, Option<u64>)>,
    /// What is known of each, as configurations share it.
    answers: Arc<Secrets>,
    /// Those to be looked at again.
    stale: BTreeSet<Arc<str>>,
}

impl Held {
    /// What is known of each.
    pub(super) const fn answers(&self) -> &Arc<Secrets> {
        &self.answers
    }

    /// Whether there is an answer for it, here or in the store.
    pub(super) fn is_answered(&self, store: &Store, name: &Arc<str>) -> bool {
        let is_known = self.entries.get(name).is_some_and(|(_, hash)| hash.is_some());
        is_known || store.look(KIND, name) != Known::Pending
    }

    /// One more cluster names it.
    pub(super) fn keep(&mut self, name: &Arc<str>) {
        let entry = self.entries.entry(Arc::clone(name)).or_default();
        entry.0 += 1;
        if !self.answers.contains_key(name) {
            self.stale.insert(Arc::clone(name));
        }
    }

    /// One cluster less names it. It stays until [`settle`](Self::settle), as others may come.
    pub(super) fn let_go(&mut self, name: &Arc<str>) {
        if let Some((users, _)) = self.entries.get_mut(name) {
            *users = users.saturating_sub(1);
            self.stale.insert(Arc::clone(name));
        }
    }

    /// Something is new about a secret.
    pub(super) fn handle_changed(&mut self, name: &Arc<str>) {
        if self.entries.contains_key(name) {
            self.stale.insert(Arc::clone(name));
        }
    }

    /// Looks again at what has to be; `changed` is told which are there for longer and are other ones.
    pub(super) fn settle(
        &mut self,
        store: &Store,
        version: &mut Version,
        changed: &mut BTreeSet<Arc<str>>,
    ) {
        for name in std::mem::take(&mut self.stale) {
            let Some((users, hash)) = self.entries.get_mut(&name) else { continue };
            if *users == 0 {
                version.replace(*hash, None);
                self.entries.remove(&name);
                Arc::make_mut(&mut self.answers).remove(&name);
                changed.remove(&name);
                continue;
            }
            let answer = match store.look(KIND, &name) {
                Known::Value(Resource::Secret(secret)) => SecretAnswer::Known(Arc::clone(secret)),
                Known::Value(_) => continue,
                Known::Missing(why) => SecretAnswer::Missing(Arc::clone(why)),
                Known::Pending if self.answers.contains_key(&name) => continue,
                Known::Pending => SecretAnswer::Missing("nobody has answered for it yet".into()),
            };
            if store.look(KIND, &name) != Known::Pending {
                let mut part = Part::new("secret", &name);
                part.resource(store, KIND, &name);
                let next = Some(part.hash());
                version.replace(std::mem::replace(hash, next), next);
            }
            if self.answers.get(&name) != Some(&answer) {
                changed.insert(Arc::clone(&name));
                Arc::make_mut(&mut self.answers).insert(name, answer);
            }
        }
    }
}
