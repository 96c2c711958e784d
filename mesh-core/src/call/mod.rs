//! One call, many attempts.
//!
//! Timeouts, retries, back-off, budgets and hedging are one decision: a retry that does not know the
//! deadline starts work that nobody waits for, and a deadline that does not know the retries cuts off
//! the wrong attempt. So one machine, [`Call`], decides for one call from its first attempt to its
//! answer. It performs nothing: what happened goes in, with the time, and out comes the one
//! [`Action`] to take.
//!
//! ```text
//!            start                                         answer, or nothing left to try
//!   Ready ──────────▶ Running ────────────────────────────────────────────────────────────▶ Done
//!     │                 │   ▲                                 Commit(attempt), Finish(reason)  ▲
//!     │                 ▼   │ Start(attempt)                                                  │
//!     │         attempts out, and at most one pause                                           │
//!     └───────────────────────────────────────────────────────────────────────────────────────┘
//!                              deadline already passed: Finish
//!
//!   while Running            and then                            action
//!   ───────────────────────  ──────────────────────────────────  ──────────────────────────
//!   attempt not processed    a transparent retry is left         Start at once, elsewhere
//!   attempt worth retrying   retries, budget, body, time left    Wait for the pause, Start
//!                            others are still out                Wait for them
//!                            it was a response                   Commit: a real answer stays
//!                            it was a failure                    Finish
//!   any other response                                           Commit, the others are dropped
//!   any other failure        others are still out                Wait for them
//!                            nothing is out                      Finish
//!   pause over                                                   Start
//!   per-try timeout          hedging                             Start beside it, or Wait
//!                            not hedging                         Cancel, its outcome follows
//!   deadline                                                     Finish
//! ```
//!
//! **Driving it.** Call [`Call::start`], do as told, and then feed whichever comes first: the outcome
//! of an attempt ([`Call::handle_outcome`]) or the one timer ([`Call::poll_timeout`],
//! [`Call::handle_timeout`]). After every action but `Commit` and `Finish`, ask for the timer again; it
//! may be due already. Nothing needs to be said when a call is dropped, but the gate must then give
//! back the slots it admitted ([`RetryGate`]).
//!
//! **The rules** are in the files that make them: what another attempt needs (`plan.rs`), whether an
//! outcome is worth a retry ([`retry`]), how long to wait ([`backoff`]), how many retries a cluster affords ([`budget`],
//! [`gate`]), until when ([`deadline`]), overlapping attempts ([`hedge`]), what headers ask and tell
//! ([`headers`]). What is decided here is their order:
//!
//! - The deadline is never overrun: no attempt starts at or after it, no pause reaches up to it, and a
//!   call that runs into it is not retried (Envoy: the global timeout).
//! - A request that no server processed goes elsewhere at once, without policy, pause or budget, and
//!   without counting as a retry (gRFC A6 "transparent retries"): up to [`MAX_UNSENT`] times while it
//!   never left, [`MAX_GOAWAY`] times from connections that the server was leaving, and
//!   [`MAX_REFUSED`] time from a server that refused it.
//! - The order of the checks of a retry is Envoy's: wanted, retries left, budget; the slot is taken
//!   before the pause.
//! - The last response is passed on as it is. It is never replaced by an error of ours;
//!   [`Call::retry_stop`] says beside it why it was the last.
//!
//! What it does not do: choose endpoints, keep time, hold requests or responses, or watch the body
//! after the head; at `Commit` the [`Deadline`] moves on to the response body.

pub mod backoff;
mod bounds;
pub mod budget;
pub mod deadline;
pub mod gate;
pub mod headers;
pub mod hedge;
pub mod http_date;
mod plan;
pub mod policy;
pub mod retry;
mod steps;

pub use bounds::{MAX_GOAWAY, MAX_REFUSED, MAX_RETRIES, MAX_UNSENT};
pub use budget::RetryBudget;
pub use deadline::{Deadline, Limit};
pub use gate::{RetryGate, RetryRefused, RetryStop};
pub use headers::{AttemptCounts, Overrides};
pub use policy::{CallOptions, CallPolicy, RequestFacts};

use crate::local_reply::Reason;
use crate::model::{RetryOn, RetryPolicy};
use crate::outcome::{Failure, Outcome};
use crate::random::Random;
use crate::time::Timestamp;
use deadline::GivenLimits;
use hedge::{AttemptLimit, InFlight};
use std::sync::Arc;
use std::time::Duration;

