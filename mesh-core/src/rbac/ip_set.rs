//! Many blocks of addresses as sorted ranges: one search, however many there are.

use crate::model::Cidr;
use std::net::IpAddr;

/// Addresses of both families, apart: no block of one holds addresses of the other.
#[derive(Clone, Debug, Default)]
pub(super) struct IpSet {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl IpSet {
    pub(super) fn new<'c>(blocks: impl IntoIterator<Item = &'c Cidr>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for block in blocks {
            match (block.first(), block.last()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.into(), last.into())),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((first.into(), last.into())),
                // A block is of one family.
                _ => {}
            }
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }

    /// The addresses of all of `sets`.
    pub(super) fn union(sets: &[Self]) -> Self {
        let v4 = sets.iter().flat_map(|set| set.v4.iter().copied());
        let v6 = sets.iter().flat_map(|set| set.v6.iter().copied());
        Self { v4: merged(v4.collect()), v6: merged(v6.collect()) }
    }

    /// The ranges of IPv4, sorted, apart from each other.
    pub(super) const fn v4(&self) -> &[(u32, u32)] {
        &self.v4
    }

    /// Those of IPv6.
    pub(super) const fn v6(&self) -> &[(u128, u128)] {
        &self.v6
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => within(&self.v4, u32::from(v4)),
            IpAddr::V6(v6) => within(&self.v6, u128::from(v6)),
        }
    }
}

/// Sorted ranges, of which none reaches into the next.
fn merged<N: Ord + Copy>(mut ranges: Vec<(N, N)>) -> Box<[(N, N)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(N, N)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

fn within<N: Ord + Copy>(ranges: &[(N, N)], number: N) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= number);
    after.checked_sub(1).is_some_and(|at| number <= ranges[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    proptest! {
        /// The same as asking each block.
        #[test]
        fn as_each_block(blocks in prop::collection::vec((any::<u8>(), 0u32..=32), 0..12), address in any::<u8>()) {
            let blocks: Vec<_> = blocks
                .into_iter()
                .map(|(last, prefix)| Cidr::new(IpAddr::from([10, 0, 0, last]), prefix).unwrap())
                .collect();
            let set = IpSet::new(&blocks);
            for address in [Ipv4Addr::new(10, 0, 0, address), Ipv4Addr::new(11, 0, 0, address)] {
                for address in [IpAddr::V4(address), IpAddr::V6(address.to_ipv6_mapped())] {
                    let expected = blocks.iter().any(|block| block.contains(address));
                    prop_assert_eq!(set.contains(address), expected);
                }
            }
        }

        #[test]
        fn as_each_block_of_ipv6(blocks in prop::collection::vec((any::<u16>(), 96u32..=128), 0..12), address in any::<u16>()) {
            let ip = |last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
            let blocks: Vec<_> =
                blocks.into_iter().map(|(last, prefix)| Cidr::new(ip(last), prefix).unwrap()).collect();
            let expected = blocks.iter().any(|block| block.contains(ip(address)));
            prop_assert_eq!(IpSet::new(&blocks).contains(ip(address)), expected);
        }
    }
}
