//! The steps of a [`Call`]: how attempts begin, overlap and end the call.

use super::bounds::RECONNECT;
use super::hedge::{Attempt, AttemptLimit};
use super::{
    Action, AttemptId, Call, MAX_UNSENT, Pause, Phase, RetryGate, RetryStop, backoff, retry,
};
use crate::local_reply::Reason;
use crate::outcome::{Failure, Outcome};
use crate::random::Random;
use crate::time::Timestamp;
use std::time::Duration;

impl Call {
    pub(super) fn begin_pause(
        &mut self,
        pause: Duration,
        outcome: &Outcome<'_>,
        now: Timestamp,
    ) -> Action {
        let after_timeout = matches!(outcome, Outcome::Failed(Failure::PerTryTimeout));
        if pause.is_zero() {
            return self.launch_retry(after_timeout, now);
        }
        let until = now + pause;
        self.pause = Some(Pause { until, after_timeout, unsent: false, holds_slot: true });
        Action::Wait
    }

    /// Waits a while for an endpoint that takes connections.
    pub(super) fn begin_wait(
        &mut self,
        holds_slot: bool,
        now: Timestamp,
        random: &mut impl Random,
    ) -> Action {
        self.waits = self.waits.saturating_add(1);
        self.unsent_left = MAX_UNSENT;
        let until = now + backoff::jittered(&RECONNECT, self.waits, random);
        self.pause = Some(Pause { until, after_timeout: false, unsent: true, holds_slot });
        Action::Wait
    }

    /// Starts another attempt beside `id`, which stays out; or leaves it be.
    pub(super) fn hedge(
        &mut self,
        id: AttemptId,
        gate: &mut impl RetryGate,
        now: Timestamp,
    ) -> Action {
        self.mark(id, |attempt| attempt.timed_out = true);
        // One retry at a time: a pause that has begun ends in the very attempt that is wanted here.
        if self.pause.is_some() || self.in_flight.is_full() {
            return Action::Wait;
        }
        let admitted = if self.retries_left == 0 {
            Err(RetryStop::Limit)
        } else if !gate.can_resend() {
            Err(RetryStop::NotReplayable)
        } else {
            gate.admit_retry(now).map_err(RetryStop::Refused)
        };
        if let Err(stop) = admitted {
            self.retry_stop = Some(stop);
            return Action::Wait;
        }
        self.retries_left -= 1;
        self.mark(id, |attempt| attempt.replaced = true);
        self.launch_retry(true, now)
    }

    /// Starts the attempt of a retry, for which the gate holds a slot.
    pub(super) fn launch_retry(&mut self, after_timeout: bool, now: Timestamp) -> Action {
        self.counts.retries += 1;
        self.counts.after_timeout = after_timeout;
        self.launch(true, now)
    }

    pub(super) fn launch(&mut self, holds_slot: bool, now: Timestamp) -> Action {
        debug_assert!(self.phase == Phase::Running);
        debug_assert!(self.deadline.is_none_or(|deadline| now < deadline.at));
        self.counts.attempt += 1;
        self.active = self.active.max(now);
        let id = AttemptId(self.counts.attempt);
        self.in_flight.insert(Attempt {
            id,
            holds_slot,
            timed_out: false,
            replaced: false,
            waiting: false,
            since: now,
            active: now,
        });
        Action::Start(id)
    }

    /// Decides on an outcome that is not tried again.
    pub(super) fn settle(
        &mut self,
        id: AttemptId,
        outcome: &Outcome<'_>,
        retry_wanted: bool,
        gate: &mut impl RetryGate,
    ) -> Action {
        if !retry_wanted {
            self.retry_stop = None;
        }
        let last = self.in_flight.is_empty() && self.pause.is_none();
        match outcome {
            Outcome::Response(response) if last || !retry_wanted => {
                self.is_forbidden = response.is_refusal() && retry::server_forbids(response);
                self.end(gate);
                Action::Commit(id)
            }
            Outcome::Failed(failure) if last => {
                self.end(gate);
                Action::Finish(Reason::Attempt(failure.clone()))
            }
            // Envoy: others may still bring an acceptable answer.
            Outcome::Response(_) | Outcome::Failed(_) => Action::Wait,
        }
    }

    /// Gives back every slot; nothing happens after this.
    pub(super) fn end(&mut self, gate: &mut impl RetryGate) {
        let pausing = self.pause.take().is_some_and(|pause| pause.holds_slot);
        let held = self.in_flight.clear() + usize::from(pausing);
        for _ in 0..held {
            gate.release_retry();
        }
        self.phase = Phase::Done;
    }

    /// When the call has been silent for too long.
    pub(super) fn silence_ends(&self) -> Option<Timestamp> {
        self.idle_timeout.map(|limit| self.active + limit)
    }

    /// The next limit of each attempt that is out and has not passed one yet.
    pub(super) fn attempt_limits(
        &self,
    ) -> impl Iterator<Item = (Timestamp, AttemptLimit, AttemptId)> {
        let idle = self.per_try_idle_timeout();
        let own = if self.hedge { AttemptLimit::Hedge } else { AttemptLimit::PerTry };
        self.in_flight.limits(self.per_try_timeout.map(|limit| (own, limit)), idle)
    }

    pub(super) fn mark(&mut self, id: AttemptId, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.in_flight.find(id) {
            change(attempt);
        }
    }
}
