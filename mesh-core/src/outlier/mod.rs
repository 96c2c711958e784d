//! Outlier detection: who is ejected, for how long, and why.
//!
//! Configuration and health checks learn of a bad endpoint late; the calls themselves know first.
//! They count on a [`Monitor`] that hangs on each endpoint, and one [`Detector`] per cluster, owned
//! by the single writer, reads the monitors and decides.
//!
//! ```text
//!  calls ── record(rules, observation) ──► Monitor (per endpoint, atomics)
//!                    │ true: a streak is full              ▲ survey, eject, uneject
//!                    ▼                                     │
//!              attention flag, wake ──► handle_attention ──┤
//!                                                          Detector (per cluster) ──► Turn
//!              poll_timeout: interval ─► handle_timeout ───┘                 changed, events
//! ```
//!
//! | file | rule |
//! |---|---|
//! | `consecutive` | failures in a row: 5xx, gateway failures, local failures |
//! | `success_rate` | far below the cluster's average over one interval |
//! | `failure_percentage` | above a fixed bound over one interval |
//! | `ejection` | the cap, the last endpoint, enforcing, how long |
//! | `sweep` | once per interval: back, compare, decay |
//!
//! The semantics are Envoy's (`outlier_detection_impl.cc`), with gRFC A50's where it says more:
//! configuration changes keep the phase of the interval, and a configuration that watches nothing
//! unejects all. Where the two differ, [`CapRule`](crate::model::outlier_detection::CapRule)
//! chooses. Differences to both are said where they are: no last endpoint goes silently
//! (`ejection`), timeouts in a row add up when split ([`Monitor::record`]).
//!
//! Nothing here probes an endpoint, picks one, or wakes a task.

mod consecutive;
mod ejection;
mod failure_percentage;
mod monitor;
mod rules;
mod success_rate;
mod sweep;

pub use ejection::Counts;
pub use monitor::Monitor;
pub use rules::Rules;

use crate::event::{Event, Unejection};
use crate::model::{Address, OutlierDetection};
use crate::{Random, Timestamp};
use ejection::Ejector;
use std::time::Duration;

/// The endpoints of a cluster, by a dense index that is stable during one turn.
pub trait Endpoints {
    /// How many there are, of all priorities.
    fn count(&self) -> u32;

    /// What the calls to one of them count on; `index` is below [`count`](Self::count).
    fn monitor(&self, index: u32) -> &Monitor;

    /// Its address, for events.
    fn address(&self, index: u32) -> &Address;

    /// Whether it takes calls as far as its configured health goes. The last one that does is not
    /// ejected.
    fn is_available(&self, _index: u32) -> bool {
        true
    }
}

/// What one turn of a [`Detector`] did.
#[must_use = "endpoints that changed need a new picker"]
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Turn {
    /// Endpoints that were ejected or unejected, ascending, each once; read
    /// [`Monitor::is_ejected`] (one that came back and went again in one turn is listed too).
    pub changed: Vec<u32>,
    /// What happened, in order; [`MAX_EVENTS`](Self::MAX_EVENTS) at most.
    pub events: Vec<Event>,
    /// Events beyond that. [`Counts`] has counted them.
    pub suppressed: u32,
}

impl Turn {
    /// Events of one turn: a cluster may have 100,000 endpoints that are all outliers.
    pub const MAX_EVENTS: usize = 1024;

    /// Whether a new picker is needed.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    fn report(&mut self, event: impl FnOnce() -> Event) {
        if self.events.len() < Self::MAX_EVENTS {
            self.events.push(event());
        } else {
            self.suppressed = self.suppressed.saturating_add(1);
        }
    }

    fn uneject(
        &mut self,
        endpoints: &impl Endpoints,
        index: u32,
        cause: Unejection,
        now: Timestamp,
    ) {
        let monitor = endpoints.monitor(index);
        let out = now.saturating_duration_since(monitor.changed_at());
        monitor.uneject(now);
        self.changed.push(index);
        self.report(|| Event::Unejected { address: endpoints.address(index).clone(), cause, out });
    }

    fn finish(mut self) -> Self {
        self.changed.sort_unstable();
        self.changed.dedup();
        self
    }
}

/// The outlier detection of one cluster; the single writer of its monitors.
///
/// It holds nothing per endpoint: endpoints may come and go between any two turns.
#[derive(Debug)]
pub struct Detector {
    /// `None`: off.
    config: Option<OutlierDetection>,
    /// When the interval that runs began.
    interval_start: Timestamp,
    attention: Attention,
    counts: Counts,
}

impl Detector {
    /// The reason of [`poll_timeout`](Self::poll_timeout) for the end of an interval.
    pub const SWEEP: &'static str = "outlier sweep";
    /// Its reason for streaks that wait for their decision.
    pub const ATTENTION: &'static str = "outlier attention";

    /// A detector whose first interval begins `now`; off when there is no configuration, or it
    /// watches nothing.
    #[must_use]
    pub fn new(config: Option<&OutlierDetection>, now: Timestamp) -> Self {
        Self {
            config: watching(config),
            interval_start: now,
            attention: Attention::default(),
            counts: Counts::default(),
        }
    }

