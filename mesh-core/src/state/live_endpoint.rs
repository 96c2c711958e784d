//! [`LiveEndpoint`]: what was learnt about one address, and [`InFlight`], the guard of one attempt.

use super::{Attach, Target};
use crate::breaker::Resource;
use crate::lb::{EndpointId, PeakEwma};
use crate::model::{Address, RoutingPriority};
use crate::outlier::Monitor;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::time::Timestamp;
use std::sync::Arc;

/// What was learnt about one address of one cluster.
///
/// It lives as long as its key (cluster, address, transport security) is configured, and as long as an
/// attempt is in flight after that. Weight, locality and configured health are not here: they change
/// without the endpoint changing.
#[derive(Debug)]
pub struct LiveEndpoint<A: Attach> {
    id: EndpointId,
    address: Address,
    /// Attempts in flight, until the response body ends.
    active: AtomicU32,
    /// The last connect failed; passed over while there are others, until it succeeds.
    suspect: Suspect,
    /// Since when it takes traffic, for slow start.
    available_since: AtomicU64,
    ewma: PeakEwma,
    monitor: Monitor,
    attached: A::Endpoint,
}

impl<A: Attach> LiveEndpoint<A> {
    pub(super) fn new(
        id: EndpointId,
        address: Address,
        now: Timestamp,
        attached: A::Endpoint,
    ) -> Self {
        Self {
            id,
            address,
            active: AtomicU32::new(0),
            suspect: Suspect::default(),
            available_since: AtomicU64::new(now.as_nanos()),
            ewma: PeakEwma::default(),
            monitor: Monitor::default(),
            attached,
        }
    }

