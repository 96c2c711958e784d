//! Circuit breakers: how much of a cluster may be in use at the same time.
//!
//! A limit turns a slow cluster into fast refusals before its callers run out of memory or threads.
//! It is not a switch that opens and closes: a count is below its threshold, or the call overflows
//! (Envoy: `config.cluster.v3.CircuitBreakers`, flag `UO`; gRFC A32).
//!
//! - Counts are kept per cluster and routing priority, for four resources. The limit of connections to
//!   one endpoint is not here but with the endpoint's pool.
//! - Limits may change at any time and live counts stay (gRFC A32). Below a lowered limit nobody is
//!   thrown out; newcomers are refused until enough have left.
//! - **No overshoot.** Envoy's counters may exceed their limits a little. Here a newcomer adds itself
//!   first and goes back if that was too much, so at no time do more than `limit` hold a permit; in
//!   exchange one may be refused that raced with others for the last place. Against a loop of
//!   compare-and-exchange this costs one atomic operation however many threads compete, and none at
//!   all where the limit is already reached.
//! - **The first refusal wakes somebody**, so that an overflow is known without being looked for; the
//!   next do not, until whoever was woken has said that it is over ([`Breaker::rearm`]).

use crate::model::circuit_breakers::{CircuitBreakers, RoutingPriority, Thresholds};
use crate::outcome::Overflow;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::task::Waker;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: the limits of Envoy's `Thresholds`")]
pub enum Resource {
    /// Open connections.
    Connections,
    /// Calls that wait for a connection.
    Pending,
    /// Attempts in flight.
    Requests,
    /// Retries in flight or in back-off.
    Retries,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 4] = [Self::Connections, Self::Pending, Self::Requests, Self::Retries];

    const fn limit_in(self, thresholds: &Thresholds) -> u32 {
        match self {
            Self::Connections => thresholds.max_connections,
            Self::Pending => thresholds.max_pending_requests,
            Self::Requests => thresholds.max_requests,
            Self::Retries => match thresholds.max_retries {
                Some(limit) => limit,
                None => u32::MAX,
            },
        }
    }
}

impl From<Resource> for Overflow {
    fn from(resource: Resource) -> Self {
        match resource {
            Resource::Connections => Self::Connections,
            Resource::Pending => Self::Pending,
            Resource::Requests => Self::Requests,
            Resource::Retries => Self::Retries,
        }
    }
}

/// The counts and limits of one cluster. Shared, lock-free, 256 bytes.
#[derive(Debug)]
pub struct Breaker {
    /// By routing priority, then by resource. Apart, so that high-priority calls do not wait for the
    /// cache line of the others.
    lanes: [CachePadded<Lane>; 2],
}

/// One routing priority.
#[derive(Debug)]
struct Lane {
    gauges: [Gauge; 4],
    /// Who hears of a first refusal.
    alarm: Waker,
}

#[derive(Debug)]
struct Gauge {
    active: AtomicU32,
    limit: AtomicU32,
    overflows: AtomicU64,
    /// It has refused, and whoever is woken has not said yet that it is over.
    has_refused: AtomicBool,
}

impl Breaker {
    /// Nothing in use yet, and nobody to be woken.
    #[must_use]
    pub fn new(limits: &CircuitBreakers) -> Self {
        Self::with_alarm(limits, Waker::noop())
    }

    /// Nothing in use yet; `alarm` is woken when a limit refuses for the first time.
    #[must_use]
    pub fn with_alarm(limits: &CircuitBreakers, alarm: &Waker) -> Self {
        let lanes = [&limits.default, &limits.high].map(|thresholds| {
            let gauges = Resource::ALL.map(|resource| Gauge {
                active: AtomicU32::new(0),
                limit: AtomicU32::new(resource.limit_in(thresholds)),
                overflows: AtomicU64::new(0),
                has_refused: AtomicBool::new(false),
            });
            CachePadded::new(Lane { gauges, alarm: alarm.clone() })
        });
        Self { lanes }
    }

    /// Goes over to other limits. Live counts stay.
    pub fn set_thresholds(&self, limits: &CircuitBreakers) {
        for (lane, thresholds) in self.lanes.iter().zip([&limits.default, &limits.high]) {
            for (gauge, resource) in lane.gauges.iter().zip(Resource::ALL) {
                gauge.limit.store(resource.limit_in(thresholds), Ordering::Relaxed);
            }
        }
    }

