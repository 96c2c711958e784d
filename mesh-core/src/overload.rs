//! [`Overload`]: whether a process is so near its limits that it refuses work, before it is ended for it.
//!
//! A process that asks for more memory than its control group has is killed, with all that it carries; one without
//! file descriptors accepts nobody, and reaches nobody. Refusing a share of the work costs less than either. It is
//! Envoy's overload manager with two resources, and with what a mesh can do about each.
//!
//! ```text
//!            used ≥ 90 % of the limit              refused: memory: requests and connections
//!  at ease ──────────────────────────> in need     refused: descriptors: connections
//!     <─────────────────────────────
//!            used < 85 % of the limit
//! ```
//!
//! Readings are arguments. Without a limit, or without a reading, nothing is refused.

use std::fmt;
use std::time::Duration;

/// What a process may run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: what is read of the system")]
pub enum Resource {
    /// Memory that is resident, against the limit of the control group, or of the process.
    Memory,
    /// File descriptors, against the limit of the process.
    Descriptors,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Descriptors];

    /// The label `resource` of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
        }
    }
}

/// How much of a resource there is, and is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two numbers")]
pub struct Reading {
    /// What is used.
    pub used: u64,
    /// How much there may be.
    pub limit: u64,
}

impl Reading {
    /// What is used, in whole per cent of the limit.
    #[must_use]
    pub fn per_cent(self) -> u64 {
        let used = u128::from(self.used) * 100 / u128::from(self.limit.max(1));
        u64::try_from(used).unwrap_or(u64::MAX)
    }
}

/// That work begins to be refused, or is taken again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what there is to tell")]
pub struct Change {
    /// For want of what.
    pub resource: Resource,
    /// Whether it is refused from now on.
    pub refuses: bool,
    /// By which reading; `None`: there is none any more.
    pub reading: Option<Reading>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.resource, self.refuses) {
            (Resource::Memory, true) => {
                "new connections and requests are refused for want of memory"
            }
            (Resource::Descriptors, true) => {
                "new connections are refused for want of file descriptors"
            }
            (Resource::Memory, false) => "there is memory again: nothing is refused for want of it",
            (Resource::Descriptors, false) => {
                "there are file descriptors again: nothing is refused for want of them"
            }
        };
        f.write_str(what)?;
        match self.reading {
            Some(reading) => {
                write!(f, " ({} of {}, {} %)", reading.used, reading.limit, reading.per_cent())
            }
            None => Ok(()),
        }
    }
}

/// When work is refused, in per cent of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two thresholds")]
pub struct Thresholds {
    /// From here on it is.
    pub refuse: u8,
    /// Below here it is not any more.
    pub resume: u8,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { refuse: 90, resume: 85 }
    }
}

/// What is refused now, and when to look again.
#[derive(Clone, Debug, Default)]
pub struct Overload {
    thresholds: Thresholds,
    refuses: [bool; Resource::ALL.len()],
    readings: [Option<Reading>; Resource::ALL.len()],
}

impl Overload {
    /// How long until the next reading of a process at ease.
    pub const AT_EASE: Duration = Duration::from_millis(250);

    /// How long until the next one where more than half of a limit is used.
    pub const NEAR: Duration = Duration::from_millis(50);

    /// Nothing is refused.
    #[must_use]
    pub const fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, refuses: [false; 2], readings: [None; 2] }
    }

    /// Takes in a reading; `None`: nobody knows, or there is no limit. What changes by it.
    pub fn handle_reading(
        &mut self,
        resource: Resource,
        reading: Option<Reading>,
    ) -> Option<Change> {
        let per_cent = reading.map_or(0, Reading::per_cent);
        let refuses = &mut self.refuses[resource as usize];
        let threshold = if *refuses { self.thresholds.resume } else { self.thresholds.refuse };
        let now = per_cent >= u64::from(threshold);
        self.readings[resource as usize] = reading;
        let is_new = *refuses != now;
        *refuses = now;
        is_new.then_some(Change { resource, refuses: now, reading })
    }

    /// Whether connections are refused.
    #[must_use]
    pub fn refuses_connections(&self) -> bool {
        self.refuses.contains(&true)
    }

    /// Whether requests are refused.
    #[must_use]
    pub const fn refuses_requests(&self) -> bool {
        self.refuses[Resource::Memory as usize]
    }

    /// The last reading.
    #[must_use]
    pub const fn reading(&self, resource: Resource) -> Option<Reading> {
        self.readings[resource as usize]
    }

    /// How long until the next reading: near a limit it is sooner.
    #[must_use]
    pub fn again(&self) -> Duration {
        let most = self.readings.iter().flatten().map(|reading| reading.per_cent()).max();
        if most.is_some_and(|most| most >= 50) { Self::NEAR } else { Self::AT_EASE }
    }
}

/// The least of several limits of memory, of which some are none: a control group's `max`, or a number so large that
/// it is none (version 1).
#[must_use]
pub fn least_limit(limits: impl IntoIterator<Item = Option<u64>>) -> Option<u64> {
    /// More than any machine has.
    const NONE: u64 = 1 << 60;
    limits.into_iter().flatten().filter(|limit| (1..NONE).contains(limit)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(used: u64) -> Option<Reading> {
        Some(Reading { used, limit: 1000 })
    }

    #[test]
    fn work_is_refused_from_one_threshold_to_another() {
        let mut overload = Overload::default();
        let readings = [500, 899, 900, 880, 1200, 850, 849, 899, 900];
        let refused = readings.map(|used| {
            let change = overload.handle_reading(Resource::Memory, of(used));
            assert_eq!(overload.refuses_requests(), overload.refuses_connections());
            let told = change.map(|change| change.refuses);
            (overload.refuses_requests(), told)
        });
        let (yes, no) = (true, false);
        assert_eq!(
            refused,
            [
                (no, None),
                (no, None),
                (yes, Some(yes)),
                (yes, None),
                (yes, None),
                (yes, None),
                (no, Some(no)),
                (no, None),
                (yes, Some(yes)),
            ]
        );
        // Who does not know how it is refuses nothing.
        let change = overload.handle_reading(Resource::Memory, None).unwrap();
        assert!(!change.refuses && !overload.refuses_requests());
    }

    #[test]
    fn descriptors_are_those_of_connections() {
        let mut overload = Overload::default();
        let change = overload.handle_reading(Resource::Descriptors, of(950)).unwrap();
        assert_eq!(
            change.to_string(),
            "new connections are refused for want of file descriptors (950 of 1000, 95 %)"
        );
        assert!(overload.refuses_connections() && !overload.refuses_requests());
        assert_eq!(overload.reading(Resource::Descriptors), of(950));
    }

    #[test]
    fn near_a_limit_it_is_looked_at_more_often() {
        let mut overload = Overload::default();
        assert_eq!(overload.again(), Overload::AT_EASE);
        overload.handle_reading(Resource::Memory, of(499));
        assert_eq!(overload.again(), Overload::AT_EASE);
        overload.handle_reading(Resource::Descriptors, of(500));
        assert_eq!(overload.again(), Overload::NEAR);
    }

    #[test]
    fn limits_that_are_none_do_not_count() {
        assert_eq!(least_limit([None, Some(9_223_372_036_854_771_712), Some(0)]), None);
        assert_eq!(least_limit([Some(2_000), None, Some(1_000)]), Some(1_000));
        assert_eq!(Reading { used: u64::MAX, limit: 0 }.per_cent(), u64::MAX);
    }
}
