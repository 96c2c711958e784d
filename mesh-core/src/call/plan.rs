//! What must hold for a call to have another attempt, in the order in which it is asked.
//!
//! [`Call`] decides *when* to ask; these are its questions: may the attempt simply be made elsewhere,
//! is the outcome worth a retry, and is there a retry to be had. They read what [`super::retry`],
//! [`super::backoff`] and the [`RetryGate`] know, and are apart from the machine so that its steps
//! stay readable beside its drawing.

use super::backoff::{self, Pushback};
use super::deadline::Limit;
use super::gate::{RetryGate, RetryStop};
use super::hedge::Attempt;
use super::{Call, retry};
use crate::model::BackOff;
use crate::outcome::{
    ConnectFailure, Failure, Outcome, Processed, ResetReason, ResponseOutcome, grpc,
};
use crate::random::Random;
use crate::time::Timestamp;
use std::time::Duration;

/// A timeout that is sent is rounded, and clocks do not tick alike.
const HEADER_GRACE: Duration = Duration::from_millis(1);

impl Call {
    /// gRFC A6: what no server processed is the same attempt, made elsewhere. Uses up one such turn.
    pub(super) fn may_go_elsewhere(
        &mut self,
        attempt: &Attempt,
        outcome: &Outcome<'_>,
        gate: &impl RetryGate,
        now: Timestamp,
    ) -> bool {
        let Outcome::Failed(failure) = outcome else { return false };
        let left = match failure {
            // Refused by configuration, wherever it goes.
            Failure::Connect(
                ConnectFailure::TlsUnavailable
                | ConnectFailure::SecretUnavailable
                | ConnectFailure::IdentityUnavailable,
            ) => return false,
            Failure::Connect(_)
            | Failure::Reset {
                // `Local`: the endpoint was removed before the request had a connection.
                reason: ResetReason::ConnectionTermination | ResetReason::Local,
                processed: Processed::No,
            } => &mut self.unsent_left,
            Failure::Reset { reason: ResetReason::RefusedStream, processed: Processed::No } => {
                &mut self.refused_left
            }
            Failure::Reset { reason: ResetReason::GoAway, processed: Processed::No } => {
                &mut self.goaway_left
            }
            _ => return false,
        };
        let in_time = self.deadline.is_none_or(|deadline| now < deadline.at);
        let goes = *left > 0 && in_time && !attempt.replaced && gate.can_resend();
        *left -= u8::from(goes);
        goes
    }

    /// grpc/grpc `doc/wait-for-ready.md`: no connection could be made, and the caller asked to wait for
    /// one.
    pub(super) fn waits_for_connection(
        &self,
        attempt: &Attempt,
        outcome: &Outcome<'_>,
        gate: &impl RetryGate,
    ) -> bool {
        let Outcome::Failed(Failure::Connect(why)) = outcome else { return false };
        let for_good = matches!(why, ConnectFailure::TlsUnavailable | ConnectFailure::RuntimeGone);
        let waits = self.wait_for_ready && !for_good && gate.can_resend();
        waits && !attempt.replaced && self.pause.is_none()
    }

    /// The limit that ended the attempt, when that came back as a failure.
    pub(super) fn ended_by_deadline(&self, outcome: &Outcome<'_>, now: Timestamp) -> Option<Limit> {
        self.deadline?.ended(outcome, now)
    }

    /// Whether what the endpoint says is that the per-try timeout has passed.
    ///
    /// It was told that limit ([`attempt_deadline`](Self::attempt_deadline)), and may say so before the timer
    /// is seen here. It is the same as if it had said nothing: worth a retry where timeouts are.
    pub(super) fn ended_by_per_try_timeout(
        &self,
        attempt: &Attempt,
        outcome: &Outcome<'_>,
        now: Timestamp,
    ) -> bool {
        let Outcome::Response(response) = outcome else { return false };
        let limit = self.per_try_timeout.filter(|_| !self.hedge).map(|limit| attempt.since + limit);
        limit.is_some_and(|limit| limit <= now + HEADER_GRACE)
            && response.grpc_status == Some(grpc::DEADLINE_EXCEEDED)
    }

    /// Whether the outcome is worth a retry under the policy and what the caller asked for.
    pub(super) fn wants_retry(&self, outcome: &Outcome<'_>, gate: &impl RetryGate) -> bool {
        let policy_codes = self.policy.as_deref().map(|policy| &*policy.retriable_status_codes);
        let asked = self.overrides.as_deref();
        let conditions = retry::Conditions {
            on: self.retry_on,
            grpc: self.grpc,
            codes: [
                policy_codes.unwrap_or_default(),
                asked.map_or(&[], |asked| &asked.retriable_status_codes),
            ],
            header_names: asked.map_or(&[], |asked| &asked.retriable_header_names),
        };
        conditions.ask_for_retry(outcome, |headers| gate.matches_retriable_headers(headers))
    }

    /// Checks, in this order, everything that a wanted retry needs. `Ok`: it is admitted, and comes
    /// after this pause.
    pub(super) fn plan_retry(
        &mut self,
        outcome: &Outcome<'_>,
        gate: &mut impl RetryGate,
        now: Timestamp,
        random: &mut impl Random,
    ) -> Result<Duration, RetryStop> {
        let response = match outcome {
            Outcome::Response(response) if retry::server_forbids(response) => {
                return Err(RetryStop::Server);
            }
            Outcome::Response(response) => Some(response),
            Outcome::Failed(_) => None,
        };
        if self.retries_left == 0 {
            return Err(RetryStop::Limit);
        }
        if !gate.can_resend() {
            return Err(RetryStop::NotReplayable);
        }
        let (pause, step) = self.next_pause(response, gate, random);
        if self.deadline.is_some_and(|deadline| deadline.at <= now + pause) {
            return Err(RetryStop::Deadline);
        }
        gate.admit_retry(now).map_err(RetryStop::Refused)?;
        self.retries_left -= 1;
        self.back_off_step = step;
        Ok(pause)
    }

    /// The pause before the next retry, and the step of the exponential back-off after it.
    fn next_pause(
        &self,
        response: Option<&ResponseOutcome<'_>>,
        gate: &impl RetryGate,
        random: &mut impl Random,
    ) -> (Duration, u32) {
        // gRFC A6: pushback overrides, and the back-off starts over.
        if let Some(Pushback::After(pause)) = response.and_then(backoff::pushback) {
            return (pause, 0);
        }
        let policy = self.policy.as_deref();
        let asked_for = policy
            .and_then(|policy| policy.rate_limited_back_off.as_ref())
            .zip(response)
            .and_then(|(policy, response)| {
                backoff::asked_for(policy, response.headers, || gate.wall_time(), random)
            });
        if let Some(pause) = asked_for {
            return (pause, self.back_off_step);
        }
        let back_off = policy.map_or_else(BackOff::default, |policy| policy.back_off);
        let step = self.back_off_step + 1;
        (backoff::jittered(&back_off, step, random), step)
    }
}
