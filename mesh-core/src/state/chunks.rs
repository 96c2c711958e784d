//! [`Chunks`]: a long list whose versions share what they have in common.
//!
//! 100,000 endpoints are 100,000 reference counts, each in a cache line of its own: copying the list
//! for one endpoint that changed costs more than everything else about the change. So the list is cut
//! into chunks, and a version that differs in one place copies one chunk and points to the others.

use std::ops::{Index, Range};
use std::sync::Arc;

/// A list in chunks of [`SIZE`]; the last one may be shorter.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    chunks: Box<[Arc<[T]>]>,
    len: usize,
}

/// Items of a chunk: one change copies so many, and a pick finds its chunk by a shift.
const SIZE: usize = 256;

impl<T: Clone> Chunks<T> {
    /// Number of items.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The item at `index`.
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / SIZE)?.get(index % SIZE)
    }

    /// All items in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The items of a range within the list.
    pub(super) fn range(&self, range: Range<usize>) -> impl Iterator<Item = &T> {
        let first = range.start / SIZE;
        let chunks = self.chunks.get(first..).unwrap_or_default().iter();
        chunks.flat_map(|chunk| chunk.iter()).skip(range.start - first * SIZE).take(range.len())
    }

    /// The list with `items` in the place of `range`. Chunks before it are shared; chunks behind it
    /// are when nothing moves.
    pub(super) fn splice(&self, range: Range<usize>, items: Vec<T>) -> Self {
        let first = range.start / SIZE;
        // Behind the last chunk that is touched, in both versions.
        let rest = if items.len() == range.len() {
            range.end.div_ceil(SIZE).max(first)
        } else {
            self.chunks.len()
        };
        let len = self.len - range.len() + items.len();
        let behind = range.end..self.len.min(rest * SIZE).max(range.end);
        let before = self.range(first * SIZE..range.start).cloned();
        let touched = before.chain(items).chain(self.range(behind).cloned());
        let touched: Vec<T> = touched.collect();
        let mut chunks = Vec::with_capacity(len.div_ceil(SIZE));
        chunks.extend_from_slice(&self.chunks[..first.min(self.chunks.len())]);
        chunks.extend(touched.chunks(SIZE).map(Arc::from));
        chunks.extend_from_slice(&self.chunks[rest.min(self.chunks.len())..]);
        Self { chunks: chunks.into_boxed_slice(), len }
    }
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Box::default(), len: 0 }
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.chunks[index as usize / SIZE][index as usize % SIZE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(items: impl Iterator<Item = u32>) -> Chunks<u32> {
        Chunks::default().splice(0..0, items.collect())
    }

    proptest! {
        #[test]
        fn a_spliced_list_is_what_a_spliced_vector_is(
            len in 0usize..1200,
            at in 0.0..=1.0f64,
            out in 0usize..700,
            items in 0u32..700,
        ) {
            let start = (len as f64 * at) as usize;
            let range = start..(start + out).min(len);
            let mut expected: Vec<u32> = (0..len as u32).collect();
            let spliced = list(expected.iter().copied());
            let spliced = spliced.splice(range.clone(), (0..items).map(|n| n + 10_000).collect());
            expected.splice(range.clone(), (0..items).map(|n| n + 10_000));
            prop_assert_eq!(spliced.len(), expected.len());
            prop_assert!(spliced.iter().eq(&expected));
            prop_assert!(expected.iter().enumerate().all(|(at, n)| spliced[at as u32] == *n));
            prop_assert_eq!(spliced.get(expected.len()), None);
            let part = range.start..(range.start + 300).min(expected.len());
            prop_assert!(spliced.range(part.clone()).eq(&expected[part]));
        }
    }

    #[test]
    fn only_the_chunk_of_a_change_is_copied() {
        let before = list(0..1000);
        let after = before.splice(300..301, vec![7]);
        let shared = before.chunks.iter().zip(&after.chunks).map(|(b, a)| Arc::ptr_eq(b, a));
        assert_eq!(shared.collect::<Vec<_>>(), [true, false, true, true]);
        let longer = before.splice(1000..1000, vec![7]);
        let shared = before.chunks.iter().zip(&longer.chunks).map(|(b, a)| Arc::ptr_eq(b, a));
        assert_eq!(shared.collect::<Vec<_>>(), [true, true, true, false]);
    }
}
