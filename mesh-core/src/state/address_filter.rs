//! [`AddressFilter`]: whether an address may be among those of a large cluster.
//!
//! An update that brings one address must know whether it is there already, and going over 100,000
//! addresses for that takes as long as finding the difference. This answers "no" for sure and "maybe"
//! rarely, at two bytes for each endpoint (B. Bloom, "Space/Time Trade-offs in Hash Coding", 1970).
//!
//! It is the writer's own and only grows: what has gone makes a "maybe", until it is made anew.

use crate::model::{Address, ClusterLoadAssignment};
use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

/// The addresses that were put in, and a few that were not.
#[derive(Debug)]
pub(super) struct AddressFilter {
    hasher: DefaultHashBuilder,
    words: Box<[u64]>,
    count: usize,
}

/// Clusters with fewer endpoints have no filter: going over them is quick.
const WORTH_IT: usize = 1024;

/// Bits for each address; with two of them set, one "maybe" in seventy is wrong.
const BITS: usize = 16;

impl AddressFilter {
    /// A filter of the addresses of `assignment`; `None`: too few to be worth it.
    pub(super) fn of(assignment: &ClusterLoadAssignment) -> Option<Self> {
        let len = assignment.len();
        if len < WORTH_IT {
            return None;
        }
        let words = vec![0; (len * BITS).div_ceil(64)].into_boxed_slice();
        let mut filter = Self { hasher: DefaultHashBuilder::default(), words, count: 0 };
        let endpoints = assignment.localities.iter().flat_map(|locality| &locality.endpoints);
        endpoints.for_each(|endpoint| filter.insert(&endpoint.address));
        Some(filter)
    }

    /// The filter of the next assignment, to which these addresses are new. Made anew when it holds as
    /// many that are gone as there are.
    pub(super) fn next<'a>(
        filter: Option<Self>,
        assignment: &ClusterLoadAssignment,
        new: impl Iterator<Item = &'a Address>,
    ) -> Option<Self> {
        let Some(mut filter) = filter else { return Self::of(assignment) };
        new.for_each(|address| filter.insert(address));
        let len = assignment.len();
        if filter.count > 2 * len || len * BITS > 2 * 64 * filter.words.len() {
            return Self::of(assignment);
        }
        Some(filter)
    }

    /// Whether `address` may be one of them.
    pub(super) fn may_contain(&self, address: &Address) -> bool {
        self.bits(address).iter().all(|&(word, bit)| self.words[word] & bit != 0)
    }

    fn insert(&mut self, address: &Address) {
        for (word, bit) in self.bits(address) {
            self.words[word] |= bit;
        }
        self.count += 1;
    }

    /// Two places of an address, from the halves of its hash.
    fn bits(&self, address: &Address) -> [(usize, u64); 2] {
        let hash = mixed(self.hasher.hash_one(address));
        [hash >> 32, hash & u64::from(u32::MAX)].map(|half| {
            let place = (half * (self.words.len() as u64 * 64)) >> 32;
            ((place / 64) as usize, 1 << (place % 64))
        })
    }
}

/// Makes each half of a hash depend on all of it, which a fast hasher leaves out (the finalizer of
/// SplitMix64: G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
const fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Endpoint;
    use std::net::{Ipv4Addr, SocketAddr};

    fn address(number: u32) -> Address {
        SocketAddr::from((Ipv4Addr::from(number), 80)).into()
    }

    fn assignment(numbers: std::ops::Range<u32>) -> ClusterLoadAssignment {
        ClusterLoadAssignment::of(numbers.map(|number| Endpoint::new(address(number))))
    }

    #[test]
    fn a_no_is_sure_and_a_maybe_is_rarely_wrong() {
        assert!(AddressFilter::of(&assignment(0..1000)).is_none(), "not worth it");
        let filter = AddressFilter::of(&assignment(0..50_000)).unwrap();
        assert!((0..50_000).all(|number| filter.may_contain(&address(number))));
        let wrong = (50_000..150_000).filter(|number| filter.may_contain(&address(*number)));
        let wrong = wrong.count();
        // (1 - e^(-2/16))² = 1.4 %.
        assert!(wrong < 2_000, "{wrong} of 100,000");
    }

    #[test]
    fn it_follows_its_cluster_and_is_made_anew_in_time() {
        let mut filter = AddressFilter::of(&assignment(0..2_000));
        for round in 1..5_000 {
            let next = assignment(round..2_000 + round);
            let new = address(1_999 + round);
            filter = AddressFilter::next(filter, &next, std::iter::once(&new));
            assert!(filter.as_ref().unwrap().may_contain(&new));
        }
        assert!(filter.as_ref().unwrap().count <= 4_000);
        let grown = assignment(0..10_000);
        let new: Vec<_> = (7_000..10_000).map(address).collect();
        let filter = AddressFilter::next(filter, &grown, new.iter()).unwrap();
        assert!((0..10_000).all(|number| filter.may_contain(&address(number))));
        assert!(AddressFilter::next(Some(filter), &assignment(0..3), [].iter()).is_none());
    }
}
