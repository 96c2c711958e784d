//! Old and new assignment → where they differ.
//!
//! An update rarely changes much, and 100,000 endpoints are many: one pass over both finds everything
//! that the rest needs to know, so that nothing else goes over all of them again. What is the same
//! pointer is not even compared.

use super::securities::Securities;
use crate::model::{ClusterLoadAssignment, Endpoint, LocalityEndpoints, TlsLabels};
use std::ops::Range;
use std::sync::Arc;

/// Where two assignments differ; endpoints are counted through their localities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diff {
    /// The old endpoints that are not at the same place, counted from the start or from the end. One that is
    /// secured in another way is not the same.
    pub(super) old: Range<usize>,
    /// The new endpoints in their place.
    pub(super) new: Range<usize>,
    /// Outside of this range of the new, endpoints are equal in everything.
    pub(super) changed: Range<usize>,
    /// The localities are the same ones in the same order, with the same number of endpoints.
    pub(super) same_layout: bool,
}

impl Diff {
    pub(super) fn between(
        old: &ClusterLoadAssignment,
        new: &ClusterLoadAssignment,
        securities: &Securities<'_>,
    ) -> Self {
        let (old_len, new_len) = (old.len(), new.len());
        if std::ptr::eq(old, new) && securities.are_same() {
            let nothing = new_len..new_len;
            let (old, new, changed) = (nothing.clone(), nothing.clone(), nothing);
            return Self { old, new, changed, same_layout: true };
        }
        let same_layout = old.localities.len() == new.localities.len()
            && old.localities.iter().zip(&new.localities).all(is_alike);
        let mut prefix = Walk::new(securities, usize::MAX);
        prefix.run(Cursor::new(old), Cursor::new(new), false);
        let shorter = old_len.min(new_len);
        let mut suffix = Walk::new(securities, shorter - prefix.same);
        suffix.run(Cursor::new(old), Cursor::new(new), true);
        let (old, new) = (prefix.same..old_len - suffix.same, prefix.same..new_len - suffix.same);
        // The first change from the start, the last one from the end.
        let mut changed = new.clone();
        if let Some((first, last)) = prefix.changed {
            changed = if changed.is_empty() && old.is_empty() {
                first..last + 1
            } else {
                first..changed.end.max(last + 1)
            };
        }
        if let Some((first, last)) = suffix.changed {
            // Counted from the end: the first one that was met is the last one.
            let (from, to) = (new_len - 1 - last, new_len - first);
            changed = changed.start.min(from)..changed.end.max(to);
        }
        Self { old, new, changed, same_layout }
    }

    /// Whether the two are equal.
    pub(super) const fn is_nothing(&self) -> bool {
        self.same_layout
            && self.old.start == self.old.end
            && self.new.start == self.new.end
            && self.changed.start == self.changed.end
    }
}

/// The same place, the same part of the traffic, the same labels, as many endpoints.
fn is_alike((old, new): (&Arc<LocalityEndpoints>, &Arc<LocalityEndpoints>)) -> bool {
    Arc::ptr_eq(old, new)
        || old.locality == new.locality
            && (old.weight, old.priority) == (new.weight, new.priority)
            && old.tls_labels == new.tls_labels
            && old.endpoints.len() == new.endpoints.len()
}

/// How far two assignments have the same addresses, and what is different of those.
#[derive(Debug)]
struct Walk<'a> {
    securities: &'a Securities<'a>,
    most: usize,
    same: usize,
    /// The first and the last that differ in anything else.
    changed: Option<(usize, usize)>,
}

impl<'a> Walk<'a> {
    const fn new(securities: &'a Securities<'a>, most: usize) -> Self {
        Self { securities, most, same: 0, changed: None }
    }

    fn run(&mut self, mut old: Cursor<'_>, mut new: Cursor<'_>, backwards: bool) {
        loop {
            let len = old.run(backwards).min(new.run(backwards)).min(self.most - self.same);
            if len == 0 {
                return;
            }
            let labels = (old.labels, new.labels);
            let (before, after) = (old.take(len, backwards), new.take(len, backwards));
            if std::ptr::eq(before, after) && self.securities.are_same() {
                self.same += len;
                continue;
            }
            let pairs = before.iter().zip(after);
            let goes_on = if backwards {
                self.compare(pairs.rev(), labels)
            } else {
                self.compare(pairs, labels)
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Whether all of them have the same addresses and are secured alike; `labels` are their localities'.
    fn compare<'e>(
        &mut self,
        pairs: impl Iterator<Item = (&'e Endpoint, &'e Endpoint)>,
        labels: (Option<&TlsLabels>, Option<&TlsLabels>),
    ) -> bool {
        for (before, after) in pairs {
            if before.address != after.address
                || !self.securities.are_alike((labels.0, before), (labels.1, after))
            {
                return false;
            }
            if before != after {
                let first = self.changed.map_or(self.same, |(first, _)| first);
                self.changed = Some((first, self.same));
            }
            self.same += 1;
        }
        true
    }
}

/// Where a walk stands: the localities that are left, and what is left of the one it is in.
struct Cursor<'a> {
    localities: &'a [Arc<LocalityEndpoints>],
    rest: &'a [Endpoint],
    /// The labels of the locality that it is in.
    labels: Option<&'a TlsLabels>,
}

impl<'a> Cursor<'a> {
    fn new(assignment: &'a ClusterLoadAssignment) -> Self {
        Self { localities: &assignment.localities, rest: &[], labels: None }
    }