    /// Its identity, never given twice.
    #[must_use]
    pub const fn id(&self) -> EndpointId {
        self.id
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Attempts in flight; an attempt ends when its response body does.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether the last connect failed, none succeeded since, and it is not time yet to try again.
    #[must_use]
    pub fn is_suspect(&self, now: Timestamp) -> bool {
        self.suspect.is_passed_over(now)
    }

    /// Whether whoever chose it may try it: yes, unless it is suspect; then one at a time may, when it
    /// is time.
    pub(super) fn may_try(&self, now: Timestamp) -> bool {
        self.suspect.claim(now)
    }

    /// Connecting failed.
    pub fn connect_failed(&self, now: Timestamp) {
        self.suspect.begin(now);
    }

    /// It answered: connecting works.
    pub fn answered(&self) {
        self.suspect.end();
    }

    /// Since when it takes traffic: when it appeared, or was last un-ejected.
    #[must_use]
    pub fn available_since(&self) -> Timestamp {
        Timestamp::from_nanos(self.available_since.load(Ordering::Relaxed))
    }

    pub(super) fn set_available_since(&self, now: Timestamp) {
        self.available_since.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Its latency estimate.
    #[must_use]
    pub const fn ewma(&self) -> &PeakEwma {
        &self.ewma
    }

    /// Its outlier-detection counters and ejection.
    #[must_use]
    pub const fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// What the adapter hung on it.
    #[must_use]
    pub const fn attached(&self) -> &A::Endpoint {
        &self.attached
    }
}

/// Whether an endpoint is passed over because connecting to it fails.
///
/// Passed over for good it would never be known to be back, and after a restart of all endpoints, one
/// by one, a single one would take all traffic. So after a while one call tries: after [`FIRST_PROBE`],
/// then at twice the time that it has been failing, and at least each [`LONGEST_PAUSE`] (as gRPC's
/// connection back-off does). The others go on passing it over, which matters where connecting hangs.
#[derive(Debug, Default)]
struct Suspect {
    /// Since when connecting fails; 0: it does not.
    since: AtomicU64,
    /// When one call may try.
    probe_at: AtomicU64,
}

const FIRST_PROBE: u64 = 1_000_000_000;
const LONGEST_PAUSE: u64 = 30 * FIRST_PROBE;

impl Suspect {
    /// Only looks: many endpoints are looked at for one that is chosen.
    fn is_passed_over(&self, now: Timestamp) -> bool {
        self.since.load(Ordering::Relaxed) != 0
            && now.as_nanos() < self.probe_at.load(Ordering::Relaxed)
    }

    /// Takes the turn to try, when it is time; false: it is passed over, or another takes it just now.
    fn claim(&self, now: Timestamp) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 {
            return true;
        }
        let (now, due) = (now.as_nanos(), self.probe_at.load(Ordering::Relaxed));
        if now < due {
            return false;
        }
        let pause = now.saturating_sub(since).clamp(FIRST_PROBE, LONGEST_PAUSE);
        let next = now.saturating_add(pause);
        self.probe_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn begin(&self, now: Timestamp) {
        if self.since.load(Ordering::Relaxed) == 0 {
            let now = now.as_nanos().max(1);
            self.probe_at.store(now.saturating_add(FIRST_PROBE), Ordering::Relaxed);
            self.since.store(now, Ordering::Relaxed);
        }
    }

    fn end(&self) {
        // The load keeps the line shared in the common case: nothing to change.
        if self.since.load(Ordering::Relaxed) != 0 {
            self.since.store(0, Ordering::Relaxed);
        }
    }
}

/// An attempt that counts against its endpoint and its cluster's circuit breaker, until it is dropped:
/// keep it in the response body.
#[derive(Debug)]
pub struct InFlight<A: Attach> {
    target: Arc<Target<A>>,
    endpoint: Arc<LiveEndpoint<A>>,
    priority: RoutingPriority,
}

impl<A: Attach> InFlight<A> {
    /// Takes over a place that [`Breaker::try_acquire`](crate::breaker::Breaker::try_acquire) gave for
    /// [`Resource::Requests`] at `priority`, and counts the attempt.
    #[must_use]
    pub fn begin(
        target: Arc<Target<A>>,
        endpoint: Arc<LiveEndpoint<A>>,
        priority: RoutingPriority,
    ) -> Self {
        endpoint.active.fetch_add(1, Ordering::Relaxed);
        Self { target, endpoint, priority }
    }

    /// The endpoint that the attempt goes to.
    #[must_use]
    pub const fn endpoint(&self) -> &Arc<LiveEndpoint<A>> {
        &self.endpoint
    }

    /// Whose limits count it.
    #[must_use]
    pub const fn priority(&self) -> RoutingPriority {
        self.priority
    }

    /// The route and cluster that the attempt belongs to.
    #[must_use]
    pub const fn target(&self) -> &Arc<Target<A>> {
        &self.target
    }
}

impl<A: Attach> Drop for InFlight<A> {
    fn drop(&mut self) {
        self.endpoint.active.fetch_sub(1, Ordering::Relaxed);
        self.target.cluster().breaker().release(self.priority, Resource::Requests);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_call_at_a_time_tries_whether_a_suspect_is_back_at_growing_intervals() {
        let suspect = Suspect::default();
        let at = |second: u64| Timestamp::from_millis(second * 1000 + 500);
        assert!(!suspect.is_passed_over(at(0)));
        suspect.begin(at(0));
        let mut probes = Vec::new();
        for second in 0..130 {
            // Three calls look at once, as often as they like, and choose it if it is not passed over.
            let looked = (0..3).filter(|_| !suspect.is_passed_over(at(second))).count();
            assert!(looked == 0 || looked == 3, "looking changes nothing");
            let tried = (0..looked).filter(|_| suspect.claim(at(second))).count();
            assert!(tried <= 1, "{tried} calls try at once");
            if tried == 1 {
                probes.push(second);
                suspect.begin(at(second));
            }
        }
        assert_eq!(probes, [1, 2, 4, 8, 16, 32, 62, 92, 122]);
        suspect.end();
        assert!((0..3).all(|_| !suspect.is_passed_over(at(200)) && suspect.claim(at(200))));
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p mesh-core --lib loom`
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn one_of_those_who_chose_a_suspect_at_once_tries_it() {
        loom::model(|| {
            let suspect = Arc::new(Suspect::default());
            suspect.begin(Timestamp::from_millis(1));
            let now = Timestamp::from_millis(1500);
            let other = Arc::clone(&suspect);
            let other = thread::spawn(move || other.claim(now));
            let mine = suspect.claim(now);
            assert!(mine ^ other.join().unwrap(), "one of the two");
            assert!(suspect.is_passed_over(now));
        });
    }

    #[test]
    fn an_answer_is_not_undone_by_a_look() {
        loom::model(|| {
            let suspect = Arc::new(Suspect::default());
            suspect.begin(Timestamp::from_millis(1));
            let answering = Arc::clone(&suspect);
            let answering = thread::spawn(move || answering.end());
            let now = Timestamp::from_millis(1500);
            let _tried = suspect.claim(now);
            answering.join().unwrap();
            assert!(!suspect.is_passed_over(now) && suspect.claim(now));
        });
    }
}
