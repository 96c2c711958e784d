//! [`Refusals`]: what policies refused, by a word, by who refused, and by the policy; up to a bound.
//!
//! A cell is found by its labels when something is refused; that takes no lock, and what is refused is not the common
//! path.

use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most refusals of a listener that are told apart: words times who refuses times policies.
pub(crate) const MAX_REFUSALS: usize = 1000;

/// A word, who refused, and by which policy.
type Key = (&'static str, Arc<str>, Arc<str>);

/// How often what was refused.
#[derive(Default)]
pub(super) struct Refusals(ArcSwap<BTreeMap<Key, Arc<AtomicU64>>>);

impl Refusals {
    /// Something was refused. Beyond the bound it counts as `other`.
    pub(super) fn count(&self, word: &'static str, by: &Arc<str>, policy: &Arc<str>) {
        let key = (word, Arc::clone(by), Arc::clone(policy));
        if let Some(cell) = self.0.load().get(&key) {
            cell.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.0.rcu(|known| {
            let mut known = BTreeMap::clone(known);
            if known.len() < MAX_REFUSALS {
                known.entry(key.clone()).or_default();
            } else {
                known.entry(other()).or_default();
            }
            known
        });
        let known = self.0.load();
        if let Some(cell) = known.get(&key).or_else(|| known.get(&other())) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each word, who refused, the policy, and how often.
    pub(super) fn visit(&self, mut visit: impl FnMut([&str; 3], u64)) {
        for ((word, by, policy), cell) in &**self.0.load() {
            visit([word, by, policy], cell.load(Ordering::Relaxed));
        }
    }
}

fn other() -> Key {
    ("other", Arc::from(""), Arc::from(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_up_to_a_bound() {
        let refusals = Refusals::default();
        let filter = Arc::from("rbac");
        for number in 0..MAX_REFUSALS + 5 {
            refusals.count("rbac_denied", &filter, &format!("{number:04}").into());
        }
        refusals.count("rbac_denied", &filter, &"0000".into());
        let mut seen = Vec::new();
        refusals.visit(|labels, count| seen.push(format!("{} {count}", labels.join("/"))));
        assert_eq!(seen.len(), MAX_REFUSALS + 1);
        assert!(seen.contains(&"rbac_denied/rbac/0000 2".to_owned()));
        assert!(seen.contains(&"other// 5".to_owned()));
    }
}
