//! The clockwork of a connection: idle close, age, keep-alive PINGs, on one timer.
//!
//! The call path reads no clock. Instead the timer looks now and then whether anything moved since the
//! last look; so a limit is met between 1 and 1.25 times its value.

use crate::observe::events::CloseReason;
use mesh_core::model::ConnectionOptions;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// What moved on a connection, as counters that only need to differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Activity {
    /// Whether calls are in flight.
    pub(super) busy: bool,
    /// Calls so far.
    pub(super) calls: u32,
    /// Reads so far.
    pub(super) reads: u32,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet.
    Nothing,
    /// Take no new calls: idle for too long, or too old.
    Retire(CloseReason),
    /// Send a PING.
    Ping,
    /// No answer to the PING: the connection is dead.
    Dead,
}

/// How often a limit's watch looks, as a fraction of the limit.
const LOOKS: u32 = 4;

/// When nothing is watched any more: the connection is retired, and ends long before.
const NEVER: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) struct Upkeep {
    sleep: Pin<Box<Sleep>>,
    /// Whether the timer knows whom to wake; one registration serves until the next reset.
    armed: bool,
    retire_at: Option<Instant>,
    idle: Option<Watch>,
    keepalive: Option<KeepAlive>,
}

/// Since when a counter stands still, to the precision of the looks.
struct Watch {
    limit: Duration,
    seen: u32,
    since: Instant,
}

impl Watch {
    fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, seen: 0, since: now }
    }

    /// Whether the counter stood still for the limit.
    fn stood_still(&mut self, counter: u32, hold: bool, now: Instant) -> bool {
        if hold || counter != self.seen {
            (self.seen, self.since) = (counter, now);
        }
        now - self.since >= self.limit
    }

    fn next_look(&self, now: Instant) -> Instant {
        now + self.limit / LOOKS
    }
}

struct KeepAlive {
    silence: Watch,
    timeout: Duration,
    while_idle: bool,
    /// Calls by the last look.
    calls: u32,
    /// When the PING in flight was sent, and the reads by then.
    pinged: Option<(Instant, u32)>,
}

impl Upkeep {
    /// The clockwork that `options` ask for; `None` when they ask for nothing.
    ///
    /// The age limit is shortened by a random share, so that connections do not all end at once.
    pub(super) fn new(options: &ConnectionOptions, pings: bool, now: Instant) -> Option<Self> {
        let set = |limit: Duration| (!limit.is_zero()).then_some(limit);
        let mut upkeep = Self {
            sleep: Box::pin(sleep_until(now)),
            armed: false,
            retire_at: set(options.max_connection_age).map(|age| {
                let jitter = f64::from(options.max_connection_age_jitter.min(100)) / 100.0;
                now + age.mul_f64(1.0 - jitter * fastrand::f64())
            }),
            idle: set(options.idle_timeout).map(|limit| Watch::new(limit, now)),
            keepalive: set(options.keepalive_interval).filter(|_| pings).map(|interval| {
                KeepAlive {
                    silence: Watch::new(interval, now),
                    timeout: options.keepalive_timeout,
                    while_idle: options.keepalive_while_idle,
                    calls: 0,
                    pinged: None,
                }
            }),
        };
        let next = upkeep.next_look(now)?;
        upkeep.sleep.as_mut().reset(next);
        Some(upkeep)
    }

    /// Whether the timer fired; cheap when it did not.
    pub(super) fn poll_fired(&mut self, cx: &mut Context<'_>) -> bool {
        if self.armed {
            return self.sleep.is_elapsed();
        }
        self.armed = true;
        self.sleep.as_mut().poll(cx).is_ready()
    }

    /// Looks at the connection, and sets the timer to the next look.
    pub(super) fn look(&mut self, activity: Activity, now: Instant) -> Due {
        let due = self.due(activity, now);
        let next = self.next_look(now).unwrap_or(now + NEVER);
        self.sleep.as_mut().reset(next);
        self.armed = false;
        due
    }

    /// The PING was answered.
    pub(super) fn ponged(&mut self) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.pinged = None;
        }
    }

    /// Whether a PING waits for its answer.
    pub(super) fn is_pinged(&self) -> bool {
        self.keepalive.as_ref().is_some_and(|keepalive| keepalive.pinged.is_some())
    }

    fn due(&mut self, activity: Activity, now: Instant) -> Due {
        if let Some(keepalive) = &mut self.keepalive {
            match keepalive.due(activity, now) {
                Due::Nothing => {}
                due => return due,
            }
        }
        if self.retire_at.is_some_and(|at| at <= now) {
            self.retire_at = None;
            return Due::Retire(CloseReason::MaxAge);
        }
        let idle = &mut self.idle;
        if idle.as_mut().is_some_and(|w| w.stood_still(activity.calls, activity.busy, now)) {
            self.idle = None;
            return Due::Retire(CloseReason::Idle);
        }
        Due::Nothing
    }

    fn next_look(&self, now: Instant) -> Option<Instant> {
        let keepalive = self.keepalive.as_ref().map(|keepalive| match keepalive.pinged {
            Some((sent, _)) => sent + keepalive.timeout,
            None => keepalive.silence.next_look(now),
        });
        let idle = self.idle.as_ref().map(|watch| watch.next_look(now));
        [self.retire_at, idle, keepalive].into_iter().flatten().min()
    }
}

