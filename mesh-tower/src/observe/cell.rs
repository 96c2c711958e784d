//! [`Sharded`]: cells that many threads count in without meeting.
//!
//! An atomic addition costs 4 to 8 ns when a core is alone with the cell, three times that when two
//! are on it, and a call counts in a dozen cells. So a block of counters exists several times and a
//! reader sums over the copies. The first eight threads that count at all *own* a shard each: nobody
//! else writes to its blocks, so a plain load and store counts as exactly as an addition would, for
//! half a nanosecond. Further threads share further shards and add atomically. A thread that ends
//! hands its shard to the next one.
//!
//! What that costs is memory, and a mesh has far more clusters than busy clusters; therefore
//!
//! - a block is allocated when it is first counted in: what is never used has none;
//! - all threads share one block until something in it was counted [`SPREAD_AFTER`] times: what is
//!   hardly used has one.
//!
//! Sums are exact. A sum taken while others count may miss the newest, never an older one, and never
//! falls.

use crossbeam_utils::CachePadded;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::{array, iter, thread};

/// Shards that one thread at a time writes to.
const OWNED: usize = 8;
/// Further shards, shared by the other threads; not more are used than there are cores.
const SHARED: usize = 8;
/// Counts of one counter after which threads stop sharing one block.
pub(super) const SPREAD_AFTER: u64 = 1024;

/// Copies of a block of counters: one, or one per shard.
pub(super) struct Sharded<T> {
    first: Slot<T>,
    spread: OnceLock<Box<[Slot<T>; OWNED + SHARED]>>,
}

type Slot<T> = OnceLock<Box<CachePadded<T>>>;

impl<T: Default> Sharded<T> {
    /// The block that this thread counts in now. Allocates at first use.
    pub(super) fn block(&self) -> Block<'_, T> {
        let (slot, is_owned) = match self.spread.get() {
            None => (&self.first, false),
            Some(slots) => {
                let shard = shard_of_thread();
                (&slots[shard], shard < OWNED)
            }
        };
        let access = Access { is_owned, of_this_thread: PhantomData };
        Block { cells: slot.get_or_init(Box::default), access, shards: self }
    }

    /// Gives each shard its own block from now on; what was counted stays where it is.
    #[cold]
    fn spread(&self) {
        self.spread.get_or_init(|| Box::new(array::from_fn(|_| OnceLock::new())));
    }

    /// The blocks that exist.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &T> {
        let spread = self.spread.get().into_iter().flat_map(|slots| slots.iter());
        iter::once(&self.first).chain(spread).filter_map(OnceLock::get).map(|block| &***block)
    }

    /// The sum of one counter over all blocks.
    pub(super) fn sum(&self, counter: impl Fn(&T) -> &AtomicU64) -> u64 {
        let values = self.blocks().map(|block| counter(block).load(Ordering::Relaxed));
        values.fold(0, u64::wrapping_add)
    }
}

impl<T> Default for Sharded<T> {
    fn default() -> Self {
        Self { first: OnceLock::new(), spread: OnceLock::new() }
    }
}

/// A block and the right to count in it, for this thread and this moment: it can't be sent, and is
/// not to be kept.
pub(super) struct Block<'a, T> {
    cells: &'a T,
    access: Access,
    shards: &'a Sharded<T>,
}

impl<T: Default> Block<'_, T> {
    /// Adds one to `counter`, a cell of this block; when it gets busy, the block is spread.
    pub(super) fn count(&self, counter: &AtomicU64) {
        if self.access.add(counter, 1) == SPREAD_AFTER {
            self.shards.spread();
        }
    }

    /// How to add to the cells of this block.
    pub(super) const fn access(&self) -> &Access {
        &self.access
    }
}

impl<T> Deref for Block<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.cells
    }
}

/// How this thread adds to the cells of one block.
pub(super) struct Access {
    is_owned: bool,
    of_this_thread: PhantomData<*const ()>,
}

impl Access {
    /// For cells outside of any shard.
    pub(super) const SHARED: Self = Self { is_owned: false, of_this_thread: PhantomData };

    /// Adds `number` to `counter`, a cell of the block that this came with; says what it was before.
    pub(super) fn add(&self, counter: &AtomicU64, number: u64) -> u64 {
        if !self.is_owned {
            return counter.fetch_add(number, Ordering::Relaxed);
        }
        // Nobody else writes: between the load and the store nothing can be lost.
        let before = counter.load(Ordering::Relaxed);
        counter.store(before.wrapping_add(number), Ordering::Relaxed);
        before
    }
}

/// `N` counters at zero.
pub(super) const fn zeroes<const N: usize>() -> [AtomicU64; N] {
    [const { AtomicU64::new(0) }; N]
}

const NONE: usize = usize::MAX;

thread_local! {
    /// The shard of this thread. Apart from its owner, so that reading it needs no destructor.
    static SHARD: Cell<usize> = const { Cell::new(NONE) };
    /// What this thread owns, given back when it ends.
    static OWNER: Owner = Owner::claim();
}

