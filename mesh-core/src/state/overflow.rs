//! [`OverflowWatch`]: from refusals of a circuit breaker to events.
//!
//! A full limit may refuse a million calls in a second, and each of them is counted by the breaker.
//! What is told is the edge: that a limit began to refuse. It begins anew once it has refused nobody
//! for [`QUIET`]. A call that is not refused pays nothing for this.

use crate::breaker::{Breaker, Resource};
use crate::event::Event;
use crate::model::RoutingPriority;
use crate::time::Timestamp;
use std::time::Duration;

/// How long a limit must refuse nobody before its next refusal is told again.
const QUIET: Duration = Duration::from_secs(1);

/// Which limits of a cluster refuse. Nothing is held for a cluster whose limits don't.
#[derive(Debug, Default)]
pub(super) struct OverflowWatch {
    open: Vec<Open>,
    /// When it is looked whether they still do.
    look_at: Option<Timestamp>,
}

/// A limit that refuses.
#[derive(Debug)]
struct Open {
    priority: RoutingPriority,
    resource: Resource,
    /// How often it had refused when it was looked at last.
    overflows: u64,
}

impl OverflowWatch {
    /// The reason of [`poll_timeout`](Self::poll_timeout).
    pub(super) const LOOK: &'static str = "overflow over?";

    pub(super) fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        self.look_at.map(|at| (at, Self::LOOK))
    }

    /// Tells of limits that began to refuse, and forgets those that do no more.
    pub(super) fn handle(&mut self, breaker: &Breaker, now: Timestamp, events: &mut Vec<Event>) {
        if self.look_at.is_some_and(|at| at <= now) {
            self.open.retain_mut(|open| {
                let overflows = breaker.overflows(open.priority, open.resource);
                let goes_on = std::mem::replace(&mut open.overflows, overflows) != overflows;
                if !goes_on {
                    breaker.rearm(open.priority, open.resource);
                }
                goes_on
            });
            self.look_at = None;
        }
        for priority in [RoutingPriority::Default, RoutingPriority::High] {
            for resource in Resource::ALL {
                if breaker.has_refused(priority, resource) && !self.knows(priority, resource) {
                    let overflows = breaker.overflows(priority, resource);
                    self.open.push(Open { priority, resource, overflows });
                    events.push(event(breaker, priority, resource));
                }
            }
        }
        if !self.open.is_empty() && self.look_at.is_none() {
            self.look_at = Some(now + QUIET);
        }
    }

    fn knows(&self, priority: RoutingPriority, resource: Resource) -> bool {
        self.open.iter().any(|open| (open.priority, open.resource) == (priority, resource))
    }
}

fn event(breaker: &Breaker, priority: RoutingPriority, resource: Resource) -> Event {
    let threshold = breaker.limit(priority, resource);
    // So many were in use when it refused; some may have ended since.
    let value = breaker.active(priority, resource).max(threshold);
    Event::Overflow { limit: resource.into(), priority, value, threshold }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::model::circuit_breakers::CircuitBreakers;

    const REQUESTS: (RoutingPriority, Resource) = (RoutingPriority::Default, Resource::Requests);

    fn codes(watch: &mut OverflowWatch, breaker: &Breaker, millis: u64) -> Vec<String> {
        let mut events = Vec::new();
        watch.handle(breaker, Timestamp::from_millis(millis), &mut events);
        events.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_overflow_is_told_once_until_it_is_over() {
        let mut limits = CircuitBreakers::default();
        limits.default.max_requests = 1;
        let (breaker, mut watch) = (Breaker::new(&limits), OverflowWatch::default());
        assert_eq!((codes(&mut watch, &breaker, 0).len(), watch.poll_timeout()), (0, None));
        breaker.try_acquire(REQUESTS.0, REQUESTS.1).unwrap();
        breaker.try_acquire(REQUESTS.0, REQUESTS.1).unwrap_err();
        let told = codes(&mut watch, &breaker, 100);
        assert_eq!(told, ["circuit breaker is full: max_requests is 1, in use 1"]);
        let due = watch.poll_timeout().map(|(at, _)| at);
        assert_eq!(due, Some(Timestamp::from_millis(1100)));
        // It goes on.
        breaker.try_acquire(REQUESTS.0, REQUESTS.1).unwrap_err();
        assert_eq!(codes(&mut watch, &breaker, 500), [""; 0]);
        assert_eq!(codes(&mut watch, &breaker, 1100), [""; 0]);
        // A second without one: over. The next begins anew.
        assert_eq!(codes(&mut watch, &breaker, 2100), [""; 0]);
        assert_eq!(watch.poll_timeout(), None);
        breaker.try_acquire(REQUESTS.0, REQUESTS.1).unwrap_err();
        assert_eq!(codes(&mut watch, &breaker, 3000).len(), 1);
    }
}
