//! The secrets in force: what connections may be made with, whatever clusters are configured.
//!
//! Make before break, as with endpoints: an adapter is told of new secrets before any cluster that names them
//! is published, and of gone ones after no cluster names them any more. A cluster that is leaving still makes
//! connections for the calls that chose it, so it keeps its secrets until it has left.

use super::{Attach, Updater};
use crate::update::{self, ConfigUpdate, Secrets};
use std::sync::Arc;

impl<A: Attach> Updater<A> {
    /// Puts secrets that are in force in the place of equal ones; whether all of them are.
    pub(super) fn adopt_secrets(&self, update: &mut ConfigUpdate) -> bool {
        let known = &self.config.secrets;
        let is_same = Arc::ptr_eq(known, &update.secrets) || *known == update.secrets;
        if is_same {
            update.secrets = Arc::clone(known);
        }
        is_same
    }

    /// Before clusters change: the next secrets, and those that only clusters of before name.
    pub(super) fn open_secrets(&mut self, next: &Arc<Secrets>) {
        let stay = self.secrets.keys().all(|name| next.contains_key(name));
        let all = if stay { Arc::clone(next) } else { united(&self.secrets, next) };
        self.tell_secrets(all);
    }

    /// After clusters changed, or some have left: the secrets of the configuration, and those that only
    /// leaving clusters name.
    pub(super) fn settle_secrets(&mut self) {
        if Arc::ptr_eq(&self.secrets, &self.config.secrets) {
            return;
        }
        let mut kept = Secrets::new();
        for name in self.leaving.secrets() {
            if let Some((name, answer)) = self.secrets.get_key_value(name) {
                kept.insert(Arc::clone(name), answer.clone());
            }
        }
        let next = Arc::clone(&self.config.secrets);
        let is_known = kept.keys().all(|name| next.contains_key(name));
        self.tell_secrets(if is_known { next } else { united(&kept, &next) });
    }

    /// Takes over what became of some secrets; whether anything is another now.
    pub(super) fn replace_secrets(&mut self, later: &Secrets) -> bool {
        let changed = update::replace_secrets(&mut self.config.secrets, later.clone());
        if changed {
            self.settle_secrets();
        }
        changed
    }

    fn tell_secrets(&mut self, next: Arc<Secrets>) {
        if Arc::ptr_eq(&self.secrets, &next) {
            return;
        }
        let changed = self.secrets != next;
        self.secrets = next;
        if changed {
            self.attach.secrets_changed(&self.secrets);
        }
    }
}

/// Those of both; of one name, that of `next`.
fn united(before: &Secrets, next: &Secrets) -> Arc<Secrets> {
    let mut all = before.clone();
    all.extend(next.iter().map(|(name, answer)| (Arc::clone(name), answer.clone())));
    Arc::new(all)
}
