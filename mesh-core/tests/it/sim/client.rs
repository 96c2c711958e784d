//! One call, driven as an adapter drives it.

use super::network::Answer;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use mesh_core::breaker::Resource;
use mesh_core::call::gate::admit_retry;
use mesh_core::call::{AttemptId, Call, RetryGate, RetryRefused, RetryStop};
use mesh_core::lb::EndpointId;
use mesh_core::outcome::{Failure, Outcome, ResponseOutcome};
use mesh_core::state::{InFlight, Target};
use mesh_core::{Timestamp, WallTime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A call in the table of the world.
pub(super) type CallKey = u64;

/// A call in progress.
#[derive(Debug)]
pub(super) struct ActiveCall {
    pub(super) hop: usize,
    pub(super) machine: Call,
    pub(super) target: Arc<Target<()>>,
    /// The attempt of another call that waits for this one.
    pub(super) parent: Option<(CallKey, AttemptId)>,
    /// The endpoints that were tried.
    pub(super) previous: Vec<EndpointId>,
    pub(super) out: BTreeMap<AttemptId, Out>,
    /// The attempts that wait for a picker; each holds a place among the pending.
    pub(super) waiting: BTreeSet<AttemptId>,
    pub(super) gate: Gate,
    /// The last answer was 200.
    pub(super) is_well: bool,
    /// The last answer said that it was tried again already.
    pub(super) told_exhausted: bool,
}

/// An attempt that is out.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) in_flight: InFlight<()>,
    pub(super) began: Timestamp,
    pub(super) deadline: Option<Timestamp>,
    /// The call that its server makes for it.
    pub(super) child: Option<CallKey>,
}

/// What the machine asks of the cluster.
#[derive(Debug)]
pub(super) struct Gate {
    target: Arc<Target<()>>,
    pub(super) held: u32,
}

impl Gate {
    pub(super) const fn new(target: Arc<Target<()>>) -> Self {
        Self { target, held: 0 }
    }
}

impl RetryGate for Gate {
    fn can_resend(&self) -> bool {
        true
    }

    fn matches_retriable_headers(&self, headers: &HeaderMap) -> bool {
        self.target.matches_retriable_headers(headers)
    }

    fn wall_time(&self) -> WallTime {
        WallTime::default()
    }

    fn admit_retry(&mut self, now: Timestamp) -> Result<(), RetryRefused> {
        let cluster = self.target.cluster();
        admit_retry(cluster.budget(), cluster.breaker(), self.target.priority(), now)?;
        self.held += 1;
        Ok(())
    }

    fn release_retry(&mut self) {
        self.held -= 1;
        self.target.cluster().breaker().release(self.target.priority(), Resource::Retries);
    }
}

impl Drop for Gate {
    /// A call that is dropped can't say so.
    fn drop(&mut self) {
        while self.held > 0 {
            self.release_retry();
        }
    }
}

impl ActiveCall {
    /// Whether the hop above should not try again.
    pub(super) fn is_exhausted(&self) -> bool {
        self.told_exhausted || self.machine.retry_stop().is_some_and(RetryStop::is_exhausted)
    }

    /// No attempt waits for a picker any more; those that did.
    pub(super) fn stop_waiting(&mut self) -> BTreeSet<AttemptId> {
        let waiting = std::mem::take(&mut self.waiting);
        for _ in &waiting {
            self.target.cluster().breaker().release(self.target.priority(), Resource::Pending);
        }
        waiting
    }

    /// Tells the endpoint how an attempt went. True: the writer must wake.
    pub(super) fn record(&self, out: &Out, outcome: &Outcome<'_>, now: Timestamp) -> bool {
        let elapsed = now.saturating_duration_since(out.began);
        self.target.cluster().record(out.in_flight.endpoint(), outcome, elapsed, now)
    }

    /// The same for one that is dropped: its time was up, or its caller gave it up.
    pub(super) fn record_dropped(&self, out: &Out, now: Timestamp) -> bool {
        let failure = if out.deadline.is_some_and(|deadline| deadline <= now) {
            Failure::PerTryTimeout
        } else {
            let elapsed = now.saturating_duration_since(out.began);
            Failure::Cancelled { elapsed, headers_seen: false }
        };
        self.record(out, &Outcome::Failed(failure), now)
    }
}

/// Shows `answer` as the outcome that it is.
pub(super) fn with_outcome<T>(answer: &Answer, use_it: impl FnOnce(&Outcome<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    match answer {
        Answer::Failed(failure) => use_it(&Outcome::Failed(failure.clone())),
        Answer::Head { status, exhausted, .. } => {
            if *exhausted {
                let name = HeaderName::from_static("x-mesh-retry");
                headers.insert(name, HeaderValue::from_static("no"));
            }
            let status = StatusCode::from_u16(*status).unwrap();
            use_it(&Outcome::Response(ResponseOutcome::new(status, &headers, None, false)))
        }
    }
}