/// The shard of this thread, the same one for its whole life.
fn shard_of_thread() -> usize {
    let shard = SHARD.get();
    if shard == NONE { choose_shard() } else { shard }
}

#[cold]
fn choose_shard() -> usize {
    // A thread that is already being torn down owns nothing any more.
    let shard = OWNER.try_with(|owner| owner.0).ok().flatten().unwrap_or_else(next_shared);
    SHARD.set(shard);
    shard
}

/// A shard that others share.
fn next_shared() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get().min(SHARED));
    OWNED + NEXT.fetch_add(1, Ordering::Relaxed) % cores
}

/// The shard that a thread owns, if there was one left.
struct Owner(Option<usize>);

/// One bit per shard that a thread owns.
static TAKEN: AtomicU32 = AtomicU32::new(0);

impl Owner {
    fn claim() -> Self {
        let mut taken = TAKEN.load(Ordering::Relaxed);
        loop {
            let shard = taken.trailing_ones();
            if shard as usize >= OWNED {
                return Self(None);
            }
            // Acquire: what the former owner counted must be seen, or counting on would lose it.
            let (new, order) = (taken | 1 << shard, Ordering::Acquire);
            match TAKEN.compare_exchange_weak(taken, new, order, Ordering::Relaxed) {
                Ok(_) => return Self(Some(shard as usize)),
                Err(now) => taken = now,
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(shard) = self.0 {
            // First: destructors that still run on this thread may count.
            SHARD.set(next_shared());
            TAKEN.fetch_and(!(1 << shard), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Cells {
        counter: AtomicU64,
    }

    fn count(cells: &Sharded<Cells>) {
        let block = cells.block();
        block.count(&block.counter);
    }

    #[test]
    fn nothing_is_allocated_before_the_first_count() {
        let cells = Sharded::<Cells>::default();
        assert_eq!(cells.blocks().count(), 0);
        assert_eq!(cells.sum(|block| &block.counter), 0);
        count(&cells);
        assert_eq!(cells.blocks().count(), 1);
    }

    #[test]
    fn threads_sum_exactly_across_the_spread() {
        // More threads than can own a shard.
        const THREADS: u64 = 2 * OWNED as u64;
        const COUNTS: u64 = 20 * SPREAD_AFTER;
        let cells = Sharded::<Cells>::default();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..COUNTS).for_each(|_| count(&cells)));
            }
        });
        assert_eq!(cells.sum(|block| &block.counter), THREADS * COUNTS);
        assert!(cells.blocks().count() <= 1 + OWNED + SHARED);
    }

    #[test]
    fn nothing_is_lost_when_shards_change_hands() {
        const ROUNDS: u64 = 200;
        let cells = Sharded::<Cells>::default();
        cells.spread();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let one = thread::scope(|inner| {
                            inner.spawn(|| (0..100).for_each(|_| count(&cells))).join()
                        });
                        one.unwrap();
                    }
                });
            }
        });
        assert_eq!(cells.sum(|block| &block.counter), 4 * ROUNDS * 100);
    }

    #[test]
    fn a_thread_that_ends_may_still_count() {
        struct CountsWhenDropped(&'static Sharded<Cells>);
        impl Drop for CountsWhenDropped {
            fn drop(&mut self) {
                count(self.0);
            }
        }
        thread_local! {
            static EARLY: Cell<Option<CountsWhenDropped>> = const { Cell::new(None) };
            static LATE: Cell<Option<CountsWhenDropped>> = const { Cell::new(None) };
        }
        static CELLS: Sharded<Cells> = Sharded { first: OnceLock::new(), spread: OnceLock::new() };
        CELLS.spread();
        // One is registered before the owner and one after, so one is dropped after it.
        let thread = thread::spawn(|| {
            EARLY.set(Some(CountsWhenDropped(&CELLS)));
            count(&CELLS);
            LATE.set(Some(CountsWhenDropped(&CELLS)));
        });
        thread.join().unwrap();
        assert_eq!(CELLS.sum(|block| &block.counter), 3);
    }

    #[test]
    fn a_shard_is_owned_once() {
        let claimed: Vec<_> = iter::repeat_with(Owner::claim).take(2 * OWNED).collect();
        let mut shards: Vec<_> = claimed.iter().filter_map(|owner| owner.0).collect();
        shards.sort_unstable();
        shards.dedup();
        assert_eq!(shards.len(), claimed.iter().filter(|owner| owner.0.is_some()).count());
        assert!(shards.len() <= OWNED);
    }

    #[test]
    fn what_is_hardly_used_keeps_one_block() {
        let cells = Sharded::<Cells>::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..SPREAD_AFTER / 8).for_each(|_| count(&cells)));
            }
        });
        assert_eq!(cells.blocks().count(), 1);
    }
}
