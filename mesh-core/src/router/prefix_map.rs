//! [`PrefixMap`]: the longest of many patterns that a text starts (or ends) with.
//!
//! Why not a trie: a walk costs a step per level, so deep nesting is slow. Here the lengths that occur
//! are searched by bisection, with one hash look-up each (Waldvogel et al., "Scalable High Speed IP
//! Routing Lookups"): a table of ten thousand patterns with sixty lengths takes six look-ups, a
//! table of ten takes three.
//!
//! Bisection must learn from a hit that something longer may exist, so every pattern leaves *markers*,
//! its own starts at the lengths where the search for it passes. A marker's value is that of the
//! longest pattern it starts with: a search misled by a marker loses nothing. Building costs
//! `log2(lengths)` entries per pattern. Hits compare the whole text: a hash decides nothing.

use hashbrown::HashMap;
use std::cmp::Ordering;

/// Which end of a text the patterns describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Start,
    End,
}

impl Side {
    #[inline]
    fn take(self, text: &[u8], len: usize) -> &[u8] {
        match self {
            Self::Start => &text[..len],
            Self::End => &text[text.len() - len..],
        }
    }

    /// An order in which a pattern comes right before everything that extends it.
    fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Self::Start => a.cmp(b),
            Self::End => a.iter().rev().cmp(b.iter().rev()),
        }
    }

    fn extends(self, text: &[u8], pattern: &[u8]) -> bool {
        match self {
            Self::Start => text.starts_with(pattern),
            Self::End => text.ends_with(pattern),
        }
    }
}

/// Values by the longest pattern that a text starts or ends with.
#[derive(Clone, Debug)]
pub(super) struct PrefixMap<V> {
    side: Side,
    /// The lengths of patterns, ascending, without 0.
    lengths: Box<[u32]>,
    /// Patterns and markers; a marker that starts with no pattern has no value.
    entries: HashMap<Box<[u8]>, Option<V>>,
    /// The value of the empty pattern.
    empty: Option<V>,
}

impl<V: Copy> PrefixMap<V> {
    /// Builds the map of `patterns`, which are distinct. `inherit` makes the value of a pattern out of
    /// the value of the longest pattern that it extends, and its own; patterns come before what
    /// extends them.
    pub(super) fn build<T>(
        side: Side,
        patterns: Vec<(Box<[u8]>, T)>,
        mut inherit: impl FnMut(Option<V>, T) -> V,
    ) -> Self {
        let mut lengths: Vec<u32> = patterns.iter().map(|(text, _)| text.len() as u32).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths.retain(|len| *len > 0);

        let (texts, mut values): (Vec<_>, Vec<_>) =
            patterns.into_iter().map(|(text, value)| (text, Some(value))).unzip();
        let mut all: Vec<(&[u8], Option<usize>)> = Vec::with_capacity(texts.len() * 2);
        for (at, text) in texts.iter().enumerate() {
            markers(&lengths, text.len(), |len| all.push((side.take(text, len), None)));
            all.push((text, Some(at)));
        }
        // Of equal texts, the pattern comes before its markers, which then go.
        all.sort_by(|(a, x), (b, y)| side.compare(a, b).then(y.is_some().cmp(&x.is_some())));
        all.dedup_by(|(later, _), (earlier, _)| later == earlier);

        let mut map = Self { side, lengths: lengths.into(), entries: HashMap::new(), empty: None };
        map.entries.reserve(all.len());
        let mut nested: Vec<(&[u8], Option<V>)> = Vec::new();
        for (text, at) in all {
            while nested.last().is_some_and(|(outer, _)| !side.extends(text, outer)) {
                nested.pop();
            }
            let above = nested.last().and_then(|(_, value)| *value);
            let value = match at.and_then(|at| values[at].take()) {
                Some(own) => Some(inherit(above, own)),
                None => above,
            };
            nested.push((text, value));
            if text.is_empty() {
                map.empty = value;
            } else {
                map.entries.insert(text.into(), value);
            }
        }
        map
    }

    /// The value of the longest pattern of at most `most` bytes that `text` starts (ends) with.
    #[inline]
    pub(super) fn longest(&self, text: &[u8], most: usize) -> Option<V> {
        let mut best = self.empty;
        let (mut low, mut high) = (0, self.lengths.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let len = self.lengths[middle] as usize;
            let hit = match len <= most {
                true => self.entries.get(self.side.take(text, len)),
                false => None,
            };
            match hit {
                Some(value) => {
                    best = *value;
                    low = middle + 1;
                }
                None => high = middle,
            }
        }
        best
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lengths.is_empty() && self.empty.is_none()
    }
}

/// Calls `mark` with every length at which the search for a pattern of `len` bytes goes on to longer
/// ones.
fn markers(lengths: &[u32], len: usize, mut mark: impl FnMut(usize)) {
    let (mut low, mut high) = (0, lengths.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        match (lengths[middle] as usize).cmp(&len) {
            Ordering::Less => {
                mark(lengths[middle] as usize);
                low = middle + 1;
            }
            Ordering::Equal => return,
            Ordering::Greater => high = middle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn distinct(mut patterns: Vec<String>) -> Vec<String> {
        patterns.sort();
        patterns.dedup();
        patterns
    }

    #[track_caller]
    fn check(side: Side, patterns: &[String], text: &str, most: usize) {
        let entries =
            patterns.iter().enumerate().map(|(at, p)| (p.as_bytes().into(), at)).collect();
        let map = PrefixMap::build(side, entries, |_, own| own);
        let naive = (0..patterns.len())
            .filter(|at| side.extends(text.as_bytes(), patterns[*at].as_bytes()))
            .filter(|at| patterns[*at].len() <= most)
            .max_by_key(|at| patterns[*at].len());
        assert_eq!(map.longest(text.as_bytes(), most), naive, "{patterns:?} {text:?} {most}");
    }

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(
            patterns in prop::collection::vec("[ab]{0,9}", 0..40),
            text in "[ab]{0,12}",
            short in 0usize..4,
        ) {
            let patterns = distinct(patterns);
            let most = text.len().saturating_sub(short);
            check(Side::Start, &patterns, &text, most);
            check(Side::End, &patterns, &text, most);
        }
    }

    #[test]
    fn values_are_inherited_from_the_pattern_that_is_extended() {
        let patterns = ["/", "/a", "/a/b/c", "/a/b/c/d", "/x"];
        let entries = patterns.iter().map(|p| (p.as_bytes().into(), p.len())).collect();
        let map = PrefixMap::build(Side::Start, entries, |above: Option<usize>, own| {
            above.unwrap_or(0) * 10 + own
        });
        assert_eq!(map.longest(b"/a/b/c/d/e", 10), Some(1268));
        assert_eq!(map.longest(b"/a/b/", 5), Some(12));
        assert_eq!(map.longest(b"b", 1), None);
    }
}
