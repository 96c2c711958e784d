//! [`Histogram`]: a distribution of durations in 130 fixed buckets.
//!
//! Sixteen buckets per decade, from one microsecond to a hundred seconds, with bounds at round
//! numbers. That makes three things true at once: the bounds of the Prometheus text and all of
//! gRPC's (gRFC A66 "Units & buckets") are bounds here, so what is exported is exact and not
//! interpolated; a quantile is within 11.2 % of the true one; and the place of a value is found by
//! two table look-ups and one comparison.
//!
//! A bucket holds what is *above* its lower and *at most* its upper bound, as Prometheus' `le` and
//! OpenTelemetry's explicit bounds want it. The first bucket reaches down to zero, the last up to
//! forever; quantiles there are the finite bound.
//!
//! Most distributions live in two or three decades, so the buckets of a decade are allocated at first
//! use: an unused histogram takes 152 bytes, each decade in use 128 more.

use super::cell::{Access, zeroes};
use crossbeam_utils::CachePadded;
use mesh_core::time::saturating_nanos;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of a decade.
const PER_DECADE: usize = 16;
/// Decades, the first from 1 µs to 10 µs.
const DECADES: usize = 8;
/// All buckets: those of the decades, one below and one above.
pub(crate) const BUCKETS: usize = DECADES * PER_DECADE + 2;

/// The lower bounds within a decade, in hundredths. The widest step, 8 to 10, makes the error.
const MANTISSAS: [u64; PER_DECADE] =
    [100, 115, 130, 160, 180, 200, 225, 250, 300, 350, 400, 450, 500, 600, 650, 800];

/// The upper bounds of all buckets but the last, in nanoseconds.
pub(crate) const BOUNDS: [u64; BUCKETS - 1] = bounds();

/// Durations, counted by many threads.
#[derive(Default)]
pub(super) struct Histogram {
    sum: AtomicU64,
    below: AtomicU64,
    above: AtomicU64,
    decades: [OnceLock<Box<Decade>>; DECADES],
}

struct Decade(CachePadded<[AtomicU64; PER_DECADE]>);

impl Default for Decade {
    fn default() -> Self {
        Self(CachePadded::new(zeroes()))
    }
}

impl Histogram {
    /// Counts one duration: two additions; the first one of a decade allocates 128 bytes. `access` is
    /// that of the block which this is in.
    pub(super) fn record(&self, access: &Access, duration: Duration) {
        let nanos = saturating_nanos(duration);
        access.add(&self.sum, nanos);
        access.add(self.bucket(bucket_of(nanos)), 1);
    }

    fn bucket(&self, index: usize) -> &AtomicU64 {
        match index {
            0 => &self.below,
            LAST => &self.above,
            _ => {
                let decade = self.decades[(index - 1) / PER_DECADE].get_or_init(Box::default);
                &decade.0[(index - 1) % PER_DECADE]
            }
        }
    }

    /// Adds what was counted here to `snapshot`.
    pub(super) fn add_to(&self, snapshot: &mut HistogramSnapshot) {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        snapshot.sum_nanos = snapshot.sum_nanos.wrapping_add(load(&self.sum));
        snapshot.counts[0] += load(&self.below);
        snapshot.counts[LAST] += load(&self.above);
        for (decade, counts) in self.decades.iter().zip(snapshot.counts[1..].chunks_mut(PER_DECADE))
        {
            for (cell, count) in decade.get().iter().flat_map(|decade| decade.0.iter()).zip(counts)
            {
                *count += load(cell);
            }
        }
    }
}

/// What a histogram held at one moment: all that an exporter needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HistogramSnapshot {
    sum_nanos: u64,
    counts: [u64; BUCKETS],
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self { sum_nanos: 0, counts: [0; BUCKETS] }
    }
}

impl HistogramSnapshot {
    /// How many durations there are.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum in nanoseconds. Wraps after 584 years of summed time.
    pub(crate) const fn sum_nanos(&self) -> u64 {
        self.sum_nanos
    }

    /// The number in each bucket; bucket `i` ends at [`BOUNDS`]`[i]`, the last one nowhere.
    pub(crate) const fn counts(&self) -> &[u64; BUCKETS] {
        &self.counts
    }

    /// The duration that a share `q`, within `0.0..=1.0`, of the durations does not exceed; within
    /// 11.2 % between 1 µs and 100 s. `None`: there are none.
    pub(crate) fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_nanos(representative(bucket)))
    }
}

/// The value that is relatively closest to both ends of a bucket: their harmonic mean.
fn representative(bucket: usize) -> u64 {
    match bucket {
        0 => BOUNDS[0],
        LAST => BOUNDS[LAST - 1],
        _ => {
            let (low, high) = (BOUNDS[bucket - 1], BOUNDS[bucket]);
            (2 * u128::from(low) * u128::from(high) / u128::from(low + high)) as u64
        }
    }
}

/// The bucket of a duration: the number of bounds below it.
fn bucket_of(nanos: u64) -> usize {
    // "Above the lower, at most the upper" over whole numbers is a half-open interval, one lower.
    let value = nanos.saturating_sub(1);
    if value < BOUNDS[0] {
        return 0;
    }
    if value >= BOUNDS[LAST - 1] {
        return LAST;
    }
    let octave = value.ilog2();
    let part = (value >> (octave - PART_BITS)) & (PARTS as u64 - 1);
    let cell = (octave - FIRST_OCTAVE) as usize * PARTS + part as usize;
    let bucket = FIRST_BUCKET[cell] as usize;
    bucket + usize::from(value >= BOUNDS[bucket])
}

const LAST: usize = BUCKETS - 1;

