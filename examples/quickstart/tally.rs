//! What the calls came to, as their answers tell it.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

/// One call that was answered.
#[derive(Debug)]
pub(crate) struct Served {
    /// The cluster whose server answered, by its own word.
    pub(crate) cluster: String,
    /// The split in force when the call was routed, as the route wrote it: `90/10`.
    pub(crate) split: String,
    pub(crate) protocol: Protocol,
}

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Grpc,
}

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Grpc];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }
}

/// Counts that calls add to and the view reads.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Counts>);

/// The counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// Why the first of the failed ones failed.
    pub(crate) first_failure: Option<String>,
    /// By split in force, in the order of appearance, then by cluster.
    pub(crate) splits: Vec<(String, BTreeMap<String, u64>)>,
    pub(crate) by_protocol: BTreeMap<Protocol, u64>,
    /// Of each call that succeeded, in microseconds.
    pub(crate) latencies: Vec<u64>,
}

impl Tally {
    pub(crate) fn add(&self, result: Result<Served, String>, latency: Duration) {
        let mut counts = self.0.lock();
        match result {
            Ok(served) => {
                counts.succeeded += 1;
                counts.latencies.push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
                *counts.by_protocol.entry(served.protocol).or_default() += 1;
                *counts.split(served.split).entry(served.cluster).or_default() += 1;
            }
            Err(why) => {
                counts.failed += 1;
                counts.first_failure.get_or_insert(why);
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().clone()
    }
}

impl Counts {
    pub(crate) const fn ended(&self) -> u64 {
        self.succeeded + self.failed
    }

    pub(crate) fn by_cluster(&self) -> BTreeMap<&str, u64> {
        let mut sums = BTreeMap::new();
        for (cluster, count) in self.splits.iter().flat_map(|(_, clusters)| clusters) {
            *sums.entry(cluster.as_str()).or_default() += count;
        }
        sums
    }

    /// The latency that `percent` of the calls did not exceed, in microseconds (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> u64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn split(&mut self, split: String) -> &mut BTreeMap<String, u64> {
        let at = self.splits.iter().position(|(known, _)| *known == split);
        let at = at.unwrap_or_else(|| {
            self.splits.push((split, BTreeMap::new()));
            self.splits.len() - 1
        });
        &mut self.splits[at].1
    }
}

/// What was achieved of one configured split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Achieved {
    /// The share that `reviews-v1` was to get, of 1.
    pub(crate) wanted: f64,
    pub(crate) calls: u64,
    pub(crate) first: u64,
}

impl Achieved {
    /// Reads `90/10` and the calls that were made under it.
    pub(crate) fn of(split: &str, clusters: &BTreeMap<String, u64>) -> Option<Self> {
        let (first, second) = split.split_once('/')?;
        let (first, second): (f64, f64) = (first.parse().ok()?, second.parse().ok()?);
        let calls = clusters.values().sum();
        let served = clusters.get("reviews-v1").copied().unwrap_or_default();
        Some(Self { wanted: first / (first + second), calls, first: served })
    }

    /// The share that it got.
    pub(crate) fn share(&self) -> f64 {
        self.first as f64 / self.calls as f64
    }

    /// One standard deviation of that share, if every call is drawn by itself (binomial).
    pub(crate) fn deviation(&self) -> f64 {
        (self.wanted * (1.0 - self.wanted) / self.calls as f64).sqrt()
    }

    /// How many standard deviations the share is off.
    pub(crate) fn sigmas(&self) -> f64 {
        (self.share() - self.wanted).abs() / self.deviation()
    }
}