/// One attempt of one call. The first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(u32);

impl AttemptId {
    /// Which attempt of its call it is, from 1.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the call goes on only if its actions are taken"]
#[expect(clippy::exhaustive_enums, reason = "closed: whoever drives a call must take every action")]
pub enum Action {
    /// Send the request as this new attempt. Others that are out stay out.
    Start(AttemptId),
    /// End this attempt and hand in its outcome, [`Failure::PerTryTimeout`], like any other.
    Cancel(AttemptId),
    /// Hand this attempt's response to the caller, drop all others. The call is decided.
    Commit(AttemptId),
    /// Nothing but to wait for the attempts that are out or for the timer.
    Wait,
    /// Drop all attempts and answer with this reason. The call is decided.
    Finish(Reason),
}

/// One call: which attempt to make, until when, and which one counts.
///
/// Small, and without allocation of its own.
#[derive(Debug)]
pub struct Call {
    policy: Option<Arc<RetryPolicy>>,
    overrides: Option<Box<Overrides>>,
    deadline: Option<Deadline>,
    per_try_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    /// When the call last gave a sign of life.
    active: Timestamp,
    in_flight: InFlight,
    pause: Option<Pause>,
    /// The failures that are tried again: the policy's and the caller's.
    retry_on: RetryOn,
    retries_left: u32,
    counts: AttemptCounts,
    /// Retries since the exponential back-off last started over.
    back_off_step: u32,
    unsent_left: u8,
    refused_left: u8,
    goaway_left: u8,
    grpc: bool,
    hedge: bool,
    /// Whether the policy applies to this request at all.
    armed: bool,
    wait_for_ready: bool,
    /// Pauses so far because no connection could be made.
    waits: u32,
    phase: Phase,
    retry_stop: Option<RetryStop>,
    /// The answer failed and says that nobody is to try again.
    is_forbidden: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ready,
    Running,
    Done,
}

/// The wait before a retry, for which the gate holds a slot.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Timestamp,
    after_timeout: bool,
    /// It ends in the same attempt once more, which was never sent, and not in a retry.
    unsent: bool,
    holds_slot: bool,
}

impl Call {
    /// A call that begins `now`.
    #[must_use]
    pub fn new(policy: &CallPolicy<'_>, request: RequestFacts, now: Timestamp) -> Self {
        let RequestFacts { grpc, retriable, incoming_deadline, overrides, options } = request;
        let asked = overrides.as_deref();
        let given = GivenLimits {
            timeout: options.timeout.or_else(|| asked.and_then(|asked| asked.timeout)),
            incoming: incoming_deadline,
        };
        let retry = policy.retry;
        let retry_on = asked.map_or(RetryOn::NONE, |asked| asked.retry_on)
            | retry.map_or(RetryOn::NONE, |retry| retry.retry_on);
        // Envoy: a request outside `retriable_request_headers` has an empty `retry_on`.
        let armed = retriable && !options.no_retry && (retry.is_some() || !retry_on.is_empty());
        let num_retries = asked
            .and_then(|asked| asked.num_retries)
            .or_else(|| retry.map(|retry| retry.num_retries))
            .unwrap_or(1);
        let hedge = asked.and_then(|asked| asked.hedge_on_per_try_timeout);
        let deadline = deadline::earliest(policy, grpc, given, now);
        // One that is not below the whole call's limit never fires: the deadline is looked at first
        // (Envoy ignores it).
        let per_try_timeout = asked
            .and_then(|asked| asked.per_try_timeout)
            .or_else(|| retry.and_then(|retry| retry.per_try_timeout))
            .filter(|limit| !limit.is_zero());
        Self {
            policy: retry.cloned(),
            deadline,
            per_try_timeout,
            idle_timeout: policy.idle_timeout.filter(|limit| !limit.is_zero()),
            active: now,
            in_flight: InFlight::default(),
            pause: None,
            retry_on,
            retries_left: if armed { num_retries.min(MAX_RETRIES) } else { 0 },
            counts: AttemptCounts::default(),
            back_off_step: 0,
            unsent_left: MAX_UNSENT,
            refused_left: if policy.transparent_retry { MAX_REFUSED } else { 0 },
            goaway_left: if policy.transparent_retry { MAX_GOAWAY } else { 0 },
            grpc,
            hedge: armed && hedge.unwrap_or(policy.hedge.hedge_on_per_try_timeout),
            armed,
            wait_for_ready: options.wait_for_ready,
            waits: 0,
            overrides,
            phase: Phase::Ready,
            retry_stop: None,
            is_forbidden: false,
        }
    }