const fn bounds() -> [u64; BUCKETS - 1] {
    let mut bounds = [0; BUCKETS - 1];
    let mut scale = 10;
    let mut index = 0;
    while index < BUCKETS - 1 {
        bounds[index] = MANTISSAS[index % PER_DECADE] * scale;
        index += 1;
        if index % PER_DECADE == 0 {
            scale *= 10;
        }
    }
    bounds
}

// The search: every octave of values is cut into 16 equal parts. A part is at most 1/16 wider than
// its start and two bounds are at least 1/13 apart, so a part holds one bound at most: knowing the
// bucket in which a part begins, one comparison finds the bucket of the value.
const PART_BITS: u32 = 4;
const PARTS: usize = 1 << PART_BITS;
const FIRST_OCTAVE: u32 = BOUNDS[0].ilog2();
const OCTAVES: usize = (BOUNDS[LAST - 1].ilog2() - FIRST_OCTAVE) as usize + 1;
/// The bucket in which each part begins.
static FIRST_BUCKET: [u8; OCTAVES * PARTS] = first_buckets();

const fn first_buckets() -> [u8; OCTAVES * PARTS] {
    let mut buckets = [0; OCTAVES * PARTS];
    let mut bucket = 0;
    let mut cell = 0;
    while cell < buckets.len() {
        let octave = FIRST_OCTAVE + (cell / PARTS) as u32;
        let start = (1 << octave) + (((cell % PARTS) as u64) << (octave - PART_BITS));
        while (bucket as usize) < BOUNDS.len() && BOUNDS[bucket as usize] <= start {
            bucket += 1;
        }
        buckets[cell] = bucket;
        cell += 1;
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot(nanos: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::default();
        nanos
            .iter()
            .for_each(|nanos| histogram.record(&Access::SHARED, Duration::from_nanos(*nanos)));
        let mut snapshot = HistogramSnapshot::default();
        histogram.add_to(&mut snapshot);
        snapshot
    }

    /// The same by definition.
    fn naive_bucket_of(nanos: u64) -> usize {
        BOUNDS.iter().filter(|bound| **bound < nanos).count()
    }

    #[test]
    fn a_bound_is_in_its_bucket_and_the_next_nanosecond_is_not() {
        assert_eq!((BOUNDS[0], BOUNDS[LAST - 1]), (1_000, 100_000_000_000));
        for (index, bound) in BOUNDS.iter().enumerate() {
            assert_eq!(bucket_of(*bound), index);
            assert_eq!(bucket_of(bound + 1), index + 1);
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, LAST));
    }

    #[test]
    fn every_part_of_every_octave_finds_its_bucket() {
        for octave in 5..64 {
            for part in 0..64 {
                let start = (1 << octave) + (part << octave >> 6);
                for nanos in [start - 1, start, start + 1] {
                    assert_eq!(bucket_of(nanos), naive_bucket_of(nanos), "{nanos}");
                }
            }
        }
    }

    /// gRFC A66 "Units & buckets": the bounds of latency histograms.
    #[test]
    fn the_bounds_of_grpc_are_bounds_here() {
        let grpc_seconds = [
            0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005,
            0.006, 0.008, 0.01, 0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1,
            0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0,
            100.0,
        ];
        for seconds in grpc_seconds {
            let nanos = (seconds * 1e9_f64).round() as u64;
            assert!(BOUNDS.contains(&nanos), "{seconds}");
        }
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(snapshot(&[]).quantile(0.5), None);
        assert_eq!(snapshot(&[]).count(), 0);
    }

    #[test]
    fn quantiles_outside_the_range_are_its_ends() {
        assert_eq!(snapshot(&[0, 7]).quantile(1.0), Some(Duration::from_micros(1)));
        assert_eq!(snapshot(&[u64::MAX]).quantile(0.0), Some(Duration::from_secs(100)));
    }

    #[test]
    fn threads_sum_exactly() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for thread in 1..=8 {
                let histogram = &histogram;
                scope.spawn(move || {
                    (0..10_000).for_each(|_| {
                        histogram.record(&Access::SHARED, Duration::from_micros(thread))
                    });
                });
            }
        });
        let mut snapshot = HistogramSnapshot::default();
        histogram.add_to(&mut snapshot);
        assert_eq!(snapshot.count(), 80_000);
        assert_eq!(snapshot.sum_nanos(), 36 * 10_000 * 1_000);
    }

    proptest! {
        #[test]
        fn a_value_is_where_the_definition_puts_it(bits in 0_u32..64, value: u64) {
            let nanos = value >> bits;
            prop_assert_eq!(bucket_of(nanos), naive_bucket_of(nanos));
        }

        #[test]
        fn quantiles_are_within_the_stated_error(
            mut values in prop::collection::vec(3.0_f64..11.0, 1..200),
            q in 0.0_f64..=1.0,
        ) {
            values.sort_by(f64::total_cmp);
            let nanos: Vec<_> = values.iter().map(|exponent| 10_f64.powf(*exponent) as u64).collect();
            let rank = ((q * nanos.len() as f64).ceil() as usize).clamp(1, nanos.len());
            let exact = nanos[rank - 1] as f64;
            let estimate = snapshot(&nanos).quantile(q).unwrap().as_nanos() as f64;
            prop_assert!((estimate - exact).abs() <= exact * 0.112, "{estimate} for {exact}");
        }

        #[test]
        fn sum_and_count_are_exact(nanos in prop::collection::vec(0_u64..1 << 40, 0..100)) {
            let snapshot = snapshot(&nanos);
            prop_assert_eq!(snapshot.count(), nanos.len() as u64);
            prop_assert_eq!(snapshot.sum_nanos(), nanos.iter().sum::<u64>());
        }
    }
}
