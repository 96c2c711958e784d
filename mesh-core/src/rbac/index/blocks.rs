//! Which policies are for an address: the addresses are cut where any policy's block begins or ends, so
//! that one search finds the policies of a piece.

use super::super::ip_set::IpSet;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How many entries all pieces together may have for each block, and some for the few: with blocks within
/// blocks within blocks there could be as many as the square of their number. Beyond, nothing is filed.
const MAX_ENTRIES_PER_BLOCK: usize = 16;

/// The policies of addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    v4: Pieces<u32>,
    v6: Pieces<u128>,
}

/// Each piece reaches from its start to the next one's.
#[derive(Clone, Debug)]
struct Pieces<N> {
    starts: Box<[N]>,
    lists: Box<[Vec<u32>]>,
}

impl<N> Default for Pieces<N> {
    fn default() -> Self {
        Self { starts: Box::default(), lists: Box::default() }
    }
}

impl Blocks {
    /// Files policies by their addresses, in the order of their numbers; `None`: there would be too many
    /// pieces.
    pub(super) fn new<'s>(filed: impl Iterator<Item = (u32, &'s IpSet)> + Clone) -> Option<Self> {
        Some(Self {
            v4: Pieces::new(filed.clone().map(|(at, set)| (at, set.v4())), |n| n.checked_add(1))?,
            v6: Pieces::new(filed.map(|(at, set)| (at, set.v6())), |n| n.checked_add(1))?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.starts.is_empty() && self.v6.starts.is_empty()
    }

    /// The policies of an address.
    pub(super) fn find(&self, address: IpAddr) -> Option<&Vec<u32>> {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.find(u32::from(v4)),
            IpAddr::V6(v6) => self.v6.find(u128::from(v6)),
        }
    }

    /// How many policies there are at most for one of the addresses.
    pub(super) fn crowd(&self, set: &IpSet) -> usize {
        self.v4.crowd(set.v4()).max(self.v6.crowd(set.v6()))
    }
}

impl<N: Ord + Copy> Pieces<N> {
    /// `next`: the number after one; `None`: it is the last there is.
    fn new<'s>(
        filed: impl Iterator<Item = (u32, &'s [(N, N)])> + Clone,
        next: fn(N) -> Option<N>,
    ) -> Option<Self>
    where
        N: 's,
    {
        let blocks = || filed.clone().flat_map(|(_, ranges)| ranges);
        let ends = blocks().filter_map(|(_, last)| next(*last));
        let starts: BTreeSet<N> = blocks().map(|(first, _)| *first).chain(ends).collect();
        let starts: Box<[N]> = starts.into_iter().collect();
        let mut left = blocks().count().saturating_mul(MAX_ENTRIES_PER_BLOCK);
        let mut lists: Box<[Vec<u32>]> = starts.iter().map(|_| Vec::new()).collect();
        for (at, ranges) in filed {
            for (first, last) in ranges {
                let begin = starts.partition_point(|start| start < first);
                let end = starts.partition_point(|start| start <= last);
                left = left.checked_sub(end - begin)?;
                for list in &mut lists[begin..end] {
                    list.push(at);
                }
            }
        }
        Some(Self { starts, lists })
    }

    fn find(&self, number: N) -> Option<&Vec<u32>> {
        let after = self.starts.partition_point(|start| *start <= number);
        self.lists.get(after.checked_sub(1)?)
    }

    fn crowd(&self, ranges: &[(N, N)]) -> usize {
        let lists = ranges.iter().flat_map(|(first, last)| {
            let begin = self.starts.partition_point(|start| start < first);
            let end = self.starts.partition_point(|start| start <= last);
            self.lists.get(begin..end).unwrap_or_default()
        });
        lists.map(Vec::len).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Cidr;
    use proptest::prelude::*;

    fn set(blocks: &[(u8, u32)]) -> IpSet {
        let block = |(last, prefix): &(u8, u32)| {
            Cidr::new(IpAddr::from([10, 0, 0, *last]), *prefix).unwrap()
        };
        IpSet::new(&blocks.iter().map(block).collect::<Vec<_>>())
    }

    proptest! {
        /// The same as asking each policy, also at the ends of what there is.
        #[test]
        fn as_each_policy(
            policies in prop::collection::vec(prop::collection::vec((any::<u8>(), 0u32..=32), 1..4), 0..12),
            last in any::<u8>(),
        ) {
            let sets: Vec<IpSet> = policies.iter().map(|blocks| set(blocks)).collect();
            let Some(blocks) = Blocks::new((0u32..).zip(&sets)) else { return Ok(()) };
            for address in [[10, 0, 0, last], [0; 4], [255; 4]] {
                let address = IpAddr::from(address);
                let expected: Vec<u32> = (0u32..)
                    .zip(&sets)
                    .filter(|(_, set)| set.contains(address))
                    .map(|(at, _)| at)
                    .collect();
                prop_assert_eq!(blocks.find(address).cloned().unwrap_or_default(), expected);
            }
            for set in &sets {
                prop_assert!(blocks.crowd(set) >= 1);
            }
        }
    }

    #[test]
    fn blocks_within_blocks_are_not_filed_without_end() {
        let nested: Vec<IpSet> = (0..400).map(|at| set(&[(0, at % 8)])).collect();
        assert!(Blocks::new((0u32..).zip(&nested)).is_some_and(|blocks| !blocks.is_empty()));
        // Each of 300 wide ones is cut by each of 300 narrow ones.
        let wide = (0..300).map(|_| set(&[(0, 8)]));
        let narrow = (0..150).map(|at| set(&[(at, 32)]));
        let sets: Vec<IpSet> = wide.chain(narrow).collect();
        assert!(Blocks::new((0u32..).zip(&sets)).is_none());
    }
}