    /// Begins: the first attempt, or the end when the deadline has passed already.
    pub fn start(&mut self, now: Timestamp) -> Action {
        if self.phase != Phase::Ready {
            return Action::Wait;
        }
        self.phase = Phase::Running;
        match self.deadline {
            Some(deadline) if deadline.at <= now => {
                self.phase = Phase::Done;
                Action::Finish(deadline.limit.reason())
            }
            _ => self.launch(false, now),
        }
    }

    /// Takes in what attempt `id` ended in. A report of an attempt that is not out is ignored.
    pub fn handle_outcome(
        &mut self,
        id: AttemptId,
        outcome: &Outcome<'_>,
        gate: &mut impl RetryGate,
        now: Timestamp,
        random: &mut impl Random,
    ) -> Action {
        let Some(attempt) = self.in_flight.remove(id) else { return Action::Wait };
        self.active = self.active.max(now);
        let timed_out = Outcome::Failed(Failure::PerTryTimeout);
        let outcome = match self.ended_by_per_try_timeout(&attempt, outcome, now) {
            true => &timed_out,
            false => outcome,
        };
        if self.may_go_elsewhere(&attempt, outcome, gate, now) {
            return self.launch(attempt.holds_slot, now);
        }
        if self.waits_for_connection(&attempt, outcome, gate) {
            return self.begin_wait(attempt.holds_slot, now, random);
        }
        if attempt.holds_slot {
            gate.release_retry();
        }
        if let Some(limit) = self.ended_by_deadline(outcome, now) {
            self.end(gate);
            return Action::Finish(limit.reason());
        }
        let wanted = self.armed && self.wants_retry(outcome, gate);
        // One retry for one failure: a hedge has taken this one's place, or a pause has begun.
        if wanted && !attempt.replaced && self.pause.is_none() {
            match self.plan_retry(outcome, gate, now, random) {
                Ok(pause) => return self.begin_pause(pause, outcome, now),
                Err(stop) => self.retry_stop = Some(stop),
            }
        }
        self.settle(id, outcome, wanted, gate)
    }

    /// Takes in that the time of [`poll_timeout`](Self::poll_timeout) has come; does nothing before.
    pub fn handle_timeout(&mut self, gate: &mut impl RetryGate, now: Timestamp) -> Action {
        if self.phase != Phase::Running {
            return Action::Wait;
        }
        if let Some(deadline) = self.deadline.filter(|deadline| deadline.at <= now) {
            self.end(gate);
            return Action::Finish(deadline.limit.reason());
        }
        if self.silence_ends().is_some_and(|at| at <= now) {
            self.end(gate);
            return Action::Finish(Reason::IdleTimeout);
        }
        if let Some(pause) = self.pause.take_if(|pause| pause.until <= now) {
            return match pause.unsent {
                true => self.launch(pause.holds_slot, now),
                false => self.launch_retry(pause.after_timeout, now),
            };
        }
        let passed = self.attempt_limits().find(|(at, ..)| *at <= now);
        match passed {
            Some((_, AttemptLimit::Hedge, id)) => self.hedge(id, gate, now),
            Some((_, AttemptLimit::PerTry | AttemptLimit::Idle, id)) => {
                self.mark(id, |attempt| attempt.timed_out = true);
                Action::Cancel(id)
            }
            None => Action::Wait,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, and why; `None`: never, as
    /// things stand. The one timer of the call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        if self.phase != Phase::Running {
            return None;
        }
        let deadline = self.deadline.map(|deadline| (deadline.at, deadline.limit.name()));
        let only_deadline =
            self.per_try_timeout.is_none() && self.pause.is_none() && !self.watches_activity();
        if only_deadline { deadline } else { self.earliest_limit(deadline) }
    }

