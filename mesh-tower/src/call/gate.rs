//! [`Gate`]: what a call's machine asks of its cluster and of the saved request before it tries again.

use super::saved::SavedRequest;
use crate::clock;
use crate::net::Net;
use http::HeaderMap;
use mesh_core::call::gate::admit_retry;
use mesh_core::call::{RetryGate, RetryRefused};
use mesh_core::state::Target;
use mesh_core::{Timestamp, WallTime};
use std::sync::Arc;

/// The retry slots that the call holds; what is left is given back when the call is dropped.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) target: Arc<Target<Net>>,
    /// How many it holds.
    held: u32,
}

impl Slots {
    /// None yet, of a call to this target.
    pub(super) const fn new(target: Arc<Target<Net>>) -> Self {
        Self { target, held: 0 }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for _ in 0..self.held {
            release(&self.target);
        }
    }
}

fn release(target: &Target<Net>) {
    let (breaker, priority) = (target.cluster().breaker(), target.priority());
    breaker.release(priority, mesh_core::breaker::Resource::Retries);
}

/// What the machine asks of the cluster and of the saved request.
pub(super) struct Gate<'a> {
    pub(super) saved: &'a SavedRequest,
    pub(super) slots: &'a mut Slots,
}

impl RetryGate for Gate<'_> {
    fn can_resend(&self) -> bool {
        self.saved.can_resend()
    }

    fn matches_retriable_headers(&self, headers: &HeaderMap) -> bool {
        self.slots.target.matches_retriable_headers(headers)
    }

    fn wall_time(&self) -> WallTime {
        clock::wall()
    }

    fn admit_retry(&mut self, now: Timestamp) -> Result<(), RetryRefused> {
        let cluster = self.slots.target.cluster();
        let priority = self.slots.target.priority();
        admit_retry(cluster.budget(), cluster.breaker(), priority, now)?;
        self.slots.held += 1;
        Ok(())
    }

    fn release_retry(&mut self) {
        self.slots.held -= 1;
        release(&self.slots.target);
    }
}
