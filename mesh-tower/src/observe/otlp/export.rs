//! [`MetricsExport`]: all metrics, again and again.

use super::super::exported::{Lost, Signal};
use super::super::registry::Registry;
use super::super::spans::unix_nanos;
use super::answer::Partial;
use super::link::{self, Link};
use super::metrics::{self, Request};
use super::starts::Starts;
use crate::net::Draw;
use mesh_core::Random as _;
use mesh_core::otlp::OtlpTarget;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

/// How long the last batch may take.
pub(super) const LAST: Duration = Duration::from_secs(2);
/// How long the one before it may go on once the end has come.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Sends all metrics at each interval.
pub(super) struct MetricsExport {
    registry: Arc<Registry>,
    link: Link,
    interval: Duration,
    /// Encoded.
    resource: Vec<u8>,
    starts: Starts,
    warnings: Warnings,
}

impl MetricsExport {
    /// Series that are there now count since now.
    pub(super) fn new(
        registry: Arc<Registry>,
        target: OtlpTarget,
        interval: Duration,
        resource: Vec<u8>,
    ) -> Self {
        let link = Link::new(target, link::METRICS);
        let starts = Starts::new(unix_nanos());
        Self { registry, link, interval, resource, starts, warnings: Warnings::of("metrics") }
    }

    /// Exports until it is stopped, or whoever could stop it is gone, and once more.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        // So that a fleet that was started at once does not come at once.
        let first = self.interval.mul_f64(Draw.unit());
        let mut turns = interval_at(Instant::now() + first, self.interval);
        turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let timeout = self.link.target().timeout;
        loop {
            tokio::select! {
                biased;
                _stopped_or_gone = stopped.wait_for(|stopped| *stopped) => break,
                _now = turns.tick() => {}
            }
            let cut_off = async {
                let _stopped_or_gone = stopped.wait_for(|stopped| *stopped).await;
                sleep(GRACE).await;
            };
            let is_cut_off = tokio::select! {
                () = self.export(timeout) => false,
                () = cut_off => true,
            };
            if is_cut_off {
                let cells = self.registry.exported();
                let [.., queued] = cells.counts(Signal::Metrics);
                cells.lost(Signal::Metrics, Lost::Timeout, queued);
                break;
            }
        }
        self.export(timeout.min(LAST)).await;
    }

    /// Sends all that there is now, as far as it goes in this time.
    async fn export(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let requests =
            metrics::requests(&self.registry, &self.resource, &mut self.starts, unix_nanos());
        let mut waiting: u64 = requests.iter().map(|request| request.items).sum();
        let cells = self.registry.exported();
        let mut failed = None;
        for Request { message, items } in requests {
            cells.queued(Signal::Metrics, waiting);
            waiting -= items;
            if let Some((why, _)) = &failed {
                // The collector that took no part of a batch is not asked about the next part.
                cells.lost(Signal::Metrics, *why, items);
                continue;
            }
            match self.link.send(&message, deadline).await {
                Ok(partial) => {
                    let rejected = partial.rejected.min(items);
                    cells.exported(Signal::Metrics, items - rejected);
                    cells.lost(Signal::Metrics, Lost::Rejected, rejected);
                    self.warnings.refused(self.link.target(), &partial);
                }
                Err((why, said)) => {
                    cells.lost(Signal::Metrics, why, items);
                    failed = Some((why, said));
                }
            }
        }
        cells.queued(Signal::Metrics, 0);
        self.warnings.batch(self.link.target(), failed.as_ref().map(|(_, said)| &**said));
    }
}

/// What the log hears: when telemetry is lost and when it comes again, and not each time.
pub(super) struct Warnings {
    /// Of what.
    what: &'static str,
    /// The last batch could not be sent.
    failing: bool,
    /// A part of one was refused.
    refused: bool,
}

impl Warnings {
    /// Of what is exported.
    pub(super) const fn of(what: &'static str) -> Self {
        Self { what, failing: false, refused: false }
    }

    /// A batch was sent, or not.
    pub(super) fn batch(&mut self, target: &OtlpTarget, failed: Option<&str>) {
        let (what, to) = (self.what, &target.endpoint);
        match failed {
            Some(error) if !self.failing => tracing::warn!(
                target: "mesh::otlp", %error,
                "{what} can't be exported to {to}: they are dropped, and the next ones are tried; \
                 is a collector there that takes OTLP over gRPC?"
            ),
            None if self.failing => {
                tracing::info!(target: "mesh::otlp", "{what} are exported to {to} again");
            }
            Some(_) | None => {}
        }
        self.failing = failed.is_some();
    }

    /// A batch was taken, this part of it excepted.
    pub(super) fn refused(&mut self, target: &OtlpTarget, partial: &Partial) {
        if partial.rejected > 0 && !self.refused {
            self.refused = true;
            tracing::warn!(
                target: "mesh::otlp", rejected = partial.rejected, message = %partial.message,
                "{} refuses a part of the {}; this is told once", target.endpoint, self.what
            );
        }
    }
}