    /// How many endpoints come in one run.
    fn run(&mut self, backwards: bool) -> usize {
        while self.rest.is_empty() {
            let next = if backwards {
                self.localities.split_last()
            } else {
                self.localities.split_first()
            };
            let Some((next, others)) = next else { break };
            (self.rest, self.localities) = (&next.endpoints, others);
            self.labels = next.tls_labels.as_deref();
        }
        self.rest.len()
    }

    fn take(&mut self, len: usize, backwards: bool) -> &'a [Endpoint] {
        if backwards {
            let (rest, taken) = self.rest.split_at(self.rest.len() - len);
            self.rest = rest;
            taken
        } else {
            let (taken, rest) = self.rest.split_at(len);
            self.rest = rest;
            taken
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixture::assignment;
    use super::*;
    use proptest::prelude::*;

    /// Assignments as in the fixture; `old`, `new` and `changed` as ranges.
    #[track_caller]
    fn check(old: &str, new: &str, expected: [Range<usize>; 3], same_layout: bool) {
        let diff = Diff::between(&assignment(old), &assignment(new), &Securities::default());
        let [old, new, changed] = expected;
        assert_eq!(diff, Diff { old, new, changed, same_layout });
    }

    #[test]
    fn a_difference_is_found_where_it_is() {
        check("1 2 3 4", "1 2 3 4", [4..4, 4..4, 4..4], true);
        check("1 2 3 4", "1 2 9 4", [2..3, 2..3, 2..3], true);
        check("1 2 3 4", "1 3 4", [1..2, 1..1, 1..1], false);
        check("1 2 | 3 4", "1 2 | 3 9 4", [3..3, 3..4, 3..4], false);
        check("1 2 3 4 5", "1*2 2 9 4 5-", [2..3, 2..3, 0..5], true);
        check("1 2 3 4 5", "1 2*3 3 4*2 5", [5..5, 5..5, 1..4], true);
        check("1 2 | 3", "1 | 2 3", [3..3, 3..3, 3..3], false);
        check("", "1", [0..0, 0..1, 0..1], false);
        check("1 1 1", "1 1", [2..3, 2..2, 2..2], false);
    }

    #[test]
    fn the_same_pointers_are_nothing_new() {
        let (old, mut new) = (assignment("1 2 | 3 4 | 5"), assignment("1 2 | 3 9 | 5"));
        new.localities[0] = Arc::clone(&old.localities[0]);
        new.localities[2] = Arc::clone(&old.localities[2]);
        let diff = Diff::between(&old, &new, &Securities::default());
        assert_eq!((diff.old, diff.new, diff.changed), (3..4, 3..4, 3..4));
        assert!(Diff::between(&old, &old.clone(), &Securities::default()).is_nothing());
    }

    fn flat(assignment: &ClusterLoadAssignment) -> Vec<Endpoint> {
        assignment.localities.iter().flat_map(|locality| locality.endpoints.clone()).collect()
    }

    proptest! {
        #[test]
        fn outside_of_it_all_is_equal(
            old in prop::collection::vec((1u16..9, 1u32..3), 0..12),
            new in prop::collection::vec((1u16..9, 1u32..3), 0..12),
        ) {
            let text = |words: &[(u16, u32)]| {
                words.iter().map(|(port, weight)| format!("{port}*{weight} ")).collect::<String>()
            };
            let (old, new) = (assignment(&text(&old)), assignment(&text(&new)));
            let diff = Diff::between(&old, &new, &Securities::default());
            prop_assert_eq!(diff.is_nothing(), old == new);
            let (old, new) = (flat(&old), flat(&new));
            prop_assert_eq!(old.len() - diff.old.len(), new.len() - diff.new.len());
            let moved = |index: usize| {
                if index < diff.new.start { index } else { index + old.len() - new.len() }
            };
            for index in (0..new.len()).filter(|index| !diff.new.contains(index)) {
                prop_assert_eq!(&old[moved(index)].address, &new[index].address);
                if !diff.changed.contains(&index) {
                    prop_assert_eq!(&old[moved(index)], &new[index]);
                }
            }
        }
    }
}