    /// Takes one place. Whoever took it gives it back by one [`release`](Self::release);
    /// [`acquire`](Self::acquire) sees to that by itself.
    ///
    /// # Errors
    /// The [`Overflow`] names the limit that is reached. Nothing is taken then.
    pub fn try_acquire(
        &self,
        priority: RoutingPriority,
        resource: Resource,
    ) -> Result<(), Overflow> {
        let gauge = self.gauge(priority, resource);
        let limit = gauge.limit.load(Ordering::Relaxed);
        if gauge.active.load(Ordering::Relaxed) < limit {
            // The additions to one counter are in one order: whoever finds less than the limit is
            // within it. Acquire pairs with the release of the place's last holder.
            if gauge.active.fetch_add(1, Ordering::Acquire) < limit {
                return Ok(());
            }
            gauge.active.fetch_sub(1, Ordering::Relaxed);
        }
        gauge.overflows.fetch_add(1, Ordering::Relaxed);
        self.refused(priority, gauge);
        Err(resource.into())
    }

    #[cold]
    fn refused(&self, priority: RoutingPriority, gauge: &Gauge) {
        // The load keeps the line shared while a limit refuses one after another.
        if !gauge.has_refused.load(Ordering::Relaxed)
            && !gauge.has_refused.swap(true, Ordering::AcqRel)
        {
            self.lanes[priority as usize].alarm.wake_by_ref();
        }
    }

    /// Whether the limit has refused since it was last [armed](Self::rearm).
    #[must_use]
    pub fn has_refused(&self, priority: RoutingPriority, resource: Resource) -> bool {
        self.gauge(priority, resource).has_refused.load(Ordering::Acquire)
    }

    /// The next refusal wakes again.
    pub fn rearm(&self, priority: RoutingPriority, resource: Resource) {
        self.gauge(priority, resource).has_refused.store(false, Ordering::Release);
    }

    /// Takes one place whatever the limit says: Envoy gives every endpoint its first connection.
    pub fn acquire_beyond(&self, priority: RoutingPriority, resource: Resource) {
        self.gauge(priority, resource).active.fetch_add(1, Ordering::Acquire);
    }

    /// Gives back one place taken by [`try_acquire`](Self::try_acquire), after which it is free at
    /// once.
    pub fn release(&self, priority: RoutingPriority, resource: Resource) {
        let before = self.gauge(priority, resource).active.fetch_sub(1, Ordering::Release);
        debug_assert!(before > 0, "{resource:?} was released more often than acquired");
    }

    /// Takes one place that is given back when the permit is dropped.
    ///
    /// # Errors
    /// The [`Overflow`] names the limit that is reached.
    pub fn acquire(
        self: &Arc<Self>,
        priority: RoutingPriority,
        resource: Resource,
    ) -> Result<Permit, Overflow> {
        self.try_acquire(priority, resource)?;
        Ok(Permit { breaker: Arc::clone(self), priority, resource })
    }

    /// Places in use: a gauge. While others compete for the last place it may show them too.
    #[must_use]
    pub fn active(&self, priority: RoutingPriority, resource: Resource) -> u32 {
        self.gauge(priority, resource).active.load(Ordering::Relaxed)
    }

    /// The limit in force; `u32::MAX`: none.
    #[must_use]
    pub fn limit(&self, priority: RoutingPriority, resource: Resource) -> u32 {
        self.gauge(priority, resource).limit.load(Ordering::Relaxed)
    }

    /// How often the limit has refused since the cluster exists: a counter.
    #[must_use]
    pub fn overflows(&self, priority: RoutingPriority, resource: Resource) -> u64 {
        self.gauge(priority, resource).overflows.load(Ordering::Relaxed)
    }

    fn gauge(&self, priority: RoutingPriority, resource: Resource) -> &Gauge {
        &self.lanes[priority as usize].gauges[resource as usize]
    }
}

/// One place of a [`Breaker`], given back on drop.
#[derive(Debug)]
#[must_use = "dropping a permit gives its place back at once"]
pub struct Permit {
    breaker: Arc<Breaker>,
    priority: RoutingPriority,
    resource: Resource,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.breaker.release(self.priority, self.resource);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use RoutingPriority::{Default as Everyday, High};
    use std::thread;

    fn limits(max_requests: u32) -> CircuitBreakers {
        let mut limits = CircuitBreakers::default();
        limits.default.max_requests = max_requests;
        limits
    }

    #[test]
    fn each_priority_and_resource_has_its_own_limit() {
        let default = Thresholds {
            max_connections: 1,
            max_pending_requests: 2,
            max_requests: 3,
            max_retries: Some(4),
        };
        let limits = CircuitBreakers { default, ..CircuitBreakers::default() };
        let breaker = Breaker::new(&limits);
        for (resource, limit, overflow) in [
            (Resource::Connections, 1, Overflow::Connections),
            (Resource::Pending, 2, Overflow::Pending),
            (Resource::Requests, 3, Overflow::Requests),
            (Resource::Retries, 4, Overflow::Retries),
        ] {
            assert_eq!(breaker.limit(Everyday, resource), limit);
            for _ in 0..limit {
                assert_eq!(breaker.try_acquire(Everyday, resource), Ok(()));
            }
            assert_eq!(breaker.try_acquire(Everyday, resource), Err(overflow));
            assert_eq!(breaker.active(Everyday, resource), limit);
            assert_eq!(breaker.overflows(Everyday, resource), 1);
            assert_eq!((breaker.active(High, resource), breaker.overflows(High, resource)), (0, 0));
            assert_eq!(breaker.try_acquire(High, resource), Ok(()));
            breaker.release(Everyday, resource);
            assert_eq!(breaker.try_acquire(Everyday, resource), Ok(()));
        }
    }