    /// What the calls need to know; [`Rules::OFF`] when off.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.config.as_ref().map_or(Rules::OFF, Rules::new)
    }

    /// How often what was found.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes another configuration (gRFC A50, "Outlier Detection Behavior").
    ///
    /// The interval that runs keeps its beginning and gets the new length; ejections that run get
    /// the new times. Switched on, counting begins anew. Switched off, everybody is back and
    /// forgiven.
    pub fn set_config(
        &mut self,
        config: Option<&OutlierDetection>,
        endpoints: &impl Endpoints,
        now: Timestamp,
    ) -> Turn {
        let mut turn = Turn::default();
        let before = std::mem::replace(&mut self.config, watching(config));
        match (before.is_some(), self.config.is_some()) {
            (true, true) => self.remind(endpoints, now),
            (false, false) => {}
            (false, true) => {
                self.interval_start = now;
                for index in 0..endpoints.count() {
                    endpoints.monitor(index).forget_counts();
                }
            }
            (true, false) => {
                self.attention = Attention::default();
                self.forgive_all(endpoints, now, &mut turn);
            }
        }
        turn.finish()
    }

    /// A streak asks for its decision when it reaches its threshold; one that is longer than a lowered
    /// threshold already would never.
    fn remind(&mut self, endpoints: &impl Endpoints, now: Timestamp) {
        let rules = self.rules();
        let mut any = false;
        for index in 0..endpoints.count() {
            any |= endpoints.monitor(index).remind(&rules);
        }
        if any {
            self.attention = Attention { pending: true, quiet_until: now };
        }
    }

    /// Brings one endpoint back that takes calls as far as its health goes: the one that has been out
    /// for the longest. For when the others are gone or unhealthy, and nobody else is left.
    ///
    /// Nothing happens where `max_ejection_percent: 100` says that nobody may be left.
    pub fn keep_one(&mut self, endpoints: &impl Endpoints, now: Timestamp) -> Turn {
        let mut turn = Turn::default();
        if self.config.as_ref().is_none_or(|config| config.max_ejection_percent >= 100) {
            return turn;
        }
        let out = (0..endpoints.count())
            .filter(|index| endpoints.monitor(*index).is_ejected())
            .filter(|index| endpoints.is_available(*index));
        if let Some(index) = out.min_by_key(|index| endpoints.monitor(*index).changed_at()) {
            self.counts.count_unejected();
            turn.uneject(endpoints, index, Unejection::LastEndpoint, now);
        }
        turn
    }

    /// Decides about full streaks: for when [`Monitor::record`] was true for an endpoint of this
    /// cluster.
    ///
    /// It looks at every endpoint, so it does so once per millisecond at most, or per microsecond
    /// and endpoint when that is longer; what comes earlier waits for
    /// [`handle_timeout`](Self::handle_timeout).
    pub fn handle_attention(
        &mut self,
        endpoints: &impl Endpoints,
        now: Timestamp,
        random: &mut impl Random,
    ) -> Turn {
        self.attention.pending = true;
        let mut turn = Turn::default();
        self.decide_streaks(endpoints, now, random, &mut turn);
        turn.finish()
    }

    /// Does what is due `now`.
    pub fn handle_timeout(
        &mut self,
        endpoints: &impl Endpoints,
        now: Timestamp,
        random: &mut impl Random,
    ) -> Turn {
        let mut turn = Turn::default();
        self.decide_streaks(endpoints, now, random, &mut turn);
        if self.sweep_at().is_some_and(|due| due <= now) {
            self.interval_start = now;
            if let Some(config) = &self.config {
                let counts = &mut self.counts;
                sweep::sweep(&mut Ejector::new(config, endpoints, now, random, counts, &mut turn));
            }
        }
        turn.finish()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next, and what; never
    /// when off.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        let sweep = self.sweep_at()?;
        let attention = self.attention.quiet_until;
        if self.attention.pending && attention < sweep {
            return Some((attention, Self::ATTENTION));
        }
        Some((sweep, Self::SWEEP))
    }

    fn sweep_at(&self) -> Option<Timestamp> {
        let interval = self.config.as_ref()?.interval;
        Some(self.interval_start + interval.max(MIN_INTERVAL))
    }

    fn decide_streaks(
        &mut self,
        endpoints: &impl Endpoints,
        now: Timestamp,
        random: &mut impl Random,
        turn: &mut Turn,
    ) {
        if !self.attention.take(now, endpoints.count()) {
            return;
        }
        if let Some(config) = &self.config {
            let rules = Rules::new(config);
            let counts = &mut self.counts;
            let mut ejector = Ejector::new(config, endpoints, now, random, counts, turn);
            consecutive::decide(&mut ejector, &rules);
        }
    }

    fn forgive_all(&mut self, endpoints: &impl Endpoints, now: Timestamp, turn: &mut Turn) {
        for index in 0..endpoints.count() {
            let monitor = endpoints.monitor(index);
            if monitor.is_ejected() {
                self.counts.count_unejected();
                turn.uneject(endpoints, index, Unejection::Disabled, now);
            }
            monitor.set_multiplier(0);
        }
    }
}

/// Whether streaks wait, and until when they have to.
#[derive(Clone, Copy, Debug, Default)]
struct Attention {
    pending: bool,
    quiet_until: Timestamp,
}

impl Attention {
    /// Whether to look at the streaks now; if so, the next look is this much later at the earliest.
    fn take(&mut self, now: Timestamp, endpoints: u32) -> bool {
        if !self.pending || now < self.quiet_until {
            return false;
        }
        let spacing = Duration::from_micros(endpoints.into()).max(MIN_SPACING);
        *self = Self { pending: false, quiet_until: now + spacing };
        true
    }
}

/// The configuration, if it watches anything.
fn watching(config: Option<&OutlierDetection>) -> Option<OutlierDetection> {
    config.filter(|config| !Rules::new(config).is_off()).cloned()
}

/// A shorter interval would keep the writer busy.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Between two looks at the streaks of a small cluster.
const MIN_SPACING: Duration = Duration::from_millis(1);

#[cfg(test)]
mod fleet;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
