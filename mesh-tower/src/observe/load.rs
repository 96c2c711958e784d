//! What load reports are made from: the attempts at each locality of a cluster that is reported.
//!
//! The metrics know how attempts of a locality ended, not how many have begun, and their cells go with the
//! last snapshot that names them. A load report must miss nothing and never count below zero. So a cluster
//! that is reported has counters of its own: two additions for each attempt, and for others none.
//!
//! Rules (gRFC A27 "LRS"; Envoy: `UpstreamLocalityStats`):
//!
//! - An attempt is issued when its endpoint was picked, in progress until its response body ends, then
//!   succeeded or failed.
//! - It failed if it had no response, was broken off, or had a status of 5xx; of gRPC, any status but OK.
//! - An attempt that began before its cluster was reported is counted nowhere.
//! - What a locality counted stays when it leaves the configuration; [`MAX_LOCALITIES`] of one cluster.

use super::cell::Sharded;
use mesh_core::model::Locality;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The most localities of one cluster that are reported, those that have left the configuration included.
pub(crate) const MAX_LOCALITIES: usize = 1024;

/// The load on one locality, since its cluster is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoadReading {
    /// Attempts that were given an endpoint.
    pub(crate) issued: u64,
    /// Of these, those that ended well.
    pub(crate) succeeded: u64,
    /// Of these, those that failed.
    pub(crate) failed: u64,
}

impl LoadReading {
    /// Attempts that have begun and not ended.
    pub(crate) const fn in_progress(&self) -> u64 {
        self.issued.saturating_sub(self.succeeded).saturating_sub(self.failed)
    }
}

/// The load on a cluster, since it is reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterLoad {
    /// By locality.
    pub(crate) localities: BTreeMap<Locality, LoadReading>,
    /// Attempts that were dropped, by category, since the cluster exists.
    pub(crate) drops: Vec<(Arc<str>, u64)>,
    /// Attempts that the circuit breaker's `max_requests` refused, since the cluster exists.
    pub(crate) refused: u64,
}

/// The counters of one locality.
#[derive(Default)]
pub(super) struct LocalityLoad(Sharded<LoadBlock>);

#[derive(Default)]
struct LoadBlock {
    issued: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl LocalityLoad {
    /// An attempt was given an endpoint. [`ended`](Self::ended) must follow, once.
    pub(super) fn issued(&self) {
        let block = self.0.block();
        block.count(&block.issued);
    }

    /// An attempt ended.
    pub(super) fn ended(&self, failed: bool) {
        let block = self.0.block();
        block.count(if failed { &block.failed } else { &block.succeeded });
    }

    /// The counts now. What ended is read before what began: what ends in between counts as in progress,
    /// and nothing has ended that has not begun.
    pub(super) fn read(&self) -> LoadReading {
        let succeeded = self.0.sum(|block| &block.succeeded);
        let failed = self.0.sum(|block| &block.failed);
        LoadReading { issued: self.0.sum(|block| &block.issued), succeeded, failed }
    }
}

/// The counters of a cluster that is reported, by locality: also of those that have left the configuration,
/// which come back to the same counters.
#[derive(Default)]
pub(super) struct Loads(Mutex<BTreeMap<Locality, Arc<LocalityLoad>>>);

impl Loads {
    /// The counters of a locality. Beyond [`MAX_LOCALITIES`] they are counted in and read by nobody.
    pub(super) fn of(&self, locality: &Locality) -> Arc<LocalityLoad> {
        let mut known = self.0.lock();
        if known.len() >= MAX_LOCALITIES && !known.contains_key(locality) {
            return Arc::default();
        }
        Arc::clone(known.entry(locality.clone()).or_default())
    }

    /// All of them that have counted anything.
    pub(super) fn read(&self) -> BTreeMap<Locality, LoadReading> {
        let known = self.0.lock();
        let read = known.iter().map(|(locality, load)| (locality.clone(), load.read()));
        read.filter(|(_, reading)| *reading != LoadReading::default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::attempt;
    use super::super::registry::Registry;
    use super::*;
    use mesh_core::outcome::Overflow;
    use std::time::Duration;

    fn reading(issued: u64, succeeded: u64, failed: u64) -> LoadReading {
        LoadReading { issued, succeeded, failed }
    }

    fn place(zone: &str) -> Locality {
        Locality::new("r", zone, "")
    }

    #[test]
    fn only_what_began_since_the_cluster_is_reported_counts() {
        let registry = Registry::new();
        let cluster = registry.cluster(&"a".into());
        let locality = cluster.locality(&place("a"));
        let before = locality.attempt_started();
        assert!(!before);
        cluster.report_load();
        let (first, second) = (locality.attempt_started(), locality.attempt_started());
        assert!(first && second);
        let ended = |counted: bool, failed: bool| {
            locality.attempt_finished(&attempt(200, Duration::ZERO));
            if counted {
                locality.load_ended(failed);
            }
        };
        ended(before, true);
        let read = || cluster.load().localities[&place("a")];
        assert_eq!((read(), read().in_progress()), (reading(2, 0, 0), 2));
        ended(first, false);
        ended(second, true);
        assert_eq!((read(), read().in_progress()), (reading(2, 1, 1), 0));
    }

    #[test]
    fn what_a_locality_counted_stays_when_it_is_gone_and_comes_back() {
        let registry = Registry::new();
        let cluster = registry.cluster(&"a".into());
        cluster.report_load();
        for rounds in 1..=3 {
            let locality = cluster.locality(&place("a"));
            assert!(locality.attempt_started());
            locality.load_ended(false);
            assert_eq!(cluster.load().localities[&place("a")], reading(rounds, rounds, 0));
            drop(locality);
            assert_eq!(cluster.load().localities[&place("a")], reading(rounds, rounds, 0));
        }
    }

    #[test]
    fn localities_are_bounded_and_those_without_load_are_none() {
        let loads = Loads::default();
        for number in 0..MAX_LOCALITIES + 9 {
            loads.of(&place(&number.to_string())).issued();
        }
        loads.of(&place("0")).ended(true);
        assert_eq!(loads.read().len(), MAX_LOCALITIES);
        assert_eq!(loads.read()[&place("0")], reading(1, 0, 1));
        let loads = Loads::default();
        let _unused = loads.of(&place("x"));
        assert!(loads.read().is_empty());
    }

    #[test]
    fn a_locality_that_appears_later_is_counted_too() {
        let registry = Registry::new();
        let cluster = registry.cluster(&"a".into());
        let early = cluster.locality(&place("early"));
        cluster.report_load();
        let late = cluster.locality(&place("late"));
        assert!(early.attempt_started() && late.attempt_started());
        assert_eq!(cluster.load().localities.len(), 2);
    }

    #[test]
    fn drops_and_refusals_are_of_the_cluster() {
        let registry = Registry::new();
        let cluster = registry.cluster(&"a".into());
        cluster.dropped(&"lb".into());
        cluster.dropped(&"lb".into());
        cluster.overflow(Overflow::Requests);
        cluster.overflow(Overflow::Pending);
        let load = cluster.load();
        assert_eq!((load.drops, load.refused), (vec![("lb".into(), 2)], 1));
        assert!(load.localities.is_empty());
    }
}