    #[test]
    fn the_defaults_are_envoys_but_for_retries() {
        let breaker = Breaker::new(&CircuitBreakers::default());
        assert_eq!(
            Resource::ALL.map(|resource| breaker.limit(High, resource)),
            [1024, 1024, 1024, u32::MAX]
        );
    }

    #[test]
    fn a_limit_of_zero_refuses_everything() {
        let breaker = Breaker::new(&limits(0));
        assert_eq!(breaker.try_acquire(Everyday, Resource::Requests), Err(Overflow::Requests));
        assert_eq!(breaker.active(Everyday, Resource::Requests), 0);
    }

    #[test]
    fn a_changed_limit_keeps_the_live_count() {
        // gRFC A32: a lowered limit does not reset the count.
        let breaker = Arc::new(Breaker::new(&limits(3)));
        let acquire = || breaker.acquire(Everyday, Resource::Requests);
        let first = acquire().unwrap();
        let second = acquire().unwrap();
        breaker.set_thresholds(&limits(1));
        assert_eq!(breaker.active(Everyday, Resource::Requests), 2);
        assert_eq!(acquire().unwrap_err(), Overflow::Requests);
        drop(first);
        assert_eq!(acquire().unwrap_err(), Overflow::Requests);
        drop(second);
        let third = acquire().unwrap();
        breaker.set_thresholds(&limits(2));
        let fourth = acquire().unwrap();
        assert_eq!(acquire().unwrap_err(), Overflow::Requests);
        drop((third, fourth));
        assert_eq!(breaker.active(Everyday, Resource::Requests), 0);
        assert_eq!(breaker.overflows(Everyday, Resource::Requests), 3);
    }

    #[test]
    fn threads_never_hold_more_than_the_limit() {
        let (breaker, holders) = (Breaker::new(&limits(2)), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        if breaker.try_acquire(Everyday, Resource::Requests).is_ok() {
                            let others = holders.fetch_add(1, Ordering::SeqCst);
                            assert!(others < 2);
                            holders.fetch_sub(1, Ordering::SeqCst);
                            breaker.release(Everyday, Resource::Requests);
                        }
                    }
                });
            }
        });
        assert_eq!(breaker.active(Everyday, Resource::Requests), 0);
    }

    #[test]
    fn the_first_refusal_wakes_until_it_is_over() {
        #[derive(Default)]
        struct Counter(AtomicU32);
        impl std::task::Wake for Counter {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let counter = Arc::new(Counter::default());
        let breaker = Breaker::with_alarm(&limits(1), &Arc::clone(&counter).into());
        let acquire = || breaker.try_acquire(Everyday, Resource::Requests);
        acquire().unwrap();
        assert_eq!(counter.0.load(Ordering::SeqCst), 0);
        for _ in 0..5 {
            acquire().unwrap_err();
        }
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        assert!(breaker.has_refused(Everyday, Resource::Requests));
        assert!(!breaker.has_refused(High, Resource::Requests));
        breaker.rearm(Everyday, Resource::Requests);
        acquire().unwrap_err();
        assert_eq!(counter.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn it_is_as_small_as_it_says() {
        assert_eq!(size_of::<Breaker>(), 256);
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p mesh-core --lib loom`
#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use super::*;
    use loom::thread;

    #[test]
    fn the_last_place_is_held_by_one_at_a_time_and_comes_back() {
        loom::model(|| {
            let mut limits = CircuitBreakers::default();
            limits.default.max_requests = 1;
            let breaker = Arc::new(Breaker::new(&limits));
            let holders = Arc::new(AtomicU32::new(0));
            let visit = |breaker: Arc<Breaker>, holders: Arc<AtomicU32>| {
                let permit = breaker.acquire(RoutingPriority::Default, Resource::Requests);
                if let Ok(permit) = permit {
                    assert_eq!(holders.fetch_add(1, Ordering::Relaxed), 0);
                    holders.fetch_sub(1, Ordering::Relaxed);
                    drop(permit);
                    1
                } else {
                    0
                }
            };
            let threads = [(); 2].map(|()| {
                let (breaker, holders) = (Arc::clone(&breaker), Arc::clone(&holders));
                thread::spawn(move || visit(breaker, holders))
            });
            let visits: u32 = threads.map(|thread| thread.join().unwrap()).iter().sum();
            assert!(visits >= 1, "one of them gets it");
            assert_eq!(breaker.active(RoutingPriority::Default, Resource::Requests), 0);
        });
    }
}
