//! [`Buckets`]: a bounded number of token buckets, by key.
//!
//! A table of sets of eight, of a fixed size and without a lock. A bucket that is full again is the
//! same as a new one, so giving it to another key loses nothing; only when all eight of a set are in
//! use, the one that is full soonest, so idle longest, is given away, and its key begins anew.

use super::token_bucket::Bucket;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Buckets by key.
#[derive(Debug)]
pub(super) struct Buckets {
    /// A power of two of them.
    sets: Box<[Set]>,
}

#[derive(Debug, Default)]
struct Set([Slot; WAYS]);

#[derive(Debug, Default)]
struct Slot {
    /// 0: nobody's.
    key: AtomicU64,
    bucket: Bucket,
}

const WAYS: usize = 8;

impl Buckets {
    /// The most buckets of a table: one and a half megabytes.
    pub(super) const MOST: u32 = 65_536;

    /// Room for `max` keys, rounded up to a power of two, and at least eight.
    pub(super) fn new(max: u32) -> Self {
        let sets = max.min(Self::MOST).div_ceil(WAYS as u32).next_power_of_two();
        Self { sets: (0..sets).map(|_| Set::default()).collect() }
    }

    /// How many keys there is room for.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// The bucket of a key, if it has one: for who only looks, and takes nobody else's.
    pub(super) fn find(&self, key: u64) -> Option<&Bucket> {
        let (key, slots) = self.set(key);
        let own = slots.iter().find(|slot| slot.key.load(Ordering::Acquire) == key);
        own.map(|slot| &slot.bucket)
    }

    /// The slots where a key may be.
    fn set(&self, key: u64) -> (u64, &[Slot; WAYS]) {
        // 0 means nobody: the one hash in 2^64 shares with its neighbour.
        let key = key.max(1);
        let Set(slots) = &self.sets[key as usize & (self.sets.len() - 1)];
        (key, slots)
    }

    /// The bucket of a key, which is the hash of what it stands for. One that has none gets it, if need be that of
    /// another key.
    pub(super) fn get(&self, key: u64) -> &Bucket {
        let (key, slots) = self.set(key);
        loop {
            let mut oldest = (&slots[0], u64::MAX, 0);
            for slot in slots {
                let owner = slot.key.load(Ordering::Acquire);
                if owner == key {
                    return &slot.bucket;
                }
                let age = if owner == 0 { 0 } else { slot.bucket.full_at() };
                if age < oldest.1 {
                    oldest = (slot, age, owner);
                }
            }
            let (slot, _, owner) = oldest;
            // Whoever loses finds a new owner there, perhaps its own key, and looks again; somebody has
            // got on each time.
            if slot.key.compare_exchange(owner, key, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                slot.bucket.fill();
                return &slot.bucket;
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::super::token_bucket::Rate;
    use super::*;
    use crate::model::TokenBucket;
    use crate::time::Timestamp;
    use std::time::Duration;

    fn rate() -> Rate {
        Rate::new(&TokenBucket::new(2, 1, Duration::from_secs(1))).unwrap()
    }

    #[test]
    fn the_room_is_a_power_of_two_and_bounded() {
        for (max, room) in [(1, 8), (8, 8), (9, 16), (1000, 1024), (u32::MAX, 65_536)] {
            assert_eq!(Buckets::new(max).room(), room);
        }
    }

    #[test]
    fn a_key_keeps_its_bucket_while_there_is_room() {
        let (buckets, rate, now) = (Buckets::new(8), rate(), Timestamp::from_millis(1));
        for key in 1..=8 {
            assert!(buckets.get(key).take(&rate, now));
            assert!(buckets.get(key).take(&rate, now));
        }
        // 0 is the same key as 1.
        assert!((0..=8).all(|key| !buckets.get(key).take(&rate, now)));
    }

    #[test]
    fn who_is_idle_longest_is_given_away() {
        let (buckets, rate) = (Buckets::new(8), rate());
        let at = Timestamp::from_millis;
        for key in 1..=8 {
            assert!(buckets.get(key).take(&rate, at(key)));
            assert!(buckets.get(key).take(&rate, at(key)));
        }
        // The first is used again, so the second is the oldest.
        assert!(buckets.get(1).take(&rate, at(1001)));
        assert!(buckets.get(100).take(&rate, at(1001)));
        assert!(!buckets.get(3).take(&rate, at(1001)));
        assert!(!buckets.get(1).take(&rate, at(1001)));
        assert!(buckets.find(2).is_none(), "it was given away");
        assert!(buckets.find(100).is_some(), "to this one, and looking changes nothing");
        assert!(buckets.get(2).take(&rate, at(1001)), "it begins anew");
    }
}
