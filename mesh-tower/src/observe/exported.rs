//! [`ExportCells`]: what became of the telemetry that is sent to a collector.
//!
//! They are counted whether or not anything is exported, and shown once something is.

use super::names::{Metric, label_values};
use super::registry::{Value, Visit};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

label_values! {
    /// What is exported (label `signal`).
    pub(crate) enum Signal {
        /// Points of metrics.
        Metrics = "metrics",
        /// Spans.
        Spans = "spans",
    }
}

label_values! {
    /// Why something was dropped (label `reason` of `mesh_telemetry_dropped_total`).
    pub(crate) enum Lost {
        /// There was no room for it.
        QueueFull = "queue_full",
        /// The collector could not be reached, or said that it has trouble, until there was no time left.
        ExportFailed = "export_failed",
        /// It did not answer in time.
        Timeout = "timeout",
        /// It refused it for good.
        Rejected = "rejected",
    }
}

/// The cells of all signals.
#[derive(Default)]
pub(crate) struct ExportCells([OneSignal; Signal::ALL.len()]);

#[derive(Default)]
struct OneSignal {
    begun: AtomicBool,
    exported: AtomicU64,
    queued: AtomicU64,
    lost: [AtomicU64; Lost::ALL.len()],
}

impl ExportCells {
    /// From now on it is exported.
    pub(crate) fn begun(&self, signal: Signal) {
        self.of(signal).begun.store(true, Ordering::Relaxed);
    }

    /// So many were taken.
    pub(crate) fn exported(&self, signal: Signal, items: u64) {
        self.of(signal).exported.fetch_add(items, Ordering::Relaxed);
    }

    /// So many were dropped.
    pub(crate) fn lost(&self, signal: Signal, why: Lost, items: u64) {
        self.of(signal).lost[why as usize].fetch_add(items, Ordering::Relaxed);
    }

    /// So many wait now, or are on their way.
    pub(crate) fn queued(&self, signal: Signal, items: u64) {
        self.of(signal).queued.store(items, Ordering::Relaxed);
    }

    /// One more waits; how many those are now.
    pub(crate) fn entered(&self, signal: Signal) -> u64 {
        self.of(signal).queued.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// So many that waited do not any more.
    pub(crate) fn left(&self, signal: Signal, items: u64) {
        let fewer = |queued: u64| Some(queued.saturating_sub(items));
        let _always = self
            .of(signal)
            .queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer)
            .is_ok();
    }

    /// How many of `signal` were exported, how many were dropped, and how many wait.
    pub(crate) fn counts(&self, signal: Signal) -> [u64; 3] {
        let cells = self.of(signal);
        let lost = cells.lost.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        [cells.exported.load(Ordering::Relaxed), lost, cells.queued.load(Ordering::Relaxed)]
    }

    fn of(&self, signal: Signal) -> &OneSignal {
        &self.0[signal as usize]
    }

    /// Gives `visit` all series of `metric`.
    pub(super) fn visit(&self, metric: Metric, visit: &mut Visit<'_>) {
        let number = |cell: &AtomicU64| Value::Number(cell.load(Ordering::Relaxed));
        for signal in Signal::ALL {
            let cells = self.of(*signal);
            if !cells.begun.load(Ordering::Relaxed) {
                continue;
            }
            let signal = signal.as_str();
            match metric {
                Metric::TelemetryExported => visit(&[signal], number(&cells.exported)),
                Metric::TelemetryQueued => visit(&[signal], number(&cells.queued)),
                Metric::TelemetryDropped => {
                    for (why, count) in Lost::ALL.iter().zip(&cells.lost) {
                        visit(&[signal, why.as_str()], number(count));
                    }
                }
                _ => {}
            }
        }
    }
}