    /// The earliest of `deadline` and every other limit. Apart: the usual call has none.
    #[inline(never)]
    fn earliest_limit(
        &self,
        deadline: Option<(Timestamp, &'static str)>,
    ) -> Option<(Timestamp, &'static str)> {
        let silence = self.silence_ends().map(|at| (at, "idle_timeout"));
        let pause = self.pause.map(|pause| (pause.until, "back_off"));
        let attempts = self.attempt_limits().map(|(at, limit, _)| (at, limit.name()));
        let limits = deadline.into_iter().chain(silence).chain(pause).chain(attempts);
        limits.min_by_key(|(at, _)| *at)
    }

    /// Takes in that attempt `id`, just started, has to wait for an endpoint or a connection: its own
    /// limits don't run until [`handle_connected`](Self::handle_connected); the call's deadline does.
    pub fn handle_waiting(&mut self, id: AttemptId) {
        self.mark(id, |attempt| attempt.waiting = true);
    }

    /// Takes in that attempt `id` has a connection: its own limits run from here (Envoy:
    /// `per_try_timeout`, which starts when the connection pool is ready).
    pub fn handle_connected(&mut self, id: AttemptId, now: Timestamp) {
        self.mark(id, |attempt| {
            attempt.waiting = false;
            (attempt.since, attempt.active) = (now, now);
        });
        self.active = self.active.max(now);
    }

    /// Takes in a sign of life of attempt `id`, such as a part of the request body that was taken: its
    /// `per_try_idle_timeout` starts over, and the call's `idle_timeout`.
    pub fn handle_activity(&mut self, id: AttemptId, now: Timestamp) {
        self.mark(id, |attempt| attempt.active = now);
        self.active = self.active.max(now);
    }

    /// Whether signs of life are of interest.
    #[must_use]
    pub fn watches_activity(&self) -> bool {
        self.idle_timeout.is_some() || self.per_try_idle_timeout().is_some()
    }

    /// When the call must be over; goes on to the response body at [`Action::Commit`].
    #[must_use]
    pub const fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Until when a server's answer to attempt `id` is worth something; what to tell the server
    /// ([`deadline::grpc_timeout`], [`deadline::expected_rq_timeout_ms`]).
    ///
    /// The earlier one of its per-try timeout and the call's deadline; the latter alone while hedging,
    /// where the attempt stays out (Envoy: `x-envoy-expected-rq-timeout-ms`).
    #[must_use]
    pub fn attempt_deadline(&self, id: AttemptId) -> Option<Timestamp> {
        let attempt = self.in_flight.iter().find(|attempt| attempt.id == id)?;
        let own = self.per_try_timeout.filter(|_| !self.hedge).map(|limit| attempt.since + limit);
        own.into_iter().chain(self.deadline.map(|deadline| deadline.at)).min()
    }

    /// The number of attempts started so far, of all kinds.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.counts.attempt
    }

    /// Which attempt the one started last is, for its headers.
    #[must_use]
    pub const fn counts(&self) -> AttemptCounts {
        self.counts
    }

    /// The longest silence of one attempt, before and after its response head.
    #[must_use]
    pub fn per_try_idle_timeout(&self) -> Option<Duration> {
        let policy = self.policy.as_deref()?;
        policy.per_try_idle_timeout.filter(|limit| !limit.is_zero())
    }

    /// Whether the call waits before a retry.
    #[must_use]
    pub const fn is_backing_off(&self) -> bool {
        self.pause.is_some()
    }

    /// Whether head and body are to be saved from the next attempt: only while they can be of use.
    #[must_use]
    pub fn wants_saved_request(&self) -> bool {
        let sent_again = u32::from(self.refused_left) + u32::from(self.goaway_left);
        self.phase != Phase::Done && self.retries_left + sent_again > 0
    }

    /// Whether a gRPC status in the trailers of an answer could ask for a retry: only then is it worth
    /// looking for them before the answer is passed on. The conditions are the policy's and a trusted
    /// caller's.
    #[must_use]
    pub const fn wants_trailers(&self) -> bool {
        self.grpc
            && self.armed
            && self.retries_left > 0
            && self.retry_on.intersects(RetryOn::ANY_GRPC)
    }

    /// Why a retry that an outcome asked for was not made: beside the call's answer, when that is one
    /// that was worth a retry. `None` after an answer that was not.
    #[must_use]
    pub const fn retry_stop(&self) -> Option<RetryStop> {
        self.retry_stop
    }

    /// Whether whoever asked for this call is not to ask again: it had nothing left to try, or its answer is a failure that
    /// forbids another try, whatever the policy here would have retried. Only the hop nearest a failure retries it.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.is_forbidden || self.retry_stop.is_some_and(RetryStop::is_exhausted)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transitions;
