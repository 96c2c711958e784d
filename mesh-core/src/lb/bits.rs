//! Sets of endpoint indexes: one bit each, so that 100,000 endpoints are 12.5 KB and an ejection copies
//! no more than that.

use std::ops::Range;

/// A set of endpoint indexes. What lies beyond the last word is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// The empty set, with room for `len` indexes.
    pub(super) fn with_capacity(len: usize) -> Self {
        Self(Vec::with_capacity(len.div_ceil(64)))
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        let word = self.0.get(index as usize / 64).copied().unwrap_or(0);
        word >> (index % 64) & 1 == 1
    }

    /// Adds `index`; the set grows up to it.
    pub(super) fn insert(&mut self, index: u32) {
        let word = index as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (index % 64);
    }

    /// Takes `index` out, and drops words that have become empty at the end, so that equal sets
    /// compare equal.
    pub(super) fn remove(&mut self, index: u32) {
        if let Some(word) = self.0.get_mut(index as usize / 64) {
            *word &= !(1 << (index % 64));
        }
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    /// What is in `self` and not in `other`.
    pub(super) fn without(&self, other: &Self) -> Self {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        Self(self.0.iter().zip(others).map(|(word, other)| word & !other).collect())
    }

    /// How many are in the set.
    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// How many of `range` are in the set.
    pub(super) fn count_in(&self, range: Range<u32>) -> u32 {
        self.words_in(range).map(|(_, word)| word.count_ones()).sum()
    }

    /// Appends the indexes of `range` that are in the set, in ascending order.
    pub(super) fn append_in(&self, range: Range<u32>, indexes: &mut Vec<u32>) {
        for (base, mut word) in self.words_in(range) {
            if word == u64::MAX {
                indexes.extend(base..base + 64);
                continue;
            }
            while word != 0 {
                indexes.push(base + word.trailing_zeros());
                word &= word - 1;
            }
        }
    }

    /// All indexes of the set, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let words = (0u32..).step_by(64).zip(&self.0);
        words.flat_map(|(base, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(base + bit)
            })
        })
    }

    /// The words that overlap `range`, cut to it, each with the index of its first bit.
    fn words_in(&self, range: Range<u32>) -> impl Iterator<Item = (u32, u64)> {
        let words = range.start / 64..range.end.div_ceil(64);
        words.filter_map(move |word| {
            let mut bits = *self.0.get(word as usize)?;
            if word == range.start / 64 {
                bits &= u64::MAX << (range.start % 64);
            }
            if word == range.end / 64 {
                bits &= (1 << (range.end % 64)) - 1;
            }
            Some((word * 64, bits))
        })
    }
}

/// Which endpoints outlier detection has taken out, by their index in the assignment.
///
/// # Examples
///
/// ```
/// use mesh_core::lb::EjectedBits;
///
/// let mut ejected = EjectedBits::default();
/// ejected.insert(3);
/// assert!(ejected.contains(3) && !ejected.contains(4));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EjectedBits(pub(super) Bits);

impl EjectedBits {
    /// Whether the endpoint at `index` is ejected.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        self.0.contains(index)
    }

    /// Marks the endpoint at `index` as ejected. Memory grows with the largest index.
    pub fn insert(&mut self, index: u32) {
        self.0.insert(index);
    }

    /// Marks the endpoint at `index` as not ejected.
    pub fn remove(&mut self, index: u32) {
        self.0.remove(index);
    }

    /// The indexes of the ejected ones, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter()
    }

    /// How many are ejected.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.count()
    }
}

impl FromIterator<u32> for EjectedBits {
    fn from_iter<I: IntoIterator<Item = u32>>(indexes: I) -> Self {
        let mut ejected = Self::default();
        indexes.into_iter().for_each(|index| ejected.insert(index));
        ejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn bits(indexes: &BTreeSet<u32>) -> Bits {
        indexes.iter().copied().collect::<EjectedBits>().0
    }

    proptest! {
        #[test]
        fn behaves_as_a_sorted_set(
            left in prop::collection::btree_set(0u32..300, 0..200),
            right in prop::collection::btree_set(0u32..300, 0..200),
            start in 0u32..300,
            len in 0u32..300,
        ) {
            let (set, range) = (bits(&left), start..start + len);
            let inside: Vec<u32> = left.range(range.clone()).copied().collect();
            let mut indexes = Vec::new();
            set.append_in(range.clone(), &mut indexes);
            prop_assert_eq!(&indexes, &inside);
            prop_assert_eq!(set.count_in(range) as usize, inside.len());
            let mut difference = Vec::new();
            set.without(&bits(&right)).append_in(0..400, &mut difference);
            prop_assert_eq!(difference, left.difference(&right).copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn removing_leaves_no_trace() {
        let mut ejected: EjectedBits = [1, 200].into_iter().collect();
        ejected.remove(200);
        ejected.remove(5000);
        assert_eq!(ejected, [1].into_iter().collect());
        assert_eq!(ejected.count(), 1);
    }

    #[test]
    fn a_full_word_is_appended_whole() {
        let full: BTreeSet<u32> = (0..130).collect();
        let mut indexes = Vec::new();
        bits(&full).append_in(0..130, &mut indexes);
        assert_eq!(indexes, (0..130).collect::<Vec<_>>());
    }
}
