//! [`Drops`]: what was dropped of a cluster's attempts, by category.
//!
//! Categories are the configuration's, and known only when something is dropped. The list of them is
//! replaced when a new one comes, so that counting is a search in a short list and an addition: a cluster
//! drops most when there is least time for it.

use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most categories of one cluster that are told apart, over its life; later ones count as `other`.
pub(crate) const MAX_CATEGORIES: usize = 64;

/// The label of categories beyond [`MAX_CATEGORIES`].
const OTHER: &str = "other";

/// Counts by category.
#[derive(Default)]
pub(super) struct Drops {
    known: ArcSwap<Vec<Arc<Counter>>>,
    other: AtomicU64,
}

struct Counter {
    category: Arc<str>,
    count: AtomicU64,
}

impl Drops {
    /// An attempt of `category` was dropped.
    pub(super) fn count(&self, category: &Arc<str>) {
        let find = || {
            let known = self.known.load();
            let counter = known.iter().find(|counter| counter.category == *category);
            counter.map(|counter| counter.count.fetch_add(1, Ordering::Relaxed)).is_some()
        };
        if find() {
            return;
        }
        self.learn(category);
        if !find() {
            self.other.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cold]
    fn learn(&self, category: &Arc<str>) {
        self.known.rcu(|known| {
            let is_known = known.iter().any(|counter| counter.category == *category);
            if is_known || known.len() >= MAX_CATEGORIES {
                return Arc::clone(known);
            }
            let mut more = Vec::clone(known);
            let (category, count) = (Arc::clone(category), AtomicU64::new(0));
            more.push(Arc::new(Counter { category, count }));
            Arc::new(more)
        });
    }

    /// What was dropped of each category, in the order in which they were first dropped.
    pub(super) fn read(&self) -> Vec<(Arc<str>, u64)> {
        let known = self.known.load();
        let count = |counter: &Arc<Counter>| {
            (Arc::clone(&counter.category), counter.count.load(Ordering::Relaxed))
        };
        let mut found: Vec<_> = known.iter().map(count).collect();
        let other = self.other.load(Ordering::Relaxed);
        if other > 0 {
            found.push((OTHER.into(), other));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_told_apart_up_to_a_bound() {
        let drops = Drops::default();
        for number in 0..MAX_CATEGORIES + 3 {
            let category = format!("c{number}").into();
            (0..2).for_each(|_| drops.count(&category));
        }
        let found = drops.read();
        assert_eq!(found.len(), MAX_CATEGORIES + 1);
        assert_eq!(found[0], ("c0".into(), 2));
        assert_eq!(found[MAX_CATEGORIES], (OTHER.into(), 6));
    }

    #[test]
    fn nothing_is_lost_when_a_category_is_new_to_many_threads() {
        let drops = Drops::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|n| drops.count(&format!("c{}", n % 10).into())));
            }
        });
        let found = drops.read();
        assert_eq!(found.len(), 10);
        assert!(found.iter().all(|(_, count)| *count == 40), "{found:?}");
    }
}
