use super::*;
use crate::model::Endpoint;
use proptest::prelude::*;
use std::net::SocketAddr;

fn endpoints(count: u16) -> Vec<Endpoint> {
    let address = |port| SocketAddr::from(([10, 0, 0, 1], 1000 + port));
    (0..count).map(|port| Endpoint::new(address(port).into())).collect()
}

fn members<'a>(endpoints: &'a [Endpoint], weights: &[u32]) -> Vec<Member<'a>> {
    let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    let member = |(index, (endpoint, weight)): (usize, (&'a Endpoint, &u32))| Member {
        index: index as u32,
        share: f64::from(*weight) / sum,
        endpoint,
    };
    endpoints.iter().zip(weights).enumerate().map(member).collect()
}

/// Listing 1 of the paper with Envoy's weights, iteration by iteration.
fn naive(size: u64, members: &[Member<'_>]) -> Vec<u32> {
    let key = |member: &Member<'_>| member.endpoint.address.to_string();
    let mut sorted: Vec<_> =
        members.iter().map(|member| (key(member), member, 0u64, 0.0)).collect();
    sorted.sort_by(|left, right| left.0.cmp(&right.0));
    let most = members.iter().map(|member| member.share).fold(0.0, f64::max);
    let mut table = vec![NOBODY; size as usize];
    let mut free = size;
    for iteration in 1u32.. {
        for (key, member, next, target) in &mut sorted {
            if free == 0 {
                return table;
            }
            if f64::from(iteration) * member.share < *target {
                continue;
            }
            *target += most;
            let (offset, skip) =
                (xxh64(key.as_bytes(), 0) % size, xxh64(key.as_bytes(), 1) % (size - 1) + 1);
            let slots = std::iter::repeat_with(|| {
                let slot = (offset + skip * *next) % size;
                *next += 1;
                slot as usize
            });
            let slot = slots.into_iter().find(|&slot| table[slot] == NOBODY).unwrap();
            table[slot] = member.index;
            free -= 1;
        }
    }
    table
}

proptest! {
    #[test]
    fn equals_the_naive_table(
        size in prop::sample::select(vec![2u32, 3, 7, 101, 1009]),
        weights in prop::collection::vec(1u32..20, 1..20),
    ) {
        let endpoints = endpoints(weights.len() as u16);
        let members = members(&endpoints, &weights);
        let table = Maglev::new(TableSize::new(size).unwrap(), &members);
        prop_assert_eq!(table.slots(), naive(u64::from(size), &members));
    }
}

#[test]
fn slots_go_by_weight() {
    let (endpoints, weights) = (endpoints(3), [1, 2, 5]);
    let table = Maglev::new(TableSize::new(65_537).unwrap(), &members(&endpoints, &weights));
    for (index, weight) in weights.iter().enumerate() {
        let slots = table.slots().iter().filter(|&&owner| owner == index as u32).count();
        let share = 65_537.0 * f64::from(*weight) / 8.0;
        assert!((slots as f64 - share).abs() <= 2.0, "{index}: {slots} of {share}");
    }
}

#[test]
fn an_extreme_ratio_of_weights_ends_soon() {
    let (endpoints, mut weights) = (endpoints(1000), vec![1; 1000]);
    weights[7] = u32::MAX;
    let table = Maglev::new(TableSize::new(65_537).unwrap(), &members(&endpoints, &weights));
    // Everybody claims one slot in the first turn, and then waits for four billion.
    assert_eq!(table.slots().iter().filter(|&&owner| owner == 7).count(), 65_537 - 999);
}

/// Maglev keeps most slots when an endpoint leaves (the paper: not all, unlike a ring).
#[test]
fn removing_one_moves_little_else() {
    let endpoints = endpoints(50);
    let all = members(&endpoints, &[1; 50]);
    let size = TableSize::new(65_537).unwrap();
    let before = Maglev::new(size, &all);
    let left: Vec<Member<'_>> =
        members(&endpoints, &[1; 50]).into_iter().filter(|member| member.index != 20).collect();
    let after = Maglev::new(size, &left);
    let pairs = before.slots().iter().zip(after.slots());
    let moved = pairs.filter(|(before, after)| **before != 20 && before != after).count();
    assert!(moved < 65_537 / 20, "{moved} slots moved that did not have to");
}

#[test]
fn sizes_out_of_range_are_refused() {
    for (size, rule) in [
        (0, "table_size is 0: must be a prime number"),
        (1, "table_size is 1: must be a prime number"),
        (65_536, "table_size is 65536: must be a prime number"),
        (5_000_012, "table_size is 5000012: must be at most 5000011"),
        (u32::MAX, "table_size is 4294967295: must be at most 5000011"),
    ] {
        assert_eq!(TableSize::new(size).unwrap_err().to_string(), rule);
    }
    assert!(TableSize::new(MAX_TABLE_SIZE).is_ok());
    assert!(Maglev::new(TableSize::new(3).unwrap(), &[]).slots().is_empty());
}

/// A locality of weight 1 beside one of 4 billion, and an endpoint of weight 1 beside one of 4 billion
/// in it: a share of 5e-20.
#[test]
fn the_most_extreme_shares_make_a_table() {
    let endpoints = endpoints(3);
    let most = f64::from(u32::MAX);
    let shares = [1.0 - 1.0 / most, 1.0 / most, 1.0 / most / most];
    let member = |((index, endpoint), share)| Member { index, share, endpoint };
    let members: Vec<_> = (0..).zip(&endpoints).zip(shares).map(member).collect();
    let maglev = Maglev::new(TableSize::new(65_537).unwrap(), &members);
    let of = |index| maglev.slots().iter().filter(|owner| **owner == index).count();
    // Each has its first turn; the small ones have no other.
    assert_eq!([of(0), of(1), of(2)], [65_535, 1, 1]);
}