impl KeepAlive {
    fn due(&mut self, activity: Activity, now: Instant) -> Due {
        // Calls may have come and ended between two looks, and silence goes on while there are none: whoever calls after a
        // pause, and each time gives up before the interval is over, is told as well that nobody is there.
        let calls = std::mem::replace(&mut self.calls, activity.calls) != activity.calls;
        let asks = self.while_idle || activity.busy || calls;
        let silent = self.silence.stood_still(activity.reads, false, now);
        match self.pinged {
            // Anything that arrived since proves life as well as the answer does.
            Some((_, reads)) if reads != activity.reads => self.pinged = None,
            Some((sent, _)) if now - sent >= self.timeout => return Due::Dead,
            Some(_) => {}
            None if silent && asks => {
                self.pinged = Some((now, activity.reads));
                return Due::Ping;
            }
            None => {}
        }
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(change: impl FnOnce(&mut ConnectionOptions)) -> ConnectionOptions {
        let mut options = ConnectionOptions::default();
        options.idle_timeout = Duration::ZERO;
        change(&mut options);
        options
    }

    /// Runs the clockwork under the paused clock; `activity` says what moved by second `t`. Answers
    /// with the second and the first thing that was due other than `skip`.
    async fn run(
        options: ConnectionOptions,
        skip: Option<Due>,
        activity: impl Fn(f64) -> Activity,
    ) -> (f64, Due) {
        let start = Instant::now();
        let mut upkeep = Upkeep::new(&options, true, start).expect("there is a limit");
        loop {
            std::future::poll_fn(|cx| {
                if upkeep.poll_fired(cx) {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            })
            .await;
            let now = Instant::now();
            let at = (now - start).as_secs_f64();
            assert!(at < 1000.0, "nothing was ever due");
            let due = upkeep.look(activity(at), now);
            if due != Due::Nothing && Some(due) != skip {
                return (at, due);
            }
        }
    }

    const fn still(busy: bool) -> Activity {
        Activity { busy, calls: 0, reads: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_counts_from_the_last_call() {
        let options = || options(|o| o.idle_timeout = Duration::from_secs(40));
        let (at, due) = run(options(), None, |_| still(false)).await;
        assert_eq!((at.round(), due), (40.0, Due::Retire(CloseReason::Idle)));
        // Calls until second 25, then none: noticed at 30, due 40 s later.
        let calls = |at: f64| Activity { busy: false, calls: at.min(25.0) as u32, reads: 0 };
        assert_eq!(run(options(), None, calls).await.0 as u32, 70);
        // A call in flight is not idle.
        let busy = |at: f64| still(at < 100.0);
        assert!((130.0..=150.0).contains(&run(options(), None, busy).await.0));
    }

    #[tokio::test(start_paused = true)]
    async fn age_is_shortened_by_the_jitter() {
        for _ in 0..20 {
            let options = options(|o| {
                o.max_connection_age = Duration::from_secs(100);
                o.max_connection_age_jitter = 20;
            });
            let (at, due) = run(options, None, |_| still(true)).await;
            assert!((80.0..=100.1).contains(&at), "{at}");
            assert_eq!(due, Due::Retire(CloseReason::MaxAge));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_pinged_then_dead() {
        let options = |while_idle| {
            options(|o| {
                o.keepalive_interval = Duration::from_secs(40);
                o.keepalive_timeout = Duration::from_secs(5);
                o.keepalive_while_idle = while_idle;
            })
        };
        let (at, due) = run(options(false), None, |_| still(true)).await;
        assert_eq!((at.round(), due), (40.0, Due::Ping));
        let (at, due) = run(options(false), Some(Due::Ping), |_| still(true)).await;
        assert_eq!((at.round(), due), (45.0, Due::Dead));
        assert_eq!(run(options(true), None, |_| still(false)).await.1, Due::Ping);
        // Without calls in flight nobody asks, until there is one.
        let (at, due) = run(options(false), None, |at| still(at > 95.0)).await;
        assert!(due == Due::Ping && (95.0..=105.0).contains(&at), "{at} {due:?}");
        // Calls that end before anybody looks.
        let short = |at: f64| Activity { busy: false, calls: (at / 15.0) as u32, reads: 0 };
        let (at, due) = run(options(false), Some(Due::Ping), short).await;
        assert!(due == Due::Dead && at <= 60.0, "{at} {due:?}");
        // What is read in between says enough.
        let read = |at: f64| Activity {
            busy: false,
            calls: (at / 15.0) as u32,
            reads: (at / 20.0) as u32,
        };
        let quiet = tokio::time::timeout(Duration::from_secs(900), run(options(false), None, read));
        assert!(quiet.await.is_err());
    }
}
